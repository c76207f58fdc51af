//! What is decoded at all.

use crate::{Facts, MediaError};
use serde::{Deserialize, Serialize};

/// Bounds that are checked from headers, before any decoder runs. 0 is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Width times height.
    pub max_pixels: u64,
    /// The longer side.
    pub max_side: u32,
    /// Frames of a picture that moves.
    pub max_frames: u32,
    /// How long it moves, milliseconds.
    pub max_duration_ms: u64,
}

/// Pixels where nobody says.
pub(crate) const MOST_PIXELS: u64 = 200_000_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pixels: MOST_PIXELS,
            max_side: 65_500,
            max_frames: 1_000,
            max_duration_ms: 600_000,
        }
    }
}

impl Limits {
    pub(crate) fn check(&self, width: u32, height: u32) -> Result<(), MediaError> {
        if width == 0 || height == 0 {
            return Err(MediaError::corrupt("it has no pixels"));
        }
        if self.max_pixels > 0 && u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(MediaError::TooManyPixels {
                width,
                height,
                limit: self.max_pixels,
            });
        }
        if self.max_side > 0 && width.max(height) > self.max_side {
            return Err(MediaError::SideTooLong {
                width,
                height,
                limit: self.max_side,
            });
        }
        Ok(())
    }

    /// Of a picture that moves.
    pub(crate) fn check_motion(&self, facts: &Facts) -> Result<(), MediaError> {
        let (frames, duration_ms) = (facts.frames.unwrap_or(1), facts.duration_ms.unwrap_or(0));
        if self.max_frames > 0 && frames > self.max_frames {
            return Err(MediaError::TooManyFrames {
                frames,
                limit: self.max_frames,
            });
        }
        if self.max_duration_ms > 0 && duration_ms > self.max_duration_ms {
            return Err(MediaError::TooLong {
                duration_ms,
                limit_ms: self.max_duration_ms,
            });
        }
        Ok(())
    }
}

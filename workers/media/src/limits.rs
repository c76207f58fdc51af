//! What is decoded at all.

use crate::MediaError;
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

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pixels: 200_000_000,
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
}

//! Why bytes are no picture that may be kept.

/// A permanent failure: the bytes will not get better.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// No format that is known here begins like this.
    #[error("the file is not a picture of a known format")]
    NotAnImage,
    /// A format that is known, in a kind that is not taken.
    #[error("this kind of {format} is not supported: {problem}")]
    Unsupported {
        /// The format's name.
        format: &'static str,
        /// What about it.
        problem: String,
    },
    /// The file ends before its picture does.
    #[error("the file is cut off: it ends before the picture does")]
    Truncated,
    /// The file contradicts its format.
    #[error("the file is damaged: {problem}")]
    Corrupt {
        /// Where and how.
        problem: String,
    },
    /// More pixels than allowed.
    #[error("the picture has {width} × {height} pixels, more than the {limit} that are allowed")]
    TooManyPixels {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Width times height at most.
        limit: u64,
    },
    /// A side is longer than allowed.
    #[error("the picture has {width} × {height} pixels, a side may have {limit}")]
    SideTooLong {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// The longest side allowed.
        limit: u32,
    },
    /// It moves in more frames than allowed.
    #[error("the picture has {frames} frames, more than the {limit} that are allowed")]
    TooManyFrames {
        /// Frames.
        frames: u32,
        /// Frames at most.
        limit: u32,
    },
    /// It moves longer than allowed.
    #[error("the picture moves for {duration_ms} ms, longer than the {limit_ms} ms that are allowed")]
    TooLong {
        /// How long it moves, milliseconds.
        duration_ms: u64,
        /// How long it may, milliseconds.
        limit_ms: u64,
    },
    /// The caller asked to stop: the one failure that is not of the bytes.
    #[error("the work was stopped")]
    Cancelled,
}

impl MediaError {
    /// A stable code for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAnImage => "not-an-image",
            Self::Unsupported { .. } => "unsupported-picture",
            Self::Truncated => "truncated",
            Self::Corrupt { .. } => "corrupt",
            Self::TooManyPixels { .. } => "too-many-pixels",
            Self::SideTooLong { .. } => "side-too-long",
            Self::TooManyFrames { .. } => "too-many-frames",
            Self::TooLong { .. } => "too-long",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn corrupt(problem: impl Into<String>) -> Self {
        Self::Corrupt {
            problem: problem.into(),
        }
    }
}

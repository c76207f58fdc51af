//! What the driver and the process that it measures say to each other: a line of JSON each.

use mediamill_media::{Format, Settings};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A file to be processed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) source: PathBuf,
    pub(crate) settings: Settings,
    /// Where what is made of it goes: an empty folder.
    pub(crate) folder: PathBuf,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// The most that was allocated at one time, the file included, bytes.
    pub(crate) peak: u64,
    /// What `Probe::memory_bytes` says; `None` where headers tell nothing.
    pub(crate) allowed: Option<u64>,
    /// Panics within decoders, which the engine catches.
    pub(crate) panics: Vec<String>,
    /// How the pixels of the cleaned original differ from the source's.
    pub(crate) pixels: Vec<String>,
}

/// How it ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Ready { format: Format, files: Vec<Made> },
    Refused { code: String, text: String },
}

/// A file that was made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    /// The variant's name; `None` for the original.
    pub(crate) variant: Option<String>,
}

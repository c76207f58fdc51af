//! The media engine: bytes and settings in, bytes and facts out. No I/O, no async, no unsafe code.
//!
//! [`probe`] reads headers and nothing else, [`Probe::check`] and [`Probe::memory_bytes`] say from them whether and with
//! how much memory a picture may be decoded, [`process`] cleans it and makes its variants. Every failure is one of the
//! bytes, never of the machine: a [`MediaError`] is permanent, and no input makes this crate panic or run away.
//!
//! To add a format: a variant in [`Format`], a reader in `probe.rs`, a file in `strip/`.

mod decode;
mod encode;
mod error;
mod facts;
mod format;
mod limits;
mod orientation;
mod policy;
mod probe;
mod process;
mod resize;
#[cfg(feature = "samples")]
pub mod sample;
mod strip;
mod tiff;
mod variant;

pub use error::MediaError;
pub use facts::Facts;
pub use format::Format;
pub use limits::Limits;
pub use policy::Policy;
pub use probe::{Probe, ProbeError, probe};
pub use process::{Cleaned, Processed, Rendered, Settings, process};
pub use strip::{Removed, RemovedKind};
pub use variant::{Fit, Gravity, NoColour, NoGravity, Output, Rgb, STANDARD_QUALITY, Variant};

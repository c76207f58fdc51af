//! The media engine: bytes and settings in, bytes and facts out. No I/O, no async, no unsafe code.
//!
//! [`probe`] reads headers and nothing else, [`Probe::check`] and [`Probe::memory_bytes`] say from them whether and with
//! how much memory a picture may be decoded, [`process`] cleans it and makes its variants, [`variants`] makes more of them later. Every failure but
//! [`MediaError::Cancelled`] is one of the bytes, never of the machine, and permanent. No input makes this crate panic or run
//! away, with two exceptions, for which hostile bytes belong into a process of their own: a panic within the AV1 decoder ends
//! the process, and a lossless WebP made for it can take more memory than its headers tell. `fuzz/` holds it to this, and to
//! what its functions promise.
//!
//! To add a format that comes in: a variant in [`Format`], a file in `probe/`, one in `strip/`, one in `decode/`, a fuzz target
//! in `fuzz/`. To add one that goes out: a variant in [`Output`], one in `encode/mod.rs`, a file beside it.

mod animate;
mod animation;
mod avif;
mod colour;
mod decode;
mod encode;
mod error;
mod exif;
mod facts;
mod finish;
mod format;
mod geometry;
mod iptc;
mod isobmff;
mod limits;
mod look;
mod orientation;
mod pixels;
mod planes;
mod policy;
mod probe;
mod process;
mod render;
mod resize;
#[cfg(feature = "samples")]
pub mod sample;
mod source;
mod strip;
mod tiff;
mod variant;
mod xmp;

pub use decode::{Frame, Frames};
pub use error::MediaError;
pub use facts::Facts;
pub use format::Format;
pub use limits::Limits;
pub use pixels::{frames, pixels};
pub use policy::Policy;
pub use probe::{Probe, ProbeError, probe};
pub use process::{Cleaned, Processed, Rendered, Settings, process, variants};
pub use strip::{Removed, RemovedKind, Stripped, strip};
pub use variant::{Fit, Gravity, NoColour, NoGravity, Output, Rgb, STANDARD_QUALITY, Variant};

//! What a file may keep of its metadata.

use serde::{Deserialize, Serialize};

/// What happens to metadata. Every policy keeps what the picture looks like: ICC profile and display orientation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// All of it goes, and so does every byte after the picture's end.
    #[default]
    Strip,
    /// Every place goes (GPS, XMP, IPTC, maker notes, which may hide one); the rest stays and is valid.
    StripLocation,
    /// All of it stays in the original. Variants never have any.
    Keep,
}

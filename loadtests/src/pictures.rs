//! What is uploaded: the pictures of a folder, or small drawn ones that all differ.

use anyhow::{Context, bail};
use std::{path::Path, sync::Arc};

/// A picture to upload.
#[derive(Clone)]
pub(crate) struct Picture {
    pub(crate) name: String,
    pub(crate) bytes: bytes::Bytes,
}

/// The files of `dir`, or, without one, the sample photographs.
pub(crate) fn load(dir: Option<&Path>) -> anyhow::Result<Arc<[Picture]>> {
    let Some(dir) = dir else {
        let samples = mediamill_media::sample::photographs();
        return Ok(samples
            .into_iter()
            .map(|sample| Picture {
                name: sample.name.to_owned(),
                bytes: sample.bytes.into(),
            })
            .collect());
    };
    let mut pictures = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("the folder {} cannot be read", dir.display()))? {
        let path = entry?.path();
        if path.is_file() {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            pictures.push(Picture {
                name,
                bytes: std::fs::read(&path)?.into(),
            });
        }
    }
    if pictures.is_empty() {
        bail!("the folder {} holds no files", dir.display());
    }
    pictures.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pictures.into())
}

/// A small drawn picture, another one for every number.
pub(crate) fn small(number: u32) -> Picture {
    Picture {
        name: format!("small-{number}.jpg"),
        bytes: mediamill_media::sample::small(number).into(),
    }
}

/// A bitmap, another one for every number, all of one size. It holds nothing that a worker would remove, and nothing is
/// compressed: what is stored of it is what was uploaded.
pub(crate) fn bitmap(number: u32) -> Picture {
    const ACROSS: u32 = 32;
    const DOWN: u32 = 24;
    const HEADERS: u32 = 54;
    // Rows of 96 bytes: a multiple of four, so none is padded.
    const PIXELS: u32 = ACROSS * DOWN * 3;
    let mut bytes = b"BM".to_vec();
    // File size, reserved, where pixels begin; header size, across, down, one plane of 24 bits, no compression, bytes of pixels;
    // 72 pixels an inch both ways; no palette.
    for field in [
        HEADERS + PIXELS,
        0,
        HEADERS,
        40,
        ACROSS,
        DOWN,
        (24 << 16) | 1,
        0,
        PIXELS,
        2_835,
        2_835,
        0,
        0,
    ] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend((0..PIXELS / 4).flat_map(|place| number.wrapping_add(place.wrapping_mul(0x0102_0408)).to_le_bytes()));
    Picture {
        name: format!("bitmap-{number}.bmp"),
        bytes: bytes.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediamill_media::{Settings, process};

    #[test]
    fn bitmaps_are_stored_as_they_come_and_no_two_are_alike() {
        let settings = Settings {
            variants: Vec::new(),
            ..Settings::default()
        };
        for number in [0, 1, 4_999, u32::MAX] {
            let picture = bitmap(number);
            assert_ne!(picture.bytes, bitmap(number.wrapping_add(1)).bytes);
            let made = process(&picture.bytes, &settings, &|| false).unwrap();
            assert_eq!(made.original.bytes, picture.bytes);
        }
    }
}

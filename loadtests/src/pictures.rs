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

/// A small photograph-like JPEG; `number` makes it differ from all others.
pub(crate) fn small(number: u32) -> Picture {
    let (width, height) = (320_u16, 240_u16);
    let mut pixels = Vec::with_capacity(usize::from(width) * usize::from(height) * 3);
    for y in 0..u32::from(height) {
        for x in 0..u32::from(width) {
            let value = (x * 7 + y * 13 + number * 31) % 256;
            pixels.extend([value, (value + number) % 256, (x ^ y) % 256].map(|v| u8::try_from(v).unwrap_or(0)));
        }
    }
    let mut bytes = Vec::new();
    // Encoding into memory with matching dimensions has no way to fail; an empty upload would be refused and seen.
    let _ = jpeg_encoder::Encoder::new(&mut bytes, 85).encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb);
    Picture {
        name: format!("small-{number}.jpg"),
        bytes: bytes.into(),
    }
}

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

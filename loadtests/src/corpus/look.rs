//! What is ready, looked at from outside.

use super::{
    Seen, exiftool,
    report::{Kind, Violation},
    runs::Run,
};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Names of tags that tell a place, beside those that begin with GPS.
const PLACES: [&str; 14] = [
    "City",
    "Sub-location",
    "Province-State",
    "State",
    "Country",
    "CountryCode",
    "Country-PrimaryLocationName",
    "Country-PrimaryLocationCode",
    "ContentLocationName",
    "ContentLocationCode",
    "Location",
    "LocationCreated",
    "LocationShown",
    "RegionInfo",
];

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(super) struct Looked {
    pub(super) sources: usize,
    pub(super) outputs: usize,
    pub(super) texts: usize,
}

/// An output, and which of the sources and runs it is of.
struct Output<'a> {
    path: &'a Path,
    seen: &'a Seen,
    run: &'a Run,
    original: bool,
}

/// Looks at all outputs of all that was ready.
pub(super) async fn at(
    runs: &[Run],
    seen: &mut [Seen],
    jobs: usize,
    violations: &mut Vec<Violation>,
) -> anyhow::Result<Looked> {
    let seen = &*seen;
    let mut sources = Vec::new();
    let mut outputs = Vec::new();
    for one in seen {
        let mut ready = false;
        for (run, result) in runs.iter().zip(&one.results) {
            for file in result.iter().flatten() {
                ready = true;
                outputs.push(Output {
                    path: &file.path,
                    seen: one,
                    run,
                    original: file.variant.is_none(),
                });
            }
        }
        if ready {
            sources.push(one.source.as_path());
        }
    }
    let paths: Vec<&Path> = outputs.iter().map(|output| output.path).collect();
    // Unknown tags and what is embedded, and numbers as they stand in the file.
    let of_sources = read(&sources, &["-U", "-ee", "-n"], jobs).await?;
    let of_outputs = read(&paths, &[], jobs).await?;
    let texts: BTreeMap<&Path, BTreeSet<String>> = of_sources
        .iter()
        .map(|(path, tags)| (path.as_path(), exiftool::texts(tags)))
        .collect();
    let none = BTreeSet::new();
    for output in &outputs {
        let mut tell = |kind, text: String| {
            violations.push(Violation {
                source: output.seen.source.clone(),
                run: output.run.name,
                kind,
                text: format!("{}: {text}", file_name(output.path)),
            });
        };
        let tags = of_outputs.get(output.path).map_or(&[][..], Vec::as_slice);
        if output.original && !output.run.clean {
            if output.run.settings.policy == mediamill_media::Policy::StripLocation {
                tags.iter()
                    .filter(|(key, _)| place(key))
                    .for_each(|(key, value)| tell(Kind::Place, told(key, value)));
            }
            continue;
        }
        tags.iter()
            .filter(|(key, _)| key != "SourceFile" && !exiftool::structural(key))
            .for_each(|(key, value)| tell(Kind::Metadata, told(key, value)));
        let bytes = std::fs::read(output.path)?;
        for text in texts.get(output.seen.source.as_path()).unwrap_or(&none) {
            if holds(&bytes, text) {
                tell(Kind::Text, format!("{text:?}"));
            }
        }
    }
    Ok(Looked {
        sources: sources.len(),
        outputs: outputs.len(),
        texts: texts.values().map(BTreeSet::len).sum(),
    })
}

type Told = BTreeMap<PathBuf, Vec<(String, Value)>>;

/// `ExifTool` over all files, `jobs` of it at a time.
async fn read(files: &[&Path], arguments: &[&str], jobs: usize) -> anyhow::Result<Told> {
    let share = files.len().div_ceil(jobs).max(1);
    let parts: Vec<Told> = futures_util::stream::iter(files.chunks(share))
        .map(|files| exiftool::read(files, arguments))
        .buffer_unordered(jobs)
        .try_collect()
        .await?;
    Ok(parts.into_iter().flatten().collect())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn told(key: &str, value: &Value) -> String {
    let text: String = value.to_string().chars().take(80).collect();
    format!("{key} = {text}")
}

fn place(key: &str) -> bool {
    let tag = key.rsplit(':').next().unwrap_or(key);
    // What a profile of colours is called after is no place, nor is what ExifTool says of the file.
    let about = exiftool::structural(key) && !key.starts_with("Composite");
    !about && (tag.starts_with("GPS") && tag != "GPSVersionID" || PLACES.contains(&tag))
}

/// Whether `bytes` hold `text`, in UTF-8 or in UTF-16 of either order.
fn holds(bytes: &[u8], text: &str) -> bool {
    let wide = |order: fn(u16) -> [u8; 2]| -> Vec<u8> { text.encode_utf16().flat_map(order).collect() };
    [text.as_bytes().to_vec(), wide(u16::to_le_bytes), wide(u16::to_be_bytes)]
        .iter()
        .any(|needle| memchr::memmem::find(bytes, needle).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_however_they_are_coded() {
        assert!(holds(b"..Canon EOS..", "Canon EOS"));
        assert!(holds(b"C\0a\0n\0o\0n\0", "Canon"));
        assert!(holds(b"\0C\0a\0n\0o\0n", "Canon"));
        assert!(!holds(b"C.a.n.o.n", "Canon"));
    }

    #[test]
    fn places_are_told_from_what_is_called_like_one() {
        for key in [
            "GPS:GPSLatitude",
            "XMP-photoshop:City",
            "IPTC:Sub-location",
            "Composite:GPSPosition",
        ] {
            assert!(place(key), "{key}");
        }
        for key in [
            "IFD0:Make",
            "ICC_Profile:Location",
            "GPS:GPSVersionID",
            "System:Directory",
        ] {
            assert!(!place(key), "{key}");
        }
    }
}

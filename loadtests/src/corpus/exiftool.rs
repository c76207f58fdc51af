//! What `ExifTool` sees: every metadata text of a source, and everything in an output that is no part of its structure.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

/// Files of one run of `ExifTool`: it keeps what it says of all of them in memory.
const BATCH: usize = 400;
/// Shortest text that is looked for in outputs, characters.
const SHORTEST: usize = 6;
/// Shortest number that is: a serial number is one.
const SHORTEST_NUMBER: usize = 8;

/// Everything of a group.
const ALL: &[&str] = &["*"];

/// What belongs to a picture and is no metadata: groups of `ExifTool` (its family 1) and tags.
const STRUCTURE: &[(&str, &[&str])] = &[
    // About the file and not in it.
    ("ExifTool", &["ExifToolVersion", "Warning", "Error"]),
    ("System", ALL),
    ("Composite", ALL),
    (
        "File",
        &[
            "FileType",
            "FileTypeExtension",
            "MIMEType",
            "ImageWidth",
            "ImageHeight",
            "ImageLength",
            "EncodingProcess",
            "BitsPerSample",
            "ColorComponents",
            "YCbCrSubSampling",
            "ExifByteOrder",
            "BMPVersion",
            "Planes",
            "BitDepth",
            "Compression",
            "PixelsPerMeterX",
            "PixelsPerMeterY",
            "NumColors",
            "NumImportantColors",
            "RedMask",
            "GreenMask",
            "BlueMask",
            "AlphaMask",
            "ColorSpace",
            "RedEndpoint",
            "GreenEndpoint",
            "BlueEndpoint",
            "GammaRed",
            "GammaGreen",
            "GammaBlue",
            "RenderingIntent",
            "ProfileDataOffset",
            "ProfileSize",
        ],
    ),
    ("JFIF", &["JFIFVersion", "ResolutionUnit", "XResolution", "YResolution"]),
    // How the samples are meant.
    (
        "Adobe",
        &["DCTEncodeVersion", "APP14Flags0", "APP14Flags1", "ColorTransform"],
    ),
    (
        "PNG",
        &[
            "ImageWidth",
            "ImageHeight",
            "BitDepth",
            "ColorType",
            "Compression",
            "Filter",
            "Interlace",
            "Palette",
            "Transparency",
            "BackgroundColor",
            "Gamma",
            "SRGBRendering",
            "SignificantBits",
            "PaletteHistogram",
            // The name of a profile, which the profile is kept with, and one that is empty.
            "ProfileName",
            "ICC_Profile",
            "WhitePointX",
            "WhitePointY",
            "RedX",
            "RedY",
            "GreenX",
            "GreenY",
            "BlueX",
            "BlueY",
            "AnimationFrames",
            "AnimationPlays",
        ],
    ),
    ("PNG-pHYs", ALL),
    ("PNG-cHRM", ALL),
    ("PNG-cICP", ALL),
    (
        "RIFF",
        &[
            "ImageWidth",
            "ImageHeight",
            "WebP_Flags",
            "VP8Version",
            "HorizontalScale",
            "VerticalScale",
            "AlphaIsUsed",
            "AlphaPreprocessing",
            "AlphaFiltering",
            "AlphaCompression",
            "BackgroundColor",
            "AnimationLoopCount",
            "FrameCount",
            "Duration",
        ],
    ),
    (
        "GIF",
        &[
            "GIFVersion",
            "ImageWidth",
            "ImageHeight",
            "HasColorMap",
            "ColorResolutionDepth",
            "BitsPerPixel",
            "BackgroundColor",
            "PixelAspectRatio",
            "AnimationIterations",
            "FrameCount",
            "Duration",
            "TransparentColor",
        ],
    ),
    (
        "IFD0",
        &[
            "Orientation",
            "SubfileType",
            "OldSubfileType",
            "ImageWidth",
            "ImageHeight",
            "BitsPerSample",
            "Compression",
            "PhotometricInterpretation",
            "Thresholding",
            "FillOrder",
            "StripOffsets",
            "SamplesPerPixel",
            "RowsPerStrip",
            "StripByteCounts",
            // What it calls strips that are coded as JPEG.
            "PreviewImage",
            "PreviewImageStart",
            "PreviewImageLength",
            "MinSampleValue",
            "MaxSampleValue",
            "XResolution",
            "YResolution",
            "ResolutionUnit",
            "PlanarConfiguration",
            "TransferFunction",
            "Predictor",
            "WhitePoint",
            "PrimaryChromaticities",
            "ColorMap",
            "HalftoneHints",
            "TileWidth",
            "TileLength",
            "TileOffsets",
            "TileByteCounts",
            "InkSet",
            "NumberofInks",
            "DotRange",
            "ExtraSamples",
            "SampleFormat",
            "SMinSampleValue",
            "SMaxSampleValue",
            "JPEGTables",
            "YCbCrCoefficients",
            "YCbCrSubSampling",
            "YCbCrPositioning",
            "ReferenceBlackWhite",
            "T4Options",
            "T6Options",
            "ProfileType",
        ],
    ),
];

/// Groups of a colour profile, and of the boxes that an AVIF consists of.
const STRUCTURE_STARTS: [&str; 2] = ["ICC", "Track"];
/// Boxes of an AVIF that say how it is coded.
const BOXES: &[&str] = &[
    "MajorBrand",
    "MinorVersion",
    "CompatibleBrands",
    "HandlerType",
    "HandlerDescription",
    "PrimaryItemReference",
    "ImageWidth",
    "ImageHeight",
    "ImageSpatialExtent",
    "ImagePixelDepth",
    "PixelAspectRatio",
    "AV1ConfigurationVersion",
    "ChromaFormat",
    "ChromaSamplePosition",
    "AuxiliaryImageType",
    "ColorProfiles",
    "ColorPrimaries",
    "TransferCharacteristics",
    "MatrixCoefficients",
    "VideoFullRangeFlag",
    "Rotation",
    "Mirroring",
    "CleanAperture",
    "MovieHeaderVersion",
    "TimeScale",
    "Duration",
    "PreferredRate",
    "PreferredVolume",
    "MatrixStructure",
    "NextTrackID",
    "MediaDataSize",
    "MediaDataOffset",
];

/// Whether a tag says how a picture is made up and nothing else.
pub(crate) fn structural(key: &str) -> bool {
    let (group, tag) = key.rsplit_once(':').unwrap_or(("", key));
    let group = group.split_once(':').map_or(group, |(first, _)| first);
    if STRUCTURE_STARTS.iter().any(|start| group.starts_with(start)) {
        return true;
    }
    let tags = match group {
        "Meta" | "QuickTime" | "ItemList" => BOXES,
        _ => STRUCTURE
            .iter()
            .find(|(name, _)| *name == group)
            .map_or(&[][..], |(_, tags)| tags),
    };
    tags.iter().any(|known| *known == "*" || *known == tag)
}

/// What `ExifTool` says of each file: tags with their groups, in the order of `files` as far as it reads them.
pub(crate) async fn read(
    files: &[&Path],
    arguments: &[&str],
) -> anyhow::Result<BTreeMap<PathBuf, Vec<(String, Value)>>> {
    let mut all = BTreeMap::new();
    for batch in files.chunks(BATCH) {
        let mut command = Command::new("exiftool");
        command
            .args(["-j", "-a", "-G1:4", "-s", "-m", "-charset", "filename=utf8"])
            .args(arguments)
            .args(["-@", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .context("exiftool cannot be started: apt-get install libimage-exiftool-perl")?;
        let output = ask(&mut child, batch).await?;
        // Its exit code tells of files that it does not know, too: what it prints is what counts.
        let text = String::from_utf8_lossy(&output);
        let said: Vec<serde_json::Map<String, Value>> =
            serde_json::from_str(&text).context("exiftool printed no JSON")?;
        for file in said {
            let source = file
                .get("SourceFile")
                .and_then(Value::as_str)
                .context("exiftool names no file")?;
            all.insert(PathBuf::from(source), file.clone().into_iter().collect());
        }
    }
    ensure!(
        all.len() == files.len(),
        "exiftool told of {} of {} files",
        all.len(),
        files.len()
    );
    Ok(all)
}

/// Writes the names and reads what comes, at the same time: neither side waits for the other.
async fn ask(child: &mut Child, files: &[&Path]) -> anyhow::Result<Vec<u8>> {
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        anyhow::bail!("exiftool has no pipes");
    };
    let mut names = Vec::new();
    for file in files {
        names.extend_from_slice(file.as_os_str().as_encoded_bytes());
        names.push(b'\n');
    }
    let write = async move {
        input.write_all(&names).await?;
        drop(input);
        Ok::<_, std::io::Error>(())
    };
    let mut bytes = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut output, &mut bytes);
    tokio::try_join!(write, read)?;
    child.wait().await?;
    Ok(bytes)
}

/// Texts of a source's metadata that must be in no output. What a colour profile says too may be: it is kept.
pub(crate) fn texts(tags: &[(String, Value)]) -> BTreeSet<String> {
    let (mut texts, mut kept) = (BTreeSet::new(), BTreeSet::new());
    for (key, value) in tags {
        if key == "SourceFile" {
            continue;
        }
        collect(value, if structural(key) { &mut kept } else { &mut texts });
    }
    texts.retain(|text| !kept.iter().any(|kept| kept.contains(text.as_str())));
    texts
}

fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let text = text.trim();
            let placeholder = text.starts_with("(Binary data ") || text.starts_with("base64:");
            // One letter over and over is in every flat picture.
            let plain = text.chars().all(|letter| text.starts_with(letter));
            if text.chars().count() >= SHORTEST && !placeholder && !plain {
                into.insert(text.to_owned());
            }
        }
        Value::Number(number) => {
            let text = number.to_string();
            if text.len() >= SHORTEST_NUMBER {
                into.insert(text);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, into)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, into)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn structure_is_told_from_metadata() {
        for key in [
            "File:ImageWidth",
            "IFD0:Orientation",
            "ICC_Profile:ProfileCopyright",
            "ICC-header:ProfileCreator",
            "PNG:Copy1:BitDepth",
            "Composite:ImageSize",
        ] {
            assert!(structural(key), "{key}");
        }
        for key in [
            "File:Comment",
            "IFD0:Make",
            "PNG:Software",
            "GPS:GPSLatitude",
            "XMP-dc:Creator",
            "GIF:Comment",
            "IFD1:ThumbnailOffset",
            "QuickTime:CreateDate",
        ] {
            assert!(!structural(key), "{key}");
        }
    }

    #[test]
    fn texts_that_no_output_may_have_are_those_of_metadata_alone() {
        let tags = [
            ("SourceFile", json!("/a/long/name.jpg")),
            ("IFD0:Make", json!("Canon EOS")),
            ("IFD0:Model", json!("D30")),
            ("XMP-dc:Subject", json!(["a holiday", "sea"])),
            ("Photoshop:ICCProfileName", json!("Display P3")),
            ("ICC_Profile:ProfileDescription", json!("Display P3, by name")),
            ("ExifIFD:SerialNumber", json!(123_456_789)),
            ("ExifIFD:ISO", json!(100)),
            ("Canon:Data", json!("(Binary data 10 bytes, use -b option to extract)")),
            ("ExifIFD:UserComment", json!("0000000000")),
        ]
        .map(|(key, value)| (key.to_owned(), value));
        let found = texts(&tags);
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(found, ["123456789", "Canon EOS", "a holiday"]);
    }
}

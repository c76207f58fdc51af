//! What a picture's metadata tells, read before it is removed.

use crate::{
    Rgb,
    strip::{Removed, RemovedKind},
};
use exif::{Exif, In, Reader, Tag};
use serde::{Deserialize, Serialize};

/// Facts that a tenant may want to keep although the file forgets them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Maker of the camera.
    pub camera_make: Option<String>,
    /// Model of the camera.
    pub camera_model: Option<String>,
    /// Model of the lens.
    pub lens: Option<String>,
    /// When it was taken, as the camera wrote it: `YYYY-MM-DD HH:MM:SS`, no zone.
    pub taken_at: Option<String>,
    /// The colour that most of it has.
    pub dominant_colour: Option<Rgb>,
    /// A blurred picture of it in some thirty bytes, base64: [`ThumbHash`](https://evanw.github.io/thumbhash/).
    pub placeholder: Option<String>,
    /// Perceptual hash: those of two pictures that look alike differ in few bits.
    pub perceptual_hash: Option<u64>,
    /// Frames, where it moves.
    pub frames: Option<u32>,
    /// How long it moves, milliseconds.
    pub duration_ms: Option<u64>,
}

/// Longest text that is kept of a field.
const LONGEST: usize = 200;

fn text(exif: &Exif, tag: Tag) -> Option<String> {
    let field = exif.get_field(tag, In::PRIMARY)?;
    let text = match &field.value {
        exif::Value::Ascii(parts) => parts
            .iter()
            .map(|part| String::from_utf8_lossy(part))
            .collect::<Vec<_>>()
            .join(" "),
        _ => field.display_value().to_string(),
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    let text = text.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Facts, and in words what a TIFF block gives away. A block that does not parse gives nothing away that is known.
pub(crate) fn read(tiff: &[u8]) -> (Facts, Vec<Removed>) {
    let Ok(exif) = Reader::new()
        .continue_on_error(true)
        .read_raw(tiff.to_vec())
        .or_else(|error| error.distill_partial_result(|_| {}))
    else {
        return (Facts::default(), Vec::new());
    };
    let facts = Facts {
        camera_make: text(&exif, Tag::Make),
        camera_model: text(&exif, Tag::Model),
        lens: text(&exif, Tag::LensModel),
        taken_at: exif.get_field(Tag::DateTimeOriginal, In::PRIMARY).and_then(taken_at),
        ..Facts::default()
    };
    (facts, given_away(&exif))
}

fn taken_at(field: &exif::Field) -> Option<String> {
    let exif::Value::Ascii(parts) = &field.value else {
        return None;
    };
    exif::DateTime::from_ascii(parts.first()?)
        .ok()
        .map(|moment| moment.to_string())
}

fn given_away(exif: &Exif) -> Vec<Removed> {
    let mut found = Vec::new();
    let mut note = |kind: RemovedKind, detail: Option<String>| {
        if let Some(detail) = detail {
            found.push(Removed {
                what: kind,
                detail,
                bytes: 0,
            });
        }
    };
    let position = [
        Tag::GPSLatitude,
        Tag::GPSLatitudeRef,
        Tag::GPSLongitude,
        Tag::GPSLongitudeRef,
    ]
    .map(|tag| {
        exif.get_field(tag, In::PRIMARY)
            .map(|field| field.display_value().to_string())
    });
    if let [Some(latitude), ns, Some(longitude), ew] = position {
        let detail = format!(
            "{latitude} {}, {longitude} {}",
            ns.unwrap_or_default(),
            ew.unwrap_or_default()
        );
        note(RemovedKind::GpsPosition, Some(detail));
    } else if exif.fields().any(|field| field.tag.context() == exif::Context::Gps) {
        note(RemovedKind::GpsPosition, Some(String::new()));
    }
    let camera = [text(exif, Tag::Make), text(exif, Tag::Model)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ");
    note(RemovedKind::Camera, (!camera.is_empty()).then_some(camera));
    note(RemovedKind::CameraSerial, text(exif, Tag::BodySerialNumber));
    note(RemovedKind::Lens, text(exif, Tag::LensModel));
    note(RemovedKind::LensSerial, text(exif, Tag::LensSerialNumber));
    note(
        RemovedKind::Owner,
        text(exif, Tag::CameraOwnerName).or_else(|| text(exif, Tag::Artist)),
    );
    note(
        RemovedKind::TakenAt,
        exif.get_field(Tag::DateTimeOriginal, In::PRIMARY).and_then(taken_at),
    );
    note(RemovedKind::Software, text(exif, Tag::Software));
    let has = |tag: Tag, place: In| exif.get_field(tag, place).map(|_| String::new());
    note(RemovedKind::MakerNote, has(Tag::MakerNote, In::PRIMARY));
    note(
        RemovedKind::Comment,
        has(Tag::UserComment, In::PRIMARY).or_else(|| has(Tag::ImageDescription, In::PRIMARY)),
    );
    note(RemovedKind::Thumbnail, has(Tag::JPEGInterchangeFormat, In::THUMBNAIL));
    found
}

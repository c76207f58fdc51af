//! What a picture's metadata tells, read before it is removed.

use crate::{
    Rgb,
    exif::{Block, Entry, tag},
    strip::{Removed, RemovedKind},
};
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

/// Facts, and in words what a TIFF block gives away. A block that does not parse gives nothing away that is known.
pub(crate) fn read(tiff: &[u8]) -> (Facts, Vec<Removed>) {
    let Some(block) = Block::read(tiff) else {
        return (Facts::default(), Vec::new());
    };
    let text = |tag| block.field(tag).and_then(Entry::text);
    let facts = Facts {
        camera_make: text(tag::MAKE),
        camera_model: text(tag::MODEL),
        lens: text(tag::LENS_MODEL),
        taken_at: text(tag::TAKEN_AT).as_deref().and_then(moment),
        ..Facts::default()
    };
    let given_away = given_away(&block, &facts);
    (facts, given_away)
}

/// `YYYY:MM:DD HH:MM:SS` with the dashes that everybody else writes; a clock that was never set tells nothing.
fn moment(text: &str) -> Option<String> {
    let mut moment = text.get(..19)?.as_bytes().to_vec();
    let shaped = moment.iter().enumerate().all(|(place, byte)| match place {
        4 | 7 | 13 | 16 => *byte == b':',
        10 => *byte == b' ',
        _ => byte.is_ascii_digit(),
    });
    if !shaped || moment.starts_with(b"0000") {
        return None;
    }
    for dash in [4, 7] {
        *moment.get_mut(dash)? = b'-';
    }
    String::from_utf8(moment).ok()
}

fn given_away(block: &Block<'_>, facts: &Facts) -> Vec<Removed> {
    let mut found = places(block);
    let mut note = |kind: RemovedKind, detail: Option<String>| {
        found.extend(detail.map(|detail| Removed::part(kind, &detail)));
    };
    let text = |tag| block.field(tag).and_then(Entry::text);
    let has = |tag| block.field(tag).map(|_| String::new());
    let camera = [facts.camera_make.clone(), facts.camera_model.clone()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ");
    note(RemovedKind::Camera, (!camera.is_empty()).then_some(camera));
    note(RemovedKind::CameraSerial, text(tag::BODY_SERIAL));
    note(RemovedKind::Lens, facts.lens.clone());
    note(RemovedKind::LensSerial, text(tag::LENS_SERIAL));
    note(RemovedKind::Owner, text(tag::OWNER).or_else(|| text(tag::ARTIST)));
    note(RemovedKind::Copyright, text(tag::COPYRIGHT));
    note(RemovedKind::TakenAt, facts.taken_at.clone());
    note(RemovedKind::Software, text(tag::SOFTWARE));
    note(RemovedKind::MakerNote, has(tag::MAKER_NOTE));
    note(
        RemovedKind::Comment,
        has(tag::USER_COMMENT).or_else(|| has(tag::DESCRIPTION)),
    );
    let thumbnail = block
        .thumbnail
        .as_ref()
        .and_then(|directory| directory.find(tag::JPEG_OFFSET));
    note(RemovedKind::Thumbnail, thumbnail.map(|_| String::new()));
    found
}

/// The position that a block tells.
pub(crate) fn places(block: &Block<'_>) -> Vec<Removed> {
    let pointer = block.primary.find(tag::GPS);
    let geo = block
        .primary
        .entries
        .iter()
        .any(|entry| tag::GEO_TIFF.contains(&entry.tag));
    let Some(gps) = block.gps.as_ref() else {
        let told = pointer.is_some() || geo;
        return told
            .then(|| Removed::part(RemovedKind::GpsPosition, ""))
            .into_iter()
            .collect();
    };
    // GPSLatitudeRef, GPSLatitude, GPSLongitudeRef, GPSLongitude: 1 to 4.
    let side = |tag, reference| {
        let degrees = gps.find(tag)?.rationals(block.order);
        let reference = gps.find(reference).and_then(Entry::text).unwrap_or_default();
        match degrees.as_slice() {
            [degrees, minutes, seconds, ..] => Some(format!("{degrees} deg {minutes} min {seconds} sec {reference}")),
            _ => None,
        }
    };
    let detail = match (side(2, 1), side(4, 3)) {
        (Some(latitude), Some(longitude)) => format!("{latitude}, {longitude}"),
        _ => String::new(),
    };
    vec![Removed::part(RemovedKind::GpsPosition, &detail)]
}

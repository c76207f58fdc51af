//! Texts in PNG: tEXt, zTXt and iTXt chunks, and the profiles that `ImageMagick` hides in them as hexadecimal digits.

use super::{
    finds::{Finds, LARGEST_BLOCK},
    removed::RemovedKind,
};
use crate::{tiff::EXIF_HEADER, xmp};
use miniz_oxide::{deflate::compress_to_vec_zlib, inflate::decompress_to_vec_zlib_with_limit};
use std::borrow::Cow;

const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const PHOTOSHOP: &[u8] = b"Photoshop 3.0\0";
const RAW_PROFILE: &str = "Raw profile type ";
/// Bytes that all texts of a file may inflate to: deflate makes a thousand of one.
const MOST_INFLATED: usize = 4 << 20;
/// Digits in a line of a raw profile.
const LINE: usize = 72;

/// What stays of a text.
pub(super) enum Kept {
    AsItIs,
    /// The chunk to write.
    Edited([u8; 4], Vec<u8>),
}

/// The texts of one file.
#[derive(Debug)]
pub(super) struct Texts {
    /// What may still be inflated.
    left: usize,
}

impl Default for Texts {
    fn default() -> Self {
        Self { left: MOST_INFLATED }
    }
}

impl Texts {
    /// Looks at a chunk, `size` bytes in the file; returns what stays of it.
    pub(super) fn look(&mut self, finds: &mut Finds, kind: &[u8], data: &[u8], size: usize) -> Option<Kept> {
        let split = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
        let keyword = String::from_utf8_lossy(data.get(..split.min(80)).unwrap_or_default());
        let text = self.text(kind, data.get(split + 1..).unwrap_or_default());
        let said = text.as_deref().unwrap_or_default();
        if keyword == "XML:com.adobe.xmp" {
            return finds.xmp(said, size).map(|packet| {
                let head: &[u8] = b"XML:com.adobe.xmp\0\0\0\0\0";
                Kept::Edited(*b"iTXt", [head, &packet].concat())
            });
        }
        if let Some(name) = keyword.strip_prefix(RAW_PROFILE) {
            let profile = from_digits(said).unwrap_or_default();
            return raw_profile(finds, name, &profile, size).map(|kept| {
                let digits = compress_to_vec_zlib(&to_digits(name, &kept), 6);
                Kept::Edited(*b"zTXt", [keyword.as_bytes(), &[0, 0], &digits].concat())
            });
        }
        let place = xmp::is_place(&keyword);
        // One that does not inflate cannot be searched.
        if finds.only_places() && !place && text.is_some() {
            return Some(Kept::AsItIs);
        }
        let what = match keyword.as_ref() {
            _ if place => RemovedKind::PlaceName,
            "Software" => RemovedKind::Software,
            "Author" => RemovedKind::Owner,
            "Copyright" => RemovedKind::Copyright,
            "Source" => RemovedKind::Camera,
            "Creation Time" | "date:create" | "date:modify" => RemovedKind::TakenAt,
            _ => RemovedKind::Comment,
        };
        finds.add(what, size);
        if what != RemovedKind::Comment {
            let start = said.get(..said.len().min(1_000)).unwrap_or_default();
            finds.part(what, &String::from_utf8_lossy(start));
        }
        None
    }

    /// The text of a chunk behind its keyword; none where it does not inflate, or is too large.
    fn text<'a>(&mut self, kind: &[u8], rest: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match kind {
            b"zTXt" => self.inflate(rest.strip_prefix(&[0])?).map(Cow::Owned),
            b"iTXt" => {
                let (head, rest) = rest.split_at_checked(2)?;
                let mut parts = rest.splitn(3, |byte| *byte == 0);
                let text = parts.nth(2)?;
                if head.first() == Some(&0) {
                    Some(Cow::Borrowed(text))
                } else {
                    self.inflate(text).map(Cow::Owned)
                }
            }
            _ => Some(Cow::Borrowed(rest)),
        }
    }

    fn inflate(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        // Digits are twice as long as what they say.
        let limit = self.left.min(2 * LARGEST_BLOCK + LARGEST_BLOCK / 16);
        let inflated = decompress_to_vec_zlib_with_limit(bytes, limit);
        // What failed may have cost as much as the limit allows.
        self.left -= inflated.as_ref().map_or(limit, Vec::len);
        inflated.ok()
    }
}

/// What stays of a profile.
fn raw_profile(finds: &mut Finds, name: &str, profile: &[u8], size: usize) -> Option<Vec<u8>> {
    match name {
        "exif" | "APP1" | "app1" => {
            if let Some(packet) = profile.strip_prefix(XMP) {
                return finds.xmp(packet, size).map(|kept| [XMP, &kept].concat());
            }
            let block = profile.strip_prefix(EXIF_HEADER).unwrap_or(profile);
            finds.hidden_exif(block, size).map(|kept| [EXIF_HEADER, &kept].concat())
        }
        "xmp" => finds.xmp(profile, size),
        "iptc" | "8bim" => {
            let resources = profile.strip_prefix(PHOTOSHOP).unwrap_or(profile);
            finds.iptc(resources, size)
        }
        _ => {
            finds.add(RemovedKind::Private, size);
            None
        }
    }
}

/// A profile's bytes: a line with its name, one with its length, lines of digits.
fn from_digits(text: &[u8]) -> Option<Vec<u8>> {
    let mut lines = text.trim_ascii_start().splitn(3, |byte| *byte == b'\n');
    let digits = lines.nth(2)?;
    let mut out = Vec::with_capacity(digits.len() / 2);
    let mut high = None;
    for byte in digits.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return None,
        };
        match high.take() {
            Some(high) => out.push(high << 4 | digit),
            None => high = Some(digit),
        }
    }
    Some(out)
}

/// As image editors write it.
pub(super) fn to_digits(name: &str, profile: &[u8]) -> Vec<u8> {
    let mut out = format!("\n{name}\n{:8}\n", profile.len()).into_bytes();
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    for line in profile.chunks(LINE / 2) {
        out.extend(line.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use proptest::prelude::*;

    #[test]
    fn a_bomb_costs_no_more_than_the_budget() {
        let bomb = compress_to_vec_zlib(&vec![b'0'; 2 << 20], 9);
        let chunk = [&b"Raw profile type exif\0\0"[..], &bomb].concat();
        let mut texts = Texts::default();
        let mut finds = Finds::new(Policy::StripLocation);
        for _ in 0..1_000 {
            assert!(texts.look(&mut finds, b"zTXt", &chunk, chunk.len()).is_none());
        }
        assert!(texts.left < 2 << 20);
        assert_eq!(finds.removed.len(), 1);
    }

    proptest! {
        #[test]
        fn digits_say_what_they_are_made_of(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(from_digits(&to_digits("exif", &bytes)), Some(bytes));
        }

        #[test]
        fn no_chunk_panics(kind in 0_usize..3, data in proptest::collection::vec(any::<u8>(), 0..80)) {
            let kind = [&b"tEXt"[..], b"zTXt", b"iTXt"][kind];
            for policy in [Policy::Strip, Policy::StripLocation] {
                Texts::default().look(&mut Finds::new(policy), kind, &data, 100);
            }
        }
    }
}

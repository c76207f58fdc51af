//! What a worker and its helper say to each other through the pipes, and what the worker believes of it.
//!
//! A frame is the length of its header (4 bytes, little-endian), the length of its body (8 bytes), the header in JSON,
//! and the body: the files that the header tells of, one after the other. Both sides are the same binary, so nothing here
//! is versioned. What a helper answers is not trusted: it may have been taken over by the picture that it was given.

use super::{Confinement, Task};
use mediamill_media::{Cleaned, Facts, Format, MediaError, Removed, Rendered, Settings, probe};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::VecDeque;

/// Bytes before a frame's header.
pub(super) const HEAD: usize = 12;
/// Longest header, bytes.
const LONGEST_HEADER: u32 = 1024 * 1024;
/// Parts of a file's metadata that are told of at most.
const MOST_REMOVED: usize = 200;
/// Longest text of a fact or of a removed part, characters.
const LONGEST_TEXT: usize = 500;
/// Longest stable code, characters.
const LONGEST_CODE: usize = 40;

/// What is to be made of the picture that the frame's body is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// What is wanted of it.
    pub(super) settings: Settings,
    /// Whether that is the cleaned original too.
    pub(super) original: bool,
}

/// What a helper says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It has confined itself and waits.
    Ready(Confinement),
    /// The picture is made; the body is the original, where it was asked for, and the variants.
    Made(Box<Made>),
    /// No picture is to be had from these bytes.
    Refused(Refusal),
}

/// A picture that is made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Made {
    original: Option<File>,
    removed: Vec<Removed>,
    variants: Vec<(String, File)>,
    facts: Facts,
}

/// A file within a body.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    format: Format,
    width: u32,
    height: u32,
    bytes: u64,
}

/// The engine's word that no picture is to be had from the bytes, as [`MediaError`] has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// Its stable code.
    pub code: String,
    /// In words.
    pub text: String,
}

impl From<&MediaError> for Refusal {
    fn from(error: &MediaError) -> Self {
        Self {
            code: error.code().to_owned(),
            text: cut(error.to_string()),
        }
    }
}

/// An answer that no helper gives that is its own master.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Nonsense(pub(super) String);

/// The lengths of a frame's parts, checked: `most` is the longest body that is taken.
pub(super) fn lengths(head: [u8; HEAD], most: u64) -> Result<(usize, u64), Nonsense> {
    let [a, b, c, d, rest @ ..] = head;
    let (header, body) = (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(rest));
    if header > LONGEST_HEADER {
        return Err(Nonsense(format!("a header of {header} bytes")));
    }
    if body > most {
        return Err(Nonsense(format!("a body of {body} bytes, where {most} are allowed")));
    }
    Ok((usize::try_from(header).unwrap_or(usize::MAX), body))
}

/// A frame without its body, which is `body` bytes long.
pub(super) fn frame(header: &impl Serialize, body: u64) -> Result<Vec<u8>, Nonsense> {
    let header = serde_json::to_vec(header).map_err(|error| Nonsense(error.to_string()))?;
    let length = u32::try_from(header.len())
        .ok()
        .filter(|length| *length <= LONGEST_HEADER)
        .ok_or_else(|| Nonsense(format!("a header of {} bytes", header.len())))?;
    let mut frame = Vec::with_capacity(HEAD.saturating_add(header.len()));
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&body.to_le_bytes());
    frame.extend_from_slice(&header);
    Ok(frame)
}

/// Reads a header.
pub(super) fn header<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Nonsense> {
    serde_json::from_slice(bytes).map_err(|error| Nonsense(format!("a header that does not parse: {error}")))
}

/// What was made: the original, where it was asked for, the variants, and what is known of the picture.
pub(super) type Parts = (Option<Cleaned>, Vec<Rendered>, Facts);

/// An answer's frame without its body, and the files of its body in their order.
pub(super) fn answer(result: Result<Parts, MediaError>) -> Result<(Vec<u8>, Vec<Vec<u8>>), Nonsense> {
    let (original, variants, facts) = match result {
        Ok(parts) => parts,
        Err(error) => return Ok((frame(&Answer::Refused(Refusal::from(&error)), 0)?, Vec::new())),
    };
    let (mut files, mut body) = (Vec::new(), 0_u64);
    let mut file = |bytes: Vec<u8>, format, width, height| {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        body = body.saturating_add(length);
        files.push(bytes);
        File {
            format,
            width,
            height,
            bytes: length,
        }
    };
    let mut removed = Vec::new();
    let original = original.map(|original| {
        removed = original.removed;
        file(original.bytes, original.format, original.width, original.height)
    });
    let variants = variants
        .into_iter()
        .map(|variant| {
            let told = file(variant.bytes, variant.format, variant.width, variant.height);
            (variant.name, told)
        })
        .collect();
    // What a file says at great length is told in part.
    removed.truncate(MOST_REMOVED);
    for part in &mut removed {
        part.detail = cut(std::mem::take(&mut part.detail));
    }
    let made = Made {
        original,
        removed,
        variants,
        facts,
    };
    Ok((frame(&Answer::Made(Box::new(made)), body)?, files))
}

impl Made {
    /// Sizes of the body's files. They add up to `body`.
    pub(super) fn sizes(&self, body: u64) -> Result<Vec<u64>, Nonsense> {
        let files = self.original.iter().chain(self.variants.iter().map(|(_, file)| file));
        let sizes: Vec<u64> = files.map(|file| file.bytes).collect();
        let sum = sizes.iter().try_fold(0_u64, |sum, size| sum.checked_add(*size));
        if sum != Some(body) {
            return Err(Nonsense("files that are not as long as the body".to_owned()));
        }
        Ok(sizes)
    }

    /// What was asked for, or nothing: names and order of the variants, formats and sizes that are those of the bytes,
    /// texts of bounded length.
    pub(super) fn check<T: Task>(self, files: Vec<Vec<u8>>, settings: &Settings) -> Result<T::Made, Nonsense> {
        let names = self.variants.iter().map(|(name, _)| name.as_str());
        if !names.eq(settings.variants.iter().map(|variant| variant.name.as_str())) {
            return Err(Nonsense("variants that nobody asked for".to_owned()));
        }
        if self.removed.len() > MOST_REMOVED || self.removed.iter().any(|part| too_long(&part.detail)) {
            return Err(Nonsense("more words about metadata than a file has".to_owned()));
        }
        let Facts {
            camera_make,
            camera_model,
            lens,
            taken_at,
            placeholder,
            ..
        } = &self.facts;
        let texts = [camera_make, camera_model, lens, taken_at, placeholder];
        if texts.into_iter().flatten().any(|text| too_long(text)) {
            return Err(Nonsense("a fact that is a book".to_owned()));
        }
        let mut files = VecDeque::from(files);
        let mut next = |file: &File| {
            let bytes = files.pop_front().unwrap_or_default();
            file.is(&bytes, settings).map(|()| bytes)
        };
        let original = match self.original {
            Some(file) => Some(Cleaned {
                bytes: next(&file)?,
                format: file.format,
                width: file.width,
                height: file.height,
                removed: self.removed,
            }),
            None => None,
        };
        let mut variants = Vec::with_capacity(self.variants.len());
        for (name, file) in self.variants {
            variants.push(Rendered {
                name,
                bytes: next(&file)?,
                format: file.format,
                width: file.width,
                height: file.height,
            });
        }
        T::of(original, variants, self.facts).ok_or_else(|| Nonsense("another part than was asked for".to_owned()))
    }
}

impl File {
    /// Whether `bytes` begin like a picture of this format and size: what is stored as a picture is none of another kind.
    fn is(&self, bytes: &[u8], settings: &Settings) -> Result<(), Nonsense> {
        let probed = probe(bytes).map_err(|error| Nonsense(format!("a file that is no picture: {error}")))?;
        probed
            .check(&settings.limits)
            .map_err(|error| Nonsense(format!("a picture that is not allowed: {error}")))?;
        let stored = (probed.width, probed.height);
        // An original may lie on its side.
        let shown = stored == (self.width, self.height) || stored == (self.height, self.width);
        if probed.format != self.format || !shown {
            return Err(Nonsense("a picture of another format or size than it says".to_owned()));
        }
        Ok(())
    }
}

impl Refusal {
    /// One of the engine's, or at least one that reads like it.
    pub(super) fn check(self) -> Result<Self, Nonsense> {
        let plain = |letter: char| letter.is_ascii_lowercase() || letter == '-';
        let code = !self.code.is_empty() && self.code.len() <= LONGEST_CODE && self.code.chars().all(plain);
        // Nobody asks a helper to stop: it is ended.
        if !code || self.code == MediaError::Cancelled.code() || too_long(&self.text) {
            return Err(Nonsense("a refusal that is none".to_owned()));
        }
        Ok(Self {
            text: self.text.chars().filter(|letter| !letter.is_control()).collect(),
            ..self
        })
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_TEXT) {
        text.truncate(end);
    }
    text
}

fn too_long(text: &str) -> bool {
    text.chars().nth(LONGEST_TEXT).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helpers::{Everything, VariantsAlone};
    use mediamill_media::{Processed, RemovedKind, process, sample};

    fn parts(processed: Processed) -> Parts {
        (Some(processed.original), processed.variants, processed.facts)
    }

    fn made() -> (Made, Vec<Vec<u8>>, u64, Settings) {
        let settings = Settings::default();
        let processed = process(&sample::small(1), &settings, &|| false).unwrap();
        let (frame, files) = answer(Ok(parts(processed))).unwrap();
        let (length, body) = lengths(frame[..HEAD].try_into().unwrap(), u64::MAX).unwrap();
        assert_eq!(length, frame.len() - HEAD);
        let Answer::Made(made) = header(&frame[HEAD..]).unwrap() else {
            panic!("a picture is made of a picture");
        };
        (*made, files, body, settings)
    }

    #[test]
    fn what_was_made_arrives_as_it_was_made() {
        let (made, files, body, settings) = made();
        let sizes = made.sizes(body).unwrap();
        assert!(sizes.iter().zip(&files).all(|(size, file)| *size == file.len() as u64));
        let whole = process(&sample::small(1), &settings, &|| false).unwrap();
        assert_eq!(made.check::<Everything>(files, &settings).unwrap(), whole);
    }

    #[test]
    fn an_original_comes_when_it_was_asked_for_and_only_then() {
        let (whole, files, _, settings) = made();
        assert!(whole.check::<VariantsAlone>(files, &settings).is_err());
        let (mut alone, mut files, _, settings) = made();
        alone.original = None;
        files.remove(0);
        assert!(alone.check::<Everything>(files, &settings).is_err());
        let variants = process(&sample::small(1), &settings, &|| false).unwrap().variants;
        let (frame, files) = answer(Ok((None, variants.clone(), Facts::default()))).unwrap();
        let Answer::Made(alone) = header(&frame[HEAD..]).unwrap() else {
            panic!("variants are made");
        };
        assert_eq!(alone.check::<VariantsAlone>(files, &settings).unwrap(), variants);
    }

    #[test]
    fn an_answer_that_was_not_asked_for_is_nonsense() {
        type Twist = fn(&mut Made, &mut Vec<Vec<u8>>);
        let twists: [(&str, Twist); 9] = [
            ("a variant's name", |made, _| {
                "../../etc".clone_into(&mut made.variants[0].0);
            }),
            ("a variant less", |made, _| drop(made.variants.pop())),
            ("variants in another order", |made, _| made.variants.swap(0, 1)),
            ("another format", |made, _| {
                made.original.as_mut().unwrap().format = Format::Gif;
            }),
            ("another size", |made, _| made.variants[1].1.width += 1),
            ("a page as a picture", |_, files| files[1] = b"<html><script>".to_vec()),
            ("a file less", |_, files| drop(files.pop())),
            ("a fact that never ends", |made, _| {
                made.facts.lens = Some("x".repeat(LONGEST_TEXT + 1));
            }),
            ("a flood of removed parts", |made, _| {
                let part = Removed {
                    what: RemovedKind::Comment,
                    detail: String::new(),
                    bytes: 1,
                };
                made.removed = vec![part; MOST_REMOVED + 1];
            }),
        ];
        for (what, twist) in twists {
            let (mut made, mut files, _, settings) = made();
            twist(&mut made, &mut files);
            assert!(made.check::<Everything>(files, &settings).is_err(), "{what}");
        }
    }

    #[test]
    fn a_picture_larger_than_allowed_is_not_taken_back() {
        let (made, files, _, mut settings) = made();
        settings.limits.max_pixels = 10;
        assert!(made.check::<Everything>(files, &settings).is_err());
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_allocated() {
        let head = |header: u32, body: u64| {
            let bytes = [header.to_le_bytes().as_slice(), body.to_le_bytes().as_slice()].concat();
            lengths(bytes.try_into().unwrap(), 1_000)
        };
        assert_eq!(head(10, 1_000), Ok((10, 1_000)));
        assert!(head(10, 1_001).is_err() && head(u32::MAX, 0).is_err());
        let (mut made, _, body, _) = made();
        assert!(made.sizes(body + 1).is_err());
        made.variants[0].1.bytes = u64::MAX;
        assert!(made.sizes(body).is_err(), "a sum that overflows");
    }

    #[test]
    fn a_refusal_is_a_code_and_a_sentence() {
        let refusal = |code: &str, text: &str| Refusal {
            code: code.to_owned(),
            text: text.to_owned(),
        };
        let error = MediaError::Truncated;
        assert_eq!(
            Refusal::from(&error).check(),
            Ok(refusal(error.code(), &error.to_string()))
        );
        for (code, text) in [
            ("", "x"),
            ("Over Quota", "x"),
            ("cancelled", "x"),
            ("corrupt", &"x".repeat(2_000)),
        ] {
            assert!(refusal(code, text).check().is_err(), "{code}");
        }
        assert_eq!(refusal("corrupt", "a\u{1b}[2Jb\nc").check().unwrap().text, "a[2Jbc");
    }

    #[test]
    fn what_a_file_says_at_great_length_is_told_in_part() {
        let mut processed = process(&sample::small(1), &Settings::default(), &|| false).unwrap();
        let part = Removed {
            what: RemovedKind::Comment,
            detail: "ü".repeat(5_000),
            bytes: 1,
        };
        processed.original.removed = vec![part; 400];
        let (frame, _) = answer(Ok(parts(processed))).unwrap();
        let Answer::Made(made) = header(&frame[HEAD..]).unwrap() else {
            panic!("it is made");
        };
        assert_eq!(made.removed.len(), MOST_REMOVED);
        assert_eq!(made.removed[0].detail, "ü".repeat(LONGEST_TEXT));
    }
}

//! Format and size from headers alone.

use crate::{Format, Limits, MediaError, Settings};

/// What headers tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The format.
    pub format: Format,
    /// Pixels across, as stored.
    pub width: u32,
    /// Pixels down, as stored.
    pub height: u32,
    /// Bytes that one decoded pixel takes at most.
    pub pixel_bytes: u8,
}

/// Headers did not tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The size stands further on: ask again with more bytes, or call the file cut off when there are none.
    #[error("the picture's size stands further on")]
    NeedMore,
    /// They never will.
    #[error(transparent)]
    Media(#[from] MediaError),
}

/// Reads headers in `head`, the file's first bytes. Runs no decoder.
///
/// # Errors
/// [`ProbeError::NeedMore`] when the size is not within `head`.
pub fn probe(head: &[u8]) -> Result<Probe, ProbeError> {
    let Some(format) = Format::sniff(head) else {
        let hopeful = head.len() < 12;
        return Err(if hopeful && !head.is_empty() {
            ProbeError::NeedMore
        } else {
            MediaError::NotAnImage.into()
        });
    };
    let (width, height, pixel_bytes) = match format {
        Format::Jpeg => jpeg(head)?,
        Format::Png => png(head)?,
        Format::Gif => gif(head)?,
        Format::WebP => webp(head)?,
        Format::Avif | Format::Bmp | Format::Tiff => {
            return Err(MediaError::Unsupported {
                format: format.name(),
                problem: "not yet".to_owned(),
            }
            .into());
        }
    };
    if width == 0 || height == 0 {
        return Err(MediaError::corrupt("it has no pixels").into());
    }
    Ok(Probe {
        format,
        width,
        height,
        pixel_bytes,
    })
}

impl Probe {
    /// Whether a picture of this size may be decoded.
    ///
    /// # Errors
    /// When it is over a limit.
    pub fn check(&self, limits: &Limits) -> Result<(), MediaError> {
        limits.check(self.width, self.height)
    }

    /// An upper bound of the memory that [`crate::process`] uses, `input` bytes of file included.
    ///
    /// Decoded once, turned once, converted to 8 bits once: at most three times the decoded size, twice the file (it
    /// and its cleaned copy), each variant's pixels with one intermediate, and a decoder's own tables.
    #[must_use]
    pub fn memory_bytes(&self, input: u64, settings: &Settings) -> u64 {
        const TABLES: u64 = 4 * 1024 * 1024;
        let decoded = u64::from(self.width) * u64::from(self.height) * u64::from(self.pixel_bytes);
        // Progressive JPEGs keep all coefficients, two bytes for each sample; the others turn or convert once.
        let working = decoded.saturating_mul(3);
        let variants: u64 = settings
            .variants
            .iter()
            .map(|variant| {
                let (width, height) = variant.largest(self.width, self.height);
                u64::from(width) * u64::from(height) * 4 * 3
            })
            .sum();
        working
            .saturating_add(input.saturating_mul(2))
            .saturating_add(variants)
            .saturating_add(TABLES)
    }
}

fn at<const N: usize>(bytes: &[u8], start: usize) -> Result<[u8; N], ProbeError> {
    let end = start.checked_add(N).ok_or(ProbeError::NeedMore)?;
    bytes
        .get(start..end)
        .and_then(|part| part.try_into().ok())
        .ok_or(ProbeError::NeedMore)
}

/// ITU-T T.81 annex B: segments up to the frame header.
fn jpeg(head: &[u8]) -> Result<(u32, u32, u8), ProbeError> {
    let mut place = 2;
    loop {
        let [marker] = at(head, place)?;
        if marker != 0xff {
            return Err(MediaError::corrupt("a marker is missing between its segments").into());
        }
        let [code] = at(head, place + 1)?;
        match code {
            // A fill byte, and markers without a segment.
            0xff => place += 1,
            0x01 | 0xd0..=0xd7 => place += 2,
            0xd9 => return Err(MediaError::Truncated.into()),
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let [bits] = at(head, place + 4)?;
                let height = u16::from_be_bytes(at(head, place + 5)?);
                let width = u16::from_be_bytes(at(head, place + 7)?);
                let [components] = at(head, place + 9)?;
                let refuse = |problem: &str| MediaError::Unsupported {
                    format: "JPEG",
                    problem: problem.into(),
                };
                if bits != 8 {
                    return Err(refuse(&format!("{bits} bits a sample")).into());
                }
                match code {
                    0xc0..=0xc2 => {}
                    0xc3 | 0xc7 | 0xcb | 0xcf => return Err(refuse("lossless coding").into()),
                    0xc9..=0xcf => return Err(refuse("arithmetic coding").into()),
                    _ => return Err(refuse("hierarchical coding").into()),
                }
                let pixel_bytes = match components {
                    1 => 1,
                    3 => 3,
                    4 => 4,
                    other => return Err(MediaError::corrupt(format!("{other} colour components")).into()),
                };
                return Ok((width.into(), height.into(), pixel_bytes));
            }
            0xda => return Err(MediaError::corrupt("a scan stands before its frame header").into()),
            _ => {
                let length = u16::from_be_bytes(at(head, place + 2)?);
                if length < 2 {
                    return Err(MediaError::corrupt("a segment is shorter than its own length").into());
                }
                place += 2 + usize::from(length);
            }
        }
    }
}

fn png(head: &[u8]) -> Result<(u32, u32, u8), ProbeError> {
    if at::<4>(head, 12)? != *b"IHDR" {
        return Err(MediaError::corrupt("its header chunk is missing").into());
    }
    let width = u32::from_be_bytes(at(head, 16)?);
    let height = u32::from_be_bytes(at(head, 20)?);
    let [depth] = at(head, 24)?;
    // Palettes and greys may carry transparency that decodes to RGBA.
    Ok((width, height, if depth == 16 { 8 } else { 4 }))
}

fn gif(head: &[u8]) -> Result<(u32, u32, u8), ProbeError> {
    let width = u16::from_le_bytes(at(head, 6)?);
    let height = u16::from_le_bytes(at(head, 8)?);
    Ok((width.into(), height.into(), 4))
}

/// RFC 9649: the first chunk is VP8X, VP8 or VP8L.
fn webp(head: &[u8]) -> Result<(u32, u32, u8), ProbeError> {
    let (width, height) = match &at::<4>(head, 12)? {
        b"VP8X" => {
            let side =
                |start| at::<3>(head, start).map(|[low, middle, high]| u32::from_le_bytes([low, middle, high, 0]) + 1);
            (side(24)?, side(27)?)
        }
        b"VP8 " => {
            if at::<3>(head, 23)? != [0x9d, 0x01, 0x2a] {
                return Err(MediaError::corrupt("its key frame has no start code").into());
            }
            let width = u16::from_le_bytes(at(head, 26)?) & 0x3fff;
            let height = u16::from_le_bytes(at(head, 28)?) & 0x3fff;
            (width.into(), height.into())
        }
        b"VP8L" => {
            let [signature] = at(head, 20)?;
            if signature != 0x2f {
                return Err(MediaError::corrupt("its lossless stream has no signature").into());
            }
            let bits = u32::from_le_bytes(at(head, 21)?);
            ((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1)
        }
        _ => return Err(MediaError::corrupt("it begins with a chunk that is no picture").into()),
    };
    Ok((width, height, 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn jpeg_header(width: u16, height: u16) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc0, 0, 17, 8];
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes.push(3);
        bytes
    }

    #[test]
    fn a_lying_header_is_refused_before_any_decoder() {
        let probed = probe(&jpeg_header(65_500, 65_500)).unwrap();
        let error = probed.check(&Limits::default()).unwrap_err();
        assert_eq!(error.code(), "too-many-pixels");
        assert!(error.to_string().contains("65500 × 65500"), "{error}");
    }

    #[test]
    fn a_short_head_asks_for_more() {
        let whole = jpeg_header(640, 480);
        assert_eq!(probe(&whole).map(|p| (p.width, p.height)), Ok((640, 480)));
        for end in 3..whole.len() {
            assert_eq!(probe(&whole[..end]), Err(ProbeError::NeedMore), "{end}");
        }
    }

    #[test]
    fn other_bytes_are_no_picture() {
        for bytes in [&b""[..], b"hello, I am a text file", b"%PDF-1.7 and so on", &[0; 64]] {
            assert_eq!(probe(bytes), Err(ProbeError::Media(MediaError::NotAnImage)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(start in 0_usize..4, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let starts: [&[u8]; 4] = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP"];
            let mut bytes = starts[start].to_vec();
            bytes.extend(rest);
            let _ = probe(&bytes);
        }
    }
}

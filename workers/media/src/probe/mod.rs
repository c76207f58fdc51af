//! Format, size, and the memory that decoding takes, from headers alone. Runs no decoder.
//!
//! One file per format. Each reads only what it needs, asks for more where the head is too short, and refuses kinds that
//! no decoder here takes, with the reason and what to do about it.

mod avif;
mod bmp;
mod gif;
pub(crate) mod jpeg;
mod png;
pub(crate) mod tiff;
mod webp;

use crate::{Format, Limits, MediaError, Settings, colour, render};

/// Tables, windows, rows and small things that every decoder has beside its pixels.
const TABLES: u64 = 2 * 1024 * 1024;

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
    /// Memory that decoding takes at most, bytes: all that a decoder holds at one time, its result included; the file,
    /// and parts of it that a decoder copies, not.
    pub decoder_bytes: u64,
    /// What a picture takes that can be decoded at less than its size.
    coded: Option<jpeg::Coded>,
}

/// What a format's headers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    width: u32,
    height: u32,
    pixel_bytes: u8,
    decoder_bytes: u64,
    coded: Option<jpeg::Coded>,
}

impl Header {
    /// A picture of which nothing but the decoded pixels grows with the size: `bytes` for each of them, all buffers
    /// that live at one time taken together.
    fn plain(width: u32, height: u32, pixel_bytes: u8, bytes: u64) -> Self {
        let row = u64::from(width).saturating_mul(u64::from(pixel_bytes));
        Self {
            width,
            height,
            pixel_bytes,
            decoder_bytes: pixels(width, height)
                .saturating_mul(bytes)
                .saturating_add(row.saturating_mul(8))
                .saturating_add(TABLES),
            coded: None,
        }
    }
}

/// Width times height.
fn pixels(width: u32, height: u32) -> u64 {
    u64::from(width).saturating_mul(u64::from(height))
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
/// [`ProbeError::NeedMore`] when what has to be known is not within `head`; else why the file is not taken.
pub fn probe(head: &[u8]) -> Result<Probe, ProbeError> {
    refuse_relatives(head)?;
    let Some(format) = Format::sniff(head) else {
        let hopeful = head.len() < 12;
        return Err(if hopeful && !head.is_empty() {
            ProbeError::NeedMore
        } else {
            MediaError::NotAnImage.into()
        });
    };
    let header = match format {
        Format::Jpeg => jpeg::header(head)?,
        Format::Png => png::header(head)?,
        Format::Gif => gif::header(head)?,
        Format::WebP => webp::header(head)?,
        Format::Avif => avif::header(head)?,
        Format::Bmp => bmp::header(head)?,
        Format::Tiff => tiff::header(head)?,
    };
    if header.width == 0 || header.height == 0 {
        return Err(MediaError::corrupt("it has no pixels").into());
    }
    Ok(Probe {
        format,
        width: header.width,
        height: header.height,
        pixel_bytes: header.pixel_bytes,
        decoder_bytes: header.decoder_bytes,
        coded: header.coded,
    })
}

/// Formats that look like those taken here, and are named rather than called no picture.
fn refuse_relatives(head: &[u8]) -> Result<(), ProbeError> {
    if head.starts_with(b"II+\0") || head.starts_with(b"MM\0+") {
        return Err(unsupported("BigTIFF", "save it as a plain TIFF or a PNG").into());
    }
    avif::refuse_heic(head)
}

fn unsupported(format: &'static str, problem: impl Into<String>) -> MediaError {
    MediaError::Unsupported {
        format,
        problem: problem.into(),
    }
}

impl Probe {
    /// Whether a picture of this size may be decoded.
    ///
    /// # Errors
    /// When it is over a limit.
    pub fn check(&self, limits: &Limits) -> Result<(), MediaError> {
        limits.check(self.width, self.height)
    }

    /// An upper bound of the memory that [`crate::process`] uses, bytes, `input` bytes of file included.
    ///
    /// What the decoder holds, the file with its cleaned copy and the metadata read out of it, each variant's pixels
    /// with one intermediate, and tables. Headers do not tell the tables of a lossless WebP: a file made for it can pass
    /// the bound by some tens of its own size.
    #[must_use]
    pub fn memory_bytes(&self, input: u64, settings: &Settings) -> u64 {
        let size = pixels(self.width, self.height);
        let moves = matches!(self.format, Format::Gif | Format::WebP | Format::Png);
        let mut decoder = self.coded.map_or(self.decoder_bytes, |coded| {
            // The orientation stands in the metadata, which may come late.
            let (upright, turned) = ((self.width, self.height), (self.height, self.width));
            coded.bytes(render::eighths_of(settings, upright).max(render::eighths_of(settings, turned)))
        });
        if moves && settings.variants.iter().any(|variant| variant.animated) {
            // The frame in hand beside what reads the next one.
            decoder = decoder.max(self.frames_bytes().saturating_add(size.saturating_mul(4)));
        }
        if self.format == Format::Jpeg && self.pixel_bytes == 4 {
            // Inks, and the light that their profile makes of them.
            decoder = decoder.saturating_add(size.saturating_mul(3));
        }
        decoder
            .saturating_add(input.saturating_mul(3))
            .saturating_add(render::memory_bytes(settings, self.width, self.height, moves))
            .saturating_add(colour::memory_bytes(input, self.format == Format::Png))
            .saturating_add(TABLES)
    }

    /// An upper bound of the memory that reading frames one by one takes, bytes, the file not included: the canvas, what
    /// is kept for disposal, the coded frame and the composed one.
    #[must_use]
    pub fn frames_bytes(&self) -> u64 {
        const FRAME: u64 = 24;
        match self.format {
            Format::Gif | Format::Png | Format::WebP => pixels(self.width, self.height)
                .saturating_mul(FRAME)
                .saturating_add(self.decoder_bytes),
            Format::Jpeg | Format::Avif | Format::Bmp | Format::Tiff => {
                // A single frame, decoded and turned to RGBA.
                self.decoder_bytes
                    .saturating_add(pixels(self.width, self.height).saturating_mul(4))
            }
        }
    }
}

fn at<const N: usize>(bytes: &[u8], start: usize) -> Result<[u8; N], ProbeError> {
    let end = start.checked_add(N).ok_or(ProbeError::NeedMore)?;
    bytes
        .get(start..end)
        .and_then(|part| part.try_into().ok())
        .ok_or(ProbeError::NeedMore)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn jpeg_header(width: u16, height: u16) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc0, 0, 17, 8];
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes.extend([3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
        bytes.extend([0xff, 0xda, 0, 12, 3]);
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
        fn no_bytes_panic(start in 0_usize..12, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let starts: [&[u8]; 12] = [
                b"\xff\xd8\xff",
                b"\x89PNG\r\n\x1a\n",
                b"GIF89a",
                b"RIFF\0\0\0\0WEBP",
                b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
                b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0",
                b"II*\0\x08\0\0\0",
                b"MM\0*\0\0\0\x08\0\x09",
                b"\0\0\0\x10ftypavif\0\0\0\0",
                b"\0\0\0\x10ftypavif\0\0\0\0\0\0\0\xd0meta\0\0\0\0",
                b"\0\0\0\x10ftypmif1\0\0\0\0\0\0\0\x50meta\0\0\0\0\0\0\0\x0epitm\0\0\0\0\0\x01",
                b"\0\0\0\x10ftyp",
            ];
            let mut bytes = starts[start].to_vec();
            bytes.extend(rest);
            let _ = probe(&bytes);
        }
    }
}

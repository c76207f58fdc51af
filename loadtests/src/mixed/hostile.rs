//! Files that mean harm, or met with it: cut off, damaged, lying, or far larger than they look.

use super::{
    containers::{self, chunk, gif, png, png_header, riff},
    good::Original,
};
use miniz_oxide::deflate::compress_to_vec_zlib;

/// Starts of every format, and of some that look like one.
const SIGNATURES: [&[u8]; 10] = [
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\xff\xff\0\0WEBPVP8L",
    b"RIFF\xff\xff\0\0WEBPVP8X",
    b"BM\xff\xff\0\0\0\0\0\0",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf\0\0\x02\0meta",
    b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
];

/// Numbers that look random, and are the same for the same seed.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u32) -> Self {
        Self(u64::from(seed).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_be_bytes())
            .flatten()
            .take(count)
            .collect()
    }
}

/// Bombs take a while to make: they are made once.
#[derive(Debug)]
pub(super) struct Hostile {
    made: Vec<(&'static str, Vec<u8>)>,
}

/// Kinds that are made of a good picture.
const OF_A_PICTURE: usize = 3;

impl Hostile {
    pub(super) fn make() -> Self {
        let made = vec![
            ("PNG bomb, 196 MP", png_bomb(14_000, 14_000, 1, 0)),
            ("PNG bomb, 36 MP of colour", png_bomb(6_000, 6_000, 8, 2)),
            ("PNG beyond all limits", png_lie(0x7fff_ffff, 0x7fff_ffff)),
            ("PNG of 64 MP without its rows", png_lie(8_000, 8_000)),
            ("PNG texts that unfold to 1 GB", png_texts()),
            ("PNG of 100,000 chunks", png_chunks()),
            ("JPEG of 65,500 × 65,500", jpeg_lie(65_500, 65_500)),
            ("JPEG of 196 MP without its scan", jpeg_lie(14_000, 14_000)),
            ("JPEG of 25 MP without its scan", jpeg_lie(5_000, 5_000)),
            ("JPEG with 4 MB of metadata", jpeg_metadata()),
            ("GIF of 3,000 frames", gif(2_000, 2_000, 3_000)),
            ("GIF of 900 frames on 36 MP", gif(6_000, 6_000, 900)),
            ("GIF of 900 frames on 4,295 MP", gif(65_535, 65_535, 900)),
            ("WebP of 2,000 frames", webp_frames(1_000, 1_000, 2_000)),
            ("WebP of 900 frames on 196 MP", webp_frames(14_000, 14_000, 900)),
            ("WebP of 36 MP without its pixels", webp_lie()),
            ("BMP of 196 MP in 100 bytes", bmp_lie()),
            ("TIFF whose directory is its next", tiff_loop()),
            (
                "a page that begins like a GIF",
                b"GIF89a/*<html><script>alert(1)</script>*/=1;".to_vec(),
            ),
            ("a text", b"This is no picture at all, and never will be one.".to_vec()),
        ];
        Self { made }
    }

    /// The hostile file of a number, and what it is.
    pub(super) fn file(&self, number: u32, good: &Original) -> (&'static str, Vec<u8>) {
        let mut dice = Dice::new(number);
        // Half of them are damaged pictures: these get deepest into the decoders.
        if dice.below(2) == 0 {
            return damaged(dice.below(OF_A_PICTURE), &mut dice, &good.picture(number));
        }
        let place = dice.below(self.made.len() + 2);
        if let Some((kind, bytes)) = self.made.get(place) {
            let mut bytes = bytes.clone();
            bytes.extend(number.to_be_bytes());
            return (kind, bytes);
        }
        let start = SIGNATURES
            .get(dice.below(SIGNATURES.len()))
            .copied()
            .unwrap_or_default();
        let size = 64 + dice.below(20_000);
        ("noise behind a signature", [start, &dice.bytes(size)].concat())
    }
}

fn damaged(how: usize, dice: &mut Dice, good: &[u8]) -> (&'static str, Vec<u8>) {
    let mut bytes = good.to_vec();
    match how {
        0 => {
            bytes.truncate(16 + dice.below(bytes.len().saturating_sub(16)));
            ("cut off", bytes)
        }
        1 => {
            for _ in 0..=dice.below(bytes.len() / 500 + 8) {
                let place = dice.below(bytes.len());
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            ("bits flipped", bytes)
        }
        _ => {
            let (from, to) = (dice.below(bytes.len()), dice.below(bytes.len()));
            let noise = dice.bytes(from.abs_diff(to).min(4_096));
            let end = from.saturating_add(noise.len()).min(bytes.len());
            bytes.splice(from..end, noise);
            ("a part overwritten", bytes)
        }
    }
}

/// All of its rows, and nothing in them.
fn png_bomb(width: u32, height: u32, depth: u8, colour: u8) -> Vec<u8> {
    let samples = if colour == 2 { 3 } else { 1 };
    let row = 1 + (u64::from(width) * samples * u64::from(depth)).div_ceil(8);
    let raw = vec![0; usize::try_from(row * u64::from(height)).unwrap_or(0)];
    let coded = compress_to_vec_zlib(&raw, 1);
    png(&png_header(width, height, depth, colour), &[chunk(*b"IDAT", &coded)])
}

fn png_lie(width: u32, height: u32) -> Vec<u8> {
    let coded = compress_to_vec_zlib(&[0; 4_096], 1);
    png(&png_header(width, height, 8, 6), &[chunk(*b"IDAT", &coded)])
}

fn png_texts() -> Vec<u8> {
    let text = compress_to_vec_zlib(&vec![b'A'; 50_000_000], 1);
    let text = chunk(*b"zTXt", &[b"Comment\0\0", text.as_slice()].concat());
    let pixels = chunk(*b"IDAT", &compress_to_vec_zlib(&[0; 65], 1));
    let mut chunks = vec![text; 20];
    chunks.push(pixels);
    png(&png_header(16, 4, 8, 0), &chunks)
}

fn png_chunks() -> Vec<u8> {
    let pixels = chunk(*b"IDAT", &compress_to_vec_zlib(&[0; 68], 1));
    let mut chunks = vec![chunk(*b"tEXt", b"a\0b"); 100_000];
    chunks.push(pixels);
    png(&png_header(16, 4, 8, 0), &chunks)
}

/// A frame header, and hardly a scan.
fn jpeg_lie(width: u16, height: u16) -> Vec<u8> {
    let mut out = vec![0xff, 0xd8];
    for class in [0x00, 0x10] {
        // A table of one code.
        out.extend([0xff, 0xc4, 0, 20, class, 1]);
        out.extend([0; 15]);
        out.push(0);
    }
    out.extend([0xff, 0xdb, 0, 67, 0]);
    out.extend([1; 64]);
    out.extend([0xff, 0xc2, 0, 17, 8]);
    out.extend(height.to_be_bytes());
    out.extend(width.to_be_bytes());
    out.extend([3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    out.extend([0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 0, 0]);
    out.extend([0; 40]);
    out.extend([0xff, 0xd9]);
    out
}

fn jpeg_metadata() -> Vec<u8> {
    let mut out = vec![0xff, 0xd8];
    for number in 0..64_u8 {
        out.extend([0xff, 0xe1, 0xff, 0xff]);
        out.extend(b"Exif\0\0");
        out.resize(out.len() + 65_533 - 6, number);
    }
    let small = mediamill_media::sample::small(1);
    out.extend(small.get(2..).unwrap_or_default());
    out
}

/// A lossless WebP's header (RFC 9649, 3.4): width and height less one in 14 bits each.
fn webp_pixels(width: u32, height: u32, data: &[u8]) -> Vec<u8> {
    let sizes = width.saturating_sub(1) | height.saturating_sub(1) << 14;
    let picture = [&[0x2f][..], &sizes.to_le_bytes(), data].concat();
    let body = [b"WEBP".to_vec(), riff(*b"VP8L", &picture)].concat();
    riff(*b"RIFF", &body)
}

fn webp_lie() -> Vec<u8> {
    webp_pixels(6_000, 6_000, &[0; 64])
}

fn webp_frames(width: u32, height: u32, frames: usize) -> Vec<u8> {
    // One pixel: no transform, no cache, no further codes, and five codes of one symbol each.
    let still = webp_pixels(1, 1, &[0b0100_1000, 0b0010_0100, 0b1001_0010, 0, 0, 0]);
    containers::webp(width, height, 1, &still, frames)
}

fn bmp_lie() -> Vec<u8> {
    let mut out = b"BM\x64\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    out.extend(14_000_u32.to_le_bytes());
    out.extend(14_000_u32.to_le_bytes());
    out.extend([1, 0, 24, 0]);
    out.resize(100, 0);
    out
}

fn tiff_loop() -> Vec<u8> {
    let mut out = b"II*\0\x08\0\0\0".to_vec();
    out.extend(u16::MAX.to_le_bytes());
    for _ in 0..u16::MAX {
        // A directory below this one, which is this one.
        out.extend([0x69, 0x87, 4, 0, 1, 0, 0, 0, 8, 0, 0, 0]);
    }
    out.extend(8_u32.to_le_bytes());
    out
}

//! Files of every kind, put together by hand where encoders make only the usual ones.

use image::RgbImage;

/// Colours of the four quarters: above left, above right, below left, below right.
pub(crate) const QUARTERS: [[u8; 3]; 4] = [[220, 30, 30], [30, 200, 40], [40, 50, 210], [230, 220, 210]];

/// Four quarters, cut at `width / 2` and `height / 2`.
pub(crate) fn quarters(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let quarter = u32::from(x >= width / 2) + 2 * u32::from(y >= height / 2);
        image::Rgb(QUARTERS[usize::try_from(quarter).unwrap()])
    })
}

/// How a PNG is coded.
#[derive(Clone)]
pub(crate) struct Png {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) depth: u8,
    pub(crate) colour: u8,
    pub(crate) interlaced: bool,
    /// Chunks between header and pixels.
    pub(crate) chunks: Vec<([u8; 4], Vec<u8>)>,
}

impl Png {
    pub(crate) fn new(width: u32, height: u32, depth: u8, colour: u8) -> Self {
        Self {
            width,
            height,
            depth,
            colour,
            interlaced: false,
            chunks: Vec::new(),
        }
    }

    /// With samples from `sample(x, y, channel)`.
    pub(crate) fn file(&self, sample: &dyn Fn(u32, u32, u32) -> u16) -> Vec<u8> {
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut header = Vec::new();
        header.extend(self.width.to_be_bytes());
        header.extend(self.height.to_be_bytes());
        header.extend([self.depth, self.colour, 0, 0, u8::from(self.interlaced)]);
        out.extend(chunk(*b"IHDR", &header));
        for (kind, data) in &self.chunks {
            out.extend(chunk(*kind, data));
        }
        out.extend(chunk(*b"IDAT", &zlib(&self.rows(sample))));
        out.extend(chunk(*b"IEND", &[]));
        out
    }

    /// Rows, unfiltered, each behind its filter byte.
    pub(crate) fn rows(&self, sample: &dyn Fn(u32, u32, u32) -> u16) -> Vec<u8> {
        const PASSES: [[u32; 4]; 7] = [
            [0, 0, 8, 8],
            [4, 0, 8, 8],
            [0, 4, 4, 8],
            [2, 0, 4, 4],
            [0, 2, 2, 4],
            [1, 0, 2, 2],
            [0, 1, 1, 2],
        ];
        let passes = if self.interlaced {
            &PASSES[..]
        } else {
            &[[0, 0, 1, 1]][..]
        };
        let channels = [1, 0, 3, 1, 2, 0, 4][usize::from(self.colour)];
        let mut out = Vec::new();
        for [left, top, across, down] in passes.iter().copied() {
            if left >= self.width {
                continue;
            }
            for y in (top..self.height).step_by(usize::try_from(down).unwrap()) {
                out.push(0);
                let (mut byte, mut bits) = (0_u8, 0);
                for x in (left..self.width).step_by(usize::try_from(across).unwrap()) {
                    for channel in 0..channels {
                        let value = sample(x, y, channel);
                        match self.depth {
                            16 => out.extend(value.to_be_bytes()),
                            8 => out.push(u8::try_from(value).unwrap()),
                            depth => {
                                byte = byte << depth | u8::try_from(value).unwrap();
                                bits += depth;
                                if bits == 8 {
                                    out.push(byte);
                                    (byte, bits) = (0, 0);
                                }
                            }
                        }
                    }
                }
                if bits > 0 {
                    out.push(byte << (8 - bits));
                }
            }
        }
        out
    }
}

pub(crate) fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(data.len()).unwrap().to_be_bytes().to_vec();
    out.extend(kind);
    out.extend(data);
    out.extend(crc32fast::hash(&out[4..]).to_be_bytes());
    out
}

/// Stored blocks: nothing is compressed.
pub(crate) fn zlib(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = data.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend((b << 16 | a).to_be_bytes());
    out
}

/// A frame of an APNG: where it lies, its delay in milliseconds, disposal (0 none, 1 background, 2 previous), blending (0
/// source, 1 over), and its one colour, RGBA.
pub(crate) struct ApngFrame {
    pub(crate) place: [u32; 4],
    pub(crate) delay: u16,
    pub(crate) dispose: u8,
    pub(crate) blend: u8,
    pub(crate) colour: [u8; 4],
}

/// An APNG of RGBA frames, the first of which is the default image.
pub(crate) fn apng(width: u32, height: u32, plays: u32, frames: &[ApngFrame]) -> Vec<u8> {
    let whole = Png::new(width, height, 8, 6);
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 6, 0, 0, 0]);
    out.extend(chunk(*b"IHDR", &header));
    let count = u32::try_from(frames.len()).unwrap();
    out.extend(chunk(*b"acTL", &[count.to_be_bytes(), plays.to_be_bytes()].concat()));
    let mut sequence = 0_u32;
    let mut next = || {
        sequence += 1;
        (sequence - 1).to_be_bytes()
    };
    for (number, frame) in frames.iter().enumerate() {
        let [x, y, w, h] = frame.place;
        let mut control = next().to_vec();
        for value in [w, h, x, y] {
            control.extend(value.to_be_bytes());
        }
        control.extend(frame.delay.to_be_bytes());
        control.extend(1_000_u16.to_be_bytes());
        control.extend([frame.dispose, frame.blend]);
        out.extend(chunk(*b"fcTL", &control));
        let part = Png {
            width: w,
            height: h,
            ..whole.clone()
        };
        let data = zlib(&part.rows(&|_, _, channel| frame.colour[usize::try_from(channel).unwrap()].into()));
        if number == 0 {
            out.extend(chunk(*b"IDAT", &data));
        } else {
            out.extend(chunk(*b"fdAT", &[next().to_vec(), data].concat()));
        }
    }
    out.extend(chunk(*b"IEND", &[]));
    out
}

/// A frame of a GIF: where it lies, its delay in hundredths, its disposal (0 to 3), and the colour that fills it, by its
/// number; 0 is transparent.
pub(crate) struct GifFrame {
    pub(crate) place: [u16; 4],
    pub(crate) delay: u16,
    pub(crate) dispose: u8,
    pub(crate) colour: u8,
}

/// A GIF of frames of one colour each. Colours: 0 transparent, 1 red, 2 green, 3 blue. `repeats` 0 is for ever.
pub(crate) fn gif(width: u16, height: u16, repeats: Option<u16>, frames: &[GifFrame]) -> Vec<u8> {
    let mut out = b"GIF89a".to_vec();
    out.extend(width.to_le_bytes());
    out.extend(height.to_le_bytes());
    // A palette of 128 colours.
    out.extend([0xf6, 0, 0]);
    out.extend([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255]);
    out.extend([0; 124 * 3]);
    if let Some(repeats) = repeats {
        out.extend(b"\x21\xff\x0bNETSCAPE2.0\x03\x01");
        out.extend(repeats.to_le_bytes());
        out.push(0);
    }
    for frame in frames {
        out.extend([0x21, 0xf9, 4, frame.dispose << 2 | 1]);
        out.extend(frame.delay.to_le_bytes());
        out.extend([0, 0, 0x2c]);
        for value in frame.place {
            out.extend(value.to_le_bytes());
        }
        out.extend([0, 7]);
        let count = usize::from(frame.place[2]) * usize::from(frame.place[3]);
        // Codes stay at eight bits as long as the table is emptied before it has 256 entries.
        let pixels = vec![frame.colour; count];
        let mut data = Vec::new();
        for run in pixels.chunks(120) {
            data.push(0x80);
            data.extend(run);
        }
        data.push(0x81);
        for block in data.chunks(255) {
            out.push(u8::try_from(block.len()).unwrap());
            out.extend(block);
        }
        out.push(0);
    }
    out.push(0x3b);
    out
}

/// A frame of an animated WebP: where it lies (even numbers), its delay in milliseconds, whether it is blended, whether
/// its place is cleared after it, and its one colour, RGBA.
pub(crate) struct WebpFrame {
    pub(crate) place: [u32; 4],
    pub(crate) delay: u32,
    pub(crate) blend: bool,
    pub(crate) clear: bool,
    pub(crate) colour: [u8; 4],
}

pub(crate) fn webp(width: u32, height: u32, loops: u16, frames: &[WebpFrame]) -> Vec<u8> {
    let riff = |kind: &[u8; 4], data: &[u8]| {
        let mut out = kind.to_vec();
        out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        out.extend(data);
        out.resize(out.len().next_multiple_of(2), 0);
        out
    };
    let short = |value: u32| value.to_le_bytes()[..3].to_vec();
    let mut body = b"WEBP".to_vec();
    body.extend(riff(
        b"VP8X",
        &[vec![0x12, 0, 0, 0], short(width - 1), short(height - 1)].concat(),
    ));
    body.extend(riff(b"ANIM", &[vec![0; 4], loops.to_le_bytes().to_vec()].concat()));
    for frame in frames {
        let [x, y, w, h] = frame.place;
        let image = image::RgbaImage::from_pixel(w, h, image::Rgba(frame.colour));
        let mut still = Vec::new();
        image::codecs::webp::WebPEncoder::new_lossless(&mut still)
            .encode(&image, w, h, image::ExtendedColorType::Rgba8)
            .unwrap();
        let flags = u8::from(!frame.blend) << 1 | u8::from(frame.clear);
        let head = [
            short(x / 2),
            short(y / 2),
            short(w - 1),
            short(h - 1),
            short(frame.delay),
            vec![flags],
        ]
        .concat();
        // The encoder writes a bare VP8L chunk behind its file header.
        body.extend(riff(b"ANMF", &[head, still[12..].to_vec()].concat()));
    }
    riff(b"RIFF", &body)
}

/// A BMP without compression, its header of `size` bytes.
pub(crate) fn bmp(size: u32, top_down: bool, image: &RgbImage) -> Vec<u8> {
    let (width, height) = image.dimensions();
    let mut header = size.to_le_bytes().to_vec();
    if size == 12 {
        header.extend(u16::try_from(width).unwrap().to_le_bytes());
        header.extend(u16::try_from(height).unwrap().to_le_bytes());
        header.extend([1, 0, 24, 0]);
    } else {
        let down = i32::try_from(height).unwrap();
        header.extend(width.to_le_bytes());
        header.extend((if top_down { -down } else { down }).to_le_bytes());
        header.extend([1, 0, 24, 0]);
        header.resize(usize::try_from(size).unwrap(), 0);
    }
    let mut rows: Vec<Vec<u8>> = image
        .rows()
        .map(|row| {
            let mut bytes: Vec<u8> = row.flat_map(|pixel| [pixel.0[2], pixel.0[1], pixel.0[0]]).collect();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        })
        .collect();
    if !top_down {
        rows.reverse();
    }
    let pixels = rows.concat();
    let start = 14 + size;
    let mut out = b"BM".to_vec();
    out.extend((start + u32::try_from(pixels.len()).unwrap()).to_le_bytes());
    out.extend([0; 4]);
    out.extend(start.to_le_bytes());
    out.extend(header);
    out.extend(pixels);
    out
}

/// A TIFF of one strip without compression; its directory stands at the end.
pub(crate) fn tiff(width: u32, height: u32, bits: u16, samples: u16, photometric: u16, pixels: &[u8]) -> Vec<u8> {
    let mut out = b"II*\0".to_vec();
    let length = u32::try_from(pixels.len()).unwrap();
    let values = 8 + length;
    let padded = values.next_multiple_of(2);
    out.extend((padded + 8).to_le_bytes());
    out.extend(pixels);
    out.resize(usize::try_from(padded).unwrap(), 0);
    // Bits of each sample, which may not fit into their entry.
    for _ in 0..4 {
        out.extend(bits.to_le_bytes());
    }
    let bits_value = if samples > 2 {
        padded
    } else {
        u32::from(bits) | u32::from(bits) << 16
    };
    let mut entries: Vec<(u16, u16, u32, u32)> = vec![
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, samples.into(), bits_value),
        (259, 3, 1, 1),
        (262, 3, 1, photometric.into()),
        (273, 4, 1, 8),
        (277, 3, 1, samples.into()),
        (278, 4, 1, height),
        (279, 4, 1, length),
    ];
    if (photometric < 2 && samples == 2) || (photometric == 2 && samples == 4) {
        entries.push((338, 3, 1, 2));
    }
    out.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
    for (tag, kind, count, value) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    out.extend([0; 4]);
    out
}

//! Files taken apart and put together: what encoders do not make, and a mark by which no two files are alike.

use mediamill_media::Format;

/// `file` with a number in it that says nothing of the picture: a comment, or a part that no reader knows.
pub(super) fn marked(format: Format, file: &[u8], number: u32) -> Vec<u8> {
    let mark = number.to_be_bytes();
    let mut out = file.to_vec();
    match format {
        Format::Jpeg => {
            let comment = [&[0xff, 0xfe, 0, 6][..], &mark].concat();
            out.splice(2..2, comment);
        }
        Format::Png => {
            // Behind signature and IHDR.
            let text = [b"Comment\0", format!("{number}").as_bytes()].concat();
            out.splice(33..33, chunk(*b"tEXt", &text));
        }
        Format::WebP => {
            out.extend(riff(*b"mark", &mark));
            let length = length(out.len().saturating_sub(8));
            out.splice(4..8, length.to_le_bytes());
        }
        Format::Gif => {
            // Before the trailer.
            let comment = [&[0x21, 0xfe, 4][..], &mark, &[0]].concat();
            let end = out.len().saturating_sub(1);
            out.splice(end..end, comment);
        }
        Format::Avif => {
            out.extend(12_u32.to_be_bytes());
            out.extend(b"free");
            out.extend(mark);
        }
        Format::Bmp | Format::Tiff => out.extend(mark),
    }
    out
}

/// A length of at most 32 bits.
pub(super) fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A chunk of a PNG.
pub(super) fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = length(data.len()).to_be_bytes().to_vec();
    out.extend(kind);
    out.extend(data);
    let sum = crc32fast::hash(out.get(4..).unwrap_or_default());
    out.extend(sum.to_be_bytes());
    out
}

/// A chunk of a WebP.
pub(super) fn riff(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = kind.to_vec();
    out.extend(length(data.len()).to_le_bytes());
    out.extend(data);
    if data.len() % 2 == 1 {
        out.push(0);
    }
    out
}

/// The header chunk of a PNG.
pub(super) fn png_header(width: u32, height: u32, depth: u8, colour: u8) -> Vec<u8> {
    let [width, height] = [width, height].map(u32::to_be_bytes);
    let header = [&width[..], &height, &[depth, colour, 0, 0, 0]].concat();
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(*b"IHDR", &header)].concat()
}

/// A PNG of these chunks behind its header.
pub(super) fn png(header: &[u8], chunks: &[Vec<u8>]) -> Vec<u8> {
    [header, &chunks.concat(), &chunk(*b"IEND", &[])].concat()
}

/// The coded pixels of a PNG.
fn coded(png: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = png.get(8..).unwrap_or_default();
    while let Some((head, body)) = rest.split_at_checked(8) {
        let [a, b, c, d, kind @ ..] = head else { break };
        let size = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        let Some((data, after)) = body.split_at_checked(size) else {
            break;
        };
        if kind == b"IDAT" {
            out.extend_from_slice(data);
        }
        // Its checksum.
        rest = after.get(4..).unwrap_or_default();
    }
    out
}

/// An APNG of pictures that are alike in all but their pixels, 40 ms each.
pub(super) fn apng(width: u32, height: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let first = frames.first().map(Vec::as_slice).unwrap_or_default();
    let mut out = first.get(..33).unwrap_or_default().to_vec();
    let count = length(frames.len());
    out.extend(chunk(*b"acTL", &[count.to_be_bytes(), [0; 4]].concat()));
    let mut sequence = 0_u32;
    for (number, frame) in frames.iter().enumerate() {
        let mut control = Vec::new();
        for value in [sequence, width, height, 0, 0] {
            control.extend(value.to_be_bytes());
        }
        control.extend([0, 40, 0x03, 0xe8, 0, 0]);
        out.extend(chunk(*b"fcTL", &control));
        sequence += 1;
        if number == 0 {
            out.extend(chunk(*b"IDAT", &coded(frame)));
        } else {
            out.extend(chunk(*b"fdAT", &[&sequence.to_be_bytes()[..], &coded(frame)].concat()));
            sequence += 1;
        }
    }
    out.extend(chunk(*b"IEND", &[]));
    out
}

/// A frame of a GIF: delay 4, the picture at 0, 0 of 1 × 1, its code: clear, 1, end.
const FRAME: [u8; 22] = [
    0x21, 0xf9, 4, 0, 4, 0, 0, 0, 0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x4c, 0x01,
];

/// A GIF of `frames` frames of one pixel on a canvas.
pub(super) fn gif(width: u16, height: u16, frames: usize) -> Vec<u8> {
    let mut out = b"GIF89a".to_vec();
    out.extend(width.to_le_bytes());
    out.extend(height.to_le_bytes());
    out.extend([0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
    for _ in 0..frames {
        out.extend(FRAME);
        out.push(0);
    }
    out.push(0x3b);
    out
}

/// An animated WebP of `frames` times `still`, a lossless one of `side` pixels square, on a canvas.
pub(super) fn webp(width: u32, height: u32, side: u32, still: &[u8], frames: usize) -> Vec<u8> {
    let short = |value: u32| -> Vec<u8> { value.to_le_bytes().into_iter().take(3).collect() };
    let mut body = b"WEBP".to_vec();
    let canvas = [
        vec![0x12, 0, 0, 0],
        short(width.saturating_sub(1)),
        short(height.saturating_sub(1)),
    ];
    body.extend(riff(*b"VP8X", &canvas.concat()));
    body.extend(riff(*b"ANIM", &[0; 6]));
    let side = short(side.saturating_sub(1));
    // Behind RIFF, its length and WEBP.
    let picture = still.get(12..).unwrap_or_default();
    let frame = [vec![0; 6], side.clone(), side, short(40), vec![0], picture.to_vec()].concat();
    for _ in 0..frames {
        body.extend(riff(*b"ANMF", &frame));
    }
    riff(*b"RIFF", &body)
}

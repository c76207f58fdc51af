//! Drawn photographs that give away what real ones do: for a first try, for demonstrations and for drivers.

use jpeg_encoder::{ColorType, Encoder};

/// A photograph.
#[derive(Debug, Clone)]
pub struct Sample {
    /// File name.
    pub name: &'static str,
    /// JPEG.
    pub bytes: Vec<u8>,
}

struct Scene {
    name: &'static str,
    width: u16,
    height: u16,
    orientation: u8,
    sky: [f32; 3],
    ground: [f32; 3],
    seed: u32,
    latitude: [u32; 3],
    longitude: [u32; 3],
    taken_at: &'static str,
}

const SCENES: [Scene; 3] = [
    Scene {
        name: "dunes-at-dusk.jpg",
        width: 3_000,
        height: 2_000,
        orientation: 1,
        sky: [250.0, 160.0, 110.0],
        ground: [150.0, 95.0, 60.0],
        seed: 3,
        latitude: [24, 45, 12],
        longitude: [15, 17, 30],
        taken_at: "2026:03:14 18:22:05",
    },
    Scene {
        name: "lake-upright.jpg",
        width: 2_400,
        height: 1_800,
        orientation: 6,
        sky: [120.0, 170.0, 230.0],
        ground: [50.0, 110.0, 80.0],
        seed: 11,
        latitude: [46, 27, 3],
        longitude: [7, 51, 44],
        taken_at: "2026:07:02 09:05:41",
    },
    Scene {
        name: "night-ridge.jpg",
        width: 2_800,
        height: 2_100,
        orientation: 3,
        sky: [30.0, 35.0, 80.0],
        ground: [15.0, 20.0, 30.0],
        seed: 29,
        latitude: [64, 8, 50],
        longitude: [21, 56, 24],
        taken_at: "2026:01:20 23:59:01",
    },
];

/// A small JPEG, 320 × 240, that differs for every number.
#[must_use]
pub fn small(number: u32) -> Vec<u8> {
    let (width, height) = (320_u16, 240_u16);
    let shade = |value: u32| u8::try_from(value % 256).unwrap_or(0);
    let pixels: Vec<u8> = (0..u32::from(height))
        .flat_map(|y| (0..u32::from(width)).map(move |x| (x, y)))
        .flat_map(|(x, y)| {
            let value = x * 7 + y * 13 + number.wrapping_mul(31) % 4_096;
            [shade(value), shade(value + number % 256), shade(x ^ y)]
        })
        .collect();
    // The number itself, as a comment: no two are alike, whatever the pixels come to.
    let mut bytes = jpeg(&pixels, width, height, 85);
    let mut comment = vec![0xff, 0xfe, 0, 6];
    comment.extend(number.to_be_bytes());
    bytes.splice(2..2, comment);
    bytes
}

/// Three photographs with camera, serial number, position, date, thumbnail and comment; two are not stored upright.
#[must_use]
pub fn photographs() -> Vec<Sample> {
    SCENES
        .iter()
        .map(|scene| Sample {
            name: scene.name,
            bytes: photograph(scene),
        })
        .collect()
}

fn photograph(scene: &Scene) -> Vec<u8> {
    let picture = jpeg(&paint(scene, scene.width, scene.height), scene.width, scene.height, 90);
    let small = jpeg(&paint(scene, 160, 120), 160, 120, 60);
    let exif = [b"Exif\0\0".to_vec(), exif(scene, &small)].concat();
    let mut out = vec![0xff, 0xd8];
    for (code, data) in [
        (0xe1, exif),
        (0xfe, b"Drawn by mediamill, not taken by anybody.".to_vec()),
    ] {
        out.extend([0xff, code]);
        out.extend(u16::try_from(data.len() + 2).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(data);
    }
    out.extend(picture.iter().skip(2));
    out
}

fn jpeg(pixels: &[u8], width: u16, height: u16, quality: u8) -> Vec<u8> {
    let mut out = Vec::new();
    // Into memory, with as many pixels as it is told: no way to fail.
    let _ = Encoder::new(&mut out, quality).encode(pixels, width, height, ColorType::Rgb);
    out
}

/// Hills under a sky with a sun, grain over all of it.
fn paint(scene: &Scene, width: u16, height: u16) -> Vec<u8> {
    let (across, down) = (f32::from(width), f32::from(height));
    let phase = f32::from(u16::try_from(scene.seed).unwrap_or(0));
    let mut noise = scene.seed;
    let mut pixels = Vec::with_capacity(usize::from(width) * usize::from(height) * 3);
    for row in 0..height {
        let y = f32::from(row) / down;
        for column in 0..width {
            let x = f32::from(column) / across;
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = f32::from(u8::try_from(noise >> 24).unwrap_or(0)) / 32.0 - 4.0;
            let mut colour = scene.sky.map(|c| c * (0.55 + 0.6 * y));
            let sun = ((x - 0.7).powi(2) * 2.25 + (y - 0.3).powi(2)).sqrt();
            colour = colour.map(|c| c + 110.0 * (1.0 - (sun * 6.0).min(1.0)));
            for layer in 0..4_u16 {
                let depth = f32::from(layer);
                let ridge = 0.48
                    + 0.12 * depth
                    + 0.05 * (x * (5.0 + depth * 3.0) + phase + depth).sin()
                    + 0.02 * (x * (23.0 + depth * 7.0) + phase).sin();
                if y > ridge {
                    let shade = 1.15 - 0.22 * depth - 0.25 * (y - ridge);
                    colour = scene.ground.map(|c| c * shade + (3.0 - depth) * 9.0);
                }
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to a byte"
            )]
            pixels.extend(colour.map(|c| (c + grain).clamp(0.0, 255.0) as u8));
        }
    }
    pixels
}

/// A value of a TIFF entry: its type, how many, its bytes.
struct Value(u16, u32, Vec<u8>);

fn ascii(text: &str) -> Value {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    Value(2, u32::try_from(bytes.len()).unwrap_or(0), bytes)
}

fn long(number: u32) -> Value {
    Value(4, 1, number.to_le_bytes().to_vec())
}

fn short(number: u16) -> Value {
    Value(3, 1, number.to_le_bytes().to_vec())
}

fn degrees(parts: [u32; 3]) -> Value {
    Value(
        5,
        3,
        parts
            .iter()
            .flat_map(|part| [part.to_le_bytes(), 1_u32.to_le_bytes()])
            .flatten()
            .collect(),
    )
}

/// A directory at `start`, the values that do not fit their entries behind it.
fn directory(start: u32, entries: Vec<(u16, Value)>, next: u32) -> Vec<u8> {
    let count = u16::try_from(entries.len()).unwrap_or(0);
    let mut out = count.to_le_bytes().to_vec();
    let mut behind: Vec<u8> = Vec::new();
    let first = start + 2 + u32::from(count) * 12 + 4;
    for (tag, Value(kind, number, mut bytes)) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(number.to_le_bytes());
        if bytes.len() <= 4 {
            bytes.resize(4, 0);
            out.extend(bytes);
        } else {
            out.extend((first + u32::try_from(behind.len()).unwrap_or(0)).to_le_bytes());
            behind.extend(&bytes);
            if behind.len() % 2 == 1 {
                behind.push(0);
            }
        }
    }
    out.extend(next.to_le_bytes());
    out.extend(behind);
    out
}

fn exif(scene: &Scene, thumbnail: &[u8]) -> Vec<u8> {
    let primary = |exif: u32, gps: u32, next: u32| {
        directory(
            8,
            vec![
                (0x010f, ascii("Mediamill")),
                (0x0110, ascii("Drawing Camera 1")),
                (0x0112, short(scene.orientation.into())),
                (0x0131, ascii("mediamill samples")),
                (0x013b, ascii("A. Nobody")),
                (0x8769, long(exif)),
                (0x8825, long(gps)),
            ],
            next,
        )
    };
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0);
    let exif_at = 8 + length(&primary(0, 0, 0));
    let camera = directory(
        exif_at,
        vec![
            (0x9003, ascii(scene.taken_at)),
            (0xa431, ascii("SN-0042-1337")),
            (0xa434, ascii("Drawing Lens 35mm F2")),
        ],
        0,
    );
    let gps_at = exif_at + length(&camera);
    let position = directory(
        gps_at,
        vec![
            (0x0001, ascii("N")),
            (2, degrees(scene.latitude)),
            (3, ascii("E")),
            (4, degrees(scene.longitude)),
        ],
        0,
    );
    let thumb_at = gps_at + length(&position);
    let thumb = |at: u32| directory(thumb_at, vec![(0x0201, long(at)), (0x0202, long(length(thumbnail)))], 0);
    let picture_at = thumb_at + length(&thumb(0));
    let header = b"II*\0\x08\0\0\0".to_vec();
    [
        header,
        primary(exif_at, gps_at, thumb_at),
        camera,
        position,
        thumb(picture_at),
        thumbnail.to_vec(),
    ]
    .concat()
}

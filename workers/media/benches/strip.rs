//! What stripping alone costs: a JPEG of 12 megapixels with metadata and two more pictures behind it.
//!
//! `cargo bench -p mediamill-media --bench strip [-- FILE.jpg]`

use mediamill_media::{Format, Policy, sample, strip};
use std::time::Instant;

const ROUNDS: u32 = 50;

#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench measures, and its figures are its output"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let bytes = match file {
        Some(path) => std::fs::read(path)?,
        None => twelve_megapixels()?,
    };
    for policy in [Policy::Strip, Policy::StripLocation, Policy::Keep] {
        let mut best = f64::INFINITY;
        let mut sum = 0.0;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let stripped = strip(Format::Jpeg, &bytes, policy)?;
            let seconds = start.elapsed().as_secs_f64();
            drop(stripped);
            best = best.min(seconds);
            sum += seconds;
        }
        println!(
            "stripping alone, {policy:?}: {} bytes, {:.2} ms, at best {:.2} ms",
            bytes.len(),
            sum * 1_000.0 / f64::from(ROUNDS),
            best * 1_000.0
        );
    }
    Ok(())
}

/// A sample's metadata before a grainy picture of 4000 × 3000, a sample behind it.
fn twelve_megapixels() -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut noise = 7_u32;
    let pixels: Vec<u8> = (0..4_000_u32 * 3_000 * 3)
        .map(|place| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = u8::try_from(noise >> 28).unwrap_or(0);
            u8::try_from(place / 36_000 % 200).unwrap_or(0).saturating_add(grain)
        })
        .collect();
    let mut picture = Vec::new();
    jpeg_encoder::Encoder::new(&mut picture, 92).encode(&pixels, 4_000, 3_000, jpeg_encoder::ColorType::Rgb)?;
    let sample = sample::photographs().swap_remove(0).bytes;
    // The sample's one segment of EXIF.
    let length = match sample.get(4..6) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => return Err("a sample is too short".into()),
    };
    let exif = sample.get(2..4 + length).ok_or("a sample has no EXIF")?;
    picture.splice(2..2, exif.iter().copied());
    picture.extend(&sample);
    Ok(picture)
}

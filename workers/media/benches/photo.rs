//! What a picture costs: this engine beside the crate `image` alone, in the same run, as a ratio.
//!
//! `cargo bench -p mediamill-media [-- FILE.jpg]`

use image::{DynamicImage, codecs::jpeg::JpegEncoder, imageops::FilterType};
use mediamill_media::{Limits, Settings, pixels, process};
use std::{
    io::Cursor,
    time::{Duration, Instant},
};

const ROUNDS: u32 = 5;

#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench measures, and its figures are its output"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let bytes = match file {
        Some(path) => std::fs::read(path)?,
        None => mediamill_media::sample::photographs().swap_remove(0).bytes,
    };
    let settings = Settings::default();
    let (mut ours, mut baseline) = (Duration::ZERO, Duration::ZERO);
    let (mut decoding, mut decoding_baseline) = (Duration::ZERO, Duration::ZERO);
    // Alternating, so that both meet the same noise.
    for _ in 0..ROUNDS {
        let start = Instant::now();
        process(&bytes, &settings, &|| false)?;
        ours += start.elapsed();
        let start = Instant::now();
        image_alone(&bytes)?;
        baseline += start.elapsed();
        let start = Instant::now();
        pixels(&bytes, &Limits::default(), &|| false)?;
        decoding += start.elapsed();
        let start = Instant::now();
        image::load_from_memory(&bytes)?;
        decoding_baseline += start.elapsed();
    }
    let seconds = |time: Duration| time.as_secs_f64() / f64::from(ROUNDS);
    println!(
        "one picture of {} bytes, three variants and a cleaned original, one thread",
        bytes.len()
    );
    println!("mediamill       {:.3} s", seconds(ours));
    println!("image alone     {:.3} s (variants only)", seconds(baseline));
    println!(
        "decoding alone  {:.3} s, {:.3} s with image",
        seconds(decoding),
        seconds(decoding_baseline)
    );
    println!("ratio           {:.2}", ours.as_secs_f64() / baseline.as_secs_f64());
    Ok(())
}

fn image_alone(bytes: &[u8]) -> Result<(), image::ImageError> {
    let full = image::ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()?
        .decode()?;
    let variants: [DynamicImage; 3] = [
        full.resize_to_fill(320, 320, FilterType::Lanczos3),
        full.resize(500, u32::MAX, FilterType::Lanczos3),
        full.resize(1_600, u32::MAX, FilterType::Lanczos3),
    ];
    for variant in variants {
        variant.write_with_encoder(JpegEncoder::new_with_quality(&mut Vec::new(), 80))?;
    }
    Ok(())
}

//! What each option of a variant costs: `cargo bench -p mediamill-media --bench options [-- NAME]`

use mediamill_media::{Fit, Output, Rgb, Settings, Variant, process, sample};
use std::time::Instant;

const ROUNDS: u32 = 3;

fn options() -> Vec<(&'static str, Variant)> {
    let plain = || Variant::new("v", Some(1_600), None, Fit::Inside);
    let with = |change: fn(&mut Variant)| {
        let mut variant = plain();
        change(&mut variant);
        variant
    };
    vec![
        ("jpeg", plain()),
        ("sharpened", with(|v| v.sharpen = 50)),
        ("linear", with(|v| v.linear = true)),
        (
            "contained",
            with(|v| {
                (v.fit, v.height, v.background) = (Fit::Contain, Some(1_600), Some(Rgb([9; 3])));
            }),
        ),
        ("png", with(|v| v.output = Output::Png)),
        ("webp", with(|v| v.output = Output::Webp)),
        ("webp-lossless", with(|v| v.output = Output::WebpLossless)),
        ("gif", with(|v| v.output = Output::Gif)),
        ("avif", with(|v| v.output = Output::Avif)),
    ]
}

#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench measures, and its figures are its output"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let bytes = sample::photographs().swap_remove(0).bytes;
    println!(
        "one variant 1600 wide of a picture of {} bytes, one thread",
        bytes.len()
    );
    for (name, variant) in options() {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let settings = Settings {
            variants: vec![variant],
            ..Settings::default()
        };
        let start = Instant::now();
        let mut size = 0;
        for _ in 0..ROUNDS {
            size = process(&bytes, &settings, &|| false)?
                .variants
                .iter()
                .map(|made| made.bytes.len())
                .sum();
        }
        let seconds = start.elapsed().as_secs_f64() / f64::from(ROUNDS);
        println!("{name:<14} {seconds:.3} s {size:>9} bytes");
    }
    Ok(())
}

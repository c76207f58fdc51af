//! What it costs to decode pictures in another process: helper and in-process engine in the same run, as a ratio; and how
//! much of the memory that a picture is allowed it needs.
//!
//! `cargo bench -p mediamill-workers [-- FILE…]`

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use jpeg_encoder::{ColorType, Encoder};
use mediamill_media::{Settings, probe, process, sample};
use mediamill_shared::{ids::TenantId, units::ByteCount};
use mediamill_workers::helpers::{ARGUMENT, Everything, HelperPool, Picture, serve};
use std::{
    error::Error,
    io::Cursor,
    time::{Duration, Instant},
};

const TIME: Duration = Duration::from_secs(60);
/// Helpers started to know what a start takes.
const STARTS: u32 = 20;

/// Name, file, and how often it is made.
type Sample = (String, Vec<u8>, u32);

struct Bench {
    pool: HelperPool,
    tenant: TenantId,
    settings: Settings,
}

#[expect(clippy::print_stdout, reason = "its figures are its output")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == ARGUMENT) {
        return Ok(serve()?);
    }
    let mut pictures = pictures()?;
    for path in arguments.into_iter().filter(|argument| !argument.starts_with("--")) {
        let bytes = std::fs::read(&path)?;
        pictures.push((path, bytes, 5));
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        println!("start of a helper: {:.1} ms", milliseconds(start().await?));
        let bench = Bench {
            pool: HelperPool::new(std::env::current_exe()?, 1, TIME),
            tenant: "bench".parse()?,
            settings: Settings::default(),
        };
        println!(
            "{:<40} {:>10} {:>10} {:>7}  memory: allowed, of which it needs",
            "picture", "inline", "helper", "ratio"
        );
        for (name, bytes, rounds) in pictures {
            let bytes = Bytes::from(bytes);
            let (inline, helper) = bench.times(&bytes, rounds).await?;
            let (allowed, needed) = bench.memory(&bytes).await?;
            println!(
                "{name:<40} {:>7.1} ms {:>7.1} ms {:>7.3}  {} {needed}",
                milliseconds(inline),
                milliseconds(helper),
                helper.as_secs_f64() / inline.as_secs_f64(),
                ByteCount::of_u64(allowed),
            );
        }
        bench.pool.close().await;
        Ok(())
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// From nothing to a helper that has confined itself.
#[expect(clippy::disallowed_methods, reason = "a bench measures")]
async fn start() -> Result<Duration, Box<dyn Error>> {
    let mut spent = Duration::ZERO;
    for _ in 0..STARTS {
        let pool = HelperPool::new(std::env::current_exe()?, 1, TIME);
        let start = Instant::now();
        pool.open().await?;
        spent += start.elapsed();
        pool.close().await;
    }
    Ok(spent / STARTS)
}

impl Bench {
    fn picture(&self, bytes: &Bytes, memory: u64) -> Picture<'_> {
        Picture {
            tenant: &self.tenant,
            bytes: bytes.clone(),
            settings: &self.settings,
            memory,
        }
    }

    fn allowed(&self, bytes: &Bytes) -> Result<u64, Box<dyn Error>> {
        Ok(probe(bytes)?.memory_bytes(u64::try_from(bytes.len())?, &self.settings))
    }

    /// In this process, and in a helper. Alternating, so that both meet the same noise.
    #[expect(clippy::disallowed_methods, reason = "a bench measures")]
    async fn times(&self, bytes: &Bytes, rounds: u32) -> Result<(Duration, Duration), Box<dyn Error>> {
        let memory = self.allowed(bytes)?;
        let (mut inline, mut helper) = (Duration::ZERO, Duration::ZERO);
        for round in 0..=rounds {
            let start = Instant::now();
            let here = process(bytes, &self.settings, &|| false)?;
            let first = start.elapsed();
            let start = Instant::now();
            let there = self.pool.make::<Everything>(self.picture(bytes, memory)).await?;
            let second = start.elapsed();
            if here != there {
                return Err("a helper makes another picture of the same bytes".into());
            }
            // The first round warms both up.
            if round > 0 {
                inline += first;
                helper += second;
            }
        }
        Ok((inline / rounds, helper / rounds))
    }

    /// What a picture is allowed, and the share of it that it needs: by halves, until a helper dies of it.
    async fn memory(&self, bytes: &Bytes) -> Result<(u64, String), Box<dyn Error>> {
        let allowed = self.allowed(bytes)?;
        let (mut too_little, mut enough) = (0, allowed);
        if self.pool.make::<Everything>(self.picture(bytes, 0)).await.is_ok() {
            return Ok((allowed, "nothing: the slack is enough".to_owned()));
        }
        while enough - too_little > allowed / 64 {
            let middle = u64::midpoint(too_little, enough);
            // A helper of its own for each: what another picture left behind is no help to it.
            self.pool.close().await;
            match self.pool.make::<Everything>(self.picture(bytes, middle)).await {
                Ok(_) => enough = middle,
                Err(_) => too_little = middle,
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let share = enough as f64 / allowed as f64;
        Ok((allowed, format!("{share:.2} beyond the slack")))
    }
}

/// Structure and noise: RGB.
fn draw(width: u32, height: u32) -> RgbImage {
    let mut noise = 1_u32;
    RgbImage::from_fn(width, height, |x, y| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = noise >> 28;
        let [shade, ..] = (x / 20 + y / 17 + grain).to_le_bytes();
        let [other, ..] = (x / 31 + grain).to_le_bytes();
        Rgb([shade, other, shade ^ 0x55])
    })
}

fn written(image: &DynamicImage, format: ImageFormat) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}

/// What is common, and what takes much memory for its size.
fn pictures() -> Result<Vec<Sample>, Box<dyn Error>> {
    let (large, middle) = (draw(4_000, 3_000), draw(2_000, 1_500));
    let (width, height) = (u16::try_from(large.width())?, u16::try_from(large.height())?);
    let mut progressive = Vec::new();
    let mut encoder = Encoder::new(&mut progressive, 85);
    encoder.set_progressive(true);
    encoder.encode(&large, width, height, ColorType::Rgb)?;
    let (large, middle) = (DynamicImage::from(large), DynamicImage::from(middle));
    let deep = DynamicImage::from(middle.to_rgba16());
    Ok(vec![
        ("0.08 MP JPEG".to_owned(), sample::small(1), 200),
        ("12 MP JPEG".to_owned(), written(&large, ImageFormat::Jpeg)?, 8),
        ("12 MP JPEG, progressive".to_owned(), progressive, 3),
        (
            "3 MP PNG, 16 bits, alpha".to_owned(),
            written(&deep, ImageFormat::Png)?,
            3,
        ),
        (
            "3 MP WebP, lossless".to_owned(),
            written(&middle, ImageFormat::WebP)?,
            3,
        ),
        (
            "3 MP GIF".to_owned(),
            written(&DynamicImage::from(middle.to_rgba8()), ImageFormat::Gif)?,
            3,
        ),
    ])
}

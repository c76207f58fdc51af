//! The engines, each in a process of its own.

use image::{DynamicImage, codecs::jpeg::JpegEncoder, imageops::FilterType};
use mediamill_media::{Settings, process};
use std::{error::Error, io::Cursor, path::Path, process::Command};

const SHARP: &str = include_str!("sharp.mjs");
/// The large and the medium variant of a picture.
type Run = fn(&[u8]) -> Result<[Vec<u8>; 2], Box<dyn Error>>;
/// Tells the child which engine it is.
const CHILD: &str = "MEDIAMILL_PEER";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Mediamill,
    Image,
    Sharp,
}

impl Engine {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mediamill => "mediamill",
            Self::Image => "image",
            Self::Sharp => "sharp",
        }
    }
}

/// What one picture took.
pub(crate) struct Measured {
    /// CPU seconds of a round.
    pub(crate) cpu: f64,
    /// Peak of the process's memory, bytes.
    pub(crate) peak: f64,
    pub(crate) large: Vec<u8>,
    pub(crate) medium: Vec<u8>,
}

/// Whether sharp can be had, and which.
pub(crate) fn sharp(home: Option<&Path>, folder: &Path) -> Result<String, String> {
    let home = home.ok_or("--sharp names no folder in which `npm install sharp` was run")?;
    let script = folder.join("sharp.mjs");
    std::fs::write(&script, SHARP).map_err(|error| error.to_string())?;
    let home = home
        .canonicalize()
        .map_err(|error| format!("{}: {error}", home.display()))?;
    let told = Command::new("node").arg(&script).arg(home).output();
    let told = told.map_err(|error| format!("node cannot be started: {error}"))?;
    if told.status.success() {
        Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
    } else {
        let text = String::from_utf8_lossy(&told.stderr);
        let cause = text
            .lines()
            .find(|line| line.contains("Error"))
            .unwrap_or("node failed");
        Err(cause.to_owned())
    }
}

pub(crate) fn measure(
    engine: Engine,
    file: &Path,
    rounds: u32,
    home: Option<&Path>,
    folder: &Path,
) -> Result<Measured, Box<dyn Error>> {
    if engine != Engine::Sharp {
        let mut child = Command::new(std::env::current_exe()?);
        child
            .env(CHILD, engine.name())
            .arg(file)
            .arg(rounds.to_string())
            .arg(folder);
        return read(child, folder);
    }
    let home = home.ok_or("sharp is not there")?.canonicalize()?;
    let mut best: Option<Measured> = None;
    for how in ["chained", "separate"] {
        let mut child = Command::new("node");
        child
            .arg(folder.join("sharp.mjs"))
            .arg(&home)
            .arg(file)
            .arg(rounds.to_string())
            .arg(folder)
            .arg(how);
        let measured = read(child, folder)?;
        if best.as_ref().is_none_or(|best| measured.cpu < best.cpu) {
            best = Some(measured);
        }
    }
    best.ok_or_else(|| "sharp ran never".into())
}

fn read(mut child: Command, folder: &Path) -> Result<Measured, Box<dyn Error>> {
    let told = child.output()?;
    if !told.status.success() {
        return Err(String::from_utf8_lossy(&told.stderr).into_owned().into());
    }
    let text = String::from_utf8(told.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next().ok_or("an engine told too little");
    Ok(Measured {
        cpu: next()??,
        peak: next()??,
        large: std::fs::read(folder.join("large"))?,
        medium: std::fs::read(folder.join("medium"))?,
    })
}

/// The child's part. `None`: this process is the parent.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench and its child have nothing but this between them"
)]
pub(crate) fn child() -> Option<Result<(), Box<dyn Error>>> {
    let engine = std::env::var(CHILD).ok()?;
    let run = || -> Result<(), Box<dyn Error>> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let [file, rounds, folder] = args.as_slice() else {
            return Err("a child wants file, rounds and folder".into());
        };
        let (bytes, rounds): (Vec<u8>, u32) = (std::fs::read(file)?, rounds.parse()?);
        let run: Run = match engine.as_str() {
            "image" => image_alone,
            _ => ours,
        };
        let [large, medium] = run(&bytes)?;
        let before = cpu()?;
        for _ in 0..rounds {
            run(&bytes)?;
        }
        println!("{} {}", (cpu()? - before) / f64::from(rounds), peak()?);
        std::fs::write(format!("{folder}/large"), large)?;
        std::fs::write(format!("{folder}/medium"), medium)?;
        Ok(())
    };
    Some(run())
}

fn ours(bytes: &[u8]) -> Result<[Vec<u8>; 2], Box<dyn Error>> {
    let processed = process(bytes, &Settings::default(), &|| false)?;
    let of = |name: &str| {
        let found = processed.variants.iter().find(|variant| variant.name == name);
        found.map(|variant| variant.bytes.clone()).ok_or("a variant is missing")
    };
    Ok([of("large")?, of("medium")?])
}

fn image_alone(bytes: &[u8]) -> Result<[Vec<u8>; 2], Box<dyn Error>> {
    let full = image::ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()?
        .decode()?;
    let wide = |width: u32| full.resize(width.min(full.width()), u32::MAX, FilterType::Lanczos3);
    let encode = |image: DynamicImage| -> Result<Vec<u8>, Box<dyn Error>> {
        let mut out = Vec::new();
        if image.color().has_alpha() {
            image.write_to(&mut Cursor::new(&mut out), image::ImageFormat::Png)?;
        } else {
            image.write_with_encoder(JpegEncoder::new_with_quality(&mut out, 80))?;
        }
        Ok(out)
    };
    encode(full.resize_to_fill(320, 320, FilterType::Lanczos3))?;
    Ok([encode(wide(1_600))?, encode(wide(500))?])
}

/// CPU seconds of this process so far, to a hundredth: proc(5), fields 14 and 15.
fn cpu() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').ok_or("no stat")?;
    let ticks: Result<Vec<f64>, _> = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<f64>)
        .collect();
    Ok(ticks?.iter().sum::<f64>() / 100.0)
}

/// Most memory that this process had at a time, bytes.
fn peak() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("no VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1_024.0)
}

//! What pictures cost: this engine beside the crate `image` alone and beside sharp, in the same run.
//!
//! `cargo bench -p mediamill-media --bench peers -- [--sharp DIR] [--rounds N] [--largest MP] [FILE…]`
//!
//! `DIR` is a folder in which `npm install sharp` was run. Every engine runs in a process of its own, one picture at a
//! time, so that its peak of memory is its own; CPU seconds are those of all its threads. Quality is told against the
//! full-size picture scaled by Lanczos: PSNR over all colours in dB, and SSIM of the luma.

mod drawn;
mod engines;
mod quality;

use engines::{Engine, Measured};
use std::{error::Error, path::PathBuf};

/// What stands on the command line.
struct Args {
    sharp: Option<PathBuf>,
    rounds: u32,
    largest: u32,
    files: Vec<PathBuf>,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let mut args = Args {
        sharp: None,
        rounds: 5,
        largest: 50,
        files: Vec::new(),
    };
    while let Some(word) = given.next() {
        let mut value = || given.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--sharp" => args.sharp = Some(value()?.into()),
            "--rounds" => args.rounds = value()?.parse()?,
            "--largest" => args.largest = value()?.parse()?,
            // What `cargo bench` says to every bench.
            "--bench" => {}
            file => args.files.push(file.into()),
        }
    }
    Ok(args)
}

#[expect(clippy::print_stdout, reason = "a bench's figures are its output")]
fn main() -> Result<(), Box<dyn Error>> {
    if let Some(done) = engines::child() {
        return done;
    }
    let args = args()?;
    let folder = std::env::temp_dir().join(format!("mediamill-peers-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut files = args.files.clone();
    if files.is_empty() {
        files = drawn::all(&folder, args.largest)?;
    }
    let mut engines = vec![Engine::Mediamill, Engine::Image];
    match engines::sharp(args.sharp.as_deref(), &folder) {
        Ok(version) => {
            println!("sharp {version} on node");
            engines.push(Engine::Sharp);
        }
        Err(why) => println!("without sharp: {why}"),
    }
    println!(
        "three variants (320 × 320 cover, 500 wide, 1,600 wide, quality 80), {} rounds, one thread",
        args.rounds
    );
    println!("mediamill strips the original, too\n");
    println!(
        "{:28} {:10} {:>9} {:>8} {:>8} {:>15} {:>15}",
        "picture", "engine", "CPU s", "of sharp", "peak MB", "PSNR 1600/500", "SSIM 1600/500"
    );
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let reference = quality::reference(file)?;
        let mut all: Vec<(Engine, Measured)> = Vec::new();
        for engine in &engines {
            all.push((
                *engine,
                engines::measure(*engine, file, args.rounds, args.sharp.as_deref(), &folder)?,
            ));
        }
        let sharp = all
            .iter()
            .find(|(engine, _)| *engine == Engine::Sharp)
            .map(|(_, measured)| measured.cpu);
        for (engine, measured) in all {
            let of_sharp = sharp.map_or_else(|| "-".to_owned(), |sharp| format!("{:.2}", measured.cpu / sharp));
            let at_large = quality::compare(&reference, &reference.large, &measured.large)?;
            let at_medium = quality::compare(&reference, &reference.medium, &measured.medium)?;
            println!(
                "{name:28} {:10} {:9.4} {of_sharp:>8} {:8.0} {:>15} {:>15}",
                engine.name(),
                measured.cpu,
                measured.peak / 1e6,
                format!("{:.1} / {:.1}", at_large.psnr, at_medium.psnr),
                format!("{:.3} / {:.3}", at_large.ssim, at_medium.ssim),
            );
        }
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

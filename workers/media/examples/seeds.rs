//! Writes the seeds of the fuzz targets into the folder that is named: a folder for each target. See `fuzz.sh`.

#![expect(clippy::unwrap_used, reason = "a tool of the tests: a failure is the message")]

#[path = "../tests/dirty/mod.rs"]
mod dirty;
#[path = "../tests/drawn/mod.rs"]
mod drawn;
#[path = "../tests/fuzzed/heif.rs"]
mod heif;
#[path = "../tests/fuzzed/seeds.rs"]
mod seeds;

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("name the folder to write to"));
    };
    for seed in seeds::seeds() {
        let folder = folder.join(seed.target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(seed.name), seed.bytes)?;
    }
    Ok(())
}

//! The properties that are fuzzed, held to every seed and to everything that fuzzing found.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

#[path = "../dirty/mod.rs"]
mod dirty;
#[path = "../drawn/mod.rs"]
mod drawn;
mod heif;
#[path = "../../fuzz/src/properties/mod.rs"]
mod properties;
mod seeds;

use mediamill_media::probe;
use properties::{TARGETS, check};
use seeds::Seed;
use std::{
    collections::BTreeSet,
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

/// Inputs that broke a property once, a folder for each target.
const FINDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/findings");

/// A seed is no larger: what a fuzzer has to change is small then, and its work is quick.
const LARGEST: usize = 8 * 1024;

/// Everything that is there to try: target, name, bytes.
fn inputs() -> Vec<(String, String, Vec<u8>)> {
    let mut inputs: Vec<_> = seeds::seeds()
        .into_iter()
        .map(|seed| (seed.target.to_owned(), format!("the seed {}", seed.name), seed.bytes))
        .collect();
    for folder in entries(Path::new(FINDINGS)).into_iter().filter(|path| path.is_dir()) {
        let target = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for file in entries(&folder) {
            inputs.push((target.clone(), file.display().to_string(), fs::read(file).unwrap()));
        }
    }
    inputs
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

/// One test, because the allocator counts for the whole program.
#[test]
fn seeds_and_what_was_found_keep_every_property() {
    for seed in seeds::seeds() {
        let Seed { target, name, bytes } = seed;
        assert!(bytes.len() <= LARGEST, "{target} {name}: {} bytes", bytes.len());
        assert!(
            target != "probe" || probe(&bytes).is_ok(),
            "{name}: {:?}",
            probe(&bytes)
        );
    }
    let inputs = inputs();
    let tried: BTreeSet<&str> = inputs.iter().map(|(target, ..)| target.as_str()).collect();
    assert_eq!(tried, BTreeSet::from(TARGETS), "a target without a seed");
    let broken: Vec<_> = inputs
        .iter()
        .filter(|(target, _, bytes)| catch_unwind(|| check(target, bytes)).is_err())
        .map(|(target, name, _)| format!("{target}: {name}"))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

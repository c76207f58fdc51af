//! What stands between libFuzzer and the properties: which panics count, and how they are told.

mod properties;

use std::{
    panic::{catch_unwind, set_hook},
    process::abort,
    sync::{Mutex, PoisonError},
};

/// The first panic of an input that is a finding.
static FINDING: Mutex<Option<String>> = Mutex::new(None);

/// Takes libFuzzer's place as the one who hears of panics. It would end the process at every one; those that the engine
/// contains, within decoders and encoders that are not ours, are its promise and no finding.
pub fn listen() {
    set_hook(Box::new(|panic| {
        let ours = panic
            .location()
            .is_some_and(|place| !place.file().contains("/registry/"));
        if ours {
            let mut finding = FINDING.lock().unwrap_or_else(PoisonError::into_inner);
            finding.get_or_insert_with(|| panic.to_string());
        }
    }));
}

/// Holds `target`'s properties to an input. A panic in our own code is a finding even where it is contained.
pub fn hold(target: &str, data: &[u8]) {
    debug_assert!(properties::TARGETS.contains(&target));
    let held = catch_unwind(|| properties::check(target, data));
    let finding = FINDING.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(finding) = finding {
        eprintln!("finding: {finding}");
        abort();
    }
    if held.is_err() {
        eprintln!("finding: a panic in a library got out of the engine");
        abort();
    }
}

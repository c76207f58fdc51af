//! What the driver `corpus` measures: the engine, alone in a process whose every allocation is counted.

#[path = "../../corpus/wire.rs"]
mod wire;

mod pixels;

use mediamill_media::{MediaError, ProbeError, Processed, Settings, probe, process};
use peak_alloc::PeakAlloc;
use std::{
    io::{BufRead, Write},
    sync::{Mutex, PoisonError},
};
use wire::{Answer, Made, Outcome, Request};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Beyond every bound that a picture may have, and before the machine suffers.
const MOST: u64 = 6 * 1024 * 1024 * 1024;

/// What panicked since the last picture.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn main() -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let limit = Rlimit {
            current: Some(MOST),
            maximum: Some(MOST),
        };
        setrlimit(Resource::Data, limit)?;
    }
    std::panic::set_hook(Box::new(|panic| {
        PANICS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(panic.to_string().replace('\n', " "));
    }));
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let answer = serde_json::to_string(&answer(&request)?)?;
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(request: &Request) -> anyhow::Result<Answer> {
    let bytes = std::fs::read(&request.source)?;
    let (processed, peak) = measured(&bytes, &request.settings);
    let input = u64::try_from(bytes.len())?;
    let allowed = match probe(&bytes) {
        Ok(probed) => Some(probed.memory_bytes(input, &request.settings)),
        Err(ProbeError::NeedMore | ProbeError::Media(_)) => None,
    };
    let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
    let (outcome, pixels) = match processed {
        Ok(processed) => (
            kept(request, &processed)?,
            pixels::differences(processed.original.format, &bytes, &processed.original.bytes),
        ),
        Err(error) => (
            Outcome::Refused {
                code: error.code().to_owned(),
                text: error.to_string(),
            },
            Vec::new(),
        ),
    };
    // What panics while pixels are compared has panicked before.
    PANICS.lock().unwrap_or_else(PoisonError::into_inner).clear();
    Ok(Answer {
        outcome,
        peak: peak.saturating_add(input),
        allowed,
        panics,
        pixels,
    })
}

/// What the engine makes of it, and the most that it had allocated at one time.
fn measured(bytes: &[u8], settings: &Settings) -> (Result<Processed, MediaError>, u64) {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let processed = process(bytes, settings, &|| false);
    let peak = HEAP.peak_usage().saturating_sub(before);
    (processed, u64::try_from(peak).unwrap_or(u64::MAX))
}

fn kept(request: &Request, processed: &Processed) -> anyhow::Result<Outcome> {
    let original = &processed.original;
    let mut files = Vec::new();
    let mut keep = |variant: Option<&str>, extension: &str, bytes: &[u8]| -> anyhow::Result<()> {
        let name = variant.unwrap_or("original");
        let path = request.folder.join(format!("{name}.{extension}"));
        std::fs::write(&path, bytes)?;
        files.push(Made {
            path,
            variant: variant.map(str::to_owned),
        });
        Ok(())
    };
    keep(None, original.format.extension(), &original.bytes)?;
    for variant in &processed.variants {
        keep(Some(&variant.name), variant.format.extension(), &variant.bytes)?;
    }
    Ok(Outcome::Ready {
        format: original.format,
        files,
    })
}

//! What processes use, from /proc.

use std::collections::BTreeMap;

/// CPU seconds and peak memory of processes, summed.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Used {
    /// User and system time, seconds.
    pub(crate) cpu_seconds: f64,
    /// Sum of peak resident sizes, bytes.
    pub(crate) peak_bytes: u64,
}

/// Processes whose executable is called `mediamill`.
pub(crate) fn servers() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok())
        .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "mediamill"))
        .collect()
}

/// CPU seconds so far, by process.
pub(crate) fn cpu(pids: &[u32]) -> BTreeMap<u32, f64> {
    pids.iter().filter_map(|pid| Some((*pid, cpu_of(*pid)?))).collect()
}

fn cpu_of(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces; fields are counted from the closing parenthesis. proc(5): 14 utime, 15 stime.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    // Clock ticks are 1/100 s on every Linux that Rust's std supports.
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// What `pids` used since `before`.
pub(crate) fn used(pids: &[u32], before: &BTreeMap<u32, f64>) -> Used {
    let mut sum = Used::default();
    for pid in pids {
        sum.cpu_seconds += cpu_of(*pid).unwrap_or(0.0) - before.get(pid).copied().unwrap_or(0.0);
        sum.peak_bytes += peak(*pid).unwrap_or(0);
    }
    sum
}

/// Bytes that this process has in memory now.
pub(crate) fn resident() -> Option<u64> {
    memory("self", "VmRSS:")
}

fn peak(pid: u32) -> Option<u64> {
    memory(&pid.to_string(), "VmHWM:")
}

fn memory(process: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

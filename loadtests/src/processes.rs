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

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// All that it has in memory.
    pub(crate) resident: u64,
    /// The same with what it shares divided among those who do; `None` where it is not told.
    pub(crate) proportional: Option<u64>,
}

/// What a process has in memory; `None` when it is gone.
pub(crate) fn memory_of(pid: u32) -> Option<Memory> {
    let resident = memory(&pid.to_string(), "VmRSS:")?;
    let proportional = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("Pss:"))?;
            Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
        });
    Some(Memory { resident, proportional })
}

/// A process and all that it started and that is still there.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return vec![root];
    };
    let parents: Vec<(u32, u32)> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // proc(5): 4 ppid; as above.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        next += 1;
        tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
    }
    tree
}

/// CPU seconds of a process, of what it started, and of what it started and is over.
pub(crate) fn cpu_of_tree(root: u32) -> f64 {
    let of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // proc(5): 14 utime, 15 stime, 16 cutime, 17 cstime.
        let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
        let ticks = fields.map(|field| field.parse::<f64>().unwrap_or(0.0)).sum::<f64>();
        Some(ticks / 100.0)
    };
    tree(root).into_iter().filter_map(of).sum()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_those_that_it_started() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(tree(own).contains(&child.id()));
        assert!(memory_of(own).unwrap().resident > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!tree(own).contains(&child.id()));
        assert!(cpu_of_tree(own) >= 0.0);
    }
}

//! What a helper may use of the machine for the picture that it has in hand: set by its worker, from outside, so that a
//! helper that was taken over has no say in its memory. Its processor time ends one that goes astray; for one that was taken
//! over, which may ignore the signal, the worker's clock is what binds.

use std::time::Duration;

/// Bytes that a picture may take beyond what its headers call for: what an allocator keeps between its blocks, and what
/// vectors that grow have at hand. With it, no picture of `benches/helpers.rs` needs more than a third of what its headers
/// call for.
const SLACK: u64 = 32 * 1024 * 1024;

/// Writable memory of process `pid`, bytes, used or not; `None` where it is not told.
#[cfg(target_os = "linux")]
pub(super) fn memory(pid: u32) -> Option<u64> {
    // proc_pid_statm(5): in pages; the sixth is data and stack.
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(5)?.parse().ok()?;
    Some(pages.saturating_mul(u64::try_from(rustix::param::page_size()).ok()?))
}

/// Processor time that process `pid` has used.
#[cfg(target_os = "linux")]
fn used(pid: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): the name in brackets may hold anything; after it user and system time are the 12th and 13th.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(11).map(str::parse::<u64>);
    let sum = ticks.next()?.ok()?.checked_add(ticks.next()?.ok()?)?;
    Some(Duration::from_secs(
        sum.checked_div(rustix::param::clock_ticks_per_second())?,
    ))
}

/// Lets process `pid` have `bytes` of memory more than the `held` that it has, and `time` on a processor.
///
/// # Errors
/// When the kernel does not allow it.
#[cfg(target_os = "linux")]
pub(super) fn allow(pid: u32, held: u64, bytes: u64, time: Duration) -> std::io::Result<()> {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let memory = held.saturating_add(bytes).saturating_add(SLACK);
    // The next full second after the last.
    let time = used(pid).map(|used| used.saturating_add(time).as_secs().saturating_add(1));
    for (resource, most) in [(Resource::Data, Some(memory)), (Resource::Cpu, time)] {
        // The hard limit, which is the worker's own, stays as it is: raising it again takes a privilege. The helper cannot
        // change either.
        let maximum = rustix::process::getrlimit(resource).maximum;
        let current = match (most, maximum) {
            (Some(most), Some(maximum)) => Some(most.min(maximum)),
            (most, _) => most,
        };
        prlimit(process, resource, Rlimit { current, maximum })?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn memory(_pid: u32) -> Option<u64> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(super) fn allow(_pid: u32, _held: u64, _bytes: u64, _time: Duration) -> std::io::Result<()> {
    let _ = SLACK;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_what_it_holds_and_has_used() {
        let pid = std::process::id();
        let before = memory(pid).unwrap();
        let held = vec![1_u8; 64 * 1024 * 1024];
        assert!(memory(pid).unwrap() >= before + 60 * 1024 * 1024, "{before}");
        drop(held);
        assert!(used(pid).unwrap() < Duration::from_secs(3_600));
    }
}

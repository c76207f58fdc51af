//! What a worker and its helper processes hold, over time, from /proc.

use crate::processes;
use mediamill_shared::clock::{Clock, Stopwatch};
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Memory at one moment, bytes.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(super) struct Moment {
    pub(super) seconds: f64,
    /// Of the worker and its helpers; pages that several of them share are counted once.
    pub(super) all: u64,
    /// Of the worker alone.
    pub(super) worker: u64,
    /// Sum of their resident sizes: what is shared, their program above all, counts once for each.
    pub(super) resident: u64,
    pub(super) helpers: usize,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) moments: Vec<Moment>,
    /// Whether shared pages could be told: of a confined process only root is told so.
    pub(super) shared_told: bool,
}

impl Watched {
    /// The moment at which it was most.
    pub(super) fn peak(&self) -> Moment {
        self.moments
            .iter()
            .copied()
            .max_by_key(|moment| moment.all)
            .unwrap_or_default()
    }

    pub(super) fn most_resident(&self) -> u64 {
        self.moments.iter().map(|moment| moment.resident).max().unwrap_or(0)
    }
}

/// Watches until `stop` says so or is gone.
pub(super) async fn watch(worker: u32, mut stop: watch::Receiver<bool>, clock: Clock) -> Watched {
    let since = Stopwatch::start();
    let mut watched = Watched {
        shared_told: true,
        ..Watched::default()
    };
    loop {
        watched.look(worker, since.elapsed().as_secs_f64());
        tokio::select! {
            changed = stop.changed() => if changed.is_err() || *stop.borrow() { return watched },
            () = clock.sleep(LOOK) => {}
        }
    }
}

impl Watched {
    fn look(&mut self, worker: u32, seconds: f64) {
        let mut moment = Moment {
            seconds,
            ..Moment::default()
        };
        for pid in processes::tree(worker) {
            // One that has just ended holds nothing.
            let Some(memory) = processes::memory_of(pid) else {
                continue;
            };
            let own = memory.proportional.unwrap_or_else(|| {
                self.shared_told = false;
                memory.resident
            });
            moment.all += own;
            moment.resident += memory.resident;
            if pid == worker {
                moment.worker = own;
            } else {
                moment.helpers += 1;
            }
        }
        self.moments.push(moment);
    }
}

//! Stopping in order: a soft token (take no more), a hard token (drop what is left), and every task joined.

use crate::clock::Clock;
use std::{future::Future, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by every task of a process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
}

/// How the process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything finished within the grace period.
    Clean,
    /// A second signal or the end of the grace period cut work off.
    Cut,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Nothing asked to stop yet.
    #[must_use]
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        Self {
            soft: hard.child_token(),
            hard,
            tracker: TaskTracker::new(),
        }
    }

    /// Starts a task that this shutdown waits for.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(task);
    }

    /// Asks every task to take no more work.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Asks every task to drop what it holds.
    pub fn abort(&self) {
        self.hard.cancel();
    }

    /// Whether stopping was asked for.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Waits until stopping is asked for. Cancel-safe.
    pub async fn soft(&self) {
        self.soft.cancelled().await;
    }

    /// Waits until dropping is asked for. Cancel-safe.
    pub async fn hard(&self) {
        self.hard.cancelled().await;
    }

    /// The token of [`Shutdown::soft`], for libraries that take one.
    #[must_use]
    pub fn soft_token(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Waits for the first SIGTERM or SIGINT, or for [`Shutdown::stop`]; then for all tasks, at most `grace`; a second
    /// signal ends the wait at once.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub async fn run(&self, clock: &Clock, grace: Duration) -> std::io::Result<Ended> {
        let mut signals = Signals::install()?;
        tokio::select! {
            () = signals.next() => tracing::info!("stopping: finishing what is in hand"),
            () = self.soft.cancelled() => {}
        }
        self.soft.cancel();
        self.tracker.close();
        let ended = tokio::select! {
            () = self.tracker.wait() => Ended::Clean,
            () = signals.next() => Ended::Cut,
            () = clock.sleep(grace) => Ended::Cut,
        };
        self.hard.cancel();
        if ended == Ended::Cut {
            tracing::warn!("stopping at once: unfinished work goes back to the queue");
            tokio::select! { () = self.tracker.wait() => {}, () = clock.sleep(Duration::from_secs(2)) => {} }
        }
        Ok(ended)
    }

    /// Stops softly and waits for all tasks, for embedding and tests. Tasks of [`crate::services::Services`] end when it
    /// has been dropped: it must not be held across this.
    pub async fn finish(&self) {
        self.soft.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stop_lets_tasks_finish_and_abort_reaches_them_too() {
        let shutdown = Shutdown::new();
        let (tx, rx) = tokio::sync::oneshot::channel();
        let seen = shutdown.clone();
        shutdown.spawn(async move {
            seen.soft().await;
            let _ = tx.send(());
        });
        shutdown.finish().await;
        rx.await.unwrap();
        shutdown.abort();
        shutdown.hard().await;
    }
}

//! From committed rows to the queue.
//!
//! A row without `published_at` is the outbox. What was just accepted is offered here and goes out at once, in batches;
//! what this process loses (a full buffer, a queue that is away, a crash) the scheduler's dispatcher finds in the rows.
//! Publishing twice is harmless.

use super::{Envelope, Pool};
use crate::{
    clock::Clock,
    control::jobs,
    db::Db,
    ids::JobId,
    queue::{Broker, Queue},
    shutdown::Shutdown,
    telemetry::names,
};
use tokio::sync::mpsc;

/// Messages that wait in this process at most; more are left to the dispatcher.
const BUFFER: usize = 8_192;
/// Messages that are confirmed together.
const BATCH: usize = 512;

/// Publishes what was accepted. Cloning shares it; the task behind it ends when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Outbox {
    messages: mpsc::Sender<(Pool, Envelope)>,
}

impl Outbox {
    /// Starts publishing.
    #[must_use]
    pub fn start(db: Db, queue: Queue, clock: Clock, shutdown: &Shutdown) -> Self {
        let (messages, mut waiting) = mpsc::channel(BUFFER);
        let (mark, mut marked) = mpsc::channel(BUFFER);
        shutdown.spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while waiting.recv_many(&mut batch, BATCH).await > 0 {
                let published = confirmed(&queue, std::mem::take(&mut batch)).await;
                if queue.rows_are_messages() {
                    continue;
                }
                for id in published {
                    // Its end waits for this one's.
                    let _ = mark.send(id).await;
                }
            }
        });
        // Beside it: no message waits for the rows of those before it.
        shutdown.spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while marked.recv_many(&mut batch, BATCH).await > 0 {
                mark_published(&db, &clock, &std::mem::take(&mut batch)).await;
            }
        });
        Self { messages }
    }

    /// Publishes soon. Never waits: the row is what counts.
    pub fn offer(&self, pool: Pool, message: Envelope) {
        if self.messages.try_send((pool, message)).is_err() {
            metrics::counter!(names::OUTBOX_LEFT).increment(1);
        }
    }
}

/// Publishes messages of committed rows and records which were confirmed. Returns how many were.
pub async fn publish(db: &Db, queue: &Queue, clock: &Clock, messages: Vec<(Pool, Envelope)>) -> usize {
    let published = confirmed(queue, messages).await;
    if !queue.rows_are_messages() {
        mark_published(db, clock, &published).await;
    }
    published.len()
}

/// Publishes messages. Returns which were confirmed.
async fn confirmed(queue: &Queue, messages: Vec<(Pool, Envelope)>) -> Vec<JobId> {
    let mut confirmed: Vec<JobId> = Vec::with_capacity(messages.len());
    for pool in Pool::ALL {
        let these: Vec<Envelope> = messages
            .iter()
            .filter(|(other, _)| other == pool)
            .map(|(_, envelope)| envelope.clone())
            .collect();
        if these.is_empty() {
            continue;
        }
        match queue.publish(*pool, &these).await {
            Ok(()) => confirmed.extend(these.iter().map(|envelope| envelope.job().clone())),
            Err(error) => {
                metrics::counter!(names::OUTBOX_LEFT).increment(these.len() as u64);
                tracing::warn!(
                    pool = %pool, messages = these.len(), error = &error as &dyn std::error::Error,
                    "accepted jobs wait for the dispatcher: the queue did not take them"
                );
            }
        }
    }
    confirmed
}

async fn mark_published(db: &Db, clock: &Clock, confirmed: &[JobId]) {
    if let Err(error) = jobs::mark_published(db, confirmed, clock.now()).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "published jobs will be published again: their rows could not be marked"
        );
    }
}

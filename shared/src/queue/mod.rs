//! The queue port: messages to workers, at least once.
//!
//! The contract, held by the suite in `contract.rs` against both adapters:
//!
//! - [`Broker::publish`] returns when every message is durable. On error none, some or all may be: publish again,
//!   twice is harmless.
//! - A [`Delivery`] that is dropped, or whose worker dies, comes again, to this or another consumer.
//! - A delivery is settled once: each way to settle consumes it. After [`Delivery::done`] or [`Delivery::bury`] it does
//!   not come again; after [`Delivery::again_in`] not before the delay is over, give or take the adapter's steps.
//! - At most `prefetch` deliveries of a consumer are unsettled at a time.
//! - Order is first in, first out as long as nothing fails; nobody may rely on it.
//! - When the server goes away, consumers wait and come back by themselves; publishers get an error within
//!   [`PUBLISH_DEADLINE`].

pub mod amqp;
#[cfg(test)]
mod contract;
pub mod embedded;

use crate::{
    BoxError,
    clock::{Clock, Entropy},
    db::Db,
    jobs::{Envelope, Malformed, Pool},
    shutdown::Shutdown,
};
use std::{future::Future, time::Duration};
use url::Url;

/// A publish that is not confirmed by then has failed.
pub const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);

/// What a caller can do something about.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The server is away, slow or refuses for now. The message may or may not be stored.
    #[error("the queue did not confirm {operation}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The delivery's channel is gone, so it will be delivered again: settling is no longer possible.
    #[error("the delivery was lost before it was settled and will come again")]
    Lost,
    /// The URL names no queue of ours, or a bad one.
    #[error("queue url {url}: {problem}; known: embedded:, amqp://user:password@host:port/vhost, amqps://…")]
    Url {
        /// The URL, password left out.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Messages in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Ready for a consumer.
    pub ready: u64,
    /// Kept for inspection, and read by nobody: what was [buried](Delivery::bury), and what the broker gave up on. None of it is
    /// a dead job: that is its row alone, whatever the queue.
    pub buried: u64,
}

/// The port. Outside this crate only [`Queue`] is named.
pub trait Broker: Send + Sync {
    /// What [`Broker::consume`] gives.
    type Consumer: Consume;

    /// Stores `messages` durably, at most [`PUBLISH_DEADLINE`] long.
    fn publish(&self, pool: Pool, messages: &[Envelope]) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Stores a message durably that is to come when `delay` is over, give or take a step of delays, at most [`PUBLISH_DEADLINE`]
    /// long. Where rows are messages, its row's due time is all there is to it.
    fn publish_later(
        &self,
        pool: Pool,
        message: &Envelope,
        delay: Duration,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// A consumer with at most `prefetch` unsettled deliveries. Dropping it returns what it buffered.
    fn consume(&self, pool: Pool, prefetch: u16) -> Self::Consumer;

    /// Messages waiting and buried.
    fn depth(&self, pool: Pool) -> impl Future<Output = Result<Depth, QueueError>> + Send;

    /// Whether the server answers, within two seconds.
    fn ping(&self) -> impl Future<Output = Result<(), QueueError>> + Send;
}

/// One consumer's side of the port.
pub trait Consume: Send {
    /// Waits for one message, through outages of the server. Cancel-safe: a dropped call loses nothing.
    fn next(&mut self) -> impl Future<Output = Delivery> + Send;
}

/// The queue of this installation.
#[derive(Clone, Debug)]
pub enum Queue {
    /// RabbitMQ.
    Amqp(amqp::AmqpQueue),
    /// The `jobs` table itself.
    Embedded(embedded::EmbeddedQueue),
}

/// A consumer of [`Queue`].
#[derive(Debug)]
pub enum Consumer {
    /// RabbitMQ.
    Amqp(Box<amqp::AmqpConsumer>),
    /// The `jobs` table itself.
    Embedded(embedded::EmbeddedConsumer),
}

/// What a queue needs from the process it lives in.
#[derive(Clone, Debug)]
pub struct QueueContext {
    /// The control database: the embedded queue lives in its `jobs` table.
    pub control: Db,
    /// Time.
    pub clock: Clock,
    /// Chance, for jitter.
    pub entropy: Entropy,
    /// Owner of background tasks.
    pub shutdown: Shutdown,
}

impl Queue {
    /// Opens the queue that the URL's scheme names: `embedded:` or `amqp(s)://`. An `amqp` server that is away is not
    /// an error: the adapter goes on trying.
    ///
    /// # Errors
    /// When the URL is no queue's.
    pub fn open(url: &Url, context: QueueContext) -> Result<Self, QueueError> {
        match url.scheme() {
            "embedded" => Ok(Self::Embedded(embedded::EmbeddedQueue::open(&context))),
            "amqp" | "amqps" => Ok(Self::Amqp(amqp::AmqpQueue::open(url, context)?)),
            scheme => Err(QueueError::Url {
                url: crate::config::redacted(url),
                problem: format!("unknown scheme {scheme:?}"),
            }),
        }
    }

    /// Whether an inserted job row already is the published message.
    #[must_use]
    pub const fn rows_are_messages(&self) -> bool {
        match self {
            Self::Amqp(_) => false,
            Self::Embedded(_) => true,
        }
    }
}

impl Broker for Queue {
    type Consumer = Consumer;

    async fn publish(&self, pool: Pool, messages: &[Envelope]) -> Result<(), QueueError> {
        match self {
            Self::Amqp(queue) => queue.publish(pool, messages).await,
            Self::Embedded(queue) => queue.publish(pool, messages).await,
        }
    }

    async fn publish_later(&self, pool: Pool, message: &Envelope, delay: Duration) -> Result<(), QueueError> {
        match self {
            Self::Amqp(queue) => queue.publish_later(pool, message, delay).await,
            Self::Embedded(queue) => queue.publish_later(pool, message, delay).await,
        }
    }

    fn consume(&self, pool: Pool, prefetch: u16) -> Consumer {
        match self {
            Self::Amqp(queue) => Consumer::Amqp(Box::new(queue.consume(pool, prefetch))),
            Self::Embedded(queue) => Consumer::Embedded(queue.consume(pool, prefetch)),
        }
    }

    async fn depth(&self, pool: Pool) -> Result<Depth, QueueError> {
        match self {
            Self::Amqp(queue) => queue.depth(pool).await,
            Self::Embedded(queue) => queue.depth(pool).await,
        }
    }

    async fn ping(&self) -> Result<(), QueueError> {
        match self {
            Self::Amqp(queue) => queue.ping().await,
            Self::Embedded(queue) => queue.ping().await,
        }
    }
}

impl Consume for Consumer {
    async fn next(&mut self) -> Delivery {
        match self {
            Self::Amqp(consumer) => consumer.next().await,
            Self::Embedded(consumer) => consumer.next().await,
        }
    }
}

/// One message in hand. Dropped unsettled, it is delivered again.
#[must_use = "an unsettled delivery is delivered again"]
#[derive(Debug)]
pub struct Delivery {
    body: Vec<u8>,
    acker: Acker,
}

#[derive(Debug)]
enum Acker {
    Amqp(amqp::AmqpAcker),
    Embedded(embedded::EmbeddedAcker),
}

impl Delivery {
    /// The message. Per delivery, never per batch: one unreadable message does not fail its neighbours.
    ///
    /// # Errors
    /// When it is no envelope.
    pub fn envelope(&self) -> Result<Envelope, Malformed> {
        Envelope::from_bytes(&self.body)
    }

    /// The work's outcome is committed: the message may go.
    ///
    /// # Errors
    /// [`QueueError::Lost`] when it will come again instead.
    pub async fn done(self) -> Result<(), QueueError> {
        match self.acker {
            Acker::Amqp(acker) => acker.done().await,
            Acker::Embedded(acker) => {
                acker.done();
                Ok(())
            }
        }
    }

    /// Comes again after `delay`. Durable before the original goes.
    ///
    /// # Errors
    /// When it is unsure: it may then come early, or twice.
    pub async fn again_in(self, delay: Duration) -> Result<(), QueueError> {
        match self.acker {
            Acker::Amqp(acker) => acker.again_in(&self.body, delay).await,
            Acker::Embedded(acker) => acker.again_in(delay).await,
        }
    }

    /// To the dead letters: it is no message of ours. The message of a job that is dead is [`Delivery::done`], so that its row,
    /// which may be retried, is the only place where it is.
    ///
    /// # Errors
    /// [`QueueError::Lost`] when it will come again instead.
    pub async fn bury(self) -> Result<(), QueueError> {
        match self.acker {
            Acker::Amqp(acker) => acker.bury().await,
            Acker::Embedded(acker) => {
                acker.done();
                Ok(())
            }
        }
    }
}

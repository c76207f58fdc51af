//! The queue in RabbitMQ 3.10 and later: quorum queues, publisher confirms, manual acks.
//!
//! One supervised connection a process. When it ends, everything unconfirmed counts as unsent and everything unacked
//! comes again; the connection is made anew, for ever, and the topology declared again. The library's own recovery is
//! switched off: its issue 450 is open.

mod connection;
mod consume;
mod publish;
mod topology;

pub use consume::{AmqpAcker, AmqpConsumer};

use super::{Broker, Depth, PUBLISH_DEADLINE, QueueContext, QueueError};
use crate::{
    BoxError,
    jobs::{Envelope, Pool},
};
use connection::{Live, Supervised};
use std::{future::Future, sync::Arc, time::Duration};
use url::Url;

/// Longest wait for an answer of the broker that is not a confirm.
const ANSWER: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(2);

/// RabbitMQ. Cloning shares the connection.
#[derive(Clone, Debug)]
pub struct AmqpQueue {
    supervised: Supervised,
    context: QueueContext,
}

fn unavailable(operation: &'static str, source: impl Into<BoxError>) -> QueueError {
    QueueError::Unavailable {
        operation,
        source: source.into(),
    }
}

/// `work`, at most `deadline` long.
async fn within<T, E>(
    operation: &'static str,
    deadline: Duration,
    work: impl Future<Output = Result<T, E>> + Send,
) -> Result<T, QueueError>
where
    E: Into<BoxError>,
{
    match tokio::time::timeout(deadline, work).await {
        Ok(result) => result.map_err(|error| unavailable(operation, error)),
        Err(late) => Err(unavailable(operation, late)),
    }
}

impl AmqpQueue {
    /// A queue at `amqp://user:password@host:port/vhost`, `amqps` for TLS, `ca=/file.pem` to trust those roots.
    /// A server that is away is no error: it is tried again and again.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(url: &Url, context: QueueContext) -> Result<Self, QueueError> {
        crate::db::install_crypto();
        let supervised = Supervised::start(url, &context)?;
        Ok(Self { supervised, context })
    }

    async fn live(&self, deadline: Duration) -> Result<Arc<Live>, QueueError> {
        let up = async { Ok::<_, BoxError>(self.supervised.up().await) };
        within("connect", deadline, up).await
    }
}

impl Broker for AmqpQueue {
    type Consumer = AmqpConsumer;

    async fn publish(&self, pool: Pool, messages: &[Envelope]) -> Result<(), QueueError> {
        let all = async {
            let live = self.supervised.up().await;
            let bodies = messages.iter().map(Envelope::to_bytes);
            let sent = publish::confirmed(&live, &topology::ready(pool), bodies).await;
            if sent.is_err() {
                live.suspect();
            }
            sent
        };
        match tokio::time::timeout(PUBLISH_DEADLINE, all).await {
            Ok(result) => result.map_err(|error| unavailable("publish", error)),
            Err(late) => {
                // Silent, or blocked by an alarm: what was sent may be stored, which is harmless.
                if let Some(live) = self.supervised.present() {
                    live.suspect();
                }
                Err(unavailable("publish", late))
            }
        }
    }

    async fn publish_later(&self, pool: Pool, message: &Envelope, delay: Duration) -> Result<(), QueueError> {
        publish::later(&self.supervised, pool, message.to_bytes(), delay).await
    }

    fn consume(&self, pool: Pool, prefetch: u16) -> AmqpConsumer {
        AmqpConsumer::new(self.supervised.clone(), self.context.clone(), pool, prefetch)
    }

    async fn depth(&self, pool: Pool) -> Result<Depth, QueueError> {
        let live = self.live(ANSWER).await?;
        let count = async {
            let channel = live.connection.create_channel().await?;
            let ready = topology::count(&channel, &topology::ready(pool)).await?;
            let buried = topology::count(&channel, &topology::dead(pool)).await?;
            Ok::<_, lapin::Error>(Depth { ready, buried })
        };
        within("count", ANSWER, count).await
    }

    async fn ping(&self) -> Result<(), QueueError> {
        let live = self.live(PING).await?;
        // A channel takes a round trip.
        let trip = async { live.connection.create_channel().await.map(|_| ()) };
        within("ping", PING, trip).await
    }
}

//! Consuming with manual acks: a channel a consumer, made again with the connection.

use super::{ANSWER, QueueContext, QueueError, connection::Supervised, publish, topology, within};
use crate::{
    jobs::Pool,
    queue::{Acker as AnyAcker, Consume, Delivery},
    retry::RetryPolicy,
    shutdown::Shutdown,
};
use futures_util::{StreamExt, future::BoxFuture};
use lapin::{
    Acker, Channel,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, BasicRejectOptions,
    },
    types::FieldTable,
};
use std::time::Duration;

/// A consumer of a pool's queue.
pub struct AmqpConsumer {
    supervised: Supervised,
    context: QueueContext,
    pool: Pool,
    prefetch: u16,
    /// Kept across calls: a dropped call must not drop a consumer that the broker has begun to send to.
    opening: Option<BoxFuture<'static, Result<Open, QueueError>>>,
    open: Option<Open>,
}

impl std::fmt::Debug for AmqpConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AmqpConsumer")
            .field("pool", &self.pool)
            .field("prefetch", &self.prefetch)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Open {
    channel: Channel,
    messages: lapin::Consumer,
}

/// A delivery to be settled. Holds its channel open; dropped unsettled, it goes back to the queue.
#[derive(Debug)]
pub struct AmqpAcker {
    acker: Option<Acker>,
    channel: Channel,
    supervised: Supervised,
    shutdown: Shutdown,
    pool: Pool,
}

impl AmqpConsumer {
    pub(super) const fn new(supervised: Supervised, context: QueueContext, pool: Pool, prefetch: u16) -> Self {
        Self {
            supervised,
            context,
            pool,
            prefetch,
            opening: None,
            open: None,
        }
    }

    fn start(&self) -> BoxFuture<'static, Result<Open, QueueError>> {
        let (supervised, pool, prefetch) = (self.supervised.clone(), self.pool, self.prefetch.max(1));
        Box::pin(async move {
            let live = supervised.up().await;
            let start = async {
                let channel = live.connection.create_channel().await?;
                // Not global: the newest brokers refuse that.
                channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
                let queue = topology::ready(pool);
                let options = BasicConsumeOptions::default();
                let messages = channel
                    .basic_consume(queue.into(), "".into(), options, FieldTable::default())
                    .await?;
                Ok::<_, lapin::Error>(Open { channel, messages })
            };
            let opened = within("consume", ANSWER, start).await;
            if opened.is_err() {
                live.suspect();
            }
            opened
        })
    }

    fn delivery(&self, open: &Open, message: lapin::message::Delivery) -> Delivery {
        let acker = AmqpAcker {
            acker: Some(message.acker),
            channel: open.channel.clone(),
            supervised: self.supervised.clone(),
            shutdown: self.context.shutdown.clone(),
            pool: self.pool,
        };
        Delivery {
            body: message.data,
            acker: AnyAcker::Amqp(acker),
        }
    }
}

impl Consume for AmqpConsumer {
    async fn next(&mut self) -> Delivery {
        let mut failures = 0_u32;
        loop {
            if self.open.is_none() {
                let start = self.start();
                let opened = self.opening.get_or_insert(start).await;
                self.opening = None;
                match opened {
                    Ok(open) => self.open = Some(open),
                    Err(error) => {
                        failures = failures.saturating_add(1);
                        tracing::debug!(pool = %self.pool, error = &error as &dyn std::error::Error, "cannot consume yet");
                        let delay = RetryPolicy::RECONNECT.delay_after(failures, self.context.entropy.fraction());
                        self.context
                            .clock
                            .sleep(delay.unwrap_or(RetryPolicy::RECONNECT.max))
                            .await;
                        continue;
                    }
                }
            }
            if let Some(open) = &mut self.open {
                // The stream's item is taken whole or not at all: a dropped call loses nothing.
                match open.messages.next().await {
                    Some(Ok(message)) => {
                        if let Some(open) = &self.open {
                            return self.delivery(open, message);
                        }
                    }
                    // The channel or the connection is gone: what was unacked comes again.
                    Some(Err(_)) | None => self.open = None,
                }
            }
        }
    }
}

impl Drop for AmqpConsumer {
    fn drop(&mut self) {
        let Some(Open { channel, mut messages }) = self.open.take() else {
            return;
        };
        // What the library has at hand goes back at once, although deliveries in work keep the channel open.
        self.context.shutdown.spawn(async move {
            let give_back = async {
                channel
                    .basic_cancel(messages.tag(), BasicCancelOptions::default())
                    .await?;
                while let Some(message) = messages.next().await {
                    message?
                        .acker
                        .nack(BasicNackOptions {
                            requeue: true,
                            multiple: false,
                        })
                        .await?;
                }
                Ok::<_, lapin::Error>(())
            };
            // When that fails the channel's end returns them.
            let _ = tokio::time::timeout(ANSWER, give_back).await;
        });
    }
}

impl AmqpAcker {
    fn take(&mut self) -> Result<Acker, QueueError> {
        self.acker.take().ok_or(QueueError::Lost)
    }

    pub(in crate::queue) async fn done(mut self) -> Result<(), QueueError> {
        settled(&self.take()?.ack(BasicAckOptions::default()).await)
    }

    pub(in crate::queue) async fn bury(mut self) -> Result<(), QueueError> {
        settled(&self.take()?.reject(BasicRejectOptions { requeue: false }).await)
    }

    pub(in crate::queue) async fn again_in(mut self, body: &[u8], delay: Duration) -> Result<(), QueueError> {
        publish::later(&self.supervised, self.pool, body.to_vec(), delay).await?;
        settled(&self.take()?.ack(BasicAckOptions::default()).await)
    }
}

fn settled(result: &Result<bool, lapin::Error>) -> Result<(), QueueError> {
    match result {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(QueueError::Lost),
    }
}

impl Drop for AmqpAcker {
    fn drop(&mut self) {
        if let Some(acker) = self.acker.take() {
            let channel = self.channel.clone();
            self.shutdown.spawn(async move {
                // When that fails the channel's end returns it.
                let _ = tokio::time::timeout(
                    ANSWER,
                    acker.nack(BasicNackOptions {
                        requeue: true,
                        multiple: false,
                    }),
                )
                .await;
                drop(channel);
            });
        }
    }
}

//! Publishing with confirms, pipelined: all messages go out, then all confirms are awaited.

use super::{
    PUBLISH_DEADLINE,
    connection::{Live, Supervised},
    topology, within,
};
use crate::{BoxError, jobs::Pool, queue::QueueError};
use futures_util::future::try_join_all;
use lapin::{BasicProperties, Confirmation, options::BasicPublishOptions};
use std::time::Duration;

/// Persistent: on disk before it is confirmed.
const PERSISTENT: u8 = 2;

/// Returns when the broker has confirmed a message that comes when `delay` is over.
pub(super) async fn later(
    supervised: &Supervised,
    pool: Pool,
    body: Vec<u8>,
    delay: Duration,
) -> Result<(), QueueError> {
    let queue = topology::wait(pool, delay);
    let publish = async {
        let live = supervised.up().await;
        confirmed(&live, &queue, std::iter::once(body)).await
    };
    within("publish for later", PUBLISH_DEADLINE, publish).await
}

/// Returns when the broker has confirmed every message. On error none, some or all may be stored.
pub(super) async fn confirmed(live: &Live, queue: &str, bodies: impl Iterator<Item = Vec<u8>>) -> Result<(), BoxError> {
    let mut confirms = Vec::new();
    {
        let _sending = live.sending.lock().await;
        for body in bodies {
            // Mandatory: a message that no queue takes comes back instead of vanishing.
            let options = BasicPublishOptions {
                mandatory: true,
                ..BasicPublishOptions::default()
            };
            let properties = BasicProperties::default()
                .with_delivery_mode(PERSISTENT)
                .with_content_type("application/json".into());
            confirms.push(
                live.channel
                    .basic_publish("".into(), queue.into(), options, &body, properties)
                    .await?,
            );
        }
    }
    let answers = try_join_all(confirms).await?;
    if answers.iter().all(|answer| matches!(answer, Confirmation::Ack(None))) {
        Ok(())
    } else {
        Err(format!("queue {queue} did not take every message").into())
    }
}

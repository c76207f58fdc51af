//! Queues of a pool, declared by every process that connects; declaring what is there changes nothing.
//!
//! - `mediamill.<pool>`: quorum, a delivery limit as a net (the worker's own is smaller), dead-letters at least once;
//! - `mediamill.<pool>.dead`: quorum, what is none of ours or was delivered too often, kept for a while for operators;
//! - `mediamill.<pool>.wait.<seconds>`: quorum, a time to live, dead-letters back: a delay without a plugin. One queue a
//!   step, because a queue's messages end in order.
//!
//! Names and arguments are a promise: a queue with other arguments is refused by the broker. Change both together.

use crate::jobs::Pool;
use lapin::{
    Channel,
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use std::time::Duration;

/// Delays that there are, seconds.
pub(super) const STEPS: [u32; 7] = [1, 5, 15, 60, 300, 900, 3_600];
/// Redeliveries before the broker itself gives up: only for messages that never reach a worker's own count.
const DELIVERY_LIMIT: i32 = 50;
/// How long the dead are kept: 14 days, milliseconds.
const DEAD_TTL: i32 = 14 * 24 * 3_600 * 1_000;

pub(super) fn ready(pool: Pool) -> String {
    format!("mediamill.{pool}")
}

pub(super) fn dead(pool: Pool) -> String {
    format!("mediamill.{pool}.dead")
}

/// The waiting queue whose delay is `delay` or the next above; the longest when none is.
pub(super) fn wait(pool: Pool, delay: Duration) -> String {
    let step = STEPS
        .iter()
        .find(|step| Duration::from_secs(u64::from(**step)) >= delay)
        .unwrap_or(&STEPS[STEPS.len() - 1]);
    format!("mediamill.{pool}.wait.{step}")
}

fn quorum(more: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    for (name, value) in more {
        table.insert((*name).into(), value.clone());
    }
    table
}

/// Dead-letters to `queue`, at least once: the message leaves only when it has arrived.
fn letters_to(queue: &str) -> [(&'static str, AMQPValue); 4] {
    [
        ("x-dead-letter-exchange", AMQPValue::LongString("".into())),
        ("x-dead-letter-routing-key", AMQPValue::LongString(queue.into())),
        ("x-dead-letter-strategy", AMQPValue::LongString("at-least-once".into())),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ]
}

async fn declared(channel: &Channel, name: String, arguments: FieldTable) -> Result<(), lapin::Error> {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel.queue_declare(name.into(), options, arguments).await.map(|_| ())
}

pub(super) async fn declare(channel: &Channel) -> Result<(), lapin::Error> {
    for pool in Pool::ALL {
        declared(
            channel,
            dead(*pool),
            quorum(&[("x-message-ttl", AMQPValue::LongInt(DEAD_TTL))]),
        )
        .await?;
        let mut arguments = letters_to(&dead(*pool)).to_vec();
        arguments.push(("x-delivery-limit", AMQPValue::LongInt(DELIVERY_LIMIT)));
        declared(channel, ready(*pool), quorum(&arguments)).await?;
        for step in STEPS {
            let mut arguments = letters_to(&ready(*pool)).to_vec();
            let millis = i32::try_from(step * 1_000).unwrap_or(i32::MAX);
            arguments.push(("x-message-ttl", AMQPValue::LongInt(millis)));
            declared(
                channel,
                wait(*pool, Duration::from_secs(u64::from(step))),
                quorum(&arguments),
            )
            .await?;
        }
    }
    Ok(())
}

pub(super) async fn count(channel: &Channel, name: &str) -> Result<u64, lapin::Error> {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare(name.into(), options, FieldTable::default())
        .await?;
    Ok(u64::from(queue.message_count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_waits_at_least_its_time() {
        let name = |seconds: f64| wait(Pool::Media, Duration::from_secs_f64(seconds));
        assert_eq!(name(0.2), "mediamill.media.wait.1");
        assert_eq!(name(1.0), "mediamill.media.wait.1");
        assert_eq!(name(1.1), "mediamill.media.wait.5");
        assert_eq!(name(1e6), "mediamill.media.wait.3600");
    }
}

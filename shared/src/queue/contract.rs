//! What every queue must do. One named test a case and adapter.

use super::{Broker, Consume, Consumer, Delivery, Queue, QueueContext, QueueError};
use crate::{
    clock::{Clock, Entropy},
    control::jobs::{self, NewJob, Outcome, Settlement},
    ids::{JobId, TraceId},
    jobs::{Envelope, Noop, Pool, Reason},
    shutdown::Shutdown,
    testing::{
        PATIENCE, connected,
        database::ControlDb,
        faults::Proxy,
        servers::{self, VirtualHost},
    },
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::timeout;

const POOL: Pool = Pool::Maintenance;
/// Nothing comes within this: long enough for what is wrong to show, an upper bound on nothing.
const QUIET: Duration = Duration::from_millis(300);

struct Side {
    queue: Queue,
    database: ControlDb,
    clock: Clock,
    shutdown: Shutdown,
    _host: Option<VirtualHost>,
}

impl Drop for Side {
    fn drop(&mut self) {
        self.shutdown.abort();
    }
}

async fn side(url: &str, host: Option<VirtualHost>) -> Side {
    let (database, clock, shutdown) = (ControlDb::sqlite().await, Clock::system(), Shutdown::new());
    let context = QueueContext {
        control: database.db.clone(),
        clock: clock.clone(),
        entropy: Entropy::system(),
        shutdown: shutdown.clone(),
    };
    let queue = Queue::open(&url.parse().unwrap(), context).unwrap();
    Side {
        queue,
        database,
        clock,
        shutdown,
        _host: host,
    }
}

async fn embedded() -> Side {
    side("embedded:", None).await
}

async fn amqp() -> Side {
    let host = VirtualHost::own();
    let url = host.url.to_string();
    let side = side(&url, Some(host)).await;
    connected(&side.queue).await;
    side
}

impl Side {
    /// Rows of accepted jobs, and their messages.
    async fn jobs(&self, count: usize) -> Vec<Envelope> {
        let (now, entropy) = (self.clock.now(), Entropy::system());
        let jobs: Vec<NewJob> = (0..count)
            .map(|_| {
                let trace = TraceId::generate(&self.clock, &entropy);
                NewJob::of(JobId::generate(&self.clock, &entropy), &Noop {}, trace).unwrap()
            })
            .collect();
        jobs::accept(&self.database.db, &jobs, now, true).await.unwrap();
        jobs.iter().map(|job| job.envelope(now)).collect()
    }

    async fn published(&self, count: usize) -> Vec<Envelope> {
        let messages = self.jobs(count).await;
        self.queue.publish(POOL, &messages).await.unwrap();
        messages
    }

    /// Settles the row as a worker does before it acks.
    async fn settle(&self, job: &JobId, outcome: Outcome) {
        let now = self.clock.now();
        let claims = jobs::claim(&self.database.db, "tester", std::slice::from_ref(job), now)
            .await
            .unwrap();
        let jobs::Claim::Yours(claimed) = &claims[0] else {
            panic!("{claims:?}")
        };
        let settlement = Settlement {
            id: job.clone(),
            attempt: claimed.attempt,
            outcome,
            has_message: true,
        };
        assert_eq!(
            jobs::settle(&self.database.db, &[settlement], now).await.unwrap(),
            [true]
        );
    }
}

async fn next(consumer: &mut Consumer) -> Delivery {
    timeout(PATIENCE, consumer.next()).await.expect("a delivery")
}

async fn quiet(consumer: &mut Consumer) {
    assert!(timeout(QUIET, consumer.next()).await.is_err(), "nothing was to come");
}

fn job(delivery: &Delivery) -> JobId {
    delivery.envelope().unwrap().job().clone()
}

macro_rules! contract {
    ($($case:ident),+ $(,)?) => {
        mod in_process {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::embedded().await).await;
            })+
        }
        mod in_rabbitmq {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                super::$case(super::amqp().await).await;
            })+
        }
    };
}

contract!(
    what_is_published_arrives_once_and_does_not_come_again,
    an_unsettled_delivery_comes_again,
    a_dropped_consumer_gives_its_buffer_back,
    prefetch_bounds_what_is_unsettled,
    a_delayed_delivery_comes_later,
    what_is_published_for_later_comes_when_it_is_due,
    a_buried_delivery_is_counted_and_does_not_come_again,
    publishing_twice_is_harmless,
    a_dropped_wait_loses_nothing,
    two_consumers_share_without_doubles,
);

async fn what_is_published_arrives_once_and_does_not_come_again(side: Side) {
    let messages = side.published(3).await;
    let mut consumer = side.queue.consume(POOL, 8);
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let delivery = next(&mut consumer).await;
        let id = job(&delivery);
        side.settle(&id, Outcome::Done).await;
        delivery.done().await.unwrap();
        seen.insert(id);
    }
    assert_eq!(seen, messages.iter().map(|message| message.job().clone()).collect());
    quiet(&mut consumer).await;
    assert_eq!(side.queue.depth(POOL).await.unwrap(), super::Depth::default());
}

async fn an_unsettled_delivery_comes_again(side: Side) {
    side.published(1).await;
    let mut consumer = side.queue.consume(POOL, 1);
    let first = next(&mut consumer).await;
    let id = job(&first);
    drop(first);
    assert_eq!(job(&next(&mut consumer).await), id);
}

async fn a_dropped_consumer_gives_its_buffer_back(side: Side) {
    side.published(5).await;
    let mut first = side.queue.consume(POOL, 5);
    let held = next(&mut first).await;
    drop(first);
    let mut second = side.queue.consume(POOL, 5);
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let delivery = next(&mut second).await;
        seen.insert(job(&delivery));
        side.settle(&job(&delivery), Outcome::Done).await;
        delivery.done().await.unwrap();
    }
    assert!(!seen.contains(&job(&held)) && seen.len() == 4);
    side.settle(&job(&held), Outcome::Done).await;
    held.done().await.unwrap();
}

async fn prefetch_bounds_what_is_unsettled(side: Side) {
    side.published(4).await;
    let mut consumer = side.queue.consume(POOL, 2);
    let (first, _second) = (next(&mut consumer).await, next(&mut consumer).await);
    quiet(&mut consumer).await;
    side.settle(&job(&first), Outcome::Done).await;
    first.done().await.unwrap();
    next(&mut consumer).await.done().await.unwrap();
}

async fn a_delayed_delivery_comes_later(side: Side) {
    side.published(1).await;
    let mut consumer = side.queue.consume(POOL, 2);
    let delivery = next(&mut consumer).await;
    let (id, delay) = (job(&delivery), Duration::from_millis(900));
    let due_at = side.clock.now().after(delay);
    side.settle(
        &id,
        Outcome::Again {
            due_at,
            reason: Reason::new("test", "later"),
        },
    )
    .await;
    delivery.again_in(delay).await.unwrap();
    let again = next(&mut consumer).await;
    assert_eq!(job(&again), id);
    assert!(side.clock.now() >= due_at, "it came early");
}

async fn what_is_published_for_later_comes_when_it_is_due(side: Side) {
    let mut consumer = side.queue.consume(POOL, 2);
    let [message] = side.jobs(1).await.try_into().unwrap();
    let delay = Duration::from_millis(900);
    let due_at = side.clock.now().after(delay);
    if side.queue.rows_are_messages() {
        // It came with its row.
        let delivery = next(&mut consumer).await;
        let reason = Reason::new("test", "later");
        side.settle(message.job(), Outcome::Again { due_at, reason }).await;
        delivery.again_in(delay).await.unwrap();
    }
    side.queue.publish_later(POOL, &message, delay).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(job(&delivery), *message.job());
    assert!(side.clock.now() >= due_at, "it came early");
    side.settle(message.job(), Outcome::Done).await;
    delivery.done().await.unwrap();
    quiet(&mut consumer).await;
}

async fn a_buried_delivery_is_counted_and_does_not_come_again(side: Side) {
    side.published(1).await;
    let mut consumer = side.queue.consume(POOL, 2);
    let delivery = next(&mut consumer).await;
    side.settle(
        &job(&delivery),
        Outcome::Dead {
            reason: Reason::new("test", "dead"),
        },
    )
    .await;
    delivery.bury().await.unwrap();
    quiet(&mut consumer).await;
    // Where rows are messages there is nothing beside them to be counted.
    let buried = u64::from(!side.queue.rows_are_messages());
    let counted = async {
        while side.queue.depth(POOL).await.unwrap().buried != buried {
            side.clock.sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, counted).await.unwrap();
}

async fn publishing_twice_is_harmless(side: Side) {
    let messages = side.published(1).await;
    side.queue.publish(POOL, &messages).await.unwrap();
    let mut consumer = side.queue.consume(POOL, 4);
    let delivery = next(&mut consumer).await;
    let id = job(&delivery);
    side.settle(&id, Outcome::Done).await;
    delivery.done().await.unwrap();
    // A double finds its row settled, if it comes at all.
    if let Ok(double) = timeout(QUIET, consumer.next()).await {
        let claims = jobs::claim(&side.database.db, "tester", &[job(&double)], side.clock.now())
            .await
            .unwrap();
        assert!(matches!(claims.as_slice(), [jobs::Claim::Over]));
        double.done().await.unwrap();
    }
}

async fn a_dropped_wait_loses_nothing(side: Side) {
    let mut consumer = side.queue.consume(POOL, 2);
    for _ in 0..3 {
        // Dropped while it waits, or while it takes.
        let _ = timeout(Duration::from_millis(20), consumer.next()).await.map(drop);
    }
    let messages = side.published(1).await;
    assert_eq!(job(&next(&mut consumer).await), *messages[0].job());
}

async fn two_consumers_share_without_doubles(side: Side) {
    side.published(20).await;
    let (mut one, mut two) = (side.queue.consume(POOL, 3), side.queue.consume(POOL, 3));
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let delivery = timeout(PATIENCE, async {
            tokio::select! { delivery = one.next() => delivery, delivery = two.next() => delivery }
        })
        .await
        .expect("a delivery");
        let id = job(&delivery);
        assert!(seen.insert(id.clone()), "{id} came twice");
        side.settle(&id, Outcome::Done).await;
        delivery.done().await.unwrap();
    }
}

#[tokio::test]
async fn leases_of_a_dead_process_end() {
    let clock = Clock::manual(Clock::system().now());
    let database = ControlDb::sqlite().await;
    let open = |shutdown: &Shutdown| QueueContext {
        control: database.db.clone(),
        clock: clock.clone(),
        entropy: Entropy::system(),
        shutdown: shutdown.clone(),
    };
    let (died, lives) = (Shutdown::new(), Shutdown::new());
    let job = NewJob::of(
        JobId::generate(&clock, &Entropy::system()),
        &Noop {},
        TraceId::generate(&clock, &Entropy::system()),
    )
    .unwrap();
    jobs::accept(&database.db, std::slice::from_ref(&job), clock.now(), true)
        .await
        .unwrap();
    let first = Queue::open(&"embedded:".parse().unwrap(), open(&died)).unwrap();
    let mut consumer = first.consume(POOL, 1);
    let held = next(&mut consumer).await;
    // A process that dies runs no destructors.
    std::mem::forget((held, consumer, first));
    let second = Queue::open(&"embedded:".parse().unwrap(), open(&lives)).unwrap();
    let mut consumer = second.consume(POOL, 1);
    let passing = async {
        loop {
            clock.advance(super::embedded::LEASE);
            Clock::system().sleep(Duration::from_millis(5)).await;
        }
    };
    let again = tokio::select! {
        delivery = next(&mut consumer) => delivery,
        never = passing => never,
    };
    assert_eq!(again.envelope().unwrap().job(), &job.id);
}

/// A queue behind a line that can be broken.
async fn amqp_by_proxy() -> (Proxy, Side) {
    let host = VirtualHost::own();
    let (line, url) = Proxy::to(&host.url).await;
    let side = side(url.as_str(), Some(host)).await;
    connected(&side.queue).await;
    (line, side)
}

/// Publishes until the broker confirms.
async fn insist(side: &Side, messages: &[Envelope]) {
    let published = async { while side.queue.publish(POOL, messages).await.is_err() {} };
    timeout(PATIENCE, published).await.unwrap();
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn a_cut_connection_is_made_again_and_what_was_unacked_comes_again() {
    let (line, side) = amqp_by_proxy().await;
    let messages = side.published(1).await;
    let mut consumer = side.queue.consume(POOL, 1);
    let held = next(&mut consumer).await;
    line.cut();
    let again = next(&mut consumer).await;
    assert_eq!(job(&again), *messages[0].job());
    // The ack of the lost delivery is said to be lost, and does not count for the new one.
    assert!(matches!(held.done().await, Err(QueueError::Lost)));
    again.done().await.unwrap();
    let more = side.jobs(1).await;
    insist(&side, &more).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(job(&delivery), *more[0].job());
    delivery.done().await.unwrap();
    quiet(&mut consumer).await;
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn a_broker_that_is_gone_for_a_while_is_found_again() {
    let (line, side) = amqp_by_proxy().await;
    let mut consumer = side.queue.consume(POOL, 1);
    let first = side.published(1).await.remove(0);
    next(&mut consumer).await.done().await.unwrap();
    line.down();
    let messages = side.jobs(1).await;
    let answer = timeout(super::PUBLISH_DEADLINE * 2, side.queue.publish(POOL, &messages))
        .await
        .unwrap();
    assert!(answer.is_err());
    line.mend();
    insist(&side, &messages).await;
    let mut delivery = next(&mut consumer).await;
    // An ack is not confirmed: one that was on its way when the line broke is as good as none.
    while job(&delivery) == *first.job() {
        delivery.done().await.unwrap();
        delivery = next(&mut consumer).await;
    }
    assert_eq!(job(&delivery), *messages[0].job());
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn a_broker_that_falls_silent_is_an_error_in_time_and_given_up() {
    let (line, side) = amqp_by_proxy().await;
    let mut consumer = side.queue.consume(POOL, 1);
    side.published(1).await;
    let held = next(&mut consumer).await;
    line.silence();
    let messages = side.jobs(1).await;
    let answer = timeout(super::PUBLISH_DEADLINE * 2, side.queue.publish(POOL, &messages))
        .await
        .unwrap();
    assert!(answer.is_err());
    // An ack does not hang either; whether it arrived is not known.
    let acked = timeout(PATIENCE, held.done()).await;
    assert!(acked.is_ok());
    // The broker that answers again is reached by a new connection, without waiting for the old one's end.
    line.cut();
    insist(&side, &messages).await;
    let mut seen = BTreeSet::new();
    while !seen.contains(messages[0].job()) {
        let delivery = next(&mut consumer).await;
        seen.insert(job(&delivery));
        // Lost where the connection was made again in between.
        let _ = delivery.done().await;
    }
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn rabbitmq_speaks_tls() {
    let url = format!(
        "{}?ca={}",
        servers::required("MEDIAMILL_TEST_AMQPS_URL"),
        servers::required("MEDIAMILL_TEST_CA")
    );
    connected(&side(&url, None).await.queue).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_in_time_and_not_at_opening() {
    // A port that nobody listens on.
    let side = side("amqp://guest:guest@127.0.0.1:9/%2f", None).await;
    let messages = side.jobs(1).await;
    let answer = timeout(super::PUBLISH_DEADLINE * 2, side.queue.publish(POOL, &messages))
        .await
        .unwrap();
    assert!(answer.is_err());
}

#[tokio::test]
async fn unknown_urls_are_refused_with_what_is_known() {
    let database = ControlDb::sqlite().await;
    for bad in ["kafka://x", "amqp://127.0.0.1/?cafile=a"] {
        let context = QueueContext {
            control: database.db.clone(),
            clock: Clock::system(),
            entropy: Entropy::system(),
            shutdown: Shutdown::new(),
        };
        let error = Queue::open(&bad.parse().unwrap(), context).unwrap_err();
        assert!(error.to_string().contains("known: "), "{error}");
    }
}

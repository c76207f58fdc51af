//! What a job costs that does nothing: row, publish, confirm, deliver, claim, settle, ack; beside the same number of
//! bare messages through the same RabbitMQ.

use crate::{installation::Back, say};
use anyhow::{Context, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, future::try_join};
use lapin::{
    BasicProperties, Confirmation, Connection, ConnectionProperties,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use mediamill_shared::{
    clock::{Clock, Entropy, Stopwatch},
    config::Config,
    control::jobs::{self, NewJob},
    ids::{JobId, TraceId},
    jobs::{JobState, Noop, Pool},
    services::Services,
    shutdown::Shutdown,
};
use mediamill_workers::Settings;
use std::{collections::VecDeque, time::Duration};

/// Rows of one transaction, as a bulk request writes them.
const ROWS: usize = 128;
/// Transactions at a time.
const WRITERS: usize = 4;
/// Batches accepted and not finished at most: below what the outbox holds.
const OPEN: usize = 32;
/// Between two looks at what is open.
const LOOK: Duration = Duration::from_millis(20);
/// Bare messages that wait for their confirm at most.
const UNCONFIRMED: usize = 256;
/// Bare messages at hand, as the worker's pool has them.
const PREFETCH: u16 = 256;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Jobs of each run.
    #[arg(long, default_value_t = 30_000)]
    count: usize,
    /// Runs; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.count > 0 && args.runs > 0, "--count and --runs are at least 1");
    let clock = Clock::system();
    let back = Back::start(&clock).await?;
    let settings = back.settings()?;
    let amqp = settings
        .iter()
        .find_map(|(name, value)| (*name == "queue_url").then(|| value.clone()))
        .context("there is no queue")?;
    let (mut raw, mut distributed, mut embedded) = (Vec::new(), Vec::new(), Vec::new());
    // In turns: what disturbs the machine disturbs all of them.
    for round in 0..args.runs {
        raw.push(bare(&amqp, args.count).await?);
        distributed.push(jobs_per_second(settings.clone(), args.count, &clock).await?);
        let folder = back.folder.path().join(format!("embedded-{round}"));
        embedded.push(jobs_per_second(vec![("data_dir", folder.display().to_string())], args.count, &clock).await?);
    }
    let (raw, distributed, embedded) = (median(raw), median(distributed), median(embedded));
    if args.json {
        let report = serde_json::json!({
            "jobs": args.count, "runs": args.runs, "raw_rabbitmq_per_second": raw,
            "distributed_per_second": distributed, "distributed_to_raw": distributed / raw,
            "embedded_per_second": embedded, "embedded_to_raw": embedded / raw,
        });
        say(&report.to_string());
        return Ok(());
    }
    say(&format!("{} jobs, median of {} runs", args.count, args.runs));
    say(&format!(
        "RabbitMQ alone            {raw:>8.0}/s  publish, confirm, deliver, ack"
    ));
    for (name, rate) in [("PostgreSQL and RabbitMQ", distributed), ("SQLite alone", embedded)] {
        say(&format!("{name:<25} {rate:>8.0}/s  {:.2} of that", rate / raw));
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rate(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64().max(1e-9)
}

/// `count` jobs from their rows to their settlements.
async fn jobs_per_second(settings: Vec<(&'static str, String)>, count: usize, clock: &Clock) -> anyhow::Result<f64> {
    let shutdown = Shutdown::new();
    let config = Config::from_pairs(settings)?;
    let services = Services::open(config, clock.clone(), Entropy::system(), shutdown.clone()).await?;
    services.control.migrate_control().await?;
    let worker = Settings::from_config(&services.config).only(&[Pool::Maintenance]);
    shutdown.spawn(mediamill_workers::run(services.clone(), worker));
    // One job all the way: the consumer is there, connections and statements are made.
    accept(&services, 1).await?;
    until_all_final(&services).await?;
    let watch = Stopwatch::start();
    // The last job of each batch that may be open. One job is looked at, by its key: counting would cost what is measured.
    let open = tokio::sync::Mutex::new(VecDeque::new());
    let batches = (0..count).step_by(ROWS).map(|done| ROWS.min(count - done));
    futures_util::stream::iter(batches)
        .map(Ok::<_, anyhow::Error>)
        .try_for_each_concurrent(WRITERS, |rows| {
            let (services, open) = (&services, &open);
            async move {
                let last = accept(services, rows).await?;
                let mut open = open.lock().await;
                open.push_back(last);
                if open.len() > OPEN
                    && let Some(first) = open.pop_front()
                {
                    until_final(services, &first).await?;
                }
                Ok(())
            }
        })
        .await?;
    for last in open.into_inner() {
        until_final(&services, &last).await?;
    }
    until_all_final(&services).await?;
    let time = watch.elapsed();
    let dead = jobs::counts(&services.control).await?;
    if dead.iter().any(|count| count.state == JobState::Dead) {
        bail!("no-op jobs died");
    }
    // What publishes and what holds the connection end when nobody holds them.
    drop(services);
    let ended = tokio::time::timeout(Duration::from_secs(30), shutdown.finish()).await;
    ensure!(ended.is_ok(), "the process does not come to its end");
    Ok(rate(count, time))
}

/// Accepts jobs. Returns the last.
async fn accept(services: &Services, rows: usize) -> anyhow::Result<JobId> {
    let mut new = Vec::with_capacity(rows);
    for _ in 0..rows {
        let id = JobId::generate(&services.clock, &services.entropy);
        let trace = TraceId::generate(&services.clock, &services.entropy);
        new.push(NewJob::of(id, &Noop {}, trace)?);
    }
    let now = services.clock.now();
    jobs::accept(&services.control, &new, now, services.queue.rows_are_messages()).await?;
    for job in &new {
        services.outbox.offer(job.pool, job.envelope(now));
    }
    let last = new.pop().context("a batch has jobs")?;
    Ok(last.id)
}

/// Waits until a job is over.
async fn until_final(services: &Services, job: &JobId) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    loop {
        let row = jobs::get(&services.control, job).await?;
        if row.context("an accepted job has no row")?.state.is_final() {
            return Ok(());
        }
        ensure!(watch.elapsed() < Duration::from_secs(120), "job {job} is still open");
        services.clock.sleep(LOOK).await;
    }
}

/// Waits until no job is open.
async fn until_all_final(services: &Services) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    loop {
        let counts = jobs::counts(&services.control).await?;
        let open: i64 = counts
            .iter()
            .filter(|count| !count.state.is_final())
            .map(|count| count.jobs)
            .sum();
        if open == 0 {
            return Ok(());
        }
        ensure!(watch.elapsed() < Duration::from_secs(120), "{open} jobs are still open");
        services.clock.sleep(LOOK).await;
    }
}

/// `count` bare messages of a job's size: publish with confirms, deliver, ack, on a durable quorum queue.
async fn bare(amqp: &str, count: usize) -> anyhow::Result<f64> {
    const QUEUE: &str = "loadtest.bare";
    let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
    let (sending, receiving) = (connection.create_channel().await?, connection.create_channel().await?);
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    sending.queue_declare(QUEUE.into(), durable, arguments).await?;
    sending
        .confirm_select(lapin::options::ConfirmSelectOptions::default())
        .await?;
    receiving.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut messages = receiving
        .basic_consume(QUEUE.into(), "".into(), options, FieldTable::default())
        .await?;
    let id = JobId::generate(&Clock::system(), &Entropy::system());
    let trace = TraceId::generate(&Clock::system(), &Entropy::system());
    let body = NewJob::of(id, &Noop {}, trace)?
        .envelope(Clock::system().now())
        .to_bytes();
    let watch = Stopwatch::start();
    let publish = async {
        futures_util::stream::iter(0..count)
            .then(|_| {
                let properties = BasicProperties::default().with_delivery_mode(2);
                sending.basic_publish(
                    "".into(),
                    QUEUE.into(),
                    BasicPublishOptions::default(),
                    &body,
                    properties,
                )
            })
            .try_buffer_unordered(UNCONFIRMED)
            .map_err(anyhow::Error::from)
            .try_for_each(|confirmed| async move {
                ensure!(
                    matches!(confirmed, Confirmation::Ack(None)),
                    "a bare message was not taken"
                );
                Ok(())
            })
            .await
    };
    let receive = async {
        let mut left = count;
        while left > 0 {
            match messages.next().await {
                Some(message) => {
                    message?.acker.ack(BasicAckOptions::default()).await?;
                    left -= 1;
                }
                None => break,
            }
        }
        Ok::<_, anyhow::Error>(left)
    };
    let ((), left) = try_join(publish, receive).await?;
    let time = watch.elapsed();
    ensure!(left == 0, "{left} bare messages did not come back");
    connection.close(200, "done".into()).await?;
    Ok(rate(count, time))
}

//! Pictures of all kinds and sizes through one worker, a tenth of them hostile: whether its memory stays within what is
//! configured, how many it makes a second, and whether every good one is ready.

mod containers;
mod good;
mod hostile;
mod memory;
mod outcome;

use crate::{
    chart::{Axis, Chart, Line, Scale},
    client::Client,
    installation::{Embedded, Installation, binary},
    pictures::Picture,
    processes, say,
    servers::Server,
};
use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt};
use good::Originals;
use hostile::Hostile;
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::clock::{Clock, Stopwatch};
use memory::Watched;
use outcome::{Ended, Sent};
use std::{path::PathBuf, time::Duration};
use tokio::{sync::watch, task::JoinSet};

/// One picture in so many is hostile.
const HOSTILE: u32 = 10;
/// Between two tries of one upload, and two looks at one job.
const AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EngineArg {
    Postgres,
    Sqlite,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Pictures in all.
    #[arg(long, default_value_t = 10_000)]
    count: u32,
    /// Uploads in flight.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// The worker's budget for pictures, MiB; all of its memory and that of its helpers is held against it.
    #[arg(long, default_value_t = 512)]
    memory: u64,
    /// Where: private PostgreSQL, Redis, RabbitMQ and S3 with an api and a worker, or SQLite and one process.
    #[arg(long, default_value = "postgres")]
    engine: EngineArg,
    /// Longest wait for one upload or job, seconds.
    #[arg(long, default_value_t = 900)]
    patience: u64,
    /// Draw memory over time into this file (SVG).
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// The mediamill program [default: the one beside this].
    #[arg(long)]
    binary: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Bytes.
    const fn budget(&self) -> u64 {
        self.memory.saturating_mul(1024 * 1024)
    }
}

/// Where the pictures go.
enum Target {
    Distributed(Box<Installation>),
    Embedded(Box<Embedded>),
}

impl Target {
    async fn start(args: &Args, clock: &Clock) -> anyhow::Result<Self> {
        let program = binary(args.binary.as_deref())?;
        // Limits that nothing reaches, so that the counters take part.
        let limits = r#"{"media": 1000000, "stored_bytes": 1000000000000}"#;
        let memory = [("worker_memory", format!("{} MiB", args.memory))];
        Ok(match args.engine {
            EngineArg::Postgres => {
                let installation = Installation::start(&program, limits, 1, &memory, clock).await?;
                Self::Distributed(Box::new(installation))
            }
            EngineArg::Sqlite => {
                let embedded = Embedded::start(&program, limits, &memory, clock).await?;
                Self::Embedded(Box::new(embedded))
            }
        })
    }

    fn client(&self) -> &Client {
        match self {
            Self::Distributed(installation) => &installation.client,
            Self::Embedded(embedded) => &embedded.client,
        }
    }

    /// The process that has the worker's helpers.
    fn worker(&mut self) -> anyhow::Result<&mut Server> {
        match self {
            Self::Distributed(installation) => installation.workers.first_mut().context("there is no worker"),
            Self::Embedded(embedded) => Ok(&mut embedded.serve),
        }
    }

    /// The process that takes uploads, where it is another.
    fn api(&self) -> Option<u32> {
        match self {
            Self::Distributed(installation) => installation.api.pid(),
            Self::Embedded(_) => None,
        }
    }
}

/// What was measured beside the outcomes.
struct Measured {
    watched: Watched,
    accepted_in: Duration,
    finished_in: Duration,
    bytes: u64,
    worker_cpu: f64,
    api_cpu: f64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.count > 0, "--count is at least 1");
    let clock = Clock::system();
    let originals = Originals::draw(true)?;
    let hostile = Hostile::make();
    let mut target = Target::start(&args, &clock).await?;
    let worker = target.worker()?.pid().context("the worker is not there")?;
    let bar = ProgressBar::new(args.count.into()).with_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} {msg}  {elapsed_precise}",
    )?);
    let (stop, stopped) = watch::channel(false);
    let mut watching = JoinSet::new();
    watching.spawn(memory::watch(worker, stopped, clock.clone()));
    let since = Stopwatch::start();
    bar.set_message("sent");
    let sent: Vec<Sent> = futures_util::stream::iter(0..args.count)
        .map(|number| {
            let (client, originals, hostile, args, clock, bar) =
                (target.client(), &originals, &hostile, &args, &clock, &bar);
            async move {
                let sent = send(client, number, originals, hostile, args, clock).await?;
                bar.inc(1);
                Ok::<_, anyhow::Error>(sent)
            }
        })
        .buffer_unordered(args.concurrency)
        .try_collect()
        .await?;
    let accepted_in = since.elapsed();
    bar.set_message("over");
    bar.set_position(0);
    let ended: Vec<Ended> = futures_util::stream::iter(&sent)
        .map(|sent| {
            let (client, args, clock, bar) = (target.client(), &args, &clock, &bar);
            async move {
                let ended = outcome::wait(client, sent, args.patience, clock).await?;
                bar.inc(1);
                Ok::<_, anyhow::Error>(ended)
            }
        })
        .buffer_unordered(args.concurrency)
        .try_collect()
        .await?;
    bar.finish_and_clear();
    let finished_in = since.elapsed();
    stop.send_replace(true);
    let measured = Measured {
        watched: watching.join_next().await.context("nobody watched")??,
        accepted_in,
        finished_in,
        bytes: sent.iter().map(|sent| sent.bytes).sum(),
        worker_cpu: processes::cpu_of_tree(worker),
        api_cpu: target.api().map_or(0.0, processes::cpu_of_tree),
    };
    let lives = target.worker()?.lives();
    report(&args, &ended, &measured, lives)
}

/// Uploads picture `number`, until it is accepted or refused for good.
async fn send(
    client: &Client,
    number: u32,
    originals: &Originals,
    hostile: &Hostile,
    args: &Args,
    clock: &Clock,
) -> anyhow::Result<Sent> {
    let original = originals.of(number)?;
    let good = number % HOSTILE != HOSTILE - 1;
    let (kind, bytes) = if good {
        (original.kind, original.picture(number))
    } else {
        hostile.file(number, original)
    };
    let length = u64::try_from(bytes.len())?;
    let picture = Picture {
        name: format!("mixed-{number}"),
        bytes: bytes.into(),
    };
    let key = format!("mixed-{number}");
    let since = Stopwatch::start();
    let job = loop {
        match client.upload(&picture, Some(&key)).await {
            Ok((_, job)) => break Ok(job),
            Err(problem) if problem.starts_with("accept 4") && problem != "accept 429 Too Many Requests" => {
                break Err(problem);
            }
            Err(problem) => {
                let late = since.elapsed().as_secs() > args.patience;
                ensure!(!late, "picture {number} ({kind}) is not accepted: {problem}");
                clock.sleep(AGAIN).await;
            }
        }
    };
    Ok(Sent {
        kind,
        good,
        bytes: length,
        job,
    })
}

fn report(args: &Args, ended: &[Ended], measured: &Measured, lives: bool) -> anyhow::Result<()> {
    let budget = args.budget();
    let (peak, summary) = (measured.watched.peak(), outcome::Summary::of(ended));
    let mut wrong: Vec<String> = summary
        .lost
        .iter()
        .map(|(what, count)| format!("{count} good pictures are not ready: {what}"))
        .collect();
    if !lives {
        wrong.push("the worker ended".to_owned());
    }
    if peak.all > budget {
        wrong.push(format!("{} bytes of memory, the budget is {budget}", peak.all));
    }
    if let Some(path) = &args.plot {
        chart(measured, budget).write(path)?;
    }
    let rate = f64::from(args.count) / measured.finished_in.as_secs_f64().max(1e-9);
    if args.json {
        let report = serde_json::json!({
            "pictures": args.count, "bytes": measured.bytes, "outcomes": summary,
            "seconds_until_accepted": measured.accepted_in.as_secs_f64(),
            "seconds_until_over": measured.finished_in.as_secs_f64(), "pictures_per_second": rate,
            "budget_bytes": budget, "peak": peak, "peak_resident_sum_bytes": measured.watched.most_resident(),
            "shared_pages_told": measured.watched.shared_told,
            "worker_cpu_seconds": measured.worker_cpu, "api_cpu_seconds": measured.api_cpu, "wrong": wrong,
        });
        say(&report.to_string());
    } else {
        text(args, &summary, measured, rate);
        for problem in &wrong {
            say(&format!("WRONG       {problem}"));
        }
    }
    ensure!(wrong.is_empty(), "the worker did not do what it is to do");
    Ok(())
}

const MEGABYTE: u64 = 1_000_000;

fn text(args: &Args, summary: &outcome::Summary, measured: &Measured, rate: f64) {
    let peak = measured.watched.peak();
    say(&format!(
        "{} pictures, {} MB, through one worker: accepted after {:.0} s, over after {:.0} s, {rate:.1} a second",
        args.count,
        measured.bytes / MEGABYTE,
        measured.accepted_in.as_secs_f64(),
        measured.finished_in.as_secs_f64(),
    ));
    say(&format!("good        {} of {} ready", summary.ready, summary.good));
    say(&format!(
        "hostile     {} of {} made into pictures all the same, the others refused:",
        summary.survived, summary.hostile
    ));
    for (code, count) in &summary.refused {
        say(&format!("{count:>11} × {code}"));
    }
    let told = if measured.watched.shared_told {
        "shared pages counted once"
    } else {
        "shared pages counted for each: run it as root to have them counted once"
    };
    say(&format!(
        "memory      {} MB at most, of a budget of {} MB: the worker {} MB and {} helpers ({told}); resident sizes summed {} MB",
        peak.all / MEGABYTE,
        args.budget() / MEGABYTE,
        peak.worker / MEGABYTE,
        peak.helpers,
        measured.watched.most_resident() / MEGABYTE,
    ));
    let each = measured.worker_cpu / f64::from(args.count);
    say(&format!(
        "CPU         worker and helpers {:.0} s ({each:.3} a picture), api {:.0} s",
        measured.worker_cpu, measured.api_cpu
    ));
}

fn chart(measured: &Measured, budget: u64) -> Chart {
    #[expect(clippy::cast_precision_loss, reason = "bytes on a chart")]
    let line = |name: &str, of: &dyn Fn(&memory::Moment) -> u64| Line {
        name: name.to_owned(),
        points: measured
            .watched
            .moments
            .iter()
            .map(|moment| (moment.seconds, of(moment) as f64))
            .collect(),
    };
    Chart {
        title: "Memory of one worker and its helper processes".to_owned(),
        x: Axis {
            name: "seconds",
            scale: Scale::Linear,
        },
        y: Axis {
            name: "bytes",
            scale: Scale::Linear,
        },
        lines: vec![
            line("worker and helpers", &|moment| moment.all),
            line("worker", &|moment| moment.worker),
            line("budget", &|_| budget),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediamill_media::{MediaError, ProbeError, Settings, probe, process};
    use std::collections::BTreeSet;

    #[test]
    fn good_pictures_are_ready_and_no_two_are_alike() {
        let originals = Originals::draw(false).unwrap();
        let (mut kinds, mut files) = (BTreeSet::new(), BTreeSet::new());
        for number in 0..150 {
            let original = originals.of(number).unwrap();
            let bytes = original.picture(number);
            let made = process(&bytes, &Settings::default(), &|| false);
            assert!(made.is_ok(), "{} {number}: {made:?}", original.kind);
            kinds.insert(original.kind);
            assert!(files.insert(bytes), "{} {number} is there twice", original.kind);
        }
        assert!(kinds.len() > 12, "{kinds:?}");
    }

    #[test]
    fn hostile_files_end_one_way_or_the_other() {
        let (originals, hostile) = (Originals::draw(false).unwrap(), Hostile::make());
        let (settings, mut ends) = (Settings::default(), BTreeSet::new());
        for number in 0..120 {
            let (kind, bytes) = hostile.file(number, originals.of(number).unwrap());
            assert!(!kind.is_empty());
            // As a worker with little memory: what headers call for more than that is refused before.
            let end = match probe(&bytes) {
                Err(ProbeError::Media(error)) => Err(error),
                Err(ProbeError::NeedMore) => Err(MediaError::Truncated),
                Ok(probed) if probed.memory_bytes(0, &settings) < 64 << 20 => {
                    process(&bytes, &settings, &|| false).map(drop)
                }
                Ok(probed) => probed.check(&settings.limits),
            };
            if let Err(error) = end {
                ends.insert(error.code());
            }
        }
        for end in ["corrupt", "truncated", "too-many-pixels", "not-an-image"] {
            assert!(ends.contains(end), "{ends:?}");
        }
    }
}

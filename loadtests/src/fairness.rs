//! One tenant dumps far more than workers can take, then others upload one picture each: how long these wait, with fair dispatch
//! and without, beside an idle system, and what fairness costs all together.

use crate::{
    chart::{Axis, Chart, Line, Scale},
    client::Client,
    installation::binary,
    pictures::{self, Picture},
    say,
    side::{Engine, Side, outcome},
};
use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, future::join_all};
use mediamill_shared::{
    clock::{Clock, Stopwatch},
    control::jobs,
    tenancy::LimitOverrides,
};
use reqwest::Method;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const PICTURES: &str = "{}";
/// An answer that is waited for: the longest that the api allows.
const WAIT: &str = "/v1/media?wait=60";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Pictures that one tenant dumps.
    #[arg(long, default_value_t = 10_000)]
    count: u32,
    /// Tenants that upload one picture each.
    #[arg(long, default_value_t = 20)]
    quiet: u32,
    /// Between two of these, milliseconds.
    #[arg(long, default_value_t = 1_000)]
    apart: u64,
    /// Uploads of the dump in flight.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Folder of pictures; without it, drawn samples.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where.
    #[arg(long, default_value = "postgres")]
    engine: Engine,
    /// Pictures that a worker decodes at a time.
    #[arg(long, default_value_t = 1)]
    slots: u32,
    /// Longest wait for one picture, seconds.
    #[arg(long, default_value_t = 1_800)]
    patience: u64,
    /// The mediamill program [default: the one beside this].
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where a chart goes, SVG.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// One installation's figures; times in milliseconds, in the order of uploads.
#[derive(Debug, serde::Serialize)]
struct Run {
    fair: bool,
    /// Upload to ready of quiet tenants while nobody else did anything.
    idle_ms: Vec<f64>,
    /// The same while the dump was worked off.
    busy_ms: Vec<f64>,
    /// Jobs of the dump that waited when the first, and when the last, quiet upload was sent.
    waiting: [i64; 2],
    /// Of the dump, from its first upload to its last picture.
    pictures_per_second: f64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.quiet > 0 && args.slots > 0, "--quiet and --slots are at least 1");
    let (binary, clock) = (binary(args.binary.as_deref())?, Clock::system());
    let pictures = pictures::load(args.dir.as_deref())?;
    let mut runs = Vec::new();
    for fair in [false, true] {
        let run = measure(fair, &binary, &pictures, &args, &clock).await?;
        if !args.json {
            tell(&run);
        }
        runs.push(run);
    }
    let [off, on] = runs.as_slice() else { return Ok(()) };
    let bound = bound(on, &args);
    let ratio = on.pictures_per_second / off.pictures_per_second;
    if args.json {
        let report = serde_json::json!({
            "side": args.engine.describe(), "dumped": args.count, "runs": runs, "bound_ms": bound, "throughput_ratio": ratio,
        });
        say(&report.to_string());
    } else {
        say(&format!(
            "quiet tenants' p99: {:.0} ms with fair dispatch, {:.0} ms without; may be {bound:.0} ms (twice idle, and a job for each of {} slots)",
            at(&on.busy_ms, 99),
            at(&off.busy_ms, 99),
            workers_slots(&args),
        ));
        say(&format!("throughput: {ratio:.2} of that without"));
    }
    if let Some(path) = &args.plot {
        chart(&runs).write(path)?;
    }
    Ok(())
}

fn workers_slots(args: &Args) -> u32 {
    let workers = match args.engine {
        Engine::Postgres => 2,
        Engine::Sqlite => 1,
    };
    args.slots * workers
}

/// Twice the time on an idle system, and one job's for each slot.
fn bound(run: &Run, args: &Args) -> f64 {
    2.0 * at(&run.idle_ms, 99) + f64::from(workers_slots(args)) * at(&run.idle_ms, 50)
}

/// The value that so many percent are at most.
fn at(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (percent * sorted.len()).div_ceil(100).max(1);
    sorted.get(place - 1).or(sorted.last()).copied().unwrap_or(0.0)
}

fn tell(run: &Run) {
    say(&format!("fair dispatch {}", if run.fair { "on" } else { "off" }));
    for (name, times) in [("idle", &run.idle_ms), ("while the dump is worked off", &run.busy_ms)] {
        let cells = [50, 90, 99].map(|percent| format!("p{percent} {:.0}", at(times, percent)));
        say(&format!(
            "  {name:<30} {}  max {:.0} ms",
            cells.join("  "),
            at(times, 100)
        ));
    }
    say(&format!(
        "  dump                           {:.1} pictures a second; {} waited at the first quiet upload, {} at the last",
        run.pictures_per_second, run.waiting[0], run.waiting[1]
    ));
}

async fn measure(
    fair: bool,
    binary: &Path,
    pictures: &Arc<[Picture]>,
    args: &Args,
    clock: &Clock,
) -> anyhow::Result<Run> {
    let settings = [
        ("fair_dispatch", fair.to_string()),
        ("worker_media_slots", args.slots.to_string()),
    ];
    let side = Side::start_with(args.engine, binary, &settings, clock).await?;
    let mut quiet = Vec::new();
    for number in 0..args.quiet {
        let id = format!("quiet-{number}");
        quiet.push(side.tenant(&id, LimitOverrides::default(), PICTURES).await?);
    }
    let bulk = side.tenant("bulk", LimitOverrides::default(), PICTURES).await?;
    // The first ones start helpers and open connections.
    for client in quiet.iter().take(4) {
        ready(client, pictures, 0, args, clock).await?;
    }
    let idle_ms = spaced(&quiet, pictures, args, clock).await?;
    let watch = Stopwatch::start();
    let dumped: Vec<String> = futures_util::stream::iter(0..args.count)
        .map(|number| {
            let picture = picture(pictures, number);
            let bulk = &bulk;
            async move { bulk.upload(picture, None).await.map(|(_, job)| job) }
        })
        .buffer_unordered(args.concurrency)
        .try_collect()
        .await
        .map_err(anyhow::Error::msg)?;
    let first = waiting(&side).await?;
    let busy_ms = spaced(&quiet, pictures, args, clock).await?;
    let last = waiting(&side).await?;
    let patience = Duration::from_secs(args.patience);
    // In the order of acceptance: the last ones are waited for longest.
    for job in &dumped {
        let end = outcome(&bulk, job, patience, clock).await?;
        ensure!(end == "done", "a picture of the dump ended as {end}");
    }
    let seconds = watch.elapsed().as_secs_f64();
    Ok(Run {
        fair,
        idle_ms,
        busy_ms,
        waiting: [first, last],
        pictures_per_second: f64::from(args.count) / seconds,
    })
}

fn picture(pictures: &[Picture], number: u32) -> &Picture {
    let place = usize::try_from(number).unwrap_or(0) % pictures.len().max(1);
    &pictures[place]
}

/// Open jobs of the pool that pictures are made in.
async fn waiting(side: &Side) -> anyhow::Result<i64> {
    let counts = jobs::counts(&side.services.control).await?;
    let open = counts.iter().filter(|count| !count.state.is_final());
    Ok(open.map(|count| count.jobs).sum())
}

/// An upload of each, one after another at a distance, whether those before are ready or not.
async fn spaced(clients: &[Client], pictures: &Arc<[Picture]>, args: &Args, clock: &Clock) -> anyhow::Result<Vec<f64>> {
    let apart = Duration::from_millis(args.apart);
    let uploads = clients.iter().zip(0_u32..).map(|(client, number)| async move {
        clock.sleep(apart * number).await;
        ready(client, pictures, number, args, clock).await
    });
    join_all(uploads).await.into_iter().collect()
}

/// Milliseconds from the upload to the picture.
async fn ready(
    client: &Client,
    pictures: &Arc<[Picture]>,
    number: u32,
    args: &Args,
    clock: &Clock,
) -> anyhow::Result<f64> {
    let watch = Stopwatch::start();
    let request = client
        .request(Method::POST, WAIT)
        .body(picture(pictures, number).bytes.clone());
    let answer = request.timeout(Duration::from_secs(90)).send().await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    if status == reqwest::StatusCode::ACCEPTED {
        let job = body.pointer("/media/0/job/id").and_then(Value::as_str);
        let job = job.context("an answer without a job")?;
        let end = outcome(client, job, Duration::from_secs(args.patience), clock).await?;
        ensure!(end == "done", "a quiet tenant's picture ended as {end}");
    } else {
        ensure!(
            status == reqwest::StatusCode::CREATED,
            "a quiet tenant's upload is answered {status}: {body}"
        );
    }
    Ok(watch.elapsed().as_secs_f64() * 1e3)
}

fn chart(runs: &[Run]) -> Chart {
    let points = |times: &[f64]| {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len() as f64;
        let part = |place: usize| (place as f64 + 1.0) / count * 100.0;
        sorted
            .into_iter()
            .enumerate()
            .map(|(place, ms)| (part(place), ms))
            .collect()
    };
    let mut lines = Vec::new();
    for run in runs {
        let name = if run.fair { "fair" } else { "first come, first served" };
        lines.push(Line {
            name: format!("idle, {name}"),
            points: points(&run.idle_ms),
        });
        lines.push(Line {
            name: format!("dump, {name}"),
            points: points(&run.busy_ms),
        });
    }
    Chart {
        title: "Upload to ready of quiet tenants while another one's dump is worked off".to_owned(),
        x: Axis {
            name: "percent of uploads",
            scale: Scale::Linear,
        },
        y: Axis {
            name: "milliseconds",
            scale: Scale::Log,
        },
        lines,
    }
}

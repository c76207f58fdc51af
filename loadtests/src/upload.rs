//! Uploads pictures to a running installation: accepted/s, finished/s, latencies, CPU and memory of the servers.

use crate::{client::Client, pictures, processes, say};
use anyhow::bail;
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::clock::{Clock, Stopwatch};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How one asks for a job that is not over yet; long polls on the events route would measure the route.
const POLL: Duration = Duration::from_millis(50);

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// The installation, a loopback address.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The tenant's host name.
    #[arg(long, default_value = "demo.localhost")]
    host: String,
    /// The tenant's API key.
    #[arg(long, env = "MEDIAMILL_LOADTEST_KEY", hide_env_values = true)]
    key: String,
    /// Uploads in flight.
    #[arg(long, default_value_t = 8)]
    concurrency: usize,
    /// Uploads in all.
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// Folder of pictures; without it, drawn samples.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Longest wait for one picture, seconds.
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// Server processes to measure; without it every process called mediamill.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Default)]
struct Measured {
    accept: Vec<Duration>,
    ready: Vec<Duration>,
    failures: BTreeMap<String, u64>,
    last_accept: Duration,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let pictures = pictures::load(args.dir.as_deref())?;
    let client = Arc::new(Client::new(&args.url, &args.host, &args.key)?);
    let clock = Clock::system();
    let pids = if args.pids.is_empty() {
        processes::servers()
    } else {
        args.pids.clone()
    };
    let before = processes::cpu(&pids);
    let bar = ProgressBar::new(u64::try_from(args.count)?).with_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} ready  {elapsed_precise}  {per_sec}",
    )?);
    let measured = Arc::new(Mutex::new(Measured::default()));
    let watch = Stopwatch::start();
    futures_util::stream::iter(0..args.count)
        .for_each_concurrent(args.concurrency, |number| {
            let (client, clock, pictures, measured, bar) = (
                Arc::clone(&client),
                clock.clone(),
                Arc::clone(&pictures),
                Arc::clone(&measured),
                bar.clone(),
            );
            let patience = Duration::from_secs(args.patience);
            async move {
                let Some(picture) = pictures.get(number % pictures.len()) else {
                    return;
                };
                let own = Stopwatch::start();
                let result = match client.upload(picture, None).await {
                    Ok((_, job)) => {
                        record(&measured, |all| {
                            all.accept.push(own.elapsed());
                            all.last_accept = watch.elapsed();
                        });
                        finished(&client, &clock, &job, own, patience).await
                    }
                    Err(cause) => Err(cause),
                };
                record(&measured, |all| match result {
                    Ok(took) => all.ready.push(took),
                    Err(cause) => *all.failures.entry(cause).or_default() += 1,
                });
                bar.inc(1);
            }
        })
        .await;
    bar.finish_and_clear();
    let wall = watch.elapsed();
    let used = processes::used(&pids, &before);
    let measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
    report(&args, &measured, wall, used);
    if !measured.failures.is_empty() {
        bail!(
            "{} of {} uploads failed",
            measured.failures.values().sum::<u64>(),
            args.count
        );
    }
    Ok(())
}

fn record(measured: &Mutex<Measured>, change: impl FnOnce(&mut Measured)) {
    change(&mut measured.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn finished(
    client: &Client,
    clock: &Clock,
    job: &str,
    since: Stopwatch,
    patience: Duration,
) -> Result<Duration, String> {
    loop {
        let row = client.job(job).await?;
        match row.get("state").and_then(serde_json::Value::as_str) {
            Some("done") => return Ok(since.elapsed()),
            Some(state @ ("failed" | "dead")) => {
                let code = row
                    .pointer("/cause/code")
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or("no cause");
                return Err(format!("{state}: {code}"));
            }
            _ if since.elapsed() > patience => return Err("not ready in time".to_owned()),
            _ => clock.sleep(POLL).await,
        }
    }
}

fn percentiles(times: &[Duration]) -> BTreeMap<&'static str, f64> {
    // Three digits, up to an hour in microseconds; the bounds are constants that the crate accepts.
    let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3) else {
        return BTreeMap::new();
    };
    for time in times {
        histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
    }
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("max", 100.0)]
        .map(|(name, percent)| {
            let micros = u32::try_from(histogram.value_at_percentile(percent)).unwrap_or(u32::MAX);
            (name, f64::from(micros) / 1_000.0)
        })
        .into()
}

fn rate(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64().max(1e-9)
}

fn report(args: &Args, measured: &Measured, wall: Duration, used: processes::Used) {
    let accepted = rate(measured.accept.len(), measured.last_accept);
    let finished = rate(measured.ready.len(), wall);
    let (accept, ready) = (percentiles(&measured.accept), percentiles(&measured.ready));
    let ready_count = f64::from(u32::try_from(measured.ready.len().max(1)).unwrap_or(u32::MAX));
    if args.json {
        let report = serde_json::json!({
            "uploads": args.count, "concurrency": args.concurrency, "seconds": wall.as_secs_f64(),
            "accepted_per_second": accepted, "finished_per_second": finished,
            "accept_ms": accept, "upload_to_ready_ms": ready,
            "server_cpu_seconds": used.cpu_seconds, "server_cpu_seconds_per_picture": used.cpu_seconds / ready_count,
            "server_peak_bytes": used.peak_bytes, "failures": measured.failures,
        });
        return say(&report.to_string());
    }
    say(&format!(
        "{} uploads, {} at a time, {:.1} s",
        args.count,
        args.concurrency,
        wall.as_secs_f64()
    ));
    say(&format!("accepted/s      {accepted:.1}"));
    say(&format!("finished/s      {finished:.1}"));
    for (name, times) in [("accept, ms", accept), ("upload to ready, ms", ready)] {
        let cells: Vec<String> = times.iter().map(|(name, value)| format!("{name} {value:.1}")).collect();
        say(&format!("{name:<20} {}", cells.join("  ")));
    }
    say(&format!(
        "servers         {:.2} CPU s ({:.3} per picture), peak {} MB in all",
        used.cpu_seconds,
        used.cpu_seconds / ready_count,
        used.peak_bytes / 1_000_000
    ));
    for (cause, count) in &measured.failures {
        say(&format!("failed          {count} × {cause}"));
    }
}

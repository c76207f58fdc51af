//! How fast hosts are resolved: from this process, from Redis beside a bare `GET` of the same entry, from the database;
//! what a remembered context takes; what a stampede for an unknown host costs the database.
//!
//! Latencies are of single calls, two readings of the clock included, which the report states; rates are of loops that
//! read no clock.

mod bench;

use crate::{
    chart::{Axis, Chart, Line, Scale},
    say,
};
use anyhow::ensure;
use bench::{Bench, FLIGHT, STAMPEDE, clock_cost};
use std::{path::PathBuf, time::Duration};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Hosts that are known, growing.
    #[arg(long, value_delimiter = ',', default_value = "1,10000,1000000")]
    hosts: Vec<i64>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Draw the curves into this file (SVG).
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Nanoseconds of a call.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
}

#[derive(Debug, serde::Serialize)]
struct Step {
    hosts: i64,
    remembered: i64,
    in_process: Latency,
    in_process_one_thread_per_second: f64,
    in_process_two_threads_per_second: f64,
    redis: Latency,
    redis_bare: Latency,
    redis_in_flight_per_second: f64,
    redis_bare_in_flight_per_second: f64,
    database: Latency,
    /// Of one remembered context, where enough are to tell.
    context_bytes: Option<u64>,
    /// Of a stampede for a host that is served, and for one that nobody is served at.
    stampede_reads: u64,
    absent_stampede_reads: u64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(
        args.hosts.iter().all(|hosts| *hosts > 0) && args.hosts.is_sorted(),
        "--hosts grow from 1"
    );
    let mut bench = Bench::open(Duration::from_secs(args.seconds)).await?;
    let clock_cost = clock_cost()?;
    let mut steps = Vec::new();
    for hosts in &args.hosts {
        steps.push(bench.step(*hosts).await?);
    }
    bench.bar.finish_and_clear();
    if let Some(path) = &args.plot {
        chart(&steps).write(path)?;
    }
    if args.json {
        let report = serde_json::json!({ "seconds": args.seconds, "clock_nanoseconds": clock_cost, "steps": steps });
        say(&report.to_string());
    } else {
        table(&steps, clock_cost);
    }
    Ok(())
}

fn ratio(ours: u64, bare: u64) -> f64 {
    ours as f64 / (bare.max(1)) as f64
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

fn table(steps: &[Step], clock_cost: u64) {
    say(&format!(
        "latencies of single calls, {clock_cost} ns of them the clock's; rates of loops without one"
    ));
    for step in steps {
        say(&format!("\n{} known hosts", step.hosts));
        let line = |name: &str, latency: Latency, rest: String| {
            let (p50, p99) = (micros(latency.p50), micros(latency.p99));
            say(&format!("{name:<24} p50 {p50:>8.2} µs  p99 {p99:>8.2} µs  {rest}"));
        };
        line(
            "in this process",
            step.in_process,
            format!(
                "{:.0}/s, two threads {:.0}/s, of {} remembered",
                step.in_process_one_thread_per_second, step.in_process_two_threads_per_second, step.remembered
            ),
        );
        line(
            "in Redis",
            step.redis,
            format!("{:.0}/s with {FLIGHT} in flight", step.redis_in_flight_per_second),
        );
        line(
            "a bare GET",
            step.redis_bare,
            format!("{:.0}/s with {FLIGHT} in flight", step.redis_bare_in_flight_per_second),
        );
        say(&format!(
            "Redis beside bare        {:.2} of its latency, {:.2} of its time in flight",
            ratio(step.redis.p50, step.redis_bare.p50),
            step.redis_bare_in_flight_per_second / step.redis_in_flight_per_second
        ));
        line("in the database", step.database, "cache missed and filled".to_owned());
        if let Some(bytes) = step.context_bytes {
            say(&format!("a remembered context     {bytes} bytes"));
        }
        say(&format!(
            "a stampede of {STAMPEDE}       {} database reads; {} for a host that nobody is served at",
            step.stampede_reads, step.absent_stampede_reads
        ));
    }
}

fn chart(steps: &[Step]) -> Chart {
    let line = |name: &str, value: &dyn Fn(&Step) -> u64| Line {
        name: name.to_owned(),
        points: steps
            .iter()
            .map(|step| (step.hosts as f64, micros(value(step))))
            .collect(),
    };
    Chart {
        title: "Resolving a host, one at a time".to_owned(),
        x: Axis {
            name: "known hosts",
            scale: Scale::Log,
        },
        y: Axis {
            name: "µs at the median",
            scale: Scale::Log,
        },
        lines: vec![
            line("in this process", &|step| step.in_process.p50),
            line("in Redis", &|step| step.redis.p50),
            line("a bare GET", &|step| step.redis_bare.p50),
            line("in the database", &|step| step.database.p50),
        ],
    }
}

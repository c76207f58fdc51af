//! Tenants made per second, by how many there are: beside the same tables made bare in the same database, by one
//! connection and by as many as the workers use.
//!
//! At each step the three are measured in turns, each in rounds, and what they leave counts: the catalogue that the next
//! one meets is the same kind of thing, only a little larger.

mod bench;

use crate::{
    chart::{Axis, Chart, Line, Scale},
    say,
};
use anyhow::ensure;
use bench::Bench;
use mediamill_shared::{db::Engine, tenancy::Isolation};
use std::path::PathBuf;

/// Rounds of each step: what disturbs the machine disturbs all three.
const ROUNDS: usize = 3;
/// A database on PostgreSQL is a copy of 7.5 MB: more of them say nothing new.
const MOST_DATABASES: usize = 1_000;

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum EngineArg {
    Postgres,
    Sqlite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    Prefix,
    Database,
}

impl Mode {
    const fn isolation(self) -> Isolation {
        match self {
            Self::Prefix => Isolation::Prefix,
            Self::Database => Isolation::Database,
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Tenants that are there when a measurement begins, growing.
    #[arg(long, value_delimiter = ',', default_value = "0,1000,5000,10000,20000")]
    steps: Vec<usize>,
    /// Tenants that each of the three makes at each step.
    #[arg(long, default_value_t = 300)]
    sample: usize,
    /// How tenants are kept apart.
    #[arg(long, value_delimiter = ',', default_value = "prefix,database")]
    modes: Vec<Mode>,
    /// Connections of the product to the database, and of the bare loop beside it.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// Where: private PostgreSQL, Redis and RabbitMQ, or SQLite and nothing else.
    #[arg(long, default_value = "postgres")]
    engine: EngineArg,
    /// Steps above 1,000 also for a database each on PostgreSQL: 7.5 MB of disk a tenant.
    #[arg(long)]
    many_databases: bool,
    /// Seconds in which a step must be filled; a mode that does not get there ends with the step before.
    #[arg(long, default_value_t = 900)]
    patience: u64,
    /// Draw the curves into this file (SVG).
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What was measured at one step, tenants per second.
#[derive(Debug, serde::Serialize)]
struct Step {
    tenants: usize,
    bare_one: f64,
    /// `None` where connections cannot write beside each other.
    bare_equal: Option<f64>,
    mediamill: f64,
}

impl Step {
    fn ratio(&self) -> f64 {
        self.mediamill / self.bare_equal.unwrap_or(self.bare_one)
    }
}

#[derive(Debug, serde::Serialize)]
struct Measured {
    mode: &'static str,
    steps: Vec<Step>,
    /// Of one empty tenant; relations where the engine counts them.
    relations: Option<i64>,
    bytes: i64,
    /// Why later steps are missing.
    ended: Option<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.sample >= ROUNDS, "--sample is at least {ROUNDS}");
    ensure!(
        args.workers > 0 && !args.steps.is_empty(),
        "--workers and --steps are at least one"
    );
    ensure!(args.steps.is_sorted(), "--steps grow");
    let mut measured = Vec::new();
    for mode in &args.modes {
        measured.push(measure(&args, *mode).await?);
    }
    if let Some(path) = &args.plot {
        chart(&args, &measured).write(path)?;
    }
    if args.json {
        let report = serde_json::json!({ "sample": args.sample, "workers": args.workers, "modes": measured });
        say(&report.to_string());
    } else {
        table(&args, &measured);
    }
    Ok(())
}

/// One mode from its first step to its last.
async fn measure(args: &Args, mode: Mode) -> anyhow::Result<Measured> {
    let mut bench = Bench::open(args, mode).await?;
    let mut measured = Measured {
        mode: mode.isolation().as_str(),
        steps: Vec::new(),
        relations: None,
        bytes: 0,
        ended: None,
    };
    for tenants in &args.steps {
        if mode == Mode::Database
            && bench.engine == Engine::Postgres
            && *tenants > MOST_DATABASES
            && !args.many_databases
        {
            measured.ended = Some(format!(
                "{MOST_DATABASES} databases are the most without --many-databases"
            ));
            break;
        }
        match bench.step(*tenants, args).await {
            Ok(step) => measured.steps.push(step),
            // What a mode cannot carry is a figure too.
            Err(error) => {
                measured.ended = Some(format!("{tenants} tenants: {error:#}"));
                break;
            }
        }
        if measured.steps.len() == 1 {
            let size = bench.size().await?;
            measured.relations = (size.relations > 0).then_some(size.relations);
            measured.bytes = size.bytes;
        }
    }
    bench.close().await?;
    Ok(measured)
}

fn engine_name(args: &Args) -> &'static str {
    match args.engine {
        EngineArg::Postgres => "PostgreSQL",
        EngineArg::Sqlite => "SQLite",
    }
}

fn table(args: &Args, measured: &[Measured]) {
    say(&format!(
        "{}: tenants made per second, {} at each step, {} connections",
        engine_name(args),
        args.sample,
        args.workers
    ));
    for one in measured {
        say(&format!(
            "\n{:<10} {:>10} {:>13} {:>11} {:>11}",
            one.mode,
            "bare, 1",
            format!("bare, {}", args.workers),
            "mediamill",
            "of equal"
        ));
        for step in &one.steps {
            let equal = step
                .bare_equal
                .map_or_else(|| "one writer".to_owned(), |rate| format!("{rate:.1}"));
            say(&format!(
                "at {:>7} {:>10.1} {:>13} {:>11.1} {:>11.2}",
                step.tenants,
                step.bare_one,
                equal,
                step.mediamill,
                step.ratio()
            ));
        }
        if let (Some(first), Some(last)) = (one.steps.first(), one.steps.last()) {
            say(&format!(
                "a tenant at the last step costs {:.2} of one at the first",
                first.mediamill / last.mediamill
            ));
        }
        let relations = one
            .relations
            .map_or_else(String::new, |count| format!("{count} relations, "));
        say(&format!("an empty tenant: {relations}{} bytes", one.bytes));
        if let Some(cause) = &one.ended {
            say(&format!("ended: {cause}"));
        }
    }
}

fn chart(args: &Args, measured: &[Measured]) -> Chart {
    let mut lines = Vec::new();
    for one in measured {
        let mut line = |name: String, rate: &dyn Fn(&Step) -> Option<f64>| {
            let points = one
                .steps
                .iter()
                .filter_map(|step| Some((step.tenants as f64, rate(step)?)));
            lines.push(Line {
                name,
                points: points.collect(),
            });
        };
        line(format!("{}: mediamill", one.mode), &|step| Some(step.mediamill));
        line(format!("{}: bare, {} connections", one.mode, args.workers), &|step| {
            step.bare_equal
        });
        line(format!("{}: bare, one connection", one.mode), &|step| {
            Some(step.bare_one)
        });
    }
    Chart {
        title: format!("Tenants made per second, {}", engine_name(args)),
        x: Axis {
            name: "tenants already there",
            scale: Scale::Linear,
        },
        y: Axis {
            name: "tenants per second",
            scale: Scale::Linear,
        },
        lines: lines.into_iter().filter(|line| !line.points.is_empty()).collect(),
    }
}

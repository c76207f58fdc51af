//! Two schedulers on one installation, one of them stopped, woken or killed again and again: no timer may run twice at once, and none
//! may be missed by more than its period and the time that a lease takes to pass on.
//!
//! What they did is read from their logs, beside this driver's own record of when it let them run.

mod timeline;

use crate::{
    installation::{Back, Program, binary},
    say,
    servers::Server,
};
use anyhow::{Context, ensure};
use mediamill_scheduler::{LEASE_TTL, RENEW};
use mediamill_shared::{
    clock::{Clock, Entropy, Stopwatch},
    config::Config,
    services::Services,
    shutdown::Shutdown,
    units::Millis,
};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use timeline::{Life, Runs};

/// Both are left alone so long between two disturbances, so that each is judged by itself.
const CALM: Duration = Duration::from_secs(8);
/// A process that wakes up may take so long to see that it does not lead any more.
const WAKING: Duration = Duration::from_millis(500);
const NAMES: [&str; 2] = ["scheduler-a", "scheduler-b"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long, seconds.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Disturbances are chosen by it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The mediamill program [default: the one beside this].
    #[arg(long)]
    binary: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (binary, clock) = (binary(args.binary.as_deref())?, Clock::system());
    say("starting PostgreSQL, Redis, RabbitMQ and an S3 server");
    let back = Back::start(&clock).await?;
    let own = [
        ("log_format", "json".to_owned()),
        ("log_level", "info,mediamill_scheduler=debug".to_owned()),
    ];
    let program = Program::new(&binary, back.settings()?.into_iter().chain(own));
    program.migrate().await?;
    let folder = back.folder.path();
    let mut both = NAMES.map(|name| program.role(name, None, "scheduler", folder));
    let mut lives = [Life::default(), Life::default()];
    for (process, life) in both.iter_mut().zip(&mut lives) {
        process.start(&clock).await?;
        life.began(clock.now());
    }
    let began = clock.now();
    let told = disturb(&args, &mut both, &mut lives, &clock).await?;
    let ended = clock.now();
    for (process, life) in both.iter_mut().zip(&mut lives) {
        process.kill().await?;
        life.killed(clock.now());
    }
    let mut runs = Runs::default();
    for (name, life) in NAMES.iter().zip(&lives) {
        let log = std::fs::read_to_string(folder.join(format!("{name}.log")))?;
        runs.read(&log, life)?;
    }
    say(&format!(
        "{} stops and {} kills in {} s",
        told.stops, told.kills, args.seconds
    ));
    let periods = periods(&back, &clock).await?;
    judge(&runs, &periods, (began, ended))
}

#[derive(Default)]
struct Told {
    stops: u32,
    kills: u32,
}

/// One disturbance after another, each of one process alone.
async fn disturb(args: &Args, both: &mut [Server; 2], lives: &mut [Life; 2], clock: &Clock) -> anyhow::Result<Told> {
    let (chance, watch) = (Entropy::seeded(args.seed), Stopwatch::start());
    let mut told = Told::default();
    let mut turns = (0..both.len()).cycle();
    loop {
        clock.sleep(CALM).await;
        if watch.elapsed().as_secs() >= args.seconds {
            return Ok(told);
        }
        // By turns, so that whoever leads is met at least every second time.
        let which = turns.next().unwrap_or_default();
        let (Some(process), Some(life)) = (both.get_mut(which), lives.get_mut(which)) else {
            continue;
        };
        let pid = process.pid().context("a scheduler is not there")?;
        if chance.fraction() < 0.3 {
            process.kill().await?;
            life.killed(clock.now());
            clock.sleep(Duration::from_secs(5).mul_f64(chance.fraction())).await;
            process.start(clock).await?;
            life.began(clock.now());
            told.kills += 1;
            continue;
        }
        // Half of the pauses are shorter than the lease, half are longer.
        let (least, more) = if chance.fraction() < 0.5 { (1, 9) } else { (22, 13) };
        let pause = Duration::from_secs(least) + Duration::from_secs(more).mul_f64(chance.fraction());
        signal(pid, "STOP")?;
        life.stopped(clock.now());
        clock.sleep(pause).await;
        ensure!(process.lives(), "a scheduler that was stopped has ended");
        life.woken(clock.now());
        signal(pid, "CONT")?;
        told.stops += 1;
    }
}

fn signal(pid: u32, name: &str) -> anyhow::Result<()> {
    let status = std::process::Command::new("kill")
        .args([&format!("-{name}"), "--", &pid.to_string()])
        .status()?;
    ensure!(status.success(), "process {pid} cannot be sent SIG{name}");
    Ok(())
}

/// Periods of all timers.
async fn periods(back: &Back, clock: &Clock) -> anyhow::Result<BTreeMap<String, Duration>> {
    let config = Config::from_pairs(back.settings()?)?;
    let services = Services::open(config, clock.clone(), Entropy::system(), Shutdown::new()).await?;
    let listed = mediamill_scheduler::list(&services).await?;
    services.shutdown.stop();
    Ok(listed
        .into_iter()
        .map(|timer| (timer.name.to_owned(), timer.every))
        .collect())
}

fn judge(runs: &Runs, periods: &BTreeMap<String, Duration>, (began, ended): (Millis, Millis)) -> anyhow::Result<()> {
    // Until a lease passes on: its time, and a look of whoever waits before it begins and after it is over.
    let lease = LEASE_TTL + RENEW + RENEW;
    let (mut twice, mut missed) = (Vec::new(), Vec::new());
    say("timer                 period     runs  left  longest gap  allowed  longest overlap");
    for (name, every) in periods {
        let overlap = runs.overlap(name);
        if overlap > WAKING {
            twice.push(name.clone());
        }
        let (count, left) = runs.count(name);
        let (gap, longest_run) = (runs.longest_gap(name, began, ended), runs.longest(name));
        let allowed = every.mul_f64(1.1) + lease + longest_run;
        if gap > allowed {
            missed.push(name.clone());
        }
        say(&format!(
            "{name:<20} {:>7.0} s {count:>8} {left:>5} {:>10.1} s {:>6.1} s {:>13.0} ms",
            every.as_secs_f64(),
            gap.as_secs_f64(),
            allowed.as_secs_f64(),
            overlap.as_secs_f64() * 1e3
        ));
    }
    ensure!(runs.fences() > 1, "leadership never passed on: nothing was proved");
    ensure!(twice.is_empty(), "run twice at once: {}", twice.join(", "));
    ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
    say(&format!(
        "leadership passed on {} times; no timer ran twice at once, none was missed by more than its period and the lease",
        runs.fences() - 1
    ));
    Ok(())
}

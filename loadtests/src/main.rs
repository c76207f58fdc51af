//! Drivers that load mediamill, break it, and print the figures that the README quotes.
//!
//! Everything talks to loopback, is bounded in count and time, and stops by itself.

mod chart;
mod client;
mod corpus;
mod drain;
mod enforce;
mod fairness;
mod faults;
mod installation;
mod mixed;
mod noop;
mod pictures;
mod processes;
mod provision;
mod quota;
mod refill;
mod resolve;
mod resumable;
mod schedulers;
mod servers;
mod side;
mod upload;

use clap::{Parser, Subcommand};
use mediamill_workers::helpers;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(
    name = "mediamill-loadtests",
    about = "Load, fault and cost drivers for mediamill",
    version
)]
struct Cli {
    #[command(subcommand)]
    driver: Driver,
}

#[derive(Subcommand)]
enum Driver {
    /// Uploads pictures to a running installation and measures accept and upload-to-ready
    Upload(upload::Args),
    /// Uploads while servers and roles are killed and started again, and proves that nothing was lost or counted twice
    Faults(faults::Args),
    /// Runs files that nobody here made through the engine and looks for what must not be
    Corpus(corpus::Args),
    /// Sends pictures of all kinds through one worker, a tenth of them hostile, and holds its memory to its budget
    Mixed(mixed::Args),
    /// Measures what a job costs that does nothing, on both sides, beside the bare broker
    Noop(noop::Args),
    /// Measures how many tenants are made a second, by how many there are, beside the same tables made bare
    Provision(provision::Args),
    /// Sends far more uploads at once than a tenant's limits fit, and proves that exactly those that fit are stored and counted
    Quota(quota::Args),
    /// Lowers and raises a plan of many tenants, and proves that each is frozen, refused, thawed and told of; times a pass over many more
    Enforce(enforce::Args),
    /// Empties a provider's storage while clients upload and read, and proves that every picture is served all the time
    Drain(drain::Args),
    /// Removes the broker's data while thousands of jobs wait, and proves that each is done, once
    Refill(refill::Args),
    /// Has one tenant dump thousands of pictures and others upload one each meanwhile, with fair dispatch and without
    Fairness(fairness::Args),
    /// Stops, wakes and kills two schedulers for minutes, and proves that no timer runs twice at once and none is missed
    Schedulers(schedulers::Args),
    /// Sends many large uploads in pieces at once, and measures what an api process holds of them in memory
    Resumable(resumable::Args),
    /// Measures how fast hosts are resolved from each layer, by how many there are, beside a bare `GET` of Redis
    Resolve(resolve::Args),
}

fn main() -> anyhow::Result<()> {
    // The driver `corpus` is its own helper. Before any thread: a helper that confines itself has none.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == helpers::ARGUMENT)
    {
        return Ok(helpers::serve()?);
    }
    drive(Cli::parse().driver)
}

#[tokio::main]
async fn drive(driver: Driver) -> anyhow::Result<()> {
    let run = async {
        match driver {
            Driver::Upload(args) => upload::run(args).await,
            Driver::Faults(args) => Box::pin(faults::run(args)).await,
            Driver::Corpus(args) => Box::pin(corpus::run(args)).await,
            Driver::Mixed(args) => Box::pin(mixed::run(args)).await,
            Driver::Noop(args) => noop::run(args).await,
            Driver::Resumable(args) => Box::pin(resumable::run(args)).await,
            Driver::Resolve(args) => Box::pin(resolve::run(args)).await,
            Driver::Quota(args) => Box::pin(quota::run(args)).await,
            Driver::Refill(args) => Box::pin(refill::run(args)).await,
            Driver::Schedulers(args) => Box::pin(schedulers::run(args)).await,
            Driver::Fairness(args) => Box::pin(fairness::run(args)).await,
            Driver::Enforce(args) => Box::pin(enforce::run(args)).await,
            Driver::Drain(args) => Box::pin(drain::run(args)).await,
            Driver::Provision(args) => Box::pin(provision::run(args)).await,
        }
    };
    let mut terminate = signal(SignalKind::terminate())?;
    // Dropping a run ends the servers that it started.
    tokio::select! {
        result = run => result,
        _ = terminate.recv() => anyhow::bail!("stopped"),
        _ = tokio::signal::ctrl_c() => anyhow::bail!("stopped"),
    }
}

/// Prints a line of a report.
#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn say(line: &str) {
    println!("{line}");
}

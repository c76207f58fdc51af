//! Drivers that load mediamill, break it, and print the figures that the README quotes.
//!
//! Everything talks to loopback, is bounded in count and time, and stops by itself.

mod client;
mod faults;
mod installation;
mod noop;
mod pictures;
mod processes;
mod servers;
mod upload;

use clap::{Parser, Subcommand};

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
    /// Measures what a job costs that does nothing, on both sides, beside the bare broker
    Noop(noop::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().driver {
        Driver::Upload(args) => upload::run(args).await,
        Driver::Faults(args) => faults::run(args).await,
        Driver::Noop(args) => noop::run(args).await,
    }
}

/// Prints a line of a report.
#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn say(line: &str) {
    println!("{line}");
}

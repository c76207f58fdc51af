//! The processes that decode pictures: this program again, started by a worker.

use anyhow::{Context, bail};
use mediamill_shared::config::Config;
use mediamill_workers::{
    Settings,
    helpers::{self, Helpers},
};
use std::{io::IsTerminal, process::ExitCode};

/// What a worker of this program does, by its configuration.
pub(crate) fn worker(config: &Config) -> anyhow::Result<Settings> {
    let helpers = Helpers::of_this_program(config).context("the system does not tell where this program is")?;
    Ok(Settings::from_config(config).decoding(helpers))
}

/// Works for the worker that started this, until it ends.
pub(crate) fn serve() -> anyhow::Result<ExitCode> {
    if std::io::stdin().is_terminal() {
        bail!("a worker starts this for itself; to run a worker: mediamill worker");
    }
    helpers::serve().context("the worker is gone")?;
    Ok(ExitCode::SUCCESS)
}

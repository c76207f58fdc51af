//! `mediamill config`.

use crate::output;
use mediamill_shared::config::{self, Config};
use std::{collections::BTreeMap, process::ExitCode};

/// Every key with its default and meaning, as `docs/configuration.md` has it.
pub(crate) fn reference() {
    output::line(config::reference().trim_end());
}

/// Every key with its value, secrets left out.
pub(crate) fn effective(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let shown = config.shown();
    if json {
        output::json(&shown.into_iter().collect::<BTreeMap<_, _>>())?;
    } else {
        let rows: Vec<[String; 2]> = shown.into_iter().map(|(key, value)| [key.to_owned(), value]).collect();
        output::line(output::table(["key", "value"], &rows));
    }
    Ok(ExitCode::SUCCESS)
}

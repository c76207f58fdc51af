//! Logs: to standard error, for people or for machines.

use crate::{
    BoxError,
    config::{Config, LogFormat},
};
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging as `config` says.
///
/// # Errors
/// When the level is none, or the process logs already.
pub fn install(config: &Config) -> Result<(), BoxError> {
    let filter = EnvFilter::try_new(&config.log_level)?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
}

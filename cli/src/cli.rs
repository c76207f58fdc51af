//! The command line's shape: parsed once here, carried as types from here on.

use clap::{Args, Parser, Subcommand};
use mediamill_shared::{
    control::batches::RowState,
    ids::{BatchId, JobId, KeyId, TenantId},
    jobs::Pool,
    rows::Format,
    secrets::Recipient,
    tenancy::LimitOverrides,
};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// A multitenant media pipeline: roles and operator commands in one binary.
#[derive(Debug, Parser)]
#[command(name = "mediamill", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    /// Configuration file (TOML); environment variables MEDIAMILL_* have the last word
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Answer in JSON; a listing is one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try it: make a tenant, upload pictures, show what became of them, serve them
    Quickstart(Quickstart),
    /// Run api, worker and scheduler in one process
    Serve,
    /// Run the HTTP API
    Api,
    /// Run the job handlers
    Worker(Worker),
    /// Run the timers, or one of them now
    Scheduler(Scheduler),
    /// Bring the control database and every tenant's tables to this release
    Migrate,
    /// Check everything that the configuration names, and say what to do
    Doctor,
    /// Show the configuration in effect, secrets left out
    Config(ConfigArgs),
    /// Make, list, stop and remove tenants
    #[command(subcommand)]
    Tenants(Tenants),
    /// Make and list plans
    #[command(subcommand)]
    Plans(Plans),
    /// Make and revoke API keys
    #[command(subcommand)]
    Keys(Keys),
    /// Look at jobs
    #[command(subcommand)]
    Jobs(Jobs),
    /// Look at, retry and purge jobs that used up their attempts
    #[command(subcommand)]
    Dead(Dead),
    /// What a tenant stores, counted three ways; exit code 1 when they differ
    Usage {
        /// The tenant
        tenant: TenantId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Pictures, or folders of them; without any, sample photographs
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Stop after the table instead of serving on
    #[arg(long)]
    pub(crate) exit: bool,
    /// Directory for the embedded back ends, made anew if it is an earlier demo's [default: mediamill-demo]
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
    /// Address to serve on; the next free port when it is taken [default: the configuration's]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "url")]
    pub(crate) listen: Option<SocketAddr>,
    /// Upload to the running api of this installation instead of serving here, such as `http://127.0.0.1:8080`
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Serve this pool only: media, provision or maintenance; may be repeated
    #[arg(long = "pool", value_name = "POOL")]
    pub(crate) pools: Vec<Pool>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Scheduler {
    #[command(subcommand)]
    pub(crate) command: Option<SchedulerCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SchedulerCommand {
    /// Run one timer now, whoever leads
    Run {
        /// The timer; an unknown one answers with those there are
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Every key with its default and meaning instead
    #[arg(long)]
    pub(crate) reference: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tenants {
    /// Make a tenant; prints its first key, once
    Create {
        /// 1 to 16 characters of 0-9, a-z, - and _
        id: TenantId,
        /// Host name it is served at
        #[arg(long)]
        host: String,
        /// Plan it inherits limits from
        #[arg(long)]
        plan: Option<String>,
        /// Limits of its own, such as `{"media": 1000}`
        #[arg(long, value_name = "JSON", value_parser = LimitOverrides::from_json, default_value = "{}", hide_default_value = true)]
        limits: LimitOverrides,
        /// Name of its first administrator
        #[arg(long, value_name = "NAME", default_value = "admin")]
        admin: String,
    },
    /// List tenants in order of creation
    List(Listing),
    /// Show a tenant
    Get {
        /// The tenant
        id: TenantId,
    },
    /// Remove a tenant: its objects, tables, jobs and rows
    Delete {
        /// The tenant
        id: TenantId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Stop serving a tenant; nothing is removed
    Suspend {
        /// The tenant
        id: TenantId,
    },
    /// Serve a suspended tenant again
    Resume {
        /// The tenant
        id: TenantId,
    },
    /// Make the tenants of a file, a row each
    Import(Import),
    /// Make tenants as a file declares them: what is missing comes, what differs changes
    Apply(Apply),
    /// Look at and steer batches of tenants
    #[command(subcommand)]
    Batches(Batches),
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// NDJSON, or CSV with a header; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Make its tenants here, beside whoever else does, and wait until it is done
    #[arg(long)]
    pub(crate) watch: bool,
    /// ndjson or csv [default: csv when the name ends so, else ndjson]
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// Seal first keys to this X25519 public key, standard base64, instead of showing them once
    #[arg(long, value_name = "KEY")]
    pub(crate) recipient: Option<Recipient>,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// NDJSON, or CSV with a header; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only say what would change: + comes, ~ changes, - leaves
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Let tenants leave that the file does not declare
    #[arg(long)]
    pub(crate) prune: bool,
    /// ndjson or csv [default: csv when the name ends so, else ndjson]
    #[arg(long)]
    pub(crate) format: Option<Format>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Batches {
    /// List batches, the newest first
    List(Listing),
    /// Show how far a batch is
    Show {
        /// The batch
        id: BatchId,
    },
    /// List a batch's rows
    Rows {
        /// The batch
        id: BatchId,
        /// In this state only: waiting, queued, done, unchanged, bad, failed or cancelled
        #[arg(long)]
        state: Option<RowState>,
        #[command(flatten)]
        listing: Listing,
    },
    /// What became of every row, one JSON object a line, with first keys: those are shown once
    Result {
        /// The batch
        id: BatchId,
    },
    /// Feed no more rows until it is resumed
    Pause {
        /// The batch
        id: BatchId,
    },
    /// Feed rows again
    Resume {
        /// The batch
        id: BatchId,
    },
    /// Feed no more rows
    Cancel {
        /// The batch
        id: BatchId,
    },
    /// Feed failed and cancelled rows again
    Retry {
        /// The batch
        id: BatchId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u32,
    /// Every one
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}

impl Listing {
    /// How many lines are wanted.
    pub(crate) fn wanted(&self) -> usize {
        if self.all {
            usize::MAX
        } else {
            usize::try_from(self.limit).unwrap_or(usize::MAX)
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plans {
    /// Make a plan or replace it; its tenants follow
    Put {
        /// Its id
        id: String,
        /// For people [default: the id]
        #[arg(long)]
        name: Option<String>,
        /// What its tenants inherit, such as `{"stored_bytes": 10000000000}`
        #[arg(long, value_name = "JSON", value_parser = LimitOverrides::from_json, default_value = "{}", hide_default_value = true)]
        limits: LimitOverrides,
    },
    /// List plans
    List(Listing),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key; it is printed once
    Create {
        /// The tenant
        tenant: TenantId,
        /// Whose key
        #[arg(long, default_value = "admin")]
        user: String,
        /// What it is for
        #[arg(long, default_value = "operator")]
        name: String,
        /// When it ends, from now, such as 12h, 30d or 8w [default: never]
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires: Option<Duration>,
    },
    /// End a key
    Revoke {
        /// The tenant
        tenant: TenantId,
        /// The key's id: what stands between `mm_` and the next `_`
        key: KeyId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// Show a job
    Get {
        /// The job
        id: JobId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dead {
    /// List dead jobs, oldest first
    List(Listing),
    /// Show a dead job with its payload
    Show {
        /// The job
        id: JobId,
    },
    /// Give dead jobs all their attempts again
    Retry(Which),
    /// Remove dead jobs for good, with the bytes that are staged for them
    Purge(Which),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The jobs
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<JobId>,
    /// Every dead job
    #[arg(long)]
    pub(crate) all: bool,
}

/// `90s`, `30m`, `12h`, `30d`, `8w`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write 90s, 30m, 12h, 30d or 8w");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text
        .strip_suffix(unit)
        .unwrap_or_default()
        .parse()
        .map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::fmt::Write as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("30d").unwrap(), Duration::from_secs(30 * 86_400));
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        for bad in [
            "",
            "d",
            "30",
            "-1d",
            "1.5h",
            "1 d",
            "99999999999999999999d",
            "18446744073709551615w",
            "3é",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_or_all_but_not_both_and_not_neither() {
        let id = "01hf7y0000000000000000000a";
        let parse = |arguments: &[&str]| Cli::try_parse_from([&["mediamill", "dead", "retry"], arguments].concat());
        assert!(parse(&[id]).is_ok() && parse(&["--all"]).is_ok());
        assert!(parse(&[]).is_err() && parse(&[id, "--all"]).is_err());
    }

    /// The help of every command, in one file that a reviewer can read.
    #[test]
    fn the_help_is_as_released() {
        fn write(command: &mut clap::Command, path: &str, text: &mut String) {
            let help = command.render_help().to_string();
            writeln!(text, "$ {path} --help\n{}\n", help.trim_end()).unwrap();
            let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
            for name in names.iter().filter(|name| *name != "help") {
                if let Some(sub) = command.find_subcommand_mut(name) {
                    write(sub, &format!("{path} {name}"), text);
                }
            }
        }
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut text = String::new();
        write(&mut command, "mediamill", &mut text);
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help.txt");
        if std::env::vars().any(|(name, _)| name == "MEDIAMILL_REGENERATE") {
            std::fs::write(&file, &text).unwrap();
        }
        let released = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            text, released,
            "run the tests with MEDIAMILL_REGENERATE=1 if this is meant"
        );
    }
}

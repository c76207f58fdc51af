//! The shape of what is said about tenants in bulk.

use super::Listing;
use clap::{Args, Subcommand};
use mediamill_shared::{control::batches::RowState, ids::BatchId, rows::Format, secrets::Recipient};
use std::path::PathBuf;

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

//! What answers about batches look like.

use super::super::views::rfc3339;
use mediamill_shared::{
    control::batches::{Batch, BatchRow, BatchState, Counts, RowState, Step},
    tenancy::FirstKeys,
};
use serde::Serialize;
use utoipa::ToSchema;

/// How many rows are where.
#[derive(Serialize, ToSchema)]
pub(crate) struct CountsView {
    /// All of them.
    total: i64,
    /// Not fed yet.
    waiting: i64,
    /// Their tenants are being made.
    queued: i64,
    /// Their tenants are served.
    done: i64,
    /// There were such tenants already, just as asked for.
    unchanged: i64,
    /// They cannot be understood.
    bad: i64,
    /// Their tenants could not be made.
    failed: i64,
    /// They were not fed before the batch was cancelled.
    cancelled: i64,
}

/// A batch of tenants.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchView {
    /// Its id.
    id: String,
    /// `receiving`, `running`, `paused`, `cancelled` or `done`.
    #[schema(value_type = String)]
    state: BatchState,
    /// Its rows.
    rows: CountsView,
    /// The public key that first keys are sealed to.
    recipient: Option<String>,
    /// What becomes of first keys: `sealed` to the recipient, `shown-once` in the result, or `none` are made, for want of a
    /// master key and of a recipient.
    first_keys: &'static str,
    /// Who sent it.
    actor: String,
    /// When it was begun, RFC 3339.
    created_at: String,
    /// When it changed last, RFC 3339.
    updated_at: String,
}

/// Batches.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchPage {
    /// The newest first.
    pub(super) batches: Vec<BatchView>,
    /// What the next page begins after; null: there is none.
    pub(super) next_cursor: Option<String>,
}

/// A row of a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct RowView {
    /// The line that it began on, from 1.
    line: i64,
    /// The tenant that it asks for, where that can be read.
    tenant: Option<String>,
    /// `waiting`, `queued`, `done`, `unchanged`, `bad`, `failed` or `cancelled`.
    state: &'static str,
    /// Why it is bad or failed.
    cause: Option<String>,
}

/// Rows of a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct RowPage {
    /// In the order of their lines.
    pub(super) rows: Vec<RowView>,
    /// What the next page begins after; null: there is none.
    pub(super) next_after: Option<i64>,
}

impl BatchView {
    pub(super) fn of(batch: &Batch, counts: &Counts, first_keys: FirstKeys) -> Self {
        Self {
            id: batch.id.to_string(),
            state: batch.state,
            rows: CountsView {
                total: counts.total(),
                waiting: counts.of(RowState::Waiting),
                queued: counts.of(RowState::Queued),
                done: counts.of(RowState::Done),
                unchanged: counts.of(RowState::Unchanged),
                bad: counts.of(RowState::Bad),
                failed: counts.of(RowState::Failed),
                cancelled: counts.of(RowState::Cancelled),
            },
            recipient: batch.recipient.clone(),
            first_keys: first_keys.as_str(),
            actor: batch.actor.clone(),
            created_at: rfc3339(batch.created_at),
            updated_at: rfc3339(batch.updated_at),
        }
    }

    pub(super) const fn state(&self) -> BatchState {
        self.state
    }

    /// Whether it is where `step` leads.
    pub(super) fn stands_as_after(&self, step: Step) -> bool {
        match step {
            Step::Close | Step::Resume => self.state == BatchState::Running,
            Step::Pause => self.state == BatchState::Paused,
            Step::Cancel | Step::Abandon => self.state == BatchState::Cancelled,
        }
    }
}

impl RowView {
    pub(super) fn of(row: BatchRow) -> Self {
        Self {
            line: row.line,
            tenant: row.tenant.map(|tenant| tenant.to_string()),
            state: row.state.as_str(),
            cause: row.cause,
        }
    }
}

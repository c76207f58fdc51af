//! Batches of tenants: rows as they came, and what became of each.
//!
//! A row is *waiting* until it is fed, in one transaction with the tenant that it asks for: then *queued* until that is
//! served (*done*) or undone (*failed*). *Bad* ones never waited; *unchanged* ones ask for what is there already. So a
//! batch that is killed anywhere is gone on with from its rows alone.

use super::{
    audit::Actor,
    jobs::{optional, text},
};
use crate::{
    db::{Bounded, Db, DbError, During, sql},
    ids::{BatchId, TenantId},
    units::Millis,
};
use sqlx::{AnyConnection, Row, any::AnyRow};

crate::jobs::names!(
    /// Where a batch stands.
    BatchState, "batch state" {
        /// Its rows are still arriving.
        Receiving = "receiving",
        /// Its rows are fed and worked on.
        Running = "running",
        /// No more rows are fed until it is resumed.
        Paused = "paused",
        /// What was not fed will not be.
        Cancelled = "cancelled",
        /// Every row has its end.
        Done = "done",
    }
);

crate::jobs::names!(
    /// Where a row of a batch stands.
    RowState, "row state" {
        /// Not fed yet.
        Waiting = "waiting",
        /// Its tenant is being made.
        Queued = "queued",
        /// Its tenant is served.
        Done = "done",
        /// There was such a tenant already, just as asked for.
        Unchanged = "unchanged",
        /// It cannot be understood.
        Bad = "bad",
        /// Its tenant could not be made.
        Failed = "failed",
        /// It was not fed before the batch was cancelled.
        Cancelled = "cancelled",
    }
);

sql! {
    OPEN = "INSERT INTO batches (id, state, recipient, actor, created_at, updated_at) VALUES ($1, 'receiving', $2, $3, $4, $4)";
    ADD (6) = "INSERT INTO batch_rows (batch, line, tenant, state, request, cause) VALUES {rows} ON CONFLICT (batch, line) DO NOTHING";
    SET_STATE = "UPDATE batches SET state = $1, updated_at = $2 WHERE id = $3 AND state IN ('receiving', 'running', 'paused') RETURNING id";
    GET = "SELECT id, state, recipient, actor, created_at, updated_at FROM batches WHERE id = $1";
    PAGE = "SELECT id, state, recipient, actor, created_at, updated_at FROM batches WHERE id < $1 ORDER BY id DESC LIMIT $2";
    RUNNING = "SELECT id, state, recipient, actor, created_at, updated_at FROM batches WHERE state = 'running' ORDER BY id LIMIT $1";
    ABANDONED = "SELECT id, state, recipient, actor, created_at, updated_at FROM batches WHERE state = 'receiving' AND updated_at < $1 ORDER BY id LIMIT $2";
    COUNTS = "SELECT state, CAST(COUNT(*) AS BIGINT) FROM batch_rows WHERE batch = $1 GROUP BY state";
    WAITING = "SELECT line, tenant, state, request, cause, secret FROM batch_rows WHERE batch = $1 AND state = 'waiting' ORDER BY line LIMIT $2";
    ROWS = "SELECT line, tenant, state, request, cause, secret FROM batch_rows WHERE batch = $1 AND line > $2 ORDER BY line LIMIT $3";
    FED = "UPDATE batch_rows SET state = $1, cause = $2, secret = $3, tenant = $4 WHERE batch = $5 AND line = $6 AND state = 'waiting'";
    DONE = "UPDATE batch_rows SET state = 'done' WHERE tenant = $1 AND state = 'queued'";
    FAILED = "UPDATE batch_rows SET state = 'failed', cause = $1, secret = NULL WHERE tenant = $2 AND state = 'queued'";
    CANCEL_ROWS = "UPDATE batch_rows SET state = 'cancelled' WHERE batch = $1 AND state = 'waiting'";
    RETRY_ROWS = "UPDATE batch_rows SET state = 'waiting', cause = NULL WHERE batch = $1 AND state IN ('failed', 'cancelled')";
    REOPEN = "UPDATE batches SET state = 'running', updated_at = $1 WHERE id = $2 AND state IN ('done', 'cancelled', 'paused', 'running') RETURNING id";
    SHOWN = "UPDATE batch_rows SET secret = NULL WHERE batch = $1 AND line > $2 AND line <= $3 AND secret IS NOT NULL";
}

/// Rows of one statement: six columns each, within both engines' limit of parameters.
const ADD_ROWS: usize = 512;

/// A batch.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// Where it stands.
    pub state: BatchState,
    /// Public key that first keys are sealed to.
    pub recipient: Option<String>,
    /// Who sent it.
    pub actor: String,
    /// Begun.
    pub created_at: Millis,
    /// Changed last.
    pub updated_at: Millis,
}

/// A row of a batch.
#[derive(Debug, Clone)]
pub struct BatchRow {
    /// Its line in what was sent, from 1.
    pub line: i64,
    /// The tenant that it asks for, where that can be read.
    pub tenant: Option<TenantId>,
    /// Where it stands.
    pub state: RowState,
    /// What it asks for, JSON; for a bad row what there was, cut.
    pub request: String,
    /// Why it is bad or failed.
    pub cause: Option<String>,
    /// The first key, sealed.
    pub secret: Option<String>,
}

/// What is recorded of a row that was fed.
#[derive(Debug, Clone)]
pub struct Fed {
    /// Its line.
    pub line: i64,
    /// Where it stands now.
    pub state: RowState,
    /// The tenant that it asks for.
    pub tenant: Option<TenantId>,
    /// Why it failed.
    pub cause: Option<String>,
    /// The first key, sealed.
    pub secret: Option<String>,
}

/// How many rows of a batch are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([i64; RowState::ALL.len()]);

impl Counts {
    /// Those in one state.
    #[must_use]
    pub fn of(&self, state: RowState) -> i64 {
        let place = RowState::ALL.iter().position(|one| *one == state);
        place.and_then(|place| self.0.get(place)).copied().unwrap_or(0)
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Those that have no end yet.
    #[must_use]
    pub fn open(&self) -> i64 {
        self.of(RowState::Waiting).saturating_add(self.of(RowState::Queued))
    }
}

/// Begins a batch.
///
/// # Errors
/// When the database is away.
pub async fn open(db: &Db, id: &BatchId, recipient: Option<&str>, actor: &Actor, now: Millis) -> Result<(), DbError> {
    let query = OPEN
        .query()
        .bind(id.as_str().to_owned())
        .bind(recipient.map(str::to_owned))
        .bind(actor.as_str().to_owned())
        .bind(now.get());
    query.execute(db.write()).bounded("begin a batch").await.map(|_| ())
}

/// Adds rows as they arrived; a line that is there already stays. The batch counts as alive from now on.
///
/// # Errors
/// When the database is away.
pub async fn add(db: &Db, id: &BatchId, rows: &[BatchRow], now: Millis) -> Result<(), DbError> {
    const WHAT: &str = "add rows to a batch";
    let mut tx = db.begin_write().await?;
    for chunk in rows.chunks(ADD_ROWS) {
        let mut query = ADD.rows(1, chunk.len(), 6);
        for row in chunk {
            query = query
                .bind(id.as_str().to_owned())
                .bind(row.line)
                .bind(row.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()))
                .bind(row.state.as_str())
                .bind(row.request.clone())
                .bind(row.cause.clone());
        }
        query.execute(&mut *tx).bounded(WHAT).await?;
    }
    let query = SET_STATE
        .query()
        .bind(BatchState::Receiving.as_str())
        .bind(now.get())
        .bind(id.as_str().to_owned());
    query.fetch_optional(&mut *tx).bounded(WHAT).await?;
    tx.commit().bounded(WHAT).await
}

/// Lets an open batch run, pause, end or be cancelled. Returns whether it was open.
///
/// # Errors
/// When the database is away.
pub async fn set_state(db: &Db, id: &BatchId, state: BatchState, now: Millis) -> Result<bool, DbError> {
    const WHAT: &str = "change a batch";
    let mut tx = db.begin_write().await?;
    let query = SET_STATE
        .query()
        .bind(state.as_str())
        .bind(now.get())
        .bind(id.as_str().to_owned());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    if state == BatchState::Cancelled {
        let query = CANCEL_ROWS.query().bind(id.as_str().to_owned());
        query.execute(&mut *tx).bounded(WHAT).await?;
    }
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// Lets failed and cancelled rows be fed again. Returns how many; `None` when there is no such batch or it is still arriving.
///
/// # Errors
/// When the database is away.
pub async fn retry(db: &Db, id: &BatchId, now: Millis) -> Result<Option<u64>, DbError> {
    const WHAT: &str = "retry a batch";
    let mut tx = db.begin_write().await?;
    let query = REOPEN.query().bind(now.get()).bind(id.as_str().to_owned());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(None);
    }
    let query = RETRY_ROWS.query().bind(id.as_str().to_owned());
    let done = query.execute(&mut *tx).bounded(WHAT).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(Some(done.rows_affected()))
}

/// One batch.
///
/// # Errors
/// When the database is away.
pub async fn get(db: &Db, id: &BatchId) -> Result<Option<Batch>, DbError> {
    let query = GET.query().bind(id.as_str().to_owned());
    let row = query.fetch_optional(db.read()).bounded("read a batch").await?;
    row.as_ref().map(read).transpose()
}

/// Batches older than `before`, or the newest, newest first, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn page(db: &Db, before: Option<&BatchId>, limit: i64) -> Result<Vec<Batch>, DbError> {
    // "~" sorts after every character of an id.
    let before = before.map_or_else(|| "~".to_owned(), |id| id.as_str().to_owned());
    let query = PAGE.query().bind(before).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("list batches").await?;
    rows.iter().map(read).collect()
}

/// Batches whose rows are to be fed, oldest first, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn running(db: &Db, limit: i64) -> Result<Vec<Batch>, DbError> {
    let rows = RUNNING
        .query()
        .bind(limit)
        .fetch_all(db.read())
        .bounded("look for batches")
        .await?;
    rows.iter().map(read).collect()
}

/// Batches that no row arrived for since `before` although they have not ended: their sender broke off.
///
/// # Errors
/// When the database is away.
pub async fn abandoned(db: &Db, before: Millis, limit: i64) -> Result<Vec<Batch>, DbError> {
    let query = ABANDONED.query().bind(before.get()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("look for batches").await?;
    rows.iter().map(read).collect()
}

/// How many rows of a batch are in each state.
///
/// # Errors
/// When the database is away.
pub async fn counts(db: &Db, id: &BatchId) -> Result<Counts, DbError> {
    const WHAT: &str = "count a batch's rows";
    let query = COUNTS.query().bind(id.as_str().to_owned());
    let mut counts = Counts::default();
    for row in query.fetch_all(db.read()).bounded(WHAT).await? {
        let state: RowState = text(&row, 0)?;
        let place = RowState::ALL.iter().position(|one| *one == state);
        if let Some(count) = place.and_then(|place| counts.0.get_mut(place)) {
            *count = row.try_get(1).during(WHAT)?;
        }
    }
    Ok(counts)
}

/// Rows that wait, in order, at most `limit`.
pub(crate) async fn waiting(db: &Db, id: &BatchId, limit: i64) -> Result<Vec<BatchRow>, DbError> {
    let query = WAITING.query().bind(id.as_str().to_owned()).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("look for waiting rows").await?;
    rows.iter().map(read_row).collect()
}

/// Rows after line `after`, in order, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn rows(db: &Db, id: &BatchId, after: i64, limit: i64) -> Result<Vec<BatchRow>, DbError> {
    let query = ROWS.query().bind(id.as_str().to_owned()).bind(after).bind(limit);
    let rows = query.fetch_all(db.read()).bounded("read a batch's rows").await?;
    rows.iter().map(read_row).collect()
}

/// Forgets the first keys of lines after `after` to `last`: they have been shown.
///
/// # Errors
/// When the database is away.
pub async fn shown(db: &Db, id: &BatchId, after: i64, last: i64) -> Result<(), DbError> {
    let query = SHOWN.query().bind(id.as_str().to_owned()).bind(after).bind(last);
    query
        .execute(db.write())
        .bounded("forget keys that were shown")
        .await
        .map(|_| ())
}

/// Records what became of rows that waited, within the transaction that fed them. Returns whether all of them still waited.
pub(crate) async fn fed(connection: &mut AnyConnection, id: &BatchId, rows: &[Fed]) -> Result<bool, DbError> {
    let mut all = true;
    for row in rows {
        let query = FED
            .query()
            .bind(row.state.as_str())
            .bind(row.cause.clone())
            .bind(row.secret.clone())
            .bind(row.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()))
            .bind(id.as_str().to_owned())
            .bind(row.line);
        let done = query.execute(&mut *connection).bounded("record a fed row").await?;
        all &= done.rows_affected() == 1;
    }
    Ok(all)
}

/// The tenant is served: so is the row that asked for it.
pub(crate) async fn row_done(connection: &mut AnyConnection, tenant: &TenantId) -> Result<(), DbError> {
    let query = DONE.query().bind(tenant.as_str().to_owned());
    query.execute(connection).bounded("end a batch's row").await.map(|_| ())
}

/// The tenant was undone: its row failed.
pub(crate) async fn row_failed(connection: &mut AnyConnection, tenant: &TenantId, cause: &str) -> Result<(), DbError> {
    let query = FAILED.query().bind(cause.to_owned()).bind(tenant.as_str().to_owned());
    query.execute(connection).bounded("end a batch's row").await.map(|_| ())
}

fn read(row: &AnyRow) -> Result<Batch, DbError> {
    const WHAT: &str = "read a batch";
    Ok(Batch {
        id: text(row, 0)?,
        state: text(row, 1)?,
        recipient: row.try_get(2).during(WHAT)?,
        actor: row.try_get(3).during(WHAT)?,
        created_at: Millis::new(row.try_get(4).during(WHAT)?),
        updated_at: Millis::new(row.try_get(5).during(WHAT)?),
    })
}

fn read_row(row: &AnyRow) -> Result<BatchRow, DbError> {
    const WHAT: &str = "read a batch's row";
    Ok(BatchRow {
        line: row.try_get(0).during(WHAT)?,
        tenant: optional(row, 1)?,
        state: text(row, 2)?,
        request: row.try_get(3).during(WHAT)?,
        cause: row.try_get(4).during(WHAT)?,
        secret: row.try_get(5).during(WHAT)?,
    })
}

//! Batches of tenants: rows as they came, and what became of each.
//!
//! A row is *waiting* until it is fed, in one transaction with the tenant that it asks for: then *queued* until that is
//! served (*done*) or undone (*failed*). *Bad* ones never waited; *unchanged* ones ask for what is there already. So a
//! batch that is killed anywhere is gone on with from its rows alone.

use super::{
    audit::Actor,
    jobs::{optional, text},
    tenants,
};
use crate::{
    db::{Bounded, Db, DbError, During, padded, sql},
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
    REMEMBER = "INSERT INTO idempotency_keys (tenant, name, request_hash, answer, created_at) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (tenant, name) DO NOTHING RETURNING name";
    RECALL = "SELECT request_hash, answer FROM idempotency_keys WHERE tenant = $1 AND name = $2";
    ADD (6) = "INSERT INTO batch_rows (batch, line, tenant, state, request, cause) VALUES {rows} ON CONFLICT (batch, line) DO NOTHING";
    STEP = "UPDATE batches SET state = $1, updated_at = $2 WHERE id = $3 AND state IN ($4, $5, $6) RETURNING id";
    /// The row is locked by it: one feeder at a time, and no change of the state beneath it.
    HOLD = "UPDATE batches SET updated_at = $1 WHERE id = $2 AND state = $3 RETURNING id";
    END = "UPDATE batches SET state = 'done', updated_at = $1 WHERE id = $2 AND state = 'running' \
        AND NOT EXISTS (SELECT 1 FROM batch_rows r WHERE r.batch = $2 AND r.state IN ('waiting', 'queued')) RETURNING id";
    GET = "SELECT id, state, recipient, actor, created_at, updated_at FROM batches WHERE id = $1";
    PAGE = "SELECT id, state, recipient, actor, created_at, updated_at FROM batches WHERE id < $1 ORDER BY id DESC LIMIT $2";
    RUNNING = "SELECT id, state, recipient, actor, created_at, updated_at FROM batches WHERE state = 'running' ORDER BY id LIMIT $1";
    ABANDONED = "SELECT id, state, recipient, actor, created_at, updated_at FROM batches WHERE state = 'receiving' AND updated_at < $1 ORDER BY id LIMIT $2";
    COUNTS = "SELECT state, CAST(COUNT(*) AS BIGINT) FROM batch_rows WHERE batch = $1 GROUP BY state";
    WAITING = "SELECT line, tenant, state, request, cause, secret FROM batch_rows WHERE batch = $1 AND state = 'waiting' ORDER BY line LIMIT $2";
    QUEUED = "SELECT CAST(COUNT(*) AS BIGINT) FROM batch_rows WHERE batch = $1 AND state = 'queued'";
    ROWS = "SELECT line, tenant, state, request, cause, secret FROM batch_rows WHERE batch = $1 AND line > $2 AND (state = $3 OR $3 IS NULL) \
        ORDER BY line LIMIT $4";
    FED (4) = "UPDATE batch_rows SET state = f.column2, cause = f.column3, secret = f.column4 FROM (VALUES {rows}) AS f \
        WHERE batch_rows.batch = $1 AND batch_rows.line = CAST(f.column1 AS BIGINT) AND batch_rows.state = 'waiting'";
    DONE (1) = "UPDATE batch_rows SET state = 'done' WHERE state = 'queued' AND tenant IN (VALUES {rows})";
    FAILED = "UPDATE batch_rows SET state = 'failed', cause = $1, secret = NULL WHERE tenant = $2 AND state = 'queued'";
    CANCEL_ROWS = "UPDATE batch_rows SET state = 'cancelled' WHERE batch = $1 AND state = 'waiting'";
    RETRY_ROWS = "UPDATE batch_rows SET state = 'waiting', cause = NULL WHERE batch = $1 AND state IN ('failed', 'cancelled')";
    REOPEN = "UPDATE batches SET state = 'running', updated_at = $1 WHERE id = $2 AND state IN ('done', 'cancelled', 'paused', 'running') RETURNING id";
    SHOWN (1) = "UPDATE batch_rows SET secret = NULL WHERE batch = $1 AND state = 'done' \
        AND line IN (SELECT CAST(column1 AS BIGINT) FROM (VALUES {rows}) AS shown)";
    /// What ended without its row: rows are ended in the transaction that ends their tenants, but a removal knows none.
    STRAYS_DONE = "UPDATE batch_rows SET state = 'done' WHERE state = 'queued' AND tenant IN (SELECT id FROM tenants WHERE state IN ('active', 'suspended', 'leaving'))";
    STRAYS_GONE = "UPDATE batch_rows SET state = 'failed', cause = 'the tenant was removed before it was made', secret = NULL \
        WHERE state = 'queued' AND NOT EXISTS (SELECT 1 FROM tenants t WHERE t.id = batch_rows.tenant)";
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
pub(crate) struct Fed {
    /// Its line.
    pub(crate) line: i64,
    /// Where it stands now.
    pub(crate) state: RowState,
    /// Why it failed.
    pub(crate) cause: Option<String>,
    /// The first key, sealed.
    pub(crate) secret: Option<String>,
}

/// How a batch goes on by its owner's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All its rows have arrived: it runs.
    Close,
    /// No more rows are fed; what is queued is made.
    Pause,
    /// Rows are fed again.
    Resume,
    /// What was not fed will not be.
    Cancel,
    /// The same of one that is not closed, since whoever sent it broke off.
    Abandon,
}

impl Step {
    /// Where it leads, and from where.
    const fn ends(self) -> (BatchState, [BatchState; 3]) {
        use BatchState::{Cancelled, Paused, Receiving, Running};
        match self {
            Self::Close => (Running, [Receiving; 3]),
            Self::Pause => (Paused, [Running; 3]),
            Self::Resume => (Running, [Paused; 3]),
            Self::Cancel => (Cancelled, [Receiving, Running, Paused]),
            Self::Abandon => (Cancelled, [Receiving; 3]),
        }
    }
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

/// A sender's own name for a batch: the same name again is the same batch.
#[derive(Debug)]
pub(crate) struct Once<'a> {
    pub(crate) name: &'a str,
    /// What else was asked for: the same name with another is refused.
    pub(crate) request: String,
}

/// What became of a batch that was to begin.
#[derive(Debug)]
pub(crate) enum Opened {
    /// It has begun.
    New,
    /// It had begun before, as this one.
    Before(BatchId),
    /// The name was used for something else.
    KeyReused,
}

/// Begins a batch.
pub(crate) async fn open(
    db: &Db,
    id: &BatchId,
    recipient: Option<&str>,
    actor: &Actor,
    once: Option<&Once<'_>>,
    now: Millis,
) -> Result<Opened, DbError> {
    const WHAT: &str = "begin a batch";
    let mut tx = db.begin_write().await?;
    if let Some(once) = once {
        // A tenant's id has no colon: its names are apart.
        let of = format!("by:{}", actor.as_str());
        let query = REMEMBER
            .query()
            .bind(of.clone())
            .bind(once.name.to_owned())
            .bind(once.request.clone())
            .bind(id.as_str().to_owned())
            .bind(now.get());
        if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
            let query = RECALL.query().bind(of).bind(once.name.to_owned());
            let row = query.fetch_one(&mut *tx).bounded(WHAT).await?;
            let request: String = row.try_get(0).during(WHAT)?;
            return Ok(if request == once.request {
                Opened::Before(text(&row, 1)?)
            } else {
                Opened::KeyReused
            });
        }
    }
    let query = OPEN
        .query()
        .bind(id.as_str().to_owned())
        .bind(recipient.map(str::to_owned))
        .bind(actor.as_str().to_owned())
        .bind(now.get());
    query.execute(&mut *tx).bounded(WHAT).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(Opened::New)
}

/// Adds rows as they arrived; a line that is there already stays. Returns whether the batch still takes rows: `false`
/// adds none.
///
/// # Errors
/// When the database is away.
pub(crate) async fn add(
    connection: &mut AnyConnection,
    id: &BatchId,
    rows: &[BatchRow],
    now: Millis,
) -> Result<bool, DbError> {
    if !hold(connection, id, BatchState::Receiving, now).await? {
        return Ok(false);
    }
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
        query.execute(&mut *connection).bounded("add rows to a batch").await?;
    }
    Ok(true)
}

/// Whether the batch is in `state`, which it stays in until this transaction's end.
pub(crate) async fn hold(
    connection: &mut AnyConnection,
    id: &BatchId,
    state: BatchState,
    now: Millis,
) -> Result<bool, DbError> {
    let query = HOLD
        .query()
        .bind(now.get())
        .bind(id.as_str().to_owned())
        .bind(state.as_str());
    let row = query.fetch_optional(connection).bounded("hold a batch").await?;
    Ok(row.is_some())
}

/// Lets a batch go on. Returns whether it was where that begins.
///
/// # Errors
/// When the database is away.
pub async fn step(db: &Db, id: &BatchId, step: Step, now: Millis) -> Result<bool, DbError> {
    const WHAT: &str = "change a batch";
    let (to, [first, second, third]) = step.ends();
    let mut tx = db.begin_write().await?;
    let query = STEP
        .query()
        .bind(to.as_str())
        .bind(now.get())
        .bind(id.as_str().to_owned())
        .bind(first.as_str())
        .bind(second.as_str())
        .bind(third.as_str());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    if matches!(step, Step::Cancel | Step::Abandon) {
        let query = CANCEL_ROWS.query().bind(id.as_str().to_owned());
        query.execute(&mut *tx).bounded(WHAT).await?;
    }
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// Ends a running batch whose rows have all come to their ends. Returns whether this call did.
pub(crate) async fn end(db: &Db, id: &BatchId, now: Millis) -> Result<bool, DbError> {
    const WHAT: &str = "end a batch";
    let mut tx = db.begin_write().await?;
    // First its row: whoever has rows tried again holds it, and only what is read after that shows them.
    if !hold(&mut tx, id, BatchState::Running, now).await? {
        return Ok(false);
    }
    let query = END.query().bind(now.get()).bind(id.as_str().to_owned());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
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

/// How many rows are being made.
pub(crate) async fn queued(db: &Db, id: &BatchId) -> Result<i64, DbError> {
    const WHAT: &str = "count queued rows";
    let query = QUEUED.query().bind(id.as_str().to_owned());
    let row = query.fetch_one(db.read()).bounded(WHAT).await?;
    row.try_get(0).during(WHAT)
}

/// Rows after line `after`, all or those in `state`, in order, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn rows(
    db: &Db,
    id: &BatchId,
    state: Option<RowState>,
    after: i64,
    limit: i64,
) -> Result<Vec<BatchRow>, DbError> {
    let query = ROWS
        .query()
        .bind(id.as_str().to_owned())
        .bind(after)
        .bind(state.map(RowState::as_str))
        .bind(limit);
    let rows = query.fetch_all(db.read()).bounded("read a batch's rows").await?;
    rows.iter().map(read_row).collect()
}

/// Forgets the first keys of served tenants in these lines: they have been shown.
///
/// # Errors
/// When the database is away.
pub async fn shown(db: &Db, id: &BatchId, lines: &[i64]) -> Result<(), DbError> {
    let Some(last) = lines.last() else { return Ok(()) };
    let size = padded(lines.len());
    let mut query = SHOWN.rows(2, size, 1).bind(id.as_str().to_owned());
    for place in 0..size {
        query = query.bind(*lines.get(place).unwrap_or(last));
    }
    query
        .execute(db.write())
        .bounded("forget keys that were shown")
        .await
        .map(|_| ())
}

/// Records what became of rows that waited, within the transaction that fed them. Returns whether all of them still waited.
pub(crate) async fn fed(connection: &mut AnyConnection, id: &BatchId, rows: &[Fed]) -> Result<bool, DbError> {
    let Some(last) = rows.last() else { return Ok(true) };
    let size = padded(rows.len());
    let mut query = FED.rows(2, size, 4).bind(id.as_str().to_owned());
    for place in 0..size {
        let row = rows.get(place).unwrap_or(last);
        query = query
            .bind(row.line)
            .bind(row.state.as_str())
            .bind(row.cause.clone())
            .bind(row.secret.clone());
    }
    let done = query.execute(connection).bounded("record fed rows").await?;
    Ok(usize::try_from(done.rows_affected()) == Ok(rows.len()))
}

/// Ends queued rows whose tenants came to their ends without them. Returns how many there were.
///
/// # Errors
/// When the database is away.
pub async fn end_strays(db: &Db) -> Result<u64, DbError> {
    const WHAT: &str = "end stray rows of batches";
    let mut ended = 0_u64;
    for sql in [STRAYS_DONE, STRAYS_GONE] {
        let done = sql.query().execute(db.write()).bounded(WHAT).await?;
        ended = ended.saturating_add(done.rows_affected());
    }
    Ok(ended)
}

/// The tenants are served: so are the rows that asked for them.
pub(crate) async fn rows_done(connection: &mut AnyConnection, ids: &[TenantId]) -> Result<(), DbError> {
    let size = padded(ids.len());
    let query = tenants::bind(DONE.rows(1, size, 1), ids, size);
    query.execute(connection).bounded("end batches' rows").await.map(|_| ())
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

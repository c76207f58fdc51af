//! Room in storages: claimed before files are written, given back when they are gone.
//!
//! A job's share of a storage is one line of the ledger: what the job has put in, or, below zero, taken out. It is set, not added
//! to: a job that runs again claims what it has claimed already. The storage's own figures change by the difference in the same
//! transaction, so parallel workers cannot fill it over its capacity. An
//! attempt that another has taken over from changes nothing any more.

use crate::{
    control::{
        jobs::text,
        storages::{StorageRow, StorageState},
    },
    db::{Bounded, Db, DbError, During, sql},
    ids::{JobId, TenantId},
    placement::Spot,
    tenancy::store::places::Held,
    units::{ByteCount, Millis},
};
use sqlx::{AnyConnection, Row, any::AnyRow};
use std::collections::{BTreeMap, BTreeSet};

sql! {
    // Holds the job's row: whoever would claim the job waits, or has been first.
    FENCE = "UPDATE jobs SET attempts = attempts WHERE id = $1 AND attempts = $2 RETURNING id";
    SHARES = "SELECT storage, bytes, objects FROM storage_ledger WHERE job = $1 AND part = $2";
    CLAIMED = "SELECT DISTINCT l.job FROM storage_ledger l JOIN jobs j ON j.id = l.job WHERE j.tenant = $1 AND j.state IN ('queued', 'running', 'dead')";
    // Holds the line until the end of the transaction: another attempt at the job counts after this one.
    ENTER = "INSERT INTO storage_ledger (job, part, storage, bytes, objects, at) VALUES ($1, $2, $3, 0, 0, $4) \
        ON CONFLICT (job, part, storage) DO UPDATE SET at = excluded.at RETURNING bytes, objects";
    // Holds the storage's row; whether there is room is judged by what comes back.
    GROW = "UPDATE storages SET used = used + $1, objects = objects + $2 WHERE id = $3 RETURNING state, capacity, used";
    WRITE = "UPDATE storage_ledger SET bytes = $4, objects = $5 WHERE job = $1 AND part = $2 AND storage = $3";
    BUSY = "SELECT id FROM jobs WHERE state IN ('queued', 'running', 'dead') AND (CAST($1 AS TEXT) IS NULL OR tenant = $1) AND kind IN \
        ('media.process', 'media.fetch', 'media.variant', 'media.delete', 'media.move', 'media.verify', 'objects.remove') LIMIT 1";
    // Figures that are what they were may have been others in between.
    UNTOUCHED = "SELECT id FROM storages WHERE id = $1 AND used = $2 AND objects = $3 \
        AND NOT EXISTS (SELECT 1 FROM storage_ledger WHERE storage = $1 AND at >= $4)";
    CORRECT = "UPDATE storages SET used = $1, objects = $2 WHERE id = $3 AND used = $4 AND objects = $5 \
        AND NOT EXISTS (SELECT 1 FROM storage_ledger WHERE storage = $3 AND at >= $6) RETURNING id";
    // A job that is still there may be run again.
    PRUNE = "DELETE FROM storage_ledger WHERE at < $1 AND (job, part, storage) IN (SELECT l.job, l.part, l.storage FROM storage_ledger l \
        WHERE l.at < $1 AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = l.job) LIMIT $2)";
}

/// What a job has put into a storage, or taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Bytes.
    pub bytes: ByteCount,
    /// Objects.
    pub objects: i64,
}

impl Share {
    /// This and one object more.
    #[must_use]
    pub const fn with(self, bytes: ByteCount) -> Self {
        Self {
            bytes: self.bytes.plus(bytes),
            objects: self.objects.saturating_add(1),
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.plus(other.bytes),
            objects: self.objects.saturating_add(other.objects),
        }
    }

    /// What takes it back.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self {
            bytes: ByteCount::ZERO.minus(self.bytes),
            objects: self.objects.saturating_neg(),
        }
    }
}

/// A job's shares by storage. In the order of their ids, so that two jobs never wait for each other.
pub type Shares = BTreeMap<Spot, Share>;

/// Whose share it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    line: String,
    part: &'static str,
    fence: Option<(JobId, i64)>,
}

impl Claimant {
    /// A job's, while `attempt` is its latest.
    #[must_use]
    pub fn job(id: &JobId, attempt: i64) -> Self {
        Self {
            line: id.to_string(),
            part: "",
            fence: Some((id.clone(), attempt)),
        }
    }

    /// Nobody's attempt: a job that nobody runs, or a line by a name that no job has.
    #[must_use]
    pub const fn named(name: String) -> Self {
        Self {
            line: name,
            part: "",
            fence: None,
        }
    }

    /// The same for a part of the work, with a line of its own.
    #[must_use]
    pub fn part(&self, part: &'static str) -> Self {
        Self { part, ..self.clone() }
    }
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// There is room, and it is the job's.
    Yes,
    /// Nothing was claimed, since there is no room in these.
    NoRoom(BTreeSet<Spot>),
    /// Nothing was claimed, since these take nothing any more, or are gone.
    Closed(BTreeSet<Spot>),
    /// Nothing was claimed, since another attempt has the job.
    Overtaken,
}

/// Sets a job's shares of the storages that `shares` names, if all of them are active and have room for what is more than
/// before.
///
/// # Errors
/// When the database is away.
pub async fn claim(db: &Db, by: &Claimant, shares: &Shares, now: Millis) -> Result<Claimed, DbError> {
    let mut tx = db.begin_write().await?;
    if !is_latest(&mut tx, by).await? {
        return Ok(Claimed::Overtaken);
    }
    let (mut full, mut closed) = (BTreeSet::new(), BTreeSet::new());
    for (storage, share) in shares {
        let has = enter(&mut tx, by, storage, now).await?;
        if *share == has {
            continue;
        }
        let grown = set(&mut tx, by, storage, has, *share).await?;
        if share.bytes <= has.bytes && share.objects <= has.objects {
            continue;
        }
        match grown {
            Some((StorageState::Active, capacity, used)) if capacity == ByteCount::ZERO || used <= capacity => {}
            Some((StorageState::Active, ..)) => {
                full.insert(storage.clone());
            }
            Some(_) | None => {
                closed.insert(storage.clone());
            }
        }
    }
    if !closed.is_empty() {
        return Ok(Claimed::Closed(closed));
    }
    if !full.is_empty() {
        return Ok(Claimed::NoRoom(full));
    }
    tx.commit().bounded(CLAIM).await?;
    Ok(Claimed::Yes)
}

/// Sets a job's shares to these and to nothing elsewhere, whatever state the storages are in. Of a storage that is gone nothing
/// is counted. Returns whether the job is still this attempt's; if not, nothing was changed.
///
/// # Errors
/// When the database is away.
pub async fn settle(db: &Db, by: &Claimant, wanted: &Shares, now: Millis) -> Result<bool, DbError> {
    let mut tx = db.begin_write().await?;
    if !is_latest(&mut tx, by).await? {
        return Ok(false);
    }
    let query = SHARES.query().bind(by.line.clone()).bind(by.part);
    let before = collect(&query.fetch_all(&mut *tx).bounded(CLAIM).await?)?;
    let storages: BTreeSet<&Spot> = before.keys().chain(wanted.keys()).collect();
    for storage in storages {
        let has = enter(&mut tx, by, storage, now).await?;
        let share = wanted.get(storage).copied().unwrap_or_default();
        if share != has {
            set(&mut tx, by, storage, has, share).await?;
        }
    }
    tx.commit().bounded(CLAIM).await?;
    Ok(true)
}

/// Whether nobody else has taken the job over. A job whose row is gone is nobody's.
async fn is_latest(connection: &mut AnyConnection, by: &Claimant) -> Result<bool, DbError> {
    let Some((job, attempt)) = &by.fence else {
        return Ok(true);
    };
    let query = FENCE.query().bind(job.to_string()).bind(*attempt);
    let row = query.fetch_optional(connection).bounded(CLAIM).await?;
    Ok(row.is_some())
}

/// Whether an attempt at a job is its latest.
///
/// # Errors
/// When the database is away.
pub async fn is_latest_attempt(db: &Db, job: &JobId, attempt: i64) -> Result<bool, DbError> {
    is_latest(&mut *db.writer().await?, &Claimant::job(job, attempt)).await
}

/// Jobs of a tenant that are not over and have shares.
///
/// # Errors
/// When the database is away.
pub async fn claimed(db: &Db, tenant: &TenantId) -> Result<Vec<JobId>, DbError> {
    let query = CLAIMED.query().bind(tenant.to_string());
    let rows = query.fetch_all(db.read()).bounded(CLAIM).await?;
    rows.iter().map(|row| text(row, 0)).collect()
}

const CLAIM: &str = "claim room in storages";

/// What there is of a line by now. It is this transaction's until its end.
async fn enter(connection: &mut AnyConnection, by: &Claimant, storage: &Spot, now: Millis) -> Result<Share, DbError> {
    let query = ENTER
        .query()
        .bind(by.line.clone())
        .bind(by.part)
        .bind(storage.to_string())
        .bind(now.get());
    let row = query.fetch_one(connection).bounded(CLAIM).await?;
    read(&row, 0)
}

/// Writes one line, and moves the storage's figures by the difference: its state, capacity and use from then on. `None`: there
/// is no such storage. Not for a difference of nothing: every job that counts waits for the storage's row.
async fn set(
    connection: &mut AnyConnection,
    by: &Claimant,
    storage: &Spot,
    has: Share,
    wanted: Share,
) -> Result<Option<(StorageState, ByteCount, ByteCount)>, DbError> {
    let write = WRITE
        .query()
        .bind(by.line.clone())
        .bind(by.part)
        .bind(storage.to_string())
        .bind(wanted.bytes.get())
        .bind(wanted.objects);
    if *storage == Spot::Main {
        write.execute(&mut *connection).bounded(CLAIM).await?;
        return Ok(Some((StorageState::Active, ByteCount::ZERO, ByteCount::ZERO)));
    }
    let grow = GROW
        .query()
        .bind(wanted.bytes.minus(has.bytes).get())
        .bind(wanted.objects.saturating_sub(has.objects))
        .bind(storage.to_string());
    let Some(row) = grow.fetch_optional(&mut *connection).bounded(CLAIM).await? else {
        return Ok(None);
    };
    write.execute(&mut *connection).bounded(CLAIM).await?;
    Ok(Some((
        text(&row, 0)?,
        ByteCount::new(row.try_get(1).during(CLAIM)?),
        ByteCount::new(row.try_get(2).during(CLAIM)?),
    )))
}

/// A line's shares, those of nothing too: wherever there has ever been something of it.
///
/// # Errors
/// When the database is away.
pub async fn shares(db: &Db, of: &Claimant) -> Result<Shares, DbError> {
    let query = SHARES.query().bind(of.line.clone()).bind(of.part);
    let rows = query.fetch_all(db.read()).bounded(CLAIM).await?;
    collect(&rows)
}

fn collect(rows: &[AnyRow]) -> Result<Shares, DbError> {
    let mut shares = Shares::new();
    for row in rows {
        shares.insert(text(row, 0)?, read(row, 1)?);
    }
    Ok(shares)
}

fn read(row: &AnyRow, first: usize) -> Result<Share, DbError> {
    Ok(Share {
        bytes: ByteCount::new(row.try_get(first).during(CLAIM)?),
        objects: row.try_get(first + 1).during(CLAIM)?,
    })
}

/// Forgets lines older than `before` whose jobs are gone, at most `most`; the storages' figures keep their sum. Returns how
/// many.
///
/// # Errors
/// When the database is away.
pub async fn prune(db: &Db, before: Millis, most: i64) -> Result<u64, DbError> {
    let query = PRUNE.query().bind(before.get()).bind(most);
    let done = query.execute(db.write()).bounded("forget old shares of storages");
    done.await.map(|done| done.rows_affected())
}

/// Whether a job that is not over may still change what lies in storages of `tenant`, or in anybody's.
///
/// # Errors
/// When the database is away.
pub async fn are_in_use(db: &Db, tenant: Option<&TenantId>) -> Result<bool, DbError> {
    let query = BUSY.query().bind(tenant.map(|tenant| tenant.as_str().to_owned()));
    let row = query
        .fetch_optional(db.read())
        .bounded("look for jobs that use storages");
    Ok(row.await?.is_some())
}

/// Whether no job has changed a storage's figures since `since`, when they were `was`.
///
/// # Errors
/// When the database is away.
pub async fn is_untouched(db: &Db, was: &StorageRow, since: Millis) -> Result<bool, DbError> {
    let query = UNTOUCHED.query().bind(was.id.to_string());
    let query = query.bind(was.used.get()).bind(was.objects).bind(since.get());
    let row = query.fetch_optional(db.read()).bounded("look at a storage's figures");
    Ok(row.await?.is_some())
}

/// Sets a storage's figures to `held`, if no job has changed them since `since`, when they were `was`. Returns whether they are set.
///
/// # Errors
/// When the database is away.
pub async fn correct(db: &Db, was: &StorageRow, held: Held, since: Millis) -> Result<bool, DbError> {
    let query = CORRECT.query().bind(held.bytes.get()).bind(held.objects);
    let query = query.bind(was.id.to_string()).bind(was.used.get()).bind(was.objects);
    let query = query.bind(since.get());
    let row = query.fetch_optional(db.write()).bounded("mend a storage's figures");
    Ok(row.await?.is_some())
}

//! Sealing anew what other keys sealed.
//!
//! The order that needs no downtime: add the new key behind the old one in every process, put it first in every process,
//! rotate, take the old one out.

use super::{MasterKeyError, known, register};
use crate::{
    clock::Entropy,
    control::jobs::text,
    db::{Bounded, Db, DbError, During, sql},
    ids::TenantId,
    secrets::{Keyring, MasterKeyId, SealedFor, SecretsError, sealed_prefix},
    units::Millis,
};
use sqlx::{Row, any::AnyRow};

sql! {
    FORGET_KEY = "DELETE FROM master_keys WHERE id = $1";
    // What is sealed under the first key, $1 its beginning, reads as NULL: a page is as many rows as it says, whatever is in them.
    TENANTS = "SELECT serial, id, CASE WHEN SUBSTR(env, 1, LENGTH($1)) = $1 THEN NULL ELSE env END FROM tenants \
        WHERE serial > $2 ORDER BY serial LIMIT $3";
    PLANS = "SELECT id, id, CASE WHEN SUBSTR(env, 1, LENGTH($1)) = $1 THEN NULL ELSE env END FROM plans \
        WHERE id > $2 ORDER BY id LIMIT $3";
    // A batch with a recipient has first keys that were sealed to it and are not ours to open.
    FIRST_KEYS = "SELECT r.batch, r.tenant, \
        CASE WHEN b.recipient IS NOT NULL OR SUBSTR(r.secret, 1, LENGTH($1)) = $1 THEN NULL ELSE r.secret END, r.line \
        FROM batch_rows r JOIN batches b ON b.id = r.batch WHERE (r.batch, r.line) > ($2, $4) ORDER BY r.batch, r.line LIMIT $3";
    LINK_KEYS = "SELECT tenant, tenant, CASE WHEN SUBSTR(secret, 1, LENGTH($1)) = $1 THEN NULL ELSE secret END, place \
        FROM link_keys WHERE (tenant, place) > ($2, $4) ORDER BY tenant, place LIMIT $3";
    STORAGES = "SELECT id, id, CASE WHEN SUBSTR(secret, 1, LENGTH($1)) = $1 THEN NULL ELSE secret END FROM storages \
        WHERE id > $2 ORDER BY id LIMIT $3";
    RESEAL_TENANT = "UPDATE tenants SET env = $1 WHERE serial = $2 AND env = $3";
    RESEAL_PLAN = "UPDATE plans SET env = $1 WHERE id = $2 AND env = $3";
    RESEAL_FIRST_KEY = "UPDATE batch_rows SET secret = $1 WHERE batch = $2 AND secret = $3 AND line = $4";
    RESEAL_LINK_KEY = "UPDATE link_keys SET secret = $1 WHERE tenant = $2 AND secret = $3 AND place = $4";
    RESEAL_STORAGE = "UPDATE storages SET secret = $1 WHERE id = $2 AND secret = $3";
}

/// Rows that one statement reads, and one transaction writes at most.
pub(super) const PAGE: usize = 200;

/// What became of a text that was not sealed under the first key.
#[derive(Debug)]
pub enum Resealed {
    /// It is now.
    Done,
    /// Somebody changed or removed it meanwhile: theirs stands.
    Overtaken,
    /// It does not open; it stays as it is.
    Failed(SecretsError),
}

/// What a rotation did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Texts that were sealed anew.
    pub resealed: u64,
    /// Texts that somebody else changed meanwhile.
    pub overtaken: u64,
    /// Texts that are still not under the first key. While there are any, no key is forgotten.
    pub left: u64,
    /// Keys that nothing is sealed under any more, which need not be configured any longer.
    pub retired: Vec<MasterKeyId>,
}

/// Seals anew, under the first key, whatever is sealed under another, and forgets the keys that nothing is sealed under
/// then. `each` hears of every text, after it is committed. Interrupted it has lost nothing; called again it does the rest.
///
/// # Errors
/// When the keys are not this installation's, or the database is away.
pub async fn rotate(
    db: &Db,
    keyring: &Keyring,
    now: Millis,
    entropy: &Entropy,
    mut each: impl FnMut(&SealedFor, &Resealed),
) -> Result<Rotation, MasterKeyError> {
    register(db, keyring, now, entropy).await?;
    let mut rotation = Rotation::default();
    let mut pages = Pages::new(keyring.primary());
    while let Some(rows) = pages.next(db).await? {
        for (row, outcome) in reseal(db, keyring, entropy, rows).await? {
            match &outcome {
                Resealed::Done => rotation.resealed = rotation.resealed.saturating_add(1),
                Resealed::Overtaken => rotation.overtaken = rotation.overtaken.saturating_add(1),
                Resealed::Failed(_) => {}
            }
            each(&row.of, &outcome);
        }
    }
    // Not deduced from the counts: others were sealing while this ran.
    let mut pages = Pages::new(keyring.primary());
    while let Some(rows) = pages.next(db).await? {
        let left = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        rotation.left = rotation.left.saturating_add(left);
    }
    if rotation.left == 0 {
        rotation.retired = forget_others(db, keyring.primary()).await?;
    }
    Ok(rotation)
}

async fn forget_others(db: &Db, first: &MasterKeyId) -> Result<Vec<MasterKeyId>, DbError> {
    let mut forgotten = Vec::new();
    for (id, _) in known(db).await? {
        if id != *first {
            let query = FORGET_KEY.query().bind(id.as_str().to_owned());
            query.execute(db.write()).bounded("forget a master key").await?;
            forgotten.push(id);
        }
    }
    Ok(forgotten)
}

/// The tables that hold sealed texts, in the order in which they are gone through.
#[derive(Debug, Clone, Copy)]
enum Table {
    Tenants,
    Plans,
    FirstKeys,
    LinkKeys,
    Storages,
}

/// A row's place in its table's order.
#[derive(Debug, Clone)]
struct Place {
    key: String,
    line: i64,
}

/// A text that is not sealed under the first key.
#[derive(Debug)]
pub(super) struct Stale {
    table: Table,
    place: Place,
    of: SealedFor,
    sealed: String,
}

/// Goes through all sealed texts, a bounded page at a time.
pub(super) struct Pages {
    /// How a text begins that is not stale.
    fresh: String,
    next: Option<(Table, Place)>,
}

impl Pages {
    pub(super) fn new(first: &MasterKeyId) -> Self {
        Self {
            fresh: sealed_prefix(first),
            next: Some((Table::Tenants, before_all())),
        }
    }

    /// The stale texts of the next page, maybe none of them. `None`: that was all.
    pub(super) async fn next(&mut self, db: &Db) -> Result<Option<Vec<Stale>>, DbError> {
        const WHAT: &str = "look for sealed texts";
        let Some((table, after)) = self.next.take() else {
            return Ok(None);
        };
        let sql = match table {
            Table::Tenants => TENANTS,
            Table::Plans => PLANS,
            Table::FirstKeys => FIRST_KEYS,
            Table::LinkKeys => LINK_KEYS,
            Table::Storages => STORAGES,
        };
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let query = sql.query().bind(self.fresh.clone()).bind(after.key).bind(limit);
        let query = match table {
            Table::Tenants | Table::Plans | Table::Storages => query,
            Table::FirstKeys | Table::LinkKeys => query.bind(after.line),
        };
        let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
        self.next = match rows.last() {
            Some(last) if rows.len() >= PAGE => Some((table, table.place(last)?)),
            Some(_) | None => table.following().map(|table| (table, before_all())),
        };
        let stale: Result<Vec<Option<Stale>>, DbError> = rows.iter().map(|row| table.stale(row)).collect();
        stale.map(|stale| Some(stale.into_iter().flatten().collect()))
    }
}

fn before_all() -> Place {
    Place {
        key: String::new(),
        line: i64::MIN,
    }
}

impl Table {
    const fn following(self) -> Option<Self> {
        match self {
            Self::Tenants => Some(Self::Plans),
            Self::Plans => Some(Self::FirstKeys),
            Self::FirstKeys => Some(Self::LinkKeys),
            Self::LinkKeys => Some(Self::Storages),
            Self::Storages => None,
        }
    }

    fn place(self, row: &AnyRow) -> Result<Place, DbError> {
        const WHAT: &str = "read a sealed text's place";
        Ok(Place {
            key: row.try_get(0).during(WHAT)?,
            line: match self {
                Self::Tenants | Self::Plans | Self::Storages => 0,
                Self::FirstKeys | Self::LinkKeys => row.try_get(3).during(WHAT)?,
            },
        })
    }

    fn stale(self, row: &AnyRow) -> Result<Option<Stale>, DbError> {
        const WHAT: &str = "read a sealed text";
        let Some(sealed) = row.try_get::<Option<String>, _>(2).during(WHAT)? else {
            return Ok(None);
        };
        let tenant = || text::<TenantId>(row, 1);
        let of = match self {
            Self::Tenants => SealedFor::TenantEnv(tenant()?),
            Self::Plans => SealedFor::PlanEnv(row.try_get(1).during(WHAT)?),
            Self::FirstKeys => SealedFor::FirstKey(tenant()?),
            Self::LinkKeys => SealedFor::LinkKey(tenant()?),
            Self::Storages => SealedFor::Storage(text(row, 1)?),
        };
        Ok(Some(Stale {
            table: self,
            place: self.place(row)?,
            of,
            sealed,
        }))
    }
}

/// In one transaction. A text that changed since it was read is left alone.
pub(super) async fn reseal(
    db: &Db,
    keyring: &Keyring,
    entropy: &Entropy,
    rows: Vec<Stale>,
) -> Result<Vec<(Stale, Resealed)>, DbError> {
    const WHAT: &str = "seal a text anew";
    let mut outcomes = Vec::with_capacity(rows.len());
    let mut fresh = Vec::with_capacity(rows.len());
    for row in rows {
        let sealed = keyring
            .open(&row.of, &row.sealed)
            .and_then(|plain| keyring.seal(&row.of, plain.reveal(), entropy));
        match sealed {
            Ok(sealed) => fresh.push((row, sealed)),
            Err(error) => outcomes.push((row, Resealed::Failed(error))),
        }
    }
    if fresh.is_empty() {
        return Ok(outcomes);
    }
    let mut tx = db.begin_write().await?;
    for (row, sealed) in fresh {
        let sql = match row.table {
            Table::Tenants => RESEAL_TENANT,
            Table::Plans => RESEAL_PLAN,
            Table::FirstKeys => RESEAL_FIRST_KEY,
            Table::LinkKeys => RESEAL_LINK_KEY,
            Table::Storages => RESEAL_STORAGE,
        };
        let query = sql
            .query()
            .bind(sealed)
            .bind(row.place.key.clone())
            .bind(row.sealed.clone());
        let query = match row.table {
            Table::Tenants | Table::Plans | Table::Storages => query,
            Table::FirstKeys | Table::LinkKeys => query.bind(row.place.line),
        };
        let done = query.execute(&mut *tx).bounded(WHAT).await?;
        let outcome = if done.rows_affected() == 0 {
            Resealed::Overtaken
        } else {
            Resealed::Done
        };
        outcomes.push((row, outcome));
    }
    tx.commit().bounded(WHAT).await?;
    Ok(outcomes)
}

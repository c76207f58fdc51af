//! Keys of the Tenants API.

use super::audit::{self, Actor, Entry};
use crate::{
    clock::{Clock, Entropy},
    config::SecretList,
    db::{Bounded, Db, DbError, During, Fault, sql},
    operators::{OperatorKeyText, Scopes},
    units::Millis,
};
use sqlx::{Row, any::AnyRow};

sql! {
    NEXT = "SELECT COALESCE(MAX(id), 0) + 1 FROM operator_keys";
    INSERT = "INSERT INTO operator_keys (id, name, hash, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)";
    GET = "SELECT id, name, hash, scopes, created_at, expires_at, revoked_at FROM operator_keys WHERE id = $1";
    LIST = "SELECT id, name, hash, scopes, created_at, expires_at, revoked_at FROM operator_keys WHERE id > $1 ORDER BY id LIMIT $2";
    TELL_ENDED = "UPDATE operator_keys SET end_told = 1 WHERE end_told = 0 AND revoked_at IS NULL AND expires_at <= $1 RETURNING id, name, expires_at";
    REVOKE = "UPDATE operator_keys SET revoked_at = $1 WHERE revoked_at IS NULL AND (id = $2 OR $2 IS NULL) AND (name = $3 OR $3 IS NULL)";
}

/// A key as it is stored.
#[derive(Debug, Clone)]
pub struct OperatorKey {
    /// Its number.
    pub id: i64,
    /// What it is for; may be empty.
    pub name: String,
    hash: Vec<u8>,
    /// What it allows.
    pub scopes: Scopes,
    /// Made.
    pub created_at: Millis,
    /// Its end.
    pub expires_at: Option<Millis>,
    /// When it was revoked.
    pub revoked_at: Option<Millis>,
}

impl OperatorKey {
    /// Whether `text` is this key, and it is live at `now`.
    #[must_use]
    pub fn opens(&self, text: &OperatorKeyText, secrets: &SecretList, now: Millis) -> bool {
        let same = text.opens(&self.hash, secrets) && text.number() == self.id;
        same && self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Tells, in the audit log, of keys whose time was over at `now`, each once: since then they open nothing. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn tell_ended(db: &Db, clock: &Clock, entropy: &Entropy) -> Result<i64, DbError> {
    const WHAT: &str = "tell of keys that ended";
    let mut tx = db.begin_write().await?;
    let query = TELL_ENDED.query().bind(clock.now().get());
    let rows = query.fetch_all(&mut *tx).bounded(WHAT).await?;
    for row in &rows {
        let (id, name): (i64, String) = (row.try_get(0).during(WHAT)?, row.try_get(1).during(WHAT)?);
        let ended: i64 = row.try_get(2).during(WHAT)?;
        let entry = Entry::new(clock, entropy, &Actor::scheduler(), "key.expire", None);
        let entry = entry.with(serde_json::json!({ "key": id, "name": name, "expires_at": ended }));
        audit::append(&mut tx, &entry).await?;
    }
    tx.commit().bounded(WHAT).await?;
    Ok(i64::try_from(rows.len()).unwrap_or(i64::MAX))
}

/// Makes a key with the next number.
///
/// # Errors
/// When the database is away.
pub async fn create(
    db: &Db,
    name: &str,
    scopes: &Scopes,
    expires_at: Option<Millis>,
    secrets: &SecretList,
    entropy: &Entropy,
    entry: &Entry,
) -> Result<OperatorKeyText, DbError> {
    const WHAT: &str = "make an operator's key";
    loop {
        let mut tx = db.begin_write().await?;
        let row = NEXT.query().fetch_one(&mut *tx).bounded(WHAT).await?;
        let key = OperatorKeyText::generate(row.try_get(0).during(WHAT)?, entropy);
        let query = INSERT
            .query()
            .bind(key.number())
            .bind(name.to_owned())
            .bind(key.hash(secrets))
            .bind(scopes.to_string())
            .bind(entry.at.get())
            .bind(expires_at.map(Millis::get));
        match query.execute(&mut *tx).bounded(WHAT).await {
            // Somebody else took the number; the transaction is over.
            Err(error) if error.fault() == Fault::Conflict => continue,
            done => done?,
        };
        audit::append(&mut tx, entry).await?;
        tx.commit().bounded(WHAT).await?;
        return Ok(key);
    }
}

/// One key.
///
/// # Errors
/// When the database is away.
pub async fn get(db: &Db, id: i64) -> Result<Option<OperatorKey>, DbError> {
    let row = GET
        .query()
        .bind(id)
        .fetch_optional(db.read())
        .bounded("look up an operator's key")
        .await?;
    row.as_ref().map(read).transpose()
}

/// Keys after `after`, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn page(db: &Db, after: i64, limit: i64) -> Result<Vec<OperatorKey>, DbError> {
    let rows = LIST
        .query()
        .bind(after)
        .bind(limit)
        .fetch_all(db.read())
        .bounded("list operators' keys")
        .await?;
    rows.iter().map(read).collect()
}

/// Revokes the live keys that have this number and this name, of those that are given. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn revoke(db: &Db, id: Option<i64>, name: Option<&str>, entry: &Entry) -> Result<u64, DbError> {
    const WHAT: &str = "revoke an operator's key";
    if id.is_none() && name.is_none() {
        return Ok(0);
    }
    let mut tx = db.begin_write().await?;
    let query = REVOKE
        .query()
        .bind(entry.at.get())
        .bind(id)
        .bind(name.map(str::to_owned));
    let done = query.execute(&mut *tx).bounded(WHAT).await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(done.rows_affected())
}

fn read(row: &AnyRow) -> Result<OperatorKey, DbError> {
    const WHAT: &str = "read an operator's key";
    Ok(OperatorKey {
        id: row.try_get(0).during(WHAT)?,
        name: row.try_get(1).during(WHAT)?,
        hash: row.try_get(2).during(WHAT)?,
        scopes: super::jobs::text(row, 3)?,
        created_at: Millis::new(row.try_get(4).during(WHAT)?),
        expires_at: row.try_get::<Option<i64>, _>(5).during(WHAT)?.map(Millis::new),
        revoked_at: row.try_get::<Option<i64>, _>(6).during(WHAT)?.map(Millis::new),
    })
}

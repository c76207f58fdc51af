//! Sealed texts in the control database, and the master keys they are sealed under.
//!
//! Promises: a process whose keys are missing or wrong finds out before it opens or seals anything; [`rotate`] loses no
//! change that is made meanwhile, needs nobody to stop, and goes on where it was interrupted.

pub(super) mod rotation;

#[cfg(test)]
mod tests;

pub use rotation::{Resealed, Rotation, rotate};

use crate::{
    clock::Entropy,
    db::{Bounded, Db, DbError, During, sql},
    secrets::{Keyring, MasterKeyId, SealedFor, SecretsError},
    units::Millis,
};
use sqlx::{AnyConnection, Row};

sql! {
    KEYS = "SELECT id, canary FROM master_keys ORDER BY id";
    KEEP = "INSERT INTO master_keys (id, canary, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
}

/// This process's master keys do not fit this installation: it must not start.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Something is sealed under keys that are not here.
    #[error(
        "this installation has secrets sealed under master key {}, which this process does not have: set \
         MEDIAMILL_MASTER_KEYS, or put back the data directory's master.key",
        list(ids)
    )]
    Missing {
        /// Their ids.
        ids: Vec<MasterKeyId>,
    },
    /// A key of the right name is not the one that sealed.
    #[error(
        "master key {id} is not the one that this installation's secrets are sealed under: MEDIAMILL_MASTER_KEYS, or the \
         data directory's master.key, has another key under that id"
    )]
    Wrong {
        /// Its id.
        id: MasterKeyId,
    },
    /// The known text could not be sealed.
    #[error("the master key's canary could not be sealed")]
    Seal(#[source] SecretsError),
    /// The database did not answer.
    #[error("the master keys of this installation could not be read")]
    Database(#[from] DbError),
}

/// Whether every key that this installation's secrets are sealed under is here and the right one.
///
/// # Errors
/// When it is not, or the database is away.
pub async fn check(db: &Db, keyring: Option<&Keyring>) -> Result<(), MasterKeyError> {
    let mut missing = Vec::new();
    for (id, canary) in known(db).await? {
        let of = SealedFor::MasterKey(id.clone());
        match keyring.map(|keys| keys.open(&of, &canary)) {
            Some(Ok(_)) => {}
            Some(Err(SecretsError::Refused { id, .. })) => return Err(MasterKeyError::Wrong { id }),
            None | Some(Err(SecretsError::UnknownKey { .. })) => missing.push(id),
            Some(Err(error)) => return Err(DbError::unreadable("check a master key", error).into()),
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(MasterKeyError::Missing { ids: missing })
    }
}

/// Checks the keys, and makes sure that the one that seals is on record. Called twice it changes nothing.
///
/// # Errors
/// When the keys are not this installation's, or the database is away.
pub async fn register(db: &Db, keyring: &Keyring, now: Millis, entropy: &Entropy) -> Result<(), MasterKeyError> {
    // First, so that a wrong keyring leaves no trace.
    check(db, Some(keyring)).await?;
    let mut tx = db.begin_write().await?;
    keep(&mut tx, keyring, now, entropy).await?;
    tx.commit().bounded("record a master key").await?;
    // Again: another process may have been first with another key of that name.
    check(db, Some(keyring)).await
}

/// Puts the key that seals on record, in the transaction that stores what it sealed: so a rotation that has just
/// forgotten the key does not leave the text behind without it.
pub(crate) async fn keep(
    connection: &mut AnyConnection,
    keyring: &Keyring,
    now: Millis,
    entropy: &Entropy,
) -> Result<(), MasterKeyError> {
    let id = keyring.primary();
    let canary = keyring
        .seal(&SealedFor::MasterKey(id.clone()), b"mediamill", entropy)
        .map_err(MasterKeyError::Seal)?;
    let query = KEEP.query().bind(id.as_str().to_owned()).bind(canary).bind(now.get());
    query.execute(connection).bounded("record a master key").await?;
    Ok(())
}

async fn known(db: &Db) -> Result<Vec<(MasterKeyId, String)>, DbError> {
    const WHAT: &str = "check the master keys";
    let rows = KEYS.query().fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| Ok((crate::control::jobs::text(row, 0)?, row.try_get(1).during(WHAT)?)))
        .collect()
}

fn list(ids: &[MasterKeyId]) -> String {
    ids.iter().map(MasterKeyId::as_str).collect::<Vec<_>>().join(", ")
}

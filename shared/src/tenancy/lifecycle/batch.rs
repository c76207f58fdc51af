//! Batches of tenants: received row by row while they arrive, and shown as far as they are.
//!
//! Promises: a row is on record before the next five hundred are read, sealed where it is secret; a batch whose sender broke
//! off never runs; a first key is kept sealed until it was shown, or for good where only its recipient can open it. What
//! feeds the rows is in `feed.rs`.

use super::Lifecycle;
use crate::{
    control::{
        audit::Actor,
        batches::{self, Batch, BatchRow, Counts, Once, RowState, Step},
        secrets::{self, MasterKeyError},
    },
    db::{Bounded, DbError},
    ids::{BatchId, TenantId},
    rows::{Bad, Format, Row, RowReader},
    secrets::{Recipient, SealedFor, SecretText, Secrets, SecretsError},
    tenancy::{AdminSpec, Isolation, LimitOverrides, PictureSettings, TenantSpec},
    units::Millis,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Rows that are put on record together.
const TOGETHER: usize = 500;
/// Bytes of them at most, about.
const HELD: usize = 1024 * 1024;
/// Rows wait so long for others at most: a slow sender is not a silent one.
const SLOW: Duration = Duration::from_secs(60);
/// A sender that was silent for so long has broken off.
const SILENT: Duration = Duration::from_secs(600);
/// Batches that one look for those finds at most.
const ABANDONED: i64 = 100;

/// Batches of tenants. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Batches {
    pub(super) lifecycle: Lifecycle,
    pub(super) secrets: Secrets,
}

/// Why a batch does not go on.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// There is no such batch.
    #[error("there is no batch {id}")]
    Missing {
        /// The id.
        id: BatchId,
    },
    /// It takes no rows.
    #[error("batch {id} takes no more rows: it was closed or cancelled meanwhile")]
    NotReceiving {
        /// The id.
        id: BatchId,
    },
    /// The idempotency key was used for a batch of another kind.
    #[error("the idempotency key was used for a batch of another format or recipient")]
    KeyReused,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The master keys.
    #[error(transparent)]
    MasterKeys(#[from] MasterKeyError),
}

/// What becomes of the first keys of a batch's tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstKeys {
    /// Sealed to the batch's recipient.
    Sealed,
    /// Shown once, in the batch's result.
    Shown,
    /// None are made: this installation has no master key and the batch no recipient.
    None,
}

impl FirstKeys {
    /// Its name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Shown => "shown-once",
            Self::None => "none",
        }
    }
}

/// How many rows arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Rows that wait to be fed.
    pub good: u64,
    /// Rows that cannot be understood.
    pub bad: u64,
}

/// What became of a row, for whoever sent it.
#[derive(Debug)]
pub struct RowResult {
    /// Its line.
    pub line: i64,
    /// Its tenant.
    pub tenant: Option<TenantId>,
    /// Where it stands.
    pub state: RowState,
    /// Why it is not as was asked for.
    pub cause: Option<String>,
    /// The first key, once the tenant is served and until [`Batches::shown`].
    pub key: Option<SecretText>,
    /// The first key, sealed to the batch's recipient.
    pub sealed_key: Option<String>,
}

/// A row that waits, as it is stored: what was declared, its environment sealed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    id: TenantId,
    hosts: Vec<String>,
    plan: Option<String>,
    limits: LimitOverrides,
    /// Rows that the release before stored have none, and it reads those that have none.
    #[serde(default, skip_serializing_if = "PictureSettings::is_empty")]
    pictures: PictureSettings,
    pub(super) env: Option<String>,
    isolation: Option<Isolation>,
    server: Option<String>,
    trial_until: Option<i64>,
    enabled: bool,
    admin: Option<AdminSpec>,
}

impl Request {
    fn of(spec: TenantSpec, env: Option<String>) -> Self {
        Self {
            id: spec.id,
            hosts: spec.hosts,
            plan: spec.plan,
            limits: spec.limits,
            pictures: spec.pictures,
            env,
            isolation: spec.isolation,
            server: spec.server.map(|server| server.to_string()),
            trial_until: spec.trial_until.map(Millis::get),
            enabled: spec.enabled,
            admin: spec.admin,
        }
    }

    /// What was declared, without its environment; that as it is sealed.
    pub(super) fn declared(self) -> Result<(TenantSpec, Option<String>), crate::tenancy::ServerNameError> {
        let spec = TenantSpec {
            id: self.id,
            hosts: self.hosts,
            plan: self.plan,
            limits: self.limits,
            pictures: self.pictures,
            env: crate::secrets::Env::default(),
            isolation: self.isolation,
            server: self.server.map(|server| server.parse()).transpose()?,
            trial_until: self.trial_until.map(Millis::new),
            enabled: self.enabled,
            admin: self.admin,
        };
        Ok((spec, self.env))
    }
}

/// A batch whose rows arrive. Dropped before [`Receiving::finish`], it is cancelled when it was silent for ten minutes.
#[derive(Debug)]
pub struct Receiving {
    batches: Batches,
    id: BatchId,
    reader: RowReader,
    held: Vec<BatchRow>,
    bytes: usize,
    /// Some of what is held is sealed.
    sealed: bool,
    since: Millis,
    received: Received,
}

impl Batches {
    /// Over an installation's parts.
    #[must_use]
    pub const fn new(lifecycle: Lifecycle, secrets: Secrets) -> Self {
        Self { lifecycle, secrets }
    }

    /// Begins a batch. With `once`, a name of the sender's own, the second call finds the batch of the first. Returns its id
    /// and whether it is new.
    ///
    /// # Errors
    /// When `once` was used with another format or recipient, or the database is away.
    pub async fn open(
        &self,
        format: Format,
        recipient: Option<&Recipient>,
        actor: &Actor,
        once: Option<&str>,
    ) -> Result<(BatchId, bool), BatchError> {
        let id = BatchId::generate(&self.lifecycle.clock, &self.lifecycle.entropy);
        let recipient = recipient.map(ToString::to_string);
        let once = once.map(|name| Once {
            name,
            request: format!("{format} {}", recipient.as_deref().unwrap_or_default()),
        });
        let now = self.lifecycle.clock.now();
        match batches::open(
            &self.lifecycle.control,
            &id,
            recipient.as_deref(),
            actor,
            once.as_ref(),
            now,
        )
        .await?
        {
            batches::Opened::New => Ok((id, true)),
            batches::Opened::Before(id) => Ok((id, false)),
            batches::Opened::KeyReused => Err(BatchError::KeyReused),
        }
    }

    /// Takes rows for a batch. Lines that are on record already stay, so what was sent in part may be sent again in whole.
    #[must_use]
    pub fn receive(&self, id: &BatchId, format: Format) -> Receiving {
        Receiving {
            batches: self.clone(),
            id: id.clone(),
            reader: RowReader::new(format),
            held: Vec::new(),
            bytes: 0,
            sealed: false,
            since: self.lifecycle.clock.now(),
            received: Received::default(),
        }
    }

    /// Lets a batch go on. Returns whether it was where that begins.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn step(&self, id: &BatchId, step: Step) -> Result<bool, BatchError> {
        let now = self.lifecycle.clock.now();
        Ok(batches::step(&self.lifecycle.control, id, step, now).await?)
    }

    /// Lets failed and cancelled rows be fed again. Returns how many; `None` when there is no such batch or it is arriving.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn retry(&self, id: &BatchId) -> Result<Option<u64>, BatchError> {
        let now = self.lifecycle.clock.now();
        Ok(batches::retry(&self.lifecycle.control, id, now).await?)
    }

    /// A batch and how far it is.
    ///
    /// # Errors
    /// When there is none, or the database is away.
    pub async fn standing(&self, id: &BatchId) -> Result<(Batch, Counts), BatchError> {
        let batch = batches::get(&self.lifecycle.control, id).await?;
        let batch = batch.ok_or_else(|| BatchError::Missing { id: id.clone() })?;
        let counts = batches::counts(&self.lifecycle.control, id).await?;
        Ok((batch, counts))
    }

    /// What becomes of first keys.
    #[must_use]
    pub fn first_keys(&self, batch: &Batch) -> FirstKeys {
        match (&batch.recipient, self.secrets.keyring()) {
            (Some(_), _) => FirstKeys::Sealed,
            (None, Ok(_)) => FirstKeys::Shown,
            (None, Err(_)) => FirstKeys::None,
        }
    }

    /// What became of the rows after line `after`, at most `limit`. Keys in it are shown once: say so by [`Self::shown`].
    ///
    /// # Errors
    /// When the database is away.
    pub async fn results(&self, batch: &Batch, after: i64, limit: i64) -> Result<Vec<RowResult>, BatchError> {
        let rows = batches::rows(&self.lifecycle.control, &batch.id, None, after, limit).await?;
        Ok(rows.into_iter().map(|row| self.result(batch, row)).collect())
    }

    fn result(&self, batch: &Batch, row: BatchRow) -> RowResult {
        let mut result = RowResult {
            line: row.line,
            tenant: row.tenant,
            state: row.state,
            cause: row.cause,
            key: None,
            sealed_key: None,
        };
        // A key of a tenant that may yet be undone is nobody's.
        if let (Some(sealed), Some(tenant), RowState::Done) = (row.secret, &result.tenant, row.state) {
            if batch.recipient.is_some() {
                result.sealed_key = Some(sealed);
            } else {
                match self.open_key(tenant, &sealed) {
                    Ok(key) => result.key = Some(key),
                    Err(error) => result.cause = Some(error.to_string()),
                }
            }
        }
        result
    }

    fn open_key(&self, tenant: &TenantId, sealed: &str) -> Result<SecretText, SecretsError> {
        let of = SealedFor::FirstKey(tenant.clone());
        let opened = self.secrets.open(&of, sealed)?;
        opened.into_text().ok_or(SecretsError::Content { of })
    }

    /// Forgets the keys that `rows` showed.
    ///
    /// # Errors
    /// When the database is away: they can be shown again then.
    pub async fn shown(&self, batch: &Batch, rows: &[RowResult]) -> Result<(), BatchError> {
        let lines: Vec<i64> = rows
            .iter()
            .filter(|row| row.key.is_some())
            .map(|row| row.line)
            .collect();
        Ok(batches::shown(&self.lifecycle.control, &batch.id, &lines).await?)
    }

    /// Cancels batches whose senders broke off. Returns how many.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn cancel_abandoned(&self) -> Result<i64, BatchError> {
        let (control, now) = (&self.lifecycle.control, self.lifecycle.clock.now());
        let mut cancelled = 0_i64;
        for batch in batches::abandoned(control, now.before(SILENT), ABANDONED).await? {
            if self.step(&batch.id, Step::Abandon).await? {
                cancelled = cancelled.saturating_add(1);
            }
        }
        Ok(cancelled)
    }
}

impl Receiving {
    /// The batch.
    #[must_use]
    pub const fn id(&self) -> &BatchId {
        &self.id
    }

    /// How many rows have arrived so far.
    #[must_use]
    pub const fn received(&self) -> Received {
        self.received
    }

    /// Takes more bytes. Dropped half-way, it has put some rows on record, and the same bytes may come again.
    ///
    /// # Errors
    /// When the batch takes no more rows, or the database is away.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), BatchError> {
        let mut rows = Vec::new();
        self.reader.push(bytes, |row| rows.push(row));
        for row in rows {
            self.take(row).await?;
        }
        let slow = self.batches.lifecycle.clock.now().since(self.since) > SLOW;
        if slow { self.flush().await } else { Ok(()) }
    }

    /// Puts the rest on record. The batch runs once it is [closed](Step::Close).
    ///
    /// # Errors
    /// When the batch takes no more rows, or the database is away.
    pub async fn finish(mut self) -> Result<Received, BatchError> {
        if let Some(row) = self.reader.finish() {
            self.take(row).await?;
        }
        self.flush().await?;
        Ok(self.received)
    }

    /// Takes a row that was read elsewhere.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub async fn take(&mut self, row: Row) -> Result<(), BatchError> {
        let row = self.on_record(row);
        match row.state {
            RowState::Bad => self.received.bad = self.received.bad.saturating_add(1),
            RowState::Waiting
            | RowState::Queued
            | RowState::Done
            | RowState::Unchanged
            | RowState::Failed
            | RowState::Cancelled => self.received.good = self.received.good.saturating_add(1),
        }
        self.bytes = self.bytes.saturating_add(row.request.len());
        self.held.push(row);
        if self.held.len() >= TOGETHER || self.bytes >= HELD {
            self.flush().await?;
        }
        Ok(())
    }

    /// A row as it is stored.
    fn on_record(&mut self, Row { line, content }: Row) -> BatchRow {
        let tenant = match &content {
            Ok(spec) => Some(spec.id.clone()),
            Err(bad) => bad.tenant.clone(),
        };
        let request = content.and_then(|spec| self.sealed(spec));
        let (state, request, cause) = match request {
            Ok(request) => (RowState::Waiting, request, None),
            Err(bad) => (RowState::Bad, bad.kept, Some(bad.cause)),
        };
        BatchRow {
            line,
            tenant,
            state,
            request,
            cause,
            secret: None,
        }
    }

    fn sealed(&mut self, spec: TenantSpec) -> Result<String, Bad> {
        let bad = |cause: String| Bad {
            cause,
            tenant: None,
            kept: String::new(),
        };
        let of = SealedFor::TenantEnv(spec.id.clone());
        let entropy = &self.batches.lifecycle.entropy;
        let env = self.batches.secrets.seal_env(&of, &spec.env, entropy);
        let env = env.map_err(|error| bad(error.to_string()))?;
        self.sealed |= env.is_some();
        serde_json::to_string(&Request::of(spec, env)).map_err(|error| bad(error.to_string()))
    }

    async fn flush(&mut self) -> Result<(), BatchError> {
        let lifecycle = &self.batches.lifecycle;
        let now = lifecycle.clock.now();
        let mut tx = lifecycle.control.begin_write().await?;
        if self.sealed
            && let Ok(keyring) = self.batches.secrets.keyring()
        {
            secrets::keep(&mut tx, keyring, now, &lifecycle.entropy).await?;
        }
        if !batches::add(&mut tx, &self.id, &self.held, now).await? {
            return Err(BatchError::NotReceiving { id: self.id.clone() });
        }
        tx.commit().bounded("add rows to a batch").await?;
        self.held.clear();
        (self.bytes, self.sealed, self.since) = (0, false, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that an earlier release stored are fed by this one.
    #[test]
    fn what_is_stored_of_a_row_reads_as_it_did() {
        let kept = r#"{"id":"t1","hosts":["a.example"],"plan":"gold","limits":{"media":5},"env":"1.k.AAAA","isolation":"prefix","server":"main","trial_until":1000,"enabled":true,"admin":{"name":"ann","email":"a@b"}}"#;
        let request: Request = serde_json::from_str(kept).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), kept);
        let (spec, env) = request.declared().unwrap();
        assert_eq!((spec.id.as_str(), env.as_deref()), ("t1", Some("1.k.AAAA")));
    }
}

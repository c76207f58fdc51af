//! Feeding: rows that wait become tenants that are made, a few hundred in each transaction.
//!
//! A transaction holds the batch, accepts the tenants with their jobs and records what became of each row, or nothing of it
//! happens: two feeders at once, or one that is killed at any line, feed no row twice and leave none out.

use super::{
    Lifecycle, ProvisionError,
    batch::{BatchError, Batches, Request},
};
use crate::{
    chain,
    control::{
        audit::Actor,
        batches::{self, Batch, BatchRow, BatchState, Fed, RowState},
        changes::{self, Planned, Refused},
        jobs::NewJob,
        secrets,
        tenants::{self, TenantRow},
    },
    db::Bounded,
    ids::{BatchId, TenantId},
    secrets::{Recipient, SealedFor, SecretText, SecretsError, sealed_prefix},
    tenancy::{AdminSpec, Difference, FirstAdmin, Host, NewTenant, TenantSpec, TenantState},
};
use sqlx::AnyConnection;
use std::collections::BTreeMap;

/// Rows of one transaction.
const STEP: i64 = 256;
/// Tenants of one batch that are being made at a time: others' work is not behind a hundred thousand of them.
pub const WINDOW: i64 = 1_000;

/// What one call fed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feeding {
    /// Rows whose tenants are being made from now on.
    pub queued: i64,
    /// Rows that ask for what is there.
    pub unchanged: i64,
    /// Rows that cannot be fulfilled.
    pub failed: i64,
    /// There may be more to feed at once.
    pub more: bool,
    /// The batch came to its end.
    pub ended: bool,
}

impl Feeding {
    /// Rows that do not wait any more.
    #[must_use]
    pub const fn fed(&self) -> i64 {
        self.queued.saturating_add(self.unchanged).saturating_add(self.failed)
    }
}

/// A row that could be read.
struct Readable {
    line: i64,
    spec: TenantSpec,
    planned: Planned,
    secret: Option<String>,
}

/// Rows on their way into a transaction.
#[derive(Default)]
struct Prepared {
    readable: Vec<Readable>,
    failed: Vec<Fed>,
    /// Something in it is sealed under the first master key.
    sealed: bool,
}

impl Batches {
    /// Feeds some of a running batch's rows, or ends it when nothing of it is open any more. Called at any time, by any number
    /// of processes, it does what is left to do.
    ///
    /// # Errors
    /// When the database is away: nothing is fed then.
    pub async fn feed(&self, id: &BatchId) -> Result<Feeding, BatchError> {
        let control = &self.lifecycle.control;
        let Some(batch) = batches::get(control, id).await? else {
            return Err(BatchError::Missing { id: id.clone() });
        };
        if batch.state != BatchState::Running {
            return Ok(Feeding::default());
        }
        let queued = batches::queued(control, id).await?;
        let room = WINDOW.saturating_sub(queued).clamp(0, STEP);
        let rows = batches::waiting(control, id, room).await?;
        if rows.is_empty() {
            let over = queued == 0 && batches::end(control, id, self.lifecycle.clock.now()).await?;
            return Ok(Feeding {
                ended: over,
                ..Feeding::default()
            });
        }
        let full = i64::try_from(rows.len()) == Ok(STEP);
        let prepared = self.prepare(&batch, rows).await?;
        let feeding = self.commit(&batch, prepared).await?;
        Ok(Feeding {
            more: full && feeding.fed() > 0,
            ..feeding
        })
    }

    /// Plans what rows ask for. Nothing is written.
    async fn prepare(&self, batch: &Batch, rows: Vec<BatchRow>) -> Result<Prepared, BatchError> {
        let mut prepared = Prepared::default();
        // It was read when the batch was begun: what is no recipient now makes no keys.
        let recipient = batch.recipient.as_ref().and_then(|text| text.parse::<Recipient>().ok());
        let mut new = Vec::with_capacity(rows.len());
        for row in rows {
            match self.read(batch, recipient.as_ref(), &row.request, &mut prepared.sealed) {
                Ok((spec, tenant, secret)) => new.push((row.line, spec, tenant, secret)),
                Err(cause) => prepared.failed.push(failed(row.line, cause)),
            }
        }
        let tenants: Vec<NewTenant> = new.iter().map(|(_, _, tenant, _)| tenant.clone()).collect();
        let mut placement = self.lifecycle.placement(&tenants).await?;
        let actor = Actor::batch(&batch.id);
        for (line, spec, tenant, secret) in new {
            match self.lifecycle.planned(&mut placement, tenant, &actor) {
                Ok(planned) => prepared.readable.push(Readable {
                    line,
                    spec,
                    planned,
                    secret,
                }),
                // A server that is not configured here, say: trying again by itself would not help.
                Err(error) => prepared.failed.push(failed(line, unplanned(&error))),
            }
        }
        Ok(prepared)
    }

    fn read(
        &self,
        batch: &Batch,
        recipient: Option<&Recipient>,
        request: &str,
        seals: &mut bool,
    ) -> Result<(TenantSpec, NewTenant, Option<String>), String> {
        let request: Request = serde_json::from_str(request).map_err(|error| error.to_string())?;
        let (spec, env) = request.declared().map_err(|error| error.to_string())?;
        let told = |error: SecretsError| error.to_string();
        let env = env.map(|env| self.fresh(&spec.id, env)).transpose().map_err(told)?;
        let (admin, secret) = match spec.admin.clone() {
            Some(admin) => {
                let with_key = recipient.is_some() || (batch.recipient.is_none() && self.secrets.keyring().is_ok());
                let (admin, secret) = self.admin(&spec.id, admin, recipient, with_key).map_err(told)?;
                (Some(admin), secret)
            }
            None => (None, None),
        };
        *seals |= env.is_some() || (secret.is_some() && recipient.is_none());
        let tenant = spec.to_new_tenant(env, admin);
        Ok((spec, tenant, secret))
    }

    /// An administrator, and the sealed key that they get.
    fn admin(
        &self,
        id: &TenantId,
        admin: AdminSpec,
        recipient: Option<&Recipient>,
        with_key: bool,
    ) -> Result<(FirstAdmin, Option<String>), SecretsError> {
        let (admin, key) = self.lifecycle.first_admin(admin.into(), with_key);
        let Some(key) = key.map(|key| SecretText::new(key.reveal())) else {
            return Ok((admin, None));
        };
        let (plain, entropy) = (key.reveal().as_bytes(), &self.lifecycle.entropy);
        let sealed = match recipient {
            Some(recipient) => recipient.seal_to(plain, entropy)?,
            None => self.secrets.seal(&SealedFor::FirstKey(id.clone()), plain, entropy)?,
        };
        Ok((admin, Some(sealed)))
    }

    /// A row may have waited through a rotation of the master keys: what it holds goes on under the first one.
    fn fresh(&self, id: &TenantId, sealed: String) -> Result<String, SecretsError> {
        let keyring = self.secrets.keyring()?;
        if sealed.starts_with(&sealed_prefix(keyring.primary())) {
            return Ok(sealed);
        }
        let of = SealedFor::TenantEnv(id.clone());
        let plain = keyring.open(&of, &sealed)?;
        keyring.seal(&of, plain.reveal(), &self.lifecycle.entropy)
    }

    /// Writes what was planned, all of it or nothing, and tells the queue.
    async fn commit(&self, batch: &Batch, prepared: Prepared) -> Result<Feeding, BatchError> {
        let Lifecycle {
            control,
            clock,
            entropy,
            queue,
            outbox,
            ..
        } = &self.lifecycle;
        let (readable, mut fed) = (prepared.readable, prepared.failed);
        let planned: Vec<Planned> = readable.iter().map(|row| row.planned.clone()).collect();
        let now = clock.now();
        let mut tx = control.begin_write().await?;
        // Paused, cancelled, or another feeder's: nothing of it is ours.
        if !batches::hold(&mut tx, &batch.id, BatchState::Running, now).await? {
            return Ok(Feeding::default());
        }
        if prepared.sealed
            && let Ok(keyring) = self.secrets.keyring()
        {
            secrets::keep(&mut tx, keyring, now, entropy).await?;
        }
        let answers = changes::accept_in(&mut tx, control.engine(), &planned, now, queue.rows_are_messages()).await?;
        let present = present(&mut tx, &planned, &answers).await?;
        let mut jobs: Vec<&NewJob> = Vec::with_capacity(readable.len());
        for (row, answer) in readable.iter().zip(answers) {
            let Some(outcome) = outcome(row, answer, &present) else {
                continue;
            };
            if outcome.state == RowState::Queued {
                jobs.push(&row.planned.job);
            }
            fed.push(outcome);
        }
        if !batches::fed(&mut tx, &batch.id, &fed).await? {
            // Another feeder took some of them between our look and our hold.
            return Ok(Feeding::default());
        }
        tx.commit().bounded("feed a batch").await?;
        for job in jobs {
            outbox.offer(job.pool, job.envelope(now));
        }
        Ok(counted(&fed))
    }
}

/// Why a tenant could not be planned. Nothing was to be written yet: a database's error speaks for itself.
fn unplanned(error: &ProvisionError) -> String {
    let error: &dyn std::error::Error = if let ProvisionError::Db(error) = error {
        error
    } else {
        error
    };
    chain(error)
}

fn failed(line: i64, cause: String) -> Fed {
    Fed {
        line,
        state: RowState::Failed,
        cause: Some(cause),
        secret: None,
    }
}

fn counted(fed: &[Fed]) -> Feeding {
    let count = |state| {
        let of = fed.iter().filter(|row| row.state == state).count();
        i64::try_from(of).unwrap_or(i64::MAX)
    };
    Feeding {
        queued: count(RowState::Queued),
        unchanged: count(RowState::Unchanged),
        failed: count(RowState::Failed),
        more: false,
        ended: false,
    }
}

type Present = BTreeMap<TenantId, (TenantRow, Vec<Host>)>;

/// The tenants that were there already.
async fn present(
    connection: &mut AnyConnection,
    planned: &[Planned],
    answers: &[Result<(), Refused>],
) -> Result<Present, BatchError> {
    let there: Vec<TenantId> = planned
        .iter()
        .zip(answers)
        .filter(|(_, answer)| matches!(answer, Err(Refused::Exists { .. })))
        .map(|(one, _)| one.new.id.clone())
        .collect();
    Ok(tenants::many_in(connection, &there).await?)
}

/// What became of a row. `None`: it waits on, until what is being made under its name is served or gone.
fn outcome(row: &Readable, answer: Result<(), Refused>, present: &Present) -> Option<Fed> {
    let refused = match answer {
        Ok(()) => {
            return Some(Fed {
                line: row.line,
                state: RowState::Queued,
                cause: None,
                secret: row.secret.clone(),
            });
        }
        Err(refused) => refused,
    };
    let Some((tenant, hosts)) = present.get(&row.spec.id) else {
        return Some(failed(row.line, refused.to_string()));
    };
    match tenant.state {
        TenantState::Provisioning => return None,
        TenantState::Leaving | TenantState::Deleting => {
            return Some(failed(row.line, format!("{refused}, which is {}", tenant.state)));
        }
        TenantState::Active | TenantState::Suspended => {}
    }
    let differences: Vec<String> = row
        .spec
        .differences(tenant, hosts)
        .iter()
        .filter(|difference| difference.field.defines())
        .map(Difference::to_string)
        .collect();
    if differences.is_empty() {
        return Some(Fed {
            line: row.line,
            state: RowState::Unchanged,
            cause: None,
            secret: None,
        });
    }
    Some(failed(
        row.line,
        format!("{refused}, and the row would change its {}", differences.join(", its ")),
    ))
}

//! Bringing tenants in.
//!
//! Steps: *accepted* (id, hosts, place and job in one transaction) → *database* (made, where it has one of its own) →
//! *tables* (with the first administrator and key, in one transaction) → *announced* (served, and every process told).
//! On the control database's own server the last two are one transaction, of several tenants (see `make.rs`). Each step may
//! be repeated; [`Lifecycle::undo`] (`undo.rs`) takes back whatever there is of them. So a tenant is either served or gone,
//! whenever its maker is killed.

use super::{
    Lifecycle, LifecycleError, Placement,
    make::{Order, put_into_service},
    plans::check_variants,
};
use crate::{
    clock::Stopwatch,
    control::{
        accept::{Accepted, Idempotency},
        audit::Actor,
        changes::{self, Planned, Refused},
        jobs::{self, Claim, NewJob, Outcome, Settlement},
        tenants::{self, TenantRow},
    },
    db::{Bounded, DbError, Fault},
    ids::{JobId, KeyId, ProcessId, TenantId, TraceId, UserId},
    jobs::ProvisionTenant,
    tenancy::{
        Isolation, KeyText, LimitOverrides, PictureSettings, Place, ServerName, TablePrefix, TenantState, db::TenantTx,
        migrate, normal_host,
    },
    units::Millis,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A worker that is faster than [`Lifecycle::create`] has made the tenant by then.
const MADE: Duration = Duration::from_secs(60);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// A tenant to be made.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// Chosen by the provider.
    pub id: TenantId,
    /// Where it is served, the main host first; see [`normal_hosts`].
    pub hosts: Vec<String>,
    /// What it inherits from.
    pub plan: Option<String>,
    /// What it has of its own.
    pub limits: LimitOverrides,
    /// What it says of its pictures.
    pub pictures: PictureSettings,
    /// Its environment, sealed.
    pub env: Option<String>,
    /// Its trial's end.
    pub trial_until: Option<Millis>,
    /// How its tables are kept apart, where it is not up to its plan or the installation.
    pub isolation: Option<Isolation>,
    /// Where they are, likewise.
    pub server: Option<ServerName>,
    /// Whether it is served once it is made.
    pub enabled: bool,
    /// Its first administrator, who may also come later.
    pub admin: Option<FirstAdmin>,
}

impl NewTenant {
    /// One that is served at `host` and sets nothing of its own.
    #[must_use]
    pub fn plain(id: TenantId, host: &str) -> Self {
        Self {
            id,
            hosts: vec![host.to_owned()],
            plan: None,
            limits: LimitOverrides::default(),
            pictures: PictureSettings::default(),
            env: None,
            trial_until: None,
            isolation: None,
            server: None,
            enabled: true,
            admin: None,
        }
    }
}

/// What is known of a first administrator before there are ids and keys.
#[derive(Debug, Clone)]
pub struct NewAdmin {
    /// Name.
    pub name: String,
    /// Address.
    pub email: Option<String>,
    /// Argon2id's PHC text.
    pub password_hash: Option<String>,
}

/// A first administrator as the job carries it: no secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstAdmin {
    /// Its id.
    pub user: UserId,
    /// Name.
    pub name: String,
    /// Address.
    pub email: Option<String>,
    /// Argon2id's PHC text.
    pub password_hash: Option<String>,
    /// Its key.
    pub key: Option<FirstKey>,
}

/// A first key as the job carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstKey {
    /// Its id.
    pub id: KeyId,
    /// SHA-256 of its secret, hexadecimal.
    pub sha256: String,
}

/// A tenant that was asked for before, and the job that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBefore {
    /// The tenant.
    pub id: TenantId,
    /// Its job.
    pub job: JobId,
}

/// What became of a tenant that was asked for by an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptedOnce {
    /// It is accepted, with this job.
    New(JobId),
    /// It was accepted before.
    Replayed(MadeBefore),
    /// The key was used for another request.
    KeyReused,
}

/// Why a tenant was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The host is no host name.
    #[error("{host:?} is no host name")]
    Host {
        /// As given.
        host: String,
    },
    /// It has none.
    #[error("a tenant needs a host to be served at")]
    NoHost,
    /// Its first host is a wildcard.
    #[error("{host} cannot be the main host: URLs begin with it, so it is no wildcard")]
    WildcardFirst {
        /// As given.
        host: String,
    },
    /// The rows say no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The database failed.
    #[error("the tenant's rows could not be written")]
    Db(#[from] DbError),
    /// Its payload could not be written.
    #[error("the tenant's job could not be written")]
    Payload(#[from] serde_json::Error),
}

/// Why a tenant was not made here and now.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// It was not accepted.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// It was accepted and is not made yet.
    #[error("the tenant is accepted but not made yet: a worker will")]
    Lifecycle(#[from] LifecycleError),
}

/// Hosts as they are stored: each once, the first one the main one.
///
/// # Errors
/// When one is no host name, there is none, or the first is a wildcard.
pub fn normal_hosts<I: AsRef<str>>(given: &[I]) -> Result<Vec<String>, ProvisionError> {
    let mut hosts: Vec<String> = Vec::with_capacity(given.len());
    for text in given {
        let text = text.as_ref();
        let name = match text.strip_prefix("*.") {
            // `*.example` alone would be half of everything.
            Some(parent) => normal_host(parent)
                .filter(|parent| parent.contains('.'))
                .map(|parent| format!("*.{parent}")),
            None => normal_host(text),
        };
        let name = name.ok_or_else(|| ProvisionError::Host { host: text.to_owned() })?;
        if !hosts.contains(&name) {
            hosts.push(name);
        }
    }
    match hosts.first() {
        None => Err(ProvisionError::NoHost),
        Some(first) if first.starts_with("*.") => Err(ProvisionError::WildcardFirst { host: first.clone() }),
        Some(_) => Ok(hosts),
    }
}

impl Lifecycle {
    /// An administrator with ids of its own, and with the key that is shown once, if it gets one.
    #[must_use]
    pub fn first_admin(&self, new: NewAdmin, with_key: bool) -> (FirstAdmin, Option<KeyText>) {
        let key = with_key.then(|| KeyText::generate(&self.clock, &self.entropy));
        let admin = FirstAdmin {
            user: UserId::generate(&self.clock, &self.entropy),
            name: new.name,
            email: new.email,
            password_hash: new.password_hash,
            key: key.as_ref().map(|key| FirstKey {
                id: key.id().clone(),
                sha256: hex::encode(key.hash()),
            }),
        };
        (admin, key)
    }

    /// Plans one tenant: its place, its job, its line in the audit log.
    pub(crate) fn planned(
        &self,
        placement: &mut Placement,
        new: NewTenant,
        actor: &Actor,
    ) -> Result<Planned, ProvisionError> {
        let plan = new.plan.as_ref().and_then(|plan| placement.plan_limits(plan));
        let in_force = self.allowed_to(&new, plan);
        check_variants(|| format!("tenant {}", new.id), &new.pictures, &in_force)?;
        let (allowed, asked) = (in_force.hosts, i64::try_from(new.hosts.len()).unwrap_or(i64::MAX));
        if allowed > 0 && asked > allowed {
            let refused = Refused::TooManyHosts {
                id: new.id,
                allowed,
                used: 0,
                asked,
            };
            return Err(refused.into());
        }
        let place = self.place(placement, &new)?;
        let trace = TraceId::generate(&self.clock, &self.entropy);
        let payload = ProvisionTenant {
            admin: new.admin.clone(),
            enabled: new.enabled,
            at: Some((&place).into()),
        };
        let mut job = NewJob::of(JobId::generate(&self.clock, &self.entropy), &payload, trace)?;
        job.tenant = Some(new.id.clone());
        job.subject = Some(format!("tenant:{}", new.id));
        let detail = serde_json::json!({ "hosts": new.hosts, "plan": new.plan, "place": place.to_string() });
        Ok(Planned {
            serial: TablePrefix::generate(&self.clock, &self.entropy).as_str().to_owned(),
            entry: self.entry(actor, "tenant.create", Some(&new.id)).with(detail),
            new,
            place,
            job,
        })
    }

    /// Accepts a tenant. Its job makes it; the id is taken from now on.
    ///
    /// # Errors
    /// When id or host are taken, the plan is unknown, or the database is away.
    pub async fn accept(&self, new: NewTenant, actor: &Actor) -> Result<JobId, ProvisionError> {
        let job = self.accept_row(new, actor, self.queue.rows_are_messages()).await?;
        self.outbox.offer(job.pool, job.envelope(self.clock.now()));
        Ok(job.id)
    }

    /// Accepts tenants in one transaction, each or not by itself. Their jobs make them. One answer for each, in order.
    ///
    /// # Errors
    /// When one names a server that is not configured here, or the database is away.
    pub async fn accept_many(
        &self,
        new: Vec<NewTenant>,
        actor: &Actor,
    ) -> Result<Vec<Result<JobId, Refused>>, ProvisionError> {
        let mut placement = self.placement(&new).await?;
        let planned = new.into_iter().map(|new| self.planned(&mut placement, new, actor));
        let planned = planned.collect::<Result<Vec<_>, _>>()?;
        let (now, published) = (self.clock.now(), self.queue.rows_are_messages());
        let answers = changes::accept(&self.control, &planned, now, published).await?;
        let accepted = planned.into_iter().zip(answers).map(|(one, answer)| {
            answer.map(|()| {
                self.outbox.offer(one.job.pool, one.job.envelope(now));
                one.job.id
            })
        });
        Ok(accepted.collect())
    }

    /// Accepts a tenant unless `owner` asked for it before by the same idempotency key. Its job makes it.
    ///
    /// # Errors
    /// When id or host are taken, the plan is unknown, or the database is away.
    pub async fn accept_once(
        &self,
        new: NewTenant,
        actor: &Actor,
        owner: &str,
        name: &str,
        request_hash: String,
    ) -> Result<AcceptedOnce, ProvisionError> {
        let mut placement = self.placement(std::slice::from_ref(&new)).await?;
        let planned = self.planned(&mut placement, new, actor)?;
        let once = Idempotency {
            name: name.to_owned(),
            request_hash,
            answer: serde_json::to_string(&MadeBefore {
                id: planned.new.id.clone(),
                job: planned.job.id.clone(),
            })?,
        };
        let (now, published) = (self.clock.now(), self.queue.rows_are_messages());
        match changes::accept_once(&self.control, &planned, owner, &once, now, published).await?? {
            Accepted::Replayed(answer) => Ok(AcceptedOnce::Replayed(serde_json::from_str(&answer)?)),
            Accepted::KeyReused => Ok(AcceptedOnce::KeyReused),
            Accepted::New
            | Accepted::Outdated
            | Accepted::NotActive(_)
            | Accepted::BeingMade(_)
            | Accepted::Made(_) => {
                let job = planned.job;
                self.outbox.offer(job.pool, job.envelope(now));
                Ok(AcceptedOnce::New(job.id))
            }
        }
    }

    async fn accept_row(&self, new: NewTenant, actor: &Actor, published: bool) -> Result<NewJob, ProvisionError> {
        let mut placement = self.placement(std::slice::from_ref(&new)).await?;
        let planned = self.planned(&mut placement, new, actor)?;
        let answers = changes::accept(
            &self.control,
            std::slice::from_ref(&planned),
            self.clock.now(),
            published,
        );
        for answer in answers.await? {
            answer?;
        }
        Ok(planned.job)
    }

    /// Accepts a tenant and makes it here and now, without a worker. When this process ends before it is made, or a
    /// worker on the same rows is faster, the job is a worker's as any other.
    ///
    /// # Errors
    /// When it is refused, or a database is away: its job is then tried again by a worker.
    pub async fn create(&self, new: NewTenant, actor: &Actor) -> Result<JobId, CreateError> {
        let (id, wanted) = (
            new.id.clone(),
            ProvisionTenant {
                admin: new.admin.clone(),
                enabled: new.enabled,
                at: None,
            },
        );
        // As good as published: nobody needs to be told, unless we die.
        let job = self.accept_row(new, actor, true).await?;
        let here = ProcessId::generate(&self.clock, &self.entropy);
        let claims = jobs::claim(
            &self.control,
            here.as_str(),
            std::slice::from_ref(&job.id),
            self.clock.now(),
        )
        .await;
        if let Some(Claim::Yours(claimed)) = claims.map_err(ProvisionError::from)?.pop() {
            self.provision(&id, &wanted).await?;
            let settlement = Settlement {
                id: job.id.clone(),
                attempt: claimed.attempt,
                outcome: Outcome::Done,
                has_message: true,
            };
            let settled = jobs::settle(&self.control, &[settlement], self.clock.now()).await;
            settled.map_err(ProvisionError::from)?;
        } else {
            self.until_made(&id).await?;
        }
        Ok(job.id)
    }

    /// Waits while a worker makes a tenant.
    async fn until_made(&self, id: &TenantId) -> Result<(), LifecycleError> {
        let watch = Stopwatch::start();
        loop {
            match tenants::get(&self.control, id).await? {
                Some(row) if row.state == TenantState::Provisioning => {}
                Some(_) => return Ok(()),
                None => return Err(Refused::Missing { id: id.clone() }.into()),
            }
            if watch.elapsed() > MADE {
                return Err(DbError::Deadline {
                    during: "wait for a worker to make a tenant",
                }
                .into());
            }
            self.clock.sleep(LOOK).await;
        }
    }

    /// Makes an accepted tenant. Called again after a crash at any line it ends in the same state as one call.
    ///
    /// # Errors
    /// When a database is away. A refusal says that the tenant is not there to be made: it was undone.
    pub async fn provision(&self, id: &TenantId, wanted: &ProvisionTenant) -> Result<(), LifecycleError> {
        if let Some(place) = place_of(wanted).filter(shared_with_control) {
            let (id, wanted) = (id.clone(), wanted.clone());
            if self.maker.make(Order { id, place, wanted }).await? {
                return Ok(());
            }
        }
        self.provision_in_steps(id, wanted).await
    }

    async fn provision_in_steps(&self, id: &TenantId, wanted: &ProvisionTenant) -> Result<(), LifecycleError> {
        let Some(row) = tenants::get(&self.control, id).await? else {
            return Err(Refused::Missing { id: id.clone() }.into());
        };
        match row.state {
            TenantState::Provisioning => {}
            TenantState::Active | TenantState::Suspended => {
                // An attempt before this one got as far as the commit.
                self.resolver.refresh(id).await?;
                return Ok(());
            }
            TenantState::Leaving | TenantState::Deleting => {
                return Err(Refused::NotNow {
                    id: id.clone(),
                    state: row.state,
                }
                .into());
            }
        }
        if place_of(wanted).is_some_and(|place| place.prefix != row.place.prefix) {
            // A tenant was here before by this id: its job makes nothing of the new one.
            return Err(Refused::Missing { id: id.clone() }.into());
        }
        if row.place.isolation == Isolation::Database {
            self.databases.create(&row.place).await?;
            changes::step(&self.control, id, "database").await?;
        }
        migrate::prepare(&self.databases, &row.place, &self.prepared).await?;
        if !self.make_tables(&row, wanted).await? {
            changes::step(&self.control, id, "tables").await?;
            let mut tx = self.control.begin_write().await?;
            let served = serve(&mut tx, &row, wanted, self.clock.now()).await?;
            tx.commit().bounded("activate a tenant").await?;
            if !served {
                self.drop_if_undone(&row).await?;
            }
        }
        self.resolver.refresh(id).await?;
        Ok(())
    }

    /// Tables, administrator and key in one transaction; where that is the control database's too, also the service.
    /// Returns whether it was put into service.
    async fn make_tables(&self, row: &TenantRow, wanted: &ProvisionTenant) -> Result<bool, LifecycleError> {
        let now = self.clock.now();
        let shared_with_control = shared_with_control(&row.place);
        let tx = self.databases.begin(&row.place).await?;
        let mut tx = TenantTx::within(tx, row.place.clone());
        let made = migrate::make_tables(&mut tx, &row.id, now).await?;
        if made && let Some(admin) = &wanted.admin {
            tx.add_first_admin(admin, now).await?;
        }
        if shared_with_control && !serve(&mut tx.tx, row, wanted, now).await? && made {
            // Nobody had made its tables, and it does not come any more: it was undone. Dropped, the transaction makes none.
            return Err(Refused::Missing { id: row.id.clone() }.into());
        }
        match tx.commit().await {
            // Two attempts at once: the other's commit was first, and its tables are as good.
            Err(error) if error.fault() == Fault::Conflict => Ok(false),
            other => Ok(other.map(|()| shared_with_control)?),
        }
    }

    /// Its tables are made and it was not put into service: by another attempt, or it was undone meanwhile and they go.
    async fn drop_if_undone(&self, row: &TenantRow) -> Result<(), LifecycleError> {
        let now = tenants::get(&self.control, &row.id).await?;
        if now.is_some_and(|now| now.place == row.place && now.state != TenantState::Deleting) {
            return Ok(());
        }
        migrate::drop_place(&self.databases, &row.place).await?;
        Err(Refused::Missing { id: row.id.clone() }.into())
    }
}

/// Where its job says that it is; `None` in one that an older release wrote.
pub(super) fn place_of(wanted: &ProvisionTenant) -> Option<Place> {
    Place::try_from(wanted.at.as_ref()?).ok()
}

/// Whether one transaction of the control database makes the tables too.
pub(super) fn shared_with_control(place: &Place) -> bool {
    place.server.is_main() && place.isolation == Isolation::Prefix
}

/// Returns whether this call did.
async fn serve(
    connection: &mut sqlx::AnyConnection,
    row: &TenantRow,
    wanted: &ProvisionTenant,
    now: Millis,
) -> Result<bool, DbError> {
    let served = put_into_service(connection, &[(&row.id, &row.place.prefix)], wanted.made(), now).await?;
    Ok(!served.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_normal_and_the_first_is_a_name() {
        assert_eq!(
            normal_hosts(&["A.Example.", "*.Sub.example", "a.example"]).unwrap(),
            ["a.example", "*.sub.example"]
        );
        for bad in [
            &["*.a.example"][..],
            &[],
            &["a.example", "*.com"],
            &["a.example", "*"],
            &["a.example", "x.*.y"],
        ] {
            assert!(normal_hosts(bad).is_err(), "{bad:?}");
        }
    }
}

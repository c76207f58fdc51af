//! One claimed attempt: run under its timeout, judged, settled, noted.

use super::{Ack, Origin, Worker, state_after};
use crate::{context::JobContext, helpers::Died, registry::Entry};
use futures_util::FutureExt;
use mediamill_shared::{
    BoxError, chain,
    clock::Stopwatch,
    control::{
        jobs::{Claimed, Outcome, SILENCE, Settlement},
        tenants,
    },
    jobs::{DELIVERY_LIMIT, JobError, JobKind, Reason},
    telemetry::names,
    tenancy::Tenant,
};
use std::{panic::AssertUnwindSafe, sync::PoisonError, time::Duration};
use tokio_util::sync::CancellationToken;

/// How exactly a tenant's last job is known.
const NOTED: Duration = Duration::from_secs(60);
/// Tenants that are remembered before those of the last minute alone are.
const MOST_NOTED: usize = 10_000;

/// Whether a job works within a tenant. The others make, move and remove tenants, and look for themselves.
const fn works_for_tenant(kind: JobKind) -> bool {
    match kind {
        JobKind::Noop
        | JobKind::MediaProcess
        | JobKind::MediaFetch
        | JobKind::MediaVariant
        | JobKind::MediaDelete
        | JobKind::MediaMove
        | JobKind::MediaVerify
        | JobKind::ObjectsRemove => true,
        JobKind::TenantProvision | JobKind::TenantMigrate | JobKind::TenantDeprovision => false,
    }
}

impl Worker {
    /// Runs one claimed attempt and settles it. `None`: it could not be settled, and the message goes back.
    pub(super) async fn attempt(&self, claimed: Claimed, origin: Origin<'_>) -> Option<Ack> {
        let watch = Stopwatch::start();
        let kind = claimed.kind;
        let (outcome, ack) = self.judge(&claimed).await;
        let label = match &outcome {
            Outcome::Done => "done",
            Outcome::Again { .. } => "retried",
            Outcome::Failed { .. } => "failed",
            Outcome::Dead { .. } => "dead",
        };
        metrics::counter!(names::JOBS_FINISHED, "kind" => kind.as_str(), "outcome" => label).increment(1);
        metrics::histogram!(names::JOB_SECONDS, "kind" => kind.as_str()).record(watch.elapsed());
        let over = state_after(&outcome).is_final();
        let settlement = Settlement {
            id: claimed.id.clone(),
            attempt: claimed.attempt,
            outcome,
            has_message: !matches!(origin, Origin::Released(_)),
        };
        let ours = self.insist(|| self.settlements.call(settlement.clone())).await?;
        if ours {
            if let (true, Some(turns), Some(tenant)) = (over, origin.turns(), &claimed.tenant) {
                turns.ended(tenant);
            }
            self.note(&claimed).await;
        } else {
            tracing::info!(job.id = %claimed.id, attempt = claimed.attempt, "another worker has claimed this job since: its settlement counts");
        }
        Some(ack)
    }

    /// Notes when a tenant's pictures were last worked on, to the minute: a figure for its provider.
    async fn note(&self, claimed: &Claimed) {
        let Some(tenant) = &claimed.tenant else { return };
        match claimed.kind {
            JobKind::MediaProcess | JobKind::MediaFetch | JobKind::MediaVariant | JobKind::MediaDelete => {}
            JobKind::Noop
            | JobKind::MediaMove
            | JobKind::MediaVerify
            | JobKind::ObjectsRemove
            | JobKind::TenantProvision
            | JobKind::TenantMigrate
            | JobKind::TenantDeprovision => return,
        }
        let now = self.services.clock.now();
        let since = now.before(NOTED);
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.get(tenant).is_some_and(|at| *at > since) {
                return;
            }
            if noted.len() >= MOST_NOTED {
                noted.retain(|_, at| *at > since);
            }
            noted.insert(tenant.clone(), now);
        }
        if let Err(error) = tenants::worked(&self.services.control, tenant, now, since).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a tenant's last job is noted by its next one"
            );
        }
    }

    async fn judge(&self, claimed: &Claimed) -> (Outcome, Ack) {
        let services = &self.services;
        let Some(entry) = self.registry.get(claimed.kind).copied() else {
            // A newer release accepted it: a newer worker will run it.
            return (
                Outcome::Again {
                    due_at: services.clock.now().after(SILENCE),
                    reason: Reason::new("unknown-kind", "no worker of this release knows the kind"),
                },
                Ack::Again(SILENCE),
            );
        };
        if claimed.deliveries > DELIVERY_LIMIT {
            let text = format!("it ended {DELIVERY_LIMIT} workers without an outcome");
            tracing::error!(job.id = %claimed.id, kind = %claimed.kind, "job is dead: {text}");
            return (
                Outcome::Dead {
                    reason: Reason::new("delivery-limit", text),
                },
                Ack::Done,
            );
        }
        let tenant = match claimed.tenant.as_ref().filter(|_| works_for_tenant(claimed.kind)) {
            None => None,
            Some(id) => match services.resolver.by_id(id).await {
                Ok(tenant) => tenant,
                Err(error) => return self.again(claimed, &entry, error.into()),
            },
        };
        let cx = self.context(claimed, tenant);
        let result = self.run(&entry, claimed, &cx).await;
        match result {
            Ok(()) => (Outcome::Done, Ack::Done),
            Err(JobError::Permanent { reason, source }) => {
                let error = JobError::Permanent {
                    reason: reason.clone(),
                    source,
                };
                tracing::info!(job.id = %claimed.id, kind = %claimed.kind, cause = reason.code(), "job failed for good: {}", chain(&error));
                match (entry.failed)(claimed.payload.as_bytes(), &cx).await {
                    Ok(()) => (Outcome::Failed { reason }, Ack::Done),
                    // What is left behind must go before the row says that it is over.
                    Err(error) => self.again(claimed, &entry, Box::new(error)),
                }
            }
            Err(JobError::Transient { not_before, source }) => {
                let (outcome, ack) = self.again(claimed, &entry, source);
                match (outcome, ack, not_before) {
                    (Outcome::Again { due_at, reason }, Ack::Again(delay), Some(hint)) if hint > delay => {
                        let later = due_at.after(hint.saturating_sub(delay));
                        (Outcome::Again { due_at: later, reason }, Ack::Again(hint))
                    }
                    (outcome, ack, _) => (outcome, ack),
                }
            }
        }
    }

    fn context(&self, claimed: &Claimed, tenant: Option<Tenant>) -> JobContext {
        let services = &self.services;
        JobContext {
            job: claimed.id.clone(),
            attempt: claimed.attempt,
            tries: claimed.tries,
            trace: claimed.trace.clone(),
            created_at: claimed.created_at,
            reserved: claimed.reserved,
            objects: services.objects.clone(),
            storages: services.storages.clone(),
            dispatch: services.dispatch.clone(),
            control: services.control.clone(),
            entropy: services.entropy.clone(),
            quota: services.quota.clone(),
            clock: services.clock.clone(),
            admission: self.admission.clone(),
            processors: self.processors.clone(),
            cancel: CancellationToken::new(),
            last_cause: claimed.last_cause.clone(),
            decoder: self.decoder.clone(),
            fetcher: self.fetcher.clone(),
            tenant,
            tenant_id: claimed.tenant.clone(),
            lifecycle: services.lifecycle.clone(),
            cache: services.cache.clone(),
        }
    }

    /// The handler under its timeout; a panic is an error with its text.
    async fn run(&self, entry: &Entry, claimed: &Claimed, cx: &JobContext) -> Result<(), JobError> {
        let cancelled = cx.cancel.clone().drop_guard();
        let work = AssertUnwindSafe((entry.run)(claimed.payload.as_bytes(), cx)).catch_unwind();
        let result = tokio::time::timeout(entry.timeout, work).await;
        drop(cancelled);
        let transient = |text: String| JobError::transient(text);
        match result {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(transient(format!(
                "the handler panicked: {}",
                panic_text(panic.as_ref())
            ))),
            Err(_) => Err(transient(format!("it took longer than {} s", entry.timeout.as_secs()))),
        }
    }

    /// Tries again after the policy's delay, or gives up when the attempts are used up.
    fn again(&self, claimed: &Claimed, entry: &Entry, source: BoxError) -> (Outcome, Ack) {
        // A picture that decoders die of is found by what its attempts before left here.
        let code = if source.is::<Died>() {
            Reason::DECODER_DIED
        } else {
            "transient"
        };
        let error = JobError::transient(source);
        let chain = chain(&error);
        let attempt = claimed.attempt;
        let tries = u32::try_from(claimed.tries).unwrap_or(u32::MAX);
        let Some(delay) = entry.retry.delay_after(tries, self.services.entropy.fraction()) else {
            tracing::error!(job.id = %claimed.id, kind = %claimed.kind, attempt, "job is dead, its attempts are used up: {chain}");
            return (
                Outcome::Dead {
                    reason: Reason::new("attempts-used-up", chain),
                },
                Ack::Done,
            );
        };
        tracing::warn!(
            job.id = %claimed.id, kind = %claimed.kind, attempt,
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), "job will be tried again: {chain}"
        );
        let due_at = self.services.clock.now().after(delay);
        (
            Outcome::Again {
                due_at,
                reason: Reason::new(code, chain),
            },
            Ack::Again(delay),
        )
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

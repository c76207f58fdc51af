//! Committing: what an accepted request may cost is counted and reserved, then its rows are committed and offered to the queue.

use crate::{
    extract::Caller,
    problem::{Cause, Problem},
    state::State,
};
use mediamill_shared::{
    control::{
        accept::{self, Accepted, Content, Idempotency, Request},
        jobs::NewJob,
    },
    ids::{JobId, MediaId, TraceId},
    jobs::{Job, Lane, Pool},
    quota::{Claim, RateError, Taken},
    services::Services,
    telemetry::names,
    tenancy::{Tenant, TenantDb},
};
use std::{borrow::Cow, collections::BTreeSet};

/// A tenant that changes under a request so often is judged by the next one.
pub(crate) const JUDGEMENTS: usize = 3;

/// What became of a commit.
pub(crate) enum Committed {
    /// The jobs are committed and offered to the queue.
    New,
    /// The same request was accepted before: its answer.
    Replayed(String),
    /// Nothing was: a job is making a picture of the same bytes.
    BeingMade(Content),
    /// Nothing was: a job has made, or could not make, a picture of the same bytes.
    Made(Content),
    /// Nothing was: the tenant is another by now, and has to be judged anew.
    Outdated(Tenant),
}

/// Counts the uploads of `claim` against the tenant's hour, and does what [`commit_reserved`] does. What was accepted before is
/// answered again, whatever is left now.
pub(crate) async fn commit_counted(
    services: &Services,
    caller: &Caller,
    tenant: &Tenant,
    db: &TenantDb,
    claim: Claim,
    request: Request<'_>,
) -> Result<Committed, (Problem, bool)> {
    if let Err(frozen) = writable(tenant) {
        return before_or(services, tenant, request.once, frozen).await;
    }
    let taken = match take(services, caller, tenant, claim).await {
        Ok(taken) => taken,
        Err(refused) => return before_or(services, tenant, request.once, refused).await,
    };
    let committed = commit_reserved(services, tenant, db, claim, request).await;
    if !matches!(committed, Ok(Committed::New) | Err((_, false))) {
        give_back(services, caller, tenant, taken).await;
    }
    match committed {
        Err((problem, true)) => before_or(services, tenant, request.once, problem).await,
        other => other,
    }
}

/// Reserves `claim` and commits `request`. Where nothing was accepted the claim is given back. With an error: whether it is known
/// that nothing was committed; if not, the claim stays, and ends with its counter.
pub(crate) async fn commit_reserved(
    services: &Services,
    tenant: &Tenant,
    db: &TenantDb,
    claim: Claim,
    request: Request<'_>,
) -> Result<Committed, (Problem, bool)> {
    // Whoever froze it since has given it another version: then the commit says that it is outdated.
    writable(tenant).map_err(|frozen| (frozen, true))?;
    let reserved = services.quota.reserve(tenant, db, claim).await;
    reserved.map_err(|error| (error.into(), true))?;
    let committed = commit(services, tenant, request).await;
    match &committed {
        Ok(Committed::New) | Err((_, false)) => {}
        Ok(Committed::Replayed(_) | Committed::Outdated(_) | Committed::BeingMade(_) | Committed::Made(_))
        | Err((_, true)) => {
            services.quota.release(tenant, claim).await;
        }
    }
    committed
}

/// Commits what is accepted of `tenant`. With an error: whether it is known that nothing was committed.
async fn commit(services: &Services, tenant: &Tenant, request: Request<'_>) -> Result<Committed, (Problem, bool)> {
    let now = services.clock.now();
    let (stamp, published) = (tenant.context().stamp(), services.queue.rows_are_messages());
    let (jobs, places) = placed(services, tenant, request.jobs).await;
    let request = Request { jobs: &jobs, ..request };
    let accepted = accept::accept(&services.control, tenant.id(), stamp, request, now, published).await;
    let accepted = accepted.map_err(|error| (error.into(), false))?;
    if accepted != Accepted::New {
        for (pool, count) in places {
            services.dispatch.give_back(tenant.id(), pool, count).await;
        }
    }
    match accepted {
        Accepted::New => {
            for job in jobs.iter() {
                metrics::counter!(names::JOBS_ACCEPTED, "kind" => job.kind.as_str()).increment(1);
                if !job.held {
                    services.outbox.offer(job.pool, job.envelope(now));
                }
            }
            for pool in Pool::ALL {
                let held = jobs.iter().filter(|job| job.held && job.pool == *pool).count();
                if held > 0 {
                    services.dispatch.held(*pool, held).await;
                }
            }
            Ok(Committed::New)
        }
        Accepted::Replayed(answer) => Ok(Committed::Replayed(answer)),
        Accepted::BeingMade(content) => Ok(Committed::BeingMade(content)),
        Accepted::Made(content) => Ok(Committed::Made(content)),
        Accepted::KeyReused => {
            let detail = "the idempotency key was used for other files before";
            Err((Problem::new(Cause::IdempotencyKeyReused, detail), true))
        }
        Accepted::NotActive(state) => {
            let detail = state.map_or_else(
                || "the tenant is gone".to_owned(),
                |state| format!("the tenant is {state}"),
            );
            Err((Problem::new(Cause::TenantSuspended, detail), true))
        }
        Accepted::Outdated => {
            let present = services.resolver.refresh(tenant.id()).await;
            match present.map_err(|error| (error.into(), true))? {
                Some(present) => Ok(Committed::Outdated(present)),
                None => Err((Problem::new(Cause::UnknownHost, "the tenant is gone"), true)),
            }
        }
    }
}

/// The jobs, those marked as held for which their tenant has no place in the queue now; and the places that were taken.
async fn placed<'a>(
    services: &Services,
    tenant: &Tenant,
    jobs: &'a [NewJob],
) -> (Cow<'a, [NewJob]>, Vec<(Pool, usize)>) {
    let mut marked = Cow::Borrowed(jobs);
    let mut places = Vec::new();
    let kinds: BTreeSet<(Pool, Lane)> = jobs.iter().map(|job| (job.pool, job.lane)).collect();
    for (pool, lane) in kinds {
        let these = |job: &NewJob| job.pool == pool && job.lane == lane;
        let count = jobs.iter().filter(|job| these(job)).count();
        let admitted = services.dispatch.admit(tenant, pool, lane, count).await;
        places.push((pool, admitted));
        if admitted < count {
            let rest = marked.to_mut().iter_mut().filter(|job| these(job)).skip(admitted);
            rest.for_each(|job| job.held = true);
        }
    }
    (marked, places)
}

/// Commits a job that no limit is asked about.
pub(crate) async fn commit_unjudged(services: &Services, tenant: &Tenant, job: &NewJob) -> Result<(), Problem> {
    let mut tenant = tenant.clone();
    for _ in 0..JUDGEMENTS {
        let request = Request {
            jobs: std::slice::from_ref(job),
            ..Request::default()
        };
        let committed = commit(services, &tenant, request).await;
        match committed.map_err(|(problem, _)| problem)? {
            Committed::New | Committed::Replayed(_) | Committed::BeingMade(_) | Committed::Made(_) => return Ok(()),
            Committed::Outdated(present) => tenant = present,
        }
    }
    Err(being_changed())
}

/// The answer that this very request got before, if it did; else the problem.
async fn before_or(
    services: &Services,
    tenant: &Tenant,
    once: Option<&Idempotency>,
    problem: Problem,
) -> Result<Committed, (Problem, bool)> {
    let Some(once) = once else { return Err((problem, true)) };
    let before = accept::recall(&services.control, tenant.id(), &once.name).await;
    match before.map_err(|error| (error.into(), true))? {
        Some((hash, answer)) if hash == once.request_hash => Ok(Committed::Replayed(answer)),
        Some(_) | None => Err((problem, true)),
    }
}

/// Refuses what would store something of a tenant whose uploads are frozen.
pub(crate) fn writable(tenant: &Tenant) -> Result<(), Problem> {
    tenant
        .context()
        .frozen
        .first()
        .map_or(Ok(()), |frozen| Err(frozen.into()))
}

/// Refuses an upload of a tenant that is frozen, or has none left in this hour, before its bytes are read. It is counted when it
/// is accepted.
pub(crate) async fn room_for_one(state: &State, caller: &Caller) -> Result<(), Problem> {
    let (tenant, now) = (&caller.site.tenant, state.services.clock.now());
    writable(tenant)?;
    if tenant.context().limits.uploads_hour == 0 {
        return Ok(());
    }
    let standing = state.services.quota.uploads_standing(tenant, now).await?;
    caller.rates.tell(standing);
    Ok(standing.room_for(1, now)?)
}

/// Counts the uploads against the tenant's hour, and has the answer tell so.
async fn take(services: &Services, caller: &Caller, tenant: &Tenant, claim: Claim) -> Result<Option<Taken>, Problem> {
    let taken = services
        .quota
        .take_uploads(tenant, claim.media, services.clock.now())
        .await;
    match &taken {
        Ok(Some(taken)) => caller.rates.tell(taken.standing()),
        Err(RateError::Over(over)) => caller.rates.tell(over.standing),
        Ok(None) | Err(RateError::Db(_)) => {}
    }
    Ok(taken?)
}

/// Gives back what [`take`] counted: nothing was accepted.
async fn give_back(services: &Services, caller: &Caller, tenant: &Tenant, taken: Option<Taken>) {
    if let Some(taken) = taken {
        caller.rates.tell(taken.standing_without());
        services.quota.give_back(tenant, taken).await;
    }
}

/// A job of `tenant` about `media`.
pub(crate) fn tenant_job<J: Job>(
    id: &JobId,
    payload: &J,
    tenant: &Tenant,
    media: &MediaId,
    trace: &TraceId,
) -> Result<NewJob, Problem> {
    let mut job = NewJob::of(id.clone(), payload, trace.clone()).map_err(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "answering 500: a payload cannot be written"
        );
        Problem::new(Cause::Internal, "something went wrong here")
    })?;
    job.tenant = Some(tenant.id().clone());
    job.subject = Some(media.to_string());
    job.context_version = tenant.context().version;
    Ok(job)
}

pub(crate) fn being_changed() -> Problem {
    Problem::new(Cause::Unavailable, "the tenant is being changed; try again in a moment")
}

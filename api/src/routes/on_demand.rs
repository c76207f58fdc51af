//! Variants that a signed link asks for: made once, under the tenant's limits, whoever asks meanwhile.
//!
//! A signature is what makes a file. One that is there is public like every other, so it is served without a look at keys, and
//! goes on being served when its key is gone.

use super::upload::finished;
use crate::{
    accept::{self, Committed, JUDGEMENTS, being_changed, tenant_job},
    extract::Site,
    problem::{Cause, Problem},
    state::State,
};
use mediamill_shared::{
    control::{
        accept::{Idempotency, Request, recall},
        jobs::{self, JobRow},
        link_keys::{LinkKeyError, LinkSecrets},
        secrets::MasterKeyError,
    },
    ids::{JobId, MediaId, TenantId, TraceId},
    jobs::{JobState, MakeVariant, Reason},
    quota::Claim,
    secrets::SecretsError,
    tenancy::{
        Limit, OnDemand, Tenant, TenantDb, most_files,
        store::media::{ORIGINAL, Served},
    },
    units::ByteCount,
};
use std::{sync::Arc, time::Duration};

/// Longest time that a request waits for its variant.
const WAIT: Duration = Duration::from_secs(30);
/// One job makes a variant, or says why it is not to be had, for so long: milliseconds.
const ONE_JOB: i64 = 600_000;
/// What is reserved for a variant that nobody knows the size of.
const RESERVED: ByteCount = ByteCount::new(16 * 1024);

/// The variant that `name` asks for: as it is stored, or made now where `signature` says so. `None`: there is none, and
/// nobody may have it made.
pub(super) async fn variant(
    state: &State,
    site: &Site,
    media: &MediaId,
    name: &str,
    signature: Option<&str>,
) -> Result<Option<Served>, Problem> {
    let now = || state.services.clock.now();
    let wanted = match (name.parse::<OnDemand>(), signature) {
        (Ok(wanted), _) => wanted,
        (Err(_), None) => return Ok(None),
        (Err(error), Some(_)) => return Err(Problem::new(Cause::BadRequest, error.to_string())),
    };
    let stored = site.db.served(media, wanted.name(), now()).await?;
    let (None, Some(signature)) = (&stored, signature) else {
        return Ok(stored);
    };
    if !secrets(state, site.tenant.id())
        .await?
        .sign(&format!("/m/{media}/{name}"), signature)
    {
        let detail = "the link is not signed with a link key of this site; GET /v1/link-keys lists them";
        return Err(Problem::new(Cause::WrongLink, detail));
    }
    let Some(original) = site.db.served(media, ORIGINAL, now()).await? else {
        return Ok(None);
    };
    let Ok(_waits) = state.waiting.try_acquire() else {
        return Err(pending("too many requests wait for variants"));
    };
    let known = (site.tenant.id().clone(), media.clone(), wanted.name().to_owned());
    let asked = state
        .making
        .try_get_with(known, ask(state, site, media, &wanted, original.variant.bytes));
    let job = match asked.await {
        Ok(job) => job,
        Err(problem) => {
            // The last file that the picture may have can be this one.
            let stored = site.db.served(media, wanted.name(), now()).await?;
            return stored.map_or_else(|| Err((*problem).clone()), |stored| Ok(Some(stored)));
        }
    };
    let ended = state.made.try_get_with(job.clone(), ended(state, job));
    let row = ended.await.map_err(|problem: Arc<Problem>| (*problem).clone())?;
    // While that was waited for the tenant may have moved.
    let Some(present) = state.services.resolver.by_id(site.tenant.id()).await? else {
        return Ok(None);
    };
    let db = present
        .db()
        .map_err(|refused| Problem::new(Cause::TenantSuspended, refused.to_string()))?;
    if row.state == JobState::Done {
        return Ok(db.served(media, wanted.name(), now()).await?);
    }
    if db.served(media, ORIGINAL, now()).await?.is_none() {
        // It was deleted meanwhile.
        return Ok(None);
    }
    // What stands in a row of a job that is dead is for operators.
    let text = row.cause.filter(|_| row.state == JobState::Failed);
    Err(match (row.cause_code.as_deref(), text) {
        (_, None) | (Some(Reason::VARIANT_GIVEN_UP), _) => pending("the variant could not be made"),
        (Some(Reason::OVER_QUOTA), Some(text)) => Problem::new(Cause::OverQuota, text),
        (_, Some(text)) => Problem::new(Cause::MediaFailed, text),
    })
}

fn pending(what: &str) -> Problem {
    Problem::new(Cause::Unavailable, format!("{what}; try again in a moment"))
}

/// The job's row when it is over.
async fn ended(state: &State, job: JobId) -> Result<JobRow, Problem> {
    let rows = finished(state, &[job], WAIT).await?;
    let row = rows.and_then(|rows| rows.into_iter().next());
    row.ok_or_else(|| pending("the variant is still being made"))
}

async fn secrets(state: &State, tenant: &TenantId) -> Result<LinkSecrets, Problem> {
    let services = &state.services;
    let load = async {
        LinkSecrets::load(&services.control, &services.secrets, tenant)
            .await
            .map_err(Problem::from)
    };
    let loaded = state.link_secrets.try_get_with(tenant.clone(), load).await;
    loaded.map_err(|problem: Arc<Problem>| (*problem).clone())
}

impl From<LinkKeyError> for Problem {
    fn from(error: LinkKeyError) -> Self {
        match error {
            LinkKeyError::Full => Self::new(Cause::Conflict, error.to_string()),
            LinkKeyError::Secrets(SecretsError::NoMasterKey) => Self::new(
                Cause::SwitchedOff,
                "link keys are kept sealed, and this installation has no master key: its provider can give it one",
            ),
            LinkKeyError::Secrets(error) => error.into(),
            LinkKeyError::Db(error) | LinkKeyError::MasterKey(MasterKeyError::Database(error)) => error.into(),
            LinkKeyError::MasterKey(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "answering 500: link keys need the installation's master keys"
                );
                Self::new(Cause::Internal, "something went wrong here")
            }
        }
    }
}

/// Accepts the job that makes it, or finds the one that was accepted a moment ago, by whichever process.
async fn ask(
    state: &State,
    site: &Site,
    media: &MediaId,
    wanted: &OnDemand,
    original: ByteCount,
) -> Result<JobId, Problem> {
    let services = &state.services;
    let period = services.clock.now().get().div_euclid(ONE_JOB);
    // With spaces: no client's key is one of these.
    let name = |period: i64| format!("variant {media} {} {period}", wanted.name());
    if let Some(job) = asked_before(state, site, &name(period), |_| true).await? {
        return Ok(job);
    }
    if let Some(job) = asked_before(state, site, &name(period - 1), |row| !row.state.is_final()).await? {
        return Ok(job);
    }
    let trace = TraceId::generate(&services.clock, &services.entropy);
    let id = JobId::generate(&services.clock, &services.entropy);
    // Enough to refuse where nothing fits any more; the worker asks for the rest when it knows how much that is.
    let reserved = original.min(RESERVED);
    let payload = MakeVariant {
        media: media.clone(),
        name: wanted.name().to_owned(),
        variant: wanted.preset().clone(),
        reserved,
    };
    let mut job = tenant_job(&id, &payload, &site.tenant, media, &trace)?;
    job.reserved = reserved;
    let once = Idempotency {
        name: name(period),
        request_hash: wanted.name().to_owned(),
        answer: id.to_string(),
    };
    let claim = Claim {
        media: 0,
        bytes: reserved,
    };
    let mut tenant = site.tenant.clone();
    for _ in 0..JUDGEMENTS {
        let db = tenant
            .db()
            .map_err(|refused| Problem::new(Cause::TenantSuspended, refused.to_string()))?;
        room_for_one(&tenant, &db, media).await?;
        let request = Request {
            jobs: std::slice::from_ref(&job),
            once: Some(&once),
            ..Request::default()
        };
        match accept::commit_reserved(services, &tenant, &db, claim, request).await {
            Ok(Committed::New) => return Ok(id),
            Ok(Committed::Replayed(answer)) => return answer.parse().map_err(|_| being_changed()),
            Ok(Committed::Outdated(present)) => tenant = present,
            Ok(Committed::BeingMade(_) | Committed::Made(_)) => return Err(being_changed()),
            Err((problem, _)) => return Err(problem),
        }
    }
    Err(being_changed())
}

/// The job that was accepted under `name`, if it is one that is `wanted`.
async fn asked_before(
    state: &State,
    site: &Site,
    name: &str,
    wanted: impl Fn(&JobRow) -> bool,
) -> Result<Option<JobId>, Problem> {
    let control = &state.services.control;
    let Some((_, answer)) = recall(control, site.tenant.id(), name).await? else {
        return Ok(None);
    };
    let Ok(job) = answer.parse::<JobId>() else {
        return Ok(None);
    };
    Ok(jobs::get(control, &job).await?.filter(|row| wanted(row)).map(|_| job))
}

/// Whether the picture may have one file more. The worker has the last word; this spares it the work.
async fn room_for_one(tenant: &Tenant, db: &TenantDb, media: &MediaId) -> Result<(), Problem> {
    let most = most_files(tenant.context().limits.variants);
    let files = i64::try_from(db.variants(media).await?.len()).unwrap_or(i64::MAX);
    if files < most {
        return Ok(());
    }
    let detail = format!("the picture has the {most} files that it may have");
    Err(Problem::new(Cause::OverQuota, detail)
        .with("limit_name", Limit::Variants.as_str())
        .with("limit", most.saturating_sub(1))
        .with("used", files.saturating_sub(1))
        .with("asked", 1))
}

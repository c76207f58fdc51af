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
        accept::Idempotency,
        link_keys::{LinkKeyError, LinkSecrets},
    },
    ids::{JobId, MediaId, TraceId},
    jobs::{JobState, MakeVariant, Reason},
    quota::Claim,
    tenancy::{
        Limit, OnDemand, Tenant, TenantDb, most_files,
        store::media::{ORIGINAL, Variant},
    },
    units::ByteCount,
};
use std::{sync::Arc, time::Duration};

/// Longest time that a request waits for its variant.
const WAIT: Duration = Duration::from_secs(30);
/// One job makes a variant, or says why it is not to be had, for so long: milliseconds.
const ONE_JOB: i64 = 600_000;

/// The variant that `name` asks for: as it is stored, or made now where `signature` says so. `None`: there is none, and
/// nobody may have it made.
pub(super) async fn variant(
    state: &State,
    site: &Site,
    media: &MediaId,
    name: &str,
    signature: Option<&str>,
) -> Result<Option<Variant>, Problem> {
    let wanted = match (name.parse::<OnDemand>(), signature) {
        (Ok(wanted), _) => wanted,
        (Err(_), None) => return Ok(None),
        (Err(error), Some(_)) => return Err(Problem::new(Cause::BadRequest, error.to_string())),
    };
    let stored = site.db.variant(media, wanted.name()).await?;
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
    let Some(original) = site.db.variant(media, ORIGINAL).await? else {
        return Ok(None);
    };
    let known = (site.tenant.id().clone(), media.clone(), wanted.name().to_owned());
    let asked = state
        .making
        .try_get_with(known, ask(state, site, media, &wanted, original.bytes));
    let job = asked.await.map_err(|problem: Arc<Problem>| (*problem).clone())?;
    let rows = finished(state, std::slice::from_ref(&job), WAIT).await?;
    let Some(row) = rows.as_deref().and_then(<[_]>::first) else {
        let detail = "the variant is still being made; try again in a moment";
        return Err(Problem::new(Cause::Unavailable, detail));
    };
    if row.state != JobState::Done {
        let cause = match row.cause_code.as_deref() {
            Some(Reason::OVER_QUOTA) => Cause::OverQuota,
            Some(_) | None => Cause::MediaFailed,
        };
        if site.db.variant(media, ORIGINAL).await?.is_none() {
            // It was deleted meanwhile.
            return Ok(None);
        }
        return Err(Problem::new(cause, row.cause.clone().unwrap_or_default()));
    }
    Ok(site.db.variant(media, wanted.name()).await?)
}

async fn secrets(state: &State, tenant: &mediamill_shared::ids::TenantId) -> Result<LinkSecrets, Problem> {
    if let Some(secrets) = state.link_secrets.get(tenant).await {
        return Ok(secrets);
    }
    let services = &state.services;
    let secrets = LinkSecrets::load(&services.control, &services.secrets, tenant).await?;
    state.link_secrets.insert(tenant.clone(), secrets.clone()).await;
    Ok(secrets)
}

impl From<LinkKeyError> for Problem {
    fn from(error: LinkKeyError) -> Self {
        match error {
            LinkKeyError::Full => Self::new(Cause::Conflict, error.to_string()),
            LinkKeyError::Secrets(error) => error.into(),
            LinkKeyError::Db(error) => error.into(),
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
    let trace = TraceId::generate(&services.clock, &services.entropy);
    let id = JobId::generate(&services.clock, &services.entropy);
    // What is made of a picture is seldom larger than it is; the worker counts what it really takes.
    let reserved = original;
    let payload = MakeVariant {
        media: media.clone(),
        name: wanted.name().to_owned(),
        variant: wanted.preset().clone(),
        reserved,
    };
    let mut job = tenant_job(&id, &payload, &site.tenant, media, &trace)?;
    job.reserved = reserved;
    let period = services.clock.now().get().div_euclid(ONE_JOB);
    let once = Idempotency {
        // With spaces: no client's key is one of these.
        name: format!("variant {media} {} {period}", wanted.name()),
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
        services.quota.reserve(&tenant, &db, claim).await?;
        match accept::commit(services, &tenant, std::slice::from_ref(&job), Some(&once)).await {
            Ok(Committed::New) => return Ok(id),
            Ok(Committed::Replayed(answer)) => {
                services.quota.release(&tenant, claim).await;
                return answer.parse().map_err(|_| being_changed());
            }
            Ok(Committed::Outdated(present)) => {
                services.quota.release(&tenant, claim).await;
                tenant = present;
            }
            Err((problem, known)) => {
                if known {
                    services.quota.release(&tenant, claim).await;
                }
                return Err(problem);
            }
        }
    }
    Err(being_changed())
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
        .with("limit", most.saturating_sub(1)))
}

//! Accepting an upload that a worker will fetch from a URL: judged by all that is known before there are bytes, and by the worker
//! by the rest.

use crate::{
    accept::{
        self, Answer, Committed, JUDGEMENTS, Uploaded, Wishes, accepted_json, being_changed, plain_name, tenant_job,
    },
    extract::Caller,
    problem::{Cause, Problem},
    state::State,
    stay,
};
use mediamill_shared::{
    control::{
        accept::{Idempotency, Request},
        expiries::Expiry,
    },
    fetch::{Rules, SourceUrl, UrlRefused},
    ids::{JobId, MediaId, TraceId},
    jobs::FetchMedia,
    quota::Claim,
    tenancy::{Duplicates, Limit, Tenant},
    units::ByteCount,
};
use sha2::{Digest, Sha256};

/// What is reserved for an upload that nobody knows the size of: enough to refuse where nothing fits any more. The worker asks
/// for the rest when it knows how much that is.
const RESERVED: ByteCount = ByteCount::new(16 * 1024);

/// A URL to fetch an upload from, and what its file is called.
pub(crate) struct Source {
    pub(crate) url: SourceUrl,
    pub(crate) file_name: Option<String>,
}

/// Refuses what is refused whoever asks: the tenant has it switched off, or the URL is none that is fetched from.
pub(crate) fn foresee(state: &State, tenant: &Tenant, url: &SourceUrl) -> Result<(), Problem> {
    allowed(tenant)?;
    let rules = Rules::from_config(&state.services.config);
    Ok(rules.admit(url)?)
}

impl From<UrlRefused> for Problem {
    fn from(refused: UrlRefused) -> Self {
        Self::new(Cause::BadRequest, format!("the url is not fetched: {refused}")).with("member", "url")
    }
}

fn allowed(tenant: &Tenant) -> Result<(), Problem> {
    if tenant.context().limits.allows(Limit::UploadUrl) {
        return Ok(());
    }
    Err(Problem::switched_off(Limit::UploadUrl, "uploads from URLs"))
}

/// Accepts the job that fetches it.
pub(crate) async fn upload(
    state: &State,
    caller: &Caller,
    source: Source,
    wishes: Wishes,
    trace: &TraceId,
) -> Result<Answer, Problem> {
    let services = &state.services;
    let (job, media) = (
        JobId::generate(&services.clock, &services.entropy),
        MediaId::generate(&services.clock, &services.entropy),
    );
    let file_name = source
        .file_name
        .clone()
        .or_else(|| source.url.file_name())
        .as_deref()
        .and_then(plain_name);
    let entry = accepted_json(&media, file_name.as_deref(), Some(&job));
    let body = serde_json::json!({ "media": [entry] }).to_string();
    let once = wishes.once.map(|name| Idempotency {
        name,
        request_hash: request_hash(&source),
        answer: body.clone(),
    });
    let mut tenant = caller.site.tenant.clone();
    for _ in 0..JUDGEMENTS {
        allowed(&tenant)?;
        let db = tenant
            .db()
            .map_err(|refused| Problem::new(Cause::TenantSuspended, refused.to_string()))?;
        services.storages.admit(&tenant).await?;
        let expires_at = stay::expiry(&tenant, wishes.stay, services.clock.now())?;
        let context = tenant.context();
        let payload = FetchMedia {
            media: media.clone(),
            url: source.url.clone(),
            file_name: file_name.clone(),
            key: Some(caller.key.clone()),
            reserved: RESERVED,
            expires_at,
            holder: (context.pictures.duplicates == Duplicates::ReturnExisting).then(|| caller.user.clone()),
        };
        let mut row = tenant_job(&job, &payload, &tenant, &media, trace)?;
        row.reserved = RESERVED;
        row.lane = wishes.lane.unwrap_or(row.lane);
        let expiries: Vec<Expiry> = expires_at
            .into_iter()
            .map(|at| Expiry {
                tenant: tenant.id().clone(),
                media: media.clone(),
                at,
            })
            .collect();
        let request = Request {
            jobs: std::slice::from_ref(&row),
            once: once.as_ref(),
            contents: &[],
            expiries: &expiries,
        };
        let claim = Claim {
            media: 1,
            bytes: RESERVED,
        };
        match accept::commit_counted(services, caller, &tenant, &db, claim, request).await {
            Ok(Committed::New) => {
                return Ok(Answer::Now(Uploaded {
                    jobs: vec![job],
                    existing: Vec::new(),
                    body,
                }));
            }
            Ok(Committed::Replayed(replayed)) => return Ok(Answer::Replayed(replayed)),
            Ok(Committed::Outdated(present)) => tenant = present,
            // Nobody knows the bytes yet.
            Ok(Committed::BeingMade(_) | Committed::Made(_)) => return Err(being_changed()),
            Err((problem, _)) => return Err(problem),
        }
    }
    Err(being_changed())
}

/// The same URL under the same name is the same request; no files are.
fn request_hash(source: &Source) -> String {
    let mut hash = Sha256::new();
    hash.update(b"fetch\0");
    hash.update(source.url.as_str().as_bytes());
    hash.update([0]);
    hash.update(source.file_name.as_deref().unwrap_or_default().as_bytes());
    hex::encode(hash.finalize())
}

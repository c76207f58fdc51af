//! `POST /v1/media/from-url`: an upload that is fetched.

use super::{
    json,
    upload::{finish, wait},
};
use crate::{
    accept::Wishes,
    extract::{Caller, IdempotencyKey, Traced},
    fetched::{self, Source},
    problem::{Cause, Problem},
    state::State,
    stay,
};
use axum::{
    extract::{Query, Request, State as Shared},
    response::Response,
};
use mediamill_shared::{
    fetch::{SourceUrl, UrlRefused},
    jobs::Lane,
};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FromUrlQuery {
    /// Answers when the work is done, at the latest after so many seconds (0 to 60).
    wait: Option<u64>,
    /// `bulk`: nobody waits for the picture. It is made after others of the site, and of other sites, that somebody waits for.
    #[param(value_type = Option<String>)]
    lane: Option<Lane>,
}

/// What to fetch.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FromUrl {
    /// `http` or `https`, without a name or a password in it.
    url: String,
    /// Name of the file. Without, the URL's last part.
    file_name: Option<String>,
    /// When the picture expires, RFC 3339. Without, the site's own setting holds.
    expires_at: Option<String>,
    /// The same as an interval from now, ISO 8601 (`P30D`, `PT12H`), or seconds.
    expiration: Option<String>,
}

/// Uploads a picture that is fetched from a URL.
///
/// Answers 202 with the job, or, with `wait`, 201 with the finished picture. The job ends like that of an upload whose bytes were
/// sent; where nothing could be fetched its `cause` says why: `url-refused`, `url-not-found`, `url-too-large`, `url-untrusted`,
/// `too-many-redirects`, `format-not-taken`, `fetch-failed`. With an `Idempotency-Key` a repeated request is accepted once.
///
/// Where the site gives what it has for the same bytes, `media` of the finished job is that picture, and the id that was answered
/// first is nobody's.
#[utoipa::path(
    post, path = "/v1/media/from-url", tag = "media",
    params(
        FromUrlQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "A request that is sent again with it is accepted once.")),
    request_body = FromUrl,
    responses(
        (status = 202, description = "Accepted: the work is recorded. `Location` is the job."),
        (status = 201, description = "Done within `wait`: the picture."),
        (status = 400, description = "bad-request: the URL is none, or none that is fetched from"),
        (status = 401, description = "missing-key, wrong-key"),
        (status = 403, description = "switched-off, over-quota, frozen, no-storage, tenant-suspended"),
        (status = 413, description = "body-too-long"),
        (status = 422, description = "idempotency-key-reused; media-failed, with `wait`"),
        (status = 429, description = "rate-limited: `uploads_hour` is used up; `Retry-After` says until when")),
    security(("key" = [])))]
pub(crate) async fn upload(
    Shared(state): Shared<State>,
    caller: Caller,
    Traced(trace): Traced,
    IdempotencyKey(once): IdempotencyKey,
    query: Result<Query<FromUrlQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(Cause::BadRequest, error.body_text()))?;
    let patience = wait(query.wait)?;
    let wanted: FromUrl = json::read(&state, request.into_body()).await?;
    let url: SourceUrl = wanted
        .url
        .parse()
        .map_err(|refused: UrlRefused| Problem::from(refused))?;
    fetched::foresee(&state, &caller.site.tenant, &url)?;
    let wishes = Wishes {
        once,
        lane: query.lane,
        stay: stay::read(wanted.expires_at.as_deref(), wanted.expiration.as_deref())?,
    };
    let source = Source {
        url,
        file_name: wanted.file_name,
    };
    let answer = fetched::upload(&state, &caller, source, wishes, &trace).await?;
    finish(&state, &caller, answer, patience).await
}

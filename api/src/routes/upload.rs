//! `POST /v1/media`: one file as the body, or several in a multipart.

use super::views::{JobView, MediaView};
use crate::{
    accept::{self, Answer, Incoming, Staged, Uploaded, Wishes},
    extract::{Caller, IdempotencyKey, Traced},
    problem::{Cause, Problem},
    state::State,
    stay,
};
use axum::{
    body::Body,
    extract::{FromRequest, Multipart, Query, Request, State as Shared, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use mediamill_shared::{
    control::jobs::JobRow,
    ids::{JobId, MediaId},
    jobs::{JobState, Lane},
};
use serde::Deserialize;
use std::time::Duration;

/// Longest `wait`, seconds.
const LONGEST_WAIT: u64 = 60;
/// Bytes of a refused body that are read at most.
const MOST_DRAINED: usize = 1024 * 1024;
/// Files of one multipart at most.
const MOST_FILES: usize = 100;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UploadQuery {
    /// Answers when the work is done, at the latest after so many seconds (0 to 60).
    wait: Option<u64>,
    /// `bulk`: nobody waits for the pictures. They are made after others of the site, and of other sites, that somebody waits for.
    #[param(value_type = Option<String>)]
    lane: Option<Lane>,
    /// File name of a raw body; `X-File-Name` says it too.
    name: Option<String>,
    /// When the pictures expire, RFC 3339. Without, the site's own setting holds.
    expires_at: Option<String>,
    /// The same as an interval from now, ISO 8601 (`P30D`, `PT12H`), or seconds.
    expiration: Option<String>,
}

/// A picture as the body; its type is told by its content, whatever the header says.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "described in the OpenAPI document, read as a stream")]
pub(crate) struct Picture(Vec<u8>);

/// Parts that have a file name; at most 100.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "described in the OpenAPI document, read as a stream")]
pub(crate) struct Pictures {
    /// A picture; the name of the part is yours to choose.
    file: Vec<Picture>,
}

/// Uploads pictures.
///
/// The body is a picture, or a `multipart/form-data` whose parts with a file name are pictures. Answers 202 with the
/// jobs, or, with `wait`, 201 with the finished pictures. With an `Idempotency-Key` a repeated request is accepted once. Where
/// the site gives what it has for the same bytes, an upload that is there already is answered 200 with that picture.
///
/// Where the tenant has a limit of uploads an hour, answers tell what is left of it in `RateLimit-Policy` and `RateLimit`; one
/// unit is one picture.
#[utoipa::path(
    post, path = "/v1/media", tag = "media",
    params(
        UploadQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "A request that is sent again with it is accepted once."),
        ("X-File-Name" = Option<String>, Header, description = "File name of a raw body.")),
    request_body(content((Picture = "application/octet-stream"), (Pictures = "multipart/form-data"))),
    responses(
        (status = 202, description = "Accepted: the bytes are safe, the work is recorded. `Location` is the first job."),
        (status = 200, description = "All of it was there: the pictures."),
        (status = 201, description = "Done within `wait`: the pictures."),
        (status = 401, description = "missing-key, wrong-key"),
        (status = 403, description = "over-quota, frozen, no-storage, tenant-suspended"),
        (status = 413, description = "too-large"),
        (status = 415, description = "unsupported-media-type"),
        (status = 422, description = "idempotency-key-reused; media-failed, with `wait`"),
        (status = 429, description = "rate-limited: `uploads_hour` is used up; `Retry-After` says until when")),
    security(("key" = [])))]
pub(crate) async fn upload(
    Shared(state): Shared<State>,
    caller: Caller,
    Traced(trace): Traced,
    IdempotencyKey(once): IdempotencyKey,
    query: Result<Query<UploadQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let wanted = match wanted(&state, &caller, once, query, request.headers()).await {
        Ok(wanted) => wanted,
        Err(problem) => {
            drain(&state, request.into_body()).await;
            return Err(problem);
        }
    };
    let files = if is_multipart(request.headers()) {
        several(&state, &caller, request).await?
    } else {
        vec![one(&state, &caller, wanted.name, request).await?]
    };
    let answer = accept::uploads(&state, &caller, files, wanted.wishes, &trace).await?;
    finish(&state, &caller, answer, wanted.patience).await
}

/// What an upload's request says besides its body.
struct Wanted {
    name: Option<String>,
    patience: Duration,
    wishes: Wishes,
}

/// Refuses what is refused whatever the body is.
async fn wanted(
    state: &State,
    caller: &Caller,
    once: Option<String>,
    query: Result<Query<UploadQuery>, QueryRejection>,
    headers: &HeaderMap,
) -> Result<Wanted, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(Cause::BadRequest, error.body_text()))?;
    let patience = wait(query.wait)?;
    let stay = stay::read(query.expires_at.as_deref(), query.expiration.as_deref())?;
    stay::expiry(&caller.site.tenant, stay, state.services.clock.now())?;
    refuse_by_length(caller, headers)?;
    // A request that was accepted before is answered again, whatever is left.
    if once.is_none() {
        accept::room_for_one(state, caller).await?;
    }
    Ok(Wanted {
        name: query.name,
        patience,
        wishes: Wishes {
            once,
            stay,
            lane: query.lane,
        },
    })
}

/// How long the answer may wait for the work.
pub(super) fn wait(seconds: Option<u64>) -> Result<Duration, Problem> {
    let seconds = seconds.unwrap_or(0);
    if seconds > LONGEST_WAIT {
        let detail = format!("wait is 0 to {LONGEST_WAIT} seconds");
        return Err(Problem::new(Cause::BadRequest, detail));
    }
    Ok(Duration::from_secs(seconds))
}

/// What is answered to an upload that was accepted, now or before.
pub(super) async fn finish(
    state: &State,
    caller: &Caller,
    answer: Answer,
    patience: Duration,
) -> Result<Response, Problem> {
    let (taken, replayed) = match answer {
        Answer::Now(taken) => (taken, false),
        Answer::Replayed(body) => (before(body), true),
    };
    let mut response = respond(state, caller, taken, patience).await?;
    if replayed {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// A body that says it is too long is not kept.
fn refuse_by_length(caller: &Caller, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(limit) = caller.site.tenant.context().limits.largest_upload() else {
        return Ok(());
    };
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // A multipart has several files, each with a limit of its own, and what is around them.
    let room = if is_multipart(headers) {
        limit.unsigned().saturating_mul(MOST_FILES as u64)
    } else {
        limit.unsigned()
    };
    match length {
        Some(length) if length > room => Err(accept::too_large(limit)),
        _ => Ok(()),
    }
}

/// Reads a short body to its end before it is refused: a client that still sends may find the connection closed before it
/// reads why. Of a long one the first part alone is read.
pub(super) async fn drain(state: &State, body: Body) {
    let mut left = MOST_DRAINED;
    let mut body = body.into_data_stream();
    let read = async {
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // Late or broken off: the answer goes out all the same.
    let _ = tokio::time::timeout(state.services.config.body_timeout, read).await;
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    kind.trim_start()
        .to_ascii_lowercase()
        .starts_with("multipart/form-data")
}

/// `chunks`, each of which must come within the configured pause.
pub(super) fn in_time<'a, S, E>(state: &'a State, chunks: S) -> Incoming<'a>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'a,
    E: std::fmt::Display + Send,
{
    let pause = state.services.config.body_timeout;
    let chunks = stream::unfold((chunks, false), move |(mut chunks, over)| async move {
        if over {
            return None;
        }
        match tokio::time::timeout(pause, chunks.next()).await {
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), (chunks, false))),
            Ok(Some(Err(error))) => {
                let problem = Problem::new(Cause::BadRequest, format!("the body broke off: {error}"));
                Some((Err(problem), (chunks, true)))
            }
            Ok(None) => None,
            Err(_) => {
                let detail = format!("nothing of the body arrived for {} s", pause.as_secs());
                Some((Err(Problem::new(Cause::BodyTimeout, detail)), (chunks, true)))
            }
        }
    });
    // A short body is asked once more after its end.
    Box::pin(chunks.fuse())
}

async fn one(state: &State, caller: &Caller, name: Option<String>, request: Request) -> Result<Staged, Problem> {
    let header = request
        .headers()
        .get("x-file-name")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let name = name.or(header);
    let body = request.into_body().into_data_stream();
    accept::stage(state, caller, name.as_deref(), in_time(state, body)).await
}

async fn several(state: &State, caller: &Caller, request: Request<Body>) -> Result<Vec<Staged>, Problem> {
    let broken =
        |error: &dyn std::fmt::Display| Problem::new(Cause::BadRequest, format!("the multipart is broken: {error}"));
    let mut multipart = Multipart::from_request(request, state)
        .await
        .map_err(|error| broken(&error.body_text()))?;
    let pause = state.services.config.body_timeout;
    let mut files = Vec::new();
    loop {
        let part = tokio::time::timeout(pause, multipart.next_field()).await;
        let part = part.map_err(|_| Problem::new(Cause::BodyTimeout, "nothing of the body arrived in time"))?;
        let Some(field) = part.map_err(|error| broken(&error.body_text()))? else {
            break;
        };
        let Some(name) = field.file_name().map(str::to_owned) else {
            let part = field.name().unwrap_or_default().to_owned();
            let detail = format!("part {part:?} has no file name: every part is a picture, options stand in the query");
            return Err(Problem::new(Cause::BadRequest, detail));
        };
        if files.len() == MOST_FILES {
            return Err(Problem::new(
                Cause::BadRequest,
                format!("a request has at most {MOST_FILES} files"),
            ));
        }
        files.push(accept::stage(state, caller, Some(&name), in_time(state, field)).await?);
    }
    if files.is_empty() {
        return Err(Problem::new(Cause::EmptyUpload, "the multipart has no file"));
    }
    Ok(files)
}

/// What an answer that was given before speaks of.
fn before(body: String) -> Uploaded {
    let told: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let media = told.get("media").and_then(serde_json::Value::as_array);
    let media = || media.into_iter().flatten();
    let text = |one: &serde_json::Value, pointer: &str| {
        one.pointer(pointer)
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
    };
    Uploaded {
        jobs: media().filter_map(|one| text(one, "/job/id")?.parse().ok()).collect(),
        existing: media()
            .filter(|one| text(one, "/job/id").is_none())
            .filter_map(|one| text(one, "/id")?.parse().ok())
            .collect(),
        body,
    }
}

/// 202, or what became of it when that is known within `wait`.
async fn respond(state: &State, caller: &Caller, uploaded: Uploaded, wait: Duration) -> Result<Response, Problem> {
    let Uploaded { jobs, existing, body } = uploaded;
    if jobs.is_empty() {
        return pictures(state, caller, StatusCode::OK, &existing).await;
    }
    if wait > Duration::ZERO
        && let Some(rows) = finished(state, &jobs, wait).await?
    {
        return results(state, caller, &rows, existing).await;
    }
    let mut response = (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(location) = jobs
        .first()
        .and_then(|job| HeaderValue::try_from(format!("/v1/jobs/{job}")).ok())
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The rows of `jobs`, all final. `None`: not within `wait`.
pub(crate) async fn finished(state: &State, jobs: &[JobId], wait: Duration) -> Result<Option<Vec<JobRow>>, Problem> {
    let all = async {
        let mut rows = Vec::with_capacity(jobs.len());
        for job in jobs {
            let row = state
                .followers
                .follow(&state.services, job)
                .until(|row| row.state.is_final())
                .await?;
            rows.extend(row);
        }
        Ok(rows)
    };
    tokio::select! {
        rows = all => rows.map(Some),
        () = state.services.clock.sleep(wait) => Ok(None),
        () = state.services.shutdown.soft() => Ok(None),
    }
}

async fn results(state: &State, caller: &Caller, rows: &[JobRow], existing: Vec<MediaId>) -> Result<Response, Problem> {
    let now = state.services.clock.now();
    if rows.iter().any(|row| row.state != JobState::Done) {
        let causes: Vec<String> = rows.iter().filter_map(|row| row.cause.clone()).collect();
        let jobs =
            serde_json::to_value(rows.iter().map(|row| JobView::of(row, now)).collect::<Vec<_>>()).unwrap_or_default();
        return Err(Problem::new(Cause::MediaFailed, causes.join("; ")).with("jobs", jobs));
    }
    let made = rows.iter().filter_map(|row| row.subject.as_deref()?.parse().ok());
    let media: Vec<MediaId> = made.chain(existing).collect();
    pictures(state, caller, StatusCode::CREATED, &media).await
}

/// Pictures that are there; what was deleted again already is left out.
async fn pictures(state: &State, caller: &Caller, status: StatusCode, ids: &[MediaId]) -> Result<Response, Problem> {
    let (db, scheme) = (&caller.site.db, &state.services.config.public_scheme);
    let mut media = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(picture) = db.media(id).await? {
            let variants = db.variants(id).await?;
            media.push(MediaView::ready(&caller.site, scheme, picture, variants));
        }
    }
    let mut response = (status, axum::Json(serde_json::json!({ "media": media }))).into_response();
    let location = ids.first().map(|id| format!("/v1/media/{id}"));
    if let Some(location) = location.and_then(|location| HeaderValue::try_from(location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

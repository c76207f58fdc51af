//! `/v1/uploads`: uploads whose bytes the client puts into the store itself. What is done with them stands in `resumable::direct`.

use super::{
    json,
    upload::{drain, finish, in_time, wait},
    views::rfc3339,
};
use crate::{
    accept::{Answer, Uploaded, accepted_json},
    extract::{Caller, Site, Traced},
    problem::{Cause, Problem},
    resumable::{
        self, Finished, Metadata, content_type,
        direct::{self, Announcement},
        number,
    },
    state::State,
};
use axum::{
    Json,
    extract::{Path, Query, Request, State as Shared, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mediamill_shared::{
    control::resumable::{Direct, Upload, UploadState},
    objects::SignedPut,
    tenancy::{ImageFormat, Tenant},
    units::ByteCount,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// An upload that is announced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDirect {
    /// Its size, at least 1.
    bytes: i64,
    /// `image/jpeg`, `image/png`, `image/webp`, `image/gif`, `image/avif`, `image/tiff` or `image/bmp`.
    #[serde(rename = "type")]
    content_type: String,
    /// SHA-256 of its bytes, hexadecimal. With it no other bytes are taken, and a store that keeps it spares reading them.
    sha256: Option<String>,
    /// Name of the file.
    file_name: Option<String>,
    /// `bulk`: nobody waits for the picture. It is made after others of the site, and of other sites, that somebody waits for.
    lane: Option<String>,
    /// When the picture expires, RFC 3339. Without, the site's own setting holds.
    expires_at: Option<String>,
    /// The same as an interval from its completion, ISO 8601 (`P30D`, `PT12H`), or seconds.
    expiration: Option<String>,
}

/// The request that takes the bytes.
#[derive(Serialize, ToSchema)]
pub(crate) struct PutView {
    /// `PUT`.
    method: &'static str,
    /// Where to. Whoever knows it may send the bytes: it is a secret.
    url: String,
    /// Headers that must be sent as they stand here; browsers send `content-length` by themselves.
    headers: BTreeMap<String, String>,
}

/// An upload.
#[derive(Serialize, ToSchema)]
pub(crate) struct DirectView {
    /// Its id.
    id: String,
    /// `open`, or `done`.
    state: &'static str,
    /// Its size.
    bytes: i64,
    /// What was announced.
    #[serde(rename = "type")]
    content_type: String,
    /// Name of the file.
    file_name: Option<String>,
    /// Until when it must be completed, RFC 3339.
    expires_at: String,
    /// Where it is seen, and ended by `DELETE`.
    url: String,
    /// Where a `POST` completes it, once the bytes are sent.
    complete: String,
    /// How its bytes are sent; told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    put: Option<PutView>,
    /// The picture that it became.
    #[serde(skip_serializing_if = "Option::is_none")]
    media: Option<serde_json::Value>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CompleteQuery {
    /// Answers when the work is done, at the latest after so many seconds (0 to 60).
    wait: Option<u64>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ContentQuery {
    /// As it stands in the URL that was answered.
    #[serde(default)]
    token: String,
}

fn view(upload: &Upload, direct: &Direct, put: Option<SignedPut>) -> Result<DirectView, Problem> {
    let file_name = Metadata::parse(&upload.metadata)?.file_name();
    let url = format!("/v1/uploads/{}", upload.id);
    let put = put.map(|put| PutView {
        method: "PUT",
        url: put.url.into(),
        headers: put.headers.into_iter().collect(),
    });
    let media = Finished::of(upload);
    let media = media.map(|done| accepted_json(&done.media, file_name.as_deref(), done.job.as_ref()));
    Ok(DirectView {
        id: upload.id.to_string(),
        state: upload.state.as_str(),
        bytes: upload.length.map_or(0, ByteCount::get),
        content_type: direct.content_type.clone(),
        file_name,
        expires_at: rfc3339(upload.expires_at),
        complete: format!("{url}/complete"),
        url,
        put,
        media,
    })
}

/// An upload of the tenant that is not over, and goes to the store itself.
async fn found(state: &State, tenant: &Tenant, id: &str) -> Result<(Upload, Direct), Problem> {
    let parsed = id.parse().map_err(|_| resumable::unknown(id))?;
    let upload = resumable::found(&state.services, tenant, &parsed).await?;
    match upload.direct.clone() {
        Some(direct) => Ok((upload, direct)),
        None => Err(resumable::unknown(id)),
    }
}

fn hexadecimal(text: &str) -> Result<String, Problem> {
    let text = text.to_ascii_lowercase();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text);
    }
    let detail = "sha256 is 64 hexadecimal digits";
    Err(Problem::new(Cause::BadRequest, detail).with("member", "sha256"))
}

/// Announces an upload whose bytes go to the store itself.
///
/// `put` of the answer is the request that takes them, as often as it is sent until `expires_at`: the store takes no other size and
/// type than were announced, and with `sha256` no other bytes. When they are there, `complete` makes a picture of them.
#[utoipa::path(post, path = "/v1/uploads", tag = "direct",
    request_body = NewDirect,
    responses(
        (status = 201, description = "`put` takes the bytes.", body = DirectView),
        (status = 400, description = "bad-request, empty-upload"),
        (status = 401, description = "missing-key, wrong-key"),
        (status = 403, description = "over-quota, frozen, tenant-suspended"),
        (status = 413, description = "too-large, body-too-long"),
        (status = 415, description = "unsupported-media-type"),
        (status = 429, description = "too-many-uploads; rate-limited: `uploads_hour` is used up")),
    security(("key" = [])))]
pub(crate) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let new: NewDirect = json::read(&state, request.into_body()).await?;
    let bad = |member: &str, detail: &str| Problem::new(Cause::BadRequest, detail).with("member", member);
    match new.bytes {
        0 => return Err(Problem::new(Cause::EmptyUpload, "the upload has no bytes")),
        // As far as the database counts.
        1..=9_000_000_000_000_000_000 => {}
        _ => return Err(bad("bytes", "bytes is the size of the upload")),
    }
    let format = ImageFormat::of_mime(&new.content_type).ok_or_else(|| {
        let detail = format!("{:?} is the type of no picture that is taken here", new.content_type);
        Problem::new(Cause::UnsupportedMediaType, detail)
    })?;
    let announced = Announcement {
        bytes: ByteCount::new(new.bytes),
        format,
        sha256: new.sha256.as_deref().map(hexadecimal).transpose()?,
        metadata: Metadata::of(&[
            ("filename", new.file_name.as_deref()),
            ("expires_at", new.expires_at.as_deref()),
            ("expiration", new.expiration.as_deref()),
            ("lane", new.lane.as_deref()),
        ])?,
    };
    let (upload, put) = direct::announce(&state, &caller, announced).await?;
    let direct = upload
        .direct
        .clone()
        .ok_or_else(|| resumable::unknown(upload.id.as_str()))?;
    let view = view(&upload, &direct, Some(put))?;
    let mut response = (StatusCode::CREATED, Json(&view)).into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(&view.url) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Shows an upload that was announced.
#[utoipa::path(get, path = "/v1/uploads/{id}", tag = "direct",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The upload; `media`, once it is done.", body = DirectView),
        (status = 404, description = "not-found"),
        (status = 410, description = "upload-gone")),
    security(("key" = [])))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<DirectView>, Problem> {
    let (upload, direct) = found(&state, &caller.site.tenant, &id).await?;
    Ok(Json(view(&upload, &direct, None)?))
}

/// Ends an upload and removes its bytes. A picture that was made of it stays.
#[utoipa::path(delete, path = "/v1/uploads/{id}", tag = "direct",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "It is over."),
        (status = 404, description = "not-found"),
        (status = 410, description = "upload-gone"),
        (status = 423, description = "upload-busy")),
    security(("key" = [])))]
pub(crate) async fn remove(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let (upload, _) = found(&state, &caller.site.tenant, &id).await?;
    resumable::end(&state.services, &caller.site.tenant, &upload).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a picture of an upload whose bytes are in the store.
///
/// They are judged as `POST /v1/media` judges them, and answered like it; what is refused for good is removed. Sent again it answers
/// the same picture.
#[utoipa::path(post, path = "/v1/uploads/{id}/complete", tag = "direct",
    params(("id" = String, Path), CompleteQuery),
    responses(
        (status = 202, description = "Accepted: the work is recorded. `Location` is the job."),
        (status = 200, description = "It was there: the picture."),
        (status = 201, description = "Done within `wait`: the picture."),
        (status = 401, description = "missing-key, wrong-key"),
        (status = 403, description = "over-quota, frozen, no-storage, tenant-suspended"),
        (status = 404, description = "not-found"),
        (status = 409, description = "upload-incomplete: the store has no bytes of it yet"),
        (status = 410, description = "upload-gone"),
        (status = 413, description = "too-large"),
        (status = 415, description = "unsupported-media-type"),
        (status = 422, description = "upload-mismatch: what arrived is not what was announced; media-failed, with `wait`"),
        (status = 423, description = "upload-busy"),
        (status = 429, description = "rate-limited: `uploads_hour` is used up; `Retry-After` says until when")),
    security(("key" = [])))]
pub(crate) async fn complete(
    Shared(state): Shared<State>,
    caller: Caller,
    Traced(trace): Traced,
    Path(id): Path<String>,
    query: Result<Query<CompleteQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(Cause::BadRequest, error.body_text()))?;
    let patience = wait(query.wait)?;
    let (upload, _) = found(&state, &caller.site.tenant, &id).await?;
    let file_name = Metadata::parse(&upload.metadata)?.file_name();
    let finished = if let Some(finished) = Finished::of(&upload) {
        finished
    } else {
        let (owned, caller) = (state.clone(), caller.clone());
        resumable::apart(&state.services, async move {
            resumable::complete(&owned, caller, &upload, &trace).await
        })
        .await?
    };
    let entry = accepted_json(&finished.media, file_name.as_deref(), finished.job.as_ref());
    let answer = Uploaded {
        existing: finished.job.is_none().then_some(finished.media).into_iter().collect(),
        jobs: finished.job.into_iter().collect(),
        body: serde_json::json!({ "media": [entry] }).to_string(),
    };
    finish(&state, &caller, Answer::Now(answer), patience).await
}

/// Takes the bytes of an upload, where the store itself takes none from clients.
///
/// Where to is told by `put` when the upload is announced; the token in it is all that is asked for.
#[utoipa::path(put, path = "/v1/uploads/{id}/content", tag = "direct",
    params(("id" = String, Path), ContentQuery,
        ("Content-Type" = String, Header, description = "As announced."),
        ("Content-Length" = i64, Header, description = "As announced.")),
    request_body = inline(super::upload::Picture),
    responses(
        (status = 200, description = "All of it is there."),
        (status = 404, description = "not-found: no such upload, or another token"),
        (status = 409, description = "conflict: it is completed already"),
        (status = 410, description = "upload-gone"),
        (status = 422, description = "upload-mismatch")))]
pub(crate) async fn content(
    Shared(state): Shared<State>,
    site: Site,
    Path(id): Path<String>,
    query: Result<Query<ContentQuery>, QueryRejection>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (head, body) = request.into_parts();
    let (upload, direct) = match taken(&state, &site, &id, query, &head.headers).await {
        Ok(taken) => taken,
        Err(problem) => {
            drain(&state, body).await;
            return Err(problem);
        }
    };
    let body = in_time(&state, body.into_data_stream());
    direct::take(&state.services, &site.tenant, &upload, &direct, body).await?;
    Ok(StatusCode::OK)
}

/// Refuses what is refused whatever the body is.
async fn taken(
    state: &State,
    site: &Site,
    id: &str,
    query: Result<Query<ContentQuery>, QueryRejection>,
    headers: &HeaderMap,
) -> Result<(Upload, Direct), Problem> {
    let Query(query) = query.map_err(|error| Problem::new(Cause::BadRequest, error.body_text()))?;
    let (upload, direct) = found(state, &site.tenant, id).await?;
    if !direct::opens(&direct, &query.token) {
        return Err(resumable::unknown(id));
    }
    if upload.state != UploadState::Open {
        return Err(Problem::new(Cause::Conflict, "the upload is completed already"));
    }
    if content_type(headers) != Some(direct.content_type.as_str()) {
        let detail = format!("{} was announced: send it as Content-Type", direct.content_type);
        return Err(Problem::new(Cause::UploadMismatch, detail));
    }
    match number(headers, "content-length")? {
        Some(length) if Some(length) != upload.length => {
            let announced = upload.length.map_or(0, ByteCount::get);
            let detail = format!("{announced} bytes were announced, not {}", length.get());
            Err(Problem::new(Cause::UploadMismatch, detail))
        }
        Some(_) | None => Ok((upload, direct)),
    }
}

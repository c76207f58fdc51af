//! `/v1/tus`: uploads that come in pieces, by the tus protocol 1.0.0.
//!
//! Rules are quoted from <https://tus.io/protocols/resumable-upload>; what is done with bytes stands in `resumable`.

mod begin;
mod go_on;

use super::upload::drain;
use crate::{
    extract::{Caller, Site, Traced},
    problem::{Cause, Problem},
    resumable::{self as pieces, ALGORITHMS, Finished, text},
    state::State,
};
use axum::{
    extract::{Path, Request, State as Shared},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware,
    response::{IntoResponse, Response},
};
use mediamill_shared::{
    control::resumable::{Upload, UploadKind, UploadState},
    ids::{TraceId, UploadId},
    tenancy::Tenant,
    units::Millis,
};
use time::{OffsetDateTime, macros::format_description};
use utoipa_axum::{router::OpenApiRouter, routes};

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination,concatenation";
/// The type of every body.
const BODY: &str = "application/offset+octet-stream";
/// What a page of another origin may read, where whoever stands before this lets it read anything.
const EXPOSED: &str = "Location, Upload-Offset, Upload-Length, Upload-Defer-Length, Upload-Metadata, Upload-Expires, \
    Upload-Concat, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm, Media-Id, Job-Id";

/// The routes; every answer of theirs says which version it speaks.
pub(crate) fn router() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(begin::create, options))
        .routes(routes!(show, append, remove, overridden))
        .layer(middleware::map_response(spoken))
}

async fn spoken(mut response: Response) -> Response {
    let headers = response.headers_mut();
    set(headers, "tus-resumable", VERSION);
    set(headers, "access-control-expose-headers", EXPOSED);
    if response.status() == StatusCode::PRECONDITION_FAILED {
        set(response.headers_mut(), "tus-version", VERSION);
    }
    response
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // Ids, numbers and what came as a header: always one.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// "If the version specified by the Client is not supported by the Server, it MUST respond with the 412 status."
fn spoken_by(headers: &HeaderMap) -> Result<(), Problem> {
    if text(headers, "tus-resumable")? == Some(VERSION) {
        return Ok(());
    }
    let detail = format!("send Tus-Resumable: {VERSION}");
    Err(Problem::new(Cause::ProtocolVersion, detail))
}

/// Tells what the server can.
#[utoipa::path(options, path = "/v1/tus", tag = "resumable",
    responses((status = 204, description = "`Tus-Version`, `Tus-Extension`, `Tus-Max-Size`, `Tus-Checksum-Algorithm`.")))]
pub(crate) async fn options(site: Site) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    set(headers, "tus-version", VERSION);
    set(headers, "tus-extension", EXTENSIONS);
    set(headers, "tus-checksum-algorithm", ALGORITHMS);
    if let Some(limit) = site.tenant.context().limits.largest_upload() {
        set(headers, "tus-max-size", &limit.get().to_string());
    }
    response
}

/// An upload of the tenant that is not over, and comes in pieces.
async fn found(state: &State, tenant: &Tenant, id: &UploadId) -> Result<Upload, Problem> {
    let upload = pieces::found(&state.services, tenant, id).await?;
    if upload.direct.is_some() {
        return Err(pieces::unknown(id.as_str()));
    }
    Ok(upload)
}

/// Tells how much of an upload has arrived. One that is all there and was not judged, since a process died over it, is
/// judged now.
#[utoipa::path(head, path = "/v1/tus/{id}", tag = "resumable",
    params(("id" = String, Path), ("Tus-Resumable" = String, Header, description = "`1.0.0`.")),
    responses(
        (status = 200, description = "`Upload-Offset`, `Upload-Length`; `Media-Id` and `Job-Id`, once it was accepted."),
        (status = 404, description = "not-found"),
        (status = 410, description = "upload-gone"),
        (status = 423, description = "upload-busy")),
    security(("key" = [])))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    Box::pin(answer(state, caller, &id, request)).await
}

/// Adds bytes to an upload.
///
/// What came before a connection broke is kept. With the last byte the upload is judged as `POST /v1/media` judges one; what
/// is refused is removed.
#[utoipa::path(patch, path = "/v1/tus/{id}", tag = "resumable",
    params(
        ("id" = String, Path),
        ("Tus-Resumable" = String, Header, description = "`1.0.0`."),
        ("Upload-Offset" = i64, Header, description = "Where the body begins: as much as has arrived."),
        ("Upload-Length" = Option<i64>, Header, description = "Bytes of the whole upload, where it was deferred."),
        ("Upload-Checksum" = Option<String>, Header, description = "Of the body, which is kept whole or not at all.")),
    request_body(content = String, content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "`Upload-Offset`; `Media-Id` and `Job-Id`, when all of it has arrived."),
        (status = 400, description = "bad-request"),
        (status = 403, description = "over-quota, frozen, upload-is-final"),
        (status = 404, description = "not-found"),
        (status = 409, description = "offset-mismatch"),
        (status = 410, description = "upload-gone"),
        (status = 413, description = "too-large"),
        (status = 415, description = "wrong-content-type, unsupported-media-type"),
        (status = 423, description = "upload-busy"),
        (status = 460, description = "checksum-mismatch")),
    security(("key" = [])))]
pub(crate) async fn append(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    Box::pin(answer(state, caller, &id, request)).await
}

/// Ends an upload and removes its bytes. A picture that was made of it stays.
#[utoipa::path(delete, path = "/v1/tus/{id}", tag = "resumable",
    params(("id" = String, Path), ("Tus-Resumable" = String, Header, description = "`1.0.0`.")),
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
    request: Request,
) -> Result<Response, Problem> {
    Box::pin(answer(state, caller, &id, request)).await
}

/// For clients that cannot send `HEAD`, `PATCH` or `DELETE`: `X-HTTP-Method-Override` says which one is meant.
#[utoipa::path(post, path = "/v1/tus/{id}", tag = "resumable",
    params(
        ("id" = String, Path),
        ("X-HTTP-Method-Override" = String, Header, description = "`HEAD`, `PATCH` or `DELETE`.")),
    responses((status = 200, description = "As the method that is meant."), (status = 404, description = "not-found")),
    security(("key" = [])))]
pub(crate) async fn overridden(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    Box::pin(answer(state, caller, &id, request)).await
}

/// "The X-HTTP-Method-Override request header MUST be a string which MUST be interpreted as the request's method by the
/// Server, if the header is presented. The actual method of the request MUST be ignored."
fn method_of(head: &Parts) -> Result<Method, Problem> {
    match text(&head.headers, "x-http-method-override")? {
        Some(named) => Method::from_bytes(named.to_ascii_uppercase().as_bytes()).map_err(|_| {
            Problem::new(
                Cause::BadRequest,
                format!("X-HTTP-Method-Override: {named:?} is no method"),
            )
        }),
        None => Ok(head.method.clone()),
    }
}

async fn answer(state: State, caller: Caller, id: &str, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let asked = async {
        spoken_by(&head.headers)?;
        let id: UploadId = id.parse().map_err(|_| pieces::unknown(id))?;
        Ok((method_of(&head)?, found(&state, &caller.site.tenant, &id).await?))
    };
    let (method, upload) = match asked.await {
        Ok(asked) => asked,
        Err(problem) => {
            drain(&state, body).await;
            return Err(problem);
        }
    };
    match method {
        Method::HEAD => tell(&state, caller, upload, Traced::of(&state, &head.extensions).0).await,
        Method::PATCH => {
            let upload = go_on::go_on(&state, caller, upload, &head, body).await?;
            let mut response = StatusCode::NO_CONTENT.into_response();
            describe(response.headers_mut(), &upload);
            Ok(response)
        }
        Method::DELETE => end(&state, &caller.site.tenant, &upload).await,
        other => {
            let detail = format!("an upload takes HEAD, PATCH and DELETE, not {other}");
            Err(Problem::new(Cause::MethodNotAllowed, detail))
        }
    }
}

async fn tell(state: &State, caller: Caller, mut upload: Upload, trace: TraceId) -> Result<Response, Problem> {
    if is_due(&upload) {
        upload = finish(state, caller, &upload, trace).await?;
    }
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    describe(headers, &upload);
    match upload.length {
        Some(length) => set(headers, "upload-length", &length.get().to_string()),
        None => set(headers, "upload-defer-length", "1"),
    }
    if !upload.metadata.is_empty() {
        set(headers, "upload-metadata", &upload.metadata);
    }
    match upload.kind {
        UploadKind::Whole => {}
        UploadKind::Partial => set(headers, "upload-concat", "partial"),
        UploadKind::Final => {
            let urls: Vec<String> = upload.parts.iter().map(|part| format!("/v1/tus/{part}")).collect();
            set(headers, "upload-concat", &format!("final;{}", urls.join(" ")));
        }
    }
    // "The Server MUST prevent the client and/or proxies from caching the response."
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Where an upload is, until when it may be gone on with, and what it became.
fn describe(headers: &mut HeaderMap, upload: &Upload) {
    set(headers, "upload-offset", &upload.received.get().to_string());
    if let Some(date) = http_date(upload.expires_at) {
        set(headers, "upload-expires", &date);
    }
    if let Some(finished) = Finished::of(upload) {
        set(headers, "media-id", finished.media.as_str());
        if let Some(job) = &finished.job {
            set(headers, "job-id", job.as_str());
        }
    }
}

/// RFC 9110's form of a date: `Wed, 25 Jun 2014 16:00:00 GMT`.
fn http_date(moment: Millis) -> Option<String> {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let moment = OffsetDateTime::from_unix_timestamp(moment.get().div_euclid(1_000)).ok()?;
    moment.format(format).ok()
}

/// Whether all bytes are there and nobody has judged them.
fn is_due(upload: &Upload) -> bool {
    upload.state == UploadState::Open && upload.kind != UploadKind::Partial && upload.is_whole()
}

/// Judges and accepts an upload; as it stands then.
async fn finish(state: &State, caller: Caller, upload: &Upload, trace: TraceId) -> Result<Upload, Problem> {
    if !is_due(upload) {
        return Ok(upload.clone());
    }
    let (owned, upload) = (state.clone(), upload.clone());
    pieces::apart(&state.services, async move {
        finished(&owned, caller, upload, &trace).await
    })
    .await
}

async fn finished(state: &State, caller: Caller, upload: Upload, trace: &TraceId) -> Result<Upload, Problem> {
    let tenant = caller.site.tenant.clone();
    pieces::complete(state, caller, &upload, trace).await?;
    found(state, &tenant, &upload.id).await
}

/// Ends an upload.
async fn end(state: &State, tenant: &Tenant, upload: &Upload) -> Result<Response, Problem> {
    pieces::end(&state.services, tenant, upload).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        let date = http_date(Millis::new(1_403_712_000_999));
        assert_eq!(date.as_deref(), Some("Wed, 25 Jun 2014 16:00:00 GMT"));
    }
}

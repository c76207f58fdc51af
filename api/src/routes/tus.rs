//! `/v1/tus`: uploads that come in pieces, by the tus protocol 1.0.0.
//!
//! Rules are quoted from <https://tus.io/protocols/resumable-upload>; what is done with bytes stands in `resumable`.

use super::upload::{drain, in_time};
use crate::{
    extract::{Caller, Site},
    problem::{Cause, Problem},
    resumable::{self as pieces, ALGORITHMS, Checksum, Concat, Finished, Metadata, content_type, number, text},
    state::State,
};
use axum::{
    body::Body,
    extract::{Path, Request, State as Shared},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware,
    response::{IntoResponse, Response},
};
use mediamill_shared::{
    control::resumable::{self, Bounds, Created, NewUpload, Upload, UploadKind, UploadState},
    ids::{KeyId, TraceId, UploadId},
    tenancy::Tenant,
    units::{ByteCount, Millis},
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
        .routes(routes!(create, options))
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

fn trace_of(state: &State, head: &Parts) -> TraceId {
    let trace = head.extensions.get::<TraceId>().cloned();
    trace.unwrap_or_else(|| TraceId::generate(&state.services.clock, &state.services.entropy))
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
    if let Some(limit) = pieces::largest(&site.tenant) {
        set(headers, "tus-max-size", &limit.get().to_string());
    }
    response
}

/// Begins an upload in pieces.
///
/// Its bytes follow by `PATCH` to `Location`, or begin in this very body. A client of the tus protocol does all of it.
#[utoipa::path(post, path = "/v1/tus", tag = "resumable",
    params(
        ("Tus-Resumable" = String, Header, description = "`1.0.0`."),
        ("Upload-Length" = Option<i64>, Header, description = "Bytes of the whole upload."),
        ("Upload-Defer-Length" = Option<String>, Header, description = "`1`: the length follows with a later `PATCH`."),
        ("Upload-Metadata" = Option<String>, Header, description = "`filename` and others, values in Base64."),
        ("Upload-Concat" = Option<String>, Header, description = "`partial`, or `final;` and the URLs of its parts."),
        ("Upload-Checksum" = Option<String>, Header, description = "Of the body, if there is one.")),
    responses(
        (status = 201, description = "`Location` is the upload; `Media-Id` and `Job-Id`, when all of it has arrived."),
        (status = 400, description = "bad-request, empty-upload"),
        (status = 401, description = "missing-key, wrong-key"),
        (status = 403, description = "over-quota, tenant-suspended"),
        (status = 404, description = "not-found: a part"),
        (status = 412, description = "protocol-version"),
        (status = 413, description = "too-large"),
        (status = 415, description = "unsupported-media-type"),
        (status = 429, description = "too-many-uploads"),
        (status = 460, description = "checksum-mismatch")),
    security(("key" = [])))]
pub(crate) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let asked = match spoken_by(&head.headers) {
        Ok(()) => begin(&state, &caller, &head.headers).await,
        Err(problem) => Err(problem),
    };
    let upload = match asked {
        Ok(upload) => upload,
        Err(problem) => {
            drain(&state, body).await;
            return Err(problem);
        }
    };
    let location = format!("/v1/tus/{}", upload.id);
    let with_upload = content_type(&head.headers) == Some(BODY);
    let went_on = if upload.kind == UploadKind::Final {
        finish(&state, caller, &upload, trace_of(&state, &head)).await
    } else if with_upload {
        go_on(&state, caller, upload, &head, body).await
    } else {
        Ok(upload)
    };
    let mut response = match went_on {
        Ok(upload) => {
            let mut response = StatusCode::CREATED.into_response();
            describe(response.headers_mut(), &upload);
            response
        }
        // The upload is there all the same, unless it was refused: the client may go on with it.
        Err(problem) => problem.into_response(),
    };
    set(response.headers_mut(), "location", &location);
    Ok(response)
}

/// Records what a request asks to begin.
async fn begin(state: &State, caller: &Caller, headers: &HeaderMap) -> Result<Upload, Problem> {
    let tenant = &caller.site.tenant;
    let metadata = Metadata::parse(text(headers, "upload-metadata")?.unwrap_or_default())?;
    let length = length_of(headers)?;
    let (kind, length, parts) = match text(headers, "upload-concat")?.map(Concat::parse).transpose()? {
        Some(Concat::Final(_)) if length.is_some() || headers.contains_key("upload-defer-length") => {
            let detail = "a final upload is as long as its parts: send no Upload-Length";
            return Err(Problem::new(Cause::BadRequest, detail));
        }
        Some(Concat::Final(parts)) => {
            let there = resumable::made_of(&state.services.control, tenant.id(), &parts).await?;
            if let Some(there) = there {
                return found(state, tenant, &there).await;
            }
            let length = length_of_parts(state, tenant, &parts).await?;
            (UploadKind::Final, Some(length), parts)
        }
        Some(Concat::Partial) => (UploadKind::Partial, known_or_deferred(length, headers)?, Vec::new()),
        None => (UploadKind::Whole, known_or_deferred(length, headers)?, Vec::new()),
    };
    if let Some(length) = length {
        pieces::fits(tenant, length)?;
    }
    if length == Some(ByteCount::ZERO) && kind != UploadKind::Partial {
        return Err(Problem::new(Cause::EmptyUpload, "the upload has no bytes"));
    }
    let key = caller.key.clone();
    record(state, tenant, key, kind, length, parts, metadata.text).await
}

/// A new upload's row.
async fn record(
    state: &State,
    tenant: &Tenant,
    key: KeyId,
    kind: UploadKind,
    length: Option<ByteCount>,
    parts: Vec<UploadId>,
    metadata: String,
) -> Result<Upload, Problem> {
    let (services, now) = (&state.services, state.services.clock.now());
    let new = NewUpload {
        id: UploadId::generate(&services.clock, &services.entropy),
        tenant: tenant.id().clone(),
        key,
        kind,
        length,
        metadata,
        parts,
        created_at: now,
        expires_at: now.after(services.config.resumable_expiry),
    };
    let bounds = Bounds {
        uploads: services.config.resumable_uploads.into(),
        bytes: services.config.resumable_bytes,
        unknown: pieces::largest_unknown(services, tenant),
    };
    match resumable::create(&services.control, &new, bounds).await? {
        Created::New => found(state, tenant, &new.id).await,
        Created::There(there) => found(state, tenant, &there).await,
        Created::Full { uploads, bytes } => {
            let detail = format!(
                "{uploads} uploads of {bytes} are not finished, and a site may have {} of {}",
                bounds.uploads, bounds.bytes
            );
            let problem = Problem::new(Cause::TooManyUploads, detail);
            Err(problem.with("uploads", uploads).with("bytes", bytes.get()))
        }
    }
}

/// `Upload-Length`, if the request says it.
fn length_of(headers: &HeaderMap) -> Result<Option<ByteCount>, Problem> {
    number(headers, "upload-length")
}

/// "The request MUST include one of": `Upload-Length`, or `Upload-Defer-Length: 1`.
fn known_or_deferred(length: Option<ByteCount>, headers: &HeaderMap) -> Result<Option<ByteCount>, Problem> {
    match (length, text(headers, "upload-defer-length")?) {
        (Some(length), None) => Ok(Some(length)),
        (None, Some("1")) => Ok(None),
        (Some(_), Some(_)) | (None, _) => {
            let detail = "send either Upload-Length or Upload-Defer-Length: 1";
            Err(Problem::new(Cause::BadRequest, detail))
        }
    }
}

/// The bytes of parts, all of which must have arrived.
async fn length_of_parts(state: &State, tenant: &Tenant, parts: &[UploadId]) -> Result<ByteCount, Problem> {
    let mut sum = ByteCount::ZERO;
    for id in parts {
        let part = found(state, tenant, id).await?;
        if part.kind != UploadKind::Partial {
            return Err(Problem::new(Cause::BadRequest, format!("{id} is no partial upload")));
        }
        if !part.is_whole() {
            let detail = format!("{id} is not whole: a final upload is made of parts that have arrived");
            return Err(Problem::new(Cause::BadRequest, detail));
        }
        sum = sum.plus(part.received);
    }
    Ok(sum)
}

/// An upload of the tenant that is not over.
async fn found(state: &State, tenant: &Tenant, id: &UploadId) -> Result<Upload, Problem> {
    let upload = resumable::get(&state.services.control, tenant.id(), id).await?;
    let upload = upload.ok_or_else(|| Problem::new(Cause::NotFound, format!("there is no upload {id} here")))?;
    let gone = |detail: String| Err(Problem::new(Cause::UploadGone, detail));
    match upload.state {
        UploadState::Open if upload.expires_at <= state.services.clock.now() => gone("its time is over".into()),
        UploadState::Open | UploadState::Done => Ok(upload),
        UploadState::Refused => gone(format!("it was refused: {}", upload.refusal.unwrap_or_default())),
        UploadState::Gone => gone("it was ended, its time is over, or it became part of another".into()),
    }
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
    answer(state, caller, &id, request).await
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
        (status = 403, description = "over-quota, upload-is-final"),
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
    answer(state, caller, &id, request).await
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
    answer(state, caller, &id, request).await
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
    answer(state, caller, &id, request).await
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
        let unknown = || Problem::new(Cause::NotFound, format!("there is no upload {id:?} here"));
        let id: UploadId = id.parse().map_err(|_| unknown())?;
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
        Method::HEAD => tell(&state, caller, upload, trace_of(&state, &head)).await,
        Method::PATCH => {
            let upload = go_on(&state, caller, upload, &head, body).await?;
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
        set(headers, "job-id", finished.job.as_str());
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

/// Takes the body of a request; the upload as it stands then.
async fn go_on(state: &State, caller: Caller, upload: Upload, head: &Parts, body: Body) -> Result<Upload, Problem> {
    let asked = match asked_to_go_on(state, &caller.site.tenant, upload, head).await {
        Ok(asked) => asked,
        Err(problem) => {
            drain(state, body).await;
            return Err(problem);
        }
    };
    let (upload, end, checksum) = asked;
    let (owned, trace) = (state.clone(), trace_of(state, head));
    pieces::apart(&state.services, async move {
        let state = &owned;
        let body = in_time(state, body.into_data_stream());
        let received = pieces::receive(state, &caller.site.tenant, &upload, body, end, checksum).await?;
        let upload = Upload { received, ..upload };
        if is_due(&upload) {
            finished(state, caller, upload, &trace).await
        } else {
            Ok(upload)
        }
    })
    .await
}

/// What the headers of a `PATCH`, or of a `POST` with a body, say: the upload, which may have learned its length, where its
/// bytes end at the latest, and the body's checksum.
async fn asked_to_go_on(
    state: &State,
    tenant: &Tenant,
    mut upload: Upload,
    head: &Parts,
) -> Result<(Upload, ByteCount, Option<Checksum>), Problem> {
    let headers = &head.headers;
    if upload.kind == UploadKind::Final {
        let detail = "a final upload is made of its parts: bytes go to them";
        return Err(Problem::new(Cause::UploadIsFinal, detail));
    }
    if content_type(headers) != Some(BODY) {
        return Err(Problem::new(
            Cause::WrongContentType,
            format!("send Content-Type: {BODY}"),
        ));
    }
    let begun = head.uri.path().ends_with("/v1/tus");
    match number(headers, "upload-offset")? {
        Some(offset) if offset != upload.received => {
            let detail = format!("the upload is at {}, not {}", upload.received.get(), offset.get());
            return Err(Problem::new(Cause::OffsetMismatch, detail).with("offset", upload.received.get()));
        }
        None if !begun => return Err(Problem::new(Cause::BadRequest, "send Upload-Offset")),
        Some(_) | None => {}
    }
    let checksum = text(headers, "upload-checksum")?.map(Checksum::parse).transpose()?;
    if let Some(length) = length_of(headers)?
        && upload.length != Some(length)
    {
        upload = with_length(state, tenant, upload, length).await?;
    }
    let end = upload
        .length
        .unwrap_or_else(|| pieces::largest_unknown(&state.services, tenant));
    let room = end.minus(upload.received);
    if number(headers, "content-length")?.is_some_and(|length| length > room) {
        let detail = format!("the upload may have {} more bytes", room.get());
        return Err(Problem::new(Cause::TooLarge, detail).with("limit", end.get()));
    }
    Ok((upload, end, checksum))
}

/// The upload with its length, which is said once.
async fn with_length(state: &State, tenant: &Tenant, upload: Upload, length: ByteCount) -> Result<Upload, Problem> {
    if let Some(known) = upload.length {
        let detail = format!("the upload has {} bytes: its length is said once", known.get());
        return Err(Problem::new(Cause::BadRequest, detail));
    }
    if length < upload.received {
        let detail = format!("{} bytes have arrived already", upload.received.get());
        return Err(Problem::new(Cause::BadRequest, detail));
    }
    pieces::fits(tenant, length)?;
    if length == ByteCount::ZERO && upload.kind == UploadKind::Whole {
        return Err(Problem::new(Cause::EmptyUpload, "the upload has no bytes"));
    }
    let services = &state.services;
    let now = services.clock.now();
    if resumable::set_length(&services.control, &upload.id, upload.received, length, now).await? {
        let length = Some(length);
        return Ok(Upload { length, ..upload });
    }
    let detail = "somebody else has gone on with the upload: ask where it is";
    Err(Problem::new(Cause::OffsetMismatch, detail))
}

/// Ends an upload.
async fn end(state: &State, tenant: &Tenant, upload: &Upload) -> Result<Response, Problem> {
    let services = &state.services;
    let closed = resumable::close(&services.control, tenant.id(), &upload.id, services.clock.now()).await?;
    if !closed {
        return Err(Problem::new(
            Cause::UploadBusy,
            "the upload is being finished: it cannot be ended now",
        ));
    }
    pieces::clear_own(services, tenant.id(), &upload.id);
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

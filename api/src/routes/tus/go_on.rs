//! The body of a `PATCH`, or of a `POST` that begins with one.

use super::{BODY, finished, is_due};
use crate::{
    accept,
    extract::{Caller, Traced},
    problem::{Cause, Problem},
    resumable::{self as pieces, Checksum, content_type, number, text},
    routes::upload::{drain, in_time},
    state::State,
};
use axum::{body::Body, http::request::Parts};
use mediamill_shared::{
    control::resumable::{self, Upload, UploadKind},
    tenancy::Tenant,
    units::ByteCount,
};

/// Takes the body of a request; the upload as it stands then.
pub(super) async fn go_on(
    state: &State,
    caller: Caller,
    upload: Upload,
    head: &Parts,
    body: Body,
) -> Result<Upload, Problem> {
    let asked = match asked_to_go_on(state, &caller.site.tenant, upload, head).await {
        Ok(asked) => asked,
        Err(problem) => {
            drain(state, body).await;
            return Err(problem);
        }
    };
    let (upload, end, checksum) = asked;
    let (owned, trace) = (state.clone(), Traced::of(state, &head.extensions).0);
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
    if let Some(length) = number(headers, "upload-length")?
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
    accept::fits(tenant, length)?;
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

//! `POST /v1/tus`: an upload begins.

use super::{BODY, describe, finish, found, go_on::go_on, set, spoken_by};
use crate::{
    accept,
    extract::{Caller, Traced},
    problem::{Cause, Problem},
    resumable::{self as pieces, Concat, Metadata, content_type, number, text},
    routes::upload::drain,
    state::State,
};
use axum::{
    extract::{Request, State as Shared},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use mediamill_shared::{
    control::resumable::{self, NewUpload, Upload, UploadKind},
    ids::UploadId,
    tenancy::Tenant,
    units::ByteCount,
};

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
        (status = 403, description = "over-quota, frozen, tenant-suspended"),
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
        finish(&state, caller, &upload, Traced::of(&state, &head.extensions).0).await
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
    crate::stay::expiry(&caller.site.tenant, metadata.stay()?, state.services.clock.now())?;
    metadata.lane()?;
    let length = number(headers, "upload-length")?;
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
            let length = match length_of_parts(state, tenant, &parts).await {
                Ok(length) => length,
                // The same request in the same instant may have taken them in since that was asked.
                Err(problem) => {
                    let there = resumable::made_of(&state.services.control, tenant.id(), &parts).await?;
                    return match there {
                        Some(there) => found(state, tenant, &there).await,
                        None => Err(problem),
                    };
                }
            };
            (UploadKind::Final, Some(length), parts)
        }
        Some(Concat::Partial) => (UploadKind::Partial, known_or_deferred(length, headers)?, Vec::new()),
        None => (UploadKind::Whole, known_or_deferred(length, headers)?, Vec::new()),
    };
    if let Some(length) = length {
        accept::fits(tenant, length)?;
    }
    if length == Some(ByteCount::ZERO) && kind != UploadKind::Partial {
        return Err(Problem::new(Cause::EmptyUpload, "the upload has no bytes"));
    }
    accept::writable(tenant)?;
    let (services, now) = (&state.services, state.services.clock.now());
    let new = NewUpload {
        id: UploadId::generate(&services.clock, &services.entropy),
        tenant: tenant.id().clone(),
        key: caller.key.clone(),
        kind,
        length,
        metadata: metadata.text,
        parts,
        created_at: now,
        expires_at: now.after(services.config.resumable_expiry),
        direct: None,
    };
    pieces::record(services, tenant, &new).await
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

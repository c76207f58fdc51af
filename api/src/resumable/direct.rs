//! Uploads whose bytes the client puts into the store itself: announced, put by a signed request, completed.
//!
//! Promises: the store takes no other size and type than were announced, and no other bytes where their checksum was; all of it is
//! looked at again when the upload is completed, and the bytes by the worker, since whoever holds the request may send it again.
//! A store that signs no requests has the api take the bytes, for a token, under the same rules.

use super::{Metadata, record};
use crate::{
    accept::{self, HEAD, Incoming, Staged, check_kind, fits, takes},
    extract::Caller,
    problem::{Cause, Problem},
    state::State,
};
use bytes::Bytes;
use futures_util::TryStreamExt;
use mediamill_shared::{
    control::resumable::{Direct, NewUpload, Upload, UploadKind},
    ids::{JobId, UploadId},
    objects::{Announced, ObjectError, ObjectKey, Objects, SignedPut, Store, Stored},
    placement::checksum,
    services::Services,
    tenancy::{ImageFormat, Tenant},
    units::ByteCount,
};
use sha2::{Digest, Sha256};
use url::Url;

/// What a client says of an upload before there are bytes.
pub(crate) struct Announcement {
    pub(crate) bytes: ByteCount,
    pub(crate) format: ImageFormat,
    /// Lower-case hexadecimal.
    pub(crate) sha256: Option<String>,
    pub(crate) metadata: Metadata,
}

/// Records an upload, and says where its bytes go: the upload, and the request that takes them.
pub(crate) async fn announce(
    state: &State,
    caller: &Caller,
    announced: Announcement,
) -> Result<(Upload, SignedPut), Problem> {
    let (services, tenant) = (&state.services, &caller.site.tenant);
    let now = services.clock.now();
    fits(tenant, announced.bytes)?;
    takes(tenant, announced.format)?;
    accept::room_for_one(state, caller).await?;
    announced.metadata.lane()?;
    crate::stay::expiry(tenant, announced.metadata.stay()?, now)?;
    let (id, job) = (
        UploadId::generate(&services.clock, &services.entropy),
        JobId::generate(&services.clock, &services.entropy),
    );
    let wanted = Announced {
        bytes: announced.bytes,
        content_type: announced.format.mime().to_owned(),
        sha256: announced.sha256.clone(),
    };
    let lives = services.config.upload_timeout;
    let signed = services
        .objects
        .presign_put(&ObjectKey::staged(tenant.id(), &job), &wanted, lives)
        .await?;
    let (put, token_hash) = match signed {
        Some(put) => (put, None),
        None => ours(services, caller, &id, &wanted)?,
    };
    let new = NewUpload {
        id,
        tenant: tenant.id().clone(),
        key: caller.key.clone(),
        kind: UploadKind::Whole,
        length: Some(announced.bytes),
        metadata: announced.metadata.text,
        parts: Vec::new(),
        created_at: now,
        expires_at: now.after(lives),
        direct: Some(Direct {
            job,
            content_type: wanted.content_type,
            sha256: wanted.sha256,
            token_hash,
        }),
    };
    Ok((record(services, tenant, &new).await?, put))
}

/// A request that this api takes, and the hash of its token.
fn ours(
    services: &Services,
    caller: &Caller,
    id: &UploadId,
    wanted: &Announced,
) -> Result<(SignedPut, Option<String>), Problem> {
    let mut token = [0_u8; 32];
    services.entropy.fill(&mut token);
    let token = hex::encode(token);
    let (scheme, host) = (&services.config.public_scheme, &caller.site.host);
    let url = Url::parse(&format!("{scheme}://{host}/v1/uploads/{id}/content?token={token}"));
    let url = url.map_err(|error| Problem::new(Cause::BadRequest, format!("Host {host:?} is none: {error}")))?;
    let put = SignedPut {
        url,
        headers: vec![
            ("content-type".into(), wanted.content_type.clone()),
            ("content-length".into(), wanted.bytes.get().to_string()),
        ],
    };
    Ok((put, Some(hash(&token))))
}

fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// Whether `token` is the upload's.
pub(crate) fn opens(direct: &Direct, token: &str) -> bool {
    direct.token_hash.as_deref() == Some(hash(token).as_str())
}

/// Takes the bytes of an upload in the store's stead.
pub(crate) async fn take(
    services: &Services,
    tenant: &Tenant,
    upload: &Upload,
    direct: &Direct,
    body: Incoming<'_>,
) -> Result<(), Problem> {
    let key = ObjectKey::staged(tenant.id(), &direct.job);
    let limit = upload.length.unwrap_or(ByteCount::ZERO);
    let stored = accept::store(services, &key, body, limit).await?;
    let checked = as_announced(upload, direct, &stored);
    if checked.is_err() {
        services.objects.delete(&key).await?;
    }
    checked
}

/// Looks again at what lies in the store.
pub(super) async fn staged(
    services: &Services,
    tenant: &Tenant,
    upload: &Upload,
    direct: &Direct,
    file_name: Option<&str>,
) -> Result<Staged, Problem> {
    let (objects, key) = (&services.objects, ObjectKey::staged(tenant.id(), &direct.job));
    let incomplete = || {
        Problem::new(
            Cause::UploadIncomplete,
            "the store has no bytes of the upload: send them first",
        )
    };
    let stat = objects.stat(&key).await?.ok_or_else(incomplete)?;
    // A checksum that the store keeps is of the bytes that it has; else they are read.
    let sha256 = match stat.sha256 {
        Some(kept) => kept,
        None => checksum(objects, &key).await?,
    };
    let stored = Stored {
        bytes: stat.bytes,
        sha256,
    };
    as_announced(upload, direct, &stored)?;
    let format = check_kind(&head(objects, &key).await?)?;
    if direct.content_type != format.mime() {
        let detail = format!("{} was announced, and it is {}", direct.content_type, format.mime());
        return Err(Problem::new(Cause::UploadMismatch, detail));
    }
    let job = direct.job.clone();
    Ok(Staged::in_place(services, tenant, job, file_name, format, stored))
}

fn as_announced(upload: &Upload, direct: &Direct, stored: &Stored) -> Result<(), Problem> {
    if upload.length != Some(stored.bytes) {
        let announced = upload.length.map_or(0, ByteCount::get);
        let detail = format!("{announced} bytes were announced, and {} arrived", stored.bytes.get());
        return Err(Problem::new(Cause::UploadMismatch, detail));
    }
    match &direct.sha256 {
        Some(announced) if *announced != stored.sha256 => {
            let detail = format!("SHA-256 {announced} was announced, and {} arrived", stored.sha256);
            Err(Problem::new(Cause::UploadMismatch, detail))
        }
        Some(_) | None => Ok(()),
    }
}

/// The bytes that tell its format.
async fn head(objects: &Objects, key: &ObjectKey) -> Result<Vec<u8>, ObjectError> {
    let fetched = objects.get(key, Some(0..HEAD as u64)).await?;
    let chunks: Vec<Bytes> = fetched.body.try_collect().await?;
    Ok(chunks.concat())
}

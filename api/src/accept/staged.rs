//! Staging: an upload's bytes go to the store as they arrive, once the first of them are a picture's.

use crate::{
    extract::Caller,
    problem::{Cause, Problem},
    state::State,
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use mediamill_shared::{
    BoxError,
    ids::{JobId, MediaId},
    objects::{Body, ObjectKey, Store, Stored},
    services::Services,
    tenancy::{ImageFormat, Tenant},
    units::ByteCount,
};
use std::pin::{Pin, pin};

/// Bytes that tell a format.
pub(crate) const HEAD: usize = 64;
/// Longest file name that is kept.
const LONGEST_NAME: usize = 255;

/// A file as it arrives.
pub(crate) type Incoming<'a> = Pin<Box<dyn Stream<Item = Result<Bytes, Problem>> + Send + 'a>>;

/// A staged file. Dropped before it is accepted, its bytes are removed.
pub(crate) struct Staged {
    services: Services,
    pub(crate) job: JobId,
    pub(crate) media: MediaId,
    pub(crate) file_name: Option<String>,
    pub(super) format: ImageFormat,
    pub(super) key: ObjectKey,
    pub(super) stored: Stored,
    pub(super) kept: bool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.services, self.key.clone());
        }
    }
}

/// Removes staged bytes in the background; what that misses, the scheduler sweeps.
pub(crate) fn remove(services: &Services, key: ObjectKey) {
    let objects = services.objects.clone();
    services.shutdown.spawn(async move {
        if let Err(error) = objects.delete(&key).await {
            tracing::info!(
                error = &error as &dyn std::error::Error,
                "staged bytes are left to the sweeper"
            );
        }
    });
}

/// What was uploaded under a name: no path, no control characters.
pub(crate) fn plain_name(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    (!name.is_empty()).then_some(name)
}

/// Streams one file to its staging place. Its first bytes must be a picture's.
pub(crate) async fn stage(
    state: &State,
    caller: &Caller,
    file_name: Option<&str>,
    mut incoming: Incoming<'_>,
) -> Result<Staged, Problem> {
    let services = &state.services;
    let mut head = BytesMut::new();
    while head.len() < HEAD {
        match incoming.next().await {
            Some(chunk) => head.extend_from_slice(&chunk?),
            None => break,
        }
    }
    let format = check_kind(&head)?;
    let job = JobId::generate(&services.clock, &services.entropy);
    let media = MediaId::generate(&services.clock, &services.entropy);
    let key = ObjectKey::staged(caller.site.tenant.id(), &job);
    let limit = caller.site.tenant.context().limits.largest_upload();
    let limit = limit.unwrap_or(ByteCount::MAX);
    let whole = stream::iter([Ok(head.freeze())]).chain(incoming);
    let stored = store(services, &key, whole, limit).await?;
    if job.created_at().after(services.config.upload_timeout) < services.clock.now() {
        // Removed in the background here, and by the sweeper at the latest.
        remove(services, key);
        let detail = format!(
            "the upload took longer than {} s",
            services.config.upload_timeout.as_secs()
        );
        return Err(Problem::new(Cause::BodyTimeout, detail));
    }
    let file_name = file_name.and_then(plain_name);
    Ok(Staged {
        services: services.clone(),
        job,
        media,
        file_name,
        format,
        key,
        stored,
        kept: false,
    })
}

/// Streams a body of at most `limit` to `key`; one that fails leaves nothing there.
pub(crate) async fn store(
    services: &Services,
    key: &ObjectKey,
    chunks: impl Stream<Item = Result<Bytes, Problem>> + Send,
    limit: ByteCount,
) -> Result<Stored, Problem> {
    // The store wants a body that borrows nothing: chunks go through a small channel, at the store's pace.
    let (send, receive) = tokio::sync::mpsc::channel::<Result<Bytes, BoxError>>(2);
    let forward = async move {
        let mut chunks = pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            let (item, refused) = match chunk {
                Ok(bytes) => (Ok(bytes), None),
                Err(problem) => (Err(BoxError::from("the request's body failed")), Some(problem)),
            };
            let gone = send.send(item).await.is_err();
            if refused.is_some() || gone {
                return refused;
            }
        }
        None
    };
    let body: Body = Box::pin(tokio_stream::wrappers::ReceiverStream::new(receive));
    let (stored, refused) = tokio::join!(services.objects.put_stream(key, body, limit), forward);
    match refused {
        Some(problem) => Err(problem),
        None => Ok(stored?),
    }
}

impl Staged {
    /// Bytes that lie where `job`'s wait already. They stay, whatever becomes of this, until somebody says that no job has them.
    pub(crate) fn in_place(
        services: &Services,
        tenant: &Tenant,
        job: JobId,
        file_name: Option<&str>,
        format: ImageFormat,
        stored: Stored,
    ) -> Self {
        Self {
            services: services.clone(),
            media: MediaId::generate(&services.clock, &services.entropy),
            file_name: file_name.and_then(plain_name),
            format,
            key: ObjectKey::staged(tenant.id(), &job),
            job,
            stored,
            kept: true,
        }
    }
}

/// Judges an upload by its first bytes, before the rest is there; [`super::uploads`] has the last word.
pub(crate) fn foresee(tenant: &Tenant, head: &[u8]) -> Result<(), Problem> {
    takes(tenant, check_kind(head.get(..HEAD).unwrap_or(head))?)
}

/// The format of what begins so.
pub(crate) fn check_kind(head: &[u8]) -> Result<ImageFormat, Problem> {
    if head.is_empty() {
        return Err(Problem::new(Cause::EmptyUpload, "the upload has no bytes"));
    }
    if is_tiff(head) {
        return Ok(ImageFormat::Tiff);
    }
    let kind = infer::get(head).map(|kind| kind.mime_type());
    match kind.and_then(ImageFormat::of_mime) {
        Some(format) if format != ImageFormat::Bmp || is_bmp(head) => Ok(format),
        Some(_) | None => {
            let seems = kind.map_or_else(String::new, |kind| format!(", it seems to be {kind}"));
            let detail = format!("the upload is no JPEG, PNG, WebP, GIF, AVIF, TIFF or BMP{seems}");
            Err(Problem::new(Cause::UnsupportedMediaType, detail))
        }
    }
}

/// TIFF 6.0 in either byte order. `infer` passes over files whose ninth or tenth byte, which may be of any picture, is as
/// in Canon's CR2; those say so in two bytes and a version.
fn is_tiff(head: &[u8]) -> bool {
    let begins = head.starts_with(b"II*\0") || head.starts_with(b"MM\0*");
    begins && head.len() > 8 && head.get(8..11) != Some(b"CR\x02")
}

/// A Windows bitmap with a header of a known size: a text may begin with its two letters too.
fn is_bmp(head: &[u8]) -> bool {
    let size = head.get(14..18).and_then(|size| size.try_into().ok());
    matches!(
        size.map(u32::from_le_bytes),
        Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124)
    )
}

/// Refuses a length that the tenant may not send.
pub(crate) fn fits(tenant: &Tenant, length: ByteCount) -> Result<(), Problem> {
    match tenant.context().limits.largest_upload() {
        Some(limit) if length > limit => Err(too_large(limit)),
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn too_large(limit: ByteCount) -> Problem {
    Problem::new(Cause::TooLarge, format!("an upload may have {limit}")).with("limit", limit.get())
}

/// Refuses a format that the tenant may not send.
pub(crate) fn takes(tenant: &Tenant, format: ImageFormat) -> Result<(), Problem> {
    if tenant.context().limits.image_formats().contains(format) {
        return Ok(());
    }
    let detail = format!("this site takes no {}", format.as_str());
    Err(Problem::new(Cause::UnsupportedMediaType, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_paths_and_controls() {
        for (given, kept) in [
            ("a.jpg", Some("a.jpg")),
            ("/etc/passwd", Some("passwd")),
            ("C:\\photos\\b.jpg", Some("b.jpg")),
            ("a\n\0b.png", Some("ab.png")),
            ("", None),
            ("dir/", None),
        ] {
            assert_eq!(plain_name(given).as_deref(), kept, "{given:?}");
        }
    }

    #[test]
    fn only_pictures_pass() {
        for (head, format) in [
            (&b"\xff\xd8\xff\xe0 and so on"[..], ImageFormat::Jpeg),
            (b"\x89PNG\r\n\x1a\n and so on", ImageFormat::Png),
            (b"GIF89a and so on", ImageFormat::Gif),
            (b"RIFF\x10\0\0\0WEBPVP8L", ImageFormat::Webp),
            (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", ImageFormat::Avif),
            (b"\0\0\0\x20ftypavis\0\0\0\0avisavifmsf1miaf", ImageFormat::Avif),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", ImageFormat::Avif),
            (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0 and so on", ImageFormat::Bmp),
            (b"II*\0\x08\0\0\0\x0a\0 and so on", ImageFormat::Tiff),
            (b"MM\0*\0\x01\0\0CR and so on", ImageFormat::Tiff),
        ] {
            assert_eq!(check_kind(head).unwrap(), format);
        }
        assert_eq!(check_kind(b"").unwrap_err().cause(), Cause::EmptyUpload);
        for other in [
            &b"BMW is a maker of cars, and this is a text"[..],
            b"II*\0\x10\0\0\0CR\x02\0 and so on",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        ] {
            assert_eq!(check_kind(other).unwrap_err().cause(), Cause::UnsupportedMediaType);
        }
        assert_eq!(
            check_kind(b"%PDF-1.7").unwrap_err().cause(),
            Cause::UnsupportedMediaType
        );
        assert_eq!(
            check_kind(b"plain text").unwrap_err().cause(),
            Cause::UnsupportedMediaType
        );
    }
}

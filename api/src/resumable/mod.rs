//! Uploads that come in pieces, by the tus protocol 1.0.0: <https://tus.io/protocols/resumable-upload>.
//!
//! Promises: what has arrived stays, whoever breaks off; any process goes on with what another began, since nothing of an
//! upload is in a process but the piece that is arriving; once all bytes are there they are judged and accepted just like a
//! plain upload, once. Memory of a request is one piece of [`PIECE`]. In [`direct`] stand those whose bytes come in one piece, past
//! the api.

mod checksum;
mod complete;
pub(crate) mod direct;
mod headers;
mod receive;

pub(crate) use checksum::{ALGORITHMS, Checksum};
use complete::clear_own;
pub(crate) use complete::{Finished, complete, discard};
pub(crate) use headers::{Concat, Metadata, content_type, number, text};
pub(crate) use receive::receive;

use crate::problem::{Cause, Problem};
use mediamill_shared::{
    control::resumable::{self, Bounds, Created, NewUpload, Upload, UploadState},
    ids::UploadId,
    services::Services,
    tenancy::Tenant,
    units::ByteCount,
};
use std::future::Future;
use tokio::sync::oneshot;
use tracing::Instrument;

/// Bytes that one object holds. Smaller ones would cost more requests to the store and more rows, larger ones more memory
/// for each upload that is arriving: a hundred at a time take a hundred of these.
pub(crate) const PIECE: usize = 1024 * 1024;
/// Pieces of an upload that may be shorter than [`PIECE`]: one ends every request. Bounds rows and objects.
const MOST_SHORT: i64 = 10_000;

/// What an upload may have at most whose length is not known yet.
pub(crate) fn largest_unknown(services: &Services, tenant: &Tenant) -> ByteCount {
    let held = services.config.resumable_bytes;
    let largest = tenant.context().limits.largest_upload();
    largest.map_or(held, |limit| limit.min(held))
}

/// An upload of the tenant that is not over.
pub(crate) async fn found(services: &Services, tenant: &Tenant, id: &UploadId) -> Result<Upload, Problem> {
    let upload = resumable::get(&services.control, tenant.id(), id).await?;
    let upload = upload.ok_or_else(|| unknown(id.as_str()))?;
    let gone = |detail: String| Err(Problem::new(Cause::UploadGone, detail));
    match upload.state {
        UploadState::Open if upload.expires_at <= services.clock.now() => gone("its time is over".into()),
        UploadState::Open | UploadState::Done => Ok(upload),
        UploadState::Refused => gone(format!("it was refused: {}", upload.refusal.unwrap_or_default())),
        UploadState::Gone => gone("it was ended, its time is over, or it became part of another".into()),
    }
}

pub(crate) fn unknown(id: &str) -> Problem {
    Problem::new(Cause::NotFound, format!("there is no upload {id:?} here"))
}

/// Records an upload that begins, if the tenant may have one more. As it stands then.
pub(crate) async fn record(services: &Services, tenant: &Tenant, new: &NewUpload) -> Result<Upload, Problem> {
    let bounds = Bounds {
        uploads: services.config.resumable_uploads.into(),
        bytes: services.config.resumable_bytes,
        unknown: largest_unknown(services, tenant),
    };
    match resumable::create(&services.control, new, bounds).await? {
        Created::New => found(services, tenant, &new.id).await,
        Created::There(there) => found(services, tenant, &there).await,
        Created::Full { uploads, bytes } => {
            let detail = format!(
                "{uploads} uploads of {bytes} are not finished, and a site may have {} of {}",
                bounds.uploads, bounds.bytes
            );
            let problem = Problem::new(Cause::TooManyUploads, detail);
            let problem = if uploads >= bounds.uploads {
                let problem = problem.with("limit_name", "resumable_uploads");
                problem
                    .with("limit", bounds.uploads)
                    .with("used", uploads)
                    .with("asked", 1)
            } else {
                let asked = new.length.unwrap_or(bounds.unknown);
                let problem = problem.with("limit_name", "resumable_bytes");
                let problem = problem.with("limit", bounds.bytes.get()).with("used", bytes.get());
                problem.with("asked", asked.get())
            };
            Err(problem.with("uploads", uploads).with("bytes", bytes.get()))
        }
    }
}

/// Ends an upload and removes what is stored of it. A picture that was made of it stays.
pub(crate) async fn end(services: &Services, tenant: &Tenant, upload: &Upload) -> Result<(), Problem> {
    let closed = resumable::close(&services.control, tenant.id(), &upload.id, services.clock.now()).await?;
    if !closed {
        let detail = "the upload is being finished: it cannot be ended now";
        return Err(Problem::new(Cause::UploadBusy, detail));
    }
    clear_own(services, tenant.id(), upload);
    Ok(())
}

/// Runs `work` to its end, whoever still waits for it: a client that goes away must not take what it sent with it.
pub(crate) async fn apart<T, W>(services: &Services, work: W) -> Result<T, Problem>
where
    T: Send + 'static,
    W: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let (send, receive) = oneshot::channel();
    let work = async move {
        // An error says that nobody waits any more.
        let _ = send.send(work.await);
    };
    services.shutdown.spawn(work.instrument(tracing::Span::current()));
    // Dropped without a word when the work panicked, which is logged where it did.
    let ended = receive.await;
    ended.unwrap_or_else(|_| Err(Problem::new(Cause::Internal, "something went wrong here")))
}

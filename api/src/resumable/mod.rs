//! Uploads that come in pieces, by the tus protocol 1.0.0: <https://tus.io/protocols/resumable-upload>.
//!
//! Promises: what has arrived stays, whoever breaks off; any process goes on with what another began, since nothing of an
//! upload is in a process but the piece that is arriving; once all bytes are there they are judged and accepted just like a
//! plain upload, once. Memory of a request is one piece of [`PIECE`].

mod checksum;
mod complete;
mod headers;
mod receive;

pub(crate) use checksum::{ALGORITHMS, Checksum};
pub(crate) use complete::{Finished, clear_own, complete, discard};
pub(crate) use headers::{Concat, Metadata, content_type, number, text};
pub(crate) use receive::receive;

use crate::problem::{Cause, Problem};
use mediamill_shared::{services::Services, tenancy::Tenant, units::ByteCount};
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

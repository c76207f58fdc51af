//! HTTP: it accepts, records, publishes and answers. The work is done elsewhere.
//!
//! The tenant is decided by `Host`, the caller by a key. Bodies stream; nothing here waits without a deadline, and
//! every failure is an RFC 9457 problem document with a stable type.

mod accept;
mod extract;
mod fetched;
mod follow;
mod openapi;
mod problem;
mod rates;
mod recent;
mod resumable;
mod routes;
mod serve;
mod served;
mod state;
mod stay;
mod storages;
mod unread;

pub use openapi::openapi;
pub use problem::{Cause, Problem};
pub use serve::{operations, router, serve};
pub use state::{MetricsPage, State};

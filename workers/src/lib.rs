//! Job handlers and what runs them.
//!
//! A worker takes a message, gets a permit, claims the row, runs the handler under the kind's timeout, settles the row
//! and acks last. To add a kind: its payload in `mediamill_shared::jobs`, a file in [`handlers`] that implements
//! [`Handler`], a line in [`Registry::standard`].

mod admission;
mod context;
mod decoder;
mod fetch;
pub mod handlers;
pub mod helpers;
mod processors;
mod registry;
mod runner;

pub use admission::{Admission, Permit, TooLarge};
pub use context::{JobContext, TenantGone};
pub use processors::{Processor, Processors};
pub use registry::{Entry, Handler, Registry};
pub use runner::{PoolSettings, Settings, run, run_now};

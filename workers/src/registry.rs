//! Which handler does which kind.

use crate::{
    context::JobContext,
    handlers::{
        delete_media, deprovision_tenant, fetch_media, make_variant, move_media, move_tenant, process_media,
        provision_tenant, remove_objects, verify_media,
    },
};
use futures_util::future::BoxFuture;
use mediamill_shared::jobs::{
    DeleteMedia, DeprovisionTenant, FetchMedia, Job, JobError, JobKind, MakeVariant, MoveMedia, MoveTenant, Noop, Pool,
    ProcessMedia, ProvisionTenant, Reason, RemoveObjects, ResultExt, VerifyMedia,
};
use mediamill_shared::retry::RetryPolicy;
use std::{collections::BTreeMap, future::Future, time::Duration};

/// The work of a kind.
pub trait Handler: Job {
    /// Does it. Called again after a crash at any line, it must end in the same state as one call.
    fn run(self, cx: &JobContext) -> impl Future<Output = Result<(), JobError>> + Send;

    /// Cleans up after a permanent failure, at least once, before the row is settled. Must be repeatable.
    fn failed(self, _cx: &JobContext) -> impl Future<Output = Result<(), JobError>> + Send {
        async { Ok(()) }
    }
}

type Run = for<'a> fn(&'a [u8], &'a JobContext) -> BoxFuture<'a, Result<(), JobError>>;

/// What the runner knows of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its pool.
    pub pool: Pool,
    /// What follows a transient failure.
    pub retry: RetryPolicy,
    /// Longest attempt.
    pub timeout: Duration,
    pub(crate) run: Run,
    pub(crate) failed: Run,
}

/// All handlers.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    entries: BTreeMap<JobKind, Entry>,
}

impl Registry {
    /// Every kind that this release knows.
    #[must_use]
    pub fn standard() -> Self {
        Self::empty()
            .with::<Noop>()
            .with::<ProcessMedia>()
            .with::<FetchMedia>()
            .with::<MakeVariant>()
            .with::<DeleteMedia>()
            .with::<MoveMedia>()
            .with::<VerifyMedia>()
            .with::<RemoveObjects>()
            .with::<ProvisionTenant>()
            .with::<MoveTenant>()
            .with::<DeprovisionTenant>()
    }

    /// None.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// These and `H`.
    #[must_use]
    pub fn with<H: Handler>(mut self) -> Self {
        let entry = Entry {
            pool: H::POOL,
            retry: H::RETRY,
            timeout: H::TIMEOUT,
            run: erased_run::<H>,
            failed: erased_failed::<H>,
        };
        self.entries.insert(H::KIND, entry);
        self
    }

    /// The handler of a kind.
    #[must_use]
    pub fn get(&self, kind: JobKind) -> Option<&Entry> {
        self.entries.get(&kind)
    }
}

/// Erases a handler. Unreadable input is the job's last attempt, not the worker's problem.
fn erased_run<'a, H: Handler>(payload: &'a [u8], cx: &'a JobContext) -> BoxFuture<'a, Result<(), JobError>> {
    Box::pin(async move { parse::<H>(payload)?.run(cx).await })
}

fn erased_failed<'a, H: Handler>(payload: &'a [u8], cx: &'a JobContext) -> BoxFuture<'a, Result<(), JobError>> {
    Box::pin(async move {
        match parse::<H>(payload) {
            Ok(job) => job.failed(cx).await,
            // Nothing is known of what there is to clean.
            Err(_) => Ok(()),
        }
    })
}

fn parse<H: Handler>(payload: &[u8]) -> Result<H, JobError> {
    serde_json::from_slice(payload).permanent(Reason::UNREADABLE_PAYLOAD, "the job's payload does not parse")
}

impl Handler for Noop {
    async fn run(self, _cx: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

impl Handler for ProcessMedia {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        process_media::run(self, cx).await
    }

    async fn failed(self, cx: &JobContext) -> Result<(), JobError> {
        process_media::failed(self, cx).await
    }
}

impl Handler for FetchMedia {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        fetch_media::run(self, cx).await
    }

    async fn failed(self, cx: &JobContext) -> Result<(), JobError> {
        fetch_media::failed(self, cx).await
    }
}

impl Handler for MakeVariant {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        make_variant::run(self, cx).await
    }

    async fn failed(self, cx: &JobContext) -> Result<(), JobError> {
        make_variant::failed(self, cx).await
    }
}

impl Handler for DeleteMedia {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        delete_media::run(self, cx).await
    }
}

impl Handler for MoveMedia {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        move_media::run(self, cx).await
    }

    async fn failed(self, cx: &JobContext) -> Result<(), JobError> {
        move_media::failed(self, cx).await
    }
}

impl Handler for VerifyMedia {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        verify_media::run(self, cx).await
    }
}

impl Handler for RemoveObjects {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        remove_objects::run(self, cx).await
    }
}

impl Handler for ProvisionTenant {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        provision_tenant::run(&self, cx).await
    }

    async fn failed(self, cx: &JobContext) -> Result<(), JobError> {
        provision_tenant::failed(&self, cx).await
    }
}

impl Handler for MoveTenant {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        move_tenant::run(&self, cx).await
    }

    async fn failed(self, cx: &JobContext) -> Result<(), JobError> {
        move_tenant::failed(&self, cx).await
    }
}

impl Handler for DeprovisionTenant {
    async fn run(self, cx: &JobContext) -> Result<(), JobError> {
        deprovision_tenant::run(cx).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_handler_in_its_pool() {
        let registry = Registry::standard();
        for kind in JobKind::ALL {
            assert!(registry.get(*kind).is_some(), "{kind} has no handler");
        }
    }
}

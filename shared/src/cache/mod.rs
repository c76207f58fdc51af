//! The cache port: contexts, counters, leases and signals. Never the last word on state, secrets or limits.
//!
//! The contract, held by the suite in `contract.rs` against both adapters:
//!
//! - A versioned value is only replaced by one of a higher version.
//! - A counter changes in one step with the check of its ceiling; a counter that is not there says so, and is seeded
//!   from the database by the caller.
//! - A lease has one owner at a time; every new owner gets a higher fence than all owners before.
//! - A signal reaches those that listen at that moment, or nobody: it shortens a wait, it never replaces a look.
//! - Everything may be gone at any time. Every call ends within [`CALL_DEADLINE`], or what the URL says in its place.

#[cfg(test)]
mod contract;
pub mod memory;
pub mod redis;

use crate::{
    BoxError,
    clock::{Clock, Entropy},
    shutdown::Shutdown,
};
use std::{future::Future, time::Duration};
use tokio::sync::broadcast;
use url::Url;

/// No call takes longer, unless the cache's URL says otherwise.
pub const CALL_DEADLINE: Duration = Duration::from_millis(500);

/// What a caller can do something about: go on without the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The server is away or slow.
    #[error("the cache did not answer {operation}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The URL names no cache of ours, or a bad one.
    #[error("cache url {url}: {problem}; known: memory:, redis://[:password@]host:port/db, rediss://…")]
    Url {
        /// The URL, password left out.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A value with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// Grows with every change at the source.
    pub version: i64,
    /// The value.
    pub value: Vec<u8>,
}

/// What became of an addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// Done; the new value.
    Now(i64),
    /// Refused: it would have passed the ceiling. The value as it stands.
    Over(i64),
    /// There is no such counter: seed it.
    Absent,
}

/// Grows with every change of owner; a write that carries an old fence is refused by who checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub i64);

/// A message on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Its channel, without the installation's key prefix.
    pub channel: &'static str,
    /// What was said.
    pub message: String,
}

/// Every channel there is.
pub const CHANNELS: &[&str] = &[JOB_CHANNEL, TENANT_CHANNEL, STORAGE_CHANNEL, HELD_CHANNEL];
/// A job changed its state: the message is `<job id> <state>`.
pub const JOB_CHANNEL: &str = "jobs";
/// A tenant, a host or a plan changed: `t <id>`, `h <host>`, `p <plan>`.
pub const TENANT_CHANNEL: &str = "tenants";
/// Storages of a tenant changed, or, with `-`, the provider's.
pub const STORAGE_CHANNEL: &str = "storages";

/// Jobs are held: the message is their pool. Workers that have nothing to do have them released.
pub const HELD_CHANNEL: &str = "held";

/// The port. Outside this crate only [`Cache`] is named.
pub trait CachePort: Send + Sync {
    /// The value under `key`.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Versioned>, CacheError>> + Send;

    /// Stores `value` unless a version as high or higher is there. Returns whether it was stored.
    fn put(&self, key: &str, value: &Versioned, ttl: Duration)
    -> impl Future<Output = Result<bool, CacheError>> + Send;

    /// Forgets a value or a counter.
    fn remove(&self, key: &str) -> impl Future<Output = Result<(), CacheError>> + Send;

    /// Adds `delta` to the counter unless the sum would be above `ceiling`; a sum below 0 becomes 0. A negative delta
    /// is never refused.
    fn add_within(
        &self,
        key: &str,
        delta: i64,
        ceiling: Option<i64>,
    ) -> impl Future<Output = Result<Added, CacheError>> + Send;

    /// Creates the counter with `value` unless it is there. It lives for `ttl` from now, additions do not prolong it:
    /// drift has an end. Returns whether it was created.
    fn seed(&self, key: &str, value: i64, ttl: Duration) -> impl Future<Output = Result<bool, CacheError>> + Send;

    /// Takes the lease for `owner`, or renews it when `owner` has it. `None`: somebody else has it.
    fn acquire(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<Option<Fence>, CacheError>> + Send;

    /// Gives the lease back if `owner` has it.
    fn release(&self, name: &str, owner: &str) -> impl Future<Output = Result<(), CacheError>> + Send;

    /// Tells listeners in every process; all messages in one trip.
    fn signal(&self, channel: &'static str, messages: &[String])
    -> impl Future<Output = Result<(), CacheError>> + Send;

    /// Listens from now on. A receiver that lags misses signals.
    fn listen(&self) -> broadcast::Receiver<Signal>;

    /// Whether the server answers.
    fn ping(&self) -> impl Future<Output = Result<(), CacheError>> + Send;
}

/// The cache of this installation.
#[derive(Clone, Debug)]
pub enum Cache {
    /// Redis.
    Redis(redis::RedisCache),
    /// In this process.
    Memory(memory::MemoryCache),
}

/// What a cache needs from the process it lives in.
#[derive(Clone, Debug)]
pub struct CacheContext {
    /// Time.
    pub clock: Clock,
    /// Chance, for jitter.
    pub entropy: Entropy,
    /// Owner of background tasks.
    pub shutdown: Shutdown,
}

impl Cache {
    /// Opens the cache that the URL's scheme names: `memory:` or `redis(s)://`. A server that is away is not an error.
    ///
    /// # Errors
    /// When the URL is no cache's.
    pub async fn open(url: &Url, context: CacheContext) -> Result<Self, CacheError> {
        match url.scheme() {
            "memory" => Ok(Self::Memory(memory::MemoryCache::new(context.clock))),
            "redis" | "rediss" => Ok(Self::Redis(redis::RedisCache::open(url, context).await?)),
            scheme => Err(CacheError::Url {
                url: crate::config::redacted(url),
                problem: format!("unknown scheme {scheme:?}"),
            }),
        }
    }

    /// Whether what one process puts here is seen by the others.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_))
    }
}

macro_rules! either {
    ($self:ident, $cache:ident => $call:expr) => {
        match $self {
            Self::Redis($cache) => $call,
            Self::Memory($cache) => $call,
        }
    };
}

impl CachePort for Cache {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, CacheError> {
        either!(self, cache => cache.get(key).await)
    }

    async fn put(&self, key: &str, value: &Versioned, ttl: Duration) -> Result<bool, CacheError> {
        either!(self, cache => cache.put(key, value, ttl).await)
    }

    async fn remove(&self, key: &str) -> Result<(), CacheError> {
        either!(self, cache => cache.remove(key).await)
    }

    async fn add_within(&self, key: &str, delta: i64, ceiling: Option<i64>) -> Result<Added, CacheError> {
        either!(self, cache => cache.add_within(key, delta, ceiling).await)
    }

    async fn seed(&self, key: &str, value: i64, ttl: Duration) -> Result<bool, CacheError> {
        either!(self, cache => cache.seed(key, value, ttl).await)
    }

    async fn acquire(&self, name: &str, owner: &str, ttl: Duration) -> Result<Option<Fence>, CacheError> {
        either!(self, cache => cache.acquire(name, owner, ttl).await)
    }

    async fn release(&self, name: &str, owner: &str) -> Result<(), CacheError> {
        either!(self, cache => cache.release(name, owner).await)
    }

    async fn signal(&self, channel: &'static str, messages: &[String]) -> Result<(), CacheError> {
        either!(self, cache => cache.signal(channel, messages).await)
    }

    fn listen(&self) -> broadcast::Receiver<Signal> {
        either!(self, cache => cache.listen())
    }

    async fn ping(&self) -> Result<(), CacheError> {
        either!(self, cache => cache.ping().await)
    }
}

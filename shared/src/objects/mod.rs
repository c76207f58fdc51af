//! The object port: bytes under keys, in a directory or in S3.
//!
//! The contract, held by the suite in `contract.rs` against both adapters:
//!
//! - A write is all or nothing: no reader ever sees a part, and a failed or cut-off write leaves nothing under the key.
//! - A write that returned is durable, power loss included.
//! - Writing the same key again replaces it; writers of the same bytes never disturb each other.
//! - Deleting what is not there is a success.
//! - Bodies stream: memory does not grow with an object's size.
//! - Every wait for a store has a deadline: connecting, answering, and every pause within a body that is read. The
//!   pauses of a body that is sent are its source's to bound. Disks have no deadlines, except in `ping`.
//! - A call that is dropped, or fails by `Unavailable`, in the instant of its end may have happened: wholly, never half.
//! - No key is the beginning of another key's segments (`a/b` and `a/b/c`): a directory cannot hold both.
//!
//! To add a back end: a variant in [`Objects`], its line in `either!`, its `contract!` line.

#[cfg(test)]
mod contract;
pub mod directory;
mod key;
mod metered;
pub mod s3;

pub use key::{KeyError, ObjectKey};

use crate::{
    BoxError,
    clock::{Clock, Entropy},
    fetch::{AddressRefused, Guard},
    units::{ByteCount, Millis},
};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{fmt, future::Future, ops::Range, time::Duration};
use url::Url;

/// What an operation was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One object.
    Object(ObjectKey),
    /// Every object below this beginning; empty for all.
    Listing(String),
    /// The store as such.
    Store,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(key) => write!(f, "object {key}"),
            Self::Listing(prefix) if prefix.is_empty() => f.write_str("all objects"),
            Self::Listing(prefix) => write!(f, "objects below {prefix}"),
            Self::Store => f.write_str("the store"),
        }
    }
}

impl From<&ObjectKey> for Subject {
    fn from(key: &ObjectKey) -> Self {
        Self::Object(key.clone())
    }
}

/// What a caller can do something about.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is nothing under the key.
    #[error("object {key} does not exist")]
    Missing {
        /// The key.
        key: ObjectKey,
    },
    /// The body went on past the limit; nothing was stored.
    #[error("the body of {key} is longer than {limit}")]
    TooLong {
        /// The key.
        key: ObjectKey,
        /// The limit.
        limit: ByteCount,
    },
    /// The source of the body failed; nothing was stored.
    #[error("the body of {key} broke off")]
    Body {
        /// The key.
        key: ObjectKey,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The range begins past the object's end.
    #[error("object {key} has {size}, the range begins past it")]
    Range {
        /// The key.
        key: ObjectKey,
        /// Size of the whole object.
        size: ByteCount,
    },
    /// There is no space left: trying again may help once somebody made some.
    #[error("no space left for {subject}")]
    Full {
        /// What there was no space for.
        subject: Subject,
        /// What the store said.
        #[source]
        source: BoxError,
    },
    /// The store refuses: credentials, permissions, no such bucket. An operator must act.
    #[error("the store refused to {operation} {subject}")]
    Refused {
        /// What it was about.
        subject: Subject,
        /// What was tried, a verb.
        operation: &'static str,
        /// What the store said.
        #[source]
        source: BoxError,
    },
    /// The store is away, slow or answers nonsense: trying again may help.
    #[error("the store did not {operation} {subject}")]
    Unavailable {
        /// What it was about.
        subject: Subject,
        /// What was tried, a verb.
        operation: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The store is where a tenant says, and that is nowhere that is connected to; nothing was sent.
    #[error(transparent)]
    Address(AddressRefused),
    /// The URL names no store of ours, or a bad one.
    #[error("objects url {url}: {problem}; known: file:///path, s3://bucket/prefix?endpoint=…&region=…")]
    Url {
        /// The URL, secrets left out.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A body that is sent. An `Err` item aborts the write.
pub type Body = BoxStream<'static, Result<Bytes, BoxError>>;

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Size.
    pub bytes: ByteCount,
    /// SHA-256 of the bytes as they were written, lower-case hexadecimal.
    pub sha256: String,
}

/// What is under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Size.
    pub bytes: ByteCount,
    /// SHA-256 of all its bytes, lower-case hexadecimal, where the store has computed it when they were written and keeps it.
    pub sha256: Option<String>,
}

/// What somebody else may write under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Size.
    pub bytes: ByteCount,
    /// Media type.
    pub content_type: String,
    /// SHA-256, lower-case hexadecimal; `None`: of whatever bytes.
    pub sha256: Option<String>,
}

/// A `PUT` that writes an object, for whoever holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPut {
    /// Where to.
    pub url: Url,
    /// Headers that must be sent with it, `content-length` among them.
    pub headers: Vec<(String, String)>,
}

/// An object, or a part of it, as it arrives.
pub struct Fetched {
    /// Size of the whole object.
    pub total: ByteCount,
    /// Which bytes follow.
    pub range: Range<u64>,
    /// The bytes.
    pub body: BoxStream<'static, Result<Bytes, ObjectError>>,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: ObjectKey,
    /// Size.
    pub bytes: ByteCount,
    /// When it was written last, by the store's clock. `None`: the store does not say.
    pub modified: Option<Millis>,
}

/// The port. Outside this crate only [`Objects`] is named.
pub trait Store: Send + Sync {
    /// Stores what is in memory.
    fn put(
        &self,
        key: &ObjectKey,
        body: Bytes,
        content_type: &str,
    ) -> impl Future<Output = Result<Stored, ObjectError>> + Send;

    /// Stores a stream of at most `limit` bytes; the first byte past it ends the write with
    /// [`ObjectError::TooLong`].
    fn put_stream_as(
        &self,
        key: &ObjectKey,
        body: Body,
        limit: ByteCount,
        content_type: &str,
    ) -> impl Future<Output = Result<Stored, ObjectError>> + Send;

    /// The same of bytes whose type nobody has looked at yet.
    fn put_stream(
        &self,
        key: &ObjectKey,
        body: Body,
        limit: ByteCount,
    ) -> impl Future<Output = Result<Stored, ObjectError>> + Send {
        self.put_stream_as(key, body, limit, "application/octet-stream")
    }

    /// Reads an object, or the bytes `range` of it, cut at its end. A range that begins at or past the end, so every
    /// range of an empty object, is [`ObjectError::Range`].
    fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> impl Future<Output = Result<Fetched, ObjectError>> + Send;

    /// What is under the key, if anything.
    fn stat(&self, key: &ObjectKey) -> impl Future<Output = Result<Option<Stat>, ObjectError>> + Send;

    /// Removes it; absent is a success.
    fn delete(&self, key: &ObjectKey) -> impl Future<Output = Result<(), ObjectError>> + Send;

    /// Objects below `prefix` (whole segments, with or without a slash at the end, or empty for all) that come after
    /// `after`, at most `limit` (1 to 1,000, cut to that). Fewer than `limit` means the end. The order is that of the keys'
    /// bytes, except on S3 servers with an order of their own; `after` goes by the same order, so pages give every object
    /// once everywhere.
    fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<Listed>, ObjectError>> + Send;

    /// A URL that gives the object to whoever holds it, for `ttl` (1 s to 7 days, cut to that); `None` when this store
    /// cannot or should not. Whether the object exists is not asked.
    fn presign(&self, key: &ObjectKey, ttl: Duration) -> impl Future<Output = Result<Option<Url>, ObjectError>> + Send;

    /// A request that writes an object as it was announced, and no other, as often as it is sent within `ttl` (1 s to 7 days, cut
    /// to that); `None` when this store cannot or should not.
    fn presign_put(
        &self,
        key: &ObjectKey,
        announced: &Announced,
        ttl: Duration,
    ) -> impl Future<Output = Result<Option<SignedPut>, ObjectError>> + Send;

    /// Whether the store answers and the place exists, within two seconds.
    fn ping(&self) -> impl Future<Output = Result<(), ObjectError>> + Send;
}

/// A store of this installation or of a tenant.
#[derive(Clone, Debug)]
pub enum Objects {
    /// Any S3 API.
    S3(s3::S3Store),
    /// A directory.
    Directory(directory::DirectoryStore),
}

impl Objects {
    /// Waits for what dropped calls left to clean up, in [`Objects::S3`] the aborts of uploads; at most about a minute.
    pub async fn finish(&self) {
        match self {
            Self::S3(store) => store.finish().await,
            Self::Directory(_) => {}
        }
    }

    /// Begins a long write of `key` and gives it up, as one that fails is: whether a store lets go of what is half written. Of a
    /// directory there is nothing to ask.
    ///
    /// # Errors
    /// When the store is away, or refuses one of the two.
    pub async fn give_up(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        match self {
            Self::S3(store) => store.give_up(key).await,
            Self::Directory(_) => Ok(()),
        }
    }

    /// Removes every object below `prefix`, whole segments. Returns how many. Called again after a failure it goes on.
    ///
    /// # Errors
    /// When the store is away, or refuses.
    pub async fn delete_below(&self, prefix: &str) -> Result<u64, ObjectError> {
        const PAGE: u16 = 1_000;
        let (mut removed, mut after) = (0_u64, None);
        loop {
            let page = self.list(prefix, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(removed) };
            after = Some(last.key.clone());
            for listed in &page {
                self.delete(&listed.key).await?;
                removed = removed.saturating_add(1);
            }
        }
    }

    /// Opens the store that the URL's scheme names: `file:///path` or
    /// `s3://bucket[/prefix]?endpoint=…&region=…&access_key=…&secret_key=…&path_style=true&presign=false`; see
    /// [`s3`] for all its parameters.
    ///
    /// # Errors
    /// When the URL is no store's, or the directory cannot be made.
    pub async fn open(url: &Url, clock: Clock, entropy: Entropy) -> Result<Self, ObjectError> {
        match url.scheme() {
            "file" => Ok(Self::Directory(
                directory::DirectoryStore::open(url, &clock, entropy).await?,
            )),
            "s3" => Ok(Self::S3(s3::S3Store::open(url, clock)?)),
            scheme => Err(unknown(url, scheme)),
        }
    }

    /// The same of a store whose place a tenant chose: a bucket, which is connected to where `guard` lets it be.
    ///
    /// # Errors
    /// When the URL is no bucket's.
    pub fn open_guarded(url: &Url, guard: &Guard, clock: Clock) -> Result<Self, ObjectError> {
        match url.scheme() {
            "s3" => Ok(Self::S3(s3::S3Store::open_guarded(url, guard, clock)?)),
            scheme => Err(unknown(url, scheme)),
        }
    }
}

fn unknown(url: &Url, scheme: &str) -> ObjectError {
    ObjectError::Url {
        url: crate::config::redacted(url),
        problem: format!("unknown scheme {scheme:?}"),
    }
}

/// The bytes of an object of `total` bytes that `range` asks for.
fn within(key: &ObjectKey, range: Option<Range<u64>>, total: u64) -> Result<Range<u64>, ObjectError> {
    match range {
        None => Ok(0..total),
        Some(range) if range.start >= total => Err(ObjectError::Range {
            key: key.clone(),
            size: ByteCount::of_u64(total),
        }),
        Some(range) => Ok(range.start..range.end.clamp(range.start, total)),
    }
}

/// A listing's prefix as keys begin with it: empty, or with one slash at its end.
fn listing_prefix(prefix: &str) -> String {
    match prefix.trim_matches('/') {
        "" => String::new(),
        segments => format!("{segments}/"),
    }
}

macro_rules! either {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::S3($store) => $call,
            Self::Directory($store) => $call,
        }
    };
}

impl Store for Objects {
    async fn put(&self, key: &ObjectKey, body: Bytes, content_type: &str) -> Result<Stored, ObjectError> {
        either!(self, store => store.put(key, body, content_type).await)
    }

    async fn put_stream_as(
        &self,
        key: &ObjectKey,
        body: Body,
        limit: ByteCount,
        content_type: &str,
    ) -> Result<Stored, ObjectError> {
        either!(self, store => store.put_stream_as(key, body, limit, content_type).await)
    }

    async fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Fetched, ObjectError> {
        either!(self, store => store.get(key, range).await)
    }

    async fn stat(&self, key: &ObjectKey) -> Result<Option<Stat>, ObjectError> {
        either!(self, store => store.stat(key).await)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        either!(self, store => store.delete(key).await)
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: u16) -> Result<Vec<Listed>, ObjectError> {
        either!(self, store => store.list(prefix, after, limit).await)
    }

    async fn presign(&self, key: &ObjectKey, ttl: Duration) -> Result<Option<Url>, ObjectError> {
        either!(self, store => store.presign(key, ttl).await)
    }

    async fn presign_put(
        &self,
        key: &ObjectKey,
        announced: &Announced,
        ttl: Duration,
    ) -> Result<Option<SignedPut>, ObjectError> {
        either!(self, store => store.presign_put(key, announced, ttl).await)
    }

    async fn ping(&self) -> Result<(), ObjectError> {
        either!(self, store => store.ping().await)
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched")
            .field("total", &self.total)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

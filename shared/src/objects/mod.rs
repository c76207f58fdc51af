//! The object port: bytes under keys, in a directory or in S3.
//!
//! The contract, held by the suite in `contract.rs` against both adapters:
//!
//! - A write is all or nothing: no reader ever sees a part, and a failed or cut-off write leaves nothing under the key.
//! - A write that returned is durable, power loss included.
//! - Writing the same key again replaces it; writers of the same bytes never disturb each other.
//! - Deleting what is not there is a success.
//! - Bodies stream: memory does not grow with an object's size.
//! - Every wait has a deadline: connecting, and every pause within a body.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod directory;
mod key;
pub mod s3;

pub use key::{KeyError, ObjectKey};

use crate::{
    BoxError,
    clock::{Clock, Entropy},
    units::ByteCount,
};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{future::Future, ops::Range, time::Duration};
use url::Url;

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
    #[error("no space left for {key}")]
    Full {
        /// The key.
        key: ObjectKey,
        /// What the store said.
        #[source]
        source: BoxError,
    },
    /// The store refuses: credentials, permissions, no such bucket. An operator must act.
    #[error("the store refused {operation} of {key}")]
    Refused {
        /// The key.
        key: ObjectKey,
        /// What was tried.
        operation: &'static str,
        /// What the store said.
        #[source]
        source: BoxError,
    },
    /// The store is away, slow or answers nonsense: trying again may help.
    #[error("the store did not complete {operation} of {key}")]
    Unavailable {
        /// The key.
        key: ObjectKey,
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
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
    fn put_stream(
        &self,
        key: &ObjectKey,
        body: Body,
        limit: ByteCount,
    ) -> impl Future<Output = Result<Stored, ObjectError>> + Send;

    /// Reads an object, or the bytes `range` of it, cut at its end.
    fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> impl Future<Output = Result<Fetched, ObjectError>> + Send;

    /// What is under the key, if anything.
    fn stat(&self, key: &ObjectKey) -> impl Future<Output = Result<Option<Stat>, ObjectError>> + Send;

    /// Removes it; absent is a success.
    fn delete(&self, key: &ObjectKey) -> impl Future<Output = Result<(), ObjectError>> + Send;

    /// Objects whose keys begin with `prefix` (a whole number of segments, or empty), in byte order of their keys,
    /// those after `after`, at most `limit` (1 to 1,000).
    fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<Listed>, ObjectError>> + Send;

    /// A URL that gives the object to whoever holds it, for `ttl`; `None` when this store cannot or should not.
    fn presign(&self, key: &ObjectKey, ttl: Duration) -> impl Future<Output = Result<Option<Url>, ObjectError>> + Send;

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
    /// Opens the store that the URL's scheme names: `file:///path` or
    /// `s3://bucket[/prefix]?endpoint=…&region=…&access_key=…&secret_key=…&path_style=true&presign=false`.
    ///
    /// # Errors
    /// When the URL is no store's, or the directory cannot be made.
    pub async fn open(url: &Url, clock: Clock, entropy: Entropy) -> Result<Self, ObjectError> {
        match url.scheme() {
            "file" => Ok(Self::Directory(directory::DirectoryStore::open(url, entropy).await?)),
            "s3" => Ok(Self::S3(s3::S3Store::open(url, clock, entropy)?)),
            scheme => Err(ObjectError::Url {
                url: crate::config::redacted(url),
                problem: format!("unknown scheme {scheme:?}"),
            }),
        }
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

    async fn put_stream(&self, key: &ObjectKey, body: Body, limit: ByteCount) -> Result<Stored, ObjectError> {
        either!(self, store => store.put_stream(key, body, limit).await)
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

    async fn ping(&self) -> Result<(), ObjectError> {
        either!(self, store => store.ping().await)
    }
}

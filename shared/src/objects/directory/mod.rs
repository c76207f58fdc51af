//! Objects as files below one directory.
//!
//! Promises beyond the port's: an object is the file at the path of its key, so other tools can read it. A write goes to
//! `.tmp` of the same root, is synced, renamed into its place, and then every directory on the way is synced, so that a
//! power cut leaves the old object or the new one. Several processes may use one root.
//!
//! Never follows what is not its own: links and names that are no keys are passed over. Files are read and written in
//! pieces of [`PIECE`] on the blocking pool, never on async threads.

mod durable;
mod listing;
mod temporary;

use super::{
    Announced, Body, Fetched, Listed, ObjectError, ObjectKey, SignedPut, Stat, Store, Stored, Subject, listing_prefix,
    metered::Metered, within,
};
use crate::{
    clock::{Clock, Entropy},
    config::redacted,
    units::ByteCount,
};
use bytes::Bytes;
use durable::Places;
use futures_util::{StreamExt, stream};
use std::{
    fs::File,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
    sync::Arc,
    time::Duration,
};
use temporary::{Temporaries, Writing};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Bytes that one trip to the blocking pool reads or writes.
pub const PIECE: usize = 512 * 1024;

/// [`Store::ping`] gives up after this long.
const PING: Duration = Duration::from_secs(2);

/// A store in a directory. Cloning shares it.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    places: Arc<Places>,
    temporaries: Arc<Temporaries>,
}

impl DirectoryStore {
    /// Opens `file:///path`; makes the directory when it is not there, and removes what writers that died left in `.tmp`
    /// more than six hours ago.
    ///
    /// # Errors
    /// When the URL is no such, or the directory cannot be made.
    pub async fn open(url: &Url, clock: &Clock, entropy: Entropy) -> Result<Self, ObjectError> {
        let refuse = |problem: String| ObjectError::Url {
            url: redacted(url),
            problem,
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("file urls take no parameters".into()));
        }
        let root = url
            .to_file_path()
            .map_err(|()| refuse("the path must be absolute, on this machine: file:///path".into()))?;
        let now = clock.now();
        blocking(move || {
            let places = Places::open(root)?;
            let temporaries = Temporaries::open(places.root(), entropy)?;
            temporaries.sweep(now);
            Ok(Self {
                places: Arc::new(places),
                temporaries: Arc::new(temporaries),
            })
        })
        .await
        .map_err(|error| refuse(error.to_string()))
    }

    async fn create(&self) -> io::Result<Writing> {
        let temporaries = Arc::clone(&self.temporaries);
        blocking(move || temporaries.create()).await
    }

    /// Gives what was written its name.
    async fn place(&self, key: &ObjectKey, writing: Writing) -> io::Result<Stored> {
        // The blocking pool finishes what it began even if the caller is gone: ask before the one step that shows.
        let caller = CancellationToken::new();
        let gone = caller.clone();
        let _present = caller.drop_guard();
        let (places, key) = (Arc::clone(&self.places), key.clone());
        blocking(move || {
            let (temporary, stored) = writing.finish()?;
            if gone.is_cancelled() {
                return Err(io::Error::other("nobody waits for it"));
            }
            places.link(temporary, &key)?;
            Ok(stored)
        })
        .await
    }
}

impl Store for DirectoryStore {
    async fn put(&self, key: &ObjectKey, body: Bytes, _content_type: &str) -> Result<Stored, ObjectError> {
        let mut writing = self.create().await.map_err(|error| written(key, error))?;
        writing = blocking(move || {
            body.chunks(PIECE).try_for_each(|piece| writing.append(piece))?;
            Ok(writing)
        })
        .await
        .map_err(|error| written(key, error))?;
        self.place(key, writing).await.map_err(|error| written(key, error))
    }

    async fn put_stream_as(
        &self,
        key: &ObjectKey,
        body: Body,
        limit: ByteCount,
        _content_type: &str,
    ) -> Result<Stored, ObjectError> {
        let mut body = Metered::new(key, body, limit);
        let mut writing = self.create().await.map_err(|error| written(key, error))?;
        while !body.at_end().await? {
            let piece = body.gather(PIECE).await?;
            writing = blocking(move || {
                writing.append(&piece)?;
                Ok(writing)
            })
            .await
            .map_err(|error| written(key, error))?;
        }
        self.place(key, writing).await.map_err(|error| written(key, error))
    }

    async fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Fetched, ObjectError> {
        let path = self.places.path(key);
        let (file, total) = blocking(move || open_file(&path))
            .await
            .map_err(|error| read(key, error))?;
        let range = within(key, range, total)?;
        let reading = Reading {
            file,
            at: range.start,
            end: range.end,
        };
        let key = key.clone();
        let body = stream::try_unfold(reading, move |reading| {
            let key = key.clone();
            async move {
                if reading.at >= reading.end {
                    return Ok(None);
                }
                let next = blocking(move || reading.piece()).await;
                next.map(Some).map_err(|error| read(&key, error))
            }
        });
        Ok(Fetched {
            total: ByteCount::of_u64(total),
            range,
            body: body.boxed(),
        })
    }

    async fn stat(&self, key: &ObjectKey) -> Result<Option<Stat>, ObjectError> {
        let path = self.places.path(key);
        match blocking(move || open_file(&path))
            .await
            .map_err(|error| read(key, error))
        {
            Ok((_, total)) => Ok(Some(Stat {
                bytes: ByteCount::of_u64(total),
                sha256: None,
            })),
            Err(ObjectError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let (places, object) = (Arc::clone(&self.places), key.clone());
        blocking(move || places.unlink(&object))
            .await
            .map_err(|error| fault(key.into(), "delete", error))
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: u16) -> Result<Vec<Listed>, ObjectError> {
        let places = Arc::clone(&self.places);
        let below = listing_prefix(prefix);
        let after = after.cloned();
        blocking(move || listing::list(places.root(), &below, after.as_ref(), usize::from(limit.clamp(1, 1000))))
            .await
            .map_err(|error| fault(Subject::Listing(prefix.into()), "list", error))
    }

    async fn presign(&self, _key: &ObjectKey, _ttl: Duration) -> Result<Option<Url>, ObjectError> {
        Ok(None)
    }

    async fn presign_put(
        &self,
        _key: &ObjectKey,
        _announced: &Announced,
        _ttl: Duration,
    ) -> Result<Option<SignedPut>, ObjectError> {
        Ok(None)
    }

    async fn ping(&self) -> Result<(), ObjectError> {
        let temporaries = Arc::clone(&self.temporaries);
        let tried = tokio::time::timeout(PING, blocking(move || temporaries.create().map(drop))).await;
        tried
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(|error| fault(Subject::Store, "reach", error))
    }
}

/// A file on its way out.
struct Reading {
    file: File,
    at: u64,
    end: u64,
}

impl Reading {
    fn piece(mut self) -> io::Result<(Bytes, Self)> {
        let length = usize::try_from(self.end - self.at).map_or(PIECE, |left| left.min(PIECE));
        let mut piece = vec![0; length];
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.read_exact(&mut piece)?;
        self.at += u64::try_from(length).unwrap_or(u64::MAX);
        Ok((piece.into(), self))
    }
}

fn open_file(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata.len()))
    } else {
        Err(ErrorKind::NotFound.into())
    }
}

/// Runs on the pool for work that blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

fn written(key: &ObjectKey, error: io::Error) -> ObjectError {
    fault(key.into(), "write", error)
}

fn read(key: &ObjectKey, error: io::Error) -> ObjectError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            ObjectError::Missing { key: key.clone() }
        }
        _ => fault(key.into(), "read", error),
    }
}

fn fault(subject: Subject, operation: &'static str, error: io::Error) -> ObjectError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ObjectError::Full {
            subject,
            source: error.into(),
        },
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::FileTooLarge
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::AlreadyExists => ObjectError::Refused {
            subject,
            operation,
            source: error.into(),
        },
        _ => ObjectError::Unavailable {
            subject,
            operation,
            source: error.into(),
        },
    }
}

#[cfg(test)]
mod tests;

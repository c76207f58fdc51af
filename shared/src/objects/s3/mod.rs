//! Objects in a bucket of any S3 API.
//!
//! `s3://BUCKET[/PREFIX]?…` with these parameters, each at most once, others are refused:
//!
//! | parameter | default | |
//! |---|---|---|
//! | `endpoint` | Amazon's, by region | `http://host:port` or `https://host:port` |
//! | `region` | `AWS_REGION`, then `us-east-1` | |
//! | `access_key`, `secret_key`, `session_token` | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | |
//! | `path_style` | `true` with an `endpoint`, else `false` | bucket in the path, not in the host name |
//! | `presign` | `false` | whether readers and uploaders may be sent to the bucket itself |
//! | `ca` | the system's roots | file of PEM certificates that are trusted instead of the system's roots |
//!
//! Promises beyond the port's: every body is signed with its SHA-256, so the server refuses what was damaged on its way
//! (the call ends as [`ObjectError::Unavailable`]); where the server keeps a checksum of a whole object, what is read is
//! held against it. Bodies of up to 8 MiB are one request; longer ones are multipart uploads, at most two parts in
//! flight, which are aborted when the write fails or is dropped. An abort that cannot reach the server, and a process
//! that dies, leave parts behind: give the bucket a lifecycle rule that ends incomplete uploads.
//!
//! What differs between servers: the credentials need the right to list the bucket, or Amazon answers a missing object
//! like a refused one. `stat` cannot tell a missing bucket from a missing object; `ping` can. `SeaweedFS` lists names of a
//! directory before it goes into them, so `a/b` comes before `a-b/c`: every object once, pages included, but not in byte
//! order.
//!
//! A store that is opened guarded connects to what [`Guard`] lets through and to nothing else, whatever its name resolves to at that
//! moment, and reads no more of an answer than answers have (`guarded/`).

mod client;
mod fault;
mod guarded;
mod settings;
mod upload;

use super::{
    Announced, Body, Fetched, Listed, ObjectError, ObjectKey, SignedPut, Stat, Store, Stored, Subject, listing_prefix,
    metered::Metered, within,
};
use crate::{
    clock::Clock,
    fetch::Guard,
    units::{ByteCount, Millis},
};
use aws_sdk_s3::{
    Client,
    config::{ResponseChecksumValidation, timeout::TimeoutConfig},
    operation::get_object::GetObjectOutput,
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::ChecksumMode,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use client::Deadlines;
use fault::{Meaning, fault, meaning, odd, wrong};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    ops::{Range, RangeInclusive},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tokio_util::task::TaskTracker;
use url::Url;

/// Bodies up to this size are one request, longer ones are sent in parts of it.
pub const PART: usize = 8 * 1024 * 1024;

/// Requests for one listing: a server that goes on for ever, whatever it is told to begin after, is not followed.
const MOST_PAGES: u32 = 1_000;

/// [`Store::ping`] gives up after this long.
const PING: Duration = Duration::from_secs(2);

/// What S3 allows presigned URLs to live for.
const PRESIGNED: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(7 * 24);

/// A store in a bucket. Cloning shares it.
#[derive(Clone)]
pub struct S3Store(Arc<Bucket>);

/// A bucket, the part of it that is ours, and how to reach it.
struct Bucket {
    client: Client,
    name: String,
    /// Empty, or with one slash at its end.
    prefix: String,
    presign: bool,
    clock: Clock,
    deadlines: Deadlines,
    /// Parts and aborts of uploads: they go on when their caller is dropped.
    uploads: TaskTracker,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Store(s3://{}/{})", self.0.name, self.0.prefix)
    }
}

impl S3Store {
    /// Reads the URL; the server is not asked.
    ///
    /// # Errors
    /// When the URL has an unknown, missing or bad parameter.
    pub fn open(url: &Url, clock: Clock) -> Result<Self, ObjectError> {
        Self::open_with(url, None, clock, Deadlines::PATIENT)
    }

    /// The same of a bucket whose place a tenant chose.
    ///
    /// # Errors
    /// As [`S3Store::open`].
    pub fn open_guarded(url: &Url, guard: &Guard, clock: Clock) -> Result<Self, ObjectError> {
        Self::open_with(url, Some(guard), clock, Deadlines::PATIENT)
    }

    fn open_with(url: &Url, guard: Option<&Guard>, clock: Clock, deadlines: Deadlines) -> Result<Self, ObjectError> {
        let settings = settings::read(url)?;
        Ok(Self(Arc::new(Bucket {
            client: client::build(&settings, guard, &clock, deadlines),
            name: settings.bucket,
            prefix: settings.prefix,
            presign: settings.presign,
            clock,
            deadlines,
            uploads: TaskTracker::new(),
        })))
    }

    /// Begins a write in parts and gives it up, as one that fails is.
    ///
    /// # Errors
    /// When the store is away, or refuses one of the two.
    pub async fn give_up(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        upload::give_up(&self.0, key).await
    }

    /// Waits for the aborts of uploads whose calls were dropped.
    pub async fn finish(&self) {
        self.0.uploads.close();
        self.0.uploads.wait().await;
        self.0.uploads.reopen();
    }
}

impl Bucket {
    fn path(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// One request, all or nothing.
    async fn put(&self, key: &ObjectKey, body: Bytes, content_type: &str) -> Result<Stored, ObjectError> {
        let bytes = ByteCount::of(body.len());
        let (hash, body) = hashed(Sha256::new(), body)
            .await
            .map_err(|error| odd(key, "write", error))?;
        self.client
            .put_object()
            .bucket(&self.name)
            .key(self.path(key))
            .content_type(content_type)
            .body(ByteStream::from(body))
            .customize()
            .config_override(self.deadlines.to_send(bytes))
            .send()
            .await
            .map_err(|error| fault(key.into(), "write", error))?;
        Ok(Stored {
            bytes,
            sha256: hex::encode(hash.finalize()),
        })
    }

    async fn stat(&self, key: &ObjectKey) -> Result<Option<Stat>, ObjectError> {
        let answer = self
            .client
            .head_object()
            .bucket(&self.name)
            .key(self.path(key))
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        match answer {
            Ok(head) => {
                let total = length(head.content_length);
                let total = total.ok_or_else(|| wrong(key.into(), "look at", "no length in the answer"))?;
                Ok(Some(Stat {
                    bytes: ByteCount::of_u64(total),
                    sha256: head.checksum_sha256().and_then(whole_sha256),
                }))
            }
            Err(error) if meaning(&error) == Meaning::Missing => Ok(None),
            Err(error) => Err(fault(key.into(), "look at", error)),
        }
    }

    fn presigning(&self, key: &ObjectKey, ttl: Duration) -> Result<PresigningConfig, ObjectError> {
        let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(self.clock.now().get()).unwrap_or(0));
        PresigningConfig::builder()
            .start_time(now)
            .expires_in(ttl.clamp(*PRESIGNED.start(), *PRESIGNED.end()))
            .build()
            .map_err(|error| odd(key, "presign", error))
    }

    /// What there is to say about a range that the server did not give: most likely it begins past the end.
    async fn out_of_range(&self, key: &ObjectKey, range: Range<u64>) -> ObjectError {
        match self.stat(key).await {
            Ok(None) => ObjectError::Missing { key: key.clone() },
            Ok(Some(stat)) => match within(key, Some(range), stat.bytes.unsigned()) {
                Err(error) => error,
                // Replaced by a longer one since, or a server that is wrong.
                Ok(_) => wrong(key.into(), "read", "the range was refused, but the object has it"),
            },
            Err(error) => error,
        }
    }
}

impl Store for S3Store {
    async fn put(&self, key: &ObjectKey, body: Bytes, content_type: &str) -> Result<Stored, ObjectError> {
        self.0.put(key, body, content_type).await
    }

    async fn put_stream_as(
        &self,
        key: &ObjectKey,
        body: Body,
        limit: ByteCount,
        content_type: &str,
    ) -> Result<Stored, ObjectError> {
        let mut body = Metered::new(key, body, limit);
        let first = body.gather(PART).await?;
        if body.at_end().await? {
            self.0.put(key, first.into(), content_type).await
        } else {
            upload::put(&self.0, key, first, body, content_type).await
        }
    }

    async fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Fetched, ObjectError> {
        let asked = match &range {
            None => None,
            Some(range) if range.is_empty() => {
                // HTTP has no empty range.
                let stat = self.0.stat(key).await?;
                let stat = stat.ok_or_else(|| ObjectError::Missing { key: key.clone() })?;
                return Ok(Fetched {
                    total: stat.bytes,
                    range: within(key, Some(range.clone()), stat.bytes.unsigned())?,
                    body: stream::empty().boxed(),
                });
            }
            Some(range) if i64::try_from(range.start).is_err() => {
                return Err(self.0.out_of_range(key, range.clone()).await);
            }
            // Servers count in signed numbers.
            Some(range) if i64::try_from(range.end).is_err() => Some(format!("bytes={}-", range.start)),
            Some(range) => Some(format!("bytes={}-{}", range.start, range.end - 1)),
        };
        let bucket = &self.0;
        let answer = bucket
            .client
            .get_object()
            .bucket(&bucket.name)
            .key(bucket.path(key))
            .set_range(asked)
            .send()
            .await;
        match (answer, range) {
            (Ok(answer), range) => fetched(key, range, answer),
            (Err(error), _) if meaning(&error) == Meaning::Missing => Err(ObjectError::Missing { key: key.clone() }),
            (Err(error), Some(range)) if meaning(&error) == Meaning::Range => {
                Err(bucket.out_of_range(key, range).await)
            }
            (Err(error), _) => Err(fault(key.into(), "read", error)),
        }
    }

    async fn stat(&self, key: &ObjectKey) -> Result<Option<Stat>, ObjectError> {
        self.0.stat(key).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let bucket = &self.0;
        let request = bucket.client.delete_object().bucket(&bucket.name).key(bucket.path(key));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if meaning(&error) == Meaning::Missing => Ok(()),
            Err(error) => Err(fault(key.into(), "delete", error)),
        }
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: u16) -> Result<Vec<Listed>, ObjectError> {
        let subject = || Subject::Listing(prefix.into());
        let (bucket, limit) = (&self.0, usize::from(limit.clamp(1, 1000)));
        let below = format!("{}{}", bucket.prefix, listing_prefix(prefix));
        let mut found = Vec::new();
        let mut from = after.map(|key| bucket.path(key));
        // More than one request only when the bucket holds others' objects among ours.
        let mut pages = 0;
        while found.len() < limit {
            pages += 1;
            if pages > MOST_PAGES {
                return Err(wrong(
                    subject(),
                    "list",
                    "pages without end, and next to nothing of ours in them",
                ));
            }
            let wanted = limit - found.len();
            let page = bucket
                .client
                .list_objects_v2()
                .bucket(&bucket.name)
                .prefix(&below)
                .set_start_after(from)
                .max_keys(i32::try_from(wanted).unwrap_or(1000))
                .send()
                .await
                .map_err(|error| fault(subject(), "list", error))?;
            let objects = page.contents();
            from = objects.last().and_then(|object| object.key()).map(Into::into);
            found.extend(objects.iter().take(wanted).filter_map(|object| {
                let key = object.key()?.strip_prefix(&bucket.prefix)?.parse().ok()?;
                let bytes = ByteCount::new(object.size()?);
                let modified = object.last_modified().and_then(|at| at.to_millis().ok());
                Some(Listed {
                    key,
                    bytes,
                    modified: modified.map(Millis::new),
                })
            }));
            if page.is_truncated() != Some(true) || from.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn presign(&self, key: &ObjectKey, ttl: Duration) -> Result<Option<Url>, ObjectError> {
        let bucket = &self.0;
        if !bucket.presign {
            return Ok(None);
        }
        let config = bucket.presigning(key, ttl)?;
        // To check a response the SDK would ask for its checksum in a signed header, which no browser sends.
        let plain =
            aws_sdk_s3::Config::builder().response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        let signed = bucket
            .client
            .get_object()
            .bucket(&bucket.name)
            .key(bucket.path(key))
            .customize()
            .config_override(plain)
            .presigned(config)
            .await
            .map_err(|error| fault(key.into(), "presign", error))?;
        let url = signed.uri().parse().map_err(|error| odd(key, "presign", error))?;
        Ok(Some(url))
    }

    async fn presign_put(
        &self,
        key: &ObjectKey,
        announced: &Announced,
        ttl: Duration,
    ) -> Result<Option<SignedPut>, ObjectError> {
        let bucket = &self.0;
        if !bucket.presign {
            return Ok(None);
        }
        let config = bucket.presigning(key, ttl)?;
        let checksum = announced.sha256.as_ref().map(hex::decode).transpose();
        let checksum = checksum.map_err(|error| odd(key, "presign", error))?;
        let request = bucket
            .client
            .put_object()
            .bucket(&bucket.name)
            .key(bucket.path(key))
            .content_length(announced.bytes.get())
            .content_type(&announced.content_type)
            .set_checksum_sha256(checksum.map(|bytes| STANDARD.encode(bytes)));
        let signed = request.presigned(config).await;
        let signed = signed.map_err(|error| fault(key.into(), "presign", error))?;
        let headers = signed
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Some(SignedPut {
            url: signed.uri().parse().map_err(|error| odd(key, "presign", error))?,
            headers: headers.collect(),
        }))
    }

    async fn ping(&self) -> Result<(), ObjectError> {
        let request = self.0.client.head_bucket().bucket(&self.0.name);
        match tokio::time::timeout(PING, request.send()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(fault(Subject::Store, "reach", error)),
            Err(late) => Err(ObjectError::Unavailable {
                subject: Subject::Store,
                operation: "reach",
                source: late.into(),
            }),
        }
    }
}

/// The checksum of an object that was written at once; one that was written in parts has a checksum of their checksums, with a
/// dash and their number at its end.
fn whole_sha256(encoded: &str) -> Option<String> {
    let bytes = STANDARD.decode(encoded).ok()?;
    (bytes.len() == 32).then(|| hex::encode(bytes))
}

fn length(given: Option<i64>) -> Option<u64> {
    given.and_then(|length| u64::try_from(length).ok())
}

/// Holds the answer against what was asked: some servers ignore ranges.
fn fetched(key: &ObjectKey, asked: Option<Range<u64>>, answer: GetObjectOutput) -> Result<Fetched, ObjectError> {
    let problem = |problem: &str| wrong(key.into(), "read", problem);
    let length = length(answer.content_length).ok_or_else(|| problem("no length in the answer"))?;
    let (given, total) = match answer.content_range() {
        None => (0..length, length),
        Some(text) => content_range(text).ok_or_else(|| problem("an unreadable range in the answer"))?,
    };
    if given != within(key, asked, total)? {
        return Err(problem("another range than the one asked for in the answer"));
    }
    let key = key.clone();
    let body = stream::try_unfold(answer.body, move |mut body| {
        let subject = Subject::from(&key);
        async move {
            match body.next().await {
                None => Ok(None),
                Some(Ok(piece)) => Ok(Some((piece, body))),
                Some(Err(error)) => Err(ObjectError::Unavailable {
                    subject,
                    operation: "read",
                    source: error.into(),
                }),
            }
        }
    });
    Ok(Fetched {
        total: ByteCount::of_u64(total),
        range: given,
        body: body.boxed(),
    })
}

/// `bytes 0-9/20`: <https://www.rfc-editor.org/rfc/rfc9110#field.content-range>
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let last: u64 = last.parse().ok()?;
    Some((first.parse().ok()?..last.checked_add(1)?, total.parse().ok()?))
}

/// Hashes on the pool for work that blocks: a part takes milliseconds.
async fn hashed(mut hash: Sha256, body: Bytes) -> Result<(Sha256, Bytes), tokio::task::JoinError> {
    tokio::task::spawn_blocking(move || {
        hash.update(&body);
        (hash, body)
    })
    .await
}

impl Deadlines {
    /// For a request whose body has `bytes`.
    fn to_send(self, bytes: ByteCount) -> aws_sdk_s3::config::Builder {
        let timeouts: TimeoutConfig = self.timeouts(bytes);
        aws_sdk_s3::Config::builder().timeout_config(timeouts)
    }
}

#[cfg(test)]
mod tests;

//! Payloads of the kinds that handle pictures.

use super::{Job, JobKind, Pool};
use crate::{
    fetch::SourceUrl,
    ids::{KeyId, MediaId, UserId},
    retry::RetryPolicy,
    tenancy::VariantPreset,
    units::{ByteCount, Millis},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Cleans a staged upload, makes its variants, places and counts them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessMedia {
    /// The picture to be.
    pub media: MediaId,
    /// Name the uploader gave, without a path.
    pub file_name: Option<String>,
    /// Key that uploaded it.
    pub key: Option<KeyId>,
    /// Object key of the staged bytes.
    pub staged: String,
    /// Staged size.
    pub bytes: ByteCount,
    /// SHA-256 of the staged bytes, lower-case hexadecimal.
    pub sha256: String,
    /// What the fast counters hold for it until the worker settles.
    pub reserved: ByteCount,
    /// When the picture expires. `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
    /// Who holds the picture, where the same upload again gives the same picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<UserId>,
}

impl Job for ProcessMedia {
    const KIND: JobKind = JobKind::MediaProcess;
    const POOL: Pool = Pool::Media;
    const TIMEOUT: Duration = Duration::from_secs(120);
}

/// Fetches an upload from a URL, and then does what [`ProcessMedia`] does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchMedia {
    /// The picture to be.
    pub media: MediaId,
    /// Where it is fetched from.
    pub url: SourceUrl,
    /// Name the uploader gave, or the URL has, without a path.
    pub file_name: Option<String>,
    /// Key that uploaded it.
    pub key: Option<KeyId>,
    /// What the fast counters hold for it until the worker knows more: a guess.
    pub reserved: ByteCount,
    /// When the picture expires. `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
    /// Who holds the picture, where the same upload again gives the same picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<UserId>,
}

impl FetchMedia {
    /// Longest fetch: what is left of [`Job::TIMEOUT`] is for the picture, as long as an upload's may take.
    pub const LONGEST_FETCH: Duration = Duration::from_secs(180);
    /// A fetch that fails when it is tried for so often, or more often, is given up. Once the bytes are here, the job is tried as often as
    /// an upload's.
    pub const FETCHES: i64 = 4;
}

impl Job for FetchMedia {
    const KIND: JobKind = JobKind::MediaFetch;
    const POOL: Pool = Pool::Fetch;
    const TIMEOUT: Duration = Duration::from_secs(300);
}

/// Makes one more variant of a picture that is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MakeVariant {
    /// The picture.
    pub media: MediaId,
    /// What the variant is stored under.
    pub name: String,
    /// What is wanted.
    pub variant: VariantPreset,
    /// What the fast counters hold for it until the worker settles.
    pub reserved: ByteCount,
}

impl Job for MakeVariant {
    const KIND: JobKind = JobKind::MediaVariant;
    const POOL: Pool = Pool::Media;
    /// Somebody waits for it, and whoever asks again has it made again.
    const RETRY: RetryPolicy = RetryPolicy {
        attempts: Some(4),
        ..RetryPolicy::JOB
    };
    const TIMEOUT: Duration = Duration::from_secs(120);
}

/// Removes a picture: its count and its rows are gone at once, and its objects when every storage has confirmed it, however long
/// that takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteMedia {
    /// The picture.
    pub media: MediaId,
    /// For whom it is deleted, where others may hold it too. `None`: for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<UserId>,
}

impl Job for DeleteMedia {
    const KIND: JobKind = JobKind::MediaDelete;
    const POOL: Pool = Pool::Maintenance;
    const RETRY: RetryPolicy = RetryPolicy {
        attempts: None,
        ..RetryPolicy::JOB
    };
    const TIMEOUT: Duration = Duration::from_secs(60);
}

/// Removes objects of a picture that no row speaks of: what failed writes may have left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveObjects {
    /// The picture.
    pub media: MediaId,
    /// Where, and under which keys. Those that are recorded there by now stay.
    pub objects: Vec<(String, String)>,
}

impl Job for RemoveObjects {
    const KIND: JobKind = JobKind::ObjectsRemove;
    const POOL: Pool = Pool::Maintenance;
    const RETRY: RetryPolicy = RetryPolicy {
        attempts: None,
        ..RetryPolicy::JOB
    };
    const TIMEOUT: Duration = Duration::from_secs(60);
}

/// Moves a picture's files out of a storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveMedia {
    /// The picture.
    pub media: MediaId,
    /// Out of this one; `-` is the installation's own store.
    pub from: String,
    /// Into this one. `None`: wherever the tenant's placement says.
    pub to: Option<String>,
    /// The task whose part it is; its figures count what is done.
    pub task: Option<String>,
}

impl Job for MoveMedia {
    const KIND: JobKind = JobKind::MediaMove;
    const POOL: Pool = Pool::Maintenance;
}

/// Reads a picture's files in a storage again, and compares their checksums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyMedia {
    /// The picture.
    pub media: MediaId,
    /// In this one; `-` is the installation's own store.
    pub storage: String,
    /// The task whose part it is; its figures count what is found.
    pub task: Option<String>,
}

impl Job for VerifyMedia {
    const KIND: JobKind = JobKind::MediaVerify;
    const POOL: Pool = Pool::Maintenance;
}

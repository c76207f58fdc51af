//! Payloads of the kinds that handle pictures.

use super::{Job, JobKind, Pool};
use crate::{
    ids::{KeyId, MediaId},
    retry::RetryPolicy,
    tenancy::VariantPreset,
    units::ByteCount,
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
}

impl Job for ProcessMedia {
    const KIND: JobKind = JobKind::MediaProcess;
    const POOL: Pool = Pool::Media;
    const TIMEOUT: Duration = Duration::from_secs(120);
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

/// Removes a picture, its objects and its count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteMedia {
    /// The picture.
    pub media: MediaId,
}

impl Job for DeleteMedia {
    const KIND: JobKind = JobKind::MediaDelete;
    const POOL: Pool = Pool::Maintenance;
    const TIMEOUT: Duration = Duration::from_secs(60);
}

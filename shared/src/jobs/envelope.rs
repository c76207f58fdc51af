//! What travels through the queue. The payload stays in the job's row.

use super::JobKind;
use crate::{
    ids::{JobId, TenantId, TraceId},
    units::Millis,
};
use serde::{Deserialize, Serialize};

/// A message of the queue, versioned: a process of one release reads what another wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v")]
pub enum Envelope {
    /// The first version.
    #[serde(rename = "1")]
    V1 {
        /// The row.
        job: JobId,
        /// Whose job; `None` for the provider's own work.
        tenant: Option<TenantId>,
        /// What to do.
        kind: JobKind,
        /// Attempts that had failed when this was published.
        attempt: u32,
        /// Version of the tenant's context when the job was accepted.
        context_version: i64,
        /// The trace this work belongs to.
        trace: TraceId,
        /// When it was published.
        published_at: Millis,
    },
}

/// A message that is no envelope of ours.
#[derive(Debug, thiserror::Error)]
#[error("a message of {bytes} bytes is no envelope of a version known here")]
pub struct Malformed {
    /// Its size.
    pub bytes: usize,
    /// What the parser said.
    #[source]
    pub source: serde_json::Error,
}

impl Envelope {
    /// The job.
    #[must_use]
    pub const fn job(&self) -> &JobId {
        match self {
            Self::V1 { job, .. } => job,
        }
    }

    /// The kind of work.
    #[must_use]
    pub const fn kind(&self) -> JobKind {
        match self {
            Self::V1 { kind, .. } => *kind,
        }
    }

    /// The trace.
    #[must_use]
    pub const fn trace(&self) -> &TraceId {
        match self {
            Self::V1 { trace, .. } => trace,
        }
    }

    /// When it was published.
    #[must_use]
    pub const fn published_at(&self) -> Millis {
        match self {
            Self::V1 { published_at, .. } => *published_at,
        }
    }

    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of texts and numbers: serialising it has no way to fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are no envelope of a version known here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(bytes).map_err(|source| Malformed {
            bytes: bytes.len(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What release 0.1 writes. Kept for ever: later releases must read it.
    const V1: &str = r#"{"v":"1","job":"01hf7y0000000000000000000a","tenant":"demo","kind":"media.process","attempt":0,"context_version":3,"trace":"01hf7y0000000000000000000b","published_at":1700000000000}"#;

    #[test]
    fn the_first_version_reads_and_writes_as_released() {
        let envelope = Envelope::from_bytes(V1.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(envelope.to_bytes()).unwrap(), V1);
    }

    #[test]
    fn other_bytes_are_refused_with_their_size() {
        let error = Envelope::from_bytes(br#"{"v":"9"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a message of 9 bytes is no envelope of a version known here"
        );
    }
}

//! How a job can fail, said where the failure is born.

use crate::BoxError;
use std::{borrow::Cow, fmt, time::Duration};

/// A stable code for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    code: Cow<'static, str>,
    text: String,
}

impl Reason {
    /// The payload in the row does not parse.
    pub const UNREADABLE_PAYLOAD: &'static str = "unreadable-payload";
    /// The staged bytes of an upload are gone.
    pub const STAGED_BYTES_MISSING: &'static str = "staged-bytes-missing";
    /// The tenant's quota is used up.
    pub const OVER_QUOTA: &'static str = "over-quota";
    /// The tenant does not exist any more, or may not write.
    pub const TENANT_NOT_ACTIVE: &'static str = "tenant-not-active";
    /// The rows do not allow it: the tenant is gone, or in another state.
    pub const REFUSED: &'static str = "refused";
    /// A copy of a tenant's rows is not what was copied.
    pub const COPY_DIFFERS: &'static str = "copy-differs";
    /// A move's attempts are used up: the tenant stays where it was.
    pub const MOVE_GIVEN_UP: &'static str = "move-given-up";
    /// The picture's time is over.
    pub const EXPIRED: &'static str = "expired";
    /// A stored file is not what was written.
    pub const FILE_DAMAGED: &'static str = "file-damaged";
    /// A storage is off, or cannot be opened.
    pub const STORAGE_CLOSED: &'static str = "storage-closed";
    /// The picture is not there any more.
    pub const PICTURE_GONE: &'static str = "picture-gone";
    /// A variant's attempts are used up: whoever asks for it again has it tried again.
    pub const VARIANT_GIVEN_UP: &'static str = "variant-given-up";
    /// A stored file of the picture is gone.
    pub const FILE_MISSING: &'static str = "file-missing";
    /// The job needs more memory than any worker here has.
    pub const TOO_LARGE_FOR_WORKER: &'static str = "too-large-for-worker";
    /// A URL is none that is fetched from, or leads to one.
    pub const URL_REFUSED: &'static str = "url-refused";
    /// A URL leads from one place to the next without end.
    pub const TOO_MANY_REDIRECTS: &'static str = "too-many-redirects";
    /// A server says that it has nothing at the URL, or nothing for us.
    pub const URL_NOT_FOUND: &'static str = "url-not-found";
    /// A server cannot prove that it is the URL's host.
    pub const URL_UNTRUSTED: &'static str = "url-untrusted";
    /// What a URL gives is larger than the tenant's uploads may be.
    pub const URL_TOO_LARGE: &'static str = "url-too-large";
    /// What a URL gives is of a format that the tenant does not take.
    pub const FORMAT_NOT_TAKEN: &'static str = "format-not-taken";
    /// A URL's server did not answer, or not to the end, as often as it was tried.
    pub const FETCH_FAILED: &'static str = "fetch-failed";
    /// The process that decodes the picture does not survive it.
    pub const DECODER_DIED: &'static str = "decoder-died";

    /// `code` is kebab-case and never changes its meaning; `text` fits "failed: {text}".
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            text: text.into(),
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a handler says when it did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Trying again cannot help.
    #[error("the job cannot succeed: {reason}")]
    Permanent {
        /// Why.
        reason: Reason,
        /// The cause, for the log.
        #[source]
        source: Option<BoxError>,
    },
    /// Trying again may help.
    #[error("the job may succeed later")]
    Transient {
        /// The server's own hint, if it gave one: not before so long.
        not_before: Option<Duration>,
        /// The cause.
        #[source]
        source: BoxError,
    },
}

impl JobError {
    /// A permanent failure without a deeper cause.
    #[must_use]
    pub fn permanent(code: &'static str, text: impl Into<String>) -> Self {
        Self::Permanent {
            reason: Reason::new(code, text),
            source: None,
        }
    }

    /// A failure that another attempt may not meet, at the usual delay.
    #[must_use]
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::Transient {
            not_before: None,
            source: source.into(),
        }
    }
}

/// Classifies an error at the line where it is born.
pub trait ResultExt<T> {
    /// Trying again may help.
    fn transient(self) -> Result<T, JobError>;
    /// Trying again cannot help.
    fn permanent(self, code: &'static str, text: impl Into<String>) -> Result<T, JobError>;
}

impl<T, E: Into<BoxError>> ResultExt<T> for Result<T, E> {
    fn transient(self) -> Result<T, JobError> {
        self.map_err(JobError::transient)
    }

    fn permanent(self, code: &'static str, text: impl Into<String>) -> Result<T, JobError> {
        self.map_err(|error| JobError::Permanent {
            reason: Reason::new(code, text),
            source: Some(error.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_cause_once() {
        let failed: Result<(), _> = Err(std::io::Error::other("disk gone"));
        let error = failed.transient().unwrap_err();
        assert_eq!(crate::chain(&error), "the job may succeed later: disk gone");
    }
}

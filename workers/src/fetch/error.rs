//! Why nothing was fetched. Texts are for whoever gave the URL: they say nothing of what is inside this installation's networks.

use mediamill_shared::{
    BoxError,
    fetch::UrlRefused,
    jobs::{FetchMedia, JobError, Reason},
    units::ByteCount,
};
use std::time::Duration;

/// Why a URL gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// It, or where it leads, is not fetched from.
    #[error("the url is not fetched: {0}")]
    Refused(UrlRefused),
    /// It leads on and on.
    #[error("the url leads to more than {} redirects", super::MOST_REDIRECTS)]
    Redirects,
    /// A redirect that does not say where to.
    #[error("the url's server redirects without saying where to")]
    Nowhere,
    /// The server has nothing there, or not for us.
    #[error("the url's server answers {0}")]
    NotFound(u16),
    /// The body is compressed.
    #[error("the url's server compresses what it was asked to send as it is")]
    Encoded,
    /// It has more bytes than it may.
    #[error("the url gives more than {0}, which is what an upload may have")]
    TooLarge(ByteCount),
    /// Its certificate is not one for its name by somebody who is trusted.
    #[error("the url's server does not prove that it is {host}")]
    Untrusted {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// This system trusts nobody.
    #[error("this system has no certificates that servers could be verified by")]
    NoRoots,
    /// The server wants to be asked later.
    #[error("the url's server answers {0}")]
    Unwilling(u16),
    /// Its name has no address, or none was found in time.
    #[error("the url's host {host} does not resolve")]
    Unresolved {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Nobody takes the connection.
    #[error("the url's host {host} does not take a connection")]
    Unconnected {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// It breaks off, or is no HTTP.
    #[error("the url's server broke off")]
    Http(#[source] BoxError),
    /// It says nothing for too long.
    #[error("the url's server was silent for too long")]
    Silent,
    /// It is not over in time.
    #[error("what the url gives did not arrive within {} s", .0.as_secs())]
    Late(Duration),
}

impl FetchError {
    /// The stable code, where trying again cannot help.
    pub(super) const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Refused(_) | Self::Encoded => Some(Reason::URL_REFUSED),
            Self::Redirects => Some(Reason::TOO_MANY_REDIRECTS),
            Self::Nowhere | Self::NotFound(_) => Some(Reason::URL_NOT_FOUND),
            Self::TooLarge(_) => Some(Reason::URL_TOO_LARGE),
            Self::Untrusted { .. } => Some(Reason::URL_UNTRUSTED),
            Self::NoRoots
            | Self::Unwilling(_)
            | Self::Unresolved { .. }
            | Self::Unconnected { .. }
            | Self::Http(_)
            | Self::Silent
            | Self::Late(_) => None,
        }
    }

    /// What it means to the job that is tried for the `tries`th time: a server that does not answer is asked a few times.
    pub(crate) fn of_try(self, tries: i64) -> JobError {
        let code = self
            .code()
            .or((tries >= FetchMedia::FETCHES).then_some(Reason::FETCH_FAILED));
        match code {
            Some(code) => JobError::Permanent {
                reason: Reason::new(code, self.to_string()),
                source: Some(Box::new(self)),
            },
            None => JobError::transient(self),
        }
    }
}

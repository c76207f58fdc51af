//! A URL that something may be fetched from, parsed once.

use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, str::FromStr};
use url::{Host, Url};

/// Longest URL, bytes.
const LONGEST: usize = 2048;

/// Why a URL is not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// It cannot be read.
    #[error("it is no URL: {0}")]
    Malformed(#[from] url::ParseError),
    /// It is longer than a URL may be.
    #[error("it has more than {LONGEST} bytes")]
    TooLong,
    /// It is of something else than a web server.
    #[error("its scheme is {0:?}, not http or https")]
    Scheme(String),
    /// It carries a name or a password, which would be kept and shown.
    #[error("it has a name or a password in it")]
    Credentials,
    /// Its port is none that is fetched from.
    #[error("its port is {0}, which is none that is fetched from")]
    Port(u16),
    /// Its host is, or resolves to, an address that is not of the public internet. Which one, is not told.
    #[error("its host is at an address that is not public")]
    Address,
    /// A redirect would go on without TLS.
    #[error("it would lead from https to http")]
    Downgrade,
}

/// An `http` or `https` URL without credentials. Its fragment is left out: no server sees it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceUrl(Url);

impl SourceUrl {
    fn check(mut url: Url) -> Result<Self, UrlRefused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlRefused::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlRefused::Credentials);
        }
        url.set_fragment(None);
        if url.as_str().len() > LONGEST {
            return Err(UrlRefused::TooLong);
        }
        Ok(Self(url))
    }

    /// Where a redirect leads: `location` may be relative.
    ///
    /// # Errors
    /// When that is none to go to.
    pub fn join(&self, location: &str) -> Result<Self, UrlRefused> {
        if location.len() > LONGEST {
            return Err(UrlRefused::TooLong);
        }
        let next = Self::check(self.0.join(location)?)?;
        if self.is_secure() && !next.is_secure() {
            return Err(UrlRefused::Downgrade);
        }
        Ok(next)
    }

    /// Whether it is fetched over TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The host, as names are resolved and certificates are checked: an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.0.host_str().unwrap_or_default();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The host, where it is an address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    /// The port, said or not.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// Host and port as the header `Host` has them.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Path and query as a request line has them.
    #[must_use]
    pub fn target(&self) -> String {
        let path = self.0.path();
        self.0
            .query()
            .map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
    }

    /// Last segment of the path, escapes resolved: a name for the file, where nobody gave one.
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        let last = self.0.path_segments()?.next_back()?;
        // As a query's value, since that is what the crate decodes; a plus is a plus in a path.
        let escaped = format!("n={}", last.replace('+', "%2B").replace('&', "%26"));
        let name = url::form_urlencoded::parse(escaped.as_bytes()).next()?.1.into_owned();
        (!name.is_empty()).then_some(name)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for SourceUrl {
    type Err = UrlRefused;
    fn from_str(text: &str) -> Result<Self, UrlRefused> {
        if text.len() > LONGEST {
            return Err(UrlRefused::TooLong);
        }
        Self::check(text.parse()?)
    }
}

impl TryFrom<String> for SourceUrl {
    type Error = UrlRefused;
    fn try_from(text: String) -> Result<Self, UrlRefused> {
        text.parse()
    }
}

impl From<SourceUrl> for String {
    fn from(url: SourceUrl) -> Self {
        url.0.into()
    }
}

impl fmt::Debug for SourceUrl {
    /// Without its path and query: they may open something.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceUrl({}://{}/…)", self.0.scheme(), self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(text: &str) -> SourceUrl {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_no_plain_web_address_is_refused() {
        let refused = |text: &str| text.parse::<SourceUrl>().unwrap_err();
        for (text, scheme) in [
            ("file:///etc/passwd", "file"),
            ("ftp://a.example/", "ftp"),
            ("gopher://a.example/", "gopher"),
            ("data:image/png;base64,AA", "data"),
            ("unix:/run/x", "unix"),
        ] {
            assert_eq!(refused(text), UrlRefused::Scheme(scheme.to_owned()), "{text}");
        }
        for text in [
            "http://me@a.example/",
            "http://:pw@a.example/",
            "https://me:pw@a.example/",
        ] {
            assert_eq!(refused(text), UrlRefused::Credentials, "{text}");
        }
        for text in [
            "",
            "/a",
            "http://",
            "http://a b/",
            "http://a.example:99999/",
            "http://[::1/",
        ] {
            assert!(matches!(refused(text), UrlRefused::Malformed(_)), "{text}");
        }
        assert_eq!(
            refused(&format!("http://a/{}", "x".repeat(LONGEST))),
            UrlRefused::TooLong
        );
    }

    #[test]
    fn a_url_is_taken_apart_as_a_request_needs_it() {
        let plain = url("HTTPS://A.Example/b/c%20d.jpg?e=f#g");
        assert_eq!(
            (plain.host(), plain.port(), plain.is_secure()),
            ("a.example", 443, true)
        );
        assert_eq!(
            (plain.authority(), plain.target()),
            ("a.example".into(), "/b/c%20d.jpg?e=f".into())
        );
        assert_eq!(plain.file_name().as_deref(), Some("c d.jpg"));
        let six = url("http://[2606:4700::1]:8080");
        assert_eq!(
            (six.host(), six.authority(), six.target()),
            ("2606:4700::1", "[2606:4700::1]:8080".into(), "/".into())
        );
        assert_eq!(
            (six.address(), six.file_name()),
            (Some("2606:4700::1".parse().unwrap()), None)
        );
        assert_eq!(url("http://a/x+y%26z").file_name().as_deref(), Some("x+y&z"));
        assert_eq!(format!("{plain:?}"), "SourceUrl(https://a.example/…)");
    }

    #[test]
    fn redirects_are_urls_like_others_and_keep_tls() {
        let from = url("https://a.example/b/c?d");
        assert_eq!(from.join("../e").unwrap().as_str(), "https://a.example/e");
        assert_eq!(
            from.join("//other.example/").unwrap().as_str(),
            "https://other.example/"
        );
        assert_eq!(from.join("http://a.example/"), Err(UrlRefused::Downgrade));
        assert_eq!(from.join("file:///x"), Err(UrlRefused::Scheme("file".into())));
        assert_eq!(from.join("https://me@a.example/"), Err(UrlRefused::Credentials));
        assert!(url("http://a/").join("https://a/").unwrap().is_secure());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "(https?://)?[a-z0-9.:@/?#%\\[\\]\\\\ -]{0,40}") {
            if let Ok(url) = text.parse::<SourceUrl>() {
                let again: SourceUrl = serde_json::from_str(&serde_json::to_string(&url).unwrap()).unwrap();
                prop_assert_eq!(&again, &url);
                prop_assert!(!url.authority().is_empty() && url.target().starts_with('/'));
                prop_assert!(!url.authority().contains('@'));
            }
        }
    }
}

//! Which stores are connected to whose place a tenant chose.
//!
//! Stricter than what pictures are fetched from: with TLS, and at public addresses alone. What [`Guard::admit`] sees is the text, when
//! it is given; what a name resolves to is judged by [`Guard::resolve`] for every connection, since it may be another address by
//! then. A network that the configuration opens (`storage_allow_private`) needs neither to be public nor to speak TLS.

use super::is_public;
use crate::config::{AddressList, Config};
use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use url::{Host, Url};

/// Ports below this one belong to services that are no store, apart from those of the web.
const FIRST_FREE_PORT: u16 = 1024;
/// Longest endpoint, bytes.
const LONGEST: usize = 2048;

/// For a name's addresses: less than a client waits for a connection, so that a name that is looked up for long is told from others
/// by nothing else.
const RESOLVE: Duration = Duration::from_secs(2);

/// Why an endpoint is none that a tenant's key may choose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointRefused {
    /// It cannot be read.
    #[error("it is no address such as https://s3.example")]
    Malformed,
    /// It has no TLS.
    #[error("it must be https")]
    Plain,
    /// It carries what an endpoint has not.
    #[error("it has a name, a password, a query or a fragment in it")]
    Extra,
    /// Its port is another service's.
    #[error("its port is {0}; a store's is 443 (without TLS 80), or {FIRST_FREE_PORT} and above")]
    Port(u16),
    /// It is at an address that is not connected to.
    #[error(transparent)]
    Address(#[from] AddressRefused),
}

/// Nothing was connected to. One text, whether a name is not known or is at an address of this installation's own network: nobody
/// shall find out what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint's name is not known, or it is not at a public address")]
pub struct AddressRefused;

/// How names become addresses. Cloning shares it.
#[derive(Clone)]
pub struct Names(Source);

#[derive(Clone)]
enum Source {
    System,
    Said(Arc<Mutex<HashMap<String, Vec<IpAddr>>>>),
}

impl Names {
    /// As the system resolves them.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// As [`Names::set`] says; others are not known.
    #[must_use]
    pub fn said() -> Self {
        Self(Source::Said(Arc::default()))
    }

    /// From now on `name` is at these addresses. The system's names do not take orders.
    pub fn set(&self, name: &str, addresses: &[IpAddr]) {
        match &self.0 {
            Source::System => {}
            Source::Said(said) => {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.insert(name.to_owned(), addresses.to_vec());
            }
        }
    }

    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        match &self.0 {
            Source::System => {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            }
            Source::Said(said) => {
                let said = said.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(said.get(name).cloned().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::System => "Names(system)",
            Source::Said(_) => "Names(said)",
        })
    }
}

/// What is connected to for a tenant: by the configuration of the installation. Cloning shares the names.
#[derive(Debug, Clone)]
pub struct Guard {
    private: AddressList,
    names: Names,
}

impl Guard {
    /// By `storage_allow_private`, and the system's names.
    #[must_use]
    pub fn from_config(config: &Config) -> Self {
        Self::new(config, Names::system())
    }

    /// By `storage_allow_private`, and these names.
    #[must_use]
    pub fn new(config: &Config, names: Names) -> Self {
        Self {
            private: config.storage_allow_private.clone(),
            names,
        }
    }

    /// Goes on when the text of an endpoint is nothing to refuse. Its host, where it is a name, is judged when it is resolved; so is
    /// whether it may be without TLS, where that depends on its address.
    ///
    /// # Errors
    /// Why no store is looked for there.
    pub fn admit(&self, endpoint: &str) -> Result<(), EndpointRefused> {
        if endpoint.len() > LONGEST {
            return Err(EndpointRefused::Malformed);
        }
        let url: Url = endpoint.parse().map_err(|_| EndpointRefused::Malformed)?;
        let secure = match url.scheme() {
            "https" => true,
            "http" if !self.private.is_empty() => false,
            _ => return Err(EndpointRefused::Plain),
        };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(EndpointRefused::Extra);
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let usual = if secure { 443 } else { 80 };
        if port < FIRST_FREE_PORT && port != usual {
            return Err(EndpointRefused::Port(port));
        }
        Ok(self.admit_host(&url, secure)?)
    }

    /// Goes on when a URL's host is a name, or an address that may be connected to, however it is written.
    ///
    /// # Errors
    /// When it is another address.
    pub fn admit_host(&self, url: &Url, secure: bool) -> Result<(), AddressRefused> {
        let address: IpAddr = match url.host().ok_or(AddressRefused)? {
            Host::Domain(_) => return Ok(()),
            Host::Ipv4(address) => address.into(),
            Host::Ipv6(address) => address.into(),
        };
        if self.reaches(address, secure) {
            Ok(())
        } else {
            Err(AddressRefused)
        }
    }

    /// Whether a connection to `address` may be made, with TLS or without.
    #[must_use]
    pub fn reaches(&self, address: IpAddr, secure: bool) -> bool {
        (secure && is_public(address)) || self.private.has(address)
    }

    /// The addresses of a name, each of which may be connected to.
    ///
    /// # Errors
    /// When one of them may not, or there are none.
    pub async fn resolve(&self, name: &str, secure: bool) -> Result<Vec<IpAddr>, AddressRefused> {
        let unresolved = |error: &(dyn std::error::Error + 'static)| {
            tracing::debug!(error, "the name of a tenant's endpoint does not resolve");
            AddressRefused
        };
        let found = tokio::time::timeout(RESOLVE, self.names.resolve(name)).await;
        let found = found.map_err(|late| unresolved(&late))?;
        let found = found.map_err(|error| unresolved(&error))?;
        // All of them: a name that has one address too many is not what it seems to be.
        if found.is_empty() || !found.iter().all(|address| self.reaches(*address, secure)) {
            return Err(AddressRefused);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(private: &str) -> Guard {
        let config = Config::from_pairs([
            ("data_dir", "/data".to_owned()),
            ("storage_allow_private", private.to_owned()),
        ]);
        Guard::new(&config.unwrap(), Names::said())
    }

    #[test]
    fn an_endpoint_has_tls_and_is_public_however_it_is_written() {
        let usual = guard("");
        for endpoint in [
            "https://s3.example",
            "https://s3.example:9000/",
            "https://8.8.8.8:443",
            "https://[2606:4700::1]",
            // Names are judged when they are resolved.
            "https://localhost",
        ] {
            assert_eq!(usual.admit(endpoint), Ok(()), "{endpoint}");
        }
        for endpoint in [
            "https://127.0.0.1:9000",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1",
            "https://0",
            "https://127.0.0.1./",
            "https://１２７.0.0.1/",
            "https://[::1]",
            "https://[::]",
            "https://[::ffff:127.0.0.1]",
            "https://[::ffff:7f00:1]",
            "https://[64:ff9b::a9fe:a9fe]",
            "https://169.254.169.254",
            "https://10.0.0.1",
            "https://100.100.100.200",
            "https://[fd00:ec2::254]",
        ] {
            assert_eq!(usual.admit(endpoint), Err(AddressRefused.into()), "{endpoint}");
        }
        for endpoint in [
            "http://s3.example",
            "http://127.0.0.1",
            "file:///etc",
            "ftp://s3.example",
            "s3://a",
        ] {
            assert_eq!(usual.admit(endpoint), Err(EndpointRefused::Plain), "{endpoint}");
        }
        for port in [22, 25, 80, 1023] {
            let endpoint = format!("https://s3.example:{port}");
            assert_eq!(usual.admit(&endpoint), Err(EndpointRefused::Port(port)));
        }
        for endpoint in [
            "https://me@s3.example",
            "https://:x@s3.example",
            "https://s3.example?a",
            "https://s3.example#a",
        ] {
            assert_eq!(usual.admit(endpoint), Err(EndpointRefused::Extra), "{endpoint}");
        }
        for endpoint in [
            "",
            "s3.example",
            "https://",
            "https://[fe80::1%25eth0]",
            "https://abc.127.0.0.1",
        ] {
            assert_eq!(usual.admit(endpoint), Err(EndpointRefused::Malformed), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn a_network_that_is_open_needs_no_tls_and_nothing_else_gets_by_with_it() {
        let open = guard("10.1.0.0/16");
        assert_eq!(open.admit("http://10.1.2.3:9000"), Ok(()));
        assert_eq!(open.admit("https://10.1.2.3"), Ok(()));
        assert_eq!(open.admit("http://10.1.2.3"), Ok(()));
        for endpoint in ["http://8.8.8.8:9000", "http://10.2.0.1:9000", "https://10.2.0.1"] {
            assert_eq!(open.admit(endpoint), Err(AddressRefused.into()), "{endpoint}");
        }
        open.names.set("public", &["8.8.8.8".parse().unwrap()]);
        open.names.set("inside", &["10.1.0.1".parse().unwrap()]);
        assert!(open.resolve("public", true).await.is_ok() && open.resolve("public", false).await.is_err());
        assert!(open.resolve("inside", true).await.is_ok() && open.resolve("inside", false).await.is_ok());
    }

    #[tokio::test]
    async fn one_address_too_many_and_none_are_refused_alike() {
        let usual = guard("");
        let set = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            usual.names.set("s3.example", &addresses);
        };
        set(&["8.8.8.8", "2606:4700::1"]);
        assert_eq!(usual.resolve("s3.example", true).await.unwrap().len(), 2);
        for addresses in [
            &["8.8.8.8", "127.0.0.1"][..],
            &["::1"],
            &["::ffff:10.0.0.1"],
            &["169.254.169.254"],
            &[],
        ] {
            set(addresses);
            assert_eq!(
                usual.resolve("s3.example", true).await,
                Err(AddressRefused),
                "{addresses:?}"
            );
        }
        assert_eq!(usual.resolve("unknown", true).await, Err(AddressRefused));
        // What the system's resolver takes for names.
        let system = Guard {
            names: Names::system(),
            ..usual
        };
        for name in ["localhost", "localhost.", "2130706433", "0x7f.1", "storage.invalid"] {
            assert_eq!(system.resolve(name, true).await, Err(AddressRefused), "{name}");
        }
    }
}

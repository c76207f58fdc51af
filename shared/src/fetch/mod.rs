//! Which URLs the pipeline fetches for a tenant, and which addresses it connects to for that.
//!
//! A tenant chooses the URL, this installation makes the connection: without rules it would reach whatever this machine
//! reaches, the cloud's metadata and its own back ends among them. So a URL is judged when it is accepted ([`Rules::admit`]), and
//! every address that its host resolves to is judged before a connection is made ([`Rules::reaches`]), for each redirect anew.
//! This module fetches nothing: the workers do, with what they judged by it. Stores whose place a tenant chose have rules of
//! their own ([`Guard`]).

mod address;
mod guard;
mod source;

pub use address::is_public;
pub use guard::{AddressRefused, EndpointRefused, Guard, Names};
pub use source::{SourceUrl, UrlRefused};

use crate::config::{AddressList, Config, PortList};
use std::net::IpAddr;

/// What may be fetched: by the configuration of the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    private: AddressList,
    ports: PortList,
}

impl Rules {
    /// By `fetch_allow_private` and `fetch_ports`.
    #[must_use]
    pub fn from_config(config: &Config) -> Self {
        Self {
            private: config.fetch_allow_private.clone(),
            ports: config.fetch_ports.clone(),
        }
    }

    /// Goes on when the URL itself is nothing to refuse: its port is one that is fetched from, and where its host is an
    /// address, that is one that may be connected to. What a name resolves to is judged when it is resolved.
    ///
    /// # Errors
    /// Why it is not fetched, in words for whoever gave it.
    pub fn admit(&self, url: &SourceUrl) -> Result<(), UrlRefused> {
        let port = url.port();
        if !self.ports.has(port) {
            return Err(UrlRefused::Port(port));
        }
        match url.address() {
            Some(address) if !self.reaches(address) => Err(UrlRefused::Address),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a connection to `address` may be made.
    #[must_use]
    pub fn reaches(&self, address: IpAddr) -> bool {
        is_public(address) || self.private.has(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(private: &str, ports: &str) -> Rules {
        let config = Config::from_pairs([
            ("data_dir", "/data".to_owned()),
            ("fetch_allow_private", private.to_owned()),
            ("fetch_ports", ports.to_owned()),
        ]);
        Rules::from_config(&config.unwrap())
    }

    fn admitted(rules: &Rules, url: &str) -> Result<(), UrlRefused> {
        rules.admit(&url.parse().unwrap())
    }

    #[test]
    fn ports_and_addresses_are_judged_before_anything_is_resolved() {
        let usual = rules("", "80 443");
        for url in [
            "http://example.com/a",
            "https://example.com/",
            "http://example.com:443/",
            "https://93.184.216.34/",
            "https://localhost/",
        ] {
            assert_eq!(admitted(&usual, url), Ok(()), "{url}");
        }
        assert_eq!(admitted(&usual, "http://example.com:22/"), Err(UrlRefused::Port(22)));
        // However they are written.
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://169.254.169.254./",
            "http://0/",
            "http://１２７.0.0.1/",
        ] {
            assert_eq!(admitted(&usual, url), Err(UrlRefused::Address), "{url}");
        }
    }

    #[test]
    fn an_installation_may_open_networks_and_ports_of_its_own() {
        let open = rules("10.1.0.0/16, ::1", "8080");
        assert_eq!(admitted(&open, "http://10.1.2.3:8080/"), Ok(()));
        assert_eq!(admitted(&open, "http://[::1]:8080/"), Ok(()));
        assert_eq!(admitted(&open, "http://10.2.2.3:8080/"), Err(UrlRefused::Address));
        assert_eq!(admitted(&open, "http://10.1.2.3/"), Err(UrlRefused::Port(80)));
        assert!(open.reaches("::ffff:10.1.0.1".parse().unwrap()) && !open.reaches("::2".parse().unwrap()));
    }
}

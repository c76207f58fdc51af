//! Who is believed: secrets, and networks.

use crate::secrets::SecretText;
use ipnet::IpNet;
use std::net::IpAddr;
use subtle::ConstantTimeEq;

/// Secrets that open the same thing, the first the present one.
#[derive(Clone, Debug, Default)]
pub struct SecretList(Vec<SecretText>);

impl SecretList {
    /// Secrets at a time: the present one, and the one before it.
    const MOST: usize = 2;
    /// Shorter ones can be guessed.
    const SHORTEST: usize = 16;

    /// Each of them, the present one first.
    #[must_use]
    pub fn all(&self) -> &[SecretText] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `text` is one of them. Takes the same time for every wrong text of one length.
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        let mut found = subtle::Choice::from(0);
        for secret in &self.0 {
            found |= secret.reveal().as_bytes().ct_eq(text.as_bytes());
        }
        found.into()
    }

    #[cfg(test)]
    pub(crate) fn of(secrets: &[&str]) -> Self {
        Self(
            secrets
                .iter()
                .map(|secret| SecretText::new((*secret).to_owned()))
                .collect(),
        )
    }

    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::default());
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() > Self::MOST {
            return Err(format!(
                "{} secrets at most: the present one and the one before it",
                Self::MOST
            ));
        }
        if words.iter().any(|word| word.len() < Self::SHORTEST) {
            return Err(format!("a secret has {} characters at least", Self::SHORTEST));
        }
        Ok(Self(
            words.into_iter().map(|word| SecretText::new(word.to_owned())).collect(),
        ))
    }

    pub(super) fn show(&self) -> String {
        if self.0.is_empty() {
            return "none".to_owned();
        }
        vec!["***"; self.0.len()].join(" ")
    }
}

/// Addresses and networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList(Vec<IpNet>);

impl AddressList {
    /// Whether `address` is one of them. An IPv4 address that arrives over IPv6 is taken for what it is.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn read(text: &str) -> Result<Self, String> {
        let words = text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty());
        let networks = words.map(|word| {
            let network = word
                .parse::<IpNet>()
                .or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| format!("{word:?} is no address and no network such as 10.0.0.0/8"))
        });
        networks.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn show(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// Ports of TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortList(Vec<u16>);

impl PortList {
    /// Whether `port` is one of them.
    #[must_use]
    pub fn has(&self, port: u16) -> bool {
        self.0.contains(&port)
    }

    pub(super) fn read(text: &str) -> Result<Self, String> {
        let words = text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty());
        let ports = words.map(|word| match word.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            Ok(_) | Err(_) => Err(format!("{word:?} is no port: write 1 to 65535")),
        });
        ports.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn show(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// What a signature of a request to the Tenants API must cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureMode {
    /// The body, as Chevereto's clients send it.
    Body,
    /// Method, path, time, nonce and body.
    Full,
}

impl SignatureMode {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text {
            "body" => Ok(Self::Body),
            "full" => Ok(Self::Full),
            _ => Err(format!("{text:?} is neither body nor full")),
        }
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that every value's reader has"
    )]
    pub(super) fn show(&self) -> String {
        match self {
            Self::Body => "body".to_owned(),
            Self::Full => "full".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_however_they_arrive() {
        let list = AddressList::read("10.0.0.0/8, 192.0.2.7 ::1/128").unwrap();
        for inside in ["10.1.2.3", "192.0.2.7", "::1", "::ffff:10.0.0.1"] {
            assert!(list.has(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "::2"] {
            assert!(!list.has(outside.parse().unwrap()), "{outside}");
        }
        assert!(AddressList::read("10.0.0.0/33").is_err() && AddressList::read("x").is_err());
        assert!(AddressList::read("").unwrap().is_empty());
    }

    #[test]
    fn ports_are_numbers() {
        let list = PortList::read("80, 443\t8080").unwrap();
        assert!(list.has(80) && list.has(8080) && !list.has(81));
        assert_eq!(list.show(), "80 443 8080");
        for wrong in ["0", "65536", "http", "80-90"] {
            assert!(PortList::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_two_at_most_long_enough_and_not_shown() {
        let list = SecretList::read("0123456789abcdef fedcba9876543210").unwrap();
        assert_eq!((list.all().len(), list.show().as_str()), (2, "*** ***"));
        assert!(!format!("{list:?}").contains("abcdef"));
        assert!(SecretList::read("short").is_err());
        assert!(SecretList::read("none").unwrap().is_empty());
    }

    #[test]
    fn either_live_secret_is_known_and_nothing_else() {
        let list = SecretList::of(&["0123456789abcdef", "fedcba9876543210"]);
        assert!(list.has("0123456789abcdef") && list.has("fedcba9876543210"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg"] {
            assert!(!list.has(wrong), "{wrong}");
        }
        assert!(!SecretList::default().has(""));
    }
}

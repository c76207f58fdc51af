//! Database servers that tenants are placed on, as configuration writes them.

use crate::tenancy::ServerName;
use url::Url;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEntry {
    /// Its name.
    pub name: ServerName,
    /// Its shared database; `None` for `main`, which is the control database's.
    pub url: Option<Url>,
    /// Share of new tenants, against the others'.
    pub weight: u32,
}

/// `NAME=URL NAME*WEIGHT=URL main*WEIGHT`, separated by white space.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ServerList(Vec<ServerEntry>);

impl ServerList {
    /// Every entry, in order.
    #[must_use]
    pub fn entries(&self) -> &[ServerEntry] {
        &self.0
    }

    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut entries: Vec<ServerEntry> = Vec::new();
        for word in text.split_whitespace() {
            let (head, url) = match word.split_once('=') {
                Some((head, url)) => (head, Some(url)),
                None => (word, None),
            };
            let (name, weight) = head.split_once('*').unwrap_or((head, "1"));
            let name: ServerName = name.parse().map_err(|error| format!("{name:?}: {error}"))?;
            let weight = weight
                .parse()
                .map_err(|_| format!("{name}: {weight:?} is no weight: write a whole number"))?;
            let url = match (url, name.is_main()) {
                (Some(url), false) => Some(url.parse().map_err(|error| format!("{name}: {error}"))?),
                (None, true) => None,
                (Some(_), true) => return Err("main is the control database's: it has no URL of its own here".into()),
                (None, false) => return Err(format!("{name} has no URL: write {name}=postgres://…")),
            };
            if entries.iter().any(|entry| entry.name == name) {
                return Err(format!("{name} is named twice"));
            }
            entries.push(ServerEntry { name, url, weight });
        }
        Ok(Self(entries))
    }

    pub(super) fn show(&self) -> String {
        let words = self.0.iter().map(|entry| {
            let url = entry
                .url
                .as_ref()
                .map_or_else(String::new, |url| format!("={}", super::redacted(url)));
            format!("{}*{}{url}", entry.name, entry.weight)
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Where new tenants go when neither they nor their plan name a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacementPolicy {
    /// To the server with the fewest tenants.
    Fewest,
    /// To the server with the fewest tenants for its weight.
    Weight,
    /// To this one.
    Named(ServerName),
}

impl PlacementPolicy {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text {
            "fewest" => Ok(Self::Fewest),
            "weight" => Ok(Self::Weight),
            name => name
                .parse()
                .map(Self::Named)
                .map_err(|error| format!("{text:?} is neither fewest nor weight nor a server: {error}")),
        }
    }

    pub(super) fn show(&self) -> String {
        match self {
            Self::Fewest => "fewest".to_owned(),
            Self::Weight => "weight".to_owned(),
            Self::Named(name) => name.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_with_their_weights_and_shown_without_their_passwords() {
        let list = ServerList::read("a=postgres://u:hush@h/x b*3=postgres://h2/y main*0").unwrap();
        let weights: Vec<_> = list.entries().iter().map(|e| (e.name.as_str(), e.weight)).collect();
        assert_eq!(weights, [("a", 1), ("b", 3), ("main", 0)]);
        assert_eq!(list.show(), "a*1=postgres://u:***@h/x b*3=postgres://h2/y main*0");
        for bad in [
            "a",
            "main=postgres://h/x",
            "a=nonsense",
            "a*x=postgres://h/x",
            "A=postgres://h/x",
            "main main",
        ] {
            assert!(ServerList::read(bad).is_err(), "{bad}");
        }
    }
}

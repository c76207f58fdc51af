//! Where a tenant's tables are: a server, a mode, and a name there that no other placement ever had.
//!
//! A move makes a new place and retires the old one, so what still speaks to the old place can harm nobody.

use super::TablePrefix;
use std::{fmt, str::FromStr, sync::Arc};

crate::jobs::names!(
    /// How a tenant's tables are kept apart from others'.
    Isolation, "isolation mode" {
        /// In a shared database, under names of its own.
        Prefix = "prefix",
        /// In a database of its own.
        Database = "database",
    }
);

impl Isolation {
    /// As people write it: Chevereto's `table` is our `prefix`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, crate::jobs::UnknownName> {
        if text == "table" {
            Ok(Self::Prefix)
        } else {
            text.parse()
        }
    }
}

/// A database server that tenants are placed on: 1 to 32 characters of `0-9a-z-`. `main` is the control database's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(Arc<str>);

/// A text is no name of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a database server is named by 1 to 32 characters of 0-9, a-z and -")]
pub struct ServerNameError;

impl ServerName {
    /// The control database's server.
    #[must_use]
    pub fn main() -> Self {
        Self("main".into())
    }

    /// Whether it is the control database's.
    #[must_use]
    pub fn is_main(&self) -> bool {
        &*self.0 == "main"
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;
    fn from_str(text: &str) -> Result<Self, ServerNameError> {
        let plain = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(ServerNameError)
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a tenant's tables are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The server.
    pub server: ServerName,
    /// Shared database, or one of its own.
    pub isolation: Isolation,
    /// Before every table's name in a shared database; names the tenant's own database otherwise.
    pub prefix: TablePrefix,
}

impl Place {
    /// What stands before the tables' names.
    pub(crate) const fn table_prefix(&self) -> Option<&TablePrefix> {
        match self.isolation {
            Isolation::Prefix => Some(&self.prefix),
            Isolation::Database => None,
        }
    }
}

impl fmt::Display for Place {
    /// `prefix t01…a on main`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {}", self.isolation, self.prefix, self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_other_products_word_for_prefix_is_understood() {
        assert_eq!(Isolation::parse("table"), Ok(Isolation::Prefix));
        assert_eq!(Isolation::parse("database"), Ok(Isolation::Database));
        assert!(Isolation::parse("schema").is_err());
    }

    proptest! {
        #[test]
        fn no_servers_name_smuggles_anything(text in ".{0,40}") {
            if let Ok(name) = text.parse::<ServerName>() {
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            }
        }
    }
}

//! Names of tenant tables, checked by the compiler.

use crate::{
    clock::{Clock, Entropy},
    db::{Engine, Literal, written_out},
    ids::table_prefix_text,
};
use std::{fmt, str::FromStr, sync::Arc};

/// A tenant's part of its tables' names in a shared database: `t` and 1 to 15 characters of `0-9a-z`.
///
/// No underscore: `a` + `usage_ledger` and `a_usage` + `ledger` would be one table. The first letter keeps clear of the
/// engines' own `sqlite_` and `pg_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TablePrefix(Arc<str>);

/// A text is no table prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a table prefix is t and 1 to 15 characters of 0-9 and a-z")]
pub struct TablePrefixError;

impl TablePrefix {
    const LONGEST: usize = 16;

    /// A new prefix; prefixes sort by the time they were made.
    #[must_use]
    pub fn generate(clock: &Clock, entropy: &Entropy) -> Self {
        Self(table_prefix_text(clock, entropy).into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TablePrefix {
    type Err = TablePrefixError;
    fn from_str(text: &str) -> Result<Self, TablePrefixError> {
        let plain = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
        let fits = (2..=Self::LONGEST).contains(&text.len()) && text.starts_with('t') && text.bytes().all(plain);
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(TablePrefixError)
        }
    }
}

impl fmt::Display for TablePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! tenant_tables {
    ($($name:literal),+ $(,)?) => {
        /// Every table of a tenant.
        pub(crate) const TENANT_TABLES: &[&str] = &[$($name),+];
    };
}

tenant_tables!(
    "users",
    "api_keys",
    "media",
    "variants",
    "usage",
    "usage_ledger",
    "holders"
);

/// What a migration calls a table that it makes anew while it still needs the old one.
const OLD: &str = "_old";

/// PostgreSQL cuts names at 63 bytes; its own suffixes (`_pkey`, `_name_key`) need room too.
const LONGEST_SUFFIX: usize = "_name_key".len();
const _: () = {
    let mut i = 0;
    while i < TENANT_TABLES.len() {
        assert!(
            TablePrefix::LONGEST + 1 + TENANT_TABLES[i].len() + OLD.len() + LONGEST_SUFFIX <= 63,
            "a table's name is too long"
        );
        i += 1;
    }
};

/// SQL text with `{table}` where a tenant's table stands. Checked when the program is compiled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TenantSql(&'static str);

impl TenantSql {
    pub(crate) const fn new(text: &'static str) -> Self {
        let b = text.as_bytes();
        let (mut i, mut named) = (0, false);
        while i < b.len() {
            assert!(
                b[i] != b'"' && b[i] != b'?',
                "no quoted identifiers and no ? in tenant SQL"
            );
            assert!(
                b[i] != b'*' || (i > 0 && b[i - 1] == b'('),
                "name the columns: no * in tenant SQL"
            );
            if b[i] == b'{' {
                let start = i + 1;
                let mut end = start;
                while end < b.len() && b[end] != b'}' {
                    end += 1;
                }
                let (mut k, mut known) = (0, false);
                let name_end = if ends_with(b, start, end, OLD.as_bytes()) {
                    end - OLD.len()
                } else {
                    end
                };
                while k < TENANT_TABLES.len() {
                    if equal(b, start, name_end, TENANT_TABLES[k].as_bytes()) {
                        known = true;
                    }
                    k += 1;
                }
                assert!(known, "unknown tenant table in SQL");
                named = true;
                i = end;
            }
            i += 1;
        }
        assert!(named, "tenant SQL that names no tenant table");
        Self(text)
    }

    /// The text for one tenant: quoted names, with its prefix where tables are shared.
    pub(crate) fn render(self, prefix: Option<&TablePrefix>) -> String {
        let mut out = String::with_capacity(self.0.len() + 40);
        let mut rest = self.0;
        while let Some((before, after)) = rest.split_once('{') {
            let (table, after) = after.split_once('}').unwrap_or((after, ""));
            out.push_str(before);
            out.push('"');
            if let Some(prefix) = prefix {
                out.push_str(prefix.as_str());
                out.push('_');
            }
            out.push_str(table);
            out.push('"');
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// The statement with its values written out, to stand beside others in one text.
    pub(crate) fn with(self, prefix: Option<&TablePrefix>, engine: Engine, values: &[Literal<'_>]) -> String {
        written_out(&self.render(prefix), engine, values)
    }
}

const fn ends_with(text: &[u8], start: usize, end: usize, suffix: &[u8]) -> bool {
    end - start > suffix.len() && equal(text, end - suffix.len(), end, suffix)
}

const fn equal(text: &[u8], start: usize, end: usize, name: &[u8]) -> bool {
    if end - start != name.len() {
        return false;
    }
    let mut i = 0;
    while i < name.len() {
        if text[start + i] != name[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Declares the tenant SQL of a module, and the list of it for the test that prepares every statement.
macro_rules! tenant_sql {
    ($($name:ident = $text:literal;)+) => {
        $(const $name: $crate::tenancy::sql::TenantSql = $crate::tenancy::sql::TenantSql::new($text);)+
        #[cfg(test)]
        pub(crate) const STATEMENTS: &[(&str, $crate::tenancy::sql::TenantSql)] = &[$((stringify!($name), $name)),+];
    };
}
pub(crate) use tenant_sql;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_quoted_and_prefixed() {
        let sql = TenantSql::new("SELECT id FROM {media} WHERE id IN (SELECT media FROM {variants})");
        let prefix: TablePrefix = "t9f3a".parse().unwrap();
        assert_eq!(
            sql.render(Some(&prefix)),
            r#"SELECT id FROM "t9f3a_media" WHERE id IN (SELECT media FROM "t9f3a_variants")"#
        );
        assert_eq!(
            sql.render(None),
            r#"SELECT id FROM "media" WHERE id IN (SELECT media FROM "variants")"#
        );
    }

    #[test]
    fn generated_prefixes_are_valid_and_sort_by_time() {
        let clock = Clock::manual(crate::units::Millis::new(1_800_000_000_000));
        let entropy = Entropy::system();
        let first = TablePrefix::generate(&clock, &entropy);
        clock.advance(std::time::Duration::from_millis(1));
        let second = TablePrefix::generate(&clock, &entropy);
        assert!(first.as_str() < second.as_str());
        assert_eq!(first.as_str().parse(), Ok(first));
    }

    proptest! {
        #[test]
        fn no_prefix_smuggles_a_quote_or_an_underscore(text in ".{0,20}") {
            if let Ok(prefix) = text.parse::<TablePrefix>() {
                prop_assert!(prefix.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
            }
        }
    }
}

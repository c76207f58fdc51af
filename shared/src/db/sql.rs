//! SQL texts: constants, checked when the program is compiled, collected so that a test prepares all of them.

use sqlx::{Any, any::AnyArguments, query::Query};
use std::fmt::Write as _;

/// One text for both engines. `{rows}` stands for a list of rows of placeholders.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sql(&'static str);

const ROWS: &str = "{rows}";

impl Sql {
    /// Checked at compile time: no `*`, no `?`, no quoted identifiers.
    pub(crate) const fn new(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            assert!(
                bytes[i] != b'"' && bytes[i] != b'?',
                "no quoted identifiers and no ? in SQL"
            );
            assert!(
                bytes[i] != b'*' || (i > 0 && bytes[i - 1] == b'('),
                "name the columns: no * in SQL"
            );
            i += 1;
        }
        Self(text)
    }

    /// The statement.
    pub(crate) fn query(self) -> Query<'static, Any, AnyArguments> {
        sqlx::query(self.0)
    }

    /// The statement with `{rows}` written out: `rows` rows of `columns` placeholders, numbered from `first`.
    pub(crate) fn rows(self, first: usize, rows: usize, columns: usize) -> Query<'static, Any, AnyArguments> {
        assert_safe(self.render(first, rows, columns))
    }

    fn render(self, first: usize, rows: usize, columns: usize) -> String {
        let mut list = String::with_capacity(rows * columns * 6);
        let mut number = first;
        for row in 0..rows {
            list.push_str(if row == 0 { "(" } else { ", (" });
            for column in 0..columns {
                let comma = if column == 0 { "" } else { ", " };
                // Writing to a String has no way to fail.
                let _ = write!(list, "{comma}${number}");
                number += 1;
            }
            list.push(')');
        }
        self.0.replace(ROWS, &list)
    }

    /// A text that an engine can prepare, for the test that prepares every statement.
    #[cfg(test)]
    pub(crate) fn sample(self, columns: usize) -> String {
        let first = (1..20).rev().find(|n| self.0.contains(&format!("${n}"))).unwrap_or(0) + 1;
        self.render(first, 2, columns)
    }
}

fn assert_safe(text: String) -> Query<'static, Any, AnyArguments> {
    #[expect(clippy::disallowed_methods, reason = "a checked constant with numbered placeholders")]
    let text = sqlx::AssertSqlSafe(text);
    sqlx::query(text)
}

/// Declares the SQL of a module, and the list of it for the test that prepares every statement on both engines.
/// A number after the name is the columns of its `{rows}`.
macro_rules! sql {
    ($($(#[$doc:meta])* $name:ident $(($columns:literal))? = $text:literal;)+) => {
        $($(#[$doc])* const $name: $crate::db::Sql = $crate::db::Sql::new($text);)+
        #[cfg(test)]
        pub(crate) const STATEMENTS: &[(&str, $crate::db::Sql, usize)] =
            &[$((stringify!($name), $name, 0 $(+ $columns)?)),+];
    };
}
pub(crate) use sql;

/// The largest power of two that `count` holds: how many rows the next statement takes, so that few different ones exist.
pub(crate) fn halving(count: usize) -> usize {
    if count.is_power_of_two() {
        count
    } else {
        padded(count) / 2
    }
}

/// The next size that lists are padded to, so that few different statements exist.
pub(crate) fn padded(count: usize) -> usize {
    count.max(1).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_on() {
        let sql = Sql::new("INSERT INTO a (b, c) VALUES {rows}");
        assert_eq!(sql.render(1, 2, 2), "INSERT INTO a (b, c) VALUES ($1, $2), ($3, $4)");
        assert_eq!(
            Sql::new("UPDATE a SET b = $1 WHERE c IN (VALUES {rows})").sample(1),
            "UPDATE a SET b = $1 WHERE c IN (VALUES ($2), ($3))"
        );
    }

    #[test]
    fn lists_have_few_sizes() {
        assert_eq!([0, 1, 2, 3, 5, 64, 65].map(padded), [1, 1, 2, 4, 8, 64, 128]);
    }
}

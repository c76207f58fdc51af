//! Values written into a text, for statements that go with others in one round trip and so can bind none.

use super::Engine;
use std::fmt::Write as _;

/// A value. Text and bytes are written as hexadecimal digits, so there is nothing in them that could end a literal,
/// whatever the server takes for an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Literal<'a> {
    /// No value.
    Null,
    /// A number.
    Integer(i64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<'a> Literal<'a> {
    /// Text, or no value.
    pub(crate) fn text(value: Option<&'a str>) -> Self {
        value.map_or(Self::Null, Self::Text)
    }

    fn write(self, engine: Engine, out: &mut String) {
        // Writing to a String has no way to fail.
        let _ = match (self, engine) {
            (Self::Null, _) => write!(out, "NULL"),
            (Self::Integer(value), _) => write!(out, "{value}"),
            (Self::Text(text), Engine::Postgres) => {
                write!(out, "convert_from(decode('{}', 'hex'), 'UTF8')", hex::encode(text))
            }
            (Self::Text(text), Engine::Sqlite) => write!(out, "CAST(X'{}' AS TEXT)", hex::encode(text)),
            (Self::Bytes(bytes), Engine::Postgres) => write!(out, "decode('{}', 'hex')", hex::encode(bytes)),
            (Self::Bytes(bytes), Engine::Sqlite) => write!(out, "X'{}'", hex::encode(bytes)),
        };
    }
}

/// `text` with its placeholders `$1`, `$2` … written out, and an end to the statement. A placeholder without a value
/// stays, which no engine takes.
pub(crate) fn written_out(text: &str, engine: Engine, values: &[Literal<'_>]) -> String {
    let mut out = String::with_capacity(text.len() + values.len() * 64);
    let mut parts = text.split('$');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, rest) = part.split_at(end);
        let value = number.parse::<usize>().ok().and_then(|n| values.get(n.checked_sub(1)?));
        if let Some(value) = value {
            value.write(engine, &mut out);
        } else {
            out.push('$');
            out.push_str(number);
        }
        out.push_str(rest);
    }
    out.push_str(";\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_their_placeholders_stood() {
        let values = [Literal::Integer(7), Literal::Null, Literal::Text("a'\\")];
        assert_eq!(
            written_out("INSERT INTO t (a, b, c) VALUES ($3, $1, $2)", Engine::Sqlite, &values),
            "INSERT INTO t (a, b, c) VALUES (CAST(X'61275c' AS TEXT), 7, NULL);\n"
        );
        assert_eq!(
            written_out(
                "SELECT $1$2$4",
                Engine::Postgres,
                &[Literal::Bytes(&[0, 255]), Literal::text(Some("é"))]
            ),
            "SELECT decode('00ff', 'hex')convert_from(decode('c3a9', 'hex'), 'UTF8')$4;\n"
        );
    }
}

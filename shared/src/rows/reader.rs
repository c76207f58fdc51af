//! Rows out of bytes, in either format.

use super::{
    csv::Columns,
    lines::{Content, Lines, Record},
};
use crate::{ids::TenantId, tenancy::TenantSpec};
use serde_json::Value;

/// Longest row, bytes: a longer one is bad.
pub const LONGEST_ROW: usize = 64 * 1024;
/// Characters of a bad row that are kept.
const KEPT: usize = 200;

crate::jobs::names!(
    /// How rows are written.
    Format, "format of rows" {
        /// A JSON object a line.
        Ndjson = "ndjson",
        /// RFC 4180, the first line names the columns.
        Csv = "csv",
    }
);

impl Format {
    /// By its media type, parameters aside.
    #[must_use]
    pub fn of_media_type(text: &str) -> Option<Self> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Self::Ndjson),
            "text/csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// A row that arrived.
#[derive(Debug)]
pub struct Row {
    /// The line that it begins on, from 1.
    pub line: i64,
    /// What it declares, or what there is of it.
    pub content: Result<TenantSpec, Bad>,
}

/// A row that declares nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Why.
    pub cause: String,
    /// Whom it seems to be about.
    pub tenant: Option<TenantId>,
    /// What there was, at most 200 characters, nothing secret: environments, and whatever has a name that is not known, are
    /// left out.
    pub kept: String,
}

/// Reads rows while they arrive. Holds at most one row.
#[derive(Debug)]
pub struct RowReader {
    format: Format,
    lines: Lines,
    columns: Option<Result<Columns, String>>,
}

impl RowReader {
    /// Of nothing yet.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let quotes = match format {
            Format::Ndjson => false,
            Format::Csv => true,
        };
        Self {
            format,
            lines: Lines::new(quotes),
            columns: None,
        }
    }

    /// Takes more bytes; `each` gets the rows that end in them.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Row)) {
        let Self { format, lines, columns } = self;
        lines.push(bytes, |record| {
            if let Some(row) = read(*format, columns, record) {
                each(row);
            }
        });
    }

    /// The row that no line end ended. Called again there is none.
    pub fn finish(&mut self) -> Option<Row> {
        let record = self.lines.finish()?;
        read(self.format, &mut self.columns, record)
    }
}

/// What a record says; the header of a CSV says nothing, unless it is none.
fn read(format: Format, columns: &mut Option<Result<Columns, String>>, record: Record) -> Option<Row> {
    let Record { line, content } = record;
    let bytes = match content {
        Content::Bytes(bytes) => Ok(bytes),
        Content::TooLong => Err(format!("the row has more than {LONGEST_ROW} bytes")),
        Content::Unclosed => Err("the row has a quote that is not closed".to_owned()),
    };
    let content = match format {
        Format::Ndjson => bytes.map_err(|cause| bad(cause, None)).and_then(|bytes| ndjson(&bytes)),
        Format::Csv => match columns {
            None => {
                let read = bytes.and_then(|bytes| Columns::read(&bytes));
                let problem = read.as_ref().err().map(|cause| bad(cause.clone(), None));
                *columns = Some(read.map_err(|cause| format!("line {line}: {cause}")));
                return problem.map(|bad| Row {
                    line,
                    content: Err(bad),
                });
            }
            Some(Err(cause)) => Err(bad(cause.clone(), None)),
            Some(Ok(columns)) => bytes
                .and_then(|bytes| columns.object(&bytes))
                .map_err(|cause| bad(cause, None))
                .and_then(declared),
        },
    };
    Some(Row { line, content })
}

fn ndjson(bytes: &[u8]) -> Result<TenantSpec, Bad> {
    let text = std::str::from_utf8(bytes).map_err(|_| bad("the row is no UTF-8".to_owned(), None))?;
    TenantSpec::from_json(text).map_err(|error| {
        // Only what parses can be told apart from what is secret in it.
        let value = serde_json::from_str::<Value>(text).ok();
        bad(error.to_string(), value.as_ref())
    })
}

fn declared(value: Value) -> Result<TenantSpec, Bad> {
    let kept = value.clone();
    TenantSpec::from_value(value).map_err(|error| bad(error.to_string(), Some(&kept)))
}

fn bad(cause: String, value: Option<&Value>) -> Bad {
    let known = |name: &str| name != "env" && TenantSpec::FIELDS.contains(&name);
    let members = value.and_then(Value::as_object);
    let id = members.and_then(|members| members.get("id")).and_then(Value::as_str);
    let public: serde_json::Map<String, Value> = members
        .into_iter()
        .flatten()
        .filter(|(name, _)| known(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let kept = Value::Object(public).to_string();
    Bad {
        cause,
        tenant: id.and_then(|id| id.parse().ok()),
        kept: kept.chars().take(KEPT).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(format: Format, pieces: &[&[u8]]) -> Vec<(i64, Result<TenantSpec, Bad>)> {
        let mut reader = RowReader::new(format);
        let mut rows = Vec::new();
        for piece in pieces {
            reader.push(piece, |row| rows.push((row.line, row.content)));
        }
        rows.extend(reader.finish().map(|row| (row.line, row.content)));
        rows
    }

    #[test]
    fn a_bad_row_is_one_bad_row() {
        let text = "{\"id\": \"a\", \"host\": \"a.example\"}\nnonsense\n\n{\"id\": \"b\", \"host\": \"b.example\"}\n";
        let rows = rows(Format::Ndjson, &[text.as_bytes()]);
        let seen: Vec<(i64, bool)> = rows.iter().map(|(line, row)| (*line, row.is_ok())).collect();
        assert_eq!(seen, [(1, true), (2, false), (4, true)]);
    }

    #[test]
    fn what_is_kept_of_a_bad_row_is_not_secret_and_not_long() {
        let row = format!(
            r#"{{"id": "a", "host": "a.example", "env": {{"A": "hush"}}, "password": "hush", "plan": "{}"}}"#,
            "p".repeat(300)
        );
        let rows = rows(Format::Ndjson, &[row.as_bytes()]);
        let [(1, Err(bad))] = rows.as_slice() else {
            panic!("{rows:?}")
        };
        assert!(bad.cause.contains("unknown field `password`"), "{bad:?}");
        assert_eq!(bad.tenant, "a".parse().ok());
        assert!(
            !format!("{bad:?}").contains("hush") && bad.kept.len() <= KEPT,
            "{bad:?}"
        );
        let broken = super::tests::rows(Format::Ndjson, &[br#"{"id": "a", "env": {"A": "hush"}"#]);
        assert!(!format!("{broken:?}").contains("hush"), "{broken:?}");
    }

    #[test]
    fn both_formats_say_the_same() {
        let csv = "id,host,admin,trial_until\nt1,a.example,ann,1970-01-01T00:00:01Z\n";
        let ndjson = r#"{"id": "t1", "host": "a.example", "admin": {"name": "ann"}, "trial_until": 1000}"#;
        let csv = rows(Format::Csv, &[csv.as_bytes()]);
        let ndjson = rows(Format::Ndjson, &[ndjson.as_bytes()]);
        assert_eq!((csv[0].0, ndjson[0].0), (2, 1));
        assert_eq!(csv[0].1, ndjson[0].1);
        assert!(csv[0].1.is_ok());
    }

    #[test]
    fn under_a_header_that_is_none_every_row_is_bad() {
        let rows = rows(Format::Csv, &[b"id,colour\nt1,red\n"]);
        assert_eq!(
            rows.iter().map(|(line, row)| (*line, row.is_err())).collect::<Vec<_>>(),
            [(1, true), (2, true)]
        );
    }

    /// Texts that are near enough to rows to go far into the parsers.
    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            Just(b"id,host,env\n".to_vec()),
            Just(b"{\"id\": \"a\", \"host\": \"a.example\"}".to_vec()),
            Just(b"t1,\"a.example\",\"{\"\"A\"\": \"\"b\"\"}\"\r\n".to_vec()),
            Just(b"\"".to_vec()),
            Just(b"\n".to_vec()),
            Just(b",".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..8),
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_rows(text in nearly(), csv: bool, cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let format = if csv { Format::Csv } else { Format::Ndjson };
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            places.sort_unstable();
            let mut pieces = Vec::new();
            let mut begin = 0;
            for place in places {
                pieces.push(&text[begin..place]);
                begin = place;
            }
            pieces.push(&text[begin..]);
            prop_assert_eq!(rows(format, &pieces), rows(format, &[&text]));
        }
    }
}

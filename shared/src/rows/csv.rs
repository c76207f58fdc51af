//! A record of CSV (RFC 4180) as the object that NDJSON would have had.

use crate::tenancy::TenantSpec;
use csv_core::{ReadRecordResult, ReaderBuilder, Terminator};
use serde_json::{Map, Value};

/// Why the first line is no header.
pub(super) type HeaderProblem = String;

/// Names that only columns have: an administrator's, flat.
const ADMIN: &str = "admin";
const EMAIL: &str = "email";

/// The columns, as the first line names them.
#[derive(Debug, Clone)]
pub(super) struct Columns(Vec<String>);

/// A record's fields; `None` when it is no UTF-8.
fn fields(record: &[u8]) -> Option<Vec<String>> {
    // Records are cut already: a lone carriage return is a character.
    let mut reader = ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build();
    // Unquoted, it is never longer than it was; every field has at least its delimiter, and the last one nothing.
    let mut text = vec![0_u8; record.len()];
    let mut ends = vec![0_usize; record.len().saturating_add(1)];
    let (mut read, mut written, mut count) = (0_usize, 0_usize, 0_usize);
    loop {
        let input = record.get(read..)?;
        let (result, taken, put, ended) = reader.read_record(input, text.get_mut(written..)?, ends.get_mut(count..)?);
        read = read.saturating_add(taken);
        written = written.saturating_add(put);
        count = count.saturating_add(ended);
        match result {
            // Asked again with nothing left, it takes that for the end.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::Record | ReadRecordResult::End => break,
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => return None,
        }
    }
    let mut begin = 0;
    let mut fields = Vec::with_capacity(count);
    for end in ends.get(..count)? {
        fields.push(std::str::from_utf8(text.get(begin..*end)?).ok()?.to_owned());
        begin = *end;
    }
    Some(fields)
}

impl Columns {
    /// From the first record.
    pub(super) fn read(record: &[u8]) -> Result<Self, HeaderProblem> {
        // Spreadsheets begin a file with a byte order mark.
        let record = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
        let names = fields(record).ok_or("the header is no UTF-8")?;
        let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
        for (place, name) in names.iter().enumerate() {
            if !TenantSpec::FIELDS.contains(&name.as_str()) && name != EMAIL {
                let known = TenantSpec::FIELDS.join(", ");
                return Err(format!("the header names a column {name:?}; known: {known}, {EMAIL}"));
            }
            if names.iter().take(place).any(|other| other == name) {
                return Err(format!("the header names column {name:?} twice"));
            }
        }
        Ok(Self(names))
    }

    /// A record as an object. An empty cell says nothing.
    pub(super) fn object(&self, record: &[u8]) -> Result<Value, String> {
        let cells = fields(record).ok_or("the row is no UTF-8")?;
        if cells.len() != self.0.len() {
            return Err(format!(
                "the row has {} cells, the header {}",
                cells.len(),
                self.0.len()
            ));
        }
        let mut object = Map::new();
        let mut admin = Map::new();
        for (name, cell) in self.0.iter().zip(cells) {
            let cell = cell.trim();
            if cell.is_empty() {
                continue;
            }
            match name.as_str() {
                ADMIN => {
                    admin.insert("name".to_owned(), cell.into());
                }
                EMAIL => {
                    admin.insert(EMAIL.to_owned(), cell.into());
                }
                _ => {
                    object.insert(name.clone(), value(name, cell)?);
                }
            }
        }
        if !admin.is_empty() {
            if !admin.contains_key("name") {
                return Err("email is an administrator's: name one in column admin".to_owned());
            }
            object.insert(ADMIN.to_owned(), Value::Object(admin));
        }
        Ok(Value::Object(object))
    }
}

/// A cell as what its field is in JSON.
fn value(name: &str, cell: &str) -> Result<Value, String> {
    match name {
        "hosts" => Ok(cell.split_ascii_whitespace().collect()),
        // Not the parser's own words: they quote what they stumble over, and an environment is secret.
        "limits" | "pictures" | "env" => serde_json::from_str(cell).map_err(|error| {
            let column = error.column();
            format!("{name} is a JSON object; from character {column} on it is none")
        }),
        "enabled" => match cell.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(true.into()),
            "false" | "0" | "no" => Ok(false.into()),
            _ => Err("enabled is true or false".to_owned()),
        },
        _ => Ok(cell.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_what_their_fields_are() {
        let columns = Columns::read("\u{feff}id, hosts,limits,pictures,enabled,admin,email,plan".as_bytes()).unwrap();
        let object = columns
            .object(br#"t1,a.example b.example,"{""media"": 5}","{""metadata"": ""keep""}",no,ann,a@b,"#)
            .unwrap();
        let wanted = serde_json::json!({
            "id": "t1", "hosts": ["a.example", "b.example"], "limits": { "media": 5 },
            "pictures": { "metadata": "keep" }, "enabled": false,
            "admin": { "name": "ann", "email": "a@b" },
        });
        assert_eq!(object, wanted);
    }

    #[test]
    fn what_does_not_fit_the_header_is_refused() {
        assert!(Columns::read(b"id,colour").unwrap_err().contains("\"colour\""));
        assert!(Columns::read(b"id,id").unwrap_err().contains("twice"));
        let columns = Columns::read(b"id,env,email").unwrap();
        assert!(columns.object(b"t1,").unwrap_err().contains("2 cells, the header 3"));
        assert!(columns.object(b"t1,,a@b").unwrap_err().contains("admin"));
        assert!(columns.object(b"t1,\xff,").unwrap_err().contains("UTF-8"));
        let error = columns.object(br#"t1,"{""A"": hush}","#).unwrap_err();
        assert!(
            error.starts_with("env is a JSON object") && !error.contains("hush"),
            "{error}"
        );
    }
}

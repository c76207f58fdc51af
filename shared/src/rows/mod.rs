//! Tenants as they are sent in bulk: NDJSON or CSV, a row each, read while it arrives.
//!
//! Promises: any cutting of the same bytes gives the same rows; every row has the number of the line that it begins on;
//! a row that cannot be read is one bad row and nothing more; no more than one row and one piece are in memory. Never
//! fails as a whole, and never touches a database: what becomes of rows is `tenancy::Batches`' business.

mod csv;
mod lines;
mod reader;

pub use reader::{Bad, Format, LONGEST_ROW, Row, RowReader};

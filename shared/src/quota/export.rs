//! What tenants used, line by line: for bills.
//!
//! Lines of one tenant and resource come in the order of their hours. Of what is stored the first one is of the first hour
//! that was asked for, with what was stored then, even where nothing changed: who adds up byte-hours needs no other source.

use super::Period;
use crate::{
    control::metering::{self, Cursor, HourRow, Resource},
    db::{Db, DbError},
    ids::TenantId,
    units::Millis,
};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::collections::BTreeMap;

/// Tenants read at a time.
const TENANTS: i64 = 200;
/// Hours read at a time.
const ROWS: i64 = 2_000;

/// One hour of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose.
    pub tenant: TenantId,
    /// Of what.
    pub resource: Resource,
    /// Its beginning.
    pub hour: Millis,
    /// By how much it changed.
    pub change: i64,
    /// What it was at the hour's end: pictures, bytes stored, or bytes served since the month began.
    pub total: i64,
}

impl Line {
    /// Its hour as RFC 3339, UTC.
    #[must_use]
    pub fn hour_text(&self) -> String {
        let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        let at = time::OffsetDateTime::UNIX_EPOCH.saturating_add(time::Duration::milliseconds(self.hour.get()));
        at.format(format).unwrap_or_default()
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Line", 5)?;
        line.serialize_field("tenant", self.tenant.as_str())?;
        line.serialize_field("resource", self.resource.as_str())?;
        line.serialize_field("hour", &self.hour_text())?;
        line.serialize_field("change", &self.change)?;
        line.serialize_field("total", &self.total)?;
        line.end()
    }
}

/// An export under way: at most one page of tenants and one of hours are in memory.
#[derive(Debug)]
pub struct Export {
    control: Db,
    only: Option<TenantId>,
    from: Millis,
    to: Millis,
    tenants: Vec<TenantId>,
    /// Totals of the page's tenants so far, with the hour of the last line; `None`: there was none yet.
    totals: BTreeMap<(TenantId, Resource), (i64, Option<Millis>)>,
    after: Cursor,
    /// Whether the page of tenants has hours that were not read.
    within: bool,
}

impl Export {
    /// Of one tenant or all, from the hour `from` to just before the hour `to`.
    #[must_use]
    pub const fn new(control: Db, only: Option<TenantId>, from: Millis, to: Millis) -> Self {
        Self {
            control,
            only,
            from,
            to,
            tenants: Vec::new(),
            totals: BTreeMap::new(),
            after: (String::new(), String::new(), 0),
            within: false,
        }
    }

    /// The next lines. `None`: that was all.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn next(&mut self) -> Result<Option<Vec<Line>>, DbError> {
        if !self.within && !self.turn().await? {
            return Ok(None);
        }
        let rows = metering::rows(&self.control, &self.tenants, (self.from, self.to), &self.after, ROWS).await?;
        self.within = i64::try_from(rows.len()).unwrap_or(i64::MAX) == ROWS;
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows {
            self.after = (
                row.tenant.as_str().to_owned(),
                row.resource.as_str().to_owned(),
                row.hour.get(),
            );
            self.add(&row, &mut lines);
        }
        if !self.within {
            self.rest(&mut lines);
        }
        Ok(Some(lines))
    }

    /// Goes on to the next tenants. Returns whether there are any.
    async fn turn(&mut self) -> Result<bool, DbError> {
        let page = metering::metered(&self.control, self.only.as_ref(), self.tenants.last(), TENANTS).await?;
        if page.is_empty() {
            return Ok(false);
        }
        self.tenants = page;
        self.after = (String::new(), String::new(), 0);
        let month = Period::month_of(self.from).start;
        let base = metering::base(&self.control, &self.tenants, self.from, month).await?;
        let base = base
            .into_iter()
            .map(|(tenant, resource, total)| ((tenant, resource), (total, None)));
        self.totals = base.collect();
        Ok(true)
    }

    fn add(&mut self, row: &HourRow, lines: &mut Vec<Line>) {
        let entry = self
            .totals
            .entry((row.tenant.clone(), row.resource))
            .or_insert((0, None));
        let first = entry.1.is_none();
        let month = |at: Millis| Period::month_of(at).start;
        if row.resource == Resource::BytesOut && month(entry.1.unwrap_or(self.from)) != month(row.hour) {
            entry.0 = 0;
        }
        if first && row.hour > self.from {
            lines.extend(opening(&row.tenant, row.resource, entry.0, self.from));
        }
        entry.0 = entry.0.saturating_add(row.change);
        entry.1 = Some(row.hour);
        lines.push(Line {
            tenant: row.tenant.clone(),
            resource: row.resource,
            hour: row.hour,
            change: row.change,
            total: entry.0,
        });
    }

    /// Lines of those of whom nothing changed.
    fn rest(&mut self, lines: &mut Vec<Line>) {
        for ((tenant, resource), (total, last)) in std::mem::take(&mut self.totals) {
            if last.is_none() {
                lines.extend(opening(&tenant, resource, total, self.from));
            }
        }
    }
}

/// What was stored when the first hour began, where something was.
fn opening(tenant: &TenantId, resource: Resource, total: i64, from: Millis) -> Option<Line> {
    let stored = match resource {
        Resource::Media | Resource::Bytes => total != 0,
        Resource::BytesOut => false,
    };
    stored.then(|| Line {
        tenant: tenant.clone(),
        resource,
        hour: from,
        change: 0,
        total,
    })
}

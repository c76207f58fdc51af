//! Which dead jobs a request is about, and where it goes on.

use crate::problem::{Cause, Problem};
use mediamill_shared::{
    control::jobs::{CauseCode, DeadFilter},
    dead::{Pace, Rate},
    ids::{JobId, TenantId},
    jobs::JobKind,
    units::{self, Millis},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{fmt, str::FromStr, time::Duration};
use utoipa::{IntoParams, ToSchema};

/// A span of time, such as `30m`, `12h` or `2d`.
#[derive(Clone, Copy)]
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        units::span(&text).map(Self).map_err(D::Error::custom)
    }
}

/// Which dead jobs: those that all of this is true of.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SummaryQuery {
    /// Of this tenant.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// Of this kind, such as `media.process`.
    #[param(value_type = Option<String>)]
    kind: Option<JobKind>,
    /// With this code of their cause, such as `attempts-used-up`.
    #[param(value_type = Option<String>)]
    cause: Option<CauseCode>,
    /// Given up so long ago or longer, such as `30m`, `12h` or `2d`.
    #[param(value_type = Option<String>)]
    older_than: Option<Span>,
    /// Given up so long ago or less.
    #[param(value_type = Option<String>)]
    younger_than: Option<Span>,
}

/// The same, and where the page begins.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Of this tenant.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// Of this kind, such as `media.process`.
    #[param(value_type = Option<String>)]
    kind: Option<JobKind>,
    /// With this code of their cause, such as `attempts-used-up`.
    #[param(value_type = Option<String>)]
    cause: Option<CauseCode>,
    /// Given up so long ago or longer, such as `30m`, `12h` or `2d`.
    #[param(value_type = Option<String>)]
    older_than: Option<Span>,
    /// Given up so long ago or less.
    #[param(value_type = Option<String>)]
    younger_than: Option<Span>,
    /// Jobs at most, 1 to 500; 100 without.
    pub(super) limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    pub(super) cursor: Option<JobId>,
}

/// Which dead jobs something is done to: a filter at least, or `all`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Many {
    /// Every dead job, where nothing else is said.
    #[serde(default)]
    all: bool,
    /// Of this tenant.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// Of this kind, such as `media.process`.
    #[schema(value_type = Option<String>)]
    kind: Option<JobKind>,
    /// With this code of their cause, such as `attempts-used-up`.
    #[schema(value_type = Option<String>)]
    cause: Option<CauseCode>,
    /// Given up so long ago or longer, such as `30m`, `12h` or `2d`.
    #[schema(value_type = Option<String>)]
    older_than: Option<Span>,
    /// Given up so long ago or less.
    #[schema(value_type = Option<String>)]
    younger_than: Option<Span>,
    /// Of retries: jobs a second, 0.001 to 10,000, which become due one after the other. All at once without.
    #[schema(value_type = Option<f64>)]
    pub(super) rate: Option<Rate>,
    /// `next_cursor` of the request before.
    #[schema(value_type = Option<String>)]
    pub(super) cursor: Option<Cursor>,
}

/// Where a request that does something to many jobs goes on: after a job, and from a moment on where they are spread.
pub(super) struct Cursor {
    pub(super) after: JobId,
    pub(super) from: Millis,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.after, self.from.get())
    }
}

impl FromStr for Cursor {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (after, from) = text.split_once('.')?;
            let (after, from) = (after.parse().ok()?, Millis::new(from.parse().ok()?));
            Some(Self { after, from })
        };
        read().ok_or("cursor is none of ours")
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

fn filter(
    (tenant, kind, cause): (&Option<TenantId>, Option<JobKind>, &Option<CauseCode>),
    (older, younger): (Option<Span>, Option<Span>),
    now: Millis,
) -> DeadFilter {
    DeadFilter {
        tenant: tenant.clone(),
        kind,
        cause: cause.clone(),
        until: older.map(|Span(age)| now.before(age)),
        since: younger.map(|Span(age)| now.before(age)),
    }
}

impl SummaryQuery {
    pub(super) fn filter(&self, now: Millis) -> DeadFilter {
        let whose = (&self.tenant, self.kind, &self.cause);
        filter(whose, (self.older_than, self.younger_than), now)
    }
}

impl ListQuery {
    pub(super) fn filter(&self, now: Millis) -> DeadFilter {
        let whose = (&self.tenant, self.kind, &self.cause);
        filter(whose, (self.older_than, self.younger_than), now)
    }
}

impl Many {
    /// A slip must not mean every dead job.
    pub(super) fn filter(&self, now: Millis) -> Result<DeadFilter, Problem> {
        let whose = (&self.tenant, self.kind, &self.cause);
        let filter = filter(whose, (self.older_than, self.younger_than), now);
        if self.all == (filter == DeadFilter::default()) {
            return Ok(filter);
        }
        let detail = "say which dead jobs: tenant, kind, cause, older_than or younger_than; or all, and none of these";
        Err(Problem::new(Cause::BadRequest, detail))
    }

    /// When the jobs of this request are due: from where the request before ended.
    pub(super) fn pace(&self, now: Millis) -> Pace {
        let from = self.cursor.as_ref().filter(|_| self.rate.is_some());
        Pace::new(self.rate, from.map_or(now, |cursor| cursor.from))
    }

    pub(super) fn after(&self) -> Option<&JobId> {
        self.cursor.as_ref().map(|cursor| &cursor.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(text: &str) -> Result<Many, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn nobody_means_every_dead_job_by_a_slip() {
        let now = Millis::new(1_000_000_000);
        for good in [r#"{"all": true}"#, r#"{"tenant": "a"}"#, r#"{"older_than": "2d"}"#] {
            assert!(many(good).unwrap().filter(now).is_ok(), "{good}");
        }
        for bad in ["{}", r#"{"all": false}"#, r#"{"all": true, "tenant": "a"}"#] {
            assert!(many(bad).unwrap().filter(now).is_err(), "{bad}");
        }
        for unreadable in [
            r#"{"kind": "nonsense"}"#,
            r#"{"older_than": "soon"}"#,
            r#"{"cause": "a\u0000"}"#,
            r#"{"cause": ""}"#,
            r#"{"tenant": "A B"}"#,
            r#"{"all": true, "rate": 0}"#,
            r#"{"all": true, "rate": -5}"#,
            r#"{"all": true, "rate": 1e12}"#,
            r#"{"all": true, "cursor": "x"}"#,
            r#"{"all": true, "tennant": "a"}"#,
        ] {
            assert!(many(unreadable).is_err(), "{unreadable}");
        }
    }

    #[test]
    fn a_cursor_goes_on_where_a_rate_was() {
        let text = "01hf7y0000000000000000000a.5000";
        assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        let asked = format!(r#"{{"all": true, "rate": 2, "cursor": "{text}"}}"#);
        assert_eq!(many(&asked).unwrap().pace(Millis::new(1)).due(), Millis::new(5_000));
        let asked = format!(r#"{{"all": true, "cursor": "{text}"}}"#);
        assert_eq!(many(&asked).unwrap().pace(Millis::new(1)).due(), Millis::new(1));
    }
}

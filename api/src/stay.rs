//! How long pictures stay: what requests say of it, and what a site and its limit say.

use crate::problem::{Cause, Problem};
use mediamill_shared::{
    interval::{Interval, IntervalError, moment},
    tenancy::{Limit, Tenant},
    units::Millis,
};
use std::time::Duration;

/// How long a picture is to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// Until this moment.
    Until(Millis),
    /// So long from its upload on.
    For(Interval),
}

/// How long pictures are to stay, by a moment or an interval.
pub(crate) fn read(at: Option<&str>, interval: Option<&str>) -> Result<Option<Stay>, Problem> {
    let bad = |member: &str, detail: String| Problem::new(Cause::BadRequest, detail).with("member", member);
    match (at, interval) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(bad("expiration", "say expires_at or expiration, not both".to_owned())),
        (Some(at), None) => {
            let wrong = || {
                bad(
                    "expires_at",
                    format!("{at:?} is no moment such as 2026-12-31T23:59:59Z"),
                )
            };
            moment(at).map(Stay::Until).map(Some).ok_or_else(wrong)
        }
        (None, Some(text)) => {
            let interval = text
                .parse()
                .map_err(|error: IntervalError| bad("expiration", error.to_string()))?;
            Ok(Some(Stay::For(interval)))
        }
    }
}

/// When pictures expire: by the request, else by the site's settings, and not later than its limit allows.
pub(crate) fn expiry(tenant: &Tenant, stay: Option<Stay>, now: Millis) -> Result<Option<Millis>, Problem> {
    let context = tenant.context();
    let limit = context.limits.lifetime_seconds;
    let latest = (limit > 0).then(|| now.after(Duration::from_secs(limit.unsigned_abs())));
    let asked = match stay {
        None => {
            let usual = context.pictures.expiration.map(|interval| interval.after(now));
            return Ok(match (usual, latest) {
                (Some(usual), Some(latest)) => Some(usual.min(latest)),
                (usual, latest) => usual.or(latest),
            });
        }
        Some(Stay::Until(at)) => at,
        Some(Stay::For(interval)) => interval.after(now),
    };
    if asked <= now {
        return Err(Problem::new(Cause::BadRequest, "a picture expires in the future").with("member", "expires_at"));
    }
    match latest {
        Some(latest) if asked > latest => {
            let name = Limit::LifetimeSeconds.as_str();
            let detail = format!("a picture of this site stays {limit} s at most ({name})");
            Err(Problem::new(Cause::OverQuota, detail)
                .with("limit_name", name)
                .with("limit", limit)
                .with("asked", i64::try_from(asked.since(now).as_secs()).unwrap_or(i64::MAX)))
        }
        _ => Ok(Some(asked)),
    }
}

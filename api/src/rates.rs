//! How a request leaves what its tenant has in a time: told in header fields of its answer.
//!
//! `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers. One unit of `uploads-hour` is one picture, so a request
//! with several takes several; one of `bytes-out-month` is a byte. Files that are sent tell nothing, since caches keep their answers:
//! only one that is refused does.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use mediamill_shared::{quota::Standing, units::Millis};
use std::sync::{Arc, Mutex, PoisonError};

/// The greatest integer of a structured field (RFC 9651, 3.3.1).
const MOST: i64 = 999_999_999_999_999;

/// What an answer has to tell; nothing, unless a handler says so. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates(Arc<Mutex<Option<Standing>>>);

impl Rates {
    /// From now on the answer tells this.
    pub(crate) fn tell(&self, standing: Standing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    }

    /// Writes what there is to tell.
    pub(crate) fn write(&self, headers: &mut HeaderMap, now: Millis) {
        let standing = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(standing) = standing.filter(|standing| standing.limit > 0) else {
            return;
        };
        let policy = standing.resource.as_str().replace('_', "-");
        let window = standing.period.end.since(standing.period.start).as_secs();
        let fields = [
            (
                "ratelimit-policy",
                format!("\"{policy}\";q={};w={window}", standing.limit.min(MOST)),
            ),
            (
                "ratelimit",
                format!(
                    "\"{policy}\";r={};t={}",
                    standing.left().min(MOST),
                    standing.period.seconds_left(now)
                ),
            ),
        ];
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediamill_shared::{quota::Period, tenancy::Limit};

    #[test]
    fn the_fields_are_those_of_the_draft() {
        let rates = Rates::default();
        let mut headers = HeaderMap::new();
        let now = Millis::new(3_600_000 + 3_570_000);
        rates.write(&mut headers, now);
        assert!(headers.is_empty(), "{headers:?}");
        let mut standing = Standing {
            resource: Limit::UploadsHour,
            limit: 100,
            used: 50,
            period: Period::hour_of(now),
        };
        rates.clone().tell(standing);
        rates.write(&mut headers, now);
        assert_eq!(headers["ratelimit-policy"], "\"uploads-hour\";q=100;w=3600");
        assert_eq!(headers["ratelimit"], "\"uploads-hour\";r=50;t=30");
        // More than the limit: it was lowered.
        (standing.used, standing.limit) = (i64::MAX, 9_000_000_000_000_000_000);
        rates.tell(standing);
        rates.write(&mut headers, now);
        assert_eq!(headers["ratelimit-policy"], "\"uploads-hour\";q=999999999999999;w=3600");
        assert_eq!(headers["ratelimit"], "\"uploads-hour\";r=0;t=30");
    }
}

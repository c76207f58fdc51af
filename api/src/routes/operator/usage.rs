//! `GET /_/api/4/usage`: what tenants used by the hour, for bills; as `mediamill usage export` writes it.

use super::query;
use crate::{
    extract::Signed,
    problem::{Cause, Problem},
    routes::views::rfc3339,
    state::State,
};
use axum::{
    body::Body,
    extract::{Query, State as Shared, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use mediamill_shared::{
    control::activity::{self, Watcher},
    db::DbError,
    ids::TenantId,
    operators::Scope,
    quota::{Period, export::Export},
    units::Millis,
};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::IntoParams;

/// Which hours are told.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    /// The first hour, RFC 3339, such as `2026-02-01T00:00:00Z`. Needed.
    from: Option<String>,
    /// The hour to stop before; it must be over and rolled up. Needed.
    to: Option<String>,
    /// Of this tenant alone; it may be gone.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantId>,
}

/// Tells what tenants used by the hour.
///
/// A JSON object a line: `tenant`, `resource` (`media`, `bytes`, `bytes_out`), `hour`, `change`, and `total` at the hour's end; of
/// `bytes_out` the total is of the month. What was stored when the first hour began stands there even where nothing changed.
#[utoipa::path(get, path = "/_/api/4/usage", tag = "tenants-api", params(UsageQuery),
    responses((status = 200, description = "The hours.", content_type = "application/x-ndjson"),
        (status = 400, description = "bad-request"), (status = 409, description = "conflict: hours are not rolled up yet")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn export(
    Shared(state): Shared<State>,
    wanted: Result<Query<UsageQuery>, QueryRejection>,
    Signed { operator, .. }: Signed,
) -> Result<Response, Problem> {
    operator.may(Scope::Read)?;
    let wanted = query(wanted)?;
    let (from, to) = (hour("from", wanted.from.as_deref())?, hour("to", wanted.to.as_deref())?);
    if from >= to {
        return Err(Problem::new(Cause::BadRequest, "from must be before to").with("member", "to"));
    }
    let control = &state.services.control;
    let complete = activity::complete_until(control, Watcher::RollUp).await?;
    if complete.is_none_or(|complete| to > complete) {
        let until = complete.map(|at| Period::hour_of(at).start);
        let detail = "these hours are not rolled up yet; the scheduler does that every minute, for hours that are over";
        return Err(Problem::new(Cause::Conflict, detail).with("complete_until", until.map(rfc3339)));
    }
    if let Some(waiting) = activity::waiting(control, Watcher::RollUp, wanted.tenant.as_ref()).await? {
        let detail = format!("usage of tenant {waiting} is about to be rolled up; try again in a moment");
        return Err(Problem::new(Cause::Conflict, detail));
    }
    let export = Export::new(control.clone(), wanted.tenant, from, to);
    let pages = stream::try_unfold(export, |export| async move {
        next(export).await.inspect_err(|error| {
            tracing::warn!(error = error as &dyn std::error::Error, "an export of usage broke off");
        })
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(pages)).into_response())
}

async fn next(mut export: Export) -> Result<Option<(Bytes, Export)>, DbError> {
    let Some(lines) = export.next().await? else {
        return Ok(None);
    };
    let mut text = Vec::new();
    for line in &lines {
        // Texts and numbers written to memory have no way to fail.
        let _ = serde_json::to_writer(&mut text, line);
        text.push(b'\n');
    }
    Ok(Some((text.into(), export)))
}

/// The beginning of an hour.
fn hour(member: &str, text: Option<&str>) -> Result<Millis, Problem> {
    let read = text.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let at = read
        .and_then(|at| at.unix_timestamp().checked_mul(1_000))
        .map(Millis::new);
    let begins = at.filter(|at| read.is_some_and(|read| read.nanosecond() == 0) && Period::hour_of(*at).start == *at);
    begins.ok_or_else(|| {
        let detail = format!("{member} must be the beginning of an hour such as 2026-02-01T00:00:00Z");
        Problem::new(Cause::BadRequest, detail).with("member", member)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_whole() {
        let read = |text: &str| {
            hour("from", Some(text))
                .map(Millis::get)
                .map_err(|problem| problem.cause())
        };
        assert_eq!(read("1970-01-01T01:00:00Z"), Ok(3_600_000));
        assert_eq!(read("1970-01-01T02:00:00+01:00"), Ok(3_600_000));
        for text in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:01Z",
            "1970-01-01T00:00:00.5Z",
            "1970-01-01T00:30:00Z",
        ] {
            assert_eq!(read(text), Err(Cause::BadRequest), "{text}");
        }
        assert!(hour("from", None).is_err());
    }
}

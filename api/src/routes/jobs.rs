//! `GET /v1/jobs/{id}` and its events.

use super::views::{JobView, id};
use crate::{
    extract::Caller,
    problem::{Cause, Problem},
    state::State,
};
use axum::{
    Json,
    extract::{Path, State as Shared},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use mediamill_shared::{
    control::jobs::{self, JobRow},
    ids::JobId,
};
use std::{convert::Infallible, time::Duration};

/// A comment so often keeps proxies from ending a quiet connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

async fn own(state: &State, caller: &Caller, text: &str) -> Result<JobRow, Problem> {
    let job: JobId = id(text)?;
    let row = jobs::get(&state.services.control, &job).await?;
    // Another tenant's job is one that is not there.
    row.filter(|row| row.tenant.as_ref() == Some(caller.site.tenant.id()))
        .ok_or_else(|| Problem::new(Cause::NotFound, format!("there is no job {job} here")))
}

/// Shows a job.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobView), (status = 404, description = "not-found")), security(("key" = [])))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Json<JobView>, Problem> {
    let row = own(&state, &caller, &text).await?;
    Ok(Json(JobView::of(&row, state.services.clock.now())))
}

/// Follows a job by server-sent events.
///
/// The event `state` carries the job, first as it is, then at every change; the stream ends when the job is final.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "Server-sent events.", content_type = "text/event-stream"), (status = 404, description = "not-found")),
    security(("key" = [])))]
pub(crate) async fn events(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let row = own(&state, &caller, &text).await?;
    let follower = state.followers.follow(&state.services, &row.id);
    let first = (follower, state.clone(), None::<(String, i64)>, false);
    let events = stream::unfold(first, |(follower, state, seen, over)| async move {
        if over {
            return None;
        }
        let news = |row: &JobRow| seen.as_ref() != Some(&(row.state.as_str().to_owned(), row.attempts));
        let row = tokio::select! {
            row = follower.until(news) => row.ok().flatten()?,
            () = state.services.shutdown.soft() => return None,
        };
        let view = JobView::of(&row, state.services.clock.now());
        let event = Event::default().event("state").json_data(view).ok()?;
        let (seen, over) = ((row.state.as_str().to_owned(), row.attempts), row.state.is_final());
        Some((Ok::<Event, Infallible>(event), (follower, state, Some(seen), over)))
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}

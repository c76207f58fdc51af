//! `GET /v1/media`, `GET` and `DELETE /v1/media/{id}`.

use super::{
    upload::{finished, wait},
    views::{MediaView, id},
};
use crate::{
    accept,
    extract::{Caller, Traced},
    problem::{Cause, Problem},
    state::State,
    stay,
};
use axum::{
    Json,
    extract::{
        Path, Query, State as Shared,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use mediamill_shared::{
    control::{
        expiries::{self, Expiry},
        jobs,
    },
    ids::{JobId, MediaId},
    jobs::{DeleteMedia, JobKind, JobState},
    tenancy::store::{holders::Deleted, users::Role},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

const PAGE: i64 = 50;
const LARGEST_PAGE: i64 = 100;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Pictures of a page, 1 to 100; 50 without.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteQuery {
    /// Answers when the work is done, at the latest after so many seconds (0 to 60).
    wait: Option<u64>,
    /// Whether it goes also where others have uploaded the same bytes: for managers and administrators.
    #[serde(default)]
    for_all: bool,
}

/// A page of pictures.
#[derive(Serialize, ToSchema)]
pub(crate) struct MediaPage {
    /// The pictures, newest first.
    media: Vec<MediaView>,
    /// To be sent as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// Lists pictures, newest first.
#[utoipa::path(get, path = "/v1/media", tag = "media", params(PageQuery),
    responses((status = 200, body = MediaPage), (status = 401, description = "missing-key, wrong-key")), security(("key" = [])))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<MediaPage>, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(Cause::BadRequest, error.body_text()))?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Problem::new(Cause::BadRequest, format!("limit is 1 to {LARGEST_PAGE}")));
    }
    // The provider's bound makes pages shorter; it refuses nothing.
    let limit = match caller.site.tenant.context().limits.listing_page {
        0 => limit,
        most => limit.min(most),
    };
    let cursor: Option<MediaId> = match query.cursor {
        Some(text) => Some(
            text.parse()
                .map_err(|_| Problem::new(Cause::BadRequest, "cursor is none of ours"))?,
        ),
        None => None,
    };
    let now = state.services.clock.now();
    let mut page = caller.site.db.media_page(cursor.as_ref(), limit + 1, Some(now)).await?;
    let more = i64::try_from(page.len()).unwrap_or(i64::MAX) > limit;
    page.truncate(usize::try_from(limit).unwrap_or(0));
    let next_cursor = page.last().filter(|_| more).map(|(media, _)| media.id.to_string());
    let scheme = &state.services.config.public_scheme;
    let media = page
        .into_iter()
        .map(|(media, variants)| MediaView::ready(&caller.site, scheme, media, variants))
        .collect();
    Ok(Json(MediaPage { media, next_cursor }))
}

/// Shows a picture; one that is still, or for ever, only a job has no variants.
#[utoipa::path(get, path = "/v1/media/{id}", tag = "media", params(("id" = String, Path)),
    responses((status = 200, body = MediaView), (status = 404, description = "not-found")), security(("key" = [])))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Json<MediaView>, Problem> {
    let media: MediaId = id(&text)?;
    let now = state.services.clock.now();
    if let Some(picture) = caller
        .site
        .db
        .media(&media)
        .await?
        .filter(|picture| !picture.is_over(now))
    {
        let variants = caller.site.db.variants(&media).await?;
        return Ok(Json(MediaView::ready(
            &caller.site,
            &state.services.config.public_scheme,
            picture,
            variants,
        )));
    }
    let job = jobs::latest_about(&state.services.control, caller.site.tenant.id(), media.as_str()).await?;
    match job {
        Some(row) if makes_a_picture(row.kind) && row.state != JobState::Done => {
            Ok(Json(MediaView::only_job(media.to_string(), &row)))
        }
        Some(_) | None => Err(Problem::new(
            Cause::NotFound,
            format!("there is no picture {media} here"),
        )),
    }
}

const fn makes_a_picture(kind: JobKind) -> bool {
    match kind {
        JobKind::MediaProcess | JobKind::MediaFetch => true,
        JobKind::Noop
        | JobKind::MediaVariant
        | JobKind::MediaDelete
        | JobKind::MediaMove
        | JobKind::MediaVerify
        | JobKind::ObjectsRemove
        | JobKind::TenantProvision
        | JobKind::TenantMigrate
        | JobKind::TenantDeprovision => false,
    }
}

/// When a picture is to expire.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditMedia {
    /// When it expires, RFC 3339; null is never, where the site's limit allows that.
    #[serde(default, deserialize_with = "moment")]
    #[schema(value_type = Option<String>)]
    expires_at: Moment,
    /// The same as an interval from now, ISO 8601, or seconds.
    expiration: Option<String>,
}

/// What a member says that may be null.
#[derive(Default)]
enum Moment {
    /// It is not there.
    #[default]
    Unsaid,
    Never,
    At(String),
}

fn moment<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.map_or(Moment::Never, Moment::At))
}

/// Sets when a picture expires.
#[utoipa::path(patch, path = "/v1/media/{id}", tag = "media", params(("id" = String, Path)), request_body = EditMedia,
    responses((status = 200, body = MediaView), (status = 400, description = "bad-request"), (status = 403, description = "over-quota"),
        (status = 404, description = "not-found")),
    security(("key" = [])))]
pub(crate) async fn edit(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(text): Path<String>,
    body: Result<Json<EditMedia>, JsonRejection>,
) -> Result<Json<MediaView>, Problem> {
    let media: MediaId = id(&text)?;
    let missing = || Problem::new(Cause::NotFound, format!("there is no picture {media} here"));
    let (services, site) = (&state.services, &caller.site);
    let now = services.clock.now();
    let present = site.db.media(&media).await?.filter(|picture| !picture.is_over(now));
    present.ok_or_else(missing)?;
    let Json(body) = body.map_err(|error| Problem::new(Cause::BadRequest, error.body_text()))?;
    let at = match (&body.expires_at, body.expiration.as_deref()) {
        (Moment::Unsaid, None) => return Err(Problem::new(Cause::BadRequest, "say expires_at or expiration")),
        (Moment::Never, None) if site.tenant.context().limits.lifetime_seconds == 0 => None,
        (Moment::Never | Moment::Unsaid, interval) => stay::expiry(&site.tenant, stay::read(None, interval)?, now)?,
        (Moment::At(moment), interval) => stay::expiry(&site.tenant, stay::read(Some(moment), interval)?, now)?,
    };
    if let Some(at) = at {
        // Before the row: what expires is found, whatever becomes of this process.
        let expiry = Expiry {
            tenant: site.tenant.id().clone(),
            media: media.clone(),
            at,
        };
        expiries::note(&services.control, &expiry).await?;
    }
    let mut tx = site.db.begin().await?;
    if !tx.set_expiry(&media, at).await? {
        return Err(missing());
    }
    tx.commit().await?;
    let picture = site.db.media(&media).await?.ok_or_else(missing)?;
    let variants = site.db.variants(&media).await?;
    Ok(Json(MediaView::ready(
        site,
        &services.config.public_scheme,
        picture,
        variants,
    )))
}

/// Deletes a picture: it is out of sight and out of the count at once, its files go by a job.
///
/// Where the site gives what it has for the same bytes, and others have uploaded them too, the picture stays for them (204), unless a
/// manager or an administrator says `for_all`.
#[utoipa::path(delete, path = "/v1/media/{id}", tag = "media", params(("id" = String, Path), DeleteQuery),
    responses(
        (status = 202, description = "Accepted; `Location` is the job."),
        (status = 204, description = "Gone within `wait`, or left to others who have uploaded it."),
        (status = 403, description = "missing-scope: `for_all` is for managers and administrators"),
        (status = 409, description = "conflict: others alone have uploaded it, and `for_all` was not said"),
        (status = 404, description = "not-found")),
    security(("key" = [])))]
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    caller: Caller,
    Traced(trace): Traced,
    Path(text): Path<String>,
    query: Result<Query<DeleteQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(Cause::BadRequest, error.body_text()))?;
    let patience = wait(query.wait)?;
    let media: MediaId = id(&text)?;
    if caller.site.db.media(&media).await?.is_none() {
        return Err(Problem::new(
            Cause::NotFound,
            format!("there is no picture {media} here"),
        ));
    }
    let services = &state.services;
    let holders = caller.site.db.holders(&media).await?;
    let is_held = holders.contains(&caller.user);
    if query.for_all || !is_held && !holders.is_empty() {
        match (caller.site.db.user_role(&caller.user).await?, query.for_all) {
            (Some(Role::Admin | Role::Manager), true) => {}
            (Some(Role::Admin | Role::Manager), false) => {
                let detail = "others alone have uploaded this picture; for_all=true deletes it for them too";
                return Err(Problem::new(Cause::Conflict, detail));
            }
            (Some(Role::User) | None, true) => {
                let detail = "for_all is for keys of the site's managers and administrators";
                return Err(Problem::new(Cause::MissingScope, detail).with("role", Role::Manager.as_str()));
            }
            // Given up before, mostly: a request that is sent again takes it from nobody else.
            (Some(Role::User) | None, false) => return Ok(StatusCode::NO_CONTENT.into_response()),
        }
    }
    let holder = (is_held && !query.for_all).then(|| caller.user.clone());
    let job = JobId::generate(&services.clock, &services.entropy);
    let payload = DeleteMedia {
        media: media.clone(),
        holder,
    };
    let new = accept::tenant_job(&job, &payload, &caller.site.tenant, &media, &trace)?;
    accept::commit_unjudged(services, &caller.site.tenant, &new).await?;
    // The job would do it; here it is out of sight and out of the count before the answer.
    let now = services.clock.now();
    match caller.site.db.delete(&media, payload.holder.as_ref(), &job, now).await {
        Ok(Deleted::Now(change)) => services.quota.correct(&caller.site.tenant, change).await,
        Ok(Deleted::Before) => {}
        Ok(Deleted::Kept) => return Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error) => {
            tracing::info!(
                error = &error as &dyn std::error::Error,
                "a deleted picture is in sight until its job runs"
            );
        }
    }
    if !patience.is_zero()
        && let Some(rows) = finished(&state, std::slice::from_ref(&job), patience).await?
        && rows.iter().all(|row| row.state == JobState::Done)
    {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let location = format!("/v1/jobs/{job}");
    let body = serde_json::json!({ "job": { "id": job, "url": location } });
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response())
}

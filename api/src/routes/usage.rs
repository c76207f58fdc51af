//! `GET /v1/usage`.

use super::views::{FindingView, rfc3339};
use crate::{extract::Caller, problem::Problem, state::State};
use axum::{Json, extract::State as Shared};
use mediamill_shared::{control::findings, quota::Consumption, tenancy::Limit};
use serde::Serialize;
use utoipa::ToSchema;

/// Something that is counted.
#[derive(Serialize, ToSchema, Default)]
pub(crate) struct Counted {
    /// In use now, or used in this period.
    used: i64,
    /// What jobs that are not done may add at most.
    reserved: i64,
    /// At most; null is unlimited.
    limit: Option<i64>,
    /// What still fits; null is unlimited.
    remaining: Option<i64>,
    /// When it begins anew, RFC 3339; null where it does not.
    resets_at: Option<String>,
}

/// What the tenant uses.
#[derive(Serialize, ToSchema, Default)]
pub(crate) struct UsageView {
    /// Pictures.
    media: Counted,
    /// Bytes of originals and variants.
    stored_bytes: Counted,
    /// Bytes of pictures that do not move.
    image_bytes: Counted,
    /// Bytes of pictures that move.
    animation_bytes: Counted,
    /// Uploads accepted in this hour (UTC).
    uploads_hour: Counted,
    /// Bytes of files served in this month (UTC). What processes have served in the last seconds may be missing.
    bytes_out_month: Counted,
    /// Users.
    users: Counted,
    /// API keys that are not revoked.
    api_keys: Counted,
    /// Jobs in the queue or in workers' hands, in the pool that has most; those that wait for their turn are reserved.
    jobs_in_flight: Counted,
    /// Whether uploads are refused until what does not fit does.
    frozen: bool,
    /// What does not fit, and what becomes of that.
    findings: Vec<FindingView>,
}

/// Shows what is stored and served, and what may be.
#[utoipa::path(get, path = "/v1/usage", tag = "usage", responses((status = 200, body = UsageView)), security(("key" = [])))]
pub(crate) async fn show(Shared(state): Shared<State>, caller: Caller) -> Result<Json<UsageView>, Problem> {
    let (tenant, now) = (&caller.site.tenant, state.services.clock.now());
    let found = findings::of_one(&state.services.control, tenant.id()).await?;
    let mut view = UsageView {
        frozen: !tenant.context().frozen.is_empty(),
        findings: found.into_iter().map(FindingView::from).collect(),
        ..UsageView::default()
    };
    for mut consumption in state.services.quota.overview(tenant, &caller.site.db, now).await? {
        let place = match consumption.resource {
            Limit::Media => &mut view.media,
            Limit::StoredBytes => &mut view.stored_bytes,
            Limit::UploadsHour => &mut view.uploads_hour,
            Limit::BytesOutMonth => {
                // With what this process has not added yet.
                if let Some(standing) = state.served.standing(tenant.id(), consumption.limit, now).await {
                    consumption.used = standing.used.max(consumption.used);
                }
                &mut view.bytes_out_month
            }
            Limit::Users => &mut view.users,
            Limit::ApiKeys => &mut view.api_keys,
            Limit::JobsInFlight => &mut view.jobs_in_flight,
            Limit::ImageBytes => &mut view.image_bytes,
            Limit::AnimationBytes => &mut view.animation_bytes,
            _ => continue,
        };
        *place = counted(&consumption);
    }
    Ok(Json(view))
}

fn counted(consumption: &Consumption) -> Counted {
    Counted {
        used: consumption.used,
        reserved: consumption.reserved,
        limit: (consumption.limit > 0).then_some(consumption.limit),
        remaining: consumption.left(),
        resets_at: consumption.resets_at.map(rfc3339),
    }
}

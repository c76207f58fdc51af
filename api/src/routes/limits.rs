//! `GET /v1/limits`.

use super::operator::views::LimitView;
use crate::extract::Caller;
use axum::Json;
use mediamill_shared::tenancy::Limit;

/// Shows every limit that is in force: an application reads here those that it holds itself.
#[utoipa::path(get, path = "/v1/limits", tag = "usage", responses((status = 200, body = Vec<LimitView>)), security(("key" = [])))]
pub(crate) async fn show(caller: Caller) -> Json<Vec<LimitView>> {
    let limits = caller.site.tenant.context().limits;
    let view = |limit: &Limit| LimitView::of(*limit, limits.get(*limit));
    Json(Limit::ALL.iter().map(view).collect())
}

//! `GET /v1/usage`.

use crate::{extract::Caller, problem::Problem};
use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// Something that is counted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Counted {
    /// In use now.
    used: i64,
    /// At most; null is unlimited.
    limit: Option<i64>,
}

/// What the tenant uses.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageView {
    /// Pictures.
    media: Counted,
    /// Bytes of originals and variants.
    stored_bytes: Counted,
}

/// Shows what is stored and what may be.
#[utoipa::path(get, path = "/v1/usage", tag = "usage", responses((status = 200, body = UsageView)), security(("key" = [])))]
pub(crate) async fn show(caller: Caller) -> Result<Json<UsageView>, Problem> {
    let usage = caller.site.db.usage().await?;
    let limits = caller.site.tenant.context().limits;
    let counted = |used, limit| Counted {
        used,
        limit: (limit > 0).then_some(limit),
    };
    Ok(Json(UsageView {
        media: counted(usage.media, limits.media),
        stored_bytes: counted(usage.bytes.get(), limits.stored_bytes),
    }))
}

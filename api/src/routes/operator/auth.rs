//! `POST /_/api/4/auth/verify`: whether a key and a signature are right.

use super::{bodies::Nothing, views::plain};
use crate::{extract::SignedJson, problem::Problem, state::State};
use axum::{Json, extract::State as Shared};
use mediamill_shared::control::operator_keys;
use serde::Serialize;
use utoipa::ToSchema;

/// A key that is right.
#[derive(Serialize, ToSchema)]
pub(crate) struct Verified {
    /// Its number.
    id: i64,
    /// What it is for.
    name: Option<String>,
    /// Its end, `YYYY-MM-DD HH:MM:SS`, UTC.
    expires: Option<String>,
    /// What it allows.
    scopes: Vec<String>,
}

/// Says whether the key and the signature of this request are right.
#[utoipa::path(post, path = "/_/api/4/auth/verify", tag = "tenants-api",
    responses((status = 200, body = Verified), (status = 401, description = "missing-key, wrong-key, missing-signature, wrong-signature, request-replayed"),
        (status = 403, description = "address-not-allowed"), (status = 429, description = "too-many-wrong-keys")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn verify(
    Shared(state): Shared<State>,
    SignedJson { operator, .. }: SignedJson<Nothing>,
) -> Result<Json<Verified>, Problem> {
    let key = operator_keys::get(&state.services.control, operator.key).await?;
    Ok(Json(Verified {
        id: operator.key,
        name: key.as_ref().map(|key| key.name.clone()).filter(|name| !name.is_empty()),
        expires: key.and_then(|key| key.expires_at).map(plain),
        scopes: operator.scopes.to_string().split(' ').map(str::to_owned).collect(),
    }))
}

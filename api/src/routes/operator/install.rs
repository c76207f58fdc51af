//! A tenant's first administrator, and passwords.

use super::{
    bodies::{Install, ResetPassword, Secret},
    tenant,
};
use crate::{extract::SignedJson, problem::Problem, state::State};
use axum::{
    Json,
    extract::{Path, State as Shared},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use mediamill_shared::{operators::Scope, secrets::SecretText};
use serde::Serialize;
use utoipa::ToSchema;

/// What was installed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Installed {
    /// The administrator.
    username: String,
    /// Its address.
    email: String,
    /// Its key for the tenant's API, if one was asked for. It is not shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// A password as it is now.
#[derive(Serialize, ToSchema)]
pub(crate) struct PasswordSet {
    /// Whose.
    username: String,
    /// The new one.
    password: String,
}

/// Gives a tenant that has nobody yet its first administrator.
#[utoipa::path(post, path = "/_/api/4/tenants/{id}/install", tag = "tenants-api", request_body = Install, params(("id" = String, Path)),
    responses((status = 201, body = Installed), (status = 400, description = "bad-request"), (status = 404, description = "not-found"),
        (status = 409, description = "conflict: it is installed already, or comes or goes")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn install(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    SignedJson { operator, value, .. }: SignedJson<Install>,
) -> Result<Response, Problem> {
    operator.may(Scope::People)?;
    let row = tenant(&state, &id).await?;
    let lifecycle = &state.services.lifecycle;
    let Secret(password) = &value.password;
    let admin = lifecycle
        .new_admin(&value.username, Some(&value.email), Some(password))
        .await?;
    let with_key = value.with_key.is_some_and(|flag| flag.0);
    let key = lifecycle.install(&row.id, &admin, with_key, &operator.actor()).await?;
    let installed = Installed {
        username: value.username,
        email: value.email,
        key: key.map(|key| key.reveal()),
    };
    Ok(untold(StatusCode::CREATED, installed))
}

/// Sets a user's password.
#[utoipa::path(patch, path = "/_/api/4/tenants/{id}/user-password-reset", tag = "tenants-api", request_body = ResetPassword, params(("id" = String, Path)),
    responses((status = 200, body = PasswordSet), (status = 400, description = "bad-request"), (status = 404, description = "not-found: the tenant or the user")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn reset_password(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    SignedJson { operator, value, .. }: SignedJson<ResetPassword>,
) -> Result<Response, Problem> {
    operator.may(Scope::People)?;
    let row = tenant(&state, &id).await?;
    let services = &state.services;
    let password = value.password.map_or_else(
        || {
            let mut bytes = [0_u8; 16];
            services.entropy.fill(&mut bytes);
            SecretText::new(hex::encode(bytes))
        },
        |Secret(password)| password,
    );
    let actor = operator.actor();
    services
        .lifecycle
        .set_password(&row.id, &value.username, &password, &actor)
        .await?;
    let answer = PasswordSet {
        username: value.username,
        password: password.reveal().to_owned(),
    };
    Ok(untold(StatusCode::OK, answer))
}

/// An answer with a secret in it, which nobody keeps on its way.
fn untold(status: StatusCode, answer: impl Serialize) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

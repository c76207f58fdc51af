//! `/v1/link-keys`: what a site signs links with that make variants.

use super::views::{id, rfc3339};
use crate::{
    extract::Caller,
    problem::{Cause, Problem},
    state::State,
};
use axum::{
    Json,
    extract::{Path, State as Shared},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mediamill_shared::{
    control::{
        audit::{Actor, Entry},
        link_keys,
    },
    ids::LinkKeyId,
};
use serde::Serialize;
use utoipa::ToSchema;

/// A link key.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkKeyView {
    /// Its id.
    id: String,
    /// When it was made, RFC 3339.
    created_at: String,
    /// The secret, shown once: the answer that makes the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// A site's link keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkKeyList {
    /// The oldest first.
    link_keys: Vec<LinkKeyView>,
}

fn entry(state: &State, caller: &Caller, action: &str, id: &LinkKeyId) -> Entry {
    let services = &state.services;
    let (actor, tenant) = (Actor::tenant_key(&caller.key), caller.site.tenant.id());
    Entry::new(&services.clock, &services.entropy, &actor, action, Some(tenant))
        .with(serde_json::json!({ "link_key": id }))
}

/// Makes a link key.
///
/// A site has five at most, so that one can take another's place while links with both go around.
#[utoipa::path(post, path = "/v1/link-keys", tag = "link-keys",
    responses((status = 201, body = LinkKeyView), (status = 409, description = "conflict: there are five")), security(("key" = [])))]
pub(crate) async fn create(Shared(state): Shared<State>, caller: Caller) -> Result<Response, Problem> {
    let services = &state.services;
    let id = LinkKeyId::generate(&services.clock, &services.entropy);
    let (tenant, entry) = (caller.site.tenant.id(), entry(&state, &caller, "link-key.create", &id));
    let secret = link_keys::create(
        &services.control,
        &services.secrets,
        tenant,
        id.clone(),
        &services.entropy,
        &entry,
    )
    .await?;
    state.link_secrets.invalidate(tenant).await;
    let view = LinkKeyView {
        id: id.to_string(),
        created_at: rfc3339(entry.at),
        secret: Some(secret.reveal().to_owned()),
    };
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    let unstored = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, unstored);
    Ok(response)
}

/// Lists the site's link keys, without their secrets.
#[utoipa::path(get, path = "/v1/link-keys", tag = "link-keys", responses((status = 200, body = LinkKeyList)), security(("key" = [])))]
pub(crate) async fn list(Shared(state): Shared<State>, caller: Caller) -> Result<Json<LinkKeyList>, Problem> {
    let keys = link_keys::list(&state.services.control, caller.site.tenant.id()).await?;
    let view = |key: link_keys::LinkKey| LinkKeyView {
        id: key.id.to_string(),
        created_at: rfc3339(key.created_at),
        secret: None,
    };
    Ok(Json(LinkKeyList {
        link_keys: keys.into_iter().map(view).collect(),
    }))
}

/// Removes a link key. What its links have made stays, and is served; they make no more.
#[utoipa::path(delete, path = "/v1/link-keys/{id}", tag = "link-keys", params(("id" = String, Path)),
    responses((status = 204, description = "It is gone; other processes believe in it for `tenant_cache_ttl` at most."), (status = 404, description = "not-found")),
    security(("key" = [])))]
pub(crate) async fn remove(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let key: LinkKeyId = id(&text)?;
    let (tenant, entry) = (caller.site.tenant.id(), entry(&state, &caller, "link-key.remove", &key));
    if !link_keys::remove(&state.services.control, tenant, &key, &entry).await? {
        return Err(Problem::new(
            Cause::NotFound,
            format!("there is no link key {key} here"),
        ));
    }
    state.link_secrets.invalidate(tenant).await;
    Ok(StatusCode::NO_CONTENT)
}

//! The operator: who asks, by a key of the Tenants API.
//!
//! In this order: at a tenant's host there is no such route; the address must be allowed; an address that sent too many
//! wrong keys waits; the key must be right. It says nothing of signatures: those are [`super::Signed`]'s, which a route
//! asks for unless it has a reason not to.

use super::host::{client, host, single};
use crate::{
    problem::{Cause, Problem},
    state::State,
};
use axum::{extract::FromRequestParts, http::request::Parts};
use mediamill_shared::{
    control::{audit::Actor, operator_keys},
    operators::{OperatorKeyText, Scope, Scopes},
};
use std::net::IpAddr;

/// A request with a key of the Tenants API.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// The key's number.
    pub(crate) key: i64,
    /// What it allows.
    pub(crate) scopes: Scopes,
    /// Where the request comes from; `None`: over no connection.
    pub(crate) address: Option<IpAddr>,
}

impl Operator {
    /// Who is written into the audit log.
    pub(crate) fn actor(&self) -> Actor {
        Actor::operator_key(self.key)
    }

    /// Goes on when the key allows `scope`.
    pub(crate) fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.allow(scope) {
            return Ok(());
        }
        let detail = format!("the key {} does not allow this: it lacks the scope {scope}", self.key);
        Err(Problem::new(Cause::MissingScope, detail).with("scope", scope.as_str()))
    }
}

/// A tenant's site shows nothing of the Tenants API, except where it is the very address that is listened on.
async fn not_at_a_tenants(parts: &Parts, state: &State) -> Result<(), Problem> {
    let Some(host) = host(parts, state)? else { return Ok(()) };
    if host == state.services.config.listen.to_string() || state.services.resolver.by_host(&host).await?.is_none() {
        return Ok(());
    }
    Err(Problem::no_route())
}

impl FromRequestParts<State> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        not_at_a_tenants(parts, state).await?;
        let services = &state.services;
        let address = client(parts, state)?;
        let allowed = &services.config.tenants_api_ip_allow_list;
        if !allowed.is_empty() && !address.is_some_and(|address| allowed.has(address)) {
            let detail = "the Tenants API does not answer this address";
            return Err(Problem::new(Cause::AddressNotAllowed, detail));
        }
        if state.wrong_keys.too_many(address).await {
            let detail = "too many wrong keys came from this address; wait a minute";
            return Err(Problem::new(Cause::TooManyWrongKeys, detail));
        }
        let missing = || Problem::new(Cause::MissingKey, "send an operator's key as X-API-Key");
        let text = single(&parts.headers, "x-api-key")?.ok_or_else(missing)?;
        if let Some((key, scopes)) = known(state, text).await? {
            return Ok(Self { key, scopes, address });
        }
        state.wrong_keys.count(address).await;
        // One answer for every wrong key: it tells nothing about which keys there are.
        Err(Problem::new(Cause::WrongKey, "the key opens nothing here"))
    }
}

/// The number and scopes of the key that `text` is.
async fn known(state: &State, text: &str) -> Result<Option<(i64, Scopes)>, Problem> {
    let services = &state.services;
    let Ok(text) = text.parse::<OperatorKeyText>() else {
        return Ok(None);
    };
    let stored = if let Some(stored) = state.operators.get(&text.number()).await {
        stored
    } else {
        let stored = operator_keys::get(&services.control, text.number()).await?;
        state.operators.insert(text.number(), stored.clone()).await;
        stored
    };
    let secrets = &services.config.tenants_api_key_secret;
    let right = stored.filter(|key| key.opens(&text, secrets, services.clock.now()));
    Ok(right.map(|key| (key.id, key.scopes)))
}

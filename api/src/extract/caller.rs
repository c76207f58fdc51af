//! The caller, by API key: `Authorization: Bearer …` or `X-API-Key: …`.

use super::Site;
use crate::{
    problem::{Cause, Problem},
    rates::Rates,
    state::State,
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use mediamill_shared::{
    ids::{KeyId, UserId},
    tenancy::{KeyText, Limit},
};

/// A request with a key of the tenant at its host.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) site: Site,
    pub(crate) key: KeyId,
    pub(crate) user: UserId,
    /// What the answer tells of the tenant's rates.
    pub(crate) rates: Rates,
}

fn key_text(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get("x-api-key") {
        return value.to_str().ok();
    }
    let (scheme, text) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

impl FromRequestParts<State> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let site = Site::from_request_parts(parts, state).await?;
        let missing = || Problem::new(Cause::MissingKey, "send a key as Authorization: Bearer or X-API-Key");
        // One answer for every wrong key: it tells nothing about which keys there are.
        let wrong = || Problem::new(Cause::WrongKey, "the key opens nothing at this host");
        let text: KeyText = key_text(&parts.headers)
            .ok_or_else(missing)?
            .parse()
            .map_err(|_| wrong())?;
        let known = (site.tenant.id().clone(), text.id().clone());
        let stored = if let Some(stored) = state.keys.get(&known).await {
            stored
        } else {
            let stored = site.db.key(text.id()).await?;
            state.keys.insert(known, stored.clone()).await;
            stored
        };
        match stored {
            Some(key) if key.opens(&text, state.services.clock.now()) => {
                keys_are_taken(&site)?;
                let rates = parts.extensions.get().cloned().unwrap_or_default();
                Ok(Self {
                    site,
                    key: key.id,
                    user: key.user,
                    rates,
                })
            }
            Some(_) | None => Err(wrong()),
        }
    }
}

/// Goes on unless the tenant's keys are switched off. Asked after the key was right: whoever has none learns nothing.
fn keys_are_taken(site: &Site) -> Result<(), Problem> {
    if site.tenant.context().limits.allows(Limit::ApiUser) {
        return Ok(());
    }
    Err(Problem::switched_off(Limit::ApiUser, "keys"))
}

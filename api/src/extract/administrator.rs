//! A caller that runs its site.

use super::Caller;
use crate::{
    problem::{Cause, Problem},
    state::State,
};
use axum::{extract::FromRequestParts, http::request::Parts};
use mediamill_shared::{control::audit::Actor, tenancy::store::users::Role};

/// A request with a key of an administrator of the tenant at its host.
pub(crate) struct Administrator(pub(crate) Caller);

impl Administrator {
    /// Who is written into the audit log.
    pub(crate) fn actor(&self) -> Actor {
        Actor::tenant_key(&self.0.key)
    }
}

impl FromRequestParts<State> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        // Read each time: whoever was an administrator a second ago is none now.
        match caller.site.db.user_role(&caller.user).await? {
            Some(Role::Admin) => Ok(Self(caller)),
            Some(Role::Manager | Role::User) | None => {
                let detail = "this is for keys of the site's administrators";
                Err(Problem::new(Cause::MissingScope, detail).with("role", Role::Admin.as_str()))
            }
        }
    }
}

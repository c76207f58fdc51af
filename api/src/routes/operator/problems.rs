//! What stands in an operator's way, as it is answered.

use crate::problem::{Cause, Problem};
use mediamill_shared::{
    control::changes::Refused,
    secrets::SecretsError,
    tenancy::{LifecycleError, Limit, MoveError, PeopleError, ProvisionError},
};
use std::error::Error;

/// What is broken on our side, and no matter of trying again.
pub(crate) fn broken(what: &'static str, error: &(dyn Error + 'static)) -> Problem {
    tracing::error!(error, "answering 500: {what}");
    Problem::new(Cause::Internal, "something went wrong here")
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Exists { id } => Self::new(Cause::Conflict, detail)
                .with("member", "id")
                .with("value", id.as_str()),
            Refused::HostTaken { host } => Self::new(Cause::Conflict, detail)
                .with("member", "hostname")
                .with("value", host),
            Refused::NoPlan { plan } => Self::new(Cause::BadRequest, detail)
                .with("member", "plan_id")
                .with("value", plan),
            Refused::Missing { .. } | Refused::NotItsHost { .. } => Self::new(Cause::NotFound, detail),
            Refused::NotNow { state, .. } => Self::new(Cause::Conflict, detail).with("state", state.as_str()),
            Refused::LastHost { .. } => Self::new(Cause::Conflict, detail),
            Refused::Outdated { version, .. } => Self::new(Cause::VersionChanged, detail).with("version", version),
            Refused::TooManyVariants { allowed, given, .. } => Self::new(Cause::OverQuota, detail)
                .with("member", "pictures")
                .with("limit_name", Limit::Variants.as_str())
                .with("limit", allowed)
                .with("used", 0)
                .with("asked", given),
            Refused::TooManyHosts {
                allowed, used, asked, ..
            } => Self::new(Cause::OverQuota, detail)
                .with("limit_name", Limit::Hosts.as_str())
                .with("limit", allowed)
                .with("used", used)
                .with("asked", asked),
        }
    }
}

impl From<LifecycleError> for Problem {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::Refused(refused) => refused.into(),
            LifecycleError::Db(error) => error.into(),
            LifecycleError::Resolve(error) => error.into(),
            LifecycleError::Payload(error) => broken("a job cannot be written", &error),
        }
    }
}

impl From<ProvisionError> for Problem {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::Host { .. } | ProvisionError::NoHost | ProvisionError::WildcardFirst { .. } => {
                Self::new(Cause::BadRequest, error.to_string()).with("member", "hostname")
            }
            ProvisionError::Refused(refused) => refused.into(),
            ProvisionError::Db(error) => error.into(),
            ProvisionError::Payload(error) => broken("a job cannot be written", &error),
        }
    }
}

impl From<PeopleError> for Problem {
    fn from(error: PeopleError) -> Self {
        let detail = error.to_string();
        match error {
            PeopleError::NoTenant { .. } | PeopleError::NoUser { .. } => Self::new(Cause::NotFound, detail),
            PeopleError::Installed { .. } | PeopleError::NotServed(_) => Self::new(Cause::Conflict, detail),
            PeopleError::Unfit { .. } => Self::new(Cause::BadRequest, detail),
            PeopleError::Lifecycle(error) => error.into(),
        }
    }
}

impl From<MoveError> for Problem {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Lifecycle(error) => error.into(),
            MoveError::There { .. } => Self::new(Cause::Conflict, error.to_string()),
            MoveError::Differs { .. } => broken("a move did not copy what was there", &error),
        }
    }
}

impl From<SecretsError> for Problem {
    fn from(error: SecretsError) -> Self {
        broken("an env is not sealed or not opened", &error)
    }
}

//! Which layer has the say on a limit.

use super::{Limit, LimitOverrides, Limits};
use serde::Serialize;
use std::fmt;

/// What is set for one tenant, layer by layer.
///
/// Per limit the first that sets it has the say: `enforced`, `tenant`, `plan`, `defaults`. On trial a layer's trial twin
/// stands before its plain value; otherwise twins do not count.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// What the host sets for every tenant.
    pub enforced: &'a LimitOverrides,
    /// The tenant's own.
    pub tenant: &'a LimitOverrides,
    /// Its plan's, when it has a plan.
    pub plan: Option<&'a LimitOverrides>,
    /// Whether the tenant is on trial.
    pub on_trial: bool,
    /// The installation's.
    pub defaults: &'a Limits,
}

/// The layer that a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The host's enforced set, a trial twin of its included.
    Enforced,
    /// The tenant's trial twin.
    TenantTrial,
    /// The tenant's own.
    Tenant,
    /// The plan's trial twin.
    PlanTrial,
    /// The plan's.
    Plan,
    /// The installation's default.
    Default,
}

impl Origin {
    /// Its name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::TenantTrial => "tenant_trial",
            Self::Tenant => "tenant",
            Self::PlanTrial => "plan_trial",
            Self::Plan => "plan",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What holds for one limit, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effective {
    /// Which.
    pub limit: Limit,
    /// In the limit's unit.
    pub value: i64,
    /// The layer that it comes from.
    pub origin: Origin,
}

impl Layers<'_> {
    /// What holds for every limit.
    #[must_use]
    pub fn resolve(&self) -> Limits {
        let mut limits = *self.defaults;
        // The lowest first: whoever comes later has the say. A context costs what is set, not what there is.
        for layer in [self.plan, Some(self.tenant), Some(self.enforced)]
            .into_iter()
            .flatten()
        {
            for (limit, value) in layer.plain() {
                limits.set(limit, value);
            }
            for (limit, value) in layer.trial().filter(|_| self.on_trial) {
                limits.set(limit, value);
            }
        }
        limits
    }

    /// What holds for every limit, and who says so, in the table's order.
    #[must_use]
    pub fn explain(&self) -> Vec<Effective> {
        Limit::ALL.iter().map(|limit| self.effective(*limit)).collect()
    }

    /// What holds for `limit`, and who says so.
    #[must_use]
    pub fn effective(&self, limit: Limit) -> Effective {
        let twin = |layer: &LimitOverrides| self.on_trial.then(|| layer.get_trial(limit)).flatten();
        let said = [
            (Origin::Enforced, twin(self.enforced)),
            (Origin::Enforced, self.enforced.get(limit)),
            (Origin::TenantTrial, twin(self.tenant)),
            (Origin::Tenant, self.tenant.get(limit)),
            (Origin::PlanTrial, self.plan.and_then(twin)),
            (Origin::Plan, self.plan.and_then(|plan| plan.get(limit))),
        ];
        let first = said.into_iter().find_map(|(origin, value)| Some((origin, value?)));
        let (origin, value) = first.unwrap_or((Origin::Default, self.defaults.get(limit)));
        Effective { limit, value, origin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who may set a limit, highest first, each with the value that it sets.
    const SAYERS: [(Origin, i64); 6] = [
        (Origin::Enforced, 6),
        (Origin::TenantTrial, 5),
        (Origin::Tenant, 4),
        (Origin::PlanTrial, 3),
        (Origin::Plan, 2),
        (Origin::Default, 1),
    ];

    fn effective(sayers: &[(Origin, i64)], on_trial: bool) -> Effective {
        let (mut enforced, mut tenant, mut plan) = (
            LimitOverrides::default(),
            LimitOverrides::default(),
            LimitOverrides::default(),
        );
        let mut defaults = Limits::builtin();
        for (origin, value) in sayers.iter().copied() {
            match origin {
                Origin::Enforced => enforced = enforced.set(Limit::Media, value),
                Origin::TenantTrial => tenant = tenant.set_trial(Limit::Media, value),
                Origin::Tenant => tenant = tenant.set(Limit::Media, value),
                Origin::PlanTrial => plan = plan.set_trial(Limit::Media, value),
                Origin::Plan => plan = plan.set(Limit::Media, value),
                Origin::Default => defaults.set(Limit::Media, value),
            }
        }
        let layers = Layers {
            enforced: &enforced,
            tenant: &tenant,
            plan: Some(&plan),
            on_trial,
            defaults: &defaults,
        };
        let effective = layers.effective(Limit::Media);
        assert_eq!(layers.resolve().media, effective.value);
        assert_eq!(layers.explain().first(), Some(&effective));
        effective
    }

    #[test]
    fn of_any_two_the_higher_has_the_say() {
        for (i, high) in SAYERS.iter().enumerate() {
            for low in SAYERS.iter().skip(i + 1) {
                let found = effective(&[*high, *low], true);
                assert_eq!((found.origin, found.value), *high, "over {}", low.0);
            }
        }
    }

    #[test]
    fn trial_twins_do_not_count_off_trial() {
        for twin in [Origin::TenantTrial, Origin::PlanTrial] {
            for (origin, value) in [(Origin::Tenant, 4), (Origin::Plan, 2), (Origin::Default, 1)] {
                let found = effective(&[(twin, 9), (origin, value)], false);
                assert_eq!((found.origin, found.value), (origin, value), "{twin}");
            }
        }
    }

    #[test]
    fn a_trial_twin_that_the_host_enforces_beats_all_on_trial_only() {
        let enforced = LimitOverrides::default()
            .set(Limit::Media, 5)
            .set_trial(Limit::Media, 1);
        let tenant = LimitOverrides::default().set_trial(Limit::Media, 100);
        let layers = Layers {
            enforced: &enforced,
            tenant: &tenant,
            plan: None,
            on_trial: true,
            defaults: &Limits::builtin(),
        };
        assert_eq!(layers.resolve().media, 1);
        let off = Layers {
            on_trial: false,
            ..layers
        };
        assert_eq!(
            off.effective(Limit::Media),
            Effective {
                limit: Limit::Media,
                value: 5,
                origin: Origin::Enforced
            }
        );
    }

    #[test]
    fn what_nobody_sets_is_the_default_s() {
        let none = LimitOverrides::default();
        let defaults = Limits {
            media: 7,
            ..Limits::builtin()
        };
        let layers = Layers {
            enforced: &none,
            tenant: &none,
            plan: None,
            on_trial: true,
            defaults: &defaults,
        };
        assert_eq!(layers.resolve(), defaults);
        assert!(
            layers
                .explain()
                .iter()
                .all(|effective| effective.origin == Origin::Default)
        );
    }
}

//! Where a new tenant's tables go: named by the tenant, else by its plan, else by the installation's policy.

use super::{Lifecycle, NewTenant};
use crate::{
    config::PlacementPolicy,
    control::{
        plans::{self, Plan},
        tenants,
    },
    db::{DbError, Engine},
    tenancy::{Isolation, LimitOverrides, Place, ServerName, TablePrefix},
};
use std::collections::BTreeMap;

/// How many tenants each server has, while places are given out.
#[derive(Debug)]
pub struct Placement {
    servers: Vec<Counted>,
    plans: BTreeMap<String, Plan>,
}

#[derive(Debug)]
struct Counted {
    name: ServerName,
    weight: u32,
    tenants: i64,
}

impl Placement {
    /// By the policy; `None` when no server takes tenants by itself.
    fn choose(&self, policy: &PlacementPolicy) -> Option<ServerName> {
        let taking = self.servers.iter().filter(|server| server.weight > 0);
        let load = |server: &&Counted| match policy {
            PlacementPolicy::Fewest | PlacementPolicy::Named(_) => i128::from(server.tenants) * 1_000_000,
            PlacementPolicy::Weight => i128::from(server.tenants) * 1_000_000 / i128::from(server.weight.max(1)),
        };
        taking.min_by_key(load).map(|server| server.name.clone())
    }

    /// What a plan sets, if it was there when this began.
    pub(super) fn plan_limits(&self, id: &str) -> Option<&LimitOverrides> {
        self.plans.get(id).map(|plan| &plan.limits)
    }

    fn count(&mut self, name: &ServerName) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.name == *name) {
            server.tenants = server.tenants.saturating_add(1);
        }
    }
}

impl Lifecycle {
    /// Begins to give out places, from the counts of now and the plans of `new`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn placement(&self, new: &[NewTenant]) -> Result<Placement, DbError> {
        let counts: BTreeMap<String, i64> = tenants::servers(&self.control).await?.into_iter().collect();
        let servers = self.databases.servers().map(|server| Counted {
            name: server.name.clone(),
            weight: server.weight,
            tenants: counts.get(server.name.as_str()).copied().unwrap_or(0),
        });
        let servers = servers.collect();
        let mut known = BTreeMap::new();
        for plan in new.iter().filter_map(|one| one.plan.as_ref()) {
            if !known.contains_key(plan)
                && let Some(found) = plans::get(&self.control, plan).await?
            {
                known.insert(plan.clone(), found);
            }
        }
        Ok(Placement { servers, plans: known })
    }

    /// A place that nobody ever had, for `new`.
    ///
    /// # Errors
    /// When it names a server that is not configured here.
    pub(super) fn place(&self, placement: &mut Placement, new: &NewTenant) -> Result<Place, DbError> {
        let plan = new.plan.as_ref().and_then(|plan| placement.plans.get(plan));
        let named = new.server.clone().or_else(|| plan?.server.clone());
        let isolation = new.isolation.or_else(|| plan?.isolation);
        self.place_at(placement, named, isolation)
    }

    /// A place that nobody ever had, on the named server or by policy.
    pub(super) fn place_at(
        &self,
        placement: &mut Placement,
        named: Option<ServerName>,
        isolation: Option<Isolation>,
    ) -> Result<Place, DbError> {
        let policy = &self.settings.placement;
        let by_policy = match policy {
            PlacementPolicy::Named(name) => Some(name.clone()),
            PlacementPolicy::Fewest | PlacementPolicy::Weight => placement.choose(policy),
        };
        let name = named.or(by_policy).unwrap_or_else(ServerName::main);
        // Named ones may be without weight, but not without configuration.
        let engine = self.databases.server(&name)?.db.engine();
        placement.count(&name);
        let isolation = isolation.or(self.settings.isolation).unwrap_or(match engine {
            // A shared schema is read whole by every connection and after every change of it: see docs/tenancy.md.
            Engine::Sqlite => Isolation::Database,
            Engine::Postgres => Isolation::Prefix,
        });
        Ok(Place {
            server: name,
            isolation,
            prefix: TablePrefix::generate(&self.clock, &self.entropy),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, weight: u32, tenants: i64) -> Counted {
        Counted {
            name: name.parse().unwrap(),
            weight,
            tenants,
        }
    }

    #[test]
    fn new_tenants_go_where_there_is_least_for_the_weight() {
        let mut placement = Placement {
            servers: vec![server("a", 1, 0), server("b", 3, 0), server("c", 0, 0)],
            plans: BTreeMap::new(),
        };
        for _ in 0..400 {
            let name = placement.choose(&PlacementPolicy::Weight).unwrap();
            placement.count(&name);
        }
        let counts: Vec<i64> = placement.servers.iter().map(|server| server.tenants).collect();
        assert_eq!(counts, [100, 300, 0]);
        assert_eq!(placement.choose(&PlacementPolicy::Fewest).unwrap().as_str(), "a");
    }

    #[test]
    fn a_server_without_weight_takes_nobody_by_itself() {
        let placement = Placement {
            servers: vec![server("main", 0, 0)],
            plans: BTreeMap::new(),
        };
        assert_eq!(placement.choose(&PlacementPolicy::Weight), None);
    }
}

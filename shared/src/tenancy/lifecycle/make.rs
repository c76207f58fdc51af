//! Tenants whose tables lie in the control database's own shared ones, made several at a time: one transaction makes all
//! of them, so that its round trips and its wait for the disk are shared.

use crate::{
    clock::Clock,
    control::{batches, changes},
    db::{Batcher, DbError},
    ids::TenantId,
    jobs::ProvisionTenant,
    shutdown::Shutdown,
    tenancy::{
        Place, Resolver, TablePrefix, TenantDatabases, TenantState,
        migrate::{self, NewTables},
    },
    units::Millis,
};
use sqlx::AnyConnection;
use std::{collections::BTreeSet, sync::Arc};

/// Transactions at a time: enough to keep a few processors of a server busy.
const LANES: usize = 4;
/// Tenants of one transaction at most: what one of them does wrong costs the others a second try.
const TOGETHER: usize = 8;

/// A tenant to be made.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) id: TenantId,
    pub(super) place: Place,
    pub(super) wanted: ProvisionTenant,
}

/// Which tenant of that id: no place is ever another's.
type Named = (TenantId, TablePrefix);

impl Order {
    fn named(&self) -> Named {
        (self.id.clone(), self.place.prefix.clone())
    }
}

/// Makes tenants. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Maker(Batcher<Order, bool>);

struct Parts {
    databases: TenantDatabases,
    resolver: Resolver,
    clock: Clock,
}

impl Maker {
    pub(super) fn start(databases: TenantDatabases, resolver: Resolver, clock: Clock, shutdown: &Shutdown) -> Self {
        let parts = Arc::new(Parts {
            databases,
            resolver,
            clock,
        });
        Self(Batcher::start_lanes(
            shutdown,
            LANES,
            TOGETHER,
            move |orders: Vec<Order>| {
                let parts = Arc::clone(&parts);
                async move { parts.make(&orders).await }
            },
        ))
    }

    /// Makes a tenant and puts it into service. Returns whether there was something to do.
    pub(super) async fn make(&self, order: Order) -> Result<bool, DbError> {
        self.0.call(order).await
    }
}

impl Parts {
    async fn make(&self, orders: &[Order]) -> Result<Vec<bool>, DbError> {
        let mut served = match self.together(orders).await {
            Err(error) if orders.len() > 1 && !error.is_transient() => {
                // One of them cannot be made, the others can, and nothing of any is there: each is made by itself, by the
                // steps that say what is wrong with it.
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "tenants are not made together"
                );
                BTreeSet::new()
            }
            other => other?,
        };
        if !served.is_empty() {
            let made: Vec<TenantId> = served.iter().map(|(id, _)| id.clone()).collect();
            self.resolver.refresh_all(&made).await?;
        }
        // An order that stands here twice is made once.
        Ok(orders.iter().map(|order| served.remove(&order.named())).collect())
    }

    /// The service first, so that whoever comes second waits for the first and finds nothing to do. Returns those that this
    /// call made.
    async fn together(&self, orders: &[Order]) -> Result<BTreeSet<Named>, DbError> {
        let mut served = BTreeSet::new();
        let Some(first) = orders.first() else {
            return Ok(served);
        };
        let now = self.clock.now();
        let engine = self.databases.engine(&first.place)?;
        let mut tx = self.databases.begin(&first.place).await?;
        for state in [TenantState::Active, TenantState::Suspended] {
            let ones: Vec<(&TenantId, &TablePrefix)> = orders
                .iter()
                .filter(|order| order.wanted.made() == state)
                .map(|order| (&order.id, &order.place.prefix))
                .collect();
            if !ones.is_empty() {
                served.extend(put_into_service(&mut tx, &ones, state, now).await?);
            }
        }
        let mut left = served.clone();
        let new: Vec<NewTables<'_>> = orders
            .iter()
            .filter(|order| left.remove(&order.named()))
            .map(|order| NewTables {
                tenant: &order.id,
                place: &order.place,
                admin: order.wanted.admin.as_ref(),
            })
            .collect();
        if !new.is_empty() {
            migrate::make_new_tables(&mut tx, engine, &new, now).await?;
            tx.commit("make tenants").await?;
        }
        Ok(served)
    }
}

/// Returns those that this call did.
pub(super) async fn put_into_service(
    connection: &mut AnyConnection,
    ones: &[(&TenantId, &TablePrefix)],
    state: TenantState,
    now: Millis,
) -> Result<BTreeSet<Named>, DbError> {
    let served = changes::activate(connection, ones, state, now).await?;
    if !served.is_empty() {
        let ids: Vec<TenantId> = served.iter().map(|(id, _)| id.clone()).collect();
        batches::rows_done(connection, &ids).await?;
    }
    Ok(served)
}

//! Compares what storages' figures say with the rows of all tenants, and mends them.
//!
//! A tenant whose rows cannot be read may have files in the shared storages and in its own: they are left for the next look, too.
//!
//! A storage that open jobs may still put files into, or take them out of, is left for the next look: rows and figures do not change in
//! one moment. Dead jobs are such: what they have claimed stays claimed until an operator retries or purges them.

use crate::{
    scope::Scope,
    timer::{Report, Scoped, Timer, TimerError},
};
use mediamill_shared::{
    control::{
        storages::{self, StorageRow},
        tenants::{self, Filter, TenantRow},
    },
    ids::{StorageId, TenantId},
    placement::Spot,
    services::Services,
    telemetry::names,
    tenancy::{TenantState, store::places::Held},
};
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

/// Rows read at a time.
const PAGE: i64 = 500;

pub(crate) struct ReconcileStorages;

impl Timer for ReconcileStorages {
    const NAME: &'static str = "reconcile-storages";
    const EVERY: Duration = Duration::from_secs(3_600);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        Self::run_in(services, &Scope::all()).await
    }
}

impl Scoped for ReconcileStorages {
    /// Of one tenant: its own storages.
    async fn run_in(services: &Services, scope: &Scope) -> Result<Report, TimerError> {
        let before = figures(services, scope.tenant()).await?;
        if before.is_empty() {
            return Ok(Report::default());
        }
        let Recorded { held: recorded, unread } = recorded(services, scope.tenant()).await?;
        let (mut report, mut drift) = (Report::default(), 0_i64);
        for (id, was) in before {
            let is_known = match &was.tenant {
                Some(owner) => !unread.contains(owner),
                None => unread.is_empty(),
            };
            if !is_known {
                continue;
            }
            let held = recorded.get(&Spot::Storage(id.clone())).copied().unwrap_or_default();
            let same = (was.used, was.objects) == (held.bytes, held.objects);
            if same || storages::are_in_use(&services.control, was.tenant.as_ref()).await? {
                continue;
            }
            let said = || {
                let (used, objects) = (was.used, was.objects);
                format!(
                    "storage {id} counts {objects} objects of {used}, {} of {} are recorded",
                    held.objects, held.bytes
                )
            };
            scope.tell(was.tenant.as_ref(), said).await;
            if scope.is_dry() {
                continue;
            }
            // Only as long as it says what it said before the rows were read.
            if storages::correct(&services.control, &was, held.bytes, held.objects).await? {
                let bytes = was.used.minus(held.bytes).get().saturating_abs();
                drift = drift.saturating_add(bytes);
                report.changed = report.changed.saturating_add(1);
                tracing::warn!(
                    storage = %id, used = was.used.get(), objects = was.objects, recorded = ?held,
                    "a storage's figures were not what the rows say: they are mended"
                );
            }
        }
        if scope.is_all() {
            metrics::gauge!(names::STORAGE_DRIFT_BYTES).set(drift as f64);
        }
        Ok(report)
    }
}

/// Every storage, or those of one tenant, that nobody uses now.
async fn figures(services: &Services, of: Option<&TenantId>) -> Result<BTreeMap<StorageId, StorageRow>, TimerError> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let page = storages::page(&services.control, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(last.id.clone());
        for row in page.into_iter().filter(|row| of.is_none() || row.tenant.as_ref() == of) {
            if !storages::are_in_use(&services.control, row.tenant.as_ref()).await? {
                all.insert(row.id.clone(), row);
            }
        }
    }
}

/// What the rows of tenants say.
#[derive(Default)]
struct Recorded {
    /// By where it lies.
    held: BTreeMap<Spot, Held>,
    /// Tenants whose rows could not be read.
    unread: HashSet<TenantId>,
}

/// Of all tenants, or of that one, whose own storages nobody else has files in.
async fn recorded(services: &Services, of: Option<&TenantId>) -> Result<Recorded, TimerError> {
    let mut all = Recorded::default();
    if let Some(id) = of {
        let row = tenants::get(&services.control, id).await?;
        all.add(services, &row.into_iter().collect::<Vec<_>>()).await;
        return Ok(all);
    }
    let mut after = None;
    loop {
        let page = tenants::page(&services.control, &Filter::default(), after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(last.serial.clone());
        all.add(services, &page).await;
    }
}

impl Recorded {
    async fn add(&mut self, services: &Services, rows: &[TenantRow]) {
        // Whoever is on its way in has no tables, and no files.
        for row in rows.iter().filter(|row| row.state != TenantState::Provisioning) {
            match places(services, &row.id).await {
                Ok(places) => {
                    for (spot, held) in places {
                        let sum = self.held.entry(spot).or_default();
                        sum.bytes = sum.bytes.plus(held.bytes);
                        sum.objects = sum.objects.saturating_add(held.objects);
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        tenant.id = %row.id, error = &error as &dyn std::error::Error,
                        "a tenant's rows cannot be read: figures of storages that its files may lie in are compared by a later run"
                    );
                    self.unread.insert(row.id.clone());
                }
            }
        }
    }
}

async fn places(services: &Services, id: &TenantId) -> Result<BTreeMap<Spot, Held>, TimerError> {
    match services.resolver.by_id(id).await? {
        Some(tenant) => Ok(tenant.tables()?.places().await?),
        // Gone since the page was read, with all its files.
        None => Ok(BTreeMap::new()),
    }
}

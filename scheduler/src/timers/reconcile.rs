//! Compares what tenants' usage rows and ledgers say with their pictures, and the fast counters with the rows: what differs is made to
//! follow the pictures, and drifting counters start anew. Whose roll-up is not the sum of the ledger is rolled up again.

use crate::{
    pages::{self, Page, Paged},
    scope::Scope,
    timer::{Report, Scoped, Timer, TimerError},
};
use mediamill_shared::{
    control::{
        activity::{self, Watcher},
        audit::{self, Actor, Entry},
        metering,
        tenants::{self, Filter},
    },
    ids::{JobId, TenantId},
    quota::Drift,
    services::Services,
    telemetry::names,
    tenancy::{
        Tenant, TenantDb, TenantState,
        store::{balance::Balance, usage::Usage},
    },
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Tenants that a run looks at.
const MOST: i64 = 5_000;
/// Looks at a counter that differs before it is drift, and the time between them.
const LOOKS: u32 = 2;
const APART: Duration = Duration::from_millis(100);

pub(crate) struct ReconcileUsage;

impl Timer for ReconcileUsage {
    const NAME: &'static str = "reconcile-usage";
    const EVERY: Duration = Duration::from_secs(300);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        some(services, MOST).await
    }
}

pub(super) async fn some(services: &Services, most: i64) -> Result<Report, TimerError> {
    let scope = Scope::all();
    let mut look = Look::new(services, &scope);
    let (report, whole) = pages::go_on::<ReconcileUsage, _>(services, &mut look, most).await?;
    if let Some(whole) = whole {
        metrics::gauge!(names::RESERVATION_DRIFT_BYTES).set(whole.drift as f64);
    }
    Ok(report)
}

impl Scoped for ReconcileUsage {
    async fn run_in(services: &Services, scope: &Scope) -> Result<Report, TimerError> {
        let mut look = Look::new(services, scope);
        let Some(id) = scope.tenant() else {
            return pages::all(&mut look).await;
        };
        look.tenant(id, &mut Place::default()).await?;
        Ok(Report {
            changed: look.changed,
            unfinished: false,
        })
    }
}

struct Look<'a> {
    services: &'a Services,
    scope: &'a Scope,
    changed: i64,
}

/// Where a pass is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    /// Serial of the last tenant.
    after: Option<String>,
    /// What was not counted as it is, bytes.
    drift: i64,
}

impl Paged for Look<'_> {
    type Place = Place;
    const PAGE: i64 = 500;

    async fn page(&mut self, place: &mut Place, limit: i64) -> Result<Page, TimerError> {
        let active = Filter {
            state: Some(TenantState::Active),
            ..Filter::default()
        };
        let page = tenants::page(&self.services.control, &active, place.after.as_deref(), limit).await?;
        for row in &page {
            place.after = Some(row.serial.clone());
            // One tenant's database that is away holds up nobody else's look.
            if let Err(error) = self.tenant(&row.id, place).await {
                tracing::warn!(
                    tenant.id = %row.id, error = &error as &dyn std::error::Error,
                    "what a tenant uses is compared with its pictures by the next pass"
                );
            }
        }
        Ok(Page::of(page.len(), limit))
    }

    fn changed(&self) -> i64 {
        self.changed
    }
}

impl<'a> Look<'a> {
    const fn new(services: &'a Services, scope: &'a Scope) -> Self {
        Self {
            services,
            scope,
            changed: 0,
        }
    }

    async fn tenant(&mut self, id: &TenantId, place: &mut Place) -> Result<(), TimerError> {
        let services = self.services;
        let Some(tenant) = services.resolver.by_id(id).await? else {
            return Ok(());
        };
        let Ok(db) = tenant.db() else { return Ok(()) };
        let mut balance = db.balance().await?;
        if !balance.is_even() {
            self.uneven(&tenant, &db, balance, place).await?;
            balance = db.balance().await?;
        }
        // Mostly what was settled a moment ago; also a line that came when nobody waited for it any more.
        let rolled_up = metering::total(&services.control, id).await?;
        if !self.scope.is_dry() && rolled_up != balance.ledger.billed() {
            activity::mark(&services.control, Watcher::RollUp, id, services.clock.now()).await?;
        }
        let drifts = drifts(services, &tenant, &db).await?;
        for drift in &drifts {
            let said = || {
                format!(
                    "{} is counted as {}, {} are used",
                    drift.resource.as_str(),
                    drift.counted,
                    drift.used
                )
            };
            self.scope.tell(Some(id), said).await;
        }
        if !drifts.is_empty() && !self.scope.is_dry() {
            renewed(id, &drifts);
            services.quota.forget(id).await;
            self.changed = self.changed.saturating_add(1);
        }
        Ok(())
    }

    /// Usage or its ledger is not what the pictures say.
    async fn uneven(
        &mut self,
        tenant: &Tenant,
        db: &TenantDb,
        balance: Balance,
        place: &mut Place,
    ) -> Result<(), TimerError> {
        let (services, id) = (self.services, tenant.id());
        let said = || {
            let Balance { usage, ledger, rows } = balance;
            format!(
                "usage is {} pictures of {}, its ledger says {} of {}, there are {} of {}",
                usage.media, usage.bytes, ledger.media, ledger.bytes, rows.media, rows.bytes
            )
        };
        self.scope.tell(Some(id), said).await;
        if self.scope.is_dry() {
            return Ok(());
        }
        let line = JobId::generate(&services.clock, &services.entropy);
        let mut tx = db.begin().await?;
        // As it was when nobody could settle any more; the look before may have been another moment's.
        let before = tx.even_out(&line, services.clock.now()).await?;
        tx.commit().await?;
        if before.is_even() {
            return Ok(());
        }
        let bytes = |usage: Usage| usage.bytes.minus(before.rows.bytes).get().saturating_abs();
        let drift = bytes(before.usage).max(bytes(before.ledger));
        place.drift = place.drift.saturating_add(drift);
        self.changed = self.changed.saturating_add(1);
        tracing::error!(tenant.id = %id, ?before, "a tenant's usage was not what its pictures say: it is mended");
        let entry = Entry::new(
            &services.clock,
            &services.entropy,
            &Actor::scheduler(),
            "usage.mended",
            Some(id),
        );
        let figures = |usage: Usage| serde_json::json!({ "media": usage.media, "bytes": usage.bytes, "animation_bytes": usage.animation_bytes });
        let entry = entry.with(serde_json::json!({
            "usage": figures(before.usage), "ledger": figures(before.ledger), "pictures": figures(before.rows), "line": line,
        }));
        audit::write(&services.control, &entry).await?;
        services.quota.forget(id).await;
        Ok(())
    }
}

/// Counters that are not what the rows say, and still the same when they are looked at again.
async fn drifts(services: &Services, tenant: &Tenant, db: &TenantDb) -> Result<Vec<Drift>, TimerError> {
    let mut before = services.quota.drift(tenant, db).await?;
    for _ in 0..LOOKS {
        if before.is_empty() {
            break;
        }
        services.clock.sleep(APART).await;
        let now = services.quota.drift(tenant, db).await?;
        before.retain(|drift| now.contains(drift));
    }
    Ok(before)
}

fn renewed(id: &TenantId, drifts: &[Drift]) {
    for drift in drifts {
        tracing::warn!(
            tenant.id = %id, limit = drift.resource.as_str(), counted = drift.counted, used = drift.used,
            "a counter is not what the rows say: it is counted anew"
        );
        metrics::counter!(names::COUNTERS_RENEWED, "limit" => drift.resource.as_str()).increment(1);
    }
}

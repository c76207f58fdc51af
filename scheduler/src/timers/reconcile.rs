//! Compares what tenants' usage rows say with their ledgers, and the fast counters with the rows, and starts drifting counters anew.
//! Whose roll-up is not the sum of the ledger is rolled up again.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::{
        activity::{self, Watcher},
        metering,
        tenants::{self, Filter},
    },
    services::Services,
    telemetry::names,
    tenancy::{Tenant, TenantDb, TenantState},
};
use std::time::Duration;

const PAGE: i64 = 500;
/// Looks at a counter that differs before it is drift, and the time between them.
const LOOKS: u32 = 2;
const APART: Duration = Duration::from_millis(100);

pub(crate) struct ReconcileUsage;

impl Timer for ReconcileUsage {
    const NAME: &'static str = "reconcile-usage";
    const EVERY: Duration = Duration::from_secs(300);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let mut report = Report::default();
        let mut drift: i64 = 0;
        let active = Filter {
            state: Some(TenantState::Active),
            ..Filter::default()
        };
        let mut after = None;
        loop {
            let page = tenants::page(&services.control, &active, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.serial.clone());
            for row in &page {
                let Some(tenant) = services.resolver.by_id(&row.id).await? else {
                    continue;
                };
                let Ok(db) = tenant.db() else { continue };
                let (usage, ledger) = (db.usage().await?, db.ledger_sum().await?);
                // Mostly what was settled a moment ago; also a line that came when nobody waited for it any more.
                if metering::total(&services.control, &row.id).await? != ledger.billed() {
                    activity::mark(&services.control, Watcher::RollUp, &row.id, services.clock.now()).await?;
                }
                if drifts(services, &tenant, &db).await? {
                    report.changed = report.changed.saturating_add(1);
                    services.quota.forget(&row.id).await;
                }
                if usage == ledger {
                    continue;
                }
                // Read in two steps: a settlement between them looks like drift once, drift stays.
                let (usage, ledger) = (db.usage().await?, db.ledger_sum().await?);
                if usage != ledger {
                    let bytes = usage.bytes.minus(ledger.bytes).get().saturating_abs();
                    drift = drift.saturating_add(bytes);
                    report.changed = report.changed.saturating_add(1);
                    tracing::error!(tenant.id = %row.id, ?usage, ?ledger, "a tenant's usage is not the sum of its ledger");
                    services.quota.forget(&row.id).await;
                }
            }
        }
        metrics::gauge!(names::RESERVATION_DRIFT_BYTES).set(drift as f64);
        Ok(report)
    }
}

/// Whether a counter is not what the rows say, and still the same when it is looked at again.
async fn drifts(services: &Services, tenant: &Tenant, db: &TenantDb) -> Result<bool, TimerError> {
    let mut before = services.quota.drift(tenant, db).await?;
    for _ in 0..LOOKS {
        if before.is_empty() {
            return Ok(false);
        }
        services.clock.sleep(APART).await;
        let now = services.quota.drift(tenant, db).await?;
        before.retain(|drift| now.contains(drift));
    }
    for drift in &before {
        tracing::warn!(
            tenant.id = %tenant.id(), limit = drift.resource.as_str(), counted = drift.counted, used = drift.used,
            "a counter is not what the rows say: it is counted anew"
        );
        metrics::counter!(names::COUNTERS_RENEWED, "limit" => drift.resource.as_str()).increment(1);
    }
    Ok(!before.is_empty())
}

//! Compares what tenants' usage rows say with their ledgers and their media rows, and starts drifting counters anew. Whose
//! roll-up is not the sum of the ledger is rolled up again.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::{
        activity::{self, Watcher},
        metering,
        tenants::{self, Filter},
    },
    services::Services,
    telemetry::names,
    tenancy::TenantState,
};
use std::time::Duration;

const PAGE: i64 = 500;

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

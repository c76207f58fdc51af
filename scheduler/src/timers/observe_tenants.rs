//! Sets the gauges of tenants: how many are in each state, and how many are frozen for what.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{
    control::{findings, tenants},
    services::Services,
    telemetry::names,
    tenancy::{Reason, TenantState},
};
use std::time::Duration;

pub(crate) struct ObserveTenants;

impl Timer for ObserveTenants {
    const NAME: &'static str = "observe-tenants";
    const EVERY: Duration = Duration::from_secs(60);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let counted = tenants::states(&services.control).await?;
        for state in TenantState::ALL {
            let tenants = counted
                .iter()
                .find(|(counted, _)| counted == state)
                .map_or(0, |(_, tenants)| *tenants);
            metrics::gauge!(names::TENANTS, "state" => state.as_str()).set(tenants as f64);
        }
        let frozen = findings::count_frozen(&services.control).await?;
        for reason in Reason::ALL {
            let tenants = frozen.get(&reason).copied().unwrap_or(0);
            metrics::gauge!(names::TENANTS_FROZEN, "reason" => reason.as_str()).set(tenants as f64);
        }
        Ok(Report::default())
    }
}

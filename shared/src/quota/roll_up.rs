//! Rolling up usage: a tenant's ledger, by the hour, in the control database.
//!
//! A line's moment is its worker's clock before the commit, so a line may become visible after its hour was read. No line
//! is added to what is there: the tenant's hours are read anew and replaced, so a late line is right from the next run on
//! and none is counted twice. The ledger is what everything is compared with.

use crate::{
    control::metering,
    db::{Db, DbError},
    ids::TenantId,
    tenancy::TenantDb,
};

/// Another roll-up of the same tenant comes in between at most so often before it is left to that one.
const ATTEMPTS: u32 = 3;

/// Makes the hours of `tenant` what its ledger says. Returns how many rows that changed.
///
/// # Errors
/// When a database is away.
pub async fn roll_up(control: &Db, tenant: &TenantId, db: &TenantDb) -> Result<usize, DbError> {
    for _ in 0..ATTEMPTS {
        let before = metering::roll_ups(control, tenant).await?;
        let hours = db.ledger_hours().await?;
        if let Some(changed) = metering::set_hours(control, tenant, before, &hours).await? {
            return Ok(changed);
        }
    }
    // Whoever came in between read the ledger after this call began.
    Ok(0)
}

#[cfg(test)]
mod tests;

//! `mediamill usage export --check`: the hours, added up, are the ledger, the usage row and the pictures.

use super::export::roll_up;
use crate::{operator, output};
use mediamill_shared::{
    control::metering,
    ids::TenantId,
    services::Services,
    tenancy::{TenantDb, TenantState, store::usage::Usage},
};
use std::process::ExitCode;

/// Tenants listed at a time.
const PAGE: i64 = 500;
/// What is settled between two of the readings looks like a difference once; what is one stays.
const LOOKS: u32 = 3;

/// What must be the same four times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sums {
    hours: Usage,
    ledger: Usage,
    usage: Usage,
    rows: Usage,
}

impl Sums {
    fn agree(&self) -> bool {
        self.hours == self.ledger && self.ledger == self.usage && self.usage == self.rows
    }
}

pub(super) async fn run(services: &Services, only: Option<&TenantId>, json: bool) -> anyhow::Result<ExitCode> {
    roll_up(services, only).await?;
    let (mut looked, mut wrong) = (0_u64, 0_u64);
    let mut after = None;
    loop {
        let page = metering::metered(&services.control, only, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        for id in &page {
            let Some(sums) = sums(services, id).await? else {
                continue;
            };
            looked += 1;
            if sums.agree() {
                continue;
            }
            wrong += 1;
            tell(id, &sums, json)?;
        }
    }
    if json {
        output::json(&serde_json::json!({ "tenants": looked, "differ": wrong }))?;
    } else {
        output::line(format!(
            "{looked} tenants compared: hours, ledger, usage and pictures {}",
            if wrong == 0 {
                "agree".to_owned()
            } else {
                format!("DIFFER for {wrong}")
            }
        ));
    }
    Ok(if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `None`: the tenant is gone, or on its way; then there is nothing to compare with.
async fn sums(services: &Services, id: &TenantId) -> anyhow::Result<Option<Sums>> {
    let Some(tenant) = services.resolver.refresh(id).await? else {
        return Ok(None);
    };
    match tenant.context().state {
        TenantState::Active | TenantState::Suspended | TenantState::Leaving => {}
        TenantState::Provisioning | TenantState::Deleting => return Ok(None),
    }
    let (_, db) = operator::any_tables(services, id).await?;
    let mut sums = read(services, id, &db).await?;
    for _ in 1..LOOKS {
        if sums.agree() {
            break;
        }
        mediamill_shared::quota::roll_up::roll_up(&services.control, id, &db).await?;
        sums = read(services, id, &db).await?;
    }
    Ok(Some(sums))
}

async fn read(services: &Services, id: &TenantId, db: &TenantDb) -> anyhow::Result<Sums> {
    let balance = db.balance().await?;
    Ok(Sums {
        hours: metering::total(&services.control, id).await?,
        ledger: balance.ledger.billed(),
        usage: balance.usage.billed(),
        rows: balance.rows.billed(),
    })
}

fn tell(id: &TenantId, sums: &Sums, json: bool) -> anyhow::Result<()> {
    let one = |usage: Usage| serde_json::json!({ "media": usage.media, "bytes": usage.bytes });
    if json {
        return output::json(&serde_json::json!({
            "tenant": id, "hours": one(sums.hours), "ledger": one(sums.ledger), "usage": one(sums.usage), "rows": one(sums.rows),
        }));
    }
    let of = |usage: Usage| format!("{} pictures of {} bytes", usage.media, usage.bytes.get());
    output::line(format!(
        "{id}: hours {}, ledger {}, usage {}, pictures {}",
        of(sums.hours),
        of(sums.ledger),
        of(sums.usage),
        of(sums.rows)
    ));
    Ok(())
}

//! `mediamill usage`: what a tenant stores, counted three ways that must agree.

use crate::{operator, output};
use mediamill_shared::{
    control::jobs, ids::TenantId, services::Services, tenancy::store::usage::Usage, units::ByteCount,
};
use std::process::ExitCode;

pub(crate) async fn run(services: &Services, id: &TenantId, json: bool) -> anyhow::Result<ExitCode> {
    let (tenant, db) = operator::tables(services, id).await?;
    let counted = db.usage().await?;
    let ledger = db.ledger_sum().await?;
    let (rows, files) = db.stored().await?;
    let (reserved, open) = jobs::reserved(&services.control, id).await?;
    let same = agree(counted, ledger, rows, files);
    let limits = tenant.context().limits;
    if json {
        let one = |usage: Usage| serde_json::json!({ "media": usage.media, "bytes": usage.bytes });
        output::json(&serde_json::json!({
            "tenant": id, "usage": one(counted), "ledger": one(ledger), "rows": one(rows), "files_bytes": files,
            "reserved": { "media": open, "bytes": reserved },
            "limits": { "media": limits.media, "stored_bytes": limits.stored_bytes }, "agree": same,
        }))?;
    } else {
        let row = |name: &str, media: String, bytes: ByteCount| {
            [name.to_owned(), media, bytes.get().to_string(), bytes.to_string()]
        };
        let unlimited = |limit: i64| {
            if limit == 0 {
                "unlimited".to_owned()
            } else {
                limit.to_string()
            }
        };
        let table = [
            row("usage", counted.media.to_string(), counted.bytes),
            row("ledger, added up", ledger.media.to_string(), ledger.bytes),
            row("pictures, added up", rows.media.to_string(), rows.bytes),
            row("files, added up", "-".to_owned(), files),
            row("reserved by open jobs", open.to_string(), reserved),
            [
                "limit".to_owned(),
                unlimited(limits.media),
                unlimited(limits.stored_bytes),
                String::new(),
            ],
        ];
        output::line(output::table(["", "pictures", "bytes", ""], &table));
        output::line(if same {
            "usage, ledger and rows agree"
        } else {
            "usage, ledger and rows DIFFER: look again when no job of this tenant runs; what stays is drift"
        });
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn agree(counted: Usage, ledger: Usage, rows: Usage, files: ByteCount) -> bool {
    counted == ledger && ledger == rows && rows.bytes == files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_noticed() {
        let one = Usage {
            media: 1,
            bytes: ByteCount::new(10),
            animation_bytes: ByteCount::ZERO,
        };
        assert!(agree(one, one, one, one.bytes));
        let other = Usage { media: 2, ..one };
        assert!(!agree(other, one, one, one.bytes) && !agree(one, other, one, one.bytes));
        assert!(!agree(one, one, other, one.bytes) && !agree(one, one, one, ByteCount::new(9)));
    }
}

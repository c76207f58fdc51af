//! `mediamill usage TENANT`: what a tenant uses of its limits, and what it stores, counted three ways that must agree.

use crate::{moments, operator, output};
use mediamill_shared::{
    control::jobs,
    ids::TenantId,
    quota::Consumption,
    services::Services,
    tenancy::store::{balance::Balance, usage::Usage},
    units::ByteCount,
};
use std::process::ExitCode;

pub(crate) async fn run(services: &Services, id: &TenantId, json: bool) -> anyhow::Result<ExitCode> {
    let (tenant, db) = operator::tables(services, id).await?;
    let Balance {
        usage: counted,
        ledger,
        rows,
    } = db.balance().await?;
    let (_, files) = db.stored().await?;
    let (reserved, open) = jobs::reserved(&services.control, id).await?;
    let same = agree(counted, ledger, rows, files);
    let limits = tenant.context().limits;
    let consumed = services.quota.overview(&tenant, &db, services.clock.now()).await?;
    if json {
        let one = |usage: Usage| serde_json::json!({ "media": usage.media, "bytes": usage.bytes });
        output::json(&serde_json::json!({
            "tenant": id, "usage": one(counted), "ledger": one(ledger), "rows": one(rows), "files_bytes": files,
            "reserved": { "media": open, "bytes": reserved },
            "limits": { "media": limits.media, "stored_bytes": limits.stored_bytes }, "agree": same,
            "consumption": consumed.iter().map(shown).collect::<serde_json::Map<_, _>>(),
        }))?;
    } else {
        let row = |name: &str, media: String, bytes: ByteCount| {
            [name.to_owned(), media, bytes.get().to_string(), bytes.to_string()]
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
        let rows: Vec<_> = consumed.iter().map(listed).collect();
        output::line(output::table(
            ["limit", "used", "reserved", "at most", "left", "begins anew"],
            &rows,
        ));
        output::line(if same {
            "usage, ledger and rows agree"
        } else {
            "usage, ledger and rows DIFFER: look again when no job of this tenant runs; what stays is drift"
        });
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn unlimited(limit: i64) -> String {
    if limit == 0 {
        "unlimited".to_owned()
    } else {
        limit.to_string()
    }
}

fn listed(one: &Consumption) -> [String; 6] {
    [
        one.resource.as_str().to_owned(),
        one.used.to_string(),
        one.reserved.to_string(),
        unlimited(one.limit),
        one.left().map_or_else(|| "-".to_owned(), |left| left.to_string()),
        one.resets_at.map_or_else(|| "-".to_owned(), moments::shown),
    ]
}

/// As `GET /v1/usage` shows it, by the limit's name.
fn shown(one: &Consumption) -> (String, serde_json::Value) {
    let value = serde_json::json!({
        "used": one.used, "reserved": one.reserved, "limit": (one.limit > 0).then_some(one.limit), "remaining": one.left(),
        "resets_at": one.resets_at.map(moments::shown),
    });
    (one.resource.as_str().to_owned(), value)
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

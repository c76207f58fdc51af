//! Every limit of a tenant, and where its value comes from.

use super::edit;
use crate::{cli::LimitChanges, output};
use mediamill_shared::{control::changes::Change, ids::TenantId, services::Services, tenancy::shown};
use serde_json::json;

pub(super) async fn run(services: &Services, id: &TenantId, changes: &LimitChanges, json: bool) -> anyhow::Result<()> {
    if !changes.is_empty() {
        edit::by(services, id, |row| {
            Ok(Change {
                limits: Some(changes.apply(&row.limits)?),
                ..Change::default()
            })
        })
        .await?;
    }
    let mut rows = Vec::new();
    for effective in services.lifecycle.explain(id).await? {
        let (limit, value) = (effective.limit, effective.value);
        if json {
            output::json(&json!({
                "limit": limit.as_str(), "value": value, "unit": limit.unit().as_str(), "shown": shown(limit, value),
                "from": effective.origin, "chevereto": limit.chevereto(),
            }))?;
        } else {
            rows.push([
                limit.as_str().to_owned(),
                shown(limit, value),
                effective.origin.to_string(),
            ]);
        }
    }
    if !json {
        output::line(output::table(["limit", "value", "from"], &rows));
    }
    Ok(())
}

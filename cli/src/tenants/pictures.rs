//! What becomes of a tenant's pictures, and who says so.

use crate::output;
use mediamill_shared::{ids::TenantId, services::Services};
use serde_json::json;

pub(super) async fn run(services: &Services, id: &TenantId, json: bool) -> anyhow::Result<()> {
    let (effective, most) = services.lifecycle.explain_pictures(id).await?;
    let (metadata, variants) = (effective.pictures.metadata, effective.pictures.variants);
    let (placement, duplicates) = (effective.pictures.placement, effective.pictures.duplicates);
    let expiration = effective.pictures.expiration;
    if json {
        return output::json(&json!({
            "metadata": { "value": metadata, "from": effective.metadata },
            "variants": { "value": variants, "from": effective.variants, "most": most },
            "placement": { "value": placement, "from": effective.placement },
            "duplicates": { "value": duplicates, "from": effective.duplicates },
            "expiration": { "value": expiration, "from": effective.expiration },
        }));
    }
    let mut rows = vec![[
        "metadata".to_owned(),
        metadata.to_string(),
        effective.metadata.to_string(),
    ]];
    let from = effective.variants;
    rows.extend(
        variants
            .iter()
            .map(|one| [format!("variant {}", one.name()), one.to_string(), from.to_string()]),
    );
    if variants.count() == 0 {
        rows.push(["variants".to_owned(), "none".to_owned(), from.to_string()]);
    }
    let never = || "never".to_owned();
    rows.extend([
        [
            "placement".to_owned(),
            format!("{}, {} of each", placement.policy, placement.replicas),
            effective.placement.to_string(),
        ],
        [
            "duplicates".to_owned(),
            duplicates.to_string(),
            effective.duplicates.to_string(),
        ],
        [
            "expiration".to_owned(),
            expiration.map_or_else(never, |interval| interval.to_string()),
            effective.expiration.to_string(),
        ],
    ]);
    output::line(output::table(["setting", "value", "from"], &rows));
    if most > 0 && usize::try_from(most).is_ok_and(|most| variants.count() > most) {
        output::remark(format!(
            "limit variants is {most}: the first {most} are made, the others are not"
        ));
    }
    Ok(())
}

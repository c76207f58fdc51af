//! `mediamill keys`: a tenant's API keys.

use crate::{cli::Keys, moments, operator, output};
use anyhow::{Context, bail};
use mediamill_shared::{ids::TenantId, services::Services, tenancy::KeyText, units::Millis};
use std::{process::ExitCode, time::Duration};

pub(crate) async fn run(services: &Services, command: Keys, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Keys::Create {
            tenant,
            user,
            name,
            expires,
        } => {
            let (key, until) = create(services, &tenant, &user, &name, expires).await?;
            if json {
                output::json(&serde_json::json!({
                    "tenant": tenant, "id": key.id(), "key": key.reveal(), "expires_at": until,
                }))?;
            } else {
                output::line(key.reveal());
                let ends = until.map_or_else(
                    || "it does not end".to_owned(),
                    |at| format!("it ends {}", moments::shown(at)),
                );
                output::remark(format!("key {} of {user}; {ends}; it is not shown again", key.id()));
            }
        }
        Keys::Revoke { tenant, key } => {
            let (_, db) = operator::tables(services, &tenant).await?;
            if !db.revoke_key(&key, services.clock.now()).await? {
                bail!("tenant {tenant} has no key {key} that is not revoked already");
            }
            let answer = serde_json::json!({ "tenant": tenant, "id": key, "revoked": true });
            output::done(json, &answer, format!("key {key} is revoked"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(
    services: &Services,
    tenant: &TenantId,
    user: &str,
    name: &str,
    expires: Option<Duration>,
) -> anyhow::Result<(KeyText, Option<Millis>)> {
    let (tenant, db) = operator::tables(services, tenant).await?;
    let user = db
        .user_named(user)
        .await?
        .with_context(|| format!("tenant {} has no user {user:?}", tenant.id()))?;
    let key = KeyText::generate(&services.clock, &services.entropy);
    let now = services.clock.now();
    let until = expires.map(|time| now.after(time));
    let limit = tenant.context().limits.api_keys;
    let mut tx = db.begin().await?;
    let live = tx.live_keys().await?;
    if limit > 0 && live >= limit {
        bail!(
            "tenant {} has {live} of {limit} keys: revoke one, or raise the limit api_keys",
            tenant.id()
        );
    }
    tx.add_key(&key, &user, name, until, now).await?;
    tx.commit().await?;
    Ok((key, until))
}

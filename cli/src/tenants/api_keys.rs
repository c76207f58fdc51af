//! Keys of the Tenants API.

use crate::{
    cli::{ApiKeys, Until},
    input, moments, output,
};
use anyhow::bail;
use mediamill_shared::{
    control::{
        audit::{Actor, Entry},
        operator_keys::{self, OperatorKey},
    },
    operators::{OperatorKeyText, Scopes},
    services::Services,
};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Keys read at a time.
const PAGE: i64 = 500;

pub(super) async fn run(services: &Services, command: ApiKeys, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        ApiKeys::Create { name, expires, scopes } => create(services, &name, expires, &scopes, json).await?,
        ApiKeys::List(listing) => {
            let (mut left, mut after) = (listing.wanted(), 0);
            while left > 0 {
                let page = operator_keys::page(&services.control, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = last.id;
                for key in page.iter().take(left) {
                    show(key, json)?;
                }
                left = left.saturating_sub(page.len());
            }
        }
        ApiKeys::Verify => return verify(services, input::value(None)?.reveal(), json).await,
        ApiKeys::Revoke(of) => revoke(services, of.id, of.name.as_deref(), json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn entry(services: &Services, action: &str, detail: Value) -> Entry {
    Entry::new(&services.clock, &services.entropy, &Actor::cli(), action, None).with(detail)
}

/// Makes a key and prints it, once.
pub(super) async fn create(
    services: &Services,
    name: &str,
    expires: Option<Until>,
    scopes: &Scopes,
    json: bool,
) -> anyhow::Result<()> {
    let until = expires.map(|until| until.from(services.clock.now()));
    let entry = entry(
        services,
        "operator_key.create",
        json!({ "name": name, "scopes": scopes.to_string() }),
    );
    let secrets = &services.config.tenants_api_key_secret;
    let made = operator_keys::create(
        &services.control,
        name,
        scopes,
        until,
        secrets,
        &services.entropy,
        &entry,
    );
    let key = made.await?;
    if json {
        return output::json(&json!({
            "id": key.number(), "name": name, "key": key.reveal(), "scopes": scopes.to_string(), "expires_at": until,
        }));
    }
    output::line(key.reveal());
    let ends = until.map_or_else(
        || "it does not end".to_owned(),
        |at| format!("it ends {}", moments::shown(at)),
    );
    output::remark(format!(
        "key {} of the Tenants API; {ends}; it is not shown again",
        key.number()
    ));
    Ok(())
}

fn show(key: &OperatorKey, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&json!({
            "id": key.id, "name": key.name, "scopes": key.scopes.to_string(), "created_at": key.created_at,
            "expires_at": key.expires_at, "revoked_at": key.revoked_at,
        }));
    }
    let state = match (key.revoked_at, key.expires_at) {
        (Some(at), _) => format!("revoked {}", moments::shown(at)),
        (None, Some(at)) => format!("until {}", moments::shown(at)),
        (None, None) => "no end".to_owned(),
    };
    let name = if key.name.is_empty() {
        "-".to_owned()
    } else {
        output::plain(&key.name)
    };
    output::line(format!(
        "{:<5}  {name:<16}  {:<28}  {}  {state}",
        key.id,
        key.scopes.to_string(),
        moments::shown(key.created_at)
    ));
    Ok(())
}

/// Whether a key is good. What is wrong with it is not told: to whoever asks, wrong keys are alike.
pub(super) async fn verify(services: &Services, text: &str, json: bool) -> anyhow::Result<ExitCode> {
    let good = match text.parse::<OperatorKeyText>() {
        Ok(key) => {
            let (secrets, now) = (&services.config.tenants_api_key_secret, services.clock.now());
            let found = operator_keys::get(&services.control, key.number()).await?;
            found.filter(|found| found.opens(&key, secrets, now))
        }
        Err(_) => None,
    };
    let words = match &good {
        Some(key) => format!("key {} is good for {}", key.id, key.scopes),
        None => "this key opens nothing: it is unknown, has ended, was revoked, or was made under another \
                 MEDIAMILL_TENANTS_API_KEY_SECRET"
            .to_owned(),
    };
    let id = good.as_ref().map(|key| key.id);
    output::done(json, &json!({ "valid": good.is_some(), "id": id }), words)?;
    Ok(if good.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Ends keys by number, name or both.
pub(super) async fn revoke(services: &Services, id: Option<i64>, name: Option<&str>, json: bool) -> anyhow::Result<()> {
    let entry = entry(services, "operator_key.revoke", json!({ "id": id, "name": name }));
    let revoked = operator_keys::revoke(&services.control, id, name, &entry).await?;
    if revoked == 0 {
        bail!("no key of the Tenants API that is live is called so: `mediamill tenants api-keys list` shows them");
    }
    output::done(
        json,
        &json!({ "revoked": revoked }),
        format!("{revoked} keys are revoked"),
    )
}

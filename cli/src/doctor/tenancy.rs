//! What the doctor asks about tenants: their servers, the master keys, and what is under way for longer than it should.

use super::{Finding, Found, finding, within};
use mediamill_shared::{
    chain,
    config::Config,
    control::{moves, secrets, tenants},
    db::ServerFacts,
    secrets::{Keyring, MasterKeyId},
    services::Services,
    tenancy::Server,
    units::Millis,
};
use std::time::Duration;

/// Tenants that are on their way for longer are stuck: no job waits longer between two attempts.
const LONG: Duration = Duration::from_secs(3_600);
/// Tenants that are named at most.
const NAMED: i64 = 5;

pub(super) async fn findings(services: &Services) -> Vec<Finding> {
    let mut findings = Vec::new();
    for server in services.databases.servers() {
        let found = within(ask(server, &services.config)).await;
        findings.push(finding("server", format!("{}, {}", server.name, server.shown()), found));
    }
    findings.push(finding("keys", String::new(), within(master_keys(services)).await));
    findings.push(finding("retired", String::new(), within(retired(services)).await));
    findings.push(finding("transit", String::new(), within(transit(services)).await));
    findings
}

async fn ask(server: &Server, config: &Config) -> Found {
    const ADVICE: &str = "start the server, and check its URL in MEDIAMILL_DATABASE_URL or MEDIAMILL_TENANT_DATABASES";
    let facts = server.facts().await.map_err(|error| (chain(&error), ADVICE))?;
    enough(
        &facts,
        i64::from(config.database_connections),
        i64::from(config.tenant_connections),
    )
}

/// Whether the server allows what one process may open: `shared` to its shared database, `own` to tenants' own.
fn enough(facts: &ServerFacts, shared: i64, own: i64) -> Found {
    let version = &facts.version;
    let wanted = shared.saturating_add(own);
    match facts.connections {
        None => Ok(format!("answers, release {version}")),
        Some(allowed) if allowed < wanted => Err((
            format!("release {version} allows {allowed} connections, one process may open {wanted}"),
            "raise the server's max_connections, or lower MEDIAMILL_DATABASE_CONNECTIONS and MEDIAMILL_TENANT_CONNECTIONS",
        )),
        Some(allowed) => Ok(format!(
            "answers, release {version}, allows {allowed} connections; each process may open {wanted}"
        )),
    }
}

async fn master_keys(services: &Services) -> Found {
    const ADVICE: &str = "no role starts like this: put the right key into MEDIAMILL_MASTER_KEYS (or the data directory's \
                          master.key); a lost one cannot be replaced, but from a backup";
    let keyring = services.secrets.keyring().ok();
    secrets::check(&services.control, keyring)
        .await
        .map_err(|error| match error {
            secrets::MasterKeyError::Database(error) => (chain(&error), "the schema must be there first"),
            error @ (secrets::MasterKeyError::Missing { .. }
            | secrets::MasterKeyError::Wrong { .. }
            | secrets::MasterKeyError::Seal(_)) => (chain(&error), ADVICE),
        })?;
    let ids: Vec<&str> = keyring
        .into_iter()
        .flat_map(Keyring::ids)
        .map(MasterKeyId::as_str)
        .collect();
    Ok(match ids.split_first() {
        None => "none: env values are refused until `mediamill secrets generate` made one".to_owned(),
        Some((first, [])) => format!("{first} seals and opens"),
        Some((first, others)) => format!(
            "{first} seals, {} opens too: run `mediamill secrets rotate`, then take it out",
            others.join(", ")
        ),
    })
}

async fn retired(services: &Services) -> Found {
    const SCHEMA: &str = "the schema must be there first";
    let overdue = services.clock.now().before(LONG);
    let (all, due) = moves::count_retired(&services.control, overdue)
        .await
        .map_err(|error| (chain(&error), SCHEMA))?;
    if due > 0 {
        return Err((
            format!("{all} places that tenants have left are still there, {due} for over an hour too long"),
            "look whether a scheduler runs, and at its log: it drops them",
        ));
    }
    Ok(match all {
        0 => "no place that a tenant has left is still there".to_owned(),
        all => format!("{all} places that tenants have left wait to be dropped"),
    })
}

async fn transit(services: &Services) -> Found {
    let before: Millis = services.clock.now().before(LONG);
    let stuck = tenants::in_transit(&services.control, before, NAMED)
        .await
        .map_err(|error| (chain(&error), "the schema must be there first"))?;
    if stuck.is_empty() {
        return Ok("no tenant comes, goes or moves for over an hour".to_owned());
    }
    let named = stuck.iter().map(|tenant| {
        let how = if tenant.moving { "moving" } else { tenant.state.as_str() };
        format!("{} {how}", tenant.id)
    });
    Err((
        format!("for over an hour: {}", named.collect::<Vec<_>>().join(", ")),
        "look whether workers run and at `mediamill dead list`: `mediamill dead retry` goes on with what is dead",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_must_allow_what_a_process_may_open() {
        let facts = |connections| ServerFacts {
            version: "17.2".to_owned(),
            connections,
        };
        assert!(enough(&facts(None), 16, 50).is_ok());
        assert!(enough(&facts(Some(66)), 16, 50).is_ok());
        let (problem, advice) = enough(&facts(Some(65)), 16, 50).unwrap_err();
        assert!(problem.contains("allows 65") && advice.contains("max_connections"));
    }
}

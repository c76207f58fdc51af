//! The hosts that a tenant is served at.

use super::row;
use crate::{cli::Hosts, output};
use mediamill_shared::{
    control::{audit::Actor, changes::Change, tenants},
    ids::TenantId,
    services::Services,
    tenancy::normal_hosts,
};
use serde_json::json;

pub(super) async fn run(services: &Services, command: Hosts, json: bool) -> anyhow::Result<()> {
    let (id, change) = match command {
        Hosts::List { id } => return list(services, &id, json).await,
        Hosts::Add { id, hosts } => {
            let change = Change {
                add_hosts: stored(&hosts)?,
                ..Change::default()
            };
            (id, change)
        }
        Hosts::Remove { id, hosts } => {
            let change = Change {
                remove_hosts: stored(&hosts)?,
                ..Change::default()
            };
            (id, change)
        }
        Hosts::Main { id, host } => {
            let change = Change {
                main_host: normal_hosts(&[host])?.pop(),
                ..Change::default()
            };
            (id, change)
        }
    };
    services.lifecycle.change(&id, &change, &Actor::cli()).await?;
    list(services, &id, json).await
}

/// As they are stored; unlike a tenant's first hosts, all of them may be wildcards.
fn stored(hosts: &[String]) -> anyhow::Result<Vec<String>> {
    // One that can be a main host stands before them, and is taken away again.
    const FIRST: &str = "first.invalid";
    let given: Vec<&str> = std::iter::once(FIRST).chain(hosts.iter().map(String::as_str)).collect();
    let mut stored = normal_hosts(&given)?;
    stored.retain(|host| host != FIRST);
    Ok(stored)
}

async fn list(services: &Services, id: &TenantId, json: bool) -> anyhow::Result<()> {
    row(services, id).await?;
    for host in tenants::hosts(&services.control, id).await? {
        if json {
            output::json(&json!({ "host": host.name, "main": host.main }))?;
        } else {
            output::line(if host.main {
                format!("{}  main", host.name)
            } else {
                host.name
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_may_stand_alone() {
        assert_eq!(stored(&["*.Example.org".to_owned()]).unwrap(), ["*.example.org"]);
        assert!(stored(&["no host".to_owned()]).is_err());
    }
}

//! `GET /_/api/4/config/traefik`: what Traefik's HTTP provider reads, a router for each tenant.
//!
//! Traefik cannot sign, so a key is enough; it runs beside the api, so nobody else is answered.

use super::listing::{self, Around, CHUNK, Page};
use crate::{
    extract::Operator,
    problem::{Cause, Problem},
    state::State,
};
use axum::{extract::State as Shared, response::Response};
use mediamill_shared::{
    config::Config,
    control::tenants::{self, Filter},
    ids::TenantId,
    operators::Scope,
    tenancy::{Host, TenantState},
};
use serde_json::{Value, json};

/// The service and the middleware, by name.
const SERVICE: &str = "mediamill";
const RANGE: &str = "allow-range";

/// Which router takes which host. Every one leads here.
#[utoipa::path(get, path = "/_/api/4/config/traefik", tag = "tenants-api",
    responses((status = 200, description = "A dynamic configuration of Traefik."), (status = 401, description = "missing-key, wrong-key"),
        (status = 403, description = "address-not-allowed: not from this machine; missing-scope")),
    security(("operator" = [])))]
pub(crate) async fn config(Shared(state): Shared<State>, operator: Operator) -> Result<Response, Problem> {
    if !operator.address.is_some_and(|address| address.is_loopback()) {
        let detail = "this is answered on this machine alone";
        return Err(Problem::new(Cause::AddressNotAllowed, detail));
    }
    operator.may(Scope::Read)?;
    let around = around(&state.services.config);
    let more = move |cursor: Option<String>| {
        let state = state.clone();
        async move { page(&state, cursor.as_deref()).await }
    };
    listing::whole(around, more).await
}

/// Everything but the tenants' routers.
fn around(config: &Config) -> Around {
    // Hosts of nobody come here too, so that they are told so.
    let open = format!(r#"{{"http":{{"routers":{{"*":{}"#, router("HostRegexp(`^.+$`)", config));
    // Written as text because the routers in the middle are read page by page.
    let mut address = config.listen;
    if address.ip().is_unspecified() {
        let here: std::net::IpAddr = if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        address.set_ip(here);
    }
    let services = json!({ SERVICE: { "loadBalancer": {
        "servers": [{ "url": format!("http://{address}") }], "passHostHeader": true,
    } } });
    let middlewares = json!({ RANGE: { "ipAllowList": { "sourceRange": ["0.0.0.0/0", "::/0"] } } });
    Around {
        open,
        begun: true,
        close: format!(r#"}},"services":{services},"middlewares":{middlewares}}}}}"#),
    }
}

fn router(rule: &str, config: &Config) -> Value {
    // Where a proxy ends TLS, it is Traefik that does.
    let entry = if config.public_scheme == "https" {
        "websecure"
    } else {
        "web"
    };
    json!({ "rule": rule, "service": SERVICE, "entryPoints": [entry], "middlewares": [RANGE] })
}

async fn page(state: &State, after: Option<&str>) -> Result<Page<String>, Problem> {
    let services = &state.services;
    let rows = tenants::page(&services.control, &Filter::default(), after, CHUNK + 1).await?;
    let (rows, next) = listing::cut(rows, CHUNK, |row| row.serial.clone());
    let here = rows.into_iter().filter(|row| row.state != TenantState::Deleting);
    let ids: Vec<TenantId> = here.map(|row| row.id).collect();
    let mut hosts = tenants::hosts_of(&services.control, &ids).await?;
    let routers = ids.iter().filter_map(|id| {
        let rule = rule(&hosts.remove(id)?);
        Some(format!("{}:{}", json!(id), router(&rule, &services.config)))
    });
    let items = routers.collect();
    Ok(Page { items, next })
}

/// Hosts are letters, digits, `-`, `_` and dots: nothing in them ends a rule's text.
fn rule(hosts: &[Host]) -> String {
    let rules = hosts.iter().map(|host| match host.name.strip_prefix("*.") {
        Some(parent) => format!("HostRegexp(`^.+\\.{}$`)", parent.replace('.', "\\.")),
        None => format!("Host(`{}`)", host.name),
    });
    rules.collect::<Vec<_>>().join(" || ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_takes_every_host_and_what_a_wildcard_stands_for() {
        let host = |name: &str| Host {
            name: name.to_owned(),
            main: false,
        };
        assert_eq!(
            rule(&[host("a.example"), host("*.b.example")]),
            r"Host(`a.example`) || HostRegexp(`^.+\.b\.example$`)"
        );
    }
}

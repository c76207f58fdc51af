//! The Tenants API with a worker behind it, over real connections, on both sides: what a provider's requests are answered.

mod dead;
mod life;
mod lists;
mod more;
mod pictures;
mod storages;
mod trust;
mod usage;

use mediamill_api::router;
use mediamill_shared::{
    control::{
        audit::{Actor, Entry},
        operator_keys,
    },
    operators::{Scopes, hex_hmac},
    secrets::SecretText,
    services::Services,
    testing::{PATIENCE, World},
};
use mediamill_workers::Settings;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::SocketAddr};

const PRESENT: &str = "present-secret-0123456789";
const FORMER: &str = "former-secret-0123456789";
const ROUTER: &str = "router-secret-0123456789";
const BASE: &str = "/_/api/4";

/// Signed, for some networks, behind a router.
fn configured() -> Vec<(&'static str, String)> {
    vec![
        ("tenants_api_request_secret", format!("{PRESENT} {FORMER}")),
        ("tenants_api_ip_allow_list", "127.0.0.0/8 192.0.2.0/24".to_owned()),
        ("router_secret", ROUTER.to_owned()),
        // A key of all zeros, in base64: nothing of value is sealed with it.
        ("master_keys", format!("test:{}=", "A".repeat(43))),
    ]
}

macro_rules! on_both_sides {
    ($($module:ident::$case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$module::$case(super::Provider::of(super::World::embedded_with(&super::configured()).await).await).await;
            })+
        }
        mod distributed {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                super::$module::$case(super::Provider::of(super::World::distributed_with(&super::configured()).await).await).await;
            })+
        }
    };
}

on_both_sides!(
    life::a_tenant_lives_as_the_other_products_clients_expect,
    life::what_cannot_be_done_says_what_is_in_the_way,
    trust::a_signature_holds_for_what_it_covers,
    trust::either_live_secret_signs,
    trust::only_addresses_that_are_allowed_are_answered,
    trust::wrong_keys_are_all_told_the_same_and_slowed_down,
    trust::a_key_does_what_its_scopes_allow,
    trust::a_tenants_host_shows_nothing_of_it,
    trust::a_forwarded_host_is_believed_from_a_router_alone,
    lists::a_change_is_made_to_the_version_that_was_seen,
    lists::an_idempotency_key_makes_one_tenant,
    lists::lists_are_whole_or_in_pages,
    more::a_provider_does_more_than_the_other_product_offers,
    more::a_plan_is_tried_before_it_is_changed,
    more::a_router_is_told_where_tenants_are,
    life::a_changed_plan_holds_at_another_process_at_once,
    more::a_tenants_keys_can_be_switched_off,
    more::a_page_is_not_longer_than_the_provider_allows,
    life::a_providers_script_runs_as_it_is,
    pictures::pictures_become_what_the_tenant_or_its_plan_says,
    storages::a_storage_is_added_used_emptied_and_removed,
    storages::what_a_storage_cannot_be_is_said,
    storages::what_a_tenant_may_have_is_held,
    storages::who_may_change_storages_is_held,
    usage::what_tenants_used_is_told_by_the_hour,
    dead::dead_jobs_are_listed_shown_retried_and_purged,
    dead::a_request_does_so_many_and_says_where_the_next_goes_on,
    dead::a_rate_is_kept_by_the_scheduler,
    dead::what_is_asked_wrongly_of_dead_jobs_is_refused,
);

/// Somebody who sells sites, and the installation they are on.
struct Provider {
    world: World,
    address: SocketAddr,
    http: reqwest::Client,
    key: String,
}

async fn key_with(services: &Services, scopes: &str) -> String {
    let (config, clock, entropy) = (&services.config, &services.clock, &services.entropy);
    let entry = Entry::new(clock, entropy, &Actor::cli(), "key.create", None);
    let (secrets, scopes) = (&config.tenants_api_key_secret, scopes.parse::<Scopes>().unwrap());
    let key = operator_keys::create(&services.control, "test", &scopes, None, secrets, entropy, &entry);
    key.await.unwrap().reveal()
}

fn signature(secret: &str, message: &[u8]) -> String {
    hex_hmac(&SecretText::new(secret.to_owned()), message)
}

async fn serve(services: &Services) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (api, router) = (services.clone(), router(services, None));
    services.shutdown.spawn(async move {
        mediamill_api::serve(&api, "api", listener, router).await.unwrap();
    });
    address
}

impl Provider {
    async fn of(world: World) -> Self {
        let services = &world.services;
        let address = serve(services).await;
        let worker = mediamill_workers::run(services.clone(), Settings::from_config(&services.config));
        services.shutdown.spawn(worker);
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let key = key_with(services, "all").await;
        Self {
            world,
            address,
            http,
            key,
        }
    }

    /// A request without key or signature.
    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{BASE}{path}", self.address))
    }

    /// A request with a key and a signed body.
    fn with(&self, key: &str, method: Method, path: &str, body: &str) -> RequestBuilder {
        let request = self.bare(method, path).header("x-api-key", key);
        let request = request.header("x-signature", signature(PRESENT, body.as_bytes()));
        request.body(body.to_owned())
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Response {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.with(&self.key, method, path, &text).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, Value::Null).await
    }

    async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.send(Method::POST, path, body).await
    }

    async fn patch(&self, path: &str, body: Value) -> Response {
        self.send(Method::PATCH, path, body).await
    }

    async fn delete(&self, path: &str, body: Value) -> Response {
        self.send(Method::DELETE, path, body).await
    }

    /// A tenant that is served at `<id>.example`.
    async fn make(&self, id: &str) -> Value {
        let body = json!({ "id": id, "hostname": format!("{id}.example"), "is_enabled": true });
        let answer = self.post("/tenants", body).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.json().await.unwrap()
    }

    fn close(self) {
        self.world.services.shutdown.stop();
    }
}

/// Asserts a problem of this type that the clients of Chevereto's API read as an error too, and returns it.
async fn problem(answer: Response, status: u16, code: &str) -> Value {
    let got = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["type"], format!("/problems/{code}"), "{document}");
    assert_eq!(document["status_code"], status, "{document}");
    assert_eq!(document["error"]["message"], document["detail"], "{document}");
    assert!(document["status_txt"].as_str().is_some_and(|text| !text.is_empty()));
    document
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The figures that Chevereto documents.
const FIGURES: [&str; 16] = [
    "tags",
    "files",
    "pages",
    "users",
    "admins",
    "albums",
    "managers",
    "storages",
    "cron_time",
    "categories",
    "file_likes",
    "file_views",
    "album_likes",
    "album_views",
    "storage_used",
    "login_providers",
];

fn assert_is_tenant(tenant: &Value) {
    let mut known: BTreeSet<&str> = BTreeSet::from([
        "id",
        "hostname",
        "is_enabled",
        "created_at",
        "updated_at",
        "limits",
        "env",
        "stats",
        "last_job_at",
        "mediamill",
    ]);
    if tenant.get("plan_id").is_some() {
        known.insert("plan_id");
    }
    assert_eq!(members(tenant), known);
    assert_eq!(members(&tenant["stats"]), BTreeSet::from(FIGURES));
    assert!(tenant["stats"].as_object().unwrap().values().all(Value::is_i64));
    for moment in ["created_at", "updated_at"] {
        let text = tenant[moment].as_str().unwrap();
        let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00 00:00:00");
    }
}

/// As if a router had passed it on for `client`.
fn passed_on(request: RequestBuilder, client: &str) -> RequestBuilder {
    request.header("x-router-secret", ROUTER).header("x-real-ip", client)
}

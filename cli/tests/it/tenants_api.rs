//! The Tenants API with a worker behind it, over real connections, on both sides: what a provider's requests are answered.

use mediamill_api::router;
use mediamill_media::sample;
use mediamill_shared::{
    clock::{Clock, Entropy},
    control::{
        audit::{Actor, Entry},
        operator_keys,
    },
    operators::{Scopes, Signed, hex_hmac},
    secrets::SecretText,
    services::Services,
    shutdown::Shutdown,
    testing::{PATIENCE, World},
};
use mediamill_workers::Settings;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, net::SocketAddr, process::Command};

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
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Provider::of(super::World::embedded_with(&super::configured()).await).await).await;
            })+
        }
        mod distributed {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                super::$case(super::Provider::of(super::World::distributed_with(&super::configured()).await).await).await;
            })+
        }
    };
}

on_both_sides!(
    a_tenant_lives_as_the_other_products_clients_expect,
    what_cannot_be_done_says_what_is_in_the_way,
    a_signature_holds_for_what_it_covers,
    either_live_secret_signs,
    only_addresses_that_are_allowed_are_answered,
    wrong_keys_are_all_told_the_same_and_slowed_down,
    a_key_does_what_its_scopes_allow,
    a_tenants_host_shows_nothing_of_it,
    a_forwarded_host_is_believed_from_a_router_alone,
    a_change_is_made_to_the_version_that_was_seen,
    an_idempotency_key_makes_one_tenant,
    lists_are_whole_or_in_pages,
    a_provider_does_more_than_the_other_product_offers,
    a_plan_is_tried_before_it_is_changed,
    a_router_is_told_where_tenants_are,
    a_changed_plan_holds_at_another_process_at_once,
    a_tenants_keys_can_be_switched_off,
    a_providers_script_runs_as_it_is,
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

async fn a_tenant_lives_as_the_other_products_clients_expect(provider: Provider) {
    let p = &provider;
    assert_eq!(p.post("/auth/verify", Value::Null).await.status(), StatusCode::OK);
    let plan = json!({ "id": "basic", "limits": { "CHEVERETO_MAX_FILES": "500" }, "env": { "CUSTOM_VAR": "plan" } });
    let answer = p.post("/tenants-plans", plan).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let tenant = json!({
        "id": "t1", "hostname": "a.example", "is_enabled": true, "plan_id": "basic",
        "limits": { "CHEVERETO_MAX_TAGS": "500" }, "env": { "CUSTOM_VAR": "own" },
    });
    let answer = p.post("/tenants", tenant).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let made: Value = answer.json().await.unwrap();
    assert_is_tenant(&made);
    assert_eq!(
        (&made["id"], &made["hostname"], &made["is_enabled"], &made["plan_id"]),
        (&"t1".into(), &"a.example".into(), &true.into(), &"basic".into())
    );
    assert_eq!(made["limits"], json!({ "CHEVERETO_MAX_TAGS": "500" }));
    assert_eq!(made["env"], json!({ "CUSTOM_VAR": "own" }));
    assert_eq!(p.read("/tenants/t1").await["id"], "t1");
    let list = p.read("/tenants").await;
    assert_eq!(list.as_array().unwrap().len(), 2, "demo and t1");
    list.as_array().unwrap().iter().for_each(assert_is_tenant);

    let admin = json!({ "username": "ann", "email": "ann@a.example", "password": "correct horse" });
    assert_eq!(
        p.post("/tenants/t1/install", admin.clone()).await.status(),
        StatusCode::CREATED
    );
    problem(p.post("/tenants/t1/install", admin.clone()).await, 409, "conflict").await;
    problem(p.post("/tenants/t9/install", admin).await, 404, "not-found").await;
    let answer = p
        .patch("/tenants/t1/user-password-reset", json!({ "username": "ann" }))
        .await;
    assert_eq!(answer.status(), StatusCode::OK);
    let password = answer.json::<Value>().await.unwrap()["password"]
        .as_str()
        .unwrap()
        .to_owned();
    let id = "t1".parse().unwrap();
    let lifecycle = &p.world.services.lifecycle;
    assert!(
        lifecycle
            .has_password(&id, "ann", &SecretText::new(password))
            .await
            .unwrap()
    );
    let chosen = json!({ "username": "ann", "password": "battery staple" });
    let answer = p.patch("/tenants/t1/user-password-reset", chosen).await;
    assert_eq!(answer.json::<Value>().await.unwrap()["password"], "battery staple");
    let nobody = p
        .patch("/tenants/t1/user-password-reset", json!({ "username": "bob" }))
        .await;
    problem(nobody, 404, "not-found").await;

    let change = json!({ "is_enabled": false, "hostname": "b.example", "plan_id": "", "limits": {}, "env": {} });
    let answer = p.patch("/tenants/t1", change).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(answer.text().await.unwrap(), "");
    let tenant = p.read("/tenants/t1").await;
    assert_is_tenant(&tenant);
    assert_eq!(
        (&tenant["is_enabled"], &tenant["hostname"]),
        (&false.into(), &"b.example".into())
    );
    assert_eq!((&tenant["limits"], &tenant["env"]), (&json!({}), &json!({})));
    assert_eq!(
        (tenant.get("plan_id"), &tenant["mediamill"]["hosts"]),
        (None, &json!(["b.example"]))
    );
    assert_eq!(
        p.patch("/tenants/t1", json!({ "is_enabled": 1 })).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(p.read("/tenants/t1").await["is_enabled"], true);

    let plan = p.read("/tenants-plans/basic").await;
    assert_eq!(
        members(&plan),
        BTreeSet::from(["id", "limits", "env", "created_at", "updated_at", "mediamill"])
    );
    assert_eq!(
        p.patch("/tenants-plans/basic", json!({ "env": {} })).await.status(),
        StatusCode::NO_CONTENT
    );
    let plans = p.read("/tenants-plans").await;
    assert_eq!(
        (plans[0]["id"].as_str(), &plans[0]["env"]),
        (Some("basic"), &Value::Null)
    );
    assert_eq!(
        p.delete("/tenants-plans/basic", Value::Null).await.status(),
        StatusCode::NO_CONTENT
    );
    problem(p.get("/tenants-plans/basic").await, 404, "not-found").await;

    assert_eq!(
        p.delete("/tenants/t1", Value::Null).await.status(),
        StatusCode::NO_CONTENT
    );
    let tenant = p.read("/tenants/t1").await;
    assert_eq!(
        (&tenant["is_enabled"], &tenant["mediamill"]["state"]),
        (&false.into(), &"leaving".into())
    );
    let now = json!({ "drop_tables": true });
    assert_eq!(
        p.delete("/tenants/t1", now.clone()).await.status(),
        StatusCode::NO_CONTENT
    );
    while p.get("/tenants/t1").await.status() == StatusCode::OK {
        // A second word while it goes changes nothing.
        let again = p.delete("/tenants/t1", now.clone()).await.status();
        assert!(
            [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND].contains(&again),
            "{again}"
        );
    }
    problem(p.delete("/tenants/t1", Value::Null).await, 404, "not-found").await;
    provider.close();
}

async fn what_cannot_be_done_says_what_is_in_the_way(provider: Provider) {
    let p = &provider;
    p.make("t1").await;
    let body = |id: &str, host: &str| json!({ "id": id, "hostname": host, "is_enabled": true });
    let taken = problem(p.post("/tenants", body("t1", "c.example")).await, 409, "conflict").await;
    assert_eq!((&taken["member"], &taken["value"]), (&"id".into(), &"t1".into()));
    let taken = problem(p.post("/tenants", body("t2", "T1.Example")).await, 409, "conflict").await;
    assert_eq!(
        (&taken["member"], &taken["value"]),
        (&"hostname".into(), &"t1.example".into())
    );
    for (body, told) in [
        (
            json!({ "id": "t2", "hostname": "b.example" }),
            "missing field `is_enabled`",
        ),
        (body("T2", "b.example"), "a tenant id is"),
        (body("seventeen-letters", "b.example"), "a tenant id is"),
        (body("t2", "b..example"), "no host name"),
        (body("t2", "*.b.example"), "cannot be the main host"),
        (
            json!({ "id": "t2", "hostname": "b.example", "is_enabled": "yes" }),
            "true or false",
        ),
        (
            json!({ "id": "t2", "hostname": "b.example", "is_enabled": true, "plan": "x" }),
            "unknown field `plan`",
        ),
        (
            json!({ "id": "t2", "hostname": "b.example", "is_enabled": true, "plan_id": "none" }),
            "no plan",
        ),
        (
            json!({ "id": "t2", "hostname": "b.example", "is_enabled": true, "limits": { "medias": 1 } }),
            "media",
        ),
        (
            json!({ "id": "t2", "hostname": "b.example", "is_enabled": true, "env": { "A": 1 } }),
            "value of A",
        ),
        (
            json!({ "id": "t2", "hostname": "b.example", "is_enabled": true, "server": "moon" }),
            "moon",
        ),
        (json!([]), "the body is not"),
    ] {
        let refused = problem(p.post("/tenants", body.clone()).await, 400, "bad-request").await;
        assert!(refused["detail"].as_str().unwrap().contains(told), "{body}: {refused}");
    }
    let broken = p.with(&p.key, Method::POST, "/tenants", "{").send().await.unwrap();
    problem(broken, 400, "bad-request").await;
    let long = " ".repeat((1 << 20) + 1);
    let answer = p.with(&p.key, Method::POST, "/tenants", &long).send().await.unwrap();
    problem(answer, 413, "body-too-long").await;
    problem(p.get("/tenants/t2").await, 404, "not-found").await;
    problem(p.get("/tenants/T*2").await, 404, "not-found").await;
    problem(
        p.patch("/tenants/t2", json!({ "is_enabled": true })).await,
        404,
        "not-found",
    )
    .await;
    problem(
        p.patch("/tenants/t1", json!({ "hostname": World::HOST })).await,
        409,
        "conflict",
    )
    .await;
    problem(
        p.patch("/tenants/t1", json!({ "plan_id": "none" })).await,
        400,
        "bad-request",
    )
    .await;
    let short = json!({ "username": "ann", "email": "ann@a.example", "password": "short" });
    problem(p.post("/tenants/t1/install", short).await, 400, "bad-request").await;
    problem(
        p.post("/tenants-plans", json!({ "id": "a b" })).await,
        400,
        "bad-request",
    )
    .await;
    assert_eq!(
        p.post("/tenants-plans", json!({ "id": "p" })).await.status(),
        StatusCode::CREATED
    );
    problem(p.post("/tenants-plans", json!({ "id": "p" })).await, 409, "conflict").await;
    problem(p.patch("/tenants-plans/q", json!({})).await, 404, "not-found").await;
    problem(p.delete("/tenants-plans/q", Value::Null).await, 404, "not-found").await;
    problem(p.get("/nothing").await, 404, "not-found").await;
    problem(
        p.send(Method::PUT, "/tenants", Value::Null).await,
        405,
        "method-not-allowed",
    )
    .await;
    problem(p.get("/tenants?colour=red").await, 400, "bad-request").await;
    problem(p.get("/tenants?limit=0").await, 400, "bad-request").await;
    provider.close();
}

/// A request with a full signature.
fn fully(p: &Provider, method: Method, path: &str, body: &str, nonce: &str, time: i64) -> RequestBuilder {
    let target = format!("{BASE}{path}");
    let signed = Signed {
        method: method.as_str(),
        target: &target,
        time,
        nonce,
        body_sha256: Sha256::digest(body).into(),
    };
    let request = p.bare(method.clone(), path).header("x-api-key", &p.key);
    request
        .header("x-signature-full", signature(PRESENT, &signed.message()))
        .header("x-signature-time", time)
        .header("x-signature-nonce", nonce)
        .body(body.to_owned())
}

async fn a_signature_holds_for_what_it_covers(provider: Provider) {
    let p = &provider;
    let plan = json!({ "id": "p" }).to_string();
    let unsigned = p.bare(Method::POST, "/tenants-plans").header("x-api-key", &p.key);
    problem(
        unsigned.body(plan.clone()).send().await.unwrap(),
        401,
        "missing-signature",
    )
    .await;
    for path in ["/tenants", "/tenants-plans/p"] {
        let unsigned = p.bare(Method::GET, path).header("x-api-key", &p.key);
        problem(unsigned.send().await.unwrap(), 401, "missing-signature").await;
    }
    for wrong in [
        "",
        "00",
        "nonsense",
        &signature(PRESENT, b""),
        &signature("another-secret-0123", plan.as_bytes()),
    ] {
        let request = p.bare(Method::POST, "/tenants-plans").header("x-api-key", &p.key);
        let request = request.header("x-signature", wrong).body(plan.clone());
        problem(request.send().await.unwrap(), 401, "wrong-signature").await;
    }
    let now = p.world.services.clock.now().get() / 1_000;
    let sent = fully(p, Method::POST, "/tenants-plans", &plan, "abcdefghijklmnop", now);
    let again = sent.try_clone().unwrap();
    assert_eq!(sent.send().await.unwrap().status(), StatusCode::CREATED);
    problem(again.send().await.unwrap(), 401, "request-replayed").await;
    // Moved to another path, with another body, by another method, at another time.
    let get = |nonce: &str| fully(p, Method::GET, "/tenants", "", nonce, now);
    assert_eq!(get("abcdefghijklmnoq").send().await.unwrap().status(), StatusCode::OK);
    let moved = get("abcdefghijklmnor").build().unwrap();
    let mut other = moved.try_clone().unwrap();
    other.url_mut().set_path(&format!("{BASE}/tenants-plans"));
    problem(p.http.execute(other).await.unwrap(), 401, "wrong-signature").await;
    let mut other = moved.try_clone().unwrap();
    other.url_mut().set_query(Some("limit=1"));
    problem(p.http.execute(other).await.unwrap(), 401, "wrong-signature").await;
    let mut other = moved.try_clone().unwrap();
    *other.body_mut() = Some("{}".into());
    problem(p.http.execute(other).await.unwrap(), 401, "wrong-signature").await;
    for (nonce, time) in [
        ("abcdefghijklmnos", now - 400),
        ("abcdefghijklmnot", now + 400),
        ("short", now),
    ] {
        let request = fully(p, Method::GET, "/tenants", "", nonce, time);
        problem(request.send().await.unwrap(), 401, "wrong-signature").await;
    }
    // What was refused is not remembered.
    assert_eq!(p.http.execute(moved).await.unwrap().status(), StatusCode::OK);
    provider.close();
}

async fn either_live_secret_signs(provider: Provider) {
    let p = &provider;
    for (secret, status) in [(PRESENT, 200), (FORMER, 200), ("neither-secret-0123", 401)] {
        let request = p.bare(Method::GET, "/tenants").header("x-api-key", &p.key);
        let answer = request
            .header("x-signature", signature(secret, b""))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status, "{secret}");
    }
    provider.close();
}

/// As if a router had passed it on for `client`.
fn passed_on(request: RequestBuilder, client: &str) -> RequestBuilder {
    request.header("x-router-secret", ROUTER).header("x-real-ip", client)
}

async fn only_addresses_that_are_allowed_are_answered(provider: Provider) {
    let p = &provider;
    let get = || p.with(&p.key, Method::GET, "/tenants", "");
    let outside = passed_on(get(), "203.0.113.9").send().await.unwrap();
    problem(outside, 403, "address-not-allowed").await;
    assert_eq!(
        passed_on(get(), "192.0.2.9").send().await.unwrap().status(),
        StatusCode::OK
    );
    // Who is no router may say what he likes.
    let claimed = get().header("x-real-ip", "203.0.113.9").send().await.unwrap();
    assert_eq!(claimed.status(), StatusCode::OK);
    let wrong = get()
        .header("x-router-secret", "guess")
        .header("x-real-ip", "203.0.113.9");
    assert_eq!(wrong.send().await.unwrap().status(), StatusCode::OK);
    for list in ["192.0.2.9, 203.0.113.9", "nowhere"] {
        problem(passed_on(get(), list).send().await.unwrap(), 400, "bad-request").await;
    }
    let twice = passed_on(passed_on(get(), "192.0.2.9"), "192.0.2.8");
    problem(twice.send().await.unwrap(), 400, "bad-request").await;
    provider.close();
}

async fn wrong_keys_are_all_told_the_same_and_slowed_down(provider: Provider) {
    let p = &provider;
    let missing = p.bare(Method::GET, "/tenants").send().await.unwrap();
    problem(missing, 401, "missing-key").await;
    let (number, secret) = p.key.rsplit_once('_').unwrap();
    let expired = {
        let services = &p.world.services;
        let key = key_with(services, "read").await;
        let entry = Entry::new(&services.clock, &services.entropy, &Actor::cli(), "key.revoke", None);
        let id = key.split('_').nth(1).unwrap().parse().unwrap();
        operator_keys::revoke(&services.control, Some(id), None, &entry)
            .await
            .unwrap();
        key
    };
    let wrong = [
        format!("{number}_{}", "0".repeat(secret.len())),
        format!("chv_999_{secret}"),
        "chv_1".to_owned(),
        p.world.key.clone(),
        expired,
    ];
    let from = "192.0.2.50";
    let mut told = BTreeSet::new();
    for key in wrong.iter().cycle().take(10) {
        let answer = passed_on(p.with(key, Method::GET, "/tenants", ""), from)
            .send()
            .await
            .unwrap();
        told.insert(problem(answer, 401, "wrong-key").await.to_string());
    }
    assert_eq!(told.len(), 1, "{told:?}");
    // From there even the right one has to wait, from elsewhere it has not.
    let right = || p.with(&p.key, Method::GET, "/tenants", "");
    let slowed = passed_on(right(), from).send().await.unwrap();
    assert_eq!(slowed.headers()[header::RETRY_AFTER], "60");
    problem(slowed, 429, "too-many-wrong-keys").await;
    assert_eq!(
        passed_on(right(), "192.0.2.51").send().await.unwrap().status(),
        StatusCode::OK
    );
    provider.close();
}

async fn a_key_does_what_its_scopes_allow(provider: Provider) {
    let p = &provider;
    let body = json!({ "id": "t1", "hostname": "a.example", "is_enabled": true, "env": { "A": "hush" } });
    assert_eq!(p.post("/tenants", body).await.status(), StatusCode::CREATED);
    let services = &p.world.services;
    let (read, people) = (key_with(services, "read").await, key_with(services, "people").await);
    let send =
        async |key: &str, method: Method, path: &str, body: &str| p.with(key, method, path, body).send().await.unwrap();
    let tenant: Value = send(&read, Method::GET, "/tenants/t1", "").await.json().await.unwrap();
    assert_eq!(tenant["env"], json!({ "A": "***" }));
    for (method, path, body) in [
        (
            Method::POST,
            "/tenants",
            r#"{"id": "t2", "hostname": "b.example", "is_enabled": true}"#,
        ),
        (Method::PATCH, "/tenants/t1", "{}"),
        (Method::DELETE, "/tenants/t1", "{}"),
        (Method::POST, "/tenants-plans", r#"{"id": "p"}"#),
        (Method::POST, "/tenants/t1/suspend", ""),
        (Method::PATCH, "/tenants/t1/user-password-reset", r#"{"username": "a"}"#),
    ] {
        problem(send(&read, method, path, body).await, 403, "missing-scope").await;
    }
    problem(send(&people, Method::GET, "/tenants", "").await, 403, "missing-scope").await;
    let admin = r#"{"username": "ann", "email": "ann@a.example", "password": "correct horse"}"#;
    let installed = send(&people, Method::POST, "/tenants/t1/install", admin).await;
    assert_eq!(installed.status(), StatusCode::CREATED);
    provider.close();
}

async fn a_tenants_host_shows_nothing_of_it(provider: Provider) {
    let p = &provider;
    for request in [
        p.with(&p.key, Method::GET, "/tenants", ""),
        p.bare(Method::GET, "/tenants"),
        p.with("wrong", Method::GET, "/tenants", ""),
    ] {
        let answer = request.header(header::HOST, World::HOST).send().await.unwrap();
        let shown = problem(answer, 404, "not-found").await;
        assert_eq!(shown["detail"], "there is no such route; /docs shows what there is");
    }
    let elsewhere = p
        .with(&p.key, Method::GET, "/tenants", "")
        .header(header::HOST, "admin.example");
    assert_eq!(elsewhere.send().await.unwrap().status(), StatusCode::OK);
    provider.close();
}

async fn a_forwarded_host_is_believed_from_a_router_alone(provider: Provider) {
    let p = &provider;
    let usage = || {
        let request = p.http.get(format!("http://{}/v1/usage", p.address));
        request
            .header(header::HOST, "inner.example")
            .header("x-api-key", &p.world.key)
    };
    let forwarded = |host: &str| usage().header("x-forwarded-host", host.to_owned());
    let unbelieved = forwarded(World::HOST).send().await.unwrap();
    assert_eq!(unbelieved.status(), StatusCode::NOT_FOUND, "no secret");
    let unbelieved = forwarded(World::HOST)
        .header("x-router-secret", "guess")
        .send()
        .await
        .unwrap();
    assert_eq!(unbelieved.status(), StatusCode::NOT_FOUND, "a wrong secret");
    let believed = forwarded(World::HOST)
        .header("x-router-secret", ROUTER)
        .send()
        .await
        .unwrap();
    assert_eq!(believed.status(), StatusCode::OK);
    for request in [
        forwarded("inner.example, demo.localhost"),
        forwarded(World::HOST).header("x-forwarded-host", "inner.example"),
    ] {
        let answer = request.header("x-router-secret", ROUTER).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
    provider.close();
}

async fn a_change_is_made_to_the_version_that_was_seen(provider: Provider) {
    let p = &provider;
    p.make("t1").await;
    assert_eq!(
        p.post("/tenants-plans", json!({ "id": "p" })).await.status(),
        StatusCode::CREATED
    );
    let all = json!({ "limits": { "CHEVERETO_MAX_FILES": "1", "CHEVERETO_MAX_TAGS": "2" }, "env": { "A": "1" } });
    let some = json!({ "limits": { "CHEVERETO_MAX_TAGS": "3" }, "env": { "B": "2" } });
    for path in ["/tenants/t1", "/tenants-plans/p"] {
        let answer = p.get(path).await;
        let seen = answer.headers()[header::ETAG].to_str().unwrap().to_owned();
        let version = answer.json::<Value>().await.unwrap()["mediamill"]["version"].to_string();
        assert_eq!(seen, format!("\"{version}\""));
        let conditional = async |method: Method, body: &Value| {
            let request = p.with(&p.key, method, path, &body.to_string());
            request.header(header::IF_MATCH, &seen).send().await.unwrap()
        };
        assert_eq!(conditional(Method::PATCH, &all).await.status(), StatusCode::NO_CONTENT);
        problem(conditional(Method::PATCH, &some).await, 412, "version-changed").await;
        problem(conditional(Method::DELETE, &json!({})).await, 412, "version-changed").await;
        assert_eq!(
            p.patch(&format!("{path}?merge=true"), some.clone()).await.status(),
            StatusCode::NO_CONTENT
        );
        let merged = p.read(path).await;
        assert_eq!(
            (&merged["limits"], &merged["env"]),
            (
                &json!({ "CHEVERETO_MAX_FILES": "1", "CHEVERETO_MAX_TAGS": "3" }),
                &json!({ "A": "1", "B": "2" })
            )
        );
        assert_eq!(p.patch(path, some.clone()).await.status(), StatusCode::NO_CONTENT);
        let replaced = p.read(path).await;
        assert_eq!((&replaced["limits"], &replaced["env"]), (&some["limits"], &some["env"]));
    }
    problem(
        p.with(&p.key, Method::DELETE, "/tenants/t1", r#"{"drop_tables": true}"#)
            .header(header::IF_MATCH, "\"1\"")
            .send()
            .await
            .unwrap(),
        412,
        "version-changed",
    )
    .await;
    provider.close();
}

async fn an_idempotency_key_makes_one_tenant(provider: Provider) {
    let p = &provider;
    let send = async |id: &str, key: &str, once: &str| {
        let body = json!({ "id": id, "hostname": format!("{id}.example"), "is_enabled": true }).to_string();
        let request = p.with(key, Method::POST, "/tenants", &body);
        request.header("idempotency-key", once).send().await.unwrap()
    };
    let first = send("t1", &p.key, "once").await;
    assert_eq!(first.status(), StatusCode::CREATED);
    assert!(first.headers().get("idempotent-replayed").is_none());
    let again = send("t1", &p.key, "once").await;
    assert_eq!(again.status(), StatusCode::CREATED);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap()["id"], "t1");
    problem(send("t2", &p.key, "once").await, 422, "idempotency-key-reused").await;
    // A key of one operator says nothing about another's.
    let other = key_with(&p.world.services, "all").await;
    problem(send("t1", &other, "once").await, 409, "conflict").await;
    // What was refused is not remembered.
    problem(send("t1", &p.key, "twice").await, 409, "conflict").await;
    assert_eq!(send("t2", &p.key, "twice").await.status(), StatusCode::CREATED);
    problem(send("t3", &p.key, &"x".repeat(256)).await, 400, "bad-request").await;
    provider.close();
}

async fn lists_are_whole_or_in_pages(provider: Provider) {
    let p = &provider;
    for number in 1..=5 {
        p.make(&format!("t{number}")).await;
    }
    let ids = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap();
        list.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&p.read("/tenants").await), ["demo", "t1", "t2", "t3", "t4", "t5"]);
    let (mut path, mut seen) = ("/tenants?limit=2&state=active".to_owned(), Vec::new());
    loop {
        let answer = p.get(&path).await;
        let link = answer
            .headers()
            .get(header::LINK)
            .map(|link| link.to_str().unwrap().to_owned());
        seen.push(ids(&answer.json().await.unwrap()));
        let Some(link) = link else { break };
        let target = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        assert!(target.contains("state=active"), "{target}");
        path = target.strip_prefix(BASE).unwrap().to_owned();
    }
    assert_eq!(seen, [["demo", "t1"], ["t2", "t3"], ["t4", "t5"]]);
    assert_eq!(
        p.post("/tenants/t2/suspend", Value::Null).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(ids(&p.read("/tenants?state=suspended").await), ["t2"]);
    assert_eq!(ids(&p.read("/tenants?hostname=T3.example").await), ["t3"]);
    assert_eq!(
        ids(&p.read("/tenants?hostname=t3.example&state=suspended").await),
        [""; 0]
    );
    assert_eq!(ids(&p.read("/tenants?plan_id=none").await), [""; 0]);
    assert_eq!(ids(&p.read("/tenants?server=main&limit=1").await), ["demo"]);
    for id in ["a", "b", "c"] {
        assert_eq!(
            p.post("/tenants-plans", json!({ "id": id })).await.status(),
            StatusCode::CREATED
        );
    }
    assert_eq!(ids(&p.read("/tenants-plans").await), ["a", "b", "c"]);
    assert_eq!(ids(&p.read("/tenants-plans?limit=2&cursor=a").await), ["b", "c"]);
    provider.close();
}

async fn a_provider_does_more_than_the_other_product_offers(provider: Provider) {
    let p = &provider;
    let own = json!({
        "id": "t1", "hostname": "a.example", "hosts": ["*.a.example"], "is_enabled": false, "isolation": "table",
        "trial_until": "2100-01-02 03:04:05", "limits": { "media": 5, "trial.media": 2 },
    });
    let made: Value = p.post("/tenants", own).await.json().await.unwrap();
    let more = &made["mediamill"];
    assert_eq!(
        (&more["state"], &more["hosts"], &more["isolation"], &more["trial_until"]),
        (
            &"suspended".into(),
            &json!(["a.example", "*.a.example"]),
            &"prefix".into(),
            &"2100-01-02 03:04:05".into()
        )
    );
    let limit = async |name: &str| {
        let all = p.read("/tenants/t1/limits").await;
        let found = all
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == name)
            .cloned()
            .unwrap();
        (found["value"].clone(), found["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(limit("media").await, (2.into(), "tenant_trial".to_owned()));
    assert_eq!(
        p.post("/tenants/t1/trial", json!({ "until": null })).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(limit("media").await, (5.into(), "tenant".to_owned()));
    assert_eq!(limit("users").await.1, "default");

    let gone = async |path: &str| {
        let answer = p.post(&format!("/tenants/t1/{path}"), Value::Null).await;
        let status = answer.status().as_u16();
        (
            status,
            p.read("/tenants/t1").await["mediamill"]["state"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    };
    assert_eq!(gone("restore").await, (409, "suspended".to_owned()));
    assert_eq!(gone("resume").await, (204, "active".to_owned()));
    assert_eq!(gone("resume").await, (204, "active".to_owned()));
    assert_eq!(gone("suspend").await, (204, "suspended".to_owned()));
    assert_eq!(gone("resume").await, (204, "active".to_owned()));
    assert_eq!(
        p.delete("/tenants/t1", Value::Null).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(gone("suspend").await, (409, "leaving".to_owned()));
    assert_eq!(gone("restore").await, (204, "active".to_owned()));

    let hosts = "/tenants/t1/hosts";
    assert_eq!(
        p.post(hosts, json!({ "hostname": "b.example" })).await.status(),
        StatusCode::NO_CONTENT
    );
    problem(p.post(hosts, json!({ "hostname": World::HOST })).await, 409, "conflict").await;
    problem(
        p.delete("/tenants/t1/hosts/c.example", Value::Null).await,
        404,
        "not-found",
    )
    .await;
    let removed = p.delete("/tenants/t1/hosts/*.a.example", Value::Null).await;
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        p.read("/tenants/t1").await["mediamill"]["hosts"],
        json!(["a.example", "b.example"])
    );

    let admin = json!({ "username": "ann", "email": "ann@a.example", "password": "correct horse", "with_key": true });
    let installed: Value = p.post("/tenants/t1/install", admin).await.json().await.unwrap();
    assert!(installed["key"].as_str().unwrap().starts_with("mm_"));
    let figures: Value = p.post("/tenants/t1/stats", Value::Null).await.json().await.unwrap();
    assert_eq!((&figures["users"], &figures["admins"]), (&1.into(), &1.into()));
    assert_eq!(p.read("/tenants/t1").await["stats"], figures);

    let there = p.post("/tenants/t1/move", json!({ "isolation": "prefix" })).await;
    problem(there, 409, "conflict").await;
    problem(
        p.post("/tenants/t1/move", json!({ "isolation": "moon" })).await,
        400,
        "bad-request",
    )
    .await;
    let moves = p.post("/tenants/t1/move", json!({ "isolation": "database" })).await;
    assert_eq!(moves.status(), StatusCode::ACCEPTED);
    let job = moves.headers()[header::LOCATION]
        .to_str()
        .unwrap()
        .strip_prefix(BASE)
        .unwrap()
        .to_owned();
    let id = job.rsplit('/').next().unwrap().parse().unwrap();
    p.world.finished(&id).await;
    assert_eq!(p.read(&job).await["state"], "done");
    assert_eq!(p.read("/tenants/t1").await["mediamill"]["isolation"], "database");
    problem(p.get("/jobs/00000000000000000000000000").await, 404, "not-found").await;

    let purged = p.post("/tenants/t1/purge", Value::Null).await;
    assert_eq!(purged.status(), StatusCode::ACCEPTED);
    let job = purged.json::<Value>().await.unwrap()["id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    p.world.finished(&job).await;
    problem(p.get("/tenants/t1").await, 404, "not-found").await;
    let lines = p.read("/tenants/t1/audit?limit=500").await;
    let actions: BTreeSet<&str> = lines
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["action"].as_str().unwrap())
        .collect();
    for action in [
        "tenant.create",
        "tenant.change",
        "tenant.install",
        "tenant.move",
        "tenant.removed",
    ] {
        assert!(actions.contains(action), "{actions:?}");
    }
    let first = p.get("/tenants/t1/audit?limit=1").await;
    assert!(first.headers().contains_key(header::LINK));
    assert_eq!(first.json::<Value>().await.unwrap()[0], lines[0]);
    problem(p.get("/tenants/t9/audit").await, 404, "not-found").await;
    provider.close();
}

async fn a_plan_is_tried_before_it_is_changed(provider: Provider) {
    let p = &provider;
    let plan = json!({ "id": "p", "name": "Plan", "isolation": "prefix", "server": "main" });
    assert_eq!(p.post("/tenants-plans", plan).await.status(), StatusCode::CREATED);
    let more = p.read("/tenants-plans/p").await["mediamill"].clone();
    assert_eq!(
        (&more["name"], &more["isolation"], &more["server"]),
        (&"Plan".into(), &"prefix".into(), &"main".into())
    );
    let cleared = p
        .patch(
            "/tenants-plans/p",
            json!({ "isolation": "", "server": "", "name": "Other" }),
        )
        .await;
    assert_eq!(cleared.status(), StatusCode::NO_CONTENT);
    let more = p.read("/tenants-plans/p").await["mediamill"].clone();
    assert_eq!((&more["name"], &more["isolation"]), (&"Other".into(), &Value::Null));
    for id in ["t1", "t2"] {
        let body = json!({
            "id": id, "hostname": format!("{id}.example"), "hosts": [format!("www.{id}.example")], "is_enabled": true, "plan_id": "p",
        });
        assert_eq!(p.post("/tenants", body).await.status(), StatusCode::CREATED);
    }
    assert_eq!(p.read("/tenants-plans/p/preview").await, json!([]));
    let over = p.read("/tenants-plans/p/preview?limits=%7B%22hosts%22%3A1%7D").await;
    let expected = |id: &str| json!({ "tenant": id, "limit": "hosts", "used": 2, "allowed": 1 });
    assert_eq!(over, json!([expected("t1"), expected("t2")]));
    problem(p.get("/tenants-plans/p/preview?limits=x").await, 400, "bad-request").await;
    problem(p.get("/tenants-plans/q/preview").await, 404, "not-found").await;
    // Without it they stay, and inherit nothing.
    assert_eq!(
        p.delete("/tenants-plans/p", Value::Null).await.status(),
        StatusCode::NO_CONTENT
    );
    assert!(p.read("/tenants/t1").await.get("plan_id").is_none());
    provider.close();
}

async fn a_router_is_told_where_tenants_are(provider: Provider) {
    let p = &provider;
    let body = json!({ "id": "t1", "hostname": "a.example", "hosts": ["*.a.example"], "is_enabled": true });
    assert_eq!(p.post("/tenants", body).await.status(), StatusCode::CREATED);
    let get = || p.bare(Method::GET, "/config/traefik");
    // Traefik cannot sign.
    let answer = get().header("x-api-key", &p.key).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let config: Value = answer.json().await.unwrap();
    let http = &config["http"];
    assert_eq!(members(http), BTreeSet::from(["routers", "services", "middlewares"]));
    assert_eq!(members(&http["routers"]), BTreeSet::from(["*", "demo", "t1"]));
    assert_eq!(
        http["routers"]["t1"],
        json!({
            "rule": "Host(`a.example`) || HostRegexp(`^.+\\.a\\.example$`)", "service": "mediamill",
            "entryPoints": ["web"], "middlewares": ["allow-range"],
        })
    );
    let balancer = &http["services"]["mediamill"]["loadBalancer"];
    assert_eq!(
        (&balancer["servers"][0]["url"], &balancer["passHostHeader"]),
        (&"http://127.0.0.1:8080".into(), &true.into())
    );
    assert!(http["middlewares"]["allow-range"]["ipAllowList"]["sourceRange"].is_array());
    problem(get().send().await.unwrap(), 401, "missing-key").await;
    let remote = passed_on(get().header("x-api-key", &p.key), "192.0.2.9")
        .send()
        .await
        .unwrap();
    problem(remote, 403, "address-not-allowed").await;
    provider.close();
}

async fn a_changed_plan_holds_at_another_process_at_once(provider: Provider) {
    let p = &provider;
    assert_eq!(
        p.post("/tenants-plans", json!({ "id": "p" })).await.status(),
        StatusCode::CREATED
    );
    let body = json!({ "id": "t1", "hostname": "a.example", "is_enabled": true, "plan_id": "p" });
    assert_eq!(p.post("/tenants", body).await.status(), StatusCode::CREATED);
    let admin = json!({ "username": "ann", "email": "ann@a.example", "password": "correct horse", "with_key": true });
    let installed: Value = p.post("/tenants/t1/install", admin).await.json().await.unwrap();
    let key = installed["key"].as_str().unwrap().to_owned();
    let config = (*p.world.services.config).clone();
    let other = Services::open(config, Clock::system(), Entropy::system(), Shutdown::new())
        .await
        .unwrap();
    let address = serve(&other).await;
    let upload = async || {
        let request = p.http.post(format!("http://{address}/v1/media"));
        let request = request.header(header::HOST, "a.example").bearer_auth(&key);
        request.body(sample::small(1)).send().await.unwrap().status()
    };
    assert_eq!(upload().await, StatusCode::ACCEPTED);
    let narrow = json!({ "limits": { "CHEVERETO_MAX_UPLOAD_SIZE": "100" } });
    assert_eq!(
        p.patch("/tenants-plans/p", narrow).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(upload().await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        p.patch("/tenants-plans/p", json!({ "limits": {} })).await.status(),
        StatusCode::NO_CONTENT
    );
    // Wider is judged by what a process knows, for as long as it believes it.
    while upload().await != StatusCode::ACCEPTED {}
    other.shutdown.stop();
    provider.close();
}

async fn a_tenants_keys_can_be_switched_off(provider: Provider) {
    let p = &provider;
    let get = async |path: &str| {
        let request = p.http.get(format!("http://{}{path}", p.address));
        let request = request.header(header::HOST, World::HOST);
        request.bearer_auth(&p.world.key).send().await.unwrap()
    };
    let limits: Value = get("/v1/limits").await.json().await.unwrap();
    let albums = limits
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "albums")
        .unwrap();
    assert_eq!(albums["variable"], "CHEVERETO_MAX_ALBUMS");
    let off = json!({ "limits": { "CHEVERETO_ENABLE_API_USER": "0" } });
    assert_eq!(p.patch("/tenants/demo", off).await.status(), StatusCode::NO_CONTENT);
    let refused = get("/v1/usage").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(
        (&refused["type"], &refused["limit_name"]),
        (&"/problems/switched-off".into(), &"api_user".into())
    );
    provider.close();
}

async fn a_providers_script_runs_as_it_is(provider: Provider) {
    let p = &provider;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/provider.sh");
    let mut command = Command::new("sh");
    command
        .arg(script)
        .env("API", format!("http://{}{BASE}", p.address))
        .env("API_KEY", &p.key)
        .env("API_SECRET", PRESENT);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    // What it read of its tenant, line by line.
    let read: Vec<Value> = out
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [tenant, plan, password] = read.as_slice() else {
        panic!("{out}")
    };
    assert_is_tenant(tenant);
    assert_eq!(
        (
            &tenant["id"],
            &tenant["hostname"],
            &tenant["plan_id"],
            &tenant["limits"]["CHEVERETO_MAX_TAGS"]
        ),
        (
            &"shop1".into(),
            &"shop1-new.example".into(),
            &"basic".into(),
            &"500".into()
        )
    );
    assert_eq!(plan["limits"]["CHEVERETO_MAX_FILES"], "1000");
    assert!(password["password"].as_str().is_some_and(|text| text.len() >= 6));
    assert!(out.ends_with("done\n"), "{out}");
    provider.close();
}

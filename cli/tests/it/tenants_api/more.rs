//! What the other product does not offer.

use super::{BASE, Provider, members, passed_on, problem};
use mediamill_media::sample;
use mediamill_shared::testing::World;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) async fn a_provider_does_more_than_the_other_product_offers(provider: Provider) {
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

pub(super) async fn a_plan_is_tried_before_it_is_changed(provider: Provider) {
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

pub(super) async fn a_router_is_told_where_tenants_are(provider: Provider) {
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

pub(super) async fn a_tenants_keys_can_be_switched_off(provider: Provider) {
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

pub(super) async fn a_page_is_not_longer_than_the_provider_allows(provider: Provider) {
    let p = &provider;
    for number in 1..=2 {
        let (_, job) = p.world.upload(sample::small(number)).await;
        p.world.finished(&job).await;
    }
    let short = json!({ "limits": { "CHEVERETO_MAX_LISTING_ITEMS_PER_PAGE": "1" } });
    assert_eq!(p.patch("/tenants/demo", short).await.status(), StatusCode::NO_CONTENT);
    let request = p.http.get(format!("http://{}/v1/media?limit=50", p.address));
    let request = request.header(header::HOST, World::HOST).bearer_auth(&p.world.key);
    let page: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(page["media"].as_array().unwrap().len(), 1);
    assert!(page["next_cursor"].is_string(), "the rest is on the next one");
    provider.close();
}

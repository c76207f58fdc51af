//! A tenant from its plan to its end, and what stands in the way.

use super::{BASE, PRESENT, Provider, assert_is_tenant, members, problem, serve};
use mediamill_media::sample;
use mediamill_shared::{
    clock::{Clock, Entropy},
    secrets::SecretText,
    services::Services,
    shutdown::Shutdown,
    testing::World,
};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use std::{collections::BTreeSet, process::Command};

pub(super) async fn a_tenant_lives_as_the_other_products_clients_expect(provider: Provider) {
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
    is_installed(p).await;
    is_changed(p).await;
    goes(p).await;
    provider.close();
}

async fn is_installed(p: &Provider) {
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
}

async fn is_changed(p: &Provider) {
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
}

async fn goes(p: &Provider) {
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
}

pub(super) async fn what_cannot_be_done_says_what_is_in_the_way(provider: Provider) {
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

pub(super) async fn a_changed_plan_holds_at_another_process_at_once(provider: Provider) {
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

pub(super) async fn a_providers_script_runs_as_it_is(provider: Provider) {
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

//! Who is believed: keys, scopes, signatures, addresses, hosts.

use super::{BASE, FORMER, PRESENT, Provider, ROUTER, key_with, passed_on, problem, signature};
use mediamill_shared::{
    control::audit::{Actor, Entry},
    control::operator_keys,
    operators::Signed,
    testing::World,
};
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// A request with a full signature.
fn fully(p: &Provider, method: &Method, path: &str, body: &str, nonce: &str, time: i64) -> RequestBuilder {
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

pub(super) async fn a_signature_holds_for_what_it_covers(provider: Provider) {
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
    let sent = fully(p, &Method::POST, "/tenants-plans", &plan, "abcdefghijklmnop", now);
    let again = sent.try_clone().unwrap();
    assert_eq!(sent.send().await.unwrap().status(), StatusCode::CREATED);
    problem(again.send().await.unwrap(), 401, "request-replayed").await;
    // Moved to another path, with another body, by another method, at another time.
    let get = |nonce: &str| fully(p, &Method::GET, "/tenants", "", nonce, now);
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
        let request = fully(p, &Method::GET, "/tenants", "", nonce, time);
        problem(request.send().await.unwrap(), 401, "wrong-signature").await;
    }
    // What was refused is not remembered.
    assert_eq!(p.http.execute(moved).await.unwrap().status(), StatusCode::OK);
    provider.close();
}

pub(super) async fn either_live_secret_signs(provider: Provider) {
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

pub(super) async fn only_addresses_that_are_allowed_are_answered(provider: Provider) {
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

pub(super) async fn wrong_keys_are_all_told_the_same_and_slowed_down(provider: Provider) {
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

pub(super) async fn a_key_does_what_its_scopes_allow(provider: Provider) {
    let p = &provider;
    let body = json!({ "id": "t1", "hostname": "a.example", "is_enabled": true, "env": { "A": "hush" } });
    assert_eq!(p.post("/tenants", body).await.status(), StatusCode::CREATED);
    let services = &p.world.services;
    let (read, people) = (key_with(services, "read").await, key_with(services, "people").await);
    let send = async |key: &str, method: Method, path: &str, body: &str| {
        p.with(key, method, path, body).send().await.unwrap()
    };
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

pub(super) async fn a_tenants_host_shows_nothing_of_it(provider: Provider) {
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

pub(super) async fn a_forwarded_host_is_believed_from_a_router_alone(provider: Provider) {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_full_signatures_are_asked_for_no_other_does() {
    let mut configured = super::configured();
    configured.push(("tenants_api_signature", "full".to_owned()));
    let provider = Provider::of(World::embedded_with(&configured).await).await;
    let p = &provider;
    problem(p.get("/tenants").await, 401, "missing-signature").await;
    let now = p.world.services.clock.now().get() / 1_000;
    let full = fully(p, &Method::GET, "/tenants", "", "abcdefghijklmnop", now);
    assert_eq!(full.send().await.unwrap().status(), StatusCode::OK);
    provider.close();
}

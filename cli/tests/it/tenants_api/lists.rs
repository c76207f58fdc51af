//! Lists, versions and repetitions.

use super::{BASE, Provider, key_with, problem};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

pub(super) async fn a_change_is_made_to_the_version_that_was_seen(provider: Provider) {
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

pub(super) async fn an_idempotency_key_makes_one_tenant(provider: Provider) {
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

pub(super) async fn lists_are_whole_or_in_pages(provider: Provider) {
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
        target.strip_prefix(BASE).unwrap().clone_into(&mut path);
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

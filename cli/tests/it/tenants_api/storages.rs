//! Storages as a provider manages them, from adding one to emptying it while a site goes on taking uploads.

use super::{Provider, key_with, problem};
use mediamill_media::sample;
use mediamill_shared::{
    control::tenants,
    testing::{PATIENCE, World, s3::S3Server},
};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

fn bucket(server: &S3Server, name: &str) -> Value {
    let settings = server.settings_at(name, server.address()).unwrap();
    let credentials = S3Server::credentials();
    json!({
        "name": name, "settings": settings,
        "credentials": { "access_key": credentials.access_key, "secret_key": credentials.secret_key.reveal() },
    })
}

async fn added(p: &Provider, body: Value) -> String {
    let answer = p.post("/storages", body).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let storage: Value = answer.json().await.unwrap();
    assert!(!storage.to_string().contains("test-secret-key"), "{storage}");
    assert_eq!(storage["has_credentials"], true);
    storage["id"].as_str().unwrap().to_owned()
}

async fn upload(p: &Provider, number: u32) -> Value {
    let request = p.http.post(format!("http://{}/v1/media?wait=60", p.address));
    let request = request.header(header::HOST, World::HOST).bearer_auth(&p.world.key);
    let answer = request.body(sample::small(number)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    answer.json::<Value>().await.unwrap()["media"][0].clone()
}

/// Every file of a picture as it is served.
async fn served(p: &Provider, media: &Value) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for file in media["variants"].as_array().unwrap() {
        let url: reqwest::Url = file["url"].as_str().unwrap().parse().unwrap();
        let request = p.http.get(format!("http://{}{}", p.address, url.path()));
        let answer = request.header(header::HOST, World::HOST).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{url}");
        files.push(answer.bytes().await.unwrap().to_vec());
    }
    files
}

/// Runs the scheduler's timer until the storage's task is over.
async fn over(p: &Provider, id: &str) -> Value {
    let look = async {
        loop {
            mediamill_scheduler::run_once(&p.world.services, "feed-storage-tasks")
                .await
                .unwrap();
            let task = p.read(&format!("/storages/{id}/task")).await["task"].clone();
            if task["state"] != "running" {
                return task;
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap()
}

pub(super) async fn a_storage_is_added_used_emptied_and_removed(provider: Provider) {
    let p = &provider;
    let (old, new) = (S3Server::start().await.unwrap(), S3Server::start().await.unwrap());
    // What lies in the installation's own store goes into the first.
    let mut pictures = vec![upload(p, 1).await];
    let old_id = added(p, bucket(&old, "old")).await;
    pictures.push(upload(p, 2).await);
    let before: Vec<Vec<Vec<u8>>> = {
        let mut all = Vec::new();
        for picture in &pictures {
            all.push(served(p, picture).await);
        }
        all
    };
    let answer = p
        .post("/storages/-/task", json!({ "kind": "move", "to": old_id }))
        .await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let task = over(p, "-").await;
    assert_eq!((&task["state"], &task["done"]), (&json!("done"), &json!(4)), "{task}");
    let storage = p.read(&format!("/storages/{old_id}")).await;
    assert_eq!((&storage["objects"], &storage["state"]), (&json!(8), &json!("active")));
    p.world.assert_at_rest().await;

    // It is emptied while uploads go on.
    let new_id = added(p, bucket(&new, "new")).await;
    let answer = p
        .post(&format!("/storages/{old_id}/task"), json!({ "kind": "drain" }))
        .await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let (task, late) = tokio::join!(over(p, &old_id), upload(p, 3));
    assert_eq!((&task["state"], &task["done"]), (&json!("done"), &json!(8)), "{task}");
    let storage = p.read(&format!("/storages/{old_id}")).await;
    assert_eq!(
        (&storage["objects"], &storage["used"], &storage["state"]),
        (&json!(0), &json!(0), &json!("draining"))
    );
    for (picture, before) in pictures.iter().zip(&before) {
        assert_eq!(served(p, picture).await, *before);
    }
    served(p, &late).await;
    p.world.assert_at_rest().await;
    assert_eq!(
        p.post(&format!("/storages/{new_id}/task"), json!({ "kind": "verify" }))
            .await
            .status(),
        StatusCode::ACCEPTED
    );
    let task = over(p, &new_id).await;
    assert_eq!(
        (&task["state"], &task["done"], &task["damaged"]),
        (&json!("done"), &json!(12), &json!(0))
    );

    let refused = p.delete(&format!("/storages/{old_id}"), Value::Null).await;
    problem(refused, 409, "conflict").await;
    let answer = p.patch(&format!("/storages/{old_id}"), json!({ "state": "off" })).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let refused = p
        .post(&format!("/storages/{old_id}/task"), json!({ "kind": "verify" }))
        .await;
    let told = problem(refused, 409, "conflict").await;
    assert!(told["detail"].as_str().unwrap().contains("is off"), "{told}");
    let removed = p.delete(&format!("/storages/{old_id}"), Value::Null).await;
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    problem(p.get(&format!("/storages/{old_id}")).await, 404, "not-found").await;

    // A tenant that goes takes its files out of the provider's storages.
    let tenant = p.world.tenant().await.id().clone();
    let gone = p
        .delete(&format!("/tenants/{tenant}"), json!({ "drop_tables": true }))
        .await;
    assert!(gone.status().is_success());
    let look = async {
        let control = &p.world.services.control;
        while tenants::get(control, &tenant).await.unwrap().is_some() {}
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap();
    let storage = p.read(&format!("/storages/{new_id}")).await;
    assert_eq!((&storage["objects"], &storage["used"]), (&json!(0), &json!(0)));
    provider.close();
}

pub(super) async fn what_a_storage_cannot_be_is_said(provider: Provider) {
    let p = &provider;
    let server = S3Server::start().await.unwrap();
    let body = |more| with(bucket(&server, "pictures"), &more);
    // Credentials that are wrong, a bucket that cannot be, a kind that a tenant may not have.
    let wrong = json!({ "credentials": { "access_key": "test-access-key", "secret_key": "wrong" } });
    let told = problem(p.post("/storages", body(wrong)).await, 422, "storage-broken").await;
    assert_eq!(told["steps"][0]["step"], "reach");
    assert!(
        told["detail"]
            .as_str()
            .unwrap()
            .contains("the secret key is not the access key's"),
        "{told}"
    );
    for (more, member) in [
        (json!({ "settings": { "kind": "s3", "bucket": "../x" } }), "bucket"),
        (json!({ "settings": { "kind": "ftp" } }), "unknown variant"),
        (json!({ "weight": 0 }), "weight"),
        (json!({ "capacity": -1 }), "capacity"),
        (json!({ "name": "" }), "name"),
        (
            json!({ "tenant": "demo", "settings": { "kind": "directory", "path": "/etc" } }),
            "kind",
        ),
        (
            json!({ "tenant": "demo", "credentials": null }),
            "credentials of its own",
        ),
    ] {
        let told = problem(p.post("/storages", body(more.clone())).await, 400, "bad-request").await;
        assert!(told["detail"].as_str().unwrap().contains(member), "{more}: {told}");
    }
    problem(
        p.post("/storages", body(json!({ "tenant": "nobody" }))).await,
        404,
        "not-found",
    )
    .await;
    provider.close();
}

pub(super) async fn what_a_tenant_may_have_is_held(provider: Provider) {
    let p = &provider;
    let server = S3Server::start().await.unwrap();
    let limits = json!({ "limits": { "storages": 1, "min_active_storages": 1 } });
    assert!(p.patch("/tenants/demo", limits).await.status().is_success());
    let request = || {
        let request = p.http.post(format!("http://{}/v1/media", p.address));
        request
            .header(header::HOST, World::HOST)
            .bearer_auth(&p.world.key)
            .body(sample::small(1))
    };
    let told = request().send().await.unwrap();
    assert_eq!(told.status(), StatusCode::FORBIDDEN);
    let told: Value = told.json().await.unwrap();
    assert_eq!(
        (&told["type"], &told["limit_name"]),
        (&json!("/problems/no-storage"), &json!("min_active_storages")),
        "{told}"
    );
    let own_bucket = || with(bucket(&server, "pictures"), &json!({ "tenant": "demo" }));
    let own = added(p, own_bucket()).await;
    upload(p, 1).await;
    let told = problem(p.post("/storages", own_bucket()).await, 403, "over-quota").await;
    assert_eq!(
        (&told["limit_name"], &told["limit"], &told["asked"]),
        (&json!("storages"), &json!(1), &json!(1))
    );
    let told = problem(
        p.patch(&format!("/storages/{own}"), json!({ "state": "off" })).await,
        409,
        "conflict",
    )
    .await;
    assert_eq!(told["limit_name"], "min_active_storages");
    assert!(
        p.patch("/tenants/demo", json!({ "limits": { "external_storage": false } }))
            .await
            .status()
            .is_success()
    );
    problem(p.post("/storages", own_bucket()).await, 403, "switched-off").await;
    provider.close();
}

pub(super) async fn who_may_change_storages_is_held(provider: Provider) {
    let p = &provider;
    let server = S3Server::start().await.unwrap();
    let own = added(p, with(bucket(&server, "pictures"), &json!({ "tenant": "demo" }))).await;
    let reader = key_with(&p.world.services, "read").await;
    let refused = p.with(&reader, Method::POST, "/storages", "{}").send().await.unwrap();
    assert_ne!(refused.status(), StatusCode::CREATED);
    let refused = p
        .with(&reader, Method::DELETE, &format!("/storages/{own}"), "")
        .send()
        .await
        .unwrap();
    problem(refused, 403, "missing-scope").await;
    let outdated = p
        .with(&p.key, Method::PATCH, &format!("/storages/{own}"), r#"{"weight":2}"#)
        .header(header::IF_MATCH, "\"7\"");
    problem(outdated.send().await.unwrap(), 412, "version-changed").await;
    problem(p.get("/storages/x").await, 404, "not-found").await;
    let checked = p.post(&format!("/storages/{own}/check"), json!({})).await;
    let checked: Value = checked.json().await.unwrap();
    assert_eq!(
        (&checked["works"], checked["steps"].as_array().unwrap().len()),
        (&json!(true), 9),
        "{checked}"
    );
    let listed = p.read("/storages?tenant=demo").await;
    assert_eq!(listed["storages"][0]["id"], own.as_str());
    provider.close();
}

fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

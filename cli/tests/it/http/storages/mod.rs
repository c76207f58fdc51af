//! Storages in a tenant's own hands: from adding one to removing it, what it may have, and what is never connected to for it.

mod guarded;

use super::{Site, problem, read};
use guarded::{
    a_name_that_leads_inside_later_is_not_followed, a_redirect_to_the_inside_is_not_followed, trials_are_counted,
    what_is_not_public_is_not_connected_to, who_says_last_where_it_is_decides_what_is_connected_to,
};
use mediamill_scheduler::run_once;
use mediamill_shared::{
    control::{
        audit::{self, Actor},
        storages::{StorageRole, StorageRow},
    },
    ids::UserId,
    placement::{Editor, NewStorage},
    tenancy::{KeyText, store::users::Role},
    testing::{PATIENCE, World, s3::S3Server},
    units::ByteCount,
};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One test a case and side; the installation connects for tenants to this network that is not public.
macro_rules! with_open_network {
    ($($case:ident($open:expr)),+ $(,)?) => {
        mod embedded {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(World::embedded_with(&[("storage_allow_private", $open.to_owned())]).await).await;
            })+
        }
        mod distributed {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                super::$case(World::distributed_with(&[("storage_allow_private", $open.to_owned())]).await).await;
            })+
        }
    };
}

with_open_network!(
    a_tenant_adds_uses_empties_and_removes_a_storage("127.0.0.1"),
    what_is_not_public_is_not_connected_to(""),
    a_name_that_leads_inside_later_is_not_followed("127.0.0.1"),
    a_redirect_to_the_inside_is_not_followed("127.0.0.1"),
    what_a_tenant_may_have_is_held("127.0.0.1"),
    a_tenant_that_is_frozen_for_its_storages_thaws_itself("127.0.0.1"),
    a_storage_is_its_tenants_administrators("127.0.0.1"),
    who_says_last_where_it_is_decides_what_is_connected_to("127.0.0.1"),
    trials_are_counted(""),
);

fn bucket(server: &S3Server, name: &str) -> Value {
    let settings = server.settings_at(name, server.address()).unwrap();
    at(name, &json!(settings))
}

fn at(name: &str, settings: &Value) -> Value {
    let credentials = S3Server::credentials();
    json!({
        "name": name, "settings": settings,
        "credentials": { "access_key": credentials.access_key, "secret_key": credentials.secret_key.reveal() },
    })
}

fn endpoint(endpoint: &str) -> Value {
    at(
        "a",
        &json!({ "kind": "s3", "bucket": "pictures", "endpoint": endpoint }),
    )
}

fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn send(site: &Site, method: Method, path: &str, body: &Value) -> Response {
    let request = site.request(method, &format!("/v1/storages{path}"));
    request.body(body.to_string()).send().await.unwrap()
}

async fn add(site: &Site, body: &Value) -> Response {
    send(site, Method::POST, "", body).await
}

async fn added(site: &Site, body: &Value) -> String {
    let storage = read(add(site, body).await, 201).await;
    assert!(!storage.to_string().contains("test-secret-key"), "{storage}");
    assert_eq!(
        (&storage["guarded"], &storage["tenant"], &storage["has_credentials"]),
        (&json!(true), &json!("demo"), &json!(true))
    );
    storage["id"].as_str().unwrap().to_owned()
}

async fn shown(site: &Site, id: &str) -> Value {
    read(site.get(&format!("/v1/storages/{id}")).await, 200).await
}

async fn checked(site: &Site, id: &str) -> Value {
    read(send(site, Method::POST, &format!("/{id}/check"), &json!({})).await, 200).await
}

/// Every file of a picture as it is served.
async fn served(site: &Site, media: &Value) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for file in media["variants"].as_array().unwrap() {
        let url: reqwest::Url = file["url"].as_str().unwrap().parse().unwrap();
        let answer = site.bare(Method::GET, url.path()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{url}");
        files.push(answer.bytes().await.unwrap().to_vec());
    }
    files
}

/// Begins a task and runs the scheduler's timer until it is over.
async fn done(site: &Site, id: &str, task: Value) -> Value {
    let path = format!("/{id}/task");
    let begun = read(send(site, Method::POST, &path, &task).await, 202).await;
    assert_eq!(begun["task"]["state"], "running", "{begun}");
    let look = async {
        loop {
            run_once(&site.world.services, "feed-storage-tasks").await.unwrap();
            let task = read(site.get(&format!("/v1/storages{path}")).await, 200).await["task"].clone();
            if task["state"] != "running" {
                return task;
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap()
}

async fn a_tenant_adds_uses_empties_and_removes_a_storage(world: World) {
    let site = Site::of(world).await;
    let (old, new) = (S3Server::start().await.unwrap(), S3Server::start().await.unwrap());
    let old_id = added(&site, &bucket(&old, "old")).await;
    let check = checked(&site, &old_id).await;
    assert_eq!(
        (&check["works"], check["steps"].as_array().unwrap().len()),
        (&json!(true), 9),
        "{check}"
    );
    let picture = site.ready(1).await;
    let files = served(&site, &picture).await;
    assert_eq!((&shown(&site, &old_id).await["objects"], files.len()), (&json!(4), 4));

    // Into another one of its own, and out of the first.
    let new_id = added(
        &site,
        &with(bucket(&new, "new"), &json!({ "weight": 2, "capacity": 100_000_000 })),
    )
    .await;
    let listed = read(site.get("/v1/storages").await, 200).await;
    let ids: BTreeSet<&str> = listed["storages"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["id"].as_str())
        .collect();
    assert_eq!(ids, BTreeSet::from([old_id.as_str(), &new_id]));
    let task = done(&site, &old_id, json!({ "kind": "drain", "to": new_id })).await;
    assert_eq!((&task["state"], &task["done"]), (&json!("done"), &json!(4)), "{task}");
    assert_eq!(served(&site, &picture).await, files);
    let task = done(&site, &new_id, json!({ "kind": "verify" })).await;
    assert_eq!((&task["done"], &task["damaged"]), (&json!(4), &json!(0)), "{task}");
    let stopped = send(&site, Method::DELETE, &format!("/{new_id}/task"), &json!({})).await;
    assert_eq!(stopped.status(), StatusCode::NO_CONTENT);

    let path = format!("/{old_id}");
    problem(send(&site, Method::DELETE, &path, &json!({})).await, 409, "conflict").await;
    let outdated = site.request(Method::PATCH, &format!("/v1/storages{path}"));
    let outdated = outdated.header(header::IF_MATCH, "\"7\"").body(r#"{"weight": 3}"#);
    problem(outdated.send().await.unwrap(), 412, "version-changed").await;
    let off = read(
        send(&site, Method::PATCH, &path, &json!({ "state": "off", "name": "gone" })).await,
        200,
    )
    .await;
    assert_eq!(
        (&off["state"], &off["name"], &off["guarded"]),
        (&json!("off"), &json!("gone"), &json!(true))
    );
    let removed = send(&site, Method::DELETE, &path, &json!({})).await;
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    problem(site.get(&format!("/v1/storages{path}")).await, 404, "not-found").await;

    // The key stands for it in the audit log.
    let services = &site.world.services;
    let lines = audit::page(&services.control, Some(site.world.tenant().await.id()), None, 100)
        .await
        .unwrap();
    let ours: Vec<&str> = lines
        .iter()
        .filter(|line| line.action.starts_with("storage."))
        .map(|line| {
            assert!(line.actor.starts_with("tenant-key:"), "{line:?}");
            assert!(!line.detail.to_string().contains("test-secret-key"), "{line:?}");
            line.action.as_str()
        })
        .collect();
    assert_eq!(
        ours,
        [
            "storage.remove",
            "storage.edit",
            "storage.verify",
            "storage.move",
            "storage.edit",
            "storage.add",
            "storage.add"
        ]
    );
    site.close().await;
}

async fn what_a_tenant_may_have_is_held(world: World) {
    let site = Site::of(world).await;
    let server = S3Server::start().await.unwrap();
    site.set("{}", r#"{"storages": 1, "min_active_storages": 1}"#).await;
    let id = added(&site, &bucket(&server, "pictures")).await;
    let over = problem(add(&site, &bucket(&server, "more")).await, 403, "over-quota").await;
    assert_eq!(
        (&over["limit_name"], &over["limit"], &over["used"], &over["asked"]),
        (&json!("storages"), &json!(1), &json!(1), &json!(1)),
        "{over}"
    );
    let path = format!("/{id}");
    for state in ["off", "read-only", "draining"] {
        let last = send(&site, Method::PATCH, &path, &json!({ "state": state })).await;
        let last = problem(last, 409, "conflict").await;
        assert_eq!(
            (&last["limit_name"], &last["limit"], &last["left"]),
            (&json!("min_active_storages"), &json!(1), &json!(0)),
            "{last}"
        );
    }
    let last = send(&site, Method::POST, &format!("/{id}/task"), &json!({ "kind": "drain" })).await;
    problem(last, 409, "conflict").await;

    site.set("{}", r#"{"external_storage": false}"#).await;
    for (method, path, body) in [
        (Method::POST, "", bucket(&server, "more")),
        (
            Method::PATCH,
            &*path,
            json!({ "credentials": bucket(&server, "more")["credentials"] }),
        ),
    ] {
        let off = problem(send(&site, method, path, &body).await, 403, "switched-off").await;
        assert_eq!(off["limit_name"], "external_storage");
    }
    // It may leave.
    let off = send(&site, Method::PATCH, &path, &json!({ "state": "off" })).await;
    assert_eq!(off.status(), StatusCode::OK);
    let back = send(&site, Method::PATCH, &path, &json!({ "state": "active" })).await;
    problem(back, 403, "switched-off").await;
    let removed = send(&site, Method::DELETE, &path, &json!({})).await;
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    site.close().await;
}

async fn a_tenant_that_is_frozen_for_its_storages_thaws_itself(world: World) {
    let site = Site::of(world).await;
    site.set("{}", r#"{"min_active_storages": 1, "grace_seconds": 0}"#)
        .await;
    let enforce = async || run_once(&site.world.services, "enforce-limits").await.unwrap().changed;
    assert!(enforce().await > 0);
    let frozen = async || {
        let id = site.world.tenant().await.id().clone();
        let tenant = site.world.services.resolver.refresh(&id).await.unwrap().unwrap();
        !tenant.context().frozen.is_empty()
    };
    assert!(frozen().await);
    let server = S3Server::start().await.unwrap();
    added(&site, &bucket(&server, "pictures")).await;
    let thawed = async {
        while frozen().await {
            enforce().await;
        }
    };
    tokio::time::timeout(PATIENCE, thawed).await.unwrap();
    site.ready(1).await;
    site.close().await;
}

/// A key of a user who may do less.
async fn key_of(site: &Site, role: Role) -> String {
    let services = &site.world.services;
    let (clock, entropy) = (&services.clock, &services.entropy);
    let user = UserId::generate(clock, entropy);
    let key = KeyText::generate(clock, entropy);
    let mut tx = site.world.tenant().await.db().unwrap().begin().await.unwrap();
    tx.add_user(&user, role.as_str(), role, clock.now()).await.unwrap();
    tx.add_key(&key, &user, "k", None, clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    key.reveal()
}

/// Every route that names a storage.
const ROUTES: [(Method, &str); 7] = [
    (Method::GET, ""),
    (Method::PATCH, ""),
    (Method::DELETE, ""),
    (Method::POST, "/check"),
    (Method::POST, "/task"),
    (Method::GET, "/task"),
    (Method::DELETE, "/task"),
];

async fn row(site: &Site, id: &str) -> StorageRow {
    site.world.services.storages.row(&id.parse().unwrap()).await.unwrap()
}

async fn a_storage_is_its_tenants_administrators(world: World) {
    let (other, other_key) = world.another_tenant("other").await;
    let mut site = Site::of(world).await;
    let server = S3Server::start().await.unwrap();
    let id = added(&site, &bucket(&server, "pictures")).await;
    let before = row(&site, &id).await;
    let own_key = site.key.clone();
    for role in [Role::Manager, Role::User] {
        site.key = key_of(&site, role).await;
        problem(site.get("/v1/storages").await, 403, "missing-scope").await;
        problem(add(&site, &bucket(&server, "more")).await, 403, "missing-scope").await;
        for (method, rest) in ROUTES {
            let refused = send(&site, method, &format!("/{id}{rest}"), &json!({ "kind": "verify" })).await;
            let refused = problem(refused, 403, "missing-scope").await;
            assert_eq!(refused["role"], "admin");
        }
    }
    site.key = own_key;
    // The provider's, and what never was, look the same.
    let new = NewStorage {
        name: "provider's".into(),
        settings: server.settings_at("theirs", server.address()).unwrap(),
        credentials: Some(S3Server::credentials()),
        role: StorageRole::Both,
        capacity: ByteCount::ZERO,
        weight: 1,
    };
    let storages = &site.world.services.storages;
    let providers = storages
        .add(None, new, false, &Editor::operator(Actor::cli()))
        .await
        .unwrap();
    assert!(!providers.guarded);
    let strangers = [
        providers.id.to_string(),
        "01hf7y0000000000000000000a".to_owned(),
        "x".to_owned(),
    ];
    for stranger in &strangers {
        for (method, rest) in ROUTES {
            let missing = send(
                &site,
                method,
                &format!("/{stranger}{rest}"),
                &json!({ "kind": "verify" }),
            )
            .await;
            problem(missing, 404, "not-found").await;
        }
        let to = json!({ "kind": "drain", "to": stranger });
        problem(
            send(&site, Method::POST, &format!("/{id}/task"), &to).await,
            404,
            "not-found",
        )
        .await;
    }
    let to = json!({ "kind": "move", "to": "-" });
    problem(
        send(&site, Method::POST, &format!("/{id}/task"), &to).await,
        404,
        "not-found",
    )
    .await;
    site.be(&other, other_key);
    assert_eq!(
        read(site.get("/v1/storages").await, 200).await,
        json!({ "storages": [] })
    );
    for (method, rest) in ROUTES {
        let missing = send(&site, method, &format!("/{id}{rest}"), &json!({ "kind": "verify" })).await;
        problem(missing, 404, "not-found").await;
    }
    assert_eq!(row(&site, &id).await, before);
    site.world.services.shutdown.stop();
}

//! Dead jobs as an operator deals with them over HTTP, with a worker behind it.

use super::{Provider, key_with, members, problem};
use mediamill_media::sample;
use mediamill_shared::{
    control::{
        audit,
        jobs::{self, DeadFilter},
    },
    ids::JobId,
    jobs::{JobState, Noop},
    objects::{ObjectKey, Store},
    units::Millis,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn done(p: &Provider, path: &str, body: Value) -> Value {
    let answer = p.post(path, body).await;
    let status = answer.status();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

fn ids(listed: &Value) -> Vec<String> {
    let jobs = listed["jobs"].as_array().unwrap().iter();
    jobs.map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

/// Jobs of nobody, which a worker does in an instant.
async fn noops(p: &Provider, count: usize, cause: &str, given_up: Millis) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(p.world.dead(None, &Noop {}, cause, given_up).await);
    }
    ids
}

pub(super) async fn dead_jobs_are_listed_shown_retried_and_purged(provider: Provider) {
    let p = &provider;
    let now = p.world.services.clock.now();
    let (media, upload) = p.world.dead_upload(sample::small(1)).await;
    let (_, other) = p.world.dead_upload(sample::small(2)).await;
    let old = noops(p, 3, "it's \"quoted\"", Millis::new(1_000)).await;
    let listed = p.read("/dead").await;
    assert_eq!((ids(&listed).len(), &listed["next_cursor"]), (5, &Value::Null));
    let pages = p.read("/dead?limit=2").await;
    let rest = p
        .read(&format!(
            "/dead?limit=500&cursor={}",
            pages["next_cursor"].as_str().unwrap()
        ))
        .await;
    assert_eq!([ids(&pages), ids(&rest)].concat(), ids(&listed));
    for (filter, count) in [
        ("tenant=demo", 2),
        ("tenant=nobody", 0),
        ("kind=media.process&cause=attempts-used-up", 2),
        ("cause=it%27s%20%22quoted%22", 3),
        ("older_than=1d", 3),
        ("younger_than=1d", 2),
        ("older_than=1d&tenant=demo", 0),
    ] {
        assert_eq!(ids(&p.read(&format!("/dead?{filter}")).await).len(), count, "{filter}");
    }
    let summary = p.read("/dead/summary").await;
    let told: Vec<_> = summary["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| &group["jobs"])
        .collect();
    assert_eq!(told, [&json!(3), &json!(2)]);
    assert_eq!(
        p.read("/dead/summary?tenant=demo").await["groups"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let shown = p.read(&format!("/dead/{upload}")).await;
    assert_eq!(shown["payload"]["media"], json!(media));
    assert_eq!((&shown["tenant"], &shown["pool"]), (&json!("demo"), &json!("media")));
    assert!(
        shown["reserved_bytes"].as_i64().unwrap() > 0 && shown["retry"].is_string(),
        "{shown}"
    );
    assert!(members(&shown).is_superset(&BTreeSet::from(["trace", "created_at", "finished_at", "purge"])));

    // One comes back, and is a picture; the other goes.
    assert_eq!(done(p, &format!("/dead/{upload}/retry"), json!({})).await["jobs"], 1);
    let row = p.world.finished(&upload).await;
    assert_eq!((row.state, row.attempts), (JobState::Done, 13), "{:?}", row.cause);
    problem(
        p.post(&format!("/dead/{upload}/retry"), json!({})).await,
        409,
        "conflict",
    )
    .await;
    problem(p.get(&format!("/dead/{upload}")).await, 409, "conflict").await;
    let purged = p.delete(&format!("/dead/{other}"), Value::Null).await;
    assert_eq!(purged.status(), StatusCode::OK);
    problem(p.delete(&format!("/dead/{other}"), Value::Null).await, 404, "not-found").await;
    problem(p.get("/dead/nonsense").await, 404, "not-found").await;
    p.world.assert_at_rest().await;

    let many = done(p, "/dead/retry", json!({ "older_than": "1d" })).await;
    assert_eq!((&many["jobs"], &many["next_cursor"]), (&json!(3), &Value::Null));
    for id in &old {
        assert_eq!(p.world.finished(id).await.state, JobState::Done);
    }
    assert_eq!(done(p, "/dead/retry", json!({ "all": true })).await["jobs"], 0);
    let lines = audit::page(&p.world.services.control, None, None, 100).await.unwrap();
    let actions: Vec<_> = lines
        .iter()
        .filter(|line| line.at >= now && line.action.starts_with("dead."))
        .collect();
    assert_eq!(actions.len(), 3, "{actions:?}");
    assert!(actions.iter().all(|line| line.actor.starts_with("key:")), "{actions:?}");
    provider.close();
}

pub(super) async fn a_request_does_so_many_and_says_where_the_next_goes_on(provider: Provider) {
    let p = &provider;
    let services = &p.world.services;
    let given_up = services.clock.now();
    for _ in 0..3 {
        p.world.dead_upload(sample::small(1)).await;
    }
    let more = noops(p, 60, "test", given_up).await;
    // 50 at a time are purged.
    let first = done(p, "/dead/purge", json!({ "cause": "test" })).await;
    assert_eq!((&first["jobs"], &first["left"]), (&json!(50), &json!([])));
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = done(p, "/dead/purge", json!({ "cause": "test", "cursor": cursor })).await;
    assert_eq!((&second["jobs"], &second["next_cursor"]), (&json!(10), &Value::Null));
    for id in &more {
        assert!(jobs::get(&services.control, id).await.unwrap().is_none());
    }
    let uploads = jobs::dead(&services.control, &DeadFilter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(uploads.len(), 3);
    // So many a second: those that are not due wait, and a worker has nothing to do meanwhile.
    let slow = done(p, "/dead/retry", json!({ "tenant": "demo", "rate": 0.001 })).await;
    assert_eq!(slow["jobs"], 3);
    assert_eq!(p.world.finished(&uploads[0].id).await.state, JobState::Done);
    for row in &uploads[1..] {
        let row = jobs::get(&services.control, &row.id).await.unwrap().unwrap();
        assert_eq!((row.state, row.attempts), (JobState::Queued, 12));
        assert!(row.due_at > given_up.after(std::time::Duration::from_secs(900)));
    }
    let staged = services.objects.list(ObjectKey::STAGED, None, 10).await.unwrap();
    assert_eq!(staged.len(), 2);
    provider.close();
}

pub(super) async fn a_rate_is_kept_by_the_scheduler(provider: Provider) {
    let p = &provider;
    let services = &p.world.services;
    let mut all = noops(p, 2, "test", services.clock.now()).await;
    for _ in 0..3 {
        all.push(p.world.dead_upload(sample::small(1)).await.1);
    }
    assert_eq!(
        done(p, "/dead/retry", json!({ "all": true, "rate": 50 })).await["jobs"],
        5
    );
    let over = async {
        for id in &all {
            while jobs::get(&services.control, id).await.unwrap().unwrap().state != JobState::Done {
                mediamill_scheduler::run_once(services, "dispatch").await.unwrap();
            }
        }
    };
    tokio::time::timeout(mediamill_shared::testing::PATIENCE, over)
        .await
        .unwrap();
    for id in &all {
        let row = jobs::get(&services.control, id).await.unwrap().unwrap();
        assert_eq!(row.attempts, 13, "{row:?}");
    }
    p.world.assert_at_rest().await;
    provider.close();
}

pub(super) async fn what_is_asked_wrongly_of_dead_jobs_is_refused(provider: Provider) {
    let p = &provider;
    let id = noops(p, 1, "test", p.world.services.clock.now()).await.swap_remove(0);
    for path in [
        "/dead?kind=nonsense",
        "/dead?older_than=soon",
        "/dead?cause=",
        "/dead?cause=a%00b",
        "/dead?tenant=A%20B",
        "/dead?limit=0",
        "/dead?limit=501",
        "/dead?cursor=nonsense",
        "/dead?nonsense=1",
        "/dead/summary?limit=1",
    ] {
        problem(p.get(path).await, 400, "bad-request").await;
    }
    for body in [
        json!({}),
        json!({ "all": true, "tenant": "demo" }),
        json!({ "all": true, "rate": 0 }),
        json!({ "all": true, "rate": -1 }),
        json!({ "all": true, "rate": 1e300 }),
        json!({ "all": true, "cursor": "x" }),
        json!({ "kind": "nonsense" }),
        json!({ "everything": true }),
    ] {
        problem(p.post("/dead/retry", body.clone()).await, 400, "bad-request").await;
        problem(p.post("/dead/purge", body).await, 400, "bad-request").await;
    }
    problem(
        p.post("/dead/purge", json!({ "all": true, "rate": 5 })).await,
        400,
        "bad-request",
    )
    .await;

    // Reading shows which there are, and no payload; nothing else does anything.
    let reader = key_with(&p.world.services, "read").await;
    let others = key_with(&p.world.services, "read tenants plans storages people").await;
    let sent =
        async |key: &str, method: Method, path: &str, body: &str| p.with(key, method, path, body).send().await.unwrap();
    assert_eq!(sent(&reader, Method::GET, "/dead", "").await.status(), StatusCode::OK);
    assert_eq!(
        sent(&reader, Method::GET, "/dead/summary", "").await.status(),
        StatusCode::OK
    );
    for key in [&reader, &others] {
        for (method, path) in [
            (Method::GET, format!("/dead/{id}")),
            (Method::DELETE, format!("/dead/{id}")),
            (Method::POST, format!("/dead/{id}/retry")),
        ] {
            problem(sent(key, method, &path, "").await, 403, "missing-scope").await;
        }
        for path in ["/dead/retry", "/dead/purge"] {
            problem(
                sent(key, Method::POST, path, r#"{"all": true}"#).await,
                403,
                "missing-scope",
            )
            .await;
        }
    }
    let row = jobs::get(&p.world.services.control, &id).await.unwrap().unwrap();
    assert_eq!(row.state, JobState::Dead);
    provider.close();
}

//! Uploads that are accepted: several at once, once for each key, as many as the quota has places.

use super::{Site, problem};
use futures_util::future::join_all;
use mediamill_media::sample;
use mediamill_shared::{
    objects::{ObjectKey, Store},
    tenancy::{Limit, LimitOverrides},
    testing::World,
};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::Value;

mediamill_shared::on_both_sides!(
    several_files_in_one_request_are_several_pictures,
    an_idempotency_key_accepts_once,
    the_same_key_at_the_same_time_accepts_once,
    a_full_quota_is_403_and_names_the_limit,
);

async fn several_files_in_one_request_are_several_pictures(world: World) {
    let site = Site::of(world).await;
    let part = |number: u32| reqwest::multipart::Part::bytes(sample::small(number)).file_name(format!("{number}.jpg"));
    let form = reqwest::multipart::Form::new()
        .part("source", part(1))
        .part("source", part(2))
        .part("x", part(3));
    let answer = site
        .request(Method::POST, "/v1/media")
        .multipart(form)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let location = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    let media = body["media"].as_array().unwrap();
    let names: Vec<_> = media.iter().map(|one| one["file_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["1.jpg", "2.jpg", "3.jpg"]);
    assert_eq!(media[0]["job"]["url"], location);
    for one in media {
        let job = one["job"]["id"].as_str().unwrap().parse().unwrap();
        site.world.finished(&job).await;
        let picture: Value = site.get(one["url"].as_str().unwrap()).await.json().await.unwrap();
        assert_eq!(
            (&picture["state"], &picture["file_name"]),
            (&"ready".into(), &one["file_name"])
        );
    }
    // One bad file and none is accepted.
    let bad = reqwest::multipart::Part::bytes(b"no picture".to_vec()).file_name("4.jpg");
    let form = reqwest::multipart::Form::new()
        .part("source", part(5))
        .part("source", bad);
    let answer = site
        .request(Method::POST, "/v1/media")
        .multipart(form)
        .send()
        .await
        .unwrap();
    problem(answer, 415, "unsupported-media-type").await;
    let form = reqwest::multipart::Form::new().text("title", "no file");
    let answer = site
        .request(Method::POST, "/v1/media")
        .multipart(form)
        .send()
        .await
        .unwrap();
    problem(answer, 400, "bad-request").await;
    let usage: Value = site.get("/v1/usage").await.json().await.unwrap();
    assert_eq!(usage["media"]["used"], 3, "{usage}");
    site.close().await;
}

async fn an_idempotency_key_accepts_once(world: World) {
    let site = Site::of(world).await;
    let send = async |number: u32| {
        let request = site
            .request(Method::POST, "/v1/media")
            .header("idempotency-key", "once");
        request.body(sample::small(number)).send().await.unwrap()
    };
    let first = send(1).await;
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    assert!(!first.headers().contains_key("idempotent-replayed"));
    let first: Value = first.json().await.unwrap();
    let again = send(1).await;
    assert_eq!(again.status(), StatusCode::ACCEPTED);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    problem(send(2).await, 422, "idempotency-key-reused").await;
    site.world
        .finished(&first["media"][0]["job"]["id"].as_str().unwrap().parse().unwrap())
        .await;
    // The same after the work is done, and as one who waits.
    let request = site
        .request(Method::POST, "/v1/media?wait=60")
        .header("idempotency-key", "once");
    let waited = request.body(sample::small(1)).send().await.unwrap();
    assert_eq!(waited.status(), StatusCode::CREATED);
    assert_eq!(
        waited.json::<Value>().await.unwrap()["media"][0]["id"],
        first["media"][0]["id"]
    );
    // Another tenant's key of the same name is another key.
    let (_, key) = site.world.another_tenant("other").await;
    let request = site
        .http
        .post(format!("http://{}/v1/media", site.address))
        .header(header::HOST, "other.localhost");
    let other = request
        .header("idempotency-key", "once")
        .bearer_auth(key)
        .body(sample::small(3))
        .send()
        .await
        .unwrap();
    assert_eq!(other.status(), StatusCode::ACCEPTED);
    let other: Value = other.json().await.unwrap();
    site.world
        .finished(&other["media"][0]["job"]["id"].as_str().unwrap().parse().unwrap())
        .await;
    assert_eq!(
        site.get("/v1/usage").await.json::<Value>().await.unwrap()["media"]["used"],
        1
    );
    site.close().await;
}

async fn the_same_key_at_the_same_time_accepts_once(world: World) {
    let site = Site::of(world).await;
    let sent = (0..8).map(|_| {
        let request = site
            .request(Method::POST, "/v1/media?wait=60")
            .header("idempotency-key", "at-once");
        let request = request.body(sample::small(1));
        async move { request.send().await.unwrap().json::<Value>().await.unwrap()["media"][0]["id"].clone() }
    });
    let ids = join_all(sent).await;
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(
        site.get("/v1/usage").await.json::<Value>().await.unwrap()["media"]["used"],
        1
    );
    site.close().await;
}

async fn a_full_quota_is_403_and_names_the_limit(world: World) {
    let site = Site::of(world).await;
    let (_, key) = site
        .world
        .another_tenant_with("small", LimitOverrides::default().set(Limit::Media, 2))
        .await;
    let send = async |number: u32| {
        let request = site.http.post(format!("http://{}/v1/media?wait=60", site.address));
        let request = request.header(header::HOST, "small.localhost").bearer_auth(&key);
        request.body(sample::small(number)).send().await.unwrap()
    };
    // Three at once for two places: one of them is refused.
    let answers = join_all((0..3).map(send)).await;
    let mut refused: Vec<Response> = answers
        .into_iter()
        .filter(|one| one.status() != StatusCode::CREATED)
        .collect();
    let document = problem(refused.pop().unwrap(), 403, "over-quota").await;
    assert!(refused.is_empty());
    assert_eq!(
        (&document["limit_name"], &document["limit"], &document["used"]),
        (&"media".into(), &2.into(), &2.into())
    );
    let staged = site.world.services.objects.list(ObjectKey::STAGED, None, 10);
    assert_eq!(staged.await.unwrap().len(), 0, "what is refused is removed at once");
    site.close().await;
}

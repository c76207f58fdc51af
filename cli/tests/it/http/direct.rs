//! Uploads whose bytes the client puts into the store itself: past the api where the store signs requests, through it where not.

use super::{Site, problem, rates::early_in_the_hour, read, resumable::nothing_is_staged};
use mediamill_media::sample;
use mediamill_shared::{
    ids::JobId,
    jobs::{JobState, Reason},
    objects::{ObjectKey, Store},
    testing::World,
};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One test a case and back ends: a directory, S3 that clients are sent to, and all servers with S3 that they are not, or are, sent to.
macro_rules! with_every_store {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(World::embedded().await).await;
            })+
            mod with_s3 {
                use super::*;
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::super::$case(World::embedded_with_s3().await).await;
                })+
            }
        }
        mod distributed {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                super::$case(World::distributed().await).await;
            })+
            mod presigning {
                use super::*;
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = "needs servers: run ./test.sh"]
                async fn $case() {
                    super::super::$case(World::distributed_presigning().await).await;
                })+
            }
        }
    };
}

with_every_store!(
    a_direct_upload_is_one_like_any_other,
    the_store_takes_what_was_announced,
    what_is_not_what_was_announced_is_refused_for_good,
    completing_again_or_at_once_is_one_picture,
    bytes_that_change_after_completion_are_no_picture,
    what_may_not_be_is_refused_before_and_after,
    the_same_bytes_give_the_picture_that_is_there,
    nobody_elses_upload_is_there,
    an_upload_that_ended_is_gone,
);

fn announced(bytes: &[u8]) -> Value {
    json!({ "bytes": bytes.len(), "type": "image/jpeg", "file_name": "a.jpg" })
}

fn checksum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

async fn announce(site: &Site, body: &Value) -> Response {
    let request = site.request(Method::POST, "/v1/uploads");
    request.body(body.to_string()).send().await.unwrap()
}

/// Sends bytes as an upload says, under another type where there is one. The api stands in the tests at no port of its host's.
async fn put_as(site: &Site, upload: &Value, bytes: &[u8], kind: Option<&str>) -> reqwest::Result<Response> {
    let url = upload["put"]["url"].as_str().unwrap();
    let prefix = format!("http://{}", site.host);
    let request = match url.strip_prefix(&prefix) {
        Some(path) => site.bare(Method::PUT, path),
        None => site.http.put(url),
    };
    let headers = upload["put"]["headers"].as_object().unwrap();
    let mut request = request.body(bytes.to_vec());
    for (name, value) in headers {
        match (name.as_str(), kind) {
            // By the body that is sent.
            ("content-length", _) => {}
            ("content-type", Some(kind)) => request = request.header(header::CONTENT_TYPE, kind),
            (name, _) => request = request.header(name, value.as_str().unwrap()),
        }
    }
    request.send().await
}

async fn put(site: &Site, upload: &Value, bytes: &[u8]) -> StatusCode {
    put_as(site, upload, bytes, None).await.unwrap().status()
}

async fn complete(site: &Site, upload: &Value, query: &str) -> Response {
    let path = format!("{}{query}", upload["complete"].as_str().unwrap());
    site.request(Method::POST, &path).send().await.unwrap()
}

/// An upload whose bytes are there.
async fn sent(site: &Site, bytes: &[u8]) -> Value {
    let upload = read(announce(site, &announced(bytes)).await, 201).await;
    assert_eq!(put(site, &upload, bytes).await, StatusCode::OK);
    upload
}

async fn show(site: &Site, upload: &Value) -> Response {
    site.get(upload["url"].as_str().unwrap()).await
}

async fn a_direct_upload_is_one_like_any_other(world: World) {
    let site = Site::of(world).await;
    let plain = site.ready(1).await;
    let bytes = sample::small(1);
    for checked in [false, true] {
        let mut body = announced(&bytes);
        if checked {
            body["sha256"] = checksum(&bytes).to_uppercase().into();
        }
        let upload = read(announce(&site, &body).await, 201).await;
        let shown = read(show(&site, &upload).await, 200).await;
        assert_eq!((&shown["state"], &shown["put"]), (&json!("open"), &Value::Null));
        problem(complete(&site, &upload, "").await, 409, "upload-incomplete").await;
        assert_eq!(put(&site, &upload, &bytes).await, StatusCode::OK);
        let picture = read(complete(&site, &upload, "?wait=60").await, 201).await["media"][0].clone();
        for member in [
            "state",
            "format",
            "width",
            "uploaded_bytes",
            "stored_bytes",
            "removed",
            "facts",
        ] {
            assert_eq!(picture[member], plain[member], "{member}");
        }
        assert_eq!(picture["file_name"], "a.jpg");
        let shown = read(show(&site, &upload).await, 200).await;
        assert_eq!(
            (&shown["state"], &shown["media"]["id"]),
            (&json!("done"), &picture["id"])
        );
    }
    assert_eq!(site.pictures().await, 3);
    nothing_is_staged(&site.world.services).await;
    site.close().await;
}

async fn the_store_takes_what_was_announced(world: World) {
    let site = Site::of(world).await;
    let bytes = sample::small(1);
    let mut body = announced(&bytes);
    body["sha256"] = checksum(&bytes).into();
    let upload = read(announce(&site, &body).await, 201).await;
    let other = vec![b'x'; bytes.len()];
    for (bytes, kind) in [
        (&bytes[..100], None),
        (&[&bytes[..], b"more"].concat()[..], None),
        (&bytes[..], Some("text/html")),
    ] {
        // The tests' S3 server may close the connection before it has read what it refuses.
        if let Ok(answer) = put_as(&site, &upload, bytes, kind).await {
            assert!(answer.status().is_client_error(), "{}", answer.status());
        }
        problem(complete(&site, &upload, "").await, 409, "upload-incomplete").await;
    }
    assert!(put(&site, &upload, &other).await.is_client_error());
    assert_eq!(put(&site, &upload, &bytes).await, StatusCode::OK);
    read(complete(&site, &upload, "?wait=60").await, 201).await;
    site.close().await;
}

async fn what_is_not_what_was_announced_is_refused_for_good(world: World) {
    let site = Site::of(world).await;
    let (jpeg, text) = (sample::small(1), vec![b'x'; 500]);
    for (bytes, status, code) in [(&jpeg, 422, "upload-mismatch"), (&text, 415, "unsupported-media-type")] {
        let mut body = announced(bytes);
        body["type"] = "image/png".into();
        let upload = read(announce(&site, &body).await, 201).await;
        assert_eq!(put(&site, &upload, bytes).await, StatusCode::OK);
        problem(complete(&site, &upload, "").await, status, code).await;
        nothing_is_staged(&site.world.services).await;
        problem(complete(&site, &upload, "").await, 410, "upload-gone").await;
        let said = problem(show(&site, &upload).await, 410, "upload-gone").await;
        assert!(said["detail"].as_str().unwrap().contains(code), "{said}");
    }
    // A store that took something else all the same.
    let upload = read(announce(&site, &announced(&jpeg)).await, 201).await;
    assert_eq!(put(&site, &upload, &jpeg).await, StatusCode::OK);
    let objects = &site.world.services.objects;
    let staged = objects.list(ObjectKey::STAGED, None, 10).await.unwrap();
    objects
        .put(&staged[0].key, jpeg[..900].to_vec().into(), "image/jpeg")
        .await
        .unwrap();
    problem(complete(&site, &upload, "").await, 422, "upload-mismatch").await;
    nothing_is_staged(&site.world.services).await;
    assert_eq!(site.pictures().await, 0);
    site.close().await;
}

async fn completing_again_or_at_once_is_one_picture(world: World) {
    let site = Site::of(world).await;
    let upload = sent(&site, &sample::small(1)).await;
    let all = futures_util::future::join_all((0..6).map(|_| complete(&site, &upload, "?wait=60"))).await;
    let mut pictures = Vec::new();
    for answer in all {
        if answer.status() == StatusCode::LOCKED {
            problem(answer, 423, "upload-busy").await;
        } else {
            pictures.push(read(answer, 201).await["media"][0]["id"].clone());
        }
    }
    pictures.push(read(complete(&site, &upload, "?wait=60").await, 201).await["media"][0]["id"].clone());
    assert!(pictures.iter().all(|id| *id == pictures[0]), "{pictures:?}");
    assert_eq!(site.pictures().await, 1);
    nothing_is_staged(&site.world.services).await;
    site.close().await;
}

async fn bytes_that_change_after_completion_are_no_picture(world: World) {
    let site = Site::without_worker(world).await;
    let bytes = sample::small(1);
    let upload = sent(&site, &bytes).await;
    let accepted = read(complete(&site, &upload, "").await, 202).await;
    let job: JobId = accepted["media"][0]["job"]["id"].as_str().unwrap().parse().unwrap();
    let services = &site.world.services;
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    let direct = put(&site, &upload, &other).await;
    if direct == StatusCode::CONFLICT {
        // Through the api nothing is taken any more: somebody else must have done it.
        let key = ObjectKey::staged(site.world.tenant().await.id(), &job);
        services.objects.put(&key, other.into(), "image/jpeg").await.unwrap();
    } else {
        assert_eq!(direct, StatusCode::OK);
    }
    site.work();
    let row = site.world.finished(&job).await;
    assert_eq!(
        (row.state, row.cause_code.as_deref()),
        (JobState::Failed, Some(Reason::FILE_DAMAGED))
    );
    assert_eq!(site.pictures().await, 0);
    nothing_is_staged(&site.world.services).await;
    site.close().await;
}

async fn what_may_not_be_is_refused_before_and_after(world: World) {
    early_in_the_hour(&world).await;
    let site = Site::of(world).await;
    let bytes = sample::small(1);
    site.set(
        "{}",
        r#"{"upload_bytes": 200000, "image_formats": "JPEG,PNG", "media": 1, "uploads_hour": 5}"#,
    )
    .await;
    let with = |member: &str, value: Value| {
        let mut body = announced(&bytes);
        body[member] = value;
        body
    };
    for (body, status, code) in [
        (with("bytes", json!(200_001)), 413, "too-large"),
        (with("bytes", json!(0)), 400, "empty-upload"),
        (with("bytes", json!(-1)), 400, "bad-request"),
        (with("type", json!("image/gif")), 415, "unsupported-media-type"),
        (with("type", json!("text/html")), 415, "unsupported-media-type"),
        (with("sha256", json!("abc")), 400, "bad-request"),
        (with("expiration", json!("never")), 400, "bad-request"),
        (with("what", json!(1)), 400, "bad-request"),
    ] {
        problem(announce(&site, &body).await, status, code).await;
    }
    let expiring = read(announce(&site, &with("expiration", json!("PT2H"))).await, 201).await;
    assert_eq!(put(&site, &expiring, &bytes).await, StatusCode::OK);
    // Announced while there was room, and not any more.
    let late = sent(&site, &sample::small(2)).await;
    let picture = read(complete(&site, &expiring, "?wait=60").await, 201).await;
    assert!(picture["media"][0]["expires_at"].is_string(), "{picture}");
    let over = problem(complete(&site, &late, "").await, 403, "over-quota").await;
    assert_eq!(over["limit_name"], "media");
    nothing_is_staged(&site.world.services).await;
    site.set("{}", r#"{"uploads_hour": 1}"#).await;
    problem(announce(&site, &announced(&bytes)).await, 429, "rate-limited").await;
    site.close().await;
}

async fn the_same_bytes_give_the_picture_that_is_there(world: World) {
    let site = Site::of(world).await;
    site.set(r#"{"duplicates": "return-existing"}"#, "{}").await;
    let first = site.ready(1).await;
    let upload = sent(&site, &sample::small(1)).await;
    for _ in 0..2 {
        let again = read(complete(&site, &upload, "").await, 200).await;
        assert_eq!(again["media"][0], first);
    }
    assert_eq!(site.pictures().await, 1);
    nothing_is_staged(&site.world.services).await;
    site.close().await;
}

async fn nobody_elses_upload_is_there(world: World) {
    let mut site = Site::of(world).await;
    let bytes = sample::small(1);
    let upload = read(announce(&site, &announced(&bytes)).await, 201).await;
    let id = upload["id"].as_str().unwrap();
    // One in pieces is none of these, and the other way round.
    let pieces = site
        .request(Method::HEAD, &format!("/v1/tus/{id}"))
        .header("tus-resumable", "1.0.0");
    assert_eq!(pieces.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let pieces = site.request(Method::POST, "/v1/tus").header("tus-resumable", "1.0.0");
    let pieces = pieces.header("upload-length", 9).send().await.unwrap();
    let location = pieces.headers()[header::LOCATION].to_str().unwrap().to_owned();
    problem(
        site.get(&location.replace("/v1/tus", "/v1/uploads")).await,
        404,
        "not-found",
    )
    .await;
    let content = format!("/v1/uploads/{id}/content?token=");
    for token in ["", "0", &"0".repeat(64)] {
        let answer = site.bare(Method::PUT, &format!("{content}{token}")).body(bytes.clone());
        problem(answer.send().await.unwrap(), 404, "not-found").await;
    }
    let own = site.key.clone();
    let (other, key) = site.world.another_tenant("other").await;
    site.be(&other, key);
    problem(show(&site, &upload).await, 404, "not-found").await;
    problem(complete(&site, &upload, "").await, 404, "not-found").await;
    let answer = site.request(Method::DELETE, upload["url"].as_str().unwrap());
    problem(answer.send().await.unwrap(), 404, "not-found").await;
    site.be(&"demo".parse().unwrap(), own);
    assert_eq!(put(&site, &upload, &bytes).await, StatusCode::OK);
    read(complete(&site, &upload, "?wait=60").await, 201).await;
    site.close().await;
}

async fn an_upload_that_ended_is_gone(world: World) {
    let site = Site::of(world).await;
    let bytes = sample::small(1);
    let ended = sent(&site, &bytes).await;
    let answer = site.request(Method::DELETE, ended["url"].as_str().unwrap());
    assert_eq!(answer.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    nothing_is_staged(&site.world.services).await;
    problem(complete(&site, &ended, "").await, 410, "upload-gone").await;
    let late = sent(&site, &bytes).await;
    site.world
        .execute(
            "UPDATE resumable_uploads SET expires_at = 1 WHERE id = $1",
            &[late["id"].as_str().unwrap()],
        )
        .await;
    problem(complete(&site, &late, "").await, 410, "upload-gone").await;
    site.world
        .services
        .objects
        .delete_below(ObjectKey::STAGED)
        .await
        .unwrap();
    site.close().await;
}

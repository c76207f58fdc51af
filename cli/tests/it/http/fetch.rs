//! Uploads that are fetched from a URL, over real connections: the same picture as of the same bytes that were sent, and nothing
//! left of what could not be had.

use super::{Site, problem, rates::early_in_the_hour, read};
use mediamill_media::sample;
use mediamill_shared::{
    control::jobs,
    ids::JobId,
    jobs::JobState,
    objects::{ObjectKey, Store},
    tenancy::{Limit, LimitOverrides},
    testing::{
        World, differences,
        web::{Reply, Web},
    },
};
use mediamill_workers::Settings;
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

/// One test a case and side. A case gets an installation that fetches from the port of a server that `web` starts.
macro_rules! with_a_server {
    ($($case:ident($web:expr, $more:expr)),+ $(,)?) => {
        mod embedded {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let web = $web.await;
                let config = configured(&web, $more);
                super::$case(World::embedded_with(&config).await, web).await;
            })+
        }
        mod distributed {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                let web = $web.await;
                let config = configured(&web, $more);
                super::$case(World::distributed_with(&config).await, web).await;
            })+
        }
    };
}

with_a_server!(
    a_fetched_picture_is_one_like_any_other(pictures(), &[]),
    a_request_is_accepted_once_and_followed_like_an_upload(pictures(), &[]),
    what_is_never_fetched_is_refused_before_it_is_accepted(pictures(), &[]),
    what_a_url_gives_is_judged_like_an_upload(misfits(), &[]),
    a_name_at_a_private_address_is_not_connected_to(pictures(), &[("fetch_allow_private", "")]),
    who_does_not_answer_is_asked_a_few_times(stubborn(), &[("fetch_timeout", "1s")]),
    a_server_that_comes_back_gives_the_picture(flaky(), &[]),
    the_same_bytes_give_the_picture_that_is_there(pictures(), &[]),
    the_same_url_at_once_is_one_picture(pictures(), &[]),
    limits_hold_as_for_uploads(pictures(), &[]),
    a_killed_attempt_leaves_its_bytes_to_the_next_one(pictures(), &[]),
    tenants_fetch_for_themselves(pictures(), &[]),
);

fn configured(web: &Web, more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let mut config = vec![
        ("fetch_ports", web.port().to_string()),
        ("fetch_allow_private", "127.0.0.1".to_owned()),
    ];
    for (key, value) in more {
        config.retain(|(known, _)| known != key);
        config.push((key, (*value).to_owned()));
    }
    config
}

/// `/N.jpg` is a picture, `/to/N.jpg` a redirect to it.
async fn pictures() -> Web {
    Web::start(|path| match path.strip_prefix("/to") {
        Some(other) => Reply::to(other),
        None => picture(path),
    })
    .await
}

fn picture(path: &str) -> Reply {
    let number = path
        .trim_start_matches('/')
        .split('.')
        .next()
        .and_then(|number| number.parse().ok());
    number.map_or(Reply::status(404), |number| Reply::ok(sample::small(number)))
}

async fn fetch(site: &Site, query: &str, body: Value) -> Response {
    let request = site.request(Method::POST, &format!("/v1/media/from-url{query}"));
    request.body(body.to_string()).send().await.unwrap()
}

/// Fetches, and waits for the picture.
async fn fetched(site: &Site, url: String) -> Value {
    let answer = fetch(site, "?wait=60", json!({ "url": url })).await;
    read(answer, 201).await["media"][0].clone()
}

/// Fetches what gives no picture: the code that says why, and how many attempts it took.
async fn failed(site: &Site, url: &str) -> (String, i64) {
    let accepted = read(fetch(site, "", json!({ "url": url })).await, 202).await;
    let job: JobId = accepted["media"][0]["job"]["id"].as_str().unwrap().parse().unwrap();
    let row = site.world.finished(&job).await;
    assert_eq!(row.state, JobState::Failed, "{url}: {:?}", row.cause);
    let shown = read(site.get(accepted["media"][0]["url"].as_str().unwrap()).await, 200).await;
    assert_eq!(shown["state"], "failed", "{shown}");
    (row.cause_code.unwrap(), row.attempts)
}

async fn a_fetched_picture_is_one_like_any_other(world: World, web: Web) {
    let site = Site::of(world).await;
    let sent = site.ready(1).await;
    let got = fetched(&site, web.url("/to/1.jpg?token=x")).await;
    assert_eq!(got["file_name"], "1.jpg");
    for member in [
        "state",
        "format",
        "width",
        "height",
        "uploaded_bytes",
        "stored_bytes",
        "removed",
        "facts",
    ] {
        assert_eq!(got[member], sent[member], "{member}");
    }
    let files = |picture: &Value| {
        let variants = picture["variants"].as_array().unwrap().iter();
        variants
            .map(|file| (file["name"].clone(), file["sha256"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(files(&got), files(&sent));
    let one = sent["stored_bytes"].as_i64().unwrap();
    let usage = site.world.tenant().await.db().unwrap().usage().await.unwrap();
    assert_eq!((usage.media, usage.bytes.get()), (2, 2 * one));
    assert_eq!(web.asked().len(), 2);
    site.close().await;
}

async fn a_request_is_accepted_once_and_followed_like_an_upload(world: World, web: Web) {
    let site = Site::without_worker(world).await;
    let ask = async |path: &str| {
        let request = site
            .request(Method::POST, "/v1/media/from-url")
            .header("idempotency-key", "k");
        let body = json!({ "url": web.url(path), "file_name": "dir/mine.jpg", "expiration": "P1D" });
        request.body(body.to_string()).send().await.unwrap()
    };
    let first = ask("/2.jpg").await;
    let location = first.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let first = read(first, 202).await;
    let again = ask("/2.jpg").await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(read(again, 202).await, first);
    problem(ask("/3.jpg").await, 422, "idempotency-key-reused").await;
    let entry = &first["media"][0];
    assert_eq!(
        (&entry["state"], &entry["file_name"]),
        (&json!("processing"), &json!("mine.jpg"))
    );
    assert_eq!(
        read(site.get(entry["url"].as_str().unwrap()).await, 200).await["state"],
        "processing"
    );
    let job = read(site.get(&location).await, 200).await;
    assert_eq!((&job["kind"], &job["media"]), (&json!("media.fetch"), &entry["id"]));
    assert_eq!(web.asked().len(), 0);
    let services = &site.world.services;
    let settings = Settings::from_config(&services.config);
    services
        .shutdown
        .spawn(mediamill_workers::run(services.clone(), settings));
    site.world
        .finished(&entry["job"]["id"].as_str().unwrap().parse().unwrap())
        .await;
    let picture = read(site.get(entry["url"].as_str().unwrap()).await, 200).await;
    assert_eq!(
        (&picture["state"], &picture["file_name"]),
        (&json!("ready"), &json!("mine.jpg"))
    );
    assert!(picture["expires_at"].is_string());
    assert_eq!((site.pictures().await, web.asked().len()), (1, 1));
    site.close().await;
}

async fn what_is_never_fetched_is_refused_before_it_is_accepted(world: World, web: Web) {
    let site = Site::of(world).await;
    for (url, told) in [
        ("ftp://127.0.0.1/a".to_owned(), "scheme"),
        ("a.jpg".to_owned(), "no URL"),
        (web.url("/1.jpg").replace("//", "//me:pw@"), "password"),
        ("http://127.0.0.1:1/a".to_owned(), "port"),
        (web.at("127.0.0.2", "/1.jpg"), "not public"),
        (web.at("169.254.169.254", "/latest/meta-data/"), "not public"),
        (web.at("[::1]", "/1.jpg"), "not public"),
        (web.at("0x7f.2", "/1.jpg"), "not public"),
    ] {
        let told_by = problem(fetch(&site, "", json!({ "url": url })).await, 400, "bad-request").await;
        assert!(told_by["detail"].as_str().unwrap().contains(told), "{told_by}");
    }
    for body in [
        json!({}),
        json!({ "url": 1 }),
        json!({ "url": web.url("/1.jpg"), "headers": {} }),
        json!([]),
    ] {
        problem(fetch(&site, "", body).await, 400, "bad-request").await;
    }
    problem(
        fetch(&site, "", json!({ "url": "x".repeat(20_000) })).await,
        413,
        "body-too-long",
    )
    .await;
    problem(
        fetch(&site, "?wait=61", json!({ "url": web.url("/1.jpg") })).await,
        400,
        "bad-request",
    )
    .await;
    site.set("{}", r#"{"upload_url": false}"#).await;
    let off = problem(
        fetch(&site, "", json!({ "url": web.url("/1.jpg") })).await,
        403,
        "switched-off",
    )
    .await;
    assert_eq!(off["limit_name"], "upload_url");
    assert_eq!((site.pictures().await, web.asked().len()), (0, 0));
    site.close().await;
}

/// What is no picture, not there, too large, or leads elsewhere.
async fn misfits() -> Web {
    Web::start(|path| match path {
        "/text" => Reply::ok("<html>a page about a picture, and not the picture itself</html>"),
        "/empty" => Reply::ok(""),
        "/cut" => Reply::ok(sample::small(1)[..2_000].to_vec()),
        "/endless" => Reply::Endless(sample::small(1).into()),
        "/large" => Reply::Held("HTTP/1.1 200 Said\r\ncontent-length: 9000000\r\n\r\n".into()),
        "/gif" => Reply::ok([b"GIF89a\x01\0\x01\0\0\0\0".as_slice(), &[b';'; 600]].concat()),
        "/gone" => Reply::status(410),
        "/loop" => Reply::to("/loop"),
        "/inside" => Reply::to("http://127.0.0.2/secret"),
        _ => Reply::to("http://169.254.169.254/latest/meta-data/"),
    })
    .await
}

async fn what_a_url_gives_is_judged_like_an_upload(world: World, web: Web) {
    let site = Site::of(world).await;
    site.set("{}", r#"{"upload_bytes": 200000, "image_formats": "JPEG,PNG"}"#)
        .await;
    for (path, code, asked) in [
        ("/text", "not-an-image", 1),
        ("/empty", "not-an-image", 1),
        ("/cut", "truncated", 1),
        ("/endless", "url-too-large", 1),
        ("/large", "url-too-large", 1),
        ("/gif", "format-not-taken", 1),
        ("/gone", "url-not-found", 1),
        ("/loop", "too-many-redirects", 6),
        ("/inside", "url-refused", 1),
        ("/metadata", "url-refused", 1),
    ] {
        let before = web.asked().len();
        assert_eq!(failed(&site, &web.url(path)).await, (code.to_owned(), 1), "{path}");
        assert_eq!(web.asked().len() - before, asked, "{path}");
    }
    assert_eq!(site.pictures().await, 0);
    site.close().await;
}

async fn a_name_at_a_private_address_is_not_connected_to(world: World, web: Web) {
    let site = Site::of(world).await;
    assert_eq!(failed(&site, &web.at("localhost", "/1.jpg")).await.0, "url-refused");
    assert_eq!(web.asked().len(), 0);
    site.close().await;
}

/// Answers, but never with all of a picture.
async fn stubborn() -> Web {
    Web::start(|path| match path {
        "/503" => Reply::status(503),
        "/silent" => Reply::Held("".into()),
        _ => {
            let head = b"HTTP/1.1 200 Said\r\ncontent-length: 100000\r\n\r\n";
            Reply::Held([head.as_slice(), &sample::small(1)[..2_000]].concat().into())
        }
    })
    .await
}

async fn who_does_not_answer_is_asked_a_few_times(world: World, web: Web) {
    let site = Site::of(world).await;
    let paths = ["/503", "/silent", "/slow"].map(|path| web.url(path));
    for told in futures_util::future::join_all(paths.iter().map(|url| failed(&site, url))).await {
        assert_eq!(told, ("fetch-failed".to_owned(), 4));
    }
    assert_eq!(site.pictures().await, 0);
    site.close().await;
}

/// Away the first time.
async fn flaky() -> Web {
    let asked = AtomicU32::new(0);
    Web::start(move |path| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::status(502),
        _ => picture(path),
    })
    .await
}

async fn a_server_that_comes_back_gives_the_picture(world: World, web: Web) {
    let site = Site::of(world).await;
    assert_eq!(fetched(&site, web.url("/4.jpg")).await["state"], "ready");
    assert_eq!((site.pictures().await, web.asked().len()), (1, 2));
    site.close().await;
}

async fn the_same_bytes_give_the_picture_that_is_there(world: World, web: Web) {
    let site = Site::of(world).await;
    site.set(r#"{"duplicates": "return-existing"}"#, r#"{"media": 2}"#)
        .await;
    let first = site.ready(5).await;
    // What is reserved for it meanwhile is given back each time.
    for _ in 0..3 {
        assert_eq!(fetched(&site, web.url("/5.jpg")).await, first);
    }
    assert_eq!(site.pictures().await, 1);
    // And the other way round.
    let second = fetched(&site, web.url("/6.jpg")).await;
    let again = read(site.upload("/v1/media", sample::small(6)).await, 200).await;
    assert_eq!(again["media"][0], second);
    assert_eq!(site.pictures().await, 2);
    site.close().await;
}

async fn the_same_url_at_once_is_one_picture(world: World, web: Web) {
    let site = Site::of(world).await;
    site.set(r#"{"duplicates": "return-existing"}"#, "{}").await;
    let all = futures_util::future::join_all((0..6).map(|_| fetched(&site, web.url("/7.jpg")))).await;
    assert!(all.iter().all(|picture| picture["id"] == all[0]["id"]), "{all:?}");
    assert_eq!(site.pictures().await, 1);
    site.close().await;
}

async fn limits_hold_as_for_uploads(world: World, web: Web) {
    early_in_the_hour(&world).await;
    let site = Site::of(world).await;
    let ask = async || fetch(&site, "?wait=60", json!({ "url": web.url("/8.jpg") })).await;
    site.set("{}", r#"{"media": 1}"#).await;
    read(ask().await, 201).await;
    let over = problem(ask().await, 403, "over-quota").await;
    assert_eq!(over["limit_name"], "media");
    // Room for what is reserved, and not for what it turns out to be.
    let full = site
        .world
        .tenant()
        .await
        .db()
        .unwrap()
        .usage()
        .await
        .unwrap()
        .bytes
        .get()
        + 20_000;
    site.set("{}", &format!(r#"{{"stored_bytes": {full}}}"#)).await;
    site.world.services.quota.forget(site.world.tenant().await.id()).await;
    let over = problem(ask().await, 422, "media-failed").await;
    assert_eq!(over["jobs"][0]["cause"]["code"], "over-quota", "{over}");
    // Both of them are this hour's, whatever became of them.
    site.set("{}", r#"{"uploads_hour": 2}"#).await;
    let late = problem(ask().await, 429, "rate-limited").await;
    assert_eq!(late["limit_name"], "uploads_hour");
    assert_eq!((site.pictures().await, web.asked().len()), (1, 2));
    site.close().await;
}

async fn a_killed_attempt_leaves_its_bytes_to_the_next_one(world: World, web: Web) {
    let site = Site::without_worker(world).await;
    let services = &site.world.services;
    let accepted = read(fetch(&site, "", json!({ "url": web.url("/9.jpg") })).await, 202).await;
    let job: JobId = accepted["media"][0]["job"]["id"].as_str().unwrap().parse().unwrap();
    // A worker that fetched it, and was never heard of since.
    let long_ago = services.clock.now().before(jobs::SILENCE * 2);
    let claims = jobs::claim(&services.control, "gone", std::slice::from_ref(&job), long_ago).await;
    assert!(matches!(claims.unwrap().as_slice(), [jobs::Claim::Yours(_)]));
    let staged = ObjectKey::staged(site.world.tenant().await.id(), &job);
    let bytes = sample::small(9).into();
    services
        .objects
        .put(&staged, bytes, "application/octet-stream")
        .await
        .unwrap();
    let settings = Settings::from_config(&services.config);
    services
        .shutdown
        .spawn(mediamill_workers::run(services.clone(), settings));
    let row = site.world.finished(&job).await;
    assert_eq!((row.state, row.attempts), (JobState::Done, 2), "{:?}", row.cause);
    assert_eq!((site.pictures().await, web.asked().len()), (1, 0));
    let sent = site.ready(9).await;
    let got = read(site.get(accepted["media"][0]["url"].as_str().unwrap()).await, 200).await;
    assert_eq!(got["variants"][0]["sha256"], sent["variants"][0]["sha256"]);
    site.close().await;
}

async fn tenants_fetch_for_themselves(world: World, web: Web) {
    let limits = LimitOverrides::default().set(Limit::UploadUrl, 0);
    let (closed, closed_key) = world.another_tenant_with("closed", limits).await;
    let (open, open_key) = world.another_tenant("open").await;
    let mut site = Site::of(world).await;
    let first = fetched(&site, web.url("/1.jpg")).await;
    site.be(&closed, closed_key);
    problem(
        fetch(&site, "", json!({ "url": web.url("/1.jpg") })).await,
        403,
        "switched-off",
    )
    .await;
    site.be(&open, open_key);
    let theirs = fetched(&site, web.url("/1.jpg")).await;
    assert_ne!(theirs["id"], first["id"]);
    let foreign = format!("/v1/media/{}", first["id"].as_str().unwrap());
    assert_eq!(site.get(&foreign).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(site.pictures().await, 1);
    for id in [open, closed] {
        let tenant = site.world.services.resolver.by_id(&id).await.unwrap().unwrap();
        assert_eq!(differences(&site.world.services, &tenant).await, Vec::<String>::new());
    }
    site.close().await;
}

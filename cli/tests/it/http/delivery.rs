//! What is given back: pictures, pages of them, a job's events, and how the installation is.

use super::{Site, problem};
use mediamill_media::sample;
use mediamill_shared::{
    objects::{ObjectKey, Store},
    testing::{PATIENCE, World},
};
use reqwest::{Method, StatusCode, header};
use serde_json::Value;

mediamill_shared::on_both_sides!(
    an_upload_is_served_as_the_pictures_it_became,
    pages_follow_each_other,
    a_deleted_picture_is_gone,
    events_tell_of_a_job_until_it_is_over,
    a_drained_installation_is_ready_and_says_so,
);

async fn an_upload_is_served_as_the_pictures_it_became(world: World) {
    let site = Site::of(world).await;
    let photograph = sample::photographs().swap_remove(1);
    let request = site
        .request(Method::POST, "/v1/media?wait=60")
        .header("x-file-name", photograph.name);
    let answer = request.body(photograph.bytes.clone()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let location = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    let picture = &body["media"][0];
    assert_eq!(picture["file_name"], photograph.name);
    assert_eq!((&picture["width"], &picture["height"]), (&1_800.into(), &2_400.into()));
    let shown: Value = site.get(&location).await.json().await.unwrap();
    assert_eq!(&shown, picture);
    for variant in picture["variants"].as_array().unwrap() {
        let url: reqwest::Url = variant["url"].as_str().unwrap().parse().unwrap();
        assert_eq!(url.host_str(), Some(World::HOST));
        // Without a key: pictures are public.
        let whole = site.bare(Method::GET, url.path()).send().await.unwrap();
        assert_eq!(whole.status(), StatusCode::OK);
        let headers = whole.headers().clone();
        let etag = headers[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!(etag.trim_matches('"'), variant["sha256"]);
        for (name, value) in [
            ("content-type", "image/jpeg"),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("accept-ranges", "bytes"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        let bytes = whole.bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, variant["bytes"].as_u64().unwrap());
        assert!(bytes.starts_with(b"\xff\xd8\xff"));
        let part = site
            .bare(Method::GET, url.path())
            .header(header::RANGE, "bytes=10-19")
            .send()
            .await
            .unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(
            part.headers()[header::CONTENT_RANGE],
            format!("bytes 10-19/{}", bytes.len()).as_str()
        );
        assert_eq!(part.bytes().await.unwrap(), bytes[10..20]);
        let beyond = site
            .bare(Method::GET, url.path())
            .header(header::RANGE, "bytes=99999999-");
        problem(beyond.send().await.unwrap(), 416, "range-not-satisfiable").await;
        let known = site
            .bare(Method::GET, url.path())
            .header(header::IF_NONE_MATCH, &etag)
            .send()
            .await
            .unwrap();
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(known.headers()[header::ETAG], etag.as_str());
        let head = site.bare(Method::HEAD, url.path()).send().await.unwrap();
        assert_eq!(head.headers()[header::CONTENT_LENGTH], bytes.len().to_string().as_str());
    }
    let id = picture["id"].as_str().unwrap();
    problem(
        site.bare(Method::GET, &format!("/m/{id}/thumb.png"))
            .send()
            .await
            .unwrap(),
        404,
        "not-found",
    )
    .await;
    problem(
        site.bare(Method::GET, &format!("/m/{id}/huge")).send().await.unwrap(),
        404,
        "not-found",
    )
    .await;
    site.close().await;
}

async fn pages_follow_each_other(world: World) {
    let site = Site::of(world).await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(site.ready(number).await["id"].as_str().unwrap().to_owned());
    }
    made.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: Value = site
            .get(&format!("/v1/media?limit=2{cursor}"))
            .await
            .json()
            .await
            .unwrap();
        let ids = page["media"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, made, "newest first, each once");
    problem(site.get("/v1/media?limit=0").await, 400, "bad-request").await;
    problem(site.get("/v1/media?cursor=%27").await, 400, "bad-request").await;
    site.close().await;
}

async fn a_deleted_picture_is_gone(world: World) {
    let site = Site::of(world).await;
    let picture = site.ready(1).await;
    let path = format!("/v1/media/{}", picture["id"].as_str().unwrap());
    let answer = site
        .request(Method::DELETE, &format!("{path}?wait=60"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    problem(site.get(&path).await, 404, "not-found").await;
    problem(
        site.request(Method::DELETE, &path).send().await.unwrap(),
        404,
        "not-found",
    )
    .await;
    let thumb: reqwest::Url = picture["variants"][3]["url"].as_str().unwrap().parse().unwrap();
    problem(
        site.bare(Method::GET, thumb.path()).send().await.unwrap(),
        404,
        "not-found",
    )
    .await;
    let usage: Value = site.get("/v1/usage").await.json().await.unwrap();
    assert_eq!(
        (&usage["media"]["used"], &usage["stored_bytes"]["used"]),
        (&0.into(), &0.into()),
        "{usage}"
    );
    let objects = &site.world.services.objects;
    assert_eq!(objects.list(ObjectKey::MEDIA, None, 10).await.unwrap(), []);
    site.close().await;
}

async fn events_tell_of_a_job_until_it_is_over(world: World) {
    let site = Site::of(world).await;
    let accepted: Value = site.upload("/v1/media", sample::small(1)).await.json().await.unwrap();
    let url = format!("{}/events", accepted["media"][0]["job"]["url"].as_str().unwrap());
    let answer = site.get(&url).await;
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
    // The stream ends by itself: the job is over.
    let text = answer.text().await.unwrap();
    let states: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| {
            serde_json::from_str::<Value>(data).unwrap()["state"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(states.last().unwrap(), "done", "{text}");
    let order = ["queued", "running", "done"];
    assert!(
        states
            .iter()
            .map(|state| order.iter().position(|one| one == state).unwrap())
            .is_sorted(),
        "{states:?}"
    );
    site.close().await;
}

async fn a_drained_installation_is_ready_and_says_so(world: World) {
    let site = Site::of(world).await;
    // A server that many tests use may be late once.
    let look = async {
        loop {
            let ready = site.bare(Method::GET, "/readyz").send().await.unwrap();
            if ready.status() == StatusCode::OK {
                return ready;
            }
        }
    };
    let ready = tokio::time::timeout(PATIENCE, look).await.unwrap();
    let ready: Value = ready.json().await.unwrap();
    for part in ["database", "schema", "queue", "cache", "objects"] {
        assert_eq!(ready["parts"][part]["ok"], true, "{ready}");
    }
    let document: Value = site
        .bare(Method::GET, "/openapi.json")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(document["paths"]["/v1/media"]["post"].is_object());
    let page = site.bare(Method::GET, "/docs").send().await.unwrap();
    assert!(page.text().await.unwrap().contains("/v1/media"));
    problem(
        site.bare(Method::GET, "/nothing").send().await.unwrap(),
        404,
        "not-found",
    )
    .await;
    problem(
        site.bare(Method::PUT, "/v1/media").send().await.unwrap(),
        405,
        "method-not-allowed",
    )
    .await;
    site.close().await;
}

//! A tenant that is frozen: every way to store something is refused with why, everything else goes on; and where its plan has it so,
//! its oldest pictures go instead.

use super::{Site, on_demand, problem};
use mediamill_media::sample;
use mediamill_scheduler::run_once;
use mediamill_shared::{
    clock::Stopwatch,
    control::audit,
    testing::{PATIENCE, World},
};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};
use std::time::Duration;

mediamill_shared::on_both_sides!(
    a_frozen_tenant_stores_nothing_by_any_way_and_the_rest_goes_on,
    the_oldest_pictures_go_until_it_fits,
);

async fn enforce(site: &Site) -> i64 {
    for timer in ["roll-up-usage", "enforce-limits"] {
        let changed = run_once(&site.world.services, timer).await.unwrap().changed;
        if timer == "enforce-limits" {
            return changed;
        }
    }
    0
}

async fn used(site: &Site) -> Value {
    site.get("/v1/usage").await.json().await.unwrap()
}

async fn post(site: &Site, path: &str, body: &Value) -> Response {
    site.request(Method::POST, path)
        .body(body.to_string())
        .send()
        .await
        .unwrap()
}

async fn keyed(site: &Site, number: u32) -> Response {
    let request = site
        .request(Method::POST, "/v1/media")
        .header("idempotency-key", "before");
    request.body(sample::small(number)).send().await.unwrap()
}

async fn a_frozen_tenant_stores_nothing_by_any_way_and_the_rest_goes_on(world: World) {
    let site = Site::of(world).await;
    let first = site.ready(1).await;
    let again = keyed(&site, 2).await;
    assert_eq!(again.status(), StatusCode::ACCEPTED);
    let again: Value = again.json().await.unwrap();
    let job = again["media"][0]["job"]["id"].as_str().unwrap().parse().unwrap();
    site.world.finished(&job).await;
    let (_, secret) = on_demand::made_key(&site).await;
    // Begun before it is frozen.
    let bytes = sample::small(3);
    let tus = site
        .request(Method::POST, "/v1/tus")
        .header("tus-resumable", "1.0.0")
        .header("upload-length", bytes.len());
    let tus = tus.send().await.unwrap().headers()[header::LOCATION]
        .to_str()
        .unwrap()
        .to_owned();

    site.set("{}", r#"{"media": 1, "grace_seconds": 0}"#).await;
    assert_eq!(enforce(&site).await, 2);
    let refused = async |answer: Response| {
        let document = problem(answer, 403, "frozen").await;
        let numbers = (&document["limit_name"], &document["limit"], &document["used"]);
        assert_eq!(numbers, (&"media".into(), &1.into(), &2.into()), "{document}");
        assert!(
            document["since"].is_string() && document["freeze_at"].is_string(),
            "{document}"
        );
    };
    refused(site.upload("/v1/media", sample::small(4)).await).await;
    let keyed_anew = site
        .request(Method::POST, "/v1/media")
        .header("idempotency-key", "after");
    refused(keyed_anew.body(sample::small(4)).send().await.unwrap()).await;
    refused(
        post(
            &site,
            "/v1/media/from-url",
            &json!({ "url": "https://example.org/a.jpg" }),
        )
        .await,
    )
    .await;
    let announced = json!({ "bytes": 1_000, "type": "image/jpeg", "file_name": "a.jpg" });
    refused(post(&site, "/v1/uploads", &announced).await).await;
    let begin = site
        .request(Method::POST, "/v1/tus")
        .header("tus-resumable", "1.0.0")
        .header("upload-length", 1_000);
    refused(begin.send().await.unwrap()).await;
    let rest = |site: &Site| {
        site.request(Method::PATCH, &tus)
            .header("tus-resumable", "1.0.0")
            .header(header::CONTENT_TYPE, "application/offset+octet-stream")
    };
    refused(
        rest(&site)
            .header("upload-offset", 0)
            .body(bytes.clone())
            .send()
            .await
            .unwrap(),
    )
    .await;
    let variant = on_demand::signed(&secret, &on_demand::path(&first, "w40,h30,cover.webp"));
    refused(site.bare(Method::GET, &variant).send().await.unwrap()).await;

    // What was accepted is answered again, reads go on, and everybody sees why.
    assert_eq!(keyed(&site, 2).await.status(), StatusCode::ACCEPTED);
    let original = on_demand::path(&first, "original");
    assert_eq!(
        site.bare(Method::GET, &original).send().await.unwrap().status(),
        StatusCode::OK
    );
    let usage = used(&site).await;
    assert_eq!(usage["frozen"], true, "{usage}");
    assert_eq!(usage["findings"][0]["state"], "frozen", "{usage}");
    assert_eq!(usage["media"]["used"], 2, "{usage}");

    // It makes room for itself.
    let path = format!("/v1/media/{}?wait=60", first["id"].as_str().unwrap());
    let deleted = site.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert_eq!(enforce(&site).await, 1);
    let usage = used(&site).await;
    assert_eq!(
        (&usage["frozen"], &usage["findings"]),
        (&false.into(), &json!([])),
        "{usage}"
    );
    site.set("{}", r#"{"media": 2}"#).await;
    // The upload that was begun before ends now: its bytes were kept.
    let finished = rest(&site).header("upload-offset", bytes.len()).send().await.unwrap();
    assert_eq!(finished.status(), StatusCode::NO_CONTENT, "{:?}", finished.headers());
    let job = finished.headers()["job-id"].to_str().unwrap().parse().unwrap();
    site.world.finished(&job).await;
    site.close().await;
}

async fn the_oldest_pictures_go_until_it_fits(world: World) {
    let site = Site::of(world).await;
    let mut pictures = Vec::new();
    for number in 1..=4 {
        pictures.push(site.ready(number).await["id"].as_str().unwrap().to_owned());
    }
    site.set("{}", r#"{"media": 2, "grace_seconds": 0, "expire_oldest": true}"#)
        .await;
    // Told of, and two pictures.
    assert_eq!(enforce(&site).await, 3);
    // They are still counted, and nothing goes in their stead.
    assert_eq!(enforce(&site).await, 0);
    let shown = async |id: &String| site.get(&format!("/v1/media/{id}")).await.status().as_u16();
    let mut states = Vec::new();
    for id in &pictures {
        states.push(shown(id).await);
    }
    assert_eq!(states, [404, 404, 200, 200]);
    let usage = used(&site).await;
    assert_eq!(
        (&usage["frozen"], &usage["findings"][0]["state"]),
        (&false.into(), &"expiring".into())
    );
    assert_eq!(run_once(&site.world.services, "expire-media").await.unwrap().changed, 2);
    let watch = Stopwatch::start();
    while used(&site).await["media"]["used"] != 2 {
        assert!(watch.elapsed() < PATIENCE, "two pictures are still counted");
        site.world.services.clock.sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(enforce(&site).await, 1, "it fits");
    assert_eq!(enforce(&site).await, 0);
    let tenant = site.world.tenant().await;
    let lines = audit::page(&site.world.services.control, Some(tenant.id()), None, 100)
        .await
        .unwrap();
    let line = lines.iter().find(|line| line.action == "media.expire").unwrap();
    assert_eq!(line.detail["media"], json!(pictures[..2]));
    assert_eq!(
        line.detail["over"],
        json!([{ "limit_name": "media", "limit": 2, "used": 4 }])
    );
    site.close().await;
}

//! Variants that signed links ask for.

use super::{Site, problem};
use futures_util::future::join_all;
use mediamill_shared::{
    control::{audit::Actor, changes::Change, jobs},
    jobs::JobKind,
    objects::{ObjectKey, Store},
    operators::hex_hmac,
    secrets::SecretText,
    tenancy::{Limit, LimitOverrides},
    testing::World,
};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

mediamill_shared::on_both_sides!(
    a_signed_link_makes_a_variant_once,
    who_asks_at_once_waits_for_one_job,
    a_link_that_asks_for_nothing_is_told_why,
    what_would_pass_a_limit_is_not_made,
    a_variant_of_a_picture_that_goes_leaves_nothing,
    link_keys_are_a_sites_own,
);

pub(super) async fn made_key(site: &Site) -> (String, SecretText) {
    let answer = site.request(Method::POST, "/v1/link-keys").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    let body: Value = answer.json().await.unwrap();
    let secret = body["secret"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 64);
    (body["id"].as_str().unwrap().to_owned(), SecretText::new(secret))
}

pub(super) fn signed(secret: &SecretText, path: &str) -> String {
    format!("{path}?sig={}", hex_hmac(secret, path.as_bytes()))
}

pub(super) fn path(picture: &Value, name: &str) -> String {
    format!("/m/{}/{name}", picture["id"].as_str().unwrap())
}

/// Objects that links asked for.
async fn on_demand(site: &Site) -> Vec<String> {
    let listed = site
        .world
        .services
        .objects
        .list(ObjectKey::MEDIA, None, 100)
        .await
        .unwrap();
    let keys = listed.into_iter().map(|one| one.key.as_str().to_owned());
    keys.filter(|key| key.contains("/_")).collect()
}

async fn a_signed_link_makes_a_variant_once(world: World) {
    let site = Site::of(world).await;
    let picture = site.ready(1).await;
    let before: Value = site.get("/v1/usage").await.json().await.unwrap();
    let (key, secret) = made_key(&site).await;
    let wanted = path(&picture, "w90,h60,cover.webp");
    let get = |path: String| site.bare(Method::GET, &path).send();
    problem(get(wanted.clone()).await.unwrap(), 404, "not-found").await;
    problem(get(format!("{wanted}?sig=00")).await.unwrap(), 403, "wrong-link").await;
    let elsewhere = signed(&secret, &path(&picture, "w91,h60,cover.webp"));
    let moved = elsewhere.replace("w91", "w90");
    problem(get(moved).await.unwrap(), 403, "wrong-link").await;
    assert!(on_demand(&site).await.is_empty());

    let first = get(signed(&secret, &wanted)).await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(first.headers()[header::CONTENT_TYPE], "image/webp");
    assert_eq!(
        first.headers()[header::CACHE_CONTROL],
        "public, max-age=31536000, immutable"
    );
    let etag = first.headers()[header::ETAG].clone();
    let bytes = first.bytes().await.unwrap();
    let probed = mediamill_media::probe(&bytes).unwrap();
    assert_eq!((probed.width, probed.height), (90, 60));
    // It is there now: no signature is looked at, and the same by other words is the same file.
    for same in ["w90,h60,cover.webp", "cover,h60,w90,q80.webp"] {
        let again = get(path(&picture, same)).await.unwrap();
        assert_eq!(
            (again.status(), &again.headers()[header::ETAG]),
            (StatusCode::OK, &etag)
        );
        assert_eq!(again.bytes().await.unwrap(), bytes);
    }
    problem(
        get(path(&picture, "w90,h60,cover.png")).await.unwrap(),
        404,
        "not-found",
    )
    .await;
    assert_eq!(on_demand(&site).await.len(), 1);
    let after: Value = site.get("/v1/usage").await.json().await.unwrap();
    let used = |usage: &Value| usage["stored_bytes"]["used"].as_u64().unwrap();
    assert_eq!(used(&after) - used(&before), bytes.len() as u64);
    assert_eq!(after["media"], before["media"]);
    let shown: Value = site
        .get(&format!("/v1/media/{}", picture["id"].as_str().unwrap()))
        .await
        .json()
        .await
        .unwrap();
    let listed = shown["variants"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"].as_str().unwrap().starts_with('_'));
    let url: reqwest::Url = listed.unwrap()["url"].as_str().unwrap().parse().unwrap();
    assert_eq!(get(url.path().to_owned()).await.unwrap().bytes().await.unwrap(), bytes);

    // A key that is gone makes no more, and what it made is served.
    let removed = site
        .request(Method::DELETE, &format!("/v1/link-keys/{key}"))
        .send()
        .await
        .unwrap();
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    problem(get(elsewhere).await.unwrap(), 403, "wrong-link").await;
    assert_eq!(get(signed(&secret, &wanted)).await.unwrap().status(), StatusCode::OK);
    site.close().await;
}

async fn who_asks_at_once_waits_for_one_job(world: World) {
    let site = Site::of(world).await;
    let picture = site.ready(2).await;
    let (_, secret) = made_key(&site).await;
    // Another process of the same installation.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = listener.local_addr().unwrap();
    let (services, router) = (
        site.world.services.clone(),
        mediamill_api::router(&site.world.services, None),
    );
    site.world.services.shutdown.spawn(async move {
        mediamill_api::serve(&services, "api", listener, router).await.unwrap();
    });
    let link = signed(&secret, &path(&picture, "w50.jpg"));
    let asked = join_all((0..24).map(|number| {
        let address = if number % 2 == 0 { site.address } else { other };
        let request = site.http.get(format!("http://{address}{link}"));
        request.header(header::HOST, World::HOST).send()
    }));
    let mut tags = std::collections::BTreeSet::new();
    for answer in asked.await {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        tags.insert(answer.headers()[header::ETAG].to_str().unwrap().to_owned());
    }
    assert_eq!(tags.len(), 1);
    let tenant = site.world.tenant().await;
    let id = picture["id"].as_str().unwrap();
    let last = jobs::latest_about(&site.world.services.control, tenant.id(), id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(last.kind, JobKind::MediaVariant);
    // Had there been another job, the last one's file would not be the one that is stored.
    let stored = on_demand(&site).await;
    assert!(stored.len() == 1 && stored[0].contains(last.id.as_str()), "{stored:?}");
    site.close().await;
}

async fn a_link_that_asks_for_nothing_is_told_why(world: World) {
    let site = Site::of(world).await;
    let picture = site.ready(3).await;
    let (_, secret) = made_key(&site).await;
    for (name, word) in [
        ("w90,h60,stretch.webp", "\"stretch\" is no option"),
        ("w0.webp", "width 0"),
        ("w90.svg", ".svg is none of"),
        ("w90,w80", "said twice"),
        ("w16000,h16000,contain", "pixels together"),
    ] {
        let answer = site
            .bare(Method::GET, &signed(&secret, &path(&picture, name)))
            .send()
            .await
            .unwrap();
        let document = problem(answer, 400, "bad-request").await;
        assert!(document["detail"].as_str().unwrap().contains(word), "{document}");
    }
    let nobody = json!({ "id": "01hf7y0000000000000000000a" });
    let answer = site
        .bare(Method::GET, &signed(&secret, &path(&nobody, "w90.webp")))
        .send()
        .await
        .unwrap();
    problem(answer, 404, "not-found").await;
    assert!(on_demand(&site).await.is_empty());
    site.close().await;
}

async fn what_would_pass_a_limit_is_not_made(world: World) {
    let limits = LimitOverrides::default().set(Limit::Variants, 4);
    let (id, key) = world.another_tenant_with("few", limits).await;
    let mut site = Site::of(world).await;
    site.be(&id, key);
    let picture = site.ready(4).await;
    let (_, secret) = made_key(&site).await;
    let ask = async |name: &str| {
        let link = signed(&secret, &path(&picture, name));
        site.bare(Method::GET, &link).send().await.unwrap()
    };
    // Three are built in.
    assert_eq!(ask("w20").await.status(), StatusCode::OK);
    let document = problem(ask("w21").await, 403, "over-quota").await;
    assert_eq!(
        (&document["limit_name"], &document["limit"]),
        (&json!("variants"), &json!(4))
    );
    assert_eq!(ask("w20").await.status(), StatusCode::OK);
    assert_eq!(on_demand(&site).await.len(), 1);
    let services = site.world.services.clone();
    let full = i64::try_from(used(&site).await).unwrap() + 10;
    let change = Change {
        limits: Some(LimitOverrides::default().set(Limit::StoredBytes, full)),
        ..Change::default()
    };
    services.lifecycle.change(&id, &change, &Actor::cli()).await.unwrap();
    let document = problem(ask("w22").await, 403, "over-quota").await;
    assert_eq!(document["limit_name"], "stored_bytes", "{document}");
    let tenant = services.resolver.by_id(&id).await.unwrap().unwrap();
    assert_eq!(
        mediamill_shared::testing::differences(&services, &tenant).await,
        Vec::<String>::new()
    );
    site.close().await;
}

async fn used(site: &Site) -> u64 {
    let usage: Value = site.get("/v1/usage").await.json().await.unwrap();
    usage["stored_bytes"]["used"].as_u64().unwrap()
}

async fn a_variant_of_a_picture_that_goes_leaves_nothing(world: World) {
    let site = Site::of(world).await;
    let (_, secret) = made_key(&site).await;
    for number in 0..6 {
        let picture = site.ready(number).await;
        let gone = format!("/v1/media/{}?wait=60", picture["id"].as_str().unwrap());
        let link = signed(&secret, &path(&picture, "w30.webp"));
        let (made, deleted) = tokio::join!(
            site.bare(Method::GET, &link).send(),
            site.request(Method::DELETE, &gone).send()
        );
        let (made, deleted) = (made.unwrap().status(), deleted.unwrap().status());
        assert_eq!(deleted, StatusCode::NO_CONTENT);
        assert!([StatusCode::OK, StatusCode::NOT_FOUND].contains(&made), "{made}");
    }
    assert_eq!(used(&site).await, 0);
    site.close().await;
}

async fn link_keys_are_a_sites_own(world: World) {
    let (other, theirs) = world.another_tenant("other").await;
    let mut site = Site::of(world).await;
    let (first, secret) = made_key(&site).await;
    for _ in 0..4 {
        made_key(&site).await;
    }
    let answer = site.request(Method::POST, "/v1/link-keys").send().await.unwrap();
    problem(answer, 409, "conflict").await;
    let listed: Value = site.get("/v1/link-keys").await.json().await.unwrap();
    let listed = listed["link_keys"].as_array().unwrap();
    assert_eq!(listed.len(), 5);
    assert!(listed.iter().all(|key| key.get("secret").is_none()));
    problem(
        site.bare(Method::GET, "/v1/link-keys").send().await.unwrap(),
        401,
        "missing-key",
    )
    .await;
    site.be(&other, theirs);
    let none: Value = site.get("/v1/link-keys").await.json().await.unwrap();
    assert_eq!(none["link_keys"], json!([]));
    let answer = site
        .request(Method::DELETE, &format!("/v1/link-keys/{first}"))
        .send()
        .await
        .unwrap();
    problem(answer, 404, "not-found").await;
    let picture = site.ready(5).await;
    let link = signed(&secret, &path(&picture, "w30.webp"));
    problem(site.bare(Method::GET, &link).send().await.unwrap(), 403, "wrong-link").await;
    site.close().await;
}

//! How long pictures stay, and what the same upload again is.

use super::{Site, problem, read};
use mediamill_media::sample;
use mediamill_shared::{
    control::audit::Actor,
    dead::Pace,
    ids::{JobId, MediaId, UserId},
    jobs::JobState,
    tenancy::{KeyText, store::users::Role},
    testing::{PATIENCE, World},
};
use reqwest::{Method, StatusCode, header, multipart};
use serde_json::{Value, json};

mediamill_shared::on_both_sides!(
    the_same_bytes_give_the_picture_that_is_there,
    the_same_bytes_at_once_are_one_picture,
    the_same_bytes_as_of_a_picture_that_is_deleted_make_another,
    whoever_finishes_an_upload_it_is_whose_it_was,
    a_job_back_from_the_dead_makes_nothing_that_was_uploaded_again,
    a_picture_is_gone_when_its_time_is_over,
    a_site_says_how_long_pictures_stay,
);

/// A key of another user of the site.
async fn another_user(site: &Site, name: &str) -> String {
    let services = &site.world.services;
    let (clock, entropy) = (&services.clock, &services.entropy);
    let user = UserId::generate(clock, entropy);
    let key = KeyText::generate(clock, entropy);
    let mut tx = site.world.tenant().await.db().unwrap().begin().await.unwrap();
    tx.add_user(&user, name, Role::User, clock.now()).await.unwrap();
    tx.add_key(&key, &user, "k", None, clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    key.reveal()
}

async fn the_same_bytes_give_the_picture_that_is_there(world: World) {
    let site = Site::of(world).await;
    site.set(r#"{"duplicates": "return-existing"}"#, "{}").await;
    let first = site.ready(1).await;
    let id = first["id"].as_str().unwrap();
    let again = read(site.upload("/v1/media", sample::small(1)).await, 200).await;
    assert_eq!(again["media"][0], first);
    // Within a request, beside something new.
    let part = |number| multipart::Part::bytes(sample::small(number)).file_name(format!("{number}.jpg"));
    let form = multipart::Form::new()
        .part("a", part(1))
        .part("b", part(2))
        .part("c", part(2));
    let mixed = site
        .request(Method::POST, "/v1/media")
        .multipart(form)
        .send()
        .await
        .unwrap();
    let mixed = read(mixed, 202).await;
    assert_eq!(
        (&mixed["media"][0]["id"], &mixed["media"][0]["state"]),
        (&first["id"], &json!("ready"))
    );
    assert_eq!(mixed["media"][1]["id"], mixed["media"][2]["id"]);
    let job = mixed["media"][1]["job"]["id"].as_str().unwrap().parse().unwrap();
    site.world.finished(&job).await;
    assert_eq!(site.pictures().await, 2);

    // Another user's too: it goes with the last of them.
    let other = another_user(&site, "other").await;
    let as_other = |method, path: &str| site.bare(method, path).bearer_auth(&other);
    let theirs = as_other(Method::POST, "/v1/media")
        .body(sample::small(1))
        .send()
        .await
        .unwrap();
    assert_eq!(read(theirs, 200).await["media"][0]["id"], id);
    let path = format!("/v1/media/{id}");
    let kept = site.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(kept.status(), StatusCode::NO_CONTENT);
    read(site.get(&path).await, 200).await;
    assert_eq!(site.pictures().await, 2);
    // Twice, since the first answer was lost.
    let third = another_user(&site, "third").await;
    let as_third = |method, path: &str| site.bare(method, path).bearer_auth(&third);
    let theirs = as_third(Method::POST, "/v1/media").body(sample::small(1)).send().await;
    read(theirs.unwrap(), 200).await;
    for _ in 0..2 {
        let given_up = as_third(Method::DELETE, &path).send().await.unwrap();
        assert_eq!(given_up.status(), StatusCode::NO_CONTENT);
        assert_eq!(site.pictures().await, 2);
    }
    let again = site.request(Method::DELETE, &path).send().await.unwrap();
    problem(again, 409, "conflict").await;
    let for_all = format!("{path}?for_all=true");
    let refused = as_third(Method::DELETE, &for_all).send().await.unwrap();
    problem(refused, 403, "missing-scope").await;
    assert_eq!(site.pictures().await, 2);
    let gone = as_other(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::ACCEPTED);
    // Out of sight and of the count before its files are gone.
    problem(site.get(&path).await, 404, "not-found").await;
    assert_eq!(site.pictures().await, 1);
    let new = read(site.upload("/v1/media?wait=60", sample::small(1)).await, 201).await;
    assert_ne!(new["media"][0]["id"], id);
    let theirs = as_other(Method::POST, "/v1/media").body(sample::small(1)).send().await;
    read(theirs.unwrap(), 200).await;
    let all = format!(
        "/v1/media/{}?for_all=true&wait=60",
        new["media"][0]["id"].as_str().unwrap()
    );
    let gone = site.request(Method::DELETE, &all).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert_eq!(site.pictures().await, 1);
    site.close().await;
}

async fn the_same_bytes_at_once_are_one_picture(world: World) {
    let site = Site::of(world).await;
    site.set(r#"{"duplicates": "return-existing"}"#, "{}").await;
    let uploads = (0..8).map(|_| site.upload("/v1/media?wait=60", sample::small(7)));
    let mut ids = std::collections::BTreeSet::new();
    for answer in futures_util::future::join_all(uploads).await {
        assert!(answer.status().is_success(), "{}", answer.status());
        let answer: Value = answer.json().await.unwrap();
        ids.insert(answer["media"][0]["id"].as_str().unwrap().to_owned());
    }
    assert_eq!((ids.len(), site.pictures().await), (1, 1));
    site.set("{}", "{}").await;
    let (one, two) = (site.ready(7).await, site.ready(7).await);
    assert_ne!(one["id"], two["id"]);
    assert_eq!(site.pictures().await, 3);
    site.close().await;
}

/// Its job is not over: what was staged for it could not be removed, say.
async fn the_same_bytes_as_of_a_picture_that_is_deleted_make_another(world: World) {
    let site = Site::of(world).await;
    site.set(r#"{"duplicates": "return-existing"}"#, "{}").await;
    let first = site.ready(1).await;
    let id = first["id"].as_str().unwrap();
    let reopen = "UPDATE jobs SET state = 'queued', due_at = due_at + 3600000 WHERE subject = $1";
    site.world.execute(reopen, &[id]).await;
    let deleted = site.request(Method::DELETE, &format!("/v1/media/{id}"));
    assert_eq!(deleted.send().await.unwrap().status(), StatusCode::ACCEPTED);
    let again = read(site.upload("/v1/media?wait=60", sample::small(1)).await, 201).await;
    let other = again["media"][0]["id"].as_str().unwrap();
    assert_ne!(other, id);
    read(site.get(&format!("/v1/media/{other}")).await, 200).await;
    assert_eq!(site.pictures().await, 1);
    site.close().await;
}

async fn a_job_back_from_the_dead_makes_nothing_that_was_uploaded_again(world: World) {
    let site = Site::without_worker(world).await;
    let services = &site.world.services;
    site.set(r#"{"duplicates": "return-existing"}"#, "{}").await;
    let first = read(site.upload("/v1/media", sample::small(1)).await, 202).await;
    let job: JobId = first["media"][0]["job"]["id"].as_str().unwrap().parse().unwrap();
    let dead = "UPDATE jobs SET state = 'dead', held = 0, attempts = 12, cause_code = 'test', finished_at = created_at WHERE id = $1";
    site.world.execute(dead, &[job.as_str()]).await;
    site.work();
    let again = read(site.upload("/v1/media?wait=60", sample::small(1)).await, 201).await;
    let there = again["media"][0]["id"].as_str().unwrap();
    assert_ne!(first["media"][0]["id"], there);
    let mut pace = Pace::new(None, services.clock.now());
    assert!(services.dead.retry(&job, &mut pace, &Actor::cli()).await.unwrap());
    let row = site.world.finished(&job).await;
    assert_eq!(
        (row.state, row.subject.as_deref()),
        (JobState::Done, Some(there)),
        "{:?}",
        row.cause
    );
    assert_eq!(site.pictures().await, 1);
    site.world.assert_at_rest().await;
    site.close().await;
}

async fn whoever_finishes_an_upload_it_is_whose_it_was(world: World) {
    let site = Site::of(world).await;
    site.set(r#"{"duplicates": "return-existing"}"#, "{}").await;
    let bytes = sample::small(1);
    let begun = site.request(Method::POST, "/v1/tus").header("tus-resumable", "1.0.0");
    let begun = begun.header("upload-length", bytes.len()).send().await.unwrap();
    assert_eq!(begun.status(), StatusCode::CREATED);
    let at = begun.headers()[header::LOCATION].to_str().unwrap();
    let other = another_user(&site, "other").await;
    let sent = site.bare(Method::PATCH, at).bearer_auth(&other);
    let sent = sent
        .header("tus-resumable", "1.0.0")
        .header(header::CONTENT_TYPE, "application/offset+octet-stream")
        .header("upload-offset", 0);
    let sent = sent.body(bytes).send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::NO_CONTENT);
    let id = |name: &str| sent.headers()[name].to_str().unwrap();
    let (media, job) = (id("media-id").parse().unwrap(), id("job-id").parse().unwrap());
    site.world.finished(&job).await;
    let own: MediaId = site.ready(2).await["id"].as_str().unwrap().parse().unwrap();
    let db = site.world.tenant().await.db().unwrap();
    let (holders, owners) = (db.holders(&media).await.unwrap(), db.holders(&own).await.unwrap());
    assert_eq!((holders.len(), &holders), (1, &owners));
    site.close().await;
}

async fn a_picture_is_gone_when_its_time_is_over(world: World) {
    let site = Site::of(world).await;
    let answer = site.upload("/v1/media?wait=60&expiration=PT1H", sample::small(1)).await;
    let picture = read(answer, 201).await["media"][0].clone();
    let (id, created) = (picture["id"].as_str().unwrap(), picture["created_at"].as_str().unwrap());
    let moment = |text: &str| mediamill_shared::interval::moment(text).unwrap();
    let stays = moment(picture["expires_at"].as_str().unwrap()).since(moment(created));
    assert!((3_590..=3_601).contains(&stays.as_secs()), "{stays:?}");
    let file = format!("/m/{id}/thumb");
    let served = site.bare(Method::GET, &file).send().await.unwrap();
    let cached = served.headers()[header::CACHE_CONTROL].to_str().unwrap();
    let seconds: u64 = cached.strip_prefix("public, max-age=").unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&seconds), "{cached}");

    let edit = async |body: Value| {
        let request = site.request(Method::PATCH, &format!("/v1/media/{id}"));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        request.body(body.to_string()).send().await.unwrap()
    };
    let never = read(edit(json!({ "expires_at": null })).await, 200).await;
    assert_eq!(never.get("expires_at"), None);
    let edited = read(edit(json!({ "expiration": "2" })).await, 200).await;
    let soon = moment(edited["expires_at"].as_str().unwrap());
    let look = async {
        loop {
            let before = site.world.services.clock.now();
            let status = site.bare(Method::GET, &file).send().await.unwrap().status();
            if status == StatusCode::NOT_FOUND {
                return;
            }
            assert!(before < soon, "served after its time");
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap();
    assert!(site.world.services.clock.now() >= soon, "gone before its time");
    problem(site.get(&format!("/v1/media/{id}")).await, 404, "not-found").await;
    assert_eq!(read(site.get("/v1/media").await, 200).await["media"], json!([]));
    problem(edit(json!({ "expires_at": null })).await, 404, "not-found").await;
    // Swept by the timer, once.
    let timer = async || {
        mediamill_scheduler::run_once(&site.world.services, "expire-media")
            .await
            .unwrap()
            .changed
    };
    assert_eq!((timer().await, timer().await), (1, 0));
    site.close().await;
}

async fn a_site_says_how_long_pictures_stay(world: World) {
    let site = Site::of(world).await;
    for (query, told) in [
        ("expiration=P1D&expires_at=2099-01-01T00:00:00Z", "not both"),
        ("expiration=soon", "is no interval"),
        ("expires_at=tomorrow", "is no moment"),
        ("expires_at=2001-01-01T00:00:00Z", "in the future"),
    ] {
        let answer = site.upload(&format!("/v1/media?{query}"), sample::small(1)).await;
        let told_by = problem(answer, 400, "bad-request").await;
        assert!(told_by["detail"].as_str().unwrap().contains(told), "{told_by}");
    }
    site.set(r#"{"expiration": "P1M"}"#, r#"{"lifetime_seconds": 3600}"#)
        .await;
    let picture = site.ready(1).await;
    let moment = |member: &str| mediamill_shared::interval::moment(picture[member].as_str().unwrap()).unwrap();
    let stays = moment("expires_at").since(moment("created_at")).as_secs();
    assert!(
        (3_590..=3_601).contains(&stays),
        "the limit is less than the setting: {stays}"
    );
    let told = site.upload("/v1/media?expiration=PT2H", sample::small(1)).await;
    let told = problem(told, 403, "over-quota").await;
    assert_eq!(
        (&told["limit_name"], &told["limit"], &told["asked"]),
        (&json!("lifetime_seconds"), &json!(3_600), &json!(7_200))
    );
    site.close().await;
}

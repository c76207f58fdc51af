//! Limits that count by the hour and the month, over real connections; and what `GET /v1/usage` says of all that is counted.

use super::{Site, problem};
use mediamill_media::sample;
use mediamill_shared::{
    control::{audit::Actor, changes::Change},
    quota::Period,
    tenancy::{Limit, LimitOverrides},
    testing::World,
    units::Millis,
};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::Value;
use std::time::Duration;

mediamill_shared::on_both_sides!(
    uploads_of_an_hour_are_counted_told_and_refused,
    what_is_not_accepted_is_not_counted,
    a_request_that_was_accepted_is_answered_again_when_nothing_is_left,
    a_multipart_takes_as_many_as_it_has_files,
    bytes_that_are_sent_are_counted_and_held_to_the_month,
    bytes_are_counted_without_a_limit_and_survive_the_process,
    usage_shows_everything_that_is_counted,
    over_quota_names_limit_used_and_asked,
);

/// The site of a tenant with these limits.
async fn limited(world: World, limits: LimitOverrides) -> Site {
    let mut site = Site::of(world).await;
    let (id, key) = site.world.another_tenant_with("limited", limits).await;
    site.be(&id, key);
    site
}

fn limits(values: &[(Limit, i64)]) -> LimitOverrides {
    values.iter().fold(LimitOverrides::default(), |limits, (limit, value)| {
        limits.set(*limit, *value)
    })
}

/// Gives the hour some time: a test that begins in its last seconds would see the next one.
pub(super) async fn early_in_the_hour(world: &World) {
    let (clock, least) = (&world.services.clock, Duration::from_secs(30));
    let left = |now: Millis| Period::hour_of(now).end.since(now);
    while left(clock.now()) < least {
        clock.sleep(left(clock.now())).await;
    }
}

fn told<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

/// What `RateLimit` says is left, and in how many seconds the hour ends.
fn left(answer: &Response) -> (i64, u64) {
    let text = told(answer, "ratelimit").unwrap();
    let (left, seconds) = text
        .strip_prefix("\"uploads-hour\";r=")
        .and_then(|rest| rest.split_once(";t="))
        .unwrap_or_else(|| panic!("{text}"));
    (left.parse().unwrap(), seconds.parse().unwrap())
}

async fn usage(site: &Site) -> Value {
    site.get("/v1/usage").await.json().await.unwrap()
}

async fn uploads_of_an_hour_are_counted_told_and_refused(world: World) {
    early_in_the_hour(&world).await;
    let site = limited(world, limits(&[(Limit::UploadsHour, 2)])).await;
    for expected in [1, 0] {
        let answer = site.upload("/v1/media?wait=60", sample::small(expected)).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(told(&answer, "ratelimit-policy"), Some("\"uploads-hour\";q=2;w=3600"));
        let (left, seconds) = left(&answer);
        assert_eq!(left, i64::from(expected));
        assert!((1..=3_600).contains(&seconds), "{seconds}");
    }
    let refused = site.upload("/v1/media", sample::small(3)).await;
    assert_eq!(told(&refused, "ratelimit-policy"), Some("\"uploads-hour\";q=2;w=3600"));
    assert_eq!(left(&refused).0, 0);
    let retry_after: u64 = told(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((1..=3_600).contains(&retry_after), "{retry_after}");
    let document = problem(refused, 429, "rate-limited").await;
    assert_eq!(
        (
            &document["limit_name"],
            &document["limit"],
            &document["used"],
            &document["asked"]
        ),
        (&"uploads_hour".into(), &2.into(), &2.into(), &1.into())
    );
    assert_eq!(document["retry_after"], retry_after);
    assert!(
        document["resets_at"].as_str().unwrap().ends_with(":00:00.000Z"),
        "{document}"
    );
    // What else it does is not an upload.
    let listed = site.get("/v1/media").await;
    assert_eq!((listed.status(), told(&listed, "ratelimit")), (StatusCode::OK, None));
    let shown = usage(&site).await;
    let uploads = &shown["uploads_hour"];
    assert_eq!(
        (&uploads["used"], &uploads["limit"], &uploads["remaining"]),
        (&2.into(), &2.into(), &0.into()),
        "{shown}"
    );
    assert_eq!(uploads["resets_at"], document["resets_at"]);
    site.close().await;
}

async fn what_is_not_accepted_is_not_counted(world: World) {
    early_in_the_hour(&world).await;
    let site = limited(world, limits(&[(Limit::UploadsHour, 3), (Limit::Media, 1)])).await;
    let send = async |name: &str, number: u32| {
        let request = site.request(Method::POST, "/v1/media?wait=60");
        let request = request.header("idempotency-key", name.to_owned());
        request.body(sample::small(number)).send().await.unwrap()
    };
    let first = send("once", 1).await;
    assert_eq!((first.status(), left(&first).0), (StatusCode::CREATED, 2));
    // The same again, one that is no picture, and one too many: none of them is accepted.
    let again = send("once", 1).await;
    assert_eq!(
        (again.headers()["idempotent-replayed"].to_str().unwrap(), left(&again).0),
        ("true", 2)
    );
    problem(
        site.upload("/v1/media", "no picture at all").await,
        415,
        "unsupported-media-type",
    )
    .await;
    let over = site.upload("/v1/media", sample::small(3)).await;
    assert_eq!(left(&over).0, 2);
    problem(over, 403, "over-quota").await;
    assert_eq!(usage(&site).await["uploads_hour"]["used"], 1);
    site.close().await;
}

async fn a_request_that_was_accepted_is_answered_again_when_nothing_is_left(world: World) {
    early_in_the_hour(&world).await;
    let site = limited(world, limits(&[(Limit::UploadsHour, 1)])).await;
    let send = async |name: &str, number: u32| {
        let request = site.request(Method::POST, "/v1/media?wait=60");
        let request = request.header("idempotency-key", name.to_owned());
        request.body(sample::small(number)).send().await.unwrap()
    };
    assert_eq!(send("once", 1).await.status(), StatusCode::CREATED);
    let again = send("once", 1).await;
    assert_eq!((again.status(), left(&again).0), (StatusCode::CREATED, 0));
    assert_eq!(told(&again, "idempotent-replayed"), Some("true"));
    problem(send("twice", 2).await, 429, "rate-limited").await;
    // Other files under the name that was used, as long as there is room.
    let roomy = site
        .world
        .another_tenant_with("roomy", limits(&[(Limit::UploadsHour, 5)]))
        .await;
    let mut site = site;
    site.be(&roomy.0, roomy.1);
    let first = site
        .request(Method::POST, "/v1/media?wait=60")
        .header("idempotency-key", "once");
    assert_eq!(left(&first.body(sample::small(1)).send().await.unwrap()).0, 4);
    let other = site
        .request(Method::POST, "/v1/media")
        .header("idempotency-key", "once");
    let other = other.body(sample::small(2)).send().await.unwrap();
    assert_eq!(left(&other).0, 4);
    problem(other, 422, "idempotency-key-reused").await;
    assert_eq!(usage(&site).await["uploads_hour"]["used"], 1);
    site.close().await;
}

async fn a_multipart_takes_as_many_as_it_has_files(world: World) {
    early_in_the_hour(&world).await;
    let site = limited(world, limits(&[(Limit::UploadsHour, 3)])).await;
    let send = async |files: u32| {
        let form = (0..files).fold(reqwest::multipart::Form::new(), |form, number| {
            let part = reqwest::multipart::Part::bytes(sample::small(number)).file_name(format!("{number}.jpg"));
            form.part("file", part)
        });
        site.request(Method::POST, "/v1/media?wait=60")
            .multipart(form)
            .send()
            .await
            .unwrap()
    };
    let two = send(2).await;
    assert_eq!((two.status(), left(&two).0), (StatusCode::CREATED, 1));
    let document = problem(send(2).await, 429, "rate-limited").await;
    assert_eq!((&document["used"], &document["asked"]), (&2.into(), &2.into()));
    let last = send(1).await;
    assert_eq!((last.status(), left(&last).0), (StatusCode::CREATED, 0));
    site.close().await;
}

async fn bytes_that_are_sent_are_counted_and_held_to_the_month(world: World) {
    let site = limited(world, LimitOverrides::default()).await;
    let picture = site.ready(1).await;
    let path = format!("/m/{}/original", picture["id"].as_str().unwrap());
    let length = picture["variants"]
        .as_array()
        .unwrap()
        .iter()
        .find(|variant| variant["name"] == "original")
        .unwrap()["bytes"]
        .as_i64()
        .unwrap();
    let id = "limited".parse().unwrap();
    let change = Change {
        limits: Some(limits(&[(Limit::BytesOutMonth, 2 * length + 10)])),
        ..Change::default()
    };
    let services = &site.world.services;
    services.lifecycle.change(&id, &change, &Actor::cli()).await.unwrap();
    services.resolver.refresh(&id).await.unwrap();
    let ask = async |method: Method, range: Option<&str>, etag: Option<&str>| {
        let mut request = site.bare(method, &path);
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        request.send().await.unwrap()
    };
    let whole = ask(Method::GET, None, None).await;
    let etag = told(&whole, "etag").unwrap().to_owned();
    assert_eq!(i64::try_from(whole.bytes().await.unwrap().len()).unwrap(), length);
    let used = async || usage(&site).await["bytes_out_month"]["used"].as_i64().unwrap();
    assert_eq!(used().await, length);
    // A part counts as that; what has no body counts as nothing.
    assert_eq!(
        ask(Method::GET, Some("bytes=0-9"), None)
            .await
            .bytes()
            .await
            .unwrap()
            .len(),
        10
    );
    assert_eq!(ask(Method::HEAD, None, None).await.status(), StatusCode::OK);
    assert_eq!(
        ask(Method::GET, None, Some(&etag)).await.status(),
        StatusCode::NOT_MODIFIED
    );
    assert_eq!(used().await, length + 10);
    // It fits exactly, and then not a byte more.
    assert_eq!(
        ask(Method::GET, None, None).await.bytes().await.unwrap().len(),
        usize::try_from(length).unwrap()
    );
    let refused = ask(Method::GET, Some("bytes=0-0"), None).await;
    let retry_after: u64 = told(&refused, "retry-after").unwrap().parse().unwrap();
    let policy = format!("\"bytes-out-month\";q={};w=", 2 * length + 10);
    assert!(told(&refused, "ratelimit-policy").unwrap().starts_with(&policy));
    assert!(
        told(&refused, "ratelimit")
            .unwrap()
            .starts_with("\"bytes-out-month\";r=0;t=")
    );
    let document = problem(refused, 429, "rate-limited").await;
    assert_eq!(
        (
            &document["limit_name"],
            &document["limit"],
            &document["used"],
            &document["asked"]
        ),
        (
            &"bytes_out_month".into(),
            &(2 * length + 10).into(),
            &(2 * length + 10).into(),
            &1.into()
        )
    );
    assert_eq!(document["retry_after"], retry_after);
    assert!(
        document["resets_at"].as_str().unwrap().ends_with("-01T00:00:00.000Z"),
        "{document}"
    );
    assert_eq!(ask(Method::HEAD, None, None).await.status(), StatusCode::OK);
    assert_eq!(
        ask(Method::GET, None, Some(&etag)).await.status(),
        StatusCode::NOT_MODIFIED
    );
    assert_eq!(usage(&site).await["bytes_out_month"]["remaining"], 0);
    site.close().await;
}

async fn bytes_are_counted_without_a_limit_and_survive_the_process(world: World) {
    let site = Site::of(world).await;
    let picture = site.ready(1).await;
    let path = format!("/m/{}/thumb", picture["id"].as_str().unwrap());
    let sent = site
        .bare(Method::GET, &path)
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap()
        .len();
    let sent = i64::try_from(sent).unwrap();
    let (control, id) = (
        site.world.services.control.clone(),
        site.world.tenant().await.id().clone(),
    );
    let month = Period::month_of(site.world.services.clock.now());
    // Stopped, it counts what it has not counted.
    site.world.assert_at_rest().await;
    site.world.services.shutdown.stop();
    let look = async {
        loop {
            let counted = mediamill_shared::control::metering::bytes_out(&control, &id, month)
                .await
                .unwrap();
            if counted.get() == sent {
                return;
            }
            site.world.services.clock.sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(mediamill_shared::testing::PATIENCE, look)
        .await
        .unwrap();
}

async fn usage_shows_everything_that_is_counted(world: World) {
    early_in_the_hour(&world).await;
    let site = limited(
        world,
        limits(&[(Limit::Media, 5), (Limit::ApiKeys, 4), (Limit::StoredBytes, 1_000_000)]),
    )
    .await;
    site.ready(1).await;
    let shown = usage(&site).await;
    let counted = |name: &str, member: &str| shown[name][member].clone();
    assert_eq!(counted("media", "used"), 1);
    assert_eq!(counted("media", "limit"), 5);
    assert_eq!(counted("media", "reserved"), 0);
    assert_eq!(counted("media", "remaining"), 4);
    assert_eq!(counted("media", "resets_at"), Value::Null);
    let bytes = counted("stored_bytes", "used").as_i64().unwrap();
    assert!(bytes > 0);
    assert_eq!(counted("stored_bytes", "remaining"), 1_000_000 - bytes);
    assert_eq!(
        (counted("users", "used"), counted("users", "limit")),
        (1.into(), Value::Null)
    );
    assert_eq!(
        (counted("api_keys", "used"), counted("api_keys", "remaining")),
        (1.into(), 3.into())
    );
    assert_eq!(
        (counted("uploads_hour", "used"), counted("uploads_hour", "remaining")),
        (1.into(), Value::Null)
    );
    assert_eq!(
        (counted("image_bytes", "used"), counted("animation_bytes", "used")),
        (bytes.into(), 0.into())
    );
    assert_eq!(counted("jobs_in_flight", "used"), 0);
    assert_eq!(
        (counted("bytes_out_month", "used"), counted("bytes_out_month", "limit")),
        (0.into(), Value::Null)
    );
    for name in ["uploads_hour", "bytes_out_month"] {
        assert!(
            counted(name, "resets_at").as_str().unwrap().ends_with(":00:00.000Z"),
            "{name}: {shown}"
        );
    }
    // What was there before is there still.
    assert!(shown["media"].is_object() && shown["stored_bytes"].is_object());
    site.close().await;
}

async fn over_quota_names_limit_used_and_asked(world: World) {
    let site = limited(world, limits(&[(Limit::StoredBytes, 10)])).await;
    let picture = sample::small(1);
    let asked = picture.len();
    let document = problem(site.upload("/v1/media", picture).await, 403, "over-quota").await;
    assert_eq!(
        (
            &document["limit_name"],
            &document["limit"],
            &document["used"],
            &document["asked"]
        ),
        (&"stored_bytes".into(), &10.into(), &0.into(), &asked.into())
    );
    site.close().await;
}

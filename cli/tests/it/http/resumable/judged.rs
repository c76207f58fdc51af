//! Uploads that may not be: others' tenants', no pictures, too many, too late.

use super::{
    Site, accepted, begin, begin_part, head, id_of, nothing_is_staged, picture, problem, send, settled, text, tus,
};
use mediamill_media::sample;
use mediamill_shared::{
    control::resumable::{self, Piece},
    objects::ObjectKey,
    tenancy::{Limit, LimitOverrides},
    testing::World,
    units::ByteCount,
};
use reqwest::{Method, StatusCode};

mediamill_shared::on_both_sides!(
    another_tenants_uploads_are_not_there,
    what_is_no_picture_is_refused_at_its_first_piece,
    what_does_not_fit_is_refused_and_removed,
    short_requests_have_an_end,
);

async fn another_tenants_uploads_are_not_there(world: World) {
    let mut site = Site::of(world).await;
    let bytes = sample::small(1);
    let (whole, part) = (begin(&site, bytes.len()).await, begin_part(&site, bytes.len()).await);
    assert_eq!(send(&site, &part, 0, &bytes).await.status(), StatusCode::NO_CONTENT);
    let own = site.world.key.clone();
    let (id, key) = site.world.another_tenant("other").await;
    site.be(&id, key);
    for at in [&whole, &part] {
        assert_eq!(head(&site, at).await.status(), StatusCode::NOT_FOUND);
        problem(send(&site, at, 0, &bytes).await, 404, "not-found").await;
        let answer = tus(&site, Method::DELETE, at).send().await.unwrap();
        problem(answer, 404, "not-found").await;
    }
    let answer = tus(&site, Method::POST, "/v1/tus").header("upload-concat", format!("final;{part}"));
    problem(answer.send().await.unwrap(), 404, "not-found").await;
    site.be(&"demo".parse().unwrap(), own);
    let (_, job) = accepted(&send(&site, &whole, 0, &bytes).await);
    site.world.finished(&job).await;
    assert_eq!(
        tus(&site, Method::DELETE, &part).send().await.unwrap().status(),
        StatusCode::NO_CONTENT
    );
    settled(&site).await;
    site.close().await;
}

async fn what_is_no_picture_is_refused_at_its_first_piece(world: World) {
    let site = Site::of(world).await;
    let at = begin(&site, 100_000_000).await;
    problem(send(&site, &at, 0, &[b'x'; 70]).await, 415, "unsupported-media-type").await;
    let document = problem(send(&site, &at, 0, b"more").await, 410, "upload-gone").await;
    assert!(document["detail"].as_str().unwrap().contains("no JPEG"), "{document}");
    // Too little to tell, until all of it is there.
    let at = begin(&site, 20).await;
    assert_eq!(
        send(&site, &at, 0, b"too little").await.status(),
        StatusCode::NO_CONTENT
    );
    problem(send(&site, &at, 10, b" to be one").await, 415, "unsupported-media-type").await;
    nothing_is_staged(&site.world.services).await;
    settled(&site).await;
    site.close().await;
}

async fn what_does_not_fit_is_refused_and_removed(world: World) {
    let mut site = Site::of(world).await;
    let limits = LimitOverrides::default().set(Limit::Media, 1);
    let (id, key) = site.world.another_tenant_with("small", limits).await;
    site.be(&id, key);
    let bytes = picture(50);
    let (first, second) = (begin(&site, bytes.len()).await, begin(&site, bytes.len()).await);
    let (_, job) = accepted(&send(&site, &first, 0, &bytes).await);
    let document = problem(send(&site, &second, 0, &bytes).await, 403, "over-quota").await;
    assert_eq!(
        (&document["limit_name"], &document["limit"]),
        (&"media".into(), &1.into())
    );
    let answer = head(&site, &second).await;
    assert_eq!(answer.status(), StatusCode::GONE);
    site.world.finished(&job).await;
    nothing_is_staged(&site.world.services).await;
    site.world.services.shutdown.stop();
}

async fn short_requests_have_an_end(world: World) {
    let site = Site::of(world).await;
    let at = begin(&site, 1_000_000).await;
    let (services, tenant, id) = (&site.world.services, site.world.tenant().await, id_of(&at));
    let piece = |start| Piece {
        start: ByteCount::new(start),
        bytes: ByteCount::new(1),
        object: ObjectKey::piece(tenant.id(), &id, ByteCount::new(start), 1),
    };
    let pieces: Vec<Piece> = (0..10_001).map(piece).collect();
    let now = services.clock.now();
    assert!(
        resumable::append(&services.control, &id, ByteCount::ZERO, &pieces, now)
            .await
            .unwrap()
    );
    let document = problem(send(&site, &at, 10_001, b"x").await, 400, "bad-request").await;
    assert!(
        document["detail"].as_str().unwrap().contains("send larger ones"),
        "{document}"
    );
    settled(&site).await;
    site.close().await;
}

/// Worlds with configuration of their own.
macro_rules! configured {
    ($($case:ident: [$(($key:literal, $value:literal)),+];)+) => {
        mod configured_embedded {
            use super::World;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(World::embedded_with(&[$(($key, $value.to_owned())),+]).await).await;
            })+
        }
        mod configured_distributed {
            use super::World;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                super::$case(World::distributed_with(&[$(($key, $value.to_owned())),+]).await).await;
            })+
        }
    };
}
configured!(
    an_upload_whose_time_is_over_is_gone: [("resumable_expiry", "0s")];
    unfinished_uploads_have_bounds: [("resumable_uploads", "3"), ("resumable_bytes", "300 MB")];
);

async fn an_upload_whose_time_is_over_is_gone(world: World) {
    let site = Site::of(world).await;
    let request = tus(&site, Method::POST, "/v1/tus").header("upload-length", 100);
    // Over as soon as it is there.
    let answer = request.send().await.unwrap();
    problem(answer, 410, "upload-gone").await;
    let ended = mediamill_scheduler::run_once(&site.world.services, "sweep-resumable")
        .await
        .unwrap();
    assert_eq!(ended.changed, 1);
    settled(&site).await;
    site.close().await;
}

async fn unfinished_uploads_have_bounds(world: World) {
    let site = Site::of(world).await;
    let begin_with = async |name: &str, value: &str| {
        let request = tus(&site, Method::POST, "/v1/tus").header(name, value);
        request.send().await.unwrap()
    };
    let large = begin(&site, 150_000_000).await;
    // As large as it may be, which is what the tenant may send.
    problem(begin_with("upload-defer-length", "1").await, 429, "too-many-uploads").await;
    let over = problem(begin_with("upload-length", "150000001").await, 429, "too-many-uploads").await;
    let named = (&over["limit_name"], &over["used"], &over["asked"]);
    assert_eq!(
        named,
        (&"resumable_bytes".into(), &150_000_000.into(), &150_000_001.into())
    );
    let (_, small) = (begin(&site, 100_000_000).await, begin(&site, 10).await);
    let over = problem(begin_with("upload-length", "10").await, 429, "too-many-uploads").await;
    let named = (&over["limit_name"], &over["limit"], &over["used"], &over["asked"]);
    assert_eq!(named, (&"resumable_uploads".into(), &3.into(), &3.into(), &1.into()));
    for at in [large, small] {
        assert_eq!(
            tus(&site, Method::DELETE, &at).send().await.unwrap().status(),
            StatusCode::NO_CONTENT
        );
    }
    let deferred = begin_with("upload-defer-length", "1").await;
    assert_eq!(deferred.status(), StatusCode::CREATED);
    let deferred = text(&deferred, "location").unwrap().to_owned();
    let ended = tus(&site, Method::DELETE, &deferred).send().await.unwrap();
    assert_eq!(ended.status(), StatusCode::NO_CONTENT);
    // What is finished does not count.
    let bytes = sample::small(1);
    for _ in 0..3 {
        let at = begin(&site, bytes.len()).await;
        let (_, job) = accepted(&send(&site, &at, 0, &bytes).await);
        site.world.finished(&job).await;
    }
    settled(&site).await;
    site.close().await;
}

//! Who is let in: keys, hosts, other tenants, and a tenant that may not just now.

use super::{Site, problem};
use mediamill_media::sample;
use mediamill_shared::{
    control::{audit::Actor, changes::Change},
    tenancy::TenantState,
    testing::World,
};
use reqwest::{Method, StatusCode, header};
use serde_json::Value;

mediamill_shared::on_both_sides!(
    without_a_key_that_fits_the_answer_is_401,
    a_host_that_nobody_has_is_404,
    what_another_tenant_has_is_404,
    a_suspended_tenant_is_403,
);

async fn without_a_key_that_fits_the_answer_is_401(world: World) {
    let site = Site::of(world).await;
    let (_, foreign) = site.world.another_tenant("other").await;
    let unknown = format!("{}0", &site.world.key[..site.world.key.len() - 1]);
    let unknown = if unknown == site.world.key {
        format!("{}1", &unknown[..unknown.len() - 1])
    } else {
        unknown
    };
    for (method, path) in [
        (Method::POST, "/v1/media"),
        (Method::GET, "/v1/media"),
        (Method::GET, "/v1/usage"),
        (Method::DELETE, "/v1/media/00000000000000000000000000"),
        (Method::GET, "/v1/jobs/00000000000000000000000000/events"),
    ] {
        let answer = site.bare(method.clone(), path).send().await.unwrap();
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
        problem(answer, 401, "missing-key").await;
        for wrong in ["", "mm_x_y", &unknown, &foreign] {
            let answer = site
                .bare(method.clone(), path)
                .header("x-api-key", wrong)
                .send()
                .await
                .unwrap();
            problem(answer, 401, "wrong-key").await;
        }
    }
    for right in [
        site.bare(Method::GET, "/v1/usage").bearer_auth(&site.world.key),
        site.bare(Method::GET, "/v1/usage").header("x-api-key", &site.world.key),
    ] {
        assert_eq!(right.send().await.unwrap().status(), StatusCode::OK);
    }
    site.close().await;
}

async fn a_host_that_nobody_has_is_404(world: World) {
    let site = Site::of(world).await;
    for path in ["/v1/media", "/m/00000000000000000000000000/thumb"] {
        let request = site.http.get(format!("http://{}{path}", site.address));
        let answer = request
            .header(header::HOST, "nobody.localhost")
            .bearer_auth(&site.world.key);
        problem(answer.send().await.unwrap(), 404, "unknown-host").await;
    }
    site.close().await;
}

async fn what_another_tenant_has_is_404(world: World) {
    let site = Site::of(world).await;
    let picture = site.ready(1).await;
    let id = picture["id"].as_str().unwrap();
    let accepted: Value = site.upload("/v1/media", sample::small(2)).await.json().await.unwrap();
    let job = accepted["media"][0]["job"]["id"].as_str().unwrap().to_owned();
    site.world.finished(&job.parse().unwrap()).await;
    let (_, key) = site.world.another_tenant("other").await;
    for (method, path) in [
        (Method::GET, format!("/v1/media/{id}")),
        (Method::DELETE, format!("/v1/media/{id}")),
        (Method::GET, format!("/m/{id}/thumb")),
        (Method::GET, format!("/v1/jobs/{job}")),
        (Method::GET, format!("/v1/jobs/{job}/events")),
    ] {
        let request = site.http.request(method, format!("http://{}{path}", site.address));
        let answer = request.header(header::HOST, "other.localhost").bearer_auth(&key);
        problem(answer.send().await.unwrap(), 404, "not-found").await;
    }
    // Nothing of it was touched.
    assert_eq!(site.get(&format!("/v1/media/{id}")).await.status(), StatusCode::OK);
    site.close().await;
}

async fn a_suspended_tenant_is_403(world: World) {
    let site = Site::of(world).await;
    let services = &site.world.services;
    let id = site.world.tenant().await.id().clone();
    let set = async |state| {
        let change = Change {
            state: Some(state),
            ..Change::default()
        };
        services.lifecycle.change(&id, &change, &Actor::cli()).await.unwrap();
    };
    set(TenantState::Suspended).await;
    problem(
        site.upload("/v1/media", sample::small(1)).await,
        403,
        "tenant-suspended",
    )
    .await;
    set(TenantState::Active).await;
    site.ready(1).await;
    site.close().await;
}

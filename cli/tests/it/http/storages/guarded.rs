//! What is never connected to for a tenant, and how often anything is.

use super::{add, added, at, bucket, checked, endpoint, row, send, served, shown, with};
use crate::http::{Site, problem, read};
use mediamill_media::sample;
use mediamill_shared::{
    control::audit::Actor,
    fetch::{Guard, Names},
    placement::{Editor, StorageChange, Storages, StoragesParts},
    testing::{
        World,
        s3::S3Server,
        web::{Reply, Web},
    },
};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};
use tokio::net::{TcpListener, TcpStream};

/// What nothing must ever connect to.
struct Trap(TcpListener);

impl Trap {
    async fn at(address: Ipv4Addr, port: u16) -> Self {
        Self(TcpListener::bind((address, port)).await.unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    async fn assert_untouched(self) {
        // Whoever connected stands before this one.
        let own = TcpStream::connect(self.0.local_addr().unwrap()).await.unwrap();
        let (_, peer) = self.0.accept().await.unwrap();
        assert_eq!(peer, own.local_addr().unwrap());
    }
}

pub(super) async fn what_is_not_public_is_not_connected_to(world: World) {
    let site = Site::of(world).await;
    let trap = Trap::at(Ipv4Addr::LOCALHOST, 0).await;
    let port = trap.port();
    let mut told = BTreeSet::new();
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        // Names: what they resolve to is judged.
        "localhost",
        "localhost.",
        "storage.invalid",
    ] {
        let refused = problem(
            add(&site, &endpoint(&format!("https://{host}:{port}"))).await,
            422,
            "storage-address-refused",
        );
        let refused = refused.await;
        assert_eq!(refused["member"], "endpoint");
        told.insert(refused["detail"].as_str().unwrap().to_owned());
    }
    assert_eq!(told.len(), 1, "one answer, whatever is there: {told:?}");
    for (body, member) in [
        (endpoint(&format!("http://127.0.0.1:{port}")), "https"),
        (endpoint("https://s3.example:25"), "port"),
        (at("a", &json!({ "kind": "directory", "path": "/etc" })), "kind"),
        (
            at("a", &json!({ "kind": "s3", "bucket": "pictures", "ca": "/etc/passwd" })),
            "certificate",
        ),
        (
            with(
                endpoint("https://s3.example"),
                &json!({ "credentials": { "access_key": "a\r\nb", "secret_key": "c" } }),
            ),
            "access key",
        ),
        (
            with(endpoint("https://s3.example"), &json!({ "tenant": "other" })),
            "unknown field",
        ),
    ] {
        let refused = problem(add(&site, &body).await, 400, "bad-request").await;
        assert!(refused["detail"].as_str().unwrap().contains(member), "{refused}");
    }
    // Added untried, it is off: what would wake it is tried.
    let untried = with(
        endpoint(&format!("https://localhost:{port}")),
        &json!({ "unchecked": true }),
    );
    let id = added(&site, &untried).await;
    assert_eq!(shown(&site, &id).await["state"], "off");
    let woken = send(&site, Method::PATCH, &format!("/{id}"), &json!({ "state": "active" })).await;
    problem(woken, 422, "storage-address-refused").await;
    let check = checked(&site, &id).await;
    let steps = check["steps"].as_array().unwrap();
    assert_eq!((&check["works"], steps.len()), (&json!(false), 1), "{check}");
    assert!(told.contains(steps[0]["problem"].as_str().unwrap()), "{check}");
    trap.assert_untouched().await;
    site.close().await;
}

/// The same installation, by whose resolver names are what `names` says.
fn resolving(world: &mut World, names: &Names) {
    let services = &world.services;
    let parts = StoragesParts {
        control: services.control.clone(),
        cache: services.cache.clone(),
        secrets: services.secrets.clone(),
        clock: services.clock.clone(),
        entropy: services.entropy.clone(),
        guard: Guard::new(&services.config, names.clone()),
        main: services.objects.clone(),
    };
    world.services.storages = Storages::new(parts, &services.shutdown);
}

pub(super) async fn a_name_that_leads_inside_later_is_not_followed(mut world: World) {
    let names = Names::said();
    let open: IpAddr = Ipv4Addr::LOCALHOST.into();
    let inside = Ipv4Addr::new(127, 0, 0, 2);
    names.set("s3.example", &[open]);
    resolving(&mut world, &names);
    let site = Site::of(world).await;
    let server = S3Server::start().await.unwrap();
    let trap = Trap::at(inside, server.port()).await;
    let by_name = with(
        bucket(&server, "pictures"),
        &json!({ "settings": { "kind": "s3", "bucket": "pictures", "endpoint": format!("http://s3.example:{}", server.port()) } }),
    );
    let id = added(&site, &by_name).await;
    let picture = site.ready(1).await;
    served(&site, &picture).await;

    // Connections end, and the name is another address, or one address more.
    for addresses in [vec![inside.into()], vec![open, inside.into()]] {
        server.stop().await;
        names.set("s3.example", &addresses);
        let check = checked(&site, &id).await;
        assert_eq!(check["works"], false, "{check}");
        let told = check["steps"][0]["problem"].as_str().unwrap();
        assert!(
            told.contains("not at a public address") && !told.contains("127"),
            "{told}"
        );
        let url: reqwest::Url = picture["variants"][0]["url"].as_str().unwrap().parse().unwrap();
        let lost = site.bare(Method::GET, url.path()).send().await.unwrap();
        problem(lost, 503, "unavailable").await;
        let again = json!({ "settings": by_name["settings"] });
        let refused = send(&site, Method::PATCH, &format!("/{id}"), &again).await;
        problem(refused, 422, "storage-address-refused").await;
    }
    trap.assert_untouched().await;
    site.world.services.shutdown.stop();
}

pub(super) async fn a_redirect_to_the_inside_is_not_followed(world: World) {
    let site = Site::of(world).await;
    let trap = Trap::at(Ipv4Addr::new(127, 0, 0, 2), 0).await;
    let inside = format!("http://127.0.0.2:{}/pictures", trap.port());
    for status in [301, 302, 307, 308] {
        let to = inside.clone();
        let web = Web::start(move |_| Reply::Whole(status, vec![("location", to.clone())], "".into())).await;
        let refused = problem(add(&site, &endpoint(&web.url(""))).await, 422, "storage-broken").await;
        assert_eq!(refused["steps"][0]["step"], "reach", "{refused}");
        assert!(!web.asked().is_empty());
    }
    trap.assert_untouched().await;
    site.close().await;
}

pub(super) async fn who_says_last_where_it_is_decides_what_is_connected_to(world: World) {
    let site = Site::of(world).await;
    let server = S3Server::start().await.unwrap();
    let body = bucket(&server, "pictures");
    let id = added(&site, &body).await;
    let tenant = site.world.tenant().await;
    let operator = async |change: StorageChange| {
        let (present, by) = (row(&site, &id).await, Editor::operator(Actor::cli()));
        let storages = &site.world.services.storages;
        storages
            .edit(&present, Some(&tenant), change, &by)
            .await
            .unwrap()
            .guarded
    };
    let weight = StorageChange {
        weight: Some(2),
        ..StorageChange::default()
    };
    assert!(operator(weight).await, "nothing was said of where it is");
    let settings = server.settings_at("pictures", server.address()).unwrap();
    let settings = StorageChange {
        settings: Some(settings),
        ..StorageChange::default()
    };
    assert!(!operator(settings).await);
    let patch = async |change: Value| read(send(&site, Method::PATCH, &format!("/{id}"), &change).await, 200).await;
    assert_eq!(
        patch(json!({ "weight": 3, "credentials": body["credentials"] })).await["guarded"],
        false
    );
    assert_eq!(patch(json!({ "settings": body["settings"] })).await["guarded"], true);
    assert!(row(&site, &id).await.guarded, "as every process reads it");
    site.upload("/v1/media?wait=60", sample::small(1)).await;
    site.close().await;
}

pub(super) async fn trials_are_counted(mut world: World) {
    // Known to lead nowhere, without anybody being asked.
    resolving(&mut world, &Names::said());
    let site = Site::of(world).await;
    let untried = with(endpoint("https://storage.invalid"), &json!({ "unchecked": true }));
    let id = added(&site, &untried).await;
    let mut tried = 0;
    let late = loop {
        let answer = send(&site, Method::POST, &format!("/{id}/check"), &json!({})).await;
        if answer.status() != StatusCode::OK {
            break answer;
        }
        tried += 1;
        assert!(tried <= 20);
    };
    assert!(late.headers().contains_key(header::RETRY_AFTER));
    let late = problem(late, 429, "too-many-trials").await;
    assert_eq!((tried, &late["limit"]), (20, &json!(20)));
    problem(
        add(&site, &endpoint("https://storage.invalid")).await,
        429,
        "too-many-trials",
    )
    .await;
    // What tries nothing goes on.
    shown(&site, &id).await;
    let removed = send(&site, Method::DELETE, &format!("/{id}"), &json!({})).await;
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    site.close().await;
}

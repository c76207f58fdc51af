//! Nothing secret is told: not in logs, rows, files, answers, metrics or `Debug`.

use crate::{
    http::Site,
    program::{files, holds},
};
use mediamill_media::sample;
use mediamill_shared::{
    control::audit::Actor,
    secrets::{Env, SealedFor},
    tenancy::{NewAdmin, NewTenant},
    testing::World,
};
use reqwest::header;
use std::{
    io,
    sync::{Mutex, PoisonError},
};

/// A master key of 32 bytes, base 64.
const MASTER_KEY: &str = "Y2FuYXJ5LW1hc3Rlci1rZXktMDEyMzQ1Njc4OTAxMjM=";
const CANARIES: [&str; 7] = [
    MASTER_KEY,
    "canary-master-key",
    "canary-env-value",
    "canary-request-secret",
    "canary-key-secret",
    "canary-router-secret",
    "canary-database-password",
];

/// What is secret, and what was told of it.
struct Told {
    secrets: Vec<String>,
    lines: Vec<String>,
}

static TOLD: Mutex<Told> = Mutex::new(Told {
    secrets: Vec::new(),
    lines: Vec::new(),
});

fn told<T>(with: impl FnOnce(&mut Told) -> T) -> T {
    with(&mut TOLD.lock().unwrap_or_else(PoisonError::into_inner))
}

fn tells(bytes: &[u8]) -> Option<String> {
    told(|told| {
        told.secrets
            .iter()
            .find(|secret| holds(bytes, secret.as_bytes()))
            .cloned()
    })
}

/// Keeps the lines that tell a secret, of every test in this process.
struct Ear;

impl io::Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if tells(bytes).is_some() {
            let line = String::from_utf8_lossy(bytes).into_owned();
            told(|told| told.lines.push(line));
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_told_anywhere() {
    told(|told| told.secrets.extend(CANARIES.map(str::to_owned)));
    tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(|| Ear)
        .init();
    let world = World::embedded_with(&[
        ("master_keys", format!("k1:{MASTER_KEY}")),
        ("tenants_api_request_secret", "canary-request-secret".to_owned()),
        ("tenants_api_key_secret", "canary-key-secret".to_owned()),
        ("router_secret", "canary-router-secret-of-the-router".to_owned()),
        (
            "tenant_databases",
            "far*0=postgres://u:canary-database-password@127.0.0.1:9/x".to_owned(),
        ),
    ])
    .await;
    let services = world.services.clone();
    let site = Site::of(world).await;

    // A tenant with an env, a password and a key.
    let id: mediamill_shared::ids::TenantId = "t".parse().unwrap();
    let env = Env::from_json(r#"{"SMTP_PASSWORD": "canary-env-value"}"#).unwrap();
    let mut new = NewTenant::plain(id.clone(), "t.localhost");
    new.env = services
        .secrets
        .seal_env(&SealedFor::TenantEnv(id.clone()), &env, &services.entropy)
        .unwrap();
    let admin = NewAdmin {
        name: "admin".into(),
        email: None,
        password_hash: None,
    };
    let (admin, key) = services.lifecycle.first_admin(admin, true);
    let key = key.unwrap().reveal();
    for key in [&key, &site.world.key] {
        let (_, secret) = key.rsplit_once('_').unwrap();
        told(|told| told.secrets.push(secret.to_owned()));
    }
    new.admin = Some(admin);
    services.lifecycle.create(new.clone(), &Actor::cli()).await.unwrap();
    let again = services.lifecycle.create(new.clone(), &Actor::cli()).await.unwrap_err();
    // On a server that is away.
    let mut lost = NewTenant::plain("lost".parse().unwrap(), "lost.localhost");
    lost.server = Some("far".parse().unwrap());
    let away = services.lifecycle.create(lost, &Actor::cli()).await.unwrap_err();

    // The API, used well and badly.
    let mut pages = Vec::new();
    for (path, key) in [
        ("/v1/usage", key.clone()),
        ("/v1/media", key.clone()),
        ("/v1/media", format!("{key}x")),
        ("/v1/jobs/nothing", key.clone()),
        ("/metrics", key.clone()),
    ] {
        let request = site.http.get(format!("http://{}{path}", site.address));
        let request = request.header(header::HOST, "t.localhost").header("x-api-key", &key);
        let answer = request.header("x-router-secret", "canary-router-secret-of-the-router");
        pages.push(answer.send().await.unwrap().text().await.unwrap());
    }
    site.ready(1).await;
    let bad = site.http.post(format!("http://{}/v1/media", site.address));
    let bad = bad
        .header(header::HOST, World::HOST)
        .bearer_auth(&site.world.key)
        .body("no picture");
    pages.push(bad.send().await.unwrap().text().await.unwrap());
    pages.push(sample::small(1).len().to_string());

    let shown = [
        format!("{:?}", services.config.shown()),
        format!("{:?}", services.config),
        format!("{services:?}"),
        format!("{env:?} {new:?} {again:?} {away:?}"),
        mediamill_shared::chain(&again),
        mediamill_shared::chain(&away),
    ];
    for text in shown.iter().chain(&pages) {
        assert_eq!(tells(text.as_bytes()), None, "{text}");
    }
    // Rows of jobs, batches and the audit log among them: everything that lies in a file.
    let folder = std::path::Path::new(services.config.database_url.path())
        .parent()
        .unwrap();
    let kept = [files(folder), files(&services.config.data_dir)].concat();
    assert!(kept.len() > 3);
    for file in kept {
        assert_eq!(tells(&std::fs::read(&file).unwrap()), None, "{}", file.display());
    }
    let lines = told(|told| std::mem::take(&mut told.lines));
    assert!(lines.is_empty(), "{lines:#?}");
    services.shutdown.stop();
}

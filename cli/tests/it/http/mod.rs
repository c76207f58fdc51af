//! The API with a worker behind it, over real connections, on both sides: what good and bad requests are answered.

mod access;
mod bad_input;
mod delivery;
mod direct;
mod drift;
mod fair;
mod fetch;
mod frozen;
mod on_demand;
mod rates;
mod resumable;
mod staying;
mod stock_clients;
mod storages;
mod uploads;

use mediamill_api::router;
use mediamill_media::sample;
use mediamill_shared::{
    control::changes::Change,
    ids::TenantId,
    tenancy::{LimitOverrides, PictureSettings},
    testing::{PATIENCE, World},
};
use mediamill_workers::Settings;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::Value;
use std::net::SocketAddr;

/// An installation that serves.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) address: SocketAddr,
    pub(crate) http: reqwest::Client,
    /// Whose requests are made.
    host: String,
    key: String,
}

impl Site {
    pub(crate) async fn of(world: World) -> Self {
        let site = Self::without_worker(world).await;
        site.work();
        site
    }

    /// Starts a worker.
    fn work(&self) {
        self.work_with(Settings::from_config(&self.world.services.config));
    }

    fn work_with(&self, settings: Settings) {
        let services = &self.world.services;
        services
            .shutdown
            .spawn(mediamill_workers::run(services.clone(), settings));
    }

    /// Pictures that are counted.
    async fn pictures(&self) -> i64 {
        self.world.tenant().await.db().unwrap().usage().await.unwrap().media
    }

    /// What is accepted waits.
    async fn without_worker(world: World) -> Self {
        let services = &world.services;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (api, router) = (services.clone(), router(services, None));
        services.shutdown.spawn(async move {
            mediamill_api::serve(&api, "api", listener, router).await.unwrap();
        });
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let (host, key) = (World::HOST.to_owned(), world.key.clone());
        Self {
            world,
            address,
            http,
            host,
            key,
        }
    }

    /// From now on requests are another tenant's.
    fn be(&mut self, id: &TenantId, key: String) {
        (self.host, self.key) = (format!("{id}.localhost"), key);
    }

    /// A request at the tenant's host, without a key.
    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
            .header(header::HOST, &self.host)
    }

    /// A request of the tenant.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.key)
    }

    /// What the site, and its provider, say of it.
    async fn set(&self, pictures: &str, limits: &str) {
        let change = Change {
            pictures: Some(PictureSettings::from_json(pictures).unwrap()),
            limits: Some(LimitOverrides::from_json(limits).unwrap()),
            ..Change::default()
        };
        self.world.change(change).await;
    }

    async fn upload(&self, path: &str, bytes: impl Into<reqwest::Body>) -> Response {
        self.request(Method::POST, path).body(bytes).send().await.unwrap()
    }

    /// Uploads a picture and waits for it.
    pub(crate) async fn ready(&self, number: u32) -> Value {
        let answer = self.upload("/v1/media?wait=60", sample::small(number)).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.json::<Value>().await.unwrap()["media"][0].clone()
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    /// Ends the installation; nothing may be left behind.
    pub(crate) async fn close(self) {
        self.world.assert_at_rest().await;
        self.world.services.shutdown.stop();
    }
}

/// Asserts the status, and returns what is answered.
async fn read(answer: Response, status: u16) -> Value {
    let got = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    serde_json::from_str(&text).unwrap_or_default()
}

/// Asserts an RFC 9457 document of this type, and returns it.
async fn problem(answer: Response, status: u16, code: &str) -> Value {
    let (got, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    assert_eq!(
        (got, headers[header::CONTENT_TYPE].to_str().unwrap()),
        (status, "application/problem+json"),
        "{text}"
    );
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["type"], format!("/problems/{code}"), "{document}");
    assert_eq!(document["status"], status);
    assert!(document["detail"].as_str().unwrap().len() > 10, "{document}");
    document
}

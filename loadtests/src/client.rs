//! The API as a client sees it.

use crate::pictures::Picture;
use anyhow::{Context, bail};
use std::time::Duration;

/// A request that has no answer by then has none.
const LONGEST: Duration = Duration::from_secs(60);
/// Shorter than the api keeps a connection that says nothing: a request on one that is just being closed has no answer.
const IDLE: Duration = Duration::from_secs(5);

/// Why a request has no answer, for a report.
pub(crate) fn unanswered(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    // The first says the URL, which is another one each time.
    let causes: Vec<String> = causes.skip(1).map(ToString::to_string).collect();
    format!("no answer: {}", causes.join(": "))
}

/// A tenant's client.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    host: String,
    key: String,
}

impl Client {
    pub(crate) fn new(url: &str, host: &str, key: &str) -> anyhow::Result<Self> {
        let parsed: url::Url = url.parse().context("--url is no URL")?;
        let loopback = match parsed.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        };
        if !loopback {
            bail!("load is only ever sent to a loopback address");
        }
        let http = reqwest::Client::builder()
            .timeout(LONGEST)
            .pool_idle_timeout(IDLE)
            .build()?;
        Ok(Self {
            http,
            url: url.trim_end_matches('/').to_owned(),
            host: host.to_owned(),
            key: key.to_owned(),
        })
    }

    /// Another client of the same installation, over the same connections.
    pub(crate) fn beside(&self, host: &str, key: &str) -> Self {
        Self {
            http: self.http.clone(),
            url: self.url.clone(),
            host: host.to_owned(),
            key: key.to_owned(),
        }
    }

    /// A request of the tenant.
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .header(reqwest::header::HOST, &self.host)
            .header("x-api-key", &self.key)
    }

    /// Uploads; returns media and job.
    pub(crate) async fn upload(
        &self,
        picture: &Picture,
        idempotency: Option<&str>,
    ) -> Result<(String, String), String> {
        let mut request = self
            .request(reqwest::Method::POST, "/v1/media")
            .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
            .header("x-file-name", &picture.name);
        if let Some(key) = idempotency {
            request = request.header("idempotency-key", key);
        }
        let answer = request
            .body(picture.bytes.clone())
            .send()
            .await
            .map_err(|_| "no answer".to_owned())?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("accept {status}"));
        }
        let body: serde_json::Value = answer.json().await.map_err(|_| "answer cut off".to_owned())?;
        let text = |pointer: &str| {
            body.pointer(pointer)
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
        };
        match (text("/media/0/id"), text("/media/0/job/id")) {
            (Some(media), Some(job)) => Ok((media, job)),
            _ => Err("answer without media or job".to_owned()),
        }
    }

    /// The job as it stands.
    pub(crate) async fn job(&self, id: &str) -> Result<serde_json::Value, String> {
        self.get(&format!("/v1/jobs/{id}")).await
    }

    /// What a path answers.
    pub(crate) async fn get(&self, path: &str) -> Result<serde_json::Value, String> {
        let sent = self.request(reqwest::Method::GET, path).send().await;
        let answer = sent.map_err(|_| "no answer".to_owned())?;
        if !answer.status().is_success() {
            return Err(format!("{path} {}", answer.status()));
        }
        answer.json().await.map_err(|_| "answer cut off".to_owned())
    }
}

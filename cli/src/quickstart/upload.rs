//! One picture's way through the HTTP API, as any other program would go it: upload, follow the job, look at the end.

use super::{
    files::{Picture, Source},
    progress::Progress,
    report::{Outcome, Ready, removed_in_words},
};
use anyhow::Context;
use futures_util::TryStreamExt;
use mediamill_shared::{
    chain,
    control::jobs,
    ids::{JobId, MediaId},
    jobs::{JobState, Reason},
    retry::RetryPolicy,
    services::Services,
    tenancy::{TenantDb, store::media::ORIGINAL},
    units::ByteCount,
};
use reqwest::{Body, Method, RequestBuilder, StatusCode, header};
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;

/// Uploads at a time; what is accepted waits for its worker without counting.
const UPLOADS: usize = 4;
/// Longest way from the first byte to ready.
const PATIENCE: Duration = Duration::from_secs(900);
/// Attempts at one request that finds the server away, restarting or busy.
const ATTEMPTS: u32 = 6;
/// Causes that say something about the installation, not about the file.
const OURS: [&str; 5] = [
    Reason::UNREADABLE_PAYLOAD,
    Reason::STAGED_BYTES_MISSING,
    Reason::OVER_QUOTA,
    Reason::TENANT_NOT_ACTIVE,
    Reason::TOO_LARGE_FOR_WORKER,
];

/// Uploads with one key to one host.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    host: String,
    key: String,
    services: Services,
    db: TenantDb,
    uploads: Semaphore,
}

/// Why there is no picture.
struct Failure {
    ours: bool,
    cause: String,
}

impl Failure {
    fn ours(cause: impl Into<String>) -> Self {
        Self {
            ours: true,
            cause: cause.into(),
        }
    }
}

impl Client {
    /// `url` is where the api listens, `host` whom it shall answer for.
    pub(crate) fn new(services: Services, db: TenantDb, url: &str, host: &str, key: String) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder()
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(60))
                .no_proxy()
                .build()
                .context("no HTTP client")?,
            url: url.trim_end_matches('/').to_owned(),
            host: host.to_owned(),
            key,
            services,
            db,
            uploads: Semaphore::new(UPLOADS),
        })
    }

    /// Waits until the api answers this key: it may be starting, or not have heard of the tenant.
    pub(crate) async fn until_served(&self) -> anyhow::Result<()> {
        let mut attempt = 0;
        loop {
            let problem = match self.request(Method::GET, "/v1/usage").send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => format!("it answers {}", problem(answer).await),
                Err(error) => chain(&error),
            };
            attempt += 1;
            if attempt > 12 {
                anyhow::bail!("the api at {} does not serve {}: {problem}", self.url, self.host);
            }
            self.pause(attempt).await;
        }
    }

    /// Uploads `picture` and waits for its end.
    pub(crate) async fn process(&self, picture: &Picture, progress: &Arc<Progress>) -> Outcome {
        let running = AtomicBool::new(false);
        let way = tokio::time::timeout(PATIENCE, self.way(picture, progress, &running)).await;
        let outcome = match way {
            Ok(Ok(ready)) => Outcome::Ready(ready),
            Ok(Err(Failure { ours: true, cause })) => Outcome::Failed { cause },
            Ok(Err(Failure { ours: false, cause })) => Outcome::Refused { cause },
            Err(_) => Outcome::Failed {
                cause: format!("not ready within {} minutes", PATIENCE.as_secs() / 60),
            },
        };
        progress.ended(&picture.name, outcome.word(), running.load(Ordering::Relaxed));
        outcome
    }

    async fn way(&self, picture: &Picture, progress: &Arc<Progress>, running: &AtomicBool) -> Result<Ready, Failure> {
        let (media, job) = self.upload(picture, progress).await?;
        progress.accepted(&picture.name);
        let state = self
            .followed(&job, || {
                if !running.swap(true, Ordering::Relaxed) {
                    progress.processing(&picture.name);
                }
            })
            .await;
        match state {
            JobState::Done => self.look(&media).await,
            JobState::Failed | JobState::Dead | JobState::Queued | JobState::Running => {
                Err(self.cause(&job, state).await)
            }
        }
    }

    async fn upload(&self, picture: &Picture, progress: &Arc<Progress>) -> Result<(MediaId, JobId), Failure> {
        // An api that is cut off after it accepted is asked again and answers the same.
        let once = JobId::generate(&self.services.clock, &self.services.entropy);
        let _turn = self
            .uploads
            .acquire()
            .await
            .map_err(|error| Failure::ours(error.to_string()))?;
        let path = format!("/v1/media?name={}", query_value(&picture.name));
        let mut attempt = 0;
        loop {
            attempt += 1;
            let body = body(picture, Arc::clone(progress)).await?;
            let request = self
                .request(Method::POST, &path)
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, picture.bytes)
                .header("idempotency-key", once.as_str());
            let problem = match request.body(body).send().await {
                Ok(answer) if answer.status().is_success() => match ids(answer).await {
                    Ok(ids) => return Ok(ids),
                    Err(problem) => problem,
                },
                Ok(answer) => {
                    let status = answer.status();
                    let problem = problem(answer).await;
                    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                        return Err(Failure {
                            ours: !about_the_file(status),
                            cause: problem,
                        });
                    }
                    problem
                }
                Err(error) => chain(&error),
            };
            if attempt >= ATTEMPTS {
                return Err(Failure::ours(problem));
            }
            self.pause(attempt).await;
        }
    }

    /// Follows a job to its end, by its events as long as they come and by asking when they do not.
    async fn followed(&self, job: &JobId, running: impl Fn()) -> JobState {
        let mut attempt = 0;
        loop {
            let path = format!("/v1/jobs/{job}/events");
            let request = self
                .request(Method::GET, &path)
                .header(header::ACCEPT, "text/event-stream");
            if let Ok(mut answer) = request.send().await
                && answer.status().is_success()
            {
                let mut events = Events::default();
                while let Ok(Some(part)) = answer.chunk().await {
                    for state in events.states(&part) {
                        match state {
                            JobState::Queued => {}
                            JobState::Running => running(),
                            JobState::Done | JobState::Failed | JobState::Dead => return state,
                        }
                    }
                }
            }
            if let Ok(answer) = self.request(Method::GET, &format!("/v1/jobs/{job}")).send().await
                && let Ok(body) = answer.bytes().await
                && let Some(state) = state_of(&body)
                && state.is_final()
            {
                return state;
            }
            attempt += 1;
            self.pause(attempt).await;
        }
    }

    async fn look(&self, id: &MediaId) -> Result<Ready, Failure> {
        let media = self.db.media(id).await.map_err(|error| Failure::ours(chain(&error)))?;
        let media = media.ok_or_else(|| Failure::ours("its job is done, but there is no picture"))?;
        let mut variants = self
            .db
            .variants(id)
            .await
            .map_err(|error| Failure::ours(chain(&error)))?;
        let original: ByteCount = variants
            .extract_if(.., |variant| variant.name == ORIGINAL)
            .fold(ByteCount::ZERO, |sum, variant| sum.plus(variant.bytes));
        Ok(Ready {
            media: media.id,
            uploaded: media.uploaded_bytes,
            original,
            variants: variants
                .into_iter()
                .map(|variant| (variant.name, variant.bytes))
                .collect(),
            removed: removed_in_words(&media.removed),
        })
    }

    /// Why a job ended badly, as its row has it.
    async fn cause(&self, job: &JobId, state: JobState) -> Failure {
        let row = match jobs::get(&self.services.control, job).await {
            Ok(Some(row)) => row,
            Ok(None) => return Failure::ours("its job is gone"),
            Err(error) => return Failure::ours(chain(&error)),
        };
        let code = row.cause_code.unwrap_or_default();
        Failure {
            ours: state != JobState::Failed || OURS.contains(&code.as_str()),
            cause: row.cause.unwrap_or(code),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .header(header::HOST, &self.host)
            .header("x-api-key", &self.key)
    }

    async fn pause(&self, attempt: u32) {
        let chance = self.services.entropy.fraction();
        let delay = RetryPolicy::RECONNECT
            .delay_after(attempt, chance)
            .unwrap_or(RetryPolicy::RECONNECT.max);
        self.services.clock.sleep(delay).await;
    }
}

async fn body(picture: &Picture, progress: Arc<Progress>) -> Result<Body, Failure> {
    match &picture.source {
        Source::Memory(bytes) => {
            progress.sent(bytes.len());
            Ok(Body::from(bytes.clone()))
        }
        Source::File(path) => {
            let file = tokio::fs::File::open(path).await.map_err(|error| Failure {
                ours: false,
                cause: format!("the file cannot be read: {error}"),
            })?;
            let parts = ReaderStream::with_capacity(file, 64 * 1024).inspect_ok(move |part| progress.sent(part.len()));
            Ok(Body::wrap_stream(parts))
        }
    }
}

/// Whether a refusal with `status` is about the bytes and not about us.
fn about_the_file(status: StatusCode) -> bool {
    [
        StatusCode::BAD_REQUEST,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        StatusCode::UNPROCESSABLE_ENTITY,
    ]
    .contains(&status)
}

async fn ids(answer: reqwest::Response) -> Result<(MediaId, JobId), String> {
    let body: serde_json::Value = answer.json().await.map_err(|error| chain(&error))?;
    let text = |pointer| body.pointer(pointer).and_then(serde_json::Value::as_str);
    let media = text("/media/0/id").and_then(|id| id.parse().ok());
    let job = text("/media/0/job/id").and_then(|id| id.parse().ok());
    media
        .zip(job)
        .ok_or_else(|| "the answer names neither picture nor job".to_owned())
}

/// The words of a problem document (RFC 9457), or the status.
async fn problem(answer: reqwest::Response) -> String {
    let status = answer.status();
    let body = answer.bytes().await.unwrap_or_default();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    match (text("title"), text("detail")) {
        (_, Some(detail)) => detail,
        (Some(title), None) => title,
        (None, None) => format!("{status}"),
    }
}

/// A name without its folders, as a query takes it: everything but plain characters percent-encoded.
fn query_value(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.bytes().fold(String::with_capacity(name.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String has no way to fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// Server-sent events, as far as they tell a job's state.
#[derive(Default)]
struct Events {
    line: Vec<u8>,
}

impl Events {
    /// States told by the lines that end in `part`.
    fn states(&mut self, part: &[u8]) -> Vec<JobState> {
        let mut states = Vec::new();
        for byte in part {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if let Some(data) = line.strip_prefix(b"data:") {
                states.extend(state_of(data));
            }
        }
        states
    }
}

fn state_of(json: &[u8]) -> Option<JobState> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    value.get("state")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text =
            b"event: job\ndata: {\"state\":\"running\"}\n\n: comment\ndata:{\"state\":\"done\"}\r\n\ndata: {\"state\":";
        let mut whole = Events::default();
        assert_eq!(whole.states(text), [JobState::Running, JobState::Done]);
        let mut cut = Events::default();
        let states: Vec<JobState> = text.iter().flat_map(|byte| cut.states(&[*byte])).collect();
        assert_eq!(states, [JobState::Running, JobState::Done]);
    }

    #[test]
    fn names_travel_in_a_query() {
        assert_eq!(query_value("2024/Überfahrt 1.jpg"), "%C3%9Cberfahrt%201.jpg");
        assert_eq!(query_value("a&b=%\r\n"), "a%26b%3D%25%0D%0A");
    }
}

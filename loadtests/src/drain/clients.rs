//! Clients that go on uploading and reading until they are told to stop.

use crate::{
    client::{Client, unanswered},
    pictures::{self, Picture},
};
use futures_util::{
    StreamExt,
    future::{join, join_all},
};
use mediamill_shared::clock::{Clock, Entropy, Stopwatch};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Files of one picture: the original and one variant.
pub(super) const FILES: usize = 2;

/// A file that is served.
#[derive(Debug, Clone)]
pub(super) struct File {
    path: String,
    sha256: String,
}

/// Every picture that is ready, and the client that made them.
pub(super) struct Gallery {
    client: Client,
    clock: Clock,
    entropy: Entropy,
    next: AtomicU32,
    ready: Mutex<Vec<[File; FILES]>>,
}

/// How many clients there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crowd {
    pub(super) uploaders: usize,
    pub(super) readers: usize,
    /// Of a reader, between two reads.
    pub(super) pause: Duration,
}

/// What clients did.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct Done {
    pub(super) seconds: f64,
    pub(super) uploads: u64,
    pub(super) failed_uploads: BTreeMap<String, u64>,
    pub(super) reads: u64,
    pub(super) failed_reads: BTreeMap<String, u64>,
    pub(super) longest_read_ms: f64,
}

impl Done {
    pub(super) fn uploads_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of uploads")]
        let uploads = self.uploads as f64;
        uploads / self.seconds.max(1e-9)
    }

    fn uploaded(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => self.uploads += 1,
            Err(cause) => *self.failed_uploads.entry(cause).or_default() += 1,
        }
    }

    fn read(&mut self, result: Result<(), String>, took: Duration) {
        self.reads += 1;
        self.longest_read_ms = self.longest_read_ms.max(took.as_secs_f64() * 1e3);
        if let Err(cause) = result {
            *self.failed_reads.entry(cause).or_default() += 1;
        }
    }

    fn with(mut self, other: Self) -> Self {
        self.uploads += other.uploads;
        self.reads += other.reads;
        self.longest_read_ms = self.longest_read_ms.max(other.longest_read_ms);
        for (cause, count) in other.failed_uploads {
            *self.failed_uploads.entry(cause).or_default() += count;
        }
        for (cause, count) in other.failed_reads {
            *self.failed_reads.entry(cause).or_default() += count;
        }
        self
    }
}

impl Gallery {
    pub(super) fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            clock,
            entropy: Entropy::seeded(1),
            next: AtomicU32::new(0),
            ready: Mutex::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Uploads `count` pictures.
    pub(super) async fn fill(&self, count: usize, concurrency: usize) -> Done {
        let since = Stopwatch::start();
        let mut done = futures_util::stream::iter(0..count)
            .map(|_| self.upload())
            .buffer_unordered(concurrency)
            .fold(Done::default(), |mut done, result| async move {
                done.uploaded(result);
                done
            })
            .await;
        done.seconds = since.elapsed().as_secs_f64();
        done
    }

    /// Reads every file of every picture.
    pub(super) async fn read_all(&self, concurrency: usize) -> Done {
        let all = self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let since = Stopwatch::start();
        let mut done = futures_util::stream::iter(all.iter().flatten())
            .map(|file| self.read(file))
            .buffer_unordered(concurrency)
            .fold(Done::default(), |mut done, (result, took)| async move {
                done.read(result, took);
                done
            })
            .await;
        done.seconds = since.elapsed().as_secs_f64();
        done
    }

    /// Clients at work until `end` has come.
    pub(super) async fn busy<T>(&self, crowd: Crowd, end: impl Future<Output = T>) -> (Done, T) {
        let (stop, stopped) = watch::channel(false);
        let since = Stopwatch::start();
        let clients = join(
            join_all((0..crowd.uploaders).map(|_| self.uploader(stopped.clone()))),
            join_all((0..crowd.readers).map(|_| self.reader(crowd.pause, stopped.clone()))),
        );
        let ending = async {
            let ended = end.await;
            stop.send_replace(true);
            (ended, since.elapsed())
        };
        let ((uploaders, readers), (ended, took)) = join(clients, ending).await;
        let mut done = uploaders.into_iter().chain(readers).fold(Done::default(), Done::with);
        done.seconds = took.as_secs_f64();
        (done, ended)
    }

    async fn uploader(&self, stopped: watch::Receiver<bool>) -> Done {
        let mut done = Done::default();
        while !*stopped.borrow() {
            done.uploaded(self.upload().await);
        }
        done
    }

    async fn reader(&self, pause: Duration, stopped: watch::Receiver<bool>) -> Done {
        let mut done = Done::default();
        while !*stopped.borrow() {
            if let Some(file) = self.any() {
                let (result, took) = self.read(&file).await;
                done.read(result, took);
            }
            self.clock.sleep(pause).await;
        }
        done
    }

    fn any(&self) -> Option<File> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a fraction of a length, rounded down"
        )]
        let place = (self.entropy.fraction() * (ready.len() * FILES) as f64) as usize;
        ready.get(place / FILES)?.get(place % FILES).cloned()
    }

    /// Uploads a picture and waits until it is ready.
    async fn upload(&self) -> Result<(), String> {
        let Picture { name, bytes } = pictures::bitmap(self.next.fetch_add(1, Ordering::Relaxed));
        let request = self.client.request(Method::POST, "/v1/media?wait=50");
        let answer = request.header("x-file-name", name).body(bytes).send().await;
        let answer = answer.map_err(|error| unanswered(&error))?;
        let status = answer.status();
        let body: Value = answer.json().await.map_err(|error| unanswered(&error))?;
        if status != StatusCode::CREATED {
            let detail = body
                .pointer("/detail")
                .and_then(Value::as_str)
                .unwrap_or("not ready in time");
            return Err(format!("{status}: {detail}"));
        }
        let files = files(&body).ok_or_else(|| format!("a picture without its {FILES} files: {body}"))?;
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(files);
        Ok(())
    }

    /// Reads a file and compares it; tells how long it took to its last byte.
    async fn read(&self, file: &File) -> (Result<(), String>, Duration) {
        let since = Stopwatch::start();
        let read = async {
            let sent = self.client.request(Method::GET, &file.path).send().await;
            let answer = sent.map_err(|error| unanswered(&error))?;
            let status = answer.status();
            let bytes = answer.bytes().await.map_err(|_| format!("{status}, cut off"))?;
            if status != StatusCode::OK {
                return Err(format!("{status}: {}", String::from_utf8_lossy(&bytes)));
            }
            let same = hex::encode(Sha256::digest(&bytes)) == file.sha256;
            if same { Ok(()) } else { Err("other bytes".to_owned()) }
        };
        let result = read.await;
        (result, since.elapsed())
    }
}

/// The files of an upload's one picture.
fn files(body: &Value) -> Option<[File; FILES]> {
    let variants = body.pointer("/media/0/variants")?.as_array()?;
    let files = variants.iter().map(|variant| {
        let url: url::Url = variant.get("url")?.as_str()?.parse().ok()?;
        Some(File {
            path: url.path().to_owned(),
            sha256: variant.get("sha256")?.as_str()?.to_owned(),
        })
    });
    files.collect::<Option<Vec<_>>>()?.try_into().ok()
}

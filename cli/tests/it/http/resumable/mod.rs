//! Uploads in pieces: every rule of the tus protocol, and what becomes of uploads that are cut off, raced, given up.

mod broken;
mod judged;
mod parts;
mod protocol;

use super::{Site, problem};
use mediamill_shared::{
    clock::Stopwatch,
    control::resumable,
    ids::{JobId, MediaId, UploadId},
    jobs::JobState,
    objects::{ObjectKey, Store},
    services::Services,
    testing::PATIENCE,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use std::time::Duration;

/// A bitmap of more pieces than one, which differs from others by its `seed`.
pub(super) fn bitmap(width: u32, height: u32, seed: u64) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let size = 54 + row * height;
    let mut bytes = b"BM".to_vec();
    for number in [
        size,
        0,
        54,
        40,
        width,
        height,
        1 | 24 << 16,
        0,
        row * height,
        2_835,
        2_835,
        0,
        0,
    ] {
        bytes.extend(number.to_le_bytes());
    }
    let mut state = seed | 1;
    while bytes.len() < size as usize {
        // xorshift64: no two pieces are alike.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size as usize);
    bytes
}

/// 2.4 MB, three pieces.
fn picture(seed: u64) -> Vec<u8> {
    bitmap(1_000, 800, seed)
}

fn tus(site: &Site, method: Method, path: &str) -> RequestBuilder {
    site.request(method, path).header("tus-resumable", "1.0.0")
}

fn text<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

fn number(answer: &Response, name: &str) -> Option<usize> {
    text(answer, name).map(|value| value.parse().unwrap())
}

/// Begins an upload; where it is.
async fn begin(site: &Site, length: usize) -> String {
    let answer = tus(site, Method::POST, "/v1/tus").header("upload-length", length);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    text(&answer, "location").unwrap().to_owned()
}

async fn begin_part(site: &Site, length: usize) -> String {
    let answer = tus(site, Method::POST, "/v1/tus")
        .header("upload-length", length)
        .header("upload-concat", "partial");
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    text(&answer, "location").unwrap().to_owned()
}

fn patch(site: &Site, at: &str, offset: usize) -> RequestBuilder {
    tus(site, Method::PATCH, at)
        .header(header::CONTENT_TYPE, "application/offset+octet-stream")
        .header("upload-offset", offset)
}

async fn send(site: &Site, at: &str, offset: usize, bytes: &[u8]) -> Response {
    patch(site, at, offset).body(bytes.to_vec()).send().await.unwrap()
}

async fn head(site: &Site, at: &str) -> Response {
    tus(site, Method::HEAD, at).send().await.unwrap()
}

async fn offset(site: &Site, at: &str) -> usize {
    let answer = head(site, at).await;
    assert_eq!(answer.status(), StatusCode::OK);
    number(&answer, "upload-offset").unwrap()
}

/// The picture and job of an upload that is whole.
fn accepted(answer: &Response) -> (MediaId, JobId) {
    let id = |name| text(answer, name).unwrap_or_else(|| panic!("no {name}: {answer:?}"));
    (id("media-id").parse().unwrap(), id("job-id").parse().unwrap())
}

/// Waits for the job; the original must be that of a plain upload of `bytes`.
async fn becomes(site: &Site, media: &MediaId, job: &JobId, bytes: &[u8]) {
    let row = site.world.finished(job).await;
    assert_eq!((row.state, row.subject), (JobState::Done, Some(media.to_string())));
    let plain = site.upload("/v1/media?wait=60", bytes.to_vec()).await;
    assert_eq!(plain.status(), StatusCode::CREATED);
    let plain: serde_json::Value = plain.json().await.unwrap();
    let plain = plain["media"][0]["id"].as_str().unwrap().to_owned();
    let original = async |id: &str| {
        let answer = site.get(&format!("/m/{id}/original")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.bytes().await.unwrap()
    };
    assert!(
        original(media.as_str()).await == original(&plain).await,
        "another picture"
    );
}

/// Waits until nothing is staged.
pub(super) async fn nothing_is_staged(services: &Services) {
    let watch = Stopwatch::start();
    loop {
        // The tests' S3 server cannot list what is being removed.
        let staged = services.objects.list(ObjectKey::STAGED, None, 10).await;
        if staged.as_ref().is_ok_and(Vec::is_empty) {
            return;
        }
        assert!(watch.elapsed() < PATIENCE, "{staged:?}");
        services.clock.sleep(Duration::from_millis(10)).await;
    }
}

fn id_of(at: &str) -> UploadId {
    at.rsplit('/').next().unwrap().parse().unwrap()
}

async fn row(site: &Site, at: &str) -> Option<resumable::Upload> {
    let tenant = site.world.tenant().await;
    let row = resumable::get(&site.world.services.control, tenant.id(), &id_of(at)).await;
    row.unwrap()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, place| {
            bits << 8 | usize::from(three.get(place).copied().unwrap_or(0))
        });
        for place in 0..4 {
            let letter = LETTERS[bits >> (18 - 6 * place) & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// Waits until what is removed in the background is gone.
async fn settled(site: &Site) {
    nothing_is_staged(&site.world.services).await;
}

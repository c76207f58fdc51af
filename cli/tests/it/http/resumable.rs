//! Uploads in pieces: every rule of the tus protocol, and what becomes of uploads that are cut off, raced, given up.

use super::{Site, problem};
use futures_util::future::join_all;
use mediamill_media::sample;
use mediamill_shared::{
    clock::Stopwatch,
    control::{
        accept::{self, Accepted, Idempotency},
        jobs,
        resumable::{self, Piece, UploadState},
    },
    ids::{JobId, MediaId, UploadId},
    jobs::JobState,
    objects::{ObjectKey, Store},
    services::Services,
    shutdown::Shutdown,
    tenancy::{Limit, LimitOverrides},
    testing::{PATIENCE, World},
    units::ByteCount,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

mediamill_shared::on_both_sides!(
    what_the_server_can_is_told_and_other_versions_are_refused,
    pieces_become_the_same_picture_as_a_plain_upload,
    requests_that_break_the_rules_change_nothing,
    a_checksum_keeps_a_body_whole_or_not_at_all,
    a_length_may_follow_later_and_is_said_once,
    what_arrived_before_a_cut_is_kept,
    a_cut_body_with_a_checksum_leaves_nothing,
    of_two_at_the_same_place_one_goes_on,
    another_process_goes_on,
    another_tenants_uploads_are_not_there,
    ending_an_upload_removes_its_bytes,
    parts_become_one_picture_once,
    a_final_upload_needs_whole_parts_of_its_tenant,
    what_is_no_picture_is_refused_at_its_first_piece,
    what_does_not_fit_is_refused_and_removed,
    an_upload_may_begin_with_its_bytes,
    an_upload_that_lost_its_process_at_the_end_is_finished_once,
    short_requests_have_an_end,
);

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
async fn nothing_is_staged(services: &Services) {
    let watch = Stopwatch::start();
    loop {
        let staged = services.objects.list(ObjectKey::STAGED, None, 10).await.unwrap();
        if staged.is_empty() {
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

async fn what_the_server_can_is_told_and_other_versions_are_refused(world: World) {
    let site = Site::of(world).await;
    // Without a key: a client asks before anything else.
    let answer = site.bare(Method::OPTIONS, "/v1/tus").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    for (name, value) in [
        ("tus-resumable", "1.0.0"),
        ("tus-version", "1.0.0"),
        ("tus-max-size", "200000000"),
        ("tus-checksum-algorithm", "sha1,sha256,sha512"),
        (
            "tus-extension",
            "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination,concatenation",
        ),
    ] {
        assert_eq!(text(&answer, name), Some(value));
    }
    let at = begin(&site, 100).await;
    for version in [None, Some("0.2.2"), Some("1.0.1"), Some("")] {
        for (method, path) in [(Method::POST, "/v1/tus"), (Method::PATCH, &at), (Method::DELETE, &at)] {
            let mut request = site.request(method, path).header("upload-length", 5);
            if let Some(version) = version {
                request = request.header("tus-resumable", version);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(text(&answer, "tus-version"), Some("1.0.0"));
            assert_eq!(text(&answer, "tus-resumable"), Some("1.0.0"));
            problem(answer, 412, "protocol-version").await;
        }
    }
    assert_eq!(offset(&site, &at).await, 0);
    // Who has no key is told nothing, and which version is spoken all the same.
    let answer = site.bare(Method::HEAD, &at).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), text(&answer, "tus-resumable")),
        (401, Some("1.0.0"))
    );
    site.close().await;
}

async fn pieces_become_the_same_picture_as_a_plain_upload(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(1);
    let answer = tus(&site, Method::POST, "/v1/tus")
        .header("upload-length", bytes.len())
        // `holiday photo.bmp`, and what a client says besides.
        .header(
            "upload-metadata",
            "filename aG9saWRheSBwaG90by5ibXA=,filetype aW1hZ2UvYm1w,private",
        );
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let at = text(&answer, "location").unwrap().to_owned();
    let expires = text(&answer, "upload-expires").unwrap().to_owned();
    assert!(expires.ends_with(" GMT"), "{expires}");
    let mut sent = 0;
    // Less than a piece, more than one, one byte, the rest.
    for part in [700_000, 1_500_000, 1, bytes.len()] {
        let end = bytes.len().min(sent + part);
        let answer = head(&site, &at).await;
        assert_eq!(text(&answer, "cache-control"), Some("no-store"));
        assert_eq!(number(&answer, "upload-length"), Some(bytes.len()));
        assert_eq!(number(&answer, "upload-offset"), Some(sent));
        assert_eq!(text(&answer, "media-id"), None);
        let answer = send(&site, &at, sent, &bytes[sent..end]).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(number(&answer, "upload-offset"), Some(end));
        assert_eq!(text(&answer, "upload-expires"), Some(expires.as_str()));
        sent = end;
        if sent == bytes.len() {
            let (media, job) = accepted(&answer);
            let answer = head(&site, &at).await;
            assert_eq!(accepted(&answer), (media.clone(), job.clone()), "told again");
            assert_eq!(
                text(&answer, "upload-metadata"),
                Some("filename aG9saWRheSBwaG90by5ibXA=,filetype aW1hZ2UvYm1w,private")
            );
            // A client that did not hear of it sends nothing once more.
            assert_eq!(
                accepted(&send(&site, &at, sent, b"").await),
                (media.clone(), job.clone())
            );
            becomes(&site, &media, &job, &bytes).await;
            let picture: serde_json::Value = site.get(&format!("/v1/media/{media}")).await.json().await.unwrap();
            assert_eq!(picture["file_name"], "holiday photo.bmp");
        }
    }
    assert_eq!(row(&site, &at).await.unwrap().state, UploadState::Done);
    site.close().await;
}

async fn requests_that_break_the_rules_change_nothing(world: World) {
    let site = Site::of(world).await;
    for (name, value) in [
        ("upload-length", "-1"),
        ("upload-length", "1e6"),
        ("upload-length", ""),
        ("upload-defer-length", "0"),
        ("upload-defer-length", "true"),
        ("upload-concat", "whole"),
        ("upload-concat", "final;"),
        ("upload-concat", "final;/v1/tus/../../etc"),
        ("x-nothing", "at all"),
    ] {
        let answer = tus(&site, Method::POST, "/v1/tus").header(name, value);
        problem(answer.send().await.unwrap(), 400, "bad-request").await;
    }
    for (name, value) in [
        ("upload-defer-length", "1"),
        ("upload-metadata", "filename !!"),
        ("upload-metadata", "a YQ==,a YQ=="),
    ] {
        let answer = tus(&site, Method::POST, "/v1/tus")
            .header("upload-length", 10)
            .header(name, value);
        problem(answer.send().await.unwrap(), 400, "bad-request").await;
    }
    let begin_with = async |length: &str| {
        let request = tus(&site, Method::POST, "/v1/tus").header("upload-length", length);
        request.send().await.unwrap()
    };
    problem(begin_with("0").await, 400, "empty-upload").await;
    let document = problem(begin_with("200000001").await, 413, "too-large").await;
    assert_eq!(document["limit"], 200_000_000);
    problem(begin_with("9000000000000000000").await, 413, "too-large").await;

    let bytes = picture(2);
    let at = begin(&site, bytes.len()).await;
    assert_eq!(
        send(&site, &at, 0, &bytes[..1_000]).await.status(),
        StatusCode::NO_CONTENT
    );
    for wrong in [0, 999, 1_001, bytes.len()] {
        let document = problem(send(&site, &at, wrong, &bytes[..100]).await, 409, "offset-mismatch").await;
        assert_eq!(document["offset"], 1_000);
    }
    for offset in ["x", "-1", ""] {
        let request = tus(&site, Method::PATCH, &at).header(header::CONTENT_TYPE, "application/offset+octet-stream");
        let answer = request
            .header("upload-offset", offset)
            .body("abc")
            .send()
            .await
            .unwrap();
        problem(answer, 400, "bad-request").await;
    }
    let request = tus(&site, Method::PATCH, &at).header(header::CONTENT_TYPE, "application/offset+octet-stream");
    problem(request.body("abc").send().await.unwrap(), 400, "bad-request").await;
    for kind in ["application/octet-stream", "image/bmp", ""] {
        let request = tus(&site, Method::PATCH, &at).header(header::CONTENT_TYPE, kind);
        let answer = request.header("upload-offset", 1_000).body("abc").send().await.unwrap();
        problem(answer, 415, "wrong-content-type").await;
    }
    let request = patch(&site, &at, 1_000).header("upload-length", bytes.len() + 1);
    problem(request.body("abc").send().await.unwrap(), 400, "bad-request").await;
    // More than was announced: by its length, and unannounced.
    let answer = send(&site, &at, 1_000, &bytes).await;
    problem(answer, 413, "too-large").await;
    assert_eq!(offset(&site, &at).await, 1_000);
    let answer = site.request(Method::GET, &at).send().await.unwrap();
    problem(answer, 405, "method-not-allowed").await;
    for unknown in [
        "/v1/tus/01hzzzzzzzzzzzzzzzzzzzzzzz",
        "/v1/tus/nothing",
        "/v1/tus/01HZZZZZZZZZZZZZZZZZZZZZZZ",
    ] {
        problem(send(&site, unknown, 0, b"abc").await, 404, "not-found").await;
        let answer = head(&site, unknown).await;
        assert_eq!(
            (answer.status().as_u16(), number(&answer, "upload-offset")),
            (404, None)
        );
    }
    // By a client that knows only POST.
    let meant = async |method: &str| {
        let request = tus(&site, Method::POST, &at).header("x-http-method-override", method);
        request.send().await.unwrap()
    };
    let answer = meant("HEAD").await;
    assert_eq!(
        (answer.status().as_u16(), number(&answer, "upload-offset")),
        (200, Some(1_000))
    );
    problem(meant("PUT").await, 405, "method-not-allowed").await;
    let answer = patch(&site, &at, 1_000)
        .header("x-http-method-override", "patch")
        .body(bytes[1_000..2_000].to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(number(&answer, "upload-offset"), Some(2_000));
    assert_eq!(meant("DELETE").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(head(&site, &at).await.status(), StatusCode::GONE);
    nothing_is_staged(&site.world.services).await;
    site.close().await;
}

async fn a_checksum_keeps_a_body_whole_or_not_at_all(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(3);
    let at = begin(&site, bytes.len()).await;
    let with = async |checksum: &str, offset: usize, bytes: &[u8]| {
        let request = patch(&site, &at, offset).header("upload-checksum", checksum);
        request.body(bytes.to_vec()).send().await.unwrap()
    };
    // Of three bytes.
    let of_abc = "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=";
    let answer = with(of_abc, 0, &bytes).await;
    let document = problem(answer, 460, "checksum-mismatch").await;
    assert_eq!(document["status"], 460);
    for unknown in ["md5 kAFQmDzST7DWlj99KOF/cg==", "sha1 !", "sha1"] {
        problem(with(unknown, 0, b"abc").await, 400, "bad-request").await;
    }
    assert_eq!(offset(&site, &at).await, 0);
    nothing_is_staged(&site.world.services).await;
    let sha256 = base64(&Sha256::digest(&bytes[..1_500_000]));
    let answer = with(&format!("sha256 {sha256}"), 0, &bytes[..1_500_000]).await;
    assert_eq!(number(&answer, "upload-offset"), Some(1_500_000));
    let sha256 = base64(&Sha256::digest(&bytes[1_500_000..]));
    let answer = with(&format!("sha256 {sha256}"), 1_500_000, &bytes[1_500_000..]).await;
    let (media, job) = accepted(&answer);
    becomes(&site, &media, &job, &bytes).await;
    site.close().await;
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

async fn a_length_may_follow_later_and_is_said_once(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(4);
    let answer = tus(&site, Method::POST, "/v1/tus").header("upload-defer-length", "1");
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let at = text(&answer, "location").unwrap().to_owned();
    let answer = head(&site, &at).await;
    assert_eq!(
        (text(&answer, "upload-defer-length"), number(&answer, "upload-length")),
        (Some("1"), None)
    );
    assert_eq!(
        number(&send(&site, &at, 0, &bytes[..2_000_000]).await, "upload-offset"),
        Some(2_000_000)
    );
    // Shorter than what is there, longer than the tenant may send.
    for (length, status, code) in [(1_999_999, 400, "bad-request"), (200_000_001, 413, "too-large")] {
        let request = patch(&site, &at, 2_000_000).header("upload-length", length);
        problem(request.body("").send().await.unwrap(), status, code).await;
    }
    let request = patch(&site, &at, 2_000_000).header("upload-length", bytes.len());
    let answer = request.body(bytes[2_000_000..2_100_000].to_vec()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let answer = head(&site, &at).await;
    assert_eq!(
        (text(&answer, "upload-defer-length"), number(&answer, "upload-length")),
        (None, Some(bytes.len()))
    );
    let request = patch(&site, &at, 2_100_000).header("upload-length", bytes.len() + 1);
    problem(request.body("").send().await.unwrap(), 400, "bad-request").await;
    let (media, job) = accepted(&send(&site, &at, 2_100_000, &bytes[2_100_000..]).await);
    becomes(&site, &media, &job, &bytes).await;
    site.close().await;
}

/// Sends the head of a `PATCH` and `sent` of the bytes that it announces, and hangs up.
async fn cut(site: &Site, at: &str, offset: usize, bytes: &[u8], sent: usize, more: &str) {
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "PATCH {at} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n{more}\
         Content-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n",
        World::HOST,
        site.world.key,
        bytes.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&bytes[..sent]).await.unwrap();
    stream.shutdown().await.unwrap();
    // Until the other side has noticed.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
}

async fn what_arrived_before_a_cut_is_kept(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(5);
    let at = begin(&site, bytes.len()).await;
    let mut there = 0;
    // Within the first piece, after some, at a piece's end.
    for sent in [300_000, 1_200_000, 597_152] {
        cut(&site, &at, there, &bytes[there..], sent, "").await;
        let watch = Stopwatch::start();
        // What was sent has arrived to the last byte; when, is the other side's.
        while offset(&site, &at).await < there + sent {
            assert!(
                watch.elapsed() < PATIENCE,
                "{} of {}",
                offset(&site, &at).await,
                there + sent
            );
        }
        there += sent;
        assert_eq!(offset(&site, &at).await, there);
    }
    let (media, job) = accepted(&send(&site, &at, there, &bytes[there..]).await);
    becomes(&site, &media, &job, &bytes).await;
    site.close().await;
}

async fn a_cut_body_with_a_checksum_leaves_nothing(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(6);
    let at = begin(&site, bytes.len()).await;
    let checksum = format!("Upload-Checksum: sha256 {}\r\n", base64(&Sha256::digest(&bytes)));
    cut(&site, &at, 0, &bytes, 1_500_000, &checksum).await;
    nothing_is_staged(&site.world.services).await;
    assert_eq!(offset(&site, &at).await, 0);
    assert_eq!(row(&site, &at).await.unwrap().pieces, 0);
    site.close().await;
}

async fn of_two_at_the_same_place_one_goes_on(world: World) {
    let site = Site::of(world).await;
    for turn in 0..4 {
        let bytes = picture(10 + turn);
        let at = begin(&site, bytes.len()).await;
        assert_eq!(
            send(&site, &at, 0, &bytes[..1_000]).await.status(),
            StatusCode::NO_CONTENT
        );
        let answers = join_all((0..4).map(|_| send(&site, &at, 1_000, &bytes[1_000..]))).await;
        let mut won = Vec::new();
        for answer in answers {
            match answer.status().as_u16() {
                204 => won.push(accepted(&answer)),
                409 => drop(problem(answer, 409, "offset-mismatch").await),
                // Found whole, while the one that made it so judges it.
                other => panic!("{other}"),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        let (media, job) = won.remove(0);
        assert_eq!(accepted(&head(&site, &at).await), (media.clone(), job.clone()));
        becomes(&site, &media, &job, &bytes).await;
    }
    nothing_is_staged(&site.world.services).await;
    site.close().await;
}

async fn another_process_goes_on(world: World) {
    let site = Site::of(world).await;
    let services = &site.world.services;
    let other = Services::open(
        (*services.config).clone(),
        services.clock.clone(),
        services.entropy.clone(),
        Shutdown::new(),
    );
    let other = other.await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (api, router) = (other.clone(), mediamill_api::router(&other, None));
    other.shutdown.spawn(async move {
        mediamill_api::serve(&api, "api", listener, router).await.unwrap();
    });
    let bytes = picture(20);
    let at = begin(&site, bytes.len()).await;
    assert_eq!(
        send(&site, &at, 0, &bytes[..1_300_000]).await.status(),
        StatusCode::NO_CONTENT
    );
    let request = site
        .http
        .patch(format!("http://{address}{at}"))
        .header(header::HOST, World::HOST)
        .bearer_auth(&site.world.key)
        .header("tus-resumable", "1.0.0")
        .header(header::CONTENT_TYPE, "application/offset+octet-stream")
        .header("upload-offset", 1_300_000);
    let answer = request.body(bytes[1_300_000..].to_vec()).send().await.unwrap();
    let (media, job) = accepted(&answer);
    assert_eq!(accepted(&head(&site, &at).await), (media.clone(), job.clone()));
    becomes(&site, &media, &job, &bytes).await;
    other.shutdown.stop();
    site.close().await;
}

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
    site.close().await;
}

async fn ending_an_upload_removes_its_bytes(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(30);
    let at = begin(&site, bytes.len()).await;
    send(&site, &at, 0, &bytes[..2_000_000]).await;
    let staged = site
        .world
        .services
        .objects
        .list(ObjectKey::STAGED, None, 10)
        .await
        .unwrap();
    assert_eq!(staged.len(), 2, "{staged:?}");
    let end = async || tus(&site, Method::DELETE, &at).send().await.unwrap();
    assert_eq!(end().await.status(), StatusCode::NO_CONTENT);
    nothing_is_staged(&site.world.services).await;
    problem(
        send(&site, &at, 2_000_000, &bytes[2_000_000..]).await,
        410,
        "upload-gone",
    )
    .await;
    let answer = head(&site, &at).await;
    assert_eq!(
        (answer.status().as_u16(), number(&answer, "upload-offset")),
        (410, None)
    );
    problem(end().await, 410, "upload-gone").await;
    // One that is ended while bytes arrive.
    let at = begin(&site, bytes.len()).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let request = patch(&site, &at, 0).body(reqwest::Body::wrap_stream(futures_util::stream::unfold(
        receiver,
        async |mut receiver| receiver.recv().await.map(|item| (item, receiver)),
    )));
    let sending = tokio::spawn(request.send());
    sender.send(Ok(bytes[..1_100_000].to_vec())).await.unwrap();
    let watch = Stopwatch::start();
    while offset(&site, &at).await == 0 {
        assert!(watch.elapsed() < PATIENCE);
    }
    assert_eq!(
        tus(&site, Method::DELETE, &at).send().await.unwrap().status(),
        StatusCode::NO_CONTENT
    );
    sender.send(Ok(bytes[1_100_000..].to_vec())).await.unwrap();
    drop(sender);
    problem(sending.await.unwrap().unwrap(), 409, "offset-mismatch").await;
    nothing_is_staged(&site.world.services).await;
    site.close().await;
}

async fn parts_become_one_picture_once(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(40);
    let cuts = [0, 900_000, 901_000, bytes.len()];
    let mut parts = Vec::new();
    for range in cuts.windows(2) {
        let part = &bytes[range[0]..range[1]];
        let at = begin_part(&site, part.len()).await;
        let answer = send(&site, &at, 0, part).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(text(&answer, "media-id"), None, "a part is no picture");
        assert_eq!(text(&head(&site, &at).await, "upload-concat"), Some("partial"));
        parts.push(at);
    }
    let concat = format!("final;{} http://{}{} {}", parts[0], World::HOST, parts[1], parts[2]);
    let unite = async || {
        let request = tus(&site, Method::POST, "/v1/tus")
            .header("upload-concat", &concat)
            .header("upload-metadata", "filename YS5ibXA=");
        request.send().await.unwrap()
    };
    // All at once, and again: there is one picture.
    let answers = join_all((0..3).map(|_| unite())).await;
    let mut made = Vec::new();
    for answer in answers {
        match answer.status().as_u16() {
            201 => made.push((text(&answer, "location").unwrap().to_owned(), accepted(&answer))),
            423 => drop(problem(answer, 423, "upload-busy").await),
            other => panic!("{other}"),
        }
    }
    let answer = unite().await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let (at, (media, job)) = (text(&answer, "location").unwrap().to_owned(), accepted(&answer));
    assert!(
        made.iter()
            .all(|one| *one == (at.clone(), (media.clone(), job.clone()))),
        "{made:?}"
    );
    let answer = head(&site, &at).await;
    assert_eq!(number(&answer, "upload-offset"), Some(bytes.len()));
    assert_eq!(number(&answer, "upload-length"), Some(bytes.len()));
    assert_eq!(
        text(&answer, "upload-concat"),
        Some(format!("final;{}", parts.join(" ")).as_str())
    );
    problem(send(&site, &at, bytes.len(), b"").await, 403, "upload-is-final").await;
    assert_eq!(head(&site, &parts[0]).await.status(), StatusCode::GONE);
    becomes(&site, &media, &job, &bytes).await;
    site.close().await;
}

async fn a_final_upload_needs_whole_parts_of_its_tenant(world: World) {
    let site = Site::of(world).await;
    let bytes = sample::small(1);
    let (part, whole) = (begin_part(&site, bytes.len()).await, begin(&site, bytes.len()).await);
    send(&site, &part, 0, &bytes[..100]).await;
    let unite = async |concat: String| {
        let request = tus(&site, Method::POST, "/v1/tus").header("upload-concat", concat);
        request.send().await.unwrap()
    };
    problem(unite(format!("final;{part}")).await, 400, "bad-request").await;
    problem(unite(format!("final;{whole}")).await, 400, "bad-request").await;
    problem(
        unite("final;/v1/tus/01hzzzzzzzzzzzzzzzzzzzzzzz".into()).await,
        404,
        "not-found",
    )
    .await;
    let request = tus(&site, Method::POST, "/v1/tus").header("upload-concat", format!("final;{part}"));
    let answer = request.header("upload-length", bytes.len()).send().await.unwrap();
    problem(answer, 400, "bad-request").await;
    // What it becomes is judged like anything else.
    let noise = begin_part(&site, 200).await;
    send(&site, &noise, 0, &[7; 200]).await;
    problem(unite(format!("final;{noise}")).await, 415, "unsupported-media-type").await;
    problem(unite(format!("final;{noise}")).await, 410, "upload-gone").await;
    for at in [part, whole] {
        assert_eq!(
            tus(&site, Method::DELETE, &at).send().await.unwrap().status(),
            StatusCode::NO_CONTENT
        );
    }
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

async fn an_upload_may_begin_with_its_bytes(world: World) {
    let site = Site::of(world).await;
    let bytes = picture(60);
    let begin = |sent: usize| {
        let request = tus(&site, Method::POST, "/v1/tus")
            .header("upload-length", bytes.len())
            .header(header::CONTENT_TYPE, "application/offset+octet-stream");
        request.body(bytes[..sent].to_vec()).send()
    };
    let answer = begin(1_200_000).await.unwrap();
    assert_eq!(
        (answer.status(), number(&answer, "upload-offset")),
        (StatusCode::CREATED, Some(1_200_000))
    );
    let at = text(&answer, "location").unwrap().to_owned();
    let (media, job) = accepted(&send(&site, &at, 1_200_000, &bytes[1_200_000..]).await);
    becomes(&site, &media, &job, &bytes).await;
    let answer = begin(bytes.len()).await.unwrap();
    assert_eq!(
        (answer.status(), number(&answer, "upload-offset")),
        (StatusCode::CREATED, Some(bytes.len()))
    );
    let (media, job) = accepted(&answer);
    becomes(&site, &media, &job, &bytes).await;
    // A body that is refused leaves the upload, which the client may go on with.
    let request = tus(&site, Method::POST, "/v1/tus")
        .header("upload-length", bytes.len())
        .header("upload-checksum", "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")
        .header(header::CONTENT_TYPE, "application/offset+octet-stream");
    let answer = request.body(bytes.clone()).send().await.unwrap();
    let at = text(&answer, "location").unwrap().to_owned();
    problem(answer, 460, "checksum-mismatch").await;
    assert_eq!(offset(&site, &at).await, 0);
    site.close().await;
}

/// An upload whose bytes have all arrived at a process that died before it judged them.
async fn orphaned(site: &Site, bytes: &[u8]) -> String {
    let at = begin(site, bytes.len()).await;
    let (services, tenant, id) = (&site.world.services, site.world.tenant().await, id_of(&at));
    let half = bytes.len() / 2;
    let mut pieces = Vec::new();
    for (start, part) in [(0, &bytes[..half]), (half, &bytes[half..])] {
        let object = ObjectKey::piece(tenant.id(), &id, ByteCount::of(start), 1);
        services.objects.put(&object, part.to_vec().into(), "").await.unwrap();
        pieces.push(Piece {
            start: ByteCount::of(start),
            bytes: ByteCount::of(part.len()),
            object,
        });
    }
    let now = services.clock.now();
    let added = resumable::append(&services.control, &id, ByteCount::ZERO, &pieces, now).await;
    assert!(added.unwrap());
    at
}

async fn an_upload_that_lost_its_process_at_the_end_is_finished_once(world: World) {
    let site = Site::of(world).await;
    let services = site.world.services.clone();
    // Before anything was judged: whoever asks first has it finished.
    let bytes = picture(70);
    let at = orphaned(&site, &bytes).await;
    let answers = join_all((0..4).map(|_| head(&site, &at))).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    assert!(
        statuses.contains(&200) && statuses.iter().all(|status| [200, 423].contains(status)),
        "{statuses:?}"
    );
    let (media, job) = accepted(&head(&site, &at).await);
    for answer in answers.iter().filter(|answer| answer.status() == 200) {
        assert_eq!(accepted(answer), (media.clone(), job.clone()));
    }
    becomes(&site, &media, &job, &bytes).await;
    // With the last bytes, an empty body does it too.
    let at = orphaned(&site, &bytes).await;
    let (_, job) = accepted(&send(&site, &at, bytes.len(), b"").await);
    site.world.finished(&job).await;
    // While it was being finished: nobody else does, until its claim is over.
    let at = orphaned(&site, &bytes).await;
    let until = services.clock.now().after(Duration::from_secs(3_600));
    assert!(
        resumable::claim(&services.control, &id_of(&at), services.clock.now(), until)
            .await
            .unwrap()
    );
    assert_eq!(head(&site, &at).await.status(), StatusCode::LOCKED);
    let answer = tus(&site, Method::DELETE, &at).send().await.unwrap();
    problem(answer, 423, "upload-busy").await;
    assert!(
        resumable::hold(&services.control, &id_of(&at), until, services.clock.now())
            .await
            .unwrap()
    );
    let (_, job) = accepted(&head(&site, &at).await);
    site.world.finished(&job).await;
    // After the job was accepted and before that was recorded: there is no second one.
    let at = orphaned(&site, &bytes).await;
    let tenant = site.world.tenant().await;
    let answer = format!(r#"{{"media":[{{"id":"{media}","job":{{"id":"{job}"}}}}]}}"#);
    let once = Idempotency {
        name: format!("resumable upload {}", id_of(&at)),
        request_hash: String::new(),
        answer,
    };
    let (stamp, now) = (tenant.context().stamp(), services.clock.now());
    let before = accept::accept(&services.control, tenant.id(), stamp, &[], Some(&once), now, true).await;
    assert_eq!(before.unwrap(), Accepted::New);
    assert_eq!(accepted(&head(&site, &at).await), (media.clone(), job.clone()));
    assert_eq!(
        jobs::get(&services.control, &job).await.unwrap().unwrap().state,
        JobState::Done
    );
    site.close().await;
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
    problem(begin_with("upload-length", "150000001").await, 429, "too-many-uploads").await;
    let (_, small) = (begin(&site, 100_000_000).await, begin(&site, 10).await);
    problem(begin_with("upload-length", "10").await, 429, "too-many-uploads").await;
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
    site.close().await;
}

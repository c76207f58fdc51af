//! Uploads that cannot be: too long, no pictures, broken ones, cut off.

use super::{Site, problem};
use futures_util::{StreamExt, stream};
use mediamill_media::sample;
use mediamill_shared::{
    tenancy::{Limit, LimitOverrides},
    testing::{PATIENCE, World},
};
use reqwest::{Method, RequestBuilder, StatusCode, header, multipart};
use serde_json::Value;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

mediamill_shared::on_both_sides!(
    a_body_that_says_it_is_too_long_is_refused_unread,
    a_body_that_is_left_unread_ends_its_connection_and_no_other,
    a_body_that_turns_out_too_long_is_refused_before_its_end,
    what_is_no_picture_is_415,
    a_truncated_picture_fails_with_its_cause_in_words,
    a_header_of_65500_by_65500_is_refused_before_any_decode,
    a_client_that_goes_away_leaves_nothing,
);

/// A tenant that may send 100,000 bytes at a time.
async fn narrow(site: &Site) -> String {
    let limits = LimitOverrides::default().set(Limit::UploadBytes, 100_000);
    site.world.another_tenant_with("narrow", limits).await.1
}

async fn a_body_that_says_it_is_too_long_is_refused_unread(world: World) {
    let site = Site::of(world).await;
    let key = narrow(&site).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    // A terabyte is announced and nothing of it sent: whoever reads first never answers.
    let head = format!(
        "POST /v1/media HTTP/1.1\r\nHost: narrow.localhost\r\nX-API-Key: {key}\r\nContent-Length: 1000000000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    drop(stream);
    site.close().await;
}

/// A client that is not told sends its next request into a connection that is closed.
async fn a_body_that_is_left_unread_ends_its_connection_and_no_other(world: World) {
    let site = Site::of(world).await;
    let picture = sample::photographs().swap_remove(0).bytes;
    for _ in 0..20 {
        let refused = site
            .bare(Method::POST, "/v1/media")
            .bearer_auth("mm_nobody")
            .body(picture.clone());
        let refused = refused.send().await.unwrap();
        assert_eq!(refused.headers()[header::CONNECTION], "close");
        problem(refused, 401, "wrong-key").await;
        let taken = site.upload("/v1/media", sample::small(1)).await;
        assert!(!taken.headers().contains_key(header::CONNECTION));
        assert_eq!(taken.status(), StatusCode::ACCEPTED);
    }
    // A short rest is skipped, known length or not; so is what comes behind a form's end. Where it is late it is not.
    let streamed = |bytes: Vec<u8>| reqwest::Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(bytes)]));
    let form = || {
        let part = multipart::Part::stream(streamed(sample::small(2))).file_name("a.jpg");
        site.request(Method::POST, "/v1/media")
            .multipart(multipart::Form::new().part("a", part))
    };
    let refused = || site.bare(Method::POST, "/v1/media").bearer_auth("mm_nobody");
    let requests: [&dyn Fn() -> RequestBuilder; 3] = [
        &|| refused().body("{}"),
        &|| refused().body(streamed(b"{}".to_vec())),
        &form,
    ];
    for request in requests {
        let kept = async {
            while request()
                .send()
                .await
                .unwrap()
                .headers()
                .contains_key(header::CONNECTION)
            {}
        };
        tokio::time::timeout(PATIENCE, kept).await.unwrap();
    }
    let usage = site.get("/v1/usage").await;
    assert!(!usage.headers().contains_key(header::CONNECTION));
    site.close().await;
}

async fn a_body_that_turns_out_too_long_is_refused_before_its_end(world: World) {
    let site = Site::of(world).await;
    let key = narrow(&site).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    // Without a length, and without an end.
    let endless = stream::once(async { Ok::<_, std::io::Error>(sample::small(1)) })
        .chain(stream::repeat_with(|| Ok(vec![0; 65_536])))
        .inspect(move |chunk| {
            counted.fetch_add(chunk.as_ref().map_or(0, Vec::len), Ordering::Relaxed);
        });
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "POST /v1/media HTTP/1.1\r\nHost: narrow.localhost\r\nX-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let mut answer = vec![0; 12];
    let feed = async {
        let mut chunks = std::pin::pin!(endless);
        while let Some(Ok(chunk)) = chunks.next().await {
            let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), &chunk, b"\r\n"].concat();
            if write.write_all(&framed).await.is_err() {
                break;
            }
        }
        // The server has closed its side: its answer is there to be read.
        std::future::pending::<()>().await;
    };
    tokio::time::timeout(PATIENCE, async {
        tokio::select! { () = feed => {}, read = read.read_exact(&mut answer) => { read.unwrap(); } }
    })
    .await
    .unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    let sent = sent.load(Ordering::Relaxed);
    // The limit and what sockets hold, and nothing like an endless body.
    assert!(sent < 32_000_000, "{sent} bytes were sent before the answer");
    site.close().await;
}

async fn what_is_no_picture_is_415(world: World) {
    let site = Site::of(world).await;
    for body in [
        &b"just text"[..],
        b"%PDF-1.7 and so on",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ] {
        // What the client calls it does not count.
        let request = site
            .request(Method::POST, "/v1/media")
            .header(header::CONTENT_TYPE, "image/jpeg");
        let answer = request.body(body.to_vec()).send().await.unwrap();
        problem(answer, 415, "unsupported-media-type").await;
    }
    problem(site.upload("/v1/media", "").await, 400, "empty-upload").await;
    site.close().await;
}

/// Uploads what cannot become a picture; returns the problem after the wait.
async fn failed(site: &Site, bytes: Vec<u8>, code: &str) -> Value {
    let document = problem(site.upload("/v1/media?wait=60", bytes).await, 422, "media-failed").await;
    let job = document["jobs"][0].clone();
    assert_eq!(
        (&job["state"], &job["cause"]["code"]),
        (&"failed".into(), &code.into()),
        "{job}"
    );
    assert!(job["cause"]["text"].as_str().unwrap().len() > 10, "{job}");
    assert_eq!(job["attempts"], 1, "a permanent failure is not retried");
    let again: Value = site
        .get(&format!("/v1/jobs/{}", job["id"].as_str().unwrap()))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(again["cause"], job["cause"]);
    let media: Value = site
        .get(&format!("/v1/media/{}", job["media"].as_str().unwrap()))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!((&media["state"], &media["cause"]), (&"failed".into(), &job["cause"]));
    document
}

async fn a_truncated_picture_fails_with_its_cause_in_words(world: World) {
    let site = Site::of(world).await;
    let whole = sample::photographs().swap_remove(0).bytes;
    failed(&site, whole[..whole.len() / 2].to_vec(), "truncated").await;
    site.close().await;
}

async fn a_header_of_65500_by_65500_is_refused_before_any_decode(world: World) {
    let site = Site::of(world).await;
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xc0, 0, 17, 8];
    bytes.extend([65_500_u16.to_be_bytes(), 65_500_u16.to_be_bytes()].concat());
    bytes.extend([3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    // A scan follows: what else is to be known stands before it.
    bytes.extend([0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0, 0xff, 0xd9]);
    failed(&site, bytes, "too-many-pixels").await;
    site.close().await;
}

async fn a_client_that_goes_away_leaves_nothing(world: World) {
    let site = Site::of(world).await;
    let picture = sample::photographs().swap_remove(0).bytes;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        let head = format!(
            "POST /v1/media HTTP/1.1\r\nHost: {}\r\nX-API-Key: {}\r\nContent-Length: {}\r\n\r\n",
            World::HOST,
            site.world.key,
            picture.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&picture[..picture.len() / 2]).await.unwrap();
        drop(stream);
    }
    let usage: Value = site.get("/v1/usage").await.json().await.unwrap();
    assert_eq!(usage["media"]["used"], 0);
    site.close().await;
}

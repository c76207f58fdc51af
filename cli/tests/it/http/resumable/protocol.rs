//! What the protocol says, rule by rule.

use super::{
    Site, accepted, base64, becomes, begin, head, nothing_is_staged, number, offset, patch, picture, problem, row,
    send, settled, text, tus,
};
use mediamill_shared::{control::resumable::UploadState, testing::World};
use reqwest::{Method, StatusCode, header};
use sha2::{Digest, Sha256};

mediamill_shared::on_both_sides!(
    what_the_server_can_is_told_and_other_versions_are_refused,
    pieces_become_the_same_picture_as_a_plain_upload,
    beginnings_that_break_the_rules_begin_nothing,
    bodies_that_break_the_rules_change_nothing,
    a_checksum_keeps_a_body_whole_or_not_at_all,
    a_length_may_follow_later_and_is_said_once,
    an_upload_may_begin_with_its_bytes,
);

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
    settled(&site).await;
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
    settled(&site).await;
    site.close().await;
}

async fn beginnings_that_break_the_rules_begin_nothing(world: World) {
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
    settled(&site).await;
    site.close().await;
}

async fn bodies_that_break_the_rules_change_nothing(world: World) {
    let site = Site::of(world).await;
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
    // More than was announced.
    let small = begin(&site, 1_000).await;
    problem(send(&site, &small, 0, &bytes[..1_001]).await, 413, "too-large").await;
    assert_eq!(offset(&site, &small).await, 0);
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
    settled(&site).await;
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
    settled(&site).await;
    site.close().await;
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
    settled(&site).await;
    site.close().await;
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
    settled(&site).await;
    site.close().await;
}

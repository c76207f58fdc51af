//! The API with a worker behind it, over real connections, on both sides: what good and bad requests are answered.

use futures_util::{StreamExt, future::join_all, stream};
use mediamill_api::router;
use mediamill_media::sample;
use mediamill_shared::{
    control::{audit::Actor, changes::Change},
    objects::{ObjectKey, Store},
    tenancy::{Limit, LimitOverrides, TenantState},
    testing::{PATIENCE, World},
};
use mediamill_workers::Settings;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

mediamill_shared::on_both_sides!(
    without_a_key_that_fits_the_answer_is_401,
    a_host_that_nobody_has_is_404,
    what_another_tenant_has_is_404,
    a_body_that_says_it_is_too_long_is_refused_unread,
    a_body_that_turns_out_too_long_is_refused_before_its_end,
    what_is_no_picture_is_415,
    a_truncated_picture_fails_with_its_cause_in_words,
    a_header_of_65500_by_65500_is_refused_before_any_decode,
    an_upload_is_served_as_the_pictures_it_became,
    several_files_in_one_request_are_several_pictures,
    pages_follow_each_other,
    an_idempotency_key_accepts_once,
    the_same_key_at_the_same_time_accepts_once,
    a_deleted_picture_is_gone,
    events_tell_of_a_job_until_it_is_over,
    a_full_quota_is_403_and_names_the_limit,
    a_suspended_tenant_is_403,
    a_client_that_goes_away_leaves_nothing,
    a_drained_installation_is_ready_and_says_so,
);

/// An installation that serves.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) address: SocketAddr,
    pub(crate) http: reqwest::Client,
}

impl Site {
    pub(crate) async fn of(world: World) -> Self {
        let services = &world.services;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (api, router) = (services.clone(), router(services, None));
        services.shutdown.spawn(async move {
            mediamill_api::serve(&api, "api", listener, router).await.unwrap();
        });
        let worker = mediamill_workers::run(services.clone(), Settings::from_config(&services.config));
        services.shutdown.spawn(worker);
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self { world, address, http }
    }

    /// A request at the first tenant's host, without a key.
    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
            .header(header::HOST, World::HOST)
    }

    /// A request of the first tenant.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.world.key)
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

async fn without_a_key_that_fits_the_answer_is_401(world: World) {
    let site = Site::of(world).await;
    let (_, foreign) = site.world.another_tenant("other").await;
    let unknown = format!("{}0", &site.world.key[..site.world.key.len() - 1]);
    let unknown = if unknown == site.world.key {
        format!("{}1", &unknown[..unknown.len() - 1])
    } else {
        unknown
    };
    for (method, path) in [
        (Method::POST, "/v1/media"),
        (Method::GET, "/v1/media"),
        (Method::GET, "/v1/usage"),
        (Method::DELETE, "/v1/media/00000000000000000000000000"),
        (Method::GET, "/v1/jobs/00000000000000000000000000/events"),
    ] {
        let answer = site.bare(method.clone(), path).send().await.unwrap();
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
        problem(answer, 401, "missing-key").await;
        for wrong in ["", "mm_x_y", &unknown, &foreign] {
            let answer = site
                .bare(method.clone(), path)
                .header("x-api-key", wrong)
                .send()
                .await
                .unwrap();
            problem(answer, 401, "wrong-key").await;
        }
    }
    for right in [
        site.bare(Method::GET, "/v1/usage").bearer_auth(&site.world.key),
        site.bare(Method::GET, "/v1/usage").header("x-api-key", &site.world.key),
    ] {
        assert_eq!(right.send().await.unwrap().status(), StatusCode::OK);
    }
    site.close().await;
}

async fn a_host_that_nobody_has_is_404(world: World) {
    let site = Site::of(world).await;
    for path in ["/v1/media", "/m/00000000000000000000000000/thumb"] {
        let request = site.http.get(format!("http://{}{path}", site.address));
        let answer = request
            .header(header::HOST, "nobody.localhost")
            .bearer_auth(&site.world.key);
        problem(answer.send().await.unwrap(), 404, "unknown-host").await;
    }
    site.close().await;
}

async fn what_another_tenant_has_is_404(world: World) {
    let site = Site::of(world).await;
    let picture = site.ready(1).await;
    let id = picture["id"].as_str().unwrap();
    let accepted: Value = site.upload("/v1/media", sample::small(2)).await.json().await.unwrap();
    let job = accepted["media"][0]["job"]["id"].as_str().unwrap().to_owned();
    site.world.finished(&job.parse().unwrap()).await;
    let (_, key) = site.world.another_tenant("other").await;
    for (method, path) in [
        (Method::GET, format!("/v1/media/{id}")),
        (Method::DELETE, format!("/v1/media/{id}")),
        (Method::GET, format!("/m/{id}/thumb")),
        (Method::GET, format!("/v1/jobs/{job}")),
        (Method::GET, format!("/v1/jobs/{job}/events")),
    ] {
        let request = site.http.request(method, format!("http://{}{path}", site.address));
        let answer = request.header(header::HOST, "other.localhost").bearer_auth(&key);
        problem(answer.send().await.unwrap(), 404, "not-found").await;
    }
    // Nothing of it was touched.
    assert_eq!(site.get(&format!("/v1/media/{id}")).await.status(), StatusCode::OK);
    site.close().await;
}

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
    bytes.extend([3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 0xff, 0xd9]);
    failed(&site, bytes, "too-many-pixels").await;
    site.close().await;
}

async fn an_upload_is_served_as_the_pictures_it_became(world: World) {
    let site = Site::of(world).await;
    let photograph = sample::photographs().swap_remove(1);
    let request = site
        .request(Method::POST, "/v1/media?wait=60")
        .header("x-file-name", photograph.name);
    let answer = request.body(photograph.bytes.clone()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let location = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    let picture = &body["media"][0];
    assert_eq!(picture["file_name"], photograph.name);
    assert_eq!((&picture["width"], &picture["height"]), (&1_800.into(), &2_400.into()));
    let shown: Value = site.get(&location).await.json().await.unwrap();
    assert_eq!(&shown, picture);
    for variant in picture["variants"].as_array().unwrap() {
        let url: reqwest::Url = variant["url"].as_str().unwrap().parse().unwrap();
        assert_eq!(url.host_str(), Some(World::HOST));
        // Without a key: pictures are public.
        let whole = site.bare(Method::GET, url.path()).send().await.unwrap();
        assert_eq!(whole.status(), StatusCode::OK);
        let headers = whole.headers().clone();
        let etag = headers[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!(etag.trim_matches('"'), variant["sha256"]);
        for (name, value) in [
            ("content-type", "image/jpeg"),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("accept-ranges", "bytes"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        let bytes = whole.bytes().await.unwrap();
        assert_eq!(bytes.len() as u64, variant["bytes"].as_u64().unwrap());
        assert!(bytes.starts_with(b"\xff\xd8\xff"));
        let part = site
            .bare(Method::GET, url.path())
            .header(header::RANGE, "bytes=10-19")
            .send()
            .await
            .unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(
            part.headers()[header::CONTENT_RANGE],
            format!("bytes 10-19/{}", bytes.len()).as_str()
        );
        assert_eq!(part.bytes().await.unwrap(), bytes[10..20]);
        let beyond = site
            .bare(Method::GET, url.path())
            .header(header::RANGE, "bytes=99999999-");
        problem(beyond.send().await.unwrap(), 416, "range-not-satisfiable").await;
        let known = site
            .bare(Method::GET, url.path())
            .header(header::IF_NONE_MATCH, &etag)
            .send()
            .await
            .unwrap();
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(known.headers()[header::ETAG], etag.as_str());
        let head = site.bare(Method::HEAD, url.path()).send().await.unwrap();
        assert_eq!(head.headers()[header::CONTENT_LENGTH], bytes.len().to_string().as_str());
    }
    let id = picture["id"].as_str().unwrap();
    problem(
        site.bare(Method::GET, &format!("/m/{id}/thumb.png"))
            .send()
            .await
            .unwrap(),
        404,
        "not-found",
    )
    .await;
    problem(
        site.bare(Method::GET, &format!("/m/{id}/huge")).send().await.unwrap(),
        404,
        "not-found",
    )
    .await;
    site.close().await;
}

async fn several_files_in_one_request_are_several_pictures(world: World) {
    let site = Site::of(world).await;
    let part = |number: u32| reqwest::multipart::Part::bytes(sample::small(number)).file_name(format!("{number}.jpg"));
    let form = reqwest::multipart::Form::new()
        .part("source", part(1))
        .part("source", part(2))
        .part("x", part(3));
    let answer = site
        .request(Method::POST, "/v1/media")
        .multipart(form)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let location = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    let media = body["media"].as_array().unwrap();
    let names: Vec<_> = media.iter().map(|one| one["file_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["1.jpg", "2.jpg", "3.jpg"]);
    assert_eq!(media[0]["job"]["url"], location);
    for one in media {
        let job = one["job"]["id"].as_str().unwrap().parse().unwrap();
        site.world.finished(&job).await;
        let picture: Value = site.get(one["url"].as_str().unwrap()).await.json().await.unwrap();
        assert_eq!(
            (&picture["state"], &picture["file_name"]),
            (&"ready".into(), &one["file_name"])
        );
    }
    // One bad file and none is accepted.
    let bad = reqwest::multipart::Part::bytes(b"no picture".to_vec()).file_name("4.jpg");
    let form = reqwest::multipart::Form::new()
        .part("source", part(5))
        .part("source", bad);
    let answer = site
        .request(Method::POST, "/v1/media")
        .multipart(form)
        .send()
        .await
        .unwrap();
    problem(answer, 415, "unsupported-media-type").await;
    let form = reqwest::multipart::Form::new().text("title", "no file");
    let answer = site
        .request(Method::POST, "/v1/media")
        .multipart(form)
        .send()
        .await
        .unwrap();
    problem(answer, 400, "bad-request").await;
    let usage: Value = site.get("/v1/usage").await.json().await.unwrap();
    assert_eq!(usage["media"]["used"], 3, "{usage}");
    site.close().await;
}

async fn pages_follow_each_other(world: World) {
    let site = Site::of(world).await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(site.ready(number).await["id"].as_str().unwrap().to_owned());
    }
    made.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: Value = site
            .get(&format!("/v1/media?limit=2{cursor}"))
            .await
            .json()
            .await
            .unwrap();
        let ids = page["media"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, made, "newest first, each once");
    problem(site.get("/v1/media?limit=0").await, 400, "bad-request").await;
    problem(site.get("/v1/media?cursor=%27").await, 400, "bad-request").await;
    site.close().await;
}

async fn an_idempotency_key_accepts_once(world: World) {
    let site = Site::of(world).await;
    let send = async |number: u32| {
        let request = site
            .request(Method::POST, "/v1/media")
            .header("idempotency-key", "once");
        request.body(sample::small(number)).send().await.unwrap()
    };
    let first = send(1).await;
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    assert!(!first.headers().contains_key("idempotent-replayed"));
    let first: Value = first.json().await.unwrap();
    let again = send(1).await;
    assert_eq!(again.status(), StatusCode::ACCEPTED);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    problem(send(2).await, 422, "idempotency-key-reused").await;
    site.world
        .finished(&first["media"][0]["job"]["id"].as_str().unwrap().parse().unwrap())
        .await;
    // The same after the work is done, and as one who waits.
    let request = site
        .request(Method::POST, "/v1/media?wait=60")
        .header("idempotency-key", "once");
    let waited = request.body(sample::small(1)).send().await.unwrap();
    assert_eq!(waited.status(), StatusCode::CREATED);
    assert_eq!(
        waited.json::<Value>().await.unwrap()["media"][0]["id"],
        first["media"][0]["id"]
    );
    // Another tenant's key of the same name is another key.
    let (_, key) = site.world.another_tenant("other").await;
    let request = site
        .http
        .post(format!("http://{}/v1/media", site.address))
        .header(header::HOST, "other.localhost");
    let other = request
        .header("idempotency-key", "once")
        .bearer_auth(key)
        .body(sample::small(3))
        .send()
        .await
        .unwrap();
    assert_eq!(other.status(), StatusCode::ACCEPTED);
    let other: Value = other.json().await.unwrap();
    site.world
        .finished(&other["media"][0]["job"]["id"].as_str().unwrap().parse().unwrap())
        .await;
    assert_eq!(
        site.get("/v1/usage").await.json::<Value>().await.unwrap()["media"]["used"],
        1
    );
    site.close().await;
}

async fn the_same_key_at_the_same_time_accepts_once(world: World) {
    let site = Site::of(world).await;
    let sent = (0..8).map(|_| {
        let request = site
            .request(Method::POST, "/v1/media?wait=60")
            .header("idempotency-key", "at-once");
        let request = request.body(sample::small(1));
        async move { request.send().await.unwrap().json::<Value>().await.unwrap()["media"][0]["id"].clone() }
    });
    let ids = join_all(sent).await;
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(
        site.get("/v1/usage").await.json::<Value>().await.unwrap()["media"]["used"],
        1
    );
    site.close().await;
}

async fn a_deleted_picture_is_gone(world: World) {
    let site = Site::of(world).await;
    let picture = site.ready(1).await;
    let path = format!("/v1/media/{}", picture["id"].as_str().unwrap());
    let answer = site
        .request(Method::DELETE, &format!("{path}?wait=60"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    problem(site.get(&path).await, 404, "not-found").await;
    problem(
        site.request(Method::DELETE, &path).send().await.unwrap(),
        404,
        "not-found",
    )
    .await;
    let thumb: reqwest::Url = picture["variants"][3]["url"].as_str().unwrap().parse().unwrap();
    problem(
        site.bare(Method::GET, thumb.path()).send().await.unwrap(),
        404,
        "not-found",
    )
    .await;
    let usage: Value = site.get("/v1/usage").await.json().await.unwrap();
    assert_eq!(
        (&usage["media"]["used"], &usage["stored_bytes"]["used"]),
        (&0.into(), &0.into()),
        "{usage}"
    );
    let objects = &site.world.services.objects;
    assert_eq!(objects.list(ObjectKey::MEDIA, None, 10).await.unwrap(), []);
    site.close().await;
}

async fn events_tell_of_a_job_until_it_is_over(world: World) {
    let site = Site::of(world).await;
    let accepted: Value = site.upload("/v1/media", sample::small(1)).await.json().await.unwrap();
    let url = format!("{}/events", accepted["media"][0]["job"]["url"].as_str().unwrap());
    let answer = site.get(&url).await;
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
    // The stream ends by itself: the job is over.
    let text = answer.text().await.unwrap();
    let states: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| {
            serde_json::from_str::<Value>(data).unwrap()["state"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(states.last().unwrap(), "done", "{text}");
    let order = ["queued", "running", "done"];
    assert!(
        states
            .iter()
            .map(|state| order.iter().position(|one| one == state).unwrap())
            .is_sorted(),
        "{states:?}"
    );
    site.close().await;
}

async fn a_full_quota_is_403_and_names_the_limit(world: World) {
    let site = Site::of(world).await;
    let (_, key) = site
        .world
        .another_tenant_with("small", LimitOverrides::default().set(Limit::Media, 2))
        .await;
    let send = async |number: u32| {
        let request = site.http.post(format!("http://{}/v1/media?wait=60", site.address));
        let request = request.header(header::HOST, "small.localhost").bearer_auth(&key);
        request.body(sample::small(number)).send().await.unwrap()
    };
    // Three at once for two places: one of them is refused.
    let answers = join_all((0..3).map(send)).await;
    let mut refused: Vec<Response> = answers
        .into_iter()
        .filter(|one| one.status() != StatusCode::CREATED)
        .collect();
    let document = problem(refused.pop().unwrap(), 403, "over-quota").await;
    assert!(refused.is_empty());
    assert_eq!(
        (&document["limit_name"], &document["limit"], &document["used"]),
        (&"media".into(), &2.into(), &2.into())
    );
    let staged = site.world.services.objects.list(ObjectKey::STAGED, None, 10);
    assert_eq!(staged.await.unwrap().len(), 0, "what is refused is removed at once");
    site.close().await;
}

async fn a_suspended_tenant_is_403(world: World) {
    let site = Site::of(world).await;
    let services = &site.world.services;
    let id = site.world.tenant().await.id().clone();
    let set = async |state| {
        let change = Change {
            state: Some(state),
            ..Change::default()
        };
        services.lifecycle.change(&id, &change, &Actor::cli()).await.unwrap();
    };
    set(TenantState::Suspended).await;
    problem(
        site.upload("/v1/media", sample::small(1)).await,
        403,
        "tenant-suspended",
    )
    .await;
    set(TenantState::Active).await;
    site.ready(1).await;
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

async fn a_drained_installation_is_ready_and_says_so(world: World) {
    let site = Site::of(world).await;
    let ready = site.bare(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    let ready: Value = ready.json().await.unwrap();
    for part in ["database", "schema", "queue", "cache", "objects"] {
        assert_eq!(ready["parts"][part]["ok"], true, "{ready}");
    }
    let document: Value = site
        .bare(Method::GET, "/openapi.json")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(document["paths"]["/v1/media"]["post"].is_object());
    let page = site.bare(Method::GET, "/docs").send().await.unwrap();
    assert!(page.text().await.unwrap().contains("/v1/media"));
    problem(
        site.bare(Method::GET, "/nothing").send().await.unwrap(),
        404,
        "not-found",
    )
    .await;
    problem(
        site.bare(Method::PUT, "/v1/media").send().await.unwrap(),
        405,
        "method-not-allowed",
    )
    .await;
    site.close().await;
}

//! One tenant's credentials against another one's objects: every route of the API's description and every command.
//!
//! A route that is added without an entry in [`kind`] fails the first test.

use crate::{http::Site, program::Program};
use mediamill_media::sample;
use mediamill_shared::testing::World;
use reqwest::{Method, header};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

mediamill_shared::on_both_sides!(
    no_route_gives_one_tenant_what_another_has,
    no_spelling_of_a_host_or_a_path_leads_elsewhere,
    cursors_and_idempotency_keys_mean_nothing_to_another_tenant,
);

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Anybody at the tenant's host.
    Public,
    /// Who has a key of the tenant at whose host it is.
    Tenant,
    /// Who was told a token; no key opens it.
    Token,
    /// The provider: a tenant's key opens nothing.
    Operator,
}

/// A direct upload.
const ANNOUNCED: &str = r#"{"bytes": 100, "type": "image/jpeg"}"#;

/// A storage that nobody tries.
const UNTRIED: &str = r#"{"name": "a", "settings": {"kind": "s3", "bucket": "pictures"}, "unchecked": true,
    "credentials": {"access_key": "a", "secret_key": "b"}}"#;

/// One entry for each route.
fn kind(method: &str, path: &str) -> Option<Kind> {
    Some(match (method, path) {
        ("get", "/m/{id}/{variant}") => Kind::Public,
        ("put", "/v1/uploads/{id}/content") => Kind::Token,
        (
            "get",
            "/v1/jobs/{id}"
            | "/v1/jobs/{id}/events"
            | "/v1/media"
            | "/v1/media/{id}"
            | "/v1/uploads/{id}"
            | "/v1/usage"
            | "/v1/limits"
            | "/v1/link-keys"
            | "/v1/storages"
            | "/v1/storages/{id}"
            | "/v1/storages/{id}/task",
        )
        | (
            "post",
            "/v1/media"
            | "/v1/media/from-url"
            | "/v1/link-keys"
            | "/v1/tus"
            | "/v1/tus/{id}"
            | "/v1/uploads"
            | "/v1/uploads/{id}/complete"
            | "/v1/storages"
            | "/v1/storages/{id}/check"
            | "/v1/storages/{id}/task",
        )
        | ("patch", "/v1/media/{id}" | "/v1/storages/{id}")
        | ("head" | "patch", "/v1/tus/{id}")
        | (
            "delete",
            "/v1/media/{id}"
            | "/v1/link-keys/{id}"
            | "/v1/tus/{id}"
            | "/v1/uploads/{id}"
            | "/v1/storages/{id}"
            | "/v1/storages/{id}/task",
        ) => Kind::Tenant,
        (_, path) if path.starts_with("/_/") || path.starts_with("/v1/tenants") => Kind::Operator,
        _ => return None,
    })
}

/// A picture of the first tenant, and what tells it apart in an answer.
struct Owned {
    media: String,
    job: String,
    link_key: String,
    /// Off.
    storage: String,
    /// In pieces, of which none has arrived.
    upload: String,
    /// Announced, with nothing sent.
    direct: String,
    file: Vec<u8>,
}

async fn owned(site: &Site) -> Owned {
    let picture = site.ready(1).await;
    let media = picture["id"].as_str().unwrap().to_owned();
    let accepted = site.http.post(format!("http://{}/v1/media", site.address));
    let accepted = accepted.header(header::HOST, World::HOST).bearer_auth(&site.world.key);
    let accepted: Value = accepted
        .body(sample::small(2))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let job = accepted["media"][0]["job"]["id"].as_str().unwrap().to_owned();
    site.world.finished(&job.parse().unwrap()).await;
    let file = site.http.get(format!("http://{}/m/{media}/original", site.address));
    let file = file.header(header::HOST, World::HOST).send().await.unwrap();
    assert_eq!(file.status(), 200);
    let key = site.http.post(format!("http://{}/v1/link-keys", site.address));
    let key = key.header(header::HOST, World::HOST).bearer_auth(&site.world.key);
    let key: Value = key.send().await.unwrap().json().await.unwrap();
    let storage = site.http.post(format!("http://{}/v1/storages", site.address));
    let storage = storage.header(header::HOST, World::HOST).bearer_auth(&site.world.key);
    let storage: Value = storage.body(UNTRIED).send().await.unwrap().json().await.unwrap();
    let upload = site.http.post(format!("http://{}/v1/tus", site.address));
    let upload = upload.header(header::HOST, World::HOST).bearer_auth(&site.world.key);
    let upload = upload.header("tus-resumable", "1.0.0").header("upload-length", 100);
    let upload = upload.send().await.unwrap();
    let upload = upload.headers()[header::LOCATION].to_str().unwrap();
    let direct = site.http.post(format!("http://{}/v1/uploads", site.address));
    let direct = direct.header(header::HOST, World::HOST).bearer_auth(&site.world.key);
    let direct: Value = direct.body(ANNOUNCED).send().await.unwrap().json().await.unwrap();
    Owned {
        upload: upload.trim_start_matches("/v1/tus/").to_owned(),
        direct: direct["id"].as_str().unwrap().to_owned(),
        media,
        job,
        storage: storage["id"].as_str().unwrap().to_owned(),
        link_key: key["id"].as_str().unwrap().to_owned(),
        file: file.bytes().await.unwrap().to_vec(),
    }
}

impl Owned {
    /// The path with this tenant's ids in it.
    fn fill(&self, path: &str) -> String {
        let id = if path.contains("/jobs/") {
            &self.job
        } else if path.contains("/tus/") {
            &self.upload
        } else if path.contains("/uploads/") {
            &self.direct
        } else if path.contains("/link-keys/") {
            &self.link_key
        } else if path.contains("/storages/") {
            &self.storage
        } else {
            &self.media
        };
        let mut filled = path.replace("{id}", id).replace("{variant}", "original");
        // Of operators' routes: whatever it is, it is nothing to a tenant.
        while let (Some(start), Some(end)) = (filled.find('{'), filled.find('}')) {
            filled.replace_range(start..=end, "demo");
        }
        filled
    }

    /// Asserts that an answer is a refusal, or at least shows nothing of this tenant.
    fn assert_shows_nothing(&self, status: u16, body: &[u8], what: &str) {
        assert!(status < 500, "{what}: {status} {}", String::from_utf8_lossy(body));
        let holds = |needle: &[u8]| body.windows(needle.len()).any(|window| window == needle);
        assert!(!holds(&self.file), "{what}: the file");
        if (200..300).contains(&status) {
            let ids = [
                &self.media,
                &self.job,
                &self.link_key,
                &self.storage,
                &self.upload,
                &self.direct,
            ];
            for id in ids {
                assert!(
                    !holds(id.as_bytes()),
                    "{what}: {status} {}",
                    String::from_utf8_lossy(body)
                );
            }
        }
    }
}

fn routes() -> Vec<(String, String)> {
    let document = serde_json::to_value(mediamill_api::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            if ["get", "post", "put", "patch", "delete", "head"].contains(&method.as_str()) {
                routes.push((method.clone(), path.clone()));
            }
        }
    }
    routes
}

async fn no_route_gives_one_tenant_what_another_has(world: World) {
    let site = Site::of(world).await;
    let owned = owned(&site).await;
    let (_, foreign) = site.world.another_tenant("other").await;
    for (method, path) in routes() {
        let kind = kind(&method, &path).unwrap_or_else(|| panic!("{method} {path} has no entry: add one"));
        let filled = owned.fill(&path);
        let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        for (host, key) in [
            ("other.localhost", Some(&foreign)),
            ("other.localhost", Some(&site.world.key)),
            ("other.localhost", None),
            (World::HOST, Some(&foreign)),
        ] {
            let what = format!("{method} {filled} at {host} with {key:?}");
            let mut request = site
                .http
                .request(verb.clone(), format!("http://{}{filled}", site.address));
            request = request.header(header::HOST, host);
            if let Some(key) = key {
                request = request.bearer_auth(key);
            }
            if path.starts_with("/v1/tus") {
                request = request.header("tus-resumable", "1.0.0").header("upload-length", 100);
            } else if path == "/v1/media/from-url" {
                // A name that nobody has: RFC 6761.
                request = request.body(r#"{"url": "https://pictures.invalid/a.jpg"}"#);
            } else if path == "/v1/uploads" {
                request = request.body(ANNOUNCED);
            } else if path == "/v1/storages" && method == "post" {
                request = request.body(UNTRIED);
            } else if path.starts_with("/v1/storages/") && method == "post" {
                request = request.body(r#"{"kind": "verify"}"#);
            } else if method == "post" && kind == Kind::Tenant {
                request = request.body(sample::small(3));
            }
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let own = key == Some(&foreign) && host == "other.localhost";
            let names_an_object = path.contains('{');
            match kind {
                Kind::Public if host == World::HOST => assert_eq!(status, 200, "{what}: anybody may"),
                Kind::Tenant if own && !names_an_object => assert!((200..300).contains(&status), "{what}: {status}"),
                Kind::Tenant if !own => assert_eq!(status, 401, "{what}"),
                // At a tenant's host there is no operator's route.
                Kind::Public | Kind::Tenant | Kind::Token | Kind::Operator => assert_eq!(status, 404, "{what}"),
            }
            let body = answer.bytes().await.unwrap();
            if !(kind == Kind::Public && host == World::HOST) {
                owned.assert_shows_nothing(status, &body, &what);
            }
        }
    }
    for (method, path) in routes()
        .into_iter()
        .filter(|(method, path)| kind(method, path) == Some(Kind::Operator))
    {
        let (verb, filled) = (
            Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(),
            owned.fill(&path),
        );
        let request = site.http.request(verb, format!("http://{}{filled}", site.address));
        let answer = request.header("x-api-key", &site.world.key).send().await.unwrap();
        let status = answer.status().as_u16();
        // So many wrong keys from one address have to wait.
        assert!([401, 429].contains(&status), "{method} {filled}: {status}");
        owned.assert_shows_nothing(status, &answer.bytes().await.unwrap(), &filled);
    }
    // Nothing of it was touched.
    let file = site
        .http
        .get(format!("http://{}/m/{}/original", site.address, owned.media));
    let file = file.header(header::HOST, World::HOST).send().await.unwrap();
    assert_eq!(
        (file.status().as_u16(), &file.bytes().await.unwrap()[..]),
        (200, &owned.file[..])
    );
    site.world.services.shutdown.stop();
}

/// One request as it is written; its answer's status and body.
async fn raw(site: &Site, head: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream
        .write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("{head}: {text}"))
        .parse()
        .unwrap();
    (status, answer)
}

async fn no_spelling_of_a_host_or_a_path_leads_elsewhere(world: World) {
    let site = Site::of(world).await;
    let owned = owned(&site).await;
    let (_, key) = site.world.another_tenant("other").await;
    let (id, host) = (&owned.media, World::HOST);
    let hosts = [
        "Host: other.localhost\r\n".to_owned(),
        "Host: OTHER.localhost:8080\r\n".to_owned(),
        "Host: other.localhost.\r\n".to_owned(),
        format!("Host: other.localhost\r\nX-Forwarded-Host: {host}\r\n"),
        format!("Host: other.localhost\r\nForwarded: host={host}\r\nX-Original-Host: {host}\r\nX-Host: {host}\r\n"),
        format!("Host: other.localhost\r\nX-Tenant: demo\r\nX-Original-URL: http://{host}/v1/media/{id}\r\n"),
        format!("Host: other.localhost\r\nX-Forwarded-Host: {host}\r\nX-Router-Secret: guessed\r\n"),
        format!("Host: other.localhost\r\nHost: {host}\r\n"),
        format!("Host: {host}\r\nHost: other.localhost\r\n"),
        format!("Host: other.localhost,{host}\r\n"),
        format!("Host: other.localhost {host}\r\n"),
        format!("Host: other.localhost@{host}\r\n"),
        format!("Host: {host}@other.localhost\r\n"),
        format!("Host: other.localhost/{host}\r\n"),
        "Host: \r\n".to_owned(),
        String::new(),
    ];
    let targets = [
        format!("/v1/media/{id}"),
        format!("/m/{id}/original"),
        format!("http://{host}/v1/media/{id}"),
        format!("http://{host}/m/{id}/original"),
        format!("http://x@{host}/m/{id}/original"),
        format!("//{host}/m/{id}/original"),
        format!("/m/%2e%2e/m/{id}/original"),
        format!("/m/../m/{id}/original"),
        format!("/m/{id}%2foriginal"),
        format!("/m/{id}/..%2f{id}%2foriginal"),
        format!("/m/{id}%00/original"),
        format!("/m/media%2fdemo%2f{id}/original"),
        format!("/v1/media/{}", id.to_uppercase()),
        format!("/v1/media/demo%2f{id}"),
        format!("/v1/media/{id}/"),
        format!("/v1/media/{id};a=b?x=/../../demo"),
        format!("/v1/jobs/{}", owned.job),
        format!("/v1//jobs//{}", owned.job),
    ];
    for lines in &hosts {
        for target in &targets {
            let head = format!("GET {target} HTTP/1.1\r\n{lines}X-API-Key: {key}\r\n");
            let (status, body) = raw(&site, &head).await;
            assert!([400, 401, 404].contains(&status), "{head}: {status}");
            owned.assert_shows_nothing(status, &body, &head);
        }
    }
    // A request to a proxy that says the same twice is its host's.
    let head = format!("GET http://{host}/m/{id}/original HTTP/1.1\r\nHost: {host}\r\n");
    assert_eq!(raw(&site, &head).await.0, 200);
    site.world.services.shutdown.stop();
}

async fn cursors_and_idempotency_keys_mean_nothing_to_another_tenant(world: World) {
    let site = Site::of(world).await;
    let (_, foreign) = site.world.another_tenant("other").await;
    let upload = async |host: &str, key: &str| -> Value {
        let request = site.http.post(format!("http://{}/v1/media?wait=60", site.address));
        let request = request
            .header(header::HOST, host)
            .bearer_auth(key)
            .header("idempotency-key", "the-same");
        let answer = request.body(sample::small(1)).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.json().await.unwrap()
    };
    let ours = upload(World::HOST, &site.world.key).await;
    let theirs = upload("other.localhost", &foreign).await;
    assert_ne!(ours["media"][0]["id"], theirs["media"][0]["id"]);
    for _ in 0..2 {
        site.ready(2).await;
    }
    let list = async |host: &str, key: &str, query: &str| -> (u16, Value) {
        let request = site.http.get(format!("http://{}/v1/media?{query}", site.address));
        let answer = request
            .header(header::HOST, host)
            .bearer_auth(key)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    };
    let (_, page) = list(World::HOST, &site.world.key, "limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let (status, page) = list("other.localhost", &foreign, &format!("limit=10&cursor={cursor}")).await;
    assert!([200, 400].contains(&status), "{page}");
    let shown = page.to_string();
    for picture in page["media"].as_array().into_iter().flatten() {
        assert_eq!(picture["id"], theirs["media"][0]["id"], "{shown}");
    }
    assert!(!shown.contains(ours["media"][0]["id"].as_str().unwrap()), "{shown}");
    site.world.services.shutdown.stop();
}

#[test]
fn no_command_takes_one_tenants_object_for_anothers() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    for id in ["one", "two"] {
        program.answer(&["tenants", "create", id, "--host", &format!("{id}.example")]);
    }
    let key = program.answer(&["keys", "create", "one", "--name", "k"]);
    let id = key.trim_start_matches("mm_").split('_').next().unwrap();
    let refused = program.run(&["keys", "revoke", "two", id]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    // It is live all the same, for its own tenant.
    program.answer(&["keys", "revoke", "one", id]);
    let stranger = program.run(&["keys", "create", "two", "--user", "nobody"]);
    assert_eq!(stranger.code, Some(1), "{stranger:?}");
    for hostile in [
        "../one",
        "one/../two",
        "ONE",
        "one ",
        "",
        "two;one",
        "two\none",
        "%6fne",
    ] {
        for arguments in [
            &["tenants", "get", hostile][..],
            &["usage", hostile],
            &["keys", "create", hostile],
        ] {
            assert_ne!(program.run(arguments).code, Some(0), "{arguments:?}");
        }
    }
}

use super::*;
use crate::{
    objects::contract::{Fixture, contract},
    testing::s3::S3Server,
};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

struct Served {
    server: S3Server,
    store: S3Store,
}

impl Fixture for Served {
    type Store = S3Store;

    async fn start() -> Self {
        let server = S3Server::start().await.unwrap();
        let mut url = server.url("pictures").unwrap();
        url.set_path("of/one/site");
        let store = S3Store::open(&url, Clock::system()).unwrap();
        Self { server, store }
    }

    fn store(&self) -> S3Store {
        self.store.clone()
    }

    fn leftovers(&self) -> Vec<String> {
        self.server.unfinished().unwrap()
    }
}

contract!(Served);

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

/// The URL with one parameter set to another value.
fn with(url: &Url, name: &str, value: &str) -> Url {
    let mut changed = url.clone();
    changed.query_pairs_mut().clear();
    for (given, said) in url.query_pairs().filter(|(given, _)| given != name) {
        changed.query_pairs_mut().append_pair(&given, &said);
    }
    changed.query_pairs_mut().append_pair(name, value);
    changed
}

fn store_at(url: &Url) -> S3Store {
    S3Store::open(url, Clock::system()).unwrap()
}

/// What anybody's program gets: status and body.
async fn fetch(url: &Url) -> (u16, Vec<u8>) {
    let mut connection = TcpStream::connect(url.socket_addrs(|| None).unwrap()[0]).await.unwrap();
    let path = &url[url::Position::BeforePath..];
    let host = &url[url::Position::BeforeHost..url::Position::BeforePath];
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let status = std::str::from_utf8(&answer[..head]).unwrap().split(' ').nth(1).unwrap();
    (status.parse().unwrap(), answer[head + 4..].to_vec())
}

#[tokio::test]
async fn a_prefix_keeps_stores_of_one_bucket_apart() {
    let server = S3Server::start().await.unwrap();
    let url = server.url("pictures").unwrap();
    let mut deeper = url.clone();
    deeper.set_path("site/");
    let (whole, part) = (store_at(&url), store_at(&deeper));
    part.put(&key("a"), Bytes::from_static(b"x"), "text/plain")
        .await
        .unwrap();
    whole
        .put(&key("sitewide"), Bytes::from_static(b"y"), "text/plain")
        .await
        .unwrap();
    let keys = |listed: Vec<Listed>| listed.into_iter().map(|line| line.key).collect::<Vec<_>>();
    assert_eq!(keys(part.list("", None, 10).await.unwrap()), [key("a")]);
    assert_eq!(
        keys(whole.list("", None, 10).await.unwrap()),
        [key("site/a"), key("sitewide")]
    );
    assert!(part.stat(&key("sitewide")).await.unwrap().is_none());
}

#[tokio::test]
async fn others_objects_in_the_bucket_do_not_end_a_listing() {
    let server = S3Server::start().await.unwrap();
    let store = store_at(&server.url("pictures").unwrap());
    for name in ["a b", "b c", "c d"] {
        let foreign = store.0.client.put_object().bucket("pictures").key(name);
        foreign.body(ByteStream::from_static(b"x")).send().await.unwrap();
    }
    store.put(&key("z"), Bytes::new(), "text/plain").await.unwrap();
    let listed = store.list("", None, 2).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].key, key("z"));
}

#[tokio::test]
async fn a_presigned_url_gives_the_object_and_nothing_else() {
    let server = S3Server::start().await.unwrap();
    let url = with(&server.url("pictures").unwrap(), "presign", "true");
    let store = store_at(&url);
    for (name, text) in [("a/mine", "mine"), ("a/theirs", "theirs")] {
        store.put(&key(name), Bytes::from(text), "text/plain").await.unwrap();
    }
    let hour = Duration::from_hours(1);
    let signed = store.presign(&key("a/mine"), hour).await.unwrap().unwrap();
    assert_eq!(fetch(&signed).await, (200, b"mine".to_vec()));
    let mut tampered = signed.clone();
    tampered.set_path(&signed.path().replace("mine", "theirs"));
    assert_eq!(fetch(&tampered).await.0, 403);
    let tampered = with(&signed, "X-Amz-Expires", "7200");
    assert_eq!(fetch(&tampered).await.0, 403);
    // Signed two hours ago, for one.
    let past = Clock::manual(Clock::system().now().before(2 * hour));
    let expired = S3Store::open(&url, past)
        .unwrap()
        .presign(&key("a/mine"), hour)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(fetch(&expired).await.0, 403);
}

/// Sends a body to where a signed request says, with its headers but for those that `changed` names anew.
async fn put(signed: &SignedPut, changed: &[(&str, &str)], body: &[u8]) -> u16 {
    let url = &signed.url;
    let path = &url[url::Position::BeforePath..];
    let host = &url[url::Position::BeforeHost..url::Position::BeforePath];
    let mut headers: std::collections::BTreeMap<_, _> = signed
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    headers.extend(changed.iter().copied());
    let headers: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let headers = headers.concat();
    let request = format!("PUT {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    let mut connection = TcpStream::connect(url.socket_addrs(|| None).unwrap()[0]).await.unwrap();
    connection
        .write_all(&[request.as_bytes(), body].concat())
        .await
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_signed_put_writes_what_was_announced_and_nothing_else() {
    let server = S3Server::start().await.unwrap();
    let url = with(&server.url("pictures").unwrap(), "presign", "true");
    let store = store_at(&url);
    let (body, hour) = (b"a picture", Duration::from_hours(1));
    let sha256 = hex::encode(Sha256::digest(body));
    for checksum in [None, Some(sha256.clone())] {
        let announced = Announced {
            bytes: ByteCount::of(body.len()),
            content_type: "image/png".into(),
            sha256: checksum.clone(),
        };
        let object = key(if checksum.is_some() { "a/checked" } else { "a/any" });
        let signed = store.presign_put(&object, &announced, hour).await.unwrap().unwrap();
        let named = |name: &str| signed.headers.iter().any(|(header, _)| header == name);
        assert!(named("content-length") && named("content-type"), "{:?}", signed.headers);
        for (changed, body) in [
            (&[("content-length", "10")][..], &b"a picture!"[..]),
            (&[("content-length", "3")][..], b"a p"),
            (&[("content-type", "text/html")][..], body),
        ] {
            assert_eq!(put(&signed, changed, body).await, 403, "{changed:?}");
        }
        let expected = if checksum.is_some() { 400 } else { 200 };
        assert_eq!(put(&signed, &[], b"a Picture").await, expected);
        assert_eq!(put(&signed, &[], body).await, 200);
        let stat = store.stat(&object).await.unwrap().unwrap();
        assert_eq!(stat.bytes, announced.bytes);
        // This server keeps a checksum where it got one.
        assert_eq!(stat.sha256, checksum);
        let past = Clock::manual(Clock::system().now().before(2 * hour));
        let past = S3Store::open(&url, past).unwrap();
        let expired = past.presign_put(&object, &announced, hour).await.unwrap().unwrap();
        assert_eq!(put(&expired, &[], body).await, 403);
    }
}

#[tokio::test]
async fn nothing_is_presigned_unless_the_url_says_so() {
    let server = S3Server::start().await.unwrap();
    let store = store_at(&server.url("pictures").unwrap());
    let minute = Duration::from_mins(1);
    assert_eq!(store.presign(&key("a"), minute).await.unwrap(), None);
    let announced = Announced {
        bytes: ByteCount::of(1),
        content_type: "image/png".into(),
        sha256: None,
    };
    assert_eq!(store.presign_put(&key("a"), &announced, minute).await.unwrap(), None);
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let server = S3Server::start().await.unwrap();
    let store = store_at(&with(&server.url("pictures").unwrap(), "secret_key", "wrong"));
    let object = key("a");
    for error in [
        store.put(&object, Bytes::new(), "text/plain").await.unwrap_err(),
        store.get(&object, None).await.unwrap_err(),
        store.stat(&object).await.unwrap_err(),
        store.list("", None, 1).await.unwrap_err(),
        store.ping().await.unwrap_err(),
    ] {
        assert!(matches!(&error, ObjectError::Refused { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_refused() {
    let server = S3Server::start().await.unwrap();
    let store = store_at(&server.url_at("nowhere", server.address()).unwrap());
    for error in [
        store.ping().await.unwrap_err(),
        store.delete(&key("a")).await.unwrap_err(),
        store.list("", None, 1).await.unwrap_err(),
    ] {
        assert!(matches!(&error, ObjectError::Refused { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn tls_is_spoken_with_servers_of_the_given_ca_only() {
    let server = S3Server::start_tls().await.unwrap();
    let url = server.url("pictures").unwrap();
    let store = store_at(&url);
    let photo = Bytes::from(vec![7; 10 * 1024 * 1024]);
    let source = stream::iter([Ok(photo.clone())]).boxed();
    store
        .put_stream(&key("a/b"), source, ByteCount::new(i64::MAX))
        .await
        .unwrap();
    assert_eq!(
        store.stat(&key("a/b")).await.unwrap().unwrap().bytes,
        ByteCount::of(photo.len())
    );
    let stranger = S3Server::start_tls().await.unwrap();
    let url = with(&url, "endpoint", &format!("https://{}", stranger.address()));
    let error = store_at(&url).ping().await.unwrap_err();
    assert!(matches!(&error, ObjectError::Unavailable { .. }), "{error:?}");
}

#[test]
fn secrets_are_not_shown() {
    let url: Url = "s3://b/p?access_key=visible&secret_key=hidden&colour=red"
        .parse()
        .unwrap();
    let error = S3Store::open(&url, Clock::system()).unwrap_err().to_string();
    assert!(error.contains("colour") && !error.contains("hidden"), "{error}");
    let url: Url = "s3://b/p?access_key=a&secret_key=hidden".parse().unwrap();
    assert_eq!(
        format!("{:?}", S3Store::open(&url, Clock::system()).unwrap()),
        "S3Store(s3://b/p/)"
    );
}

/// Deadlines that a test can wait for.
const HASTY: Deadlines = Deadlines {
    connect: Duration::from_millis(500),
    attempt: Duration::from_millis(500),
    stall: Duration::from_millis(500),
};

/// A server that gives every request the same beginning of an answer and then nothing, never closing.
async fn falls_silent_after(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = TaskTracker::new();
    let held = connections.clone();
    connections.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            held.spawn(async move {
                stream.read_u8().await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                // Reads, so that the client's side never blocks, until the client closes.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            });
        }
    });
    address
}

fn hasty(server: &S3Server, address: SocketAddr) -> S3Store {
    S3Store::open_with(
        &server.url_at("pictures", address).unwrap(),
        None,
        Clock::system(),
        HASTY,
    )
    .unwrap()
}

#[track_caller]
fn assert_unavailable<T: fmt::Debug>(ended: &Result<T, ObjectError>) {
    assert!(matches!(ended, Err(ObjectError::Unavailable { .. })), "{ended:?}");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_unavailable() {
    let server = S3Server::start().await.unwrap();
    let store = hasty(&server, falls_silent_after("").await);
    let object = key("a");
    let long = stream::iter([Ok(Bytes::from(vec![0; 2 * PART]))]).boxed();
    let (put, streamed, get, stat, delete, list, ping) = tokio::join!(
        store.put(&object, Bytes::from_static(b"x"), "text/plain"),
        store.put_stream(&object, long, ByteCount::new(i64::MAX)),
        store.get(&object, None),
        store.stat(&object),
        store.delete(&object),
        store.list("", None, 1),
        store.ping(),
    );
    assert_unavailable(&put);
    assert_unavailable(&streamed);
    assert_unavailable(&get);
    assert_unavailable(&stat);
    assert_unavailable(&delete);
    assert_unavailable(&list);
    assert_unavailable(&ping);
}

#[tokio::test]
async fn a_body_that_stalls_ends_as_unavailable() {
    let server = S3Server::start().await.unwrap();
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe first few bytes";
    let store = hasty(&server, falls_silent_after(half).await);
    let mut fetched = store.get(&key("a"), None).await.unwrap();
    assert_eq!(fetched.total, ByteCount::new(1000));
    assert_eq!(fetched.body.next().await.unwrap().unwrap(), "the first few bytes");
    assert_unavailable(&fetched.body.next().await.unwrap());
}

#[tokio::test]
async fn a_body_that_is_cut_off_ends_as_unavailable() {
    let mut server = S3Server::start().await.unwrap();
    let store = store_at(&server.url("pictures").unwrap());
    // Longer than what sockets hold.
    let photo = Bytes::from(vec![7; 64 * 1024 * 1024]);
    store.put(&key("a"), photo, "image/jpeg").await.unwrap();
    let mut fetched = store.get(&key("a"), None).await.unwrap();
    fetched.body.next().await.unwrap().unwrap();
    server.stop().await;
    let mut ended = None;
    while let Some(piece) = fetched.body.next().await {
        ended = Some(piece);
    }
    assert_unavailable(&ended.unwrap());
    server.start_again().await.unwrap();
    assert!(store.stat(&key("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_and_found_again() {
    let mut server = S3Server::start().await.unwrap();
    let store = store_at(&server.url("pictures").unwrap());
    let (before, during) = (key("before"), key("during"));
    store
        .put(&before, Bytes::from_static(b"x"), "text/plain")
        .await
        .unwrap();
    server.stop().await;
    assert_unavailable(&store.put(&during, Bytes::from_static(b"x"), "text/plain").await);
    assert_unavailable(&store.get(&before, None).await);
    assert_unavailable(&store.ping().await);
    server.start_again().await.unwrap();
    store.ping().await.unwrap();
    assert!(store.stat(&before).await.unwrap().is_some());
    assert!(store.stat(&during).await.unwrap().is_none());
    store
        .put(&during, Bytes::from_static(b"x"), "text/plain")
        .await
        .unwrap();
}

#[tokio::test]
async fn an_upload_whose_server_goes_away_leaves_no_object() {
    let mut server = S3Server::start().await.unwrap();
    let store = store_at(&server.url("pictures").unwrap());
    let (begun, was_begun) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let first = stream::iter([Ok(Bytes::from(vec![1; PART])), Ok(Bytes::from(vec![2; PART]))]);
    let rest = stream::once(async move {
        begun.send(()).unwrap();
        may_go_on.await.unwrap();
        Ok(Bytes::from(vec![3; PART]))
    });
    let object = key("a");
    let write = store.put_stream(&object, first.chain(rest).boxed(), ByteCount::new(i64::MAX));
    let outage = async {
        was_begun.await.unwrap();
        server.stop().await;
        go_on.send(()).unwrap();
    };
    let (ended, ()) = tokio::join!(write, outage);
    assert_unavailable(&ended);
    server.start_again().await.unwrap();
    assert!(store.stat(&object).await.unwrap().is_none());
}

/// Passes bytes on to `server`, but for one word on the way there.
async fn damages(word: &'static str, into: &'static str, server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = TaskTracker::new();
    let held = connections.clone();
    connections.spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = TcpStream::connect(server).await.unwrap().into_split();
            held.spawn(async move {
                let mut piece = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = from_client.read(&mut piece).await {
                    let piece = &mut piece[..length];
                    if let Some(at) = piece.windows(word.len()).position(|window| window == word.as_bytes()) {
                        piece[at..at + word.len()].copy_from_slice(into.as_bytes());
                    }
                    to_server.write_all(piece).await.unwrap();
                }
            });
            held.spawn(async move {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn bytes_that_were_damaged_on_their_way_are_not_stored() {
    let server = S3Server::start().await.unwrap();
    let store = store_at(&server.url("pictures").unwrap());
    let damaged = hasty(&server, damages("fragile", "broken!", server.address()).await);
    let (object, body) = (key("a"), Bytes::from_static(b"these bytes are fragile"));
    assert_unavailable(&damaged.put(&object, body.clone(), "text/plain").await);
    assert!(store.stat(&object).await.unwrap().is_none());
    let mut long = vec![0; PART];
    long[4096..4103].copy_from_slice(b"fragile");
    let long = stream::iter([Ok(long.into()), Ok(body)]).boxed();
    assert_unavailable(&damaged.put_stream(&object, long, ByteCount::new(i64::MAX)).await);
    assert!(store.stat(&object).await.unwrap().is_none());
    assert_eq!(server.unfinished().unwrap(), [""; 0]);
}

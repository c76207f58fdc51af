//! A guarded store over real connections: everything that a store does, and nobody else is connected to.

use crate::{
    chain,
    clock::Clock,
    config::Config,
    fetch::{Guard, Names},
    objects::{
        ObjectError, ObjectKey, Store,
        contract::{Fixture, contract},
        s3::S3Store,
    },
    testing::{
        s3::S3Server,
        web::{Reply, Web},
    },
};
use bytes::Bytes;
use futures_util::{FutureExt, TryStreamExt};
use std::net::{IpAddr, Ipv4Addr};
use tokio::net::TcpListener;
use url::Url;

fn guard(open: &str, names: Names) -> Guard {
    let config = Config::from_pairs([
        ("data_dir", "/data".to_owned()),
        ("storage_allow_private", open.to_owned()),
    ]);
    Guard::new(&config.unwrap(), names)
}

fn store(url: &Url, guard: &Guard) -> S3Store {
    S3Store::open_guarded(url, guard, Clock::system()).unwrap()
}

fn at(endpoint: &str) -> Url {
    let mut url: Url = "s3://pictures?access_key=test-access-key&secret_key=test-secret-key"
        .parse()
        .unwrap();
    url.query_pairs_mut().append_pair("endpoint", endpoint);
    url
}

fn key() -> ObjectKey {
    "a/b".parse().unwrap()
}

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
        let store = store(&url, &guard("127.0.0.1", Names::said()));
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

/// Asserts that a store is refused whatever is asked of it.
async fn assert_refused(store: &S3Store, what: &str) {
    let answers = [
        store.ping().await.err(),
        store.put(&key(), Bytes::from_static(b"x"), "text/plain").await.err(),
        store.get(&key(), None).await.err(),
        store.list("", None, 10).await.err(),
        store.delete(&key()).await.err(),
    ];
    for answer in answers {
        assert!(matches!(answer, Some(ObjectError::Address(_))), "{what}: {answer:?}");
    }
}

/// A listener that nobody may have connected to.
async fn trap(address: Ipv4Addr, port: u16) -> TcpListener {
    TcpListener::bind((address, port)).await.unwrap()
}

fn assert_untouched(trap: &TcpListener) {
    assert!(trap.accept().now_or_never().is_none(), "somebody connected");
}

#[tokio::test]
async fn it_speaks_tls_and_verifies_whom_it_speaks_to() {
    let server = S3Server::start_tls().await.unwrap();
    let url = server.url("pictures").unwrap();
    let open = store(&url, &guard("127.0.0.1", Names::said()));
    open.put(&key(), Bytes::from_static(b"x"), "text/plain").await.unwrap();
    assert!(open.stat(&key()).await.unwrap().is_some());
    // Without its certificate it is nobody that the system trusts.
    let stranger = at(&format!("https://127.0.0.1:{}", server.port()));
    let error = store(&stranger, &guard("127.0.0.1", Names::said()))
        .ping()
        .await
        .unwrap_err();
    assert!(matches!(error, ObjectError::Unavailable { .. }), "{error:?}");
    assert_refused(
        &store(&url, &guard("", Names::said())),
        "with a certificate that is known",
    )
    .await;
}

#[tokio::test]
async fn an_address_is_refused_however_it_is_written() {
    let trap = trap(Ipv4Addr::LOCALHOST, 0).await;
    let port = trap.local_addr().unwrap().port();
    for open in ["", "10.0.0.0/8"] {
        for scheme in ["https", "http"] {
            for host in [
                "127.0.0.1",
                "2130706433",
                "0x7f.1",
                "0",
                "[::1]",
                "[::ffff:127.0.0.1]",
                "localhost",
                "localhost.",
            ] {
                let endpoint = format!("{scheme}://{host}:{port}");
                assert_refused(&store(&at(&endpoint), &guard(open, Names::system())), &endpoint).await;
            }
        }
    }
    assert_untouched(&trap);
}

#[tokio::test]
async fn a_name_is_judged_for_every_connection() {
    let mut server = S3Server::start().await.unwrap();
    server.url("pictures").unwrap();
    let (open, inside): (IpAddr, _) = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 2));
    let trap = trap(inside, server.port()).await;
    let names = Names::said();
    names.set("s3.example", &[open]);
    let store = store(
        &at(&format!("http://s3.example:{}", server.port())),
        &guard("127.0.0.1", names.clone()),
    );
    store.put(&key(), Bytes::from_static(b"x"), "text/plain").await.unwrap();
    // As long as the connection stands, nobody asks for the name.
    names.set("s3.example", &[inside.into()]);
    assert!(store.stat(&key()).await.unwrap().is_some());
    server.stop().await;
    server.start_again().await.unwrap();
    for addresses in [
        &[inside.into()][..],
        &[open, inside.into()],
        &["::1".parse().unwrap()],
        &[],
    ] {
        names.set("s3.example", addresses);
        assert_refused(&store, &format!("{addresses:?}")).await;
    }
    names.set("s3.example", &[open]);
    assert!(store.stat(&key()).await.unwrap().is_some());
    assert_untouched(&trap);
}

#[tokio::test]
async fn a_redirect_is_no_way_on() {
    let trap = trap(Ipv4Addr::new(127, 0, 0, 2), 0).await;
    let inside = format!("http://127.0.0.2:{}/pictures/a/b", trap.local_addr().unwrap().port());
    for status in [301, 302, 303, 307, 308] {
        let to = inside.clone();
        let web = Web::start(move |_| Reply::Whole(status, vec![("location", to.clone())], "".into())).await;
        let store = store(&at(&web.url("")), &guard("127.0.0.1", Names::said()));
        assert!(
            store.ping().await.is_err() && store.get(&key(), None).await.is_err(),
            "{status}"
        );
        assert!(
            store.list("", None, 10).await.is_err() && store.delete(&key()).await.is_err(),
            "{status}"
        );
        assert!(web.asked().len() >= 4, "{status}");
    }
    assert_untouched(&trap);
}

#[tokio::test]
async fn what_is_gathered_has_a_bound_and_a_file_has_its_length() {
    let web = Web::start(|path| {
        if path.contains("x-id=GetObject") {
            Reply::ok(vec![7; 9_000_000])
        } else {
            Reply::Endless("<?xml version=\"1.0\"?><ListBucketResult>".into())
        }
    })
    .await;
    let store = store(&at(&web.url("")), &guard("127.0.0.1", Names::said()));
    let error = store.list("", None, 10).await.unwrap_err();
    assert!(chain(&error).contains("length limit exceeded"), "{}", chain(&error));
    let body = store.get(&key(), None).await.unwrap().body;
    let chunks: Vec<Bytes> = body.try_collect().await.unwrap();
    assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), 9_000_000);
}

#[tokio::test]
async fn a_listing_that_never_ends_is_given_up() {
    let page = "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>no key of ours</Key><Size>1</Size></Contents>\
        </ListBucketResult>";
    let web = Web::start(move |_| Reply::ok(page)).await;
    let store = store(&at(&web.url("")), &guard("127.0.0.1", Names::said()));
    let error = store.list("", None, 10).await.unwrap_err();
    assert!(chain(&error).contains("pages without end"), "{}", chain(&error));
}

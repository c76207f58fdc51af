//! Fetching over real connections: where it goes, and where it does not.

use super::{FetchError, Fetcher, Trust};
use mediamill_shared::{
    config::Config,
    fetch::{Rules, UrlRefused},
    jobs::{FetchMedia, JobError, Reason},
    testing::web::{Reply, Web},
    units::ByteCount,
};
use std::sync::Arc;
use tokio_rustls::rustls::RootCertStore;

/// A fetcher for `servers`, which lets through connections to `private` addresses.
fn fetcher(private: &str, servers: &[&Web]) -> Fetcher {
    let ports: Vec<String> = servers.iter().map(|web| web.port().to_string()).collect();
    let config = Config::from_pairs([
        ("data_dir", "/data".to_owned()),
        ("fetch_allow_private", private.to_owned()),
        ("fetch_ports", ports.join(" ")),
    ]);
    let mut roots = RootCertStore::empty();
    for certificate in servers.iter().filter_map(|web| web.certificate()) {
        roots.add(certificate.clone()).unwrap();
    }
    let config = config.unwrap();
    Fetcher {
        rules: Rules::from_config(&config),
        trust: Arc::new(Trust::only(roots)),
        deadline: config.fetch_timeout,
    }
}

const LIMIT: ByteCount = ByteCount::new(100_000);

/// All that a URL gives.
async fn whole(fetcher: &Fetcher, url: &str) -> Result<Vec<u8>, FetchError> {
    let mut answer = fetcher.get(&url.parse().unwrap(), LIMIT).await?;
    let mut bytes = Vec::new();
    while let Some(more) = answer.next().await? {
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

async fn refused(fetcher: &Fetcher, url: &str) -> FetchError {
    match whole(fetcher, url).await {
        Err(error) => error,
        Ok(bytes) => panic!("{url} gave {} bytes", bytes.len()),
    }
}

#[tokio::test]
async fn a_url_gives_its_bytes_and_is_told_no_more_than_it_has_to() {
    let web = Web::start(|_| Reply::Whole(200, vec![("set-cookie", "a=b".into())], "bytes".into())).await;
    let fetcher = fetcher("127.0.0.1", &[&web]);
    assert_eq!(whole(&fetcher, &web.url("/a%20b?c=d#e")).await.unwrap(), b"bytes");
    let asked = web.asked().pop().unwrap().to_ascii_lowercase();
    let lines: Vec<&str> = asked.trim_end().split("\r\n").collect();
    assert_eq!(lines[0], "get /a%20b?c=d http/1.1");
    let mut names: Vec<&str> = lines[1..].iter().map(|line| line.split(':').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "connection", "host", "user-agent"]);
    assert!(asked.contains(&format!("host: 127.0.0.1:{}", web.port())) && asked.contains("accept-encoding: identity"));
}

#[tokio::test]
async fn redirects_are_followed_five_times() {
    let web = Web::start(|path| match path.trim_start_matches('/').parse::<u32>() {
        Ok(0) => Reply::ok("there"),
        Ok(left) if left % 2 == 0 => Reply::Whole(308, vec![("location", format!("{}", left - 1))], "".into()),
        Ok(left) => Reply::Whole(
            303,
            vec![("location", format!("/{}", left - 1)), ("set-cookie", "a=b".into())],
            "".into(),
        ),
        Err(_) => Reply::Whole(302, Vec::new(), "".into()),
    })
    .await;
    let fetcher = fetcher("127.0.0.1", &[&web]);
    assert_eq!(whole(&fetcher, &web.url("/5")).await.unwrap(), b"there");
    assert_eq!(web.asked().len(), 6);
    assert!(
        web.asked()
            .iter()
            .all(|head| !head.to_ascii_lowercase().contains("cookie"))
    );
    assert!(matches!(refused(&fetcher, &web.url("/6")).await, FetchError::Redirects));
    assert!(matches!(
        refused(&fetcher, &web.url("/nowhere")).await,
        FetchError::Nowhere
    ));
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_the_url_itself_may_not() {
    let inner = Web::start(|_| Reply::ok("a secret")).await;
    let (port, closed) = (inner.port(), 22);
    let web = Web::start(move |path| {
        Reply::to(match path {
            "/address" => format!("http://127.0.0.2:{port}/"),
            "/six" => format!("http://[::1]:{port}/"),
            "/mapped" => format!("http://[::ffff:127.0.0.2]:{port}/"),
            "/number" => format!("http://2130706434:{port}/"),
            "/metadata" => format!("http://169.254.169.254:{port}/latest/meta-data/"),
            "/port" => format!("http://127.0.0.1:{closed}/"),
            "/scheme" => "file:///etc/passwd".to_owned(),
            _ => format!("http://me:pw@127.0.0.1:{port}/"),
        })
    })
    .await;
    let fetcher = fetcher("127.0.0.1", &[&web, &inner]);
    for path in ["/address", "/six", "/mapped", "/number", "/metadata"] {
        let error = refused(&fetcher, &web.url(path)).await;
        assert!(
            matches!(error, FetchError::Refused(UrlRefused::Address)),
            "{path}: {error}"
        );
    }
    for (path, why) in [
        ("/port", UrlRefused::Port(closed)),
        ("/scheme", UrlRefused::Scheme("file".into())),
        ("/credentials", UrlRefused::Credentials),
    ] {
        match refused(&fetcher, &web.url(path)).await {
            FetchError::Refused(refused) => assert_eq!(refused, why),
            other => panic!("{path}: {other}"),
        }
    }
    assert_eq!((inner.asked().len(), web.asked().len()), (0, 8));
}

#[tokio::test]
async fn a_name_is_what_it_resolves_to() {
    let web = Web::start(|_| Reply::ok("a secret")).await;
    let closed = fetcher("", &[&web]);
    let error = refused(&closed, &web.at("localhost", "/")).await;
    assert!(matches!(error, FetchError::Refused(UrlRefused::Address)), "{error}");
    assert!(!error.to_string().contains("127"), "{error}");
    assert_eq!(web.asked().len(), 0);
    let open = fetcher("127.0.0.0/8 ::1", &[&web]);
    assert_eq!(whole(&open, &web.at("localhost", "/")).await.unwrap(), b"a secret");
    let error = refused(&open, &web.at("pictures.invalid", "/")).await;
    assert!(matches!(error, FetchError::Unresolved { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_no_file_is_told_apart() {
    let web = Web::start(|path| match path {
        "/gzip" => Reply::Whole(200, vec![("content-encoding", "gzip".into())], "x".into()),
        "/identity" => Reply::Whole(200, vec![("content-encoding", "Identity".into())], "x".into()),
        "/long" => Reply::Held("HTTP/1.1 200 Said\r\ncontent-length: 100001\r\n\r\n".into()),
        "/short" => Reply::Raw("HTTP/1.1 200 Said\r\ncontent-length: 10\r\n\r\nhalf".into()),
        "/nothing" => Reply::Raw("".into()),
        "/other" => Reply::Raw("SSH-2.0-x\r\n".into()),
        "/headers" => Reply::Raw(format!("HTTP/1.1 200 Said\r\n{}\r\n", "a: b\r\n".repeat(101)).into()),
        "/header" => Reply::Raw(format!("HTTP/1.1 200 Said\r\na: {}\r\n\r\n", "b".repeat(1 << 20)).into()),
        status => Reply::status(status.trim_start_matches('/').parse().unwrap()),
    })
    .await;
    let fetcher = fetcher("127.0.0.1", &[&web]);
    assert_eq!(whole(&fetcher, &web.url("/identity")).await.unwrap(), b"x");
    for (path, permanent) in [
        ("/gzip", Some(Reason::URL_REFUSED)),
        ("/long", Some(Reason::URL_TOO_LARGE)),
        ("/404", Some(Reason::URL_NOT_FOUND)),
        ("/401", Some(Reason::URL_NOT_FOUND)),
        ("/410", Some(Reason::URL_NOT_FOUND)),
        ("/206", Some(Reason::URL_NOT_FOUND)),
        ("/304", Some(Reason::URL_NOT_FOUND)),
        ("/500", None),
        ("/503", None),
        ("/429", None),
        ("/408", None),
        ("/short", None),
        ("/nothing", None),
        ("/other", None),
        ("/headers", None),
        ("/header", None),
    ] {
        let error = refused(&fetcher, &web.url(path)).await;
        assert_eq!(error.code(), permanent, "{path}: {error}");
    }
}

#[tokio::test]
async fn who_does_not_take_a_connection_is_asked_a_few_times() {
    let gone = Web::start(|_| Reply::ok("")).await;
    let (fetcher, url) = (fetcher("127.0.0.1", &[&gone]), gone.url("/"));
    drop(gone);
    for attempt in 1..=FetchMedia::FETCHES {
        let error = refused(&fetcher, &url).await;
        match error.of_try(attempt) {
            JobError::Transient { .. } => assert!(attempt < FetchMedia::FETCHES),
            JobError::Permanent { reason, .. } => {
                assert_eq!((reason.code(), attempt), (Reason::FETCH_FAILED, FetchMedia::FETCHES));
            }
        }
    }
}

#[tokio::test]
async fn a_server_must_prove_its_name() {
    let web = Web::start_tls("localhost", |path| match path {
        "/down" => Reply::to("http://localhost/"),
        _ => Reply::ok("over TLS"),
    })
    .await;
    let trusting = fetcher("127.0.0.0/8 ::1", &[&web]);
    assert_eq!(whole(&trusting, &web.at("localhost", "/")).await.unwrap(), b"over TLS");
    let error = refused(&trusting, &web.at("localhost", "/down")).await;
    assert!(matches!(error, FetchError::Refused(UrlRefused::Downgrade)), "{error}");
    let elsewhere = refused(&trusting, &web.url("/")).await;
    assert!(matches!(elsewhere, FetchError::Untrusted { .. }), "{elsewhere}");
    let other = Web::start_tls("localhost", |_| Reply::ok("of somebody else")).await;
    let mut wary = fetcher("127.0.0.0/8 ::1", &[&web, &other]);
    wary.trust = Arc::clone(&trusting.trust);
    let stranger = refused(&wary, &other.at("localhost", "/")).await;
    assert_eq!(stranger.code(), Some(Reason::URL_UNTRUSTED), "{stranger}");
    assert_eq!(other.asked().len(), 0);
}

//! What every cache must do. One named test a case and adapter.

use super::{Added, Cache, CacheContext, CachePort, Fence, JOB_CHANNEL, Versioned};
use crate::{
    clock::{Clock, Entropy},
    ids::JobId,
    shutdown::Shutdown,
    testing::{PATIENCE, faults::Proxy, servers},
};
use futures_util::future::join_all;
use std::time::Duration;
use url::Url;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(30);

fn context() -> CacheContext {
    CacheContext {
        clock: Clock::system(),
        entropy: Entropy::system(),
        shutdown: Shutdown::new(),
    }
}

/// A server that many tests use at a time may be slower than a caller of the product would wait for.
const PATIENT: &str = "timeout_ms=10000";

async fn open(url: &str) -> Cache {
    let url: Url = url.parse().unwrap();
    Cache::open(&url, context()).await.unwrap()
}

async fn memory() -> Cache {
    open("memory:").await
}

fn own_prefix(url: &str) -> String {
    format!(
        "{url}?prefix=test-{}:",
        JobId::generate(&Clock::system(), &Entropy::system())
    )
}

async fn redis() -> Cache {
    open(&format!("{}&{PATIENT}", own_prefix(&servers::redis()))).await
}

macro_rules! contract {
    ($($case:ident),+ $(,)?) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::memory().await).await;
            })+
        }
        mod in_redis {
            $(#[tokio::test]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                super::$case(super::redis().await).await;
            })+
        }
    };
}

contract!(
    versions_only_grow,
    values_end_and_can_be_removed,
    a_counter_never_passes_its_ceiling,
    counters_stay_at_zero_and_give_back_freely,
    an_absent_counter_is_seeded_once_and_ends,
    a_lease_has_one_owner_and_growing_fences,
    signals_reach_who_listens,
);

fn version(version: i64, value: &[u8]) -> Versioned {
    Versioned {
        version,
        value: value.to_vec(),
    }
}

async fn versions_only_grow(cache: Cache) {
    assert!(cache.put("k", &version(2, b"b:with:colons\0\xff"), LONG).await.unwrap());
    assert!(!cache.put("k", &version(1, b"a"), LONG).await.unwrap());
    assert!(!cache.put("k", &version(2, b"c"), LONG).await.unwrap());
    assert_eq!(cache.get("k").await.unwrap(), Some(version(2, b"b:with:colons\0\xff")));
    assert!(cache.put("k", &version(3, b""), LONG).await.unwrap());
    assert_eq!(cache.get("k").await.unwrap(), Some(version(3, b"")));
}

async fn values_end_and_can_be_removed(cache: Cache) {
    cache.put("short", &version(1, b"x"), SHORT).await.unwrap();
    cache.put("long", &version(1, b"x"), LONG).await.unwrap();
    let ended = async {
        while cache.get("short").await.unwrap().is_some() {
            Clock::system().sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert!(cache.get("long").await.unwrap().is_some());
    cache.remove("long").await.unwrap();
    assert_eq!(cache.get("long").await.unwrap(), None);
    assert!(
        cache.put("long", &version(1, b"y"), LONG).await.unwrap(),
        "what is gone has no version"
    );
}

async fn a_counter_never_passes_its_ceiling(cache: Cache) {
    assert!(cache.seed("n", 10, LONG).await.unwrap());
    let added = join_all((0..64).map(|_| cache.add_within("n", 3, Some(100)))).await;
    let fitted = added.iter().filter(|added| matches!(added, Ok(Added::Now(_)))).count();
    assert_eq!(fitted, 30);
    assert_eq!(cache.add_within("n", 1, Some(100)).await.unwrap(), Added::Over(100));
    assert_eq!(cache.add_within("n", 1, None).await.unwrap(), Added::Now(101));
}

async fn counters_stay_at_zero_and_give_back_freely(cache: Cache) {
    cache.seed("n", 5, LONG).await.unwrap();
    assert_eq!(cache.add_within("n", -2, Some(1)).await.unwrap(), Added::Now(3));
    assert_eq!(cache.add_within("n", -9, None).await.unwrap(), Added::Now(0));
    assert_eq!(cache.add_within("n", 1, Some(1)).await.unwrap(), Added::Now(1));
}

async fn an_absent_counter_is_seeded_once_and_ends(cache: Cache) {
    assert_eq!(cache.add_within("n", 1, None).await.unwrap(), Added::Absent);
    let seeded = join_all((0..8).map(|n| cache.seed("n", n, LONG))).await;
    assert_eq!(seeded.iter().filter(|seeded| *seeded.as_ref().unwrap()).count(), 1);
    cache.seed("short", 1, SHORT).await.unwrap();
    let ended = async {
        // Additions do not prolong its life.
        while cache.add_within("short", 1, None).await.unwrap() != Added::Absent {
            Clock::system().sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
}

async fn a_lease_has_one_owner_and_growing_fences(cache: Cache) {
    let first = cache.acquire("l", "a", LONG).await.unwrap().unwrap();
    assert_eq!(
        cache.acquire("l", "a", LONG).await.unwrap(),
        Some(first),
        "renewing keeps the fence"
    );
    assert_eq!(cache.acquire("l", "b", LONG).await.unwrap(), None);
    cache.release("l", "b").await.unwrap();
    assert_eq!(
        cache.acquire("l", "b", LONG).await.unwrap(),
        None,
        "only its owner gives it back"
    );
    cache.release("l", "a").await.unwrap();
    let second: Fence = cache.acquire("l", "b", SHORT).await.unwrap().unwrap();
    assert!(second > first);
    let ended = async {
        loop {
            if let Some(fence) = cache.acquire("l", "c", LONG).await.unwrap() {
                return fence;
            }
            Clock::system().sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, ended).await.unwrap() > second);
}

async fn signals_reach_who_listens(cache: Cache) {
    let (mut ear, clock) = (cache.listen(), Clock::system());
    // Subscribing takes a moment somewhere else: said again until it is heard.
    let heard = async {
        loop {
            cache
                .signal(JOB_CHANNEL, &["one done".to_owned(), "two done".to_owned()])
                .await
                .unwrap();
            tokio::select! {
                signal = ear.recv() => return signal.unwrap(),
                () = clock.sleep(Duration::from_millis(50)) => {}
            }
        }
    };
    let signal = tokio::time::timeout(PATIENCE, heard).await.unwrap();
    assert_eq!((signal.channel, signal.message.as_str()), (JOB_CHANNEL, "one done"));
    assert_eq!(ear.recv().await.unwrap().message, "two done");
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_in_time_and_not_at_opening() {
    // A port that nobody listens on.
    let cache = open("redis://127.0.0.1:9/").await;
    let answer = tokio::time::timeout(super::CALL_DEADLINE * 4, cache.get("k"))
        .await
        .unwrap();
    assert!(answer.is_err());
}

#[tokio::test]
async fn a_silent_server_is_an_error_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cache = open(&format!("redis://{}/", silent.local_addr().unwrap())).await;
    let answer = tokio::time::timeout(super::CALL_DEADLINE * 4, cache.get("k"))
        .await
        .unwrap();
    assert!(answer.is_err());
}

/// A cache behind a line that can be broken.
async fn redis_by_proxy() -> (Proxy, Cache) {
    let url = own_prefix(&servers::redis()).parse().unwrap();
    let (line, url) = Proxy::to(&url).await;
    (line, open(url.as_str()).await)
}

/// Calls until it answers.
async fn found_again(cache: &Cache) {
    let answered = async { while cache.ping().await.is_err() {} };
    tokio::time::timeout(PATIENCE, answered).await.unwrap();
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn a_lost_server_is_found_again_and_so_are_signals() {
    let (line, cache) = redis_by_proxy().await;
    signals_reach_who_listens(cache.clone()).await;
    for away in [Proxy::cut, Proxy::down] {
        away(&line);
        line.mend();
        found_again(&cache).await;
        assert!(cache.put("k", &version(1, b"v"), LONG).await.is_ok());
        signals_reach_who_listens(cache.clone()).await;
    }
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn a_server_that_falls_silent_is_an_error_in_time_and_found_again() {
    let (line, cache) = redis_by_proxy().await;
    found_again(&cache).await;
    line.silence();
    let answer = tokio::time::timeout(super::CALL_DEADLINE * 4, cache.get("k"))
        .await
        .unwrap();
    assert!(answer.is_err());
    line.cut();
    found_again(&cache).await;
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn redis_speaks_tls() {
    let url = format!(
        "{}?ca={}&{PATIENT}",
        servers::required("MEDIAMILL_TEST_REDISS_URL"),
        servers::required("MEDIAMILL_TEST_CA")
    );
    open(&url).await.ping().await.unwrap();
}

#[tokio::test]
async fn unknown_urls_are_refused_with_what_is_known() {
    for bad in [
        "memcached://x",
        "redis://127.0.0.1/?prefx=a",
        "redis://127.0.0.1/?timeout_ms=0",
    ] {
        let url: Url = bad.parse().unwrap();
        let error = Cache::open(&url, context()).await.unwrap_err();
        assert!(error.to_string().contains("known: "), "{error}");
    }
}

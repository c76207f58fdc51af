//! What every object store must do. `contract!(Fixture)` in an adapter's tests makes one named test of each case.

use super::{Body, Listed, ObjectError, ObjectKey, Store};
use crate::{BoxError, clock::Clock, units::ByteCount};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use std::{future::Future, ops::Range, pin::pin, time::Duration};
use tokio::sync::oneshot;

/// A fresh, empty store, and what shows its inside.
pub(super) trait Fixture: Sized + Send + Sync {
    type Store: Store + Clone + 'static;

    fn start() -> impl Future<Output = Self> + Send;

    fn store(&self) -> Self::Store;

    /// What writes that did not succeed left behind, by name.
    fn leftovers(&self) -> Vec<String>;
}

macro_rules! contract {
    ($fixture:ty: $($case:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let fixture = <$fixture as $crate::objects::contract::Fixture>::start().await;
            $crate::objects::contract::$case(&fixture).await;
        })+
    };
    ($fixture:ident) => {
        mod contract {
            $crate::objects::contract::contract!(
                super::$fixture:
                what_was_put_is_read_back,
                writing_again_replaces,
                a_long_stream_arrives_whole,
                nothing_is_an_object_too,
                a_stream_that_breaks_off_leaves_what_was_there,
                a_stream_past_its_limit_leaves_nothing,
                a_dropped_write_leaves_nothing,
                readers_see_the_old_or_the_new,
                writers_of_one_key_leave_one_whole_object,
                ranges_are_cut_at_the_end,
                what_is_missing_is_said_to_be_missing,
                deleting_twice_is_once,
                listings_are_in_byte_order_and_can_be_continued,
                listings_keep_to_their_prefix,
                a_store_that_is_there_answers,
            );
        }
    };
}
pub(super) use contract;

const KEY: &str = "media/tenant/picture/original.jpg";
const MB: usize = 1_000_000;

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

/// Bytes that differ by place and by seed.
fn bytes(seed: u64, length: usize) -> Bytes {
    let mut state = seed;
    let words = (0..length.div_ceil(8)).flat_map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state ^ (state >> 29)).to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.collect();
    bytes.truncate(length);
    bytes.into()
}

/// In chunks of many lengths, none among them.
fn chunks(mut bytes: Bytes) -> Vec<Result<Bytes, BoxError>> {
    let lengths = [1, 0, 700_001, 63, 16_384, 1_048_577];
    let mut chunks = Vec::new();
    for length in lengths.into_iter().cycle() {
        if bytes.is_empty() {
            return chunks;
        }
        chunks.push(Ok(bytes.split_to(length.min(bytes.len()))));
    }
    chunks
}

fn body(bytes: &Bytes) -> Body {
    stream::iter(chunks(bytes.clone())).boxed()
}

/// Gives `bytes`, then says so and never ends.
fn endless(bytes: &Bytes) -> (Body, oneshot::Receiver<()>) {
    let (given, was_given) = oneshot::channel();
    let end = stream::once(async move {
        given.send(()).unwrap();
        std::future::pending().await
    });
    (stream::iter(chunks(bytes.clone())).chain(end).boxed(), was_given)
}

fn size(bytes: &Bytes) -> ByteCount {
    ByteCount::of(bytes.len())
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

async fn all(store: &impl Store, key: &ObjectKey) -> Bytes {
    part(store, key, None).await
}

async fn part(store: &impl Store, key: &ObjectKey, range: Option<Range<u64>>) -> Bytes {
    let fetched = store.get(key, range).await.unwrap();
    let read: Vec<Bytes> = fetched.body.try_collect().await.unwrap();
    let read = Bytes::from(read.concat());
    assert_eq!(
        fetched.range.end - fetched.range.start,
        u64::try_from(read.len()).unwrap()
    );
    read
}

/// Waits until nothing unfinished is left.
async fn settled(fixture: &impl Fixture) {
    for _ in 0..1000 {
        if fixture.leftovers().is_empty() {
            return;
        }
        Clock::system().sleep(Duration::from_millis(10)).await;
    }
    panic!("left behind: {:?}", fixture.leftovers());
}

pub(super) async fn what_was_put_is_read_back(fixture: &impl Fixture) {
    let (store, key, photo) = (fixture.store(), key(KEY), bytes(1, 3 * MB));
    let stored = store.put(&key, photo.clone(), "image/jpeg").await.unwrap();
    assert_eq!((stored.bytes, stored.sha256), (size(&photo), sha256(&photo)));
    assert_eq!(store.stat(&key).await.unwrap().unwrap().bytes, size(&photo));
    let fetched = store.get(&key, None).await.unwrap();
    assert_eq!(
        (fetched.total, fetched.range),
        (size(&photo), 0..size(&photo).unsigned())
    );
    assert_eq!(all(&store, &key).await, photo);
    assert_eq!(fixture.leftovers(), [""; 0]);
}

pub(super) async fn writing_again_replaces(fixture: &impl Fixture) {
    let (store, key) = (fixture.store(), key(KEY));
    let (first, long, last) = (bytes(1, MB), bytes(2, 9 * MB), bytes(3, 10));
    store.put(&key, first, "image/jpeg").await.unwrap();
    store.put_stream(&key, body(&long), size(&long)).await.unwrap();
    assert_eq!(all(&store, &key).await, long);
    store.put(&key, last.clone(), "image/jpeg").await.unwrap();
    assert_eq!(all(&store, &key).await, last);
    assert_eq!(store.list("", None, 10).await.unwrap().len(), 1);
}

pub(super) async fn a_long_stream_arrives_whole(fixture: &impl Fixture) {
    let (store, key) = (fixture.store(), key(KEY));
    // The last length is that of S3's parts: a stream may end where a part does.
    for length in [20 * MB, 16 * 1024 * 1024, 8 * 1024 * 1024] {
        let photo = bytes(7, length);
        let stored = store.put_stream(&key, body(&photo), size(&photo)).await.unwrap();
        assert_eq!((stored.bytes, stored.sha256), (size(&photo), sha256(&photo)));
        assert!(all(&store, &key).await == photo, "{length} bytes came back changed");
    }
    assert_eq!(fixture.leftovers(), [""; 0]);
}

pub(super) async fn nothing_is_an_object_too(fixture: &impl Fixture) {
    let store = fixture.store();
    store.put(&key("a/put"), Bytes::new(), "text/plain").await.unwrap();
    let stored = store
        .put_stream(&key("a/streamed"), stream::empty().boxed(), ByteCount::ZERO)
        .await
        .unwrap();
    assert_eq!(stored.sha256, sha256(b""));
    for object in [key("a/put"), key("a/streamed")] {
        assert_eq!(store.stat(&object).await.unwrap().unwrap().bytes, ByteCount::ZERO);
        assert_eq!(all(&store, &object).await, Bytes::new());
    }
}

pub(super) async fn a_stream_that_breaks_off_leaves_what_was_there(fixture: &impl Fixture) {
    let (store, new, old) = (fixture.store(), key("a/new"), key("a/old"));
    let before = bytes(1, 1000);
    store.put(&old, before.clone(), "image/jpeg").await.unwrap();
    for length in [1000, 20 * MB] {
        for object in [&new, &old] {
            let broken = stream::iter([Err::<Bytes, BoxError>("the client went away".into())]);
            let source = body(&bytes(2, length)).chain(broken).boxed();
            let error = store
                .put_stream(object, source, ByteCount::new(i64::MAX))
                .await
                .unwrap_err();
            assert!(matches!(&error, ObjectError::Body { .. }), "{error:?}");
        }
    }
    assert!(store.stat(&new).await.unwrap().is_none());
    assert_eq!(all(&store, &old).await, before);
    assert_eq!(fixture.leftovers(), [""; 0]);
}

pub(super) async fn a_stream_past_its_limit_leaves_nothing(fixture: &impl Fixture) {
    let (store, key) = (fixture.store(), key(KEY));
    for length in [1000, 20 * MB] {
        let photo = bytes(1, length);
        let limit = size(&photo).minus(ByteCount::new(1));
        let error = store.put_stream(&key, body(&photo), limit).await.unwrap_err();
        assert!(matches!(error, ObjectError::TooLong { limit: said, .. } if said == limit));
        assert!(store.stat(&key).await.unwrap().is_none());
    }
    assert_eq!(fixture.leftovers(), [""; 0]);
}

pub(super) async fn a_dropped_write_leaves_nothing(fixture: &impl Fixture) {
    let (store, key) = (fixture.store(), key(KEY));
    for length in [1000, 20 * MB] {
        let (source, was_given) = endless(&bytes(1, length));
        let mut write = Box::pin(store.put_stream(&key, source, ByteCount::new(i64::MAX)));
        tokio::select! {
            ended = &mut write => panic!("an endless write ended: {ended:?}"),
            given = was_given => given.unwrap(),
        }
        drop(write);
        settled(fixture).await;
        assert!(store.stat(&key).await.unwrap().is_none());
    }
}

pub(super) async fn readers_see_the_old_or_the_new(fixture: &impl Fixture) {
    let (store, key) = (fixture.store(), key(KEY));
    let versions = [bytes(1, 2 * MB), bytes(2, 3 * MB)];
    store.put(&key, versions[0].clone(), "image/jpeg").await.unwrap();
    let writing = async {
        for round in 1..=20 {
            store
                .put(&key, versions[round % 2].clone(), "image/jpeg")
                .await
                .unwrap();
        }
    };
    let mut writing = pin!(writing);
    let mut reads = 0;
    loop {
        tokio::select! {
            read = all(&store, &key) => {
                assert!(versions.contains(&read), "{} bytes of neither version", read.len());
                reads += 1;
            }
            () = &mut writing => break,
        }
    }
    assert!(reads > 0);
    assert_eq!(all(&store, &key).await, versions[0]);
}

pub(super) async fn writers_of_one_key_leave_one_whole_object(fixture: &impl Fixture) {
    let (store, key) = (fixture.store(), key(KEY));
    let versions: Vec<Bytes> = (0..6).map(|seed| bytes(seed, MB)).collect();
    let writes = versions
        .iter()
        .map(|version| store.put_stream(&key, body(version), size(version)));
    for stored in futures_util::future::join_all(writes).await {
        stored.unwrap();
    }
    assert!(versions.contains(&all(&store, &key).await));
    assert_eq!(fixture.leftovers(), [""; 0]);
}

pub(super) async fn ranges_are_cut_at_the_end(fixture: &impl Fixture) {
    let (store, object, photo) = (fixture.store(), key(KEY), bytes(1, 100_000));
    store.put(&object, photo.clone(), "image/jpeg").await.unwrap();
    for (asked, given) in [
        (0..10, 0..10),
        (40_000..60_000, 40_000..60_000),
        (99_999..100_000, 99_999..100_000),
        (99_000..200_000, 99_000..100_000),
        (0..u64::MAX, 0..100_000),
        (5..5, 5..5),
    ] {
        let fetched = store.get(&object, Some(asked.clone())).await.unwrap();
        assert_eq!(
            (fetched.total, fetched.range),
            (size(&photo), given.clone()),
            "{asked:?}"
        );
        let given = usize::try_from(given.start).unwrap()..usize::try_from(given.end).unwrap();
        assert_eq!(part(&store, &object, Some(asked)).await, photo.slice(given));
    }
    let nothing = key("empty");
    store.put(&nothing, Bytes::new(), "text/plain").await.unwrap();
    for (object, past, total) in [
        (&object, 100_000..100_001, 100_000),
        (&object, u64::MAX - 1..u64::MAX, 100_000),
        (&nothing, 0..1, 0),
    ] {
        let error = store.get(object, Some(past)).await.unwrap_err();
        assert!(
            matches!(&error, ObjectError::Range { size, .. } if size.get() == total),
            "{error:?}"
        );
    }
}

pub(super) async fn what_is_missing_is_said_to_be_missing(fixture: &impl Fixture) {
    let store = fixture.store();
    store.put(&key("a/b/c"), bytes(1, 10), "image/jpeg").await.unwrap();
    for missing in [key("a/b/d"), key("x/y/z")] {
        assert_eq!(store.stat(&missing).await.unwrap(), None);
        for range in [None, Some(0..1), Some(3..3), Some(u64::MAX - 1..u64::MAX)] {
            let error = store.get(&missing, range).await.unwrap_err();
            assert!(
                matches!(&error, ObjectError::Missing { key } if *key == missing),
                "{error:?}"
            );
        }
    }
}

pub(super) async fn deleting_twice_is_once(fixture: &impl Fixture) {
    let (store, object, sibling) = (fixture.store(), key("a/b/c"), key("a/b/d"));
    for written in [&object, &sibling] {
        store.put(written, bytes(1, 10), "image/jpeg").await.unwrap();
    }
    store.delete(&object).await.unwrap();
    store.delete(&object).await.unwrap();
    store.delete(&key("never/was/there")).await.unwrap();
    assert!(store.stat(&object).await.unwrap().is_none());
    assert_eq!(all(&store, &sibling).await, bytes(1, 10));
}

/// In byte order, where `.` and `-` come before `/`, and `/` before digits and letters.
const LISTED: [&str; 9] = ["B", "a", "a-b/c", "a.b", "ab/c", "ab/d-e/f", "ab/d/e", "ab/d0", "b/c/d"];

async fn filled(fixture: &impl Fixture) {
    let store = fixture.store();
    for (length, text) in LISTED.iter().enumerate().rev() {
        store.put(&key(text), bytes(1, length), "image/jpeg").await.unwrap();
    }
}

fn names(listed: &[Listed]) -> Vec<&str> {
    listed.iter().map(|line| line.key.as_str()).collect()
}

pub(super) async fn listings_are_in_byte_order_and_can_be_continued(fixture: &impl Fixture) {
    filled(fixture).await;
    let store = fixture.store();
    let whole = store.list("", None, 1000).await.unwrap();
    assert_eq!(names(&whole), LISTED);
    for (length, line) in whole.iter().enumerate() {
        assert_eq!(line.bytes, ByteCount::of(length));
    }
    for limit in [1, 2, 4] {
        let mut pages: Vec<Listed> = Vec::new();
        loop {
            let after = pages.last().map(|line| line.key.clone());
            let page = store.list("", after.as_ref(), limit).await.unwrap();
            let ended = page.len() < usize::from(limit);
            pages.extend(page);
            if ended {
                break;
            }
        }
        assert_eq!(names(&pages), LISTED, "pages of {limit}");
    }
    // What `after` names need not be there any more.
    assert_eq!(
        names(&store.list("", Some(&key("ab/d-z")), 2).await.unwrap()),
        ["ab/d/e", "ab/d0"]
    );
}

pub(super) async fn listings_keep_to_their_prefix(fixture: &impl Fixture) {
    filled(fixture).await;
    let store = fixture.store();
    for prefix in ["ab", "ab/"] {
        let listed = store.list(prefix, None, 1000).await.unwrap();
        assert_eq!(names(&listed), ["ab/c", "ab/d-e/f", "ab/d/e", "ab/d0"]);
    }
    assert_eq!(
        names(&store.list("ab", Some(&key("ab/d-e/f")), 1).await.unwrap()),
        ["ab/d/e"]
    );
    assert_eq!(names(&store.list("b/c", None, 1).await.unwrap()), ["b/c/d"]);
    for nothing in ["nowhere", "B", "..", "ab/d/e/f/g/h/i/j/k/l"] {
        assert_eq!(store.list(nothing, None, 10).await.unwrap(), [], "{nothing}");
    }
}

pub(super) async fn a_store_that_is_there_answers(fixture: &impl Fixture) {
    fixture.store().ping().await.unwrap();
}

use super::*;
use crate::{
    objects::contract::{Fixture, contract},
    testing::SmallDisk,
    units::Millis,
};
use std::{fs, process::Command};
use tempfile::TempDir;

struct Local {
    root: TempDir,
    store: DirectoryStore,
}

impl Fixture for Local {
    type Store = DirectoryStore;

    async fn start() -> Self {
        let root = TempDir::new().unwrap();
        let store = opened(root.path(), &Clock::system()).await.unwrap();
        Self { root, store }
    }

    fn store(&self) -> DirectoryStore {
        self.store.clone()
    }

    fn leftovers(&self) -> Vec<String> {
        temporaries(self.root.path())
    }
}

contract!(Local);

async fn opened(root: &Path, clock: &Clock) -> Result<DirectoryStore, ObjectError> {
    DirectoryStore::open(&Url::from_file_path(root).unwrap(), clock, Entropy::system()).await
}

fn temporaries(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(temporary::NAME)).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_root_is_made_and_kept() {
    let parent = TempDir::new().unwrap();
    let root = parent.path().join("deep/er");
    let store = opened(&root, &Clock::system()).await.unwrap();
    store
        .put(&key("a/b"), Bytes::from_static(b"x"), "text/plain")
        .await
        .unwrap();
    let again = opened(&root, &Clock::system()).await.unwrap();
    assert_eq!(again.stat(&key("a/b")).await.unwrap().unwrap().bytes.get(), 1);
}

#[tokio::test]
async fn urls_that_are_no_directory_are_refused() {
    for url in [
        "file://elsewhere/path",
        "file:///dev/null/x",
        "file:///tmp/x?presign=true",
    ] {
        let error = DirectoryStore::open(&url.parse().unwrap(), &Clock::system(), Entropy::system()).await;
        assert!(matches!(error, Err(ObjectError::Url { .. })), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn only_what_nobody_writes_any_more_is_swept() {
    let root = TempDir::new().unwrap();
    opened(root.path(), &Clock::system()).await.unwrap();
    fs::write(root.path().join(temporary::NAME).join("crashed"), b"half").unwrap();
    opened(root.path(), &Clock::system()).await.unwrap();
    assert_eq!(temporaries(root.path()), ["crashed"]);
    let later = Clock::manual(Clock::system().now().after(Duration::from_mins(6 * 60 + 1)));
    opened(root.path(), &later).await.unwrap();
    assert_eq!(temporaries(root.path()), [""; 0]);
    // A clock that is behind sweeps nothing.
    fs::write(root.path().join(temporary::NAME).join("crashed"), b"half").unwrap();
    opened(root.path(), &Clock::manual(Millis::new(0))).await.unwrap();
    assert_eq!(temporaries(root.path()), ["crashed"]);
}

#[tokio::test]
async fn emptied_directories_go_and_do_not_disturb_writers() {
    let local = Local::start().await;
    let store = local.store();
    let (mine, others) = (key("a/b/mine"), key("a/b/others"));
    let coming_and_going = async {
        for _ in 0..200 {
            store
                .put(&others, Bytes::from_static(b"x"), "text/plain")
                .await
                .unwrap();
            store.delete(&others).await.unwrap();
        }
    };
    let writing = async {
        for _ in 0..200 {
            store.put(&mine, Bytes::from_static(b"y"), "text/plain").await.unwrap();
            store.delete(&mine).await.unwrap();
        }
    };
    tokio::join!(coming_and_going, writing);
    let left: Vec<_> = fs::read_dir(local.root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [temporary::NAME]);
}

#[tokio::test]
async fn what_is_no_object_is_not_listed_nor_read() {
    let local = Local::start().await;
    fs::create_dir_all(local.root.path().join("empty/er")).unwrap();
    fs::write(local.root.path().join("has space"), b"x").unwrap();
    fs::write(local.root.path().join(".hidden"), b"x").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", local.root.path().join("link")).unwrap();
    local
        .store
        .put(&key("z/last"), Bytes::new(), "text/plain")
        .await
        .unwrap();
    let listed = local.store.list("", None, 1).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].key, key("z/last"));
}

#[tokio::test]
async fn a_long_directory_is_listed_in_pages() {
    let local = Local::start().await;
    fs::create_dir(local.root.path().join("a")).unwrap();
    for number in 0..2500 {
        fs::write(local.root.path().join(format!("a/{number:04}")), b"").unwrap();
    }
    let mut seen = 0;
    let mut after = None;
    loop {
        let page = local.store.list("a", after.as_ref(), 1000).await.unwrap();
        for line in &page {
            assert_eq!(line.key, key(&format!("a/{seen:04}")));
            seen += 1;
        }
        match page.last() {
            Some(last) => after = Some(last.key.clone()),
            None => break,
        }
    }
    assert_eq!(seen, 2500);
}

#[tokio::test]
async fn a_key_below_an_object_is_refused() {
    let local = Local::start().await;
    local.store.put(&key("a/b"), Bytes::new(), "text/plain").await.unwrap();
    for clash in [key("a/b/c"), key("a")] {
        let error = local.store.put(&clash, Bytes::new(), "text/plain").await.unwrap_err();
        assert!(matches!(&error, ObjectError::Refused { .. }), "{error:?}");
    }
    assert_eq!(local.leftovers(), [""; 0]);
    for nothing in [key("a/b/c"), key("a")] {
        assert_eq!(local.store.stat(&nothing).await.unwrap(), None);
        local.store.delete(&nothing).await.unwrap();
    }
    assert!(local.store.stat(&key("a/b")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_whose_directory_went_away_says_so() {
    let local = Local::start().await;
    fs::remove_dir_all(local.root.path()).unwrap();
    let error = local.store.ping().await.unwrap_err();
    assert!(matches!(&error, ObjectError::Unavailable { .. }), "{error:?}");
    let error = local
        .store
        .put(&key("a"), Bytes::new(), "text/plain")
        .await
        .unwrap_err();
    assert!(matches!(&error, ObjectError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_directory_presigns_nothing() {
    let local = Local::start().await;
    local.store.put(&key("a"), Bytes::new(), "text/plain").await.unwrap();
    assert_eq!(
        local.store.presign(&key("a"), Duration::from_mins(1)).await.unwrap(),
        None
    );
}

#[tokio::test]
#[ignore = "needs root to mount a small file system"]
async fn a_full_disk_is_said_to_be_full_and_leaves_nothing() {
    let disk = SmallDisk::mounted();
    let store = opened(disk.path(), &Clock::system()).await.unwrap();
    let small = Bytes::from(vec![1; 300_000]);
    store.put(&key("a/kept"), small.clone(), "image/jpeg").await.unwrap();
    let large = Bytes::from(vec![2; 2_000_000]);
    let error = store
        .put(&key("a/large"), large.clone(), "image/jpeg")
        .await
        .unwrap_err();
    assert!(matches!(&error, ObjectError::Full { .. }), "{error:?}");
    let source = stream::iter([Ok(large)]).boxed();
    let error = store
        .put_stream(&key("a/kept"), source, ByteCount::new(i64::MAX))
        .await
        .unwrap_err();
    assert!(matches!(&error, ObjectError::Full { .. }), "{error:?}");
    assert_eq!(temporaries(disk.path()), [""; 0]);
    assert_eq!(
        store.stat(&key("a/kept")).await.unwrap().unwrap().bytes,
        ByteCount::of(small.len())
    );
    // There is room again once the failed writes are gone.
    store.put(&key("a/more"), small, "image/jpeg").await.unwrap();
}

#[tokio::test]
#[ignore = "needs root to mount a small file system"]
async fn a_read_only_disk_refuses() {
    let disk = SmallDisk::mounted();
    let store = opened(disk.path(), &Clock::system()).await.unwrap();
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.path())
        .status();
    assert!(remounted.unwrap().success());
    let error = store.put(&key("a"), Bytes::new(), "text/plain").await.unwrap_err();
    assert!(matches!(&error, ObjectError::Refused { .. }), "{error:?}");
    let error = store.ping().await.unwrap_err();
    assert!(matches!(&error, ObjectError::Refused { .. }), "{error:?}");
}

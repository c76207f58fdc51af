//! Connections to databases of one tenant each: opened on demand, shared out under one ceiling, closed when idle.
//!
//! Promises: never more than the ceiling are open, those that wait for their next use included; a caller waits for a
//! free one at most a deadline. The one that was idle for longest makes room. Whatever the number of tenants, memory
//! and the server's connections are bounded by the ceiling alone.

use crate::{
    clock::Clock,
    db::{Bounded, Db, DbError, Engine},
    shutdown::Shutdown,
    telemetry::names,
    units::Millis,
};
use sqlx::{AnyConnection, Connection, Executor};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

/// Longest wait for a connection.
const ACQUIRE: Duration = Duration::from_secs(10);
/// A connection that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Between two looks for idle ones.
const LOOK: Duration = Duration::from_secs(15);

/// The connections of one process. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Inner>);

struct Inner {
    ceiling: usize,
    /// One permit for each connection in use.
    slots: Arc<Semaphore>,
    idle: Mutex<Idle>,
    /// As many more owners as connections are open.
    opened: Arc<()>,
    clock: Clock,
}

/// A connection that counts for as long as it is open.
struct Open {
    connection: AnyConnection,
    _counted: Arc<()>,
}

/// Idle connections, by database and by age.
#[derive(Default)]
struct Idle {
    next: u64,
    by_age: BTreeMap<u64, Waiting>,
    /// Numbers of a database's connections, the latest last.
    by_url: HashMap<String, Vec<u64>>,
}

struct Waiting {
    url: String,
    since: Millis,
    connection: Open,
}

impl Idle {
    fn put(&mut self, url: String, connection: Open, since: Millis) {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.by_url.entry(url.clone()).or_default().push(number);
        self.by_age.insert(number, Waiting { url, since, connection });
    }

    fn remove(&mut self, number: u64) -> Option<Open> {
        let waiting = self.by_age.remove(&number)?;
        if let Some(numbers) = self.by_url.get_mut(&waiting.url) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_url.remove(&waiting.url);
            }
        }
        Some(waiting.connection)
    }

    /// The one of `url` that was used last.
    fn take(&mut self, url: &str) -> Option<Open> {
        let number = *self.by_url.get(url)?.last()?;
        self.remove(number)
    }

    /// The one that has waited longest, whosever it is.
    fn oldest(&mut self) -> Option<Open> {
        let number = *self.by_age.keys().next()?;
        self.remove(number)
    }

    fn since(&self) -> Option<Millis> {
        self.by_age.values().next().map(|waiting| waiting.since)
    }
}

/// A connection in use. Dropped, it waits for its next use; in the middle of a transaction it is closed, which ends that.
pub(crate) struct OwnConnection {
    connection: Option<Open>,
    url: String,
    home: Connections,
    /// In a transaction, or in one whose end is unknown.
    busy: bool,
    _slot: OwnedSemaphorePermit,
}

impl fmt::Debug for Connections {
    /// Without the URLs, which hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Connections");
        shown.field("ceiling", &self.0.ceiling);
        shown.field("idle", &self.idle().by_age.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnConnection {
    /// Without the URL, which holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("OwnConnection");
        shown.field("busy", &self.busy).finish_non_exhaustive()
    }
}

impl Connections {
    pub(crate) fn new(ceiling: usize, clock: Clock, shutdown: &Shutdown) -> Self {
        let ceiling = ceiling.max(1);
        let connections = Self(Arc::new(Inner {
            ceiling,
            slots: Arc::new(Semaphore::new(ceiling)),
            idle: Mutex::default(),
            opened: Arc::new(()),
            clock: clock.clone(),
        }));
        let (weak, stop) = (Arc::downgrade(&connections.0), shutdown.clone());
        shutdown.spawn(async move {
            loop {
                tokio::select! { () = stop.soft() => return, () = clock.sleep(LOOK) => {} }
                let Some(inner) = weak.upgrade() else { return };
                let connections = Self(inner);
                connections.close_idle(IDLE).await;
                let gauge = |state| metrics::gauge!(names::TENANT_CONNECTIONS, "state" => state);
                gauge("open").set(connections.open() as f64);
                gauge("ceiling").set(connections.0.ceiling as f64);
            }
        });
        connections
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that are open, in use or idle.
    pub(crate) fn open(&self) -> usize {
        Arc::strong_count(&self.0.opened).saturating_sub(1)
    }

    /// A connection to the database at `url`.
    ///
    /// # Errors
    /// When none became free in time, or the database does not answer.
    pub(crate) async fn acquire(&self, engine: Engine, url: &Url) -> Result<OwnConnection, DbError> {
        let waiting = tokio::time::timeout(ACQUIRE, Arc::clone(&self.0.slots).acquire_owned()).await;
        let Ok(Ok(slot)) = waiting else {
            return Err(DbError::Deadline {
                during: "wait for a connection to a tenant's database",
            });
        };
        let known = self.idle().take(url.as_str());
        let alive = match (known, engine) {
            // A file needs no check before use.
            (Some(connection), Engine::Sqlite) => Some(connection),
            (Some(mut connection), Engine::Postgres) => {
                let answer = connection.connection.ping().bounded("ping").await;
                answer.ok().map(|()| connection)
            }
            (None, Engine::Sqlite | Engine::Postgres) => None,
        };
        let connection = if let Some(connection) = alive {
            connection
        } else {
            self.make_room().await;
            let counted = Arc::clone(&self.0.opened);
            Open {
                connection: Db::connect_to(engine, url).await?,
                _counted: counted,
            }
        };
        Ok(OwnConnection {
            connection: Some(connection),
            url: url.as_str().to_owned(),
            home: self.clone(),
            busy: false,
            _slot: slot,
        })
    }

    /// Closes the longest idle until one more may be opened. The caller holds a permit, which counts for the one it opens.
    async fn make_room(&self) {
        loop {
            let extra = {
                let mut idle = self.idle();
                let in_use = self.0.ceiling.saturating_sub(self.0.slots.available_permits());
                if idle.by_age.len().saturating_add(in_use) <= self.0.ceiling {
                    return;
                }
                idle.oldest()
            };
            let Some(extra) = extra else { return };
            close(extra).await;
        }
    }

    async fn close_idle(&self, longer_than: Duration) {
        let before = self.0.clock.now().before(longer_than);
        loop {
            let extra = {
                let mut idle = self.idle();
                match idle.since() {
                    Some(since) if since <= before => idle.oldest(),
                    Some(_) | None => return,
                }
            };
            let Some(extra) = extra else { return };
            close(extra).await;
        }
    }

    /// Closes the idle connections of one database: it is about to be dropped.
    pub(crate) async fn forget(&self, url: &Url) {
        loop {
            let known = self.idle().take(url.as_str());
            let Some(known) = known else { return };
            close(known).await;
        }
    }
}

async fn close(open: Open) {
    // A server that is away has closed it already.
    let _ = open.connection.close().bounded("close a connection").await;
}

impl OwnConnection {
    pub(crate) async fn begin(&mut self, engine: Engine) -> Result<(), sqlx::Error> {
        self.busy = true;
        (&mut **self).execute(engine.begin_write()).await.map(|_| ())
    }

    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        (&mut **self).execute("COMMIT").await?;
        self.busy = false;
        Ok(())
    }
}

impl Deref for OwnConnection {
    type Target = AnyConnection;
    #[expect(clippy::expect_used, reason = "the connection is taken out by `drop` alone")]
    fn deref(&self) -> &AnyConnection {
        &self
            .connection
            .as_ref()
            .expect("a connection until it is dropped")
            .connection
    }
}

impl DerefMut for OwnConnection {
    #[expect(clippy::expect_used, reason = "the connection is taken out by `drop` alone")]
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self
            .connection
            .as_mut()
            .expect("a connection until it is dropped")
            .connection
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if self.busy {
            return;
        }
        let now = self.home.0.clock.now();
        self.home.idle().put(std::mem::take(&mut self.url), connection, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;

    async fn files(folder: &std::path::Path, count: usize) -> Vec<Url> {
        let mut urls = Vec::new();
        for number in 0..count {
            let url: Url = format!("sqlite://{}/{number}.db?mode=rwc", folder.display())
                .parse()
                .unwrap();
            Db::connect_to(Engine::Sqlite, &url)
                .await
                .unwrap()
                .close()
                .await
                .unwrap();
            urls.push(url);
        }
        urls
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn however_many_databases_are_used_the_ceiling_holds() {
        let folder = tempfile::tempdir().unwrap();
        let urls = files(folder.path(), 40).await;
        let shutdown = Shutdown::new();
        let connections = Connections::new(5, Clock::system(), &shutdown);
        for _ in 0..3 {
            let uses = urls.iter().map(|url| async {
                let held = connections.acquire(Engine::Sqlite, url).await.unwrap();
                assert!(connections.open() <= 5, "{}", connections.open());
                drop(held);
            });
            join_all(uses).await;
            assert!(connections.open() <= 5, "{}", connections.open());
        }
        for url in &urls {
            connections.forget(url).await;
        }
        assert_eq!(connections.open(), 0);
    }

    #[tokio::test]
    async fn an_idle_connection_is_used_again_and_closed_when_its_time_is_up() {
        let folder = tempfile::tempdir().unwrap();
        let url = files(folder.path(), 1).await.remove(0);
        let clock = Clock::manual(Millis::new(1_000));
        let connections = Connections::new(5, clock.clone(), &Shutdown::new());
        for _ in 0..3 {
            drop(connections.acquire(Engine::Sqlite, &url).await.unwrap());
            assert_eq!(connections.open(), 1);
        }
        clock.advance(IDLE / 2);
        connections.close_idle(IDLE).await;
        assert_eq!(connections.open(), 1);
        clock.advance(IDLE / 2);
        connections.close_idle(IDLE).await;
        assert_eq!(connections.open(), 0);
    }

    #[tokio::test]
    async fn a_transaction_that_is_dropped_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let url = files(folder.path(), 1).await.remove(0);
        let connections = Connections::new(1, Clock::system(), &Shutdown::new());
        let run = async |text: &'static str| {
            let mut held = connections.acquire(Engine::Sqlite, &url).await.unwrap();
            sqlx::query(text).execute(&mut *held).await.map(|_| ())
        };
        run("CREATE TABLE tried (n BIGINT PRIMARY KEY)").await.unwrap();
        let mut held = connections.acquire(Engine::Sqlite, &url).await.unwrap();
        held.begin(Engine::Sqlite).await.unwrap();
        sqlx::query("INSERT INTO tried (n) VALUES (1)")
            .execute(&mut *held)
            .await
            .unwrap();
        drop(held);
        run("INSERT INTO tried (n) VALUES (1)").await.unwrap();
        assert!(
            run("INSERT INTO tried (n) VALUES (1)").await.is_err(),
            "it is there once"
        );
    }
}

//! What every database must do: one named test a case and engine. What the statements do stands with them.

use super::{Bounded, Db, DbError, During, Fault, Sql};
use crate::testing::{PATIENCE, database::ControlDb, faults::Proxy, servers};
use futures_util::future::join_all;
use sqlx::Row;
use std::time::Duration;

const MAKE: Sql =
    Sql::new("CREATE TABLE tried (name TEXT PRIMARY KEY, n BIGINT NOT NULL CHECK (n BETWEEN 0 AND 1000))");
const ADD: Sql = Sql::new("INSERT INTO tried (name, n) VALUES ($1, $2)");
const READ: Sql = Sql::new("SELECT n FROM tried WHERE name = $1");
const WRITE: Sql = Sql::new("UPDATE tried SET n = $2 WHERE name = $1");

const LOCK: Sql = Sql::new("UPDATE tried SET n = n WHERE name = $1");
const ONE: Sql = Sql::new("SELECT 1");
const TLS: Sql = Sql::new("SELECT CASE WHEN ssl THEN 1 ELSE 0 END FROM pg_stat_ssl WHERE pid = pg_backend_pid()");

/// One named test a case and engine.
macro_rules! contract {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::tried(crate::testing::database::ControlDb::sqlite().await).await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                super::$case(super::tried(crate::testing::database::ControlDb::postgres().await).await).await;
            })+
        }
    };
}

contract!(
    writers_that_read_first_wait_for_each_other,
    a_dropped_transaction_changes_nothing,
    readers_go_on_beside_a_writer,
    errors_say_what_they_mean,
    migrating_twice_changes_nothing,
    who_gives_up_waiting_leaves_no_transaction_behind,
);

/// A database with one table and one row in it.
async fn tried(database: ControlDb) -> ControlDb {
    let db = &database.db;
    MAKE.query().execute(db.write()).bounded("make").await.unwrap();
    add(db, "a", 0).await.unwrap();
    database
}

async fn add(db: &Db, name: &str, n: i64) -> Result<(), DbError> {
    let query = ADD.query().bind(name.to_owned()).bind(n);
    query.execute(db.write()).bounded("add").await.map(|_| ())
}

async fn read(db: &Db, name: &str) -> i64 {
    let row = READ
        .query()
        .bind(name.to_owned())
        .fetch_one(db.read())
        .bounded("read")
        .await;
    row.unwrap().try_get(0).during("read").unwrap()
}

/// Reads, then writes what follows from it: what a transaction that turns from reader to writer would lose by
/// `SQLITE_BUSY`, and one without isolation by a lost update.
async fn writers_that_read_first_wait_for_each_other(database: ControlDb) {
    let db = &database.db;
    let writers = (0..40).map(|_| async move {
        let mut tx = db.begin_write().await?;
        // PostgreSQL isolates by row locks; a plain read would take none.
        if db.engine() == super::Engine::Postgres {
            LOCK.query()
                .bind("a".to_owned())
                .execute(&mut *tx)
                .bounded("lock")
                .await?;
        }
        let row = READ
            .query()
            .bind("a".to_owned())
            .fetch_one(&mut *tx)
            .bounded("read")
            .await?;
        let n: i64 = row.try_get(0).during("read")?;
        WRITE
            .query()
            .bind("a".to_owned())
            .bind(n + 1)
            .execute(&mut *tx)
            .bounded("write")
            .await?;
        tx.commit().bounded("commit").await
    });
    for result in join_all(writers).await {
        result.unwrap();
    }
    assert_eq!(read(db, "a").await, 40);
}

async fn a_dropped_transaction_changes_nothing(database: ControlDb) {
    let db = &database.db;
    let mut tx = db.begin_write().await.unwrap();
    WRITE
        .query()
        .bind("a".to_owned())
        .bind(7_i64)
        .execute(&mut *tx)
        .bounded("write")
        .await
        .unwrap();
    drop(tx);
    assert_eq!(read(db, "a").await, 0);
    // The connection is as good as new.
    add(db, "b", 1).await.unwrap();
}

async fn readers_go_on_beside_a_writer(database: ControlDb) {
    let db = &database.db;
    let mut tx = db.begin_write().await.unwrap();
    WRITE
        .query()
        .bind("a".to_owned())
        .bind(7_i64)
        .execute(&mut *tx)
        .bounded("write")
        .await
        .unwrap();
    assert_eq!(read(db, "a").await, 0, "what is not committed is not seen");
    tx.commit().bounded("commit").await.unwrap();
    assert_eq!(read(db, "a").await, 7);
}

async fn errors_say_what_they_mean(database: ControlDb) {
    let db = &database.db;
    assert_eq!(add(db, "a", 1).await.unwrap_err().fault(), Fault::Conflict);
    let broken = add(db, "b", 1_001).await.unwrap_err();
    assert_eq!(broken.fault(), Fault::Bug, "{broken}");
    assert!(!broken.is_transient());
}

async fn who_gives_up_waiting_leaves_no_transaction_behind(database: ControlDb) {
    let elsewhere = Db::open(&database.url, 2).unwrap();
    for round in 0..40_usize {
        let mut begin = std::pin::pin!(database.db.begin_write());
        let mut polls = round % 8;
        std::future::poll_fn(|cx| {
            polls = polls.saturating_sub(1);
            let done = begin.as_mut().poll(cx).is_ready();
            if done || polls == 0 {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
    // On every connection of the pool: what is written is committed.
    for number in 0..20 {
        let name = format!("n{number}");
        add(&database.db, &name, number).await.unwrap();
        assert_eq!(read(&elsewhere, &name).await, number);
    }
}

async fn migrating_twice_changes_nothing(database: ControlDb) {
    assert_eq!(database.db.control_migrations_missing().await.unwrap(), 0);
    database.db.migrate_control().await.unwrap();
    assert_eq!(read(&database.db, "a").await, 0);
}

/// What is committed is on disk, and readers do not wait for writers.
#[tokio::test]
async fn sqlite_writes_ahead_and_syncs_every_commit() {
    const MODES: [(Sql, &str); 2] = [
        (Sql::new("PRAGMA journal_mode"), "wal"),
        (Sql::new("PRAGMA foreign_keys"), "1"),
    ];
    const SYNCHRONOUS: Sql = Sql::new("PRAGMA synchronous");
    let database = ControlDb::sqlite().await;
    for pool in [database.db.read(), database.db.write()] {
        for (pragma, wanted) in MODES {
            let row = pragma.query().fetch_one(pool).await.unwrap();
            let got = row
                .try_get::<String, _>(0)
                .or_else(|_| row.try_get::<i64, _>(0).map(|n| n.to_string()));
            assert_eq!(got.unwrap(), wanted);
        }
        let row = SYNCHRONOUS.query().fetch_one(pool).await.unwrap();
        // 2 is FULL: https://www.sqlite.org/pragma.html#pragma_synchronous
        assert_eq!(row.try_get::<i64, _>(0).unwrap(), 2);
    }
}

/// A database behind a line that can be broken.
async fn postgres_by_proxy() -> (Proxy, Db, ControlDb) {
    let database = ControlDb::postgres().await;
    let (line, url) = Proxy::to(&database.url).await;
    let db = Db::open(&url, 2).unwrap();
    db.ping().await.unwrap();
    (line, db, database)
}

async fn found_again(db: &Db) {
    let answered = async { while db.ping().await.is_err() {} };
    tokio::time::timeout(PATIENCE, answered).await.unwrap();
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn a_lost_postgres_is_found_again() {
    let (line, db, _database) = postgres_by_proxy().await;
    let mut tx = db.begin_write().await.unwrap();
    line.cut();
    let error = ONE.query().execute(&mut *tx).bounded("ask").await.unwrap_err();
    assert_eq!(error.fault(), Fault::Gone, "{error:?}");
    drop(tx);
    found_again(&db).await;
    line.down();
    let error = db.ping().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    line.mend();
    found_again(&db).await;
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn a_silent_postgres_is_an_error_in_time_and_found_again() {
    let (line, db, _database) = postgres_by_proxy().await;
    let mut tx = db.begin_write().await.unwrap();
    line.silence();
    let asked = ONE.query().execute(&mut *tx).bounded("ask");
    let error = tokio::time::timeout(Duration::from_secs(40), asked)
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, DbError::Deadline { .. }), "{error:?}");
    drop(tx);
    line.cut();
    found_again(&db).await;
}

#[tokio::test]
#[ignore = "needs servers: run ./test.sh"]
async fn postgres_speaks_tls_with_servers_of_the_given_ca_only() {
    let url: url::Url = servers::required("MEDIAMILL_TEST_POSTGRES_TLS_URL").parse().unwrap();
    Db::open(&url, 1).unwrap().ping().await.unwrap();
    let db = Db::open(&url, 1).unwrap();
    let row = TLS.query().fetch_one(db.read()).await.unwrap();
    assert_eq!(i64::from(row.try_get::<i32, _>(0).unwrap()), 1);
    // Without the authority the certificate is nobody's.
    let mut unknown = url.clone();
    unknown.set_query(Some("sslmode=verify-full"));
    assert!(Db::open(&unknown, 1).unwrap().ping().await.is_err());
}

//! The one name for a database, SQLite or PostgreSQL.
//!
//! No other crate names a driver. One SQL text serves both engines; where they differ, [`Db`] has a method with both
//! answers in view. SQLite: WAL, every commit on disk before it returns, one writing connection whose transactions
//! begin as writers. PostgreSQL: its defaults.

mod batch;
mod fault;
mod literal;
mod migrate;
mod own;
mod sql;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod upgrade;

pub use batch::Batcher;
pub(crate) use fault::{Bounded, During};
pub use fault::{DbError, Fault, OpenError};
pub(crate) use literal::{Literal, written_out};
pub(crate) use sql::{Sql, halving, padded, sql};

use sqlx::{
    Any, AnyConnection, AnyPool, Connection, Executor, Row, Transaction, any::AnyPoolOptions, pool::PoolConnection,
};
use std::{sync::Once, time::Duration};
use url::Url;

/// Longest wait for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);

/// A connection that was used within this is taken for alive.
const LIVELY: Duration = Duration::from_secs(1);

/// Which engine is behind a [`Db`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

/// A database. Cloning shares its connections.
#[derive(Clone, Debug)]
pub struct Db {
    read: AnyPool,
    write: AnyPool,
    engine: Engine,
}

fn install_drivers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        sqlx::any::install_default_drivers();
        install_crypto();
    });
}

/// Makes aws-lc-rs the process's TLS provider, once. Every adapter that speaks TLS calls it.
pub(crate) fn install_crypto() {
    // An error says that somebody was first with a provider: as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

impl Engine {
    /// How a transaction that writes begins.
    pub(crate) const fn begin_write(self) -> &'static str {
        match self {
            // A reader that turns writer gets SQLITE_BUSY at once, whatever busy_timeout says.
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }
}

impl Db {
    /// Opens the database of `url` (`sqlite:///path/file.db` or `postgres://user@host/name?sslmode=…`) with at most
    /// `connections` connections. Connects when first used: a server that is away is no error here.
    ///
    /// # Errors
    /// When the URL names no database.
    pub fn open(url: &Url, connections: u32) -> Result<Self, OpenError> {
        install_drivers();
        let refuse = |problem: String| OpenError {
            url: crate::config::redacted(url),
            problem,
        };
        let options = AnyPoolOptions::new()
            .acquire_timeout(ACQUIRE)
            .max_lifetime(Duration::from_secs(1_800))
            .idle_timeout(Duration::from_secs(300));
        match url.scheme() {
            "sqlite" => {
                if url.path().trim_matches('/').is_empty() || url.as_str().contains(":memory:") {
                    return Err(refuse(
                        "a file is needed: an in-memory database is another one on every connection".into(),
                    ));
                }
                let mut file = url.clone();
                if !file.query_pairs().any(|(name, _)| name == "mode") {
                    file.query_pairs_mut().append_pair("mode", "rwc");
                }
                let open = |size: u32| {
                    options
                        .clone()
                        .max_connections(size)
                        // A file needs no check before use, and the check would cost as much as the query.
                        .test_before_acquire(false)
                        .after_connect(|connection, _| Box::pin(async move { prepare_sqlite(connection).await }))
                        .connect_lazy(file.as_str())
                        .map_err(|error| refuse(error.to_string()))
                };
                Ok(Self {
                    read: open(connections.max(2) - 1)?,
                    write: open(1)?,
                    engine: Engine::Sqlite,
                })
            }
            "postgres" | "postgresql" => {
                let pool = options
                    .max_connections(connections.max(1))
                    // A connection that just answered is taken for alive: asking each time would double every short query.
                    .test_before_acquire(false)
                    .before_acquire(|connection, meta| {
                        Box::pin(async move {
                            if meta.idle_for > LIVELY {
                                connection.ping().await?;
                            }
                            Ok(true)
                        })
                    })
                    .connect_lazy(url.as_str())
                    .map_err(|error| refuse(error.to_string()))?;
                Ok(Self {
                    read: pool.clone(),
                    write: pool,
                    engine: Engine::Postgres,
                })
            }
            scheme => Err(refuse(format!("unknown scheme {scheme:?}"))),
        }
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.engine
    }

    /// Where reads go.
    pub(crate) const fn read(&self) -> &AnyPool {
        &self.read
    }

    /// Where single writing statements go.
    pub(crate) const fn write(&self) -> &AnyPool {
        &self.write
    }

    /// A transaction that writes. Whoever gives up waiting for it leaves none behind.
    pub(crate) async fn begin_write(&self) -> Result<Transaction<'static, Any>, DbError> {
        const WHAT: &str = "begin a transaction";
        let (pool, how) = (self.write.clone(), self.engine.begin_write());
        let begun = async move { pool.begin_with(how).bounded(WHAT).await };
        match self.engine {
            Engine::Sqlite => begun.await,
            // Dropped between sending BEGIN and hearing of it, sqlx gives the connection back within a transaction that it
            // does not know of: what the next ones write there is never committed. A task of its own hears of it, whoever
            // waits; what it began and nobody takes is rolled back.
            Engine::Postgres => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "it ends within the deadline of a statement, and holds nothing but a connection"
                )]
                let begun = tokio::spawn(begun);
                match begun.await {
                    Ok(begun) => begun,
                    Err(_) => Err(sqlx::Error::WorkerCrashed).during(WHAT),
                }
            }
        }
    }

    /// A connection for schema changes.
    pub(crate) async fn writer(&self) -> Result<PoolConnection<Any>, DbError> {
        self.write.acquire().bounded("connect").await
    }

    /// Whether the database answers, within two seconds.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), DbError> {
        const PING: Sql = Sql::new("SELECT 1");
        let answer = tokio::time::timeout(Duration::from_secs(2), PING.query().execute(&self.read)).await;
        match answer {
            Ok(result) => result.map(|_| ()).during("ping"),
            Err(_) => Err(DbError::Deadline { during: "ping" }),
        }
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn facts(&self) -> Result<ServerFacts, DbError> {
        const WHAT: &str = "ask a server what it is";
        const SQLITE: Sql = Sql::new("SELECT sqlite_version()");
        const POSTGRES: Sql = Sql::new("SELECT current_setting('server_version'), current_setting('max_connections')");
        let sql = match self.engine {
            Engine::Sqlite => SQLITE,
            Engine::Postgres => POSTGRES,
        };
        let row = sql.query().fetch_one(&self.read).bounded(WHAT).await?;
        let connections = match self.engine {
            // A file has no ceiling of its own.
            Engine::Sqlite => None,
            Engine::Postgres => {
                let text: String = row.try_get(1).during(WHAT)?;
                Some(text.parse().map_err(|error| DbError::unreadable(WHAT, error))?)
            }
        };
        Ok(ServerFacts {
            version: row.try_get(0).during(WHAT)?,
            connections,
        })
    }

    /// Creates a database on this server, for tests and drivers. `name` is `0-9a-z_`.
    ///
    /// # Errors
    /// When the name is another, or the server refuses.
    #[cfg(feature = "testing")]
    pub async fn create_database(&self, name: &str) -> Result<(), DbError> {
        const WHAT: &str = "create a database";
        if !name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            return Err(DbError::unreadable(WHAT, format!("{name:?} is no plain name")));
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a name of plain characters, checked just before"
        )]
        let text = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(text)
            .persistent(false)
            .execute(&self.write)
            .bounded(WHAT)
            .await
            .map(|_| ())
    }

    /// Closes every connection, waiting for those in use.
    pub async fn close(&self) {
        self.write.close().await;
        self.read.close().await;
    }
}

/// What a database server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its release.
    pub version: String,
    /// Connections that it allows, over all who use it; `None` is without end.
    pub connections: Option<i64>,
}

async fn prepare_sqlite(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    // WAL lets readers go on beside the writer; FULL puts every commit on disk before it returns, power loss included.
    connection
        .execute(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA cache_size = -16000; PRAGMA temp_store = MEMORY;",
        )
        .await?;
    Ok(())
}

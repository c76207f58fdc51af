//! The back ends without the product: what drivers measure it beside, and fill them with.

use crate::{
    cache::CacheError,
    db::{Bounded, Db, DbError, During, Engine, Sql},
    tenancy::{TablePrefix, tables_text},
};
use redis::{Client, RedisResult, aio::ConnectionManager};
use sqlx::{AnyConnection, Connection, Executor, Row};
use url::Url;

/// What PostgreSQL keeps for the tables whose names begin so: tables, indexes, TOAST tables and theirs.
const SIZE: Sql = Sql::new(
    "WITH t AS (SELECT oid, reltoastrelid FROM pg_class WHERE relkind = 'r' AND starts_with(relname, $1)), \
     i AS (SELECT indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM t) OR indrelid IN (SELECT reltoastrelid FROM t)) \
     SELECT (SELECT COUNT(*) FROM t) + (SELECT COUNT(*) FROM t WHERE reltoastrelid <> 0) + (SELECT COUNT(*) FROM i), \
     (SELECT CAST(SUM(pg_total_relation_size(oid)) AS BIGINT) FROM t)",
);
const DATABASE_SIZE: Sql = Sql::new("SELECT pg_database_size(current_database())");

/// A TOAST table lies in a schema of the engine's, but it is numbered as its table is.
const RELATIONS: Sql = Sql::new("SELECT COUNT(*) FROM pg_class WHERE oid >= 16384");

/// What one tenant takes.
#[derive(Debug, Clone, Copy)]
pub struct TenantSize {
    /// Tables, indexes and TOAST relations.
    pub relations: i64,
    /// Bytes of these.
    pub bytes: i64,
}

/// One connection to a database, of the driver's own.
#[derive(Debug)]
pub struct Bare {
    connection: AnyConnection,
    engine: Engine,
}

impl Bare {
    /// Connects; makes the file where it is missing.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn connect(engine: Engine, url: &Url) -> Result<Self, DbError> {
        let mut url = url.clone();
        if engine == Engine::Sqlite {
            url.set_query(Some("mode=rwc"));
        }
        Ok(Self {
            connection: Db::connect_to(engine, &url).await?,
            engine,
        })
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn close(self) -> Result<(), DbError> {
        self.connection.close().bounded("close a connection").await
    }

    /// Runs a driver's own text as it is, in one round trip.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub async fn run(&mut self, text: String) -> Result<(), DbError> {
        #[expect(clippy::disallowed_methods, reason = "a driver's own text")]
        let text = sqlx::AssertSqlSafe(text);
        let done = self.connection.execute(sqlx::raw_sql(text));
        done.bounded("run a bare statement").await.map(|_| ())
    }

    /// Makes the tables of tenants in one transaction and one round trip.
    ///
    /// # Errors
    /// When the engine refuses them.
    pub async fn make_tables(&mut self, prefixes: &[Option<TablePrefix>]) -> Result<(), DbError> {
        let mut text = format!("{};\n", self.engine.begin_write());
        for prefix in prefixes {
            text.push_str(&tables_text(prefix.as_ref()));
        }
        text.push_str("\nCOMMIT");
        self.run(text).await
    }

    /// What the tables whose names begin with `start` take. PostgreSQL only.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn size(&mut self, start: &str) -> Result<TenantSize, DbError> {
        const WHAT: &str = "measure a tenant";
        let query = SIZE.query().bind(start.to_owned());
        let row = query.fetch_one(&mut self.connection).bounded(WHAT).await?;
        Ok(TenantSize {
            relations: row.try_get(0).during(WHAT)?,
            bytes: row.try_get(1).during(WHAT)?,
        })
    }

    /// Relations that are not the engine's own. PostgreSQL only.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn relations(&mut self) -> Result<i64, DbError> {
        const WHAT: &str = "count relations";
        let row = RELATIONS.query().fetch_one(&mut self.connection).bounded(WHAT).await?;
        row.try_get(0).during(WHAT)
    }

    /// Bytes of the connected database. PostgreSQL only.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn database_bytes(&mut self) -> Result<i64, DbError> {
        const WHAT: &str = "measure a database";
        let row = DATABASE_SIZE
            .query()
            .fetch_one(&mut self.connection)
            .bounded(WHAT)
            .await?;
        row.try_get(0).during(WHAT)
    }
}

/// One multiplexed connection to a Redis server, as the product's own. Cloning shares it.
#[derive(Clone)]
pub struct BareRedis(ConnectionManager);

impl std::fmt::Debug for BareRedis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BareRedis").finish()
    }
}

impl BareRedis {
    /// Connects.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn connect(url: &Url) -> Result<Self, CacheError> {
        let client = said("connect", Client::open(url.as_str()))?;
        Ok(Self(said("connect", ConnectionManager::new(client).await)?))
    }

    /// One `GET`.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let mut connection = self.0.clone();
        said("get", redis::cmd("GET").arg(key).query_async(&mut connection).await)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn remove(&self, key: &str) -> Result<(), CacheError> {
        let mut connection = self.0.clone();
        said("remove", redis::cmd("DEL").arg(key).query_async(&mut connection).await)
    }

    /// Sets many keys in one round trip. They stay.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn fill(&self, entries: &[(String, Vec<u8>)]) -> Result<(), CacheError> {
        let mut connection = self.0.clone();
        let mut command = redis::cmd("MSET");
        for (key, value) in entries {
            command.arg(key).arg(value.as_slice());
        }
        said("fill", command.query_async(&mut connection).await)
    }
}

fn said<T>(operation: &'static str, result: RedisResult<T>) -> Result<T, CacheError> {
    result.map_err(|error| CacheError::Unavailable {
        operation,
        source: error.into(),
    })
}

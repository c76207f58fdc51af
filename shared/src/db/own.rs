//! Databases of one tenant each: made, opened, dropped. SQLite: a file of its own; PostgreSQL: a database of its own.
//!
//! Every name is built from a checked prefix, never from what somebody typed.

use super::{Bounded, Db, DbError, During, Engine, Fault, Sql, prepare_sqlite};
use sqlx::{AnyConnection, Connection, Row};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use url::Url;

/// Not counted: what a server was dropping when it died. Nobody can connect to it, and it can only be dropped again:
/// <https://www.postgresql.org/docs/current/catalog-pg-database.html>
const HAS_DATABASE: Sql =
    Sql::new("SELECT CAST(COUNT(*) AS BIGINT) FROM pg_database WHERE datname = $1 AND datconnlimit <> -2");

/// What databases of tenants are called after where their server's own database has a name that needs quoting.
const PLAIN: &str = "mediamill";
/// Longest time that making or dropping one takes: a checkpoint of a busy server.
const ABOUT_DATABASE: Duration = Duration::from_secs(90);
/// PostgreSQL cuts names at 63 bytes; a prefix and an underscore take 17.
const LONGEST_BASE: usize = 46;

fn base(url: &Url) -> &str {
    let name = url.path().trim_start_matches('/');
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if (1..=LONGEST_BASE).contains(&name.len()) && name.bytes().all(plain) {
        name
    } else {
        PLAIN
    }
}

/// The file of a tenant beside the shared one: `<file>.tenants/<two characters>/<prefix>.db`. Folders stay small.
fn file(server: &Url, prefix: &str) -> PathBuf {
    let (_, shard) = prefix.split_at(prefix.len().saturating_sub(2));
    let mut folder = server.path().to_owned();
    folder.push_str(".tenants");
    Path::new(&folder).join(shard).join(format!("{prefix}.db"))
}

fn failed(during: &'static str) -> impl Fn(std::io::Error) -> DbError {
    move |error| DbError::Failed {
        during,
        fault: Fault::Gone,
        source: sqlx::Error::Io(error),
    }
}

impl Engine {
    /// The URL of the database that `prefix` names on the server of `url`.
    pub(crate) fn own_url(self, server: &Url, prefix: &str) -> Url {
        let mut url = server.clone();
        match self {
            // Opened as it is: a file that is missing must not come back empty.
            Self::Sqlite => {
                url.set_path(&file(server, prefix).display().to_string());
                url.set_query(Some("mode=rw"));
            }
            Self::Postgres => url.set_path(&format!("{}_{prefix}", base(server))),
        }
        url
    }
}

impl Db {
    /// A connection of its own to `url`, ready for use.
    pub(crate) async fn connect_to(engine: Engine, url: &Url) -> Result<AnyConnection, DbError> {
        const WHAT: &str = "connect to a tenant's database";
        super::install_drivers();
        let mut connection = AnyConnection::connect(url.as_str()).bounded(WHAT).await?;
        match engine {
            Engine::Sqlite => prepare_sqlite(&mut connection).bounded(WHAT).await?,
            Engine::Postgres => {}
        }
        Ok(connection)
    }

    /// Makes the database that `prefix` names on this server. Called twice it changes nothing.
    pub(crate) async fn create_own(&self, server: &Url, prefix: &str) -> Result<(), DbError> {
        const WHAT: &str = "make a tenant's database";
        match self.engine {
            Engine::Sqlite => {
                let path = file(server, prefix);
                if let Some(folder) = path.parent() {
                    tokio::fs::create_dir_all(folder).await.map_err(failed(WHAT))?;
                }
                let mut url = self.engine.own_url(server, prefix);
                url.set_query(Some("mode=rwc"));
                let connection = Self::connect_to(self.engine, &url).await?;
                connection.close().bounded(WHAT).await
            }
            Engine::Postgres => {
                let name = format!("{}_{prefix}", base(server));
                let has = HAS_DATABASE.query().bind(name.clone()).fetch_one(self.read());
                if has.bounded(WHAT).await?.try_get::<i64, _>(0).during(WHAT)? > 0 {
                    return Ok(());
                }
                self.about_database(WHAT, format!("CREATE DATABASE \"{name}\"")).await
            }
        }
    }

    /// Drops the database that `prefix` names on this server, whoever is connected to it. Called twice it changes
    /// nothing.
    pub(crate) async fn drop_own(&self, server: &Url, prefix: &str) -> Result<(), DbError> {
        const WHAT: &str = "drop a tenant's database";
        match self.engine {
            Engine::Sqlite => {
                let path = file(server, prefix);
                for suffix in ["-wal", "-shm", ""] {
                    let mut name = path.clone().into_os_string();
                    name.push(suffix);
                    match tokio::fs::remove_file(&name).await {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(WHAT)(error)),
                        Ok(()) | Err(_) => {}
                    }
                }
                Ok(())
            }
            Engine::Postgres => {
                let name = format!("{}_{prefix}", base(server));
                self.about_database(WHAT, format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))
                    .await
            }
        }
    }

    /// Whether the database that `prefix` names is there.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn has_own(&self, server: &Url, prefix: &str) -> Result<bool, DbError> {
        const WHAT: &str = "look for a tenant's database";
        match self.engine {
            Engine::Sqlite => tokio::fs::try_exists(file(server, prefix)).await.map_err(failed(WHAT)),
            Engine::Postgres => {
                let name = format!("{}_{prefix}", base(server));
                let row = HAS_DATABASE
                    .query()
                    .bind(name)
                    .fetch_one(self.read())
                    .bounded(WHAT)
                    .await?;
                Ok(row.try_get::<i64, _>(0).during(WHAT)? > 0)
            }
        }
    }

    /// Creating and dropping stands outside of transactions, and waits for the server's own checkpoint: longer than a
    /// statement may.
    async fn about_database(&self, what: &'static str, text: String) -> Result<(), DbError> {
        #[expect(clippy::disallowed_methods, reason = "a checked base name and a validated prefix")]
        let text = sqlx::AssertSqlSafe(text);
        let done = sqlx::query(text).persistent(false).execute(self.write());
        let done = match tokio::time::timeout(ABOUT_DATABASE, done).await {
            Ok(done) => done.during(what),
            Err(_) => Err(DbError::Deadline { during: what }),
        };
        match done {
            // Somebody else was first.
            Err(error) if error.fault() == Fault::Conflict => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_database_lies_beside_the_shared_one() {
        let sqlite: Url = "sqlite:///data/m.db?mode=rwc".parse().unwrap();
        assert_eq!(
            Engine::Sqlite.own_url(&sqlite, "t0abcd").as_str(),
            "sqlite:///data/m.db.tenants/cd/t0abcd.db?mode=rw"
        );
        let postgres: Url = "postgres://u:p@h:1/media?sslmode=require".parse().unwrap();
        assert_eq!(
            Engine::Postgres.own_url(&postgres, "t0abcd").as_str(),
            "postgres://u:p@h:1/media_t0abcd?sslmode=require"
        );
        let quoted: Url = "postgres://h/Odd%20Name".parse().unwrap();
        assert_eq!(Engine::Postgres.own_url(&quoted, "t0a").path(), "/mediamill_t0a");
    }
}

//! What a database error means for the caller.

use std::{fmt, future::Future, time::Duration};

/// A kind of failure, from the engines' codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Somebody else was in the way: try again.
    Busy,
    /// The server or the disk is away: try again later.
    Gone,
    /// A unique row, a table or a database is there already, or a reference is not.
    Conflict,
    /// The program is wrong.
    Bug,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the database was busy",
            Self::Gone => "the database is away",
            Self::Conflict => "it conflicts with what is there",
            Self::Bug => "the database refused the statement",
        })
    }
}

/// A database operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The engine said no.
    #[error("{fault} while trying to {during}")]
    Failed {
        /// What was tried.
        during: &'static str,
        /// What it means.
        fault: Fault,
        /// What the engine said.
        #[source]
        source: sqlx::Error,
    },
    /// It took too long.
    #[error("the database did not answer in time while trying to {during}")]
    Deadline {
        /// What was tried.
        during: &'static str,
    },
    /// A row holds what this release cannot read.
    #[error("the row read to {during} is not readable: {problem}")]
    Unreadable {
        /// What was tried.
        during: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The tenant's tables are being moved: what writes waits.
    #[error("the tenant is being moved, so it cannot {during} now")]
    Moving {
        /// What was tried.
        during: &'static str,
    },
    /// The tenant's tables are of a newer release.
    #[error("the tenant's tables are of schema {has}, this release knows {known}: update this process")]
    NewerSchema {
        /// Theirs.
        has: i64,
        /// Ours.
        known: i64,
    },
    /// The tenant's tables are not where they were looked for: they have moved, or were removed.
    #[error("the tenant's tables are not at this place any more, so it cannot {during}")]
    Gone {
        /// What was tried.
        during: &'static str,
    },
    /// A tenant is on a server that is not configured here.
    #[error("database server {name:?} is not configured here: add it to MEDIAMILL_TENANT_DATABASES")]
    NoServer {
        /// Its name.
        name: String,
    },
    /// A batched operation's batch failed.
    #[error("the batch failed")]
    Batch(#[source] std::sync::Arc<DbError>),
    /// The schema could not be brought up to date.
    #[error("the schema could not be migrated")]
    Migrate(#[source] Box<sqlx::migrate::MigrateError>),
}

impl DbError {
    /// What it means.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Failed { fault, .. } => *fault,
            Self::Moving { .. } => Fault::Busy,
            // Another process, or this one after its update, can do it.
            Self::Deadline { .. } | Self::NewerSchema { .. } | Self::Gone { .. } | Self::NoServer { .. } => Fault::Gone,
            Self::Unreadable { .. } | Self::Migrate(_) => Fault::Bug,
            Self::Batch(source) => source.fault(),
        }
    }

    /// Whether trying again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.fault() {
            Fault::Busy | Fault::Gone => true,
            Fault::Conflict | Fault::Bug => false,
        }
    }

    /// For a column whose text is none that this release knows.
    pub(crate) fn unreadable(during: &'static str, problem: impl fmt::Display) -> Self {
        Self::Unreadable {
            during,
            problem: problem.to_string(),
        }
    }
}

/// A database URL is none.
#[derive(Debug, thiserror::Error)]
#[error("database url {url}: {problem}; known: sqlite:///path/file.db, postgres://user:password@host:port/name")]
pub struct OpenError {
    /// The URL, password left out.
    pub url: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Says what was tried.
pub(crate) trait During<T> {
    fn during(self, what: &'static str) -> Result<T, DbError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, what: &'static str) -> Result<T, DbError> {
        self.map_err(|source| DbError::Failed {
            during: what,
            fault: classify(&source),
            source,
        })
    }
}

/// One statement, a commit included, takes no longer: a server that has fallen silent is one that is away. Without this a
/// query on a half-open connection would wait for as long as the kernel does, hours.
const STATEMENT: Duration = Duration::from_secs(20);

/// Says what was tried, and ends the wait for it.
pub(crate) trait Bounded<T>: Future<Output = Result<T, sqlx::Error>> + Sized {
    async fn bounded(self, what: &'static str) -> Result<T, DbError> {
        match tokio::time::timeout(STATEMENT, self).await {
            Ok(result) => result.during(what),
            Err(_) => Err(DbError::Deadline { during: what }),
        }
    }
}

impl<T, F: Future<Output = Result<T, sqlx::Error>>> Bounded<T> for F {}

fn classify(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(database) => {
            if database.is_unique_violation() || database.is_foreign_key_violation() {
                return Fault::Conflict;
            }
            database.code().map_or(Fault::Bug, |code| classify_code(&code))
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Fault::Gone,
        _ => Fault::Bug,
    }
}

/// SQLSTATE (five characters, PostgreSQL's appendix A) or SQLite's extended result code (decimal).
fn classify_code(code: &str) -> Fault {
    if code.len() == 5 {
        return match code {
            // 55006: somebody is connected to the database that new ones are copied from.
            "40001" | "40P01" | "55P03" | "55006" => Fault::Busy,
            // A database, a table, and the type that each table has.
            "42P04" | "42P07" | "42710" => Fault::Conflict,
            // A standby; a database that was dropped.
            "25006" | "3D000" => Fault::Gone,
            // 08 connection, 53 resources, 57 operator intervention, 58 system error.
            _ if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => Fault::Gone,
            _ => Fault::Bug,
        };
    }
    // The primary code is the low byte: https://www.sqlite.org/rescode.html
    match code.parse::<i64>().unwrap_or(0) & 0xff {
        5 | 6 => Fault::Busy,
        // READONLY, IOERR, FULL, CANTOPEN
        8 | 10 | 13 | 14 => Fault::Gone,
        _ => Fault::Bug,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_engines_are_told_apart() {
        for (code, fault) in [
            ("40P01", Fault::Busy),
            ("55006", Fault::Busy),
            ("57P01", Fault::Gone),
            ("3D000", Fault::Gone),
            ("53300", Fault::Gone),
            ("08006", Fault::Gone),
            ("42P04", Fault::Conflict),
            ("42P07", Fault::Conflict),
            ("42710", Fault::Conflict),
            ("42601", Fault::Bug),
            ("5", Fault::Busy),
            ("517", Fault::Busy),
            ("13", Fault::Gone),
            ("778", Fault::Gone),
            ("1", Fault::Bug),
        ] {
            assert_eq!(classify_code(code), fault, "{code}");
        }
    }
}

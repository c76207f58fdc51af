//! A control database of a test's own.

use crate::{
    clock::{Clock, Entropy},
    db::Db,
    ids::JobId,
};
use url::Url;

/// A migrated control database. An SQLite file goes with it; a PostgreSQL database goes with the server.
#[derive(Debug)]
pub struct ControlDb {
    /// The database.
    pub db: Db,
    /// Where it is.
    pub url: Url,
    _folder: Option<tempfile::TempDir>,
}

#[expect(clippy::expect_used, reason = "a test's fixture")]
impl ControlDb {
    /// In a temporary file.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn sqlite() -> Self {
        let made = Self::bare_sqlite();
        made.db.migrate_control().await.expect("migrations that apply");
        made
    }

    /// On the test server, under a name of its own.
    ///
    /// # Panics
    /// When there is no server.
    pub async fn postgres() -> Self {
        let made = Self::bare_postgres().await;
        made.db.migrate_control().await.expect("migrations that apply");
        made
    }

    /// A database with nothing in it, in a temporary file.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn bare_sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url: Url = format!("sqlite://{}/control.db", folder.path().display())
            .parse()
            .expect("a path in a URL");
        Self::open(url, Some(folder))
    }

    /// A database with nothing in it, on the test server.
    ///
    /// # Panics
    /// When there is no server.
    pub async fn bare_postgres() -> Self {
        let server: Url = super::servers::postgres().parse().expect("a URL");
        let name = format!("test_{}", JobId::generate(&Clock::system(), &Entropy::system()));
        Db::open(&server, 1)
            .expect("a URL")
            .create_database(&name)
            .await
            .expect("a database of the test's own");
        let mut url = server;
        url.set_path(&name);
        Self::open(url, None)
    }

    fn open(url: Url, folder: Option<tempfile::TempDir>) -> Self {
        Self {
            db: Db::open(&url, 8).expect("a database URL"),
            url,
            _folder: folder,
        }
    }
}

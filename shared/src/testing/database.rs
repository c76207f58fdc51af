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
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url: Url = format!("sqlite://{}/control.db", folder.path().display())
            .parse()
            .expect("a path in a URL");
        Self::migrated(url, Some(folder)).await
    }

    /// On the test server, under a name of its own.
    ///
    /// # Panics
    /// When there is no server.
    pub async fn postgres() -> Self {
        let server: Url = super::servers::postgres().parse().expect("a URL");
        let name = format!("test_{}", JobId::generate(&Clock::system(), &Entropy::system()));
        Db::open(&server, 1)
            .expect("a URL")
            .create_database(&name)
            .await
            .expect("a database of the test's own");
        let mut url = server;
        url.set_path(&name);
        Self::migrated(url, None).await
    }

    async fn migrated(url: Url, folder: Option<tempfile::TempDir>) -> Self {
        let db = Db::open(&url, 8).expect("a database URL");
        db.migrate_control().await.expect("migrations that apply");
        Self {
            db,
            url,
            _folder: folder,
        }
    }
}

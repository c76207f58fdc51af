//! The database servers of an installation, and the way from a place to a connection.
//!
//! `main` is the control database's server and always there; others are configured. A server's shared database has a
//! pool; databases of one tenant each share one ceiling over all servers.

use super::{
    Isolation, Place, ServerName,
    connections::{Connections, OwnConnection},
};
use crate::{
    clock::Clock,
    config::{Config, ServerEntry},
    db::{Bounded, Db, DbError, Engine, OpenError, ServerFacts},
    shutdown::Shutdown,
};
use sqlx::{Any, AnyConnection, Transaction, pool::PoolConnection};
use std::{
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};
use url::Url;

/// A server that tenants are placed on.
#[derive(Clone)]
pub struct Server {
    /// Its name.
    pub name: ServerName,
    /// Share of new tenants, against the others'; 0 takes none by itself.
    pub weight: u32,
    pub(crate) url: Url,
    pub(crate) db: Db,
}

impl fmt::Debug for Server {
    /// Without the password in its URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Server");
        shown.field("name", &self.name).field("weight", &self.weight);
        shown
            .field("url", &crate::config::redacted(&self.url))
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Its URL without the password.
    #[must_use]
    pub fn shown(&self) -> String {
        crate::config::redacted(&self.url)
    }

    /// Its engine.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.db.engine()
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn facts(&self) -> Result<ServerFacts, DbError> {
        self.db.facts().await
    }
}

/// Every server, and the connections to tenants' databases. Cloning shares them.
#[derive(Clone, Debug)]
pub struct TenantDatabases(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    servers: BTreeMap<ServerName, Server>,
    own: Connections,
}

/// A connection to where a tenant's tables are.
#[derive(Debug)]
pub(crate) enum TenantConnection {
    /// Of a shared database's pool.
    Shared(PoolConnection<Any>),
    /// To its own database.
    Own(OwnConnection),
}

/// A transaction where a tenant's tables are. Dropped uncommitted, it changes nothing.
#[derive(Debug)]
pub(crate) enum TenantTransaction {
    /// In a shared database.
    Shared(Transaction<'static, Any>),
    /// In its own.
    Own(OwnConnection),
}

impl TenantDatabases {
    /// The servers that `config` names; `control` is `main`'s shared database. Connects when first used.
    ///
    /// # Errors
    /// When a URL names no database.
    pub fn open(control: &Db, config: &Config, clock: &Clock, shutdown: &Shutdown) -> Result<Self, OpenError> {
        let mut servers = BTreeMap::new();
        let main = Server {
            name: ServerName::main(),
            weight: 1,
            url: config.database_url.clone(),
            db: control.clone(),
        };
        servers.insert(main.name.clone(), main);
        for ServerEntry { name, url, weight } in config.tenant_databases.entries() {
            match url {
                Some(url) => {
                    let server = Server {
                        name: name.clone(),
                        weight: *weight,
                        db: Db::open(url, config.database_connections)?,
                        url: url.clone(),
                    };
                    servers.insert(name.clone(), server);
                }
                None => {
                    if let Some(main) = servers.get_mut(name) {
                        main.weight = *weight;
                    }
                }
            }
        }
        let ceiling = usize::try_from(config.tenant_connections).unwrap_or(usize::MAX);
        Ok(Self(Arc::new(Inner {
            servers,
            own: Connections::new(ceiling, clock.clone(), shutdown),
        })))
    }

    /// Every server, by name.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.0.servers.values()
    }

    /// A server.
    ///
    /// # Errors
    /// When this process's configuration has no such server: another's may.
    pub(crate) fn server(&self, name: &ServerName) -> Result<&Server, DbError> {
        self.0
            .servers
            .get(name)
            .ok_or_else(|| DbError::NoServer { name: name.to_string() })
    }

    fn own_url(server: &Server, place: &Place) -> Url {
        server.db.engine().own_url(&server.url, place.prefix.as_str())
    }

    /// The engine at `place`.
    pub(crate) fn engine(&self, place: &Place) -> Result<Engine, DbError> {
        Ok(self.server(&place.server)?.db.engine())
    }

    /// A connection that reads at `place`.
    pub(crate) async fn reader(&self, place: &Place) -> Result<TenantConnection, DbError> {
        let server = self.server(&place.server)?;
        Ok(match place.isolation {
            Isolation::Prefix => TenantConnection::Shared(server.db.read().acquire().bounded("connect").await?),
            Isolation::Database => TenantConnection::Own(self.own(server, place).await?),
        })
    }

    async fn own(&self, server: &Server, place: &Place) -> Result<OwnConnection, DbError> {
        self.0
            .own
            .acquire(server.db.engine(), &Self::own_url(server, place))
            .await
    }

    /// Begins to write at `place`.
    pub(crate) async fn begin(&self, place: &Place) -> Result<TenantTransaction, DbError> {
        let server = self.server(&place.server)?;
        Ok(match place.isolation {
            Isolation::Prefix => TenantTransaction::Shared(server.db.begin_write().await?),
            Isolation::Database => {
                let mut own = self.own(server, place).await?;
                own.begin(server.db.engine()).bounded("begin a transaction").await?;
                TenantTransaction::Own(own)
            }
        })
    }

    /// Makes the database that a place of its own needs. Called twice it changes nothing; a shared place needs none.
    pub(crate) async fn create(&self, place: &Place) -> Result<(), DbError> {
        let server = self.server(&place.server)?;
        match place.isolation {
            Isolation::Prefix => Ok(()),
            Isolation::Database => server.db.create_own(&server.url, place.prefix.as_str()).await,
        }
    }

    /// Drops the database of a place of its own, with everything in it. Called twice it changes nothing.
    pub(crate) async fn drop_database(&self, place: &Place) -> Result<(), DbError> {
        let server = self.server(&place.server)?;
        self.0.own.forget(&Self::own_url(server, place)).await;
        server.db.drop_own(&server.url, place.prefix.as_str()).await
    }

    /// Whether a place of its own has its database.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn has_database(&self, place: &Place) -> Result<bool, DbError> {
        let server = self.server(&place.server)?;
        server.db.has_own(&server.url, place.prefix.as_str()).await
    }

    /// Connections to databases of one tenant each that this process has open.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.0.own.open()
    }
}

impl Deref for TenantConnection {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        match self {
            Self::Shared(connection) => connection,
            Self::Own(connection) => connection,
        }
    }
}

impl DerefMut for TenantConnection {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match self {
            Self::Shared(connection) => connection,
            Self::Own(connection) => connection,
        }
    }
}

impl TenantTransaction {
    pub(crate) async fn commit(self, what: &'static str) -> Result<(), DbError> {
        match self {
            Self::Shared(tx) => tx.commit().bounded(what).await,
            Self::Own(mut own) => own.commit().bounded(what).await,
        }
    }
}

impl Deref for TenantTransaction {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        match self {
            Self::Shared(tx) => tx,
            Self::Own(own) => own,
        }
    }
}

impl DerefMut for TenantTransaction {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match self {
            Self::Shared(tx) => tx,
            Self::Own(own) => own,
        }
    }
}

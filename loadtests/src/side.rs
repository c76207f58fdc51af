//! Either side as an installation of a driver's own, with what a driver needs of it beyond a tenant's HTTP: its back ends open
//! in this process too, tenants, storages, and whether it is at rest.

use crate::{
    client::Client,
    installation::{Embedded, Installation},
};
use anyhow::{Context, ensure};
use mediamill_shared::{
    clock::{Clock, Entropy, Stopwatch},
    config::Config,
    control::{
        audit::{Actor, Entry},
        operator_keys,
    },
    ids::TenantId,
    objects::{ObjectKey, Objects, Store},
    operators::Scopes,
    secrets::Keyring,
    services::Services,
    shutdown::Shutdown,
    tenancy::{LimitOverrides, NewTenant, PictureSettings, Tenant},
    testing::{differences, make_tenant, s3::S3Server},
    units::ByteCount,
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// The bucket of every storage.
const BUCKET: &str = "pictures";
const API: &str = "/_/api/4";
/// Between two looks at one job, or at what is still removed in the background.
const AGAIN: Duration = Duration::from_millis(100);
/// Objects read of a listing at a time.
const PAGE: u16 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// PostgreSQL, `RabbitMQ`, Redis and S3; an api, two workers and a scheduler.
    Postgres,
    /// SQLite and a directory; one process.
    Sqlite,
}

impl Engine {
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL, RabbitMQ, Redis and S3; an api, two workers and a scheduler",
            Self::Sqlite => "SQLite and a directory; one process",
        }
    }
}

enum Processes {
    Distributed(Box<Installation>),
    Embedded(Box<Embedded>),
}

/// A running installation. Gone when dropped.
pub(crate) struct Side {
    processes: Processes,
    /// Its back ends, open here.
    pub(crate) services: Services,
}

impl Side {
    pub(crate) async fn start(engine: Engine, binary: &Path, clock: &Clock) -> anyhow::Result<Self> {
        Self::start_with(engine, binary, &[], clock).await
    }

    /// The same, with configuration of its own.
    pub(crate) async fn start_with(
        engine: Engine,
        binary: &Path,
        more: &[(&'static str, String)],
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        // Storages' credentials are sealed with it.
        let mut own = vec![("master_keys", Keyring::generate(&Entropy::system()).reveal().to_owned())];
        own.extend(more.iter().cloned());
        let processes = match engine {
            Engine::Postgres => {
                let installation = Installation::start(binary, "{}", 2, &own, clock).await?;
                Processes::Distributed(Box::new(installation))
            }
            Engine::Sqlite => Processes::Embedded(Box::new(Embedded::start(binary, "{}", &own, clock).await?)),
        };
        let mut settings = match &processes {
            Processes::Distributed(installation) => installation.back.settings()?,
            Processes::Embedded(embedded) => embedded.settings(),
        };
        settings.extend(own);
        let config = Config::from_pairs(settings)?;
        let services = Services::open(config, clock.clone(), Entropy::system(), Shutdown::new()).await?;
        Ok(Self { processes, services })
    }

    fn client(&self) -> &Client {
        match &self.processes {
            Processes::Distributed(installation) => &installation.client,
            Processes::Embedded(embedded) => &embedded.client,
        }
    }

    /// Makes a tenant. Returns its administrator's client.
    pub(crate) async fn tenant(&self, id: &str, limits: LimitOverrides, pictures: &str) -> anyhow::Result<Client> {
        let host = format!("{id}.localhost");
        let mut new = NewTenant::plain(id.parse()?, &host);
        new.limits = limits;
        new.pictures = PictureSettings::from_json(pictures)?;
        let key = make_tenant(&self.services, new).await;
        Ok(self.client().beside(&host, &key))
    }

    /// Makes a tenant as it is described. Returns its administrator's client.
    pub(crate) async fn made(&self, new: NewTenant) -> Client {
        let host = new.hosts.first().cloned().unwrap_or_default();
        let key = make_tenant(&self.services, new).await;
        self.client().beside(&host, &key)
    }

    /// A tenant as it is now.
    pub(crate) async fn resolved(&self, id: &TenantId) -> anyhow::Result<Tenant> {
        let found = self.services.resolver.by_id(id).await?;
        found.with_context(|| format!("the tenant {id} is gone"))
    }

    /// What is wrong with a tenant's figures at rest. What is removed in the background has `patience` for it.
    pub(crate) async fn wrong_at_rest(&self, id: &TenantId, patience: Duration) -> anyhow::Result<Vec<String>> {
        let since = Stopwatch::start();
        loop {
            let found = differences(&self.services, &self.resolved(id).await?).await;
            if found.is_empty() || since.elapsed() > patience {
                return Ok(found);
            }
            self.services.clock.sleep(AGAIN).await;
        }
    }

    /// Whoever runs the installation.
    pub(crate) async fn provider(&self) -> anyhow::Result<Provider> {
        let Services {
            control,
            config,
            clock,
            entropy,
            ..
        } = &self.services;
        let entry = Entry::new(clock, entropy, &Actor::cli(), "key.create", None);
        let secrets = &config.tenants_api_key_secret;
        let key = operator_keys::create(control, "driver", &Scopes::all(), None, secrets, entropy, &entry).await?;
        // A host that is no tenant's.
        Ok(Provider(self.client().beside("provider.localhost", &key.reveal())))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.services.shutdown.stop();
    }
}

/// A client of the Tenants API.
pub(crate) struct Provider(Client);

impl Provider {
    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.0.request(reqwest::Method::POST, &format!("{API}{path}"));
        let answer = request.json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Adds a storage of the provider's. Returns its id.
    pub(crate) async fn add(&self, name: &str, server: &S3Server) -> anyhow::Result<String> {
        let settings = server.settings_at(BUCKET, server.address());
        let settings = settings.map_err(|error| anyhow::anyhow!("{error}"))?;
        let credentials = S3Server::credentials();
        let body = json!({
            "name": name, "settings": settings,
            "credentials": { "access_key": credentials.access_key, "secret_key": credentials.secret_key.reveal() },
        });
        let storage = self.post("/storages", &body).await?;
        let id = storage.get("id").and_then(Value::as_str);
        Ok(id.context("a storage without an id")?.to_owned())
    }

    /// Begins to empty a storage into another one.
    pub(crate) async fn drain(&self, storage: &str, to: &str) -> anyhow::Result<()> {
        let body = json!({ "kind": "drain", "to": to });
        self.post(&format!("/storages/{storage}/task"), &body).await.map(drop)
    }
}

/// The bucket of a storage's server.
pub(crate) async fn bucket(server: &S3Server, services: &Services) -> anyhow::Result<Objects> {
    let url = server.url(BUCKET).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(Objects::open(&url, services.clock.clone(), services.entropy.clone()).await?)
}

/// Every object below a prefix, with its size.
pub(crate) async fn listing(objects: &Objects, prefix: &str) -> anyhow::Result<Vec<(ObjectKey, ByteCount)>> {
    let mut all: Vec<(ObjectKey, ByteCount)> = Vec::new();
    loop {
        let page = objects.list(prefix, all.last().map(|(key, _)| key), PAGE).await?;
        let over = page.len() < usize::from(PAGE);
        all.extend(page.into_iter().map(|one| (one.key, one.bytes)));
        if over {
            return Ok(all);
        }
    }
}

/// How a job ended: `done`, or its cause's code.
pub(crate) async fn outcome(client: &Client, job: &str, patience: Duration, clock: &Clock) -> anyhow::Result<String> {
    let since = Stopwatch::start();
    loop {
        let row = client.job(job).await;
        let text = |pointer: &str| row.as_ref().ok()?.pointer(pointer)?.as_str();
        match text("/state") {
            Some("done") => return Ok("done".to_owned()),
            Some(state @ ("failed" | "dead")) => return Ok(text("/cause/code").unwrap_or(state).to_owned()),
            _ => ensure!(since.elapsed() < patience, "job {job} is not over: {row:?}"),
        }
        clock.sleep(AGAIN).await;
    }
}

//! A whole installation of this driver's own: servers, object store, the roles as processes. Gone when dropped.

use crate::{
    client::Client,
    say,
    servers::{self, Rabbit, Server, free_port, program},
};
use anyhow::{Context, ensure};
use mediamill_shared::{clock::Clock, testing::s3::S3Server};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::process::Command;

/// The servers that roles need.
pub(crate) struct Back {
    pub(crate) postgres: Server,
    pub(crate) redis: Server,
    pub(crate) rabbit: Rabbit,
    objects: S3Server,
    pub(crate) folder: tempfile::TempDir,
}

impl Back {
    /// Starts PostgreSQL, Redis, RabbitMQ and an S3 server.
    pub(crate) async fn start(clock: &Clock) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut back = Self {
            postgres: servers::postgres(folder.path()).await?,
            redis: servers::redis(folder.path())?,
            rabbit: servers::rabbitmq(folder.path())?,
            objects: S3Server::start().await.map_err(|error| anyhow::anyhow!("{error}"))?,
            folder,
        };
        for server in [&mut back.postgres, &mut back.redis, &mut back.rabbit.server] {
            server.start(clock).await?;
        }
        Ok(back)
    }

    /// Where objects are.
    pub(crate) fn objects_url(&self) -> anyhow::Result<url::Url> {
        self.objects.url("objects").map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Where they are, as configuration.
    pub(crate) fn settings(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let at = |server: &Server| server.port.with_context(|| format!("{} has no port", server.name));
        let objects = self.objects_url()?;
        Ok(vec![
            ("data_dir", self.folder.path().join("data").display().to_string()),
            (
                "database_url",
                format!("postgres://postgres@127.0.0.1:{}/postgres", at(&self.postgres)?),
            ),
            (
                "queue_url",
                format!("amqp://guest:guest@127.0.0.1:{}/%2f", at(&self.rabbit.server)?),
            ),
            ("cache_url", format!("redis://127.0.0.1:{}/", at(&self.redis)?)),
            ("objects_url", objects.to_string()),
        ])
    }
}

/// The `mediamill` program beside this one, or the one that is named.
pub(crate) fn binary(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("mediamill"),
    };
    ensure!(
        path.is_file(),
        "{} is not there: cargo build --release -p mediamill, or name it with --binary",
        path.display()
    );
    Ok(path)
}

/// The program with its configuration.
#[derive(Clone)]
pub(crate) struct Program {
    binary: PathBuf,
    variables: Vec<(String, String)>,
}

impl Program {
    pub(crate) fn new(binary: &Path, settings: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self {
            binary: binary.to_owned(),
            variables: settings
                .into_iter()
                .map(|(name, value)| (format!("MEDIAMILL_{}", name.to_ascii_uppercase()), value))
                .collect(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.envs(self.variables.iter().cloned()).args(arguments);
        command
    }

    /// Makes tables and the tenant `demo` with `limits`; a client of it at `listen`.
    async fn tenant(&self, limits: &str, listen: &str) -> anyhow::Result<Client> {
        self.migrate().await?;
        let made = answer(self.command(&[
            "--json",
            "tenants",
            "create",
            "demo",
            "--host",
            "demo.localhost",
            "--limits",
            limits,
        ]))
        .await?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let key = made
            .get("key")
            .and_then(serde_json::Value::as_str)
            .context("tenants create printed no key")?;
        Client::new(&format!("http://{listen}"), "demo.localhost", key)
    }

    /// Makes the control database's tables.
    pub(crate) async fn migrate(&self) -> anyhow::Result<()> {
        answer(self.command(&["migrate"])).await.map(drop)
    }

    /// A role as a process, its output in `folder`.
    pub(crate) fn role(&self, name: &'static str, port: Option<u16>, role: &'static str, folder: &Path) -> Server {
        let own = self.clone();
        program(name, port, folder, move || own.command(&[role]))
    }
}

/// Servers and roles, with one tenant.
pub(crate) struct Installation {
    pub(crate) back: Back,
    pub(crate) api: Server,
    pub(crate) workers: Vec<Server>,
    pub(crate) scheduler: Server,
    pub(crate) client: Arc<Client>,
}

impl Installation {
    /// Starts everything, configured by `settings` besides, and makes the tenant `demo` with `limits`.
    pub(crate) async fn start(
        binary: &Path,
        limits: &str,
        workers: usize,
        settings: &[(&'static str, String)],
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        say("starting PostgreSQL, Redis, RabbitMQ and an S3 server");
        let back = Back::start(clock).await?;
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let own = [("listen", listen.clone())];
        let program = Program::new(
            binary,
            back.settings()?.into_iter().chain(own).chain(settings.to_owned()),
        );
        let client = program.tenant(limits, &listen).await?;
        let folder = back.folder.path();
        let mut installation = Self {
            api: program.role("api", Some(port), "api", folder),
            workers: ["worker-1", "worker-2", "worker-3", "worker-4"]
                .into_iter()
                .take(workers)
                .map(|name| program.role(name, None, "worker", folder))
                .collect(),
            scheduler: program.role("scheduler", None, "scheduler", folder),
            back,
            client: Arc::new(client),
        };
        installation.api.start(clock).await?;
        installation.scheduler.start(clock).await?;
        for worker in &mut installation.workers {
            worker.start(clock).await?;
        }
        Ok(installation)
    }
}

/// One process on SQLite, with one tenant: nothing installed. Gone when dropped.
pub(crate) struct Embedded {
    pub(crate) serve: Server,
    pub(crate) client: Client,
    folder: tempfile::TempDir,
}

impl Embedded {
    /// Starts all roles, configured by `settings` besides, and makes the tenant `demo` with `limits`.
    pub(crate) async fn start(
        binary: &Path,
        limits: &str,
        settings: &[(&'static str, String)],
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        Self::start_as("serve", binary, limits, settings, clock).await
    }

    /// The same with `role` alone.
    pub(crate) async fn start_as(
        role: &'static str,
        binary: &Path,
        limits: &str,
        settings: &[(&'static str, String)],
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let own = [data_dir(&folder), ("listen", listen.clone())];
        let program = Program::new(binary, own.into_iter().chain(settings.to_owned()));
        let client = program.tenant(limits, &listen).await?;
        let mut serve = program.role(role, Some(port), role, folder.path());
        serve.start(clock).await?;
        Ok(Self { serve, client, folder })
    }

    /// Where everything is, as configuration.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![data_dir(&self.folder)]
    }

    /// Where objects are.
    pub(crate) fn objects_url(&self) -> anyhow::Result<url::Url> {
        let path = self.folder.path().join("data").join("objects");
        url::Url::from_file_path(path).map_err(|()| anyhow::anyhow!("the temporary folder has no absolute path"))
    }
}

fn data_dir(folder: &tempfile::TempDir) -> (&'static str, String) {
    ("data_dir", folder.path().join("data").display().to_string())
}

/// Runs a command to its end, which must be good; returns what it printed.
async fn answer(mut command: Command) -> anyhow::Result<String> {
    let output = command.output().await?;
    ensure!(
        output.status.success(),
        "{:?} failed: {}",
        command.as_std().get_args().collect::<Vec<_>>(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

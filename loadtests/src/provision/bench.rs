//! One installation that makes tenants, bare and in earnest.

use super::{Args, EngineArg, Mode, ROUNDS, Step};
use crate::installation::Back;
use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::{
    clock::{Clock, Entropy, Stopwatch},
    config::Config,
    control::{audit::Actor, jobs, tenants},
    db::Engine,
    jobs::{JobState, Pool},
    services::Services,
    shutdown::Shutdown,
    tenancy::{NewAdmin, NewTenant, TablePrefix, TenantState},
    testing::bare::{Bare, TenantSize},
};
use mediamill_workers::Settings;
use std::time::Duration;
use url::Url;

/// Tenants accepted in one transaction, as batches do it.
const ROWS: usize = 128;
/// Tenants of one transaction that fills bare.
const FILLED: usize = 50;
/// Between two looks at what is not made yet.
const LOOK: Duration = Duration::from_millis(20);
/// A round that took longer is the last of its kind at this step.
const LONG: Duration = Duration::from_secs(40);

/// One installation with a worker for nothing but provisioning.
pub(super) struct Bench {
    services: Services,
    mode: Mode,
    pub(super) engine: Engine,
    workers: usize,
    /// The control database, where tenants' tables are too.
    url: Url,
    /// Databases that the bare loop made.
    made: Vec<Url>,
    /// Tenants so far, bare ones included.
    present: usize,
    bar: ProgressBar,
    _back: Option<Back>,
    folder: tempfile::TempDir,
}

impl Bench {
    pub(super) async fn open(args: &Args, mode: Mode) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let folder = tempfile::tempdir()?;
        let (back, engine, mut pairs) = match args.engine {
            EngineArg::Postgres => {
                let back = Back::start(&clock).await?;
                let pairs = back.settings()?;
                (Some(back), Engine::Postgres, pairs)
            }
            EngineArg::Sqlite => {
                let pairs = vec![
                    ("data_dir", folder.path().display().to_string()),
                    (
                        "database_url",
                        format!("sqlite://{}/control.db", folder.path().display()),
                    ),
                ];
                (None, Engine::Sqlite, pairs)
            }
        };
        pairs.push(("tenant_isolation", mode.isolation().as_str().to_owned()));
        // As many connections as the bare loop has.
        pairs.push(("database_connections", args.workers.to_string()));
        let config = Config::from_pairs(pairs)?;
        let url = config.database_url.clone();
        let shutdown = Shutdown::new();
        let services = Services::open(config, clock, Entropy::system(), shutdown.clone()).await?;
        services.control.migrate_control().await?;
        let settings = Settings::from_config(&services.config).only(&[Pool::Provision]);
        shutdown.spawn(mediamill_workers::run(services.clone(), settings));
        let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
            "{msg:28} {pos:>6} tenants  {elapsed_precise}",
        )?);
        let mut bench = Self {
            services,
            mode,
            engine,
            workers: args.workers,
            url,
            made: Vec::new(),
            present: 0,
            bar,
            _back: back,
            folder,
        };
        // One tenant all the way: the consumer is there, connections and statements are made.
        bench.ours(1).await?;
        Ok(bench)
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        let shutdown = self.services.shutdown.clone();
        // What publishes and what holds the connection end when nobody holds them.
        drop(self.services);
        let ended = tokio::time::timeout(Duration::from_secs(60), shutdown.finish()).await;
        ensure!(ended.is_ok(), "the process does not come to its end");
        Ok(())
    }

    fn counted(&mut self, count: usize) {
        self.present = self.present.saturating_add(count);
        self.bar.inc(u64::try_from(count).unwrap_or(0));
    }

    fn prefix(&self) -> TablePrefix {
        TablePrefix::generate(&self.services.clock, &self.services.entropy)
    }

    pub(super) async fn step(&mut self, tenants: usize, args: &Args) -> anyhow::Result<Step> {
        self.bar
            .set_message(format!("{} filling to {tenants}", self.mode.isolation()));
        self.fill(tenants, Duration::from_secs(args.patience)).await?;
        self.bar
            .set_message(format!("{} measuring at {tenants}", self.mode.isolation()));
        let round = args.sample / ROUNDS;
        let (mut one, mut equal, mut ours) = (Spent::default(), Spent::default(), Spent::default());
        let one_writer = self.engine == Engine::Sqlite && self.mode == Mode::Prefix;
        for _ in 0..ROUNDS {
            if one.goes_on() {
                one.add(round, self.bare(round, 1).await?);
            }
            if equal.goes_on() && !one_writer {
                equal.add(round, self.bare(round, self.workers).await?);
            }
            if ours.goes_on() {
                ours.add(round, self.ours(round).await?);
            }
        }
        Ok(Step {
            tenants,
            bare_one: one.rate(),
            bare_equal: (!one_writer).then(|| equal.rate()),
            mediamill: ours.rate(),
        })
    }

    /// Up to `tenants`. SQLite's shared file is filled bare, many a transaction: the product's own way is what the
    /// steps measure, and would take the day.
    async fn fill(&mut self, tenants: usize, patience: Duration) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        let bare = self.engine == Engine::Sqlite && self.mode == Mode::Prefix;
        let mut connection = Bare::connect(self.engine, &self.url).await?;
        while self.present < tenants {
            ensure!(
                watch.elapsed() < patience,
                "not filled in {} s, at {} tenants",
                patience.as_secs(),
                self.present
            );
            let missing = tenants.saturating_sub(self.present);
            if bare {
                let count = missing.min(FILLED);
                let prefixes: Vec<_> = (0..count).map(|_| Some(self.prefix())).collect();
                connection.make_tables(&prefixes).await?;
                self.counted(count);
            } else {
                self.ours(missing.min(ROWS * 4)).await?;
            }
        }
        Ok(connection.close().await?)
    }

    /// The same CREATE statements and nothing else, one transaction and one round trip a tenant.
    async fn bare(&mut self, count: usize, connections: usize) -> anyhow::Result<Duration> {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(Bare::connect(self.engine, &self.url).await?);
        }
        let prefixes: Vec<TablePrefix> = (0..count).map(|_| self.prefix()).collect();
        let share = count.div_ceil(connections.max(1)).max(1);
        let this = &*self;
        let watch = Stopwatch::start();
        let work = open
            .iter_mut()
            .zip(prefixes.chunks(share))
            .map(|(connection, prefixes)| async move {
                let mut made = Vec::new();
                for prefix in prefixes {
                    made.extend(this.bare_one(connection, prefix).await?);
                }
                Ok::<_, anyhow::Error>(made)
            });
        let made = try_join_all(work).await?;
        let time = watch.elapsed();
        self.made.extend(made.into_iter().flatten());
        for connection in open {
            connection.close().await?;
        }
        self.counted(count);
        Ok(time)
    }

    /// Returns the database that was made for it, if it has one.
    async fn bare_one(&self, connection: &mut Bare, prefix: &TablePrefix) -> anyhow::Result<Option<Url>> {
        if self.mode == Mode::Prefix {
            connection.make_tables(&[Some(prefix.clone())]).await?;
            return Ok(None);
        }
        let mut url = self.url.clone();
        match self.engine {
            Engine::Postgres => {
                connection.run(format!("CREATE DATABASE bare_{prefix}")).await?;
                url.set_path(&format!("bare_{prefix}"));
            }
            Engine::Sqlite => {
                // A folder like the product's: the file system's share is the same.
                let (_, shard) = prefix.as_str().split_at(prefix.as_str().len().saturating_sub(2));
                let folder = self.folder.path().join("bare").join(shard);
                tokio::fs::create_dir_all(&folder).await?;
                url.set_path(&folder.join(format!("{prefix}.db")).display().to_string());
            }
        }
        let mut own = Bare::connect(self.engine, &url).await?;
        own.make_tables(&[None]).await?;
        own.close().await?;
        Ok(Some(url))
    }

    /// Accepted in bulk, made by the worker: from the first row to the last tenant that is served.
    async fn ours(&mut self, count: usize) -> anyhow::Result<Duration> {
        let watch = Stopwatch::start();
        let mut left = count;
        while left > 0 {
            let rows = left.min(ROWS);
            accept(&self.services, rows, self.mode).await?;
            left = left.saturating_sub(rows);
        }
        self.until_served().await?;
        let time = watch.elapsed();
        let counts = jobs::counts(&self.services.control).await?;
        let bad = |state: JobState| matches!(state, JobState::Dead | JobState::Failed);
        ensure!(
            !counts.iter().any(|count| bad(count.state)),
            "tenants could not be made"
        );
        self.counted(count);
        Ok(time)
    }

    async fn until_served(&self) -> anyhow::Result<()> {
        let (services, watch) = (&self.services, Stopwatch::start());
        loop {
            let open = tenants::in_state(
                &services.control,
                TenantState::Provisioning,
                None,
                services.clock.now(),
                1,
            );
            let Ok(open) = open.await else {
                // A file that everybody writes and reads anew is busy now and then.
                ensure!(
                    watch.elapsed() < Duration::from_secs(600),
                    "the database does not answer"
                );
                continue;
            };
            if open.is_empty() {
                break;
            }
            ensure!(watch.elapsed() < Duration::from_secs(600), "tenants are still not made");
            services.clock.sleep(LOOK).await;
        }
        Ok(())
    }

    /// What one empty tenant takes, measured on a bare one: the statements are the product's.
    pub(super) async fn size(&mut self) -> anyhow::Result<TenantSize> {
        let mut connection = Bare::connect(self.engine, &self.url).await?;
        let size = match (self.engine, self.mode) {
            (Engine::Postgres, Mode::Prefix) => {
                let prefix = self.prefix();
                connection.make_tables(&[Some(prefix.clone())]).await?;
                self.counted(1);
                connection.size(&format!("{prefix}_")).await?
            }
            (Engine::Postgres, Mode::Database) => {
                let url = self.made.first().context("no database was made")?;
                let mut own = Bare::connect(self.engine, url).await?;
                let bytes = own.database_bytes().await?;
                let relations = own.relations().await?;
                own.close().await?;
                TenantSize { relations, bytes }
            }
            (Engine::Sqlite, Mode::Prefix) => {
                let before = file_bytes(&self.url).await?;
                let prefixes: Vec<_> = (0..FILLED).map(|_| Some(self.prefix())).collect();
                connection.make_tables(&prefixes).await?;
                connection.run("PRAGMA wal_checkpoint(TRUNCATE)".to_owned()).await?;
                self.counted(FILLED);
                let grown = file_bytes(&self.url).await?.saturating_sub(before);
                TenantSize {
                    relations: 0,
                    bytes: grown / i64::try_from(FILLED)?,
                }
            }
            (Engine::Sqlite, Mode::Database) => TenantSize {
                relations: 0,
                bytes: file_bytes(self.made.first().context("no file was made")?).await?,
            },
        };
        connection.close().await?;
        Ok(size)
    }
}

async fn file_bytes(url: &Url) -> anyhow::Result<i64> {
    Ok(i64::try_from(tokio::fs::metadata(url.path()).await?.len())?)
}

/// Rows and jobs in one transaction, then the jobs' messages.
async fn accept(services: &Services, rows: usize, mode: Mode) -> anyhow::Result<()> {
    let mut new = Vec::with_capacity(rows);
    for _ in 0..rows {
        let id = TablePrefix::generate(&services.clock, &services.entropy);
        let admin = NewAdmin {
            name: "admin".to_owned(),
            email: None,
            password_hash: None,
        };
        let (admin, _key) = services.lifecycle.first_admin(admin, true);
        let mut tenant = NewTenant::plain(id.as_str().parse()?, &format!("{id}.example"));
        tenant.admin = Some(admin);
        tenant.isolation = Some(mode.isolation());
        new.push(tenant);
    }
    for answer in services.lifecycle.accept_many(new, &Actor::cli()).await? {
        answer?;
    }
    Ok(())
}

/// What rounds of one kind took.
#[derive(Debug, Default)]
struct Spent {
    count: usize,
    time: Duration,
}

impl Spent {
    fn goes_on(&self) -> bool {
        self.time < LONG
    }

    fn add(&mut self, count: usize, time: Duration) {
        self.count = self.count.saturating_add(count);
        self.time = self.time.saturating_add(time);
    }

    fn rate(&self) -> f64 {
        f64::from(u32::try_from(self.count).unwrap_or(u32::MAX)) / self.time.as_secs_f64().max(1e-9)
    }
}

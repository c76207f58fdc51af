//! Tenants made per second, by how many there are: beside the same tables made bare in the same database, by one
//! connection and by as many as the workers use.
//!
//! At each step the three are measured in turns, each in rounds, and what they leave counts: the catalogue that the next
//! one meets is the same kind of thing, only a little larger.

use crate::{
    chart::{Axis, Chart, Line, Scale},
    installation::Back,
    say,
};
use anyhow::{Context, bail, ensure};
use futures_util::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::{
    clock::{Clock, Entropy, Stopwatch},
    config::Config,
    control::{
        audit::{Actor, Entry},
        changes::{self, Planned},
        jobs::{self, NewJob},
        tenants,
    },
    db::Engine,
    ids::{JobId, TenantId, TraceId},
    jobs::{Job, JobState, Pool, ProvisionTenant},
    services::Services,
    shutdown::Shutdown,
    tenancy::{Isolation, NewAdmin, NewTenant, Place, ServerName, TablePrefix, TenantState},
    testing::bare::{Bare, TenantSize},
};
use mediamill_workers::Settings;
use std::{path::PathBuf, time::Duration};
use url::Url;

/// Tenants accepted in one transaction, as batches do it.
const ROWS: usize = 128;
/// Tenants of one transaction that fills bare.
const FILLED: usize = 50;
/// Rounds of each step: what disturbs the machine disturbs all three.
const ROUNDS: usize = 3;
/// Between two looks at what is not made yet.
const LOOK: Duration = Duration::from_millis(20);
/// A round that took longer is the last of its kind at this step.
const LONG: Duration = Duration::from_secs(40);
/// A database on PostgreSQL is a copy of 7.5 MB: more of them say nothing new.
const MOST_DATABASES: usize = 1_000;

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum EngineArg {
    Postgres,
    Sqlite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    Prefix,
    Database,
}

impl Mode {
    const fn isolation(self) -> Isolation {
        match self {
            Self::Prefix => Isolation::Prefix,
            Self::Database => Isolation::Database,
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Tenants that are there when a measurement begins, growing.
    #[arg(long, value_delimiter = ',', default_value = "0,1000,5000,10000,20000")]
    steps: Vec<usize>,
    /// Tenants that each of the three makes at each step.
    #[arg(long, default_value_t = 300)]
    sample: usize,
    /// How tenants are kept apart.
    #[arg(long, value_delimiter = ',', default_value = "prefix,database")]
    modes: Vec<Mode>,
    /// Tenants that the worker makes at a time, and connections of the bare loop beside it.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// Where: private PostgreSQL, Redis and RabbitMQ, or SQLite and nothing else.
    #[arg(long, default_value = "postgres")]
    engine: EngineArg,
    /// Steps above 1,000 also for a database each on PostgreSQL: 7.5 MB of disk a tenant.
    #[arg(long)]
    many_databases: bool,
    /// Seconds in which a step must be filled; a mode that does not get there ends with the step before.
    #[arg(long, default_value_t = 900)]
    patience: u64,
    /// Draw the curves into this file (SVG).
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What was measured at one step, tenants per second.
#[derive(Debug, serde::Serialize)]
struct Step {
    tenants: usize,
    bare_one: f64,
    /// `None` where connections cannot write beside each other.
    bare_equal: Option<f64>,
    mediamill: f64,
}

impl Step {
    fn ratio(&self) -> f64 {
        self.mediamill / self.bare_equal.unwrap_or(self.bare_one)
    }
}

#[derive(Debug, serde::Serialize)]
struct Measured {
    mode: &'static str,
    steps: Vec<Step>,
    /// Of one empty tenant; relations where the engine counts them.
    relations: Option<i64>,
    bytes: i64,
    /// Why later steps are missing.
    ended: Option<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.sample >= ROUNDS, "--sample is at least {ROUNDS}");
    ensure!(
        args.workers > 0 && !args.steps.is_empty(),
        "--workers and --steps are at least one"
    );
    ensure!(args.steps.is_sorted(), "--steps grow");
    let mut measured = Vec::new();
    for mode in &args.modes {
        measured.push(measure(&args, *mode).await?);
    }
    if let Some(path) = &args.plot {
        chart(&args, &measured).write(path)?;
    }
    if args.json {
        let report = serde_json::json!({ "sample": args.sample, "workers": args.workers, "modes": measured });
        say(&report.to_string());
    } else {
        table(&args, &measured);
    }
    Ok(())
}

/// One mode from its first step to its last.
async fn measure(args: &Args, mode: Mode) -> anyhow::Result<Measured> {
    let mut bench = Bench::open(args, mode).await?;
    let mut measured = Measured {
        mode: mode.isolation().as_str(),
        steps: Vec::new(),
        relations: None,
        bytes: 0,
        ended: None,
    };
    for tenants in &args.steps {
        if mode == Mode::Database
            && bench.engine == Engine::Postgres
            && *tenants > MOST_DATABASES
            && !args.many_databases
        {
            measured.ended = Some(format!(
                "{MOST_DATABASES} databases are the most without --many-databases"
            ));
            break;
        }
        match bench.step(*tenants, args).await {
            Ok(step) => measured.steps.push(step),
            // What a mode cannot carry is a figure too.
            Err(error) => {
                measured.ended = Some(format!("{tenants} tenants: {error:#}"));
                break;
            }
        }
        if measured.steps.len() == 1 {
            let size = bench.size().await?;
            measured.relations = (size.relations > 0).then_some(size.relations);
            measured.bytes = size.bytes;
        }
    }
    bench.close().await?;
    Ok(measured)
}

/// One installation with a worker for nothing but provisioning.
struct Bench {
    services: Services,
    mode: Mode,
    engine: Engine,
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
    async fn open(args: &Args, mode: Mode) -> anyhow::Result<Self> {
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
        let config = Config::from_pairs(pairs)?;
        let url = config.database_url.clone();
        let shutdown = Shutdown::new();
        let services = Services::open(config, clock, Entropy::system(), shutdown.clone()).await?;
        services.control.migrate_control().await?;
        let mut settings = Settings::from_config(&services.config).only(&[Pool::Provision]);
        for pool in &mut settings.pools {
            pool.slots = args.workers;
            pool.prefetch = u16::try_from(args.workers.saturating_mul(2)).unwrap_or(u16::MAX);
        }
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

    async fn close(self) -> anyhow::Result<()> {
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

    async fn step(&mut self, tenants: usize, args: &Args) -> anyhow::Result<Step> {
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
        let counts = jobs::counts(&services.control).await?;
        let bad = |state: JobState| matches!(state, JobState::Dead | JobState::Failed);
        if counts.iter().any(|count| bad(count.state)) {
            bail!("tenants could not be made");
        }
        Ok(())
    }

    /// What one empty tenant takes, measured on a bare one: the statements are the product's.
    async fn size(&mut self) -> anyhow::Result<TenantSize> {
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
    let (clock, entropy, actor) = (&services.clock, &services.entropy, Actor::cli());
    let mut planned = Vec::with_capacity(rows);
    for _ in 0..rows {
        let prefix = TablePrefix::generate(clock, entropy);
        let id: TenantId = prefix.as_str().parse()?;
        let admin = NewAdmin {
            name: "admin".to_owned(),
            email: None,
            password_hash: None,
        };
        let (admin, _key) = services.lifecycle.first_admin(admin, true);
        let mut new = NewTenant::plain(id.clone(), &format!("{id}.example"));
        new.admin = Some(admin.clone());
        let payload = ProvisionTenant {
            admin: Some(admin),
            enabled: true,
        };
        let trace = TraceId::generate(clock, entropy);
        let mut job = NewJob::of(JobId::generate(clock, entropy), &payload, trace)?;
        job.tenant = Some(id.clone());
        job.subject = Some(format!("tenant:{id}"));
        planned.push(Planned {
            serial: prefix.as_str().to_owned(),
            entry: Entry::new(clock, entropy, &actor, "tenant.create", Some(&id)),
            new,
            place: Place {
                server: ServerName::main(),
                isolation: mode.isolation(),
                prefix,
            },
            job,
        });
    }
    use mediamill_shared::queue::Broker as _;
    let now = clock.now();
    let answers = changes::accept(&services.control, &planned, now, services.queue.rows_are_messages()).await?;
    for answer in answers {
        answer?;
    }
    for one in &planned {
        services.outbox.offer(ProvisionTenant::POOL, one.job.envelope(now));
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

fn engine_name(args: &Args) -> &'static str {
    match args.engine {
        EngineArg::Postgres => "PostgreSQL",
        EngineArg::Sqlite => "SQLite",
    }
}

fn table(args: &Args, measured: &[Measured]) {
    say(&format!(
        "{}: tenants made per second, {} at each step, {} at a time",
        engine_name(args),
        args.sample,
        args.workers
    ));
    for one in measured {
        say(&format!(
            "\n{:<10} {:>10} {:>13} {:>11} {:>11}",
            one.mode,
            "bare, 1",
            format!("bare, {}", args.workers),
            "mediamill",
            "of equal"
        ));
        for step in &one.steps {
            let equal = step
                .bare_equal
                .map_or_else(|| "one writer".to_owned(), |rate| format!("{rate:.1}"));
            say(&format!(
                "at {:>7} {:>10.1} {:>13} {:>11.1} {:>11.2}",
                step.tenants,
                step.bare_one,
                equal,
                step.mediamill,
                step.ratio()
            ));
        }
        if let (Some(first), Some(last)) = (one.steps.first(), one.steps.last()) {
            say(&format!(
                "a tenant at the last step costs {:.2} of one at the first",
                first.mediamill / last.mediamill
            ));
        }
        let relations = one
            .relations
            .map_or_else(String::new, |count| format!("{count} relations, "));
        say(&format!("an empty tenant: {relations}{} bytes", one.bytes));
        if let Some(cause) = &one.ended {
            say(&format!("ended: {cause}"));
        }
    }
}

fn chart(args: &Args, measured: &[Measured]) -> Chart {
    let mut lines = Vec::new();
    for one in measured {
        let mut line = |name: String, rate: &dyn Fn(&Step) -> Option<f64>| {
            let points = one
                .steps
                .iter()
                .filter_map(|step| Some((step.tenants as f64, rate(step)?)));
            lines.push(Line {
                name,
                points: points.collect(),
            });
        };
        line(format!("{}: mediamill", one.mode), &|step| Some(step.mediamill));
        line(format!("{}: bare, {} connections", one.mode, args.workers), &|step| {
            step.bare_equal
        });
        line(format!("{}: bare, one connection", one.mode), &|step| {
            Some(step.bare_one)
        });
    }
    Chart {
        title: format!("Tenants made per second, {}", engine_name(args)),
        x: Axis {
            name: "tenants already there",
            scale: Scale::Linear,
        },
        y: Axis {
            name: "tenants per second",
            scale: Scale::Linear,
        },
        lines: lines.into_iter().filter(|line| !line.points.is_empty()).collect(),
    }
}

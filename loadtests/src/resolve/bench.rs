//! One control database and one Redis, full of hosts, and what resolves them.

use super::{Latency, Step};
use crate::{
    processes,
    servers::{self, Server},
};
use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::{
    cache::{Cache, CacheContext},
    clock::{Clock, Entropy, Stopwatch},
    config::Config,
    db::Db,
    shutdown::Shutdown,
    telemetry::{names, prometheus::Metrics},
    tenancy::{LimitOverrides, Limits, Resolver, ResolverSettings, TenantDatabases},
    testing::{
        bare::BareRedis,
        seed::{self, entry_key, seeded_host},
    },
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use url::Url;

/// Tenants of one statement, and entries of one round trip.
const PAGE: i64 = 20_000;
const ENTRIES: i64 = 1_000;
/// Contexts that one process remembers at most: its default.
const REMEMBERED: i64 = 100_000;
/// Hosts that are asked for, in an order that no cache line foresees.
const PICKS: usize = 16_384;
/// Calls between two looks at the clock, where rates are measured.
const STRETCH: usize = 1_000;
/// Calls of one side before it is the other's turn.
const TURN: usize = 250;
/// Calls under way at a time.
pub(super) const FLIGHT: usize = 64;
/// Lookups in the database: each must be made unknown first.
const LOOKUPS: usize = 2_000;
/// Requests of the stampede.
pub(super) const STAMPEDE: usize = 1_000;

pub(super) struct Bench {
    control: Db,
    redis: BareRedis,
    cache: Url,
    config: Config,
    metrics: Metrics,
    clock: Clock,
    shutdown: Shutdown,
    time: Duration,
    /// Tenants that have rows.
    seeded: i64,
    /// Tenants that have entries.
    filled: i64,
    pub(super) bar: ProgressBar,
    _servers: [Server; 2],
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(super) async fn open(time: Duration) -> anyhow::Result<Self> {
        let (clock, folder) = (Clock::system(), tempfile::tempdir()?);
        let mut servers = [servers::postgres(folder.path()).await?, servers::redis(folder.path())?];
        for server in &mut servers {
            server.start(&clock).await?;
        }
        let port = |server: &Server| server.port.context("the server has no port");
        let [postgres, redis] = &servers;
        let database: Url = format!("postgres://postgres@127.0.0.1:{}/postgres", port(postgres)?).parse()?;
        let cache: Url = format!("redis://127.0.0.1:{}/", port(redis)?).parse()?;
        let control = Db::open(&database, 16)?;
        control.migrate_control().await?;
        Ok(Self {
            control,
            redis: BareRedis::connect(&cache).await?,
            config: Config::from_pairs([("database_url", database.to_string())])?,
            cache,
            metrics: Metrics::install().map_err(|error| anyhow::anyhow!("{error}"))?,
            clock,
            shutdown: Shutdown::new(),
            time,
            seeded: 0,
            filled: 0,
            bar: ProgressBar::no_length().with_style(ProgressStyle::with_template("{msg:44} {elapsed_precise}")?),
            _servers: servers,
            _folder: folder,
        })
    }

    fn say(&self, what: &str, hosts: i64) {
        self.bar.set_message(format!("{hosts} hosts: {what}"));
        self.bar.tick();
    }

    /// A resolver as a process has one.
    async fn resolver(&self, ttl: Duration) -> anyhow::Result<Resolver> {
        let context = CacheContext {
            clock: self.clock.clone(),
            entropy: Entropy::system(),
            shutdown: self.shutdown.clone(),
        };
        let settings = ResolverSettings {
            ttl,
            // Room to spare: what is measured is hits, not who is pushed out.
            entries: u64::try_from(REMEMBERED)?.saturating_mul(2),
            defaults: Limits::default(),
            enforced: LimitOverrides::default(),
        };
        let databases = TenantDatabases::open(&self.control, &self.config, &self.clock, &self.shutdown)?;
        let cache = Cache::open(&self.cache, context).await?;
        let (control, clock) = (self.control.clone(), self.clock.clone());
        Ok(Resolver::new(
            databases,
            control,
            cache,
            clock,
            settings,
            &self.shutdown,
        ))
    }

    pub(super) async fn step(&mut self, hosts: i64) -> anyhow::Result<Step> {
        self.seed(hosts).await?;
        let reads = (
            self.stampede(&seeded_host(self.seeded)).await?,
            self.stampede("nobody.example").await?,
        );
        self.say("in this process", hosts);
        let remembered = hosts.min(REMEMBERED);
        let resolver = self.resolver(Duration::from_secs(86_400)).await?;
        let before = processes::resident();
        self.warm(&resolver, remembered).await?;
        let grown = processes::resident()
            .zip(before)
            .map(|(now, before)| now.saturating_sub(before));
        let context_bytes = grown.filter(|_| remembered == REMEMBERED);
        let picks = Arc::new(picks(remembered)?);
        let in_process = self
            .latency(&picks, async |number| answered(&resolver, number).await)
            .await?;
        let one = self.rate(&resolver, &picks, 1).await?;
        let two = self.rate(&resolver, &picks, 2).await?;
        drop(resolver);
        self.say("in Redis", hosts);
        let picks = self::picks(hosts)?;
        // Nothing is remembered for so short a time.
        let forgetful = self.resolver(Duration::from_nanos(2)).await?;
        let (redis, redis_bare) = self.beside(&forgetful, &picks).await?;
        let (redis_rate, redis_bare_rate) = self.in_flight(&forgetful, &picks).await?;
        self.say("in the database", hosts);
        let database = self.database(&forgetful, &picks).await?;
        Ok(Step {
            hosts,
            remembered,
            in_process,
            in_process_one_thread_per_second: one,
            in_process_two_threads_per_second: two,
            redis,
            redis_bare,
            redis_in_flight_per_second: redis_rate,
            redis_bare_in_flight_per_second: redis_bare_rate,
            database,
            context_bytes: context_bytes.map(|bytes| bytes / u64::try_from(REMEMBERED).unwrap_or(1)),
            stampede_reads: reads.0,
            absent_stampede_reads: reads.1,
        })
    }

    /// Rows for `hosts` tenants and one more, which no cache knows; entries for `hosts`.
    async fn seed(&mut self, hosts: i64) -> anyhow::Result<()> {
        let wanted = hosts.saturating_add(1);
        while self.seeded < wanted {
            let (first, last) = (
                self.seeded.saturating_add(1),
                wanted.min(self.seeded.saturating_add(PAGE)),
            );
            seed::rows(&self.control, first, last).await?;
            self.seeded = last;
            self.say(&format!("{last} seeded"), hosts);
        }
        seed::analyze(&self.control).await?;
        while self.filled < hosts {
            let (first, last) = (
                self.filled.saturating_add(1),
                hosts.min(self.filled.saturating_add(ENTRIES)),
            );
            self.entries(first, last).await?;
            self.filled = last;
            self.say(&format!("{last} in Redis"), hosts);
        }
        Ok(())
    }

    async fn entries(&self, first: i64, last: i64) -> anyhow::Result<()> {
        let filled = seed::entries(&self.redis, first, last).await;
        filled.map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Everybody asks at once for what no cache knows. Returns how often the database was asked.
    async fn stampede(&self, host: &str) -> anyhow::Result<u64> {
        let resolver = self.resolver(Duration::from_secs(86_400)).await?;
        let before = self.database_reads();
        let mut requests = JoinSet::new();
        for _ in 0..STAMPEDE {
            let (resolver, host) = (resolver.clone(), host.to_owned());
            requests.spawn(async move { resolver.by_host(&host).await.map(|found| found.is_some()) });
        }
        while let Some(answer) = requests.join_next().await {
            answer??;
        }
        Ok(self.database_reads().saturating_sub(before))
    }

    /// The product's own count.
    fn database_reads(&self) -> u64 {
        let page = self.metrics.page();
        let name = format!("{}{{layer=\"database\"}} ", names::RESOLVER_LOOKUPS);
        let value = page.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
        value.unwrap_or(0)
    }

    async fn warm(&self, resolver: &Resolver, hosts: i64) -> anyhow::Result<()> {
        futures_util::stream::iter(1..=hosts)
            .map(Ok)
            .try_for_each_concurrent(FLIGHT, |number| async move {
                answered(resolver, &seeded_host(number)).await
            })
            .await
    }

    /// One call at a time, each measured.
    async fn latency(
        &self,
        picks: &[String],
        call: impl AsyncFn(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Latency> {
        let (mut histogram, watch) = (histogram()?, Stopwatch::start());
        while watch.elapsed() < self.time {
            for host in picks.iter().take(STRETCH * 10) {
                timed(&mut histogram, call(host)).await?;
            }
        }
        Ok(latency(&histogram))
    }

    /// Resolves per second of tasks that do nothing else, each on a thread of its own.
    async fn rate(&self, resolver: &Resolver, picks: &Arc<Vec<String>>, tasks: usize) -> anyhow::Result<f64> {
        let mut running = JoinSet::new();
        for _ in 0..tasks {
            let (resolver, picks, time) = (resolver.clone(), Arc::clone(picks), self.time);
            running.spawn(async move {
                let (mut calls, watch) = (0_usize, Stopwatch::start());
                while watch.elapsed() < time {
                    for stretch in picks.chunks(STRETCH) {
                        for host in stretch {
                            answered(&resolver, host).await?;
                        }
                        calls = calls.saturating_add(stretch.len());
                    }
                }
                Ok::<_, anyhow::Error>(per_second(calls, watch.elapsed()))
            });
        }
        let mut sum = 0.0;
        while let Some(rate) = running.join_next().await {
            sum += rate??;
        }
        Ok(sum)
    }

    /// Resolver and bare `GET` in turns, one call at a time.
    async fn beside(&self, resolver: &Resolver, picks: &[String]) -> anyhow::Result<(Latency, Latency)> {
        let (mut ours, mut bare, watch) = (histogram()?, histogram()?, Stopwatch::start());
        while watch.elapsed() < self.time * 2 {
            for turn in picks.chunks(TURN) {
                for host in turn {
                    timed(&mut ours, answered(resolver, host)).await?;
                }
                for host in turn {
                    timed(&mut bare, got(&self.redis, host)).await?;
                }
            }
        }
        Ok((latency(&ours), latency(&bare)))
    }

    /// The same with many under way, per second.
    async fn in_flight(&self, resolver: &Resolver, picks: &[String]) -> anyhow::Result<(f64, f64)> {
        let (mut ours, mut bare, mut calls) = (Duration::ZERO, Duration::ZERO, 0_usize);
        while ours.saturating_add(bare) < self.time * 2 {
            for turn in picks.chunks(TURN * 8) {
                ours += together(turn, |host| answered(resolver, host)).await?;
                bare += together(turn, |host| got(&self.redis, host)).await?;
                calls = calls.saturating_add(turn.len());
            }
        }
        Ok((per_second(calls, ours), per_second(calls, bare)))
    }

    /// Lookups that miss the cache, ask the database and fill the cache.
    async fn database(&self, resolver: &Resolver, picks: &[String]) -> anyhow::Result<Latency> {
        let (mut histogram, watch) = (histogram()?, Stopwatch::start());
        for host in picks.iter().take(LOOKUPS) {
            if watch.elapsed() > self.time * 2 {
                break;
            }
            self.redis.remove(&entry_key(host)).await?;
            timed(&mut histogram, answered(resolver, host)).await?;
        }
        // What the resolver filled ends with its time; the next step wants all of them.
        for host in picks.iter().take(LOOKUPS) {
            let number = host.trim_matches(|c: char| !c.is_ascii_digit()).parse()?;
            self.entries(number, number).await?;
        }
        Ok(latency(&histogram))
    }
}

/// `PICKS` hosts of the first `hosts`, scattered.
fn picks(hosts: i64) -> anyhow::Result<Vec<String>> {
    let entropy = Entropy::seeded(1);
    (0..PICKS)
        .map(|_| {
            let mut bytes = [0; 8];
            entropy.fill(&mut bytes);
            let number = u64::from_le_bytes(bytes) % u64::try_from(hosts)?;
            Ok(seeded_host(i64::try_from(number)?.saturating_add(1)))
        })
        .collect()
}

async fn answered(resolver: &Resolver, host: &str) -> anyhow::Result<()> {
    let found = resolver.by_host(host).await?;
    ensure!(found.is_some(), "{host} is not known");
    Ok(())
}

async fn got(redis: &BareRedis, host: &str) -> anyhow::Result<()> {
    ensure!(redis.get(&entry_key(host)).await?.is_some(), "{host} has no entry");
    Ok(())
}

/// How long `call` takes for all of `hosts`, `FLIGHT` at a time.
async fn together<'a, F: Future<Output = anyhow::Result<()>>>(
    hosts: &'a [String],
    call: impl Fn(&'a str) -> F,
) -> anyhow::Result<Duration> {
    let watch = Stopwatch::start();
    let calls = futures_util::stream::iter(hosts).map(|host| call(host));
    calls
        .buffer_unordered(FLIGHT)
        .try_for_each(|()| async { Ok(()) })
        .await?;
    Ok(watch.elapsed())
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

async fn timed(histogram: &mut Histogram<u64>, call: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    call.await?;
    histogram.saturating_record(u64::try_from(watch.elapsed().as_nanos())?.max(1));
    Ok(())
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    Latency {
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
    }
}

/// Nanoseconds that two readings of the clock take, at the median.
pub(super) fn clock_cost() -> anyhow::Result<u64> {
    let mut histogram = histogram()?;
    for _ in 0..STRETCH * 10 {
        let watch = Stopwatch::start();
        histogram.saturating_record(u64::try_from(watch.elapsed().as_nanos())?.max(1));
    }
    Ok(histogram.value_at_quantile(0.5))
}

fn per_second(calls: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(calls).unwrap_or(u32::MAX)) / time.as_secs_f64().max(1e-9)
}

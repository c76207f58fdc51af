//! Tenants as rows and cache entries alone, a million of them in a minute: nothing behind them can be used.

use super::bare::BareRedis;
use crate::{
    BoxError,
    db::{Bounded, Db, DbError, Sql},
    ids::TenantId,
    tenancy::{
        Host, Isolation, LimitOverrides, PictureSettings, Place, ServerName, TENANT_SCHEMA_VERSION, TenantPart,
        TenantState,
    },
    units::Millis,
};

/// PostgreSQL only.
const TENANTS: Sql = Sql::new(
    "INSERT INTO tenants (id, serial, state, server, isolation, table_prefix, schema_version, step, limits, version, created_at, updated_at) \
     SELECT 's' || n, 's' || lpad(CAST(n AS TEXT), 12, '0'), 'active', 'main', 'prefix', 't' || n, $3, 'announced', '{}', 1, 0, 0 \
     FROM generate_series($1, $2) AS n",
);
const HOSTS: Sql = Sql::new(
    "INSERT INTO tenant_hosts (host, tenant, main, created_at) SELECT 's' || n || '.example', 's' || n, 1, 0 \
     FROM generate_series($1, $2) AS n",
);
/// Each stores something, and not too much of it.
const METERED: Sql = Sql::new(
    "INSERT INTO metered_tenants (tenant, roll_ups, media, bytes) SELECT 's' || n, 1, n % 1000, n % 1000000 FROM generate_series($1, $2) AS n",
);
const ON_PLAN: Sql =
    Sql::new("UPDATE tenants SET plan = $3 WHERE id IN (SELECT 's' || n FROM generate_series($1, $2) AS n)");
/// What a database of this size would have counted long ago.
const ANALYZE: [Sql; 2] = [Sql::new("ANALYZE tenants"), Sql::new("ANALYZE tenant_hosts")];

/// The host of the seeded tenant `number`.
#[must_use]
pub fn seeded_host(number: i64) -> String {
    format!("s{number}.example")
}

/// Adds the tenants `first` to `last` to a PostgreSQL control database, each served at one host.
///
/// # Errors
/// When the database is away, or they are there.
pub async fn rows(control: &Db, first: i64, last: i64) -> Result<(), DbError> {
    const WHAT: &str = "seed tenants";
    let mut tx = control.begin_write().await?;
    let tenants = TENANTS.query().bind(first).bind(last).bind(TENANT_SCHEMA_VERSION);
    tenants.execute(&mut *tx).bounded(WHAT).await?;
    let hosts = HOSTS.query().bind(first).bind(last);
    hosts.execute(&mut *tx).bounded(WHAT).await?;
    tx.commit().bounded(WHAT).await
}

/// Gives the seeded tenants `first` to `last` a plan and figures of less than 1,000 pictures and 1 MB.
///
/// # Errors
/// When the database is away, or they have figures.
pub async fn metered(control: &Db, first: i64, last: i64, plan: &str) -> Result<(), DbError> {
    const WHAT: &str = "seed figures";
    let mut tx = control.begin_write().await?;
    let figures = METERED.query().bind(first).bind(last);
    figures.execute(&mut *tx).bounded(WHAT).await?;
    let plans = ON_PLAN.query().bind(first).bind(last).bind(plan.to_owned());
    plans.execute(&mut *tx).bounded(WHAT).await?;
    tx.commit().bounded(WHAT).await
}

/// Brings the planner up to date, and with it what a first reader of new rows would have to do.
///
/// # Errors
/// When the database is away.
pub async fn analyze(control: &Db) -> Result<(), DbError> {
    for sql in ANALYZE {
        sql.query().execute(control.write()).bounded("analyze").await?;
    }
    Ok(())
}

/// Fills a cache with their hosts' entries, as the product writes them, under its default prefix. They stay.
///
/// # Errors
/// When Redis is away.
pub async fn entries(redis: &BareRedis, first: i64, last: i64) -> Result<(), BoxError> {
    let mut filled = Vec::new();
    for number in first..=last {
        let part = part(number)?;
        let mut value = format!("{}:", part.version).into_bytes();
        value.extend_from_slice(&part.to_bytes());
        filled.push((entry_key(&seeded_host(number)), value));
    }
    Ok(redis.fill(&filled).await?)
}

/// The key of a host's entry.
#[must_use]
pub fn entry_key(host: &str) -> String {
    format!("mediamill:host:{host}")
}

fn part(number: i64) -> Result<TenantPart, BoxError> {
    Ok(TenantPart {
        id: format!("s{number}").parse::<TenantId>()?,
        state: TenantState::Active,
        place: Place {
            server: ServerName::main(),
            isolation: Isolation::Prefix,
            prefix: format!("t{number}").parse()?,
        },
        schema_version: TENANT_SCHEMA_VERSION,
        moving: false,
        plan: None,
        limits: LimitOverrides::default(),
        pictures: PictureSettings::default(),
        trial_until: None,
        hosts: vec![Host {
            name: seeded_host(number),
            main: true,
        }],
        frozen: Vec::new(),
        version: 1,
        updated_at: Millis::new(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::{Cache, CacheContext},
        clock::{Clock, Entropy},
        config::Config,
        shutdown::Shutdown,
        tenancy::{Limits, Resolver, ResolverSettings, TenantDatabases},
        testing::{database::ControlDb, servers},
    };
    use std::time::Duration;

    #[tokio::test]
    #[ignore = "needs servers: run ./test.sh"]
    async fn what_is_seeded_is_resolved_from_rows_and_from_the_cache_alike() {
        let (database, shutdown, clock) = (ControlDb::postgres().await, Shutdown::new(), Clock::system());
        let redis: url::Url = servers::redis().parse().unwrap();
        rows(&database.db, 1, 3).await.unwrap();
        analyze(&database.db).await.unwrap();
        let resolver = |cache: Cache| {
            let config = Config::from_pairs([("database_url", database.url.to_string())]).unwrap();
            let settings = ResolverSettings {
                ttl: Duration::from_secs(60),
                entries: 10,
                defaults: Limits::default(),
                enforced: LimitOverrides::default(),
            };
            let databases = TenantDatabases::open(&database.db, &config, &clock, &shutdown).unwrap();
            Resolver::new(
                databases,
                database.db.clone(),
                cache,
                clock.clone(),
                settings,
                &shutdown,
            )
        };
        let context = CacheContext {
            clock: clock.clone(),
            entropy: Entropy::system(),
            shutdown: shutdown.clone(),
        };
        let memory = Cache::open(&"memory:".parse().unwrap(), context.clone()).await.unwrap();
        let from_rows = resolver(memory).by_host(&seeded_host(2)).await.unwrap().unwrap();
        entries(&BareRedis::connect(&redis).await.unwrap(), 2, 2).await.unwrap();
        let shared = Cache::open(&redis, context).await.unwrap();
        let from_cache = resolver(shared).by_host(&seeded_host(2)).await.unwrap().unwrap();
        assert_eq!(from_rows.context(), from_cache.context());
    }
}

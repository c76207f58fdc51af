//! `mediamill doctor`: asks everything that the configuration names, and says what to do about what does not answer.
//!
//! It changes nothing but a probe object and a probe value, both of which it removes.

mod tenancy;

use crate::{migrate, output};
use futures_util::TryStreamExt;
use mediamill_shared::{
    cache::{CachePort, Versioned},
    chain,
    config::{Config, redacted},
    control::jobs::{self, DeadFilter},
    ids::ProcessId,
    jobs::Pool,
    objects::{ObjectKey, Store},
    queue::Broker,
    services::Services,
};
use mediamill_workers::helpers::{HelperPool, Helpers, Missing};
use serde::Serialize;
use std::{fmt::Write as _, process::ExitCode, time::Duration};

/// No single question takes longer.
const DEADLINE: Duration = Duration::from_secs(10);
const PROBE: &[u8] = b"mediamill doctor";

/// What was found about one thing.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    at: String,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

type Found = Result<String, (String, &'static str)>;

pub(crate) async fn run(services: &Services, json: bool) -> anyhow::Result<ExitCode> {
    let config = &services.config;
    let mut findings = vec![
        finding(
            "database",
            redacted(&config.database_url),
            within(database(services)).await,
        ),
        finding("schema", String::new(), within(schema(services)).await),
        finding("queue", redacted(&config.queue_url), within(queue(services)).await),
        finding("cache", redacted(&config.cache_url), within(cache(services)).await),
        finding(
            "objects",
            redacted(&config.objects_url),
            Box::pin(within(objects(services))).await,
        ),
        finding("together", String::new(), fit_together(config)),
    ];
    findings.push(finding("pictures", String::new(), within(pictures(config)).await));
    findings.extend(Box::pin(tenancy::findings(services)).await);
    for finding in &findings {
        if json {
            output::json(finding)?;
        } else {
            output::line(in_words(finding));
        }
    }
    Ok(if findings.iter().all(|finding| finding.ok) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn within(question: impl Future<Output = Found>) -> Found {
    match tokio::time::timeout(DEADLINE, question).await {
        Ok(found) => found,
        Err(_) => Err((
            format!("no answer within {} seconds", DEADLINE.as_secs()),
            "look whether the server is overloaded or a firewall drops its packets",
        )),
    }
}

fn finding(what: &'static str, at: String, found: Found) -> Finding {
    let (ok, found, advice) = match found {
        Ok(found) => (true, found, None),
        Err((problem, advice)) => (false, problem, Some(advice.to_owned())),
    };
    Finding {
        what,
        at,
        ok,
        found,
        advice,
    }
}

fn in_words(finding: &Finding) -> String {
    let mark = if finding.ok { "ok  " } else { "BAD " };
    let at = if finding.at.is_empty() {
        String::new()
    } else {
        format!(" ({})", finding.at)
    };
    let mut text = format!("{mark} {:<9} {}{at}", finding.what, finding.found);
    if let Some(advice) = &finding.advice {
        text.push_str("\n     → ");
        text.push_str(advice);
    }
    text
}

async fn database(services: &Services) -> Found {
    const ADVICE: &str =
        "start the server, and check MEDIAMILL_DATABASE_URL: host, port, user, password, database, sslmode";
    services.control.ping().await.map_err(|error| (chain(&error), ADVICE))?;
    Ok(format!("answers ({:?})", services.control.engine()))
}

async fn schema(services: &Services) -> Found {
    match migrate::is_current(services).await {
        Ok(true) => Ok("is this release's".to_owned()),
        Ok(false) => Err(("migrations are missing".to_owned(), "run `mediamill migrate`")),
        Err(error) => Err((chain(&error), "the database must answer first")),
    }
}

async fn queue(services: &Services) -> Found {
    const ADVICE: &str = "start the broker, and check MEDIAMILL_QUEUE_URL: host, port, user, password, virtual host (`/` is written %2f)";
    services.queue.ping().await.map_err(|error| (chain(&error), ADVICE))?;
    let (mut ready, mut buried) = (0_u64, 0_u64);
    for pool in Pool::ALL {
        let depth = services.queue.depth(*pool).await.map_err(|error| {
            (
                chain(&error),
                "the broker answers, its queues do not: an embedded queue needs the schema, RabbitMQ a look at its log",
            )
        })?;
        ready = ready.saturating_add(depth.ready);
        buried = buried.saturating_add(depth.buried);
    }
    let mut told = format!("answers, {ready} messages waiting");
    // What the database has to say of itself it says above.
    if let Ok(dead) = jobs::dead_groups(&services.control, &DeadFilter::default()).await {
        let dead: i64 = dead.iter().map(|group| group.jobs).sum();
        let _ = write!(told, ", {dead} dead jobs");
    }
    if buried > 0 {
        let _ = write!(told, ", {buried} that no worker reads in its queues `mediamill.*.dead`");
    }
    Ok(told)
}

async fn cache(services: &Services) -> Found {
    const ADVICE: &str = "start Redis, and check MEDIAMILL_CACHE_URL; without it everything works, slower";
    let probe = ProcessId::generate(&services.clock, &services.entropy);
    let key = format!("doctor:{probe}");
    let value = Versioned {
        version: 1,
        value: PROBE.to_vec(),
    };
    let found = async {
        services.cache.ping().await?;
        services.cache.put(&key, &value, DEADLINE).await?;
        let read = services.cache.get(&key).await?;
        services.cache.remove(&key).await?;
        Ok::<_, mediamill_shared::cache::CacheError>(read)
    };
    match found.await {
        Ok(Some(read)) if read == value => Ok("keeps a value".to_owned()),
        Ok(_) => Err((
            "it did not give back what was put into it".to_owned(),
            "look at Redis' memory limit and eviction policy",
        )),
        Err(error) => Err((chain(&error), ADVICE)),
    }
}

async fn objects(services: &Services) -> Found {
    const ADVICE: &str = "check MEDIAMILL_OBJECTS_URL: the directory must be writable; for S3 the bucket must exist, and the \
                          key may put, get, list and delete in it";
    // Not a job's id: the sweep of staged bytes leaves what it does not understand, so the probe removes itself.
    let probe = ProcessId::generate(&services.clock, &services.entropy);
    let key: ObjectKey = format!("{}/doctor/{probe}", ObjectKey::STAGED)
        .parse()
        .map_err(|error: mediamill_shared::objects::KeyError| (chain(&error), ADVICE))?;
    let found = async {
        services.objects.ping().await?;
        services.objects.put(&key, PROBE.into(), "text/plain").await?;
        let fetched = services.objects.get(&key, None).await?;
        let read: Vec<u8> = fetched
            .body
            .try_fold(Vec::new(), async |mut all, part| {
                all.extend_from_slice(&part);
                Ok(all)
            })
            .await?;
        Ok::<_, mediamill_shared::objects::ObjectError>(read)
    };
    let found = found.await;
    let removed = services.objects.delete(&key).await;
    match (found, removed) {
        (Ok(read), Ok(())) if read == PROBE => Ok("stores, gives back and removes an object".to_owned()),
        (Ok(_), Ok(())) => Err((
            "it gave back other bytes than it was given".to_owned(),
            "do not use this store",
        )),
        (Err(error), _) | (Ok(_), Err(error)) => Err((chain(&error), ADVICE)),
    }
}

/// Whether a hostile picture meets a process that can do nothing with what it takes over.
async fn pictures(config: &Config) -> Found {
    const ADVICE: &str = "helpers are this program, started anew: look whether this user may start processes, and whether /proc is mounted";
    let helpers = Helpers::of_this_program(config).map_err(|error| (chain(&error), ADVICE))?;
    let Helpers::Program(program) = helpers else {
        return Ok("are decoded in the worker's own process, as MEDIAMILL_MEDIA_HELPERS says".to_owned());
    };
    let pool = HelperPool::new(program, 1, DEADLINE);
    let confinement = pool.open().await.map_err(|error| (chain(&error), ADVICE))?;
    pool.close().await;
    let mut found = "are decoded in confined processes".to_owned();
    for missing in confinement.missing {
        let Missing { step, problem, advice } = missing;
        // Writing to a String has no way to fail.
        let _ = write!(found, "; without {step} ({problem}): {advice}");
    }
    Ok(found)
}

/// Whether the back ends that were chosen can do together what each does alone.
fn fit_together(config: &Config) -> Found {
    let many = config.queue_url.scheme().starts_with("amqp");
    if many && config.cache_url.scheme() == "memory" {
        return Err((
            "several processes share a queue, but each has a cache of its own".to_owned(),
            "set MEDIAMILL_CACHE_URL to a Redis: otherwise limits are counted by each process alone",
        ));
    }
    if many && config.database_url.scheme() == "sqlite" {
        return Err((
            "several machines may share the queue, but the database is a file on this one".to_owned(),
            "set MEDIAMILL_DATABASE_URL to a PostgreSQL",
        ));
    }
    if many && config.objects_url.scheme() == "file" {
        return Ok("the objects' directory must be the same one on every machine".to_owned());
    }
    Ok("the back ends fit each other".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&'static str, &str)]) -> Config {
        Config::from_pairs(pairs.iter().map(|(name, value)| (*name, (*value).to_owned()))).unwrap()
    }

    #[test]
    fn a_cache_of_its_own_is_no_cache_of_many() {
        assert!(fit_together(&config(&[])).is_ok());
        let all = [
            ("queue_url", "amqp://q"),
            ("cache_url", "redis://r"),
            ("database_url", "postgres://p/x"),
            ("objects_url", "s3://b"),
        ];
        assert!(fit_together(&config(&all)).is_ok());
        for missing in ["cache_url", "database_url"] {
            let some: Vec<_> = all.into_iter().filter(|(name, _)| *name != missing).collect();
            assert!(fit_together(&config(&some)).is_err(), "{missing}");
        }
    }

    #[test]
    fn bad_news_come_with_advice() {
        let finding = finding("queue", "amqp://q".into(), Err(("no answer".into(), "start it")));
        assert_eq!(
            in_words(&finding),
            "BAD  queue     no answer (amqp://q)\n     → start it"
        );
    }
}

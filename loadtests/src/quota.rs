//! Far more uploads at once than a tenant's limit fits: exactly those that fit must be accepted and stored, all others refused with
//! what they passed, and nothing of these may be left. Once by `media`, once by `stored_bytes`, to the byte.

use crate::{
    client::{Client, unanswered},
    installation::binary,
    pictures::{self, Picture},
    say,
    side::{Engine, Side, listing, outcome},
};
use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt};
use mediamill_shared::{
    clock::{Clock, Stopwatch},
    ids::TenantId,
    objects::ObjectKey,
    tenancy::{Limit, LimitOverrides},
    units::ByteCount,
};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// Originals alone: what an upload takes is known before.
const PICTURES: &str = r#"{"variants": []}"#;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Uploads against each limit, and without one.
    #[arg(long, default_value_t = 5_000)]
    count: u32,
    /// How many of them fit.
    #[arg(long, default_value_t = 1_000)]
    fits: u32,
    /// Uploads in flight.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Where [default: both, one after the other].
    #[arg(long)]
    engine: Option<Engine>,
    /// Longest wait for one job, and for what is removed in the background, seconds.
    #[arg(long, default_value_t = 600)]
    patience: u64,
    /// The mediamill program [default: the one beside this].
    #[arg(long)]
    binary: Option<PathBuf>,
    /// One JSON object for each side instead of text.
    #[arg(long)]
    json: bool,
}

/// A limit that is to be reached.
#[derive(Debug, Clone, Copy)]
struct Reached {
    limit: Limit,
    value: i64,
    /// What one picture asks for.
    asked: i64,
}

/// What uploads were answered.
#[derive(Debug, Default)]
struct Answers {
    /// Media and job.
    accepted: Vec<(String, String)>,
    refused: u32,
    /// Neither, or refused in other words.
    other: BTreeMap<String, u32>,
    /// Until the last one, seconds.
    seconds: f64,
}

/// Uploads against one limit.
#[derive(Debug, serde::Serialize)]
struct Run {
    limit: &'static str,
    value: i64,
    accepted: usize,
    refused: u32,
    answers_per_second: f64,
    /// Beside the same uploads without a limit.
    ratio: f64,
    /// Seconds until the last accepted one was ready.
    ready_seconds: f64,
    wrong: Vec<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(
        0 < args.fits && args.fits < args.count,
        "--fits is at least 1, and less than --count"
    );
    let (binary, clock) = (binary(args.binary.as_deref())?, Clock::system());
    let engines = args
        .engine
        .map_or_else(|| vec![Engine::Sqlite, Engine::Postgres], |engine| vec![engine]);
    let mut wrong = 0;
    for engine in engines {
        let runs = on(engine, &binary, &args, &clock).await?;
        wrong += runs.iter().map(|run| run.wrong.len()).sum::<usize>();
    }
    ensure!(wrong == 0, "limits are not held to as they should be");
    Ok(())
}

async fn on(engine: Engine, binary: &Path, args: &Args, clock: &Clock) -> anyhow::Result<Vec<Run>> {
    let side = Side::start(engine, binary, clock).await?;
    let each = stored_size(&side).await?;
    if !args.json {
        say(&format!("{}: {each} bytes a picture", engine.describe()));
    }
    let fits = i64::from(args.fits);
    let limits = [
        None,
        Some(Reached {
            limit: Limit::Media,
            value: fits,
            asked: 1,
        }),
        Some(Reached {
            limit: Limit::StoredBytes,
            value: fits * each,
            asked: each,
        }),
    ];
    let mut runs: Vec<Run> = Vec::new();
    for limit in limits {
        let free = runs.first().map(|run| run.answers_per_second);
        let run = against(&side, limit, each, free, args).await?;
        if !args.json {
            tell(&run);
        }
        runs.push(run);
    }
    if args.json {
        let report = serde_json::json!({
            "side": engine.describe(), "uploads": args.count, "concurrency": args.concurrency, "picture_bytes": each, "runs": runs,
        });
        say(&report.to_string());
    }
    Ok(runs)
}

fn tell(run: &Run) {
    let limit = match run.value {
        0 => run.limit.to_owned(),
        value => format!("{} = {value}", run.limit),
    };
    say(&format!(
        "{limit:<24} {} accepted, all ready after {:.1} s; {} refused; {:.0} answers a second, {:.2} of those without a limit",
        run.accepted, run.ready_seconds, run.refused, run.answers_per_second, run.ratio
    ));
    for problem in &run.wrong {
        say(&format!("WRONG    {problem}"));
    }
}

/// What one picture takes, which is what is uploaded of it.
async fn stored_size(side: &Side) -> anyhow::Result<i64> {
    let client = side.tenant("measure", LimitOverrides::default(), PICTURES).await?;
    let picture = pictures::bitmap(0);
    let request = client.request(Method::POST, "/v1/media?wait=60");
    let answer = request.body(picture.bytes.clone()).send().await?;
    let status = answer.status();
    let made: Value = answer.json().await?;
    let stored = made.pointer("/media/0/stored_bytes").and_then(Value::as_i64);
    let stored = stored.with_context(|| format!("a first upload is answered {status}: {made}"))?;
    ensure!(
        stored == i64::try_from(picture.bytes.len())?,
        "a picture of {} bytes is stored in {stored}: what fits a limit cannot be foretold",
        picture.bytes.len()
    );
    Ok(stored)
}

/// A tenant of its own for a limit, or without one, and all uploads at it.
async fn against(
    side: &Side,
    limit: Option<Reached>,
    each: i64,
    free: Option<f64>,
    args: &Args,
) -> anyhow::Result<Run> {
    let (name, limits) = match limit {
        None => ("no-limit", LimitOverrides::default()),
        Some(Reached { limit, value, .. }) => {
            let id = if limit == Limit::Media { "by-media" } else { "by-bytes" };
            (id, LimitOverrides::default().set(limit, value))
        }
    };
    let (client, id) = (side.tenant(name, limits, PICTURES).await?, name.parse::<TenantId>()?);
    let (clock, patience) = (&side.services.clock, Duration::from_secs(args.patience));
    let since = Stopwatch::start();
    let answers = flood(&client, limit, args).await;
    let ends = futures_util::stream::iter(&answers.accepted)
        .map(|(_, job)| outcome(&client, job, patience, clock))
        .buffer_unordered(args.concurrency)
        .try_fold(BTreeMap::<String, usize>::new(), |mut ends, end| async move {
            *ends.entry(end).or_default() += 1;
            Ok(ends)
        })
        .await?;
    let ready_seconds = since.elapsed().as_secs_f64();
    let expected = if limit.is_some() { args.fits } else { args.count };
    let mut wrong = side.wrong_at_rest(&id, patience).await?;
    wrong.extend(answered(&answers, &ends, expected, args));
    wrong.extend(stored(side, &id, &answers, expected, each).await?);
    let rate = f64::from(args.count) / answers.seconds.max(1e-9);
    Ok(Run {
        limit: limit.map_or("no limit", |reached| reached.limit.as_str()),
        value: limit.map_or(0, |reached| reached.value),
        accepted: answers.accepted.len(),
        refused: answers.refused,
        answers_per_second: rate,
        ratio: rate / free.unwrap_or(rate),
        ready_seconds,
        wrong,
    })
}

/// Sends every upload once.
async fn flood(client: &Client, limit: Option<Reached>, args: &Args) -> Answers {
    let since = Stopwatch::start();
    let sent = futures_util::stream::iter(0..args.count).map(|number| async move {
        // Drawn here: all of them at once would be much to hold.
        let picture = pictures::bitmap(number);
        send(client, &picture, limit).await
    });
    let mut answers = sent
        .buffer_unordered(args.concurrency)
        .fold(Answers::default(), |mut answers, answer| async move {
            match answer {
                Ok(Some(accepted)) => answers.accepted.push(accepted),
                Ok(None) => answers.refused += 1,
                Err(other) => *answers.other.entry(other).or_default() += 1,
            }
            answers
        })
        .await;
    answers.seconds = since.elapsed().as_secs_f64();
    answers
}

/// Media and job, or `None`: refused as it should be.
async fn send(client: &Client, picture: &Picture, limit: Option<Reached>) -> Result<Option<(String, String)>, String> {
    let request = client.request(Method::POST, "/v1/media");
    let answer = request.body(picture.bytes.clone()).send().await;
    let answer = answer.map_err(|error| unanswered(&error))?;
    let status = answer.status();
    let body: Value = answer.json().await.map_err(|error| unanswered(&error))?;
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    if status == StatusCode::ACCEPTED
        && let (Some(media), Some(job)) = (text("/media/0/id"), text("/media/0/job/id"))
    {
        return Ok(Some((media.to_owned(), job.to_owned())));
    }
    let number = |pointer: &str| body.pointer(pointer).and_then(Value::as_i64);
    let as_it_should_be = status == StatusCode::FORBIDDEN
        && text("/type") == Some("/problems/over-quota")
        && limit.is_some_and(|reached| {
            text("/limit_name") == Some(reached.limit.as_str())
                && number("/limit") == Some(reached.value)
                && number("/asked") == Some(reached.asked)
        });
    if as_it_should_be {
        Ok(None)
    } else {
        Err(format!("{status}: {}", text("/detail").unwrap_or_default()))
    }
}

/// What is wrong with the answers, and with how the accepted uploads ended.
fn answered(answers: &Answers, ends: &BTreeMap<String, usize>, expected: u32, args: &Args) -> Vec<String> {
    let mut wrong = Vec::new();
    let accepted = answers.accepted.len();
    if u32::try_from(accepted) != Ok(expected) {
        wrong.push(format!("{accepted} uploads were accepted, {expected} fit"));
    }
    let others = args.count - expected;
    if answers.refused != others {
        wrong.push(format!(
            "{} uploads were refused as over quota, {others} do not fit",
            answers.refused
        ));
    }
    for (answer, count) in &answers.other {
        wrong.push(format!("{count} uploads were answered {answer}"));
    }
    for (end, count) in ends.iter().filter(|(end, _)| *end != "done") {
        wrong.push(format!("{count} accepted uploads ended as {end}"));
    }
    wrong
}

/// What is wrong with what is counted and with what lies in the store. That ledger, rows, files and objects say the same as the
/// usage is looked at elsewhere.
async fn stored(
    side: &Side,
    id: &TenantId,
    answers: &Answers,
    expected: u32,
    each: i64,
) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let usage = side.resolved(id).await?.db()?.usage().await?;
    let (media, bytes) = (i64::from(expected), ByteCount::new(i64::from(expected) * each));
    if (usage.media, usage.bytes) != (media, bytes) {
        wrong.push(format!(
            "usage is {usage:?}, not {media} pictures of {bytes:?} together"
        ));
    }
    let prefix = ObjectKey::pictures(id);
    let objects = listing(&side.services.objects, &prefix).await?;
    let owners: BTreeSet<&str> = objects
        .iter()
        .filter_map(|(key, _)| key.as_str().split('/').nth(2))
        .collect();
    let accepted: BTreeSet<&str> = answers.accepted.iter().map(|(media, _)| media.as_str()).collect();
    let (foreign, missing) = (
        owners.difference(&accepted).count(),
        accepted.difference(&owners).count(),
    );
    if objects.len() != accepted.len() || foreign + missing > 0 {
        wrong.push(format!(
            "{} objects of {} pictures: {foreign} were never accepted, {missing} are missing",
            objects.len(),
            owners.len()
        ));
    }
    let odd = objects.iter().filter(|(_, bytes)| bytes.get() != each).count();
    if odd > 0 {
        wrong.push(format!("{odd} objects are not of {each} bytes"));
    }
    Ok(wrong)
}

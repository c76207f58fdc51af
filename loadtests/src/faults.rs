//! Uploads while a worker, the api, RabbitMQ, Redis and PostgreSQL are killed with SIGKILL and started again, one after
//! the other. In the end every upload that was answered with a 2xx must be ready exactly once, nothing counted twice and
//! nothing staged.

use crate::{
    client::Client,
    installation::{Installation, binary},
    pictures, say,
};
use anyhow::{Context, bail, ensure};
use futures_util::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::{
    clock::{Clock, Entropy, Stopwatch},
    config::Config,
    services::Services,
    shutdown::Shutdown,
    testing::differences,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// How long what was killed stays away.
const AWAY: Duration = Duration::from_secs(2);
/// Between two tries of one upload, and two looks at one job.
const AGAIN: Duration = Duration::from_millis(200);
/// One upload in so many is sent once more after its 2xx.
const REPEAT: usize = 10;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Uploads in all.
    #[arg(long, default_value_t = 2_000)]
    count: usize,
    /// Uploads in flight.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Longest wait for one upload or job, seconds.
    #[arg(long, default_value_t = 300)]
    patience: u64,
    /// The mediamill program [default: the one beside this].
    #[arg(long)]
    binary: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What is killed.
#[derive(Clone, Copy)]
enum Victim {
    Worker,
    Api,
    RabbitMq,
    Redis,
    Postgres,
}

const VICTIMS: [Victim; 5] = [
    Victim::Worker,
    Victim::Api,
    Victim::RabbitMq,
    Victim::Redis,
    Victim::Postgres,
];

/// Accepted uploads: number → media and job.
type Accepted = BTreeMap<usize, (String, String)>;

/// Answers that were not a 2xx and were tried again, by what they said.
type Refused = Mutex<BTreeMap<String, u64>>;

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (clock, watch) = (Clock::system(), Stopwatch::start());
    // Limits that nothing reaches, so that the counters take part.
    let limits = r#"{"media": 1000000, "stored_bytes": 1000000000000}"#;
    let mut installation = Installation::start(&binary(args.binary.as_deref())?, limits, 2, &[], &clock).await?;
    let bar = ProgressBar::new(u64::try_from(args.count)?).with_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} {msg}  {elapsed_precise}",
    )?);
    let refused = Refused::default();
    let (tell, progress) = watch::channel(0_usize);
    bar.set_message("accepted");
    let client = Arc::clone(&installation.client);
    let (accepted, ()) = tokio::try_join!(
        uploads(&client, &args, &tell, &refused, &clock, &bar),
        kills(&mut installation, &args, progress, &clock, &bar)
    )?;
    let accepted_in = watch.elapsed();
    bar.set_message("ready");
    bar.set_position(0);
    let ready = futures_util::stream::iter(accepted.values())
        .map(|(_, job)| {
            let (client, clock, bar) = (&client, &clock, &bar);
            async move {
                let state = settled(client, job, args.patience, clock).await?;
                bar.inc(1);
                Ok::<_, anyhow::Error>(state)
            }
        })
        .buffer_unordered(args.concurrency)
        .try_fold(BTreeMap::<String, u64>::new(), |mut sum, state| async move {
            *sum.entry(state).or_default() += 1;
            Ok(sum)
        })
        .await?;
    bar.finish_and_clear();
    let finished_in = watch.elapsed();

    let listed = listed(&client).await?;
    let mut wrong = compared(&accepted, &listed, &ready);
    wrong.extend(at_rest(&installation, &clock, args.json).await?);
    let refused = refused.into_inner().unwrap_or_else(PoisonError::into_inner);
    if args.json {
        let report = serde_json::json!({
            "uploads": args.count, "accepted": accepted.len(), "pictures": listed.len(), "jobs": ready,
            "seconds_until_accepted": accepted_in.as_secs_f64(), "seconds_until_ready": finished_in.as_secs_f64(),
            "answers_that_were_tried_again": refused, "wrong": wrong,
        });
        say(&report.to_string());
    } else {
        say(&format!(
            "{} uploads accepted after {:.0} s, ready after {:.0} s, as {} pictures",
            accepted.len(),
            accepted_in.as_secs_f64(),
            finished_in.as_secs_f64(),
            listed.len()
        ));
        for (answer, count) in &refused {
            say(&format!("tried again      {count} × {answer}"));
        }
        for problem in &wrong {
            say(&format!("WRONG            {problem}"));
        }
        if wrong.is_empty() {
            say(
                "every accepted upload is ready exactly once; nothing is staged; usage, ledger, rows and objects agree",
            );
        }
    }
    ensure!(wrong.is_empty(), "what was accepted is not what is there");
    Ok(())
}

/// Sends every upload until it is accepted.
async fn uploads(
    client: &Client,
    args: &Args,
    tell: &watch::Sender<usize>,
    refused: &Refused,
    clock: &Clock,
    bar: &ProgressBar,
) -> anyhow::Result<Accepted> {
    futures_util::stream::iter(0..args.count)
        .map(|number| async move {
            let answer = upload(client, number, args.patience, refused, clock).await?;
            tell.send_modify(|count| *count += 1);
            bar.inc(1);
            Ok((number, answer))
        })
        .buffer_unordered(args.concurrency)
        .try_collect()
        .await
}

/// Kills one after the other and starts it again, spread over the uploads.
async fn kills(
    installation: &mut Installation,
    args: &Args,
    mut progress: watch::Receiver<usize>,
    clock: &Clock,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    for (index, victim) in VICTIMS.into_iter().enumerate() {
        let at = args.count * (index + 1) / (VICTIMS.len() + 1);
        let reached = progress.wait_for(|count| *count >= at).await;
        reached.context("uploads ended early")?;
        let server = match victim {
            Victim::Worker => installation.workers.first_mut().context("there is no worker")?,
            Victim::Api => &mut installation.api,
            Victim::RabbitMq => &mut installation.back.rabbit.server,
            Victim::Redis => &mut installation.back.redis,
            Victim::Postgres => &mut installation.back.postgres,
        };
        if !args.json {
            let name = server.name;
            bar.suspend(|| {
                say(&format!(
                    "after {at} uploads: SIGKILL to {name}, back after {} s",
                    AWAY.as_secs()
                ));
            });
        }
        server.kill().await?;
        clock.sleep(AWAY).await;
        server.start(clock).await?;
    }
    Ok(())
}

/// What is wrong with the pictures that the API lists, and with how their jobs ended.
fn compared(accepted: &Accepted, listed: &[String], ready: &BTreeMap<String, u64>) -> Vec<String> {
    let mut wrong = Vec::new();
    if ready.keys().any(|state| state != "done") {
        wrong.push(format!("jobs ended as {ready:?}"));
    }
    let sent: BTreeSet<&str> = accepted.values().map(|(media, _)| media.as_str()).collect();
    if sent.len() != accepted.len() {
        wrong.push(format!("{} uploads became {} pictures", accepted.len(), sent.len()));
    }
    let shown: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    let twice = listed.len() - shown.len();
    let (missing, foreign) = (sent.difference(&shown).count(), shown.difference(&sent).count());
    if twice + missing + foreign > 0 {
        wrong.push(format!(
            "pictures: {twice} listed twice, {missing} missing, {foreign} that nobody was told of"
        ));
    }
    wrong
}

/// Sends one upload until it is accepted, always under the same idempotency key.
async fn upload(
    client: &Client,
    number: usize,
    patience: u64,
    refused: &Refused,
    clock: &Clock,
) -> anyhow::Result<(String, String)> {
    let (picture, key) = (pictures::small(u32::try_from(number)?), format!("upload-{number}"));
    let watch = Stopwatch::start();
    loop {
        match client.upload(&picture, Some(&key)).await {
            Ok(answer) => {
                if number.is_multiple_of(REPEAT)
                    && let Ok(again) = client.upload(&picture, Some(&key)).await
                {
                    ensure!(
                        again == answer,
                        "upload {number} was accepted as {answer:?} and as {again:?}"
                    );
                }
                return Ok(answer);
            }
            Err(problem) if problem.starts_with("accept 4") => bail!("upload {number} was refused: {problem}"),
            Err(problem) if watch.elapsed().as_secs() > patience => bail!("upload {number} is not accepted: {problem}"),
            Err(problem) => {
                *refused
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(problem)
                    .or_default() += 1;
                clock.sleep(AGAIN).await;
            }
        }
    }
}

/// The final state of a job.
async fn settled(client: &Client, job: &str, patience: u64, clock: &Clock) -> anyhow::Result<String> {
    let watch = Stopwatch::start();
    loop {
        let row = client.job(job).await;
        let state = row.as_ref().ok().and_then(|row| row.get("state")?.as_str());
        match state {
            Some(state @ ("done" | "failed" | "dead")) => return Ok(state.to_owned()),
            _ if watch.elapsed().as_secs() > patience => bail!("job {job} is not over: {row:?}"),
            _ => clock.sleep(AGAIN).await,
        }
    }
}

/// Ids of all pictures that the API lists.
async fn listed(client: &Client) -> anyhow::Result<Vec<String>> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client
            .get(&format!("/v1/media?limit=100{cursor}"))
            .await
            .map_err(anyhow::Error::msg)?;
        let media = page
            .get("media")
            .and_then(serde_json::Value::as_array)
            .context("a page without media")?;
        ids.extend(
            media
                .iter()
                .filter_map(|one| one.get("id")?.as_str().map(str::to_owned)),
        );
        match page.get("next_cursor").and_then(serde_json::Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(ids),
        }
    }
}

/// What rows, ledger and objects say against each other.
async fn at_rest(installation: &Installation, clock: &Clock, quiet: bool) -> anyhow::Result<Vec<String>> {
    let mut settings = installation.back.settings()?;
    // What a killed api had staged and never accepted is swept now instead of in two hours.
    settings.push(("upload_timeout", "1ms".to_owned()));
    let config = Config::from_pairs(settings)?;
    let shutdown = Shutdown::new();
    let services = Services::open(config, clock.clone(), Entropy::system(), shutdown.clone()).await?;
    let swept = mediamill_scheduler::run_once(&services, "sweep-staged").await?;
    if swept.changed > 0 && !quiet {
        say(&format!("{} uploads that were never accepted are swept", swept.changed));
    }
    let tenant = services
        .resolver
        .by_id(&"demo".parse()?)
        .await?
        .context("the tenant is gone")?;
    let found = differences(&services, &tenant).await;
    shutdown.stop();
    Ok(found)
}

//! A provider's storage full of pictures is emptied into a second one by the scheduler and the workers, while clients upload and
//! read. In the end it must hold nothing, by its figures and by its own listing, and every picture must have been served with
//! the right bytes all the time.

mod clients;

use crate::{
    installation::binary,
    say,
    side::{Engine, Side, bucket, listing},
};
use anyhow::{Context, bail, ensure};
use clients::{Crowd, Done, FILES, Gallery};
use mediamill_shared::{
    clock::Stopwatch,
    control::storages::{
        StorageRow,
        tasks::{self, Task, TaskState},
    },
    ids::TenantId,
    placement::Spot,
    services::Services,
    tenancy::LimitOverrides,
    testing::s3::S3Server,
    units::ByteCount,
};
use std::{path::PathBuf, time::Duration};

/// One variant beside the original.
const PICTURES: &str = r#"{"variants": [{"name": "thumb", "width": 16}]}"#;
const TENANT: &str = "moving";
/// Between two looks at the task.
const LOOK: Duration = Duration::from_millis(200);
/// Uploads in flight while the storage is filled, and reads when it is empty.
const FILLING: usize = 32;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Pictures in the storage that is emptied, two objects each.
    #[arg(long, default_value_t = 5_000)]
    pictures: usize,
    /// Clients that upload, one picture after the other.
    #[arg(long, default_value_t = 4)]
    uploaders: usize,
    /// Clients that read.
    #[arg(long, default_value_t = 4)]
    readers: usize,
    /// Between two reads of one client, milliseconds.
    #[arg(long, default_value_t = 20)]
    pause: u64,
    /// How long the same clients are at work before, without a drain, seconds.
    #[arg(long, default_value_t = 60)]
    calm: u64,
    /// Where.
    #[arg(long, default_value = "postgres")]
    engine: Engine,
    /// Longest that filling, and that emptying, may take, seconds.
    #[arg(long, default_value_t = 1_200)]
    patience: u64,
    /// The mediamill program [default: the one beside this].
    #[arg(long)]
    binary: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(serde::Serialize)]
struct Report {
    side: &'static str,
    objects: i64,
    moved: i64,
    moves_per_second: f64,
    calm: Done,
    drain: Done,
    /// Uploads a second beside the drain, of those without it.
    ratio: f64,
    after: Done,
    wrong: Vec<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.pictures > 0, "--pictures is at least 1");
    let binary = binary(args.binary.as_deref())?;
    let clock = mediamill_shared::clock::Clock::system();
    // Before the installation: it ends first.
    let (old, new) = (server().await?, server().await?);
    let side = Side::start(args.engine, &binary, &clock).await?;
    let (services, provider) = (&side.services, side.provider().await?);
    let client = side.tenant(TENANT, LimitOverrides::default(), PICTURES).await?;
    let gallery = Gallery::new(client, clock.clone());
    let from = provider.add("old", &old).await?;
    let full = fill(&gallery, &from, services, &args).await?;
    if !args.json {
        say(&format!("{}: {} objects to move", args.engine.describe(), full.objects));
    }
    let crowd = Crowd {
        uploaders: args.uploaders,
        readers: args.readers,
        pause: Duration::from_millis(args.pause),
    };
    let (calm, ()) = gallery.busy(crowd, clock.sleep(Duration::from_secs(args.calm))).await;
    let objects = row(services, &from).await?.objects;
    let to = provider.add("new", &new).await?;
    let draining = async {
        provider.drain(&from, &to).await?;
        over(services, &from, &args).await
    };
    let (drain, task) = gallery.busy(crowd, draining).await;
    let task = task?;
    let after = gallery.read_all(FILLING).await;

    let mut wrong = side
        .wrong_at_rest(&TENANT.parse::<TenantId>()?, Duration::from_secs(60))
        .await?;
    wrong.extend(left(services, &from, &old).await?);
    if task.state != TaskState::Done {
        wrong.push(format!("the drain ended as {}: {task:?}", task.state.as_str()));
    }
    if task.found.done != objects {
        wrong.push(format!(
            "the task counts {} moved files, there were {objects}",
            task.found.done
        ));
    }
    for (when, done) in [("before", &calm), ("during", &drain), ("after", &after)] {
        let failed = |what: &str, causes: &std::collections::BTreeMap<String, u64>| {
            let told = causes
                .iter()
                .map(|(cause, count)| format!("{when} the drain {count} {what} failed: {cause}"));
            told.collect::<Vec<_>>()
        };
        wrong.extend(failed("reads", &done.failed_reads));
        wrong.extend(failed("uploads", &done.failed_uploads));
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of files")]
    let moves_per_second = task.found.done as f64 / drain.seconds.max(1e-9);
    let report = Report {
        side: args.engine.describe(),
        objects,
        moved: task.found.done,
        moves_per_second,
        ratio: drain.uploads_per_second() / calm.uploads_per_second().max(1e-9),
        calm,
        drain,
        after,
        wrong,
    };
    if args.json {
        say(&serde_json::to_string(&report)?);
    } else {
        tell(&report, gallery.len());
    }
    ensure!(report.wrong.is_empty(), "the storage is not emptied as it should be");
    Ok(())
}

async fn server() -> anyhow::Result<S3Server> {
    S3Server::start().await.map_err(|error| anyhow::anyhow!("{error}"))
}

async fn row(services: &Services, id: &str) -> anyhow::Result<StorageRow> {
    Ok(services.storages.row(&id.parse()?).await?)
}

/// Uploads until the storage holds as many pictures as it should: a worker that has not heard of it yet places elsewhere.
async fn fill(gallery: &Gallery, storage: &str, services: &Services, args: &Args) -> anyhow::Result<StorageRow> {
    let since = Stopwatch::start();
    let wanted = i64::try_from(args.pictures.saturating_mul(FILES))?;
    loop {
        let row = row(services, storage).await?;
        let missing = usize::try_from(wanted.saturating_sub(row.objects)).unwrap_or(0);
        if missing == 0 {
            return Ok(row);
        }
        ensure!(
            since.elapsed().as_secs() < args.patience,
            "the storage holds {} objects after {} s, not {wanted}",
            row.objects,
            args.patience
        );
        // A few at first, which tell whether the storage is in use.
        let next = if row.objects == 0 {
            4
        } else {
            missing.div_ceil(FILES).min(500)
        };
        let done = gallery.fill(next, FILLING).await;
        ensure!(
            done.failed_uploads.is_empty(),
            "uploads failed: {:?}",
            done.failed_uploads
        );
    }
}

/// Waits until the storage's task is at its end.
async fn over(services: &Services, storage: &str, args: &Args) -> anyhow::Result<Task> {
    let since = Stopwatch::start();
    let spot = Spot::Storage(storage.parse()?);
    loop {
        let task = tasks::get(&services.control, &spot).await?;
        let task = task.context("the drain's task is gone")?;
        if task.state != TaskState::Running {
            return Ok(task);
        }
        if since.elapsed().as_secs() > args.patience {
            bail!("the storage is not empty after {} s: {task:?}", args.patience);
        }
        services.clock.sleep(LOOK).await;
    }
}

/// What is left in the storage, by its figures and by its own listing.
async fn left(services: &Services, storage: &str, server: &S3Server) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let row = row(services, storage).await?;
    if (row.objects, row.used) != (0, ByteCount::ZERO) {
        wrong.push(format!("the storage counts {} objects of {:?}", row.objects, row.used));
    }
    let objects = listing(&bucket(server, services).await?, "").await?;
    if let Some((first, _)) = objects.first() {
        wrong.push(format!(
            "the storage still holds {} objects, one of them {first}",
            objects.len()
        ));
    }
    Ok(wrong)
}

fn tell(report: &Report, pictures: usize) {
    let Report { calm, drain, after, .. } = report;
    say(&format!(
        "{} files moved in {:.1} s: {:.1} moves a second",
        report.moved, drain.seconds, report.moves_per_second
    ));
    say(&format!(
        "uploads beside it    {:.1} a second, {:.2} of the {:.1} without a drain",
        drain.uploads_per_second(),
        report.ratio,
        calm.uploads_per_second()
    ));
    let failed = |done: &Done| done.failed_reads.values().sum::<u64>();
    say(&format!(
        "reads beside it      {} failed of {}, the longest {:.0} ms; without a drain {} of {}, {:.0} ms",
        failed(drain),
        drain.reads,
        drain.longest_read_ms,
        failed(calm),
        calm.reads,
        calm.longest_read_ms
    ));
    say(&format!(
        "reads after it       {} failed of {}: every file of {pictures} pictures",
        failed(after),
        after.reads
    ));
    for problem in &report.wrong {
        say(&format!("WRONG    {problem}"));
    }
    if report.wrong.is_empty() {
        say("the storage is empty, by its figures and by its listing; usage, ledger, rows and objects agree");
    }
}

//! Many large uploads in pieces at once through one api process: what it holds of them in memory.

use crate::{
    client::Client,
    installation::{Embedded, Installation, binary},
    processes, say,
    servers::Server,
};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use mediamill_shared::{
    clock::{Clock, Stopwatch},
    objects::{ObjectKey, Objects},
};
use std::{path::PathBuf, time::Duration};
use url::Url;

/// What a client hands to its connection at a time.
const CHUNK: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EngineArg {
    Postgres,
    Sqlite,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Uploads at once. They take twice their size on this machine's disk for a while.
    #[arg(long, default_value_t = 100)]
    count: u32,
    /// Uploads at once of the run to compare with.
    #[arg(long, default_value_t = 10)]
    few: u32,
    /// Size of one, MB.
    #[arg(long, default_value_t = 200)]
    size: u32,
    /// Where: private PostgreSQL, Redis, RabbitMQ and S3 with an api, or SQLite and a directory with all in one process.
    #[arg(long, default_value = "postgres")]
    engine: EngineArg,
    /// Longest wait for all uploads of a run, seconds.
    #[arg(long, default_value_t = 1_800)]
    patience: u64,
    /// The mediamill program [default: the one beside this].
    #[arg(long)]
    binary: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

enum Target {
    Distributed(Box<Installation>),
    Embedded(Box<Embedded>),
}

impl Target {
    async fn start(args: &Args, clock: &Clock) -> anyhow::Result<Self> {
        let program = binary(args.binary.as_deref())?;
        let limits = format!(r#"{{"upload_bytes": {}}}"#, u64::from(args.size) * 1_000_000);
        let held = u64::from(args.count.max(args.few)) * u64::from(args.size) + 1;
        let settings = [
            ("resumable_uploads", args.count.max(args.few).to_string()),
            ("resumable_bytes", format!("{held} MB")),
        ];
        Ok(match args.engine {
            EngineArg::Postgres => {
                // Without a worker: what is accepted waits, and is removed after each run.
                let installation = Installation::start(&program, &limits, 0, &settings, clock).await?;
                Self::Distributed(Box::new(installation))
            }
            EngineArg::Sqlite => {
                let embedded = Embedded::start_as("api", &program, &limits, &settings, clock).await?;
                Self::Embedded(Box::new(embedded))
            }
        })
    }

    fn client(&self) -> &Client {
        match self {
            Self::Distributed(installation) => &installation.client,
            Self::Embedded(embedded) => &embedded.client,
        }
    }

    fn api(&mut self) -> &mut Server {
        match self {
            Self::Distributed(installation) => &mut installation.api,
            Self::Embedded(embedded) => &mut embedded.serve,
        }
    }

    fn objects_url(&self) -> anyhow::Result<Url> {
        match self {
            Self::Distributed(installation) => installation.back.objects_url(),
            Self::Embedded(embedded) => embedded.objects_url(),
        }
    }
}

/// One run, in a process of its own.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Run {
    uploads: u32,
    /// Most memory that the process had, bytes.
    peak_bytes: u64,
    seconds: f64,
    cpu_seconds: f64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.count > 0 && args.size > 0, "--count and --size are at least 1");
    let clock = Clock::system();
    let mut target = Target::start(&args, &clock).await?;
    let mut runs = Vec::new();
    for uploads in [0, args.few, args.count] {
        let api = target.api();
        api.kill().await?;
        api.start(&clock).await?;
        let run = measure(&mut target, uploads, &args).await?;
        if !args.json {
            say(&describe(&run, &runs, args.size));
        }
        runs.push(run);
        let objects = Objects::open(
            &target.objects_url()?,
            clock.clone(),
            mediamill_shared::clock::Entropy::system(),
        )
        .await?;
        objects.delete_below(ObjectKey::STAGED).await?;
    }
    if args.json {
        let report = serde_json::json!({ "size_mb": args.size, "runs": runs });
        say(&report.to_string());
    }
    Ok(())
}

fn describe(run: &Run, before: &[Run], size: u32) -> String {
    let peak = run.peak_bytes as f64 / 1e6;
    let Some(idle) = before.first() else {
        return format!("idle: at most {peak:.0} MB");
    };
    let each = (run.peak_bytes.saturating_sub(idle.peak_bytes)) as f64 / 1e6 / f64::from(run.uploads.max(1));
    format!(
        "{} uploads of {size} MB at once: at most {peak:.0} MB, {each:.2} MB for each beside idle; {:.0} s, {:.0} MB/s, {:.1} s of processor time",
        run.uploads,
        run.seconds,
        f64::from(run.uploads) * f64::from(size) / run.seconds,
        run.cpu_seconds,
    )
}

async fn measure(target: &mut Target, uploads: u32, args: &Args) -> anyhow::Result<Run> {
    let pid = target.api().pid().context("the api is not there")?;
    let client = target.client();
    // What a process holds that has answered once.
    client.get("/v1/usage").await.map_err(anyhow::Error::msg)?;
    let (before, watch) = (processes::cpu(&[pid]), Stopwatch::start());
    let patience = Duration::from_secs(args.patience);
    let size = usize::try_from(u64::from(args.size) * 1_000_000)?;
    let all = join_all((0..uploads).map(|_| upload(client, size, patience)));
    let ended = tokio::time::timeout(patience, all);
    let ended = ended.await.context("the uploads were not over in time")?;
    let seconds = watch.elapsed().as_secs_f64();
    if let Some(failed) = ended.iter().find_map(|one| one.as_ref().err()) {
        bail!(
            "{} of {uploads} uploads failed, one so: {failed:#}",
            ended.iter().filter(|one| one.is_err()).count()
        );
    }
    ensure!(target.api().lives(), "the api is not there any more");
    let used = processes::used(&[pid], &before);
    Ok(Run {
        uploads,
        peak_bytes: used.peak_bytes,
        seconds,
        cpu_seconds: used.cpu_seconds,
    })
}

/// One upload, in one request.
async fn upload(client: &Client, size: usize, patience: Duration) -> anyhow::Result<()> {
    let begun = client
        .request(reqwest::Method::POST, "/v1/tus")
        .header("tus-resumable", "1.0.0")
        .header("upload-length", size)
        .send()
        .await?;
    let status = begun.status();
    let at = begun.headers().get(reqwest::header::LOCATION);
    let at = at.with_context(|| format!("begin {status}"))?.to_str()?.to_owned();
    // A bitmap by its first bytes, which is all that is asked before a worker.
    let mut first = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    first.resize(CHUNK.min(size), 1);
    let same = Bytes::from(vec![1; CHUNK]);
    let rest = size - first.len();
    let chunks = (0..rest.div_ceil(CHUNK)).map(move |turn| same.slice(..CHUNK.min(rest - turn * CHUNK)));
    let body = stream::iter([Bytes::from(first)]).chain(stream::iter(chunks));
    let ended = client
        .request(reqwest::Method::PATCH, &at)
        .timeout(patience)
        .header("tus-resumable", "1.0.0")
        .header("upload-offset", 0)
        .header(reqwest::header::CONTENT_TYPE, "application/offset+octet-stream")
        .header(reqwest::header::CONTENT_LENGTH, size)
        .body(reqwest::Body::wrap_stream(body.map(Ok::<_, std::io::Error>)))
        .send()
        .await?;
    ensure!(
        ended.status() == reqwest::StatusCode::NO_CONTENT && ended.headers().contains_key("job-id"),
        "{}: {}",
        ended.status(),
        ended.text().await.unwrap_or_default()
    );
    Ok(())
}

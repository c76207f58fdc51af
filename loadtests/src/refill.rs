//! A broker that has forgotten everything: its data directory is removed while thousands of jobs wait. Every one must still be done,
//! once.

use crate::{
    client::Client,
    installation::{Installation, binary},
    pictures, say,
    side::outcome,
};
use anyhow::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};
use mediamill_shared::{
    clock::{Clock, Entropy, Stopwatch},
    config::Config,
    control::jobs as jobs_table,
    jobs::Pool,
    queue::Broker,
    secrets::Keyring,
    services::Services,
    shutdown::Shutdown,
    testing::differences,
};
use std::{path::PathBuf, time::Duration};

/// Between two looks at what waits, or is still removed in the background.
const AGAIN: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Jobs that wait.
    #[arg(long, default_value_t = 5_000)]
    count: u32,
    /// Uploads in flight.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Longest wait for one job, seconds.
    #[arg(long, default_value_t = 1_200)]
    patience: u64,
    /// The mediamill program [default: the one beside this].
    #[arg(long)]
    binary: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (binary, clock) = (binary(args.binary.as_deref())?, Clock::system());
    // All in the broker, and the most of them held back.
    for fair in [false, true] {
        let own = [
            ("master_keys", Keyring::generate(&Entropy::system()).reveal().to_owned()),
            ("fair_dispatch", fair.to_string()),
        ];
        let mut installation = Installation::start(&binary, "{}", 1, &own, &clock).await?;
        let mut settings = installation.back.settings()?;
        settings.extend(own);
        let config = Config::from_pairs(settings)?;
        let services = Services::open(config, clock.clone(), Entropy::system(), Shutdown::new()).await?;
        refill(&mut installation, &services, fair, &args).await?;
        services.shutdown.stop();
    }
    Ok(())
}

async fn refill(installation: &mut Installation, services: &Services, fair: bool, args: &Args) -> anyhow::Result<()> {
    let (clock, patience) = (&services.clock, Duration::from_secs(args.patience));
    for worker in &mut installation.workers {
        worker.kill().await?;
    }
    let client: &Client = &installation.client;
    let jobs: Vec<String> = stream::iter(0..args.count)
        .map(|number| async move {
            let accepted = client.upload(&pictures::bitmap(number), None).await;
            accepted.map(|(_, job)| job)
        })
        .buffer_unordered(args.concurrency)
        .try_collect()
        .await
        .map_err(anyhow::Error::msg)?;
    let waiting = if fair {
        u64::from(services.config.dispatch_share)
    } else {
        u64::from(args.count)
    };
    let since = Stopwatch::start();
    while services.queue.depth(Pool::Media).await?.ready < waiting {
        ensure!(since.elapsed() < patience, "the queue has not got {waiting} messages");
        clock.sleep(AGAIN).await;
    }
    let rabbit = &mut installation.back.rabbit;
    rabbit.server.kill().await?;
    rabbit.forget()?;
    rabbit.server.start(clock).await?;
    let watch = Stopwatch::start();
    for worker in &mut installation.workers {
        worker.start(clock).await?;
    }
    for job in &jobs {
        let end = outcome(&installation.client, job, patience, clock).await?;
        ensure!(end == "done", "job {job} ended as {end}");
    }
    let seconds = watch.elapsed().as_secs_f64();
    for job in &jobs {
        let row = jobs_table::get(&services.control, &job.parse()?).await?;
        let attempts = row.map(|row| row.attempts);
        ensure!(attempts == Some(1), "job {job} took {attempts:?} attempts");
    }
    let demo = "demo".parse()?;
    let since = Stopwatch::start();
    loop {
        let tenant = services.resolver.by_id(&demo).await?;
        let tenant = tenant.ok_or_else(|| anyhow::anyhow!("the tenant is gone"))?;
        let found = differences(services, &tenant).await;
        if found.is_empty() {
            let media = tenant.db()?.usage().await?.media;
            ensure!(media == i64::from(args.count), "{media} pictures are counted");
            break;
        }
        ensure!(since.elapsed() < patience, "{found:?}");
        clock.sleep(AGAIN).await;
    }
    say(&format!(
        "{} jobs, {waiting} of them in the broker when its data was removed: all done once, {seconds:.0} s after it came back ({:.0} a second)",
        args.count,
        f64::from(args.count) / seconds
    ));
    Ok(())
}

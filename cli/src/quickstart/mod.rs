//! `mediamill quickstart`: the newcomer's one command. A tenant, some pictures through the real API, a table of what
//! became of them, and a page that shows them.
//!
//! It uses the back ends that are configured, and by default a fresh directory of its own. It removes nothing but an
//! earlier demo's directory.

mod directory;
mod files;
mod gallery;
mod progress;
mod report;
mod serving;
mod tenant;
mod upload;

use crate::{
    cli::Quickstart,
    migrate, operator, output,
    serve::{self, Failure},
};
use anyhow::Context;
use files::Picture;
use futures_util::StreamExt;
use mediamill_shared::{
    clock::{Clock, Entropy, Stopwatch},
    config::Config,
    services::Services,
    shutdown::{Ended, Shutdown},
};
use progress::Progress;
use report::{Line, Outcome};
use std::{process::ExitCode, sync::Arc};
use upload::Client;

/// Pictures on their way at a time, most of them waiting for a worker.
const ON_THEIR_WAY: usize = 64;

pub(crate) async fn run(args: Quickstart, mut config: Config) -> anyhow::Result<ExitCode> {
    operator::quiet_logs(&config)?;
    let pictures = if args.paths.is_empty() {
        files::samples()
    } else {
        files::find(&args.paths)?
    };
    let _held = match args.url {
        // The running installation's own back ends.
        Some(_) => None,
        None => directory::prepare(&mut config, args.data.clone())?,
    };
    if let Some(address) = args.listen {
        config.listen = address;
    }
    let (clock, shutdown, failure) = (Clock::system(), Shutdown::new(), Failure::default());
    let grace = config.grace_period;
    let services = Services::open(config, clock.clone(), Entropy::system(), shutdown.clone()).await?;
    let stay = !args.exit && args.url.is_none();
    let showing = async {
        let shown = tokio::select! {
            shown = show(services, args.url, pictures, stay, &failure) => shown,
            () = shutdown.soft() => Ok(false),
        };
        if !stay {
            shutdown.stop();
        }
        shown.unwrap_or_else(|error| {
            failure.tell(&shutdown, error);
            false
        })
    };
    let (ended, all_well) = tokio::join!(shutdown.run(&clock, grace), showing);
    let ended = ended.context("signals cannot be caught")?;
    if let Some(error) = failure.take() {
        return Err(error);
    }
    Ok(if all_well && ended == Ended::Clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Everything up to the table. Returns whether no picture failed for a reason that is ours.
async fn show(
    services: Services,
    url: Option<String>,
    pictures: Vec<Picture>,
    stay: bool,
    failure: &Failure,
) -> anyhow::Result<bool> {
    serve::database_answers(&services).await;
    migrate::apply(&services).await?;
    operator::master_keys(&services).await?;
    let demo = tenant::provision(&services).await?;
    let (url, host) = match url {
        Some(url) => {
            let host = serving::host_of(&url)?;
            (url, host)
        }
        None => serving::start(&services, failure).await?,
    };
    let base = format!("{}://{host}", services.config.public_scheme);
    let client = Client::new(services, demo.db, &url, &host, demo.key.clone())?;
    client.until_served().await?;
    let watch = Stopwatch::start();
    let lines = upload_all(&client, pictures).await?;
    drop(client);
    output::line(report::render(&lines, &base, watch.elapsed()));
    if stay {
        output::line(format!("\nSee them at {base}/ until Ctrl-C. To upload another:"));
        output::line(format!(
            "  curl -H 'X-API-Key: {}' --data-binary @FILE '{base}/v1/media?wait=30'",
            demo.key
        ));
    }
    Ok(!lines.iter().any(|line| matches!(line.outcome, Outcome::Failed { .. })))
}

async fn upload_all(client: &Client, pictures: Vec<Picture>) -> anyhow::Result<Vec<Line>> {
    let progress = Arc::new(Progress::start(&pictures)?);
    let lines = futures_util::stream::iter(pictures)
        .map(|picture| {
            let progress = Arc::clone(&progress);
            async move {
                let outcome = client.process(&picture, &progress).await;
                Line {
                    name: picture.name,
                    outcome,
                }
            }
        })
        .buffered(ON_THEIR_WAY)
        .collect()
        .await;
    progress.finish();
    Ok(lines)
}

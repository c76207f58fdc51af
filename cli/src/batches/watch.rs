//! Following a batch to its end, and doing its work here: nobody else may be running.

use crate::output;
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::{
    control::batches::{Batch, BatchState, Counts, RowState},
    ids::BatchId,
    jobs::Pool,
    services::Services,
};
use mediamill_workers::Settings;
use std::{io::IsTerminal, time::Duration};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Between two lines where there is no terminal for a bar.
const TELL: Duration = Duration::from_secs(10);

/// A bar on a terminal; `None` elsewhere.
pub(crate) fn bar(length: Option<u64>, template: &str, name: &'static str) -> anyhow::Result<Option<ProgressBar>> {
    if !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let style = ProgressStyle::with_template(template)?.progress_chars("━━╌");
    Ok(Some(bar.with_style(style).with_message(name)))
}

/// Feeds a batch and makes its tenants, beside whoever else does, until it is done or cancelled.
pub(super) async fn until_done(services: &Services, id: &BatchId) -> anyhow::Result<(Batch, Counts)> {
    let settings = Settings::from_config(&services.config).only(&[Pool::Provision]);
    services
        .shutdown
        .spawn(mediamill_workers::run(services.clone(), settings));
    let (_, counts) = services.batches.standing(id).await?;
    let total = u64::try_from(counts.total()).unwrap_or(0);
    let bar = bar(
        Some(total),
        "{msg:10} {bar:40.cyan/dim} {pos}/{len} {per_sec} {eta}",
        "tenants",
    )?;
    let mut told = services.clock.now();
    loop {
        while services.batches.feed(id).await?.more {}
        // What the queue did not take at once.
        mediamill_scheduler::run_once(services, "dispatch").await?;
        let (batch, counts) = services.batches.standing(id).await?;
        let ended = counts.total().saturating_sub(counts.open());
        let now = services.clock.now();
        if let Some(bar) = &bar {
            bar.set_position(u64::try_from(ended).unwrap_or(0));
        } else if now.since(told) > TELL {
            told = now;
            output::remark(format!(
                "{ended} of {} rows: {}",
                counts.total(),
                super::in_words(&counts)
            ));
        }
        let over = match batch.state {
            BatchState::Done => true,
            BatchState::Cancelled => counts.of(RowState::Queued) == 0,
            BatchState::Receiving | BatchState::Running | BatchState::Paused => false,
        };
        if over {
            if let Some(bar) = &bar {
                bar.finish_and_clear();
            }
            return Ok((batch, counts));
        }
        services.clock.sleep(LOOK).await;
    }
}

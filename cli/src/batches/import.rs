//! `mediamill tenants import`: rows onto the record, and with `--watch` into tenants.

use super::{Source, show, source, watch};
use crate::{cli::Import, output};
use anyhow::bail;
use indicatif::ProgressBar;
use mediamill_shared::{
    control::{
        audit::Actor,
        batches::{self, Counts, RowState, Step},
    },
    ids::BatchId,
    services::Services,
    tenancy::{FirstKeys, Received, Receiving},
};
use std::process::ExitCode;
use tokio::io::AsyncReadExt;

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;
/// Rows that are told of at the end; `batches rows` tells of all.
const TOLD: i64 = 20;

pub(crate) async fn import(services: &Services, args: Import, json: bool) -> anyhow::Result<ExitCode> {
    let Source {
        mut bytes,
        format,
        length,
    } = source(&args.file, args.format).await?;
    let actor = Actor::cli();
    let opened = services.batches.open(format, args.recipient.as_ref(), &actor, None);
    let (id, _) = opened.await?;
    let template = match length {
        Some(_) => "{msg:10} {bar:40.cyan/dim} {bytes}/{total_bytes} {binary_bytes_per_sec}",
        None => "{msg:10} {spinner} {bytes} {binary_bytes_per_sec}",
    };
    let bar = watch::bar(length, template, "sending")?;
    let mut receiving = services.batches.receive(&id, format);
    let sent = send(&mut receiving, &mut bytes, bar.as_ref()).await;
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let received = match sent {
        Ok(()) => receiving.finish().await?,
        Err(error) => {
            services.batches.step(&id, Step::Cancel).await?;
            return Err(error);
        }
    };
    if received == Received::default() {
        services.batches.step(&id, Step::Cancel).await?;
        bail!("{} has no rows", args.file.display());
    }
    services.batches.step(&id, Step::Close).await?;
    let (batch, counts) = if args.watch {
        watch::until_done(services, &id).await?
    } else {
        services.batches.standing(&id).await?
    };
    show(services, &batch, &counts, json)?;
    tell_of_bad(services, &id, &counts).await?;
    if !args.watch {
        output::remark(format!(
            "a scheduler and workers of pool provision make its tenants; `mediamill tenants batches show {id}` says how far they are"
        ));
    }
    match services.batches.first_keys(&batch) {
        FirstKeys::Shown | FirstKeys::Sealed => {
            output::remark(format!("`mediamill tenants batches result {id}` has the first keys"));
        }
        FirstKeys::None => output::remark("no first keys are made: there is no master key and no --recipient"),
    }
    Ok(if refused(&counts) == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Rows that came to no tenant and will not.
pub(super) fn refused(counts: &Counts) -> i64 {
    counts.of(RowState::Bad).saturating_add(counts.of(RowState::Failed))
}

async fn send(
    receiving: &mut Receiving,
    bytes: &mut (dyn tokio::io::AsyncRead + Send + Unpin),
    bar: Option<&ProgressBar>,
) -> anyhow::Result<()> {
    let mut piece = vec![0_u8; PIECE];
    loop {
        let read = bytes.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        receiving.push(piece.get(..read).unwrap_or_default()).await?;
        if let Some(bar) = bar {
            bar.inc(u64::try_from(read).unwrap_or(0));
        }
    }
}

/// The first rows that came to nothing, with their lines and causes.
pub(super) async fn tell_of_bad(services: &Services, id: &BatchId, counts: &Counts) -> anyhow::Result<()> {
    for state in [RowState::Bad, RowState::Failed] {
        for row in batches::rows(&services.control, id, Some(state), 0, TOLD).await? {
            let cause = output::plain(row.cause.as_deref().unwrap_or_default());
            output::remark(format!("line {}: {state}: {cause}", row.line));
        }
        if counts.of(state) > TOLD {
            let all = counts.of(state);
            output::remark(format!(
                "{all} rows are {state}; `mediamill tenants batches rows {id} --state {state} --all` shows them"
            ));
        }
    }
    Ok(())
}

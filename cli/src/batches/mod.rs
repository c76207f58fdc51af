//! `mediamill tenants import`, `apply` and `batches`: tenants in bulk, without a server in between.

mod apply;
mod import;
mod watch;

pub(crate) use watch::bar;

use crate::{cli::Batches, moments, output};
use anyhow::{Context, bail};
use mediamill_shared::{
    control::batches::{self, Batch, BatchState, Counts, RowState, Step},
    ids::BatchId,
    rows::Format,
    services::Services,
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::io::AsyncRead;

pub(crate) use apply::apply;
pub(crate) use import::import;

/// Rows or batches read at a time.
const PAGE: i64 = 500;

pub(crate) async fn run(services: &Services, command: Batches, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Batches::List(listing) => list(services, listing.wanted(), json).await?,
        Batches::Show { id } => {
            let (batch, counts) = services.batches.standing(&id).await?;
            show(services, &batch, &counts, json)?;
        }
        Batches::Rows { id, state, listing } => rows(services, &id, state, listing.wanted(), json).await?,
        Batches::Result { id } => result(services, &id).await?,
        Batches::Pause { id } => step(services, &id, Step::Pause).await?,
        Batches::Resume { id } => step(services, &id, Step::Resume).await?,
        Batches::Cancel { id } => step(services, &id, Step::Cancel).await?,
        Batches::Retry { id } => {
            let retried = services.batches.retry(&id).await?;
            let (batch, _) = services.batches.standing(&id).await?;
            let rows = retried.with_context(|| format!("batch {id} is {}, which does not allow this", batch.state))?;
            output::remark(format!("{rows} rows of batch {id} are fed again"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(services: &Services, wanted: usize, json: bool) -> anyhow::Result<()> {
    let (mut left, mut before) = (wanted, None);
    while left > 0 {
        let page = batches::page(&services.control, before.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id.clone());
        for batch in page.iter().take(left) {
            let counts = batches::counts(&services.control, &batch.id).await?;
            if json {
                output::json(&as_json(services, batch, &counts))?;
            } else {
                output::line(format!(
                    "{}  {:<9}  {}  {}",
                    batch.id,
                    batch.state,
                    moments::shown(batch.created_at),
                    in_words(&counts)
                ));
            }
        }
        left = left.saturating_sub(page.len());
    }
    Ok(())
}

/// Says where a batch stands, as the command's answer.
fn show(services: &Services, batch: &Batch, counts: &Counts, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&as_json(services, batch, counts));
    }
    let rows = [
        ("id", batch.id.to_string()),
        ("state", batch.state.to_string()),
        ("rows", in_words(counts)),
        ("keys", services.batches.first_keys(batch).as_str().to_owned()),
        ("sent by", batch.actor.clone()),
        ("begun", moments::shown(batch.created_at)),
        ("changed", moments::shown(batch.updated_at)),
    ];
    output::line(rows.map(|(name, value)| format!("{name:<8} {value}")).join("\n"));
    Ok(())
}

fn as_json(services: &Services, batch: &Batch, counts: &Counts) -> serde_json::Value {
    let rows: serde_json::Map<String, serde_json::Value> = RowState::ALL
        .iter()
        .map(|state| (state.as_str().to_owned(), counts.of(*state).into()))
        .collect();
    serde_json::json!({
        "id": batch.id, "state": batch.state, "rows": rows, "recipient": batch.recipient,
        "first_keys": services.batches.first_keys(batch).as_str(), "actor": batch.actor,
        "created_at": batch.created_at, "updated_at": batch.updated_at,
    })
}

/// `97 done, 3 bad`: the states that rows are in.
fn in_words(counts: &Counts) -> String {
    let parts: Vec<String> = RowState::ALL
        .iter()
        .filter(|state| counts.of(**state) > 0)
        .map(|state| format!("{} {state}", counts.of(*state)))
        .collect();
    if parts.is_empty() {
        "no rows".to_owned()
    } else {
        parts.join(", ")
    }
}

async fn rows(
    services: &Services,
    id: &BatchId,
    state: Option<RowState>,
    wanted: usize,
    json: bool,
) -> anyhow::Result<()> {
    services.batches.standing(id).await?;
    let (mut left, mut after) = (wanted, 0);
    while left > 0 {
        let page = batches::rows(&services.control, id, state, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.line;
        for row in page.iter().take(left) {
            let tenant = row.tenant.as_ref().map_or("-", |tenant| tenant.as_str());
            let cause = row.cause.as_deref();
            if json {
                let value =
                    serde_json::json!({ "line": row.line, "tenant": row.tenant, "state": row.state, "cause": cause });
                output::json(&value)?;
            } else {
                let cause = output::plain(cause.unwrap_or_default());
                let line = format!("{:>8}  {tenant:<16}  {:<9}  {cause}", row.line, row.state);
                output::line(line.trim_end());
            }
        }
        left = left.saturating_sub(page.len());
    }
    Ok(())
}

/// Every row as a JSON object; keys that nobody else could open are forgotten once they are written.
async fn result(services: &Services, id: &BatchId) -> anyhow::Result<()> {
    let (batch, _) = services.batches.standing(id).await?;
    let mut after = 0;
    loop {
        let page = services.batches.results(&batch, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.line;
        for row in &page {
            let mut value = serde_json::json!({
                "line": row.line, "tenant": row.tenant, "state": row.state, "cause": row.cause,
            });
            let key = row.key.as_ref().map(|key| ("key", key.reveal()));
            let sealed = row.sealed_key.as_deref().map(|key| ("sealed_key", key));
            if let (Some(fields), Some((name, key))) = (value.as_object_mut(), key.or(sealed)) {
                fields.insert(name.to_owned(), key.into());
            }
            output::json(&value)?;
        }
        services.batches.shown(&batch, &page).await?;
    }
}

async fn step(services: &Services, id: &BatchId, step: Step) -> anyhow::Result<()> {
    let done = services.batches.step(id, step).await?;
    let (batch, counts) = services.batches.standing(id).await?;
    let there = match step {
        Step::Close | Step::Resume => batch.state == BatchState::Running,
        Step::Pause => batch.state == BatchState::Paused,
        Step::Cancel | Step::Abandon => batch.state == BatchState::Cancelled,
    };
    if !done && !there {
        bail!("batch {id} is {}, which does not allow this", batch.state);
    }
    output::remark(format!("batch {id} is {}: {}", batch.state, in_words(&counts)));
    Ok(())
}

/// What is read, how it is written, and its length where that is known.
struct Source {
    bytes: Box<dyn AsyncRead + Send + Unpin>,
    format: Format,
    length: Option<u64>,
}

/// `-` is standard input. Without a word on it, a name that ends in `.csv` is CSV.
async fn source(file: &PathBuf, format: Option<Format>) -> anyhow::Result<Source> {
    let csv = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv"));
    let format = format.unwrap_or(if csv { Format::Csv } else { Format::Ndjson });
    if file == Path::new("-") {
        return Ok(Source {
            bytes: Box::new(tokio::io::stdin()),
            format,
            length: None,
        });
    }
    let opened = tokio::fs::File::open(file).await;
    let opened = opened.with_context(|| format!("{} cannot be read", file.display()))?;
    let length = opened.metadata().await.ok().filter(std::fs::Metadata::is_file);
    Ok(Source {
        bytes: Box::new(opened),
        format,
        length: length.map(|data| data.len()),
    })
}

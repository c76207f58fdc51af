//! A plan is lowered below what all of its tenants use, and raised again: each tenant must be frozen when its grace is over, refuse
//! uploads by naming the limit, be thawed by itself, take uploads, and have every decision with its numbers in the audit log. The
//! tenants are real ones with a picture each, and the installation's own scheduler does it.
//!
//! Before that, a pass over many more tenants that are rows and nothing else: its time, and this process's memory.

mod rows;

use crate::{
    client::Client,
    installation::binary,
    pictures::{self, Picture},
    say,
    side::{Engine, Side, outcome},
};
use anyhow::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};
use mediamill_shared::{
    clock::{Clock, Stopwatch},
    control::{
        audit::{self, Actor},
        findings,
        plans::Plan,
    },
    ids::TenantId,
    tenancy::{FindingState, Limit, LimitOverrides, NewTenant, PictureSettings},
};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

/// The plan's id.
const PLAN: &str = "driven";
/// Between two looks at whether all tenants are as they should be.
const LOOK: Duration = Duration::from_millis(500);
/// Tenants whose findings are read at a time.
const PAGE: usize = 512;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Real tenants of the plan; 0 leaves them out.
    #[arg(long, default_value_t = 1_000)]
    tenants: usize,
    /// Tenants that are rows alone, on PostgreSQL; 0 leaves them out.
    #[arg(long, default_value_t = 100_000)]
    rows: i64,
    /// Grace of the lowered plan, seconds.
    #[arg(long, default_value_t = 5)]
    grace: i64,
    /// Requests in flight.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Where the real ones are [default: both, one after the other].
    #[arg(long)]
    engine: Option<Engine>,
    /// Longest wait for the scheduler, seconds.
    #[arg(long, default_value_t = 600)]
    patience: u64,
    /// The mediamill program [default: the one beside this].
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// A tenant of the plan, and its client.
struct Driven {
    id: TenantId,
    client: Client,
}

/// What tenants are waited to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Told,
    Frozen,
    Fitting,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let clock = Clock::system();
    if args.rows > 0 {
        rows::run(args.rows, &clock).await?;
    }
    if args.tenants == 0 {
        return Ok(());
    }
    let binary = binary(args.binary.as_deref())?;
    let engines = args
        .engine
        .map_or_else(|| vec![Engine::Sqlite, Engine::Postgres], |engine| vec![engine]);
    for engine in engines {
        let side = Side::start(engine, &binary, &clock).await?;
        say(&format!("{}: {} tenants of one plan", engine.describe(), args.tenants));
        on(&side, &args).await?;
    }
    Ok(())
}

async fn on(side: &Side, args: &Args) -> anyhow::Result<()> {
    let patience = Duration::from_secs(args.patience);
    let picture = pictures::bitmap(0);
    let bytes = i64::try_from(picture.bytes.len())?;
    let mut plan = Plan::new(PLAN.to_owned(), side.services.clock.now());
    plan.limits = LimitOverrides::default().set(Limit::StoredBytes, 10 * bytes);
    plan.pictures = PictureSettings::from_json(r#"{"variants": []}"#)?;
    ensure!(
        side.services.lifecycle.create_plan(&plan, &Actor::cli()).await?,
        "the plan is there"
    );
    let since = Stopwatch::start();
    let tenants = stream::iter(0..args.tenants).map(|number| made(side, number));
    let tenants: Vec<Driven> = tenants.buffer_unordered(args.concurrency).try_collect().await?;
    upload_all(side, &tenants, &picture, args).await?;
    say(&format!(
        "  made, with a picture each       {:>7.1} s",
        since.elapsed().as_secs_f64()
    ));

    // Below what each uses, by a byte.
    let (low, high) = (bytes - 1, 20 * bytes);
    let lowered = Stopwatch::start();
    set(
        side,
        LimitOverrides::default()
            .set(Limit::StoredBytes, low)
            .set(Limit::GraceSeconds, args.grace),
    )
    .await?;
    until(side, &tenants, Wanted::Told, patience).await?;
    say(&format!(
        "  lowered, all told of            {:>7.1} s",
        lowered.elapsed().as_secs_f64()
    ));
    until(side, &tenants, Wanted::Frozen, patience).await?;
    say(&format!(
        "  all frozen, grace of {} s        {:>7.1} s",
        args.grace,
        lowered.elapsed().as_secs_f64()
    ));
    let refused = stream::iter(&tenants).map(|driven| refused(driven, &picture, low, bytes));
    refused
        .buffer_unordered(args.concurrency)
        .try_collect::<Vec<()>>()
        .await?;
    say("  an upload of each is refused as frozen, with the limit and its numbers");

    let raised = Stopwatch::start();
    set(side, LimitOverrides::default().set(Limit::StoredBytes, high)).await?;
    until(side, &tenants, Wanted::Fitting, patience).await?;
    say(&format!(
        "  raised, all thawed              {:>7.1} s",
        raised.elapsed().as_secs_f64()
    ));
    upload_all(side, &tenants, &picture, args).await?;
    say("  an upload of each is taken again");
    for driven in &tenants {
        told(side, &driven.id, bytes, low, high).await?;
    }
    say("  every decision is in the audit log, with its numbers");
    Ok(())
}

async fn made(side: &Side, number: usize) -> anyhow::Result<Driven> {
    let id: TenantId = format!("driven{number}").parse()?;
    let mut new = NewTenant::plain(id.clone(), &format!("{id}.localhost"));
    new.plan = Some(PLAN.to_owned());
    let client = side.made(new).await;
    Ok(Driven { id, client })
}

async fn set(side: &Side, limits: LimitOverrides) -> anyhow::Result<()> {
    let edit = |plan: &mut Plan| {
        plan.limits = limits.clone();
        true
    };
    let edited = side.services.lifecycle.edit_plan(PLAN, edit, &Actor::cli()).await?;
    ensure!(edited.is_some(), "the plan is gone");
    Ok(())
}

/// Uploads the picture to every tenant, and waits until it is ready.
async fn upload_all(side: &Side, tenants: &[Driven], picture: &Picture, args: &Args) -> anyhow::Result<()> {
    let patience = Duration::from_secs(args.patience);
    let ready = stream::iter(tenants).map(|driven| async move {
        let accepted = driven.client.upload(picture, None).await;
        let (_, job) = accepted.map_err(|why| anyhow::anyhow!("{}: {why}", driven.id))?;
        let end = outcome(&driven.client, &job, patience, &side.services.clock).await?;
        ensure!(end == "done", "{}: an upload ended as {end}", driven.id);
        Ok(())
    });
    ready
        .buffer_unordered(args.concurrency)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// Waits until every tenant is as it is wanted.
async fn until(side: &Side, tenants: &[Driven], wanted: Wanted, patience: Duration) -> anyhow::Result<()> {
    let since = Stopwatch::start();
    let ids: Vec<TenantId> = tenants.iter().map(|driven| driven.id.clone()).collect();
    loop {
        let mut missing = 0_usize;
        for page in ids.chunks(PAGE) {
            let found = findings::of(&side.services.control, page).await?;
            missing += page
                .iter()
                .filter(|id| {
                    let found = found.get(id).map_or(&[][..], Vec::as_slice);
                    let is_so = match wanted {
                        Wanted::Told => !found.is_empty(),
                        Wanted::Frozen => found.iter().any(|one| one.state == FindingState::Frozen),
                        Wanted::Fitting => found.is_empty(),
                    };
                    !is_so
                })
                .count();
        }
        if missing == 0 {
            return Ok(());
        }
        ensure!(since.elapsed() < patience, "{missing} tenants are not {wanted:?}");
        side.services.clock.sleep(LOOK).await;
    }
}

async fn refused(driven: &Driven, picture: &Picture, limit: i64, used: i64) -> anyhow::Result<()> {
    let request = driven.client.request(Method::POST, "/v1/media");
    let answer = request.body(picture.bytes.clone()).send().await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    let number = |name: &str| body.get(name).and_then(Value::as_i64);
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let as_it_should_be = status == StatusCode::FORBIDDEN
        && text("type") == Some("/problems/frozen")
        && text("limit_name") == Some(Limit::StoredBytes.as_str())
        && number("limit") == Some(limit)
        && number("used") == Some(used);
    ensure!(as_it_should_be, "{}: an upload is answered {status}: {body}", driven.id);
    Ok(())
}

/// The lines of one tenant: over, frozen, thawed, with what was used and allowed then.
async fn told(side: &Side, id: &TenantId, used: i64, low: i64, high: i64) -> anyhow::Result<()> {
    let lines = audit::page(&side.services.control, Some(id), None, 100).await?;
    for (action, limit) in [("limit.over", low), ("tenant.freeze", low), ("tenant.thaw", high)] {
        let found = lines.iter().filter(|line| {
            let number = |name: &str| line.detail.get(name).and_then(Value::as_i64);
            line.action == action && number("limit") == Some(limit) && number("used") == Some(used)
        });
        let found = found.count();
        ensure!(found == 1, "{id} has {found} lines {action} with {used} of {limit}");
    }
    Ok(())
}

//! Where tenants are, and moving them.

use super::row;
use crate::{cli::Move, output};
use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use mediamill_shared::{
    control::{audit::Actor, tenants},
    ids::JobId,
    jobs::JobState,
    services::Services,
};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// A move that takes longer goes on in a worker.
const MOVED: Duration = Duration::from_secs(24 * 3_600);
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn relocate(services: &Services, wanted: &Move, json: bool) -> anyhow::Result<()> {
    let id = &wanted.id;
    let before = row(services, id).await?;
    let job = match before.moving {
        Some(job) if wanted.wait => job,
        Some(job) => {
            bail!("tenant {id} is moving already: `mediamill jobs get {job}` says how far, --wait waits for it")
        }
        None => {
            let (server, actor) = (wanted.server.clone(), Actor::cli());
            services.lifecycle.begin_move(id, wanted.to, server, &actor).await?
        }
    };
    if !wanted.wait {
        let words = format!("tenant {id} moves by job {job}; a worker does it: `mediamill jobs get {job}`");
        return output::done(json, &json!({ "id": id, "job": job }), words);
    }
    run(services, &job).await?;
    let after = row(services, id).await?;
    let server = wanted.server.as_ref().unwrap_or(&before.place.server);
    if (after.place.isolation, &after.place.server) != (wanted.to, server) {
        bail!(
            "tenant {id} was on another move, which has ended: it is at {} now; say it again",
            after.place
        );
    }
    let answer = json!({
        "id": id, "job": job, "isolation": after.place.isolation, "server": after.place.server.as_str(),
    });
    output::done(json, &answer, format!("tenant {id} is at {}", after.place))
}

/// Runs the move's job here, or waits for the worker that does, and shows how far it is.
async fn run(services: &Services, job: &JobId) -> anyhow::Result<()> {
    let style = ProgressStyle::with_template("{spinner} {pos} rows copied, {elapsed}")?;
    let bar = ProgressBar::no_length().with_style(style);
    let before = services.lifecycle.copied();
    let mut running = Box::pin(mediamill_workers::run_now(services, job, MOVED));
    let ended = loop {
        tokio::select! {
            ended = &mut running => break ended,
            () = services.clock.sleep(LOOK) => {
                bar.set_position(services.lifecycle.copied().saturating_sub(before));
                bar.tick();
            }
        }
    };
    bar.finish_and_clear();
    let ended = ended?;
    if ended.state != JobState::Done {
        bail!(
            "the tenant stays where it was, open for uploads: {}",
            ended.cause.unwrap_or_else(|| format!("its move is {}", ended.state))
        );
    }
    Ok(())
}

pub(super) async fn servers(services: &Services, json: bool) -> anyhow::Result<()> {
    let mut counts: BTreeMap<String, i64> = tenants::servers(&services.control).await?.into_iter().collect();
    let mut rows = Vec::new();
    for server in services.databases.servers() {
        let tenants = counts.remove(server.name.as_str()).unwrap_or(0);
        let engine = format!("{:?}", server.engine());
        if json {
            output::json(&json!({
                "server": server.name.as_str(), "engine": engine, "weight": server.weight, "tenants": tenants,
                "url": server.shown(), "configured": true,
            }))?;
        }
        rows.push([
            server.name.to_string(),
            engine,
            server.weight.to_string(),
            tenants.to_string(),
            server.shown(),
        ]);
    }
    // Tenants that this process cannot reach: its configuration lacks their server.
    for (name, tenants) in counts.into_iter().filter(|(_, tenants)| *tenants > 0) {
        if json {
            output::json(&json!({ "server": name, "tenants": tenants, "configured": false }))?;
        }
        let unknown = || "-".to_owned();
        let advice = "not configured here: add it to MEDIAMILL_TENANT_DATABASES".to_owned();
        rows.push([name, unknown(), unknown(), tenants.to_string(), advice]);
    }
    if !json {
        output::line(output::table(["server", "engine", "weight", "tenants", "url"], &rows));
    }
    Ok(())
}

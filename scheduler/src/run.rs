//! Runs timers: each in a task of its own, never twice at once, only while this process leads.

use crate::{
    leader::{LEASE_TTL, Leader, RENEW, Standing},
    timer::{Entry, Report, TimerError, Timers},
};
use mediamill_shared::{
    chain,
    control::timers::{self, TimerRun},
    ids::{JobId, ProcessId},
    services::Services,
    telemetry::names as metric,
    units::Millis,
};
use std::time::Duration;
use tokio::sync::watch;

/// Standing, and until when it may be relied on.
type Lead = (Standing, Millis);

/// Names of all timers.
#[must_use]
pub fn names() -> Vec<&'static str> {
    Timers::standard().entries.iter().map(|entry| entry.name).collect()
}

/// Leads or stands by until the shutdown's soft token; a run in progress is finished.
pub async fn run(services: Services) {
    let leader = Leader::new(ProcessId::generate(&services.clock, &services.entropy).to_string());
    let (tell, told) = watch::channel((Standing::StandsBy, Millis::new(0)));
    tracing::info!(scheduler = leader.owner(), "scheduler started");
    let timers = Timers::standard();
    let tasks = timers
        .entries
        .iter()
        .map(|entry| keep(&services, *entry, &leader, told.clone()));
    tokio::join!(lead(&services, &leader, &tell), futures_util::future::join_all(tasks));
    leader.resign(&services).await;
    tracing::info!(scheduler = leader.owner(), "scheduler stopped");
}

/// Runs one timer now, whoever leads.
///
/// # Errors
/// When there is none of that name, or its run fails.
pub async fn run_once(services: &Services, name: &str) -> Result<Report, TimerError> {
    let timers = Timers::standard();
    let Some(entry) = timers.entries.iter().find(|entry| entry.name == name) else {
        return Err(TimerError::Unknown {
            name: name.to_owned(),
            known: names().join(", "),
        });
    };
    let mut all = Report::default();
    loop {
        let report = recorded(services, entry, "operator", 0).await?;
        all.changed = all.changed.saturating_add(report.changed);
        if !report.unfinished {
            return Ok(all);
        }
    }
}

async fn lead(services: &Services, leader: &Leader, tell: &watch::Sender<Lead>) {
    loop {
        // Counted from before the question, so that this process doubts its lease before the cache ends it.
        let asked = services.clock.now();
        let standing = leader.standing(services).await;
        let until = asked.after(LEASE_TTL.saturating_sub(Duration::from_secs(1)));
        if std::mem::discriminant(&tell.borrow().0) != std::mem::discriminant(&standing) {
            tracing::info!(scheduler = leader.owner(), standing = ?standing, "leadership changed");
        }
        tell.send_replace((standing, until));
        tokio::select! { () = services.shutdown.soft() => return, () = services.clock.sleep(RENEW) => {} }
    }
}

/// One timer, for ever: waits until it is due and this process leads, runs it, records the run.
async fn keep(services: &Services, entry: Entry, leader: &Leader, mut told: watch::Receiver<Lead>) {
    loop {
        let fence = tokio::select! {
            () = services.shutdown.soft() => return,
            fence = leading(services, &mut told) => fence,
        };
        let Some(fence) = fence else { return };
        let more = match recorded(services, &entry, leader.owner(), fence).await {
            Ok(report) => report.unfinished,
            Err(error) => {
                tracing::warn!(
                    timer = entry.name,
                    error = &error as &dyn std::error::Error,
                    "a timer's run failed; the next begins anew"
                );
                false
            }
        };
        if !more {
            // A fixed delay after the end, not a fixed rate: a slow run is not followed by a burst.
            tokio::select! { () = services.shutdown.soft() => return, () = services.clock.sleep(entry.every) => {} }
        }
    }
}

/// Waits until this process may run timers. `None`: the process ends.
async fn leading(services: &Services, told: &mut watch::Receiver<Lead>) -> Option<i64> {
    loop {
        let (standing, until) = *told.borrow_and_update();
        let good = services.clock.now() < until;
        match standing {
            Standing::Leads(fence) if good => return Some(fence.0),
            Standing::Alone if good => return Some(0),
            Standing::Leads(_) | Standing::Alone | Standing::StandsBy => {}
        }
        told.changed().await.ok()?;
    }
}

async fn recorded(services: &Services, entry: &Entry, holder: &str, fence: i64) -> Result<Report, TimerError> {
    let began = services.clock.now();
    let result = (entry.run)(services).await;
    let outcome = if result.is_ok() { "ok" } else { "error" };
    metrics::counter!(metric::TIMER_RUNS, "timer" => entry.name, "outcome" => outcome).increment(1);
    // Runs that found nothing to do leave metrics alone: most are every few seconds.
    let worth_a_row = !matches!(result, Ok(Report { changed: 0, .. }));
    if worth_a_row {
        let id = JobId::generate(&services.clock, &services.entropy).to_string();
        let run = TimerRun {
            id: id.clone(),
            name: entry.name,
            holder: holder.to_owned(),
            fence,
        };
        timers::started(&services.control, &run, began).await?;
        let told = match &result {
            Ok(report) => Ok(report.changed),
            Err(error) => Err(chain(error)),
        };
        timers::ended(&services.control, &id, told, services.clock.now()).await?;
    }
    result
}

//! Runs timers: each in a task of its own, never twice at once, only while this process leads.
//!
//! A run that is under way when the lease is over does nothing more: it is asked before each of its steps. So a process that was
//! stopped, and wakes up when another one leads, leaves its runs where they were; the other's go on from what is kept.

use crate::{
    leader::{LEASE_TTL, Leader, RENEW, Standing},
    scope::Scope,
    timer::{Entry, Report, TimerError, Timers},
};
use mediamill_shared::{
    chain,
    config::Config,
    control::{
        passes,
        timers::{self, TimerState},
    },
    ids::{JobId, ProcessId},
    services::Services,
    telemetry::names as metric,
    units::Millis,
};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};
use tokio::sync::watch;

/// Standing, and until when it may be relied on.
type Lead = (Standing, Millis);

/// Pauses differ by up to so much of a timer's period, so that those of one period do not all run in one moment.
const JITTER: f64 = 0.1;

/// A timer, its period and its last run.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: &'static str,
    /// Time from the end of a run to the beginning of the next, give or take a tenth.
    pub every: Duration,
    /// `None`: it has never run.
    pub last: Option<TimerState>,
}

/// Whether every timer that the configuration speaks of is there.
///
/// # Errors
/// When one is not.
pub fn check(config: &Config) -> Result<(), TimerError> {
    Timers::standard().paced(&config.timer_periods).map(drop)
}

/// Every timer.
///
/// # Errors
/// When the database is away, or the configuration speaks of a timer that there is not.
pub async fn list(services: &Services) -> Result<Vec<Listed>, TimerError> {
    let states = timers::states(&services.control).await?;
    let timers = Timers::standard().paced(&services.config.timer_periods)?;
    let listed = timers.entries.iter().map(|entry| Listed {
        name: entry.name,
        every: entry.every,
        last: states.iter().find(|state| state.name == entry.name).cloned(),
    });
    Ok(listed.collect())
}

/// Leads or stands by until the shutdown's soft token; a run in progress is finished.
///
/// # Errors
/// At once, when the configuration speaks of a timer that there is not.
pub async fn run(services: Services) -> Result<(), TimerError> {
    let timers = Timers::standard().paced(&services.config.timer_periods)?;
    let owner = ProcessId::generate(&services.clock, &services.entropy).to_string();
    let mut leader = Leader::new(owner.clone());
    let (tell, told) = watch::channel((Standing::StandsBy, Millis::new(0)));
    tracing::info!(scheduler = %owner, "scheduler started");
    let tasks = timers
        .entries
        .iter()
        .map(|entry| keep(&services, *entry, &owner, told.clone()));
    tokio::join!(
        lead(&services, &mut leader, &tell),
        futures_util::future::join_all(tasks)
    );
    leader.resign(&services).await;
    tracing::info!(scheduler = %owner, "scheduler stopped");
    Ok(())
}

/// Does all of one timer's work now, whoever leads: a pass that is under way is ended, and one more is made from the beginning.
///
/// # Errors
/// When there is none of that name, or a run of it fails.
pub async fn run_once(services: &Services, name: &str) -> Result<Report, TimerError> {
    let entry = find(name)?;
    let mut all = Report::default();
    let mut is_cut = passes::is_under_way(&services.control, name).await?;
    loop {
        let report = recorded(services, &entry, "operator", 0).await?;
        all.changed = all.changed.saturating_add(report.changed);
        if !report.unfinished && !std::mem::take(&mut is_cut) {
            return Ok(all);
        }
    }
}

/// Runs a part of one timer's work now, or says what it would do. It is not recorded as the timer's run.
///
/// # Errors
/// When there is none of that name, it does all of its work or none, or its run fails.
pub async fn run_in(services: &Services, name: &str, scope: &Scope) -> Result<Report, TimerError> {
    let entry = find(name)?;
    let Some(run_in) = entry.run_in else {
        let timers = Timers::standard().entries.into_iter();
        let scoped: Vec<_> = timers
            .filter(|entry| entry.run_in.is_some())
            .map(|entry| entry.name)
            .collect();
        return Err(TimerError::Unscoped {
            name: name.to_owned(),
            known: scoped.join(", "),
        });
    };
    run_in(services, scope).await
}

fn find(name: &str) -> Result<Entry, TimerError> {
    let timers = Timers::standard();
    let entry = timers.entries.iter().find(|entry| entry.name == name).copied();
    entry.ok_or_else(|| TimerError::Unknown {
        name: name.to_owned(),
        known: timers.names(),
    })
}

async fn lead(services: &Services, leader: &mut Leader, tell: &watch::Sender<Lead>) {
    loop {
        // Counted from before the question, so that this process doubts its lease before another takes it.
        let asked = services.clock.now();
        match leader.standing(services).await {
            Ok(standing) => {
                let until = asked.after(LEASE_TTL.saturating_sub(Duration::from_secs(1)));
                if std::mem::discriminant(&tell.borrow().0) != std::mem::discriminant(&standing) {
                    tracing::info!(scheduler = leader.owner(), standing = ?standing, "leadership changed");
                }
                tell.send_replace((standing, until));
            }
            Err(error) => tracing::warn!(
                scheduler = leader.owner(),
                error = &error as &dyn std::error::Error,
                "the lease to lead was not looked at"
            ),
        }
        tokio::select! { () = services.shutdown.soft() => return, () = services.clock.sleep(RENEW) => {} }
    }
}

/// One timer, for ever: waits until it is due and this process leads, runs it, records the run.
async fn keep(services: &Services, entry: Entry, owner: &str, mut told: watch::Receiver<Lead>) {
    let mut led = None;
    loop {
        let fence = tokio::select! {
            () = services.shutdown.soft() => return,
            fence = leading(services, &mut told) => fence,
        };
        let Some(fence) = fence else { return };
        if led.replace(fence) != Some(fence) {
            // Another one led until now: what it has done need not be done again at once.
            let pause = left_of_period(services, &entry).await;
            tokio::select! {
                () = services.shutdown.soft() => return,
                () = services.clock.sleep(pause) => {}
                () = lost(services, told.clone()) => led = None,
            }
            continue;
        }
        let run = recorded(services, &entry, owner, fence);
        let more = match while_leading(services, told.clone(), run).await {
            None => {
                tracing::warn!(
                    timer = entry.name,
                    holder = owner,
                    fence,
                    at = services.clock.now().get(),
                    "a timer's run was left: its process does not lead any more"
                );
                false
            }
            Some(Ok(report)) => report.unfinished,
            Some(Err(error)) => {
                tracing::warn!(
                    timer = entry.name,
                    error = &error as &dyn std::error::Error,
                    "a timer's run failed; the next goes on from what is kept"
                );
                false
            }
        };
        if !more {
            // A fixed delay after the end, not a fixed rate: a slow run is not followed by a burst.
            let pause = jittered(entry.every, services.entropy.fraction());
            tokio::select! { () = services.shutdown.soft() => return, () = services.clock.sleep(pause) => {} }
        }
    }
}

/// How much of a timer's period is left since its last run, which ended well and with nothing left to do. Where that cannot be told,
/// there is none.
async fn left_of_period(services: &Services, entry: &Entry) -> Duration {
    let last = match timers::state(&services.control, entry.name).await {
        Ok(last) => last.filter(|last| last.error.is_none() && !last.unfinished),
        Err(error) => {
            tracing::warn!(
                timer = entry.name,
                error = &error as &dyn std::error::Error,
                "when a timer has last run is not known: it runs now"
            );
            None
        }
    };
    let due = last.map(|last| last.ended_at.after(entry.every));
    // A clock that was ahead when it was noted delays nothing for longer than a period.
    due.map_or(Duration::ZERO, |due| due.since(services.clock.now()).min(entry.every))
}

/// `every`, give or take [`JITTER`] of it, by a `chance` from 0 to 1.
fn jittered(every: Duration, chance: f64) -> Duration {
    every.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance)
}

fn leads(services: &Services, (standing, until): Lead) -> bool {
    match standing {
        Standing::Leads(_) | Standing::Alone => services.clock.now() < until,
        Standing::StandsBy => false,
    }
}

/// Runs `work` as long as this process leads. `None`: it does not any more, and what was left to do is not done.
async fn while_leading<W: Future>(services: &Services, told: watch::Receiver<Lead>, work: W) -> Option<W::Output> {
    let (lead, mut over) = (told.clone(), pin!(lost(services, told)));
    let mut work = pin!(work);
    poll_fn(|cx| {
        // At every step: a process that was stopped learns by its clock alone that its lease is over.
        if !leads(services, *lead.borrow()) || over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Waits until this process does not lead any more.
async fn lost(services: &Services, mut told: watch::Receiver<Lead>) {
    loop {
        let lead = *told.borrow_and_update();
        if !leads(services, lead) {
            return;
        }
        let left = lead.1.since(services.clock.now());
        tokio::select! { changed = told.changed() => if changed.is_err() { return }, () = services.clock.sleep(left) => {} }
    }
}

/// Waits until this process may run timers. `None`: the process ends.
async fn leading(services: &Services, told: &mut watch::Receiver<Lead>) -> Option<i64> {
    loop {
        let lead = *told.borrow_and_update();
        match lead.0 {
            Standing::Leads(fence) if leads(services, lead) => return Some(fence.0),
            Standing::Alone if leads(services, lead) => return Some(0),
            Standing::Leads(_) | Standing::Alone | Standing::StandsBy => {}
        }
        told.changed().await.ok()?;
    }
}

async fn recorded(services: &Services, entry: &Entry, holder: &str, fence: i64) -> Result<Report, TimerError> {
    let began = services.clock.now();
    tracing::debug!(
        timer = entry.name,
        holder,
        fence,
        at = began.get(),
        "a timer's run begins"
    );
    let result = (entry.run)(services).await;
    tracing::debug!(
        timer = entry.name,
        holder,
        fence,
        at = services.clock.now().get(),
        "a timer's run ended"
    );
    let outcome = if result.is_ok() { "ok" } else { "error" };
    metrics::counter!(metric::TIMER_RUNS, "timer" => entry.name, "outcome" => outcome).increment(1);
    let told = match &result {
        Ok(report) => Ok(report.changed),
        Err(error) => Err(chain(error)),
    };
    let state = TimerState {
        name: entry.name.to_owned(),
        holder: holder.to_owned(),
        fence,
        started_at: began,
        ended_at: services.clock.now(),
        changed: told.as_ref().ok().copied(),
        error: told.as_ref().err().cloned(),
        unfinished: matches!(result, Ok(Report { unfinished: true, .. })),
    };
    // Runs that found nothing to do are noted as the last one and no more: most are every few seconds.
    let worth_keeping = !matches!(result, Ok(Report { changed: 0, .. }));
    let id = worth_keeping.then(|| JobId::generate(&services.clock, &services.entropy).to_string());
    timers::record(&services.control, &state, id.as_deref()).await?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediamill_shared::{cache::Fence, testing::World};

    #[test]
    fn pauses_differ_by_a_tenth_at_most() {
        let minute = Duration::from_secs(60);
        assert_eq!(jittered(minute, 0.0), Duration::from_secs(54));
        assert_eq!(jittered(minute, 0.5), minute);
        assert_eq!(jittered(minute, 1.0), Duration::from_secs(66));
    }

    #[tokio::test]
    async fn a_run_does_nothing_more_when_its_lease_is_over() {
        let world = World::embedded().await;
        let services = &world.services;
        let soon = |millis| services.clock.now().after(Duration::from_millis(millis));
        let leads = |millis| (Standing::Leads(Fence(1)), soon(millis));
        let (tell, told) = watch::channel(leads(60_000));
        assert_eq!(while_leading(services, told.clone(), async { 7 }).await, Some(7));
        // Another one leads, while the run waits for something.
        let never = std::future::pending::<()>();
        let (left, ()) = tokio::join!(while_leading(services, told.clone(), never), async {
            tell.send_replace((Standing::StandsBy, soon(60_000)));
        });
        assert_eq!(left, None);
        // Nobody has said so, but the time is over: the step that was about to be made is not.
        tell.send_replace(leads(60_000));
        let mut made = false;
        let stopped = async {
            let past = services.clock.now().before(Duration::from_secs(1));
            tell.send_replace((Standing::Leads(Fence(1)), past));
            tokio::task::yield_now().await;
            made = true;
        };
        assert_eq!(while_leading(services, told.clone(), stopped).await, None);
        assert!(!made);
        // Its time comes to an end without a word.
        tell.send_replace(leads(50));
        let never = std::future::pending::<()>();
        assert_eq!(while_leading(services, told, never).await, None);
    }
}

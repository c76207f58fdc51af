//! `mediamill dead`: jobs that used up their attempts. What is done about them is in `mediamill_shared::dead`.

use crate::{
    cli::{Dead, Filters, Which},
    jobs as show, moments, output,
};
use anyhow::Context;
use mediamill_shared::{
    chain,
    control::{
        audit::Actor,
        jobs::{self, DeadGroup, DeadJob, JobRow},
    },
    dead::{self, ClearError, Pace, Part, Purge},
    ids::JobId,
    services::Services,
    units::Millis,
};
use std::process::ExitCode;

/// Jobs that are listed or purged before the next are looked for.
const PAGE: i64 = 200;

pub(crate) async fn run(services: &Services, command: Dead, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Dead::Summary(filters) => summary(services, &filters, json).await,
        Dead::List { filters, listing } => list(services, &filters, listing.wanted(), json).await,
        Dead::Show { id } => show_one(services, &id, json).await,
        Dead::Retry { which, rate } => {
            let mut pace = Pace::new(rate, services.clock.now());
            let mut done = retry(services, &which, &mut pace, json).await?;
            done.until = rate.filter(|_| done.jobs > 0).map(|_| pace.due());
            done.say(json)
        }
        Dead::Purge(which) => purge(services, &which, json).await?.say(json),
    }
}

async fn summary(services: &Services, filters: &Filters, json: bool) -> anyhow::Result<ExitCode> {
    let wanted = filters.at(services.clock.now());
    let groups = jobs::dead_groups(&services.control, &wanted).await?;
    if json {
        for group in &groups {
            output::json(&serde_json::json!({
                "kind": group.kind, "cause_code": group.cause, "jobs": group.jobs, "tenants": group.tenants,
                "oldest": group.oldest, "newest": group.newest,
            }))?;
        }
    } else if !groups.is_empty() {
        let rows: Vec<_> = groups.iter().map(group_row).collect();
        let head = ["KIND", "CAUSE", "JOBS", "TENANTS", "FIRST GIVEN UP", "LAST GIVEN UP"];
        output::line(output::table(head, &rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn group_row(group: &DeadGroup) -> [String; 6] {
    [
        group.kind.to_string(),
        group.cause.as_deref().map_or_else(|| "-".to_owned(), output::plain),
        group.jobs.to_string(),
        group.tenants.to_string(),
        moments::shown(group.oldest),
        moments::shown(group.newest),
    ]
}

async fn list(services: &Services, filters: &Filters, mut left: usize, json: bool) -> anyhow::Result<ExitCode> {
    let wanted = filters.at(services.clock.now());
    let mut after = None;
    while left > 0 {
        let limit = i64::try_from(left).unwrap_or(PAGE).min(PAGE);
        let page = jobs::dead(&services.control, &wanted, after.as_ref(), limit).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        left = left.saturating_sub(page.len());
        for job in &page {
            list_one(job, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list_one(job: &JobRow, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&show::as_json(job));
    }
    let tenant = job.tenant.as_ref().map_or("-", |tenant| tenant.as_str());
    output::line(format!(
        "{}  {tenant:<16}  {:<13}  {}",
        job.id,
        job.kind,
        show::cause(job)
    ));
    Ok(())
}

async fn show_one(services: &Services, id: &JobId, json: bool) -> anyhow::Result<ExitCode> {
    let job = jobs::dead_one(&services.control, id).await?;
    let job = job.with_context(|| format!("there is no dead job {id}"))?;
    if json {
        output::json(&as_json(&job))?;
    } else {
        output::line(in_words(&job));
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(job: &DeadJob) -> serde_json::Value {
    let mut value = show::as_json(&job.row);
    let fate = dead::fate(job.row.kind);
    if let Some(fields) = value.as_object_mut() {
        fields.extend([
            ("pool".to_owned(), job.pool.as_str().into()),
            ("trace".to_owned(), job.trace.to_string().into()),
            ("reserved_bytes".to_owned(), job.reserved.get().into()),
            ("payload".to_owned(), dead::payload_shown(job.row.kind, &job.payload)),
            ("retry".to_owned(), fate.retry.into()),
            ("purge".to_owned(), fate.purge.into()),
        ]);
    }
    value
}

fn in_words(job: &DeadJob) -> String {
    let (row, fate) = (&job.row, dead::fate(job.row.kind));
    let none = || "-".to_owned();
    let payload = dead::payload_shown(row.kind, &job.payload).to_string();
    output::fields(&[
        ("id", row.id.to_string()),
        ("tenant", row.tenant.as_ref().map_or_else(none, ToString::to_string)),
        ("about", row.subject.clone().unwrap_or_else(none)),
        ("kind", row.kind.to_string()),
        ("pool", job.pool.to_string()),
        ("attempts", row.attempts.to_string()),
        ("cause", show::cause(row)),
        ("accepted", moments::shown(row.created_at)),
        ("given up", row.finished_at.map_or_else(none, moments::shown)),
        ("trace", job.trace.to_string()),
        ("holds", format!("{} of its tenant's room", job.reserved)),
        ("payload", output::plain(&payload)),
        ("retry", fate.retry.to_owned()),
        ("purge", fate.purge.to_owned()),
    ])
}

/// What was done.
#[derive(Default)]
struct Done {
    jobs: u64,
    not_dead: u64,
    left: u64,
    until: Option<Millis>,
}

impl Done {
    fn part(&mut self, part: Part) -> Option<JobId> {
        self.jobs = self.jobs.saturating_add(part.jobs);
        for (id, error) in &part.left {
            self.left(id, error);
        }
        part.last
    }

    fn left(&mut self, id: &JobId, error: &ClearError) {
        self.left = self.left.saturating_add(1);
        output::remark(format!(
            "{id} is purged, but not all that it kept alive: {}",
            chain(error)
        ));
    }

    fn one(&mut self, id: &JobId, what: &str, json: bool) {
        self.jobs = self.jobs.saturating_add(1);
        if !json {
            output::line(format!("{id} {what}"));
        }
    }

    fn not_dead(&mut self, id: &JobId) {
        self.not_dead = self.not_dead.saturating_add(1);
        output::remark(format!("{id} is not a dead job"));
    }

    /// Exit code 1 when a named one was not dead, or something was left.
    fn say(self, json: bool) -> anyhow::Result<ExitCode> {
        let answer = serde_json::json!({
            "jobs": self.jobs, "not_dead": self.not_dead, "left": self.left, "due_until": self.until,
        });
        let jobs = format!("{} {}", self.jobs, if self.jobs == 1 { "job" } else { "jobs" });
        let words = match self.until {
            Some(until) => format!("{jobs}, due one after the other until {}", moments::shown(until)),
            None => jobs,
        };
        output::done(json, &answer, words)?;
        Ok(if self.not_dead == 0 && self.left == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

async fn retry(services: &Services, which: &Which, pace: &mut Pace, json: bool) -> anyhow::Result<Done> {
    let (mut done, actor) = (Done::default(), Actor::cli());
    for id in &which.ids {
        if services.dead.retry(id, pace, &actor).await? {
            done.one(id, "is queued again", json);
        } else {
            done.not_dead(id);
        }
    }
    if which.ids.is_empty() {
        let wanted = which.filters.at(services.clock.now());
        let mut after = None;
        loop {
            let part = services
                .dead
                .retry_part(&wanted, after.as_ref(), dead::PAGE, pace, &actor);
            after = done.part(part.await?);
            if after.is_none() {
                break;
            }
        }
    }
    Ok(done)
}

async fn purge(services: &Services, which: &Which, json: bool) -> anyhow::Result<Done> {
    let (mut done, actor) = (Done::default(), Actor::cli());
    for id in &which.ids {
        match services.dead.purge(id, &actor).await? {
            Purge::NotDead => done.not_dead(id),
            Purge::Gone => done.one(id, "is purged", json),
            Purge::Left(error) => {
                done.one(id, "is purged", json);
                done.left(id, &error);
            }
        }
    }
    if which.ids.is_empty() {
        let wanted = which.filters.at(services.clock.now());
        let mut after = None;
        loop {
            let part = services.dead.purge_part(&wanted, after.as_ref(), PAGE, &actor);
            after = done.part(part.await?);
            if after.is_none() {
                break;
            }
        }
    }
    Ok(done)
}

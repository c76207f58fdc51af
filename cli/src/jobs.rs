//! `mediamill jobs`, and how a job is shown.

use crate::{cli::Jobs, moments, output};
use anyhow::Context;
use mediamill_shared::{
    control::jobs::{self, JobRow},
    services::Services,
};
use std::process::ExitCode;

pub(crate) async fn run(services: &Services, command: Jobs, json: bool) -> anyhow::Result<ExitCode> {
    let Jobs::Get { id } = command;
    let job = jobs::get(&services.control, &id).await?;
    let job = job.with_context(|| format!("there is no job {id}"))?;
    if json {
        output::json(&as_json(&job))?;
    } else {
        output::line(in_words(&job));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn as_json(job: &JobRow) -> serde_json::Value {
    serde_json::json!({
        "id": job.id, "tenant": job.tenant, "subject": job.subject, "kind": job.kind, "state": job.state,
        "attempts": job.attempts, "cause_code": job.cause_code, "cause": job.cause,
        "created_at": job.created_at, "due_at": job.due_at, "finished_at": job.finished_at,
    })
}

pub(crate) fn in_words(job: &JobRow) -> String {
    let none = || "-".to_owned();
    let rows = [
        ("id", job.id.to_string()),
        ("tenant", job.tenant.as_ref().map_or_else(none, ToString::to_string)),
        ("about", job.subject.clone().unwrap_or_else(none)),
        ("kind", job.kind.to_string()),
        ("state", job.state.to_string()),
        ("attempts", job.attempts.to_string()),
        ("accepted", moments::shown(job.created_at)),
        ("due", moments::shown(job.due_at)),
        ("finished", job.finished_at.map_or_else(none, moments::shown)),
        ("cause", cause(job)),
    ];
    let lines = rows.map(|(name, value)| format!("{name:<9} {value}"));
    lines.join("\n")
}

/// The last failure, code and words.
pub(crate) fn cause(job: &JobRow) -> String {
    match (&job.cause_code, &job.cause) {
        (Some(code), Some(text)) => format!("{code}: {}", output::plain(text)),
        (Some(code), None) => code.clone(),
        (None, Some(text)) => output::plain(text),
        (None, None) => "-".to_owned(),
    }
}

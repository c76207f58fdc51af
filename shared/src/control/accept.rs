//! Accepting a tenant's work: job rows and the request's idempotency key in one transaction.
//!
//! The control database has the last word here: a tenant that is not active any more, or whose context has changed
//! since the caller read it, is refused, however fresh a cache seemed.

use super::{
    expiries::{self, Expiry},
    jobs,
    jobs::NewJob,
    tenants,
};
use crate::{
    db::{Bounded, Db, DbError, During, sql},
    ids::{JobId, TenantId},
    tenancy::{Stamp, TenantState},
    units::Millis,
};
use sqlx::{AnyConnection, Row};

sql! {
    REMEMBER = "INSERT INTO idempotency_keys (tenant, name, request_hash, answer, created_at) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (tenant, name) DO NOTHING RETURNING name";
    RECALL = "SELECT request_hash, answer FROM idempotency_keys WHERE tenant = $1 AND name = $2";
    OPEN_JOB = "SELECT id FROM jobs WHERE id = $1 AND state IN ('queued', 'running')";
    RENEW = "UPDATE idempotency_keys SET answer = $1, created_at = $2 WHERE tenant = $3 AND name = $4 AND answer = $5 RETURNING name";
    // The age is asked for twice: a row that is renewed meanwhile is looked at again, the list is not.
    PRUNE = "DELETE FROM idempotency_keys WHERE created_at < $1 AND (tenant, name) IN \
        (SELECT tenant, name FROM idempotency_keys WHERE created_at < $1 LIMIT $2)";
}

/// A request that must have its effect once.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// The client's `Idempotency-Key`.
    pub name: String,
    /// SHA-256 of what was asked, hexadecimal: the same key with another request is refused.
    pub request_hash: String,
    /// What to answer, now and again, JSON.
    pub answer: String,
}

/// What is accepted together: all or nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// The jobs.
    pub jobs: &'a [NewJob],
    /// The request that must have its effect once.
    pub once: Option<&'a Idempotency>,
    /// Uploads of which there is one job at a time, each with its job.
    pub contents: &'a [Content],
    /// When pictures that are made expire.
    pub expiries: &'a [Expiry],
}

/// The bytes of an upload, and the job that makes a picture of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// The job.
    pub job: JobId,
    /// The job before it, which is over and left no picture.
    pub seen: Option<JobId>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The rows are committed.
    New,
    /// It was accepted before: the answer of that time.
    Replayed(String),
    /// The key was used for another request.
    KeyReused,
    /// Nothing was accepted, since the same bytes are being worked on: by this job.
    BeingMade(Content),
    /// Nothing was accepted, since this job has worked on the same bytes: look whether its picture is there, and say that it was
    /// seen.
    Made(Content),
    /// The caller's context is not the present one: resolve again.
    Outdated,
    /// The tenant is not active, or not there.
    NotActive(Option<TenantState>),
}

/// Accepts what `request` asks for of `tenant`, all or nothing.
///
/// # Errors
/// When the database is away; nothing is accepted then, or it is unknown, which an idempotency key makes harmless.
pub async fn accept(
    db: &Db,
    tenant: &TenantId,
    judged_by: Stamp,
    request: Request<'_>,
    now: Millis,
    published: bool,
) -> Result<Accepted, DbError> {
    let mut tx = db.begin_write().await?;
    match tenants::standing(&mut tx, tenant).await? {
        Some((TenantState::Active, present)) if present == judged_by => {}
        Some((TenantState::Active, _)) => return Ok(Accepted::Outdated),
        other => return Ok(Accepted::NotActive(other.map(|(state, _)| state))),
    }
    if let Some(once) = request.once
        && let Some(before) = remember(&mut tx, tenant.as_str(), once, now).await?
    {
        return Ok(before);
    }
    // In one order for all: two requests never wait for each other.
    let mut contents: Vec<&Content> = request.contents.iter().collect();
    contents.sort_by(|a, b| a.sha256.cmp(&b.sha256));
    for content in contents {
        if let Some((job, open)) = make(&mut tx, tenant, content, now).await? {
            let other = Content { job, ..content.clone() };
            return Ok(if open {
                Accepted::BeingMade(other)
            } else {
                Accepted::Made(other)
            });
        }
    }
    for job in request.jobs {
        jobs::insert(&mut tx, job, now, published).await?;
    }
    jobs::note_turns(&mut tx, request.jobs).await?;
    for expiry in request.expiries {
        expiries::note_in(&mut tx, expiry).await?;
    }
    tx.commit().bounded("accept jobs").await?;
    Ok(Accepted::New)
}

/// Notes that a job that has been accepted makes a picture of an upload's bytes, which nobody knew when it was. Another job
/// that is, or was, at it, and whether it still is: nothing is noted then.
///
/// # Errors
/// When the database is away.
pub async fn claim_content(
    db: &Db,
    tenant: &TenantId,
    content: &Content,
    now: Millis,
) -> Result<Option<(JobId, bool)>, DbError> {
    let mut tx = db.begin_write().await?;
    let other = make(&mut tx, tenant, content, now).await?;
    tx.commit().bounded("note an upload's bytes").await?;
    Ok(other.filter(|(job, _)| *job != content.job))
}

/// Notes which job makes a picture of an upload's bytes. Another job that is, or was, at it, and whether it still is; one that was
/// seen to be over is replaced.
async fn make(
    connection: &mut AnyConnection,
    tenant: &TenantId,
    content: &Content,
    now: Millis,
) -> Result<Option<(JobId, bool)>, DbError> {
    const WHAT: &str = "note an upload's bytes";
    // With a space: no client's key is one of these.
    let name = format!("content {}", content.sha256);
    let once = Idempotency {
        name: name.clone(),
        request_hash: String::new(),
        answer: content.job.to_string(),
    };
    loop {
        let Some(Accepted::Replayed(job)) = remember(connection, tenant.as_str(), &once, now).await? else {
            return Ok(None);
        };
        let other: JobId = job.parse().map_err(|error| DbError::unreadable(WHAT, error))?;
        if content.seen.as_ref() != Some(&other) {
            let query = OPEN_JOB.query().bind(job);
            let open = query.fetch_optional(&mut *connection).bounded(WHAT).await?;
            return Ok(Some((other, open.is_some())));
        }
        let query = RENEW
            .query()
            .bind(content.job.to_string())
            .bind(now.get())
            .bind(tenant.to_string())
            .bind(name.clone())
            .bind(job);
        let renewed = query.fetch_optional(&mut *connection).bounded(WHAT).await?;
        if renewed.is_some() {
            return Ok(None);
        }
        // Another has replaced it meanwhile: whoever that is.
    }
}

/// Whose idempotency keys an operator's are: no tenant's id begins so.
#[must_use]
pub fn operators_keys(number: i64) -> String {
    format!("!key:{number}")
}

/// Remembers a request of `owner` within a transaction. `None`: for the first time; else what became of the first.
pub(crate) async fn remember(
    connection: &mut AnyConnection,
    owner: &str,
    once: &Idempotency,
    now: Millis,
) -> Result<Option<Accepted>, DbError> {
    let query = REMEMBER
        .query()
        .bind(owner.to_owned())
        .bind(once.name.clone())
        .bind(once.request_hash.clone())
        .bind(once.answer.clone())
        .bind(now.get());
    let first = query
        .fetch_optional(&mut *connection)
        .bounded("remember a request")
        .await?;
    if first.is_some() {
        return Ok(None);
    }
    let query = RECALL.query().bind(owner.to_owned()).bind(once.name.clone());
    let row = query.fetch_one(connection).bounded("recall a request").await?;
    let hash: String = row.try_get(0).during("recall a request")?;
    let answer: String = row.try_get(1).during("recall a request")?;
    Ok(Some(if hash == once.request_hash {
        Accepted::Replayed(answer)
    } else {
        Accepted::KeyReused
    }))
}

/// What an idempotency key was used for before: the request's hash and its answer.
///
/// # Errors
/// When the database is away.
pub async fn recall(db: &Db, tenant: &TenantId, name: &str) -> Result<Option<(String, String)>, DbError> {
    const WHAT: &str = "recall a request";
    let query = RECALL.query().bind(tenant.as_str().to_owned()).bind(name.to_owned());
    let row = query.fetch_optional(db.read()).bounded(WHAT).await?;
    row.map(|row| Ok((row.try_get(0).during(WHAT)?, row.try_get(1).during(WHAT)?)))
        .transpose()
}

/// Forgets keys older than `before`, at most `most`. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn prune_keys(db: &Db, before: Millis, most: i64) -> Result<u64, DbError> {
    let query = PRUNE.query().bind(before.get()).bind(most);
    query
        .execute(db.write())
        .bounded("forget idempotency keys")
        .await
        .map(|done| done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;
    use futures_util::future::join_all;

    crate::on_both_sides!(one_of_many_takes_the_place_of_a_job_that_is_over);

    async fn one_of_many_takes_the_place_of_a_job_that_is_over(world: World) {
        let services = &world.services;
        let (tenant, now) = (world.tenant().await.id().clone(), services.clock.now());
        let content = |seen: Option<&JobId>| Content {
            sha256: "7".repeat(64),
            job: JobId::generate(&services.clock, &services.entropy),
            seen: seen.cloned(),
        };
        let over = content(None);
        let first = claim_content(&services.control, &tenant, &over, now).await.unwrap();
        assert_eq!(first, None);
        let many: Vec<Content> = (0..8).map(|_| content(Some(&over.job))).collect();
        let claims = many
            .iter()
            .map(|one| claim_content(&services.control, &tenant, one, now));
        let told = join_all(claims).await;
        let took: Vec<&Content> = many
            .iter()
            .zip(&told)
            .filter(|(_, told)| matches!(told, Ok(None)))
            .map(|(one, _)| one)
            .collect();
        assert_eq!(took.len(), 1, "{told:?}");
        // None of these jobs has a row: whoever was later hears of one that is over.
        let others = told
            .iter()
            .filter(|told| matches!(told, Ok(Some((job, false))) if *job == took[0].job));
        assert_eq!(others.count(), 7, "{told:?}");
    }
}

//! Moves storages' tasks on: jobs for some more of a storage's pictures, as long as not too many of them are waiting.

use crate::{
    accept,
    timer::{Report, Timer, TimerError},
};
use mediamill_shared::{
    control::{
        jobs::NewJob,
        storages::{
            self, StorageState,
            tasks::{self, Cursor, Task, TaskKind, TaskState},
        },
        tenants::{self, Filter},
    },
    db::DbError,
    ids::{MediaId, TenantId},
    jobs::{MoveMedia, VerifyMedia},
    placement::Spot,
    services::Services,
    tenancy::Tenant,
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// Jobs of a task that wait or run at a time: its tenants' own work is not behind all of it.
const MOST_OPEN: i64 = 200;
/// Tenants that are looked at in one run.
const TENANTS: i64 = 200;

pub(crate) struct FeedStorageTasks;

impl Timer for FeedStorageTasks {
    const NAME: &'static str = "feed-storage-tasks";
    const EVERY: Duration = Duration::from_secs(1);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let mut report = Report::default();
        for task in tasks::running(&services.control).await? {
            let step = match step(services, &task).await {
                Ok(step) => step,
                // A tenant's database that is away holds up its own storage's task alone.
                Err(error) => {
                    tracing::warn!(
                        storage = %task.storage, error = &error as &dyn std::error::Error,
                        "a storage's task is gone on with by a later run"
                    );
                    continue;
                }
            };
            report.changed = report.changed.saturating_add(step.fed);
            report.unfinished |= step.more;
        }
        Ok(report)
    }
}

#[derive(Default)]
struct Step {
    fed: i64,
    more: bool,
}

async fn step(services: &Services, task: &Task) -> Result<Step, TimerError> {
    let open = tasks::open_jobs(&services.control, task).await?;
    let room = MOST_OPEN.saturating_sub(open);
    if room <= 0 {
        return Ok(Step::default());
    }
    let (mut jobs, mut cursor) = (Vec::new(), task.cursor.clone());
    let mut seen = 0_i64;
    let mut over = false;
    while i64::try_from(jobs.len()).unwrap_or(i64::MAX) < room && seen < TENANTS {
        let Some((serial, tenant)) = at(services, task, &cursor).await? else {
            over = true;
            break;
        };
        let left = room.saturating_sub(i64::try_from(jobs.len()).unwrap_or(i64::MAX));
        let media = pictures(&tenant, task, cursor.within(&serial), left).await?;
        let Some(last) = media.last() else {
            cursor.tenant = serial;
            cursor.media = String::new();
            seen += 1;
            continue;
        };
        cursor.media = format!("{serial} {last}");
        for media in media.iter().filter(|media| is_sampled(task, media)) {
            jobs.push(job(services, task, &tenant, media)?);
        }
    }
    cursor.fed = cursor.fed.saturating_add(i64::try_from(jobs.len()).unwrap_or(i64::MAX));
    let (to, state) = if over {
        let end = End {
            open,
            failed: match task.kind {
                TaskKind::Verify if open == 0 => tasks::failed_jobs(&services.control, task).await?,
                TaskKind::Verify | TaskKind::Move => 0,
            },
            nothing_new: jobs.is_empty(),
            filled: is_still_filled(services, task).await?,
        };
        at_the_end(task, cursor, &end)
    } else {
        (cursor, TaskState::Running)
    };
    if to == task.cursor && state == task.state {
        return Ok(Step::default());
    }
    let (now, published) = (services.clock.now(), services.queue.rows_are_messages());
    if !tasks::advance(&services.control, task, &to, state, &jobs, now, published).await? {
        // Somebody else moved it on, or stopped it.
        return Ok(Step::default());
    }
    for job in &jobs {
        services.outbox.offer(job.pool, job.envelope(now));
    }
    Ok(Step {
        fed: i64::try_from(jobs.len()).unwrap_or(i64::MAX),
        more: seen >= TENANTS,
    })
}

/// What there is at the end of a pass.
struct End {
    /// Jobs that wait or run.
    open: i64,
    /// Jobs of a verification that ended without having read what they were to read; known where none is open.
    failed: i64,
    nothing_new: bool,
    filled: bool,
}

/// Where a task goes from the end of a pass: it is at its own end, or there is another pass for what came or stayed meanwhile.
fn at_the_end(task: &Task, cursor: Cursor, end: &End) -> (Cursor, TaskState) {
    if end.open > 0 || !end.nothing_new {
        // What is on its way now would be found again: the next run looks again whether it has arrived.
        return (cursor, TaskState::Running);
    }
    match task.kind {
        TaskKind::Verify if end.failed > 0 => (cursor, TaskState::Stopped),
        TaskKind::Verify => (cursor, TaskState::Done),
        // A file that was on its way when it began to drain has room claimed, and comes.
        TaskKind::Move if cursor.fed == 0 && end.filled => (Cursor::default(), TaskState::Running),
        TaskKind::Move if cursor.fed == 0 => (cursor, TaskState::Done),
        TaskKind::Move if cursor.fed_before.is_some_and(|before| cursor.fed >= before) => (cursor, TaskState::Stopped),
        TaskKind::Move => {
            let next = Cursor {
                fed_before: Some(cursor.fed),
                ..Cursor::default()
            };
            (next, TaskState::Running)
        }
    }
}

/// Whether something lies in a storage that takes nothing any more, or has room there.
async fn is_still_filled(services: &Services, task: &Task) -> Result<bool, DbError> {
    let Spot::Storage(id) = &task.storage else {
        return Ok(false);
    };
    let row = storages::get(&services.control, id).await?;
    Ok(row.is_some_and(|row| row.state == StorageState::Draining && row.objects > 0))
}

/// The tenant that comes after those that a cursor is done with, and its serial.
async fn at(services: &Services, task: &Task, cursor: &Cursor) -> Result<Option<(String, Tenant)>, TimerError> {
    let mut done = cursor.tenant.clone();
    loop {
        let row = if let Some(owner) = owner(services, task).await? {
            let row = tenants::get(&services.control, &owner).await?;
            row.filter(|row| row.serial != done)
        } else {
            let page = tenants::page(&services.control, &Filter::default(), Some(&done), 1).await?;
            page.into_iter().next()
        };
        let Some(row) = row else { return Ok(None) };
        if let Some(tenant) = services.resolver.by_id(&row.id).await?
            && tenant.tables().is_ok()
        {
            return Ok(Some((row.serial, tenant)));
        }
        // On its way in or out, or of another release: what is left of it is found by another pass.
        done = row.serial;
    }
}

/// Whose storage it is. `None`: the provider's, where everybody's files may lie.
async fn owner(services: &Services, task: &Task) -> Result<Option<TenantId>, DbError> {
    match &task.storage {
        Spot::Main => Ok(None),
        Spot::Storage(id) => {
            let row = storages::get(&services.control, id).await?;
            Ok(row.and_then(|row| row.tenant))
        }
    }
}

async fn pictures(tenant: &Tenant, task: &Task, after: Option<&str>, most: i64) -> Result<Vec<MediaId>, TimerError> {
    let Ok(db) = tenant.tables() else { return Ok(Vec::new()) };
    let after: Option<MediaId> = after.and_then(|after| after.parse().ok());
    Ok(db.media_at(&task.storage, after.as_ref(), most).await?)
}

/// By the picture's chance in this run, spread over all: the same however often the run is gone on with, others in the next.
fn is_sampled(task: &Task, media: &MediaId) -> bool {
    let mut chance = DefaultHasher::new();
    (task.id.as_str(), media.as_str()).hash(&mut chance);
    chance
        .finish()
        .checked_rem(task.sample.unsigned_abs())
        .is_none_or(|rest| rest == 0)
}

fn job(services: &Services, task: &Task, tenant: &Tenant, media: &MediaId) -> Result<NewJob, TimerError> {
    let (media, storage, id) = (media.clone(), task.storage.to_string(), Some(task.id.clone()));
    match task.kind {
        TaskKind::Move => {
            let to = task.target.as_ref().map(ToString::to_string);
            let payload = MoveMedia {
                media,
                from: storage,
                to,
                task: id,
            };
            accept::job(services, tenant, &payload, task.subject())
        }
        TaskKind::Verify => {
            let payload = VerifyMedia {
                media,
                storage,
                task: id,
            };
            accept::job(services, tenant, &payload, task.subject())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mediamill_shared::{
        clock::{Clock, Entropy},
        control::storages::tasks::Found,
        units::Millis,
    };
    use std::collections::BTreeSet;

    fn verify(id: &str, sample: i64) -> Task {
        Task {
            storage: Spot::Main,
            id: id.to_owned(),
            kind: TaskKind::Verify,
            target: None,
            sample,
            state: TaskState::Running,
            cursor: Cursor::default(),
            found: Found::default(),
            started_at: Millis::new(0),
            updated_at: Millis::new(0),
        }
    }

    #[test]
    fn a_sample_is_one_in_so_many_and_another_one_with_every_run() {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let pictures: Vec<MediaId> = (0..20_000).map(|_| MediaId::generate(&clock, &entropy)).collect();
        for sample in [2_usize, 7, 100] {
            let read = |id: &str| -> BTreeSet<&MediaId> {
                let task = verify(id, i64::try_from(sample).unwrap());
                pictures.iter().filter(|media| is_sampled(&task, media)).collect()
            };
            let (first, second) = (read("01hf7y0000000000000000000a"), read("01hf7y0000000000000000000b"));
            // Six deviations: less than 6 * sqrt(n), of n that are to be expected.
            let about = |count: usize, expected: usize| count.abs_diff(expected).pow(2) < 36 * expected;
            let expected = pictures.len() / sample;
            assert!(
                about(first.len(), expected) && about(second.len(), expected),
                "1 in {sample}"
            );
            let both = first.intersection(&second).count();
            assert!(about(both, expected / sample), "1 in {sample}: {both} are read by both");
            assert_eq!(first, read("01hf7y0000000000000000000a"));
        }
        let all = verify("01hf7y0000000000000000000a", 1);
        assert!(pictures.iter().all(|media| is_sampled(&all, media)));
    }
}

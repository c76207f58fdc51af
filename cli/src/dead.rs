//! `mediamill dead`: jobs that used up their attempts.

use crate::{
    cli::{Dead, Which},
    jobs as show, output,
};
use anyhow::Context;
use mediamill_shared::{
    control::{
        audit::Actor,
        jobs::{self, JobRow, Purged},
        storages::{self, Claimant, Shares},
    },
    ids::{JobId, MediaId, TenantId},
    jobs::{FetchMedia, JobKind, JobState, MakeVariant, MoveTenant, ProcessMedia},
    objects::{ObjectKey, Store},
    placement::Spot,
    quota::Claim,
    services::Services,
    tenancy::{Place, store::media::Variant},
};
use std::process::ExitCode;

/// Jobs read at a time.
const PAGE: i64 = 500;

pub(crate) async fn run(services: &Services, command: Dead, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Dead::List(listing) => {
            let mut left = listing.wanted();
            let mut pages = Pages::default();
            while left > 0
                && let Some(page) = pages.next(services).await?
            {
                for job in page.iter().take(left) {
                    list_one(job, json)?;
                }
                left = left.saturating_sub(page.len());
            }
            Ok(ExitCode::SUCCESS)
        }
        Dead::Show { id } => show_one(services, &id, json).await,
        Dead::Retry(which) => {
            let now = services.clock.now();
            each(services, which, ("is queued again", json), async |id| {
                Ok(jobs::retry(&services.control, id, now).await?)
            })
            .await
        }
        Dead::Purge(which) => {
            each(services, which, ("is purged", json), async |id| {
                purge(services, id).await
            })
            .await
        }
    }
}

/// Dead jobs, page by page in the order of their ids.
#[derive(Default)]
struct Pages {
    after: Option<JobId>,
}

impl Pages {
    async fn next(&mut self, services: &Services) -> anyhow::Result<Option<Vec<JobRow>>> {
        let page = jobs::dead(&services.control, self.after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = Some(last.id.clone());
        Ok(Some(page))
    }
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
    let job = jobs::get(&services.control, id)
        .await?
        .filter(|job| job.state == JobState::Dead);
    let job = job.with_context(|| format!("there is no dead job {id}"))?;
    let payload = jobs::payload(&services.control, id).await?.unwrap_or_default();
    if json {
        let mut value = show::as_json(&job);
        if let Some(fields) = value.as_object_mut() {
            fields.insert(
                "payload".into(),
                serde_json::from_str(&payload).unwrap_or(payload.into()),
            );
        }
        output::json(&value)?;
    } else {
        output::line(show::in_words(&job));
        output::line(format!("{:<9} {}", "payload", output::plain(&payload)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Does `work` for each job; says which were not dead, and how many were. Exit code 1 when a named one was not.
async fn each<F>(services: &Services, which: Which, (done, json): (&str, bool), work: F) -> anyhow::Result<ExitCode>
where
    F: AsyncFn(&JobId) -> anyhow::Result<bool>,
{
    let (mut changed, mut missed) = (0_u64, 0_u64);
    if which.all {
        let mut pages = Pages::default();
        while let Some(page) = pages.next(services).await? {
            for job in page {
                changed = changed.saturating_add(u64::from(work(&job.id).await?));
            }
        }
    } else {
        for id in &which.ids {
            if work(id).await? {
                changed = changed.saturating_add(1);
                if !json {
                    output::line(format!("{id} {done}"));
                }
            } else {
                missed = missed.saturating_add(1);
                output::remark(format!("{id} is not a dead job"));
            }
        }
    }
    let answer = serde_json::json!({ "jobs": changed, "not_dead": missed });
    let words = format!("{changed} {}", if changed == 1 { "job" } else { "jobs" });
    output::done(json, &answer, words)?;
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Removes the row, then what it kept alive. A crash in between leaves bytes that the scheduler sweeps and a
/// reservation that ends with its counter.
async fn purge(services: &Services, id: &JobId) -> anyhow::Result<bool> {
    let Some(purged) = jobs::purge(&services.control, id).await? else {
        return Ok(false);
    };
    match purged.kind {
        JobKind::MediaProcess => {
            let payload = serde_json::from_str::<ProcessMedia>(&purged.payload);
            give_back(services, id, &purged, payload.ok().map(|job| job.media)).await?;
        }
        JobKind::MediaFetch => {
            let payload = serde_json::from_str::<FetchMedia>(&purged.payload);
            give_back(services, id, &purged, payload.ok().map(|job| job.media)).await?;
        }
        JobKind::MediaVariant => forget_variant(services, id, &purged).await?,
        JobKind::TenantProvision => {
            if let Some(tenant) = &purged.tenant {
                let cause = "its provisioning job was purged";
                services.lifecycle.undo(tenant, cause, &Actor::cli(), None).await?;
            }
        }
        JobKind::TenantMigrate => stay(services, id, &purged).await?,
        // The picture of a move or a look stays where it is recorded; the storage's next task finds what is not where it should be.
        JobKind::MediaMove
        | JobKind::MediaVerify
        // These are never dead but by a worker that they end. A tenant whose removal was given up is found again by the scheduler.
        | JobKind::MediaDelete
        | JobKind::ObjectsRemove
        | JobKind::TenantDeprovision
        | JobKind::Noop => {}
    }
    Ok(true)
}

/// The tenant stays where it was.
async fn stay(services: &Services, id: &JobId, purged: &Purged) -> anyhow::Result<()> {
    let Some(tenant) = &purged.tenant else { return Ok(()) };
    if let Ok(payload) = serde_json::from_str::<MoveTenant>(&purged.payload)
        && let Ok(from) = Place::try_from(&payload.from)
    {
        services.lifecycle.stay(tenant, id, &from).await?;
    }
    Ok(())
}

/// What the job placed goes, unless it is recorded, and so does what the counters hold.
async fn forget_variant(services: &Services, id: &JobId, purged: &Purged) -> anyhow::Result<()> {
    let Some(owner) = &purged.tenant else { return Ok(()) };
    let Some(tenant) = services.resolver.by_id(owner).await? else {
        return Ok(());
    };
    if let Ok(payload) = serde_json::from_str::<MakeVariant>(&purged.payload) {
        let recorded: Vec<Variant> = tenant
            .db()?
            .variant(&payload.media, &payload.name)
            .await?
            .into_iter()
            .collect();
        let own = format!("{}-{id}", payload.name);
        let is_own = |key: &ObjectKey| key.as_str().contains(&own);
        let kept = recorded.iter().any(|variant| is_own(&variant.object));
        clear(services, owner, id, &payload.media, &recorded, kept, is_own).await?;
    }
    let claim = Claim {
        media: 0,
        bytes: purged.reserved,
    };
    services.quota.release(&tenant, claim).await;
    Ok(())
}

/// Removes what a job's attempts have put anywhere and `files` do not speak of, and gives back what they have claimed, unless
/// what they made is `kept`.
async fn clear(
    services: &Services,
    tenant: &TenantId,
    job: &JobId,
    media: &MediaId,
    files: &[Variant],
    kept: bool,
    is_own: impl Fn(&ObjectKey) -> bool,
) -> anyhow::Result<()> {
    let line = Claimant::named(job.to_string());
    let tried = storages::shares(&services.control, &line).await?;
    let spots = tried.keys().cloned().chain([Spot::Main]);
    let prefix = format!("{}/{tenant}/{media}", ObjectKey::MEDIA);
    for spot in spots {
        let Some(opened) = services.storages.spot(tenant, &spot).await? else {
            continue;
        };
        let recorded = |key: &ObjectKey| {
            let mut files = files.iter();
            files.any(|file| file.object == *key && file.places.all().any(|place| *place == spot))
        };
        for listed in opened.objects.list(&prefix, None, 500).await? {
            if is_own(&listed.key) && !recorded(&listed.key) {
                opened.objects.delete(&listed.key).await?;
            }
        }
    }
    if !kept && !tried.is_empty() {
        storages::settle(&services.control, &line, &Shares::new(), services.clock.now()).await?;
    }
    Ok(())
}

/// What an upload's job has made goes, unless it is recorded, with the staged bytes and what the counters hold. `media` is the
/// picture to be; of an unreadable payload nothing is known that could be cleared.
async fn give_back(services: &Services, job: &JobId, purged: &Purged, media: Option<MediaId>) -> anyhow::Result<()> {
    let Some(id) = &purged.tenant else { return Ok(()) };
    services.objects.delete(&ObjectKey::staged(id, job)).await?;
    if let Some(tenant) = services.resolver.by_id(id).await? {
        if let (Some(media), Ok(db)) = (media, tenant.db()) {
            let files = db.variants(&media).await?;
            let with_it = |key: &ObjectKey| !key.is_on_demand();
            clear(services, id, job, &media, &files, !files.is_empty(), with_it).await?;
        }
        let claim = Claim {
            media: 1,
            bytes: purged.reserved,
        };
        services.quota.release(&tenant, claim).await;
    }
    Ok(())
}

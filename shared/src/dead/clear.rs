//! What a purged job leaves: staged bytes, objects that its attempts placed, reservations, a tenant half made or half moved.

use super::DeadJobs;
use crate::{
    control::{
        audit::Actor,
        jobs::{self, Purged},
        storages::{self, Claimant, Shares},
    },
    db::DbError,
    ids::{JobId, MediaId, TenantId},
    jobs::{FetchMedia, JobKind, MakeVariant, MoveTenant, ProcessMedia, ProvisionTenant},
    objects::{ObjectError, ObjectKey, Store},
    placement::Spot,
    quota::Claim,
    tenancy::{LifecycleError, MoveError, NotServed, Place, ResolveError, Tenant, store::media::Variant},
};

/// Objects of one picture at most, in one place.
const MOST_FILES: u16 = 500;

/// What a purged job kept alive is not all gone.
#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    /// A database did not answer.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A store did not.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// Its tenant could not be looked up.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Its tenant's tables cannot be read by this release.
    #[error(transparent)]
    Tables(#[from] NotServed),
    /// What it may have left may be a copy that another job has just made.
    #[error("the picture is being moved: what its job has left is found by reconcile-objects")]
    Moving,
    /// The tenant that it was to make could not be undone.
    #[error(transparent)]
    Undo(#[from] LifecycleError),
    /// The tenant that it was to move could not be opened where it is.
    #[error(transparent)]
    Stay(#[from] MoveError),
}

/// Which objects of a picture a job may have placed, and what is recorded of that picture.
struct Traces<'a> {
    media: &'a MediaId,
    recorded: Vec<Variant>,
    /// What the job made is recorded: its claims are settled.
    kept: bool,
}

impl DeadJobs {
    pub(super) async fn clear(&self, id: &JobId, purged: &Purged, actor: &Actor) -> Result<(), ClearError> {
        match purged.kind {
            JobKind::MediaProcess => {
                let payload = serde_json::from_str::<ProcessMedia>(&purged.payload);
                self.clear_upload(id, purged, payload.ok().map(|job| job.media)).await
            }
            JobKind::MediaFetch => {
                let payload = serde_json::from_str::<FetchMedia>(&purged.payload);
                self.clear_upload(id, purged, payload.ok().map(|job| job.media)).await
            }
            JobKind::MediaVariant => self.clear_variant(id, purged).await,
            JobKind::TenantProvision => {
                if let Some(tenant) = &purged.tenant {
                    let (lifecycle, cause) = (&self.parts.lifecycle, "its provisioning job was purged");
                    match serde_json::from_str::<ProvisionTenant>(&purged.payload) {
                        Ok(wanted) => lifecycle.undo_wanted((tenant, &wanted), cause, actor, None).await?,
                        Err(_) => lifecycle.undo(tenant, cause, actor, None).await?,
                    }
                }
                Ok(())
            }
            JobKind::TenantMigrate => self.stay(id, purged).await,
            // The picture of a move or a look stays where it is recorded; the storage's next task finds what is not where it should be.
            JobKind::MediaMove
            | JobKind::MediaVerify
            // These are never dead but by a worker that they end. A tenant whose removal was given up is found again by the scheduler.
            | JobKind::MediaDelete
            | JobKind::ObjectsRemove
            | JobKind::TenantDeprovision
            | JobKind::Noop => Ok(()),
        }
    }

    /// The tenant stays where it was.
    async fn stay(&self, id: &JobId, purged: &Purged) -> Result<(), ClearError> {
        let Some(tenant) = &purged.tenant else { return Ok(()) };
        // Of an unreadable payload the scheduler finds that nobody goes on with the move.
        if let Ok(payload) = serde_json::from_str::<MoveTenant>(&purged.payload)
            && let Ok(from) = Place::try_from(&payload.from)
        {
            self.parts.lifecycle.stay(tenant, id, &from).await?;
        }
        Ok(())
    }

    /// What an upload's job has made goes, unless it is recorded, with the staged bytes and what the counters hold. `media` is the
    /// picture to be; of an unreadable payload nothing is known that could be cleared.
    async fn clear_upload(&self, job: &JobId, purged: &Purged, media: Option<MediaId>) -> Result<(), ClearError> {
        let Some(owner) = &purged.tenant else { return Ok(()) };
        self.parts.objects.delete(&ObjectKey::staged(owner, job)).await?;
        let Some(tenant) = self.parts.resolver.by_id(owner).await? else {
            return Ok(());
        };
        // First what needs nobody's answer.
        self.give_back(&tenant, 1, purged).await;
        let Some(media) = &media else { return Ok(()) };
        let recorded = tenant.tables()?.variants(media).await?;
        let traces = Traces {
            media,
            kept: !recorded.is_empty(),
            recorded,
        };
        self.clear_objects(owner, job, &traces, |key| !key.is_on_demand()).await
    }

    /// What the job placed goes, unless it is recorded, and so does what the counters hold.
    async fn clear_variant(&self, job: &JobId, purged: &Purged) -> Result<(), ClearError> {
        let Some(owner) = &purged.tenant else { return Ok(()) };
        let Some(tenant) = self.parts.resolver.by_id(owner).await? else {
            return Ok(());
        };
        self.give_back(&tenant, 0, purged).await;
        let Ok(payload) = serde_json::from_str::<MakeVariant>(&purged.payload) else {
            return Ok(());
        };
        let found = tenant.tables()?.variant(&payload.media, &payload.name).await?;
        let recorded: Vec<Variant> = found.into_iter().collect();
        let own = format!("{}-{job}", payload.name);
        let is_own = |key: &ObjectKey| key.as_str().contains(&own);
        let traces = Traces {
            media: &payload.media,
            kept: recorded.iter().any(|variant| is_own(&variant.object)),
            recorded,
        };
        self.clear_objects(owner, job, &traces, is_own).await
    }

    async fn give_back(&self, tenant: &Tenant, media: i64, purged: &Purged) {
        let bytes = purged.reserved;
        self.parts.quota.release(tenant, Claim { media, bytes }).await;
    }

    /// Removes what a job's attempts have put anywhere and no row speaks of, and gives back what they have claimed of storages,
    /// unless what they made is kept.
    async fn clear_objects(
        &self,
        tenant: &TenantId,
        job: &JobId,
        traces: &Traces<'_>,
        is_own: impl Fn(&ObjectKey) -> bool,
    ) -> Result<(), ClearError> {
        let parts = &*self.parts;
        if jobs::is_moved_by_another(&parts.control, tenant, traces.media, job).await? {
            return Err(ClearError::Moving);
        }
        let line = Claimant::named(job.to_string());
        let tried = storages::shares(&parts.control, &line).await?;
        let prefix = ObjectKey::files(tenant, traces.media);
        for spot in tried.keys().cloned().chain([Spot::Main]) {
            let Some(opened) = parts.storages.spot(tenant, &spot).await? else {
                continue;
            };
            let recorded = |key: &ObjectKey| {
                let mut files = traces.recorded.iter();
                files.any(|file| file.object == *key && file.places.all().any(|place| *place == spot))
            };
            for listed in opened.objects.list(&prefix, None, MOST_FILES).await? {
                if is_own(&listed.key) && !recorded(&listed.key) {
                    opened.objects.delete(&listed.key).await?;
                }
            }
        }
        if !traces.kept && !tried.is_empty() {
            storages::settle(&parts.control, &line, &Shares::new(), parts.clock.now()).await?;
        }
        Ok(())
    }
}

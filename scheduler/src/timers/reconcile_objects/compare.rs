//! One tenant's objects in one storage.

use super::{
    Look,
    merge::{Merge, Pair},
};
use crate::{accept::accept, timer::TimerError};
use mediamill_shared::{
    control::{
        jobs,
        object_findings::{self, ObjectFinding, ObjectProblem},
    },
    ids::MediaId,
    jobs::VerifyMedia,
    objects::{Listed, Store},
    placement::Opened,
    telemetry::names,
    tenancy::{Tenant, TenantDb, store::media::Variant},
};

/// A listing weighs as much as so many objects that are compared.
const A_LISTING: i64 = 100;

pub(super) struct Comparison<'l, 'a> {
    look: &'l mut Look<'a>,
    tenant: &'l Tenant,
    place: &'l Opened,
    db: TenantDb,
    /// The picture whose files a job reads again already.
    read_again: Option<MediaId>,
}

impl<'l, 'a> Comparison<'l, 'a> {
    pub(super) fn new(look: &'l mut Look<'a>, tenant: &'l Tenant, place: &'l Opened) -> Result<Self, TimerError> {
        Ok(Self {
            db: tenant.tables()?,
            look,
            tenant,
            place,
            read_again: None,
        })
    }

    /// Compares what comes behind the picture `after`. Says which picture's files were the last, where there is more than the look
    /// may do.
    pub(super) async fn run(mut self, after: Option<MediaId>) -> Result<Option<MediaId>, TimerError> {
        let db = self.db.clone();
        let mut done = after.clone();
        let mut merge = Merge::new(self.tenant.id(), &db, &self.place.spot, &self.place.objects, after);
        while let Some(pair) = merge.next().await? {
            let media = match &pair {
                Pair::Row(row) | Pair::Both(row, _) => Some(row.media.clone()),
                Pair::Object(object) => object.key.picture(),
            };
            let spent = self.look.left <= merge.listings.saturating_mul(A_LISTING);
            // Between two pictures, so that the look goes on at the beginning of one.
            if spent && done.is_some() && media != done && media.is_some() {
                self.look.left = 0;
                return Ok(done);
            }
            self.look.left = self.look.left.saturating_sub(1);
            match pair {
                Pair::Row(row) => self.unlisted(&row).await?,
                Pair::Object(object) => self.unrecorded(&object).await?,
                Pair::Both(row, object) if row.bytes != object.bytes => self.of_other_size(&row).await?,
                Pair::Both(..) => {}
            }
            done = media.or(done);
        }
        let spent = merge.listings.saturating_mul(A_LISTING);
        self.look.left = self.look.left.saturating_sub(spent);
        if !self.look.scope.is_dry() {
            let (control, began) = (&self.look.services.control, self.look.began);
            object_findings::forget_unseen(control, self.tenant.id(), &self.place.spot, began).await?;
        }
        Ok(None)
    }

    /// Whether a file is still recorded here as it was, and is not on its way out.
    async fn is_held(&self, row: &Variant) -> Result<bool, TimerError> {
        let present = self.db.variant(&row.media, &row.name).await?;
        Ok(present.is_some_and(|present| {
            present.bytes == row.bytes
                && present.object == row.object
                && present.places.held().contains(&self.place.spot)
        }))
    }

    async fn unlisted(&mut self, row: &Variant) -> Result<(), TimerError> {
        if !row.places.held().contains(&self.place.spot) || self.place.objects.stat(&row.object).await?.is_some() {
            return Ok(());
        }
        // After the storage was asked: whoever removes files hides their picture first.
        if self.is_held(row).await? {
            self.found(row.object.as_str(), ObjectProblem::Missing, Some(&row.media))
                .await?;
        }
        Ok(())
    }

    async fn of_other_size(&mut self, row: &Variant) -> Result<(), TimerError> {
        let stat = self.place.objects.stat(&row.object).await?;
        if stat.is_some_and(|stat| stat.bytes != row.bytes) && self.is_held(row).await? {
            self.found(row.object.as_str(), ObjectProblem::Size, Some(&row.media))
                .await?;
        }
        Ok(())
    }

    async fn unrecorded(&mut self, object: &Listed) -> Result<(), TimerError> {
        let services = self.look.services;
        let Some(media) = object.key.picture() else {
            return self.found(object.key.as_str(), ObjectProblem::Foreign, None).await;
        };
        let age = services.config.orphan_age;
        let newest = services.clock.now().before(age);
        if object.modified.is_none_or(|modified| modified > newest) {
            return Ok(());
        }
        // First the jobs, then the rows: a job that has ended since has recorded what it placed.
        if jobs::concern(&services.control, self.tenant.id(), &media).await? || self.is_recorded(object, &media).await?
        {
            return Ok(());
        }
        let (tenant, spot) = (self.tenant.id(), &self.place.spot);
        let said = || format!("{} in {spot}, {}: no row has it", object.key, object.bytes);
        self.look.scope.tell(Some(tenant), said).await;
        if self.look.scope.is_dry() || age.is_zero() {
            return Ok(());
        }
        if let Err(error) = self.place.objects.delete(&object.key).await {
            return self.look.failures.pass_over(&object.key, error.into());
        }
        tracing::info!(tenant.id = %tenant, storage = %spot, object = %object.key, bytes = object.bytes.get(), "an object that no row has was removed");
        metrics::counter!(names::ORPHANS_REMOVED).increment(1);
        self.look.changed = self.look.changed.saturating_add(1);
        Ok(())
    }

    async fn is_recorded(&self, object: &Listed, media: &MediaId) -> Result<bool, TimerError> {
        // Anew: the tenant may have moved to other tables since the look at it began.
        let tenant = self.look.services.resolver.by_id(self.tenant.id()).await?;
        let Some(tenant) = tenant else { return Ok(true) };
        let files = tenant.tables()?.variants(media).await?;
        let mut files = files.iter().filter(|file| file.object == object.key);
        Ok(files.any(|file| file.places.all().any(|spot| *spot == self.place.spot)))
    }

    /// Something is wrong with an object. It is noted, and where it is new, a job reads the picture again.
    async fn found(&mut self, object: &str, problem: ObjectProblem, media: Option<&MediaId>) -> Result<(), TimerError> {
        let (services, tenant, spot) = (self.look.services, self.tenant, &self.place.spot);
        let said = || {
            let problem = match problem {
                ObjectProblem::Missing => "the storage does not have it",
                ObjectProblem::Size => "it has another size than its row says",
                ObjectProblem::Foreign => "nothing of ours has such a name; it is left alone",
            };
            format!("{object} in {spot}: {problem}")
        };
        self.look.scope.tell(Some(tenant.id()), said).await;
        if self.look.scope.is_dry() {
            return Ok(());
        }
        let finding = ObjectFinding {
            tenant: tenant.id().clone(),
            storage: spot.clone(),
            object: object.to_owned(),
            problem,
            since: self.look.began,
        };
        if !object_findings::note(&services.control, &finding).await? {
            return Ok(());
        }
        tracing::error!(tenant.id = %tenant.id(), storage = %spot, object, %problem, "an object is not what the rows say");
        self.look.changed = self.look.changed.saturating_add(1);
        // One that is not served has no jobs.
        let media = media.filter(|media| self.read_again.as_ref() != Some(media) && tenant.db().is_ok());
        if let Some(media) = media {
            let job = VerifyMedia {
                media: media.clone(),
                storage: spot.to_string(),
                task: None,
            };
            accept(services, tenant, &job, media.to_string()).await?;
            self.read_again = Some(media.clone());
        }
        Ok(())
    }
}

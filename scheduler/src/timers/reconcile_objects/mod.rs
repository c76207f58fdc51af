//! Lists what tenants' storages hold and compares it with the rows: what a row has and the storage has not is reported and read again
//! by a job, which writes it anew where another copy is well; what no row has is removed when it is old.
//!
//! A listing is a moment older than the rows it is compared with, and some servers list in an order of their own: so a difference is
//! only where to look. What it is, is said by the rows and the storage when they are asked again.

mod compare;
mod merge;

use crate::{
    pages::Failures,
    scope::Scope,
    timer::{Report, Scoped, Timer, TimerError},
};
use compare::Comparison;
use mediamill_shared::{
    control::{
        object_findings,
        passes::Pass,
        tenants::{self, Filter, TenantRow},
    },
    ids::{MediaId, TenantId},
    placement::Spot,
    services::Services,
    telemetry::names,
    tenancy::{Tenant, TenantState},
    units::Millis,
};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, time::Duration};

/// Tenants read at a time.
const PAGE: i64 = 100;
/// What a run does at most, in objects; a listing counts as so many of them as it may answer in the time of one.
const WORK: i64 = 20_000;
/// Pictures of a tenant that are added up anew in one look.
const MISADDED: i64 = 1_000;

pub(crate) struct ReconcileObjects;

impl Timer for ReconcileObjects {
    const NAME: &'static str = "reconcile-objects";
    const EVERY: Duration = Duration::from_secs(86_400);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        let pass = Pass::under_way(&services.control, Self::NAME).await?;
        let mut pass = pass.unwrap_or_else(|| Pass::new(services.clock.now()));
        let scope = Scope::all();
        let mut look = Look::new(services, &scope, pass.began_at, WORK);
        while pass.ended_at.is_none() && look.left > 0 {
            let over = look.on(&mut pass.progress).await;
            pass.ended_at = matches!(over, Ok(true)).then(|| services.clock.now());
            // Also where it failed: the next run goes on there.
            pass.keep(&services.control, Self::NAME).await?;
            over?;
        }
        for (problem, count) in object_findings::counts(&services.control).await? {
            metrics::gauge!(names::OBJECT_FINDINGS, "problem" => problem.as_str()).set(count as f64);
        }
        Ok(Report {
            changed: look.changed,
            unfinished: pass.ended_at.is_none(),
        })
    }
}

impl Scoped for ReconcileObjects {
    async fn run_in(services: &Services, scope: &Scope) -> Result<Report, TimerError> {
        let mut look = Look::new(services, scope, services.clock.now(), i64::MAX);
        if let Some(id) = scope.tenant() {
            if let Some(row) = tenants::get(&services.control, id).await? {
                look.at(&row, None, None).await?;
            }
        } else {
            let mut place = Place::default();
            while !look.on(&mut place).await? {}
        }
        Ok(Report {
            changed: look.changed,
            unfinished: false,
        })
    }
}

/// Where a pass is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    /// Serial of the last tenant that is done; empty: none is.
    after_serial: String,
    /// The storage of the next tenant that it goes on in. `None`: the first.
    storage: Option<Spot>,
    /// The picture behind which it goes on there. `None`: from the beginning.
    media: Option<MediaId>,
}

/// A look at tenants' objects.
struct Look<'a> {
    services: &'a Services,
    scope: &'a Scope,
    /// When the pass began that it is a part of.
    began: Millis,
    /// What it may still do, in objects.
    left: i64,
    changed: i64,
    /// Storages that did not answer: they are left out from then on.
    away: HashSet<Spot>,
    failures: Failures,
}

/// Where a look at a tenant stopped: the storage, and the picture whose files were the last.
type Stop = (Spot, MediaId);

impl<'a> Look<'a> {
    fn new(services: &'a Services, scope: &'a Scope, began: Millis, work: i64) -> Self {
        Self {
            services,
            scope,
            began,
            left: work,
            changed: 0,
            away: HashSet::new(),
            failures: Failures::default(),
        }
    }

    /// Goes on from there by some tenants. Returns whether it has come to its end.
    async fn on(&mut self, at: &mut Place) -> Result<bool, TimerError> {
        let control = &self.services.control;
        let page = tenants::page(control, &Filter::default(), Some(&at.after_serial), PAGE).await?;
        let is_last = page.is_empty();
        for row in page {
            let (storage, media) = (at.storage.take(), at.media.take());
            if let Some((storage, media)) = self.at(&row, storage, media).await? {
                (at.storage, at.media) = (Some(storage), Some(media));
                return Ok(false);
            }
            at.after_serial = row.serial;
            // Asking for a tenant that has nothing, or does not answer, is work as well.
            self.left = self.left.saturating_sub(1);
            if self.left <= 0 {
                return Ok(false);
            }
        }
        Ok(is_last)
    }

    /// Looks at one tenant, from a place of its own on. Says where it stopped, if it did. A tenant whose tables are away is passed
    /// over: the next pass comes here again.
    async fn at(
        &mut self,
        row: &TenantRow,
        storage: Option<Spot>,
        media: Option<MediaId>,
    ) -> Result<Option<Stop>, TimerError> {
        // On its way in or out: its objects are somebody else's work.
        if matches!(row.state, TenantState::Provisioning | TenantState::Deleting) {
            return Ok(None);
        }
        match self.tenant(&row.id, storage, media).await {
            Ok(stop) => Ok(stop),
            Err(error) => {
                tracing::warn!(
                    tenant.id = %row.id, error = &error as &dyn std::error::Error,
                    "a tenant's objects are compared with its rows by a later pass"
                );
                Ok(None)
            }
        }
    }

    async fn tenant(
        &mut self,
        id: &TenantId,
        storage: Option<Spot>,
        media: Option<MediaId>,
    ) -> Result<Option<Stop>, TimerError> {
        let Some(tenant) = &self.services.resolver.by_id(id).await? else {
            return Ok(None);
        };
        if storage.is_none() {
            self.add_up(tenant).await?;
        }
        let mut places = self.services.storages.everywhere(tenant.id()).await?;
        // Any order will do that is the same when the look goes on.
        places.sort_by(|a, b| a.spot.cmp(&b.spot));
        let places = places.into_iter();
        let mut resume = media;
        for place in places.filter(|place| storage.as_ref().is_none_or(|from| place.spot >= *from)) {
            let after = resume.take().filter(|_| storage.as_ref() == Some(&place.spot));
            if self.away.contains(&place.spot) {
                continue;
            }
            let comparison = Comparison::new(self, tenant, &place)?;
            match comparison.run(after).await {
                Ok(None) => {}
                Ok(Some(media)) => return Ok(Some((place.spot.clone(), media))),
                Err(TimerError::Objects(error)) => {
                    tracing::warn!(
                        storage = %place.spot, error = &error as &dyn std::error::Error,
                        "what lies in a storage is compared with the rows by a later pass"
                    );
                    let problem = || format!("storage {} is left out: {error}", place.spot);
                    self.scope.tell(Some(tenant.id()), problem).await;
                    self.away.insert(place.spot.clone());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Pictures that count other bytes than their files have are added up anew; what the tenant uses follows with its next look.
    async fn add_up(&mut self, tenant: &Tenant) -> Result<(), TimerError> {
        let db = tenant.tables()?;
        for found in db.misadded(MISADDED).await? {
            let said = || {
                format!(
                    "picture {} counts {}, its files have {}",
                    found.media, found.counted, found.held
                )
            };
            self.scope.tell(Some(tenant.id()), said).await;
            if self.scope.is_dry() {
                continue;
            }
            let mut tx = db.begin().await?;
            let mended = tx.add_up(&found).await?;
            tx.commit().await?;
            if mended {
                tracing::warn!(tenant.id = %tenant.id(), ?found, "a picture did not count what its files have");
                self.changed = self.changed.saturating_add(1);
            }
        }
        Ok(())
    }
}

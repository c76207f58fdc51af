//! Compares what storages' figures say with the rows of tenants, and mends them: first of tenants' own storages, in which nobody else
//! has files, then of the provider's, which takes the rows of all tenants together.
//!
//! Whose rows cannot be read may have files in its own storages and in the provider's: they are left for the next pass.
//!
//! A storage that open jobs may still put files into, or take them out of, is left for the next pass: rows and figures do not change in
//! one moment. Dead jobs are such: what they have claimed stays claimed until an operator retries or purges them.

use crate::{
    pages::{self, Page, Paged},
    scope::Scope,
    timer::{Report, Scoped, Timer, TimerError},
};
use mediamill_shared::{
    control::{
        storages::{self, StorageRow},
        tenants::{self, Filter, TenantRow},
    },
    ids::{StorageId, TenantId},
    placement::Spot,
    services::Services,
    telemetry::names,
    tenancy::{TenantState, store::places::Held},
    units::Millis,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Storages and tenants that a run looks at.
const MOST: i64 = 5_000;

pub(crate) struct ReconcileStorages;

impl Timer for ReconcileStorages {
    const NAME: &'static str = "reconcile-storages";
    const EVERY: Duration = Duration::from_secs(3_600);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        some(services, MOST).await
    }
}

pub(super) async fn some(services: &Services, most: i64) -> Result<Report, TimerError> {
    let scope = Scope::all();
    let mut look = Look::new(services, &scope);
    let (report, whole) = pages::go_on::<ReconcileStorages, _>(services, &mut look, most).await?;
    if let Some(whole) = whole {
        metrics::gauge!(names::STORAGE_DRIFT_BYTES).set(whole.drift as f64);
    }
    Ok(report)
}

impl Scoped for ReconcileStorages {
    /// Of one tenant: its own storages.
    async fn run_in(services: &Services, scope: &Scope) -> Result<Report, TimerError> {
        let mut look = Look::new(services, scope);
        let Some(id) = scope.tenant() else {
            return pages::all(&mut look).await;
        };
        let own = storages::of(&services.control, Some(id)).await?;
        look.own(&own, &mut 0).await?;
        Ok(Report {
            changed: look.changed,
            unfinished: false,
        })
    }
}

struct Look<'a> {
    services: &'a Services,
    scope: &'a Scope,
    changed: i64,
}

/// Where a pass is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    stage: Stage,
    /// What figures did not say, bytes.
    drift: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// Storages of tenants, and the provider's on the way.
    Own {
        /// The last storage.
        after: Option<StorageId>,
    },
    /// Tenants' files in the provider's.
    Providers(Sums),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Own { after: None }
    }
}

/// What the rows of tenants say of the provider's storages.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sums {
    /// Serial of the last tenant whose rows were read.
    after: Option<String>,
    /// When the first rows were read.
    since: Millis,
    /// What figures said before that, of storages that nobody used.
    said: BTreeMap<StorageId, Held>,
    /// What the rows say so far.
    held: BTreeMap<StorageId, Held>,
}

impl Paged for Look<'_> {
    type Place = Place;
    const PAGE: i64 = 500;

    async fn page(&mut self, place: &mut Place, limit: i64) -> Result<Page, TimerError> {
        match &mut place.stage {
            Stage::Own { after } => {
                let page = storages::page(&self.services.control, after.as_ref(), limit).await?;
                if let Some(last) = page.last() {
                    *after = Some(last.id.clone());
                }
                let done = Page::of(page.len(), limit);
                self.own(&page, &mut place.drift).await?;
                if done.is_last {
                    place.stage = Stage::Providers(self.sums().await?);
                }
                Ok(done.followed())
            }
            Stage::Providers(sums) if sums.said.is_empty() => Ok(Page::of(0, limit)),
            Stage::Providers(sums) => {
                let all = Filter::default();
                let page = tenants::page(&self.services.control, &all, sums.after.as_deref(), limit).await?;
                let done = Page::of(page.len(), limit);
                self.add(sums, &page).await;
                if done.is_last {
                    self.providers(sums, &mut place.drift).await?;
                }
                Ok(done)
            }
        }
    }

    fn changed(&self) -> i64 {
        self.changed
    }
}

impl<'a> Look<'a> {
    const fn new(services: &'a Services, scope: &'a Scope) -> Self {
        Self {
            services,
            scope,
            changed: 0,
        }
    }

    /// Compares those of `rows` that tenants own. Adds to `drift` what their figures did not say, bytes.
    async fn own(&mut self, rows: &[StorageRow], drift: &mut i64) -> Result<(), TimerError> {
        let mut owned: BTreeMap<&TenantId, Vec<&StorageRow>> = BTreeMap::new();
        for row in rows {
            if let Some(owner) = &row.tenant {
                owned.entry(owner).or_default().push(row);
            }
        }
        let Services { control, clock, .. } = self.services;
        for (owner, rows) in owned {
            let since = clock.now();
            if storages::are_in_use(control, Some(owner)).await? {
                continue;
            }
            match places(self.services, owner).await {
                Ok(places) => {
                    for was in rows {
                        let held = places.get(&Spot::Storage(was.id.clone())).copied().unwrap_or_default();
                        *drift = drift.saturating_add(self.compare(was, held, since).await?);
                    }
                }
                Err(error) => left(owner, &error),
            }
        }
        Ok(())
    }

    /// The provider's storages that nobody uses now.
    async fn sums(&self) -> Result<Sums, TimerError> {
        let control = &self.services.control;
        let mut sums = Sums {
            since: self.services.clock.now(),
            ..Sums::default()
        };
        if storages::are_in_use(control, None).await? {
            return Ok(sums);
        }
        for row in storages::of(control, None).await? {
            sums.said.insert(row.id.clone(), said(&row));
        }
        Ok(sums)
    }

    async fn add(&self, sums: &mut Sums, rows: &[TenantRow]) {
        // Whoever is on its way in has no tables, and no files.
        for row in rows.iter().filter(|row| row.state != TenantState::Provisioning) {
            if sums.said.is_empty() {
                return;
            }
            match places(self.services, &row.id).await {
                Ok(places) => {
                    for (spot, held) in places {
                        let Spot::Storage(id) = spot else { continue };
                        if sums.said.contains_key(&id) {
                            let sum = sums.held.entry(id).or_default();
                            sum.bytes = sum.bytes.plus(held.bytes);
                            sum.objects = sum.objects.saturating_add(held.objects);
                        }
                    }
                }
                Err(error) => {
                    left(&row.id, &error);
                    // Nothing is left to compare: what the other tenants' rows say is not all.
                    sums.said.clear();
                }
            }
        }
        if let Some(last) = rows.last() {
            sums.after = Some(last.serial.clone());
        }
    }

    /// Compares the provider's storages. Adds to `drift` what their figures did not say, bytes.
    async fn providers(&mut self, sums: &Sums, drift: &mut i64) -> Result<(), TimerError> {
        for was in storages::of(&self.services.control, None).await? {
            if sums.said.get(&was.id) == Some(&said(&was)) {
                let held = sums.held.get(&was.id).copied().unwrap_or_default();
                *drift = drift.saturating_add(self.compare(&was, held, sums.since).await?);
            }
        }
        Ok(())
    }

    /// Mends a storage's figures, if they are not what the rows say that were read since `since`. Returns by how many bytes they were
    /// wrong.
    async fn compare(&mut self, was: &StorageRow, held: Held, since: Millis) -> Result<i64, TimerError> {
        let control = &self.services.control;
        if said(was) == held
            || storages::are_in_use(control, was.tenant.as_ref()).await?
            || !storages::is_untouched(control, was, since).await?
        {
            return Ok(0);
        }
        let found = || {
            let StorageRow { id, used, objects, .. } = was;
            format!(
                "storage {id} counts {objects} objects of {used}, {} of {} are recorded",
                held.objects, held.bytes
            )
        };
        self.scope.tell(was.tenant.as_ref(), found).await;
        if self.scope.is_dry() || !storages::correct(control, was, held, since).await? {
            return Ok(0);
        }
        self.changed = self.changed.saturating_add(1);
        tracing::warn!(
            storage = %was.id, used = was.used.get(), objects = was.objects, recorded = ?held,
            "a storage's figures were not what the rows say: they are mended"
        );
        Ok(was.used.minus(held.bytes).get().saturating_abs())
    }
}

/// What a storage's figures say.
const fn said(row: &StorageRow) -> Held {
    Held {
        bytes: row.used,
        objects: row.objects,
    }
}

async fn places(services: &Services, id: &TenantId) -> Result<BTreeMap<Spot, Held>, TimerError> {
    match services.resolver.by_id(id).await? {
        Some(tenant) => Ok(tenant.tables()?.places().await?),
        // Gone since the page was read, with all its files.
        None => Ok(BTreeMap::new()),
    }
}

fn left(tenant: &TenantId, error: &TimerError) {
    tracing::warn!(
        tenant.id = %tenant, error = error as &dyn std::error::Error,
        "a tenant's rows cannot be read: figures of storages that its files may lie in are compared by a later pass"
    );
}

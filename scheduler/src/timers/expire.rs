//! Deletes pictures whose time is over. They are out of sight already: delivery goes by the picture's own row.

use crate::{
    accept::accept,
    pages::{self, Page, Paged},
    scope::Scope,
    timer::{Report, Scoped, Timer, TimerError},
};
use mediamill_shared::{
    control::expiries::{self, Expiry},
    ids::TenantId,
    jobs::DeleteMedia,
    services::Services,
};
use std::{collections::HashSet, time::Duration};

/// Pictures that a run looks at.
const MOST: i64 = 5_000;
/// How long a picture that is not there may still be made: its job judges by its own clock whether its time is over.
const MAY_COME: Duration = Duration::from_secs(600);

pub(crate) struct ExpireMedia;

impl Timer for ExpireMedia {
    const NAME: &'static str = "expire-media";
    const EVERY: Duration = Duration::from_secs(10);

    async fn run(services: &Services) -> Result<Report, TimerError> {
        some(services, MOST).await
    }
}

pub(super) async fn some(services: &Services, most: i64) -> Result<Report, TimerError> {
    let scope = Scope::all();
    let mut look = Look::new(services, &scope);
    Ok(pages::go_on::<ExpireMedia, _>(services, &mut look, most).await?.0)
}

impl Scoped for ExpireMedia {
    async fn run_in(services: &Services, scope: &Scope) -> Result<Report, TimerError> {
        pages::all(&mut Look::new(services, scope)).await
    }
}

struct Look<'a> {
    services: &'a Services,
    scope: &'a Scope,
    deleted: i64,
    /// Tenants that did not answer: they are left alone from then on.
    away: HashSet<TenantId>,
}

impl<'a> Look<'a> {
    fn new(services: &'a Services, scope: &'a Scope) -> Self {
        Self {
            services,
            scope,
            deleted: 0,
            away: HashSet::new(),
        }
    }
}

impl Paged for Look<'_> {
    /// The last one.
    type Place = Option<Expiry>;
    const PAGE: i64 = 500;

    async fn page(&mut self, place: &mut Self::Place, limit: i64) -> Result<Page, TimerError> {
        let (services, scope) = (self.services, self.scope);
        let page = expiries::due(&services.control, services.clock.now(), place.as_ref(), limit).await?;
        for expiry in &page {
            *place = Some(expiry.clone());
            let is_meant = scope.tenant().is_none_or(|tenant| *tenant == expiry.tenant);
            if !is_meant || self.away.contains(&expiry.tenant) {
                continue;
            }
            match expire(services, expiry, scope).await {
                Ok(true) => self.deleted = self.deleted.saturating_add(1),
                Ok(false) => {}
                // One picture holds up no other, and a tenant's database that is away nobody else's.
                Err(error) => {
                    tracing::warn!(
                        tenant.id = %expiry.tenant, error = &error as &dyn std::error::Error,
                        "a picture whose time is over is deleted by the next pass"
                    );
                    if matches!(&error, TimerError::Db(error) if error.is_transient()) {
                        self.away.insert(expiry.tenant.clone());
                    }
                }
            }
        }
        Ok(Page::of(page.len(), limit))
    }

    fn changed(&self) -> i64 {
        self.deleted
    }
}

/// Returns whether a picture is deleted by this.
async fn expire(services: &Services, expiry: &Expiry, scope: &Scope) -> Result<bool, TimerError> {
    let (control, now) = (&services.control, services.clock.now());
    let Some(tenant) = services.resolver.by_id(&expiry.tenant).await? else {
        if !scope.is_dry() {
            expiries::forget(control, expiry).await?;
        }
        return Ok(false);
    };
    // Not served now: its time comes when it is, or it goes as a whole.
    let Ok(db) = tenant.db() else { return Ok(false) };
    let Some(picture) = db.media(&expiry.media).await? else {
        if expiry.at < now.before(MAY_COME) && !scope.is_dry() {
            expiries::forget(control, expiry).await?;
        }
        return Ok(false);
    };
    let over = picture.is_over(now);
    if over {
        let said = || format!("picture {} is over and goes", expiry.media);
        scope.tell(Some(&expiry.tenant), said).await;
    }
    if scope.is_dry() {
        return Ok(false);
    }
    if over {
        let payload = DeleteMedia {
            media: expiry.media.clone(),
            holder: None,
        };
        accept(services, &tenant, &payload, expiry.media.to_string()).await?;
    }
    match picture.expires_at {
        // Two changes at once may have come here in another order than there.
        Some(at) if !over => {
            let present = Expiry { at, ..expiry.clone() };
            expiries::note(control, &present).await?;
        }
        // Twice after a crash in between: the second job finds nothing to do.
        Some(_) | None => expiries::forget(control, expiry).await?,
    }
    Ok(over)
}

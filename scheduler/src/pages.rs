//! Work that may be too much for one run: it is done a page at a time, and the next run goes on behind what is done, whoever leads.
//!
//! One thing that fails holds up nobody else's: it is passed over, and looked at by the next pass. Many are a back end that is away:
//! then the run fails, and the next goes on behind the last of them.

use crate::timer::{Report, Timer, TimerError};
use mediamill_shared::{control::passes::Pass, db::DbError, ids::TenantId, services::Services};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt, future::Future};

/// Work over a list.
pub(crate) trait Paged: Send {
    /// Where it is in its list, and what it has added up on the way.
    type Place: Default + Serialize + DeserializeOwned + Send + Sync;
    /// Most things on a page.
    const PAGE: i64;

    /// Does at most the next `limit` things, and moves `place` behind each; it goes on there also where this fails. A page whose run
    /// was killed is done again.
    fn page(&mut self, place: &mut Self::Place, limit: i64) -> impl Future<Output = Result<Page, TimerError>> + Send;

    /// Things that were wrong and are not any more.
    fn changed(&self) -> i64;
}

/// A page that is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// Things that were on it.
    things: i64,
    /// Nothing follows it.
    pub(crate) is_last: bool,
}

impl Page {
    /// Of a list that gave `listed` where it was asked for `limit`: fewer are its end.
    pub(crate) fn of(listed: usize, limit: i64) -> Self {
        let things = i64::try_from(listed).unwrap_or(i64::MAX);
        Self {
            things,
            is_last: things < limit,
        }
    }

    /// This one of a list that another one follows.
    pub(crate) const fn followed(self) -> Self {
        Self { is_last: false, ..self }
    }
}

/// Things that failed in a run.
#[derive(Debug)]
pub(crate) struct Failures {
    /// So many more are passed over.
    left: u32,
}

impl Default for Failures {
    /// Of a run that another follows.
    fn default() -> Self {
        Self { left: 20 }
    }
}

impl Failures {
    /// Of a run that is to look at everything.
    pub(crate) const fn of_all() -> Self {
        Self { left: u32::MAX }
    }

    /// Passes over something that failed with `error`.
    ///
    /// # Errors
    /// That error, when it is one too many.
    pub(crate) fn pass_over(&mut self, what: impl fmt::Display, error: TimerError) -> Result<(), TimerError> {
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return Err(error),
        };
        tracing::warn!(
            %what, error = &error as &dyn std::error::Error,
            "something is passed over by a timer, and looked at by its next pass"
        );
        Ok(())
    }
}

/// What is done with tenants of lists that follow each other.
pub(crate) trait TenantLists: Send + Sync {
    /// Names them; the default is the first.
    type List: Copy + Default + Serialize + DeserializeOwned + Send + Sync;

    /// What follows `list`.
    fn next(list: Self::List) -> Option<Self::List>;

    /// Its tenants behind `after`, at most `limit`.
    fn tenants(
        &self,
        list: Self::List,
        after: Option<&TenantId>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<TenantId>, DbError>> + Send;

    /// Does it with one. Returns whether that changed something.
    fn one(&self, list: Self::List, id: &TenantId) -> impl Future<Output = Result<bool, TimerError>> + Send;
}

/// Work over such lists.
pub(crate) struct Lists<L> {
    work: L,
    changed: i64,
    failures: Failures,
}

impl<L> Lists<L> {
    pub(crate) fn new(work: L) -> Self {
        Self {
            work,
            changed: 0,
            failures: Failures::default(),
        }
    }
}

/// Where a pass over lists is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct InList<T> {
    list: T,
    /// The last tenant.
    after: Option<TenantId>,
}

impl<L: TenantLists> Paged for Lists<L> {
    type Place = InList<L::List>;
    const PAGE: i64 = 200;

    async fn page(&mut self, place: &mut Self::Place, limit: i64) -> Result<Page, TimerError> {
        let list = place.list;
        let page = self.work.tenants(list, place.after.as_ref(), limit).await?;
        for id in &page {
            place.after = Some(id.clone());
            match self.work.one(list, id).await {
                Ok(changed) => self.changed = self.changed.saturating_add(i64::from(changed)),
                Err(error) => self.failures.pass_over(id, error)?,
            }
        }
        let done = Page::of(page.len(), limit);
        match L::next(list).filter(|_| done.is_last) {
            Some(list) => {
                *place = InList { list, after: None };
                Ok(done.followed())
            }
            None => Ok(done),
        }
    }

    fn changed(&self) -> i64 {
        self.changed
    }
}

/// Goes on with the pass of the timer `T`, or begins one, by at most `most` things. Returns where it is at its end, when nothing is
/// left.
pub(crate) async fn go_on<T: Timer, W: Paged>(
    services: &Services,
    work: &mut W,
    most: i64,
) -> Result<(Report, Option<W::Place>), TimerError> {
    let (control, clock) = (&services.control, &services.clock);
    let last = Pass::under_way(control, T::NAME).await?;
    // A pass that ends in the run that began it is not kept.
    let mut is_kept = last.is_some();
    let mut pass = last.unwrap_or_else(|| Pass::new(clock.now()));
    let mut left = most;
    loop {
        let page = match work.page(&mut pass.progress, W::PAGE.min(left)).await {
            Ok(page) => page,
            Err(error) => {
                pass.keep(control, T::NAME).await?;
                return Err(error);
            }
        };
        left = left.saturating_sub(page.things);
        pass.ended_at = page.is_last.then(|| clock.now());
        if is_kept || !page.is_last {
            pass.keep(control, T::NAME).await?;
            is_kept = true;
        }
        if page.is_last || left <= 0 {
            let report = Report {
                changed: work.changed(),
                unfinished: !page.is_last,
            };
            return Ok((report, page.is_last.then_some(pass.progress)));
        }
    }
}

/// Does all of it, from the beginning, and keeps nothing.
pub(crate) async fn all<W: Paged>(work: &mut W) -> Result<Report, TimerError> {
    let mut place = W::Place::default();
    while !work.page(&mut place, W::PAGE).await?.is_last {}
    Ok(Report {
        changed: work.changed(),
        unfinished: false,
    })
}

/// As many keys as a store lists at a time.
pub(crate) fn keys(limit: i64) -> u16 {
    u16::try_from(limit).unwrap_or(u16::MAX)
}

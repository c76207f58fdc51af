//! Work that may be too much for one run: it is done a page at a time, and the next run goes on behind the last page, whoever leads.

use crate::timer::{Timer, TimerError};
use mediamill_shared::{control::passes::Pass, services::Services};
use serde::{Serialize, de::DeserializeOwned};
use std::future::Future;

/// Work over a list.
pub(crate) trait Paged: Send {
    /// Where it is in its list, and what it has added up on the way.
    type Place: Default + Serialize + DeserializeOwned + Send + Sync;
    /// Most things on a page.
    const PAGE: i64;

    /// Does at most the next `limit` things, and moves `place` behind them.
    fn page(&mut self, place: &mut Self::Place, limit: i64) -> impl Future<Output = Result<Page, TimerError>> + Send;
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

/// Goes on with the pass of the timer `T`, or begins one, by at most `most` things. The pass that is returned has an end when nothing
/// is left.
pub(crate) async fn go_on<T: Timer, W: Paged>(
    services: &Services,
    work: &mut W,
    most: i64,
) -> Result<Pass<W::Place>, TimerError> {
    let (control, clock) = (&services.control, &services.clock);
    let last = Pass::under_way(control, T::NAME).await?;
    // Most passes end in the run that began them: there is nothing to keep of those.
    let mut is_kept = last.is_some();
    let mut pass = last.unwrap_or_else(|| Pass::new(clock.now()));
    let mut left = most;
    loop {
        let page = work.page(&mut pass.progress, W::PAGE.min(left)).await?;
        left = left.saturating_sub(page.things);
        pass.ended_at = page.is_last.then(|| clock.now());
        if is_kept || !page.is_last {
            pass.keep(control, T::NAME).await?;
            is_kept = true;
        }
        if page.is_last || left <= 0 {
            return Ok(pass);
        }
    }
}

/// Does all of it, from the beginning, and keeps nothing.
pub(crate) async fn all<W: Paged>(work: &mut W) -> Result<W::Place, TimerError> {
    let mut place = W::Place::default();
    while !work.page(&mut place, W::PAGE).await?.is_last {}
    Ok(place)
}

/// As many keys as a store lists at a time.
pub(crate) fn keys(limit: i64) -> u16 {
    u16::try_from(limit).unwrap_or(u16::MAX)
}

/// Moves a place behind the page `page` that a list gave where it was asked for `limit`.
pub(crate) fn moved<T: Clone>(after: &mut Option<T>, page: &[T], limit: i64) -> Page {
    if let Some(last) = page.last() {
        *after = Some(last.clone());
    }
    Page::of(page.len(), limit)
}

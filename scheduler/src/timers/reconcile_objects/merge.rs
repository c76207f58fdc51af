//! The two sides of a comparison, each in the order of keys and a page at a time.

use crate::timer::TimerError;
use mediamill_shared::{
    ids::{MediaId, TenantId},
    objects::{Listed, ObjectKey, Objects, Store},
    placement::Spot,
    tenancy::{TenantDb, store::media::Variant},
};
use std::{cmp::Ordering, collections::VecDeque};

/// Objects listed at a time.
const LISTED: u16 = 1_000;
/// Pictures whose files are read at a time.
const PICTURES: i64 = 500;

/// What rows and storage say of the smallest key that is left.
pub(super) enum Pair {
    /// A row has it, the listing has not.
    Row(Variant),
    /// The listing has it, no row has.
    Object(Listed),
    /// Both have.
    Both(Variant, Listed),
}

/// Rows and objects, side by side.
pub(super) struct Merge<'a> {
    db: &'a TenantDb,
    spot: &'a Spot,
    objects: &'a Objects,
    below: String,
    rows: VecDeque<Variant>,
    rows_after: Option<MediaId>,
    rows_over: bool,
    listed: VecDeque<Listed>,
    listed_after: Option<ObjectKey>,
    listed_over: bool,
    /// Listings so far.
    pub(super) listings: i64,
}

impl<'a> Merge<'a> {
    /// From behind the picture `after` on.
    pub(super) fn new(
        tenant: &TenantId,
        db: &'a TenantDb,
        spot: &'a Spot,
        objects: &'a Objects,
        after: Option<MediaId>,
    ) -> Self {
        Self {
            db,
            spot,
            objects,
            below: ObjectKey::pictures(tenant),
            rows: VecDeque::new(),
            listed_after: after.as_ref().map(|media| ObjectKey::behind(tenant, media)),
            rows_after: after,
            rows_over: false,
            listed: VecDeque::new(),
            listed_over: false,
            listings: 0,
        }
    }

    /// The next key and who has it.
    pub(super) async fn next(&mut self) -> Result<Option<Pair>, TimerError> {
        // The listing first: what is placed meanwhile is in the rows at least.
        if self.listed.is_empty() && !self.listed_over {
            self.list().await?;
        }
        while self.rows.is_empty() && !self.rows_over {
            self.read().await?;
        }
        let order = match (self.rows.front(), self.listed.front()) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(row), Some(object)) => row.object.cmp(&object.key),
        };
        let row = if order.is_le() { self.rows.pop_front() } else { None };
        let object = if order.is_ge() { self.listed.pop_front() } else { None };
        Ok(match (row, object) {
            (Some(row), Some(object)) => Some(Pair::Both(row, object)),
            (Some(row), None) => Some(Pair::Row(row)),
            (None, Some(object)) => Some(Pair::Object(object)),
            (None, None) => None,
        })
    }

    async fn list(&mut self) -> Result<(), TimerError> {
        let page = self
            .objects
            .list(&self.below, self.listed_after.as_ref(), LISTED)
            .await?;
        self.listings += 1;
        self.listed_over = page.len() < usize::from(LISTED);
        self.listed_after = page.last().map(|last| last.key.clone());
        self.listed = page.into();
        Ok(())
    }

    async fn read(&mut self) -> Result<(), TimerError> {
        let page = self.db.media_at(self.spot, self.rows_after.as_ref(), PICTURES).await?;
        let (Some(first), Some(last)) = (page.first(), page.last()) else {
            self.rows_over = true;
            return Ok(());
        };
        self.rows_over = i64::try_from(page.len()).unwrap_or(i64::MAX) < PICTURES;
        let mut files = self.db.files_between(first, last).await?;
        files.retain(|file| file.places.all().any(|spot| spot == self.spot));
        files.sort_by(|a, b| a.object.cmp(&b.object));
        self.rows_after = Some(last.clone());
        self.rows = files.into();
        Ok(())
    }
}

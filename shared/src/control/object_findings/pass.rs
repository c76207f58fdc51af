//! How far the look at all tenants' objects has come.

use crate::{
    control::jobs::optional,
    db::{Bounded, Db, DbError, During, sql},
    ids::MediaId,
    placement::Spot,
    units::Millis,
};
use sqlx::Row;

sql! {
    GET = "SELECT after_serial, NULLIF(storage, ''), NULLIF(media, ''), began_at, ended_at FROM object_passes WHERE id = 1";
    PUT = "INSERT INTO object_passes (id, after_serial, storage, media, began_at, ended_at) VALUES (1, $1, $2, $3, $4, $5) \
        ON CONFLICT (id) DO UPDATE SET after_serial = excluded.after_serial, storage = excluded.storage, media = excluded.media, \
        began_at = excluded.began_at, ended_at = excluded.ended_at";
}

/// A look at all tenants' objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPass {
    /// Serial of the last tenant that is done; empty: none is.
    pub after_serial: String,
    /// The storage of the next tenant that it goes on in. `None`: the first.
    pub storage: Option<Spot>,
    /// The picture behind which it goes on there. `None`: from the beginning.
    pub media: Option<MediaId>,
    /// When it began.
    pub began_at: Millis,
    /// When it came to its end; `None`: it has not.
    pub ended_at: Option<Millis>,
}

impl ObjectPass {
    /// One that begins.
    #[must_use]
    pub const fn new(now: Millis) -> Self {
        Self {
            after_serial: String::new(),
            storage: None,
            media: None,
            began_at: now,
            ended_at: None,
        }
    }

    /// The last one. `None`: there was none yet.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn last(db: &Db) -> Result<Option<Self>, DbError> {
        const WHAT: &str = "read how far the look at objects is";
        let row = GET.query().fetch_optional(db.read()).bounded(WHAT).await?;
        row.map(|row| {
            Ok(Self {
                after_serial: row.try_get(0).during(WHAT)?,
                storage: optional(&row, 1)?,
                media: optional(&row, 2)?,
                began_at: Millis::new(row.try_get(3).during(WHAT)?),
                ended_at: row.try_get::<Option<i64>, _>(4).during(WHAT)?.map(Millis::new),
            })
        })
        .transpose()
    }

    /// Keeps how far it is.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn keep(&self, db: &Db) -> Result<(), DbError> {
        let query = PUT
            .query()
            .bind(self.after_serial.clone())
            .bind(self.storage.as_ref().map_or_else(String::new, Spot::to_string))
            .bind(self.media.as_ref().map_or_else(String::new, MediaId::to_string))
            .bind(self.began_at.get())
            .bind(self.ended_at.map(Millis::get));
        let done = query.execute(db.write()).bounded("note how far the look at objects is");
        done.await.map(drop)
    }
}

//! Pictures and their files.

use super::{
    super::{TenantDb, TenantTx, sql::tenant_sql},
    usage::Usage,
};
use crate::{
    control::jobs::{optional, text},
    db::{Bounded, DbError, During},
    ids::{JobId, KeyId, MediaId},
    objects::ObjectKey,
    placement::Places,
    units::{ByteCount, Millis},
};
use sqlx::{
    Any, Row,
    any::{AnyArguments, AnyRow},
    query::Query,
};

/// Name of the variant that is the cleaned original.
pub const ORIGINAL: &str = "original";

tenant_sql! {
    INSERT = "INSERT INTO {media} (id, job, key_id, file_name, state, format, width, height, uploaded_bytes, stored_bytes, removed, facts, created_at, \
        frames, expires_at, sha256) VALUES ($1, $2, $3, $4, 'ready', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT (id) DO NOTHING";
    ADD_VARIANT = "INSERT INTO {variants} (media, name, format, object_key, width, height, bytes, sha256, storages) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (media, name) DO NOTHING RETURNING name";
    GET = "SELECT id, job, key_id, file_name, format, width, height, uploaded_bytes, stored_bytes, removed, facts, created_at, frames, expires_at, \
        sha256 FROM {media} WHERE id = $1 AND state = 'ready'";
    PAGE = "SELECT id, job, key_id, file_name, format, width, height, uploaded_bytes, stored_bytes, removed, facts, created_at, frames, expires_at, \
        sha256 FROM {media} WHERE id < $1 AND state = 'ready' AND (expires_at IS NULL OR expires_at > $3) ORDER BY id DESC LIMIT $2";
    VARIANTS = "SELECT media, name, format, object_key, width, height, bytes, sha256, storages FROM {variants} WHERE media = $1 ORDER BY bytes DESC, name";
    PAGE_VARIANTS = "SELECT media, name, format, object_key, width, height, bytes, sha256, storages FROM {variants} \
        WHERE media >= $1 AND media <= $2 ORDER BY media, bytes DESC, name";
    VARIANT = "SELECT v.media, v.name, v.format, v.object_key, v.width, v.height, v.bytes, v.sha256, v.storages, m.expires_at FROM {variants} v \
        JOIN {media} m ON m.id = v.media WHERE v.media = $1 AND v.name = $2 AND m.state = 'ready'";
    HIDE = "UPDATE {media} SET state = 'deleting' WHERE id = $1 AND state = 'ready' RETURNING stored_bytes, frames, sha256";
    EXPIRE = "UPDATE {media} SET expires_at = $1 WHERE id = $2 AND state = 'ready' RETURNING id";
    REMOVE_VARIANTS = "DELETE FROM {variants} WHERE media = $1 AND media IN (SELECT id FROM {media} WHERE id = $1 AND state = 'deleting')";
    REMOVE = "DELETE FROM {media} WHERE id = $1 AND state = 'deleting'";
    TOTAL = "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT), \
        CAST(COALESCE(SUM(CASE WHEN frames > 1 THEN stored_bytes ELSE 0 END), 0) AS BIGINT) FROM {media} WHERE state = 'ready'";
    GROW = "UPDATE {media} SET stored_bytes = stored_bytes + $1 WHERE id = $2 AND state = 'ready' RETURNING frames";
    FILES = "SELECT CAST(COUNT(*) AS BIGINT) FROM {variants} WHERE media = $1";
    HIDDEN = "SELECT id FROM {media} WHERE state = 'deleting'";
    VARIANT_TOTAL = "SELECT CAST(COALESCE(SUM(v.bytes), 0) AS BIGINT) FROM {variants} v JOIN {media} m ON m.id = v.media WHERE m.state = 'ready'";
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Its id.
    pub id: MediaId,
    /// The job that made it.
    pub job: JobId,
    /// The key it was uploaded with.
    pub key: Option<KeyId>,
    /// Name the uploader gave.
    pub file_name: Option<String>,
    /// Format of the original: `jpeg`, `png`, …
    pub format: String,
    /// Pixels across, as displayed.
    pub width: i64,
    /// Pixels down, as displayed.
    pub height: i64,
    /// Size as uploaded.
    pub uploaded_bytes: ByteCount,
    /// Size of everything stored.
    pub stored_bytes: ByteCount,
    /// What was removed from the upload, a JSON array of `{what, detail, bytes}`.
    pub removed: String,
    /// What is known of the picture, a JSON object.
    pub facts: String,
    /// When it became ready.
    pub created_at: Millis,
    /// Frames; more than one where it moves.
    pub frames: i64,
    /// When it stops being there. `None`: when somebody deletes it.
    pub expires_at: Option<Millis>,
    /// SHA-256 of the bytes as they were uploaded. `None`: a release that did not keep it recorded the picture.
    pub sha256: Option<String>,
}

impl Media {
    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// A stored file of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its picture.
    pub media: MediaId,
    /// `original`, or the variant's name.
    pub name: String,
    /// Its format.
    pub format: String,
    /// Where it lies.
    pub object: ObjectKey,
    /// Pixels across.
    pub width: i64,
    /// Pixels down.
    pub height: i64,
    /// Size.
    pub bytes: ByteCount,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Where its copies are.
    pub places: Places,
}

/// A file that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The file.
    pub variant: Variant,
    /// When its picture expires.
    pub until: Option<Millis>,
}

/// What became of one file more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddedFile {
    /// It is recorded, with a picture of so many frames.
    Yes {
        /// The picture's.
        frames: i64,
    },
    /// There was one of that name.
    Already,
    /// The picture has all that it may have.
    TooMany,
    /// The picture is gone, or going.
    NoPicture,
}

type Bound = Query<'static, Any, AnyArguments>;

fn bound(query: Bound, variant: &Variant) -> Bound {
    query
        .bind(variant.media.as_str().to_owned())
        .bind(variant.name.clone())
        .bind(variant.format.clone())
        .bind(variant.object.as_str().to_owned())
        .bind(variant.width)
        .bind(variant.height)
        .bind(variant.bytes.get())
        .bind(variant.sha256.clone())
        .bind(variant.places.to_string())
}

impl TenantTx {
    /// Records a picture and its files. Called twice it changes nothing.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn add_media(&mut self, media: &Media, variants: &[Variant]) -> Result<(), DbError> {
        const WHAT: &str = "record a picture";
        let query = self
            .query(INSERT)
            .bind(media.id.as_str().to_owned())
            .bind(media.job.as_str().to_owned())
            .bind(media.key.as_ref().map(|key| key.as_str().to_owned()))
            .bind(media.file_name.clone())
            .bind(media.format.clone())
            .bind(media.width)
            .bind(media.height)
            .bind(media.uploaded_bytes.get())
            .bind(media.stored_bytes.get())
            .bind(media.removed.clone())
            .bind(media.facts.clone())
            .bind(media.created_at.get())
            .bind(media.frames)
            .bind(media.expires_at.map(Millis::get))
            .bind(media.sha256.clone());
        query.execute(&mut *self.tx).bounded(WHAT).await?;
        for variant in variants {
            let query = bound(self.query(ADD_VARIANT), variant);
            query.execute(&mut *self.tx).bounded(WHAT).await?;
        }
        Ok(())
    }

    /// Records one file more of a picture, if that is ready and has fewer than `most` files. Whoever else adds one to it, or
    /// removes it, waits. Unless it is an [`AddedFile::Yes`], the transaction must be given up.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn add_variant(&mut self, variant: &Variant, most: i64) -> Result<AddedFile, DbError> {
        const WHAT: &str = "record a variant";
        let media = variant.media.as_str();
        let grow = self.query(GROW).bind(variant.bytes.get()).bind(media.to_owned());
        let Some(picture) = grow.fetch_optional(&mut *self.tx).bounded(WHAT).await? else {
            return Ok(AddedFile::NoPicture);
        };
        let frames = picture.try_get(0).during(WHAT)?;
        let add = bound(self.query(ADD_VARIANT), variant);
        if add.fetch_optional(&mut *self.tx).bounded(WHAT).await?.is_none() {
            return Ok(AddedFile::Already);
        }
        let files = self.query(FILES).bind(media.to_owned());
        let row = files.fetch_one(&mut *self.tx).bounded(WHAT).await?;
        if row.try_get::<i64, _>(0).during(WHAT)? > most {
            return Ok(AddedFile::TooMany);
        }
        Ok(AddedFile::Yes { frames })
    }

    /// Takes a picture out of sight, for good. Returns what is not in use any more; `None` when it was not in sight.
    ///
    /// # Errors
    /// When the database is away.
    pub(super) async fn hide_media(&mut self, id: &MediaId) -> Result<Option<Usage>, DbError> {
        const WHAT: &str = "hide a picture";
        let query = self.query(HIDE).bind(id.as_str().to_owned());
        let Some(row) = query.fetch_optional(&mut *self.tx).bounded(WHAT).await? else {
            return Ok(None);
        };
        if let Some(sha256) = row.try_get::<Option<String>, _>(2).during(WHAT)? {
            self.forget_holders(&sha256, id).await?;
        }
        let bytes = ByteCount::new(row.try_get(0).during(WHAT)?);
        Ok(Some(Usage::picture(bytes, row.try_get(1).during(WHAT)?).negated()))
    }

    /// Sets when a picture expires; `None` is never. Returns whether it is in sight.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn set_expiry(&mut self, id: &MediaId, at: Option<Millis>) -> Result<bool, DbError> {
        let query = self
            .query(EXPIRE)
            .bind(at.map(Millis::get))
            .bind(id.as_str().to_owned());
        let row = query
            .fetch_optional(&mut *self.tx)
            .bounded("set when a picture expires");
        row.await.map(|row| row.is_some())
    }

    /// Forgets a hidden picture and its files, whose objects are gone.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn forget_media(&mut self, id: &MediaId) -> Result<(), DbError> {
        const WHAT: &str = "forget a picture";
        for sql in [REMOVE_VARIANTS, REMOVE] {
            let query = self.query(sql).bind(id.as_str().to_owned());
            query.execute(&mut *self.tx).bounded(WHAT).await?;
        }
        Ok(())
    }
}

impl TenantDb {
    /// A picture that is ready.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn media(&self, id: &MediaId) -> Result<Option<Media>, DbError> {
        let query = self.query(GET).bind(id.as_str().to_owned());
        let row = query
            .fetch_optional(&mut *self.reader().await?)
            .bounded("read a picture")
            .await?;
        row.as_ref().map(read_media).transpose()
    }

    /// Pictures older than `before`, or the newest, newest first, at most `limit`, each with its files; without
    /// those whose time is over at `now`, where one is given.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn media_page(
        &self,
        before: Option<&MediaId>,
        limit: i64,
        now: Option<Millis>,
    ) -> Result<Vec<(Media, Vec<Variant>)>, DbError> {
        // "~" sorts after every character of an id.
        let before = before.map_or_else(|| "~".to_owned(), |id| id.as_str().to_owned());
        let rows = self
            .query(PAGE)
            .bind(before)
            .bind(limit)
            .bind(now.map_or(i64::MIN, Millis::get))
            .fetch_all(&mut *self.reader().await?)
            .bounded("list pictures")
            .await?;
        let media: Vec<Media> = rows.iter().map(read_media).collect::<Result<_, _>>()?;
        let (Some(newest), Some(oldest)) = (media.first(), media.last()) else {
            return Ok(Vec::new());
        };
        let query = self
            .query(PAGE_VARIANTS)
            .bind(oldest.id.as_str().to_owned())
            .bind(newest.id.as_str().to_owned());
        let rows = query
            .fetch_all(&mut *self.reader().await?)
            .bounded("list variants")
            .await?;
        let mut variants: Vec<Variant> = rows.iter().map(read_variant).collect::<Result<_, _>>()?;
        Ok(media
            .into_iter()
            .map(|media| {
                let own = variants.extract_if(.., |variant| variant.media == media.id).collect();
                (media, own)
            })
            .collect())
    }

    /// A picture's files, the largest first; also of one that is being deleted.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn variants(&self, id: &MediaId) -> Result<Vec<Variant>, DbError> {
        let query = self.query(VARIANTS).bind(id.as_str().to_owned());
        let rows = query
            .fetch_all(&mut *self.reader().await?)
            .bounded("list variants")
            .await?;
        rows.iter().map(read_variant).collect()
    }

    /// One file of a picture that is ready, whether its time is over or not.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn variant(&self, id: &MediaId, name: &str) -> Result<Option<Variant>, DbError> {
        let found = self.find(id, name).await?;
        Ok(found.map(|found| found.variant))
    }

    /// One file of a picture that is ready and not over at `now`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn served(&self, id: &MediaId, name: &str, now: Millis) -> Result<Option<Served>, DbError> {
        let found = self.find(id, name).await?;
        Ok(found.filter(|found| found.until.is_none_or(|until| now < until)))
    }

    async fn find(&self, id: &MediaId, name: &str) -> Result<Option<Served>, DbError> {
        const WHAT: &str = "read a variant";
        let query = self.query(VARIANT).bind(id.as_str().to_owned()).bind(name.to_owned());
        let row = query.fetch_optional(&mut *self.reader().await?).bounded(WHAT).await?;
        row.map(|row| {
            let until: Option<i64> = row.try_get(9).during(WHAT)?;
            Ok(Served {
                variant: read_variant(&row)?,
                until: until.map(Millis::new),
            })
        })
        .transpose()
    }

    /// Pictures that are out of sight and whose objects are not gone yet.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn hidden(&self) -> Result<Vec<MediaId>, DbError> {
        let mut reader = self.reader().await?;
        let rows = self
            .query(HIDDEN)
            .fetch_all(&mut *reader)
            .bounded("list hidden pictures")
            .await?;
        rows.iter().map(|row| text(row, 0)).collect()
    }

    /// What the rows say is stored, and how large their files are together. Both agree with [`TenantDb::usage`] at rest.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn stored(&self) -> Result<(Usage, ByteCount), DbError> {
        const WHAT: &str = "add up pictures";
        let media = self
            .query(TOTAL)
            .fetch_one(&mut *self.reader().await?)
            .bounded(WHAT)
            .await?;
        let files = self
            .query(VARIANT_TOTAL)
            .fetch_one(&mut *self.reader().await?)
            .bounded(WHAT)
            .await?;
        let usage = Usage {
            media: media.try_get(0).during(WHAT)?,
            bytes: ByteCount::new(media.try_get(1).during(WHAT)?),
            animation_bytes: ByteCount::new(media.try_get(2).during(WHAT)?),
        };
        Ok((usage, ByteCount::new(files.try_get(0).during(WHAT)?)))
    }
}

fn read_media(row: &AnyRow) -> Result<Media, DbError> {
    const WHAT: &str = "read a picture";
    Ok(Media {
        id: text(row, 0)?,
        job: text(row, 1)?,
        key: optional(row, 2)?,
        file_name: row.try_get(3).during(WHAT)?,
        format: row.try_get(4).during(WHAT)?,
        width: row.try_get(5).during(WHAT)?,
        height: row.try_get(6).during(WHAT)?,
        uploaded_bytes: ByteCount::new(row.try_get(7).during(WHAT)?),
        stored_bytes: ByteCount::new(row.try_get(8).during(WHAT)?),
        removed: row.try_get(9).during(WHAT)?,
        facts: row.try_get(10).during(WHAT)?,
        created_at: Millis::new(row.try_get(11).during(WHAT)?),
        frames: row.try_get(12).during(WHAT)?,
        expires_at: row.try_get::<Option<i64>, _>(13).during(WHAT)?.map(Millis::new),
        sha256: row.try_get(14).during(WHAT)?,
    })
}

pub(super) fn read_variant(row: &AnyRow) -> Result<Variant, DbError> {
    const WHAT: &str = "read a variant";
    Ok(Variant {
        media: text(row, 0)?,
        name: row.try_get(1).during(WHAT)?,
        format: row.try_get(2).during(WHAT)?,
        object: text(row, 3)?,
        width: row.try_get(4).during(WHAT)?,
        height: row.try_get(5).during(WHAT)?,
        bytes: ByteCount::new(row.try_get(6).during(WHAT)?),
        sha256: row.try_get(7).during(WHAT)?,
        places: text(row, 8)?,
    })
}

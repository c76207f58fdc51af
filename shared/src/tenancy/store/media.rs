//! Pictures and their files.

use super::super::{TenantDb, TenantTx, sql::tenant_sql};
use crate::{
    control::jobs::{optional, text},
    db::{Bounded, DbError, During},
    ids::{JobId, KeyId, MediaId},
    objects::ObjectKey,
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
    INSERT = "INSERT INTO {media} (id, job, key_id, file_name, state, format, width, height, uploaded_bytes, stored_bytes, removed, facts, created_at) \
        VALUES ($1, $2, $3, $4, 'ready', $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING";
    ADD_VARIANT = "INSERT INTO {variants} (media, name, format, object_key, width, height, bytes, sha256) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (media, name) DO NOTHING RETURNING name";
    GET = "SELECT id, job, key_id, file_name, format, width, height, uploaded_bytes, stored_bytes, removed, facts, created_at FROM {media} \
        WHERE id = $1 AND state = 'ready'";
    PAGE = "SELECT id, job, key_id, file_name, format, width, height, uploaded_bytes, stored_bytes, removed, facts, created_at FROM {media} \
        WHERE id < $1 AND state = 'ready' ORDER BY id DESC LIMIT $2";
    VARIANTS = "SELECT media, name, format, object_key, width, height, bytes, sha256 FROM {variants} WHERE media = $1 ORDER BY bytes DESC, name";
    PAGE_VARIANTS = "SELECT media, name, format, object_key, width, height, bytes, sha256 FROM {variants} \
        WHERE media >= $1 AND media <= $2 ORDER BY media, bytes DESC, name";
    VARIANT = "SELECT v.media, v.name, v.format, v.object_key, v.width, v.height, v.bytes, v.sha256 FROM {variants} v \
        JOIN {media} m ON m.id = v.media WHERE v.media = $1 AND v.name = $2 AND m.state = 'ready'";
    MARK_DELETING = "UPDATE {media} SET state = 'deleting' WHERE id = $1 RETURNING stored_bytes";
    REMOVE_VARIANTS = "DELETE FROM {variants} WHERE media = $1";
    REMOVE = "DELETE FROM {media} WHERE id = $1 RETURNING stored_bytes";
    TOTAL = "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT) FROM {media}";
    GROW = "UPDATE {media} SET stored_bytes = stored_bytes + $1 WHERE id = $2 AND state = 'ready' RETURNING id";
    FILES = "SELECT CAST(COUNT(*) AS BIGINT) FROM {variants} WHERE media = $1";
    VARIANT_TOTAL = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM {variants}";
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
}

/// What became of one file more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddedFile {
    /// It is recorded.
    Yes,
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
            .bind(media.created_at.get());
        query.execute(&mut *self.tx).bounded(WHAT).await?;
        for variant in variants {
            let query = bound(self.query(ADD_VARIANT), variant);
            query.execute(&mut *self.tx).bounded(WHAT).await?;
        }
        Ok(())
    }

    /// Records one file more of a picture, if that is ready and has fewer than `most` files. Whoever else adds one to it, or
    /// removes it, waits. Unless it is [`AddedFile::Yes`], the transaction must be given up.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn add_variant(&mut self, variant: &Variant, most: i64) -> Result<AddedFile, DbError> {
        const WHAT: &str = "record a variant";
        let media = variant.media.as_str();
        let grow = self.query(GROW).bind(variant.bytes.get()).bind(media.to_owned());
        if grow.fetch_optional(&mut *self.tx).bounded(WHAT).await?.is_none() {
            return Ok(AddedFile::NoPicture);
        }
        let add = bound(self.query(ADD_VARIANT), variant);
        if add.fetch_optional(&mut *self.tx).bounded(WHAT).await?.is_none() {
            return Ok(AddedFile::Already);
        }
        let files = self.query(FILES).bind(media.to_owned());
        let row = files.fetch_one(&mut *self.tx).bounded(WHAT).await?;
        if row.try_get::<i64, _>(0).during(WHAT)? > most {
            return Ok(AddedFile::TooMany);
        }
        Ok(AddedFile::Yes)
    }

    /// Takes a picture out of sight. Returns what it stores, `None` when it is not there.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn hide_media(&mut self, id: &MediaId) -> Result<Option<ByteCount>, DbError> {
        const WHAT: &str = "hide a picture";
        let query = self.query(MARK_DELETING).bind(id.as_str().to_owned());
        let row = query.fetch_optional(&mut *self.tx).bounded(WHAT).await?;
        row.map(|row| row.try_get(0).map(ByteCount::new).during(WHAT))
            .transpose()
    }

    /// Forgets a picture and its files. Returns what it stored, `None` when it was not there.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn remove_media(&mut self, id: &MediaId) -> Result<Option<ByteCount>, DbError> {
        const WHAT: &str = "forget a picture";
        let variants = self.query(REMOVE_VARIANTS).bind(id.as_str().to_owned());
        variants.execute(&mut *self.tx).bounded(WHAT).await?;
        let media = self.query(REMOVE).bind(id.as_str().to_owned());
        let row = media.fetch_optional(&mut *self.tx).bounded(WHAT).await?;
        row.map(|row| row.try_get(0).map(ByteCount::new).during(WHAT))
            .transpose()
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

    /// Pictures older than `before`, or the newest, newest first, at most `limit`, each with its files.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn media_page(
        &self,
        before: Option<&MediaId>,
        limit: i64,
    ) -> Result<Vec<(Media, Vec<Variant>)>, DbError> {
        // "~" sorts after every character of an id.
        let before = before.map_or_else(|| "~".to_owned(), |id| id.as_str().to_owned());
        let rows = self
            .query(PAGE)
            .bind(before)
            .bind(limit)
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

    /// A picture's files, the largest first.
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

    /// One file of a picture that is ready.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn variant(&self, id: &MediaId, name: &str) -> Result<Option<Variant>, DbError> {
        let query = self.query(VARIANT).bind(id.as_str().to_owned()).bind(name.to_owned());
        let row = query
            .fetch_optional(&mut *self.reader().await?)
            .bounded("read a variant")
            .await?;
        row.as_ref().map(read_variant).transpose()
    }

    /// What the rows say is stored: pictures, their bytes, and the bytes of their files. All three agree with
    /// [`TenantDb::usage`] at rest.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn stored(&self) -> Result<(i64, ByteCount, ByteCount), DbError> {
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
        Ok((
            media.try_get(0).during(WHAT)?,
            ByteCount::new(media.try_get(1).during(WHAT)?),
            ByteCount::new(files.try_get(0).during(WHAT)?),
        ))
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
    })
}

fn read_variant(row: &AnyRow) -> Result<Variant, DbError> {
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
    })
}

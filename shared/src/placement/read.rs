//! Reading a file from whichever of its places answers.

use super::{Opened, Places, Storages};
use crate::{
    control::storages::{StorageRow, StorageState},
    db::DbError,
    ids::TenantId,
    objects::{Fetched, ObjectError, ObjectKey, Objects, Store, Subject},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use sha2::{Digest, Sha256};
use std::{ops::Range, sync::Arc, time::Duration};

/// A file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No place of it gave it.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// Its places could not be looked up.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Storages {
    /// A file's places that are open, those that are well first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn sources(&self, tenant: &TenantId, places: &Places) -> Result<Vec<Arc<Opened>>, DbError> {
        let mut sources = Vec::with_capacity(places.held().len());
        for spot in places.held() {
            sources.extend(self.spot(tenant, spot).await?);
        }
        // Stable: the order of the places stays among equals.
        sources.sort_by_key(|one| !self.0.health.is_well(&one.spot));
        Ok(sources)
    }

    /// Reads a file, or a part of it. A place that breaks off in the middle is gone on from by the next.
    ///
    /// # Errors
    /// As [`Store::get`], when no place has it.
    pub async fn get(
        &self,
        tenant: &TenantId,
        places: &Places,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<Fetched, ReadError> {
        let sources = self.sources(tenant, places).await?;
        Ok(self.first_of(sources, key.clone(), range).await?)
    }

    /// Where whoever asks for a file is sent. `None`: it goes through the api, as it does from a storage that is being emptied: where
    /// clients have been sent is kept for minutes.
    ///
    /// # Errors
    /// When an address cannot be signed, or the database is away.
    pub async fn redirect(
        &self,
        tenant: &TenantId,
        places: &Places,
        key: &ObjectKey,
        ttl: Duration,
    ) -> Result<Option<String>, ReadError> {
        let mut failed = None;
        for source in self.sources(tenant, places).await? {
            let is_emptied = |row: &StorageRow| row.state == StorageState::Draining;
            if source.row.as_ref().is_some_and(is_emptied) {
                continue;
            }
            if let Some(url) = source.row.as_ref().and_then(|row| row.settings.public_url(key)) {
                return Ok(Some(url));
            }
            match source.objects.presign(key, ttl).await {
                Ok(signed) => return Ok(signed.map(String::from)),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), |error| Err(error.into()))
    }

    async fn first_of(
        &self,
        sources: Vec<Arc<Opened>>,
        key: ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<Fetched, ObjectError> {
        let mut sources = sources.into_iter();
        let mut failed: Option<ObjectError> = None;
        while let Some(source) = sources.next() {
            let fetched = source.objects.get(&key, range.clone()).await;
            self.note(&source.spot, &fetched);
            match fetched {
                Ok(fetched) => {
                    let rest: Vec<_> = sources.collect();
                    return Ok(self.going_on(source, rest, key, fetched));
                }
                Err(error) => {
                    // That it is missing in one place says less than that another place did not answer.
                    let known = failed.as_ref().is_some_and(super::health::is_the_places);
                    if !known {
                        failed = Some(error);
                    }
                }
            }
        }
        Err(failed.unwrap_or_else(|| ObjectError::Refused {
            subject: Subject::Object(key),
            operation: "read",
            source: "every storage that holds it is off, gone, or cannot be opened here".into(),
        }))
    }

    /// The same body, gone on with from `rest` where it breaks off.
    fn going_on(&self, source: Arc<Opened>, rest: Vec<Arc<Opened>>, key: ObjectKey, fetched: Fetched) -> Fetched {
        if rest.is_empty() {
            return fetched;
        }
        let Fetched { total, range, body } = fetched;
        let state = Going {
            storages: self.clone(),
            source,
            rest,
            key,
            left: range.clone(),
            body: Some(body),
        };
        let body = stream::unfold(state, |mut state| async move {
            let item = state.next().await?;
            Some((item, state))
        });
        Fetched {
            total,
            range,
            body: body.boxed(),
        }
    }
}

/// SHA-256 of an object as it is read, lower-case hexadecimal.
///
/// # Errors
/// When it is not there, or cannot be read to its end.
pub async fn checksum(objects: &Objects, key: &ObjectKey) -> Result<String, ObjectError> {
    let mut body = objects.get(key, None).await?.body;
    let mut hash = Sha256::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        // What a disk gives at a time takes milliseconds.
        let hashed = tokio::task::spawn_blocking(move || {
            hash.update(&chunk);
            hash
        });
        hash = hashed.await.map_err(|error| ObjectError::Unavailable {
            subject: key.into(),
            operation: "read",
            source: error.into(),
        })?;
    }
    Ok(hex::encode(hash.finalize()))
}

/// A body on its way out, and where else it can come from.
struct Going {
    storages: Storages,
    source: Arc<Opened>,
    rest: Vec<Arc<Opened>>,
    key: ObjectKey,
    left: Range<u64>,
    /// `None`: it has failed for good.
    body: Option<BoxStream<'static, Result<Bytes, ObjectError>>>,
}

impl Going {
    async fn next(&mut self) -> Option<Result<Bytes, ObjectError>> {
        loop {
            let error = match self.body.as_mut()?.next().await? {
                Ok(bytes) => {
                    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    self.left.start = self.left.start.saturating_add(length);
                    return Some(Ok(bytes));
                }
                Err(error) => error,
            };
            self.storages.note::<()>(&self.source.spot, &Err(error));
            if self.left.is_empty() {
                self.body = None;
                return None;
            }
            let rest = std::mem::take(&mut self.rest);
            let mut fetched = None;
            let mut others = rest.into_iter();
            for source in others.by_ref() {
                let read = source.objects.get(&self.key, Some(self.left.clone())).await;
                self.storages.note(&source.spot, &read);
                if let Ok(read) = read {
                    fetched = Some((source, read.body));
                    break;
                }
            }
            self.rest = others.collect();
            let Some((source, body)) = fetched else {
                self.body = None;
                return Some(Err(ObjectError::Unavailable {
                    subject: Subject::Object(self.key.clone()),
                    operation: "read the rest of",
                    source: "every storage that holds it broke off".into(),
                }));
            };
            tracing::info!(storage = %source.spot, object = %self.key, "a file broke off and is gone on with from its next copy");
            self.source = source;
            self.body = Some(body);
        }
    }
}

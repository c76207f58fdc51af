//! Keys that tenants sign links with. A link reads `/m/{picture}/{variant}?sig={signature}`, and its signature is
//! `hex(HMAC-SHA256(secret, "/m/{picture}/{variant}"))`: whoever has the secret decides which variants are made.
//!
//! Secrets are kept sealed: a signature cannot be checked with a hash of its key.

use super::{
    audit::{self, Entry},
    secrets::{self, MasterKeyError},
};
use crate::{
    clock::Entropy,
    control::jobs::text,
    db::{Bounded, Db, DbError, During, sql},
    ids::{LinkKeyId, TenantId},
    operators::hex_hmac,
    secrets::{SealedFor, SecretText, Secrets, SecretsError},
    units::Millis,
};
use sqlx::Row;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

sql! {
    PLACES = "SELECT place FROM link_keys WHERE tenant = $1";
    INSERT = "INSERT INTO link_keys (tenant, place, id, secret, created_at) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (tenant, place) DO NOTHING RETURNING place";
    LIST = "SELECT id, created_at FROM link_keys WHERE tenant = $1 ORDER BY id";
    SECRETS = "SELECT secret FROM link_keys WHERE tenant = $1 ORDER BY place";
    REMOVE = "DELETE FROM link_keys WHERE tenant = $1 AND id = $2 RETURNING place";
}

/// Keys that a tenant may have: one in use, one to come, and some for programs of their own.
pub const MOST: i64 = 5;
/// Bytes of chance in a secret.
const SECRET: usize = 32;

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkKey {
    /// Its id.
    pub id: LinkKeyId,
    /// When it was made.
    pub created_at: Millis,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum LinkKeyError {
    /// There are as many as there may be.
    #[error("a site has {MOST} link keys at most: remove one first")]
    Full,
    /// It cannot be sealed, or one that is there does not open.
    #[error("link keys cannot be sealed or opened")]
    Secrets(#[from] SecretsError),
    /// The master keys are not this installation's.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The database is away.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Makes a key. Its secret is told here, and never again.
///
/// # Errors
/// When there are [`MOST`] already, no master key is there, or the database is away.
pub async fn create(
    db: &Db,
    secrets: &Secrets,
    tenant: &TenantId,
    id: LinkKeyId,
    entropy: &Entropy,
    entry: &Entry,
) -> Result<SecretText, LinkKeyError> {
    const WHAT: &str = "make a link key";
    let keyring = secrets.keyring()?;
    let mut bytes = Zeroizing::new([0_u8; SECRET]);
    entropy.fill(bytes.as_mut());
    let secret = SecretText::new(hex::encode(bytes.as_ref()));
    let of = SealedFor::LinkKey(tenant.clone());
    let sealed = keyring.seal(&of, secret.reveal().as_bytes(), entropy)?;
    loop {
        let mut tx = db.begin_write().await?;
        let query = PLACES.query().bind(tenant.as_str().to_owned());
        let rows = query.fetch_all(&mut *tx).bounded(WHAT).await?;
        let taken: Vec<i64> = rows
            .iter()
            .map(|row| row.try_get(0).during(WHAT))
            .collect::<Result<_, DbError>>()?;
        let place = (1..=MOST).find(|place| !taken.contains(place));
        let place = place.ok_or(LinkKeyError::Full)?;
        secrets::keep(&mut tx, keyring, entry.at, entropy).await?;
        let query = INSERT
            .query()
            .bind(tenant.as_str().to_owned())
            .bind(place)
            .bind(id.as_str().to_owned())
            .bind(sealed.clone())
            .bind(entry.at.get());
        if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
            // Somebody else took the place meanwhile.
            continue;
        }
        audit::append(&mut tx, entry).await?;
        tx.commit().bounded(WHAT).await?;
        return Ok(secret);
    }
}

/// A tenant's keys, the oldest first.
///
/// # Errors
/// When the database is away.
pub async fn list(db: &Db, tenant: &TenantId) -> Result<Vec<LinkKey>, DbError> {
    const WHAT: &str = "list link keys";
    let query = LIST.query().bind(tenant.as_str().to_owned());
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            Ok(LinkKey {
                id: text(row, 0)?,
                created_at: Millis::new(row.try_get(1).during(WHAT)?),
            })
        })
        .collect()
}

/// Removes a key: what was made by its links stays. Returns whether it was there.
///
/// # Errors
/// When the database is away.
pub async fn remove(db: &Db, tenant: &TenantId, id: &LinkKeyId, entry: &Entry) -> Result<bool, DbError> {
    const WHAT: &str = "remove a link key";
    let mut tx = db.begin_write().await?;
    let query = REMOVE
        .query()
        .bind(tenant.as_str().to_owned())
        .bind(id.as_str().to_owned());
    if query.fetch_optional(&mut *tx).bounded(WHAT).await?.is_none() {
        return Ok(false);
    }
    audit::append(&mut tx, entry).await?;
    tx.commit().bounded(WHAT).await?;
    Ok(true)
}

/// The secrets of a tenant's keys.
#[derive(Debug, Clone, Default)]
pub struct LinkSecrets(Vec<SecretText>);

impl LinkSecrets {
    /// Those that are there now.
    ///
    /// # Errors
    /// When one does not open, or the database is away.
    pub async fn load(db: &Db, secrets: &Secrets, tenant: &TenantId) -> Result<Self, LinkKeyError> {
        const WHAT: &str = "read link keys";
        let query = SECRETS.query().bind(tenant.as_str().to_owned());
        let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
        let of = SealedFor::LinkKey(tenant.clone());
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let sealed: String = row.try_get(0).during(WHAT)?;
            let secret = secrets.open(&of, &sealed)?.into_text();
            found.push(secret.ok_or_else(|| SecretsError::Content { of: of.clone() })?);
        }
        Ok(Self(found))
    }

    /// Whether `signature` is one over `path`, which is what the link opens. Takes the same time for every wrong one.
    #[must_use]
    pub fn sign(&self, path: &str, signature: &str) -> bool {
        let mut found = subtle::Choice::from(0);
        for secret in &self.0 {
            found |= hex_hmac(secret, path.as_bytes()).as_bytes().ct_eq(signature.as_bytes());
        }
        found.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, control::audit::Actor, secrets::Keyring, testing::database::ControlDb};

    const TENANT: &str = "INSERT INTO tenants (id, serial, state, server, isolation, table_prefix, schema_version, step, limits, \
        version, created_at, updated_at) VALUES ('a', 'a', 'active', 'main', 'prefix', 'ta', 0, 'announced', '{}', 1, 0, 0)";

    struct World {
        database: ControlDb,
        keys: String,
        secrets: Secrets,
        tenant: TenantId,
    }

    impl World {
        async fn new(database: ControlDb) -> Self {
            sqlx::query(TENANT).execute(database.db.write()).await.unwrap();
            let keys = Keyring::generate(&Entropy::system()).reveal().to_owned();
            Self {
                database,
                secrets: Secrets::new(Some(Keyring::parse(&keys).unwrap())),
                keys,
                tenant: "a".parse().unwrap(),
            }
        }

        fn db(&self) -> &Db {
            &self.database.db
        }

        async fn make(&self) -> Result<(LinkKeyId, SecretText), LinkKeyError> {
            let entropy = Entropy::system();
            let id = LinkKeyId::generate(&Clock::system(), &entropy);
            let secret = create(self.db(), &self.secrets, &self.tenant, id.clone(), &entropy, &entry()).await?;
            Ok((id, secret))
        }

        async fn load(&self) -> LinkSecrets {
            LinkSecrets::load(self.db(), &self.secrets, &self.tenant).await.unwrap()
        }
    }

    fn entry() -> Entry {
        Entry::new(&Clock::system(), &Entropy::system(), &Actor::cli(), "link-key", None)
    }

    async fn a_key_signs_links_until_it_is_removed(world: World) {
        let (id, secret) = world.make().await.unwrap();
        let signature = hex_hmac(&secret, b"/m/a/w400.webp");
        let keys = world.load().await;
        assert!(keys.sign("/m/a/w400.webp", &signature));
        for (path, signature) in [
            ("/m/a/w401.webp", signature.as_str()),
            ("/m/a/w400.webp", ""),
            ("/m/a/w400.webp", &signature[1..]),
            ("/m/a/w400.webp", &signature.to_uppercase()),
        ] {
            assert!(!keys.sign(path, signature), "{path} {signature}");
        }
        let nobody = "b".parse().unwrap();
        let others = LinkSecrets::load(world.db(), &world.secrets, &nobody).await.unwrap();
        assert!(!others.sign("/m/a/w400.webp", &signature));
        assert_eq!(list(world.db(), &world.tenant).await.unwrap()[0].id, id);
        assert!(!remove(world.db(), &nobody, &id, &entry()).await.unwrap());
        assert!(remove(world.db(), &world.tenant, &id, &entry()).await.unwrap());
        assert!(!remove(world.db(), &world.tenant, &id, &entry()).await.unwrap());
        assert!(!world.load().await.sign("/m/a/w400.webp", &signature));
    }

    async fn there_are_no_more_keys_than_places(world: World) {
        let all = futures_util::future::join_all((0..MOST + 3).map(|_| world.make())).await;
        let (made, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        assert_eq!((made.len(), refused.len()), (5, 3));
        assert!(
            refused.iter().all(|one| matches!(one, Err(LinkKeyError::Full))),
            "{refused:?}"
        );
        let keys = list(world.db(), &world.tenant).await.unwrap();
        assert_eq!(keys.len(), 5);
        assert!(remove(world.db(), &world.tenant, &keys[2].id, &entry()).await.unwrap());
        assert!(world.make().await.is_ok());
    }

    async fn keys_go_on_under_another_master_key(world: World) {
        let (_, secret) = world.make().await.unwrap();
        let signature = hex_hmac(&secret, b"/m/a/w1");
        let fresh = Keyring::generate(&Entropy::system());
        let both = Keyring::parse(&format!("{} {}", fresh.reveal(), world.keys)).unwrap();
        let done = secrets::rotate(world.db(), &both, Millis::new(1), &Entropy::system(), |_, _| ()).await;
        let done = done.unwrap();
        assert_eq!((done.resealed, done.left, done.retired.len()), (1, 0, 1));
        let alone = Secrets::new(Some(Keyring::parse(fresh.reveal()).unwrap()));
        let keys = LinkSecrets::load(world.db(), &alone, &world.tenant).await.unwrap();
        assert!(keys.sign("/m/a/w1", &signature));
    }

    macro_rules! on_both_engines {
        ($($case:ident),+ $(,)?) => {
            mod sqlite {
                $(#[tokio::test]
                async fn $case() {
                    super::$case(super::World::new(super::ControlDb::sqlite().await).await).await;
                })+
            }
            mod postgres {
                $(#[tokio::test]
                #[ignore = "needs servers: run ./test.sh"]
                async fn $case() {
                    super::$case(super::World::new(super::ControlDb::postgres().await).await).await;
                })+
            }
        };
    }

    on_both_engines!(
        a_key_signs_links_until_it_is_removed,
        there_are_no_more_keys_than_places,
        keys_go_on_under_another_master_key,
    );
}

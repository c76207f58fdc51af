//! Keys on record and rotation, on both engines.

use super::*;
use crate::{ids::TenantId, secrets::key_id_of, testing::database::ControlDb};

const TENANT: &str = "INSERT INTO tenants (id, serial, state, server, isolation, table_prefix, schema_version, step, limits, env, \
    version, created_at, updated_at) VALUES ($1, $1, 'active', 'main', 'prefix', $1, 0, 'announced', '{}', $2, 7, 0, 0)";
const PLAN: &str = "INSERT INTO plans (id, name, limits, env, created_at, updated_at) VALUES ($1, $1, '{}', $2, 0, 0)";
const BATCH: &str =
    "INSERT INTO batches (id, state, recipient, actor, created_at, updated_at) VALUES ($1, 'done', $2, 'a', 0, 0)";
const FIRST_KEY: &str =
    "INSERT INTO batch_rows (batch, line, tenant, state, request, secret) VALUES ($1, $2, $3, 'done', '{}', $4)";
const TENANT_IS: &str = "SELECT env, version FROM tenants WHERE id = $1";
const CHANGE_TENANT: &str = "UPDATE tenants SET env = $1 WHERE id = $2";
const FIRST_KEYS_ARE: &str = "SELECT secret FROM batch_rows WHERE batch = $1 ORDER BY line";

struct World {
    database: ControlDb,
    entropy: Entropy,
}

impl World {
    fn db(&self) -> &Db {
        &self.database.db
    }

    async fn register(&self, keys: &Keyring) -> Result<(), MasterKeyError> {
        register(self.db(), keys, Millis::new(1), &self.entropy).await
    }

    async fn rotate(&self, keys: &Keyring) -> Result<Rotation, MasterKeyError> {
        rotate(self.db(), keys, Millis::new(1), &self.entropy, |_, _| {}).await
    }

    async fn insert(&self, sql: &'static str, texts: &[Option<String>]) {
        let query = texts
            .iter()
            .fold(sqlx::query(sql), |query, text| query.bind(text.clone()));
        query.execute(self.db().write()).await.unwrap();
    }

    async fn tenant(&self, keys: &Keyring, id: &str, plain: &str) {
        let sealed = keys.seal(&of(id), plain.as_bytes(), &self.entropy).unwrap();
        self.insert(TENANT, &[Some(id.into()), Some(sealed)]).await;
    }

    async fn first_key(&self, batch: &str, line: i64, tenant: &str, secret: String) {
        let query = sqlx::query(FIRST_KEY).bind(batch.to_owned()).bind(line);
        let query = query.bind(tenant.to_owned()).bind(secret);
        query.execute(self.db().write()).await.unwrap();
    }

    async fn sealed(&self, tenant: &str) -> (String, i64) {
        let query = sqlx::query(TENANT_IS).bind(tenant.to_owned());
        let row = query.fetch_one(self.db().write()).await.unwrap();
        (row.get(0), row.get(1))
    }

    async fn opened(&self, keys: &Keyring, tenant: &str) -> Vec<u8> {
        let (sealed, _) = self.sealed(tenant).await;
        keys.open(&of(tenant), &sealed).unwrap().reveal().to_vec()
    }
}

fn of(tenant: &str) -> SealedFor {
    SealedFor::TenantEnv(tenant.parse::<TenantId>().unwrap())
}

/// Keys of these ids; one id is always the same key.
fn ring(ids: &[&str]) -> Keyring {
    let key = |id: &&str| {
        let bytes = [id.bytes().next().unwrap(); 32];
        format!(
            "{id}:{}",
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
        )
    };
    Keyring::parse(&ids.iter().map(key).collect::<Vec<_>>().join(" ")).unwrap()
}

fn ids(keys: &[&str]) -> Vec<MasterKeyId> {
    keys.iter().map(|id| id.parse().unwrap()).collect()
}

async fn a_new_installation_needs_no_key(world: World) {
    check(world.db(), None).await.unwrap();
    check(world.db(), Some(&ring(&["a"]))).await.unwrap();
}

async fn a_key_that_sealed_is_needed_from_then_on(world: World) {
    world.register(&ring(&["a"])).await.unwrap();
    world.register(&ring(&["a"])).await.unwrap();
    check(world.db(), Some(&ring(&["b", "a"]))).await.unwrap();
    for without in [None, Some(ring(&["b"]))] {
        let error = check(world.db(), without.as_ref()).await.unwrap_err();
        assert!(matches!(&error, MasterKeyError::Missing { ids: missing } if *missing == ids(&["a"])));
        assert!(error.to_string().contains("under master key a, which"), "{error}");
    }
}

async fn another_key_of_the_same_name_is_wrong(world: World) {
    world.register(&ring(&["a"])).await.unwrap();
    let impostor = Keyring::generate(&world.entropy);
    let impostor = impostor.reveal().split_once(':').unwrap().1.to_owned();
    let impostor = Keyring::parse(&format!("a:{impostor}")).unwrap();
    for error in [
        check(world.db(), Some(&impostor)).await.unwrap_err(),
        world.register(&impostor).await.unwrap_err(),
    ] {
        assert!(matches!(error, MasterKeyError::Wrong { .. }), "{error}");
    }
}

async fn a_refused_keyring_leaves_no_trace(world: World) {
    world.register(&ring(&["a"])).await.unwrap();
    world.register(&ring(&["b"])).await.unwrap_err();
    check(world.db(), Some(&ring(&["a"]))).await.unwrap();
}

async fn rotation_seals_everything_anew_and_forgets_the_old_key(world: World) {
    let (old, both, new) = (ring(&["a"]), ring(&["b", "a"]), ring(&["b"]));
    world.register(&old).await.unwrap();
    world.tenant(&old, "t1", "one").await;
    world.tenant(&both, "t2", "two").await;
    world.insert(TENANT, &[Some("t3".into()), None]).await;
    let plan = SealedFor::PlanEnv("gold".into());
    let sealed = old.seal(&plan, b"plan", &world.entropy).unwrap();
    world.insert(PLAN, &[Some("gold".into()), Some(sealed)]).await;
    let first = SealedFor::FirstKey("t1".parse().unwrap());
    let sealed = old.seal(&first, b"key", &world.entropy).unwrap();
    world.insert(BATCH, &[Some("ours".into()), None]).await;
    world.first_key("ours", 1, "t1", sealed.clone()).await;
    world.first_key("ours", 2, "t1", sealed).await;

    let mut seen = Vec::new();
    let done = rotate(world.db(), &both, Millis::new(1), &world.entropy, |of, _| {
        seen.push(of.clone());
    });
    let done = done.await.unwrap();
    assert_eq!((done.resealed, done.left, done.retired), (4, 0, ids(&["a"])));
    assert_eq!(seen, [of("t1"), plan, first.clone(), first.clone()]);
    assert_eq!(world.opened(&new, "t1").await, b"one");
    assert_eq!(world.sealed("t1").await.1, 7, "no context changes by it");
    let query = sqlx::query(FIRST_KEYS_ARE).bind("ours");
    for row in query.fetch_all(world.db().write()).await.unwrap() {
        assert_eq!(new.open(&first, row.get(0)).unwrap().reveal(), b"key");
    }
    check(world.db(), Some(&new)).await.unwrap();
    assert_eq!(world.rotate(&new).await.unwrap(), Rotation::default());
}

async fn rotation_goes_through_more_than_a_page(world: World) {
    let (old, both) = (ring(&["a"]), ring(&["b", "a"]));
    world.register(&old).await.unwrap();
    world.insert(BATCH, &[Some("ours".into()), None]).await;
    let first = SealedFor::FirstKey("t".parse().unwrap());
    let mut tx = world.db().begin_write().await.unwrap();
    for n in 0..rotation::PAGE + 3 {
        let id = format!("t{n}");
        let sealed = old.seal(&of(&id), b"x", &world.entropy).unwrap();
        sqlx::query(TENANT)
            .bind(id)
            .bind(sealed)
            .execute(&mut *tx)
            .await
            .unwrap();
        let sealed = old.seal(&first, b"x", &world.entropy).unwrap();
        let query = sqlx::query(FIRST_KEY).bind("ours").bind(i64::try_from(n).unwrap());
        query.bind("t").bind(sealed).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    let done = world.rotate(&both).await.unwrap();
    assert_eq!((done.resealed, done.left), (2 * (rotation::PAGE as u64 + 3), 0));
}

async fn what_was_sealed_to_a_recipient_is_left_alone(world: World) {
    let (old, both) = (ring(&["a"]), ring(&["b", "a"]));
    world.register(&old).await.unwrap();
    world.insert(BATCH, &[Some("theirs".into()), Some("key".into())]).await;
    world.first_key("theirs", 1, "t1", "AAAA".into()).await;
    let done = world.rotate(&both).await.unwrap();
    assert_eq!((done.resealed, done.retired), (0, ids(&["a"])));
}

async fn a_change_made_meanwhile_stands(world: World) {
    let (old, both) = (ring(&["a"]), ring(&["b", "a"]));
    world.register(&old).await.unwrap();
    world.tenant(&old, "t1", "old").await;
    let mut pages = rotation::Pages::new(both.primary());
    let read = pages.next(world.db()).await.unwrap().unwrap();
    let changed = old.seal(&of("t1"), b"changed", &world.entropy).unwrap();
    world.insert(CHANGE_TENANT, &[Some(changed), Some("t1".into())]).await;
    let outcomes = rotation::reseal(world.db(), &both, &world.entropy, read).await.unwrap();
    assert!(
        matches!(outcomes.as_slice(), [(_, Resealed::Overtaken)]),
        "{outcomes:?}"
    );
    assert_eq!(world.opened(&both, "t1").await, b"changed");
    assert_eq!(world.rotate(&both).await.unwrap().resealed, 1);
    assert_eq!(world.opened(&ring(&["b"]), "t1").await, b"changed");
}

async fn a_text_that_does_not_open_keeps_its_key(world: World) {
    let (old, both) = (ring(&["a"]), ring(&["b", "a"]));
    world.register(&old).await.unwrap();
    world.tenant(&old, "t1", "fine").await;
    let stolen = world.sealed("t1").await.0;
    world.insert(TENANT, &[Some("t2".into()), Some(stolen.clone())]).await;
    let done = world.rotate(&both).await.unwrap();
    assert_eq!((done.resealed, done.left, done.retired), (1, 1, ids(&[])));
    assert_eq!(world.sealed("t2").await.0, stolen);
    assert_eq!(key_id_of(&world.sealed("t1").await.0), "b".parse().ok());
    let error = check(world.db(), Some(&ring(&["b"]))).await.unwrap_err();
    assert!(matches!(error, MasterKeyError::Missing { .. }), "{error}");
}

async fn a_key_in_use_is_put_back_on_record_by_what_it_seals(world: World) {
    let (old, both) = (ring(&["a"]), ring(&["b", "a"]));
    world.register(&old).await.unwrap();
    world.rotate(&both).await.unwrap();
    let mut tx = world.db().begin_write().await.unwrap();
    keep(&mut tx, &old, Millis::new(2), &world.entropy).await.unwrap();
    tx.commit().await.unwrap();
    let error = check(world.db(), Some(&ring(&["b"]))).await.unwrap_err();
    assert!(matches!(error, MasterKeyError::Missing { .. }), "{error}");
}

macro_rules! on_both_engines {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                let database = super::ControlDb::sqlite().await;
                super::$case(super::World { database, entropy: super::Entropy::system() }).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                let database = super::ControlDb::postgres().await;
                super::$case(super::World { database, entropy: super::Entropy::system() }).await;
            })+
        }
    };
}

on_both_engines!(
    a_new_installation_needs_no_key,
    a_key_that_sealed_is_needed_from_then_on,
    another_key_of_the_same_name_is_wrong,
    a_refused_keyring_leaves_no_trace,
    rotation_seals_everything_anew_and_forgets_the_old_key,
    rotation_goes_through_more_than_a_page,
    what_was_sealed_to_a_recipient_is_left_alone,
    a_change_made_meanwhile_stands,
    a_text_that_does_not_open_keeps_its_key,
    a_key_in_use_is_put_back_on_record_by_what_it_seals,
);

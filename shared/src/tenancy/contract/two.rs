//! An installation with two database servers, what fills a tenant, and what looks for anything that is left behind.

use crate::{
    clock::{Clock, Entropy},
    config::Config,
    control::{audit::Actor, moves, tenants},
    db::{Db, Engine},
    ids::{JobId, KeyId, MediaId, TenantId, UserId},
    objects::ObjectKey,
    services::Services,
    tenancy::{
        Isolation, KeyText, Limits, NewTenant, Place, ServerName, Tenant, TenantDb, migrate,
        store::{
            media::{Media, ORIGINAL, Variant},
            usage::Usage,
            users::{Role, UserCounts},
        },
    },
    testing::{World, database::ControlDb, make_tenant},
    units::ByteCount,
};
use sqlx::Row;
use std::{collections::BTreeSet, path::Path, pin::pin, task::Poll, time::Duration};

/// The second server's name.
pub(super) const OTHER: &str = "other";

/// A world whose tenants may also be on a second server, which takes none by itself.
pub(super) struct Two {
    pub(super) world: World,
    other: ControlDb,
}

impl Two {
    pub(super) async fn embedded(more: &[(&'static str, String)]) -> Self {
        let other = ControlDb::bare_sqlite();
        let world = World::embedded_with(&servers(&other, more)).await;
        Self { world, other }
    }

    pub(super) async fn distributed(more: &[(&'static str, String)]) -> Self {
        let other = ControlDb::bare_postgres().await;
        let world = World::distributed_with(&servers(&other, more)).await;
        Self { world, other }
    }

    pub(super) const fn services(&self) -> &Services {
        &self.world.services
    }

    /// A tenant at the given place, with its first key.
    pub(super) async fn tenant_at(&self, id: &str, isolation: Isolation, server: Option<&str>) -> (TenantId, String) {
        let id: TenantId = id.parse().unwrap();
        let mut new = NewTenant::plain(id.clone(), &format!("{id}.localhost"));
        new.isolation = Some(isolation);
        new.server = server.map(|name| name.parse().unwrap());
        let key = make_tenant(self.services(), new).await;
        (id, key)
    }

    /// Leaves a database of the second server as one that dies while it drops it.
    pub(super) async fn drop_half(&self, place: &Place) {
        let db = &self.other.db;
        match db.engine() {
            // Its file goes last.
            Engine::Sqlite => db.drop_own(&self.other.url, place.prefix.as_str()).await.unwrap(),
            Engine::Postgres => {
                let mark = "UPDATE pg_database SET datconnlimit = -2 WHERE datname LIKE '%' || $1";
                let marked = sqlx::query(mark).bind(place.prefix.to_string()).execute(db.write());
                assert_eq!(marked.await.unwrap().rows_affected(), 1);
                // Whoever was connected before is asked for no such thing.
                let end = "SELECT CAST(COUNT(pg_terminate_backend(pid)) AS BIGINT) FROM pg_stat_activity WHERE datname LIKE '%' || $1";
                let ended = sqlx::query(end).bind(place.prefix.to_string()).execute(db.write());
                ended.await.unwrap();
            }
        }
    }

    /// Tables, databases and files of tenants that belong to no tenant, once what is retired is dropped.
    pub(super) async fn left_behind(&self) -> BTreeSet<String> {
        let services = self.services();
        let later = services.clock.now().after(Duration::from_secs(86_400));
        for (place, _) in moves::retired(&services.control, later, "", 10_000).await.unwrap() {
            migrate::drop_place(&services.databases, &place).await.unwrap();
            moves::forget_retired(&services.control, &place).await.unwrap();
        }
        let mut found = in_catalogue(&services.control, &services.config).await;
        found.append(&mut in_catalogue_of(&self.other.db, &self.other.url).await);
        let all = tenants::Filter::default();
        for row in tenants::page(&services.control, &all, None, 10_000).await.unwrap() {
            found.remove(row.place.prefix.as_str());
        }
        found
    }
}

fn servers(other: &ControlDb, more: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let mut pairs = vec![("tenant_databases", format!("{OTHER}*0={}", other.url))];
    pairs.extend(more.iter().cloned());
    pairs
}

/// One named test a case and side: each case is an `async fn(Two)`.
macro_rules! with_two_servers {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($crate::tenancy::contract::two::Two::embedded(&[]).await).await;
            })+
        }
        mod distributed {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs servers: run ./test.sh"]
            async fn $case() {
                super::$case($crate::tenancy::contract::two::Two::distributed(&[]).await).await;
            })+
        }
    };
}
pub(super) use with_two_servers;

async fn in_catalogue(db: &Db, config: &Config) -> BTreeSet<String> {
    in_catalogue_of(db, &config.database_url).await
}

/// Every prefix that names a table, a database or a file on a server.
async fn in_catalogue_of(db: &Db, url: &url::Url) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let tables = match db.engine() {
        Engine::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
        Engine::Postgres => "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = 'public'",
    };
    for row in sqlx::query(tables).fetch_all(db.read()).await.unwrap() {
        let name: String = row.get(0);
        let prefix = name.split_once('_').map(|(prefix, _)| prefix.to_owned());
        found.extend(prefix.filter(|prefix| is_prefix(prefix)));
    }
    match db.engine() {
        Engine::Sqlite => files(Path::new(&format!("{}.tenants", url.path())), &mut found),
        Engine::Postgres => {
            let base = format!("{}_", url.path().trim_start_matches('/'));
            let names = "SELECT CAST(datname AS TEXT) FROM pg_database";
            for row in sqlx::query(names).fetch_all(db.read()).await.unwrap() {
                let name: String = row.get(0);
                found.extend(name.strip_prefix(&base).map(str::to_owned));
            }
        }
    }
    found
}

/// Prefixes that are generated have sixteen characters; no table of the control database begins with such a word.
fn is_prefix(text: &str) -> bool {
    text.len() == 16 && text.starts_with('t') && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn files(folder: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            let name = entry.file_name().into_string().unwrap();
            found.extend(name.split_once('.').map(|(prefix, _)| prefix.to_owned()));
        }
    }
}

/// Polls `work` at most `polls` times and drops it, as if its process were killed there. `None`: it was not done.
pub(super) async fn killed_after<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), polls);
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

/// The tenant as the database has it now.
pub(super) async fn fresh(services: &Services, id: &TenantId) -> Tenant {
    services.resolver.refresh(id).await.unwrap().unwrap()
}

/// A picture with two files, and its job.
pub(super) fn picture(tenant: &TenantId) -> (JobId, Media, Vec<Variant>) {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let (job, id) = (JobId::generate(&clock, &entropy), MediaId::generate(&clock, &entropy));
    let variant = |name: &str, bytes| Variant {
        media: id.clone(),
        name: name.to_owned(),
        format: "jpeg".to_owned(),
        object: ObjectKey::placed(tenant, &id, name, "jpg").unwrap(),
        width: 40,
        height: 30,
        bytes: ByteCount::new(bytes),
        sha256: "0".repeat(64),
        places: "01hf7y0000000000000000000a - !01hf7y0000000000000000000b"
            .parse()
            .unwrap(),
    };
    let media = Media {
        id: id.clone(),
        job: job.clone(),
        key: Some(KeyId::generate(&clock, &entropy)),
        file_name: Some("a \"quoted\" ünïcode 'name'; --\u{1F98A}.jpg".to_owned()),
        format: "jpeg".to_owned(),
        width: 40,
        height: 30,
        uploaded_bytes: ByteCount::new(100),
        stored_bytes: ByteCount::new(30),
        removed: "[]".to_owned(),
        facts: r#"{"lens":null}"#.to_owned(),
        created_at: clock.now(),
        frames: 3,
        expires_at: Some(clock.now()),
        sha256: Some("1".repeat(64)),
    };
    (job, media, vec![variant(ORIGINAL, 20), variant("small", 10)])
}

/// Records one picture, as a worker does.
pub(super) async fn record(db: &TenantDb, tenant: &TenantId) -> Result<(), crate::db::DbError> {
    let (job, media, variants) = picture(tenant);
    let change = Usage::picture(media.stored_bytes, media.frames);
    let mut tx = db.begin().await?;
    tx.settle(&job, change, &Limits::builtin(), media.created_at).await?;
    tx.add_media(&media, &variants).await?;
    tx.commit().await
}

/// Rows in every table.
pub(super) async fn fill(db: &TenantDb, tenant: &TenantId, pictures: usize) {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let mut tx = db.begin().await.unwrap();
    for (name, role) in [("Ännë O'Neil", Role::Manager), ("bo", Role::User)] {
        let user = UserId::generate(&clock, &entropy);
        let (mail, hash) = (Some("a@b.example"), Some("$argon2id$v=19$x"));
        tx.install_user(&user, name, role, mail, hash, clock.now())
            .await
            .unwrap();
        let key = KeyText::generate(&clock, &entropy);
        tx.add_key(&key, &user, "k", Some(clock.now()), clock.now())
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    for _ in 0..pictures {
        record(db, tenant).await.unwrap();
    }
}

/// Everything that a tenant's readers can see.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    media: Vec<(Media, Vec<Variant>)>,
    usage: Usage,
    ledger: Usage,
    users: UserCounts,
    passwords: Vec<Option<String>>,
    keys: i64,
}

pub(super) async fn seen(db: &TenantDb) -> Seen {
    let mut passwords = Vec::new();
    for name in ["admin", "Ännë O'Neil", "bo"] {
        passwords.push(db.password_hash(name).await.unwrap());
    }
    let count = "SELECT CAST(COUNT(id) AS BIGINT) FROM {api_keys}";
    let keys = db.query(crate::tenancy::sql::TenantSql::new(count));
    let keys = keys.fetch_one(&mut *db.reader().await.unwrap()).await.unwrap().get(0);
    Seen {
        media: db.media_page(None, 10_000, None).await.unwrap(),
        usage: db.usage().await.unwrap(),
        ledger: db.balance().await.unwrap().ledger,
        users: db.user_counts().await.unwrap(),
        passwords,
        keys,
    }
}

/// A move that has begun: its job, where from and where to.
pub(super) struct Begun {
    pub(super) job: JobId,
    pub(super) from: Place,
    pub(super) to: Place,
}

pub(super) async fn begin_move(services: &Services, id: &TenantId, isolation: Isolation, server: &str) -> Begun {
    let from = tenants::get(&services.control, id).await.unwrap().unwrap().place;
    let server: ServerName = server.parse().unwrap();
    let actor = Actor::cli();
    let job = services
        .lifecycle
        .begin_move(id, isolation, Some(server.clone()), &actor);
    Begun {
        job: job.await.unwrap(),
        to: Place {
            server,
            isolation,
            prefix: from.prefix.clone(),
        },
        from,
    }
}

pub(super) async fn relocate(
    services: &Services,
    id: &TenantId,
    begun: &Begun,
) -> Result<(), crate::tenancy::MoveError> {
    let Begun { job, from, to } = begun;
    services.lifecycle.relocate(id, job, from, to, |_| {}).await
}

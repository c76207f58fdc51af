//! A whole installation for a test: every service open, one tenant, on either side.

use super::{
    database::ControlDb,
    s3::S3Server,
    servers::{self, VirtualHost},
};
use crate::{
    clock::{Clock, Entropy, Stopwatch},
    config::Config,
    control::{
        accept,
        audit::Actor,
        changes::Change,
        jobs::{self, JobRow},
        plans::Plan,
        storages::{self, StorageRole, StorageRow},
        tenants,
    },
    ids::{JobId, MediaId, TenantId, TraceId},
    jobs::{JobState, ProcessMedia, publish},
    objects::{ObjectKey, Objects, Store},
    placement::{Editor, NewStorage, Spot},
    queue::{Broker as _, Queue},
    quota::Claim,
    secrets::Keyring,
    services::Services,
    shutdown::Shutdown,
    tenancy::{
        Isolation, LimitOverrides, Limits, NewAdmin, NewTenant, Tenant,
        store::{
            balance::Balance,
            media::Media,
            places::Held,
            usage::{Settled, Usage},
        },
    },
    units::ByteCount,
};
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};

/// A test that has not seen what it waits for by then has failed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What was not published by then is left to whoever dispatches.
const QUEUES_PATIENCE: Duration = Duration::from_secs(10);

/// Waits until a queue answers. A broker that many tests make queues in at a time takes longer over it than a caller of the
/// product would wait.
///
/// # Panics
/// When it does not in time.
#[expect(clippy::expect_used, reason = "a test's fixture")]
pub async fn connected(queue: &Queue) {
    let answers = async { while queue.ping().await.is_err() {} };
    tokio::time::timeout(PATIENCE, answers)
        .await
        .expect("a queue that answers");
}

/// An installation of a test's own.
pub struct World {
    /// Everything open.
    pub services: Services,
    /// Key of the first tenant's administrator.
    pub key: String,
    _database: ControlDb,
    _host: Option<VirtualHost>,
    _objects: Option<S3Server>,
    _folder: tempfile::TempDir,
}

#[expect(clippy::expect_used, reason = "a test's fixture")]
impl World {
    /// The tenant's host name.
    pub const HOST: &'static str = "demo.localhost";

    /// On SQLite, the `jobs` table, this process and a directory.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn embedded() -> Self {
        Self::embedded_with(&[]).await
    }

    /// The same, with configuration of its own.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn embedded_with(more: &[(&'static str, String)]) -> Self {
        Self::embedded_as(more, None).await
    }

    /// The same with S3 instead of the directory, whose server clients may be sent to.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn embedded_with_s3() -> Self {
        let objects = S3Server::start().await.expect("an S3 server");
        let url = format!("{}&presign=true", objects.url("objects").expect("a URL"));
        Self::embedded_as(&[("objects_url", url)], Some(objects)).await
    }

    async fn embedded_as(more: &[(&'static str, String)], objects: Option<S3Server>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let database = ControlDb::sqlite().await;
        let mut pairs = vec![
            ("data_dir", folder.path().display().to_string()),
            ("database_url", database.url.to_string()),
        ];
        pairs.extend(more.iter().cloned());
        Self::open(pairs, database, None, objects, folder).await
    }

    /// On PostgreSQL, RabbitMQ, Redis and S3.
    ///
    /// # Panics
    /// When there are no servers.
    pub async fn distributed() -> Self {
        Self::distributed_with(&[]).await
    }

    /// The same, with an S3 server that clients may be sent to.
    ///
    /// # Panics
    /// When there are no servers.
    pub async fn distributed_presigning() -> Self {
        Self::distributed_as(&[], "&presign=true").await
    }

    /// The same, with configuration of its own.
    ///
    /// # Panics
    /// When there are no servers.
    pub async fn distributed_with(more: &[(&'static str, String)]) -> Self {
        Self::distributed_as(more, "").await
    }

    async fn distributed_as(more: &[(&'static str, String)], parameters: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let database = ControlDb::postgres().await;
        let objects = S3Server::start().await.expect("an S3 server");
        let host = VirtualHost::own();
        let mut pairs = vec![
            ("data_dir", folder.path().display().to_string()),
            ("database_url", database.url.to_string()),
            ("queue_url", host.url.to_string()),
            // Late is away, and then other things hold: not what most tests are about.
            (
                "cache_url",
                format!("{}?prefix=test-{}:&timeout_ms=10000", servers::redis(), host.name),
            ),
            (
                "objects_url",
                format!("{}{parameters}", objects.url("objects").expect("a URL")),
            ),
        ];
        if !more.iter().any(|(key, _)| *key == "master_keys") {
            // The embedded side has one without a word.
            pairs.push(("master_keys", Keyring::generate(&Entropy::system()).reveal().to_owned()));
        }
        pairs.extend(more.iter().cloned());
        Self::open(pairs, database, Some(host), Some(objects), folder).await
    }

    async fn open(
        pairs: Vec<(&'static str, String)>,
        database: ControlDb,
        host: Option<VirtualHost>,
        objects: Option<S3Server>,
        folder: tempfile::TempDir,
    ) -> Self {
        let config = Config::from_pairs(pairs).expect("a configuration");
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let services = Services::open(config, clock.clone(), entropy.clone(), Shutdown::new())
            .await
            .expect("open services");
        connected(&services.queue).await;
        let key = make_tenant(&services, NewTenant::plain("demo".parse().expect("an id"), Self::HOST)).await;
        Self {
            services,
            key,
            _database: database,
            _host: host,
            _objects: objects,
            _folder: folder,
        }
    }

    /// The first tenant.
    ///
    /// # Panics
    /// When it cannot be resolved.
    pub async fn tenant(&self) -> Tenant {
        self.services
            .resolver
            .by_host(Self::HOST)
            .await
            .expect("a resolver that answers")
            .expect("a tenant")
    }

    /// Changes the first tenant: as it is from then on.
    ///
    /// # Panics
    /// When it cannot be changed.
    pub async fn change(&self, change: Change) -> Tenant {
        let (services, tenant) = (&self.services, self.tenant().await);
        let changed = services.lifecycle.change(tenant.id(), &change, &Actor::cli()).await;
        changed.expect("a change that is allowed");
        let present = services.resolver.refresh(tenant.id()).await;
        present.expect("a resolver that answers").expect("a tenant")
    }

    /// Gives a plan these limits and no others.
    ///
    /// # Panics
    /// When there is no such plan, or it cannot be changed.
    pub async fn edit_plan(&self, plan: &str, limits: LimitOverrides) {
        let edit = |plan: &mut Plan| {
            plan.limits = limits.clone();
            true
        };
        let edited = self.services.lifecycle.edit_plan(plan, edit, &Actor::cli()).await;
        edited.expect("a plan that is changed").expect("a plan");
    }

    /// Records a picture of ten bytes and `frames` frames that has no files, as a worker does whose job nobody accepted.
    ///
    /// # Panics
    /// When it cannot be recorded.
    pub async fn record(&self, tenant: &Tenant, frames: i64) -> MediaId {
        let (clock, entropy) = (&self.services.clock, &self.services.entropy);
        let (job, now, bytes) = (JobId::generate(clock, entropy), clock.now(), ByteCount::new(10));
        let picture = Media {
            id: MediaId::generate(clock, entropy),
            job: job.clone(),
            key: None,
            file_name: None,
            format: "gif".into(),
            width: 1,
            height: 1,
            uploaded_bytes: bytes,
            stored_bytes: bytes,
            removed: "[]".into(),
            facts: "{}".into(),
            created_at: now,
            frames,
            expires_at: None,
            sha256: None,
        };
        let mut tx = tenant.db().expect("a tenant in use").begin().await.expect("a database");
        tx.add_media(&picture, &[]).await.expect("a picture");
        let settled = tx
            .settle(&job, Usage::picture(bytes, frames), &Limits::builtin(), now)
            .await;
        assert_eq!(settled.expect("a line of the ledger"), Settled::Now);
        tx.commit().await.expect("a database");
        picture.id
    }

    /// Adds a storage of a tenant, or of the provider, in the bucket `pictures` of a server.
    ///
    /// # Panics
    /// When it is not added.
    pub async fn add_storage(&self, name: &str, server: &S3Server, owner: Option<&Tenant>) -> StorageRow {
        let new = NewStorage {
            name: name.into(),
            settings: server.settings_at("pictures", server.address()).expect("settings"),
            credentials: Some(S3Server::credentials()),
            role: StorageRole::Both,
            capacity: ByteCount::new(100_000_000),
            weight: 1,
        };
        let by = Editor::operator(Actor::cli());
        let added = self.services.storages.add(owner, new, false, &by).await;
        added.expect("a storage that is allowed")
    }

    /// A second tenant, on a host of its own.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn another_tenant(&self, id: &str) -> (TenantId, String) {
        self.another_tenant_with(id, LimitOverrides::default()).await
    }

    /// The same, with limits of its own.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn another_tenant_with(&self, id: &str, limits: LimitOverrides) -> (TenantId, String) {
        let id: TenantId = id.parse().expect("an id");
        let mut new = NewTenant::plain(id.clone(), &format!("{id}.localhost"));
        new.limits = limits;
        let key = make_tenant(&self.services, new).await;
        (id, key)
    }

    /// Runs a statement on the control database: what no part of the product does, such as losing a settlement.
    ///
    /// # Panics
    /// When it fails.
    pub async fn execute(&self, sql: &'static str, values: &[&str]) {
        let query = values
            .iter()
            .fold(sqlx::query(sql), |query, value| query.bind((*value).to_owned()));
        query.execute(self.services.control.write()).await.expect("a statement");
    }

    /// The one number that a statement on the control database answers.
    ///
    /// # Panics
    /// When it answers none.
    pub async fn number(&self, sql: &'static str) -> i64 {
        let row = sqlx::query(sql).fetch_one(self.services.control.read()).await;
        sqlx::Row::get(&row.expect("a row"), 0)
    }

    /// Accepts an upload as the api does: staged, reserved, committed, offered to the queue.
    ///
    /// # Panics
    /// When it is not accepted.
    pub async fn upload(&self, bytes: impl Into<Bytes>) -> (MediaId, JobId) {
        let (services, tenant) = (&self.services, self.tenant().await);
        let (media, new) = self.staged(bytes.into()).await;
        let now = services.clock.now();
        let published = crate::queue::Queue::rows_are_messages(&services.queue);
        let stamp = tenant.context().stamp();
        let accepted = accept::accept(
            &services.control,
            tenant.id(),
            stamp,
            accept::Request {
                jobs: std::slice::from_ref(&new),
                ..accept::Request::default()
            },
            now,
            published,
        )
        .await;
        assert_eq!(accepted.expect("a database"), accept::Accepted::New);
        services.outbox.offer(new.pool, new.envelope(now));
        (media, new.id)
    }

    /// An upload's bytes, staged and reserved, and its job, which nobody has accepted yet.
    pub(super) async fn staged(&self, bytes: Bytes) -> (MediaId, jobs::NewJob) {
        let (services, tenant) = (&self.services, self.tenant().await);
        let (media, job) = (
            MediaId::generate(&services.clock, &services.entropy),
            JobId::generate(&services.clock, &services.entropy),
        );
        let key = ObjectKey::staged(tenant.id(), &job);
        let stored = services
            .objects
            .put(&key, bytes, "application/octet-stream")
            .await
            .expect("staged bytes");
        let claim = Claim {
            media: 1,
            bytes: stored.bytes,
        };
        services
            .quota
            .reserve(&tenant, &tenant.db().expect("active"), claim)
            .await
            .expect("room");
        let payload = ProcessMedia {
            media: media.clone(),
            file_name: Some("picture".into()),
            key: None,
            staged: key.as_str().into(),
            bytes: stored.bytes,
            sha256: stored.sha256,
            reserved: stored.bytes,
            expires_at: None,
            holder: None,
        };
        let trace = TraceId::generate(&services.clock, &services.entropy);
        let mut new = jobs::NewJob::of(job.clone(), &payload, trace).expect("JSON");
        new.tenant = Some(tenant.id().clone());
        new.subject = Some(media.to_string());
        new.context_version = tenant.context().version;
        new.reserved = stored.bytes;
        (media, new)
    }

    /// Waits until a job is final.
    ///
    /// # Panics
    /// When it is not in time.
    pub async fn finished(&self, job: &JobId) -> JobRow {
        self.until(job, JobState::is_final).await
    }

    /// Waits until a job's state is as asked.
    ///
    /// # Panics
    /// When it is not in time.
    pub async fn until(&self, job: &JobId, wanted: impl Fn(JobState) -> bool) -> JobRow {
        let watch = Stopwatch::start();
        let mut dispatched = Duration::ZERO;
        loop {
            let row = jobs::get(&self.services.control, job)
                .await
                .expect("a database")
                .expect("a job");
            if wanted(row.state) {
                return row;
            }
            let so_far = watch.elapsed();
            assert!(so_far < PATIENCE, "not in the state that is waited for: {row:?}");
            self.dispatch(so_far, &mut dispatched).await;
            self.services.clock.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Publishes now and then, as a scheduler would, what the queue, which many tests use at a time, did not take soon enough. A test has
    /// waited for `so_far`, and for `dispatched` when this was done last.
    async fn dispatch(&self, so_far: Duration, dispatched: &mut Duration) {
        if so_far < *dispatched + QUEUES_PATIENCE {
            return;
        }
        *dispatched = so_far;
        let Services {
            control, queue, clock, ..
        } = &self.services;
        let late = clock.now().before(QUEUES_PATIENCE);
        let left = jobs::unpublished(control, late, late, 1_000).await.expect("a database");
        if !left.is_empty() {
            publish(control, queue, clock, left).await;
        }
    }

    /// Begins to move the tenant to the other mode. Returns the job, and the mode.
    ///
    /// # Panics
    /// When it is not begun.
    #[expect(clippy::expect_used, reason = "a test's fixture")]
    pub async fn begin_move(&self) -> (JobId, Isolation) {
        let id = self.tenant().await.id().clone();
        let row = tenants::get(&self.services.control, &id).await.expect("a row");
        let to = match row.expect("the tenant").place.isolation {
            Isolation::Prefix => Isolation::Database,
            Isolation::Database => Isolation::Prefix,
        };
        let begun = self.services.lifecycle.begin_move(&id, to, None, &Actor::cli()).await;
        (begun.expect("a move"), to)
    }

    /// Asserts that nothing is left behind: see [`differences`]. What is removed in the background has some time for it.
    ///
    /// # Panics
    /// When something is.
    pub async fn assert_at_rest(&self) {
        let watch = Stopwatch::start();
        let mut dispatched = Duration::ZERO;
        loop {
            let found = differences(&self.services, &self.tenant().await).await;
            if found.is_empty() {
                return;
            }
            let so_far = watch.elapsed();
            assert!(so_far < PATIENCE, "{found:?}");
            self.dispatch(so_far, &mut dispatched).await;
            self.services.clock.sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Makes a tenant with an administrator. Returns its key.
///
/// # Panics
/// When it is not made.
#[expect(clippy::expect_used, reason = "a test's fixture")]
pub async fn make_tenant(services: &Services, mut new: NewTenant) -> String {
    let admin = NewAdmin {
        name: "admin".into(),
        email: None,
        password_hash: None,
    };
    let (admin, key) = services.lifecycle.first_admin(admin, true);
    new.admin = Some(admin);
    services.lifecycle.create(new, &Actor::cli()).await.expect("a tenant");
    key.expect("a key").reveal()
}

/// What a tenant at rest must not show, in words: staged bytes, usage, ledger, rows and stored objects that disagree.
///
/// # Panics
/// When a back end does not answer.
#[expect(clippy::expect_used, reason = "a test's fixture")]
pub async fn differences(services: &Services, tenant: &Tenant) -> Vec<String> {
    let mut found = Vec::new();
    let (staged, _) = stored(&services.objects, ObjectKey::STAGED).await;
    if staged > 0 {
        found.push(format!("{staged} objects are still staged"));
    }
    let db = tenant.db().expect("active");
    let Balance { usage, ledger, .. } = db.balance().await.expect("a balance");
    if usage != ledger {
        found.push(format!("usage {usage:?} is not the sum of the ledger {ledger:?}"));
    }
    let (rows, file_bytes) = db.stored().await.expect("rows");
    if usage != rows {
        found.push(format!("usage {usage:?} is not the sum of the rows {rows:?}"));
    }
    if rows.bytes != file_bytes {
        found.push(format!("pictures of {} have files of {file_bytes}", rows.bytes));
    }
    let recorded = db.places().await.expect("places");
    let prefix = ObjectKey::pictures(tenant.id());
    for opened in services.storages.everywhere(tenant.id()).await.expect("storages") {
        let held = recorded.get(&opened.spot).copied().unwrap_or_default();
        let (objects, bytes) = stored(&opened.objects, &prefix).await;
        if (objects, bytes) != (held.objects, held.bytes) {
            let spot = &opened.spot;
            found.push(format!(
                "{spot} holds {objects} objects of {bytes}, {held:?} are recorded"
            ));
        }
    }
    found.extend(miscounted(services).await);
    found
}

/// Storages whose figures are not what the rows of all tenants say.
#[expect(clippy::expect_used, reason = "a test's fixture")]
async fn miscounted(services: &Services) -> Vec<String> {
    let mut recorded: BTreeMap<Spot, Held> = BTreeMap::new();
    let all = tenants::page(&services.control, &tenants::Filter::default(), None, 1_000).await;
    for row in all.expect("tenants") {
        let tenant = services.resolver.by_id(&row.id).await.expect("a resolver that answers");
        let Some(db) = tenant.and_then(|tenant| tenant.tables().ok()) else {
            continue;
        };
        for (spot, held) in db.places().await.expect("places") {
            let sum = recorded.entry(spot).or_default();
            sum.bytes = sum.bytes.plus(held.bytes);
            sum.objects += held.objects;
        }
    }
    let rows = storages::page(&services.control, None, 1_000).await.expect("storages");
    let differs = rows.into_iter().filter_map(|row| {
        let held = recorded
            .get(&Spot::Storage(row.id.clone()))
            .copied()
            .unwrap_or_default();
        let (used, objects) = (row.used, row.objects);
        let same = (held.bytes, held.objects) == (used, objects);
        (!same).then(|| {
            format!(
                "storage {} counts {objects} objects of {used}, {held:?} are recorded",
                row.name
            )
        })
    });
    differs.collect()
}

/// How many objects there are under a prefix, and how large they are together.
#[expect(clippy::expect_used, reason = "a test's fixture")]
async fn stored(objects: &Objects, prefix: &str) -> (i64, ByteCount) {
    let (mut count, mut bytes, mut after) = (0, ByteCount::ZERO, None);
    loop {
        let page = objects.list(prefix, after.as_ref(), 1_000).await.expect("a listing");
        let Some(last) = page.last() else {
            return (count, bytes);
        };
        count += i64::try_from(page.len()).unwrap_or(i64::MAX);
        bytes = page.iter().fold(bytes, |sum, listed| sum.plus(listed.bytes));
        after = Some(last.key.clone());
    }
}

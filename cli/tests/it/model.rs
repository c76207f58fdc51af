//! What users, workers and storages do in any order, against a plain model of what must come of it: rows, ledger, counters and
//! what lies in every store agree when all is quiet.
//!
//! A worker is killed between two of its steps, wherever that is: its runtime is dropped with everything in it. A job whose
//! settlement was lost is delivered again. What would be waited for (a silent worker, a later attempt) is made to be over.

use mediamill_api::router;
use mediamill_media::sample;
use mediamill_shared::{
    clock::{Clock, Entropy},
    control::{
        audit::Actor,
        changes::Change,
        expiries::{self, Expiry},
        jobs::{self, NewJob},
        storages::StorageRow,
    },
    ids::{JobId, MediaId, TraceId, UserId},
    jobs::MoveMedia,
    placement::{Editor, NewStorage, Spot},
    services::Services,
    shutdown::Shutdown,
    tenancy::{KeyText, LimitOverrides, PictureSettings, store::users::Role},
    testing::{PATIENCE, World, faults::Proxy, s3::S3Server},
    units::ByteCount,
};
use mediamill_workers::Settings;
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use reqwest::{StatusCode, header};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::SocketAddr,
    time::Duration,
};
use tokio::runtime::Runtime;

/// Sequences that are tried; each is some seconds. `MEDIAMILL_MODEL_SEQUENCES` tries more, `MEDIAMILL_MODEL_SEED` (0 to 255) others.
const SEQUENCES: u32 = 6;
const SEED: u8 = 7;
/// Between two looks at whether all is over.
const AGAIN: Duration = Duration::from_millis(200);

#[expect(
    clippy::disallowed_methods,
    reason = "how long a person who tests by hand wants to wait"
)]
fn asked<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// What happens. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    /// One of four pictures is uploaded by one of two users.
    Upload {
        content: u8,
        user: bool,
    },
    /// Half a picture is.
    Broken {
        content: u8,
    },
    /// A picture that is there is deleted by one of them.
    Delete {
        which: u8,
        user: bool,
    },
    /// A picture's time is over.
    Expire {
        which: u8,
    },
    /// A picture is moved from one storage to the other.
    Move {
        which: u8,
        to_second: bool,
    },
    /// A job's settlement is lost, whatever it has done.
    Redeliver {
        which: u8,
    },
    /// The worker is killed after so many milliseconds; another one starts.
    Kill {
        after: u8,
    },
    /// The second storage goes away, or comes back.
    Away,
    Back,
    /// Everything that is open is worked off.
    Quiet,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_u8, any::<bool>()).prop_map(|(content, user)| Step::Upload { content, user }),
        1 => (0..4_u8).prop_map(|content| Step::Broken { content }),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(which, user)| Step::Delete { which, user }),
        1 => any::<u8>().prop_map(|which| Step::Expire { which }),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(which, to_second)| Step::Move { which, to_second }),
        2 => any::<u8>().prop_map(|which| Step::Redeliver { which }),
        2 => (0..60_u8).prop_map(|after| Step::Kill { after }),
        1 => Just(Step::Away),
        2 => Just(Step::Back),
        3 => Just(Step::Quiet),
    ];
    prop::collection::vec(step, 4..24)
}

/// What must be there.
#[derive(Default)]
struct Model {
    /// Pictures that were accepted and not taken away since, with those who hold them where the same bytes are one picture.
    pictures: BTreeMap<MediaId, BTreeSet<bool>>,
    /// Jobs of pictures.
    jobs: Vec<JobId>,
}

struct Scene {
    world: World,
    address: SocketAddr,
    http: reqwest::Client,
    keys: [String; 2],
    storages: [StorageRow; 2],
    proxy: Proxy,
    unique: bool,
    worker: Option<(Runtime, Shutdown)>,
    model: Model,
    _servers: [S3Server; 2],
}

impl Scene {
    async fn new(world: World, unique: bool) -> Self {
        let services = &world.services;
        let servers = [S3Server::start().await.unwrap(), S3Server::start().await.unwrap()];
        let (proxy, _) = Proxy::to(&format!("http://{}", servers[1].address()).parse().unwrap()).await;
        let places = [servers[0].address(), proxy.address()];
        let mut storages = Vec::new();
        for (number, (server, address)) in servers.iter().zip(places).enumerate() {
            let new = NewStorage {
                name: number.to_string(),
                settings: server.settings_at("pictures", address).unwrap(),
                credentials: Some(S3Server::credentials()),
                role: mediamill_shared::control::storages::StorageRole::Both,
                capacity: ByteCount::new(100_000_000),
                weight: 1,
            };
            storages.push(
                services
                    .storages
                    .add(None, new, false, &Editor::operator(Actor::cli()))
                    .await
                    .unwrap(),
            );
        }
        let duplicates = if unique { "return-existing" } else { "allow" };
        let pictures = format!(r#"{{"duplicates": "{duplicates}", "variants": [{{"name": "thumb", "width": 40}}]}}"#);
        let change = Change {
            pictures: Some(PictureSettings::from_json(&pictures).unwrap()),
            limits: Some(LimitOverrides::from_json(r#"{"media": 1000, "stored_bytes": "1 GB"}"#).unwrap()),
            ..Change::default()
        };
        world.change(change).await;
        let other = another_user(&world).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (api, router) = (services.clone(), router(services, None));
        services.shutdown.spawn(async move {
            mediamill_api::serve(&api, "api", listener, router).await.unwrap();
        });
        Self {
            address,
            http: reqwest::Client::builder().timeout(PATIENCE).build().unwrap(),
            keys: [world.key.clone(), other],
            storages: storages.try_into().unwrap(),
            proxy,
            unique,
            worker: Some(worker(services)),
            model: Model::default(),
            _servers: servers,
            world,
        }
    }

    fn request(&self, method: reqwest::Method, path: &str, user: bool) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("http://{}{path}", self.address));
        request
            .header(header::HOST, World::HOST)
            .bearer_auth(&self.keys[usize::from(user)])
    }

    /// One of the pictures that must be there.
    fn picture(&self, which: u8) -> Option<MediaId> {
        let all = self.model.pictures.len();
        self.model
            .pictures
            .keys()
            .nth(usize::from(which).checked_rem(all)?)
            .cloned()
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Upload { content, user } => self.upload(*content, *user).await,
            Step::Broken { content } => {
                let whole = sample::small(u32::from(*content) + 100);
                let half = whole[..whole.len() / 2].to_vec();
                let answer = self.request(reqwest::Method::POST, "/v1/media", false).body(half);
                assert_eq!(answer.send().await.unwrap().status(), StatusCode::ACCEPTED);
            }
            Step::Delete { which, user } => {
                let Some(media) = self.picture(*which) else { return };
                let path = format!("/v1/media/{media}");
                let answer = self
                    .request(reqwest::Method::DELETE, &path, *user)
                    .send()
                    .await
                    .unwrap();
                self.deleted(&media, *user, answer.status());
            }
            Step::Expire { which } => {
                let Some(media) = self.picture(*which) else { return };
                self.expire(media).await;
            }
            Step::Move { which, to_second } => {
                let Some(media) = self.picture(*which) else { return };
                let (from, to) = (
                    &self.storages[usize::from(!to_second)],
                    &self.storages[usize::from(*to_second)],
                );
                let payload = MoveMedia {
                    media,
                    from: from.id.to_string(),
                    to: Some(Spot::Storage(to.id.clone()).to_string()),
                    task: None,
                };
                self.accept(&payload).await;
            }
            Step::Redeliver { which } => {
                let jobs = self.model.jobs.len();
                let Some(place) = usize::from(*which).checked_rem(jobs) else {
                    return;
                };
                let sql = "UPDATE jobs SET state = 'queued', due_at = 0, finished_at = NULL, published_at = NULL \
                    WHERE id = $1 AND state = 'done'";
                self.world.execute(sql, &[self.model.jobs[place].as_str()]).await;
            }
            Step::Kill { after } => {
                self.world
                    .services
                    .clock
                    .sleep(Duration::from_millis(u64::from(*after)))
                    .await;
                self.kill();
                self.silence_is_over().await;
                self.worker = Some(worker(&self.world.services));
            }
            Step::Away => self.proxy.down(),
            Step::Back => self.proxy.mend(),
            Step::Quiet => {
                self.proxy.mend();
                self.quiet().await;
            }
        }
    }

    async fn upload(&mut self, content: u8, user: bool) {
        let body = sample::small(u32::from(content));
        let answer = self
            .request(reqwest::Method::POST, "/v1/media", user)
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        assert!(
            status == StatusCode::ACCEPTED || status == StatusCode::OK && self.unique,
            "{status}"
        );
        let body: Value = answer.json().await.unwrap();
        let media: MediaId = body["media"][0]["id"].as_str().unwrap().parse().unwrap();
        if let Some(job) = body["media"][0]["job"]["id"].as_str() {
            self.model.jobs.push(job.parse().unwrap());
        }
        let known = self.model.pictures.contains_key(&media);
        assert!(
            status == StatusCode::ACCEPTED || known,
            "{media} was given and is not there"
        );
        self.model.pictures.entry(media).or_default().insert(user);
    }

    fn deleted(&mut self, media: &MediaId, user: bool, status: StatusCode) {
        match status {
            // Its job has not come so far.
            StatusCode::NOT_FOUND => {}
            StatusCode::ACCEPTED => {
                let holders = self.model.pictures.remove(media).unwrap();
                let others = holders.iter().filter(|holder| **holder != user).count();
                assert!(
                    !self.unique || others == 0 || !holders.contains(&user),
                    "others held {media}: {holders:?}"
                );
            }
            StatusCode::NO_CONTENT => {
                let holders = self.model.pictures.get_mut(media).unwrap();
                assert!(
                    self.unique && holders.remove(&user) && !holders.is_empty(),
                    "nobody else held {media}"
                );
            }
            other => panic!("{other}"),
        }
    }

    async fn expire(&mut self, media: MediaId) {
        let tenant = self.world.tenant().await;
        let services = &self.world.services;
        let at = services.clock.now();
        let mut tx = tenant.db().unwrap().begin().await.unwrap();
        if !tx.set_expiry(&media, Some(at)).await.unwrap() {
            return;
        }
        tx.commit().await.unwrap();
        let expiry = Expiry {
            tenant: tenant.id().clone(),
            media: media.clone(),
            at,
        };
        expiries::note(&services.control, &expiry).await.unwrap();
        self.model.pictures.remove(&media);
    }

    async fn accept(&self, payload: &MoveMedia) {
        let services = &self.world.services;
        let id = JobId::generate(&services.clock, &services.entropy);
        let trace = TraceId::generate(&services.clock, &services.entropy);
        let mut job = NewJob::of(id, payload, trace).unwrap();
        job.tenant = Some(self.world.tenant().await.id().clone());
        jobs::accept(&services.control, &[job], services.clock.now(), true)
            .await
            .unwrap();
    }

    fn kill(&mut self) {
        if let Some((runtime, _)) = self.worker.take() {
            runtime.shutdown_background();
        }
    }

    /// Nothing is waited for any more: a killed worker is known to be dead, another attempt is due.
    async fn silence_is_over(&self) {
        let sql = "UPDATE jobs SET due_at = 0, touched_at = 0, lease_until = 0 WHERE state = $1";
        for state in ["queued", "running"] {
            self.world.execute(sql, &[state]).await;
        }
    }

    async fn quiet(&mut self) {
        let open = "SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE state IN ('queued', 'running')";
        let all = async {
            loop {
                self.run_timer("expire-media").await;
                // A message that waits in the queue for its time comes a second time: without it the wait would be minutes.
                let sql =
                    "UPDATE jobs SET due_at = 0, created_at = 0, published_at = NULL WHERE state = $1 AND held = 0";
                self.world.execute(sql, &["queued"]).await;
                self.run_timer("dispatch").await;
                if self.world.number(open).await == 0 {
                    return;
                }
                self.world.services.clock.sleep(AGAIN).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap();
    }

    /// What must be there is, nothing else is, and everything that counts agrees.
    async fn judge(&mut self) {
        self.proxy.mend();
        self.quiet().await;
        let db = self.world.tenant().await.db().unwrap();
        let there = db
            .media_page(None, 1_000, Some(self.world.services.clock.now()))
            .await
            .unwrap();
        let there: BTreeSet<MediaId> = there.into_iter().map(|(media, _)| media.id).collect();
        let expected: BTreeSet<MediaId> = self.model.pictures.keys().cloned().collect();
        assert_eq!(there, expected);
        let dead = "SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE state = 'dead'";
        assert_eq!(self.world.number(dead).await, 0);
        self.world.assert_at_rest().await;
        self.judge_counters().await;
    }

    /// What a killed worker has not told the counters is found, once.
    async fn judge_counters(&self) {
        self.run_timer("reconcile-usage").await;
        let tenant = self.world.tenant().await;
        let db = tenant.db().unwrap();
        let drift = self.world.services.quota.drift(&tenant, &db).await.unwrap();
        assert_eq!(drift, []);
        // Nothing is wrong with the storages' figures, whatever happened.
        assert_eq!(self.run_timer("reconcile-storages").await, 0);
    }

    async fn run_timer(&self, name: &str) -> i64 {
        let report = mediamill_scheduler::run_once(&self.world.services, name).await;
        report.unwrap().changed
    }
}

async fn another_user(world: &World) -> String {
    let (clock, entropy) = (&world.services.clock, &world.services.entropy);
    let (user, key) = (UserId::generate(clock, entropy), KeyText::generate(clock, entropy));
    let mut tx = world.tenant().await.db().unwrap().begin().await.unwrap();
    tx.add_user(&user, "other", Role::User, clock.now()).await.unwrap();
    tx.add_key(&key, &user, "k", None, clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    key.reveal()
}

/// A worker in a runtime of its own.
fn worker(services: &Services) -> (Runtime, Shutdown) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (config, shutdown) = ((*services.config).clone(), Shutdown::new());
    let stop = shutdown.clone();
    runtime.spawn(async move {
        let services = Services::open(config, Clock::system(), Entropy::system(), stop)
            .await
            .unwrap();
        let settings = Settings::from_config(&services.config);
        mediamill_workers::run(services, settings).await;
    });
    (runtime, shutdown)
}

#[test]
fn whatever_happens_everything_that_counts_agrees() {
    sequences(World::embedded);
}

#[test]
#[ignore = "needs servers: run ./test.sh"]
fn whatever_happens_on_servers_everything_that_counts_agrees() {
    sequences(World::distributed);
}

fn sequences<F: Future<Output = World>>(world: fn() -> F) {
    // The same sequences in every run; one that fails is shown as it is, since the smallest that fails too would take minutes.
    let seed = [asked("MEDIAMILL_MODEL_SEED").unwrap_or(SEED); 32];
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let config = Config {
        cases: asked("MEDIAMILL_MODEL_SEQUENCES").unwrap_or(SEQUENCES),
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let outcome = TestRunner::new_with_rng(config, rng).run(&(any::<bool>(), steps()), |(unique, steps)| {
        runtime.block_on(async {
            let mut scene = Scene::new(world().await, unique).await;
            for step in &steps {
                scene.step(step).await;
            }
            scene.judge().await;
            scene.kill();
            scene.world.services.shutdown.stop();
        });
        Ok(())
    });
    outcome.unwrap();
}

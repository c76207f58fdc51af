//! A line that is crossed is told of once; under it, it is armed again.

use super::*;
use crate::{
    control::audit,
    ids::{JobId, ProcessId},
    tenancy::{LimitOverrides, store::usage::Usage},
    testing::World,
    units::ByteCount,
};

crate::on_both_sides!(
    a_crossing_is_told_once_and_armed_again_below,
    a_new_month_is_told_of_again,
    of_kinds_of_pictures_users_and_keys_too,
    limits_that_are_not_there_cost_nothing,
);

#[test]
fn lines_are_at_eighty_and_a_hundred_percent() {
    let levels = [
        (0, 5),
        (3, 5),
        (4, 5),
        (5, 5),
        (9, 5),
        (79, 100),
        (80, 100),
        (99, 100),
        (1, 1),
        (7, 0),
    ];
    assert_eq!(
        levels.map(|(used, limit)| level(used, limit)),
        [0, 0, 80, 100, 100, 0, 80, 80, 100, 0]
    );
    assert_eq!(level(i64::MAX, i64::MAX), 100);
}

struct Watched {
    world: World,
    tenant: Tenant,
    db: TenantDb,
    clock: Clock,
}

impl Watched {
    async fn new(world: World, limits: LimitOverrides, now: Millis) -> Self {
        let (id, _) = world.another_tenant_with("watched", limits).await;
        let tenant = world.services.resolver.by_id(&id).await.unwrap().unwrap();
        let db = tenant.db().unwrap();
        let clock = Clock::manual(now);
        Self {
            world,
            tenant,
            db,
            clock,
        }
    }

    async fn store(&self, media: i64, bytes: i64) {
        self.store_of(media, bytes, 0).await;
    }

    async fn store_of(&self, media: i64, bytes: i64, animations: i64) {
        let services = &self.world.services;
        let job = JobId::generate(&services.clock, &services.entropy);
        let change = Usage {
            media,
            bytes: ByteCount::new(bytes),
            animation_bytes: ByteCount::new(animations),
        };
        let mut tx = self.db.begin().await.unwrap();
        let limits = crate::tenancy::Limits::builtin();
        tx.settle(&job, change, &limits, services.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn serve(&self, number: i64, bytes: i64) {
        let served = [metering::Served {
            tenant: self.tenant.id().clone(),
            bytes,
        }];
        let process: ProcessId = ProcessId::generate(&self.world.services.clock, &self.world.services.entropy);
        metering::count_served(
            &self.world.services.control,
            &process,
            number,
            &served,
            self.clock.now(),
        )
        .await
        .unwrap();
    }

    async fn lines(&self) -> Vec<Entry> {
        let control = &self.world.services.control;
        let mut lines = audit::page(control, Some(self.tenant.id()), None, 100).await.unwrap();
        lines.retain(|line| line.action.starts_with("limit."));
        lines
    }

    /// Watches, and returns what was told, by the limit's name: action, limit, used, value.
    async fn told(&self) -> Vec<(String, String, i64, i64)> {
        let (services, known) = (&self.world.services, self.lines().await);
        let told = services
            .quota
            .watch(&self.tenant, &self.db, &self.clock, &services.entropy)
            .await
            .unwrap();
        let mut lines = self.lines().await;
        lines.retain(|line| known.iter().all(|known| known.id != line.id));
        assert_eq!(usize::try_from(told).unwrap(), lines.len());
        let number = |line: &Entry, name: &str| line.detail[name].as_i64().unwrap();
        let mut told: Vec<_> = lines
            .iter()
            .map(|line| {
                assert_eq!(line.actor, "scheduler");
                let name = line.detail["limit_name"].as_str().unwrap().to_owned();
                (line.action.clone(), name, number(line, "used"), number(line, "limit"))
            })
            .collect();
        told.sort_by(|a, b| a.1.cmp(&b.1));
        told
    }
}

fn line(action: &str, limit: &str, used: i64, value: i64) -> (String, String, i64, i64) {
    (action.to_owned(), limit.to_owned(), used, value)
}

async fn a_crossing_is_told_once_and_armed_again_below(world: World) {
    let limits = LimitOverrides::default()
        .set(Limit::Media, 10)
        .set(Limit::StoredBytes, 1_000);
    let now = world.services.clock.now();
    let watched = Watched::new(world, limits, now).await;
    watched.store(7, 799).await;
    assert_eq!(watched.told().await, []);
    watched.store(1, 1).await;
    let both = [line(WARNING, "media", 8, 10), line(WARNING, "stored_bytes", 800, 1_000)];
    assert_eq!(watched.told().await, both);
    watched.store(1, 10).await;
    assert_eq!(watched.told().await, [], "once for each crossing, not for each upload");
    watched.store(1, 500).await;
    let both = [
        line(REACHED, "media", 10, 10),
        line(REACHED, "stored_bytes", 1_310, 1_000),
    ];
    assert_eq!(watched.told().await, both);
    assert_eq!(watched.told().await, []);
    // Below the upper line, not the lower: only the upper one is armed again.
    watched.store(-1, -400).await;
    assert_eq!(watched.told().await, []);
    watched.store(1, 0).await;
    assert_eq!(watched.told().await, [line(REACHED, "media", 10, 10)]);
    // Below both, and straight over both.
    watched.store(-5, -500).await;
    assert_eq!(watched.told().await, []);
    watched.store(5, 700).await;
    let both = [
        line(REACHED, "media", 10, 10),
        line(REACHED, "stored_bytes", 1_110, 1_000),
    ];
    assert_eq!(watched.told().await, both);
}

async fn a_new_month_is_told_of_again(world: World) {
    let limits = LimitOverrides::default().set(Limit::BytesOutMonth, 100);
    // 2026-01-31T23:00:00Z.
    let watched = Watched::new(world, limits, Millis::new(1_769_900_400_000)).await;
    watched.serve(1, 90).await;
    assert_eq!(watched.told().await, [line(WARNING, "bytes_out_month", 90, 100)]);
    assert_eq!(watched.told().await, []);
    watched.clock.advance(std::time::Duration::from_secs(3_600));
    assert_eq!(watched.told().await, [], "a month begins with nothing");
    watched.serve(1, 85).await;
    assert_eq!(watched.told().await, [line(WARNING, "bytes_out_month", 85, 100)]);
    watched.serve(1, 15).await;
    assert_eq!(watched.told().await, [line(REACHED, "bytes_out_month", 100, 100)]);
}

async fn of_kinds_of_pictures_users_and_keys_too(world: World) {
    let limits = LimitOverrides::default()
        .set(Limit::ImageBytes, 100)
        .set(Limit::AnimationBytes, 50)
        .set(Limit::Users, 1)
        .set(Limit::ApiKeys, 2);
    let now = world.services.clock.now();
    let watched = Watched::new(world, limits, now).await;
    watched.store_of(2, 120, 40).await;
    // Its only user has one key.
    let told = [
        line(WARNING, "animation_bytes", 40, 50),
        line(WARNING, "image_bytes", 80, 100),
        line(REACHED, "users", 1, 1),
    ];
    assert_eq!(watched.told().await, told);
    watched.store_of(1, 20, 10).await;
    assert_eq!(watched.told().await, [line(REACHED, "animation_bytes", 50, 50)]);
}

async fn limits_that_are_not_there_cost_nothing(world: World) {
    let now = world.services.clock.now();
    let watched = Watched::new(world, LimitOverrides::default(), now).await;
    watched.store(1_000, 1_000_000).await;
    watched.serve(1, 1_000_000).await;
    assert_eq!(watched.told().await, []);
    let marks = limit_marks::of(&watched.world.services.control, watched.tenant.id())
        .await
        .unwrap();
    assert_eq!(marks, []);
}

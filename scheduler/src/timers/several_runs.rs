//! Timers that go over everything there is: what is too much for one run is gone on with by the next.

use super::{
    expire, probe, prune, purge, reconcile, reconcile_storages, refresh,
    rounds::{pass, report, store, tenants, timed},
    sweep, sweep_resumable, undo,
};
use crate::{
    Scope, run_once,
    timer::{Report, Scoped, Timer},
};
use mediamill_shared::{
    clock::Clock,
    control::{
        audit::Actor,
        expiries::{self, Expiry},
        storages,
    },
    ids::{JobId, MediaId, TenantId, UploadId},
    objects::{ObjectKey, Store},
    services::Services,
    tenancy::{NewTenant, Tenant},
    testing::{World, s3::S3Server},
    units::{ByteCount, Millis},
};
use std::time::Duration;

mediamill_shared::on_both_sides!(
    usage_is_compared_over_several_runs,
    staged_bytes_are_swept_over_several_runs,
    pieces_are_swept_over_several_runs,
    pictures_expire_over_several_runs_though_a_tenant_does_not_answer,
    contexts_are_refreshed_over_several_runs,
    tenants_leave_over_several_runs,
    tenants_are_undone_over_several_runs,
    storages_are_compared_over_several_runs,
    storages_are_probed_over_several_runs,
    what_is_old_is_forgotten_over_several_runs,
    one_thing_that_fails_is_passed_over,
    many_that_fail_end_a_run_and_the_next_goes_on_behind_them,
    a_pass_that_is_not_understood_begins_anew,
);

/// Things that a run looks at here.
const MOST: i64 = 2;

async fn tenant(services: &Services, id: &TenantId) -> Tenant {
    services.resolver.by_id(id).await.unwrap().unwrap()
}

/// Its tables are away from now on.
async fn lose(world: &World, services: &Services, id: &TenantId) {
    let lose = "UPDATE tenants SET table_prefix = 'tnowhere', version = version + 1 WHERE id = $1";
    world.execute(lose, &[id.as_str()]).await;
    services.resolver.refresh(id).await.unwrap();
}

async fn usage_is_compared_over_several_runs(world: World) {
    let services = &timed(&world);
    let tenants = tenants(&world, &[]).await;
    for id in &tenants {
        store(services, id, 1).await;
    }
    lose(&world, services, &tenants[1]).await;
    let compared = async || reconcile::some(services, MOST).await.unwrap();
    // Six with the first tenant, which is in order.
    assert_eq!(compared().await, report(1, true));
    // Behind its place: the next pass's.
    store(services, &tenants[0], 2).await;
    assert_eq!(compared().await, report(1, true));
    assert_eq!(compared().await, report(2, true));
    assert_eq!(compared().await, report(0, false));
    assert_eq!(compared().await, report(1, true));
    // A run of all of them begins at the first, and leaves the pass where it is.
    store(services, &tenants[0], 1).await;
    store(services, &tenants[4], 1).await;
    let all = reconcile::ReconcileUsage::run_in(services, &Scope::all()).await;
    assert_eq!(all.unwrap(), report(2, false));
    assert_eq!(compared().await, report(0, true));
    assert_eq!(compared().await, report(0, true));
    assert_eq!(compared().await, report(0, false));
    // Who asks for a run by hand means all of them, wherever the pass is.
    assert_eq!(compared().await, report(0, true));
    store(services, &tenants[0], 1).await;
    store(services, &tenants[4], 1).await;
    let timer = reconcile::ReconcileUsage::NAME;
    assert_eq!(run_once(services, timer).await.unwrap().changed, 2);
}

/// A long time ago.
fn long_ago(services: &Services) -> Clock {
    Clock::manual(services.clock.now().before(Duration::from_secs(86_400 * 30)))
}

async fn put(services: &Services, key: &ObjectKey) {
    let put = services.objects.put(key, vec![1; 10].into(), "image/jpeg");
    put.await.unwrap();
}

async fn staged(services: &Services) -> usize {
    let staged = services.objects.list(ObjectKey::STAGED, None, 100).await;
    staged.unwrap().len()
}

async fn staged_bytes_are_swept_over_several_runs(world: World) {
    let services = &world.services;
    let owner = world.tenant().await;
    for _ in 0..5 {
        let job = JobId::generate(&long_ago(services), &services.entropy);
        put(services, &ObjectKey::staged(owner.id(), &job)).await;
    }
    for (removed, left) in [(2, true), (2, true), (1, false), (0, false)] {
        assert_eq!(sweep::some(services, MOST).await.unwrap(), report(removed, left));
    }
    assert_eq!(staged(services).await, 0);
}

async fn pieces_are_swept_over_several_runs(world: World) {
    let services = &world.services;
    let owner = world.tenant().await;
    for _ in 0..3 {
        let upload = UploadId::generate(&long_ago(services), &services.entropy);
        for number in 0..3 {
            let piece = ObjectKey::piece(owner.id(), &upload, ByteCount::new(number * 10), 1);
            put(services, &piece).await;
        }
    }
    let mut swept = Report::default();
    for _ in 0..2 {
        swept = sweep_resumable::orphans(services, MOST).await.unwrap();
        assert_eq!((swept.changed, swept.unfinished), (1, true));
    }
    while swept.unfinished {
        swept = sweep_resumable::orphans(services, MOST).await.unwrap();
    }
    assert_eq!(staged(services).await, 0);
}

async fn pictures_expire_over_several_runs_though_a_tenant_does_not_answer(world: World) {
    let services = &world.services;
    let (away, _) = world.another_tenant("away").await;
    lose(&world, services, &away).await;
    let here = world.tenant().await.id().clone();
    // Of pictures that are gone already.
    for (at, owner) in [&away, &away, &here, &here, &here].into_iter().enumerate() {
        let expiry = Expiry {
            tenant: owner.clone(),
            media: MediaId::generate(&services.clock, &services.entropy),
            at: Millis::new(i64::try_from(at).unwrap()),
        };
        expiries::note(&services.control, &expiry).await.unwrap();
    }
    for (unfinished, left) in [(true, 5), (true, 3), (false, 2), (true, 2), (false, 2)] {
        assert_eq!(expire::some(services, MOST).await.unwrap(), report(0, unfinished));
        let noted = "SELECT CAST(COUNT(*) AS BIGINT) FROM media_expiries";
        assert_eq!(world.number(noted).await, left);
    }
}

async fn contexts_are_refreshed_over_several_runs(world: World) {
    let services = &timed(&world);
    for id in &tenants(&world, &[]).await {
        tenant(services, id).await;
    }
    world
        .execute("UPDATE tenants SET version = version + 1 WHERE id <> 'demo'", &[])
        .await;
    // Six with the first tenant.
    let mut refreshed = Vec::new();
    for left in [true, true, true, false] {
        let run = refresh::some(services, MOST).await.unwrap();
        assert_eq!(run.unfinished, left);
        refreshed.push(run.changed);
    }
    assert_eq!((refreshed.iter().sum::<i64>(), refreshed.last()), (5, Some(&0)));
    // A pass that was left for long is not gone on with: what changed lately has its turn at once.
    assert!(refresh::some(services, MOST).await.unwrap().unfinished);
    services.clock.advance(Duration::from_secs(7_200));
    let now = services.clock.now().get().to_string();
    let change = "UPDATE tenants SET version = version + 1, updated_at = CAST($1 AS BIGINT) WHERE id = 't0'";
    world.execute(change, &[&now]).await;
    assert_eq!(refresh::some(services, MOST).await.unwrap(), report(1, false));
}

async fn tenants_leave_over_several_runs(world: World) {
    let services = &timed(&world);
    for id in &tenants(&world, &[]).await {
        let by = Actor::cli();
        services.lifecycle.leave(id, Duration::ZERO, &by).await.unwrap();
    }
    services.clock.advance(Duration::from_secs(60));
    for (begun, left) in [(2, true), (2, true), (1, false), (0, false)] {
        assert_eq!(purge::some(services, MOST).await.unwrap(), report(begun, left));
    }
    // Their removals lose their jobs.
    world
        .execute("UPDATE jobs SET state = 'done' WHERE kind = 'tenant.deprovision'", &[])
        .await;
    services.clock.advance(Duration::from_secs(900));
    for (begun, left) in [(2, true), (2, true), (1, false), (0, false)] {
        assert_eq!(purge::some(services, MOST).await.unwrap(), report(begun, left));
    }
}

async fn tenants_are_undone_over_several_runs(world: World) {
    let services = &timed(&world);
    for number in 0..5 {
        let new = NewTenant::plain(format!("t{number}").parse().unwrap(), &format!("t{number}.example"));
        services.lifecycle.accept(new, &Actor::cli()).await.unwrap();
    }
    world
        .execute("UPDATE jobs SET state = 'done' WHERE kind = 'tenant.provision'", &[])
        .await;
    services.clock.advance(Duration::from_secs(900));
    for (undone, left) in [(2, true), (2, true), (1, false), (0, false)] {
        assert_eq!(undo::some(services, MOST).await.unwrap(), report(undone, left));
    }
}

async fn storages_are_compared_over_several_runs(world: World) {
    let (server, services) = (S3Server::start().await.unwrap(), &timed(&world));
    let tenants = tenants(&world, &[]).await;
    let mut added = Vec::new();
    let (first, last) = (tenant(services, &tenants[0]).await, tenant(services, &tenants[4]).await);
    for (name, owner) in [("shared", None), ("first", Some(&first)), ("last", Some(&last))] {
        added.push(world.add_storage(name, &server, owner).await.id);
    }
    let spoil = "UPDATE storages SET used = 5000, objects = 2";
    let compared = async || {
        let (mut changed, mut runs) = (0, 0);
        loop {
            let run = reconcile_storages::some(services, MOST).await.unwrap();
            (changed, runs) = (changed + run.changed, runs + 1);
            if !run.unfinished {
                return (changed, runs);
            }
        }
    };
    world.execute(spoil, &[]).await;
    // Three storages, then six tenants' rows.
    assert_eq!(compared().await, (3, 5));
    assert_eq!(compared().await, (0, 5));
    // A job has worked while rows were read: what they say may be of another moment than the figures.
    world.execute(spoil, &[]).await;
    for changed in [1, 1, 0] {
        assert_eq!(
            reconcile_storages::some(services, MOST).await.unwrap(),
            report(changed, true)
        );
    }
    let worked = "INSERT INTO storage_ledger (job, part, storage, bytes, objects, at) VALUES ('gone', '', $1, 0, 0, CAST($2 AS BIGINT))";
    let at = services.clock.now().get().to_string();
    world.execute(worked, &[added[0].as_str(), &at]).await;
    assert_eq!(compared().await.0, 0);
    let shared = storages::get(&services.control, &added[0]).await.unwrap().unwrap();
    assert_eq!(shared.objects, 2);
    pass(services);
    assert_eq!(compared().await.0, 1);
    // Whose rows cannot be read may have files in the shared one.
    world.execute(spoil, &[]).await;
    lose(&world, services, &tenants[1]).await;
    assert_eq!(compared().await.0, 2);
    let shared = storages::get(&services.control, &added[0]).await.unwrap().unwrap();
    assert_eq!(shared.objects, 2);
}

async fn storages_are_probed_over_several_runs(world: World) {
    let (server, gone) = (S3Server::start().await.unwrap(), S3Server::start().await.unwrap());
    let services = &world.services;
    for (name, server) in [("one", &server), ("two", &gone), ("three", &server)] {
        world.add_storage(name, server, None).await;
    }
    gone.stop().await;
    assert_eq!(probe::some(services, MOST).await.unwrap(), (report(0, true), None));
    let (run, whole) = probe::some(services, MOST).await.unwrap();
    assert_eq!(run, report(0, false));
    let whole = whole.unwrap();
    assert_eq!((whole.well, whole.unwell), (2, 1));
}

async fn what_is_old_is_forgotten_over_several_runs(world: World) {
    let key =
        "INSERT INTO idempotency_keys (tenant, name, request_hash, answer, created_at) VALUES ('demo', $1, '', '', 0)";
    for name in ["a", "b", "c", "d", "e"] {
        world.execute(key, &[name]).await;
    }
    for (gone, left) in [(2, true), (2, true), (1, false), (0, false)] {
        let run = prune::some(&world.services, MOST).await.unwrap();
        assert_eq!(run, report(gone, left));
    }
}

/// Stages bytes of `unreadable` jobs that nobody can read any more, then of one that was never accepted: all of them long ago.
async fn stage_badly(world: &World, unreadable: i64) -> Services {
    let services = timed(world);
    for _ in 0..unreadable {
        world.upload(vec![1; 10]).await;
    }
    world
        .execute("UPDATE jobs SET kind = 'unheard-of' WHERE kind = 'media.process'", &[])
        .await;
    pass(&services);
    let job = JobId::generate(&services.clock, &services.entropy);
    put(&services, &ObjectKey::staged(world.tenant().await.id(), &job)).await;
    services.clock.advance(services.config.upload_timeout * 3);
    services
}

async fn one_thing_that_fails_is_passed_over(world: World) {
    let services = &stage_badly(&world, 1).await;
    for (most, run) in [(1, report(0, true)), (MOST, report(1, false)), (MOST, report(0, false))] {
        assert_eq!(sweep::some(services, most).await.unwrap(), run);
    }
    assert_eq!(staged(services).await, 1);
}

async fn many_that_fail_end_a_run_and_the_next_goes_on_behind_them(world: World) {
    let services = &stage_badly(&world, 25).await;
    let failed = sweep::some(services, 1_000).await.unwrap_err().to_string();
    assert!(failed.contains("unheard-of"), "{failed}");
    assert_eq!(sweep::some(services, 1_000).await.unwrap(), report(1, false));
    assert_eq!(staged(services).await, 25);
}

async fn a_pass_that_is_not_understood_begins_anew(world: World) {
    let services = &world.services;
    let kept = "INSERT INTO timer_passes (timer, progress, began_at, ended_at) VALUES ($1, $2, 0, NULL)";
    let timer = sweep::SweepStaged::NAME;
    world.execute(kept, &[timer, r#"{"of": "another release"}"#]).await;
    let owner = world.tenant().await;
    let job = JobId::generate(&long_ago(services), &services.entropy);
    put(services, &ObjectKey::staged(owner.id(), &job)).await;
    assert_eq!(sweep::some(services, MOST).await.unwrap(), report(1, false));
    // It is not asked for again.
    let open = "SELECT CAST(COUNT(*) AS BIGINT) FROM timer_passes WHERE ended_at IS NULL";
    assert_eq!(world.number(open).await, 0);
}

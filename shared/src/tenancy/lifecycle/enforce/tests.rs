//! What cannot be taken back: it happens by the limits in force, for what helps, or not at all.

use super::*;
use crate::{
    control::{audit, changes::Change, plans::Plan},
    ids::{JobId, MediaId},
    tenancy::{LimitOverrides, NewTenant, Tenant, store::usage::Usage},
    testing::{World, make_tenant},
    units::ByteCount,
};

crate::on_both_sides!(
    pictures_that_help_expire_behind_many_older_ones_that_do_not,
    where_no_picture_helps_uploads_are_frozen,
    pictures_that_are_deleted_meanwhile_are_not_made_up_for,
    no_picture_expires_by_limits_that_are_not_in_force_any_more,
    nobody_is_frozen_by_a_plan_that_has_changed,
);

const EXPIRING: [(Limit, i64); 2] = [(Limit::GraceSeconds, 0), (Limit::ExpireOldest, 1)];

fn limits(set: &[(Limit, i64)]) -> LimitOverrides {
    set.iter().copied().collect()
}

/// Stores pictures of ten bytes each, so many of which do not move and so many that do, the first being the oldest.
async fn store(world: &World, tenant: &Tenant, stills: usize, moving: usize) -> Vec<MediaId> {
    let mut stored = Vec::new();
    for frames in [1].repeat(stills).into_iter().chain([2].repeat(moving)) {
        stored.push(world.record(tenant, frames).await);
    }
    stored
}

/// What expires of a tenant and is still counted.
async fn expiring(world: &World, tenant: &Tenant) -> Usage {
    let now = world.services.clock.now();
    tenant.db().unwrap().usage_and_over(now).await.unwrap().1
}

async fn states(world: &World, tenant: &Tenant) -> Vec<(Reason, FindingState)> {
    let found = findings::of_one(&world.services.control, tenant.id()).await.unwrap();
    found.iter().map(|one| (one.reason, one.state)).collect()
}

async fn limited(world: &World, set: &[(Limit, i64)]) -> Tenant {
    let change = Change {
        limits: Some(limits(set)),
        ..Change::default()
    };
    world.change(change).await
}

/// As figures see it that are as new as can be.
async fn read(world: &World, tenant: &Tenant) -> Page {
    let services = &world.services;
    let db = tenant.db().unwrap();
    crate::quota::roll_up::roll_up(&services.control, tenant.id(), &db)
        .await
        .unwrap();
    figures::many(&services.control, std::slice::from_ref(tenant.id()))
        .await
        .unwrap()
}

async fn enforce(world: &World, page: Page) -> Enforced {
    let done = world.services.lifecycle.enforce_all(page, true, false).await.unwrap();
    assert_eq!(done.failed, []);
    done
}

async fn pictures_that_help_expire_behind_many_older_ones_that_do_not(world: World) {
    let [grace, oldest] = EXPIRING;
    let tenant = limited(&world, &[(Limit::AnimationBytes, 10), grace, oldest]).await;
    // More than are read at a time.
    store(&world, &tenant, 201, 3).await;
    enforce(&world, read(&world, &tenant).await).await;
    let two = Usage {
        media: 2,
        bytes: ByteCount::new(20),
        animation_bytes: ByteCount::new(20),
    };
    assert_eq!(expiring(&world, &tenant).await, two);
    let animation = Reason::Limit(Limit::AnimationBytes);
    assert_eq!(states(&world, &tenant).await, [(animation, FindingState::Expiring)]);
    // They are on their way: no more go, and nothing is frozen.
    enforce(&world, read(&world, &tenant).await).await;
    assert_eq!(expiring(&world, &tenant).await, two);
    assert_eq!(states(&world, &tenant).await, [(animation, FindingState::Expiring)]);
}

async fn where_no_picture_helps_uploads_are_frozen(world: World) {
    let (services, [grace, oldest]) = (&world.services, EXPIRING);
    let tenant = limited(&world, &[(Limit::AnimationBytes, 10), grace, oldest]).await;
    store(&world, &tenant, 3, 0).await;
    // Counted, of a picture that is not there.
    let job = JobId::generate(&services.clock, &services.entropy);
    let lost = Usage::picture(ByteCount::new(30), 2);
    let mut tx = tenant.db().unwrap().begin().await.unwrap();
    let now = services.clock.now();
    tx.settle(&job, lost, &Limits::builtin(), now).await.unwrap();
    tx.commit().await.unwrap();
    let page = read(&world, &tenant).await;
    let dry = services.lifecycle.enforce_all(page, true, true).await.unwrap();
    let actions = |done: &Enforced| {
        let decided = done.decided.iter();
        decided.map(|entry| entry.action.clone()).collect::<Vec<_>>()
    };
    assert_eq!(actions(&dry), ["limit.over", "tenant.freeze"]);
    let done = enforce(&world, read(&world, &tenant).await).await;
    assert_eq!(actions(&done), ["limit.over", "tenant.freeze"]);
    let animation = Reason::Limit(Limit::AnimationBytes);
    assert_eq!(states(&world, &tenant).await, [(animation, FindingState::Frozen)]);
    assert_eq!(expiring(&world, &tenant).await, Usage::default());
    let again = enforce(&world, read(&world, &tenant).await).await;
    assert_eq!(actions(&again), [""; 0], "the same is found again");
    // One is there that would help.
    store(&world, &tenant, 0, 1).await;
    let thawed = enforce(&world, read(&world, &tenant).await).await;
    assert_eq!(actions(&thawed), ["tenant.thaw"]);
}

async fn pictures_that_are_deleted_meanwhile_are_not_made_up_for(world: World) {
    let (services, [grace, oldest]) = (&world.services, EXPIRING);
    let tenant = limited(&world, &[(Limit::Media, 2), grace, oldest]).await;
    let stored = store(&world, &tenant, 6, 0).await;
    enforce(&world, read(&world, &tenant).await).await;
    assert_eq!(expiring(&world, &tenant).await.media, 4);
    let (db, now) = (tenant.db().unwrap(), services.clock.now());
    let used = Used {
        media: 6,
        ..Used::default()
    };
    let found = judge(&used, &tenant.context().limits, None, &BTreeMap::new(), now);
    let states = found.iter().map(|one| (one.reason, one.state));
    assert!(states.eq([(Reason::Limit(Limit::Media), FindingState::Expiring)]));
    // Since it was judged: two of the four by their jobs, and one that was to stay by who owns it.
    for id in [&stored[0], &stored[1], &stored[5]] {
        let job = JobId::generate(&services.clock, &services.entropy);
        db.delete(id, None, &job, now).await.unwrap();
        let remedy = expire::remedy(&db, &found, now).await.unwrap();
        assert!(matches!(remedy, expire::Remedy::Unneeded));
    }
}

async fn on_plan(world: &World, set: &[(Limit, i64)]) -> Tenant {
    let services = &world.services;
    let mut plan = Plan::new("plan".into(), services.clock.now());
    plan.limits = limits(set);
    assert!(services.lifecycle.create_plan(&plan, &Actor::cli()).await.unwrap());
    let mut new = NewTenant::plain("planned".parse().unwrap(), "planned.localhost");
    let id = new.id.clone();
    new.plan = Some("plan".into());
    make_tenant(services, new).await;
    services.resolver.by_id(&id).await.unwrap().unwrap()
}

async fn no_picture_expires_by_limits_that_are_not_in_force_any_more(world: World) {
    let [grace, oldest] = EXPIRING;
    let planned = on_plan(&world, &[(Limit::Media, 1), grace, oldest]).await;
    store(&world, &planned, 2, 0).await;
    let page = read(&world, &planned).await;
    world
        .edit_plan("plan", limits(&[(Limit::Media, 2), grace, oldest]))
        .await;
    let done = enforce(&world, page).await;
    assert_eq!((done.changed, expiring(&world, &planned).await), (0, Usage::default()));
    assert_eq!(states(&world, &planned).await, []);
    let tenant = limited(&world, &[(Limit::Media, 1), grace, oldest]).await;
    store(&world, &tenant, 2, 0).await;
    let page = read(&world, &tenant).await;
    let tenant = limited(&world, &[(Limit::Media, 2), grace, oldest]).await;
    let done = enforce(&world, page).await;
    assert_eq!((done.changed, expiring(&world, &tenant).await), (0, Usage::default()));
    // By those that are, as ever.
    world
        .edit_plan("plan", limits(&[(Limit::Media, 1), grace, oldest]))
        .await;
    let page = read(&world, &planned).await;
    enforce(&world, page).await;
    assert_eq!(expiring(&world, &planned).await.media, 1);
}

async fn nobody_is_frozen_by_a_plan_that_has_changed(world: World) {
    let grace = (Limit::GraceSeconds, 0);
    let tenant = on_plan(&world, &[(Limit::Media, 1), grace]).await;
    store(&world, &tenant, 2, 0).await;
    let page = read(&world, &tenant).await;
    world.edit_plan("plan", limits(&[(Limit::Media, 2), grace])).await;
    assert_eq!(enforce(&world, page).await.changed, 0);
    assert_eq!(states(&world, &tenant).await, []);
    let lines = audit::page(&world.services.control, Some(tenant.id()), None, 100).await;
    let actions = lines.unwrap().into_iter().map(|line| line.action);
    assert_eq!(actions.filter(|action| action == "tenant.freeze").count(), 0);
}

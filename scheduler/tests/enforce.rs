//! Tenants that do not fit any more: told of, frozen when their grace is over, thawed when they fit, each with its numbers.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

use mediamill_scheduler::{Note, Scope, run_in, run_once};
use mediamill_shared::{
    control::{
        accept::{self, Accepted},
        activity::{self, Watcher},
        audit::{self, Actor},
        changes::Change,
        findings, operator_keys,
        plans::Plan,
    },
    ids::{JobId, TenantId},
    services::Services,
    tenancy::{
        Finding, FindingState, Isolation, Limit, LimitOverrides, Limits, NewTenant, Reason, Tenant, store::usage::Usage,
    },
    testing::{World, make_tenant},
    units::ByteCount,
};
use std::time::Duration;
use tokio::sync::mpsc;

mediamill_shared::on_both_sides!(
    a_lowered_plan_freezes_all_of_its_tenants_and_a_raised_one_thaws_them,
    nothing_is_frozen_before_its_grace_is_over,
    who_deletes_enough_is_thawed,
    a_longer_grace_thaws,
    an_upload_that_was_judged_before_the_freeze_is_judged_again,
    a_trial_that_is_over_freezes_until_its_provider_ends_or_prolongs_it,
    too_few_storages_and_too_many_users_are_found,
    figures_alone_freeze_nobody,
    figures_that_were_behind_are_looked_at_when_they_are_not,
    a_quiet_tenant_is_told_of_a_limit_that_came_near,
    a_tenant_that_cannot_be_read_keeps_nobody_back,
    an_operators_key_that_ended_is_told_of_once,
    a_removed_tenant_leaves_nothing_here,
);

fn limits(set: &[(Limit, i64)]) -> LimitOverrides {
    set.iter().copied().collect()
}

/// Counts pictures of `tenant` without a job, and has them rolled up.
async fn store(services: &Services, tenant: &TenantId, media: i64, bytes: i64) {
    let job = JobId::generate(&services.clock, &services.entropy);
    let change = Usage {
        media,
        bytes: ByteCount::new(bytes),
        ..Usage::default()
    };
    let db = resolved(services, tenant).await.db().unwrap();
    let mut tx = db.begin().await.unwrap();
    let now = services.clock.now();
    tx.settle(&job, change, &Limits::builtin(), now).await.unwrap();
    tx.commit().await.unwrap();
    let before = now.before(Duration::from_secs(1));
    activity::mark(&services.control, Watcher::RollUp, tenant, before)
        .await
        .unwrap();
}

async fn roll_up(services: &Services) {
    run_once(services, "roll-up-usage").await.unwrap();
}

async fn enforce(services: &Services) -> i64 {
    run_once(services, "enforce-limits").await.unwrap().changed
}

/// What a dry run says.
async fn dry_run(services: &Services, tenant: Option<&TenantId>) -> Vec<Note> {
    let (tell, mut told) = mpsc::channel(100);
    let scope = Scope::all().of(tenant.cloned()).dry(true).telling(tell);
    let report = run_in(services, "enforce-limits", &scope).await.unwrap();
    assert_eq!(report.changed, 0);
    drop(scope);
    let mut notes = Vec::new();
    while let Some(note) = told.recv().await {
        notes.push(note);
    }
    notes
}

async fn resolved(services: &Services, tenant: &TenantId) -> Tenant {
    services.resolver.by_id(tenant).await.unwrap().unwrap()
}

async fn found(services: &Services, tenant: &TenantId) -> Vec<Finding> {
    findings::of_one(&services.control, tenant).await.unwrap()
}

async fn is_frozen(services: &Services, tenant: &TenantId) -> bool {
    !resolved(services, tenant).await.context().frozen.is_empty()
}

/// What was decided about a tenant: action, limit's name, used, limit; the first first.
async fn told(services: &Services, tenant: &TenantId) -> Vec<(String, String, i64, i64)> {
    let mut lines = audit::page(&services.control, Some(tenant), None, 100).await.unwrap();
    let decisions = ["limit.over", "limit.fits", "tenant.freeze", "tenant.thaw"];
    lines.retain(|line| decisions.contains(&line.action.as_str()));
    lines.reverse();
    let told = lines.into_iter().map(|line| {
        assert_eq!(line.actor, "scheduler");
        let number = |name: &str| line.detail[name].as_i64().unwrap();
        let name = line.detail["limit_name"].as_str().unwrap().to_owned();
        (line.action.clone(), name, number("used"), number("limit"))
    });
    told.collect()
}

fn line(action: &str, limit: &str, used: i64, allowed: i64) -> (String, String, i64, i64) {
    (action.to_owned(), limit.to_owned(), used, allowed)
}

async fn plan(world: &World, set: &[(Limit, i64)]) {
    let services = &world.services;
    let mut plan = Plan::new("plan".into(), services.clock.now());
    plan.limits = limits(set);
    assert!(services.lifecycle.create_plan(&plan, &Actor::cli()).await.unwrap());
}

async fn on_plan(world: &World, id: &str, isolation: Option<Isolation>) -> TenantId {
    let id: TenantId = id.parse().unwrap();
    let mut new = NewTenant::plain(id.clone(), &format!("{id}.localhost"));
    (new.plan, new.isolation) = (Some("plan".into()), isolation);
    make_tenant(&world.services, new).await;
    id
}

async fn set(world: &World, set: &[(Limit, i64)]) {
    let change = Change {
        limits: Some(limits(set)),
        ..Change::default()
    };
    world.change(change).await;
}

/// Lets time pass, as far as findings go.
async fn pass(world: &World) {
    let later = "UPDATE findings SET since = since - 3600000, freeze_at = freeze_at - 3600000";
    world.execute(later, &[]).await;
}

async fn a_lowered_plan_freezes_all_of_its_tenants_and_a_raised_one_thaws_them(world: World) {
    let services = &world.services;
    plan(&world, &[(Limit::Media, 10)]).await;
    let mut tenants = Vec::new();
    for number in 0..24 {
        let isolation = (number % 6 == 0).then_some(Isolation::Database);
        tenants.push(on_plan(&world, &format!("t{number:02}"), isolation).await);
    }
    // All but the last two are to be over.
    let (over, fit) = tenants.split_at(22);
    for (number, id) in tenants.iter().enumerate() {
        let media = if number < over.len() { 6 } else { 5 };
        store(services, id, media, 100).await;
    }
    roll_up(services).await;
    assert_eq!(enforce(services).await, 0);
    world
        .edit_plan("plan", limits(&[(Limit::Media, 5), (Limit::GraceSeconds, 600)]))
        .await;
    // Before that, what it would be: of all, and of one.
    for (tenant, notes) in [(None, 22), (Some(&tenants[3]), 1), (Some(&tenants[23]), 0)] {
        let dry = dry_run(services, tenant).await;
        assert_eq!(dry.len(), notes, "{dry:?}");
        let all_told = dry
            .iter()
            .all(|note| note.what.starts_with("limit.over") && note.what.contains("\"used\":6"));
        assert!(all_told, "{dry:?}");
    }
    assert_eq!(found(services, &tenants[3]).await, [], "nothing came of it");
    assert_eq!(enforce(services).await, 22, "each is told of");
    assert_eq!(enforce(services).await, 0, "once");
    for id in &tenants {
        assert!(!is_frozen(services, id).await, "{id}");
    }
    pass(&world).await;
    assert_eq!(enforce(services).await, 22);
    assert_eq!(enforce(services).await, 0);
    for id in over {
        let context = resolved(services, id).await;
        let [frozen] = context.context().frozen.as_slice() else {
            panic!("{id} is not frozen for one thing")
        };
        assert_eq!((frozen.reason.as_str(), frozen.used, frozen.allowed), ("media", 6, 5));
    }
    for id in fit {
        assert!(!is_frozen(services, id).await);
        assert_eq!(told(services, id).await, []);
    }
    let counted = findings::count_frozen(&services.control).await.unwrap();
    assert_eq!(
        counted.into_iter().collect::<Vec<_>>(),
        [(Reason::Limit(Limit::Media), 22)]
    );
    world.edit_plan("plan", limits(&[(Limit::Media, 8)])).await;
    assert_eq!(enforce(services).await, 22);
    assert_eq!(enforce(services).await, 0);
    for id in over {
        assert!(!is_frozen(services, id).await);
        assert_eq!(found(services, id).await, []);
        let all = [
            line("limit.over", "media", 6, 5),
            line("tenant.freeze", "media", 6, 5),
            line("tenant.thaw", "media", 6, 8),
        ];
        assert_eq!(told(services, id).await, all);
    }
}

async fn nothing_is_frozen_before_its_grace_is_over(world: World) {
    let (services, id) = (&world.services, world.tenant().await.id().clone());
    store(services, &id, 3, 1_000).await;
    roll_up(services).await;
    set(&world, &[(Limit::StoredBytes, 999)]).await;
    assert_eq!(enforce(services).await, 1);
    let [finding] = found(services, &id).await.try_into().unwrap();
    assert_eq!(
        (finding.state, finding.used, finding.allowed),
        (FindingState::Grace, 1_000, 999)
    );
    // The default.
    assert_eq!(finding.freeze_at, finding.since.after(Duration::from_secs(604_800)));
    pass(&world).await;
    assert_eq!(enforce(services).await, 0);
    assert!(!is_frozen(services, &id).await);
    // It fits before it is frozen.
    set(&world, &[(Limit::StoredBytes, 1_000)]).await;
    assert_eq!(enforce(services).await, 1);
    let both = [
        line("limit.over", "stored_bytes", 1_000, 999),
        line("limit.fits", "stored_bytes", 1_000, 1_000),
    ];
    assert_eq!(told(services, &id).await, both);
    assert_eq!(found(services, &id).await, []);
}

async fn who_deletes_enough_is_thawed(world: World) {
    let (services, id) = (&world.services, world.tenant().await.id().clone());
    store(services, &id, 3, 300).await;
    roll_up(services).await;
    set(
        &world,
        &[(Limit::Media, 2), (Limit::StoredBytes, 200), (Limit::GraceSeconds, 0)],
    )
    .await;
    assert_eq!(enforce(services).await, 4);
    assert!(is_frozen(services, &id).await);
    // Not enough for both. The figures are behind: its own row is what counts.
    store(services, &id, -1, -50).await;
    assert_eq!(enforce(services).await, 1);
    assert!(is_frozen(services, &id).await);
    store(services, &id, 0, -50).await;
    assert_eq!(enforce(services).await, 1);
    assert!(!is_frozen(services, &id).await);
    assert_eq!(enforce(services).await, 0);
    let mut all = told(services, &id).await;
    // Both were decided in one instant.
    all[..4].sort();
    let expected = [
        line("limit.over", "media", 3, 2),
        line("limit.over", "stored_bytes", 300, 200),
        line("tenant.freeze", "media", 3, 2),
        line("tenant.freeze", "stored_bytes", 300, 200),
        line("tenant.thaw", "media", 2, 2),
        line("tenant.thaw", "stored_bytes", 200, 200),
    ];
    assert_eq!(all, expected);
}

async fn a_longer_grace_thaws(world: World) {
    let (services, id) = (&world.services, world.tenant().await.id().clone());
    store(services, &id, 3, 300).await;
    roll_up(services).await;
    set(&world, &[(Limit::Media, 2), (Limit::GraceSeconds, 0)]).await;
    enforce(services).await;
    assert!(is_frozen(services, &id).await);
    set(&world, &[(Limit::Media, 2), (Limit::GraceSeconds, 60)]).await;
    assert_eq!(enforce(services).await, 1);
    assert!(!is_frozen(services, &id).await);
    assert_eq!(found(services, &id).await[0].state, FindingState::Grace);
}

async fn an_upload_that_was_judged_before_the_freeze_is_judged_again(world: World) {
    let (services, id) = (&world.services, world.tenant().await.id().clone());
    store(services, &id, 3, 300).await;
    roll_up(services).await;
    set(&world, &[(Limit::Media, 2), (Limit::GraceSeconds, 0)]).await;
    let judged_by = resolved(services, &id).await.context().stamp();
    enforce(services).await;
    let accepted = async |stamp| {
        let now = services.clock.now();
        let request = accept::Request::default();
        accept::accept(&services.control, &id, stamp, request, now, true)
            .await
            .unwrap()
    };
    assert_eq!(accepted(judged_by).await, Accepted::Outdated);
    let present = resolved(services, &id).await.context().stamp();
    assert!(present.frozen);
    assert_eq!(accepted(present).await, Accepted::New, "what is not an upload goes on");
    // As an older release's cache has it, which knows of no freezing.
    let unaware = mediamill_shared::tenancy::Stamp {
        frozen: false,
        ..present
    };
    assert_eq!(accepted(unaware).await, Accepted::Outdated);
}

async fn a_trial_that_is_over_freezes_until_its_provider_ends_or_prolongs_it(world: World) {
    let (services, id) = (&world.services, world.tenant().await.id().clone());
    let now = services.clock.now();
    let trial = |end| Change {
        trial_until: Some(end),
        limits: Some(limits(&[(Limit::GraceSeconds, 3_600)])),
        ..Change::default()
    };
    world.change(trial(Some(now.after(Duration::from_secs(600))))).await;
    assert_eq!(enforce(services).await, 0);
    world.change(trial(Some(now.before(Duration::from_secs(600))))).await;
    assert_eq!(enforce(services).await, 1);
    assert!(!is_frozen(services, &id).await);
    // Grace counts from the trial's end, not from when that was seen.
    world.change(trial(Some(now.before(Duration::from_secs(3_600))))).await;
    assert_eq!(enforce(services).await, 1);
    assert!(is_frozen(services, &id).await);
    assert_eq!(enforce(services).await, 0);
    world.change(trial(Some(now.after(Duration::from_secs(600))))).await;
    assert_eq!(enforce(services).await, 1);
    assert!(!is_frozen(services, &id).await);
    world.change(trial(Some(now.before(Duration::from_secs(3_600))))).await;
    assert_eq!(enforce(services).await, 2);
    world.change(trial(None)).await;
    assert_eq!(enforce(services).await, 1);
    assert!(!is_frozen(services, &id).await);
    let actions: Vec<_> = told(services, &id)
        .await
        .into_iter()
        .map(|(action, ..)| action)
        .collect();
    assert_eq!(
        actions[..3],
        ["limit.over", "tenant.freeze", "tenant.thaw"],
        "{actions:?}"
    );
    assert_eq!(actions.last().unwrap(), "tenant.thaw");
}

async fn too_few_storages_and_too_many_users_are_found(world: World) {
    let (services, id) = (&world.services, world.tenant().await.id().clone());
    for name in ["ann", "bob"] {
        let mut tx = resolved(services, &id).await.db().unwrap().begin().await.unwrap();
        let user = mediamill_shared::ids::UserId::generate(&services.clock, &services.entropy);
        let role = mediamill_shared::tenancy::store::users::Role::User;
        tx.add_user(&user, name, role, services.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    services.lifecycle.refresh_stats(&id).await.unwrap();
    set(
        &world,
        &[
            (Limit::Users, 2),
            (Limit::MinActiveStorages, 1),
            (Limit::GraceSeconds, 0),
        ],
    )
    .await;
    assert_eq!(enforce(services).await, 4);
    let mut lines = told(services, &id).await;
    lines.retain(|(action, ..)| action == "tenant.freeze");
    lines.sort();
    let both = [
        line("tenant.freeze", "min_active_storages", 0, 1),
        line("tenant.freeze", "users", 3, 2),
    ];
    assert_eq!(lines, both);
    set(&world, &[(Limit::Users, 3), (Limit::GraceSeconds, 0)]).await;
    assert_eq!(enforce(services).await, 2);
    assert!(!is_frozen(services, &id).await);
}

async fn figures_that_were_behind_are_looked_at_when_they_are_not(world: World) {
    let (services, id) = (&world.services, world.tenant().await.id().clone());
    store(services, &id, 3, 300).await;
    set(&world, &[(Limit::Media, 2), (Limit::GraceSeconds, 0)]).await;
    assert_eq!(enforce(services).await, 0);
    // Nobody remembers the change when the figures come.
    world
        .execute("DELETE FROM active_tenants WHERE timer = 'enforce-limits'", &[])
        .await;
    world.execute("UPDATE tenants SET updated_at = 1", &[]).await;
    roll_up(services).await;
    assert_eq!(enforce(services).await, 2);
    assert!(is_frozen(services, &id).await);
}

async fn figures_alone_freeze_nobody(world: World) {
    let (services, id) = (&world.services, world.tenant().await.id().clone());
    store(services, &id, 3, 300).await;
    roll_up(services).await;
    // The figures say three, and are behind.
    store(services, &id, -2, -200).await;
    set(&world, &[(Limit::Media, 2), (Limit::GraceSeconds, 0)]).await;
    assert_eq!(enforce(services).await, 0);
    assert_eq!(
        (found(services, &id).await, told(services, &id).await),
        (vec![], vec![])
    );
    // Bytes of one kind are counted nowhere but in its row: half of these are of pictures that move.
    let mut tx = resolved(services, &id).await.db().unwrap().begin().await.unwrap();
    let job = JobId::generate(&services.clock, &services.entropy);
    let change = Usage {
        media: 1,
        bytes: ByteCount::new(100),
        animation_bytes: ByteCount::new(100),
    };
    let now = services.clock.now();
    tx.settle(&job, change, &Limits::builtin(), now).await.unwrap();
    tx.commit().await.unwrap();
    set(
        &world,
        &[
            (Limit::ImageBytes, 100),
            (Limit::AnimationBytes, 99),
            (Limit::GraceSeconds, 0),
        ],
    )
    .await;
    assert_eq!(enforce(services).await, 2);
    let mut lines = told(services, &id).await;
    // Both were decided in one instant.
    lines.sort();
    assert_eq!(lines[1], line("tenant.freeze", "animation_bytes", 100, 99));
}

async fn a_quiet_tenant_is_told_of_a_limit_that_came_near(world: World) {
    let services = &world.services;
    plan(&world, &[(Limit::Media, 100)]).await;
    let id = on_plan(&world, "quiet", None).await;
    store(services, &id, 9, 100).await;
    roll_up(services).await;
    run_once(services, "watch-limits").await.unwrap();
    world.edit_plan("plan", limits(&[(Limit::Media, 10)])).await;
    for changed in [1, 0] {
        assert_eq!(enforce(services).await, 0);
        // The watch waits until contexts must have followed.
        services.resolver.refresh(&id).await.unwrap();
        world.execute("UPDATE active_tenants SET noticed_at = 1", &[]).await;
        assert_eq!(run_once(services, "watch-limits").await.unwrap().changed, changed);
    }
    let lines = audit::page(&services.control, Some(&id), None, 100).await.unwrap();
    let warning = lines.iter().find(|line| line.action == "limit.warning").unwrap();
    assert_eq!(
        (&warning.detail["used"], &warning.detail["limit"]),
        (&9.into(), &10.into())
    );
}

async fn a_tenant_that_cannot_be_read_keeps_nobody_back(world: World) {
    let services = &world.services;
    plan(&world, &[(Limit::Media, 100)]).await;
    let (lost, other) = (
        on_plan(&world, "lost", None).await,
        on_plan(&world, "other", None).await,
    );
    for id in [&lost, &other] {
        store(services, id, 9, 100).await;
    }
    roll_up(services).await;
    // Its rows say a place that is not there.
    let place = resolved(services, &lost)
        .await
        .context()
        .place
        .prefix
        .as_str()
        .to_owned();
    let put = "UPDATE tenants SET table_prefix = $1 WHERE id = 'lost'";
    world.execute(put, &["tnowhere"]).await;
    world
        .edit_plan("plan", limits(&[(Limit::Media, 5), (Limit::GraceSeconds, 0)]))
        .await;
    assert_eq!(enforce(services).await, 2);
    assert!(is_frozen(services, &other).await);
    assert_eq!(found(services, &lost).await, []);
    world.execute(put, &[&place]).await;
    assert_eq!(enforce(services).await, 2);
    assert_eq!(found(services, &lost).await.len(), 1);
    // A row that a newer release wrote is no reason to look at nobody.
    world
        .execute(
            "UPDATE tenants SET limits = $1 WHERE id = 'lost'",
            &[r#"{"unheard_of": 1}"#],
        )
        .await;
    world.edit_plan("plan", limits(&[(Limit::Media, 9)])).await;
    assert_eq!(enforce(services).await, 1);
    assert!(!is_frozen(services, &other).await);
}

async fn an_operators_key_that_ended_is_told_of_once(world: World) {
    let services = &world.services;
    let entry = || audit::Entry::new(&services.clock, &services.entropy, &Actor::cli(), "key.create", None);
    let now = services.clock.now();
    for end in [
        Some(now.before(Duration::from_secs(1))),
        Some(now.after(Duration::from_secs(60))),
        None,
    ] {
        let secrets = &services.config.tenants_api_key_secret;
        let scopes = mediamill_shared::operators::Scopes::all();
        operator_keys::create(
            &services.control,
            "k",
            &scopes,
            end,
            secrets,
            &services.entropy,
            &entry(),
        )
        .await
        .unwrap();
    }
    for changed in [1, 0] {
        assert_eq!(enforce(services).await, changed);
    }
    let lines = audit::page(&services.control, None, None, 100).await.unwrap();
    let told: Vec<_> = lines.iter().filter(|line| line.action == "key.expire").collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].detail["key"], 1);
}

async fn a_removed_tenant_leaves_nothing_here(world: World) {
    let (services, id) = (&world.services, world.tenant().await.id().clone());
    store(services, &id, 3, 300).await;
    roll_up(services).await;
    set(&world, &[(Limit::Media, 2)]).await;
    assert_eq!(enforce(services).await, 1);
    services
        .lifecycle
        .begin_purge(&id, &Actor::cli())
        .await
        .unwrap()
        .unwrap();
    services.lifecycle.purge(&id, None, &Actor::cli()).await.unwrap();
    assert_eq!(found(services, &id).await, []);
    assert_eq!(enforce(services).await, 0);
}

//! Dead jobs are found.

use super::*;
use crate::{
    control::jobs::CauseCode,
    jobs::{Job, JobKind, Noop},
    units::Millis,
};

crate::on_both_sides!(they_are_found_by_whose_what_why_and_when, they_are_counted_and_shown,);

/// A code that would end a text, were it written into a statement.
const QUOTED: &str = "it's \"this\"; --";

/// Dead jobs of three causes, given up a second after each other.
struct Mixed {
    demo: TenantId,
    ids: Vec<JobId>,
    moved: MoveMedia,
}

async fn mixed(world: &World) -> Mixed {
    let demo = world.tenant().await.id().clone();
    let (other, _) = world.another_tenant("other").await;
    let mut ids = Vec::new();
    for (whose, code, at) in [
        (Some(&demo), "delivery-limit", 1_000),
        (Some(&other), "attempts-used-up", 2_000),
        (None, QUOTED, 3_000),
    ] {
        ids.push(world.dead(whose, &Noop {}, code, Millis::new(at)).await);
    }
    let (moved, at) = (look(&media_id(world)), Millis::new(4_000));
    ids.push(world.dead(Some(&demo), &moved, "attempts-used-up", at).await);
    Mixed { demo, ids, moved }
}

fn of(tenant: &str) -> DeadFilter {
    let tenant = Some(tenant.parse().unwrap());
    DeadFilter { tenant, ..all() }
}

fn because(code: &str) -> DeadFilter {
    let code: CauseCode = code.parse().unwrap();
    let cause = Some(code);
    DeadFilter { cause, ..all() }
}

fn between(since: Option<i64>, until: Option<i64>) -> DeadFilter {
    let (since, until) = (since.map(Millis::new), until.map(Millis::new));
    DeadFilter { until, since, ..all() }
}

async fn they_are_found_by_whose_what_why_and_when(world: World) {
    let Mixed { ids, .. } = mixed(&world).await;
    let kind = Some(JobKind::MediaMove);
    let everything = DeadFilter {
        tenant: of("demo").tenant,
        kind,
        ..between(Some(4_000), Some(4_000))
    };
    let control = &world.services.control;
    for (wanted, places) in [
        (all(), &[0, 1, 2, 3][..]),
        (of("demo"), &[0, 3]),
        (of("nobody"), &[]),
        (DeadFilter { kind, ..all() }, &[3]),
        (because(QUOTED), &[2]),
        (because("attempts-used-up"), &[1, 3]),
        (because("' OR 1 = 1 --"), &[]),
        (between(None, Some(2_000)), &[0, 1]),
        (between(Some(3_000), None), &[2, 3]),
        (between(Some(3_000), Some(2_000)), &[]),
        (everything, &[3]),
    ] {
        let rows = jobs::dead(control, &wanted, None, 100).await.unwrap();
        let found: Vec<&JobId> = rows.iter().map(|row| &row.id).collect();
        let expected: Vec<&JobId> = places.iter().map(|place| &ids[*place]).collect();
        assert_eq!(found, expected, "{wanted:?}");
    }
    let second = jobs::dead(control, &all(), Some(&ids[1]), 1).await.unwrap();
    assert_eq!((second.len(), &second[0].id), (1, &ids[2]));
}

async fn they_are_counted_and_shown(world: World) {
    let Mixed { ids, moved, demo } = mixed(&world).await;
    let control = &world.services.control;
    let more = world
        .dead(Some(&demo), &moved, "attempts-used-up", Millis::new(9_000))
        .await;
    let groups = jobs::dead_groups(control, &all()).await.unwrap();
    let told: Vec<_> = groups
        .iter()
        .map(|group| (group.kind, group.cause.as_deref(), group.jobs, group.tenants))
        .collect();
    assert_eq!(
        told,
        [
            (JobKind::MediaMove, Some("attempts-used-up"), 2, 1),
            (JobKind::Noop, Some("attempts-used-up"), 1, 1),
            (JobKind::Noop, Some("delivery-limit"), 1, 1),
            (JobKind::Noop, Some(QUOTED), 1, 0),
        ]
    );
    assert_eq!(
        (groups[0].oldest, groups[0].newest),
        (Millis::new(4_000), Millis::new(9_000))
    );
    assert_eq!(jobs::dead_groups(control, &of("demo")).await.unwrap().len(), 2);
    assert!(jobs::dead_groups(control, &of("nobody")).await.unwrap().is_empty());
    let one = jobs::dead_one(control, &ids[3]).await.unwrap().unwrap();
    assert_eq!((one.pool, one.row.attempts), (MoveMedia::POOL, 12));
    assert_eq!(serde_json::from_str::<MoveMedia>(&one.payload).unwrap(), moved);
    purge(&world, &more).await;
    assert!(jobs::dead_one(control, &more).await.unwrap().is_none());
}

async fn purge(world: &World, id: &JobId) {
    let purge = world.services.dead.purge(id, &Actor::cli()).await.unwrap();
    assert!(matches!(purge, Purge::Gone), "{purge:?}");
}

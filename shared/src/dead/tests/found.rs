//! Dead jobs are found.

use super::*;
use crate::{
    control::jobs::CauseCode,
    jobs::{Job, JobKind, Noop},
    units::Millis,
};

crate::on_both_sides!(they_are_found_by_whose_what_why_and_when);

async fn found(world: &World, wanted: &DeadFilter) -> Vec<JobId> {
    let rows = jobs::dead(&world.services.control, wanted, None, 100).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

fn cause(code: &str) -> Option<CauseCode> {
    Some(code.parse().unwrap())
}

async fn they_are_found_by_whose_what_why_and_when(world: World) {
    let demo = world.tenant().await.id().clone();
    let (other, _) = world.another_tenant("other").await;
    let quoted = "it's \"this\"; --";
    let mut ids = Vec::new();
    for (whose, code, at) in [
        (Some(&demo), "delivery-limit", 1_000),
        (Some(&other), "attempts-used-up", 2_000),
        (None, quoted, 3_000),
    ] {
        ids.push(world.dead(whose, &Noop {}, code, Millis::new(at)).await);
    }
    let moved = look(&media_id(&world));
    ids.push(
        world
            .dead(Some(&demo), &moved, "attempts-used-up", Millis::new(4_000))
            .await,
    );
    let is = async |wanted: DeadFilter, places: &[usize]| {
        let expected: Vec<JobId> = places.iter().map(|place| ids[*place].clone()).collect();
        assert_eq!(found(&world, &wanted).await, expected, "{wanted:?}");
    };
    is(all(), &[0, 1, 2, 3]).await;
    let (tenant, kind) = (Some(demo.clone()), Some(JobKind::MediaMove));
    is(
        DeadFilter {
            tenant: tenant.clone(),
            ..all()
        },
        &[0, 3],
    )
    .await;
    is(DeadFilter { kind, ..all() }, &[3]).await;
    is(
        DeadFilter {
            cause: cause(quoted),
            ..all()
        },
        &[2],
    )
    .await;
    is(
        DeadFilter {
            cause: cause("attempts-used-up"),
            ..all()
        },
        &[1, 3],
    )
    .await;
    is(
        DeadFilter {
            cause: cause("' OR 1 = 1"),
            ..all()
        },
        &[],
    )
    .await;
    is(
        DeadFilter {
            until: Some(Millis::new(2_000)),
            ..all()
        },
        &[0, 1],
    )
    .await;
    is(
        DeadFilter {
            since: Some(Millis::new(3_000)),
            ..all()
        },
        &[2, 3],
    )
    .await;
    let both = DeadFilter {
        tenant,
        kind,
        cause: cause("attempts-used-up"),
        until: Some(Millis::new(4_000)),
        since: Some(Millis::new(4_000)),
    };
    is(both, &[3]).await;
    let gone = Some("nobody".parse().unwrap());
    is(DeadFilter { tenant: gone, ..all() }, &[]).await;

    let control = &world.services.control;
    let second = jobs::dead(control, &all(), Some(&ids[1]), 1).await.unwrap();
    assert_eq!((second.len(), &second[0].id), (1, &ids[2]));
    let groups = jobs::dead_groups(control, &all()).await.unwrap();
    let told: Vec<_> = groups
        .iter()
        .map(|group| (group.kind, group.cause.as_deref(), group.jobs, group.tenants))
        .collect();
    assert_eq!(
        told,
        [
            (JobKind::Noop, Some("attempts-used-up"), 1, 1),
            (JobKind::Noop, Some("delivery-limit"), 1, 1),
            (JobKind::Noop, Some(quoted), 1, 0),
            (JobKind::MediaMove, Some("attempts-used-up"), 1, 1),
        ]
    );
    let mine = DeadFilter {
        tenant: Some(demo),
        ..all()
    };
    assert_eq!(jobs::dead_groups(control, &mine).await.unwrap().len(), 2);
    let one = jobs::dead_one(control, &ids[3]).await.unwrap().unwrap();
    assert_eq!((one.pool, one.row.attempts), (MoveMedia::POOL, 12));
    assert_eq!(serde_json::from_str::<MoveMedia>(&one.payload).unwrap(), moved);
}

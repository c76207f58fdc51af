//! What is exact about the hours: the ledger's sum, whatever happens when.

use super::*;
use crate::{
    control::metering::{Hour, Resource},
    ids::JobId,
    quota::{
        Period,
        export::{Export, Line},
    },
    tenancy::{TenantDb, store::usage::Usage},
    testing::World,
    units::{ByteCount, Millis},
};
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use std::collections::BTreeMap;

crate::on_both_sides!(
    whatever_is_written_when_the_hours_are_the_ledger,
    a_roll_up_that_read_before_another_wrote_is_refused,
    hours_that_the_ledger_lost_are_taken_back,
    a_removed_tenant_ends_with_nothing_and_one_of_its_name_begins_with_nothing,
    an_export_has_every_hour_and_what_was_there_before,
);

/// 2026-01-31T21:00:00Z: a month ends within some hours.
const START: i64 = 1_769_893_200_000;
const HOUR: i64 = 3_600_000;

async fn tables(world: &World) -> TenantDb {
    world.tenant().await.db().unwrap()
}

/// Writes a line of the ledger as a worker whose clock says `at`.
async fn line(world: &World, db: &TenantDb, media: i64, bytes: i64, at: i64) {
    let job = JobId::generate(&world.services.clock, &world.services.entropy);
    let change = Usage {
        media,
        bytes: ByteCount::new(bytes),
        ..Usage::default()
    };
    let mut tx = db.begin().await.unwrap();
    let settled = tx
        .settle(&job, change, &crate::tenancy::Limits::builtin(), Millis::new(at))
        .await;
    assert_eq!(settled.unwrap(), crate::tenancy::store::usage::Settled::Now);
    tx.commit().await.unwrap();
}

async fn rolled(world: &World, db: &TenantDb) -> usize {
    let tenant = world.tenant().await;
    roll_up(&world.services.control, tenant.id(), db).await.unwrap()
}

async fn exported(world: &World, from: i64, to: i64) -> Vec<Line> {
    let mut export = Export::new(world.services.control.clone(), None, Millis::new(from), Millis::new(to));
    let mut lines = Vec::new();
    while let Some(page) = export.next().await.unwrap() {
        lines.extend(page);
    }
    lines
}

/// Changes by resource and hour, those of nothing left out.
fn changes(lines: &[Line]) -> BTreeMap<(Resource, i64), i64> {
    let mut found = BTreeMap::new();
    for line in lines.iter().filter(|line| line.change != 0) {
        let before = found.insert((line.resource, line.hour.get()), line.change);
        assert_eq!(before, None, "an hour twice: {line:?}");
    }
    found
}

async fn whatever_is_written_when_the_hours_are_the_ledger(world: World) {
    let (control, tenant, db) = (&world.services.control, world.tenant().await, tables(&world).await);
    let mut runner = TestRunner::default();
    // Pictures come or go, at an hour of some days, in no order; now and then it is rolled up, by two at once or again.
    let step = (-3_i64..6, -5_000_i64..9_000, 0_i64..90 * HOUR, 0_u8..6);
    let (mut expected, mut sum) = (BTreeMap::<(Resource, i64), i64>::new(), (0_i64, 0_i64));
    for _ in 0..8 {
        let steps = vec(step.clone(), 1..12).new_tree(&mut runner).unwrap().current();
        for (media, bytes, after, then) in steps {
            // Nobody has fewer pictures than none.
            let (media, bytes) = (media.max(-sum.0), bytes.max(-sum.1));
            sum = (sum.0 + media, sum.1 + bytes);
            let at = START + after;
            line(&world, &db, media, bytes, at).await;
            let hour = at - at % HOUR;
            *expected.entry((Resource::Media, hour)).or_default() += media;
            *expected.entry((Resource::Bytes, hour)).or_default() += bytes;
            match then {
                0 => {
                    rolled(&world, &db).await;
                }
                1 => {
                    tokio::join!(rolled(&world, &db), rolled(&world, &db));
                    assert_eq!(rolled(&world, &db).await, 0, "again, nothing is wrong any more");
                }
                _ => {}
            }
        }
        rolled(&world, &db).await;
        let (hours, ledger, usage) = (
            metering::total(control, tenant.id()).await.unwrap(),
            db.balance().await.unwrap().ledger,
            db.usage().await.unwrap(),
        );
        assert_eq!((hours, ledger), (usage, usage));
        assert_eq!((usage.media, usage.bytes.get()), sum);
        let lines = exported(&world, START, START + 91 * HOUR).await;
        expected.retain(|_, change| *change != 0);
        assert_eq!(changes(&lines), expected);
        for resource in [Resource::Media, Resource::Bytes] {
            let last = lines.iter().rev().find(|line| line.resource == resource);
            let total = if resource == Resource::Media { sum.0 } else { sum.1 };
            assert_eq!(last.map_or(0, |line| line.total), total);
        }
    }
}

async fn a_roll_up_that_read_before_another_wrote_is_refused(world: World) {
    let (control, tenant, db) = (&world.services.control, world.tenant().await, tables(&world).await);
    line(&world, &db, 1, 10, START).await;
    let before = metering::roll_ups(control, tenant.id()).await.unwrap();
    let old = db.ledger_hours().await.unwrap();
    line(&world, &db, 1, 10, START).await;
    assert_eq!(rolled(&world, &db).await, 2);
    let late = metering::set_hours(control, tenant.id(), before, &old).await.unwrap();
    assert_eq!(late, None);
    assert_eq!(
        metering::total(control, tenant.id()).await.unwrap(),
        db.usage().await.unwrap()
    );
}

async fn hours_that_the_ledger_lost_are_taken_back(world: World) {
    let (control, tenant, db) = (&world.services.control, world.tenant().await, tables(&world).await);
    line(&world, &db, 2, 20, START).await;
    let before = metering::roll_ups(control, tenant.id()).await.unwrap();
    let mut hours = db.ledger_hours().await.unwrap();
    let change = hours[0].change;
    hours.push(Hour {
        start: Millis::new(START + HOUR),
        change,
    });
    // As if the tenant's tables had been brought back from a copy since.
    assert_eq!(
        metering::set_hours(control, tenant.id(), before, &hours).await.unwrap(),
        Some(4)
    );
    assert_eq!(rolled(&world, &db).await, 2);
    assert_eq!(
        metering::total(control, tenant.id()).await.unwrap(),
        db.usage().await.unwrap()
    );
}

async fn a_removed_tenant_ends_with_nothing_and_one_of_its_name_begins_with_nothing(world: World) {
    let (control, tenant, db) = (&world.services.control, world.tenant().await, tables(&world).await);
    line(&world, &db, 3, 30, START).await;
    line(&world, &db, -1, -10, START + 2 * HOUR).await;
    rolled(&world, &db).await;
    let end = Millis::new(START + 2 * HOUR + 5);
    for _ in 0..2 {
        metering::close(control, tenant.id(), "first", end).await.unwrap();
    }
    let lines = exported(&world, START, START + 9 * HOUR).await;
    let all = BTreeMap::from([
        ((Resource::Media, START), 3),
        ((Resource::Media, START + 2 * HOUR), -3),
        ((Resource::Bytes, START), 30),
        ((Resource::Bytes, START + 2 * HOUR), -30),
    ]);
    assert_eq!(changes(&lines), all);
    assert!(metering::is_closed(control, tenant.id(), "first").await.unwrap());
    assert_eq!(metering::total(control, tenant.id()).await.unwrap(), Usage::default());
    // One of the same name, whose ledger begins in that very hour: here the old one's tables stand for its own.
    rolled(&world, &db).await;
    let again = exported(&world, START, START + 9 * HOUR).await;
    let last = again
        .iter()
        .rev()
        .find(|line| line.resource == Resource::Bytes)
        .unwrap();
    assert_eq!(last.total, 20, "{again:?}");
    assert_eq!(
        metering::total(control, tenant.id()).await.unwrap(),
        db.usage().await.unwrap()
    );
    // It is there again, so it is kept; closed, it is forgotten when its time is over.
    let later = end.after(metering::KEPT).after(std::time::Duration::from_secs(1));
    assert_eq!(metering::forget_closed(control, later, 10).await.unwrap(), 0);
    metering::close(control, tenant.id(), "second", end).await.unwrap();
    assert_eq!(metering::forget_closed(control, end, 10).await.unwrap(), 0);
    assert_eq!(metering::forget_closed(control, later, 10).await.unwrap(), 1);
    assert!(exported(&world, START, START + 9 * HOUR).await.is_empty());
}

async fn an_export_has_every_hour_and_what_was_there_before(world: World) {
    let (services, tenant, db) = (&world.services, world.tenant().await, tables(&world).await);
    line(&world, &db, 2, 20, START - 50 * HOUR).await;
    line(&world, &db, 1, 10, START + HOUR).await;
    rolled(&world, &db).await;
    let process = crate::ids::ProcessId::generate(&services.clock, &services.entropy);
    // The month ends after two hours and a half.
    for (number, hour, bytes) in [(1, -1, 100), (2, 1, 200), (2, 1, 200), (3, 4, 400)] {
        let served = [metering::Served {
            tenant: tenant.id().clone(),
            bytes,
        }];
        let at = Millis::new(START + hour * HOUR + 7);
        metering::count_served(&services.control, &process, number, &served, at)
            .await
            .unwrap();
    }
    let lines = exported(&world, START, START + 10 * HOUR).await;
    let short: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line.resource.as_str(),
                (line.hour.get() - START) / HOUR,
                line.change,
                line.total,
            )
        })
        .collect();
    let expected = [
        ("bytes", 0, 0, 20),
        ("bytes", 1, 10, 30),
        ("bytes_out", 1, 200, 300),
        ("bytes_out", 4, 400, 400),
        ("media", 0, 0, 2),
        ("media", 1, 1, 3),
    ];
    assert_eq!(short, expected);
    let month = |at: i64| Period::month_of(Millis::new(at));
    let january = metering::bytes_out(&services.control, tenant.id(), month(START))
        .await
        .unwrap();
    let february = metering::bytes_out(&services.control, tenant.id(), month(START + 4 * HOUR))
        .await
        .unwrap();
    assert_eq!((january.get(), february.get()), (300, 400));
    // Nothing changed in these hours, and it is still told what is stored.
    let quiet = exported(&world, START + 5 * HOUR, START + 6 * HOUR).await;
    let short: Vec<_> = quiet
        .iter()
        .map(|line| (line.resource.as_str(), line.change, line.total))
        .collect();
    assert_eq!(short, [("media", 0, 3), ("bytes", 0, 30)]);
}

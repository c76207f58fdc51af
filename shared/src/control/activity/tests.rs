//! Whoever is noticed while it is looked at is looked at again, and nobody loses its place.

use super::*;
use crate::testing::World;

crate::on_both_sides!(
    who_waits_keeps_its_place,
    who_is_noticed_while_it_is_looked_at_goes_to_the_end,
    nobody_is_noticed_before_the_round_is_over,
);

const WATCHER: Watcher = Watcher::Limits;

const fn at(millis: i64) -> Millis {
    Millis::new(millis)
}

fn id(name: &str) -> TenantId {
    name.parse().unwrap()
}

async fn marked(db: &Db, name: &str, now: i64) {
    mark(db, WATCHER, &id(name), at(now)).await.unwrap();
}

/// The names on the list, the first first.
async fn listed(db: &Db) -> Vec<String> {
    let noticed = noticed(db, WATCHER, at(i64::MAX), 100).await.unwrap();
    noticed.iter().map(|one| one.tenant.to_string()).collect()
}

async fn who_waits_keeps_its_place(world: World) {
    let db = &world.services.control;
    for (name, now) in [("b", 10), ("a", 20), ("c", 30), ("b", 40)] {
        marked(db, name, now).await;
    }
    assert_eq!(listed(db).await, ["b", "a", "c"]);
    // Unless it is to wait.
    put_off(db, WATCHER, &[id("b")], at(50)).await.unwrap();
    assert_eq!(listed(db).await, ["a", "c", "b"]);
}

async fn who_is_noticed_while_it_is_looked_at_goes_to_the_end(world: World) {
    let db = &world.services.control;
    for (name, now) in [("a", 10), ("b", 10), ("c", 20), ("d", 30)] {
        marked(db, name, now).await;
    }
    let three = noticed(db, WATCHER, at(30), 3).await.unwrap();
    // One by a clock that is behind.
    for (name, now) in [("a", 40), ("c", 15)] {
        marked(db, name, now).await;
    }
    seen(db, WATCHER, &three, at(50)).await.unwrap();
    assert_eq!(listed(db).await, ["d", "a", "c"]);
    let rest = noticed(db, WATCHER, at(i64::MAX), 3).await.unwrap();
    seen(db, WATCHER, &rest, at(60)).await.unwrap();
    assert_eq!(listed(db).await, [""; 0]);
}

async fn nobody_is_noticed_before_the_round_is_over(world: World) {
    let db = &world.services.control;
    let now = world.services.clock.now();
    let later = |seconds| now.after(Duration::from_secs(seconds));
    let served = async |name: &str, number: i64, at: Millis| {
        let served = super::super::metering::Served {
            tenant: id(name),
            bytes: 1,
        };
        let process = crate::ids::ProcessId::generate(&world.services.clock, &world.services.entropy);
        super::super::metering::count_served(db, &process, number, &[served], at)
            .await
            .unwrap();
    };
    served("a", 1, now).await;
    let first = notice(db, WATCHER, later(1), 100).await.unwrap();
    served("b", 1, later(2)).await;
    assert_eq!(notice(db, WATCHER, later(3), 100).await.unwrap(), first);
    assert_eq!(listed(db).await, ["a"]);
    let all = noticed(db, WATCHER, first, 100).await.unwrap();
    seen(db, WATCHER, &all, later(4)).await.unwrap();
    assert!(!is_left(db, WATCHER, first).await.unwrap());
    // All that happened since the last one began.
    let second = notice(db, WATCHER, later(600), 100).await.unwrap();
    assert_eq!(second, later(600));
    assert!(listed(db).await.contains(&"b".to_owned()));
}

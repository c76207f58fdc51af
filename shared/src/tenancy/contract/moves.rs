//! Moving a live tenant: nothing is lost, reads go on, writes wait.

use super::two::{self, Two, begin_move, fill, fresh, record, relocate, seen};
use crate::{
    control::{
        audit::{Actor, Entry},
        moves::{self, Switch},
        tenants,
    },
    db::DbError,
    tenancy::{Isolation, Limits, Place, TablePrefix, TenantDb, store::usage::Usage},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};
use std::time::Duration;
use tokio::task::JoinSet;

two::with_two_servers!(
    a_tenant_moves_everywhere_with_every_row,
    more_rows_than_a_page_arrive,
    what_is_committed_while_it_moves_is_there_after,
    writers_wait_while_it_moves_and_go_on_after,
    a_writer_that_began_before_is_waited_for,
    a_move_that_is_given_up_leaves_everything_open,
    an_old_move_that_wakes_up_late_opens_nothing_of_a_later_one,
    a_late_close_leaves_a_later_move_closed,
    a_place_that_may_be_dropped_in_this_moment_becomes_nobodys,
    a_late_attempt_does_not_touch_what_the_next_one_has_made,
);

/// Round the four kinds of places and back.
const ROUND: [(Isolation, &str); 5] = [
    (Isolation::Database, "main"),
    (Isolation::Prefix, two::OTHER),
    (Isolation::Database, two::OTHER),
    (Isolation::Prefix, "main"),
    (Isolation::Database, "main"),
];

async fn a_tenant_moves_everywhere_with_every_row(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Prefix, None).await;
    fill(&fresh(services, &id).await.db().unwrap(), &id, 5).await;
    let before = seen(&fresh(services, &id).await.db().unwrap()).await;
    for (isolation, server) in ROUND {
        let begun = begin_move(services, &id, isolation, server).await;
        relocate(services, &id, &begun).await.unwrap();
        // A worker that died before it could say so begins again.
        relocate(services, &id, &begun).await.unwrap();
        let tenant = fresh(services, &id).await;
        let place = &tenant.context().place;
        assert_eq!((place.isolation, place.server.as_str()), (isolation, server));
        assert!(!tenant.context().moving && place.prefix != begun.from.prefix);
        assert_eq!(seen(&tenant.db().unwrap()).await, before);
    }
    record(&fresh(services, &id).await.db().unwrap(), &id).await.unwrap();
    let counts = tenants::servers(&services.control).await.unwrap();
    let on = |name: &str| {
        counts
            .iter()
            .find(|(server, _)| server == name)
            .map(|(_, count)| *count)
    };
    assert_eq!((on("main"), on(two::OTHER)), (Some(2), Some(0)));
    assert!(two.left_behind().await.is_empty());
}

async fn more_rows_than_a_page_arrive(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Prefix, None).await;
    let db = fresh(services, &id).await.db().unwrap();
    let mut tx = db.begin().await.unwrap();
    for _ in 0..1_050 {
        let (_, media, variants) = two::picture(&id);
        tx.add_media(&media, &variants).await.unwrap();
    }
    tx.commit().await.unwrap();
    let before = seen(&db).await;
    let begun = begin_move(services, &id, Isolation::Database, "main").await;
    relocate(services, &id, &begun).await.unwrap();
    assert_eq!(seen(&fresh(services, &id).await.db().unwrap()).await, before);
}

async fn what_is_committed_while_it_moves_is_there_after(two: Two) {
    let services = two.services().clone();
    let (id, _) = two.tenant_at("t", Isolation::Prefix, None).await;
    let (over, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let old = fresh(&services, &id).await.db().unwrap();
    let mut at_work = JoinSet::new();
    for number in 0..4 {
        let (services, id, over, committed, old) = (
            services.clone(),
            id.clone(),
            over.clone(),
            committed.clone(),
            old.clone(),
        );
        at_work.spawn(async move {
            while !over.load(Ordering::SeqCst) {
                // The first believes for ever in the place that it saw first.
                let db = match number {
                    0 => old.clone(),
                    _ => services.resolver.by_id(&id).await.unwrap().unwrap().db().unwrap(),
                };
                match record(&db, &id).await {
                    Ok(()) => {
                        committed.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => {
                        assert!(error.is_transient(), "{error:?}");
                        services.clock.sleep(Duration::from_millis(2)).await;
                    }
                }
            }
        });
    }
    at_work.spawn({
        let (services, id, over) = (services.clone(), id.clone(), over.clone());
        async move {
            while !over.load(Ordering::SeqCst) {
                let db = services.resolver.by_id(&id).await.unwrap().unwrap().db().unwrap();
                db.usage().await.expect("reads go on");
                db.media_page(None, 5, None).await.expect("reads go on");
            }
        }
    });
    for (isolation, server) in ROUND {
        let begun = begin_move(&services, &id, isolation, server).await;
        relocate(&services, &id, &begun).await.unwrap();
        let at_least = committed.load(Ordering::SeqCst) + 3;
        while committed.load(Ordering::SeqCst) < at_least {
            services.clock.sleep(Duration::from_millis(2)).await;
        }
    }
    over.store(true, Ordering::SeqCst);
    while let Some(done) = at_work.join_next().await {
        done.unwrap();
    }
    assert!(matches!(
        old.begin().await.unwrap_err(),
        DbError::Moving { .. } | DbError::Gone { .. }
    ));
    let db = fresh(&services, &id).await.db().unwrap();
    let usage = db.usage().await.unwrap();
    assert_eq!(usage.media, committed.load(Ordering::SeqCst));
    assert_eq!(usage, db.balance().await.unwrap().ledger);
    assert_eq!(db.stored().await.unwrap(), (usage, usage.bytes));
}

async fn refused(db: &TenantDb) -> bool {
    match db.begin().await {
        Ok(_) => false,
        Err(error) => {
            assert!(
                matches!(error, DbError::Moving { .. }) && error.is_transient(),
                "{error:?}"
            );
            true
        }
    }
}

async fn writers_wait_while_it_moves_and_go_on_after(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Database, None).await;
    let old = fresh(services, &id).await.db().unwrap();
    let begun = begin_move(services, &id, Isolation::Prefix, "main").await;
    let moving = fresh(services, &id).await;
    assert!(moving.context().moving && refused(&moving.db().unwrap()).await);
    moving.db().unwrap().usage().await.unwrap();
    relocate(services, &id, &begun).await.unwrap();
    assert!(refused(&old).await, "what speaks to the old place writes nothing");
    record(&fresh(services, &id).await.db().unwrap(), &id).await.unwrap();
}

async fn a_writer_that_began_before_is_waited_for(two: Two) {
    let services = two.services().clone();
    let (id, _) = two.tenant_at("t", Isolation::Database, None).await;
    let db = fresh(&services, &id).await.db().unwrap();
    let (job, media, variants) = two::picture(&id);
    let mut tx = db.begin().await.unwrap();
    let change = Usage::picture(media.stored_bytes, media.frames);
    let limits = Limits::builtin();
    tx.settle(&job, change, &limits, media.created_at).await.unwrap();
    let begun = begin_move(&services, &id, Isolation::Prefix, "main").await;
    let mut moving = JoinSet::new();
    moving.spawn({
        let (services, id) = (services.clone(), id.clone());
        async move { relocate(&services, &id, &begun).await }
    });
    services.clock.sleep(Duration::from_millis(200)).await;
    assert!(moving.try_join_next().is_none());
    tx.add_media(&media, &variants).await.unwrap();
    tx.commit().await.unwrap();
    moving.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(fresh(&services, &id).await.db().unwrap().usage().await.unwrap(), change);
}

async fn a_move_that_is_given_up_leaves_everything_open(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Prefix, None).await;
    fill(&fresh(services, &id).await.db().unwrap(), &id, 2).await;
    let begun = begin_move(services, &id, Isolation::Database, two::OTHER).await;
    two::killed_after(40, relocate(services, &id, &begun)).await;
    for _ in 0..2 {
        services.lifecycle.stay(&id, &begun.job, &begun.from).await.unwrap();
        let tenant = fresh(services, &id).await;
        assert_eq!((tenant.context().moving, &tenant.context().place), (false, &begun.from));
        record(&tenant.db().unwrap(), &id).await.unwrap();
    }
    // Its job comes again all the same.
    relocate(services, &id, &begun).await.unwrap_err();
    record(&fresh(services, &id).await.db().unwrap(), &id).await.unwrap();
    assert!(two.left_behind().await.is_empty());
}

async fn an_old_move_that_wakes_up_late_opens_nothing_of_a_later_one(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Prefix, None).await;
    let first = begin_move(services, &id, Isolation::Database, "main").await;
    relocate(services, &id, &first).await.unwrap();
    let old = fresh(services, &id).await.db().unwrap();
    let second = begin_move(services, &id, Isolation::Prefix, "main").await;
    // As far as its copy, then both jobs of the first one's time come late.
    two::killed_after(60, relocate(services, &id, &second)).await;
    let _ = relocate(services, &id, &first).await;
    services.lifecycle.stay(&id, &first.job, &first.from).await.unwrap();
    assert!(refused(&old).await);
    relocate(services, &id, &second).await.unwrap();
    services.lifecycle.stay(&id, &second.job, &second.from).await.unwrap();
    assert!(refused(&old).await);
    record(&fresh(services, &id).await.db().unwrap(), &id).await.unwrap();
}

async fn a_late_close_leaves_a_later_move_closed(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Prefix, None).await;
    let old = fresh(services, &id).await.db().unwrap();
    let first = begin_move(services, &id, Isolation::Database, "main").await;
    services.lifecycle.stay(&id, &first.job, &first.from).await.unwrap();
    let second = begin_move(services, &id, Isolation::Database, two::OTHER).await;
    assert!(services.lifecycle.close(&id, &second.job, &second.from).await.unwrap());
    // A worker that had looked before the first move was given up; and what gives it up once more.
    assert!(!services.lifecycle.close(&id, &first.job, &first.from).await.unwrap());
    services.lifecycle.stay(&id, &first.job, &first.from).await.unwrap();
    assert!(refused(&old).await);
    relocate(services, &id, &second).await.unwrap();
    record(&fresh(services, &id).await.db().unwrap(), &id).await.unwrap();
    let third = begin_move(services, &id, Isolation::Prefix, "main").await;
    services.lifecycle.stay(&id, &third.job, &third.from).await.unwrap();
    assert!(!services.lifecycle.close(&id, &third.job, &third.from).await.unwrap());
    record(&fresh(services, &id).await.db().unwrap(), &id).await.unwrap();
}

async fn a_place_that_may_be_dropped_in_this_moment_becomes_nobodys(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Prefix, None).await;
    let begun = begin_move(services, &id, Isolation::Prefix, two::OTHER).await;
    for (seconds, becomes) in [(0, false), (30, false), (3_600, true)] {
        let (control, now) = (&services.control, services.clock.now());
        let to = Place {
            prefix: TablePrefix::generate(&services.clock, &services.entropy),
            ..begun.to.clone()
        };
        let drop_after = now.after(Duration::from_secs(seconds));
        moves::begin_place(control, &id, &to, drop_after).await.unwrap();
        let switch = Switch {
            tenant: &id,
            job: &begun.job,
            from: &begun.from,
            to: &to,
            schema_version: 0,
            linger: Duration::ZERO,
        };
        let entry = Entry::new(
            &services.clock,
            &services.entropy,
            &Actor::cli(),
            "tenant.moved",
            Some(&id),
        );
        let switched = moves::switch(control, &switch, &entry, now).await;
        assert_eq!(switched.unwrap(), becomes, "{seconds}");
        let row = tenants::get(control, &id).await.unwrap().unwrap();
        assert_eq!(row.place == to, becomes, "{seconds}");
    }
}

async fn a_late_attempt_does_not_touch_what_the_next_one_has_made(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Prefix, None).await;
    fill(&fresh(services, &id).await.db().unwrap(), &id, 20).await;
    let before = seen(&fresh(services, &id).await.db().unwrap()).await;
    let begun = begin_move(services, &id, Isolation::Database, "main").await;
    // Two workers have the job: each believes that the other is dead.
    let (one, other) = tokio::join!(relocate(services, &id, &begun), relocate(services, &id, &begun));
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    assert_eq!(seen(&fresh(services, &id).await.db().unwrap()).await, before);
    record(&fresh(services, &id).await.db().unwrap(), &id).await.unwrap();
    assert!(two.left_behind().await.is_empty());
    let retired = moves::retired(&services.control, crate::units::Millis::new(i64::MAX), "", 10).await;
    assert!(retired.unwrap().is_empty());
}

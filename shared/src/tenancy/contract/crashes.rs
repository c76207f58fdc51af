//! Killed at every step: what comes, moves and goes ends as if it had not been, or leaves nothing.
//!
//! A step is a poll: the work is dropped after its first, its second, … until it gets through.

use super::{
    remove, second_process,
    two::{self, Two, begin_move, fill, fresh, killed_after, record, relocate, seen},
};
use crate::{
    control::{audit::Actor, tenants},
    db::Engine,
    ids::TenantId,
    jobs::ProvisionTenant,
    services::Services,
    tenancy::{Isolation, NewAdmin, NewTenant, TenantState},
};

two::with_two_servers!(
    a_move_that_is_killed_anywhere_is_ended_by_the_next_attempt,
    a_move_that_is_killed_anywhere_can_be_given_up,
    a_tenant_whose_maker_is_killed_anywhere_is_made_by_the_next,
    a_tenant_whose_maker_is_killed_anywhere_can_be_undone,
    a_removal_that_is_killed_anywhere_is_ended_by_the_next,
    a_removal_whose_server_is_killed_is_ended_by_the_next,
    two_makers_make_one_tenant,
    made_and_undone_at_once_it_is_served_or_gone,
    two_removals_are_one,
    a_tenant_that_is_made_again_is_the_new_one_everywhere,
);

/// The next number of polls: every one where they are cheap, fewer where each takes a server's database.
fn next(services: &Services, polls: usize) -> usize {
    match services.control.engine() {
        Engine::Sqlite => polls + 1 + polls / 16,
        Engine::Postgres => polls + 1 + polls / 6,
    }
}

const BOTH: [Isolation; 2] = [Isolation::Prefix, Isolation::Database];

async fn a_move_that_is_killed_anywhere_is_ended_by_the_next_attempt(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Prefix, None).await;
    fill(&fresh(services, &id).await.db().unwrap(), &id, 2).await;
    let before = seen(&fresh(services, &id).await.db().unwrap()).await;
    let (mut polls, mut through) = (1, 0);
    while through < 2 {
        let from = fresh(services, &id).await.context().place.clone();
        let (isolation, server) = match from.isolation {
            Isolation::Prefix => (Isolation::Database, "main"),
            Isolation::Database => (Isolation::Prefix, two::OTHER),
        };
        let begun = begin_move(services, &id, isolation, server).await;
        match killed_after(polls, relocate(services, &id, &begun)).await {
            Some(done) => {
                done.unwrap();
                through += 1;
            }
            None => through = 0,
        }
        relocate(services, &id, &begun).await.unwrap();
        let tenant = fresh(services, &id).await;
        assert_eq!(tenant.context().place.isolation, isolation, "{polls}");
        assert_eq!(seen(&tenant.db().unwrap()).await, before, "{polls}");
        drop(tenant.db().unwrap().begin().await.unwrap());
        polls = next(services, polls);
    }
    assert!(two.left_behind().await.is_empty());
}

async fn a_move_that_is_killed_anywhere_can_be_given_up(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Prefix, None).await;
    fill(&fresh(services, &id).await.db().unwrap(), &id, 2).await;
    let mut polls = 1;
    loop {
        let before = seen(&fresh(services, &id).await.db().unwrap()).await;
        let begun = begin_move(services, &id, Isolation::Database, two::OTHER).await;
        let done = killed_after(polls, relocate(services, &id, &begun)).await;
        // Given up twice, also by somebody who died in between.
        killed_after(polls % 12, services.lifecycle.stay(&id, &begun.job, &begun.from)).await;
        services.lifecycle.stay(&id, &begun.job, &begun.from).await.unwrap();
        let tenant = fresh(services, &id).await;
        let switched = tenant.context().place != begun.from;
        assert_eq!(seen(&tenant.db().unwrap()).await, before, "{polls}");
        record(&tenant.db().unwrap(), &id).await.unwrap();
        if done.is_some() || switched {
            break;
        }
        polls = next(services, polls);
    }
    assert!(two.left_behind().await.is_empty());
}

/// An accepted tenant, and what its job says.
async fn accepted(services: &Services, id: &str, isolation: Isolation, server: &str) -> (TenantId, ProvisionTenant) {
    let id: TenantId = id.parse().unwrap();
    let mut new = NewTenant::plain(id.clone(), &format!("{id}.localhost"));
    new.isolation = Some(isolation);
    new.server = Some(server.parse().unwrap());
    let admin = NewAdmin {
        name: "admin".into(),
        email: None,
        password_hash: None,
    };
    let (admin, _) = services.lifecycle.first_admin(admin, true);
    new.admin = Some(admin.clone());
    services.lifecycle.accept(new, &Actor::cli()).await.unwrap();
    let wanted = ProvisionTenant {
        admin: Some(admin),
        enabled: true,
        at: None,
    };
    (id, wanted)
}

async fn a_tenant_whose_maker_is_killed_anywhere_is_made_by_the_next(two: Two) {
    let services = two.services();
    for (kind, isolation, server) in [
        ("a", Isolation::Prefix, "main"),
        ("b", Isolation::Database, "main"),
        ("c", Isolation::Prefix, two::OTHER),
    ] {
        let (mut polls, mut through) = (1, false);
        while !through {
            let (id, wanted) = accepted(services, &format!("{kind}{polls}"), isolation, server).await;
            through = killed_after(polls, services.lifecycle.provision(&id, &wanted))
                .await
                .is_some();
            services.lifecycle.provision(&id, &wanted).await.unwrap();
            let db = services.resolver.by_id(&id).await.unwrap().unwrap().db().unwrap();
            let key = wanted.admin.unwrap().key.unwrap();
            assert!(db.key(&key.id).await.unwrap().is_some(), "{id}");
            assert_eq!(db.user_counts().await.unwrap().admins, 1);
            polls = next(services, polls);
        }
    }
    assert!(two.left_behind().await.is_empty());
}

async fn assert_gone(services: &Services, id: &TenantId) {
    assert!(tenants::get(&services.control, id).await.unwrap().is_none(), "{id}");
    assert!(services.resolver.by_id(id).await.unwrap().is_none(), "{id}");
    let host = format!("{id}.localhost");
    // Killed before it could say so, a host may be known for a while, but not as one that is served.
    let known = services.resolver.by_host(&host).await.unwrap();
    assert!(known.is_none_or(|known| known.db().is_err()), "{id}");
}

async fn a_tenant_whose_maker_is_killed_anywhere_can_be_undone(two: Two) {
    let services = two.services();
    for (kind, isolation, server) in [
        ("a", Isolation::Prefix, "main"),
        ("b", Isolation::Database, two::OTHER),
        ("c", Isolation::Prefix, two::OTHER),
    ] {
        let mut polls = 1;
        loop {
            let (id, wanted) = accepted(services, &format!("{kind}{polls}"), isolation, server).await;
            killed_after(polls, services.lifecycle.provision(&id, &wanted)).await;
            let undo = async || services.lifecycle.undo(&id, "a test", &Actor::cli(), None).await;
            killed_after(polls % 20, undo()).await;
            undo().await.unwrap();
            if let Some(row) = tenants::get(&services.control, &id).await.unwrap() {
                assert_eq!(row.state, TenantState::Active, "{id}");
                break;
            }
            assert_gone(services, &id).await;
            services.lifecycle.provision(&id, &wanted).await.unwrap_err();
            polls = next(services, polls);
        }
    }
    assert!(two.left_behind().await.is_empty());
}

async fn a_removal_that_is_killed_anywhere_is_ended_by_the_next(two: Two) {
    let services = two.services();
    for isolation in BOTH {
        let (mut polls, mut through) = (1, false);
        while !through {
            let (id, _) = two.tenant_at(&format!("r{polls}"), isolation, None).await;
            services
                .lifecycle
                .begin_purge(&id, &Actor::cli())
                .await
                .unwrap()
                .unwrap();
            let purge = async || services.lifecycle.purge(&id, None, &Actor::cli()).await;
            through = killed_after(polls, purge()).await.is_some();
            purge().await.unwrap();
            assert_gone(services, &id).await;
            polls = next(services, polls);
        }
    }
    assert!(two.left_behind().await.is_empty());
}

async fn two_makers_make_one_tenant(two: Two) {
    let services = two.services();
    for (number, isolation) in BOTH.into_iter().cycle().take(10).enumerate() {
        let server = if number % 4 < 2 { "main" } else { two::OTHER };
        let (id, wanted) = accepted(services, &format!("t{number}"), isolation, server).await;
        let make = || services.lifecycle.provision(&id, &wanted);
        let (one, other) = tokio::join!(make(), make());
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
        make().await.unwrap();
        let db = fresh(services, &id).await.db().unwrap();
        assert_eq!(db.user_counts().await.unwrap().users, 1);
        record(&db, &id).await.unwrap();
    }
}

async fn made_and_undone_at_once_it_is_served_or_gone(two: Two) {
    let services = two.services();
    let (mut active, mut gone) = (0, 0);
    for number in 0..24_usize {
        let isolation = if number % 2 == 0 {
            Isolation::Prefix
        } else {
            Isolation::Database
        };
        let server = if number % 4 < 2 { "main" } else { two::OTHER };
        let (id, wanted) = accepted(services, &format!("t{number}"), isolation, server).await;
        let undone = async {
            // Later each time.
            for _ in 0..number * 4 {
                tokio::task::yield_now().await;
            }
            services.lifecycle.undo(&id, "a test", &Actor::cli(), None).await
        };
        let (made, undone) = tokio::join!(services.lifecycle.provision(&id, &wanted), undone);
        undone.unwrap();
        if let Some(row) = tenants::get(&services.control, &id).await.unwrap() {
            made.unwrap();
            assert_eq!(row.state, TenantState::Active);
            record(&fresh(services, &id).await.db().unwrap(), &id).await.unwrap();
            active += 1;
        } else {
            assert_gone(services, &id).await;
            gone += 1;
        }
    }
    assert_eq!(active + gone, 24);
    assert!(two.left_behind().await.is_empty());
}

async fn a_removal_whose_server_is_killed_is_ended_by_the_next(two: Two) {
    let services = two.services();
    let (id, _) = two.tenant_at("t", Isolation::Database, Some(two::OTHER)).await;
    let actor = Actor::cli();
    let job = services.lifecycle.begin_purge(&id, &actor).await.unwrap();
    let place = tenants::get(&services.control, &id).await.unwrap().unwrap().place;
    two.drop_half(&place).await;
    services.lifecycle.purge(&id, job.as_ref(), &actor).await.unwrap();
    assert_gone(services, &id).await;
    assert!(two.left_behind().await.is_empty());
}

async fn two_removals_are_one(two: Two) {
    let services = two.services();
    for (number, isolation) in BOTH.into_iter().cycle().take(4).enumerate() {
        let (id, _) = two.tenant_at(&format!("t{number}"), isolation, Some(two::OTHER)).await;
        services
            .lifecycle
            .begin_purge(&id, &Actor::cli())
            .await
            .unwrap()
            .unwrap();
        assert!(
            services
                .lifecycle
                .begin_purge(&id, &Actor::cli())
                .await
                .unwrap()
                .is_none()
        );
        let purge = async || services.lifecycle.purge(&id, None, &Actor::cli()).await;
        let (one, other) = tokio::join!(purge(), purge());
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
        purge().await.unwrap();
        assert_gone(services, &id).await;
    }
    let counts = tenants::servers(&services.control).await.unwrap();
    assert!(counts.contains(&(two::OTHER.to_owned(), 0)), "{counts:?}");
    assert!(two.left_behind().await.is_empty());
}

async fn a_tenant_that_is_made_again_is_the_new_one_everywhere(two: Two) {
    let services = two.services();
    let there = second_process(&two.world).await;
    for isolation in BOTH {
        let (id, _) = two.tenant_at("phoenix", isolation, None).await;
        let old = there.resolver.by_id(&id).await.unwrap().unwrap();
        assert!(there.resolver.by_host("phoenix.localhost").await.unwrap().is_some());
        remove(services, &id).await;
        let (_, key) = two.tenant_at("phoenix", isolation, None).await;
        let key: crate::tenancy::KeyText = key.parse().unwrap();
        let watch = crate::clock::Stopwatch::start();
        loop {
            let new = there.resolver.by_host("phoenix.localhost").await.unwrap();
            if let Some(db) = new.and_then(|new| new.db().ok())
                && db.key(key.id()).await.is_ok_and(|found| found.is_some())
            {
                break;
            }
            assert!(watch.elapsed() < crate::testing::PATIENCE);
            there.clock.sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(
            record(&old.db().unwrap(), &id).await.is_err(),
            "the old one's writers are refused"
        );
        remove(services, &id).await;
    }
    there.shutdown.stop();
}

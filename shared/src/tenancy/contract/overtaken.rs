//! What somebody else commits in the midst of a change: on PostgreSQL a statement that waited sees it, and one before saw
//! what was there.

use super::two;
use crate::{
    control::{
        audit::{Actor, Entry},
        batches,
        changes::{self, Change},
        metering,
        plans::{self, Plan},
        tenants,
    },
    db::Engine,
    ids::{BatchId, MediaId, TenantId},
    jobs::ProvisionTenant,
    objects::{ObjectKey, Store},
    quota::roll_up::roll_up,
    services::Services,
    tenancy::{NewAdmin, NewTenant, PeopleError, ProvisionError, TenantState},
    testing::{PATIENCE, World},
};
use sqlx::Row;
use std::{pin::pin, time::Duration};

crate::on_both_sides!(
    a_batch_does_not_end_over_rows_that_are_tried_again,
    what_was_sealed_anew_stays_sealed_anew,
    a_plan_that_goes_is_nobodys,
    usage_is_closed_once,
    a_tenant_is_installed_once,
    what_is_late_does_not_touch_a_new_tenant_of_the_same_id,
);

/// Begins `work` while the statements stand in a transaction that commits once `work` waits for it, or has ended.
async fn amid<T>(services: &Services, statements: &[&'static str], work: impl Future<Output = T>) -> T {
    let mut tx = services.control.begin_write().await.unwrap();
    for statement in statements {
        sqlx::query(*statement).execute(&mut *tx).await.unwrap();
    }
    let mut work = pin!(work);
    let done = tokio::select! {
        biased;
        done = &mut work => Some(done),
        () = somebody_waits(services) => None,
    };
    tx.commit().await.unwrap();
    match done {
        Some(done) => done,
        None => work.await,
    }
}

/// On SQLite whoever writes waits at its beginning.
async fn somebody_waits(services: &Services) {
    const WAITING: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    if services.control.engine() == Engine::Sqlite {
        return;
    }
    let watch = crate::clock::Stopwatch::start();
    loop {
        let row = sqlx::query(WAITING).fetch_one(services.control.read()).await.unwrap();
        if row.get::<i64, _>(0) > 0 {
            return;
        }
        assert!(watch.elapsed() < PATIENCE, "nobody waits");
        services.clock.sleep(Duration::from_millis(5)).await;
    }
}

async fn run(services: &Services, statement: &'static str) {
    sqlx::query(statement).execute(services.control.write()).await.unwrap();
}

async fn a_batch_does_not_end_over_rows_that_are_tried_again(world: World) {
    let services = &world.services;
    let id = BatchId::generate(&services.clock, &services.entropy);
    let batch = "INSERT INTO batches (id, state, recipient, actor, created_at, updated_at) VALUES ($1, 'running', NULL, 'a', 0, 0)";
    let row = "INSERT INTO batch_rows (batch, line, tenant, state, request) VALUES ($1, 1, 'one', 'failed', '{}')";
    for text in [batch, row] {
        let query = sqlx::query(text).bind(id.to_string());
        query.execute(services.control.write()).await.unwrap();
    }
    let end = batches::end(&services.control, &id, services.clock.now());
    let again = [
        "UPDATE batches SET state = 'running' WHERE state = 'running'",
        "UPDATE batch_rows SET state = 'waiting' WHERE state = 'failed'",
    ];
    assert!(!amid(services, &again, end).await.unwrap());
    run(services, "UPDATE batch_rows SET state = 'done'").await;
    assert!(
        batches::end(&services.control, &id, services.clock.now())
            .await
            .unwrap()
    );
}

fn entry(services: &Services, action: &'static str) -> Entry {
    Entry::new(&services.clock, &services.entropy, &Actor::cli(), action, None)
}

async fn made_plan(services: &Services, name: &str) {
    let (plan, now) = (Plan::new(name.to_owned(), services.clock.now()), services.clock.now());
    let said = entry(services, "plan.create");
    assert!(plans::create(&services.control, &plan, &said, now).await.unwrap());
}

async fn what_was_sealed_anew_stays_sealed_anew(world: World) {
    let services = &world.services;
    let (control, id) = (&services.control, world.tenant().await.id().clone());
    made_plan(services, "p").await;
    run(services, "UPDATE tenants SET env = 'old'").await;
    run(services, "UPDATE plans SET env = 'old'").await;
    let suspended = Change {
        state: Some(TenantState::Suspended),
        ..Change::default()
    };
    let said = entry(services, "tenant.suspend");
    let change = changes::change(control, &id, &suspended, &said, services.clock.now());
    let changed = amid(services, &["UPDATE tenants SET env = 'new'"], change).await;
    changed.unwrap().unwrap();
    let row = tenants::get(control, &id).await.unwrap().unwrap();
    assert_eq!((row.state, row.env.as_deref()), (TenantState::Suspended, Some("new")));
    let named = |plan: &mut Plan| {
        plan.name = "another".to_owned();
        true
    };
    let said = entry(services, "plan.edit");
    let edit = plans::edit(control, "p", named, &said, services.clock.now());
    let edited = amid(services, &["UPDATE plans SET env = 'new'"], edit).await;
    assert_eq!(edited.unwrap().unwrap().env.as_deref(), Some("new"));
    let now = plans::get(control, "p").await.unwrap().unwrap();
    assert_eq!((now.name.as_str(), now.env.as_deref()), ("another", Some("new")));
}

async fn a_plan_that_goes_is_nobodys(world: World) {
    let services = &world.services;
    let (control, id) = (&services.control, world.tenant().await.id().clone());
    for name in ["one", "two"] {
        made_plan(services, name).await;
    }
    let wanted = Change {
        plan: Some(Some("one".to_owned())),
        ..Change::default()
    };
    let said = entry(services, "tenant.edit");
    let change = changes::change(control, &id, &wanted, &said, services.clock.now());
    let changed = amid(services, &["DELETE FROM plans WHERE id = 'one'"], change).await;
    assert_eq!(
        changed.unwrap(),
        Err(changes::Refused::NoPlan { plan: "one".to_owned() })
    );
    let mut new = NewTenant::plain("late".parse().unwrap(), "late.localhost");
    new.plan = Some("two".to_owned());
    let actor = Actor::cli();
    let accept = services.lifecycle.accept(new, &actor);
    let accepted = amid(services, &["DELETE FROM plans WHERE id = 'two'"], accept).await;
    let no_plan = matches!(&accepted, Err(ProvisionError::Refused(changes::Refused::NoPlan { plan })) if plan == "two");
    assert!(no_plan, "{accepted:?}");
    assert!(tenants::get(control, &"late".parse().unwrap()).await.unwrap().is_none());
}

async fn usage_is_closed_once(world: World) {
    let services = &world.services;
    let control = &services.control;
    let tenant = world.tenant().await;
    two::fill(&tenant.db().unwrap(), tenant.id(), 3).await;
    roll_up(control, tenant.id(), &tenant.db().unwrap()).await.unwrap();
    let end = services.clock.now();
    let close = || metering::close(control, tenant.id(), "it", end);
    let first = [
        "UPDATE metered_tenants SET closed_serial = 'it', closed_at = 1, roll_ups = roll_ups + 1",
        "UPDATE usage_hours SET closed = 0, change = 0",
    ];
    amid(services, &first, close()).await.unwrap();
    close().await.unwrap();
    let closed =
        "SELECT CAST(COALESCE(SUM(closed), 0) AS BIGINT), CAST(COUNT(*) AS BIGINT) FROM usage_hours WHERE closed <> 0";
    let row = sqlx::query(closed).fetch_one(control.read()).await.unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (0, 0));
}

async fn a_tenant_is_installed_once(world: World) {
    let services = &world.services;
    for number in 0..8 {
        let id: TenantId = format!("empty{number}").parse().unwrap();
        let new = NewTenant::plain(id.clone(), &format!("{id}.localhost"));
        services.lifecycle.create(new, &Actor::cli()).await.unwrap();
        let admin = |name: &str| NewAdmin {
            name: name.to_owned(),
            email: None,
            password_hash: None,
        };
        let (actor, one, other) = (Actor::cli(), admin("one"), admin("other"));
        let (one, other) = tokio::join!(
            services.lifecycle.install(&id, &one, true, &actor),
            services.lifecycle.install(&id, &other, true, &actor)
        );
        let ((Ok(_), Err(late)) | (Err(late), Ok(_))) = (one, other) else {
            panic!("both or neither")
        };
        assert!(matches!(late, PeopleError::Installed { .. }), "{late:?}");
        let db = services.resolver.by_id(&id).await.unwrap().unwrap().db().unwrap();
        assert_eq!(db.user_counts().await.unwrap().users, 1);
    }
}

async fn what_is_late_does_not_touch_a_new_tenant_of_the_same_id(world: World) {
    let services = &world.services;
    let (control, lifecycle) = (&services.control, &services.lifecycle);
    let id: TenantId = "phoenix".parse().unwrap();
    let new = || NewTenant::plain(id.clone(), "phoenix.localhost");
    lifecycle.accept(new(), &Actor::cli()).await.unwrap();
    let old = tenants::get(control, &id).await.unwrap().unwrap();
    let job = ProvisionTenant {
        admin: None,
        enabled: true,
        at: Some((&old.place).into()),
    };
    lifecycle.undo(&id, "a test", &Actor::cli(), None).await.unwrap();
    lifecycle.accept(new(), &Actor::cli()).await.unwrap();
    // A worker that has the old one's job yet, and takes back what it could not make.
    lifecycle.provision(&id, &job).await.unwrap_err();
    lifecycle
        .undo_wanted((&id, &job), "a test", &Actor::cli(), None)
        .await
        .unwrap();
    let row = tenants::get(control, &id).await.unwrap().unwrap();
    assert_eq!(row.state, TenantState::Provisioning);
    assert_ne!((&row.serial, &row.place), (&old.serial, &old.place));
    // Both jobs come to one transaction.
    let admin = NewAdmin {
        name: "admin".to_owned(),
        email: None,
        password_hash: None,
    };
    let (admin, _) = lifecycle.first_admin(admin, true);
    let its_own = ProvisionTenant {
        admin: Some(admin),
        at: Some((&row.place).into()),
        ..job.clone()
    };
    let (_, made) = tokio::join!(lifecycle.provision(&id, &job), lifecycle.provision(&id, &its_own));
    made.unwrap();
    let tenant = services.resolver.by_id(&id).await.unwrap().unwrap();
    assert_eq!(tenant.context().place, row.place);
    assert_eq!(tenant.db().unwrap().user_counts().await.unwrap().admins, 1);
    let picture = ObjectKey::behind(&id, &MediaId::generate(&services.clock, &services.entropy));
    let put = services
        .objects
        .put(&picture, bytes::Bytes::from_static(b"its own"), "image/jpeg");
    put.await.unwrap();
    // A removal of the old one that goes on, and comes to its end.
    assert_eq!(lifecycle.remove_objects(&old).await.unwrap(), 0);
    assert!(services.objects.stat(&picture).await.unwrap().is_some());
    let begun = lifecycle.begin_purge(&id, &Actor::cli()).await.unwrap();
    assert!(begun.is_some());
    let mut tx = control.begin_write().await.unwrap();
    let said = entry(services, "tenant.removed");
    let gone = changes::forget(&mut tx, (&id, &old.serial), None, &said);
    assert!(!gone.await.unwrap());
    tx.commit().await.unwrap();
    assert!(tenants::get(control, &id).await.unwrap().is_some());
    lifecycle.purge(&id, None, &Actor::cli()).await.unwrap();
    assert!(tenants::get(control, &id).await.unwrap().is_none());
}

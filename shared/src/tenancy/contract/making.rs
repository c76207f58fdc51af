//! Several tenants that are made at a time: each is as if it had been made alone.

use crate::{
    control::{audit::Actor, tenants},
    ids::TenantId,
    jobs::ProvisionTenant,
    services::Services,
    tenancy::{FirstAdmin, Isolation, NewAdmin, NewTenant, TenantState, db::TenantTx, sql::TenantSql},
    testing::World,
};
use futures_util::future::join_all;
use sqlx::{Executor, raw_sql};

crate::on_both_sides!(
    tenants_that_are_made_together_are_all_there,
    one_that_cannot_be_made_does_not_hold_up_the_others,
);

/// What no text of SQL should take for its own.
const AWKWARD: &str = r#"O'Brien\'; DROP TABLE "tenants"; -- é $1 {users}"#;

fn admin(services: &Services) -> FirstAdmin {
    let new = NewAdmin {
        name: AWKWARD.into(),
        email: Some("o'b@example.org".into()),
        password_hash: Some("$argon2id$v=19$'x'".into()),
    };
    services.lifecycle.first_admin(new, true).0
}

/// Accepted, with its place in its job as workers find it.
async fn accepted(services: &Services, id: &str, enabled: bool) -> (TenantId, ProvisionTenant) {
    let id: TenantId = id.parse().unwrap();
    let mut new = NewTenant::plain(id.clone(), &format!("{id}.localhost"));
    new.isolation = Some(Isolation::Prefix);
    new.enabled = enabled;
    new.admin = Some(admin(services));
    let wanted = new.admin.clone();
    services.lifecycle.accept(new, &Actor::cli()).await.unwrap();
    let row = tenants::get(&services.control, &id).await.unwrap().unwrap();
    let wanted = ProvisionTenant {
        admin: wanted,
        enabled,
        at: Some((&row.place).into()),
    };
    (id, wanted)
}

async fn tenants_that_are_made_together_are_all_there(world: World) {
    let services = &world.services;
    let mut orders = Vec::new();
    for number in 0..12 {
        orders.push(accepted(services, &format!("t{number}"), number % 3 != 0).await);
    }
    // The first is asked for twice at once: by an attempt that was taken for dead, and by the next one.
    orders.push(orders[0].clone());
    let made = orders
        .iter()
        .map(|(id, wanted)| services.lifecycle.provision(id, wanted));
    for made in join_all(made).await {
        made.unwrap();
    }
    for (id, wanted) in &orders {
        let tenant = services
            .resolver
            .by_host(&format!("{id}.localhost"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(tenant.id(), id);
        assert_eq!(tenant.context().state, wanted.made());
        let db = tenant.tables().unwrap();
        assert_eq!(db.user_counts().await.unwrap().admins, 1);
        let users = db.users_page(None, 10).await.unwrap();
        assert_eq!(users[0].name, AWKWARD);
        assert_eq!(users[0].email.as_deref(), Some("o'b@example.org"));
        let key = wanted.admin.as_ref().unwrap().key.as_ref().unwrap();
        let found = db.key(&key.id).await.unwrap().unwrap();
        assert_eq!(hex::encode(found.hash), key.sha256);
    }
}

async fn one_that_cannot_be_made_does_not_hold_up_the_others(world: World) {
    const SQUAT: TenantSql = TenantSql::new("CREATE TABLE {usage_ledger} (n BIGINT)");
    let services = &world.services;
    let mut orders = Vec::new();
    for number in 0..6 {
        orders.push(accepted(services, &format!("t{number}"), true).await);
    }
    // A table of the third's stands there already, and nobody knows whose it is.
    let bad = orders[2].0.clone();
    let place = tenants::get(&services.control, &bad).await.unwrap().unwrap().place;
    let mut tx = TenantTx::within(services.databases.begin(&place).await.unwrap(), place.clone());
    #[expect(clippy::disallowed_methods, reason = "the table that is in the way")]
    let text = sqlx::AssertSqlSafe(SQUAT.render(place.table_prefix()));
    (&mut *tx.tx).execute(raw_sql(text)).await.unwrap();
    tx.commit().await.unwrap();
    let made = orders
        .iter()
        .map(|(id, wanted)| services.lifecycle.provision(id, wanted));
    for ((id, _), made) in orders.iter().zip(join_all(made).await) {
        let row = tenants::get(&services.control, id).await.unwrap().unwrap();
        if *id == bad {
            made.unwrap_err();
            assert_eq!(row.state, TenantState::Provisioning, "it waits for its undoing");
        } else {
            made.unwrap();
            assert_eq!(row.state, TenantState::Active, "{id}");
        }
    }
}

//! What becomes of pictures, as every process sees it, and what is refused where it is set.

use super::second_process;
use crate::{
    clock::Stopwatch,
    control::{
        audit::Actor,
        changes::{Change, Refused},
        plans::{self, Plan},
        tenants,
    },
    ids::TenantId,
    services::Services,
    tenancy::{
        LifecycleError, Limit, LimitOverrides, NewTenant, Origin, PictureSettings, Pictures, ProvisionError,
        VariantPreset,
    },
    testing::{PATIENCE, World, make_tenant},
};
use std::time::Duration;

crate::on_both_sides!(
    pictures_are_the_tenants_then_its_plans_at_every_process,
    more_variants_than_the_limit_are_refused_where_they_are_set,
);

const OWN: &str = r#"{"variants":[{"name":"card","width":480,"height":320,"fit":"cover"},{"name":"tiny","width":16}]}"#;
const PLANS: &str = r#"{"metadata":"keep","variants":[{"name":"wide","width":2000}]}"#;

fn settings(text: &str) -> PictureSettings {
    PictureSettings::from_json(text).unwrap()
}

/// Metadata, and the names of what is made.
fn told(pictures: &Pictures) -> (String, String) {
    let names: Vec<&str> = pictures.variants.iter().map(VariantPreset::name).collect();
    (pictures.metadata.to_string(), names.join(" "))
}

/// Waits until both processes do so with a tenant's pictures, which the bound promises soon.
async fn become_so(processes: [&Services; 2], id: &TenantId, metadata: &str, names: &str) {
    for services in processes {
        let watch = Stopwatch::start();
        loop {
            let tenant = services.resolver.by_id(id).await.unwrap().unwrap();
            let found = told(&tenant.context().pictures);
            if found == (metadata.to_owned(), names.to_owned()) {
                break;
            }
            assert!(watch.elapsed() < PATIENCE, "{found:?} is not {metadata}, {names}");
            services.clock.sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn set(services: &Services, id: &TenantId, text: &str) -> Result<i64, LifecycleError> {
    let change = Change {
        pictures: Some(settings(text)),
        ..Change::default()
    };
    services.lifecycle.change(id, &change, &Actor::cli()).await
}

async fn pictures_are_the_tenants_then_its_plans_at_every_process(world: World) {
    let (here, there) = (&world.services, second_process(&world).await);
    let mut plan = Plan::new("p".into(), here.clock.now());
    plan.pictures = settings(PLANS);
    assert!(here.lifecycle.create_plan(&plan, &Actor::cli()).await.unwrap());
    let mut new = NewTenant::plain("t".parse().unwrap(), "t.example");
    new.plan = Some("p".into());
    new.pictures = settings(OWN);
    let id = new.id.clone();
    make_tenant(here, new).await;
    let both = [here, &there];
    // From the database here, from the cache there, and by either way to ask.
    become_so(both, &id, "keep", "card tiny").await;
    let by_host = there.resolver.by_host("t.example").await.unwrap().unwrap();
    assert_eq!(told(&by_host.context().pictures).1, "card tiny");
    let (effective, most) = here.lifecycle.explain_pictures(&id).await.unwrap();
    assert_eq!(
        (effective.metadata, effective.variants, most),
        (Origin::Plan, Origin::Tenant, 0)
    );
    let row = tenants::get(&here.control, &id).await.unwrap().unwrap();
    assert_eq!(row.pictures.to_json(), OWN);
    assert_eq!(
        plans::get(&here.control, "p")
            .await
            .unwrap()
            .unwrap()
            .pictures
            .to_json(),
        PLANS
    );

    set(here, &id, "{}").await.unwrap();
    become_so(both, &id, "keep", "wide").await;
    let edit = |plan: &mut Plan| {
        plan.pictures = settings(r#"{"variants":[]}"#);
        true
    };
    here.lifecycle
        .edit_plan("p", edit, &Actor::cli())
        .await
        .unwrap()
        .unwrap();
    become_so(both, &id, "strip", "").await;
    // A change of something else leaves them.
    let other = Change {
        limits: Some(LimitOverrides::default().set(Limit::Media, 5)),
        ..Change::default()
    };
    set(here, &id, OWN).await.unwrap();
    here.lifecycle.change(&id, &other, &Actor::cli()).await.unwrap();
    become_so(both, &id, "strip", "card tiny").await;
    set(here, &id, "{}").await.unwrap();
    here.lifecycle.delete_plan("p", &Actor::cli()).await.unwrap();
    become_so(both, &id, "strip", "thumb medium large").await;
    let demo = world.tenant().await;
    assert_eq!(demo.context().pictures, Pictures::default());
    there.shutdown.stop();
}

fn is_refused(refused: &Refused, whose: &str) {
    assert!(
        matches!(
            refused,
            Refused::TooManyVariants {
                given: 2,
                allowed: 1,
                ..
            }
        ) && refused.to_string().contains(whose),
        "{refused}"
    );
}

async fn more_variants_than_the_limit_are_refused_where_they_are_set(world: World) {
    let (lifecycle, actor) = (&world.services.lifecycle, Actor::cli());
    let one = LimitOverrides::default().set(Limit::Variants, 1);
    let mut plan = Plan::new("p".into(), world.services.clock.now());
    (plan.limits, plan.pictures) = (one.clone(), settings(OWN));
    match lifecycle.create_plan(&plan, &actor).await.unwrap_err() {
        LifecycleError::Refused(refused) => is_refused(&refused, "plan p"),
        other => panic!("{other}"),
    }
    plan.pictures = settings(PLANS);
    assert!(lifecycle.create_plan(&plan, &actor).await.unwrap());
    let edit = |plan: &mut Plan| {
        plan.pictures = settings(OWN);
        true
    };
    match lifecycle.edit_plan("p", edit, &actor).await.unwrap_err() {
        LifecycleError::Refused(refused) => is_refused(&refused, "plan p"),
        other => panic!("{other}"),
    }
    let mut new = NewTenant::plain("t".parse().unwrap(), "t.example");
    (new.plan, new.pictures) = (Some("p".into()), settings(OWN));
    match lifecycle.accept(new.clone(), &actor).await.unwrap_err() {
        ProvisionError::Refused(refused) => is_refused(&refused, "tenant t"),
        other => panic!("{other}"),
    }
    new.pictures = PictureSettings::default();
    let id = new.id.clone();
    make_tenant(&world.services, new).await;
    match set(&world.services, &id, OWN).await.unwrap_err() {
        LifecycleError::Refused(refused) => is_refused(&refused, "tenant t"),
        other => panic!("{other}"),
    }
    // What is in force after the change decides.
    let with_room = Change {
        limits: Some(LimitOverrides::default().set(Limit::Variants, 2)),
        pictures: Some(settings(OWN)),
        ..Change::default()
    };
    lifecycle.change(&id, &with_room, &actor).await.unwrap();
    // Less room refuses nothing that is there: the first ones are made.
    let less = Change {
        limits: Some(one),
        ..Change::default()
    };
    lifecycle.change(&id, &less, &actor).await.unwrap();
    let (effective, most) = lifecycle.explain_pictures(&id).await.unwrap();
    assert_eq!((effective.pictures.variants.count(), most), (2, 1));
}

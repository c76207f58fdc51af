//! What becomes of jobs while their tenant is moved, on both sides.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

use mediamill_media::sample;
use mediamill_shared::{
    control::audit::Actor,
    jobs::{JobState, Pool},
    tenancy::Isolation,
    testing::World,
};
use mediamill_workers::{Settings, run};

mediamill_shared::on_both_sides!(
    a_picture_that_comes_while_its_tenant_moves_waits_and_is_made,
    a_move_whose_server_is_not_configured_is_never_begun,
);

fn work(world: &World, pools: &[Pool]) {
    let services = &world.services;
    let settings = Settings::from_config(&services.config).only(pools);
    services.shutdown.spawn(run(services.clone(), settings));
}

async fn a_picture_that_comes_while_its_tenant_moves_waits_and_is_made(world: World) {
    let (moving, to) = world.begin_move().await;
    work(&world, &[Pool::Media]);
    let (_, picture) = world.upload(sample::small(1)).await;
    let mut attempts = 0;
    while attempts == 0 {
        let row = world.until(&picture, |state| state == JobState::Queued).await;
        attempts = row.attempts;
        assert!(row.state != JobState::Failed, "{row:?}");
    }
    work(&world, &[Pool::Provision]);
    assert_eq!(world.finished(&moving).await.state, JobState::Done);
    let row = world.finished(&picture).await;
    assert_eq!(row.state, JobState::Done, "{row:?}");
    assert_eq!(world.tenant().await.context().place.isolation, to);
    world.assert_at_rest().await;
    world.services.shutdown.stop();
}

async fn a_move_whose_server_is_not_configured_is_never_begun(world: World) {
    let services = &world.services;
    let id = world.tenant().await.id().clone();
    let nowhere = Some("nowhere".parse().unwrap());
    let (to, actor) = (Isolation::Database, Actor::cli());
    let begun = services.lifecycle.begin_move(&id, to, nowhere, &actor);
    begun.await.unwrap_err();
    assert!(world.tenant().await.db().unwrap().begin().await.is_ok());
}

//! Who waits for whom when a site uploads more than workers can take.

use super::{Site, problem};
use mediamill_media::sample;
use mediamill_shared::{
    control::jobs,
    ids::JobId,
    jobs::{JobState, Pool},
    queue::{Broker, Consume},
    services::Services,
    testing::World,
};
use mediamill_workers::Settings;
use reqwest::{Method, StatusCode};
use serde_json::Value;

mediamill_shared::on_both_sides!(
    a_dump_of_one_site_keeps_no_other_waiting,
    a_request_that_comes_again_takes_no_place,
    nobody_waits_for_the_bulk_lane,
    one_slot_is_enough_for_a_dump,
);

const DUMP: u32 = 40;

async fn job(site: &Site, path: &str, number: u32) -> JobId {
    let answer = site.upload(path, sample::small(number)).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let body: Value = answer.json().await.unwrap();
    body["media"][0]["job"]["id"].as_str().unwrap().parse().unwrap()
}

async fn held(site: &Site) -> i64 {
    let held = jobs::held(&site.world.services.control).await.unwrap();
    held.iter().map(|(_, count)| count).sum()
}

async fn a_dump_of_one_site_keeps_no_other_waiting(world: World) {
    let mut site = Site::without_worker(world).await;
    let mut dump = Vec::new();
    for number in 0..DUMP {
        dump.push(job(&site, "/v1/media", number).await);
    }
    let share = i64::from(site.world.services.config.dispatch_share);
    assert_eq!(held(&site).await, i64::from(DUMP) - share);
    let usage: Value = site.get("/v1/usage").await.json().await.unwrap();
    let in_flight = &usage["jobs_in_flight"];
    assert_eq!(
        (&in_flight["used"], &in_flight["reserved"]),
        (&share.into(), &(i64::from(DUMP) - share).into())
    );
    let (quiet, key) = site.world.another_tenant("quiet").await;
    site.be(&quiet, key);
    let waits = job(&site, "/v1/media", 100).await;
    assert_eq!(held(&site).await, i64::from(DUMP) - share);
    site.work();
    let ready = site.world.finished(&waits).await;
    assert_eq!(ready.state, JobState::Done);
    let mut before = 0;
    for job in &dump {
        let row = site.world.finished(job).await;
        assert_eq!(row.state, JobState::Done, "{:?}", row.cause);
        before += i64::from(row.finished_at < ready.finished_at);
    }
    // What was in the queue before it, and what the worker does while it has it in hand.
    assert!(before < i64::from(DUMP) / 2, "{before} of the dump came first");
    assert_eq!(held(&site).await, 0);
    site.close().await;
}

async fn a_request_that_comes_again_takes_no_place(world: World) {
    let site = Site::without_worker(world).await;
    for _ in 0..9 {
        let request = site
            .request(Method::POST, "/v1/media")
            .header("idempotency-key", "once");
        let answer = request.body(sample::small(1)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    let share = site.world.services.config.dispatch_share;
    for number in 1..share {
        job(&site, "/v1/media", number + 1).await;
        assert_eq!(held(&site).await, 0);
    }
    let last = job(&site, "/v1/media", 50).await;
    assert_eq!(held(&site).await, 1);
    site.work();
    assert_eq!(site.world.finished(&last).await.state, JobState::Done);
    site.close().await;
}

async fn nobody_waits_for_the_bulk_lane(world: World) {
    let site = Site::without_worker(world).await;
    let mut bulk = Vec::new();
    for number in 0..6 {
        bulk.push(job(&site, "/v1/media?lane=bulk", number).await);
    }
    // A quarter of the share, so that there is room for what somebody waits for.
    assert_eq!(held(&site).await, 5);
    let waits = job(&site, "/v1/media?lane=interactive", 50).await;
    assert_eq!(held(&site).await, 5);
    problem(
        site.upload("/v1/media?lane=fast", sample::small(1)).await,
        400,
        "bad-request",
    )
    .await;
    site.work();
    for job in bulk.iter().chain([&waits]) {
        assert_eq!(site.world.finished(job).await.state, JobState::Done);
    }
    site.close().await;
}

/// Another worker has all of its tenant's messages in hand: what waits beyond them is for the only slot here. There is no scheduler
/// that would publish it.
async fn one_slot_is_enough_for_a_dump(world: World) {
    let site = Site::without_worker(world).await;
    let mut dump = Vec::new();
    for number in 0..12 {
        dump.push(job(&site, "/v1/media", number).await);
    }
    let Services { config, queue, .. } = &site.world.services;
    let share = usize::try_from(config.dispatch_share).unwrap();
    let mut consumer = queue.consume(Pool::Media, config.dispatch_share.try_into().unwrap());
    let mut in_hand = Vec::new();
    for _ in 0..share {
        in_hand.push(consumer.next().await);
    }
    let mut settings = Settings::from_config(config);
    settings.pools.retain(|pool| pool.pool == Pool::Media);
    for pool in &mut settings.pools {
        pool.slots = 1;
    }
    site.work_with(settings);
    let (published, held_back) = dump.split_at(share);
    for job in held_back {
        let row = site.world.finished(job).await;
        assert_eq!((row.state, row.attempts), (JobState::Done, 1), "{:?}", row.cause);
    }
    assert_eq!(held(&site).await, 0);
    drop(in_hand);
    drop(consumer);
    for job in published {
        assert_eq!(site.world.finished(job).await.state, JobState::Done);
    }
    site.close().await;
}

//! Dead jobs are tried again: in one place, once, in their time and in turns.

use super::*;
use crate::{
    clock::Stopwatch,
    control::audit,
    dispatch::Occasion,
    jobs::{DeleteMedia, Job, Noop},
    queue::{Broker, Consume},
    testing::PATIENCE,
};
use std::{collections::BTreeSet, time::Duration};

crate::on_both_sides!(
    a_retried_job_is_in_one_place_and_runs_once,
    of_those_who_retry_and_purge_a_job_one_does,
    a_rate_spreads_jobs_and_nothing_runs_before_its_time,
    many_are_retried_part_by_part_and_in_turns,
    a_job_of_nobody_goes_to_the_queue_at_once,
    who_did_what_is_written_down,
);

async fn released(world: &World, pool: Pool) -> Vec<JobId> {
    let occasion = Occasion {
        all: true,
        ..Occasion::default()
    };
    world.services.dispatch.release(pool, occasion).await.unwrap().jobs()
}

/// Nothing is in the queue, or beside it.
async fn assert_nowhere(world: &World, pool: Pool) {
    let depth = world.services.queue.depth(pool).await.unwrap();
    assert_eq!((depth.ready, depth.buried), (0, 0));
}

async fn a_retried_job_is_in_one_place_and_runs_once(world: World) {
    let services = &world.services;
    let mut consumer = services.queue.consume(MEDIA, 8);
    let (_, job) = world.upload("a picture").await;
    let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap();
    let envelope = delivery.envelope().unwrap();
    // It dies while another message of it is on its way, as after a hiccup of the broker.
    settled(&world, claimed(&world, &job).await, dead()).await;
    delivery.done().await.unwrap();
    assert_nowhere(&world, MEDIA).await;

    assert!(retry(&world, &job).await);
    assert!(!retry(&world, &job).await, "it is not dead any more");
    let purge = services.dead.purge(&job, &Actor::cli()).await.unwrap();
    assert!(matches!(purge, Purge::NotDead));
    let row = jobs::get(&services.control, &job).await.unwrap().unwrap();
    assert_eq!((row.state, row.attempts, row.finished_at), (JobState::Queued, 1, None));
    // It waits for its tenant's turn: the queue has nothing of it, and what comes late does not run it.
    assert_nowhere(&world, MEDIA).await;
    services.queue.publish(MEDIA, &[envelope]).await.unwrap();
    if !services.queue.rows_are_messages() {
        let late = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap();
        assert_eq!(late.envelope().unwrap().job(), &job);
        late.done().await.unwrap();
    }
    assert!(matches!(claimed(&world, &job).await, Claim::Over));

    assert_eq!(released(&world, MEDIA).await, std::slice::from_ref(&job));
    assert!(released(&world, MEDIA).await.is_empty());
    let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap();
    assert_eq!(delivery.envelope().unwrap().job(), &job);
    settled(&world, claimed(&world, &job).await, Outcome::Done).await;
    delivery.done().await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(quiet.is_err(), "it was delivered again: {quiet:?}");
    assert_nowhere(&world, MEDIA).await;
    assert!(!retry(&world, &job).await, "it is done");
}

async fn of_those_who_retry_and_purge_a_job_one_does(world: World) {
    let (services, now) = (&world.services, world.services.clock.now());
    let demo = world.tenant().await.id().clone();
    for _ in 0..10 {
        let id = world.dead(Some(&demo), &look(&media_id(&world)), "test", now).await;
        let filter = all();
        let (actor, mut pace) = (Actor::cli(), at_once(&world));
        let (one, other, part, purge) = tokio::join!(
            retry(&world, &id),
            retry(&world, &id),
            services.dead.retry_part(&filter, None, 10, &mut pace, &actor),
            services.dead.purge(&id, &actor),
        );
        let purge = matches!(purge.unwrap(), Purge::Gone);
        let winners = u64::from(one) + u64::from(other) + part.unwrap().jobs + u64::from(purge);
        assert_eq!(winners, 1);
        let row = jobs::get(&services.control, &id).await.unwrap();
        assert_eq!(row.map(|row| row.state), (!purge).then_some(JobState::Queued));
    }
}

async fn a_rate_spreads_jobs_and_nothing_runs_before_its_time(world: World) {
    let services = &world.services;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(world.dead_upload("a picture").await.1);
    }
    let begin = services.clock.now();
    let mut pace = Pace::new(Some("0.01".parse().unwrap()), begin);
    let part = services
        .dead
        .retry_part(&all(), None, 3, &mut pace, &Actor::cli())
        .await
        .unwrap();
    assert_eq!((part.jobs, part.last.as_ref()), (3, Some(&ids[2])));
    // The next part goes on where this one ended.
    let mut rest = Pace::new(pace.rate(), pace.due());
    let part = services
        .dead
        .retry_part(&all(), part.last.as_ref(), 3, &mut rest, &Actor::cli())
        .await
        .unwrap();
    assert_eq!((part.jobs, part.last), (1, None));
    let step = Duration::from_secs(100);
    for (place, id) in (0..).zip(&ids) {
        let row = jobs::get(&services.control, id).await.unwrap().unwrap();
        let due = begin.after(step * place);
        // The first is due at once: a moment later than the command began.
        let fits = if place == 0 {
            row.due_at >= due
        } else {
            row.due_at == due
        };
        assert!(fits && row.state == JobState::Queued, "{row:?}");
    }
    // The first has its turn; the others have not, whoever asks.
    assert_eq!(released(&world, MEDIA).await, ids[..1]);
    assert!(released(&world, MEDIA).await.is_empty());
    assert!(matches!(claimed(&world, &ids[1]).await, Claim::Over));
    assert_eq!(services.dispatch.ripen(10).await.unwrap(), 0);
    let published = services.queue.rows_are_messages();
    let far = begin.after(step * 2);
    let ripe = jobs::ripen(&services.control, far, 10, published).await.unwrap();
    let ripe: Vec<&JobId> = ripe.iter().map(|job| job.envelope.job()).collect();
    assert_eq!(ripe, [&ids[1], &ids[2]]);
    assert_eq!(released(&world, MEDIA).await, ids[1..3]);
    // They are in the queue, and nobody waits to be.
    let watch = Stopwatch::start();
    while !jobs::unpublished(&services.control, far, far, 10)
        .await
        .unwrap()
        .is_empty()
    {
        assert!(watch.elapsed() < PATIENCE, "released jobs are not published");
        services.clock.sleep(Duration::from_millis(10)).await;
    }
    // A tenant's open jobs are those in the queue and those that wait.
    let tenant = world.tenant().await;
    assert_eq!(jobs::in_flight(&services.control, tenant.id()).await.unwrap(), (3, 1));
}

async fn many_are_retried_part_by_part_and_in_turns(world: World) {
    let (services, now) = (&world.services, world.services.clock.now());
    let (busy, _) = world.another_tenant("busy").await;
    let (quiet, _) = world.another_tenant("quiet").await;
    let gone = DeleteMedia {
        media: media_id(&world),
        holder: None,
    };
    let mut busy_ones = BTreeSet::new();
    for _ in 0..7 {
        busy_ones.insert(world.dead(Some(&busy), &gone, "test", now).await);
    }
    let late = world.dead(Some(&quiet), &gone, "test", now).await;
    let (mut pace, mut after, mut parts) = (at_once(&world), None, Vec::new());
    loop {
        let part = services
            .dead
            .retry_part(&all(), after.as_ref(), 3, &mut pace, &Actor::cli())
            .await
            .unwrap();
        parts.push(part.jobs);
        after = part.last;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(parts, [3, 3, 2]);
    assert!(jobs::dead(&services.control, &all(), None, 9).await.unwrap().is_empty());
    // Of one tenant no more than its share goes to the queue, and the other's does not wait for it.
    let first = released(&world, Pool::Maintenance).await;
    let of_busy = first.iter().filter(|id| busy_ones.contains(*id)).count();
    assert_eq!((of_busy, first.contains(&late)), (4, true));
}

async fn a_job_of_nobody_goes_to_the_queue_at_once(world: World) {
    let services = &world.services;
    let id = world.dead(None, &Noop {}, "test", services.clock.now()).await;
    assert!(retry(&world, &id).await);
    let mut consumer = services.queue.consume(Noop::POOL, 1);
    let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap();
    assert_eq!(delivery.envelope().unwrap().job(), &id);
    // The scheduler has nothing to publish a second time.
    let later = services.clock.now().after(Duration::from_secs(60));
    assert!(
        jobs::unpublished(&services.control, later, later, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn who_did_what_is_written_down(world: World) {
    let (services, now) = (&world.services, world.services.clock.now());
    let demo = world.tenant().await.id().clone();
    let mut ids = Vec::new();
    for whose in [Some(&demo), Some(&demo), None] {
        ids.push(world.dead(whose, &look(&media_id(&world)), "test", now).await);
    }
    let actor = Actor::operator_key(7);
    let mut pace = Pace::new(Some("5".parse().unwrap()), now);
    let part = services
        .dead
        .retry_part(&all(), None, 10, &mut pace, &actor)
        .await
        .unwrap();
    assert_eq!(part.jobs, 3);
    let id = world.dead(Some(&demo), &Noop {}, "test", now).await;
    services.dead.purge(&id, &actor).await.unwrap();
    // Nothing was done to these.
    assert!(!retry(&world, &ids[0]).await);
    services.dead.purge(&id, &actor).await.unwrap();
    let lines = audit::page(&services.control, Some(&demo), None, 100).await.unwrap();
    let mut lines = lines.into_iter().filter(|line| line.action.starts_with("dead."));
    let (purge, retried) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(lines.next().is_none());
    assert_eq!(
        (retried.actor.as_str(), retried.action.as_str()),
        ("key:7", "dead.retry")
    );
    assert_eq!(retried.detail, serde_json::json!({ "jobs": ids[..2], "rate": 5.0 }));
    assert_eq!((purge.actor.as_str(), purge.action.as_str()), ("key:7", "dead.purge"));
    let told = serde_json::json!({ "job": id, "kind": "system.noop", "cause": "test" });
    assert_eq!(purge.detail, told);
    let lines = audit::page(&services.control, None, None, 100).await.unwrap();
    let nobodys = lines
        .iter()
        .find(|line| line.action == "dead.retry" && line.tenant.is_none());
    assert_eq!(nobodys.unwrap().detail["jobs"], serde_json::json!([ids[2]]));
}

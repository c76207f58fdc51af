//! What somebody has changed by hand is found by the scheduler's next runs, mended or told of, and left alone by those after.

use super::Site;
use mediamill_scheduler::{Note, Scope, run_in, run_once};
use mediamill_shared::{
    cache::CachePort,
    clock::Clock,
    control::{
        audit,
        object_findings::{self, ObjectProblem},
    },
    ids::{JobId, MediaId},
    jobs::JobState,
    objects::{ObjectKey, Store},
    services::Services,
    tenancy::store::usage::Usage,
    testing::World,
    units::ByteCount,
};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::mpsc;

mediamill_shared::on_both_sides!(
    usage_that_was_changed_follows_the_pictures,
    a_job_that_was_reset_changes_nothing,
    objects_that_were_changed_are_told_of_or_removed,
);

async fn changed(services: &Services, timer: &str) -> i64 {
    run_once(services, timer).await.unwrap().changed
}

/// What a dry run tells, and that it changes nothing.
async fn told(services: &Services, timer: &str, site: &Site) -> Vec<String> {
    let (tell, mut notes) = mpsc::channel(100);
    let tenant = site.world.tenant().await.id().clone();
    let scope = Scope::all().of(Some(tenant.clone())).dry(true).telling(tell);
    let report = run_in(services, timer, &scope).await.unwrap();
    assert_eq!((report.changed, report.unfinished), (0, false));
    drop(scope);
    let mut all = Vec::new();
    while let Some(Note { tenant: of, what }) = notes.recv().await {
        assert_eq!(of.as_ref(), Some(&tenant));
        all.push(what);
    }
    all
}

fn id(picture: &Value) -> MediaId {
    picture["id"].as_str().unwrap().parse().unwrap()
}

async fn job_of(site: &Site, picture: &Value) -> JobId {
    let db = site.world.tenant().await.db().unwrap();
    db.media(&id(picture)).await.unwrap().unwrap().job
}

async fn usage_that_was_changed_follows_the_pictures(world: World) {
    let site = Site::of(world).await;
    site.set("{}", r#"{"media": 100, "stored_bytes": "1 GB"}"#).await;
    let picture = site.ready(1).await;
    site.ready(2).await;
    let services = &site.world.services;
    let db = site.world.tenant().await.db().unwrap();
    assert_eq!(changed(services, "reconcile-usage").await, 0);
    let before = db.balance().await.unwrap();
    assert!(before.is_even() && before.rows.media == 2, "{before:?}");

    // A line of the ledger is lost, the sum and a counter are changed.
    let mut tx = db.begin().await.unwrap();
    tx.lose_line(&job_of(&site, &picture).await).await.unwrap();
    let by = Usage {
        media: 3,
        bytes: ByteCount::new(77),
        ..Usage::default()
    };
    tx.miscount(by).await.unwrap();
    tx.commit().await.unwrap();
    services.cache.add_within("quota:demo:media", 5, None).await.unwrap();
    let uneven = db.balance().await.unwrap();
    assert_eq!((uneven.usage.media, uneven.ledger.media, uneven.rows.media), (5, 1, 2));

    let notes = told(services, "reconcile-usage", &site).await;
    assert!(
        notes[0].contains("5 pictures") && notes[0].contains("there are 2"),
        "{notes:?}"
    );
    assert_eq!(db.balance().await.unwrap(), uneven, "a dry run changes nothing");

    assert_eq!(changed(services, "reconcile-usage").await, 1);
    assert_eq!(db.balance().await.unwrap().usage, before.rows);
    assert!(db.balance().await.unwrap().is_even());
    let line = audit::page(&services.control, Some(&"demo".parse().unwrap()), None, 1)
        .await
        .unwrap();
    assert_eq!(
        (line[0].action.as_str(), &line[0].detail["usage"]["media"]),
        ("usage.mended", &5.into())
    );
    assert_eq!(line[0].detail["ledger"]["media"], 1);

    // A counter alone.
    site.ready(3).await;
    services.cache.add_within("quota:demo:media", 5, None).await.unwrap();
    let notes = told(services, "reconcile-usage", &site).await;
    assert_eq!(notes, ["media is counted as 8, 3 are used"]);
    assert_eq!(changed(services, "reconcile-usage").await, 1);
    for timer in ["reconcile-usage", "roll-up-usage", "reconcile-usage"] {
        let again = changed(services, timer).await;
        assert!(again == 0 || timer == "roll-up-usage", "{timer}: {again}");
    }
    site.close().await;
}

async fn a_job_that_was_reset_changes_nothing(world: World) {
    let site = Site::of(world).await;
    let picture = site.ready(1).await;
    let job = job_of(&site, &picture).await;
    let world = &site.world;
    world.finished(&job).await;
    let db = world.tenant().await.db().unwrap();
    let before = (db.balance().await.unwrap(), db.variants(&id(&picture)).await.unwrap());
    let reset = "UPDATE jobs SET state = 'queued', attempts = 0, published_at = NULL, finished_at = NULL, lease_until = 0, due_at = 0, \
        created_at = 0 WHERE id = $1";
    world.execute(reset, &[job.as_str()]).await;
    // Nobody has offered it to the queue: the dispatcher finds it.
    for timer in ["dispatch", "recover"] {
        changed(&world.services, timer).await;
    }
    let row = world.finished(&job).await;
    assert_eq!(row.state, JobState::Done, "{row:?}");
    let after = (db.balance().await.unwrap(), db.variants(&id(&picture)).await.unwrap());
    assert_eq!(before, after);
    assert_eq!(
        site.get(&format!("/v1/media/{}", id(&picture))).await.status(),
        StatusCode::OK
    );
    for timer in ["dispatch", "recover", "reconcile-usage", "reconcile-objects"] {
        assert_eq!(changed(&world.services, timer).await, 0, "{timer}");
    }
    site.close().await;
}

async fn objects_that_were_changed_are_told_of_or_removed(world: World) {
    let site = Site::of(world).await;
    let picture = site.ready(1).await;
    let other = site.ready(2).await;
    let services = &site.world.services;
    let tenant = site.world.tenant().await;
    let objects = &services.objects;
    for timer in ["reconcile-objects", "reconcile-storages"] {
        assert_eq!(changed(services, timer).await, 0);
    }
    // One file is gone, another is cut; a file of no picture and one of nobody have come.
    let files = tenant.db().unwrap().variants(&id(&picture)).await.unwrap();
    let (gone, cut) = (&files[0].object, &files[1].object);
    objects.delete(gone).await.unwrap();
    objects.put(cut, vec![1].into(), "image/jpeg").await.unwrap();
    let nobodys = MediaId::generate(&services.clock, &services.entropy);
    let orphan = ObjectKey::placed(tenant.id(), &nobodys, "original", "jpg").unwrap();
    let foreign: ObjectKey = "media/demo/read.me".parse().unwrap();
    for key in [&orphan, &foreign] {
        objects.put(key, vec![1, 2].into(), "text/plain").await.unwrap();
    }

    // The orphan is too young now.
    let young = told(services, "reconcile-objects", &site).await;
    assert_eq!(young.len(), 3, "{young:?}");
    let clock = Clock::manual(services.clock.now().after(Duration::from_secs(8 * 86_400)));
    let later = Services {
        clock,
        ..services.clone()
    };
    let notes = told(&later, "reconcile-objects", &site).await;
    assert_eq!(notes.len(), 4, "{notes:?}");
    for (key, word) in [
        (gone, "does not have it"),
        (cut, "another size"),
        (&orphan, "no row has it"),
        (&foreign, "left alone"),
    ] {
        let is_told = |note: &&String| note.starts_with(key.as_str()) && note.contains(word);
        assert!(notes.iter().any(|note| is_told(&note)), "{key}: {notes:?}");
    }
    assert!(
        objects.stat(&orphan).await.unwrap().is_some(),
        "a dry run removes nothing"
    );
    let found = object_findings::page(&services.control, None, None, 10).await.unwrap();
    assert_eq!(found, [], "nor does it note anything");

    assert_eq!(changed(services, "reconcile-objects").await, 3);
    assert!(objects.stat(&orphan).await.unwrap().is_some());
    assert_eq!(changed(&later, "reconcile-objects").await, 1);
    assert_eq!(objects.stat(&orphan).await.unwrap(), None);
    assert!(objects.stat(&foreign).await.unwrap().is_some());
    let found = object_findings::page(&services.control, Some(tenant.id()), None, 10)
        .await
        .unwrap();
    let problems: Vec<_> = found.iter().map(|one| (one.object.as_str(), one.problem)).collect();
    for wanted in [
        (gone.as_str(), ObjectProblem::Missing),
        (cut.as_str(), ObjectProblem::Size),
        (foreign.as_str(), ObjectProblem::Foreign),
    ] {
        assert!(problems.contains(&wanted), "{problems:?}");
    }
    assert_eq!(problems.len(), 3);
    // One job reads the picture again; no other copy mends it, and that is written down for each file.
    let jobs = "SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE kind = 'media.verify'";
    assert_eq!(site.world.number(jobs).await, 1);
    let done = "SELECT CAST(COUNT(*) AS BIGINT) FROM jobs WHERE kind = 'media.verify' AND state = 'done'";
    let watch = mediamill_shared::clock::Stopwatch::start();
    while site.world.number(done).await == 0 {
        assert!(
            watch.elapsed() < mediamill_shared::testing::PATIENCE,
            "nobody reads it again"
        );
        services.clock.sleep(Duration::from_millis(20)).await;
    }
    let lines = audit::page(&services.control, Some(tenant.id()), None, 10)
        .await
        .unwrap();
    let damaged = lines.iter().filter(|line| line.action == "storage.damaged").count();
    assert_eq!(damaged, 2);

    // What is told already is not told again.
    assert_eq!(changed(&later, "reconcile-objects").await, 0);
    assert_eq!(site.world.number(jobs).await, 1);

    // What is well again, or gone, is forgotten.
    objects.delete(&foreign).await.unwrap();
    let path = format!("/v1/media/{}", id(&picture));
    assert_eq!(
        site.request(Method::DELETE, &path).send().await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    assert_eq!(
        site.get(&format!("/v1/media/{}", id(&other))).await.status(),
        StatusCode::OK
    );
    site.world.assert_at_rest().await;
    later.clock.advance(Duration::from_secs(1));
    assert_eq!(changed(&later, "reconcile-objects").await, 0);
    let found = object_findings::page(&services.control, None, None, 10).await.unwrap();
    assert_eq!(found, []);
    site.close().await;
}

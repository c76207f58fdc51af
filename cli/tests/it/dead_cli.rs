//! `mediamill dead` beside an installation, on both sides.

use crate::program::{Program, Ran};
use mediamill_media::sample;
use mediamill_shared::{
    control::{
        audit,
        jobs::{self, DeadFilter, JobRow},
    },
    ids::JobId,
    jobs::{JobState, Noop},
    objects::{ObjectKey, Store},
    testing::{PATIENCE, World},
    units::Millis,
};
use serde_json::Value;
use std::time::Duration;

mediamill_shared::on_both_sides!(
    dead_jobs_are_found_shown_retried_and_purged,
    a_rate_gives_each_its_time_and_no_process_stays,
    a_purge_that_is_killed_goes_on_where_it_was,
);

async fn run(world: &World, arguments: &[&str]) -> Ran {
    let program = Program::of(&world.services);
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let ran = move || program.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(ran).await.unwrap()
}

async fn answer(world: &World, arguments: &[&str]) -> String {
    let ran = run(world, arguments).await;
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    ran.out.trim_end().to_owned()
}

async fn job(world: &World, id: &JobId) -> Option<JobRow> {
    jobs::get(&world.services.control, id).await.unwrap()
}

async fn dead(world: &World) -> usize {
    let rows = jobs::dead(&world.services.control, &DeadFilter::default(), None, 500).await;
    rows.unwrap().len()
}

async fn dead_jobs_are_found_shown_retried_and_purged(world: World) {
    let (_, upload) = world.dead_upload(sample::small(1)).await;
    let old = world.dead(None, &Noop {}, "it's \"old\"", Millis::new(1_000)).await;
    let (upload_id, old_id) = (upload.to_string(), old.to_string());
    let listed = answer(&world, &["dead", "list"]).await;
    assert!(
        listed.starts_with(&upload_id) && listed.lines().count() == 2,
        "{listed}"
    );
    assert_eq!(
        answer(&world, &["dead", "list", "--limit", "1"]).await.lines().count(),
        1
    );
    for (arguments, found) in [
        (vec!["--tenant", "demo"], &upload_id),
        (vec!["--kind", "media.process", "--younger-than", "1h"], &upload_id),
        (vec!["--cause", "it's \"old\""], &old_id),
        (vec!["--older-than", "2d"], &old_id),
    ] {
        let listed = answer(&world, &[&["dead", "list"], arguments.as_slice()].concat()).await;
        assert!(
            listed.lines().count() == 1 && listed.starts_with(found),
            "{arguments:?}: {listed}"
        );
    }
    assert_eq!(answer(&world, &["dead", "list", "--tenant", "nobody"]).await, "");
    let summary = answer(&world, &["dead", "summary"]).await;
    assert!(
        summary.contains("attempts-used-up") && summary.lines().count() == 3,
        "{summary}"
    );
    let summary = answer(&world, &["--json", "dead", "summary", "--tenant", "demo"]).await;
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((&summary["jobs"], &summary["tenants"]), (&1.into(), &1.into()));

    let shown = answer(&world, &["dead", "show", &upload_id]).await;
    let row = job(&world, &upload).await.unwrap();
    for part in [
        "demo",
        "media.process",
        "12",
        "attempts-used-up: a server is away",
        "trace",
        "reserved",
        "tenant's turn",
        "sha256",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(row.state, JobState::Dead);

    let retried = run(&world, &["dead", "retry", &upload_id]).await;
    assert_eq!(
        (retried.code, retried.out.trim_end()),
        (Some(0), &*format!("{upload_id} is queued again"))
    );
    assert_eq!(job(&world, &upload).await.unwrap().state, JobState::Queued);
    for command in ["retry", "purge"] {
        let again = run(&world, &["dead", command, &upload_id]).await;
        assert!(
            again.code == Some(1) && again.err.contains("is not a dead job"),
            "{again:?}"
        );
    }
    let purged = run(&world, &["--json", "dead", "purge", "--older-than", "2d"]).await;
    let purged: Value = serde_json::from_str(&purged.out).unwrap();
    assert_eq!((&purged["jobs"], &purged["left"]), (&1.into(), &0.into()));
    assert!(job(&world, &old).await.is_none());
    assert_eq!(answer(&world, &["dead", "purge", "--all"]).await, "");
    let lines = audit::page(&world.services.control, None, None, 2).await.unwrap();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line.actor.as_str(), line.action.as_str()))
        .collect();
    assert_eq!(told, [("cli", "dead.purge"), ("cli", "dead.retry")]);

    // A slip is no command.
    for wrong in [
        &["retry"][..],
        &["purge"],
        &["retry", &old_id, "--all"],
        &["retry", &old_id, "--tenant", "demo"],
        &["purge", "--all", "--kind", "media.process"],
        &["purge", "--all", "--rate", "5"],
        &["retry", "--all", "--rate", "0"],
        &["retry", "--all", "--rate", "-1"],
        &["retry", "--all", "--rate", "1e9"],
        &["retry", "--all", "--rate", "NaN"],
        &["list", "--kind", "nonsense"],
        &["list", "--cause", ""],
        &["list", "--older-than", "soon"],
        &["list", "--older-than", "-1d"],
        &["list", "--tenant", "A B"],
        &["show", "nonsense"],
    ] {
        let ran = run(&world, &[&["dead"], wrong].concat()).await;
        assert_eq!(ran.code, Some(2), "{wrong:?}: {ran:?}");
    }
}

async fn a_rate_gives_each_its_time_and_no_process_stays(world: World) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.dead_upload(sample::small(1)).await.1);
    }
    let begun = world.services.clock.now();
    let ran = run(
        &world,
        &["--json", "dead", "retry", "--tenant", "demo", "--rate", "0.002"],
    )
    .await;
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(told["jobs"], 3, "{ran:?}");
    let step = Duration::from_secs(500);
    let mut previous = None;
    for id in &ids {
        let row = job(&world, id).await.unwrap();
        assert_eq!(row.state, JobState::Queued);
        let earliest = previous.map_or(begun, |previous: Millis| {
            previous.after(step).before(Duration::from_secs(60))
        });
        assert!(row.due_at >= earliest, "{row:?}");
        previous = Some(row.due_at);
    }
    assert!(told["due_until"].as_i64().unwrap() >= previous.unwrap().get(), "{told}");
}

async fn a_purge_that_is_killed_goes_on_where_it_was(world: World) {
    const JOBS: usize = 60;
    for _ in 0..JOBS {
        world.dead_upload(sample::small(1)).await;
    }
    let running = Program::of(&world.services).start(&["dead", "purge", "--all"]);
    let begun = async { while dead(&world).await == JOBS {} };
    tokio::time::timeout(PATIENCE, begun).await.unwrap();
    tokio::task::spawn_blocking(|| running.end("KILL")).await.unwrap();
    let (left, staged) = (dead(&world).await, staged(&world).await);
    // Of each that is gone the bytes are gone, but of the one that it was at.
    assert!(
        staged == left || staged == left + 1,
        "{left} are dead, of {staged} the bytes are there"
    );
    let again = run(&world, &["--json", "dead", "purge", "--all"]).await;
    let told: Value = serde_json::from_str(&again.out).unwrap();
    // A server may have committed what the killed process asked for last after it was gone.
    let purged = usize::try_from(told["jobs"].as_u64().unwrap()).unwrap();
    assert!(purged == left || purged + 1 == left, "{again:?}");
    assert_eq!(dead(&world).await, 0);
}

async fn staged(world: &World) -> usize {
    let listed = world.services.objects.list(ObjectKey::STAGED, None, 500).await;
    listed.unwrap().len()
}

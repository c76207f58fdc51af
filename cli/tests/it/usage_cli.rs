//! `mediamill usage export`: what the built program writes of an installation that worked.

use crate::program::Program;
use mediamill_shared::{
    control::metering,
    ids::{JobId, ProcessId},
    quota::Period,
    services::Services,
    tenancy::{Limits, store::usage::Usage},
    testing::World,
    units::{ByteCount, Millis},
};
use serde_json::Value;

mediamill_shared::on_both_sides!(
    hours_are_written_as_csv_and_ndjson,
    hours_that_are_not_over_are_refused,
    a_check_finds_what_differs,
);

/// 2026-01-31T22:00:00Z.
const START: i64 = 1_769_896_800_000;
const HOUR: i64 = 3_600_000;

async fn run(services: &Services, arguments: &'static [&'static str]) -> crate::program::Ran {
    let program = Program::of(services);
    tokio::task::spawn_blocking(move || program.run(arguments))
        .await
        .unwrap()
}

/// A line of the first tenant's ledger.
async fn line(world: &World, media: i64, bytes: i64, at: i64) {
    let services = &world.services;
    let db = world.tenant().await.db().unwrap();
    let change = Usage {
        media,
        bytes: ByteCount::new(bytes),
        ..Usage::default()
    };
    let mut tx = db.begin().await.unwrap();
    let job = JobId::generate(&services.clock, &services.entropy);
    tx.settle(&job, change, &Limits::builtin(), Millis::new(at))
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn hours_are_written_as_csv_and_ndjson(world: World) {
    let services = &world.services;
    line(&world, 2, 200, START - HOUR).await;
    line(&world, 1, 100, START + HOUR + 5).await;
    let served = [metering::Served {
        tenant: world.tenant().await.id().clone(),
        bytes: 70,
    }];
    let process = ProcessId::generate(&services.clock, &services.entropy);
    let at = Millis::new(START + 2 * HOUR);
    metering::count_served(&services.control, &process, 1, &served, at)
        .await
        .unwrap();
    let csv = run(
        services,
        &[
            "usage",
            "export",
            "--from",
            "2026-01-31T22:00:00Z",
            "--to",
            "2026-02-01T02:00:00Z",
        ],
    )
    .await;
    assert_eq!((csv.code, csv.err.as_str()), (Some(0), ""));
    let expected = "tenant,resource,hour,change,total\n\
        demo,bytes,2026-01-31T22:00:00Z,0,200\n\
        demo,bytes,2026-01-31T23:00:00Z,100,300\n\
        demo,bytes_out,2026-02-01T00:00:00Z,70,70\n\
        demo,media,2026-01-31T22:00:00Z,0,2\n\
        demo,media,2026-01-31T23:00:00Z,1,3\n";
    assert_eq!(csv.out.trim_end(), expected.trim_end());
    let lines = run(
        services,
        &[
            "usage",
            "export",
            "--from",
            "2026-02-01",
            "--to",
            "2026-02-01T02:00:00Z",
            "--format",
            "ndjson",
            "--tenant",
            "demo",
        ],
    )
    .await;
    assert_eq!(lines.code, Some(0), "{lines:?}");
    let lines: Vec<Value> = lines
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(
        lines[0],
        serde_json::json!({ "tenant": "demo", "resource": "bytes_out", "hour": "2026-02-01T00:00:00Z", "change": 70, "total": 70 })
    );
    let nobody = run(
        services,
        &[
            "usage",
            "export",
            "--from",
            "2026-02-01",
            "--to",
            "2026-02-02",
            "--tenant",
            "nobody",
        ],
    )
    .await;
    assert_eq!(
        (nobody.code, nobody.out.trim_end()),
        (Some(0), "tenant,resource,hour,change,total")
    );
}

async fn hours_that_are_not_over_are_refused(world: World) {
    let services = &world.services;
    let future = run(
        services,
        &["usage", "export", "--from", "2026-01-01", "--to", "9998-01-01"],
    )
    .await;
    assert_eq!(future.code, Some(1));
    assert!(
        future.err.contains("are over and complete") && future.out.is_empty(),
        "{future:?}"
    );
    let backwards = run(
        services,
        &["usage", "export", "--from", "2026-01-02", "--to", "2026-01-01"],
    )
    .await;
    assert!(
        backwards.code == Some(1) && backwards.err.contains("before --to"),
        "{backwards:?}"
    );
    let no_hour = run(
        services,
        &[
            "usage",
            "export",
            "--from",
            "2026-01-01T00:30:00Z",
            "--to",
            "2026-01-02",
        ],
    )
    .await;
    assert!(
        no_hour.code == Some(2) && no_hour.err.contains("begins no hour"),
        "{no_hour:?}"
    );
}

async fn a_check_finds_what_differs(world: World) {
    let services = &world.services;
    let now = Period::hour_of(services.clock.now()).start.get();
    let fine = run(services, &["usage", "export", "--check"]).await;
    assert_eq!(fine.code, Some(0), "{fine:?}");
    // A ledger line without a picture: hours, ledger and usage agree, the pictures do not.
    line(&world, 1, 10, now).await;
    let wrong = run(services, &["usage", "export", "--check", "--json"]).await;
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    let lines: Vec<Value> = wrong
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let one = serde_json::json!({ "media": 1, "bytes": 10 });
    assert_eq!(
        (&lines[0]["tenant"], &lines[0]["ledger"], &lines[0]["usage"]),
        (&"demo".into(), &one, &one)
    );
    assert_eq!((&lines[0]["hours"], &lines[0]["rows"]["media"]), (&one, &0.into()));
    assert_eq!(lines[1]["differ"], 1);
}

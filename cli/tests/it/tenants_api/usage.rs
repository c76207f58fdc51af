//! What a provider is told for its bills.

use super::{Provider, problem};
use mediamill_shared::{
    ids::JobId,
    quota::Period,
    tenancy::{Limits, store::usage::Usage},
    testing::World,
    units::{ByteCount, Millis},
};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};

/// 2026-01-31T22:00:00Z.
const START: i64 = 1_769_896_800_000;
const HOURS: &str = "from=2026-01-31T22:00:00Z&to=2026-02-01T02:00:00Z";

/// A line of the first tenant's ledger.
async fn line(world: &World, media: i64, bytes: i64, at: i64) {
    let services = &world.services;
    let mut tx = world.tenant().await.db().unwrap().begin().await.unwrap();
    let job = JobId::generate(&services.clock, &services.entropy);
    let change = Usage {
        media,
        bytes: ByteCount::new(bytes),
        ..Usage::default()
    };
    tx.settle(&job, change, &Limits::builtin(), Millis::new(at))
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

pub(super) async fn what_tenants_used_is_told_by_the_hour(provider: Provider) {
    let p = &provider;
    line(&p.world, 2, 200, START - 5).await;
    line(&p.world, 1, 100, START + 5).await;
    // Nobody has looked yet.
    problem(p.get(&format!("/usage?{HOURS}")).await, 409, "conflict").await;
    mediamill_scheduler::run_once(&p.world.services, "roll-up-usage")
        .await
        .unwrap();
    let answer = p.get(&format!("/usage?{HOURS}")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/x-ndjson");
    let text = answer.text().await.unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let one = |resource: &str, change: i64, total: i64| json!({ "tenant": "demo", "resource": resource, "hour": "2026-01-31T22:00:00Z", "change": change, "total": total });
    assert_eq!(lines, [one("bytes", 100, 300), one("media", 1, 3)]);
    let nobody = p.get(&format!("/usage?{HOURS}&tenant=nobody")).await;
    assert_eq!(
        (nobody.status(), nobody.text().await.unwrap()),
        (StatusCode::OK, String::new())
    );
    // Hours that are not over.
    let now = Period::hour_of(p.world.services.clock.now());
    let end = time_text(now.end);
    let answer = p.get(&format!("/usage?from=2026-01-01T00:00:00Z&to={end}")).await;
    let document = problem(answer, 409, "conflict").await;
    assert!(
        document["complete_until"].as_str().unwrap() < end.as_str(),
        "{document}"
    );
    for wrong in [
        "from=2026-01-01T00:00:00Z",
        "from=2026-01-01T00:00:00Z&to=2026-01-01T00:30:00Z",
        "from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&until=now",
    ] {
        problem(p.get(&format!("/usage?{wrong}")).await, 400, "bad-request").await;
    }
    provider.close();
}

fn time_text(at: Millis) -> String {
    let line = mediamill_shared::quota::export::Line {
        tenant: "demo".parse().unwrap(),
        resource: mediamill_shared::control::metering::Resource::Media,
        hour: at,
        change: 0,
        total: 0,
    };
    line.hour_text()
}

//! Tenants in bulk, from the rows to the tenants, on both sides.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

use mediamill_shared::{
    clock::Stopwatch,
    control::{
        audit::Actor,
        batches::{self, BatchState, Counts, RowState, Step},
        jobs,
        tenants::{self, Filter},
    },
    ids::BatchId,
    jobs::{Pool, publish},
    rows::Format,
    services::Services,
    tenancy::{BatchError, FirstKeys, Received, RowResult},
    testing::{PATIENCE, World},
};
use mediamill_workers::{Settings, run};
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

mediamill_shared::on_both_sides!(
    good_rows_become_tenants_and_bad_ones_are_told_with_line_and_cause,
    a_row_that_asks_for_something_else_fails_and_says_what_differs,
    two_feeders_at_once_feed_every_row_once,
    a_feeder_that_is_killed_anywhere_leaves_rows_that_another_feeds,
    a_batch_is_paused_cancelled_and_retried,
    an_undone_row_is_made_when_it_is_retried,
    the_same_name_is_the_same_batch,
    a_recipient_gets_keys_that_nobody_here_can_read,
);

fn work(services: &Services) {
    let settings = Settings::from_config(&services.config).only(&[Pool::Provision]);
    services.shutdown.spawn(run(services.clone(), settings));
}

/// So many rows; every 33rd is bad.
fn file(count: usize) -> String {
    let mut text = String::new();
    for line in 1..=count {
        let row = if line % 33 == 0 {
            writeln!(
                text,
                r#"{{"id": "b{line}", "host": "b{line}.example", "colour": "red"}}"#
            )
        } else {
            writeln!(
                text,
                r#"{{"id": "b{line}", "host": "b{line}.example", "admin": {{"name": "ann"}}}}"#
            )
        };
        row.unwrap();
    }
    text
}

async fn sent(services: &Services, text: &str) -> (BatchId, Received) {
    let opened = services.batches.open(Format::Ndjson, None, &Actor::cli(), None).await;
    let (id, _) = opened.unwrap();
    let mut receiving = services.batches.receive(&id, Format::Ndjson);
    for piece in text.as_bytes().chunks(1_000) {
        receiving.push(piece).await.unwrap();
    }
    let received = receiving.finish().await.unwrap();
    assert!(services.batches.step(&id, Step::Close).await.unwrap());
    (id, received)
}

/// Feeds a batch until it is done.
async fn done(services: &Services, id: &BatchId) -> Counts {
    let watch = Stopwatch::start();
    loop {
        services.batches.feed(id).await.unwrap();
        // A feeder that was killed between its commit and its word to the queue leaves that to the dispatcher.
        let now = services.clock.now();
        let unsaid = jobs::unpublished(&services.control, now, now, 1_000).await.unwrap();
        publish(&services.control, &services.queue, &services.clock, unsaid).await;
        let (batch, counts) = services.batches.standing(id).await.unwrap();
        if batch.state == BatchState::Done {
            return counts;
        }
        assert!(watch.elapsed() < PATIENCE, "{counts:?}");
        services.clock.sleep(Duration::from_millis(10)).await;
    }
}

async fn results(services: &Services, id: &BatchId) -> Vec<RowResult> {
    let (batch, _) = services.batches.standing(id).await.unwrap();
    services.batches.results(&batch, 0, 10_000).await.unwrap()
}

/// Every tenant by its id, with how many jobs made it: its rows say it by their uniqueness.
async fn made(services: &Services) -> BTreeMap<String, String> {
    let page = tenants::page(&services.control, &Filter::default(), None, 10_000).await;
    page.unwrap()
        .into_iter()
        .map(|row| (row.id.to_string(), row.state.to_string()))
        .collect()
}

async fn good_rows_become_tenants_and_bad_ones_are_told_with_line_and_cause(world: World) {
    let services = &world.services;
    work(services);
    let text = file(100);
    let (id, received) = sent(services, &text).await;
    assert_eq!(received, Received { good: 97, bad: 3 });
    let counts = done(services, &id).await;
    assert_eq!(
        (counts.of(RowState::Done), counts.of(RowState::Bad), counts.open()),
        (97, 3, 0)
    );
    assert_eq!(made(services).await.len(), 98);

    let (batch, _) = services.batches.standing(&id).await.unwrap();
    let rows = results(services, &id).await;
    let bad: Vec<(i64, &str)> = rows
        .iter()
        .filter(|row| row.state == RowState::Bad)
        .map(|row| (row.line, row.cause.as_deref().unwrap()))
        .collect();
    assert_eq!(bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [33, 66, 99]);
    assert!(
        bad.iter().all(|(_, cause)| cause.contains("unknown field `colour`")),
        "{bad:?}"
    );
    let keys = rows.iter().filter(|row| row.key.is_some()).count();
    match services.batches.first_keys(&batch) {
        FirstKeys::Shown => assert_eq!(keys, 97),
        FirstKeys::None => assert_eq!(keys, 0),
        FirstKeys::Sealed => panic!("there is no recipient"),
    }
    services.batches.shown(&batch, &rows).await.unwrap();
    assert!(results(services, &id).await.iter().all(|row| row.key.is_none()));

    // The same file again changes nothing.
    let (again, _) = sent(services, &text).await;
    let counts = done(services, &again).await;
    assert_eq!((counts.of(RowState::Unchanged), counts.of(RowState::Bad)), (97, 3));
    assert_eq!(made(services).await.len(), 98);
    services.shutdown.stop();
}

async fn a_row_that_asks_for_something_else_fails_and_says_what_differs(world: World) {
    let services = &world.services;
    work(services);
    let text = concat!(
        r#"{"id": "demo", "host": "demo.localhost", "limits": {"media": 5}}"#,
        "\n",
        r#"{"id": "x", "host": "demo.localhost"}"#,
        "\n",
        r#"{"id": "y", "host": "y.example", "plan": "none-such"}"#,
        "\n",
        r#"{"id": "z", "host": "z.example", "server": "elsewhere"}"#,
        "\n",
        r#"{"id": "twice", "host": "twice.example"}"#,
        "\n",
        r#"{"id": "twice", "host": "twice.example"}"#,
    );
    let (id, _) = sent(services, text).await;
    let counts = done(services, &id).await;
    assert_eq!(
        (
            counts.of(RowState::Failed),
            counts.of(RowState::Done),
            counts.of(RowState::Unchanged)
        ),
        (4, 1, 1)
    );
    let causes: Vec<String> = results(services, &id)
        .await
        .into_iter()
        .filter_map(|row| row.cause)
        .collect();
    for (cause, told) in causes.iter().zip([
        r#"limits: {} → {"media":5}"#,
        "demo.localhost",
        "none-such",
        "elsewhere",
    ]) {
        assert!(cause.contains(told), "{causes:?}");
    }
    services.shutdown.stop();
}

async fn two_feeders_at_once_feed_every_row_once(world: World) {
    let services = &world.services;
    let (id, _) = sent(services, &file(600)).await;
    let feeder = async || {
        let mut queued = 0;
        for _ in 0..6 {
            // A deadlock that the server breaks is one of the two that begins anew.
            queued += services.batches.feed(&id).await.map_or(0, |feeding| feeding.queued);
        }
        queued
    };
    let (first, second) = tokio::join!(feeder(), feeder());
    assert_eq!(first + second, 582);
    let (_, counts) = services.batches.standing(&id).await.unwrap();
    assert_eq!((counts.of(RowState::Queued), counts.of(RowState::Waiting)), (582, 0));
    assert_eq!(made(services).await.len(), 583);
    work(services);
    assert_eq!(done(services, &id).await.of(RowState::Done), 582);
    services.shutdown.stop();
}

async fn a_feeder_that_is_killed_anywhere_leaves_rows_that_another_feeds(world: World) {
    let services = &world.services;
    let text = file(300);
    let opened = services
        .batches
        .open(Format::Ndjson, None, &Actor::cli(), Some("file"))
        .await;
    let (id, _) = opened.unwrap();
    // A sender that is cut off and sends all of it again.
    for wait in 0..8 {
        let mut receiving = services.batches.receive(&id, Format::Ndjson);
        let sending = async {
            receiving.push(text.as_bytes()).await?;
            receiving.finish().await
        };
        let _ = tokio::time::timeout(Duration::from_millis(wait), sending).await;
    }
    let mut receiving = services.batches.receive(&id, Format::Ndjson);
    receiving.push(text.as_bytes()).await.unwrap();
    receiving.finish().await.unwrap();
    services.batches.step(&id, Step::Close).await.unwrap();
    for wait in 0..12 {
        let _ = tokio::time::timeout(Duration::from_millis(wait * 2), services.batches.feed(&id)).await;
    }
    work(services);
    let counts = done(services, &id).await;
    assert_eq!(
        (counts.of(RowState::Done), counts.of(RowState::Bad), counts.total()),
        (291, 9, 300)
    );
    let made = made(services).await;
    assert!(
        made.len() == 292 && made.values().all(|state| state == "active"),
        "{made:?}"
    );
    services.shutdown.stop();
}

async fn a_batch_is_paused_cancelled_and_retried(world: World) {
    let services = &world.services;
    let (id, _) = sent(services, &file(32)).await;
    assert!(services.batches.step(&id, Step::Pause).await.unwrap());
    assert_eq!(services.batches.feed(&id).await.unwrap().fed(), 0);
    assert!(!services.batches.step(&id, Step::Pause).await.unwrap());
    assert!(services.batches.step(&id, Step::Cancel).await.unwrap());
    assert!(!services.batches.step(&id, Step::Resume).await.unwrap());
    assert_eq!(
        services.batches.standing(&id).await.unwrap().1.of(RowState::Cancelled),
        32
    );
    assert_eq!(services.batches.retry(&id).await.unwrap(), Some(32));
    work(services);
    assert_eq!(done(services, &id).await.of(RowState::Done), 32);

    let opened = services.batches.open(Format::Ndjson, None, &Actor::cli(), None).await;
    let (open, _) = opened.unwrap();
    let mut receiving = services.batches.receive(&open, Format::Ndjson);
    receiving.push(file(3).as_bytes()).await.unwrap();
    services.batches.step(&open, Step::Cancel).await.unwrap();
    let refused = receiving.finish().await.unwrap_err();
    assert!(matches!(refused, BatchError::NotReceiving { .. }), "{refused}");
    services.shutdown.stop();
}

async fn an_undone_row_is_made_when_it_is_retried(world: World) {
    let services = &world.services;
    let (id, _) = sent(services, &file(1)).await;
    assert_eq!(services.batches.feed(&id).await.unwrap().queued, 1);
    let tenant = "b1".parse().unwrap();
    let undone = services
        .lifecycle
        .undo(&tenant, "for the test", &Actor::cli(), None)
        .await;
    undone.unwrap();
    let [row] = &results(services, &id).await[..] else {
        panic!("one row")
    };
    assert_eq!(
        (row.state, row.cause.as_deref()),
        (RowState::Failed, Some("for the test"))
    );
    assert!(services.batches.feed(&id).await.unwrap().ended);
    services.batches.retry(&id).await.unwrap();
    work(services);
    assert_eq!(done(services, &id).await.of(RowState::Done), 1);
    services.shutdown.stop();
}

async fn the_same_name_is_the_same_batch(world: World) {
    let batches = &world.services.batches;
    let open = async |actor: &Actor, format| batches.open(format, None, actor, Some("friday")).await;
    let (id, new) = open(&Actor::cli(), Format::Ndjson).await.unwrap();
    assert!(new);
    assert_eq!(open(&Actor::cli(), Format::Ndjson).await.unwrap(), (id.clone(), false));
    assert!(matches!(
        open(&Actor::cli(), Format::Csv).await,
        Err(BatchError::KeyReused)
    ));
    let (other, new) = open(&Actor::operator_key(1), Format::Ndjson).await.unwrap();
    assert!(new && other != id, "another's name is another name");
}

async fn a_recipient_gets_keys_that_nobody_here_can_read(world: World) {
    let services = &world.services;
    work(services);
    let recipient = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse().unwrap();
    let opened = services
        .batches
        .open(Format::Ndjson, Some(&recipient), &Actor::cli(), None)
        .await;
    let (id, _) = opened.unwrap();
    let mut receiving = services.batches.receive(&id, Format::Ndjson);
    receiving.push(file(2).as_bytes()).await.unwrap();
    receiving.finish().await.unwrap();
    services.batches.step(&id, Step::Close).await.unwrap();
    done(services, &id).await;
    let (batch, _) = services.batches.standing(&id).await.unwrap();
    for _ in 0..2 {
        let rows = services.batches.results(&batch, 0, 10).await.unwrap();
        assert!(
            rows.iter().all(|row| row.key.is_none() && row.sealed_key.is_some()),
            "{rows:?}"
        );
        services.batches.shown(&batch, &rows).await.unwrap();
    }
    services.shutdown.stop();
}

/// What is secret in a row is sealed before it is stored.
#[tokio::test]
async fn an_environment_is_never_stored_in_clear() {
    let world = World::embedded().await;
    let services = &world.services;
    let row = r#"{"id": "e", "host": "e.example", "env": {"SMTP_PASSWORD": "hush"}}"#;
    let (id, received) = sent(services, row).await;
    assert_eq!(received.good, 1);
    let rows = batches::rows(&services.control, &id, None, 0, 10).await.unwrap();
    assert!(!format!("{rows:?}").contains("hush"));
    work(services);
    done(services, &id).await;
    let tenant = tenants::get(&services.control, &"e".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let of = mediamill_shared::secrets::SealedFor::TenantEnv(tenant.id.clone());
    let env = services.secrets.open_env(&of, tenant.env.as_deref()).unwrap();
    assert_eq!(env.get("SMTP_PASSWORD").unwrap().reveal(), "hush");
    services.shutdown.stop();
}

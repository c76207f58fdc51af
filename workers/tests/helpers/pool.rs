//! A pool of helpers, and what becomes of those that die, hang, lie or take too much.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests: a failure is the message, and what holds is told"
)]

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use mediamill_media::{MediaError, Processed, Settings, probe, process, sample};
use mediamill_workers::helpers::{ARGUMENT, Cause, Died, Everything, HelperPool, NotMade, Picture};
use rustix::process::{Pid, Signal, kill_process};
use std::{fmt::Write as _, io::Cursor, os::unix::fs::PermissionsExt, path::Path, time::Duration};

const TIME: Duration = Duration::from_secs(60);

pub(crate) fn judge() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        a_helper_makes_what_the_engine_makes().await;
        a_helper_sees_one_tenants_pictures().await;
        a_helper_that_is_killed_costs_its_picture_and_nothing_else().await;
        a_picture_that_takes_more_than_its_headers_say_ends_its_helper().await;
        what_nobody_waits_for_is_ended().await;
        what_is_no_helper_is_not_believed().await;
    });
}

fn pool(most: usize, time: Duration) -> HelperPool {
    HelperPool::new(std::env::current_exe().unwrap(), most, time)
}

async fn make(pool: &HelperPool, tenant: &str, bytes: &[u8]) -> Result<Processed, NotMade> {
    let settings = Settings::default();
    let length = u64::try_from(bytes.len()).unwrap();
    let memory = probe(bytes).map_or(1_000_000, |probed| probed.memory_bytes(length, &settings));
    within(pool, tenant, bytes, memory).await
}

async fn within(pool: &HelperPool, tenant: &str, bytes: &[u8], memory: u64) -> Result<Processed, NotMade> {
    asked(pool, tenant, bytes, memory, &Settings::default()).await
}

async fn asked(
    pool: &HelperPool,
    tenant: &str,
    bytes: &[u8],
    memory: u64,
    settings: &Settings,
) -> Result<Processed, NotMade> {
    let picture = Picture {
        tenant: &tenant.parse().unwrap(),
        bytes: bytes.to_vec().into(),
        settings,
        memory,
    };
    pool.make::<Everything>(picture).await
}

/// Helpers of this process that are there, zombies left out.
fn helpers() -> Vec<i32> {
    let own = format!(" {} ", std::process::id());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let child = stat.rsplit_once(") ").is_some_and(|(_, rest)| {
            !rest.starts_with('Z') && rest.get(1..).is_some_and(|rest| rest.starts_with(&own))
        });
        if child {
            found.push(pid);
        }
    }
    found
}

fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

async fn a_helper_makes_what_the_engine_makes() {
    let pool = pool(1, TIME);
    let settings = Settings::default();
    for photograph in sample::photographs() {
        let here = process(&photograph.bytes, &settings, &|| false).unwrap();
        assert_eq!(
            make(&pool, "a", &photograph.bytes).await.unwrap(),
            here,
            "{}",
            photograph.name
        );
    }
    let whole = sample::small(1);
    for bytes in [&b"no picture at all"[..], &whole[..whole.len() / 2], &[]] {
        let here = process(bytes, &settings, &|| false).unwrap_err();
        let Err(NotMade::Refused(refusal)) = make(&pool, "a", bytes).await else {
            panic!("a refusal was expected: {here}");
        };
        assert_eq!((refusal.code.as_str(), refusal.text), (here.code(), here.to_string()));
    }
    assert_eq!(helpers().len(), 1, "all of it by one helper");
    pool.close().await;
    assert!(helpers().is_empty());
    println!("a helper makes what the engine makes, and refuses what it refuses");
}

async fn a_helper_sees_one_tenants_pictures() {
    let pool = pool(2, TIME);
    let bytes = sample::small(1);
    let mut seen = Vec::new();
    for tenant in ["a", "b", "a", "b", "c"] {
        make(&pool, tenant, &bytes).await.unwrap();
        assert!(helpers().len() <= 2, "no more than were allowed");
        seen.push(helpers());
    }
    assert_eq!(seen[1], seen[3], "each has one, which is kept");
    let (two, three) = (&seen[3], &seen[4]);
    assert_eq!(
        three.iter().filter(|pid| two.contains(pid)).count(),
        1,
        "the third has a new one"
    );
    pool.end_idle(Duration::from_secs(3_600)).await;
    assert_eq!(helpers().len(), 2, "they have just worked");
    pool.end_idle(Duration::ZERO).await;
    assert!(helpers().is_empty(), "they have seen pictures, and nobody needs them");
    pool.close().await;
    println!("a helper sees one tenant's pictures");
}

async fn a_helper_that_is_killed_costs_its_picture_and_nothing_else() {
    // One is waited for; the others take no longer than the machine lets them.
    const HANGS_AFTER: Duration = Duration::from_secs(20);
    let pool = pool(1, HANGS_AFTER);
    let large = sample::photographs().swap_remove(0).bytes;
    // Not SEGV and BUS: the standard library's handler for a stack that overflows forgives them once when nothing is wrong.
    for signal in [Signal::KILL, Signal::ILL, Signal::ABORT, Signal::FPE, Signal::STOP] {
        // At work: it has a picture and has not answered.
        make(&pool, "a", &large).await.unwrap();
        let victim = *helpers().first().unwrap();
        send(victim, Signal::STOP);
        let making = make(&pool, "a", &large);
        let killing = async {
            send(victim, signal);
            if signal != Signal::STOP {
                send(victim, Signal::CONT);
            }
        };
        let (made, ()) = tokio::join!(making, killing);
        let Err(NotMade::Died(Died { cause, .. })) = made else {
            panic!("{signal:?}: it must have died: {:?}", made.map(drop));
        };
        let expected = if signal == Signal::STOP {
            Cause::Time(HANGS_AFTER)
        } else {
            Cause::Signal(signal.as_raw())
        };
        assert_eq!(cause, expected);
        // Idle: nobody's picture.
        make(&pool, "a", &large).await.unwrap();
        let victim = *helpers().first().unwrap();
        send(victim, Signal::KILL);
        while helpers().contains(&victim) {
            tokio::task::yield_now().await;
        }
        make(&pool, "a", &large).await.unwrap();
    }
    // What ends a group of processes is for the worker, which ends its helpers.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        send(*helpers().first().unwrap(), signal);
        make(&pool, "a", &large).await.unwrap();
    }
    pool.close().await;
    println!("a helper that is killed costs its picture and nothing else");
}

async fn a_picture_that_takes_more_than_its_headers_say_ends_its_helper() {
    let pool = pool(1, TIME);
    let noise = RgbImage::from_fn(4_000, 3_000, |x, y| {
        let [a, b, c, _] = (x.wrapping_mul(y) ^ (x << 3)).to_le_bytes();
        Rgb([a, b, c])
    });
    let mut large = Cursor::new(Vec::new());
    DynamicImage::from(noise)
        .write_to(&mut large, ImageFormat::Png)
        .unwrap();
    let large = large.into_inner();
    let Err(NotMade::Died(died)) = within(&pool, "a", &large, 1_000_000).await else {
        panic!("it must have died");
    };
    assert_eq!(died.cause, Cause::Memory(1_000_000), "{died:?}");
    assert!(
        died.to_string()
            .ends_with("needed more than the 1.0 MB that the picture's headers call for"),
        "{died}"
    );
    make(&pool, "a", &large).await.unwrap();
    pool.close().await;
    println!("a picture that takes more than its headers say ends its helper");
}

async fn what_nobody_waits_for_is_ended() {
    let pool = pool(1, TIME);
    pool.open().await.unwrap();
    let victim = *helpers().first().unwrap();
    send(victim, Signal::STOP);
    let bytes = sample::small(1);
    let making = tokio::time::timeout(Duration::from_millis(50), make(&pool, "a", &bytes)).await;
    assert!(making.is_err());
    while helpers().contains(&victim) {
        tokio::task::yield_now().await;
    }
    make(&pool, "a", &bytes).await.unwrap();
    drop(pool);
    while !helpers().is_empty() {
        tokio::task::yield_now().await;
    }
    println!("what nobody waits for is ended");
}

/// A frame as `wire.rs` has it.
fn frame(header: &str, body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    frame.extend(u64::try_from(body.len()).unwrap().to_le_bytes());
    frame.extend(header.as_bytes());
    frame.extend(body);
    frame
}

/// A program that says it is ready, takes some of a request, and answers so.
fn liar(folder: &Path, answer: &[u8], then: &str) -> HelperPool {
    let (program, ready, said) = (folder.join("liar"), folder.join("ready"), folder.join("answer"));
    std::fs::write(&ready, frame(r#"{"ready":{"active":[],"missing":[]}}"#, &[])).unwrap();
    std::fs::write(&said, answer).unwrap();
    let mut script = String::from("#!/bin/sh\n");
    writeln!(script, "[ \"$1\" = {ARGUMENT} ] || exit 9").unwrap();
    writeln!(
        script,
        "cat {}; head -c 20 >/dev/null; cat {}; {then}",
        ready.display(),
        said.display()
    )
    .unwrap();
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    HelperPool::new(program, 1, Duration::from_secs(5))
}

async fn what_is_no_helper_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = sample::small(1);
    let code = MediaError::Cancelled.code();
    let answers = [
        ("nothing of ours", vec![b'x'; 200]),
        (
            "a header that never ends",
            [u32::MAX.to_le_bytes().to_vec(), vec![0; 8]].concat(),
        ),
        (
            "a body that never ends",
            [2_u32.to_le_bytes().to_vec(), vec![0xff; 8], b"{}".to_vec()].concat(),
        ),
        ("a second hello", frame(r#"{"ready":{"active":[],"missing":[]}}"#, &[])),
        (
            "a refusal that is none",
            frame(&format!(r#"{{"refused":{{"code":"{code}","text":"x"}}}}"#), &[]),
        ),
        (
            "a refusal with a body",
            frame(r#"{"refused":{"code":"corrupt","text":"x"}}"#, b"xx"),
        ),
        (
            "a page",
            frame(
                r#"{"made":{"original":{"format":"jpeg","width":320,"height":240,"bytes":6},"removed":[],"variants":[],"facts":{}}}"#,
                b"<html>",
            ),
        ),
    ];
    for (what, answer) in answers {
        // Without variants, so that an original alone is what was asked for.
        let original = Settings {
            variants: Vec::new(),
            ..Settings::default()
        };
        let pool = liar(folder.path(), &answer, "exec cat >/dev/null");
        let made = asked(&pool, "a", &bytes, 1_000_000, &original).await;
        let Err(NotMade::Died(Died {
            cause: Cause::Answer(text),
            ..
        })) = made
        else {
            panic!("{what}: {:?}", made.map(drop));
        };
        assert_eq!(what == "a page", text.contains("no picture"), "{what}: {text}");
    }
    let half = frame(r#"{"refused":{"code":"corrupt","text":"x"}}"#, &[]);
    let made = make(
        &liar(folder.path(), &half[..30], "echo 'a word' >&2; exit 3"),
        "a",
        &bytes,
    )
    .await;
    let Err(NotMade::Died(died)) = made else {
        panic!("{:?}", made.map(drop));
    };
    assert_eq!((died.cause, died.words.as_str()), (Cause::Exit(Some(3)), "a word"));
    let made = make(&liar(folder.path(), &[], "cat /dev/zero >&2"), "a", &bytes).await;
    let Err(NotMade::Died(died)) = made else {
        panic!("{:?}", made.map(drop));
    };
    assert_eq!(
        died.cause,
        Cause::Time(Duration::from_secs(5)),
        "whatever it says meanwhile"
    );
    assert!(died.words.len() <= 1_000);
    let made = make(&liar(folder.path(), &[], "exec yes >&2"), "a", &bytes).await;
    let Err(NotMade::Died(died)) = made else {
        panic!("{:?}", made.map(drop));
    };
    assert_eq!(died.cause, Cause::Answer("it closed its pipes and went on".to_owned()));
    let made = make(&HelperPool::new("/bin/false".into(), 1, TIME), "a", &bytes).await;
    assert!(matches!(made, Err(NotMade::NotStarted(_))));
    let made = make(&HelperPool::new("/nonexistent".into(), 1, TIME), "a", &bytes).await;
    assert!(matches!(made, Err(NotMade::NotStarted(_))));
    println!("what is no helper is not believed");
}

//! Helper processes of the built program: who starts them, what they have, and what their end costs a job.

use crate::program::{PATIENCE, Program, Running};
use mediamill_media::sample;
use mediamill_shared::{jobs::JobState, testing::World};
use mediamill_workers::{
    Settings,
    helpers::{ARGUMENT, Helpers},
};
use std::{path::PathBuf, process::Command, sync::Mutex};

/// Helpers are found by who started them: tests whose workers run in this process take turns.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Helpers that process `parent` has started and that are there, zombies left out.
fn helpers(parent: u32) -> Vec<u32> {
    let ours = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let (state, started_by) = (fields.next()?, fields.next()?);
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let helper = command.split(|byte| *byte == 0).any(|word| word == ARGUMENT.as_bytes());
        (state != "Z" && started_by == parent.to_string() && helper).then_some(pid)
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    names.filter_map(ours).collect()
}

fn send(pid: u32, signal: &str) {
    // It may be gone by itself.
    let _ = Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
}

fn work(world: &World) {
    let services = &world.services;
    let program = PathBuf::from(env!("CARGO_BIN_EXE_mediamill"));
    let settings = Settings::from_config(&services.config).decoding(Helpers::Program(program));
    services
        .shutdown
        .spawn(mediamill_workers::run(services.clone(), settings));
}

/// What a helper of a running worker has: its pipes, and nothing else.
fn assert_bare(running: &Running) {
    let [pid] = helpers(running.id())[..] else {
        panic!("one helper, warm: {:?}", helpers(running.id()));
    };
    let process = PathBuf::from(format!("/proc/{pid}"));
    let status = std::fs::read_to_string(process.join("status")).unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Threads:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    // What only root may look at, of a process that nobody may trace, is looked at by root.
    if let Ok(environment) = std::fs::read(process.join("environ")) {
        assert!(environment.is_empty(), "{}", String::from_utf8_lossy(&environment));
        assert_eq!(std::fs::read_link(process.join("cwd")).unwrap(), PathBuf::from("/"));
        let mut open: Vec<_> = std::fs::read_dir(process.join("fd"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let target = std::fs::read_link(entry.path()).unwrap();
                assert!(target.to_string_lossy().starts_with("pipe:"), "{}", target.display());
                entry.file_name().into_string().unwrap()
            })
            .collect();
        open.sort();
        assert_eq!(open, ["0", "1", "2"]);
    }
    let limits = std::fs::read_to_string(process.join("limits")).unwrap_or_default();
    for limit in ["Max core file size", "Max file size", "Max locked memory"] {
        let line = limits.lines().find(|line| line.starts_with(limit));
        assert!(
            line.is_none_or(|line| line.trim_start_matches(limit).trim_start().starts_with("0 ")),
            "{line:?}"
        );
    }
}

#[test]
fn every_role_with_a_worker_decodes_in_processes_that_have_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let key = format!("k1:{}=", "A".repeat(43));
    let program = Program::new([
        ("DATA_DIR", folder.path().display().to_string()),
        ("LISTEN", "127.0.0.1:0".to_owned()),
        ("MASTER_KEYS", key),
    ]);
    program.answer(&["migrate"]);
    for role in ["serve", "worker"] {
        let mut running = program.start(&[role]);
        running.says("pictures are decoded in helper processes: ");
        assert_bare(&running);
        let (parent, status) = (running.id(), running.end("TERM"));
        assert_eq!(status.code(), Some(0), "{role}");
        assert!(helpers(parent).is_empty(), "{role} leaves helpers behind");
    }
    let data = folder.path().join("demo");
    let mut running = Program::new([]).start(&[
        "quickstart",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data.to_str().unwrap(),
    ]);
    running.says("See them at");
    assert!(!helpers(running.id()).is_empty());
    assert_eq!(running.end("INT").code(), Some(0));
    let inline = Program::new([
        ("DATA_DIR", folder.path().display().to_string()),
        ("MASTER_KEYS", format!("k1:{}=", "A".repeat(43))),
        ("MEDIA_HELPERS", "inline".to_owned()),
    ]);
    let mut running = inline.start(&["worker"]);
    running.says("pictures are decoded in the worker's own process");
    assert!(helpers(running.id()).is_empty());
    assert_eq!(running.end("TERM").code(), Some(0));
}

#[test]
fn a_helper_does_not_outlive_a_worker_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    program.answer(&["migrate"]);
    let mut running = program.start(&["worker"]);
    running.says("pictures are decoded in helper processes: ");
    let pids = helpers(running.id());
    assert!(!pids.is_empty());
    // It cannot notice by itself that nothing comes any more.
    send(pids[0], "STOP");
    running.end("KILL");
    let gone = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
        })
    };
    let watch = mediamill_shared::clock::Stopwatch::start();
    while !pids.iter().all(gone) {
        assert!(watch.elapsed() < PATIENCE, "{pids:?} are still there");
        std::thread::yield_now();
    }
}

#[test]
fn what_only_a_worker_starts_is_not_in_the_help() {
    assert!(!Program::new([]).answer(&["--help"]).contains(ARGUMENT));
}

/// The test's worker and its helpers are this process's.
#[test]
fn a_helper_that_is_killed_at_any_time_costs_its_job_one_retry() {
    let _turn = ONE_AT_A_TIME.lock().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let more = [
            ("media_helper_timeout", "15s".to_owned()),
            ("worker_media_slots", "2".to_owned()),
        ];
        let world = World::embedded_with(&more).await;
        work(&world);
        let photograph = sample::photographs().swap_remove(0).bytes;
        for (turns, signal) in ["KILL", "SEGV", "STOP", "ABRT", "BUS", "TERM"].into_iter().enumerate() {
            let (_, job) = world.upload(photograph.clone()).await;
            // As soon as the job runs, and a little later each time.
            world.until(&job, |state| state != JobState::Queued).await;
            for _ in 0..turns * 200 {
                tokio::task::yield_now().await;
            }
            for pid in helpers(std::process::id()) {
                send(pid, signal);
            }
            let row = world.finished(&job).await;
            assert_eq!(row.state, JobState::Done, "{signal}: {row:?}");
            assert!(row.attempts <= 2, "{signal}: {row:?}");
            let (_, next) = world.upload(sample::small(1)).await;
            let row = world.finished(&next).await;
            assert_eq!(row.state, JobState::Done, "after {signal}: {row:?}");
        }
        world.assert_at_rest().await;
        world.services.shutdown.stop();
    });
}

#[test]
fn a_picture_that_no_decoder_survives_fails_with_its_cause() {
    let _turn = ONE_AT_A_TIME.lock().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let more = [("media_helper_timeout", "1ms".to_owned())];
        let world = World::embedded_with(&more).await;
        work(&world);
        let (_, job) = world.upload(sample::photographs().swap_remove(0).bytes).await;
        let row = world.finished(&job).await;
        assert_eq!(
            (row.state, row.cause_code.as_deref(), row.attempts),
            (JobState::Failed, Some("decoder-died"), 3),
            "{row:?}"
        );
        let cause = row.cause.unwrap();
        assert!(cause.contains("was still at work after 0.001 s"), "{cause}");
        world.assert_at_rest().await;
        world.services.shutdown.stop();
    });
}

//! `mediamill storages verify` beside an installation, on both sides: what was not read is not said to be well.

use crate::program::{Program, Ran};
use mediamill_media::sample;
use mediamill_shared::{
    control::{
        audit::Actor,
        storages::{
            StorageRole, StorageRow, StorageState,
            tasks::{self, TaskState},
        },
    },
    jobs::JobState,
    placement::{DirectorySettings, Editor, NewStorage, Spot, StorageChange, StorageSettings},
    testing::{PATIENCE, World},
    units::ByteCount,
};
use mediamill_workers::Settings;
use serde_json::Value;

mediamill_shared::on_both_sides!(a_verification_whose_jobs_failed_is_no_success);

async fn run(world: &World, arguments: &[&str]) -> Ran {
    let program = Program::of(&world.services);
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let ran = move || program.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(ran).await.unwrap()
}

async fn switch(world: &World, storage: &StorageRow, state: StorageState) {
    let storages = &world.services.storages;
    let change = StorageChange {
        state: Some(state),
        ..StorageChange::default()
    };
    let row = storages.row(&storage.id).await.unwrap();
    let by = Editor::operator(Actor::cli());
    storages.edit(&row, None, change, &by).await.unwrap();
}

/// Runs the scheduler's timer until the storage's task is over.
async fn over(world: &World, place: &Spot) -> TaskState {
    let services = &world.services;
    let look = async {
        loop {
            mediamill_scheduler::run_once(services, "feed-storage-tasks")
                .await
                .unwrap();
            let task = tasks::get(&services.control, place).await.unwrap().unwrap();
            if task.state != TaskState::Running {
                return task.state;
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap()
}

async fn a_verification_whose_jobs_failed_is_no_success(world: World) {
    let (services, folder) = (&world.services, tempfile::tempdir().unwrap());
    let new = NewStorage {
        name: "one".into(),
        settings: StorageSettings::Directory(DirectorySettings {
            path: folder.path().to_path_buf(),
        }),
        credentials: None,
        role: StorageRole::Both,
        capacity: ByteCount::ZERO,
        weight: 1,
    };
    let by = Editor::operator(Actor::cli());
    let storage = services.storages.add(None, new, false, &by).await.unwrap();
    let (id, place) = (storage.id.to_string(), Spot::Storage(storage.id.clone()));
    let worker = mediamill_workers::run(services.clone(), Settings::from_config(&services.config));
    services.shutdown.spawn(worker);
    let (_, job) = world.upload(sample::small(1)).await;
    assert_eq!(world.finished(&job).await.state, JobState::Done);

    // It is switched off before its files are read.
    assert_eq!(run(&world, &["storages", "verify", &id]).await.code, Some(0));
    switch(&world, &storage, StorageState::Off).await;
    assert_eq!(over(&world, &place).await, TaskState::Stopped);
    let watched = run(&world, &["storages", "watch", &id]).await;
    assert_eq!(watched.code, Some(1), "{watched:?}");
    for part in ["stopped: 0 files done", "1 job failed, so not everything was read"] {
        assert!(watched.err.contains(part), "{part}: {watched:?}");
    }
    let watched = run(&world, &["--json", "storages", "watch", &id]).await;
    let task: Value = serde_json::from_str(&watched.out).unwrap();
    assert_eq!((&task["state"], &task["failed_jobs"]), (&"stopped".into(), &1.into()));

    let refused = run(&world, &["storages", "verify", &id]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains(&format!("storage {id} is off")), "{refused:?}");

    // What failed in a run before is none of this one's.
    switch(&world, &storage, StorageState::ReadOnly).await;
    assert_eq!(run(&world, &["storages", "verify", &id]).await.code, Some(0));
    assert_eq!(over(&world, &place).await, TaskState::Done);
    let watched = run(&world, &["storages", "watch", &id]).await;
    assert_eq!(watched.code, Some(0), "{watched:?}");
    services.shutdown.stop();
}

//! The same on servers: api, two workers and a scheduler as processes of their own, and quickstart beside them.

use crate::program::{Program, port_after};
use mediamill_shared::{
    clock::Stopwatch,
    testing::{
        PATIENCE,
        database::ControlDb,
        s3::S3Server,
        servers::{self, VirtualHost},
    },
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs servers: run ./test.sh"]
async fn pictures_become_ready_through_four_processes_and_beside_them() {
    let (database, objects) = (ControlDb::postgres().await, S3Server::start().await.unwrap());
    let name = format!("cli-{}", std::process::id());
    let host = VirtualHost::named(&name);
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new([
        ("DATA_DIR", folder.path().display().to_string()),
        ("LISTEN", "127.0.0.1:0".to_owned()),
        ("DATABASE_URL", database.url.to_string()),
        ("QUEUE_URL", host.url.to_string()),
        (
            "CACHE_URL",
            format!("{}?prefix={name}:&timeout_ms=10000", servers::redis()),
        ),
        ("OBJECTS_URL", objects.url("objects").unwrap().to_string()),
    ]);
    tokio::task::spawn_blocking(move || {
        program.answer(&["migrate"]);
        // A server that many tests use may be late once.
        let watch = Stopwatch::start();
        while program.run(&["doctor"]).code != Some(0) {
            assert!(watch.elapsed() < PATIENCE, "{}", program.answer(&["doctor"]));
        }
        let mut api = program.start(&["api"]);
        let port = port_after(&api.says("api listens"), "127.0.0.1:");
        let mut others = [
            program.start(&["worker"]),
            program.start(&["worker"]),
            program.start(&["scheduler"]),
        ];
        for role in &mut others {
            role.says("started");
        }
        let url = format!("http://127.0.0.1:{port}");
        let out = program.answer(&["quickstart", "--url", &url]);
        assert!(out.contains("3 of 3 ready, 0 not taken, 0 failed"), "{out}");
        // Beside the running roles, with an api and a worker of its own; the tenant is there already.
        let out = program.answer(&["quickstart", "--exit"]);
        assert!(out.contains("3 of 3 ready, 0 not taken, 0 failed"), "{out}");
        let usage = program.answer(&["usage", "demo"]);
        assert!(usage.ends_with("usage, ledger and rows agree"), "{usage}");
        for role in [api].into_iter().chain(others) {
            assert_eq!(role.end("TERM").code(), Some(0));
        }
        program.answer(&["tenants", "delete", "demo", "--yes"]);
    })
    .await
    .unwrap();
    drop((database, objects, host));
}

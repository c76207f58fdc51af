//! Operator commands and roles, one process each, on the embedded side.

use crate::program::{Program, port_after};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_tenant_from_its_first_key_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    let plan = program.answer(&["plans", "put", "small", "--limits", r#"{"media": 5}"#]);
    assert_eq!(plan, r#"small  small  {"media":5}"#);
    let key = program.answer(&["tenants", "create", "one", "--host", "One.Example", "--plan", "small"]);
    assert!(key.starts_with("mm_"), "{key}");
    program.answer(&[
        "tenants",
        "create",
        "two",
        "--host",
        "two.example",
        "--limits",
        r#"{"api_keys": 2}"#,
    ]);

    let again = program.run(&["tenants", "create", "one", "--host", "three.example"]);
    assert_eq!(
        (again.code, again.err.as_str()),
        (Some(1), "error: there is a tenant one already\n")
    );
    let taken = program.run(&["tenants", "create", "three", "--host", "one.example"]);
    assert!(taken.code == Some(1) && taken.err.contains("one.example"), "{taken:?}");

    let ids = |list: &str| -> Vec<String> {
        list.lines()
            .map(|line| json(line)["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&program.answer(&["tenants", "list", "--json"])), ["one", "two"]);
    assert_eq!(
        ids(&program.answer(&["tenants", "list", "--json", "--limit", "1"])),
        ["one"]
    );
    let one = json(&program.answer(&["tenants", "get", "one", "--json"]));
    assert_eq!(
        (&one["state"], &one["plan"], &one["hosts"][0]),
        (&"active".into(), &"small".into(), &"one.example".into())
    );

    program.answer(&["tenants", "suspend", "one"]);
    assert_eq!(
        json(&program.answer(&["tenants", "get", "one", "--json"]))["state"],
        "suspended"
    );
    let usage = program.run(&["usage", "one"]);
    assert!(usage.code == Some(1) && usage.err.contains("suspended"), "{usage:?}");
    program.answer(&["tenants", "resume", "one"]);
    assert!(
        program
            .answer(&["usage", "one"])
            .ends_with("usage, ledger and rows agree")
    );

    let unasked = program.run(&["tenants", "delete", "one"]);
    assert!(unasked.code == Some(1) && unasked.err.contains("--yes"), "{unasked:?}");
    program.answer(&["tenants", "delete", "one", "--yes"]);
    assert_eq!(program.run(&["tenants", "get", "one"]).code, Some(1));
    assert_eq!(ids(&program.answer(&["tenants", "list", "--json", "--all"])), ["two"]);
}

#[test]
fn keys_are_made_within_the_limit_and_revoked_once() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    program.answer(&[
        "tenants",
        "create",
        "t",
        "--host",
        "t.example",
        "--limits",
        r#"{"api_keys": 2}"#,
    ]);
    let key = json(&program.answer(&["keys", "create", "t", "--expires", "30d", "--json"]));
    assert!(key["expires_at"].as_i64().unwrap() > 0);
    let over = program.run(&["keys", "create", "t"]);
    assert!(over.code == Some(1) && over.err.contains("2 of 2 keys"), "{over:?}");
    let id = key["id"].as_str().unwrap();
    program.answer(&["keys", "revoke", "t", id]);
    assert_eq!(program.run(&["keys", "revoke", "t", id]).code, Some(1));
    program.answer(&["keys", "create", "t"]);
    let nobody = program.run(&["keys", "create", "t", "--user", "nobody"]);
    assert!(nobody.err.contains("no user \"nobody\""), "{nobody:?}");
}

#[test]
fn the_doctor_finds_a_sound_installation_sound_and_names_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    let before = program.run(&["doctor"]);
    assert!(
        before.code == Some(1) && before.out.contains("run `mediamill migrate`"),
        "{before:?}"
    );
    program.answer(&["migrate"]);
    let report = program.answer(&["doctor"]);
    assert_eq!(
        report.lines().filter(|line| line.starts_with("ok ")).count(),
        11,
        "{report}"
    );
    assert!(report.contains("are decoded in confined processes"), "{report}");
    assert!(
        crate::program::files(&folder.path().join("objects")).is_empty(),
        "the probe stayed"
    );

    let away = Program::new([
        ("DATA_DIR", folder.path().display().to_string()),
        ("CACHE_URL", "redis://:hush@127.0.0.1:1".to_owned()),
    ]);
    let report = away.run(&["doctor", "--json"]);
    assert_eq!(report.code, Some(1));
    assert!(!report.out.contains("hush"), "{}", report.out);
    let bad: Vec<Value> = report
        .out
        .lines()
        .map(json)
        .filter(|finding| finding["ok"] == false)
        .collect();
    assert_eq!(bad.len(), 1, "{}", report.out);
    assert!(bad[0]["what"] == "cache" && bad[0]["advice"].as_str().unwrap().contains("MEDIAMILL_CACHE_URL"));
}

#[test]
fn the_configuration_is_shown_without_its_secrets_and_refused_when_unknown() {
    let secret = Program::new([("DATABASE_URL", "postgres://me:hush@db/x".to_owned())]);
    let shown = secret.answer(&["config"]);
    assert!(
        shown.contains("postgres://me:***@db/x") && !shown.contains("hush"),
        "{shown}"
    );
    assert!(secret.answer(&["config", "--reference"]).contains("`database_url`"));
    let unknown = Program::new([("DATABSE_URL", "x".to_owned())]).run(&["config"]);
    assert!(
        unknown.code == Some(1) && unknown.err.contains("did you mean database_url?"),
        "{unknown:?}"
    );
    assert_eq!(secret.run(&["no-such-command"]).code, Some(2));
}

#[test]
fn timers_run_by_name_and_dead_jobs_are_none_at_first() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    assert_eq!(
        program.answer(&["scheduler", "run", "reconcile-usage"]),
        "reconcile-usage: 0 changed"
    );
    let listed = program.answer(&["scheduler", "list"]);
    let line = |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("reconcile-usage").ends_with("0 changed"), "{listed}");
    assert!(line("dispatch").ends_with("every      1s  has not run yet"), "{listed}");
    let listed = program.answer(&["--json", "scheduler", "list"]);
    let listed: Vec<serde_json::Value> = listed.lines().map(json).collect();
    let ran = listed.iter().find(|timer| timer["timer"] == "reconcile-usage").unwrap();
    assert!(ran["every_seconds"] == 300 && ran["last"]["changed"] == 0, "{ran}");
    let unknown = program.run(&["scheduler", "run", "nonsense"]);
    assert!(
        unknown.code == Some(1) && unknown.err.contains("known: dispatch"),
        "{unknown:?}"
    );
    let dry = ["scheduler", "run", "reconcile-objects", "--dry-run"];
    assert_eq!(program.answer(&dry), "reconcile-objects: nothing was changed");
    let all_or_none = program.run(&["scheduler", "run", "prune", "--dry-run"]);
    assert!(
        all_or_none.code == Some(1) && all_or_none.err.contains("these have: reconcile-usage"),
        "{all_or_none:?}"
    );
    assert_eq!(program.answer(&["scheduler", "findings"]), "");
    let data = ("DATA_DIR", folder.path().display().to_string());
    let often = ("TIMER_PERIODS", "prune=250ms reconcile-usage=15m".to_owned());
    let listed = Program::new([data.clone(), often]).answer(&["scheduler", "list"]);
    let has = |text: &str| listed.lines().any(|line| line.contains(text));
    assert!(
        has("prune                every   250ms") && has("reconcile-usage      every    900s"),
        "{listed}"
    );
    let wrong = Program::new([data, ("TIMER_PERIODS", "nap=1h".to_owned())]).run(&["scheduler"]);
    assert!(
        wrong.code == Some(1) && wrong.err.contains("there is no timer \"nap\""),
        "{wrong:?}"
    );
    assert_eq!(program.answer(&["dead", "list"]), "");
    let missing = program.run(&["dead", "retry", "01hf7y0000000000000000000a"]);
    assert!(
        missing.code == Some(1) && missing.err.contains("is not a dead job"),
        "{missing:?}"
    );
    assert_eq!(program.answer(&["dead", "purge", "--all"]), "");
    assert_eq!(
        program.run(&["jobs", "get", "01hf7y0000000000000000000a"]).code,
        Some(1)
    );
}

#[test]
fn all_roles_in_one_process_serve_and_end_well_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    let key = program.answer(&["tenants", "create", "t", "--host", "t.example"]);
    let mut serving = program.start(&["serve"]);
    let port = port_after(&serving.says("api listens"), "127.0.0.1:");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let photograph = mediamill_media::sample::photographs().swap_remove(0).bytes;
    runtime.block_on(async {
        let http = reqwest::Client::new();
        let upload = http
            .post(format!("http://127.0.0.1:{port}/v1/media?wait=60"))
            .header("host", "t.example")
            .header("x-api-key", &key)
            .body(photograph);
        assert_eq!(upload.send().await.unwrap().status(), 201);
        let metrics = http
            .get(format!("http://127.0.0.1:{port}/metrics"))
            .send()
            .await
            .unwrap();
        assert!(metrics.text().await.unwrap().contains("mediamill_"));
    });
    assert_eq!(serving.end("TERM").code(), Some(0));
    let usage = json(&program.answer(&["usage", "t", "--json"]));
    assert_eq!((&usage["agree"], &usage["rows"]["media"]), (&true.into(), &1.into()));
    program.answer(&["tenants", "delete", "t", "--yes"]);
    assert!(
        crate::program::files(&folder.path().join("objects")).is_empty(),
        "objects of a removed tenant stayed"
    );
}

//! Tenants in bulk by the command line, on the embedded side.

use crate::program::Program;
use serde_json::Value;
use std::fmt::Write as _;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A program, and files it may read.
fn installed() -> (tempfile::TempDir, Program) {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    (folder, program)
}

#[test]
fn a_file_becomes_tenants_once_with_nothing_else_running() {
    let (folder, program) = installed();
    let file = folder.path().join("tenants.csv");
    let mut text = "id,host,admin\n".to_owned();
    for number in 0..40 {
        writeln!(text, "t{number},t{number}.example,ann").unwrap();
    }
    std::fs::write(&file, &text).unwrap();
    let file = file.to_str().unwrap();
    let batch = lines(&program.answer(&["tenants", "import", file, "--watch", "--json"])).remove(0);
    assert_eq!((&batch["state"], &batch["rows"]["done"]), (&"done".into(), &40.into()));
    let id = batch["id"].as_str().unwrap();
    let result = lines(&program.answer(&["tenants", "batches", "result", id]));
    assert!(result.len() == 40 && result.iter().all(|row| row["key"].as_str().unwrap().starts_with("mm_")));
    let again = lines(&program.answer(&["tenants", "batches", "result", id]));
    assert!(again.iter().all(|row| row.get("key").is_none()), "keys are shown once");

    let batch = lines(&program.answer(&["tenants", "import", file, "--watch", "--json"])).remove(0);
    assert_eq!(batch["rows"]["unchanged"], 40);
    let listed = program.answer(&["tenants", "batches", "list"]);
    assert!(
        listed.lines().count() == 2 && listed.contains("40 unchanged"),
        "{listed}"
    );
}

#[test]
fn bad_rows_are_told_with_line_and_cause_and_a_batch_can_be_steered() {
    let (folder, program) = installed();
    let file = folder.path().join("tenants.ndjson");
    std::fs::write(&file, "{\"id\": \"a\", \"host\": \"a.example\"}\n{\"id\": \"B\"}\n").unwrap();
    let ran = program.run(&["tenants", "import", file.to_str().unwrap(), "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("line 2: bad: a tenant id is") && ran.err.contains("a scheduler"),
        "{}",
        ran.err
    );
    let batch = lines(&ran.out).remove(0);
    let id = batch["id"].as_str().unwrap();
    let steer = |step: &str| program.run(&["tenants", "batches", step, id]);
    assert!(steer("pause").err.contains("is paused"));
    assert!(steer("cancel").err.contains("1 bad, 1 cancelled"));
    assert_eq!(steer("resume").code, Some(1));
    assert!(steer("retry").err.contains("1 rows"));
    let rows = program.answer(&["tenants", "batches", "rows", id, "--state", "bad"]);
    assert!(rows.trim_start().starts_with("2  -"), "{rows}");
    assert_eq!(
        program.answer(&["scheduler", "run", "feed-batches"]),
        "feed-batches: 1 changed"
    );
    let missing = program.run(&["tenants", "import", "no-such-file"]);
    assert!(
        missing.code == Some(1) && missing.err.contains("no-such-file"),
        "{missing:?}"
    );
}

#[test]
fn a_declared_file_is_made_true_and_then_there_is_nothing_to_do() {
    let (folder, program) = installed();
    program.answer(&["plans", "put", "gold"]);
    let file = folder.path().join("declared.ndjson");
    let path = file.to_str().unwrap().to_owned();
    let declare = |text: &str| std::fs::write(&file, text).unwrap();
    let apply = |more: &[&str]| program.answer(&[&["tenants", "apply", &path], more].concat());
    declare(
        "{\"id\": \"a\", \"hosts\": [\"a.example\", \"z.example\"]}\n{\"id\": \"b\", \"host\": \"b.example\", \"enabled\": false}\n",
    );
    assert_eq!(apply(&["--dry-run"]), "+ a a.example z.example\n+ b b.example");
    assert_eq!(program.answer(&["tenants", "list"]), "");
    apply(&[]);
    assert_eq!(apply(&[]), "");
    declare(concat!(
        r#"{"id": "a", "hosts": ["c.example", "a.example"], "plan": "gold", "limits": {"media": "5"}, "env": {"A": "hush"}}"#,
        "\n",
    ));
    let wanted = "~ a hosts: a.example z.example → a.example c.example\n~ a main host: a.example → c.example\n\
        ~ a plan: none → gold\n~ a limits: {} → {\"media\":5}\n~ a env: changed\n- b b.example";
    assert_eq!(apply(&["--prune", "--dry-run"]), wanted);
    assert_eq!(apply(&["--prune"]), wanted);
    assert_eq!(apply(&["--prune"]), "");
    let a = program.answer(&["tenants", "get", "a"]);
    assert!(a.contains("c.example, a.example") && a.contains("gold"), "{a}");
    assert!(program.answer(&["tenants", "get", "b"]).contains("leaving"));

    declare("{\"id\": \"a\", \"host\": \"a.example\"}\n{\"id\": \"a\", \"host\": \"a.example\"}\n");
    let twice = program.run(&["tenants", "apply", &path]);
    assert!(
        twice.code == Some(1) && twice.err.contains("declared in line 1 already"),
        "{twice:?}"
    );
    declare("");
    let nothing = program.run(&["tenants", "apply", &path, "--prune"]);
    assert!(
        nothing.code == Some(1) && nothing.err.contains("every tenant would leave"),
        "{nothing:?}"
    );
}

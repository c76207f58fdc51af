//! Picture settings by the command line, on the embedded side.

use crate::program::Program;
use serde_json::{Value, json};

fn answer(program: &Program, words: &str) -> String {
    program.answer(&words.split(' ').collect::<Vec<_>>())
}

fn effective(program: &Program, id: &str) -> Value {
    serde_json::from_str(&answer(program, &format!("tenants pictures {id} --json"))).unwrap()
}

#[test]
fn pictures_are_set_shown_with_who_says_so_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let own = file(
        "own.json",
        r##"{"variants": [{"name": "card", "width": 480, "height": 320, "fit": "cover", "background": "#FFFFFF"}, {"name": "tiny", "width": 9}]}"##,
    );
    let plans = file("plan.json", r#"{"metadata": "strip-location"}"#);
    let bad = file("bad.json", r#"{"variants": [{"name": "a", "size": 1}]}"#);
    answer(&program, &format!("tenants plans create basic --pictures {plans}"));
    answer(&program, "tenants create t --host t.example --plan basic");
    let found = effective(&program, "t");
    assert_eq!(found["metadata"], json!({ "value": "strip-location", "from": "plan" }));
    assert_eq!(
        (&found["variants"]["from"], &found["variants"]["most"]),
        (&"default".into(), &0.into())
    );
    assert_eq!(found["variants"]["value"][0]["name"], "thumb");

    let edited = answer(&program, &format!("tenants edit t --pictures {own} --json"));
    let edited: Value = serde_json::from_str(&edited).unwrap();
    assert_eq!(edited["pictures"]["variants"][1], json!({ "name": "tiny", "width": 9 }));
    let found = effective(&program, "t");
    assert_eq!(
        (&found["variants"]["from"], &found["metadata"]["from"]),
        (&"tenant".into(), &"plan".into())
    );
    let table = answer(&program, "tenants pictures t");
    assert!(
        table.contains("variant card  480 × 320 cover auto, quality 80, on #ffffff  tenant"),
        "{table}"
    );
    assert!(answer(&program, "tenants get t").contains("pictures"));

    answer(&program, "tenants limits t --set variants=1");
    let bounded = program.run(&["tenants", "pictures", "t"]);
    assert!(bounded.err.contains("the first 1 are made"), "{bounded:?}");
    for (arguments, told) in [
        (&own, "may have 1 variants of a picture, not 2"),
        (&bad, "unknown field `size`"),
        (&"no-such-file".to_owned(), "no-such-file cannot be read"),
    ] {
        let refused = program.run(&["tenants", "edit", "t", "--pictures", arguments]);
        assert!(refused.code == Some(1) && refused.err.contains(told), "{refused:?}");
    }

    answer(&program, "tenants edit t --pictures none");
    answer(&program, "tenants plans edit basic --pictures none");
    let found = effective(&program, "t");
    assert_eq!(
        (&found["variants"]["from"], &found["metadata"]["from"]),
        (&"default".into(), &"default".into())
    );
    assert!(!answer(&program, "tenants get t").contains("pictures"));
    let plan: Value = serde_json::from_str(&answer(&program, "plans show basic --json")).unwrap();
    assert_eq!(plan["pictures"], json!({}));
}

#[test]
fn a_declared_file_sets_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    let file = folder.path().join("declared.ndjson");
    let apply = |text: &str| {
        std::fs::write(&file, text).unwrap();
        program.answer(&["tenants", "apply", file.to_str().unwrap()])
    };
    let declared = r#"{"id": "a", "host": "a.example", "pictures": {"variants": [{"name": "card", "width": 9}]}}"#;
    apply(declared);
    assert_eq!(effective(&program, "a")["variants"]["from"], "tenant");
    assert_eq!(apply(declared), "");
    assert_eq!(
        apply(r#"{"id": "a", "host": "a.example", "pictures": {"metadata": "keep"}}"#),
        "~ a pictures: {\"variants\":[{\"name\":\"card\",\"width\":9}]} → {\"metadata\":\"keep\"}"
    );
    assert_eq!(
        effective(&program, "a")["metadata"],
        json!({ "value": "keep", "from": "tenant" })
    );
    let csv = folder.path().join("more.csv");
    std::fs::write(&csv, "id,host,pictures\nb,b.example,\"{\"\"variants\"\": []}\"\n").unwrap();
    program.answer(&["tenants", "import", csv.to_str().unwrap(), "--watch"]);
    assert_eq!(
        effective(&program, "b")["variants"],
        json!({ "value": [], "from": "tenant", "most": 0 })
    );
    let rows = program.answer(&["tenants", "import", csv.to_str().unwrap(), "--watch", "--json"]);
    assert!(rows.contains("\"unchanged\":1"), "{rows}");
}

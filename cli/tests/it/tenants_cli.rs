//! The operator's commands about tenants, as a script calls them, on the embedded side.

use crate::program::{PATIENCE, Program, Running, port_after};
use mediamill_shared::clock::Stopwatch;
use serde_json::Value;
use std::path::Path;

const KEY_A: &str = "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY_B: &str = "b:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
/// Under the same name, another key.
const KEY_A_WRONG: &str = "a:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(json).collect()
}

/// `mediamill tenants …`, words between spaces.
fn tenants(program: &Program, words: &str) -> String {
    let words: Vec<&str> = ["tenants"].into_iter().chain(words.split(' ')).collect();
    program.answer(&words)
}

fn code(program: &Program, words: &str) -> Option<i32> {
    program.run(&words.split(' ').collect::<Vec<_>>()).code
}

#[test]
fn the_17_commands_do_as_a_script_for_chevereto_expects() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    tenants(&program, "init");
    let key = tenants(&program, "api:key:create --name panel");
    assert!(key.starts_with("chv_1_"), "{key}");
    tenants(&program, &format!("api:key:verify --key {key}"));
    assert_eq!(code(&program, "tenants api:key:verify --key chv_1_wrong"), Some(1));
    let expired = program.answer(&["tenants", "api:key:create", "--expires", "2020-01-01 00:00:00"]);
    assert_eq!(
        code(&program, &format!("tenants api:key:verify --key {expired}")),
        Some(1)
    );
    tenants(&program, "api:key:delete --id 1 --name panel");
    assert_eq!(code(&program, &format!("tenants api:key:verify --key {key}")), Some(1));
    assert_eq!(code(&program, "tenants api:key:delete --id 1"), Some(1));

    let plan = json(&tenants(
        &program,
        r#"plan:create --id basic --name Basic --limits {"CHEVERETO_MAX_FILES":"500"} --env {"SMTP_HOST":"mail"}"#,
    ));
    assert_eq!(
        (&plan["limits"]["CHEVERETO_MAX_FILES"], &plan["env"]["SMTP_HOST"]),
        (&"500".into(), &"***".into())
    );
    let made = json(&tenants(
        &program,
        r#"create --id 1 --hostname a.example --is_enabled 1 --plan_id basic --limits {"CHEVERETO_MAX_TAGS":"9"} --env {"CUSTOM_VAR":"hush"}"#,
    ));
    for (field, wanted) in [
        ("id", Value::from("1")),
        ("hostname", "a.example".into()),
        ("is_enabled", true.into()),
        ("plan_id", "basic".into()),
    ] {
        assert_eq!(made[field], wanted, "{made}");
    }
    assert_eq!(made["limits"]["CHEVERETO_MAX_TAGS"], "9");
    let at = made["created_at"].as_str().unwrap();
    assert!(at.len() == 19 && at.as_bytes()[10] == b' ', "{at}");

    let again = program.run(&[
        "tenants",
        "create",
        "--id",
        "1",
        "--hostname",
        "b.example",
        "--is_enabled",
        "1",
    ]);
    assert!(
        again.code == Some(1) && again.err.contains("there is a tenant 1 already"),
        "{again:?}"
    );
    tenants(&program, "create --id off --hostname off.example --is_enabled 0");
    assert_eq!(json(&tenants(&program, "get --id off"))["is_enabled"], false);

    tenants(&program, "edit --id 1 --is_enabled 0 --hostname new.example");
    let edited = json(&tenants(&program, "edit --id 1 --plan_id="));
    assert_eq!(
        (&edited["hostname"], &edited["is_enabled"], edited.get("plan_id")),
        (&"new.example".into(), &false.into(), None)
    );
    assert_eq!(lines(&tenants(&program, "list --chevereto")).len(), 2);
    tenants(&program, "cache");
    let plan = json(&tenants(
        &program,
        r#"plan:edit --id basic --limits {"CHEVERETO_MAX_FILES":"7"}"#,
    ));
    assert_eq!(
        (&plan["limits"]["CHEVERETO_MAX_FILES"], &plan["name"]),
        (&"7".into(), &"Basic".into())
    );
    assert_eq!(lines(&tenants(&program, "plan:list")).len(), 1);
    tenants(&program, "plan:delete --id basic");
    assert_eq!(code(&program, "tenants plan:delete --id basic"), Some(1));

    let stats = json(&tenants(&program, "stats:refresh --id 1"));
    assert_eq!(stats["stats"].as_object().unwrap().len(), 16, "{stats}");
    tenants(&program, "stats:refresh");
    tenants(&program, "database:migrate --id 1 --verbose");
    let one = program.run(&["tenants", "jobs:worker", "--id", "1"]);
    assert!(one.code == Some(1) && one.err.contains("leave --id out"), "{one:?}");
    let mut working = program.start(&["tenants", "jobs:worker"]);
    working.says("starting");
    assert_eq!(working.end("TERM").code(), Some(0));

    // Without the flag its tables stay for the time of grace, and it can come back.
    tenants(&program, "delete --id 1");
    assert_eq!(json(&tenants(&program, "get 1 --json"))["state"], "leaving");
    tenants(&program, "restore 1");
    tenants(&program, "delete --id 1 --drop-tables");
    let gone = program.run(&["tenants", "get", "--id", "1"]);
    assert!(gone.code == Some(1) && gone.err.contains("no tenant 1"), "{gone:?}");
}

/// A running installation, and pictures in it.
struct Serving {
    running: Running,
    port: u16,
}

impl Serving {
    fn start(program: &Program) -> Self {
        let mut running = program.start(&["serve"]);
        let port = port_after(&running.says("api listens"), "127.0.0.1:");
        Self { running, port }
    }

    fn ask(&self, request: impl FnOnce(&reqwest::Client, String) -> reqwest::RequestBuilder) -> (u16, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
            let answer = request(&client, format!("http://127.0.0.1:{}", self.port))
                .send()
                .await
                .unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
        })
    }

    fn upload(&self, host: &str, key: &str, number: u32) -> Value {
        let (status, body) = self.ask(|client, base| {
            client
                .post(format!("{base}/v1/media?wait=60"))
                .header("host", host)
                .header("x-api-key", key)
                .body(mediamill_media::sample::small(number))
        });
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        json(std::str::from_utf8(&body).unwrap())["media"][0].clone()
    }

    fn picture(&self, host: &str, media: &str) -> (u16, Vec<u8>) {
        self.ask(|client, base| client.get(format!("{base}/m/{media}/original")).header("host", host))
    }
}

fn isolation(program: &Program, id: &str) -> String {
    let row = json(&tenants(program, &format!("get {id} --json")));
    row["isolation"].as_str().unwrap().to_owned()
}

#[test]
fn a_tenant_moves_between_modes_and_back_with_its_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    let shared = tenants(&program, "create shared --host shared.example --isolation table");
    let own = tenants(&program, "create own --host own.example --isolation database");
    assert_eq!(
        (
            isolation(&program, "shared").as_str(),
            isolation(&program, "own").as_str()
        ),
        ("prefix", "database")
    );
    let serving = Serving::start(&program);
    let pictures = [("shared", &shared), ("own", &own)].map(|(id, key)| {
        let media = serving.upload(&format!("{id}.example"), key, 1);
        media["id"].as_str().unwrap().to_owned()
    });
    let before = serving.picture("shared.example", &pictures[0]);
    assert_eq!(before.0, 200);

    let moved = json(&tenants(&program, "move shared --to database --wait --json"));
    assert_eq!(moved["isolation"], "database");
    let there = program.run(&["tenants", "move", "shared", "--to", "database", "--wait"]);
    assert!(
        there.code == Some(1) && there.err.contains("there already"),
        "{there:?}"
    );
    assert_eq!(serving.picture("shared.example", &pictures[0]), before);
    tenants(&program, "move own --to prefix --wait");
    assert_eq!(serving.picture("own.example", &pictures[1]).0, 200);
    serving.upload("shared.example", &shared, 2);

    // Without --wait the workers that run do it.
    let job = json(&tenants(&program, "move shared --to prefix --json"))["job"]
        .as_str()
        .unwrap()
        .to_owned();
    let watch = Stopwatch::start();
    while json(&program.answer(&["jobs", "get", &job, "--json"]))["state"] != "done" {
        assert!(watch.elapsed() < PATIENCE, "the move never ended");
    }
    assert_eq!(isolation(&program, "shared"), "prefix");
    assert_eq!(serving.picture("shared.example", &pictures[0]), before);
    assert_eq!(serving.running.end("TERM").code(), Some(0));
    for id in ["shared", "own"] {
        assert_eq!(json(&program.answer(&["usage", id, "--json"]))["agree"], true);
    }
    let main = &lines(&tenants(&program, "servers --json"))[0];
    assert_eq!((&main["server"], &main["tenants"]), (&"main".into(), &2.into()));

    let file = folder.path().join("shared.ndjson");
    program.answer(&["tenants", "export", "shared", &file.display().to_string()]);
    let text = std::fs::read_to_string(&file).unwrap();
    let exported = lines(&text);
    let of_kind = |kind: &str| exported.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!(
        (of_kind("tenant"), of_kind("user"), of_kind("media"), of_kind("usage")),
        (1, 1, 2, 1)
    );
    // A picture's own is no secret.
    assert!(!text.replace("perceptual_hash", "").contains("hash"), "{text}");
    let media = exported.iter().find(|line| line["kind"] == "media").unwrap();
    let object = media["variants"][0]["object"].as_str().unwrap();
    assert!(folder.path().join("objects").join(object).is_file(), "{object}");
}

#[test]
fn limits_are_shown_with_where_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new([
        ("DATA_DIR", folder.path().display().to_string()),
        ("TENANT_ENFORCED", r#"{"webhooks": 3}"#.to_owned()),
    ]);
    tenants(
        &program,
        "plans create small --set media=5 --set trial.users=1 --set upload_bytes=20M",
    );
    tenants(&program, "create t --host t.example --plan small");
    tenants(&program, "limits t --set api_keys=2 --set tags=4");
    tenants(&program, "limits t --unset CHEVERETO_MAX_TAGS");
    let origin = |name: &str| {
        let all = lines(&tenants(&program, "limits t --json"));
        let found = all.iter().find(|line| line["limit"] == name).unwrap().clone();
        (
            found["value"].as_i64().unwrap(),
            found["from"].as_str().unwrap().to_owned(),
        )
    };
    for (name, value, from) in [
        ("media", 5, "plan"),
        ("upload_bytes", 20_000_000, "plan"),
        ("api_keys", 2, "tenant"),
        ("webhooks", 3, "enforced"),
        ("users", 0, "default"),
        ("tags", 0, "default"),
    ] {
        assert_eq!(origin(name), (value, from.to_owned()), "{name}");
    }
    tenants(&program, "trial t --until 14d");
    assert_eq!(origin("users"), (1, "plan_trial".to_owned()));
    tenants(&program, "trial t --end");
    assert_eq!(origin("users").1, "default");
    let unknown = program.run(&["tenants", "limits", "t", "--set", "no_such=1"]);
    assert!(
        unknown.code == Some(2) && unknown.err.contains("no_such"),
        "{unknown:?}"
    );
    assert!(tenants(&program, "limits t").contains("20.0 MB"));
}

#[test]
fn a_preview_names_who_would_be_over_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    tenants(&program, "plans create small --set api_keys=5");
    tenants(&program, "create one --host one.example --plan small");
    tenants(&program, "create two --host two.example --plan small");
    program.answer(&["keys", "create", "one"]);
    let preview = program.run(&[
        "tenants",
        "plans",
        "edit",
        "small",
        "--set",
        "api_keys=1",
        "--preview",
        "--json",
    ]);
    assert_eq!(preview.code, Some(1), "{preview:?}");
    let over = lines(&preview.out);
    assert_eq!(over.len(), 1);
    assert_eq!(
        (
            &over[0]["tenant"],
            &over[0]["limit"],
            &over[0]["used"],
            &over[0]["allowed"]
        ),
        (&"one".into(), &"api_keys".into(), &2.into(), &1.into())
    );
    assert_eq!(code(&program, "plans preview small --set api_keys=2"), Some(0));
    let plan = json(&program.answer(&["plans", "show", "small", "--json"]));
    assert_eq!((&plan["limits"]["api_keys"], &plan["tenants"]), (&5.into(), &2.into()));
}

fn with_keys(folder: &Path, keys: &str) -> Program {
    Program::new([
        ("DATA_DIR", folder.display().to_string()),
        ("LISTEN", "127.0.0.1:0".to_owned()),
        ("MASTER_KEYS", keys.to_owned()),
    ])
}

#[test]
fn values_of_an_env_are_sealed_and_shown_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let program = with_keys(folder.path(), KEY_A);
    tenants(&program, "create t --host t.example");
    let value = folder.path().join("value");
    std::fs::write(&value, "hush\n").unwrap();
    program.answer(&[
        "tenants",
        "env",
        "t",
        "set",
        "SMTP_PASSWORD",
        "--file",
        &value.display().to_string(),
    ]);
    for words in [
        "get t",
        "get --id t",
        "get t --json",
        "list --chevereto",
        "env t list",
        "audit t",
    ] {
        let shown = tenants(&program, words);
        assert!(!shown.contains("hush"), "{words}: {shown}");
    }
    assert_eq!(json(&tenants(&program, "get --id t"))["env"]["SMTP_PASSWORD"], "***");
    assert_eq!(
        json(&tenants(&program, "get --id t --show-env"))["env"]["SMTP_PASSWORD"],
        "hush"
    );
    assert_eq!(tenants(&program, "env t show SMTP_PASSWORD"), "hush");
    let wrong = program.run(&["tenants", "edit", "--id", "t", "--env", r#"{"A": ["hush"]}"#]);
    assert!(wrong.code == Some(1) && !wrong.err.contains("hush"), "{wrong:?}");
    for file in ["mediamill.db", "mediamill.db-wal"] {
        let bytes = std::fs::read(folder.path().join(file)).unwrap_or_default();
        assert!(!crate::program::holds(&bytes, b"hush"), "{file} holds the value");
    }
    tenants(&program, "env t unset SMTP_PASSWORD");
    assert_eq!(tenants(&program, "env t list"), "");
}

#[test]
fn keys_are_rotated_and_wrong_ones_start_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let old = with_keys(folder.path(), KEY_A);
    tenants(
        &old,
        r#"create --id t --hostname t.example --is_enabled 1 --env {"A":"hush"}"#,
    );
    tenants(&old, r#"plan:create --id p --env {"B":"hush"}"#);

    for (keys, told) in [
        (KEY_B, "sealed under master key a"),
        (KEY_A_WRONG, "master key a is not the one"),
    ] {
        let wrong = with_keys(folder.path(), keys);
        for words in [
            "tenants list",
            "serve",
            "worker",
            "scheduler",
            "secrets check",
            "secrets rotate",
        ] {
            let ran = wrong.run(&words.split(' ').collect::<Vec<_>>());
            assert!(ran.code == Some(1) && ran.err.contains(told), "{words}: {ran:?}");
        }
        let report = wrong.run(&["doctor", "--json"]);
        let findings = lines(&report.out);
        let bad: Vec<_> = findings.iter().filter(|finding| finding["ok"] == false).collect();
        assert!(bad.len() == 1 && bad[0]["what"] == "keys", "{}", report.out);
        wrong.answer(&["migrate"]);
    }

    let both = with_keys(folder.path(), &format!("{KEY_B} {KEY_A}"));
    let rotated = json(&both.answer(&["secrets", "rotate", "--json"]));
    assert_eq!(
        (&rotated["resealed"], &rotated["left"], &rotated["retired"][0]),
        (&2.into(), &0.into(), &"a".into())
    );
    let new = with_keys(folder.path(), KEY_B);
    assert_eq!(json(&tenants(&new, "get --id t --show-env"))["env"]["A"], "hush");
    assert_eq!(new.run(&["secrets", "check"]).code, Some(0));
    assert_eq!(old.run(&["secrets", "check"]).code, Some(1));

    let generated = new.answer(&["secrets", "generate"]);
    let fresh = tempfile::tempdir().unwrap();
    with_keys(fresh.path(), &generated).answer(&["tenants", "list"]);
}

#[test]
fn hosts_people_keys_and_figures_have_their_commands() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    tenants(&program, "create --id t --hostname t.example --is_enabled 1");
    tenants(&program, "hosts add t u.example *.t.example");
    tenants(&program, "hosts main t u.example");
    tenants(&program, "hosts remove t t.example");
    assert_eq!(tenants(&program, "hosts list t"), "u.example  main\n*.t.example");
    assert_eq!(code(&program, "tenants hosts remove t u.example"), Some(1));

    let key = tenants(&program, "install t --user anna --email anna@example.org");
    assert!(key.starts_with("mm_"), "{key}");
    let again = program.run(&["tenants", "install", "t", "--user", "bert"]);
    assert!(
        again.code == Some(1) && again.err.contains("installed already"),
        "{again:?}"
    );
    assert_eq!(tenants(&program, "password t --user anna").len(), 24);
    assert_eq!(code(&program, "tenants password t --user nobody"), Some(1));
    let stats = json(&tenants(&program, "stats t --refresh --json"));
    assert_eq!(
        (&stats["stats"]["users"], &stats["stats"]["admins"]),
        (&1.into(), &1.into())
    );

    let made = json(&tenants(
        &program,
        "api-keys create --name panel --scopes read,plans --expires 90d --json",
    ));
    assert!(made["key"].as_str().unwrap().starts_with("chv_1_"));
    assert_eq!(
        lines(&tenants(&program, "api-keys list --json"))[0]["scopes"],
        "read plans"
    );
    tenants(&program, "api-keys revoke --name panel");

    let actions: Vec<Value> = lines(&tenants(&program, "audit t --json"));
    assert!(
        actions.iter().any(|line| line["action"] == "tenant.install"),
        "{actions:?}"
    );
    tenants(&program, "leave t --grace 1h");
    tenants(&program, "purge t --yes");
    let last = &lines(&tenants(&program, "audit t --json --limit 1"))[0];
    assert_eq!(last["action"], "tenant.removed");
}

#[test]
fn what_was_asked_wrongly_is_2_and_what_was_not_done_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    for words in [
        "no-such-command",
        "tenants create t",
        "tenants create --id t --hostname t.example --is_enabled maybe",
        "tenants trial t",
        "tenants move t --to elsewhere",
        "completions no-such-shell",
    ] {
        assert_eq!(code(&program, words), Some(2), "{words}");
    }
    for words in [
        "tenants get t",
        "tenants suspend t",
        "tenants limits t",
        "tenants move t --to prefix",
        "tenants plans edit none --set media=1",
        "migrate --tenant t",
    ] {
        assert_eq!(code(&program, words), Some(1), "{words}");
    }
    assert_eq!(code(&program, "migrate --jobs 2"), Some(0));
}

#[test]
fn completions_are_scripts_that_their_shell_reads() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::embedded(folder.path());
    let script = program.answer(&["completions", "bash"]);
    assert!(
        script.contains("plan:create") && script.contains("api-keys"),
        "{script}"
    );
    let file = folder.path().join("mediamill.bash");
    std::fs::write(&file, script).unwrap();
    let read = std::process::Command::new("bash")
        .arg("-n")
        .arg(&file)
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}

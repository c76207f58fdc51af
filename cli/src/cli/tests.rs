use super::*;
use clap::CommandFactory;
use std::fmt::Write as _;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn ids_or_all_but_not_both_and_not_neither() {
    let id = "01hf7y0000000000000000000a";
    let parse = |arguments: &[&str]| Cli::try_parse_from([&["mediamill", "dead", "retry"], arguments].concat());
    assert!(parse(&[id]).is_ok() && parse(&["--all"]).is_ok());
    assert!(parse(&[]).is_err() && parse(&[id, "--all"]).is_err());
}

#[test]
fn options_are_known_in_both_spellings() {
    for arguments in [
        "create --id t1 --hostname t1.example --is_enabled 1 --plan_id basic",
        "create --id t1 --host t1.example --is-enabled 0 --plan basic",
        "create t1 --host t1.example --plan-id basic",
        "edit --id t1 --is_enabled 0 --plan_id=",
        "delete --id t1 --drop_tables",
        "delete --id t1 --drop-tables",
        "jobs:worker --id t1 --verbose",
        "database:migrate --verbose",
        "stats:refresh",
    ] {
        let words = ["mediamill", "tenants"].into_iter().chain(arguments.split(' '));
        assert!(Cli::try_parse_from(words).is_ok(), "{arguments}");
    }
    for arguments in [
        "create --hostname t1.example",
        "create t1 --id t1 --host t1.example",
        "get",
    ] {
        let words = ["mediamill", "tenants"].into_iter().chain(arguments.split(' '));
        assert!(Cli::try_parse_from(words).is_err(), "{arguments}");
    }
}

/// The help of every command, in one file that a reviewer can read.
#[test]
fn the_help_is_as_released() {
    fn write(command: &mut clap::Command, path: &str, text: &mut String) {
        let help = command.render_help().to_string();
        let help: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        writeln!(text, "\n## {path}\n\n```text\n{}\n```", help.join("\n")).unwrap();
        let names: Vec<String> = command
            .get_subcommands()
            .map(|sub| sub.get_name().to_owned())
            // A worker calls it, and nobody else.
            .filter(|name| name != mediamill_workers::helpers::ARGUMENT)
            .collect();
        for name in names.iter().filter(|name| *name != "help") {
            if let Some(sub) = command.find_subcommand_mut(name) {
                write(sub, &format!("{path} {name}"), text);
            }
        }
    }
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut text = format!(
        "# The command line\n\n\
         {EXIT_CODES} An error says on standard error what was not done and what to do about it.\n\n\
         Answers go to standard output. With `--json` every command answers in JSON: one object, or one object a line for a \
         listing; moments are milliseconds since 1970 (UTC). What is called with Chevereto's names speaks as Chevereto's \
         Tenants API: `plan_id`, `is_enabled`, moments as `2026-12-31 23:59:59`.\n\n\
         Secrets are read from standard input or a file and are not shown unless asked for.\n"
    );
    write(&mut command, "mediamill", &mut text);
    mediamill_shared::testing::generated("docs/cli.md", &text);
}

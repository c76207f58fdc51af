//! `mediamill completions`: scripts that complete this command line in a shell.

use crate::{cli::Cli, output};
use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

/// Prints the script for `shell`.
pub(crate) fn run(shell: Shell) -> anyhow::Result<()> {
    output::line(script(shell)?.trim_end());
    Ok(())
}

fn script(shell: Shell) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mediamill", &mut bytes);
    String::from_utf8(bytes).context("the script is no text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_s_script_knows_the_whole_tree() {
        for shell in Shell::value_variants() {
            let script = script(*shell).unwrap();
            for word in ["quickstart", "tenants", "plans", "preview", "rotate", "api-keys"] {
                assert!(script.contains(word), "{word} for {shell}");
            }
        }
    }
}

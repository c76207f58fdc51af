//! Secrets that come in: from standard input or a file, never from the arguments, which every process can read.

use anyhow::{Context, bail};
use mediamill_shared::secrets::SecretText;
use std::{
    io::{IsTerminal, Read},
    path::Path,
};

/// More than any secret has.
const MOST: u64 = 4 * 1024 * 1024;

/// Everything on standard input.
pub(crate) fn all_of_stdin() -> anyhow::Result<SecretText> {
    if std::io::stdin().is_terminal() {
        crate::output::remark("reading standard input, which Ctrl-D ends:");
    }
    bounded(std::io::stdin().lock()).context("standard input cannot be read")
}

/// What standard input holds, or the file, without the line's end.
pub(crate) fn value(file: Option<&Path>) -> anyhow::Result<SecretText> {
    let text = match file {
        Some(path) => self::file(path)?,
        None => all_of_stdin()?,
    };
    let text = text.reveal();
    let line = text.strip_suffix('\n').unwrap_or(text);
    Ok(SecretText::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

/// Everything in a file.
pub(crate) fn file(path: &Path) -> anyhow::Result<SecretText> {
    let cannot = || format!("{} cannot be read", path.display());
    bounded(std::fs::File::open(path).with_context(cannot)?).with_context(cannot)
}

fn bounded(from: impl Read) -> anyhow::Result<SecretText> {
    let mut text = String::new();
    from.take(MOST).read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) >= MOST {
        bail!("it is longer than {MOST} bytes");
    }
    Ok(SecretText::new(text))
}

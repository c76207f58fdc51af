//! What commands say: the one place that writes to standard output.
//!
//! Answers go to standard output, remarks and errors to standard error. A reader that went away (`| head`) is no error.

use serde::Serialize;
use std::io::Write;

/// Writes a line of an answer.
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    // A closed pipe means that the reader has seen enough.
    let _ = writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush());
}

/// Writes a line of an answer as JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string(value)?);
    Ok(())
}

/// Many lines of an answer, written a buffer at a time.
pub(crate) struct Lines(std::io::BufWriter<std::io::Stdout>);

impl Lines {
    /// To standard output.
    pub(crate) fn new() -> Self {
        Self(std::io::BufWriter::new(std::io::stdout()))
    }

    /// Writes one. Returns whether anybody still reads.
    pub(crate) fn write(&mut self, text: impl AsRef<str>) -> bool {
        writeln!(self.0, "{}", text.as_ref()).is_ok()
    }

    /// Writes what is left.
    pub(crate) fn end(mut self) {
        // A closed pipe means that the reader has seen enough.
        let _ = self.0.flush();
    }
}

/// Writes a remark, beside the answer.
pub(crate) fn remark(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}

/// Writes an error, every cause once.
pub(crate) fn error(error: &anyhow::Error) {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    remark(format!("error: {}", causes.join(": ")));
}

/// Rows under a head, in columns; the last column is not padded.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head.map(str::to_owned)).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            format!("{cell}{padding}")
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text.pop();
    text
}

/// Says what was done: as the answer where it is for a machine, else as a remark.
pub(crate) fn done(json: bool, value: &impl Serialize, words: impl AsRef<str>) -> anyhow::Result<()> {
    if json {
        return self::json(value);
    }
    remark(words);
    Ok(())
}

/// `name value` lines, the names padded to the longest.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines = rows.iter().map(|(name, value)| format!("{name:<width$} {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Text from outside, fit for a terminal: control characters cannot move its cursor.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["ä".to_owned(), "x".to_owned()], ["long".to_owned(), String::new()]];
        assert_eq!(table(["a", "b"], &rows), "a     b\nä     x\nlong");
    }

    #[test]
    fn names_from_outside_do_not_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}

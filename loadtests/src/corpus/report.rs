//! What was found, as text or JSON.

use super::{Refused, Seen, look::Looked};
use crate::say;
use serde::Serialize;
use std::{collections::BTreeMap, path::PathBuf};

/// What is never to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// A decoder panicked; the engine caught it.
    Panic,
    /// The process ended.
    Died,
    /// It was at work for longer than it may.
    Hang,
    /// More memory than headers said.
    Memory,
    /// A real helper comes to another end.
    Helper,
    /// The cleaned original shows other pixels.
    Pixels,
    /// A tag that is no structure in an output.
    Metadata,
    /// A text of the source's metadata in an output.
    Text,
    /// A place in an original whose places go.
    Place,
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Died => "process died",
            Self::Hang => "hang",
            Self::Memory => "memory",
            Self::Helper => "helper",
            Self::Pixels => "pixels",
            Self::Metadata => "metadata left",
            Self::Text => "text left",
            Self::Place => "place left",
        }
    }
}

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct Violation {
    pub(super) source: PathBuf,
    pub(super) run: &'static str,
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// Files of a format.
#[derive(Debug, Default, Serialize)]
struct Row {
    files: usize,
    ready: usize,
    /// By code.
    refused: BTreeMap<String, usize>,
    memory_percent: u64,
}

/// Files refused for one cause.
#[derive(Debug, Serialize)]
struct Cause {
    format: &'static str,
    code: String,
    text: String,
    files: usize,
    example: PathBuf,
}

pub(super) fn print(seen: &[Seen], looked: Looked, violations: &[Violation], json: bool) {
    let (rows, causes) = (rows(seen), causes(seen));
    if json {
        let report = serde_json::json!({
            "formats": rows, "causes": causes, "looked_at": looked, "violations": violations,
        });
        return say(&report.to_string());
    }
    let total = rows.values().map(|row| row.files).sum::<usize>();
    let ready = rows.values().map(|row| row.ready).sum::<usize>();
    say(&format!("{total} files, {ready} ready in every run"));
    say("format        files  ready  most memory  refused");
    for (format, row) in &rows {
        let refused: Vec<String> = row
            .refused
            .iter()
            .map(|(code, count)| format!("{count} {code}"))
            .collect();
        say(&format!(
            "{format:<12} {:>6} {:>6} {:>10} %  {}",
            row.files,
            row.ready,
            row.memory_percent,
            refused.join(", ")
        ));
    }
    say("\nrefused because");
    for cause in &causes {
        say(&format!(
            "{:>5} × {}: {} ({})",
            cause.files,
            cause.format,
            cause.text,
            cause.example.display()
        ));
    }
    say(&format!(
        "\n{} texts of {} sources are looked for in {} outputs",
        looked.texts, looked.sources, looked.outputs
    ));
    for violation in violations {
        say(&format!(
            "WRONG {:<14} {:<8} {}: {}",
            violation.kind.words(),
            violation.run,
            violation.source.display(),
            violation.text
        ));
    }
    let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
    for violation in violations {
        *kinds.entry(violation.kind).or_default() += 1;
    }
    for (kind, count) in kinds {
        say(&format!("{count:>5} × {}", kind.words()));
    }
    if violations.is_empty() {
        say(
            "no panic, no hang, no memory beyond what headers said; outputs hold structure, colour profiles and orientation",
        );
    }
}

fn name(seen: &Seen) -> &'static str {
    seen.format.map_or("none known", mediamill_media::Format::name)
}

/// The first refusal of a file's runs.
fn refusal(seen: &Seen) -> Option<&Refused> {
    seen.results.iter().find_map(|result| result.as_ref().err())
}

fn rows(seen: &[Seen]) -> BTreeMap<&'static str, Row> {
    let mut rows: BTreeMap<&'static str, Row> = BTreeMap::new();
    for one in seen {
        let row = rows.entry(name(one)).or_default();
        row.files += 1;
        row.memory_percent = row.memory_percent.max(one.memory_percent);
        match refusal(one) {
            None => row.ready += 1,
            Some(refused) => *row.refused.entry(refused.code.clone()).or_default() += 1,
        }
    }
    rows
}

fn causes(seen: &[Seen]) -> Vec<Cause> {
    let mut causes: BTreeMap<(&'static str, &str), Cause> = BTreeMap::new();
    for one in seen {
        let Some(refused) = refusal(one) else { continue };
        let cause = causes.entry((name(one), &refused.text)).or_insert_with(|| Cause {
            format: name(one),
            code: refused.code.clone(),
            text: refused.text.clone(),
            files: 0,
            example: one.source.clone(),
        });
        cause.files += 1;
    }
    let mut causes: Vec<Cause> = causes.into_values().collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.files));
    causes
}

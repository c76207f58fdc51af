//! The table at the end: what became of each picture, and why.

use crate::output;
use mediamill_shared::{ids::MediaId, units::ByteCount};
use std::fmt::Write as _;
use std::time::Duration;

/// What became of one picture.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// It is there to be seen.
    Ready(Ready),
    /// The file is no picture that can be taken: not our fault.
    Refused {
        /// Why, in words.
        cause: String,
    },
    /// It should have worked.
    Failed {
        /// Why, in words.
        cause: String,
    },
}

impl Outcome {
    /// One word.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Ready(_) => "ready",
            Self::Refused { .. } => "not taken",
            Self::Failed { .. } => "FAILED",
        }
    }
}

/// A picture that is there.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    /// Its id.
    pub(crate) media: MediaId,
    /// Size as uploaded.
    pub(crate) uploaded: ByteCount,
    /// Size of the cleaned original.
    pub(crate) original: ByteCount,
    /// Name and size of each of the others.
    pub(crate) variants: Vec<(String, ByteCount)>,
    /// What was removed, in words.
    pub(crate) removed: Vec<String>,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// The file.
    pub(crate) name: String,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// What was removed, from the JSON array `[{what, detail, bytes}]` of a picture's row.
pub(crate) fn removed_in_words(json: &str) -> Vec<String> {
    let parts: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    let mut words: Vec<String> = Vec::new();
    for part in &parts {
        let text = |name: &str| {
            part.get(name)
                .and_then(serde_json::Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let Some(what) = text("what") else { continue };
        let word = match text("detail") {
            Some(detail) => format!("{what} ({})", shortened(detail)),
            None => what.to_owned(),
        };
        let word = output::plain(&word);
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// The table with totals. `base` is where the tenant is served, such as `http://demo.localhost:8080`.
pub(crate) fn render(lines: &[Line], base: &str, took: Duration) -> String {
    let rows: Vec<[String; 5]> = lines.iter().map(|line| row(line, base)).collect();
    let table = output::table(["file", "result", "uploaded", "original + variants", "see"], &rows);
    let mut shown = table.lines();
    let mut text = shown.next().unwrap_or_default().to_owned();
    for (line, row) in lines.iter().zip(shown) {
        // Writing to a String has no way to fail.
        let _ = write!(text, "\n{row}\n    {}", aside(&line.outcome));
    }
    text.push_str("\n\n");
    text.push_str(&totals(lines, took));
    if let Some(names) = lines.iter().find_map(|line| match &line.outcome {
        Outcome::Ready(ready) => Some(ready.variants.iter().map(|(name, _)| name.as_str())),
        Outcome::Refused { .. } | Outcome::Failed { .. } => None,
    }) {
        let names: Vec<&str> = std::iter::once("original").chain(names).collect();
        let _ = write!(text, "\nEach is at {base}/m/ID/NAME, NAME being {}", names.join(", "));
    }
    text
}

fn row(line: &Line, base: &str) -> [String; 5] {
    let (name, word) = (output::plain(&line.name), line.outcome.word().to_owned());
    match &line.outcome {
        Outcome::Ready(ready) => {
            let others = ready
                .variants
                .iter()
                .fold(ByteCount::ZERO, |sum, (_, bytes)| sum.plus(*bytes));
            let show = ready
                .variants
                .iter()
                .max_by_key(|(_, bytes)| *bytes)
                .map_or("original", |(name, _)| name);
            let stored = format!("→ {} + {others}", ready.original);
            [
                name,
                word,
                ready.uploaded.to_string(),
                stored,
                format!("{base}/m/{}/{show}", ready.media),
            ]
        }
        Outcome::Refused { .. } | Outcome::Failed { .. } => [name, word, "-".into(), "-".into(), "-".into()],
    }
}

/// The line under a row: too long for a column, and what the table is about.
fn aside(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ready(ready) if ready.removed.is_empty() => "removed: nothing, there was nothing to remove".to_owned(),
        Outcome::Ready(ready) => format!("removed: {}", ready.removed.join(", ")),
        Outcome::Refused { cause } => format!("because of the file: {}", output::plain(cause)),
        Outcome::Failed { cause } => format!("and should not have: {}", output::plain(cause)),
    }
}

fn totals(lines: &[Line], took: Duration) -> String {
    let (mut uploaded, mut original, mut others) = (ByteCount::ZERO, ByteCount::ZERO, ByteCount::ZERO);
    let (mut ready, mut refused, mut failed) = (0_u32, 0_u32, 0_u32);
    for line in lines {
        match &line.outcome {
            Outcome::Ready(one) => {
                ready = ready.saturating_add(1);
                uploaded = uploaded.plus(one.uploaded);
                original = original.plus(one.original);
                others = one.variants.iter().fold(others, |sum, (_, bytes)| sum.plus(*bytes));
            }
            Outcome::Refused { .. } => refused = refused.saturating_add(1),
            Outcome::Failed { .. } => failed = failed.saturating_add(1),
        }
    }
    format!(
        "{ready} of {} ready, {refused} not taken, {failed} failed; {uploaded} uploaded → {original} originals + {others} variants; {:.1} s",
        lines.len(),
        took.as_secs_f64()
    )
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 40;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(name: &str) -> Line {
        Line {
            name: name.to_owned(),
            outcome: Outcome::Ready(Ready {
                media: "01hf7y0000000000000000000a".parse().unwrap(),
                uploaded: ByteCount::new(4_200_000),
                original: ByteCount::new(4_100_000),
                variants: vec![
                    ("large".into(), ByteCount::new(300_000)),
                    ("thumb".into(), ByteCount::new(9_000)),
                ],
                removed: vec!["GPS position".into(), "thumbnail".into()],
            }),
        }
    }

    #[test]
    fn the_table_tells_what_became_of_each_and_why() {
        let lines = [
            ready("a.jpg"),
            Line {
                name: "notes.txt".into(),
                outcome: Outcome::Refused {
                    cause: "it is no image".into(),
                },
            },
            Line {
                name: "b.jpg".into(),
                outcome: Outcome::Failed {
                    cause: "no answer".into(),
                },
            },
        ];
        let text = render(&lines, "http://demo.localhost:8080", Duration::from_millis(1_250));
        let expected = "\
file       result     uploaded  original + variants  see
a.jpg      ready      4.2 MB    → 4.1 MB + 309.0 kB  http://demo.localhost:8080/m/01hf7y0000000000000000000a/large
    removed: GPS position, thumbnail
notes.txt  not taken  -         -                    -
    because of the file: it is no image
b.jpg      FAILED     -         -                    -
    and should not have: no answer

1 of 3 ready, 1 not taken, 1 failed; 4.2 MB uploaded → 4.1 MB originals + 309.0 kB variants; 1.2 s
Each is at http://demo.localhost:8080/m/ID/NAME, NAME being original, large, thumb";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_was_removed_is_named_once_and_cannot_steer_the_terminal() {
        let json = r#"[{"what":"GPS position","detail":"52.5, 13.4","bytes":90},{"what":"comment","detail":"\u001b[2J","bytes":3},
            {"what":"thumbnail","detail":"","bytes":1},{"what":"thumbnail","detail":null,"bytes":2},{"bytes":1}]"#;
        assert_eq!(
            removed_in_words(json),
            ["GPS position (52.5, 13.4)", "comment (\u{fffd}[2J)", "thumbnail"]
        );
        assert!(removed_in_words("nonsense").is_empty());
    }
}

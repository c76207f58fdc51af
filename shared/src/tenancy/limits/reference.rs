//! The limits as a page for people: `docs/limits.md`.

use super::{Enforcement, Limit, Limits, shown};
use std::fmt::Write as _;

/// All limits as a table in Markdown: `docs/limits.md`.
#[must_use]
pub fn limits_reference() -> String {
    let mut text = String::from(
        "# Limits and toggles\n\n\
         What a tenant may use. Per limit the first that sets it has the say: what the host enforces, the tenant itself, \
         its plan, the installation's default. 0 is unlimited for a number, off for a toggle.\n\n\
         Limits are given as a JSON object: `{\"media\": 1000, \"upload_bytes\": \"20M\", \"cdn\": false}`. \
         A name is ours or Chevereto's variable; a limit that Chevereto has not may be written `MEDIAMILL_MAX_FRAMES` or \
         `MEDIAMILL_ENABLE_EXIF_FACTS` beside its variables. One limit under two names is refused, and so is an unknown \
         name, except that any other `CHEVERETO_…` is kept as it is for the application that knows it. \
         Bytes may be sizes: `20M`, `20 MB` (decimal), `64 MiB`; toggles `true`, `false`, `1` or `0`; \
         formats a list of names.\n\n\
         A *trial twin* stands before its plain value, layer by layer, while a tenant is on trial: `trial.media`, \
         or `CHEVERETO_TRIAL_MAX_FILES`.\n\n\
         | name | Chevereto's variable | unit | default | held by | meaning |\n|---|---|---|---|---|---|\n",
    );
    for limit in Limit::ALL.iter().copied() {
        let variable = limit
            .chevereto()
            .map_or_else(String::new, |variable| format!("`{variable}`"));
        // Writing to a String has no way to fail.
        let _ = writeln!(
            text,
            "| `{limit}` | {variable} | {} | {} | {} | {} |",
            limit.unit().as_str(),
            shown(limit, Limits::builtin().get(limit)),
            limit.enforcement().as_str(),
            limit.help(),
            limit = limit.as_str(),
        );
    }
    text.push_str("\nHeld by:\n\n");
    for enforcement in Enforcement::ALL {
        let _ = writeln!(text, "- `{}`: {}.", enforcement.as_str(), enforcement.help());
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_is_up_to_date() {
        crate::testing::generated("docs/limits.md", &super::limits_reference());
    }
}

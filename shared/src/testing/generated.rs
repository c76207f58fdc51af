//! Files that are generated from the code and kept in the repository.

use std::path::Path;

/// Asserts that `path`, from the repository's root, holds `text`; with `MEDIAMILL_REGENERATE=1` writes it.
///
/// # Panics
/// When the file differs, or cannot be written.
#[expect(clippy::expect_used, clippy::disallowed_methods, reason = "a test's assertion")]
pub fn generated(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var("MEDIAMILL_REGENERATE").is_ok() {
        std::fs::write(&file, text).expect("the generated file can be written");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == text,
        "{path} is not what the code generates: run the tests with MEDIAMILL_REGENERATE=1"
    );
}

//! Tests that a generated page of `docs/` says what the code says.

use std::path::Path;

/// Fails unless the page `path` (from the root of the repository) has exactly this text; with `UPDATE_DOCS=1` in the
/// environment it is written instead.
pub fn is_current(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, text).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == text,
        "{path} is stale; regenerate it with: UPDATE_DOCS=1 cargo test -p server documentation_is_current"
    );
}

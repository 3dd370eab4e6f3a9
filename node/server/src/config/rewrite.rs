//! Putting values into a TOML file without touching the rest of it.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use toml::de::DeTable;

use super::table::Setting;
use crate::files;

/// Why `CONFIG REWRITE` did not write.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The node was started without a file.
    #[error("The server is running without a config file")]
    NoFile,
    /// The file is not TOML any more.
    #[error("Rewriting config file: {path} is not TOML any more, correct it first")]
    NotToml {
        /// The file.
        path: String,
    },
    /// The system refused.
    #[error("Rewriting config file: {0}")]
    Failed(#[from] io::Error),
}

/// Replaces the file by one with these values; a crash leaves the old one or the new one.
pub fn write_file(path: &Path, values: &[(&Setting, String)]) -> Result<(), RewriteError> {
    let before = fs::read_to_string(path)?;
    let after = rewritten(&before, values).ok_or_else(|| RewriteError::NotToml { path: path.display().to_string() })?;
    if after == before {
        return Ok(());
    }
    // Never more readable than it was; and where a password is in it, its owner alone may read it, as whoever can read a
    // directory that `pelago init` has made could until then.
    let mode = fs::metadata(path)?.permissions().mode();
    let mode = if holds_secret(&after) { mode & files::PRIVATE_MODE } else { mode };
    Ok(files::replace(path, after.as_bytes(), mode)?)
}

/// Whether passwords are among the values of a text, or users with theirs.
fn holds_secret(text: &str) -> bool {
    let Ok(table) = DeTable::parse(text) else { return true };
    let is_secret = |name: &str| super::setting(name).is_some_and(|setting| SECRET_SETTINGS.contains(&setting.name()));
    table.get_ref().iter().any(|(name, value)| is_secret(name.get_ref()) && value.get_ref().as_str() != Some(""))
}

/// The settings that let somebody in who knows their values.
const SECRET_SETTINGS: &[&str] = &["requirepass", "user"];

/// The text with these values in it, or nothing if it is not TOML.
pub fn rewritten(text: &str, values: &[(&Setting, String)]) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut replacements: Vec<(Range<usize>, String)> = Vec::new();
    let mut appended = String::new();
    for (setting, value) in values {
        let written = table
            .get_ref()
            .iter()
            .find(|(name, _)| setting.names.iter().any(|known| known.eq_ignore_ascii_case(name.get_ref())));
        match written {
            Some((_, old)) => replacements.push((old.span(), toml_text(value))),
            None => appended.push_str(&format!("{} = {}\n", setting.name(), toml_text(value))),
        }
    }
    // From the end, so that the spans before stay where they are.
    replacements.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut after = text.to_owned();
    for (span, value) in replacements {
        after.replace_range(span, &value);
    }
    if !after.is_empty() && !after.ends_with('\n') && !appended.is_empty() {
        after.push('\n');
    }
    after.push_str(&appended);
    Some(after)
}

/// A number as it is, everything else as a quoted text.
fn toml_text(value: &str) -> String {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let is_number =
        value.parse::<i64>().is_ok() && (digits == "0" || !digits.starts_with('0')) && !value.starts_with('+');
    if is_number { value.to_owned() } else { toml::Value::String(value.to_owned()).to_string() }
}

//! Users in files and settings: one `user NAME RULE...` a line, as `ACL LIST` shows them.

use super::user::Rights;
use crate::files;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why users were not read or written. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operator has named no file.
    #[error(
        "This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command \
         and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the \
         Redis configuration."
    )]
    NoFile,
    /// The system did not let us read it.
    #[error("Error loading ACLs, opening file '{}': {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Lines that are not users.
    #[error("{0}WARNING: ACL errors detected, no change to the previously active ACL rules was performed")]
    Lines(String),
    /// The system did not let us write it.
    #[error("There was an error trying to save the ACLs. Please check the server logs for more information")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// The users of a file.
pub fn read(path: &Path, allows_all_channels: bool) -> Result<Vec<(Vec<u8>, Rights)>, FileError> {
    let text = fs::read(path).map_err(|error| FileError::Unreadable { path: path.to_owned(), error })?;
    parse(&path.display().to_string(), &text, allows_all_channels).map_err(FileError::Lines)
}

/// The users of a text that is called `place`; or what is wrong with each line, in Redis' words.
pub fn parse(place: &str, text: &[u8], allows_all_channels: bool) -> Result<Vec<(Vec<u8>, Rights)>, String> {
    let mut users: Vec<(Vec<u8>, Rights)> = Vec::new();
    let mut names: Vec<&[u8]> = Vec::new();
    let mut errors = String::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let words: Vec<&[u8]> = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            continue;
        }
        let [b"user", name, rules @ ..] = &*words else {
            errors.push_str(&format!("{place}:{number} should start with user keyword followed by the username. "));
            continue;
        };
        if names.contains(name) {
            let name = String::from_utf8_lossy(name);
            errors.push_str(&format!("WARNING: Duplicate user '{name}' found on line {number}. "));
            continue;
        }
        names.push(name);
        match rights_of(rules, allows_all_channels) {
            Ok(rights) => users.push((name.to_vec(), rights)),
            Err(error) => errors.push_str(&format!("{place}:{number}: {error}. ")),
        }
    }
    if errors.is_empty() { Ok(users) } else { Err(errors) }
}

/// What the rules of one line make of a new user.
fn rights_of(rules: &[&[u8]], allows_all_channels: bool) -> Result<Rights, String> {
    let rules = merged(rules).map_err(|_| "Unmatched parenthesis in selector definition".to_owned())?;
    let mut rights = Rights::new(allows_all_channels);
    for rule in rules {
        rights.apply(&rule, allows_all_channels).map_err(|error| match error {
            super::selector::RuleError::Unknown => {
                format!("Error in applying operation '{}': {error}", String::from_utf8_lossy(&rule))
            }
            other => other.to_string(),
        })?;
    }
    Ok(rights)
}

/// Rules with those of each pair of parentheses in one. The error is the word with the one that is not closed.
pub fn merged(words: &[&[u8]]) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let mut rules: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<Vec<&[u8]>> = None;
    for word in words {
        let ends = word.ends_with(b")");
        match open.take() {
            Some(mut parts) => {
                parts.push(word);
                if ends { rules.push(parts.join(&b' ')) } else { open = Some(parts) }
            }
            None if word.starts_with(b"(") && !ends => open = Some(vec![word]),
            None => rules.push(word.to_vec()),
        }
    }
    match open.as_deref() {
        None => Ok(rules),
        Some(parts) => Err(parts.first().map(|word| word.to_vec()).unwrap_or_default()),
    }
}

/// Replaces a file by one with these lines; a crash leaves the old one or the new one. Only the node's own account may read
/// it.
pub fn write(path: &Path, lines: &[Vec<u8>]) -> Result<(), FileError> {
    let failed = |error: io::Error| {
        tracing::error!(path = %path.display(), %error, "the file of users could not be written");
        FileError::Unwritable { path: path.to_owned(), error }
    };
    let mut text = lines.join(&b'\n');
    text.push(b'\n');
    files::replace(path, &text, files::PRIVATE_MODE).map_err(failed)
}

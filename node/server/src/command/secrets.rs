//! Requests as others may be shown them: without passwords.
//!
//! Whatever shows or keeps what clients ask for (`MONITOR`, the slow log) takes the words from here. As in Redis the words
//! that are no secret stay, so that a request is still known for what it was. What was written wrongly is hidden too:
//! a password that came with a mistake is mostly the right one.

use super::migrate;
use super::table::Entry;
use std::borrow::Cow;

/// What stands in the place of a secret, as in Redis.
const HIDDEN: &[u8] = b"(redacted)";

/// The settings whose values `CONFIG SET` gives away: ours, and those that what was written for Redis would set.
const SECRET_SETTINGS: &[&str] = &["requirepass", "user", "masterauth", "masteruser", "tls-key-file-pass"];

/// The words of a request with `(redacted)` for each that is a password, or a user's name beside one.
pub fn without_passwords<'w, 'r>(entry: &Entry, args: &'w [&'r [u8]]) -> Cow<'w, [&'r [u8]]> {
    let hide: fn(&mut [&[u8]]) = match &*entry.full_name {
        "auth" => |words| words[1..].fill(HIDDEN),
        "acl|setuser" => |words| words[2..].fill(HIDDEN),
        "hello" => hide_in_hello,
        "config|set" => hide_in_settings,
        "migrate" => hide_in_migrate,
        _ => return Cow::Borrowed(args),
    };
    let mut shown = args.to_vec();
    hide(&mut shown);
    Cow::Owned(shown)
}

/// Hides up to `count` words from `at` on.
fn hide(words: &mut [&[u8]], at: usize, count: usize) {
    words.iter_mut().skip(at).take(count).for_each(|word| *word = HIDDEN);
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// Two words behind every `AUTH`, also behind one that may be a name: from the end, so that none is hidden before its turn.
fn hide_in_hello(words: &mut [&[u8]]) {
    for at in (1..words.len()).rev() {
        if is(words[at], "auth") {
            hide(words, at + 1, 2);
        }
    }
}

/// The value behind every name of a secret setting.
fn hide_in_settings(words: &mut [&[u8]]) {
    for at in (2..words.len()).step_by(2) {
        if SECRET_SETTINGS.iter().any(|name| is(words[at], name)) {
            hide(words, at + 1, 1);
        }
    }
}

/// What its options `AUTH` and `AUTH2` say; behind `KEYS` there are only keys.
fn hide_in_migrate(words: &mut [&[u8]]) {
    let mut at = migrate::OPTIONS;
    while let Some(word) = words.get(at).filter(|word| !is(word, "keys")) {
        let secrets = migrate::secrets_behind(word);
        hide(words, at + 1, secrets);
        at += 1 + secrets;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::table;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(|word| if word == "''" { b"" } else { word.as_bytes() }).collect()
    }

    /// A line each, and what is shown of it; `-` is hidden.
    #[test]
    fn passwords_are_not_shown() {
        for (line, expected) in [
            ("AUTH secret", "AUTH -"),
            ("auth user secret", "auth - -"),
            ("auth user secret more", "auth - - -"),
            ("auth", "auth"),
            ("HELLO 3 AUTH u secret SETNAME x", "HELLO 3 AUTH - - SETNAME x"),
            ("hello 2 setname y auth u secret", "hello 2 setname y auth - -"),
            ("hello 2 auth secret", "hello 2 auth -"),
            ("hello 9 auth u secret", "hello 9 auth - -"),
            ("hello auth u secret", "hello auth - -"),
            ("hello 2 auth u s auth u s", "hello 2 auth - - auth - -"),
            ("hello 2 setname auth auth u secret", "hello 2 setname auth - - -"),
            ("hello 2 auth u", "hello 2 auth -"),
            ("hello", "hello"),
            ("hello 2 setname secretary", "hello 2 setname secretary"),
            ("acl setuser bob on >secret ~*", "acl setuser - - - -"),
            ("acl getuser bob", "acl getuser bob"),
            ("acl deluser bob", "acl deluser bob"),
            ("config set requirepass secret", "config set requirepass -"),
            ("config set maxmemory 0 REQUIREPASS secret hz 9", "config set maxmemory 0 REQUIREPASS - hz 9"),
            ("config set masterauth s masteruser u", "config set masterauth - masteruser -"),
            ("config set requirepass", "config set requirepass"),
            ("config set requirepass s more", "config set requirepass - more"),
            ("config set resp requirepass hz 9", "config set resp requirepass hz 9"),
            ("config get requirepass", "config get requirepass"),
            ("migrate h 1 k 0 5 AUTH secret COPY", "migrate h 1 k 0 5 AUTH - COPY"),
            ("migrate h 1 k 0 5 auth2 u secret", "migrate h 1 k 0 5 auth2 - -"),
            ("migrate h 1 '' 0 5 AUTH2 u", "migrate h 1 '' 0 5 AUTH2 -"),
            ("migrate h 1 '' 0 5 KEYS auth b", "migrate h 1 '' 0 5 KEYS auth b"),
            ("mget h 1 k 0 5 AUTH a", "mget h 1 k 0 5 AUTH a"),
        ] {
            let asked = words(line);
            let entry = table().find(asked[0]).unwrap();
            let entry = asked.get(1).and_then(|word| entry.subcommand(word)).unwrap_or(entry);
            let expected: Vec<&[u8]> =
                words(expected).iter().map(|word| if *word == b"-" { HIDDEN } else { *word }).collect();
            assert_eq!(without_passwords(entry, &asked), expected, "{line}");
        }
    }
}

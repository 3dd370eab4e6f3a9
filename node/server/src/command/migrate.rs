//! `MIGRATE`: keys to another server, over a connection of the node's own.
//!
//! The handler says what is to go where. The client's connection carries it out, while its worker serves others
//! ([`crate::migration`]).

use super::{Call, Command, CommandError, Flags, Group, Keys, Merge, number};
use crate::client::Order;
use crate::limits::MIGRATE_TIMEOUT_MAX;
use crate::migration::{Credentials, Migration};
use std::time::Duration;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command {
    name: "migrate",
    arity: -6,
    // A transaction and a script hold their keys until they end, and what waits for another server would hold them too.
    flags: Flags::WRITE.union(Flags::DANGEROUS).union(Flags::NO_SCRIPT).union(Flags::NO_MULTI),
    keys: Keys::Computed(migrated_keys),
    handler: migrate,
    since: "2.6.0",
    summary: "Move keys to another server, or copy them there",
    group: Group::Generic,
    complexity: "Of each key that of DUMP and DEL here, and of RESTORE there",
    merge: Merge::Writes(
        "Removes what its region had observed, as DEL does: MIGRATE ‖ SET: the SET stands, and the target has what was there before; a key that changes in its region until the target has answered stays",
    ),
    subcommands: &[],
}];

/// Where the keys are: behind `KEYS`, or where the one key stands. Nothing if both say something.
fn migrated_keys(args: &[&[u8]]) -> Option<Vec<usize>> {
    let mut at = OPTIONS;
    while let Some(word) = args.get(at) {
        if word.eq_ignore_ascii_case(b"keys") {
            return match args.len() - at - 1 {
                _ if !args[KEY].is_empty() => None,
                0 => Some(vec![KEY]),
                _ => Some((at + 1..args.len()).collect()),
            };
        }
        at += 1 + secrets_behind(word);
    }
    Some(vec![KEY])
}

/// How many words behind an option are secrets, and may be any words.
pub(super) fn secrets_behind(option: &[u8]) -> usize {
    if option.eq_ignore_ascii_case(b"auth") {
        1
    } else if option.eq_ignore_ascii_case(b"auth2") {
        2
    } else {
        0
    }
}

const HOST: usize = 1;
const PORT: usize = 2;
const KEY: usize = 3;
const DATABASE: usize = 4;
const TIMEOUT: usize = 5;
/// Where its options begin.
pub(super) const OPTIONS: usize = 6;

/// The options of `MIGRATE`.
#[derive(Default)]
struct Options {
    copies: bool,
    replaces: bool,
    credentials: Option<Credentials>,
    /// Where the keys begin that follow `KEYS`.
    keys: Option<usize>,
}

impl Options {
    fn parse(args: &[&[u8]]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut at = OPTIONS;
        let word_at = |at: usize| args.get(at).copied().ok_or(CommandError::Syntax);
        while let Some(word) = args.get(at) {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is("copy") {
                options.copies = true;
            } else if is("replace") {
                options.replaces = true;
            } else if is("auth") {
                options.credentials = Some(Credentials::new(None, word_at(at + 1)?));
                at += 1;
            } else if is("auth2") {
                options.credentials = Some(Credentials::new(Some(word_at(at + 1)?), word_at(at + 2)?));
                at += 2;
            } else if is("keys") {
                if !args[KEY].is_empty() {
                    return Err(CommandError::Plain(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                options.keys = Some(at + 1);
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}

fn migrate(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let Options { copies, replaces, credentials, keys } = Options::parse(args)?;
    let timeout = number::integer(args[TIMEOUT])?;
    let target_database = number::integer(args[DATABASE])?;
    let from = call.db();
    let named = match keys {
        Some(first) => &args[first..],
        None => &args[KEY..=KEY],
    };
    let there: Vec<Box<[u8]>> =
        named.iter().filter(|key| call.store.kind(from, key).is_some()).map(|key| Box::from(*key)).collect();
    if there.is_empty() {
        call.reply.simple("NOKEY");
        return Ok(());
    }
    let timeout = u64::try_from(timeout).ok().filter(|ms| *ms > 0).map_or(TIMEOUT_DEFAULT, Duration::from_millis);
    call.client.order = Some(Order::Migration(Box::new(Migration {
        host: String::from_utf8_lossy(args[HOST]).into_owned(),
        port: std::str::from_utf8(args[PORT]).ok().and_then(|port| port.parse().ok()),
        credentials,
        from,
        target_database,
        keys: there,
        copies,
        replaces,
        timeout: timeout.min(MIGRATE_TIMEOUT_MAX),
        quiet_for: call.client.quiet_for(),
    })));
    Ok(())
}

/// Where none is given, as in Redis.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Caller, node};
    use std::sync::Arc;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(|word| if word == "''" { b"" } else { word.as_bytes() }).collect()
    }

    #[test]
    fn keys_stand_in_their_place_or_behind_keys() {
        let cases: &[(&str, Option<&[usize]>)] = &[
            ("migrate h 1 k 0 5", Some(&[3])),
            ("migrate h 1 k 0 5 COPY REPLACE", Some(&[3])),
            ("migrate h 1 '' 0 5 COPY KEYS a b", Some(&[8, 9])),
            ("migrate h 1 '' 0 5 AUTH keys KEYS a", Some(&[9])),
            ("migrate h 1 '' 0 5 AUTH2 keys keys keys keys a", Some(&[10, 11])),
            ("migrate h 1 '' 0 5 AUTH KEYS", Some(&[3])),
            ("migrate h 1 '' 0 5 KEYS", Some(&[3])),
            ("migrate h 1 k 0 5 KEYS a", None),
        ];
        for (line, expected) in cases {
            assert_eq!(migrated_keys(&words(line)).as_deref(), *expected, "{line}");
        }
    }

    #[test]
    fn what_would_wait_in_a_transaction_or_a_script_is_refused() {
        let mut caller = Caller::new(&Arc::new(node()));
        caller.call("SET k v");
        caller.call("MULTI");
        assert_eq!(caller.call("MIGRATE 127.0.0.1 1 k 0 5"), "-ERR Command not allowed inside a transaction\r\n");
        assert!(caller.call("EXEC").starts_with("-EXECABORT"));
        let script = b"return redis.call('migrate', '127.0.0.1', '1', KEYS[1], '0', '5')";
        let refused = caller.call_bytes(&[b"EVAL", script, b"1", b"k"]);
        let refused = String::from_utf8_lossy(&refused).into_owned();
        assert!(refused.starts_with("-ERR This Redis command is not allowed from script"), "{refused}");
        assert_eq!(caller.call("EXISTS k"), ":1\r\n");
    }
}

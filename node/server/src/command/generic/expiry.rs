//! How long keys live: deadlines set, lifted and shown.

use crate::command::deadline::{self, Measure};
use crate::command::number;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crdt::UnixMillis;
use keyspace::{EventClass, Lifetime};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "expire",
        arity: -3,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: expire,
        since: "1.0.0",
        summary: "Set a key's time to live in seconds",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Writes(
            "EXPIRE ‖ EXPIRE, PERSIST or SET: the longest life stands, no TTL is the longest; a deadline that has passed removes what its region had observed, so EXPIRE ‖ write: the write stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "pexpire",
        arity: -3,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: pexpire,
        since: "2.6.0",
        summary: "Set a key's time to live in milliseconds",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Writes(
            "PEXPIRE ‖ PEXPIRE, PERSIST or SET: the longest life stands, no TTL is the longest; a deadline that has passed removes what its region had observed, so PEXPIRE ‖ write: the write stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "expireat",
        arity: -3,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: expireat,
        since: "1.2.0",
        summary: "Set the expiration for a key as a UNIX timestamp",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Writes(
            "EXPIREAT ‖ EXPIREAT, PERSIST or SET: the longest life stands, no TTL is the longest; a deadline that has passed removes what its region had observed, so EXPIREAT ‖ write: the write stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "pexpireat",
        arity: -3,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: pexpireat,
        since: "2.6.0",
        summary: "Set the expiration for a key as a UNIX timestamp specified in milliseconds",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Writes(
            "PEXPIREAT ‖ PEXPIREAT, PERSIST or SET: the longest life stands, no TTL is the longest; a deadline that has passed removes what its region had observed, so PEXPIREAT ‖ write: the write stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "ttl",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: ttl,
        since: "1.0.0",
        summary: "Get the time to live for a key in seconds",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "pttl",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: pttl,
        since: "2.6.0",
        summary: "Get the time to live for a key in milliseconds",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "expiretime",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: expiretime,
        since: "7.0.0",
        summary: "Get the expiration Unix timestamp for a key",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "pexpiretime",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: pexpiretime,
        since: "7.0.0",
        summary: "Get the expiration Unix timestamp for a key in milliseconds",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "persist",
        arity: 2,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: persist,
        since: "2.2.0",
        summary: "Remove the expiration from a key",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Writes("PERSIST ‖ EXPIRE: no TTL stands, because it is the longest life"),
        subcommands: &[],
    },
];

/// When `EXPIRE` and `HEXPIRE` write.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::command) struct Conditions {
    if_none: bool,
    if_any: bool,
    if_later: bool,
    if_sooner: bool,
}

impl Conditions {
    /// The condition that a word stands for.
    pub(in crate::command) fn of_word(word: &[u8]) -> Option<Self> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let (if_none, if_any, if_later, if_sooner) = (is(b"nx"), is(b"xx"), is(b"gt"), is(b"lt"));
        let one = Self { if_none, if_any, if_later, if_sooner };
        (one != Self::default()).then_some(one)
    }

    fn parse(args: &[&[u8]]) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        for word in args {
            let Some(one) = Self::of_word(word) else {
                let text = format!("ERR Unsupported option {}", String::from_utf8_lossy(word));
                return Err(CommandError::Detailed(text));
            };
            conditions.if_none |= one.if_none;
            conditions.if_any |= one.if_any;
            conditions.if_later |= one.if_later;
            conditions.if_sooner |= one.if_sooner;
        }
        if conditions.if_none && (conditions.if_any || conditions.if_later || conditions.if_sooner) {
            return Err(CommandError::Plain("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.if_later && conditions.if_sooner {
            return Err(CommandError::Plain("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Whether `deadline` may take the place of `current`. No expiry counts as the latest.
    pub(in crate::command) fn allow(self, current: Lifetime, deadline: i64) -> bool {
        let current = match current {
            Lifetime::Never => None,
            Lifetime::Until(current) => Some(i128::from(current)),
        };
        let deadline = i128::from(deadline);
        !(self.if_none && current.is_some()
            || self.if_any && current.is_none()
            || self.if_later && current.is_none_or(|current| deadline <= current)
            || self.if_sooner && current.is_some_and(|current| deadline >= current))
    }
}

fn expire(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    set_expiry(call, args, Measure::Seconds, "expire")
}

fn pexpire(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    set_expiry(call, args, Measure::Millis, "pexpire")
}

fn expireat(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    set_expiry(call, args, Measure::UnixSeconds, "expireat")
}

fn pexpireat(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    set_expiry(call, args, Measure::UnixMillis, "pexpireat")
}

fn set_expiry(call: &mut Call<'_, '_>, args: &[&[u8]], measure: Measure, command: &str) -> Result<(), CommandError> {
    let (db, key, now) = (call.db(), args[1], call.now());
    let conditions = Conditions::parse(&args[3..])?;
    let amount = number::integer(args[2])?;
    let deadline = measure.deadline(amount, now).ok_or_else(|| deadline::invalid(command))?;
    let applies = call.store.lifetime(db, key).is_some_and(|current| conditions.allow(current, deadline));
    if applies {
        match UnixMillis::try_from(deadline) {
            Ok(deadline) if deadline > now => {
                call.store.set_lifetime(db, key, Lifetime::Until(deadline));
                call.store.note(EventClass::GENERIC, "expire", db, key);
            }
            // What is over already is a removal.
            Ok(_) | Err(_) => {
                call.store.delete(db, key);
                call.store.note(EventClass::GENERIC, "del", db, key);
            }
        }
    }
    call.reply.integer(i64::from(applies));
    Ok(())
}

fn ttl(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    write_lifetime(call, args[1], |deadline, now| rounded_seconds(deadline - now))
}

fn pttl(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    write_lifetime(call, args[1], |deadline, now| deadline - now)
}

fn expiretime(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    write_lifetime(call, args[1], |deadline, _now| rounded_seconds(deadline))
}

fn pexpiretime(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    write_lifetime(call, args[1], |deadline, _now| deadline)
}

/// The nearest second.
const fn rounded_seconds(millis: i64) -> i64 {
    millis / 1000 + (millis % 1000 >= 500) as i64
}

/// Answers a deadline as `shown` shows it, -1 for none, -2 for no key.
fn write_lifetime(call: &mut Call<'_, '_>, key: &[u8], shown: fn(i64, i64) -> i64) -> Result<(), CommandError> {
    let db = call.db();
    let answer = match call.store.lifetime(db, key) {
        None => -2,
        Some(Lifetime::Never) => -1,
        Some(Lifetime::Until(deadline)) => {
            let as_signed = |millis| i64::try_from(millis).unwrap_or(i64::MAX - 500);
            shown(as_signed(deadline), as_signed(call.now())).max(0)
        }
    };
    call.reply.integer(answer);
    Ok(())
}

fn persist(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let persists = match call.store.lifetime(db, key) {
        None | Some(Lifetime::Never) => false,
        Some(Lifetime::Until(_)) => call.store.set_lifetime(db, key, Lifetime::Never),
    };
    if persists {
        call.store.note(EventClass::GENERIC, "persist", db, key);
    }
    call.reply.integer(i64::from(persists));
    Ok(())
}

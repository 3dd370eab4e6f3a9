//! Strings: whole values, read and written, with or without an expiry.
//!
//! Counters and the longest common subsequence have files of their own.

pub mod counter;
pub mod lcs;

use super::deadline::{self, Measure};
use super::number;
use super::pairs::last_of_each;
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crdt::patch::Piece;
use keyspace::{EventClass, Lifetime, NewLifetime, WrongKind};
use std::slice;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "set",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ONE,
        handler: set,
        since: "1.0.0",
        summary: "Set the string value of a key",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "SET ‖ SET: the later stamp stands, with the longest life any of them gave; DEL ‖ SET: the SET stands; SET v ‖ INCRBY a: v plus a; NX and XX are decided by the region alone",
        ),
        subcommands: &[],
    },
    Command {
        name: "setnx",
        arity: 3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: setnx,
        since: "1.0.0",
        summary: "Set the value of a key, only if the key does not exist",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "Decided by the region alone: SETNX ‖ SETNX may both answer 1, then the later stamp stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "setex",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ONE,
        handler: setex,
        since: "2.0.0",
        summary: "Set the value and expiration of a key",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "The later stamp stands, with the longest life any of the concurrent writes gave; DEL ‖ SETEX: the SETEX stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "psetex",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ONE,
        handler: psetex,
        since: "2.6.0",
        summary: "Set the value and expiration in milliseconds of a key",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "The later stamp stands, with the longest life any of the concurrent writes gave; DEL ‖ PSETEX: the PSETEX stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "get",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: get,
        since: "1.0.0",
        summary: "Get the value of a key",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "getset",
        arity: 3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: getset,
        since: "1.0.0",
        summary: "Set the string value of a key and return its old value",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "A write of the whole value: GETSET ‖ SET: the later stamp stands; GETSET ‖ GETSET may both answer the same old value",
        ),
        subcommands: &[],
    },
    Command {
        name: "getdel",
        arity: 2,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: getdel,
        since: "6.2.0",
        summary: "Get the value of a key and delete the key",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "Removes what its region had observed: GETDEL ‖ SET: the SET stands; GETDEL ‖ GETDEL may both answer the value, which is gone afterwards",
        ),
        subcommands: &[],
    },
    Command {
        name: "getex",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: getex,
        since: "6.2.0",
        summary: "Get the value of a key and optionally set its expiration",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "GETEX ‖ GETEX or EXPIRE: the longest life stands, no TTL is the longest; a deadline that has passed removes what its region had observed, so GETEX ‖ SET: the SET stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "mget",
        arity: -2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ALL,
        handler: mget,
        since: "1.0.0",
        summary: "Get the values of all the given keys",
        group: Group::String,
        complexity: "O(N) where N is the number of keys to retrieve",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "mset",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::PAIRS,
        handler: mset,
        since: "1.0.1",
        summary: "Set multiple keys to multiple values",
        group: Group::String,
        complexity: "O(N) where N is the number of keys to set",
        merge: Merge::Writes("Key by key as for SET: the later stamp stands; another region sees all the keys at once"),
        subcommands: &[],
    },
    Command {
        name: "msetnx",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::PAIRS,
        handler: msetnx,
        since: "1.0.1",
        summary: "Set multiple keys to multiple values, only if none of the keys exist",
        group: Group::String,
        complexity: "O(N) where N is the number of keys to set",
        merge: Merge::Writes(
            "Decided by the region alone: MSETNX ‖ MSETNX may both answer 1, then the later stamp stands on every key both wrote",
        ),
        subcommands: &[],
    },
    Command {
        name: "append",
        arity: 3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST).union(Flags::GROWS),
        keys: Keys::ONE,
        handler: append,
        since: "2.0.0",
        summary: "Append a value to a key",
        group: Group::String,
        complexity: "O(N) where N is the length of the resulting string",
        merge: Merge::Writes(
            "APPEND ‖ APPEND: both texts, in the order of their stamps, everywhere. APPEND ‖ SET: the later stamp, or the text behind that of the SET if it is the later. DEL ‖ APPEND: the text of the APPEND stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "strlen",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: strlen,
        since: "2.2.0",
        summary: "Get the length of the value stored in a key",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "setrange",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ONE,
        handler: setrange,
        since: "2.2.0",
        summary: "Overwrite part of a string at key starting at the specified offset",
        group: Group::String,
        complexity: "O(N) where N is the length of the resulting string",
        merge: Merge::Writes(
            "SETRANGE ‖ SETRANGE: both; of one byte the later stamp. SETRANGE ‖ SET: the later stamp, or the range over the SET if it is the later. DEL ‖ SETRANGE: the range stands, over zeros",
        ),
        subcommands: &[],
    },
    Command {
        name: "getrange",
        arity: 4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: getrange,
        since: "2.4.0",
        summary: "Get a substring of the string stored at a key",
        group: Group::String,
        complexity: "O(N) where N is the length of the returned string",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "substr",
        arity: 4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: getrange,
        since: "1.0.0",
        summary: "Get a substring of the string stored at a key",
        group: Group::String,
        complexity: "O(N) where N is the length of the returned string",
        merge: Merge::Reads,
        subcommands: &[],
    },
];

/// When `SET` writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

/// What the options of `SET` and `GETEX` say about the key's life.
#[derive(Clone, Copy)]
enum LifeOption<'a> {
    /// Nothing.
    None,
    /// `KEEPTTL`.
    Keep,
    /// `PERSIST`.
    Persist,
    /// `EX`, `PX`, `EXAT`, `PXAT` and their amount.
    Until(Measure, &'a [u8]),
}

impl<'a> LifeOption<'a> {
    /// The life after one more word about it. Two different words exclude each other; the same one again counts anew.
    fn and(self, next: LifeOption<'a>) -> Result<Self, CommandError> {
        let same = match (self, next) {
            (LifeOption::None, _)
            | (LifeOption::Keep, LifeOption::Keep)
            | (LifeOption::Persist, LifeOption::Persist) => true,
            (LifeOption::Until(one, _), LifeOption::Until(other, _)) => one == other,
            (LifeOption::Keep | LifeOption::Persist | LifeOption::Until(..), _) => false,
        };
        if same { Ok(next) } else { Err(CommandError::Syntax) }
    }
}

struct SetOptions<'a> {
    condition: Condition,
    answers_old: bool,
    life: LifeOption<'a>,
}

impl<'a> SetOptions<'a> {
    fn parse(args: &[&'a [u8]]) -> Result<Self, CommandError> {
        let mut options = Self { condition: Condition::Always, answers_old: false, life: LifeOption::None };
        let mut rest = args.iter();
        while let Some(&word) = rest.next() {
            if word.eq_ignore_ascii_case(b"nx") && options.condition != Condition::IfPresent {
                options.condition = Condition::IfAbsent;
            } else if word.eq_ignore_ascii_case(b"xx") && options.condition != Condition::IfAbsent {
                options.condition = Condition::IfPresent;
            } else if word.eq_ignore_ascii_case(b"get") {
                options.answers_old = true;
            } else if word.eq_ignore_ascii_case(b"keepttl") {
                options.life = options.life.and(LifeOption::Keep)?;
            } else {
                options.life = options.life.and(expiry_option(word, &mut rest)?)?;
            }
        }
        Ok(options)
    }
}

/// `EX`, `PX`, `EXAT` or `PXAT` with the amount that follows.
fn expiry_option<'a>(word: &[u8], rest: &mut slice::Iter<'_, &'a [u8]>) -> Result<LifeOption<'a>, CommandError> {
    let measure = Measure::of_option(word).ok_or(CommandError::Syntax)?;
    let &amount = rest.next().ok_or(CommandError::Syntax)?;
    Ok(LifeOption::Until(measure, amount))
}

fn set(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    if args.len() == 3 {
        call.store.put_string(db, key, args[2], NewLifetime::Set(Lifetime::Never));
        call.store.note(EventClass::STRING, "set", db, key);
        call.reply.ok();
        return Ok(());
    }
    let options = SetOptions::parse(&args[3..])?;
    let lifetime = match options.life {
        LifeOption::None | LifeOption::Persist => NewLifetime::Set(Lifetime::Never),
        LifeOption::Keep => NewLifetime::Keep,
        LifeOption::Until(measure, amount) => {
            NewLifetime::Set(Lifetime::Until(deadline::positive(amount, measure, call.now(), "set")?))
        }
    };
    if options.answers_old {
        write_string(call, key)?;
    }
    let writes = match options.condition {
        Condition::Always => true,
        Condition::IfAbsent => call.store.kind(db, key).is_none(),
        Condition::IfPresent => call.store.kind(db, key).is_some(),
    };
    if writes {
        call.store.put_string(db, key, args[2], lifetime);
        call.store.note(EventClass::STRING, "set", db, key);
        if matches!(options.life, LifeOption::Until(..)) {
            call.store.note(EventClass::GENERIC, "expire", db, key);
        }
    }
    match (options.answers_old, writes) {
        (true, _) => {}
        (false, true) => call.reply.ok(),
        (false, false) => call.reply.null(),
    }
    Ok(())
}

fn setnx(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let absent = call.store.kind(db, key).is_none();
    if absent {
        call.store.put_string(db, key, args[2], NewLifetime::Set(Lifetime::Never));
        call.store.note(EventClass::STRING, "set", db, key);
    }
    call.reply.integer(i64::from(absent));
    Ok(())
}

fn setex(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    set_with_expiry(call, args, Measure::Seconds, "setex")
}

fn psetex(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    set_with_expiry(call, args, Measure::Millis, "psetex")
}

fn set_with_expiry(
    call: &mut Call<'_, '_>,
    args: &[&[u8]],
    measure: Measure,
    command: &str,
) -> Result<(), CommandError> {
    let deadline = deadline::positive(args[2], measure, call.now(), command)?;
    let db = call.db();
    call.store.put_string(db, args[1], args[3], NewLifetime::Set(Lifetime::Until(deadline)));
    call.store.note(EventClass::STRING, "set", db, args[1]);
    call.store.note(EventClass::GENERIC, "expire", db, args[1]);
    call.reply.ok();
    Ok(())
}

/// Answers the string at `key`, or null.
fn write_string(call: &mut Call<'_, '_>, key: &[u8]) -> Result<bool, CommandError> {
    let db = call.db();
    match call.store.string(db, key)? {
        Some(value) => {
            call.reply.bulk(&value);
            Ok(true)
        }
        None => {
            call.reply.null();
            Ok(false)
        }
    }
}

fn get(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    write_string(call, args[1])?;
    Ok(())
}

fn getset(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    write_string(call, args[1])?;
    let db = call.db();
    call.store.put_string(db, args[1], args[2], NewLifetime::Set(Lifetime::Never));
    call.store.note(EventClass::STRING, "set", db, args[1]);
    Ok(())
}

fn getdel(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if write_string(call, args[1])? {
        let db = call.db();
        call.store.delete(db, args[1]);
        call.store.note(EventClass::GENERIC, "del", db, args[1]);
    }
    Ok(())
}

fn getex(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let mut life = LifeOption::None;
    let mut rest = args[2..].iter();
    while let Some(&word) = rest.next() {
        let next =
            if word.eq_ignore_ascii_case(b"persist") { LifeOption::Persist } else { expiry_option(word, &mut rest)? };
        life = life.and(next)?;
    }
    // SUBTLE: an absent key is answered before its expiry is judged, as in Redis.
    if call.store.string(db, key)?.is_none() {
        call.reply.null();
        return Ok(());
    }
    let lifetime = match life {
        LifeOption::None | LifeOption::Keep => None,
        LifeOption::Persist => Some(Lifetime::Never),
        LifeOption::Until(measure, amount) => {
            Some(Lifetime::Until(deadline::positive(amount, measure, call.now(), "getex")?))
        }
    };
    write_string(call, key)?;
    match lifetime {
        None => {}
        Some(Lifetime::Until(deadline)) if deadline <= call.now() => {
            call.store.delete(db, key);
            call.store.note(EventClass::GENERIC, "del", db, key);
        }
        Some(Lifetime::Never) if call.store.lifetime(db, key) == Some(Lifetime::Never) => {}
        Some(lifetime @ (Lifetime::Never | Lifetime::Until(_))) => {
            call.store.set_lifetime(db, key, lifetime);
            let event = if lifetime == Lifetime::Never { "persist" } else { "expire" };
            call.store.note(EventClass::GENERIC, event, db, key);
        }
    }
    Ok(())
}

fn mget(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    call.reply.array(args.len() - 1);
    for key in &args[1..] {
        match call.store.string(db, key) {
            Ok(Some(value)) => call.reply.bulk(&value),
            Ok(None) | Err(WrongKind) => call.reply.null(),
        }
    }
    Ok(())
}

fn mset(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    put_pairs(call, "mset", args)?;
    call.reply.ok();
    Ok(())
}

fn msetnx(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity("msetnx"));
    }
    let db = call.db();
    if args[1..].iter().step_by(2).any(|key| call.store.kind(db, key).is_some()) {
        call.reply.integer(0);
        return Ok(());
    }
    put_pairs(call, "msetnx", args)?;
    call.reply.integer(1);
    Ok(())
}

/// Writes every key with its value; of a key named twice the last.
fn put_pairs(call: &mut Call<'_, '_>, command: &'static str, args: &[&[u8]]) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity(command));
    }
    let db = call.db();
    for (key, value) in last_of_each(&args[1..]) {
        call.store.put_string(db, key, value, NewLifetime::Set(Lifetime::Never));
    }
    // One that is named twice was set twice.
    args[1..].iter().step_by(2).for_each(|key| call.store.note(EventClass::STRING, "set", db, key));
    Ok(())
}

fn append(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, tail) = (call.db(), args[1], args[2]);
    let length_max = string_bytes_max(call);
    let length = call.store.string(db, key)?.map_or(0, |head| head.len());
    check_length(length, tail.len(), length_max)?;
    let mut patch = Vec::with_capacity(tail.len() + 8);
    Piece::Append(tail).encode(&mut patch);
    call.store.patch_string(db, key, &patch);
    call.store.note(EventClass::STRING, "append", db, key);
    call.reply.integer((length + tail.len()) as i64);
    Ok(())
}

/// Bytes a string may grow to: the setting that Redis has for it.
pub(super) fn string_bytes_max(call: &Call<'_, '_>) -> u64 {
    call.node.config.load().proto_max_bulk_len
}

/// Refuses a string that would be too long.
fn check_length(offset: usize, more: usize, length_max: u64) -> Result<(), CommandError> {
    match offset.checked_add(more) {
        Some(length) if length as u64 <= length_max => Ok(()),
        Some(_) | None => Err(CommandError::Plain("ERR string exceeds maximum allowed size (proto-max-bulk-len)")),
    }
}

fn strlen(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let length = call.store.string(db, args[1])?.map_or(0, |value| value.len());
    call.reply.integer(length as i64);
    Ok(())
}

fn setrange(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, patch) = (call.db(), args[1], args[3]);
    let offset = number::integer(args[2])?;
    let offset = usize::try_from(offset).map_err(|_| CommandError::Plain("ERR offset is out of range"))?;
    let length_max = string_bytes_max(call);
    let mut length = call.store.string(db, key)?.map_or(0, |value| value.len());
    if !patch.is_empty() {
        check_length(offset, patch.len(), length_max)?;
        length = length.max(offset + patch.len());
        let mut pieces = Vec::with_capacity(patch.len() + 16);
        Piece::Range { offset: offset as u64, bytes: patch }.encode(&mut pieces);
        call.store.patch_string(db, key, &pieces);
        call.store.note(EventClass::STRING, "setrange", db, key);
    }
    call.reply.integer(length as i64);
    Ok(())
}

fn getrange(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (start, end) = (number::integer(args[2])?, number::integer(args[3])?);
    let db = call.db();
    let value = call.store.string(db, args[1])?.unwrap_or_default();
    let range = number::range(start, end, value.len() as u64).filter(|_| !number::is_reversed(start, end));
    match range {
        Some((first, last)) => call.reply.bulk(&value[first as usize..=last as usize]),
        None => call.reply.bulk(b""),
    }
    Ok(())
}

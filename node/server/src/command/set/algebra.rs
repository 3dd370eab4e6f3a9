//! What several sets have in common, have together, or have without each other.
//!
//! Sets are copied out one after the other: their slots are locked all along, so no set changes in between.

use crate::command::members::Names;
use crate::command::number;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use keyspace::{Access, Database, EventClass, WrongKind};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "sinter",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ALL,
        handler: sinter,
        since: "1.0.0",
        summary: "Intersect multiple sets",
        group: Group::Set,
        complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "sinterstore",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ALL,
        handler: sinterstore,
        since: "1.0.0",
        summary: "Intersect multiple sets and store the resulting set in a key",
        group: Group::Set,
        complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets",
        merge: Merge::Writes(
            "The target loses what its region had observed and gains the result: SINTERSTORE ‖ SINTERSTORE leaves the union of both results; SINTERSTORE ‖ SADD x to the target: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "sintercard",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::Counted { count: 1, also: None },
        handler: sintercard,
        since: "7.0.0",
        summary: "Intersect multiple sets and return the cardinality of the result",
        group: Group::Set,
        complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "sunion",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ALL,
        handler: sunion,
        since: "1.0.0",
        summary: "Add multiple sets",
        group: Group::Set,
        complexity: "O(N) where N is the total number of elements in all given sets",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "sunionstore",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ALL,
        handler: sunionstore,
        since: "1.0.0",
        summary: "Add multiple sets and store the resulting set in a key",
        group: Group::Set,
        complexity: "O(N) where N is the total number of elements in all given sets",
        merge: Merge::Writes(
            "The target loses what its region had observed and gains the result: SUNIONSTORE ‖ SUNIONSTORE leaves the union of both results; SUNIONSTORE ‖ SADD x to the target: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "sdiff",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ALL,
        handler: sdiff,
        since: "1.0.0",
        summary: "Subtract multiple sets",
        group: Group::Set,
        complexity: "O(N) where N is the total number of elements in all given sets",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "sdiffstore",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ALL,
        handler: sdiffstore,
        since: "1.0.0",
        summary: "Subtract multiple sets and store the resulting set in a key",
        group: Group::Set,
        complexity: "O(N) where N is the total number of elements in all given sets",
        merge: Merge::Writes(
            "The target loses what its region had observed and gains the result: SDIFFSTORE ‖ SDIFFSTORE leaves the union of both results; SDIFFSTORE ‖ SADD x to the target: x stands",
        ),
        subcommands: &[],
    },
];

fn sinter(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, &args[1..], intersection)
}

fn sunion(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, &args[1..], union)
}

fn sdiff(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    answer(call, &args[1..], difference)
}

fn sinterstore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    store(call, "sinterstore", args, intersection)
}

fn sunionstore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    store(call, "sunionstore", args, union)
}

fn sdiffstore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    store(call, "sdiffstore", args, difference)
}

fn sintercard(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let keys = number::parse_integer(args[1])
        .and_then(|number| usize::try_from(number).ok())
        .filter(|&number| number > 0)
        .ok_or(CommandError::Plain("ERR numkeys should be greater than 0"))?;
    let rest = &args[2..];
    if keys > rest.len() {
        return Err(CommandError::Plain("ERR Number of keys can't be greater than number of args"));
    }
    let (keys, options) = rest.split_at(keys);
    let mut limit = 0;
    for option in options.chunks(2) {
        match option {
            [word, value] if word.eq_ignore_ascii_case(b"limit") => {
                limit = number::count(value, "ERR LIMIT can't be negative")?;
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    let db = call.db();
    let length = intersection(call.store, db, keys)?.len();
    call.reply.integer(if limit == 0 { length } else { length.min(limit) } as i64);
    Ok(())
}

type Algebra = fn(&mut Access<'_>, Database, &[&[u8]]) -> Result<Names, WrongKind>;

fn answer(call: &mut Call<'_, '_>, keys: &[&[u8]], algebra: Algebra) -> Result<(), CommandError> {
    let db = call.db();
    let result = algebra(call.store, db, keys)?;
    call.reply.set(result.len());
    result.write_to(call.reply);
    Ok(())
}

fn store(call: &mut Call<'_, '_>, event: &str, args: &[&[u8]], algebra: Algebra) -> Result<(), CommandError> {
    let (db, target) = (call.db(), args[1]);
    let result = algebra(call.store, db, &args[2..])?;
    // The target is removed as it was observed, whatever its type, and born again.
    let was_there = call.store.delete(db, target);
    for member in result.iter() {
        call.store.add_member(db, target, member)?;
    }
    call.store.note_stored(EventClass::SET, event, db, target, was_there);
    call.reply.integer(result.len() as i64);
    Ok(())
}

fn members(store: &mut Access<'_>, db: Database, key: &[u8], into: &mut Names) -> Result<(), WrongKind> {
    if let Some(members) = store.set(db, key)? {
        members.iter().for_each(|(member, _)| into.push(member));
    }
    Ok(())
}

/// The members of all sets. Starts from the smallest, so that the others are only asked for what it holds.
fn intersection(store: &mut Access<'_>, db: Database, keys: &[&[u8]]) -> Result<Names, WrongKind> {
    let mut smallest = (usize::MAX, 0);
    for (index, key) in keys.iter().enumerate() {
        // Every key is asked for its type, also once the answer is known to be empty, as in Redis.
        smallest = smallest.min((store.set(db, key)?.map_or(0, |members| members.len()), index));
    }
    let mut shared = Names::new();
    members(store, db, keys[smallest.1], &mut shared)?;
    for (index, key) in keys.iter().enumerate() {
        if index != smallest.1
            && !shared.is_empty()
            && let Some(members) = store.set(db, key)?
        {
            shared.retain(|member| members.contains(member));
        }
    }
    Ok(shared)
}

/// The members of any set.
fn union(store: &mut Access<'_>, db: Database, keys: &[&[u8]]) -> Result<Names, WrongKind> {
    let mut all = Names::new();
    for key in keys {
        members(store, db, key, &mut all)?;
    }
    Ok(if keys.len() > 1 { all.without_repeats() } else { all })
}

/// The members of the first set that no other has.
fn difference(store: &mut Access<'_>, db: Database, keys: &[&[u8]]) -> Result<Names, WrongKind> {
    let mut left = Names::new();
    members(store, db, keys[0], &mut left)?;
    for key in &keys[1..] {
        if let Some(members) = store.set(db, key)? {
            left.retain(|member| !members.contains(member));
        }
    }
    Ok(left)
}

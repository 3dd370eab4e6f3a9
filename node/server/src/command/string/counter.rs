//! Counters: strings that hold a number, to which every region adds its own contribution.
//!
//! A handler checks what Redis checks against the value its region reads; the sum over all regions is the keyspace's.

use crate::command::number;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crdt::ExactFloat;
use keyspace::{Delta, EventClass};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "incr",
        arity: 2,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: incr,
        since: "1.0.0",
        summary: "Increment the integer value of a key by one",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "INCR ‖ INCR: both count; SET v ‖ INCR: v plus 1; DEL ‖ INCR: 1; SET abc ‖ INCR: the text stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "decr",
        arity: 2,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: decr,
        since: "1.0.0",
        summary: "Decrement the integer value of a key by one",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "DECR ‖ DECR: both count; SET v ‖ DECR: v minus 1; DEL ‖ DECR: -1; SET abc ‖ DECR: the text stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "incrby",
        arity: 3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: incrby,
        since: "1.0.0",
        summary: "Increment the integer value of a key by the given amount",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "INCRBY a ‖ INCRBY b: a plus b is added; SET v ‖ INCRBY a: v plus a; DEL ‖ INCRBY a: a; SET abc ‖ INCRBY: the text stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "decrby",
        arity: 3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: decrby,
        since: "1.0.0",
        summary: "Decrement the integer value of a key by the given number",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "DECRBY a ‖ DECRBY b: a plus b is taken off; SET v ‖ DECRBY a: v minus a; DEL ‖ DECRBY a: -a; SET abc ‖ DECRBY: the text stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "incrbyfloat",
        arity: 3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: incrbyfloat,
        since: "2.6.0",
        summary: "Increment the float value of a key by the given amount",
        group: Group::String,
        complexity: "O(1)",
        merge: Merge::Writes(
            "INCRBYFLOAT a ‖ INCRBYFLOAT or INCRBY b: the exact sum is added and rounded once when read; SET v ‖ INCRBYFLOAT a: v plus a; DEL ‖ INCRBYFLOAT a: a",
        ),
        subcommands: &[],
    },
];

fn incr(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    add(call, args[1], 1)
}

fn decr(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    add(call, args[1], -1)
}

fn incrby(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    add(call, args[1], number::integer(args[2])?)
}

fn decrby(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let amount = number::integer(args[2])?;
    let amount = amount.checked_neg().ok_or(CommandError::Plain("ERR decrement would overflow"))?;
    add(call, args[1], amount)
}

fn add(call: &mut Call<'_, '_>, key: &[u8], amount: i64) -> Result<(), CommandError> {
    let db = call.db();
    if let Some(new) = call.store.increment_in_place(db, key, amount) {
        call.store.note(EventClass::STRING, "incrby", db, key);
        call.reply.integer(new);
        return Ok(());
    }
    let old = match call.store.string(db, key)? {
        Some(value) => number::integer(&value)?,
        None => 0,
    };
    let mut new = old.checked_add(amount).ok_or(CommandError::Overflow)?;
    call.store.add_to_string(db, key, Delta::Integer(amount));
    call.store.note(EventClass::STRING, "incrby", db, key);
    // SUBTLE: at the edge the sum of the regions may lie beyond 64 bits and only read as the edge.
    if old == i64::MAX || old == i64::MIN {
        new = call.store.string(db, key)?.as_deref().and_then(number::parse_integer).unwrap_or(new);
    }
    call.reply.integer(new);
    Ok(())
}

fn incrbyfloat(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    const REFUSAL: CommandError = CommandError::Plain("ERR increment would produce NaN or Infinity");
    let (db, key) = (call.db(), args[1]);
    let old = match call.store.string(db, key)? {
        Some(value) => number::float(&value)?,
        None => ExactFloat::default(),
    };
    if number::is_infinite(args[2]) {
        return Err(REFUSAL);
    }
    let amount = number::float(args[2])?;
    if !old.plus(amount).is_finite() {
        return Err(REFUSAL);
    }
    call.store.add_to_string(db, key, Delta::Float(amount));
    call.store.note(EventClass::STRING, "incrbyfloat", db, key);
    // What a region reads is the sum of all contributions, rounded once: so the reply is read, not computed here.
    match call.store.string(db, key)? {
        Some(value) => call.reply.bulk(&value),
        None => call.reply.null(),
    }
    Ok(())
}

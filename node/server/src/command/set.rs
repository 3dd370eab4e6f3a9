//! Sets: members that are there or not, where a concurrent addition wins over a removal.
//!
//! Intersections, unions and differences have a file of their own.

pub mod algebra;

use super::members::Names;
use super::number;
use super::random::{self, Draws};
use super::scan::{self, ScanOptions};
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use keyspace::EventClass;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "sadd",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: sadd,
        since: "1.0.0",
        summary: "Add one or more members to a set",
        group: Group::Set,
        complexity: "O(N) where N is the number of members",
        merge: Merge::Writes("SADD x ‖ SADD y: both members; SADD x ‖ SREM x: x stands; DEL ‖ SADD x: x stands"),
        subcommands: &[],
    },
    Command {
        name: "srem",
        arity: -3,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: srem,
        since: "1.0.0",
        summary: "Remove one or more members from a set",
        group: Group::Set,
        complexity: "O(N) where N is the number of members to be removed",
        merge: Merge::Writes("Removes what its region had observed: SREM x ‖ SADD x: x stands"),
        subcommands: &[],
    },
    Command {
        name: "smembers",
        arity: 2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: smembers,
        since: "1.0.0",
        summary: "Get all the members in a set",
        group: Group::Set,
        complexity: "O(N) where N is the set cardinality",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "sismember",
        arity: 3,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: sismember,
        since: "1.0.0",
        summary: "Determine if a given value is a member of a set",
        group: Group::Set,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "smismember",
        arity: -3,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: smismember,
        since: "6.2.0",
        summary: "Say for each given value whether it is a member of a set",
        group: Group::Set,
        complexity: "O(N) where N is the number of elements being checked for membership",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "scard",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: scard,
        since: "1.0.0",
        summary: "Get the number of members in a set",
        group: Group::Set,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "spop",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: spop,
        since: "1.0.0",
        summary: "Remove and return one or multiple random members from a set",
        group: Group::Set,
        complexity: "Without the count argument O(1), otherwise O(N) where N is the value of the passed count",
        merge: Merge::Writes(
            "SPOP ‖ SPOP may both answer the same member, which is gone afterwards; SPOP of x ‖ SADD x: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "srandmember",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: srandmember,
        since: "1.0.0",
        summary: "Get one or multiple random members from a set",
        group: Group::Set,
        complexity: "Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "smove",
        arity: 4,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::TWO,
        handler: smove,
        since: "1.0.0",
        summary: "Move a member from one set to another",
        group: Group::Set,
        complexity: "O(1)",
        merge: Merge::Writes(
            "A removal here and an addition there: SMOVE ‖ SADD to the source: the member stands in both sets; SMOVE a b ‖ SMOVE a c: it stands in b and in c",
        ),
        subcommands: &[],
    },
    Command {
        name: "sscan",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: sscan,
        since: "2.8.0",
        summary: "Incrementally iterate Set elements",
        group: Group::Set,
        complexity: "O(1) for every call, O(N) for a complete iteration",
        merge: Merge::Reads,
        subcommands: &[],
    },
];

fn sadd(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let mut added = 0;
    for member in &args[2..] {
        added += i64::from(call.store.add_member(db, args[1], member)?);
    }
    if added > 0 {
        call.store.note(EventClass::SET, "sadd", db, args[1]);
    }
    call.reply.integer(added);
    Ok(())
}

fn srem(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let mut removed = 0;
    for member in &args[2..] {
        removed += i64::from(call.store.remove_member(db, args[1], member)?);
    }
    if removed > 0 {
        call.store.note_taken(EventClass::SET, "srem", db, args[1]);
    }
    call.reply.integer(removed);
    Ok(())
}

fn smembers(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let Some(members) = call.store.set(db, args[1])? else {
        call.reply.set(0);
        return Ok(());
    };
    call.reply.set(members.len());
    members.iter().for_each(|(member, _)| call.reply.bulk(member));
    Ok(())
}

fn sismember(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let is_member = call.store.set(db, args[1])?.is_some_and(|members| members.contains(args[2]));
    call.reply.integer(i64::from(is_member));
    Ok(())
}

fn smismember(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let members = call.store.set(db, args[1])?;
    call.reply.array(args.len() - 2);
    for member in &args[2..] {
        let is_member = members.as_ref().is_some_and(|members| members.contains(member));
        call.reply.integer(i64::from(is_member));
    }
    Ok(())
}

fn scard(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let length = call.store.set(db, args[1])?.map_or(0, |members| members.len());
    call.reply.integer(length as i64);
    Ok(())
}

fn spop(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let mut draws = Draws::new(call.random());
    let count = match args[2..] {
        [] => None,
        [count] => Some(number::count(count, "ERR value is out of range, must be positive")?),
        _ => return Err(CommandError::Syntax),
    };
    let mut chosen = Names::new();
    if let Some(members) = call.store.set(db, key)? {
        let elements = random::distinct(&members, count.unwrap_or(1), &mut draws);
        elements.iter().for_each(|(member, _)| chosen.push(member));
    }
    for member in chosen.iter() {
        call.store.remove_member(db, key, member)?;
    }
    if !chosen.is_empty() {
        call.store.note_taken(EventClass::SET, "spop", db, key);
    }
    match count {
        Some(_) => call.reply.set(chosen.len()),
        None if chosen.is_empty() => call.reply.null(),
        None => {}
    }
    chosen.write_to(call.reply);
    Ok(())
}

fn srandmember(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let mut draws = Draws::new(call.random());
    let count = match args[2..] {
        [] => {
            match call.store.set(db, key)?.as_ref().and_then(|members| members.random(draws.next())) {
                Some((member, _)) => call.reply.bulk(member),
                None => call.reply.null(),
            }
            return Ok(());
        }
        [count] => random::signed_count(count)?,
        _ => return Err(CommandError::Syntax),
    };
    match call.store.set(db, key)? {
        Some(members) => random::answer(call.reply, &members, count, false, &mut draws),
        None => {
            call.reply.array(0);
            Ok(())
        }
    }
}

fn smove(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, source, target, member) = (call.db(), args[1], args[2], args[3]);
    let Some(is_member) = call.store.set(db, source)?.map(|members| members.contains(member)) else {
        call.reply.integer(0);
        return Ok(());
    };
    call.store.set(db, target)?;
    if is_member && source != target {
        call.store.remove_member(db, source, member)?;
        call.store.note_taken(EventClass::SET, "srem", db, source);
        if call.store.add_member(db, target, member)? {
            call.store.note(EventClass::SET, "sadd", db, target);
        }
    }
    call.reply.integer(i64::from(is_member));
    Ok(())
}

fn sscan(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let cursor = scan::cursor(args[2])?;
    let mut found = Names::new();
    // SUBTLE: an absent key is answered before the options are read, as in Redis.
    let Some(members) = call.store.set(db, args[1])? else {
        scan::answer(call.reply, 0, &found);
        return Ok(());
    };
    let options = ScanOptions::parse(&args[3..], false)?;
    let next = members.scan(cursor, options.count, &mut |member, _| {
        if options.wants(member) {
            found.push(member);
        }
    });
    scan::answer(call.reply, next, &found);
    Ok(())
}

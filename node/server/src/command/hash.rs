//! Hashes: fields with a value each, which merge field by field.

pub mod expiry;

use super::members::Names;
use super::number;
use super::pairs::last_of_each;
use super::random::{self, Draws};
use super::scan::{self, ScanOptions};
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crdt::ExactFloat;
use keyspace::{Delta, Elements, EventClass};
use resp::Reply;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "hset",
        arity: -4,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: hset,
        since: "2.0.0",
        summary: "Set the string value of a hash field",
        group: Group::Hash,
        complexity: "O(N) where N is the number of fields being set",
        merge: Merge::Writes(
            "HSET f ‖ HSET g: both fields; HSET f x ‖ HSET f y: the later stamp, per field; HDEL f or DEL ‖ HSET f x: field f stands with x; HSET f v ‖ HINCRBY f a: v plus a",
        ),
        subcommands: &[],
    },
    Command {
        name: "hmset",
        arity: -4,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: hmset,
        since: "2.0.0",
        summary: "Set multiple hash fields to multiple values",
        group: Group::Hash,
        complexity: "O(N) where N is the number of fields being set",
        merge: Merge::Writes(
            "HMSET f ‖ HMSET g: both fields; HMSET f x ‖ HMSET f y: the later stamp, per field; HDEL f or DEL ‖ HMSET f x: field f stands with x",
        ),
        subcommands: &[],
    },
    Command {
        name: "hsetnx",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: hsetnx,
        since: "2.0.0",
        summary: "Set the value of a hash field, only if the field does not exist",
        group: Group::Hash,
        complexity: "O(1)",
        merge: Merge::Writes(
            "Decided by the region alone: HSETNX f x ‖ HSETNX f y may both answer 1, then the later stamp stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "hget",
        arity: 3,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hget,
        since: "2.0.0",
        summary: "Get the value of a hash field",
        group: Group::Hash,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hmget",
        arity: -3,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hmget,
        since: "2.0.0",
        summary: "Get the values of all the given hash fields",
        group: Group::Hash,
        complexity: "O(N) where N is the number of fields being requested",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hgetall",
        arity: 2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: hgetall,
        since: "2.0.0",
        summary: "Get all the fields and values in a hash",
        group: Group::Hash,
        complexity: "O(N) where N is the size of the hash",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hkeys",
        arity: 2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: hkeys,
        since: "2.0.0",
        summary: "Get all the fields in a hash",
        group: Group::Hash,
        complexity: "O(N) where N is the size of the hash",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hvals",
        arity: 2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: hvals,
        since: "2.0.0",
        summary: "Get all the values in a hash",
        group: Group::Hash,
        complexity: "O(N) where N is the size of the hash",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hdel",
        arity: -3,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hdel,
        since: "2.0.0",
        summary: "Delete one or more hash fields",
        group: Group::Hash,
        complexity: "O(N) where N is the number of fields to be removed",
        merge: Merge::Writes(
            "Removes what its region had observed: HDEL f ‖ HSET f x: field f stands with x; HDEL f ‖ HINCRBY f a: a",
        ),
        subcommands: &[],
    },
    Command {
        name: "hlen",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hlen,
        since: "2.0.0",
        summary: "Get the number of fields in a hash",
        group: Group::Hash,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hstrlen",
        arity: 3,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hstrlen,
        since: "3.2.0",
        summary: "Get the length of the value of a hash field",
        group: Group::Hash,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hexists",
        arity: 3,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hexists,
        since: "2.0.0",
        summary: "Determine if a hash field exists",
        group: Group::Hash,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hincrby",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: hincrby,
        since: "2.0.0",
        summary: "Increment the integer value of a hash field by the given number",
        group: Group::Hash,
        complexity: "O(1)",
        merge: Merge::Writes(
            "HINCRBY f a ‖ HINCRBY f b: a plus b is added; HSET f v ‖ HINCRBY f a: v plus a; HDEL f ‖ HINCRBY f a: a",
        ),
        subcommands: &[],
    },
    Command {
        name: "hincrbyfloat",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: hincrbyfloat,
        since: "2.6.0",
        summary: "Increment the float value of a hash field by the given amount",
        group: Group::Hash,
        complexity: "O(1)",
        merge: Merge::Writes(
            "HINCRBYFLOAT f a ‖ HINCRBYFLOAT or HINCRBY f b: the exact sum is added and rounded once when read; HSET f v ‖ HINCRBYFLOAT f a: v plus a; HDEL f ‖ HINCRBYFLOAT f a: a",
        ),
        subcommands: &[],
    },
    Command {
        name: "hrandfield",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: hrandfield,
        since: "6.2.0",
        summary: "Get one or multiple random fields from a hash",
        group: Group::Hash,
        complexity: "O(N) where N is the number of fields returned",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hscan",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: hscan,
        since: "2.8.0",
        summary: "Incrementally iterate hash fields and associated values",
        group: Group::Hash,
        complexity: "O(1) for every call, O(N) for a complete iteration",
        merge: Merge::Reads,
        subcommands: &[],
    },
];

fn hset(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let created = put_fields(call, "hset", args)?;
    call.reply.integer(created);
    Ok(())
}

fn hmset(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    put_fields(call, "hmset", args)?;
    call.reply.ok();
    Ok(())
}

/// Writes every field with its value, of a field named twice the last, and counts the new ones.
fn put_fields(call: &mut Call<'_, '_>, command: &'static str, args: &[&[u8]]) -> Result<i64, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity(command));
    }
    let db = call.db();
    let mut created = 0;
    for (field, value) in last_of_each(&args[2..]) {
        created += i64::from(call.store.put_field(db, args[1], field, value)?);
    }
    call.store.note(EventClass::HASH, "hset", db, args[1]);
    Ok(created)
}

fn hsetnx(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, field) = (call.db(), args[1], args[2]);
    let absent = !call.store.hash(db, key)?.is_some_and(|fields| fields.contains(field));
    if absent {
        call.store.put_field(db, key, field, args[3])?;
        call.store.note(EventClass::HASH, "hset", db, key);
    }
    call.reply.integer(i64::from(absent));
    Ok(())
}

fn hget(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let fields = call.store.hash(db, args[1])?;
    write_field(call.reply, fields.as_ref(), args[2]);
    Ok(())
}

fn hmget(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let fields = call.store.hash(db, args[1])?;
    call.reply.array(args.len() - 2);
    args[2..].iter().for_each(|field| write_field(call.reply, fields.as_ref(), field));
    Ok(())
}

fn write_field(reply: &mut Reply, fields: Option<&Elements<'_>>, field: &[u8]) {
    match fields.and_then(|fields| fields.get(field)) {
        Some(value) => reply.bulk(&value),
        None => reply.null(),
    }
}

fn hgetall(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let Some(fields) = call.store.hash(db, args[1])? else {
        call.reply.map(0);
        return Ok(());
    };
    call.reply.map(fields.len());
    for (field, value) in fields.iter() {
        call.reply.bulk(field);
        call.reply.bulk(&value);
    }
    Ok(())
}

fn hkeys(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let Some(fields) = call.store.hash(db, args[1])? else {
        call.reply.array(0);
        return Ok(());
    };
    call.reply.array(fields.len());
    fields.iter().for_each(|(field, _)| call.reply.bulk(field));
    Ok(())
}

fn hvals(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let Some(fields) = call.store.hash(db, args[1])? else {
        call.reply.array(0);
        return Ok(());
    };
    call.reply.array(fields.len());
    fields.iter().for_each(|(_, value)| call.reply.bulk(&value));
    Ok(())
}

fn hdel(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let mut removed = 0;
    for field in &args[2..] {
        removed += i64::from(call.store.remove_field(db, args[1], field)?);
    }
    if removed > 0 {
        call.store.note_taken(EventClass::HASH, "hdel", db, args[1]);
    }
    call.reply.integer(removed);
    Ok(())
}

fn hlen(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let length = call.store.hash(db, args[1])?.map_or(0, |fields| fields.len());
    call.reply.integer(length as i64);
    Ok(())
}

fn hstrlen(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let fields = call.store.hash(db, args[1])?;
    let length = fields.as_ref().and_then(|fields| fields.get(args[2])).map_or(0, |value| value.len());
    call.reply.integer(length as i64);
    Ok(())
}

fn hexists(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let exists = call.store.hash(db, args[1])?.is_some_and(|fields| fields.contains(args[2]));
    call.reply.integer(i64::from(exists));
    Ok(())
}

fn hincrby(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    const REFUSAL: CommandError = CommandError::Plain("ERR hash value is not an integer");
    let (db, key, field) = (call.db(), args[1], args[2]);
    let amount = number::integer(args[3])?;
    let read = |fields: Option<Elements<'_>>| match fields.as_ref().and_then(|fields| fields.get(field)) {
        Some(value) => number::parse_integer(&value).ok_or(REFUSAL),
        None => Ok(0),
    };
    let old = read(call.store.hash(db, key)?)?;
    let mut new = old.checked_add(amount).ok_or(CommandError::Overflow)?;
    call.store.add_to_field(db, key, field, Delta::Integer(amount))?;
    call.store.note(EventClass::HASH, "hincrby", db, key);
    // SUBTLE: at the edge the sum of the regions may lie beyond 64 bits and only read as the edge.
    if old == i64::MAX || old == i64::MIN {
        new = read(call.store.hash(db, key)?)?;
    }
    call.reply.integer(new);
    Ok(())
}

fn hincrbyfloat(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, field) = (call.db(), args[1], args[2]);
    if number::is_infinite(args[3]) {
        return Err(CommandError::Plain("ERR value is NaN or Infinity"));
    }
    let amount = number::float(args[3])?;
    let old = match call.store.hash(db, key)?.as_ref().and_then(|fields| fields.get(field)) {
        Some(value) => ExactFloat::parse(&value).ok_or(CommandError::Plain("ERR hash value is not a float"))?,
        None => ExactFloat::default(),
    };
    if !old.plus(amount).is_finite() {
        return Err(CommandError::Plain("ERR increment would produce NaN or Infinity"));
    }
    call.store.add_to_field(db, key, field, Delta::Float(amount))?;
    call.store.note(EventClass::HASH, "hincrbyfloat", db, key);
    // What a region reads is the sum of all contributions, rounded once: so the reply is read, not computed here.
    let fields = call.store.hash(db, key)?;
    write_field(call.reply, fields.as_ref(), field);
    Ok(())
}

fn hrandfield(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let mut draws = Draws::new(call.random());
    if args.len() == 2 {
        match call.store.hash(db, key)?.as_ref().and_then(|fields| fields.random(draws.next())) {
            Some((field, _)) => call.reply.bulk(field),
            None => call.reply.null(),
        }
        return Ok(());
    }
    let with_values = match args[3..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withvalues") => true,
        _ => {
            random::signed_count(args[2])?;
            return Err(CommandError::Syntax);
        }
    };
    let count = random::signed_count(args[2])?;
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::Plain("ERR value is out of range"));
    }
    match call.store.hash(db, key)? {
        Some(fields) => random::answer(call.reply, &fields, count, with_values, &mut draws),
        None => {
            call.reply.array(0);
            Ok(())
        }
    }
}

fn hscan(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let cursor = scan::cursor(args[2])?;
    let mut found = Names::new();
    // SUBTLE: an absent key is answered before the options are read, as in Redis.
    let Some(fields) = call.store.hash(db, args[1])? else {
        scan::answer(call.reply, 0, &found);
        return Ok(());
    };
    let options = ScanOptions::parse(&args[3..], false)?;
    let next = fields.scan(cursor, options.count, &mut |field, value| {
        if options.wants(field) {
            found.push(field);
            found.push(value);
        }
    });
    scan::answer(call.reply, next, &found);
    Ok(())
}

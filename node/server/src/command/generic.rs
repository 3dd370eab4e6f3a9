//! Commands for keys of any type and for whole databases.
//!
//! How long keys live and how they are encoded have files of their own.

pub mod expiry;
pub mod object;
pub mod sort;

use super::glob;
use super::members::Names;
use super::number;
use super::scan::{self, ScanOptions};
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crate::client::Order;
use crate::relocations::Answers;
use crate::tracking::Flushing;
use keyspace::{Database, EventClass, Relocation};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "del",
        arity: -2,
        flags: Flags::WRITE,
        keys: Keys::ALL,
        handler: del,
        since: "1.0.0",
        summary: "Delete a key",
        group: Group::Generic,
        complexity: "O(N) where N is the number of keys, and of elements in them",
        merge: Merge::Writes(
            "Removes what its region had observed: DEL ‖ SET: the SET stands; DEL ‖ INCRBY a: a; DEL k ‖ HSET k f x: field f stands with x",
        ),
        subcommands: &[],
    },
    Command {
        name: "unlink",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::GROWS),
        keys: Keys::ALL,
        handler: del,
        since: "4.0.0",
        summary: "Delete a key, as DEL does",
        group: Group::Generic,
        complexity: "O(N) where N is the number of keys, and of elements in them",
        merge: Merge::Writes(
            "Removes what its region had observed: UNLINK ‖ SET: the SET stands; UNLINK ‖ INCRBY a: a; UNLINK k ‖ HSET k f x: field f stands with x",
        ),
        subcommands: &[],
    },
    Command {
        name: "exists",
        arity: -2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ALL,
        handler: exists,
        since: "1.0.0",
        summary: "Determine if a key exists",
        group: Group::Generic,
        complexity: "O(N) where N is the number of keys to check",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "touch",
        arity: -2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ALL,
        handler: touch,
        since: "3.2.1",
        summary: "Alter the last access time of keys and count those that exist",
        group: Group::Generic,
        complexity: "O(N) where N is the number of keys that will be touched",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "type",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: kind,
        since: "1.0.0",
        summary: "Determine the type stored at key",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "keys",
        arity: 2,
        flags: Flags::READONLY.union(Flags::DANGEROUS).union(Flags::WHOLE_DATABASE),
        keys: Keys::None,
        handler: keys,
        since: "1.0.0",
        summary: "Find all keys matching the given pattern",
        group: Group::Generic,
        complexity: "O(N) where N is the number of keys in the database",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "scan",
        arity: -2,
        flags: Flags::READONLY.union(Flags::WHOLE_DATABASE),
        keys: Keys::None,
        handler: scan,
        since: "2.8.0",
        summary: "Incrementally iterate the keys space",
        group: Group::Generic,
        complexity: "O(1) for every call, O(N) for a complete iteration",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "randomkey",
        arity: 1,
        flags: Flags::READONLY.union(Flags::WHOLE_DATABASE),
        keys: Keys::None,
        handler: randomkey,
        since: "1.0.0",
        summary: "Return a random key from the keyspace",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "rename",
        arity: 3,
        flags: Flags::WRITE,
        keys: Keys::TWO,
        handler: rename,
        since: "1.0.0",
        summary: "Rename a key",
        group: Group::Generic,
        complexity: "O(N) where N is the number of elements of the value",
        merge: Merge::Writes(
            "The target holds what its region had observed at the source; RENAME ‖ write to the source: that write stands at the source",
        ),
        subcommands: &[],
    },
    Command {
        name: "renamenx",
        arity: 3,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::GROWS),
        keys: Keys::TWO,
        handler: renamenx,
        since: "1.0.0",
        summary: "Rename a key, only if the new key does not exist",
        group: Group::Generic,
        complexity: "O(N) where N is the number of elements of the value",
        merge: Merge::Writes(
            "The target holds what its region had observed at the source; RENAMENX ‖ write to the source: that write stands at the source; whether the target is free is decided by the region alone",
        ),
        subcommands: &[],
    },
    Command {
        name: "copy",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::TWO,
        handler: copy,
        since: "6.2.0",
        summary: "Copy a key",
        group: Group::Generic,
        complexity: "O(N) where N is the number of elements of the value",
        merge: Merge::Writes(
            "The target holds what its region had observed at the source; COPY ‖ write to the target: as for a write of the whole target; whether the target is free is decided by the region alone",
        ),
        subcommands: &[],
    },
    Command {
        name: "move",
        arity: 3,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::GROWS),
        keys: Keys::ONE,
        handler: r#move,
        since: "1.0.0",
        summary: "Move a key to another database",
        group: Group::Generic,
        complexity: "O(N) where N is the number of elements of the value",
        merge: Merge::Writes(
            "The target database holds what its region had observed; MOVE ‖ write to the source: that write stands at the source; whether the target is free is decided by the region alone",
        ),
        subcommands: &[],
    },
    Command {
        name: "dbsize",
        arity: 1,
        flags: Flags::READONLY.union(Flags::FAST).union(Flags::WHOLE_DATABASE).union(Flags::KEYSPACE),
        keys: Keys::None,
        handler: dbsize,
        since: "1.0.0",
        summary: "Return the number of keys in the selected database",
        group: Group::Server,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "flushdb",
        arity: -1,
        flags: Flags::WRITE.union(Flags::DANGEROUS).union(Flags::WHOLE_DATABASE).union(Flags::KEYSPACE),
        keys: Keys::None,
        handler: flushdb,
        since: "1.0.0",
        summary: "Remove all keys from the current database",
        group: Group::Server,
        complexity: "O(N) where N is the number of keys in the selected database",
        merge: Merge::Writes("Removes what its region had observed: FLUSHDB ‖ write: the write stands"),
        subcommands: &[],
    },
    Command {
        name: "flushall",
        arity: -1,
        flags: Flags::WRITE.union(Flags::DANGEROUS).union(Flags::WHOLE_DATABASE).union(Flags::KEYSPACE),
        keys: Keys::None,
        handler: flushall,
        since: "1.0.0",
        summary: "Remove all keys from all databases",
        group: Group::Server,
        complexity: "O(N) where N is the total number of keys in all databases",
        merge: Merge::Writes("Removes what its region had observed: FLUSHALL ‖ write: the write stands"),
        subcommands: &[],
    },
    Command {
        name: "swapdb",
        arity: 3,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::DANGEROUS).union(Flags::KEYSPACE),
        keys: Keys::None,
        handler: swapdb,
        since: "4.0.0",
        summary: "Is refused: swapping databases cannot merge across regions",
        group: Group::Server,
        complexity: "O(1)",
        merge: Merge::Writes(
            "Nothing: it is refused in every region, because a swap and a concurrent write could not agree on a database",
        ),
        subcommands: &[],
    },
];

fn del(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let mut deleted = 0;
    for key in &args[1..] {
        if call.store.delete(db, key) {
            call.store.note(EventClass::GENERIC, "del", db, key);
            deleted += 1;
        }
    }
    call.reply.integer(deleted);
    Ok(())
}

fn exists(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let found = args[1..].iter().filter(|key| call.store.kind(db, key).is_some()).count();
    call.reply.integer(found as i64);
    Ok(())
}

fn touch(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let touched = args[1..].iter().filter(|key| call.store.touch(db, key)).count();
    call.reply.integer(touched as i64);
    Ok(())
}

fn kind(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    call.reply.simple(call.store.kind(db, args[1]).map_or("none", |kind| kind.redis_name()));
    Ok(())
}

fn keys(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, pattern) = (call.db(), args[1]);
    let everything = glob::matches_everything(pattern);
    let mut found = Names::new();
    let mut cursor = 0;
    loop {
        cursor = call.store.scan(db, cursor, KEYS_STEP, &mut |key, _kind| {
            if everything || glob::matches(pattern, key) {
                found.push(key);
            }
        });
        if cursor == 0 {
            break;
        }
    }
    call.reply.array(found.len());
    found.write_to(call.reply);
    Ok(())
}

fn scan(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let cursor = scan::cursor(args[1])?;
    let options = ScanOptions::parse(&args[2..], true)?;
    let mut found = Names::new();
    let next = call.store.scan(db, cursor, options.count, &mut |key, kind| {
        let right_kind = options.kind.is_none_or(|name| name.eq_ignore_ascii_case(kind.redis_name().as_bytes()));
        if right_kind && options.wants(key) {
            found.push(key);
        }
    });
    scan::answer(call.reply, next, &found);
    Ok(())
}

fn randomkey(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, random) = (call.db(), call.random());
    match call.store.random_key(db, random) {
        Some(key) => call.reply.bulk(&key),
        None => call.reply.null(),
    }
    Ok(())
}

fn rename(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, source, target) = (call.db(), args[1], args[2]);
    if call.store.kind(db, source).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if source != target {
        let wish = Relocation { from: db, source, to: db, target, keeps_source: false, replaces: true };
        if is_left_to_others(call, &wish, Answers::Ok) {
            return Ok(());
        }
        call.store.relocate_at_once(&wish);
    }
    call.reply.ok();
    Ok(())
}

fn renamenx(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, source, target) = (call.db(), args[1], args[2]);
    if call.store.kind(db, source).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    // A key that is renamed to itself finds its own name taken.
    let is_free = call.store.kind(db, target).is_none();
    if is_free {
        let wish = Relocation { from: db, source, to: db, target, keeps_source: false, replaces: false };
        if is_left_to_others(call, &wish, Answers::WhetherDone) {
            return Ok(());
        }
        call.store.relocate_at_once(&wish);
    }
    call.reply.integer(i64::from(is_free));
    Ok(())
}

fn copy(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, source, target) = (call.db(), args[1], args[2]);
    let mut target_db = db;
    let mut replaces = false;
    let mut rest = args[3..].iter();
    while let Some(word) = rest.next() {
        if word.eq_ignore_ascii_case(b"replace") {
            replaces = true;
        } else if word.eq_ignore_ascii_case(b"db") {
            target_db = database(rest.next().ok_or(CommandError::Syntax)?)?;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if db == target_db && source == target {
        return Err(SAME_OBJECT);
    }
    let copies = call.store.kind(db, source).is_some() && (replaces || call.store.kind(target_db, target).is_none());
    if copies {
        let wish = Relocation { from: db, source, to: target_db, target, keeps_source: true, replaces };
        if is_left_to_others(call, &wish, Answers::WhetherThere) {
            return Ok(());
        }
        call.store.relocate_at_once(&wish);
    }
    call.reply.integer(i64::from(copies));
    Ok(())
}

fn r#move(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let target_db = database(args[2])?;
    if db == target_db {
        return Err(SAME_OBJECT);
    }
    let moves = call.store.kind(db, key).is_some() && call.store.kind(target_db, key).is_none();
    if moves {
        let wish =
            Relocation { from: db, source: key, to: target_db, target: key, keeps_source: false, replaces: false };
        if is_left_to_others(call, &wish, Answers::WhetherThere) {
            return Ok(());
        }
        call.store.relocate_at_once(&wish);
    }
    call.reply.integer(i64::from(moves));
    Ok(())
}

/// Whether a key holds so much that another thread moves it, in short steps. A transaction is one step.
fn is_left_to_others(call: &mut Call<'_, '_>, wish: &Relocation<'_>, answers: Answers) -> bool {
    if call.client.is_in_exec || !call.store.is_large(wish.from, wish.source) {
        return false;
    }
    let relocating = call.node.relocations.order(wish, answers);
    let is_taken = relocating.is_some();
    call.client.order = relocating.map(Order::Relocation).or(call.client.order.take());
    is_taken
}

/// The number of a database.
fn database(text: &[u8]) -> Result<Database, CommandError> {
    let number = u64::try_from(number::integer(text)?).ok();
    number.and_then(Database::new).ok_or(CommandError::Plain("ERR DB index is out of range"))
}

fn dbsize(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    let length = call.node.keyspace.len(call.db().0);
    call.reply.integer(length as i64);
    Ok(())
}

fn flushdb(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    flush(call, args, Some(db))
}

fn flushall(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    flush(call, args, None)
}

fn flush(call: &mut Call<'_, '_>, args: &[&[u8]], which: Option<Database>) -> Result<(), CommandError> {
    match args[1..] {
        [] => {}
        [word] if word.eq_ignore_ascii_case(b"async") || word.eq_ignore_ascii_case(b"sync") => {}
        _ => return Err(CommandError::Syntax),
    }
    let flushing = Flushing::begin();
    call.store.clear(which);
    drop(flushing);
    call.node.tracking.flush();
    call.reply.ok();
    Ok(())
}

fn swapdb(_call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::Plain(
        "ERR SWAPDB is not supported: two regions that swap or write at once could not agree which database a key is in. Use MOVE or COPY ... DB",
    ))
}

const SAME_OBJECT: CommandError = CommandError::Plain("ERR source and destination objects are the same");
/// Keys that `KEYS` looks at in one step of its walk.
const KEYS_STEP: usize = 1024;

//! `OBJECT`: how a key is held, in the words Redis has for its own encodings.
//!
//! The names are computed from the content by the rules of Redis 7.0, whatever this node does inside.

use crate::command::number;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crate::config::Config;
use keyspace::{Elements, Kind, SortedElements};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command {
    name: "object",
    arity: -2,
    flags: Flags::empty(),
    keys: Keys::None,
    handler: without_subcommand,
    since: "2.2.3",
    summary: "A container for object introspection commands",
    group: Group::Generic,
    complexity: "Depends on subcommand",
    merge: Merge::Reads,
    subcommands: OBJECT,
}];

const OBJECT: &[Command] = &[
    Command {
        name: "encoding",
        arity: 3,
        flags: Flags::READONLY,
        keys: Keys::Range { first: 2, last: 2, step: 1 },
        handler: encoding,
        since: "2.2.3",
        summary: "Inspect the internal encoding of a Redis object",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "freq",
        arity: 3,
        flags: Flags::READONLY,
        keys: Keys::Range { first: 2, last: 2, step: 1 },
        handler: freq,
        since: "4.0.0",
        summary: "Get the logarithmic access frequency counter of a Redis object",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Local("Looks at the key as this node holds it; other regions may answer otherwise"),
        subcommands: &[],
    },
    Command {
        name: "idletime",
        arity: 3,
        flags: Flags::READONLY,
        keys: Keys::Range { first: 2, last: 2, step: 1 },
        handler: idletime,
        since: "2.2.3",
        summary: "Get the time since a Redis object was last accessed",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Local("Looks at the key as this node holds it; other regions may answer otherwise"),
        subcommands: &[],
    },
    Command {
        name: "refcount",
        arity: 3,
        flags: Flags::READONLY,
        keys: Keys::Range { first: 2, last: 2, step: 1 },
        handler: refcount,
        since: "2.2.3",
        summary: "Get the number of references to the value of the key",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.union(Flags::STALE),
        keys: Keys::None,
        handler: help,
        since: "6.2.0",
        summary: "Show helpful text about the different subcommands",
        group: Group::Generic,
        complexity: "O(1)",
        merge: Merge::Local("Answers a fixed text"),
        subcommands: &[],
    },
];

fn without_subcommand(_call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::wrong_arity("object"))
}

fn encoding(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[2]);
    let config = call.node.config.load();
    let name = match call.store.kind(db, key) {
        None => {
            call.reply.null();
            return Ok(());
        }
        Some(Kind::String) => string_encoding(&call.store.string(db, key)?.unwrap_or_default()),
        Some(Kind::Hash) => match call.store.hash(db, key)? {
            Some(elements) if !is_listpack(&elements, &config) => "hashtable",
            // As Redis calls it from 7.4 on.
            Some(elements) if elements.has_ends() => "listpackex",
            Some(_) | None => "listpack",
        },
        Some(Kind::Set) => match call.store.set(db, key)? {
            Some(elements) if !is_intset(&elements, &config) => "hashtable",
            Some(_) | None => "intset",
        },
        Some(Kind::SortedSet) => match call.store.sorted_set(db, key)? {
            Some(members) if !is_sorted_listpack(&members, &config) => "skiplist",
            Some(_) | None => "listpack",
        },
        Some(Kind::List) => "quicklist",
        Some(Kind::Stream) => "stream",
    };
    call.reply.bulk(name.as_bytes());
    Ok(())
}

fn string_encoding(value: &[u8]) -> &'static str {
    if number::parse_integer(value).is_some() {
        "int"
    } else if value.len() <= EMBEDDED_BYTES_MAX {
        "embstr"
    } else {
        "raw"
    }
}

fn is_listpack(hash: &Elements<'_>, config: &Config) -> bool {
    hash.len() as u64 <= config.hash_max_listpack_entries
        && hash.iter().all(|(field, value)| field.len().max(value.len()) as u64 <= config.hash_max_listpack_value)
}

fn is_sorted_listpack(members: &SortedElements<'_>, config: &Config) -> bool {
    members.len() as u64 <= config.zset_max_listpack_entries
        && members.iter().all(|(member, _)| member.len() as u64 <= config.zset_max_listpack_value)
}

fn is_intset(set: &Elements<'_>, config: &Config) -> bool {
    set.len() as u64 <= config.set_max_intset_entries
        && set.iter().all(|(member, _)| number::parse_integer(member).is_some())
}

fn freq(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    if call.store.kind(db, args[2]).is_none() {
        call.reply.null();
        return Ok(());
    }
    if call.store.tracks_frequency() {
        let frequency = call.store.frequency(db, args[2]).unwrap_or_default();
        call.reply.integer(i64::from(frequency));
        return Ok(());
    }
    Err(CommandError::Plain(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
    ))
}

fn idletime(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    match call.store.idle_ms(db, args[2]) {
        Some(_) if call.store.tracks_frequency() => {
            return Err(CommandError::Plain(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        Some(idle_ms) => call.reply.integer((idle_ms / 1000) as i64),
        None => call.reply.null(),
    }
    Ok(())
}

fn refcount(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    match call.store.kind(db, args[2]) {
        Some(_) => call.reply.integer(1),
        None => call.reply.null(),
    }
    Ok(())
}

fn help(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    call.reply.array(HELP.len());
    HELP.iter().for_each(|line| call.reply.simple(line));
    Ok(())
}

const HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
];

/// Longer strings are "raw", as in Redis.
const EMBEDDED_BYTES_MAX: usize = 44;

//! `XGROUP` and `XACK`: consumer groups, and what they have done with.

use super::id;
use crate::command::client_calls::write_help;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge, number};
use crdt::StreamId;
use keyspace::{Access, Database, EventClass, GroupPlace, Kind};
use std::borrow::Cow;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "xgroup",
        arity: -2,
        flags: Flags::empty(),
        keys: Keys::None,
        handler: without_subcommand,
        since: "5.0.0",
        summary: "A container for consumer groups commands",
        group: Group::Stream,
        complexity: "Depends on subcommand.",
        merge: Merge::Reads,
        subcommands: XGROUP,
    },
    Command {
        name: "xack",
        arity: -4,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: xack,
        since: "5.0.0",
        summary: "Marks a pending message as correctly processed, effectively removing it from the pending entries list of the consumer group. Return value of the command is the number of messages successfully acknowledged, that is, the IDs we were actually able to resolve in the PEL.",
        group: Group::Stream,
        complexity: "O(1) for each message ID processed.",
        merge: Merge::Writes(
            "XACK ‖ XACK: both; an entry that is acknowledged anywhere is delivered nowhere any more once that is known; XACK ‖ XGROUP SETID or XGROUP DESTROY and CREATE: what is acknowledged counts for the old round alone",
        ),
        subcommands: &[],
    },
];

const KEY: Keys = Keys::Range { first: 2, last: 2, step: 1 };

const XGROUP: &[Command] = &[
    Command {
        name: "create",
        arity: -5,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: KEY,
        handler: create,
        since: "5.0.0",
        summary: "Create a consumer group.",
        group: Group::Stream,
        complexity: "O(1)",
        merge: Merge::Writes(
            "CREATE ‖ CREATE: one group, which delivers what either would; CREATE ‖ DESTROY or DEL: the group stands; entries that the creator had not seen are delivered, whatever their ids",
        ),
        subcommands: &[],
    },
    Command {
        name: "createconsumer",
        arity: 5,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: KEY,
        handler: create_consumer,
        since: "6.2.0",
        summary: "Create a consumer in a consumer group.",
        group: Group::Stream,
        complexity: "O(1)",
        merge: Merge::Writes("Consumers belong to this region alone"),
        subcommands: &[],
    },
    Command {
        name: "delconsumer",
        arity: 5,
        flags: Flags::WRITE,
        keys: KEY,
        handler: delete_consumer,
        since: "5.0.0",
        summary: "Delete a consumer from a consumer group.",
        group: Group::Stream,
        complexity: "O(1)",
        merge: Merge::Writes(
            "Consumers and what is pending for them belong to this region alone; other regions deliver what nobody acknowledged",
        ),
        subcommands: &[],
    },
    Command {
        name: "destroy",
        arity: 4,
        flags: Flags::WRITE,
        keys: KEY,
        handler: destroy,
        since: "5.0.0",
        summary: "Destroy a consumer group.",
        group: Group::Stream,
        complexity: "O(N) where N is the number of entries in the group's pending entries list (PEL).",
        merge: Merge::Writes("DESTROY ‖ CREATE or SETID: the group stands"),
        subcommands: &[],
    },
    Command {
        name: "setid",
        arity: -5,
        flags: Flags::WRITE,
        keys: KEY,
        handler: set_id,
        since: "5.0.0",
        summary: "Set a consumer group to an arbitrary last delivered ID value.",
        group: Group::Stream,
        complexity: "O(1)",
        merge: Merge::Writes(
            "The group begins a new round in every region, in which nothing is acknowledged; SETID ‖ SETID: both rounds go on as one, which delivers what either would; SETID ‖ DESTROY: the group stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.union(Flags::STALE),
        keys: Keys::None,
        handler: help,
        since: "5.0.0",
        summary: "Show helpful text about the different subcommands",
        group: Group::Stream,
        complexity: "O(1)",
        merge: Merge::Local("Answers a fixed text"),
        subcommands: &[],
    },
];

const HELP: &[&str] = &[
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
];

fn without_subcommand(_call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::wrong_arity("xgroup"))
}

fn help(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    write_help(call, "XGROUP", HELP);
    Ok(())
}

/// Options of `CREATE` and `SETID`.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    makes_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(args: &[&[u8]], creates: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut at = 5;
        while let Some(word) = args.get(at) {
            if creates && word.eq_ignore_ascii_case(b"mkstream") {
                options.makes_stream = true;
                at += 1;
            } else if let (true, Some(read)) = (word.eq_ignore_ascii_case(b"entriesread"), args.get(at + 1)) {
                let read = number::integer(read)?;
                if read < -1 {
                    return Err(CommandError::Plain("ERR value for ENTRIESREAD must be positive or -1"));
                }
                options.entries_read = u64::try_from(read).ok();
                at += 2;
            } else {
                return Err(wrong_subcommand(args[1], "XGROUP"));
            }
        }
        Ok(options)
    }
}

/// The refusal of a subcommand whose arguments make no sense.
pub(super) fn wrong_subcommand(written: &[u8], container: &str) -> CommandError {
    let written = String::from_utf8_lossy(written);
    CommandError::Detailed(format!(
        "ERR unknown subcommand or wrong number of arguments for '{written}'. Try {container} HELP."
    ))
}

/// A name as a refusal has it: Redis ends it at a NUL byte.
pub(super) fn in_words(name: &[u8]) -> Cow<'_, str> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end])
}

/// The refusal where a group is missing.
fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    let (key, group) = (in_words(key), in_words(group));
    CommandError::Detailed(format!("NOGROUP No such consumer group '{group}' for key name '{key}'"))
}

const NO_KEY: CommandError = CommandError::Plain(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
);

/// Whether the key holds a stream; if it need not be there.
fn expect_stream(call: &mut Call<'_, '_>, key: &[u8]) -> Result<(), CommandError> {
    match call.store.kind(call.client.database, key) {
        None => Err(NO_KEY),
        Some(Kind::Stream) => Ok(()),
        Some(_) => Err(CommandError::WrongType),
    }
}

fn place_of(text: &[u8]) -> Result<GroupPlace, CommandError> {
    if text == b"$" { Ok(GroupPlace::Last) } else { id::parse_strict(text, 0).map(GroupPlace::Behind) }
}

fn create(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, name) = (call.db(), args[2], args[3]);
    let options = Options::parse(args, true)?;
    match expect_stream(call, key) {
        Err(NO_KEY) if options.makes_stream => {}
        found => found?,
    }
    let place = place_of(args[4])?;
    if !call.store.create_group(db, key, name, place, options.entries_read)? {
        return Err(CommandError::Plain("BUSYGROUP Consumer Group name already exists"));
    }
    call.store.note(EventClass::STREAM, "xgroup-create", db, key);
    call.reply.ok();
    Ok(())
}

fn set_id(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, name) = (call.db(), args[2], args[3]);
    let options = Options::parse(args, false)?;
    expect_group(call, key, name)?;
    let place = place_of(args[4])?;
    call.store.set_group_place(db, key, name, place, options.entries_read)?;
    call.store.note(EventClass::STREAM, "xgroup-setid", db, key);
    call.reply.ok();
    Ok(())
}

/// Whether a group is there and this consumer of it is not, if somebody wants to know.
pub(super) fn would_be_new(store: &mut Access<'_>, db: Database, key: &[u8], group: &[u8], consumer: &[u8]) -> bool {
    store.wants(EventClass::STREAM)
        && store
            .with_group(db, key, group, |group| group.delivery().pending.number_of(consumer).is_none())
            .is_ok_and(|is_new| is_new == Some(true))
}

/// Notes a consumer that is there now.
pub(super) fn note_consumer(store: &mut Access<'_>, db: Database, key: &[u8], was_absent: bool) {
    if was_absent {
        store.note(EventClass::STREAM, "xgroup-createconsumer", db, key);
    }
}

fn expect_group(call: &mut Call<'_, '_>, key: &[u8], name: &[u8]) -> Result<(), CommandError> {
    expect_stream(call, key)?;
    let found = call.store.with_group(call.client.database, key, name, |_| ())?;
    found.ok_or_else(|| no_group(key, name))
}

fn destroy(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, name) = (call.db(), args[2], args[3]);
    expect_stream(call, key)?;
    let was_there = call.store.destroy_group(db, key, name)?;
    if was_there {
        call.store.note(EventClass::STREAM, "xgroup-destroy", db, key);
    }
    call.reply.integer(i64::from(was_there));
    Ok(())
}

fn create_consumer(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, name, now) = (call.db(), args[2], args[3], call.now());
    expect_group(call, key, name)?;
    let entered = call.store.change_group(db, key, name, |group| group.delivery().pending.enter(args[4], now).1)?;
    if entered == Some(true) {
        call.store.note(EventClass::STREAM, "xgroup-createconsumer", db, key);
    }
    call.reply.integer(i64::from(entered.unwrap_or_default()));
    Ok(())
}

fn delete_consumer(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, name) = (call.db(), args[2], args[3]);
    expect_group(call, key, name)?;
    let pending = call.store.change_group(db, key, name, |group| group.delivery().pending.delete(args[4]))?;
    if pending.flatten().is_some() {
        call.store.note(EventClass::STREAM, "xgroup-delconsumer", db, key);
    }
    call.reply.count(pending.flatten().unwrap_or_default());
    Ok(())
}

fn xack(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, name) = (call.db(), args[1], args[2]);
    if call.store.with_group(db, key, name, |_| ())?.is_none() {
        call.reply.integer(0);
        return Ok(());
    }
    let ids: Vec<StreamId> = args[3..].iter().map(|text| id::parse_strict(text, 0)).collect::<Result<_, _>>()?;
    let acknowledged = call.store.acknowledge(db, key, name, &ids)?;
    call.reply.count(acknowledged.unwrap_or_default());
    Ok(())
}

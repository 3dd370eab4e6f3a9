//! `XINFO`: what is known of a stream, its groups and their consumers.

use super::group::{in_words, wrong_subcommand};
use super::info;
use super::{reply_entries, reply_id};
use crate::command::client_calls::write_help;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge, number};
use crdt::StreamId;
use keyspace::{Consumer, GroupMut, Pending, PendingList};
use resp::Reply;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command {
    name: "xinfo",
    arity: -2,
    flags: Flags::empty(),
    keys: Keys::None,
    handler: without_subcommand,
    since: "5.0.0",
    summary: "A container for stream introspection commands",
    group: Group::Stream,
    complexity: "Depends on subcommand.",
    merge: Merge::Reads,
    subcommands: XINFO,
}];

const KEY: Keys = Keys::Range { first: 2, last: 2, step: 1 };

const XINFO: &[Command] = &[
    Command {
        name: "consumers",
        arity: 4,
        flags: Flags::READONLY,
        keys: KEY,
        handler: consumers,
        since: "5.0.0",
        summary: "List the consumers in a consumer group",
        group: Group::Stream,
        complexity: "O(1)",
        merge: Merge::Local("Consumers belong to the region that they read in"),
        subcommands: &[],
    },
    Command {
        name: "groups",
        arity: 3,
        flags: Flags::READONLY,
        keys: KEY,
        handler: groups,
        since: "5.0.0",
        summary: "List the consumer groups of a stream",
        group: Group::Stream,
        complexity: "O(1)",
        merge: Merge::Local(
            "Groups are the same everywhere; how far each is, and what is pending, is this region's own",
        ),
        subcommands: &[],
    },
    Command {
        name: "stream",
        arity: -3,
        flags: Flags::READONLY,
        keys: KEY,
        handler: stream,
        since: "5.0.0",
        summary: "Get information about a stream",
        group: Group::Stream,
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
        since: "5.0.0",
        summary: "Show helpful text about the different subcommands",
        group: Group::Stream,
        complexity: "O(1)",
        merge: Merge::Local("Answers a fixed text"),
        subcommands: &[],
    },
];

const HELP: &[&str] = &[
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
];

/// Entries, and pending ones of each group and consumer, that `XINFO STREAM FULL` shows if it is not told.
const FULL_COUNT: i64 = 10;

fn without_subcommand(_call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::wrong_arity("xinfo"))
}

fn help(call: &mut Call<'_, '_>, _args: &[&[u8]]) -> Result<(), CommandError> {
    write_help(call, "XINFO", HELP);
    Ok(())
}

fn consumers(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, name, now) = (call.db(), args[2], args[3], call.now());
    if call.store.stream(db, key)?.is_none() {
        return Err(CommandError::NoSuchKey);
    }
    let reply = &mut *call.reply;
    let answered = call.store.with_group(db, key, name, |group| {
        let pending = &group.delivery().pending;
        reply.array(pending.consumers().len());
        for consumer in pending.consumers() {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&consumer.name);
            reply.bulk(b"pending");
            reply.count(consumer.ids.len());
            reply.bulk(b"idle");
            reply.integer(i64::try_from(now.saturating_sub(consumer.seen_ms)).unwrap_or(i64::MAX));
        }
    })?;
    answered.ok_or_else(|| {
        let (key, name) = (in_words(key), in_words(name));
        CommandError::Detailed(format!("NOGROUP No such consumer group '{name}' for key name '{key}'"))
    })
}

fn groups(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[2]);
    let names = call.store.group_names(db, key)?.ok_or(CommandError::NoSuchKey)?;
    let reply = &mut *call.reply;
    reply.array(names.len());
    for name in &names {
        call.store.with_group(db, key, name, |group| {
            reply.map(6);
            reply.bulk(b"name");
            reply.bulk(name);
            reply.bulk(b"consumers");
            reply.count(group.delivery().pending.consumers().len());
            reply.bulk(b"pending");
            reply.count(group.delivery().pending.len());
            reply_progress(reply, group);
        })?;
    }
    Ok(())
}

/// Answers how far a group is: three pairs.
fn reply_progress(reply: &mut Reply, group: &mut GroupMut<'_>) {
    let lag = group.lag();
    let delivery = group.delivery();
    reply.bulk(b"last-delivered-id");
    reply_id(reply, delivery.last_id());
    for (name, number) in [(&b"entries-read"[..], delivery.entries_read().map(|read| read as i64)), (b"lag", lag)] {
        reply.bulk(name);
        match number {
            Some(number) => reply.integer(number),
            None => reply.null(),
        }
    }
}

fn stream(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[2]);
    if call.store.stream(db, key)?.is_none() {
        return Err(CommandError::NoSuchKey);
    }
    let count = match &args[3..] {
        [] => return info::stream(call, args),
        [full, rest @ ..] if full.eq_ignore_ascii_case(b"full") => match rest {
            [] => FULL_COUNT,
            [word, count] if word.eq_ignore_ascii_case(b"count") => number::integer(count)?,
            _ => return Err(wrong_subcommand(args[1], "XINFO")),
        },
        _ => return Err(wrong_subcommand(args[1], "XINFO")),
    };
    let count = match count {
        0 => usize::MAX,
        count => usize::try_from(count).unwrap_or(FULL_COUNT as usize),
    };
    reply_full(call, key, count)
}

fn reply_full(call: &mut Call<'_, '_>, key: &[u8], count: usize) -> Result<(), CommandError> {
    let db = call.db();
    let Some(stream) = call.store.stream(db, key)? else { return Err(CommandError::NoSuchKey) };
    let reply = &mut *call.reply;
    reply.map(9);
    info::reply_ids(reply, stream);
    reply.bulk(b"entries");
    reply_entries(reply, stream.range(StreamId::ZERO, StreamId::MAX), count);
    let names = call.store.group_names(db, key)?.unwrap_or_default();
    reply.bulk(b"groups");
    reply.array(names.len());
    for name in &names {
        call.store.with_group(db, key, name, |group| reply_group(reply, name, group, count))?;
    }
    Ok(())
}

fn reply_group(reply: &mut Reply, name: &[u8], group: &mut GroupMut<'_>, count: usize) {
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(name);
    reply_progress(reply, group);
    let pending = &group.delivery().pending;
    reply.bulk(b"pel-count");
    reply.count(pending.len());
    reply.bulk(b"pending");
    reply.array(pending.len().min(count));
    for (id, entry) in pending.range(StreamId::ZERO..=StreamId::MAX).take(count) {
        reply.array(4);
        reply_id(reply, id);
        reply.bulk(pending.consumer(entry.consumer).map_or(&[][..], |consumer| &consumer.name));
        reply_delivered(reply, entry);
    }
    reply.bulk(b"consumers");
    reply.array(pending.consumers().len());
    pending.consumers().for_each(|consumer| reply_consumer(reply, pending, consumer, count));
}

fn reply_consumer(reply: &mut Reply, pending: &PendingList, consumer: &Consumer, count: usize) {
    reply.map(4);
    reply.bulk(b"name");
    reply.bulk(&consumer.name);
    reply.bulk(b"seen-time");
    reply.integer(i64::try_from(consumer.seen_ms).unwrap_or(i64::MAX));
    reply.bulk(b"pel-count");
    reply.count(consumer.ids.len());
    reply.bulk(b"pending");
    reply.array(consumer.ids.len().min(count));
    for (id, entry) in consumer.ids.iter().take(count).filter_map(|id| Some((*id, pending.find(*id)?))) {
        reply.array(3);
        reply_id(reply, id);
        reply_delivered(reply, entry);
    }
}

/// Answers when a pending entry was delivered the last time, and how often.
fn reply_delivered(reply: &mut Reply, entry: &Pending) {
    reply.integer(i64::try_from(entry.delivered_ms).unwrap_or(i64::MAX));
    reply.integer(i64::try_from(entry.deliveries).unwrap_or(i64::MAX));
}

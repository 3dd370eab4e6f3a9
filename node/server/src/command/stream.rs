//! Streams: adding entries, removing them, and what is known of a stream. Reading has files of its own.

pub mod group;
pub mod group_info;
pub mod group_read;
pub(crate) mod id;
pub(crate) mod info;
mod options;
pub mod pending;
pub mod range;
pub mod read;

use super::{Call, Command, CommandError, Flags, Group, Keys, Merge, number};
use crdt::StreamId;
use keyspace::{EventClass, IdRefused, IdRequest, StreamItem};
use options::Options;
use resp::Reply;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "xadd",
        arity: -5,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST).union(Flags::GROWS),
        keys: Keys::ONE,
        handler: xadd,
        since: "5.0.0",
        summary: "Appends a new entry to a stream",
        group: Group::Stream,
        complexity: "O(1) when adding a new entry, O(N) when trimming where N being the number of entries evicted.",
        merge: Merge::Writes(
            "XADD * ‖ XADD *, XADD 5-* ‖ XADD 5-*: both entries, under different ids, since the node is in the low bits of a generated sequence number; XADD 5-1 ‖ XADD 5-1: the id stands once, with the entry of the later stamp; trimming removes only what its region had observed",
        ),
        subcommands: &[],
    },
    Command {
        name: "xlen",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: xlen,
        since: "5.0.0",
        summary: "Return the number of entries in a stream",
        group: Group::Stream,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "xdel",
        arity: -3,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: xdel,
        since: "5.0.0",
        summary: "Removes the specified entries from the stream. Returns the number of items actually deleted, that may be different from the number of IDs passed in case certain IDs do not exist.",
        group: Group::Stream,
        complexity: "O(1) for each single item to delete in the stream, regardless of the stream size.",
        merge: Merge::Writes(
            "XDEL ‖ XADD of the same id: the new entry stands; XDEL ‖ DEL: the stream stays, with the entries that XADD had added beside the DEL, or none",
        ),
        subcommands: &[],
    },
    Command {
        name: "xtrim",
        arity: -4,
        flags: Flags::WRITE,
        keys: Keys::ONE,
        handler: xtrim,
        since: "5.0.0",
        summary: "Trims the stream to (approximately if '~' is passed) a certain size",
        group: Group::Stream,
        complexity: "O(N), with N being the number of evicted entries. Constant times are very small however, since entries are organized in macro nodes containing multiple entries that can be released with a single deallocation.",
        merge: Merge::Writes(
            "XTRIM ‖ XADD: the new entry stands; XTRIM ‖ XTRIM: what either had observed and removed is gone",
        ),
        subcommands: &[],
    },
    Command {
        name: "xsetid",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: xsetid,
        since: "5.0.0",
        summary: "An internal command for replicating stream values",
        group: Group::Stream,
        complexity: "O(1)",
        merge: Merge::Writes(
            "XSETID ‖ XSETID: the greater last id and the greater deleted id, and the count of the later one; XSETID ‖ XADD: the last id is never below that of an entry",
        ),
        subcommands: &[],
    },
];

fn xadd(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let options = Options::parse(args, true)?;
    let fields = args.get(options.fields..).unwrap_or_default();
    if fields.is_empty() || fields.len() % 2 == 1 {
        return Err(CommandError::wrong_arity("xadd"));
    }
    if options.id == IdRequest::Given(StreamId::ZERO) {
        return Err(CommandError::Plain("ERR The ID specified in XADD must be greater than 0-0"));
    }
    if options.no_make && call.store.stream(db, key)?.is_none() {
        call.reply.null();
        return Ok(());
    }
    let id = match call.store.append_entry(db, key, options.id, fields)? {
        Ok(id) => id,
        Err(IdRefused::NotGreater) => {
            return Err(CommandError::Plain(
                "ERR The ID specified in XADD is equal or smaller than the target stream top item",
            ));
        }
        Err(IdRefused::Exhausted) => {
            return Err(CommandError::Plain(
                "ERR The stream has exhausted the last possible ID, unable to add more items",
            ));
        }
    };
    call.store.note(EventClass::STREAM, "xadd", db, key);
    if let Some(trim) = options.trim
        && call.store.trim(db, key, trim)? > 0
    {
        call.store.note(EventClass::STREAM, "xtrim", db, key);
    }
    reply_id(call.reply, id);
    Ok(())
}

fn xlen(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let length = call.store.stream(call.client.database, args[1])?.map_or(0, |stream| stream.len());
    call.reply.count(length);
    Ok(())
}

fn xdel(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    if call.store.stream(db, key)?.is_none() {
        call.reply.integer(0);
        return Ok(());
    }
    let ids = args[2..].iter().map(|text| id::parse_strict(text, 0)).collect::<Result<Vec<StreamId>, _>>()?;
    let removed = call.store.remove_entries(db, key, &ids)?;
    if removed > 0 {
        call.store.note(EventClass::STREAM, "xdel", db, key);
    }
    call.reply.count(removed);
    Ok(())
}

fn xtrim(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let trim = Options::parse(args, false)?.trim;
    call.store.stream(db, key)?;
    let removed = match trim {
        Some(trim) => call.store.trim(db, key, trim)?,
        None => 0,
    };
    if removed > 0 {
        call.store.note(EventClass::STREAM, "xtrim", db, key);
    }
    call.reply.count(removed);
    Ok(())
}

fn xsetid(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let id = id::parse_strict(args[2], 0)?;
    let (mut added, mut deleted) = (None, StreamId::ZERO);
    let mut rest = args[3..].iter();
    while let Some(word) = rest.next() {
        let value = rest.next().ok_or(CommandError::Syntax)?;
        if word.eq_ignore_ascii_case(b"entriesadded") {
            let count = u64::try_from(number::integer(value)?);
            added = Some(count.map_err(|_| CommandError::Plain("ERR entries_added must be positive"))?);
        } else if word.eq_ignore_ascii_case(b"maxdeletedid") {
            deleted = id::parse_strict(value, 0)?;
            if id < deleted {
                return Err(CommandError::Plain(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let Some(stream) = call.store.stream(db, key)? else { return Err(CommandError::NoSuchKey) };
    if stream.last().is_some_and(|last| id < last.id) {
        return Err(CommandError::Plain("ERR The ID specified in XSETID is smaller than the target stream top item"));
    }
    if added.is_some_and(|added| added < stream.len() as u64) {
        return Err(CommandError::Plain(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    call.store.set_stream_ids(db, key, id, added, Some(deleted).filter(|id| *id != StreamId::ZERO))?;
    call.store.note(EventClass::STREAM, "xsetid", db, key);
    call.reply.ok();
    Ok(())
}

/// Answers an id.
pub(crate) fn reply_id(reply: &mut Reply, id: StreamId) {
    let (mut ms, mut sequence) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (ms, sequence) = (ms.format(id.ms).as_bytes(), sequence.format(id.sequence).as_bytes());
    let (mut text, end) = ([0; 41], ms.len() + 1 + sequence.len());
    text[..ms.len()].copy_from_slice(ms);
    text[ms.len()] = b'-';
    text[ms.len() + 1..end].copy_from_slice(sequence);
    reply.bulk(&text[..end]);
}

/// Answers an entry: its id, and its fields and values in turn.
pub(crate) fn reply_entry(reply: &mut Reply, entry: &StreamItem<'_>) {
    reply.array(2);
    reply_id(reply, entry.id);
    reply.array(2 * entry.body.len());
    entry.each_pair(|field, value| {
        reply.bulk(field);
        reply.bulk(value);
    });
}

/// Answers entries, at most `count` of them. Says how many there were.
pub(crate) fn reply_entries<'e>(
    reply: &mut Reply,
    entries: impl Iterator<Item = StreamItem<'e>>,
    count: usize,
) -> usize {
    let place = reply.deferred();
    let mut written = 0;
    for entry in entries.take(count) {
        reply_entry(reply, &entry);
        written += 1;
    }
    reply.finish_array(place, written);
    written
}

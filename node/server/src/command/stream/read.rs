//! `XREAD`: what came into streams after the ids that a client names, now or when it comes.

use super::{id, reply_entries};
use crate::blocking::{self, Wanted};
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge, number};
use crdt::StreamId;
use keyspace::{Access, Database, Kind};
use resp::Reply;
use std::collections::HashMap;
use std::time::Duration;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command {
    name: "xread",
    arity: -4,
    flags: Flags::READONLY.union(Flags::BLOCKING),
    keys: Keys::Computed(stream_keys),
    handler: xread,
    since: "5.0.0",
    summary: "Return never seen elements in multiple streams, with IDs greater than the ones reported by the caller for each stream. Can block.",
    group: Group::Stream,
    complexity: "For each stream mentioned: O(N) with N being the number of elements being returned, it means that XREAD-ing with a fixed COUNT is O(1). Note that when the BLOCK option is used, XADD will pay O(M) time in order to serve the M clients blocked on the stream getting new data.",
    merge: Merge::Reads,
    subcommands: &[],
}];

/// Where the keys of `XREAD` and `XREADGROUP` are: the first half of what follows `STREAMS`.
pub(crate) fn stream_keys(args: &[&[u8]]) -> Option<Vec<usize>> {
    let mut at = 1;
    while let Some(word) = args.get(at) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("streams") {
            let count = args.len() - at - 1;
            return (count > 0 && count.is_multiple_of(2)).then(|| (at + 1..at + 1 + count / 2).collect());
        }
        at += match () {
            () if is("block") || is("count") => 2,
            () if is("group") => 3,
            () if is("noack") => 1,
            () => return None,
        };
    }
    None
}

/// What a client asks for.
struct Request<'a> {
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
    /// Entries of each stream at most.
    count: usize,
    /// It waits if there is nothing: for so long, or for ever.
    block: Option<Option<Duration>>,
}

impl<'a> Request<'a> {
    fn parse(args: &'a [&'a [u8]]) -> Result<Self, CommandError> {
        let (mut count, mut block) = (usize::MAX, None);
        let mut at = 1;
        while let Some(word) = args.get(at) {
            let more = args.len() - 1 - at;
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is("block") && more > 0 {
                at += 1;
                block = Some(timeout_ms(args[at])?);
            } else if is("count") && more > 0 {
                at += 1;
                count =
                    usize::try_from(number::integer(args[at])?).ok().filter(|count| *count > 0).unwrap_or(usize::MAX);
            } else if is("streams") && more > 0 {
                let streams = &args[at + 1..];
                if streams.len() % 2 == 1 {
                    return Err(CommandError::Plain(
                        "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
                    ));
                }
                let (keys, ids) = streams.split_at(streams.len() / 2);
                return Ok(Self { keys, ids, count, block });
            } else if is("group") && more >= 2 {
                return Err(CommandError::Plain(
                    "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                ));
            } else if is("noack") {
                return Err(CommandError::Plain(
                    "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                ));
            } else {
                break;
            }
            at += 1;
        }
        Err(CommandError::Syntax)
    }

    /// The ids after which the client wants to read, in the order of the keys.
    fn after(&self, call: &mut Call<'_, '_>) -> Result<Vec<StreamId>, CommandError> {
        let db = call.db();
        let mut after = Vec::with_capacity(self.ids.len());
        for (key, text) in self.keys.iter().zip(self.ids) {
            let last = call.store.stream(db, key)?.map_or(StreamId::ZERO, |stream| stream.last_id());
            after.push(match *text {
                b"$" => last,
                b">" => {
                    return Err(CommandError::Plain(
                        "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                    ));
                }
                text => id::parse_strict(text, 0)?,
            });
        }
        Ok(after)
    }
}

/// For how many milliseconds a client waits: nothing is for ever.
pub(crate) fn timeout_ms(text: &[u8]) -> Result<Option<Duration>, CommandError> {
    let ms = number::parse_integer(text).ok_or(CommandError::Plain("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| CommandError::Plain("ERR timeout is negative"))?;
    Ok((ms > 0).then_some(Duration::from_millis(ms)))
}

fn xread(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let request = Request::parse(args)?;
    let after = request.after(call)?;
    let db = call.db();
    let start = call.reply.len();
    let place = call.reply.deferred();
    let mut streams = 0;
    for (key, after) in request.keys.iter().zip(&after) {
        streams += usize::from(reply_stream(call.store, db, key, *after, request.count, call.reply)?);
    }
    if streams > 0 {
        finish(call.reply, place, streams);
        return Ok(());
    }
    call.reply.truncate(start);
    let Some(timeout) = request.block else {
        call.reply.null_array();
        return Ok(());
    };
    // Of a key that is named twice the last id counts, as in Redis.
    let ids: HashMap<Box<[u8]>, StreamId> = request.keys.iter().map(|key| Box::from(*key)).zip(after).collect();
    let count = request.count;
    let serve = Box::new(move |store: &mut Access<'_>, db: Database, key: &[u8], reply: &mut Reply| {
        let Some(&after) = ids.get(key) else { return Ok(false) };
        let place = reply.deferred();
        let is_there = reply_stream(store, db, key, after, count, reply)?;
        if is_there {
            finish(reply, place, 1);
        } else {
            reply.truncate(0);
        }
        Ok(is_there)
    });
    let wanted = Wanted { keys: request.keys, also: None, kind: Kind::Stream, timeout, answers_array: true, serve };
    blocking::wait(call, wanted)
}

/// Answers the name of a stream and what is in it after an id; false, and nothing, if nothing is.
fn reply_stream(
    store: &mut Access<'_>,
    db: Database,
    key: &[u8],
    after: StreamId,
    count: usize,
    reply: &mut Reply,
) -> Result<bool, CommandError> {
    let Some(stream) = store.stream(db, key)? else { return Ok(false) };
    let Some(from) = after.next() else { return Ok(false) };
    if stream.last_entry_id().is_none_or(|last| last <= after) {
        return Ok(false);
    }
    if reply.version() == resp::Version::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
    reply_entries(reply, stream.range(from, StreamId::MAX), count);
    Ok(true)
}

/// Ends what names streams: pairs in an array, or a map.
pub(super) fn finish(reply: &mut Reply, place: resp::Deferred, streams: usize) {
    match reply.version() {
        resp::Version::Resp2 => reply.finish_array(place, streams),
        resp::Version::Resp3 => reply.finish_map(place, streams),
    }
}

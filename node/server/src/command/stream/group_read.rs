//! `XREADGROUP`: what a group has not delivered yet, or what a consumer was given before.

use super::group::{in_words, note_consumer, would_be_new};
use super::id;
use super::read::{finish, stream_keys, timeout_ms};
use super::{reply_entry, reply_id};
use crate::blocking::{self, Wanted};
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge, number};
use crdt::StreamId;
use keyspace::{Access, Database, Kind, StreamItem, StreamView, Wish};
use resp::{Reply, Version};
use std::time::Duration;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command {
    name: "xreadgroup",
    arity: -7,
    flags: Flags::WRITE.union(Flags::BLOCKING),
    keys: Keys::Computed(stream_keys),
    handler: xreadgroup,
    since: "5.0.0",
    summary: "Return new entries from a stream using a consumer group, or access the history of the pending entries for a given consumer. Can block.",
    group: Group::Stream,
    complexity: "For each stream mentioned: O(M) with M being the number of elements returned. If M is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1). On the other side when XREADGROUP blocks, XADD will pay the O(N) time in order to serve the N clients blocked on the stream getting new data.",
    merge: Merge::Writes(
        "What is delivered here is pending in this region alone; every region delivers each entry until it knows that it was acknowledged anywhere, also one that arrives late with a lower id; with NOACK as XACK of what is delivered",
    ),
    subcommands: &[],
}];

/// What a client asks for.
struct Request<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
    /// Entries of each stream at most.
    count: usize,
    /// It waits if there is nothing: for so long, or for ever.
    block: Option<Option<Duration>>,
    is_acknowledged: bool,
}

const MEANINGLESS: CommandError = CommandError::Plain(
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
);

impl<'a> Request<'a> {
    fn parse(args: &'a [&'a [u8]]) -> Result<Self, CommandError> {
        let (mut count, mut block, mut reader, mut is_acknowledged) = (usize::MAX, None, None, false);
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
            } else if is("group") && more >= 2 {
                reader = Some((args[at + 1], args[at + 2]));
                at += 2;
            } else if is("noack") {
                is_acknowledged = true;
            } else if is("streams") && more > 0 {
                let streams = &args[at + 1..];
                if streams.len() % 2 == 1 {
                    return Err(CommandError::Plain(
                        "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
                    ));
                }
                let (group, consumer) = reader.ok_or(CommandError::Plain("ERR Missing GROUP option for XREADGROUP"))?;
                let (keys, ids) = streams.split_at(streams.len() / 2);
                return Ok(Self { group, consumer, keys, ids, count, block, is_acknowledged });
            } else {
                break;
            }
            at += 1;
        }
        Err(CommandError::Syntax)
    }

    /// What is wanted of each stream. All groups have to be there.
    fn wishes(&self, call: &mut Call<'_, '_>) -> Result<Vec<Wish>, CommandError> {
        let db = call.db();
        let mut wishes = Vec::with_capacity(self.ids.len());
        for (key, text) in self.keys.iter().zip(self.ids) {
            if call.store.with_group(db, key, self.group, |_| ())?.is_none() {
                return Err(no_group(key, self.group));
            }
            wishes.push(match *text {
                b"$" => return Err(MEANINGLESS),
                b">" => self.wish_for_new(),
                text => Wish::Again(id::parse_strict(text, 0)?),
            });
        }
        Ok(wishes)
    }

    fn wish_for_new(&self) -> Wish {
        if self.is_acknowledged { Wish::NewAcknowledged } else { Wish::New }
    }
}

fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    let (key, group) = (in_words(key), in_words(group));
    CommandError::Detailed(format!(
        "NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP with GROUP option"
    ))
}

fn xreadgroup(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let request = Request::parse(args)?;
    let wishes = request.wishes(call)?;
    let db = call.db();
    let start = call.reply.len();
    let place = call.reply.deferred();
    let mut streams = 0;
    let Request { group, consumer, keys, count, .. } = request;
    for (key, wish) in keys.iter().zip(&wishes) {
        let given = Given { group, consumer, wish: *wish, count };
        streams += usize::from(given.reply(call.store, db, key, call.reply)? == Some(true));
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
    let (group, consumer, wish): (Box<[u8]>, Box<[u8]>, Wish) = (group.into(), consumer.into(), request.wish_for_new());
    let serve = Box::new(move |store: &mut Access<'_>, db: Database, key: &[u8], reply: &mut Reply| {
        let place = reply.deferred();
        let given = Given { group: &group, consumer: &consumer, wish, count };
        match given.reply(store, db, key, reply)? {
            Some(true) => finish(reply, place, 1),
            Some(false) => reply.truncate(0),
            None => {
                return Err(CommandError::Plain(
                    "NOGROUP the consumer group this client was blocked on no longer exists",
                ));
            }
        }
        Ok(!reply.is_empty())
    });
    let wanted = Wanted { keys, also: None, kind: Kind::Stream, timeout, answers_array: true, serve };
    blocking::wait_while_there(call, wanted, CommandError::Plain("UNBLOCKED the stream key no longer exists"))
}

/// What a consumer is given of one stream.
struct Given<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
    wish: Wish,
    count: usize,
}

impl Given<'_> {
    /// Gives it, and answers the name of the stream and the entries; false, and nothing is answered, if there is nothing
    /// new. Nothing if there is no such group.
    fn reply(
        &self,
        store: &mut Access<'_>,
        db: Database,
        key: &[u8],
        reply: &mut Reply,
    ) -> Result<Option<bool>, CommandError> {
        let is_new = would_be_new(store, db, key, self.group, self.consumer);
        let given = store.read_for_group(db, key, self.group, self.consumer, self.wish, self.count)?;
        let Some(ids) = given else { return Ok(None) };
        let is_history = matches!(self.wish, Wish::Again(_));
        // Who asks for new entries where there are none is no consumer yet.
        note_consumer(store, db, key, is_new && (is_history || !ids.is_empty()));
        if ids.is_empty() && !is_history {
            return Ok(Some(false));
        }
        if reply.version() == Version::Resp2 {
            reply.array(2);
        }
        reply.bulk(key);
        reply.array(ids.len());
        let Some(stream) = store.stream(db, key)? else { return Ok(None) };
        each_entry(stream, &ids, |id, entry| match entry {
            Some(entry) => reply_entry(reply, &entry),
            // It was pending, and was deleted.
            None => {
                reply.array(2);
                reply_id(reply, id);
                reply.null_array();
            }
        });
        Ok(Some(true))
    }
}

/// Gives `each` the entries with these ids, which are in order, or nothing for one that is not there.
pub(super) fn each_entry(
    stream: StreamView<'_>,
    ids: &[StreamId],
    mut each: impl FnMut(StreamId, Option<StreamItem<'_>>),
) {
    let Some(&first) = ids.first() else { return };
    let mut entries = stream.range(first, StreamId::MAX).peekable();
    for &id in ids {
        let is_behind = |entry: &StreamItem<'_>| entry.id < id;
        let mut steps = 0;
        while entries.next_if(is_behind).is_some() {
            steps += 1;
            if steps == STEPS_MAX {
                entries = stream.range(id, StreamId::MAX).peekable();
            }
        }
        each(id, entries.next_if(|entry| entry.id == id));
    }
}

/// Entries that are passed over before the next one is looked for from the beginning: about as many as lie in a piece.
const STEPS_MAX: usize = 100;

//! `XINFO STREAM`, without what belongs to groups.

use super::{reply_entry, reply_id};
use crate::command::{Call, CommandError};
use keyspace::StreamView;
use resp::Reply;

/// Answers what is known of a stream.
pub(crate) fn stream(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let Some(stream) = call.store.stream(call.client.database, args[2])? else { return Err(CommandError::NoSuchKey) };
    let reply = &mut *call.reply;
    reply.map(10);
    reply_ids(reply, stream);
    reply.bulk(b"groups");
    reply.count(stream.groups());
    for (name, entry) in [(&b"first-entry"[..], stream.first()), (b"last-entry", stream.last())] {
        reply.bulk(name);
        match entry {
            Some(entry) => reply_entry(reply, &entry),
            None => reply.null(),
        }
    }
    Ok(())
}

/// Answers what is known of the entries' ids: seven pairs.
pub(super) fn reply_ids(reply: &mut Reply, stream: StreamView<'_>) {
    reply.bulk(b"length");
    reply.count(stream.len());
    reply.bulk(b"radix-tree-keys");
    reply.count(stream.chunks());
    reply.bulk(b"radix-tree-nodes");
    // The root, and one for each piece: exact while there are few of them.
    reply.count(stream.chunks() + 1);
    reply.bulk(b"last-generated-id");
    reply_id(reply, stream.last_id());
    reply.bulk(b"max-deleted-entry-id");
    reply_id(reply, stream.max_deleted_id());
    reply.bulk(b"entries-added");
    // Beyond what an integer of the protocol can be it goes on below zero, as in Redis.
    reply.integer(stream.entries_added() as i64);
    reply.bulk(b"recorded-first-entry-id");
    reply_id(reply, stream.first().map_or_else(Default::default, |first| first.id));
}

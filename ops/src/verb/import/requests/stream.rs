//! Streams: entries under their own ids, then what is known about ids, then groups, consumers and what is pending.

use super::Requests;
use rdb::{Group, PendingEntry, Stream, StreamId};
use std::collections::HashMap;

/// Adds the requests that make a stream.
pub(super) fn write_stream(requests: &mut Requests<'_>, key: &[u8], stream: &Stream) {
    for entry in stream.iter() {
        let id = entry.id.to_string();
        let mut words: Vec<&[u8]> = vec![b"XADD", key, id.as_bytes()];
        words.extend(entry.iter().flat_map(|(name, value)| [name, value]));
        requests.add(&words);
    }
    if stream.is_empty() {
        // An entry that goes at once: a stream may be empty, but nothing makes it so.
        let id = stream.last_id.max(StreamId { milliseconds: 0, sequence: 1 }).to_string();
        requests.add(&[b"XADD", key, b"MAXLEN", b"0", id.as_bytes(), b"x", b"y"]);
    }
    let (last, deleted) = (stream.last_id.to_string(), stream.max_deleted_id.to_string());
    let added = stream.entries_added.unwrap_or(stream.len() as u64).to_string();
    let mut words: Vec<&[u8]> = vec![b"XSETID", key, last.as_bytes()];
    if stream.entries_added.is_some() {
        words.extend([b"ENTRIESADDED", added.as_bytes(), b"MAXDELETEDID", deleted.as_bytes()]);
    }
    requests.add(&words);
    stream.groups.iter().for_each(|group| write_group(requests, key, group));
}

fn write_group(requests: &mut Requests<'_>, key: &[u8], group: &Group) {
    let name = group.name.as_slice();
    let last = group.last_id.to_string();
    match group.entries_read {
        Some(read) => requests.add(&[
            b"XGROUP",
            b"CREATE",
            key,
            name,
            last.as_bytes(),
            b"ENTRIESREAD",
            read.to_string().as_bytes(),
        ]),
        None => requests.add(&[b"XGROUP", b"CREATE", key, name, last.as_bytes()]),
    }
    let pending: HashMap<StreamId, &PendingEntry> = group.pending.iter().map(|pending| (pending.id, pending)).collect();
    for consumer in &group.consumers {
        requests.add(&[b"XGROUP", b"CREATECONSUMER", key, name, &consumer.name]);
        for pending in consumer.pending.iter().filter_map(|id| pending.get(id)) {
            requests.add(&[
                b"XCLAIM",
                key,
                name,
                &consumer.name,
                b"0",
                pending.id.to_string().as_bytes(),
                b"TIME",
                pending.delivered_ms.to_string().as_bytes(),
                b"RETRYCOUNT",
                pending.deliveries.to_string().as_bytes(),
                b"JUSTID",
                b"FORCE",
            ]);
        }
    }
}

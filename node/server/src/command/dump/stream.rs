//! Streams as `DUMP` and `RESTORE` have them.

use crate::command::CommandError;
use crdt::StreamId;
use keyspace::{Access, Database, GivenConsumer, GivenGroup, GivenPending, GroupMut, IdRequest, StreamView, WrongKind};
use rdb::{Consumer, Group, PendingEntry, Stream};
use std::collections::HashMap;

/// A stream in the form in which it is serialized, with its groups as far as they are in this region.
pub(super) fn object(store: &mut Access<'_>, db: Database, key: &[u8]) -> Result<Option<Stream>, WrongKind> {
    let Some(mut stream) = store.stream(db, key)?.map(|view| entries(&view)) else { return Ok(None) };
    for name in store.group_names(db, key)?.unwrap_or_default() {
        stream.groups.extend(store.with_group(db, key, &name, |found| group(&name, found))?);
    }
    Ok(Some(stream))
}

fn group(name: &[u8], found: &mut GroupMut<'_>) -> Group {
    let delivery = found.delivery();
    let mut group = Group { name: name.to_vec(), last_id: serialized(delivery.last_id()), ..Group::default() };
    group.entries_read = delivery.entries_read();
    for (id, pending) in delivery.pending.range(StreamId::ZERO..=StreamId::MAX) {
        let (delivered_ms, deliveries) = (pending.delivered_ms, pending.deliveries);
        group.pending.push(PendingEntry { id: serialized(id), delivered_ms, deliveries });
    }
    for consumer in delivery.pending.consumers() {
        let pending = consumer.ids.iter().copied().map(serialized).collect();
        group.consumers.push(Consumer {
            name: consumer.name.to_vec(),
            seen_ms: consumer.seen_ms,
            active_ms: None,
            pending,
        });
    }
    group
}

/// The entries of a stream, and what is known of their ids.
fn entries(view: &StreamView<'_>) -> Stream {
    let mut stream = Stream::default();
    stream.last_id = serialized(view.last_id());
    stream.max_deleted_id = serialized(view.max_deleted_id());
    stream.entries_added = Some(view.entries_added());
    let mut texts: Vec<u8> = Vec::new();
    let mut ends: Vec<usize> = Vec::new();
    for item in view.range(StreamId::ZERO, StreamId::MAX) {
        texts.clear();
        ends.clear();
        item.each_pair(|name, value| {
            for text in [name, value] {
                texts.extend_from_slice(text);
                ends.push(texts.len());
            }
        });
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let slices: Vec<&[u8]> = starts.zip(&ends).map(|(start, end)| &texts[start..*end]).collect();
        let pairs: Vec<(&[u8], &[u8])> = slices.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        stream.push(serialized(item.id), &pairs);
    }
    stream
}

/// Whether ids are in order, which nothing else tells of a payload.
pub(super) fn is_valid(stream: &Stream) -> bool {
    let mut last = rdb::StreamId::default();
    for entry in stream.iter() {
        if entry.id <= last || entry.is_empty() {
            return false;
        }
        last = entry.id;
    }
    stream.last_id >= last
}

/// Writes a stream under a key that holds nothing.
pub(super) fn put(store: &mut Access<'_>, db: Database, key: &[u8], stream: &Stream) -> Result<(), CommandError> {
    for entry in stream.iter() {
        let pairs: Vec<&[u8]> = entry.iter().flat_map(|(name, value)| [name, value]).collect();
        // Their order was checked.
        let _ = store.append_entry(db, key, IdRequest::Given(id(entry.id)), &pairs)?;
    }
    let added = stream.entries_added.unwrap_or(stream.len() as u64);
    store.set_stream_ids(db, key, id(stream.last_id), Some(added), Some(id(stream.max_deleted_id)))?;
    for group in &stream.groups {
        let pending: HashMap<rdb::StreamId, &PendingEntry> =
            group.pending.iter().map(|pending| (pending.id, pending)).collect();
        let consumers = group.consumers.iter().map(|consumer| GivenConsumer {
            name: &consumer.name,
            seen_ms: consumer.seen_ms,
            pending: consumer.pending.iter().filter_map(|id| pending.get(id)).map(given).collect(),
        });
        let consumers = consumers.collect();
        let (last_id, entries_read) = (id(group.last_id), group.entries_read);
        store.put_group(db, key, &GivenGroup { name: &group.name, last_id, entries_read, consumers })?;
    }
    Ok(())
}

fn given(pending: &&PendingEntry) -> GivenPending {
    GivenPending { id: id(pending.id), delivered_ms: pending.delivered_ms, deliveries: pending.deliveries }
}

fn id(id: rdb::StreamId) -> StreamId {
    StreamId::new(id.milliseconds, id.sequence)
}

fn serialized(id: StreamId) -> rdb::StreamId {
    rdb::StreamId { milliseconds: id.ms, sequence: id.sequence }
}

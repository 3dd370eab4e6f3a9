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
    // What came late and nobody has read is before the last delivered id, which alone the form has: some entries are
    // delivered again rather than these never.
    let before_late = delivery.first_late().and_then(StreamId::previous);
    let last_id = before_late.map_or(delivery.last_id(), |id| id.min(delivery.last_id()));
    let mut group = Group { name: name.to_vec(), last_id: serialized(last_id), ..Group::default() };
    group.entries_read = delivery.entries_read().filter(|_| last_id == delivery.last_id());
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

/// Whether ids are in order, and what is pending for groups is so for their consumers, which nothing else tells of a
/// payload.
pub(super) fn is_valid(stream: &Stream) -> bool {
    let mut last = rdb::StreamId::default();
    for entry in stream.iter() {
        if entry.id <= last || entry.is_empty() {
            return false;
        }
        last = entry.id;
    }
    stream.last_id >= last && stream.groups.iter().all(is_valid_group)
}

/// Whether each entry that is pending is so once, and for one consumer.
fn is_valid_group(group: &Group) -> bool {
    let mut pending: Vec<rdb::StreamId> = group.pending.iter().map(|pending| pending.id).collect();
    let mut given: Vec<rdb::StreamId> =
        group.consumers.iter().flat_map(|consumer| &consumer.pending).copied().collect();
    pending.sort_unstable();
    given.sort_unstable();
    pending == given && pending.windows(2).all(|pair| pair[0] != pair[1])
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

#[cfg(test)]
mod tests {
    use super::*;
    use crdt::{NodeNumber, STAMP_EPOCH_MS};
    use keyspace::{GroupPlace, Keyspace, Wish};

    #[test]
    fn each_pending_entry_is_so_for_one_consumer() {
        let id = |milliseconds| rdb::StreamId { milliseconds, sequence: 0 };
        let is_valid_with = |pending: &[u64], consumers: &[&[u64]]| {
            let pending = pending.iter().map(|ms| PendingEntry { id: id(*ms), delivered_ms: 1, deliveries: 1 });
            let consumers = consumers.iter().map(|given| Consumer {
                name: b"c".to_vec(),
                seen_ms: 1,
                active_ms: None,
                pending: given.iter().copied().map(id).collect(),
            });
            let (pending, consumers) = (pending.collect(), consumers.collect());
            is_valid_group(&Group { name: b"g".to_vec(), pending, consumers, ..Group::default() })
        };
        assert!(is_valid_with(&[1, 2, 3], &[&[3, 1], &[], &[2]]) && is_valid_with(&[], &[&[]]));
        assert!(!is_valid_with(&[1, 2], &[&[1]]) && !is_valid_with(&[1], &[&[1, 2]]));
        assert!(!is_valid_with(&[1, 1], &[&[1], &[1]]) && !is_valid_with(&[1], &[&[1], &[1]]));
    }

    /// An entry with a lower id than what was delivered: as from another region, or after ids went back.
    #[test]
    fn what_came_late_and_nobody_has_read_is_behind_the_last_id_of_the_payload() {
        let keyspace = Keyspace::new(1);
        keyspace.set_number(NodeNumber::new(1).unwrap());
        let mut writer = keyspace.writer();
        let mut access = writer.access(STAMP_EPOCH_MS + 1_000, &[b"s"]);
        let (db, key, name) = (Database(0), &b"s"[..], &b"g"[..]);
        let id = |ms| StreamId::new(ms, 0);
        let given = |ms| IdRequest::Given(id(ms));
        access.begin_command();
        access.append_entry(db, key, given(100), &[b"f", b"v"]).unwrap().unwrap();
        access.create_group(db, key, name, GroupPlace::Behind(StreamId::ZERO), Some(0)).unwrap();
        assert_eq!(access.read_for_group(db, key, name, b"ann", Wish::New, 9), Ok(Some(vec![id(100)])));
        let dumped = object(&mut access, db, key).unwrap().unwrap();
        assert_eq!((dumped.groups[0].last_id, dumped.groups[0].entries_read), (serialized(id(100)), Some(1)));
        access.begin_command();
        access.remove_entries(db, key, &[id(100)]).unwrap();
        access.begin_command();
        access.set_stream_ids(db, key, id(50), None, None).unwrap();
        access.begin_command();
        access.append_entry(db, key, given(60), &[b"f", b"v"]).unwrap().unwrap();
        let dumped = object(&mut access, db, key).unwrap().unwrap();
        let group = &dumped.groups[0];
        assert_eq!((group.last_id, group.entries_read), (serialized(StreamId::new(59, u64::MAX)), None));
        assert_eq!(group.pending.len(), 1);
    }
}

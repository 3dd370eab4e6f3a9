//! Streams, in the second version of their encoding, that of Redis 7.0.

use super::{write_block, write_length, write_text};
use crate::decode::stream::SAME_FIELDS;
use crate::limits::{STREAM_NODE_BYTES_MAX, STREAM_NODE_ENTRIES_MAX};
use crate::listpack::ListpackWriter;
use crate::object::{Group, Stream, StreamEntry, StreamId};

/// Appends a stream.
pub(super) fn write_stream(out: &mut Vec<u8>, stream: &Stream) {
    let entries: Vec<StreamEntry<'_>> = stream.iter().collect();
    let nodes = nodes(&entries);
    write_length(out, nodes.len() as u64);
    for node in nodes {
        write_block(out, &id_bytes(node[0].id));
        write_block(out, &node_bytes(node));
    }
    write_length(out, stream.len() as u64);
    write_id(out, stream.last_id);
    write_id(out, entries.first().map(|entry| entry.id).unwrap_or_default());
    write_id(out, stream.max_deleted_id);
    write_length(out, stream.entries_added.unwrap_or(stream.len() as u64));
    write_length(out, stream.groups.len() as u64);
    stream.groups.iter().for_each(|group| write_group(out, group));
}

/// As many entries to a node as Redis would put there.
fn nodes<'e, 's>(entries: &'e [StreamEntry<'s>]) -> Vec<&'e [StreamEntry<'s>]> {
    let (mut nodes, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, entry) in entries.iter().enumerate() {
        let more: usize = entry.iter().map(|(name, value)| name.len() + value.len()).sum();
        if index > start && (index - start >= STREAM_NODE_ENTRIES_MAX || bytes + more > STREAM_NODE_BYTES_MAX) {
            nodes.push(&entries[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += more;
    }
    if start < entries.len() {
        nodes.push(&entries[start..]);
    }
    nodes
}

fn node_bytes(entries: &[StreamEntry<'_>]) -> Vec<u8> {
    let first = entries[0];
    let mut pack = ListpackWriter::new();
    pack.push_integer(entries.len() as i64);
    pack.push_integer(0); // none of them is deleted
    pack.push_integer(first.len() as i64);
    first.iter().for_each(|(name, _)| pack.push(name));
    pack.push_integer(0);
    for entry in entries {
        let before = pack.len();
        let is_alike = entry.iter().map(|(name, _)| name).eq(first.iter().map(|(name, _)| name));
        pack.push_integer(if is_alike { SAME_FIELDS } else { 0 });
        pack.push_integer(entry.id.milliseconds.wrapping_sub(first.id.milliseconds) as i64);
        pack.push_integer(entry.id.sequence.wrapping_sub(first.id.sequence) as i64);
        if !is_alike {
            pack.push_integer(entry.len() as i64);
        }
        for (name, value) in entry.iter() {
            if !is_alike {
                pack.push(name);
            }
            pack.push(value);
        }
        pack.push_integer((pack.len() - before) as i64);
    }
    pack.finish()
}

fn write_group(out: &mut Vec<u8>, group: &Group) {
    write_text(out, &group.name);
    write_id(out, group.last_id);
    write_length(out, group.entries_read.unwrap_or(u64::MAX)); // -1 stands for unknown
    write_length(out, group.pending.len() as u64);
    for pending in &group.pending {
        out.extend_from_slice(&id_bytes(pending.id));
        out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
        write_length(out, pending.deliveries);
    }
    write_length(out, group.consumers.len() as u64);
    for consumer in &group.consumers {
        write_text(out, &consumer.name);
        out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
        write_length(out, consumer.pending.len() as u64);
        consumer.pending.iter().for_each(|id| out.extend_from_slice(&id_bytes(*id)));
    }
}

fn write_id(out: &mut Vec<u8>, id: StreamId) {
    write_length(out, id.milliseconds);
    write_length(out, id.sequence);
}

fn id_bytes(id: StreamId) -> [u8; 16] {
    (u128::from(id.milliseconds) << 64 | u128::from(id.sequence)).to_be_bytes()
}

//! Streams: listpacks of entries, each named by its first id, then what is known about ids, then the groups.

use super::{Decoder, length, types};
use crate::error::RdbError;
use crate::listpack::{Listpack, Packed};
use crate::object::{Consumer, Group, Object, PendingEntry, Stream, StreamId};
use crate::source::Source;

/// The entry was deleted and only its place is left.
pub(crate) const DELETED: i64 = 1;
/// The entry has the names of the node's first one.
pub(crate) const SAME_FIELDS: i64 = 2;

impl Decoder {
    pub(super) fn stream(&mut self, source: &mut impl Source, kind: u8) -> Result<Object, RdbError> {
        let mut stream = Stream::default();
        let mut name = Vec::new();
        for _ in 0..length(source)? {
            name.clear();
            self.text(source, &mut name)?;
            let first = <[u8; 16]>::try_from(name.as_slice());
            let first = first.map_err(|_| RdbError::Corrupt("a stream's node has no id for a name"))?;
            self.packed(source, &mut |block| read_node(block, id_of(first), &mut stream))?;
        }
        length(source)?; // how many entries there are: they were counted
        stream.last_id = id(source)?;
        if kind != types::STREAM {
            id(source)?; // the first entry's: it is there
            stream.max_deleted_id = id(source)?;
            stream.entries_added = Some(length(source)?);
        }
        for _ in 0..length(source)? {
            let group = self.group(source, kind)?;
            stream.groups.push(group);
        }
        if kind == types::STREAM_4 {
            self.pass_producers(source)?;
        }
        Ok(Object::Stream(Box::new(stream)))
    }

    fn group(&mut self, source: &mut impl Source, kind: u8) -> Result<Group, RdbError> {
        let mut group = Group { name: self.owned_text(source)?, last_id: id(source)?, ..Group::default() };
        if kind != types::STREAM {
            // -1 stands for unknown.
            group.entries_read = Some(length(source)?).filter(|read| *read <= i64::MAX as u64);
        }
        for _ in 0..length(source)? {
            let id = id_of(source.array()?);
            let delivered_ms = u64::from_le_bytes(source.array()?);
            group.pending.push(PendingEntry { id, delivered_ms, deliveries: length(source)? });
        }
        for _ in 0..length(source)? {
            let mut consumer = Consumer { name: self.owned_text(source)?, ..Consumer::default() };
            consumer.seen_ms = u64::from_le_bytes(source.array()?);
            if matches!(kind, types::STREAM_3 | types::STREAM_4) {
                consumer.active_ms = u64::try_from(i64::from_le_bytes(source.array()?)).ok();
            }
            for _ in 0..length(source)? {
                consumer.pending.push(id_of(source.array()?));
            }
            group.consumers.push(consumer);
        }
        Ok(group)
    }

    /// What Redis 8.6 remembers of producers, so that it can refuse an entry that comes twice. It lives for minutes.
    pub(super) fn pass_producers(&mut self, source: &mut impl Source) -> Result<(), RdbError> {
        for _ in 0..2 {
            length(source)?;
        }
        for _ in 0..length(source)? {
            self.pass_text(source)?;
            for _ in 0..length(source)? {
                self.pass_text(source)?;
                id(source)?;
            }
        }
        for _ in 0..2 {
            length(source)?;
        }
        Ok(())
    }
}

/// The entries of one node.
fn read_node(block: &[u8], first: StreamId, stream: &mut Stream) -> Result<(), RdbError> {
    let mut pack = Listpack::new(block)?;
    let (count, deleted) = (pack.expect()?.integer()?, pack.expect()?.integer()?);
    // The names of the first entry are kept once, whatever number of entries has them.
    let names = push_texts(&mut pack, stream)?;
    pack.expect()?; // ends the names
    for _ in 0..count.checked_add(deleted).unwrap_or(0) {
        let flags = pack.expect()?.integer()?;
        let id = StreamId {
            milliseconds: first.milliseconds.wrapping_add_signed(pack.expect()?.integer()?),
            sequence: first.sequence.wrapping_add_signed(pack.expect()?.integer()?),
        };
        let start = stream.pairs.len();
        if flags & SAME_FIELDS != 0 {
            for name in names.clone() {
                let value = push_text(pack.expect()?, stream)?;
                stream.pairs.push((name, value));
            }
        } else {
            for _ in 0..pack.expect()?.integer()? {
                let name = push_text(pack.expect()?, stream)?;
                let value = push_text(pack.expect()?, stream)?;
                stream.pairs.push((name, value));
            }
        }
        pack.expect()?; // how many elements the entry has, for reading backwards
        if flags & DELETED != 0 {
            stream.pairs.truncate(start);
            continue;
        }
        let fields = u32::try_from(stream.pairs.len() - start).map_err(|_| TOO_MANY)?;
        stream.entries.push((id, fields));
    }
    match pack.next()? {
        None => Ok(()),
        Some(_) => Err(RdbError::Corrupt("a stream's node has more entries than it says")),
    }
}

/// A number of texts and then the texts themselves: their places.
fn push_texts(pack: &mut Listpack<'_>, stream: &mut Stream) -> Result<std::ops::Range<u32>, RdbError> {
    let count = pack.expect()?.integer()?;
    let start = place(stream)?;
    for _ in 0..count {
        push_text(pack.expect()?, stream)?;
    }
    Ok(start..place(stream)?)
}

fn push_text(packed: Packed<'_>, stream: &mut Stream) -> Result<u32, RdbError> {
    let place = place(stream)?;
    stream.texts.push_with(|out| packed.write_to(out))?;
    Ok(place)
}

fn place(stream: &Stream) -> Result<u32, RdbError> {
    u32::try_from(stream.texts.len()).map_err(|_| TOO_MANY)
}

fn id(source: &mut impl Source) -> Result<StreamId, RdbError> {
    Ok(StreamId { milliseconds: length(source)?, sequence: length(source)? })
}

/// An id in its sixteen bytes, largest first.
fn id_of(bytes: [u8; 16]) -> StreamId {
    let both = u128::from_be_bytes(bytes);
    StreamId { milliseconds: (both >> 64) as u64, sequence: both as u64 }
}

const TOO_MANY: RdbError = RdbError::Unsupported("a stream with more than four thousand million texts");

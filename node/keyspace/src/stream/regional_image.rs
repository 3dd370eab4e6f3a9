//! What a region keeps of groups for itself, as an image of the node has it. State sessions leave it out.

use super::delivery::Delivery;
use super::pending::Pending;
use super::regional::Regional;
use crdt::encoding::{put_slice, put_stamp, put_varint};
use crdt::{DecodeError, DotRange, EntryDot, GroupStart, Reader, Stamp, StreamId};

/// What was delivered of groups in this region, by the names of the groups.
pub type KeptDeliveries = Vec<(Box<[u8]>, Delivery)>;

const WHAT: &str = "a delivery";

/// That two ids follow, see [`Delivery::passed_over`].
const PASSED_OVER: u8 = 1;
/// That the stream's ids have gone back.
const WENT_BACK: u8 = 2;
/// That ranges follow, see [`Delivery::ended`].
const ENDED: u8 = 4;

impl Regional {
    /// Whether there is anything to be kept.
    pub fn has_deliveries(&self) -> bool {
        self.groups().any(|(_, group)| group.delivery().is_some())
    }

    /// Appends what was delivered here.
    pub fn encode(&self, out: &mut Vec<u8>, base: Stamp) {
        let kept = || self.groups().filter_map(|(name, group)| Some((name, group.delivery()?)));
        put_varint(out, kept().count() as u64);
        for (name, delivery) in kept() {
            put_slice(out, name);
            encode_delivery(delivery, out, base);
        }
    }

    /// Reads what [`Regional::encode`] wrote.
    pub fn decode(reader: &mut Reader<'_>, base: Stamp) -> Result<KeptDeliveries, DecodeError> {
        let mut kept = Vec::new();
        for _ in 0..reader.count(WHAT)? {
            kept.push((reader.slice(WHAT)?.into(), decode_delivery(reader, base)?));
        }
        Ok(kept)
    }

    /// Takes in what was delivered, of groups that are there and of which nothing is known here yet. What was acknowledged
    /// meanwhile is not pending any more.
    pub fn take_in(&mut self, kept: KeptDeliveries) {
        for (name, mut delivery) in kept {
            let Some(group) = self.group_mut(&name).filter(|group| group.delivery.is_none()) else { continue };
            delivery.release_done(StreamId::ZERO, StreamId::MAX, |dot| group.known.acknowledged.contains(dot));
            group.delivery = Some(Box::new(delivery));
        }
    }
}

fn encode_delivery(delivery: &Delivery, out: &mut Vec<u8>, base: Stamp) {
    put_varint(out, delivery.judged.len() as u64);
    delivery.judged.iter().for_each(|start| put_slice(out, &start.encode()));
    put_id(out, delivery.last_id);
    let passed_over = if delivery.passed_over.is_some() { PASSED_OVER } else { 0 };
    let ended = if delivery.ended.is_empty() { 0 } else { ENDED };
    out.push(passed_over | ended | if delivery.ids_went_back { WENT_BACK } else { 0 });
    for id in delivery.passed_over.iter().flat_map(|(top, last)| [top, last]) {
        put_id(out, *id);
    }
    if ended != 0 {
        put_varint(out, delivery.ended.len() as u64);
        delivery.ended.iter().flat_map(|range| [range.first, range.last]).for_each(|dot| put_dot(out, base, dot));
    }
    out.push(u8::from(delivery.entries_read.is_some()));
    delivery.entries_read.iter().for_each(|read| put_varint(out, *read));
    put_varint(out, delivery.late.len() as u64);
    for (id, stamp) in &delivery.late {
        put_dot(out, base, EntryDot { stamp: *stamp, id: *id });
    }
    put_varint(out, delivery.pending.consumers().len() as u64);
    for consumer in delivery.pending.consumers() {
        put_slice(out, &consumer.name);
        put_varint(out, consumer.seen_ms);
        put_varint(out, consumer.ids.len() as u64);
        for (id, pending) in consumer.ids.iter().filter_map(|id| Some((*id, delivery.pending.find(*id)?))) {
            put_dot(out, base, EntryDot { stamp: pending.stamp, id });
            put_varint(out, pending.delivered_ms);
            put_varint(out, pending.deliveries);
        }
    }
}

fn decode_delivery(reader: &mut Reader<'_>, base: Stamp) -> Result<Delivery, DecodeError> {
    let mut delivery = Delivery::default();
    for _ in 0..reader.count(WHAT)? {
        delivery.judged.push(GroupStart::decode(reader.slice(WHAT)?)?);
    }
    delivery.last_id = id(reader)?;
    let flags = reader.byte(WHAT)?;
    delivery.ids_went_back = flags & WENT_BACK != 0;
    if flags & PASSED_OVER != 0 {
        delivery.passed_over = Some((id(reader)?, id(reader)?));
    }
    let ended = if flags & ENDED == 0 { 0 } else { reader.count(WHAT)? };
    for _ in 0..ended {
        let (first, last) = (dot(reader, base)?, dot(reader, base)?);
        if first > last || first.author() != last.author() {
            return Err(DecodeError::Invalid(WHAT));
        }
        delivery.ended.insert(DotRange { first, last });
    }
    if reader.byte(WHAT)? != 0 {
        delivery.entries_read = Some(reader.varint(WHAT)?);
    }
    for _ in 0..reader.count(WHAT)? {
        let EntryDot { stamp, id } = dot(reader, base)?;
        delivery.late.insert(id, stamp);
    }
    for _ in 0..reader.count(WHAT)? {
        let name = reader.slice(WHAT)?;
        let (consumer, _) = delivery.pending.enter(name, reader.varint(WHAT)?);
        for _ in 0..reader.count(WHAT)? {
            let EntryDot { stamp, id } = dot(reader, base)?;
            let (delivered_ms, deliveries) = (reader.varint(WHAT)?, reader.varint(WHAT)?);
            delivery.pending.assign(id, Pending { stamp, delivered_ms, deliveries, consumer });
        }
    }
    Ok(delivery)
}

fn put_id(out: &mut Vec<u8>, id: StreamId) {
    put_varint(out, id.ms);
    put_varint(out, id.sequence);
}

fn put_dot(out: &mut Vec<u8>, base: Stamp, dot: EntryDot) {
    put_id(out, dot.id);
    put_stamp(out, base, dot.stamp);
}

fn id(reader: &mut Reader<'_>) -> Result<StreamId, DecodeError> {
    Ok(StreamId::new(reader.varint(WHAT)?, reader.varint(WHAT)?))
}

fn dot(reader: &mut Reader<'_>, base: Stamp) -> Result<EntryDot, DecodeError> {
    let id = id(reader)?;
    Ok(EntryDot { stamp: reader.stamp(base, WHAT)?, id })
}

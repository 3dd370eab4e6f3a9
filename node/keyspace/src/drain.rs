//! The drain: takes what all writers have logged, up to a cut, in the order of stamps, and makes batches of it.
//!
//! It never waits for a worker: the cut lies below every stamp that a writer may still append. Changes come in
//! *groups*, which readers elsewhere see whole: a transaction is never split, and repeated writes of one element are
//! sent once in a group.

use crate::keyspace::Keyspace;
use crate::lock::LockGuard;
use crate::log::{LogBuffer, Record};
use crdt::Stamp;
use crdt::change::encode_change;
use xxhash_rust::xxh3::xxh3_64;

/// Changes that one group takes, unless a transaction is larger: so many slots a receiver locks at once.
pub const GROUP_CHANGES_MAX: usize = 256;
/// Bytes at which a batch is closed, before compression: large enough to compress and send well, small enough that a
/// slow link is never blocked by one batch for long.
pub const BATCH_BYTES_TARGET: usize = 256 << 10;

/// Bytes that a batch has for a change beside its body: the distance of its stamp and its length.
const AROUND_A_CHANGE_BYTES: usize = 20;

/// Places for records that the drain keeps between two batches; what a burst needed beyond is given back.
const ORDER_KEPT_MAX: usize = 1 << 14;

/// A group of so many changes says whether elements are written repeatedly...
const LOOKED_CHANGES_MIN: usize = 64;
/// ...namely if at least one in so many is replaced by a later one...
const REPLACED_ONE_OF: usize = 16;
/// ...and if not, so many groups are sent without a look.
const UNLOOKED_GROUPS: u32 = 7;

/// Changes of this node that belong into one batch.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenBatch {
    /// The last stamp of the batch before.
    pub previous: Stamp,
    /// The first stamp in this one.
    pub first: Stamp,
    /// The last stamp in this one.
    pub last: Stamp,
    /// How many changes it has.
    pub changes: u32,
    /// How many changes were made; those that later ones replace inside their group are not sent.
    pub made: u32,
    /// The changes, as [`crdt::Changes`] reads them.
    pub payload: Vec<u8>,
}

/// The state of the drain: there is one for a keyspace.
#[derive(Debug, Default)]
pub struct Drain {
    last: Stamp,
    /// Where the last cut was.
    cut: Stamp,
    taken: Vec<LogBuffer>,
    order: Vec<Taken>,
    /// Which records of the group at hand are sent, and the names that its later ones have: kept for the next group.
    sent: Vec<bool>,
    seen: Vec<u32>,
    /// How many groups are sent as they are before one is looked at again.
    unlooked: u32,
}

/// A record taken out of a log.
#[derive(Clone, Copy, Debug)]
struct Taken {
    stamp: Stamp,
    log: u16,
    start: usize,
    end: usize,
    superseded_by: u32,
    tied: bool,
}

impl Drain {
    /// A drain whose first batch follows `last`: zero for a number that has never written.
    pub fn after(last: Stamp) -> Self {
        Self { last, ..Self::default() }
    }

    /// Everything up to this stamp was taken by now.
    pub fn complete_up_to(&self) -> Stamp {
        self.cut
    }

    /// Takes everything that is complete, as batches in order. Nothing if nothing was written.
    pub fn take(&mut self, keyspace: &Keyspace) -> Vec<OpenBatch> {
        self.take_up_to(keyspace, Stamp::MAX)
    }

    /// The same, without what is later than `limit`: a node that changes its number ends with what the old one wrote.
    pub fn take_up_to(&mut self, keyspace: &Keyspace, limit: Stamp) -> Vec<OpenBatch> {
        self.take_logs(keyspace, limit);
        self.sort();
        let mut batches = Vec::new();
        let mut batch = self.open();
        let mut start = 0;
        while start < self.order.len() {
            let end = self.group_end(start);
            self.append_group(&mut batch, start, end);
            start = end;
            if batch.payload.len() >= BATCH_BYTES_TARGET {
                let next = OpenBatch { previous: batch.last, ..Self::default().open() };
                batches.push(std::mem::replace(&mut batch, next));
            }
        }
        if batch.made > 0 {
            batches.push(batch);
        }
        if let Some(last) = batches.last() {
            self.last = last.last;
        }
        self.order.clear();
        self.order.shrink_to(ORDER_KEPT_MAX);
        self.sent.shrink_to(ORDER_KEPT_MAX);
        self.seen.shrink_to(ORDER_KEPT_MAX);
        self.taken.iter_mut().for_each(LogBuffer::clear);
        batches
    }

    /// Gives back the memory that the last changes needed, when nothing has been written for a while.
    pub fn rest(&mut self, keyspace: &Keyspace) {
        *self = Self::after(self.last);
        for log in keyspace.logs.lock().iter() {
            let mut buffer = log.buffer.lock();
            if buffer.is_empty() {
                *buffer = LogBuffer::default();
            }
        }
    }

    fn open(&self) -> OpenBatch {
        OpenBatch { previous: self.last, first: Stamp::MAX, last: self.last, changes: 0, made: 0, payload: Vec::new() }
    }

    fn take_logs(&mut self, keyspace: &Keyspace, limit: Stamp) {
        let mut logs = keyspace.logs.lock();
        // Writers that are gone leave an empty log behind.
        logs.retain(|log| std::sync::Arc::strong_count(log) > 1 || !log.buffer.lock().is_empty());
        // The clock is read first: a writer that begins after this takes a greater stamp.
        let clock = keyspace.clock();
        let cut = logs.iter().filter_map(|log| log.complete_up_to()).fold(clock.min(limit), Stamp::min);
        self.taken.resize_with(logs.len().max(self.taken.len()), LogBuffer::default);
        let mut buffers: Vec<_> = logs.iter().map(|log| log.buffer.lock()).collect();
        let cut = below_open_groups(&buffers, cut);
        self.cut = cut;
        for (index, buffer) in buffers.iter_mut().enumerate() {
            let count = buffer.records.partition_point(|record| record.stamp <= cut);
            let taken = &mut self.taken[index];
            if count == buffer.records.len() {
                std::mem::swap(&mut **buffer, taken);
            } else if count > 0 {
                split(buffer, count, taken);
            }
            let mut start = 0;
            for &Record { stamp, end, superseded_by, tied } in &taken.records {
                self.order.push(Taken { stamp, log: index as u16, start, end, superseded_by, tied });
                start = end;
            }
        }
    }

    /// Puts the records of all logs in the order of their stamps, and lets a group that others came in between of
    /// hold on to them.
    fn sort(&mut self) {
        if self.taken.iter().filter(|log| !log.is_empty()).count() < 2 {
            return;
        }
        self.order.sort_by_key(|record| (record.stamp, record.log));
        let mut open = vec![false; self.taken.len()];
        for record in &mut self.order {
            open[usize::from(record.log)] = record.tied;
            record.tied = open.iter().any(|&open| open);
        }
    }

    fn group_end(&self, start: usize) -> usize {
        let mut end = start;
        let mut bytes = 0;
        while end < self.order.len() && end - start < GROUP_CHANGES_MAX && bytes < BATCH_BYTES_TARGET {
            bytes += self.order[end].end - self.order[end].start;
            end += 1;
        }
        while end < self.order.len() && self.order[end - 1].tied {
            end += 1;
        }
        end
    }

    /// Bytes for a batch that begins with this record: it does not grow while it is filled, unless much of it is replaced.
    fn room_from(&self, mut start: usize) -> usize {
        let (mut bodies, mut room) = (0, 0);
        while start < self.order.len() && bodies < BATCH_BYTES_TARGET {
            let end = self.group_end(start);
            let bytes: usize = self.order[start..end].iter().map(|record| record.end - record.start).sum();
            bodies += bytes;
            room += bytes + (end - start) * AROUND_A_CHANGE_BYTES;
            start = end;
        }
        room
    }

    fn body(&self, record: &Taken) -> &[u8] {
        &self.taken[usize::from(record.log)].bytes[record.start..record.end]
    }

    fn append_group(&mut self, batch: &mut OpenBatch, start: usize, end: usize) {
        self.mark_sent(start, end);
        let (group, sent) = (&self.order[start..end], &self.sent);
        let Some(last_sent) = sent.iter().rposition(|&sent| sent) else { return };
        let mut previous = if batch.changes == 0 { batch.previous } else { batch.last };
        let bytes: usize = group.iter().map(|record| record.end - record.start).sum();
        if bytes > BATCH_BYTES_TARGET {
            // What is large is not copied again for what comes behind it.
            batch.payload.reserve_exact(bytes + group.len() * AROUND_A_CHANGE_BYTES);
        } else if batch.payload.capacity() == 0 {
            batch.payload.reserve_exact(self.room_from(start));
        }
        for (index, record) in group.iter().enumerate().filter(|&(index, _)| sent[index]) {
            encode_change(&mut batch.payload, previous, record.stamp, index < last_sent, self.body(record));
            previous = record.stamp;
            batch.first = batch.first.min(record.stamp);
            batch.changes += 1;
        }
        batch.last = previous;
        batch.made += group.len() as u32;
    }

    /// Which changes of a group must be sent: not those that a later one of the same element replaces entirely.
    fn mark_sent(&mut self, start: usize, end: usize) {
        let Self { taken, order, sent, seen, unlooked, .. } = self;
        let group = &order[start..end];
        sent.clear();
        sent.resize(group.len(), true);
        if group.len() < 2 {
            return;
        }
        // Looking for them takes as long as sending a few: where hardly any were, one group of some is looked at.
        if *unlooked > 0 {
            *unlooked -= 1;
            return;
        }
        // A table of positions (plus one) in the group, at most half full; what a group needed beyond is given back.
        let places = (group.len() * 2).next_power_of_two();
        seen.clear();
        seen.resize(places, 0);
        let subject = |index: usize| {
            let record = &group[index];
            &taken[usize::from(record.log)].bytes[record.start..][..record.superseded_by as usize]
        };
        for index in (0..group.len()).rev().filter(|&index| group[index].superseded_by > 0) {
            let name = subject(index);
            let mut place = xxh3_64(name) as usize & (places - 1);
            sent[index] = loop {
                match seen[place] {
                    0 => {
                        seen[place] = index as u32 + 1;
                        break true;
                    }
                    other if subject(other as usize - 1) == name => break false,
                    _ => place = (place + 1) & (places - 1),
                }
            };
        }
        let replaced = sent.iter().filter(|&&sent| !sent).count();
        if group.len() >= LOOKED_CHANGES_MIN && replaced * REPLACED_ONE_OF < group.len() {
            *unlooked = UNLOOKED_GROUPS;
        }
    }
}

/// Lowers a cut until it splits no group of any log. It is lowered for all of them, since batches are in the order of
/// stamps.
fn below_open_groups(buffers: &[LockGuard<'_, LogBuffer>], mut cut: Stamp) -> Stamp {
    loop {
        let before = cut;
        for buffer in buffers {
            let records = &buffer.records;
            let mut first = records.partition_point(|record| record.stamp <= cut);
            if first == records.len() {
                continue;
            }
            let complete = first;
            while first > 0 && records[first - 1].tied {
                first -= 1;
            }
            if first < complete {
                cut = cut.min(Stamp::from_bits(records[first].stamp.bits().saturating_sub(1)));
            }
        }
        if cut == before {
            return cut;
        }
    }
}

/// Moves the first `count` records of a log into `taken`, which is empty.
fn split(buffer: &mut LogBuffer, count: usize, taken: &mut LogBuffer) {
    let bytes = buffer.records[count - 1].end;
    taken.records.extend(buffer.records.drain(..count));
    taken.bytes.extend(buffer.bytes.drain(..bytes));
    buffer.records.iter_mut().for_each(|record| record.end -= bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Database, Delta, ExactFloat, Lifetime, NewLifetime, Writer};
    use crdt::{Changes, NodeNumber, Operation, Operations};
    use std::sync::Arc;

    const DB: Database = Database(0);
    const NOW: u64 = crdt::STAMP_EPOCH_MS + 1_000;

    fn keyspace() -> Arc<Keyspace> {
        let keyspace = Keyspace::new(1);
        keyspace.set_number(NodeNumber::new(1).unwrap());
        keyspace
    }

    fn set(writer: &mut Writer, key: &[u8]) {
        let mut access = writer.access(NOW, &[key]);
        access.begin_command();
        access.put_string(DB, key, b"v", NewLifetime::Set(Lifetime::Never));
    }

    fn keys(batches: &[OpenBatch]) -> Vec<Vec<u8>> {
        let author = NodeNumber::new(1).unwrap();
        let mut keys = Vec::new();
        for batch in batches {
            keys.extend(Changes::new(&batch.payload, author, batch.previous).map(|c| c.unwrap().key.to_vec()));
        }
        keys
    }

    #[test]
    fn a_drain_that_rests_keeps_no_memory() {
        let keyspace = keyspace();
        let mut writer = keyspace.writer();
        (0..1_000_u32).for_each(|number| set(&mut writer, &number.to_le_bytes()));
        let mut drain = Drain::default();
        assert_eq!(drain.take(&keyspace).len(), 1);
        drain.rest(&keyspace);
        let Drain { taken, order, sent, seen, .. } = &drain;
        assert_eq!((taken.capacity(), order.capacity(), sent.capacity(), seen.capacity()), (0, 0, 0, 0));
    }

    #[test]
    fn repeated_writes_are_sent_once_also_after_a_time_without_any() {
        let keyspace = keyspace();
        let (mut writer, mut drain) = (keyspace.writer(), Drain::default());
        let mut round = |names: &mut dyn FnMut(u32) -> u32| {
            (0..GROUP_CHANGES_MAX as u32).for_each(|number| set(&mut writer, &names(number).to_le_bytes()));
            let [batch] = &drain.take(&keyspace)[..] else { panic!("one group is one batch") };
            assert_eq!(batch.made as usize, GROUP_CHANGES_MAX);
            batch.changes
        };
        assert_eq!(round(&mut |number| number % 8), 8);
        assert_eq!(round(&mut |number| number), GROUP_CHANGES_MAX as u32);
        let sent: Vec<u32> = (0..=UNLOOKED_GROUPS).map(|_| round(&mut |number| number % 8)).collect();
        assert_eq!(sent[..UNLOOKED_GROUPS as usize], [GROUP_CHANGES_MAX as u32; UNLOOKED_GROUPS as usize]);
        assert_eq!(sent.last(), Some(&8));
        assert_eq!(round(&mut |number| number % 8), 8);
    }

    #[test]
    fn a_transaction_is_not_cut_by_a_pipeline_that_began_in_its_middle() {
        let keyspace = keyspace();
        let (mut one, mut other) = (keyspace.writer(), keyspace.writer());
        let clock;
        {
            let mut access = one.access(NOW, &[b"a", b"b"]);
            access.begin_group();
            access.begin_command();
            access.put_string(DB, b"a", b"1", NewLifetime::Set(Lifetime::Never));
            clock = keyspace.clock();
            // Its first stamp comes after the transaction's first and before its second.
            other.begin_pipeline();
            set(&mut other, b"c");
            access.begin_command();
            access.put_string(DB, b"b", b"2", NewLifetime::Set(Lifetime::Never));
            access.end_group();
        }
        let mut drain = Drain::default();
        assert_eq!(keys(&drain.take(&keyspace)), Vec::<Vec<u8>>::new());
        // It is in the logs, and not taken.
        assert!(keyspace.is_logged_up_to(clock) && drain.complete_up_to() < clock);
        other.end_pipeline();
        let batches = drain.take(&keyspace);
        assert!(drain.complete_up_to() >= clock);
        assert_eq!((batches.len(), keys(&batches).len()), (1, 3));
    }

    #[test]
    fn what_a_node_sends_is_readable_whatever_its_counters_held() {
        let keyspace = keyspace();
        let mut writer = keyspace.writer();
        let huge = ExactFloat::parse(b"1e308").unwrap();
        for key in [&b"k"[..], b"h"] {
            let mut access = writer.access(NOW, &[key]);
            let mut command = |work: &mut dyn FnMut(&mut crate::Access<'_>)| {
                access.begin_command();
                work(&mut access);
            };
            if key == b"k" {
                command(&mut |a| a.put_string(DB, key, b"-1e308", NewLifetime::Set(Lifetime::Never)));
                (0..2).for_each(|_| command(&mut |a| a.add_to_string(DB, key, Delta::Float(huge))));
                command(&mut |a| a.put_string(DB, key, b"0", NewLifetime::Set(Lifetime::Never)));
            } else {
                command(&mut |a| assert!(a.put_field(DB, key, b"f", b"-1e308").unwrap()));
                (0..2).for_each(|_| command(&mut |a| a.add_to_field(DB, key, b"f", Delta::Float(huge)).unwrap()));
                command(&mut |a| assert!(a.delete(DB, key)));
            }
        }
        let batches = Drain::default().take(&keyspace);
        let author = NodeNumber::new(1).unwrap();
        for change in batches.iter().flat_map(|b| Changes::new(&b.payload, author, b.previous)) {
            Operations::of(&change.unwrap()).for_each(|operation| drop(operation.unwrap()));
        }
    }

    #[test]
    fn a_clear_of_the_database_is_no_change_of_the_empty_key() {
        let keyspace = keyspace();
        let mut writer = keyspace.writer();
        {
            let mut access = writer.access(NOW, &[b""]);
            access.begin_command();
            access.add_to_string(DB, b"", Delta::Integer(1));
        }
        let mut access = writer.access_none(NOW);
        access.begin_command();
        access.clear(None);
        drop(access);
        let batches = Drain::default().take(&keyspace);
        let author = NodeNumber::new(1).unwrap();
        for change in batches.iter().flat_map(|b| Changes::new(&b.payload, author, b.previous)) {
            let change = change.unwrap();
            let operations: Vec<_> = Operations::of(&change).map(Result::unwrap).collect();
            let clears = operations.iter().filter(|o| matches!(o, Operation::ClearDatabase { .. })).count();
            assert!(clears == 0 || operations.len() == 1, "{operations:?}");
        }
        assert_eq!(keyspace.len(0), 0);
    }
}

//! The drain: takes what all writers have logged, up to a cut, in the order of stamps, and makes batches of it.
//!
//! It never waits for a worker: the cut lies below every stamp that a writer may still append. Changes come in
//! *groups*, which readers elsewhere see whole: a transaction is never split, and repeated writes of one element are
//! sent once in a group.

use crate::keyspace::Keyspace;
use crate::log::{LogBuffer, Record};
use crdt::Stamp;
use crdt::change::encode_change;
use hashbrown::HashSet;

/// Changes that one group takes, unless a transaction is larger: so many slots a receiver locks at once.
pub const GROUP_CHANGES_MAX: usize = 256;
/// Bytes at which a batch is closed, before compression: large enough to compress and send well, small enough that a
/// slow link is never blocked by one batch for long.
pub const BATCH_BYTES_TARGET: usize = 256 << 10;

/// Places for records that the drain keeps between two batches; what a burst needed beyond is given back.
const ORDER_KEPT_MAX: usize = 1 << 14;

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
    taken: Vec<LogBuffer>,
    order: Vec<Taken>,
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
        self.taken.iter_mut().for_each(LogBuffer::clear);
        batches
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
        for (index, log) in logs.iter().enumerate() {
            let mut buffer = log.buffer.lock();
            let count = buffer.records.partition_point(|record| record.stamp <= cut);
            let taken = &mut self.taken[index];
            if count == buffer.records.len() {
                std::mem::swap(&mut *buffer, taken);
            } else if count > 0 {
                split(&mut buffer, count, taken);
            }
            drop(buffer);
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
        let mut end = (start + GROUP_CHANGES_MAX).min(self.order.len());
        while end < self.order.len() && self.order[end - 1].tied {
            end += 1;
        }
        end
    }

    fn body(&self, record: &Taken) -> &[u8] {
        &self.taken[usize::from(record.log)].bytes[record.start..record.end]
    }

    fn append_group(&self, batch: &mut OpenBatch, start: usize, end: usize) {
        let group = &self.order[start..end];
        let sent = self.not_superseded(group);
        let Some(last_sent) = sent.iter().rposition(|&sent| sent) else { return };
        let mut previous = if batch.changes == 0 { batch.previous } else { batch.last };
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
    fn not_superseded(&self, group: &[Taken]) -> Vec<bool> {
        let mut sent = vec![true; group.len()];
        if group.len() < 2 {
            return sent;
        }
        let mut replaced: HashSet<&[u8], foldhash::fast::FixedState> =
            HashSet::with_capacity_and_hasher(group.len(), foldhash::fast::FixedState::default());
        for (index, record) in group.iter().enumerate().rev() {
            if record.superseded_by > 0 {
                let subject = &self.body(record)[..record.superseded_by as usize];
                sent[index] = replaced.insert(subject);
            }
        }
        sent
    }
}

/// Moves the first `count` records of a log into `taken`, which is empty.
fn split(buffer: &mut LogBuffer, count: usize, taken: &mut LogBuffer) {
    let bytes = buffer.records[count - 1].end;
    taken.records.extend(buffer.records.drain(..count));
    taken.bytes.extend(buffer.bytes.drain(..bytes));
    buffer.records.iter_mut().for_each(|record| record.end -= bytes);
}

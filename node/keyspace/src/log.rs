//! The log of one writer: changes in the order of their stamps, on their way to a batch.
//!
//! Workers append while they hold the key's slot; the drain takes everything up to a cut. A word that each writer
//! publishes says below which stamp its log is complete, so that the drain never waits for a worker.

use crate::lock::Lock;
use crate::observe::replaceable_bytes;
use crdt::change::{encode_increment, encode_operation, encode_plain_set, encode_subject};
use crdt::{Operation, Stamp};
use std::sync::atomic::{AtomicU64, Ordering};

/// A change in a log.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The change's stamp.
    pub stamp: Stamp,
    /// Where its body ends in the log's bytes; it begins where the one before ends.
    pub end: usize,
    /// If a later record of the same group begins with the same bytes up to here (counted from the body's start),
    /// this one need not be sent. 0: it must be sent.
    pub superseded_by: u32,
    /// Whether the next record belongs to the same group.
    pub tied: bool,
}

/// Changes and their encoded bodies.
#[derive(Debug, Default)]
pub struct LogBuffer {
    /// The changes, in the order of their stamps.
    pub records: Vec<Record>,
    /// Their bodies, one after the other.
    pub bytes: Vec<u8>,
}

/// The part of a writer that the drain sees.
#[derive(Debug)]
pub struct SharedLog {
    /// Every stamp that the writer may still append is greater than this; `u64::MAX` when it is not writing.
    pub published: AtomicU64,
    /// The last stamp that it took for a change. Stored while the change's slot is locked.
    pub last: AtomicU64,
    /// What it has appended.
    pub(crate) buffer: Lock<LogBuffer>,
}

impl SharedLog {
    /// An empty log of a writer that is not writing.
    pub fn new() -> Self {
        let (published, last) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        Self { published, last, buffer: Lock::new(LogBuffer::default()) }
    }

    /// The stamp up to which the log is complete, if the writer is in the middle of something.
    pub fn complete_up_to(&self) -> Option<Stamp> {
        match self.published.load(Ordering::SeqCst) {
            u64::MAX => None,
            word => Some(Stamp::from_bits(word)),
        }
    }
}

impl LogBuffer {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes that it takes, with the room that it has grown.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.records.capacity() * size_of::<Record>()
    }

    /// Forgets everything, keeps the memory up to a bound.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
        if self.bytes.capacity() > LOG_BYTES_KEPT_MAX {
            self.bytes.shrink_to(LOG_BYTES_KEPT_MAX);
            self.records.shrink_to(LOG_BYTES_KEPT_MAX / 64);
        }
    }

    /// Appends a plain `SET`.
    #[inline]
    pub fn append_plain_set(&mut self, stamp: Stamp, tied: bool, database: u8, key: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        encode_subject(&mut self.bytes, database, key);
        let subject = self.bytes.len() + 1 - start;
        encode_plain_set(&mut self.bytes, value);
        let superseded_by = if tied { 0 } else { subject as u32 };
        self.records.push(Record { stamp, end: self.bytes.len(), superseded_by, tied });
    }

    /// Appends an increment of a counter by this node: its sum is now `cumulative`.
    #[inline]
    pub fn append_increment(
        &mut self,
        stamp: Stamp,
        tied: bool,
        database: u8,
        key: &[u8],
        birth: Stamp,
        cumulative: i64,
    ) {
        let start = self.bytes.len();
        encode_subject(&mut self.bytes, database, key);
        let named = self.bytes.len() + INCREMENT_NAMED_BYTES - start;
        encode_increment(&mut self.bytes, stamp, birth, cumulative);
        let superseded_by = if tied { 0 } else { named as u32 };
        self.records.push(Record { stamp, end: self.bytes.len(), superseded_by, tied });
    }

    /// Appends a change of one operation, the first under its stamp.
    #[inline]
    pub fn append_operation(&mut self, stamp: Stamp, tied: bool, database: u8, key: &[u8], operation: &Operation<'_>) {
        let start = self.bytes.len();
        encode_subject(&mut self.bytes, database, key);
        let subject = self.bytes.len() - start;
        encode_operation(&mut self.bytes, stamp, operation);
        let replaceable = if tied { 0 } else { replaceable_bytes(operation) };
        let superseded_by = if replaceable == 0 { 0 } else { (subject + replaceable) as u32 };
        self.records.push(Record { stamp, end: self.bytes.len(), superseded_by, tied });
    }

    /// Appends a change of some operations, the first under its stamp, that take `room` bytes at most.
    pub fn append_operations<'o>(
        &mut self,
        stamp: Stamp,
        tied: bool,
        database: u8,
        key: &[u8],
        room: usize,
        operations: impl Iterator<Item = Operation<'o>>,
    ) {
        // What is large is not copied again because a few bytes come behind it.
        self.bytes.reserve_exact(room);
        let start = self.bytes.len();
        encode_subject(&mut self.bytes, database, key);
        let subject = self.bytes.len() - start;
        let mut superseded_by = 0;
        for (position, operation) in operations.enumerate() {
            let replaceable = if position == 0 && !tied { replaceable_bytes(&operation) } else { 0 };
            superseded_by = if replaceable == 0 { 0 } else { (subject + replaceable) as u32 };
            encode_operation(&mut self.bytes, stamp, &operation);
        }
        self.records.push(Record { stamp, end: self.bytes.len(), superseded_by, tied });
    }

    /// Appends a change of no key, such as a clear of a database.
    pub fn append_alone(&mut self, stamp: Stamp, tied: bool, subject: &[u8], operations: &[u8]) {
        self.append_to(stamp, tied, subject, operations, 0, true);
    }

    /// Appends a change, or, if the last record is the same command's on the same key, its operations to that.
    pub fn append(&mut self, stamp: Stamp, tied: bool, subject: &[u8], operations: &[u8], superseded_by: u32) {
        self.append_to(stamp, tied, subject, operations, superseded_by, false);
    }

    fn append_to(
        &mut self,
        stamp: Stamp,
        tied: bool,
        subject: &[u8],
        operations: &[u8],
        superseded_by: u32,
        alone: bool,
    ) {
        if let Some(last) = self.records.last().copied()
            && last.stamp == stamp
        {
            let start = self.records.len().checked_sub(2).map_or(0, |before| self.records[before].end);
            // A clear of the database has a subject without a key and stands alone: it is no key's change.
            if !alone && self.bytes[start..].starts_with(subject) {
                self.bytes.extend_from_slice(operations);
                let end = self.bytes.len();
                if let Some(last) = self.records.last_mut() {
                    last.end = end;
                    last.superseded_by = 0;
                }
                return;
            }
            // One stamp on several keys is one command: readers elsewhere see it whole.
            if let Some(last) = self.records.last_mut() {
                last.tied = true;
                last.superseded_by = 0;
            }
        }
        self.bytes.extend_from_slice(subject);
        self.bytes.extend_from_slice(operations);
        let superseded_by = if tied { 0 } else { superseded_by };
        self.records.push(Record { stamp, end: self.bytes.len(), superseded_by, tied });
    }
}

/// Bytes of an increment that name what it replaces: its tag and its kind.
const INCREMENT_NAMED_BYTES: usize = 2;

/// Bytes of memory that an emptied log keeps for the next changes: a few milliseconds of the fastest writer.
pub const LOG_BYTES_KEPT_MAX: usize = 1 << 18;

/// Bytes by which a log that holds something large grows.
pub const LOG_GROWTH_BYTES: usize = 1 << 20;

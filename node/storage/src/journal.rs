//! The journal: records appended to segments, in one order for all of them.
//!
//! It never retries a file that has failed. What could not be written, or not made durable, is a *hole*: the records
//! before it and after it are good, and only a checkpoint that begins after the hole makes the store whole again. Nothing
//! here waits or has a thread; `disk` drives it.

use crate::frame::Place;
use crate::fs::{Fs, FsFile, StoreError, move_aside, remove_if_there};
use crate::limits::{RETRY_MS, SEGMENT_BYTES, WRITE_BYTES_TARGET};
use crate::record::Record;
use crate::segment::{FORMAT_VERSION, Life, SegmentHead, SegmentIndex, StoreOwner, segment_name};
use crate::store::mark_sound;
use crdt::{NodeNumber, Stamp};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How the journal's files are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// Bytes at which a segment is closed.
    pub segment_bytes: u64,
    /// Bytes of covered segments that are kept for peers that were away.
    pub retain_bytes: u64,
    /// How long covered segments are kept, in milliseconds.
    pub retain_ms: u64,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, retain_bytes: 256 << 20, retain_ms: 24 * 3_600_000 }
    }
}

/// Records that are certainly on the disk: those from `from` on and before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Durable {
    /// The first.
    pub from: u64,
    /// The one after the last.
    pub to: u64,
}

/// A file of the journal, as its readers know it.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub number: u64,
    pub first: u64,
    /// The record after its last.
    pub next: u64,
    pub bytes: u64,
    pub created_ms: u64,
    /// None: nobody has looked through it in this life.
    pub index: Option<SegmentIndex>,
    /// Something of it could not be read: it is kept aside when it is no longer needed.
    pub damaged: bool,
}

/// All files of the journal, oldest first; shared with those who read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segments(Arc<Mutex<VecDeque<Segment>>>);

impl Segments {
    pub(crate) fn new(segments: VecDeque<Segment>) -> Self {
        Self(Arc::new(Mutex::new(segments)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lock().iter().map(|segment| segment.bytes).sum()
    }
}

/// A file that is to be made durable, by its segment's number.
type Unsynced = (u64, Option<Arc<dyn FsFile>>);

/// A record in the buffer, for the index.
#[derive(Debug)]
struct Buffered {
    link: Option<(NodeNumber, Stamp, Stamp)>,
    start: usize,
    sequence: u64,
}

#[derive(Debug)]
struct Open {
    number: u64,
    file: Arc<dyn FsFile>,
    bytes: u64,
}

/// The writer of the journal.
#[derive(Debug)]
pub struct Journal {
    fs: Arc<dyn Fs>,
    owner: StoreOwner,
    life: Life,
    settings: JournalSettings,
    segments: Segments,
    current: Option<Open>,
    next_segment: u64,
    buffer: Vec<u8>,
    buffered: Vec<Buffered>,
    next: u64,
    durable: Durable,
    /// Records before this are in files, or given up.
    written: u64,
    /// Files with records that are not durable yet; those without a handle were written by an earlier life.
    unsynced: Vec<Unsynced>,
    names_unsynced: bool,
    syncing: bool,
    /// When a file last could not be begun or written, until one can be.
    failed_at_ms: Option<u64>,
    /// Records before this are covered by a checkpoint.
    covered: u64,
    has_hole: bool,
    given_up: u64,
}

/// A flush that is to be carried out, perhaps by another thread.
#[derive(Debug)]
pub struct SyncJob {
    fs: Arc<dyn Fs>,
    files: Vec<Unsynced>,
    names: bool,
    up_to: u64,
}

/// What came of a flush.
#[derive(Debug)]
pub struct SyncOutcome {
    up_to: u64,
    result: Result<(), StoreError>,
}

impl SyncJob {
    /// Carries it out; takes as long as the disk takes. A panic is a failure like any other: nobody knows what is durable.
    pub fn run(self) -> SyncOutcome {
        let up_to = self.up_to;
        let result = catch_unwind(AssertUnwindSafe(|| self.sync())).unwrap_or(Err(StoreError::Panicked("flush")));
        SyncOutcome { up_to, result }
    }

    fn sync(self) -> Result<(), StoreError> {
        let failed = |number: u64, error| StoreError::file("make durable", &segment_name(number), error);
        let files = self.files.iter().try_for_each(|(number, file)| {
            let synced = match file {
                Some(file) => file.sync(),
                None => self.fs.sync_file(&segment_name(*number)),
            };
            synced.map_err(|error| failed(*number, error))
        });
        files.and_then(|()| match self.names {
            true => {
                self.fs.sync_directory().map_err(|e| StoreError::file("make durable", "the journal's directory", e))
            }
            false => Ok(()),
        })
    }
}

impl Journal {
    /// A journal that goes on at record `next`, in new files.
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        owner: StoreOwner,
        life: Life,
        settings: JournalSettings,
        segments: Segments,
        next: u64,
    ) -> Self {
        let next_segment = segments.lock().back().map_or(1, |last| last.number + 1);
        Self {
            fs,
            owner,
            life,
            settings,
            segments,
            current: None,
            next_segment,
            buffer: Vec::new(),
            buffered: Vec::new(),
            next,
            durable: Durable { from: next, to: next },
            written: next,
            unsynced: Vec::new(),
            names_unsynced: false,
            syncing: false,
            failed_at_ms: None,
            covered: 0,
            has_hole: false,
            given_up: 0,
        }
    }

    /// What earlier lives have written in these segments may not be durable yet, and what is written now builds on it.
    pub(crate) fn note_unsynced(&mut self, segments: impl Iterator<Item = u64>) {
        self.unsynced.extend(segments.map(|number| (number, None)));
        self.names_unsynced = true;
    }

    /// Nothing can be written now: what is written from here on is lost until a checkpoint covers it.
    pub(crate) fn begin_with_hole(&mut self) {
        self.has_hole = true;
    }

    /// Changes how files are kept.
    pub fn set_settings(&mut self, settings: JournalSettings) {
        self.settings = settings;
    }

    /// The number of the next record.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Records before this one are in files, or lie in a hole.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What is certainly on the disk.
    pub fn durable(&self) -> Durable {
        self.durable
    }

    /// Whether records were lost that no checkpoint covers.
    pub fn has_hole(&self) -> bool {
        self.has_hole
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.segments.bytes()
    }

    /// Records that were never written.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Whether something is written that is not durable, and no flush is under way.
    pub fn wants_sync(&self) -> bool {
        !self.syncing && !self.unsynced.is_empty()
    }

    /// Whether a flush is under way.
    pub fn is_syncing(&self) -> bool {
        self.syncing
    }

    /// Takes a record in; it is in a file after [`Journal::write`]. Returns the number of the record after it.
    pub fn append(&mut self, record: &Record, now_ms: u64) -> Result<u64, StoreError> {
        if self.buffer.len() >= WRITE_BYTES_TARGET {
            self.write(now_ms)?;
        }
        self.append_to_buffer(record);
        Ok(self.next)
    }

    fn append_to_buffer(&mut self, record: &Record) {
        let (start, sequence) = (self.buffer.len(), self.next);
        // A segment that is closed now is closed before this record; which one it falls into is known at the write.
        let file = self.current.as_ref().map_or(self.next_segment, |open| open.number);
        record.put(&mut self.buffer, Place { file, sequence });
        self.buffered.push(Buffered { link: record.link(), start, sequence });
        self.next += 1;
    }

    /// Writes what was taken in. After an error it is given up, and the next record begins a new segment.
    pub fn write(&mut self, now_ms: u64) -> Result<(), StoreError> {
        if self.buffered.is_empty() {
            return Ok(());
        }
        let result = self.write_buffer(now_ms);
        if let Err(error) = &result {
            let failed_at_ms = self.failed_at_ms;
            self.given_up += self.buffered.len() as u64;
            self.give_up(self.next, now_ms);
            if matches!(error, StoreError::Paused) {
                // SUBTLE: nothing was tried. Who writes without a pause would put the next attempt off for ever.
                self.failed_at_ms = failed_at_ms;
            }
        }
        self.buffer.clear();
        self.buffer.shrink_to(WRITE_BYTES_TARGET);
        self.buffered.clear();
        self.written = self.next;
        result
    }

    fn write_buffer(&mut self, now_ms: u64) -> Result<(), StoreError> {
        if self.current.is_none() {
            if self.rests(now_ms) {
                return Err(StoreError::Paused);
            }
            let first = self.buffered.first().map_or(self.next, |record| record.sequence);
            self.begin_segment(first, now_ms)?;
        }
        let Some(open) = &mut self.current else { return Ok(()) };
        open.file.append(&self.buffer).map_err(|e| StoreError::file("write", &segment_name(open.number), e))?;
        let offset = open.bytes;
        open.bytes += self.buffer.len() as u64;
        let full = open.bytes >= self.settings.segment_bytes;
        if let Some(segment) = self.segments.lock().back_mut() {
            segment.bytes = open.bytes;
            segment.next = self.next;
            let index = segment.index.get_or_insert_default();
            for record in &self.buffered {
                if let Some(link) = record.link {
                    index.note(link, offset + record.start as u64, record.sequence);
                }
            }
        }
        if self.unsynced.last().is_none_or(|(number, _)| *number != open.number) {
            self.unsynced.push((open.number, Some(Arc::clone(&open.file))));
        }
        if full {
            self.current = None;
        }
        Ok(())
    }

    /// Tries, after a failure and when its pause is over, whether files can be written again. True if they can.
    pub fn reopen(&mut self, now_ms: u64) -> Result<bool, StoreError> {
        if self.current.is_some() || self.rests(now_ms) || !self.buffered.is_empty() {
            return Ok(self.current.is_some());
        }
        let begun = self.begin_segment(self.next, now_ms);
        if begun.is_err() {
            self.failed_at_ms = Some(now_ms);
        }
        begun.map(|()| true)
    }

    /// Whether it is too early, after a failure, to try again. The clock may have been set back meanwhile.
    fn rests(&self, now_ms: u64) -> bool {
        self.failed_at_ms.is_some_and(|failed_at_ms| now_ms.abs_diff(failed_at_ms) < RETRY_MS)
    }

    fn begin_segment(&mut self, first: u64, now_ms: u64) -> Result<(), StoreError> {
        let number = self.next_segment;
        let name = segment_name(number);
        let head =
            SegmentHead { version: FORMAT_VERSION, owner: self.owner, life: self.life, first, created_ms: now_ms };
        let bytes = head.encode(number);
        remove_if_there(&*self.fs, &name)?;
        let file = self.fs.create(&name).map_err(|error| StoreError::file("create", &name, error))?;
        if let Err(error) = file.append(&bytes) {
            // Its name is used again; if it cannot be removed, that is tried again then.
            let _ = remove_if_there(&*self.fs, &name);
            return Err(StoreError::file("write", &name, error));
        }
        self.names_unsynced = true;
        self.next_segment += 1;
        if !self.has_hole {
            mark_sound(&*self.fs, self.life, number)?;
        }
        let length = bytes.len() as u64;
        self.current = Some(Open { number, file, bytes: length });
        self.failed_at_ms = None;
        self.segments.lock().push_back(Segment {
            number,
            first,
            next: first,
            bytes: length,
            created_ms: now_ms,
            index: Some(SegmentIndex::default()),
            damaged: false,
        });
        Ok(())
    }

    /// Records before `up_to` that are not durable are lost; what follows begins a new file.
    fn give_up(&mut self, up_to: u64, now_ms: u64) {
        self.current = None;
        self.unsynced.clear();
        self.durable = Durable { from: up_to, to: up_to };
        self.has_hole = true;
        self.failed_at_ms = Some(now_ms);
    }

    /// A flush of everything written, if there is anything to flush.
    pub fn begin_sync(&mut self) -> Option<SyncJob> {
        if !self.wants_sync() {
            return None;
        }
        self.syncing = true;
        // What is written from here on says again that its file is to be flushed.
        let files = std::mem::take(&mut self.unsynced);
        let names = std::mem::take(&mut self.names_unsynced);
        Some(SyncJob { fs: Arc::clone(&self.fs), files, names, up_to: self.written })
    }

    /// Notes what came of the flush.
    pub fn end_sync(&mut self, outcome: SyncOutcome, now_ms: u64) -> Result<(), StoreError> {
        // SUBTLE: what waits was made for the file that may be given up below.
        let written = self.write(now_ms);
        self.syncing = false;
        match outcome.result {
            Ok(()) => {
                if outcome.up_to > self.durable.to {
                    self.durable.to = outcome.up_to;
                }
                written
            }
            Err(error) => {
                self.give_up(self.written, now_ms);
                self.names_unsynced = true;
                Err(error)
            }
        }
    }

    /// A checkpoint covers every record before `position`.
    pub fn cover(&mut self, position: u64) {
        self.covered = self.covered.max(position);
    }

    /// Whether the store is whole as soon as it is marked so: nothing that was lost is missing, and what comes next has a
    /// file to go to.
    pub(crate) fn is_mendable(&self) -> bool {
        self.has_hole && self.covered >= self.durable.from && self.current.is_some()
    }

    /// The store was marked as whole.
    pub(crate) fn mended(&mut self) {
        self.has_hole = false;
    }

    /// The number of its newest segment.
    pub(crate) fn last_segment(&self) -> u64 {
        self.next_segment - 1
    }

    /// The records that no checkpoint covers, as a count.
    pub fn uncovered(&self) -> u64 {
        self.next.saturating_sub(self.covered)
    }

    /// Removes covered segments that are more than is to be kept: all of them if the disk is full. Returns how many.
    /// None while a flush is under way, which may be about to open them.
    pub fn tidy(&mut self, now_ms: u64, is_full: bool) -> Result<usize, StoreError> {
        let mut removed = 0;
        if self.syncing {
            return Ok(removed);
        }
        loop {
            let (number, damaged) = {
                let segments = self.segments.lock();
                let Some(oldest) = segments.front().filter(|_| segments.len() > 1) else { break };
                let in_use = self.current.as_ref().is_some_and(|open| open.number == oldest.number);
                let needed = oldest.next > self.covered || self.unsynced.iter().any(|(n, _)| *n == oldest.number);
                let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
                // It was last written when the next one began.
                let idle_since = segments.get(1).map_or(now_ms, |next| next.created_ms);
                let old = now_ms.saturating_sub(idle_since) > self.settings.retain_ms;
                if in_use || needed || !(is_full || old || total > self.settings.retain_bytes) {
                    break;
                }
                (oldest.number, oldest.damaged)
            };
            let name = segment_name(number);
            if damaged {
                move_aside(&*self.fs, &name)?;
            } else {
                remove_if_there(&*self.fs, &name)?;
            }
            self.segments.lock().pop_front();
            removed += 1;
        }
        Ok(removed)
    }
}

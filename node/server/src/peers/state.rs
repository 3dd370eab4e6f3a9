//! State for other nodes and from them, read and merged in steps: links, batches and the disk have their turns in between,
//! however large a slot is.

use super::Peers;
use super::held::MOVE_LOOK;
use super::keeping::Waiting;
use bytes::Bytes;
use crdt::DecodeError;
use keyspace::{StateMerger, StateReader, StateStep};
use protocol::{NodeIdentity, SessionId, limits};
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// A piece of state that has more than this, or claims to, does not go: it has one element that is large, at most.
const PIECE_UNPACKED_BYTES_MAX: usize = 1 << 30;
/// Pieces of one chunk. What is larger than so many pieces of the usual size is too large for a chunk by far.
const PIECES_MAX: usize = 1 << 20;
/// How long the thread is busy with state before it looks after everything else.
const STATE_TURN_MAX: Duration = Duration::from_millis(1);
/// Steps of one turn, where no clock says that it is over.
const STEPS_A_TURN_MAX: usize = 64;

/// What is to be read and merged. Each session that is fed has one reading at most, and the one that feeds this node a few
/// chunks that are not merged.
#[derive(Default)]
pub(super) struct StateWork {
    jobs: VecDeque<Job>,
    due: Option<Instant>,
    wants_stillness: bool,
}

struct Job {
    /// As of what waits for the journal: its record, or the next one.
    first: u64,
    peer: NodeIdentity,
    session: SessionId,
    is_listing: bool,
    task: Task,
}

enum Task {
    Read(StateReader),
    Merge { merger: StateMerger, payload: Bytes, pieces: Vec<Range<usize>>, has_begun: bool },
}

impl StateWork {
    /// When it goes on.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether state of a peer is to be merged.
    pub(super) fn is_merging(&self) -> bool {
        self.merges().next().is_some()
    }

    /// The first record of what is not merged.
    pub(super) fn first_records(&self) -> impl Iterator<Item = u64> + '_ {
        self.merges().map(|job| job.first)
    }

    /// Whether a slot is frozen until some more of this is done.
    pub(super) fn holds_slot(&self) -> bool {
        self.jobs.front().is_some_and(|job| match &job.task {
            Task::Read(reader) => reader.is_in_frozen_slot(),
            Task::Merge { merger, .. } => merger.is_in_slot(),
        })
    }

    fn merges(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| matches!(job.task, Task::Merge { .. }))
    }
}

impl Peers {
    /// Begins to read slots for a peer.
    pub(super) fn begin_reading(
        &mut self,
        (peer, session): (NodeIdentity, SessionId),
        reader: StateReader,
        is_listing: bool,
    ) {
        self.begin_job(Job { first: 0, peer, session, is_listing, task: Task::Read(reader) });
    }

    /// Begins to merge what a peer has sent.
    pub(super) fn begin_merging(
        &mut self,
        (peer, session): (NodeIdentity, SessionId),
        first: u64,
        payload: Bytes,
        is_listing: bool,
    ) {
        match pieces_of(&payload) {
            Ok(pieces) => {
                let merger = StateMerger::new(pieces.len());
                let task = Task::Merge { merger, payload, pieces, has_begun: false };
                self.begin_job(Job { first, peer, session, is_listing, task });
            }
            Err(error) => self.give_up_session(peer, session, &error.to_string()),
        }
    }

    fn begin_job(&mut self, job: Job) {
        self.state.jobs.push_back(job);
        self.state.due.get_or_insert_with(Instant::now);
    }

    /// A session is over: what was not begun for it need not be.
    pub(super) fn forget_state(&mut self, peer: NodeIdentity, session: SessionId) {
        let keyspace = &self.node.keyspace;
        self.state.jobs.retain_mut(|job| {
            let is_its = job.peer == peer && job.session == session;
            match &mut job.task {
                Task::Read(reader) if is_its => {
                    reader.give_up(keyspace);
                    false
                }
                Task::Merge { has_begun, .. } => *has_begun || !is_its,
                Task::Read(_) => true,
            }
        });
        self.let_moves_begin();
    }

    /// No session goes on. No slot may be half merged.
    pub(super) fn forget_all_state(&mut self) {
        for job in self.state.jobs.drain(..) {
            if let Task::Read(mut reader) = job.task {
                reader.give_up(&self.node.keyspace);
            }
        }
        self.state.due = None;
        self.let_moves_begin();
    }

    /// Nobody who reads waits for moves any more, or has waited long enough for one of them.
    fn let_moves_begin(&mut self) {
        if std::mem::take(&mut self.state.wants_stillness) && self.keeping.held.is_empty() {
            self.node.keyspace.want_stillness(false);
        }
    }

    /// Does some of what is to be read and merged.
    pub(super) fn go_on_with_state(&mut self) {
        if self.state.due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        let began_ns = self.node.monotonic_ns();
        for _ in 0..STEPS_A_TURN_MAX {
            if !self.take_state_step() {
                self.state.due = (!self.state.jobs.is_empty()).then(|| Instant::now() + MOVE_LOOK);
                return;
            }
            if self.node.since(began_ns) >= STATE_TURN_MAX {
                break;
            }
        }
        self.state.due = (!self.state.jobs.is_empty()).then(Instant::now);
    }

    /// Ends with a slot that is half merged: something is about to change what counts as seen here, and a slot is merged by
    /// what was seen when it was begun.
    pub(super) fn end_half_merged_slot(&mut self) {
        while self.state.holds_slot() && self.take_state_step() {}
    }

    /// False if nothing could be done.
    fn take_state_step(&mut self) -> bool {
        let Some(mut job) = self.state.jobs.pop_front() else { return false };
        let (keyspace, now) = (self.node.keyspace.clone(), self.node.wall_clock());
        let is_merge = matches!(job.task, Task::Merge { .. });
        let step = match &mut job.task {
            Task::Read(reader) => {
                let (compression, mut is_too_large) = (&mut self.compression, false);
                let step = reader.step(&keyspace, &mut |raw| {
                    is_too_large |= raw.len() > PIECE_UNPACKED_BYTES_MAX;
                    if is_too_large { Vec::new() } else { compression.block_with_size(raw) }
                });
                if is_too_large || reader.packed_bytes() > limits::STATE_CHUNK_BYTES_MAX - AROUND_PIECES_BYTES {
                    reader.give_up(&keyspace);
                    self.give_up_feeding(job.peer, job.session);
                    return true;
                }
                Ok(step)
            }
            Task::Merge { merger, payload, pieces, has_begun } => {
                *has_begun = true;
                merger.step(&keyspace, now, &mut |number| {
                    let piece = pieces.get(number).and_then(|range| payload.get(range.clone()));
                    unpacked(piece.ok_or(DecodeError::Truncated("a chunk of state"))?)
                })
            }
        };
        if is_merge {
            self.audit.forget_root();
            self.note_merged();
        }
        match step {
            Ok(StateStep::More) => {
                self.state.jobs.push_front(job);
                self.note_state_moves();
            }
            Ok(StateStep::Waits) => {
                self.state.jobs.push_front(job);
                self.state.wants_stillness = true;
                self.node.keyspace.want_stillness(true);
                return false;
            }
            Ok(StateStep::Over) => self.end_job(job),
            Err(error) => self.give_up_session(job.peer, job.session, &error.to_string()),
        }
        true
    }

    /// What waits behind other state waits for this node and not for its peer.
    fn note_state_moves(&mut self) {
        let now = self.now();
        self.state.jobs.iter().for_each(|job| self.hub.state_moves(job.peer, job.session, now));
        self.let_moves_begin();
    }

    fn end_job(&mut self, Job { peer, session, is_listing, task, .. }: Job) {
        self.let_moves_begin();
        match task {
            Task::Read(reader) => {
                let (next, covered) = (reader.next_slot(), reader.covered());
                let next = (next < keyspace::SLOTS).then_some(next);
                let bytes = joined(reader.into_pieces());
                self.send_when_kept(if is_listing {
                    Waiting::ListingRead { peer, session, covered, bytes }
                } else {
                    Waiting::SlotsRead { peer, session, next, bytes }
                });
            }
            Task::Merge { merger, .. } => {
                let (differing, now) = (merger.into_differing(), self.now());
                if is_listing {
                    self.hub.listing_merged(peer, session, now);
                } else {
                    self.hub.slots_merged(peer, session, differing, now);
                }
            }
        }
    }
}

/// Bytes that the lengths of all pieces take.
const AROUND_PIECES_BYTES: usize = 4 + 4 * PIECES_MAX;

/// What pieces begin with. Journals may have chunks from before there were pieces, and no piece has this size.
const IN_PIECES: [u8; 4] = [0xff; 4];

/// Pieces as they travel and are kept: each behind its length.
pub(super) fn joined(pieces: Vec<Vec<u8>>) -> Bytes {
    let mut out = Vec::with_capacity(4 + pieces.iter().map(|piece| 4 + piece.len()).sum::<usize>());
    out.extend_from_slice(&IN_PIECES);
    for piece in pieces {
        out.extend_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&piece);
    }
    out.into()
}

/// Where the pieces are.
fn pieces_of(payload: &[u8]) -> Result<Vec<Range<usize>>, DecodeError> {
    if !payload.starts_with(&IN_PIECES) {
        return Ok(std::iter::once(0..payload.len()).collect());
    }
    let (mut pieces, mut at) = (Vec::new(), IN_PIECES.len());
    while at < payload.len() {
        let length = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let length = length.ok_or(DecodeError::Truncated("a chunk of state"))? as usize;
        at += 4;
        if length > payload.len() - at {
            return Err(DecodeError::Truncated("a piece of state"));
        }
        if pieces.len() == PIECES_MAX {
            return Err(DecodeError::Invalid("a chunk of so many pieces"));
        }
        pieces.push(at..at + length);
        at += length;
    }
    Ok(pieces)
}

/// A piece as it was before it was packed: its length, and an LZ4 block. A claimed size is believed only as far as LZ4 can
/// reach.
fn unpacked(piece: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let invalid = |_| DecodeError::Invalid("a packed piece of state");
    let (size, packed) = lz4_flex::block::uncompressed_size(piece).map_err(invalid)?;
    if size > PIECE_UNPACKED_BYTES_MAX || size > packed.len().saturating_mul(limits::EXPANSION_MAX) {
        return Err(DecodeError::Invalid("the size of a packed piece of state"));
    }
    lz4_flex::block::decompress(packed, size).map_err(invalid)
}

/// Merges what the journal has of a session, before the node serves anybody.
pub(crate) fn merge_kept(
    target: &keyspace::Keyspace,
    payload: &[u8],
    now: crdt::UnixMillis,
) -> Result<(), DecodeError> {
    let pieces = pieces_of(payload)?;
    let mut unpack = |number: usize| {
        let piece = pieces.get(number).and_then(|range| payload.get(range.clone()));
        unpacked(piece.ok_or(DecodeError::Truncated("a chunk of state"))?)
    };
    target.merge_packed_slots(pieces.len(), now, &mut unpack).map(drop)
}

#[cfg(test)]
mod tests;

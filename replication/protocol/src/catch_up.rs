//! State sessions: how a node that is too far behind for anybody's ring gets the state itself.
//!
//! The source closes its open batch and notes its vector, sends all slots in chunks, then in full those that still
//! differ; when all is merged, the fed node's vector rises to what the source had *at the start*. A session whose link
//! breaks is forgotten: what was merged stays merged, the vector stays where it was. Here are the two sides' states and
//! their steps; which peer is asked, and when, is decided in the hub.

use crate::frame::{ChunkKind, StateFrame, StatePart};
use crate::{FrameError, Millis, NodeIdentity, SessionId, limits};
use bytes::Bytes;
use crdt::VersionVector;
use std::collections::{BTreeSet, VecDeque};

/// The side that is fed.
#[derive(Debug)]
pub(crate) struct Fed {
    pub source: NodeIdentity,
    pub session: SessionId,
    /// What the vector rises to at the end; known from the source's first frame on.
    vector: Option<VersionVector>,
    unmerged: Unmerged,
    /// A chunk of which some parts have come.
    gathering: Option<Gathering>,
    finished: bool,
    pub progress: Millis,
    /// When the source was last told of progress.
    told: Millis,
}

/// A chunk of state that comes in parts.
#[derive(Debug)]
struct Gathering {
    kind: ChunkKind,
    whole: usize,
    bytes: Vec<u8>,
}

/// State that the transport has not taken. A chunk is cut into parts as it goes, so that it is in memory once.
#[derive(Default, Debug)]
pub(crate) struct StateQueue(VecDeque<Outgoing>);

#[derive(Debug)]
enum Outgoing {
    Frame(Bytes),
    Chunk { session: SessionId, kind: ChunkKind, payload: Bytes, sent: usize },
}

impl StateQueue {
    /// Queues what is small.
    pub(crate) fn push(&mut self, frame: &StateFrame) {
        self.0.push_back(Outgoing::Frame(frame.encode()));
    }

    /// Queues a chunk, in parts of `part_bytes` if it has more.
    pub(crate) fn push_chunk(&mut self, session: SessionId, kind: ChunkKind, payload: Bytes, part_bytes: usize) {
        if payload.len() <= part_bytes {
            return self.push(&StateFrame::Chunk { session, kind, payload });
        }
        self.0.push_back(Outgoing::Chunk { session, kind, payload, sent: 0 });
    }

    /// The next frame.
    pub(crate) fn pop(&mut self, part_bytes: usize) -> Option<Bytes> {
        let (frame, is_over) = match self.0.front_mut()? {
            Outgoing::Frame(frame) => (frame.clone(), true),
            Outgoing::Chunk { session, kind, payload, sent } => {
                let (whole, offset) = (payload.len(), *sent);
                *sent = whole.min(offset.saturating_add(part_bytes.max(1)));
                let part = StatePart { kind: *kind, whole, offset, bytes: payload.slice(offset..*sent) };
                (StateFrame::Part { session: *session, part }.encode(), *sent == whole)
            }
        };
        if is_over {
            self.0.pop_front();
        }
        Some(frame)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What was handed out for merging and has not come back.
#[derive(Clone, Copy, Default, Debug)]
struct Unmerged {
    slots: usize,
    listings: usize,
}

/// The side that feeds.
#[derive(Debug)]
pub(crate) struct Feeding {
    pub session: SessionId,
    since: VersionVector,
    begun: bool,
    /// The next slot to be read; none when all were.
    next_slot: Option<u16>,
    reading: Reading,
    unmerged: Unmerged,
    /// Slots that the other side found to differ and that were not listed yet.
    differing: BTreeSet<u16>,
    /// Slots that the reading in progress was asked for.
    asked: Vec<u16>,
    pub progress: Millis,
    /// When the other side was last told of progress.
    told: Millis,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    Nothing,
    Slots,
    Listing,
}

/// What the feeding side does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum FeedingStep {
    ReadSlots {
        from_slot: u16,
        since: VersionVector,
    },
    ReadListing {
        slots: Vec<u16>,
    },
    /// Everything is merged there: say so, and the session is over.
    End,
}

impl Fed {
    pub(crate) fn new(source: NodeIdentity, session: SessionId, now: Millis) -> Self {
        let (unmerged, finished) = (Unmerged::default(), false);
        Self { source, session, vector: None, unmerged, gathering: None, finished, progress: now, told: now }
    }

    /// Parts have come, or something is merged: whether the source is to be told.
    pub(crate) fn moved(&mut self, now: Millis) -> bool {
        self.progress = now;
        is_sign_due(&mut self.told, now)
    }

    /// Bytes of a chunk of which more is to come.
    pub(crate) fn gathered_bytes(&self) -> usize {
        self.gathering.as_ref().map_or(0, |gathering| gathering.bytes.capacity())
    }

    pub(crate) fn begin(&mut self, vector: VersionVector, now: Millis) -> Result<(), FrameError> {
        if self.vector.is_some() {
            return Err(FrameError::OutOfTurn("the beginning of a state session"));
        }
        self.vector = Some(vector);
        self.progress = now;
        Ok(())
    }

    /// A chunk came whole.
    pub(crate) fn chunk(&mut self, kind: ChunkKind, now: Millis) -> Result<(), FrameError> {
        let unmerged = self.unmerged.slots + self.unmerged.listings;
        let is_full = unmerged >= limits::STATE_CHUNKS_UNMERGED_MAX;
        if self.vector.is_none() || self.finished || is_full || self.gathering.is_some() {
            return Err(FrameError::OutOfTurn("a chunk of state"));
        }
        match kind {
            ChunkKind::Slots => self.unmerged.slots += 1,
            ChunkKind::Listing => self.unmerged.listings += 1,
        }
        self.progress = now;
        Ok(())
    }

    /// Some of a chunk came. The chunk, if that was the last of it.
    pub(crate) fn part(
        &mut self,
        part: &StatePart,
        bytes_max: usize,
        now: Millis,
    ) -> Result<Option<(ChunkKind, Bytes)>, FrameError> {
        const OUT_OF_TURN: FrameError = FrameError::OutOfTurn("a part of a chunk of state");
        let mut gathering = match self.gathering.take() {
            Some(gathering) => gathering,
            None if part.whole > bytes_max => {
                return Err(FrameError::TooLong { what: "a chunk of state", bytes: part.whole });
            }
            None => {
                // It counts from its first part on, so that there is a place for it.
                self.chunk(part.kind, now)?;
                Gathering { kind: part.kind, whole: part.whole, bytes: Vec::new() }
            }
        };
        if (gathering.kind, gathering.whole, gathering.bytes.len()) != (part.kind, part.whole, part.offset) {
            return Err(OUT_OF_TURN);
        }
        self.progress = now;
        // Only what has come counts, whatever is claimed: but it does not double.
        let bytes = &mut gathering.bytes;
        if bytes.capacity() < bytes.len() + part.bytes.len() {
            let more = (bytes.len() / 4).max(part.bytes.len()).min(part.whole - bytes.len());
            bytes.reserve_exact(more);
        }
        bytes.extend_from_slice(&part.bytes);
        if bytes.len() == part.whole {
            return Ok(Some((part.kind, std::mem::take(bytes).into())));
        }
        self.gathering = Some(gathering);
        Ok(None)
    }

    /// A chunk of slots was merged; false if none was out.
    pub(crate) fn slots_merged(&mut self, now: Millis) -> bool {
        self.progress = now;
        take_one(&mut self.unmerged.slots)
    }

    /// A listing was merged; false if none was out.
    pub(crate) fn listing_merged(&mut self, now: Millis) -> bool {
        self.progress = now;
        take_one(&mut self.unmerged.listings)
    }

    /// The source is through: what the vector rises to.
    pub(crate) fn end(&mut self, now: Millis) -> Result<VersionVector, FrameError> {
        let early = self.unmerged.slots + self.unmerged.listings > 0 || self.finished;
        let vector = self.vector.clone().filter(|_| !early);
        let vector = vector.ok_or(FrameError::OutOfTurn("the end of a state session"))?;
        self.finished = true;
        self.progress = now;
        Ok(vector)
    }

    /// The vector to raise to, once the end has come.
    pub(crate) fn finished(&self) -> Option<&VersionVector> {
        self.vector.as_ref().filter(|_| self.finished)
    }
}

impl Feeding {
    pub(crate) fn new(session: SessionId, since: VersionVector, now: Millis) -> Self {
        Self {
            session,
            since,
            begun: false,
            next_slot: Some(0),
            reading: Reading::Nothing,
            unmerged: Unmerged::default(),
            differing: BTreeSet::new(),
            asked: Vec::new(),
            progress: now,
            told: now,
        }
    }

    /// Something is read: whether the other side is to be told.
    pub(crate) fn moved(&mut self, now: Millis) -> bool {
        self.progress = now;
        is_sign_due(&mut self.told, now)
    }

    /// The open batch is closed; false if that was known.
    pub(crate) fn begin(&mut self, now: Millis) -> bool {
        self.progress = now;
        !std::mem::replace(&mut self.begun, true)
    }

    /// The next slot to be read, for the report.
    pub(crate) fn next_slot(&self) -> u16 {
        self.next_slot.unwrap_or(limits::SLOTS)
    }

    /// What to do now; nothing while a reading is under way or too much is unmerged.
    pub(crate) fn step(&mut self) -> Option<FeedingStep> {
        let unmerged = self.unmerged.slots + self.unmerged.listings;
        if !self.begun || self.reading != Reading::Nothing || unmerged >= limits::STATE_CHUNKS_UNMERGED_MAX {
            return None;
        }
        if !self.differing.is_empty() {
            self.reading = Reading::Listing;
            self.asked = self.differing.iter().copied().collect();
            return Some(FeedingStep::ReadListing { slots: self.asked.clone() });
        }
        if let Some(from_slot) = self.next_slot {
            self.reading = Reading::Slots;
            return Some(FeedingStep::ReadSlots { from_slot, since: self.since.clone() });
        }
        (unmerged == 0).then_some(FeedingStep::End)
    }

    /// Slots up to `next` were read; false if nobody had asked.
    pub(crate) fn slots_read(&mut self, next: Option<u16>, now: Millis) -> bool {
        if self.reading != Reading::Slots {
            return false;
        }
        self.reading = Reading::Nothing;
        // A reader that does not advance would read for ever.
        let from = self.next_slot.unwrap_or(limits::SLOTS);
        self.next_slot = next.map(|next| next.max(from + 1)).filter(|&next| next < limits::SLOTS);
        self.unmerged.slots += 1;
        self.progress = now;
        true
    }

    /// The first `covered` of the slots asked for were listed; false if nobody had asked.
    pub(crate) fn listing_read(&mut self, covered: usize, now: Millis) -> bool {
        if self.reading != Reading::Listing {
            return false;
        }
        self.reading = Reading::Nothing;
        for slot in self.asked.drain(..).take(covered.max(1)) {
            self.differing.remove(&slot);
        }
        self.unmerged.listings += 1;
        self.progress = now;
        true
    }

    /// The other side merged a chunk, and these of its slots differ.
    pub(crate) fn slots_merged(&mut self, differing: Vec<u16>, now: Millis) -> Result<(), FrameError> {
        let unread = self.next_slot();
        if !take_one(&mut self.unmerged.slots) || differing.iter().any(|&slot| slot >= unread) {
            return Err(FrameError::OutOfTurn("an answer to a chunk of state"));
        }
        self.differing.extend(differing);
        self.progress = now;
        Ok(())
    }

    /// The other side merged a listing.
    pub(crate) fn listing_merged(&mut self, now: Millis) -> Result<(), FrameError> {
        self.progress = now;
        match take_one(&mut self.unmerged.listings) {
            true => Ok(()),
            false => Err(FrameError::OutOfTurn("an answer to a listing")),
        }
    }
}

fn is_sign_due(told: &mut Millis, now: Millis) -> bool {
    let is_due = now.since(*told) >= limits::SESSION_SIGN_MS;
    if is_due {
        *told = now;
    }
    is_due
}

fn take_one(count: &mut usize) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(0);

    #[test]
    fn a_source_reads_ahead_only_as_far_as_allowed() {
        let mut source = Feeding::new(SessionId(1), VersionVector::new(), NOW);
        assert_eq!(source.step(), None);
        assert!(source.begin(NOW) && !source.begin(NOW));
        for chunk in 0..limits::STATE_CHUNKS_UNMERGED_MAX as u16 {
            let from_slot = chunk * 100;
            assert_eq!(source.step(), Some(FeedingStep::ReadSlots { from_slot, since: VersionVector::new() }));
            assert_eq!(source.step(), None);
            assert!(source.slots_read(Some(from_slot + 100), NOW));
        }
        assert_eq!(source.step(), None);
        source.slots_merged(vec![3, 7], NOW).unwrap();
        assert_eq!(source.step(), Some(FeedingStep::ReadListing { slots: vec![3, 7] }));
        assert!(source.listing_read(1, NOW) && !source.listing_read(1, NOW));
        source.slots_merged(vec![], NOW).unwrap();
        assert_eq!(source.step(), Some(FeedingStep::ReadListing { slots: vec![7] }));
    }

    #[test]
    fn a_session_ends_when_everything_is_merged() {
        let mut source = Feeding::new(SessionId(1), VersionVector::new(), NOW);
        source.begin(NOW);
        source.step();
        source.slots_read(None, NOW);
        assert_eq!(source.step(), None);
        source.slots_merged(vec![], NOW).unwrap();
        assert_eq!(source.step(), Some(FeedingStep::End));
        assert!(source.slots_merged(vec![], NOW).is_err() && source.listing_merged(NOW).is_err());
    }

    #[test]
    fn the_fed_side_takes_nothing_out_of_turn() {
        let mut fed = Fed::new(NodeIdentity::default(), SessionId(1), NOW);
        assert!(fed.chunk(ChunkKind::Slots, NOW).is_err() && fed.end(NOW).is_err());
        fed.begin(VersionVector::new(), NOW).unwrap();
        assert!(fed.begin(VersionVector::new(), NOW).is_err());
        (0..limits::STATE_CHUNKS_UNMERGED_MAX).for_each(|_| fed.chunk(ChunkKind::Slots, NOW).unwrap());
        assert!(fed.chunk(ChunkKind::Slots, NOW).is_err() && fed.end(NOW).is_err());
        (0..limits::STATE_CHUNKS_UNMERGED_MAX).for_each(|_| assert!(fed.slots_merged(NOW)));
        assert!(!fed.slots_merged(NOW) && fed.finished().is_none());
        assert_eq!(fed.end(NOW), Ok(VersionVector::new()));
        assert!(fed.finished().is_some());
    }

    fn part(kind: ChunkKind, whole: usize, offset: usize, length: usize) -> StatePart {
        StatePart { kind, whole, offset, bytes: vec![offset as u8; length].into() }
    }

    fn begun() -> Fed {
        let mut fed = Fed::new(NodeIdentity::default(), SessionId(1), NOW);
        fed.begin(VersionVector::new(), NOW).unwrap();
        fed
    }

    #[test]
    fn a_chunk_is_put_together_of_its_parts_and_counts_from_the_first_on() {
        let mut fed = begun();
        assert_eq!(fed.part(&part(ChunkKind::Listing, 10, 0, 4), 10, NOW), Ok(None));
        assert!(fed.gathered_bytes() <= 10 && fed.end(NOW).is_err(), "it is not merged");
        assert!(fed.chunk(ChunkKind::Slots, NOW).is_err(), "nothing comes in between");
        let Ok(Some((ChunkKind::Listing, bytes))) = fed.part(&part(ChunkKind::Listing, 10, 4, 6), 10, Millis(7)) else {
            panic!("it is whole");
        };
        assert_eq!((&bytes[..], fed.progress), (&[0, 0, 0, 0, 4, 4, 4, 4, 4, 4][..], Millis(7)));
        assert!(fed.gathered_bytes() == 0 && fed.listing_merged(NOW) && !fed.slots_merged(NOW));
        assert!(fed.end(NOW).is_ok());
    }

    #[test]
    fn parts_that_are_not_the_next_ones_and_chunks_that_claim_too_much_are_refused() {
        for wrong in [
            part(ChunkKind::Slots, 10, 6, 4),
            part(ChunkKind::Slots, 10, 0, 4),
            part(ChunkKind::Slots, 11, 4, 4),
            part(ChunkKind::Listing, 10, 4, 4),
        ] {
            let mut fed = begun();
            assert_eq!(fed.part(&part(ChunkKind::Slots, 10, 0, 4), 10, NOW), Ok(None));
            assert!(fed.part(&wrong, 10, NOW).is_err(), "{wrong:?}");
            assert_eq!(fed.gathered_bytes(), 0);
        }
        assert!(begun().part(&part(ChunkKind::Slots, 10, 4, 4), 10, NOW).is_err(), "it has no beginning");
        assert!(begun().part(&part(ChunkKind::Slots, 11, 0, 4), 10, NOW).is_err());
        let mut fed = begun();
        (0..limits::STATE_CHUNKS_UNMERGED_MAX).for_each(|_| fed.chunk(ChunkKind::Slots, NOW).unwrap());
        assert!(fed.part(&part(ChunkKind::Slots, 10, 0, 4), 10, NOW).is_err(), "too much is unmerged");
    }

    #[test]
    fn a_claim_takes_no_memory_before_it_comes_true() {
        let (mut fed, whole) = (begun(), 1 << 30);
        assert_eq!(fed.part(&part(ChunkKind::Slots, whole, 0, 100), whole, NOW), Ok(None));
        assert!(fed.gathered_bytes() < 1_000);
        for (kind, whole, offset, length) in
            [(5, 10_u64, 8_u64, 3), (6, 10, 11, 0), (5, u64::MAX, u64::MAX, 2), (5, 3, 0, 0)]
        {
            let mut frame = vec![kind];
            [1, whole, offset].iter().for_each(|word| frame.extend_from_slice(&word.to_le_bytes()));
            frame.resize(frame.len() + length, 0);
            assert!(StateFrame::decode(&frame.into()).is_err(), "{whole} {offset} {length}");
        }
    }

    #[test]
    fn a_chunk_leaves_in_parts_and_what_is_behind_it_behind_them() {
        let mut queue = StateQueue::default();
        let session = SessionId(3);
        queue.push_chunk(session, ChunkKind::Slots, vec![1; 10].into(), 4);
        queue.push_chunk(session, ChunkKind::Listing, vec![2; 4].into(), 4);
        queue.push(&StateFrame::End { session });
        let mut fed = begun();
        for offset in [0, 4, 8] {
            let Ok(StateFrame::Part { part, .. }) = StateFrame::decode(&queue.pop(4).unwrap()) else {
                panic!("a part")
            };
            assert_eq!(part.offset, offset);
            assert_eq!(fed.part(&part, 10, NOW).unwrap().is_some(), offset == 8);
        }
        let listing = StateFrame::Chunk { session, kind: ChunkKind::Listing, payload: vec![2; 4].into() };
        assert_eq!(StateFrame::decode(&queue.pop(4).unwrap()), Ok(listing));
        assert_eq!(StateFrame::decode(&queue.pop(4).unwrap()), Ok(StateFrame::End { session }));
        assert!(queue.is_empty() && queue.pop(4).is_none());
    }

    #[test]
    fn the_other_side_is_told_of_progress_now_and_then() {
        let mut fed = begun();
        let told: Vec<u64> = (0..3 * limits::SESSION_SIGN_MS).filter(|&ms| fed.moved(Millis(ms))).collect();
        assert_eq!(told, [limits::SESSION_SIGN_MS, 2 * limits::SESSION_SIGN_MS]);
    }
}

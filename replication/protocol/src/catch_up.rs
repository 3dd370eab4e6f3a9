//! State sessions: how a node that is too far behind for anybody's ring gets the state itself.
//!
//! The source closes its open batch and notes its vector, sends all slots in chunks, then in full those that still
//! differ; when all is merged, the fed node's vector rises to what the source had *at the start*. A session whose link
//! breaks is forgotten: what was merged stays merged, the vector stays where it was. Here are the two sides' states and
//! their steps; which peer is asked, and when, is decided in the hub.

use crate::{FrameError, Millis, NodeIdentity, SessionId, limits};
use crdt::VersionVector;
use std::collections::BTreeSet;

/// The side that is fed.
#[derive(Debug)]
pub(crate) struct Fed {
    pub source: NodeIdentity,
    pub session: SessionId,
    /// What the vector rises to at the end; known from the source's first frame on.
    vector: Option<VersionVector>,
    unmerged: Unmerged,
    finished: bool,
    pub progress: Millis,
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
        Self { source, session, vector: None, unmerged: Unmerged::default(), finished: false, progress: now }
    }

    pub(crate) fn begin(&mut self, vector: VersionVector, now: Millis) -> Result<(), FrameError> {
        if self.vector.is_some() {
            return Err(FrameError::OutOfTurn("the beginning of a state session"));
        }
        self.vector = Some(vector);
        self.progress = now;
        Ok(())
    }

    /// A chunk of slots came.
    pub(crate) fn slots(&mut self, now: Millis) -> Result<(), FrameError> {
        self.chunk(now)?;
        self.unmerged.slots += 1;
        Ok(())
    }

    /// A listing came.
    pub(crate) fn listing(&mut self, now: Millis) -> Result<(), FrameError> {
        self.chunk(now)?;
        self.unmerged.listings += 1;
        Ok(())
    }

    fn chunk(&mut self, now: Millis) -> Result<(), FrameError> {
        let unmerged = self.unmerged.slots + self.unmerged.listings;
        if self.vector.is_none() || self.finished || unmerged >= limits::STATE_CHUNKS_UNMERGED_MAX {
            return Err(FrameError::OutOfTurn("a chunk of state"));
        }
        self.progress = now;
        Ok(())
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
        }
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
        assert!(fed.slots(NOW).is_err() && fed.end(NOW).is_err());
        fed.begin(VersionVector::new(), NOW).unwrap();
        assert!(fed.begin(VersionVector::new(), NOW).is_err());
        (0..limits::STATE_CHUNKS_UNMERGED_MAX).for_each(|_| fed.slots(NOW).unwrap());
        assert!(fed.slots(NOW).is_err() && fed.end(NOW).is_err());
        (0..limits::STATE_CHUNKS_UNMERGED_MAX).for_each(|_| assert!(fed.slots_merged(NOW)));
        assert!(!fed.slots_merged(NOW) && fed.finished().is_none());
        assert_eq!(fed.end(NOW), Ok(VersionVector::new()));
        assert!(fed.finished().is_some());
    }
}

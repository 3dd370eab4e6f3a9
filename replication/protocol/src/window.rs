//! How far one origin was sent over one link, and how much of that is still on its way.
//!
//! Windows are per link *and origin*: an origin whose batches wait at the receiver fills its own window and no other.

use crate::Batch;
use crate::fragments::{Fragment, Whole};
use crdt::Stamp;
use std::collections::VecDeque;
use std::sync::Arc;

/// The sender's place in one origin's history, for one link.
#[derive(Clone, Default, Debug)]
pub(crate) struct OriginWindow {
    sent: Stamp,
    in_flight: VecDeque<(Stamp, usize)>,
    bytes: usize,
    /// The peer was told that neither ring nor journal reach back to it.
    behind: bool,
    /// What comes next, read back from the journal, where the ring does not reach.
    from_journal: VecDeque<Arc<Batch>>,
    /// Whether the journal is being read for it.
    reading: bool,
    /// The batch that is sent in fragments, and how much of it was sent. It is kept here, whatever becomes of it in the ring.
    fragments: Option<(Arc<Batch>, usize)>,
    /// What the peer said it has of a batch: of the next one, if it said so of several.
    peer_has: Option<(Whole, usize)>,
}

impl OriginWindow {
    /// Begins after what the peer has.
    pub(crate) fn after(stamp: Stamp) -> Self {
        Self { sent: stamp, ..Self::default() }
    }

    /// Where to go on.
    pub(crate) fn sent(&self) -> Stamp {
        self.sent
    }

    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Whether nothing more may be sent for now. One batch may always be on its way, however large.
    pub(crate) fn is_full(&self, bytes_max: usize) -> bool {
        self.bytes >= bytes_max
    }

    /// The next batch out of the journal, if it was read.
    pub(crate) fn next_from_journal(&self) -> Option<&Arc<Batch>> {
        let next = self.from_journal.iter().find(|batch| batch.last > self.sent)?;
        (next.previous.last <= self.sent).then_some(next)
    }

    /// Whether the journal is being read, or what was read is not sent yet.
    pub(crate) fn has_journal(&self) -> bool {
        self.reading || self.next_from_journal().is_some()
    }

    /// The journal is asked for what comes next.
    pub(crate) fn record_reading(&mut self) {
        self.reading = true;
    }

    /// The journal was read for who has this much. False if nobody waits for that any more.
    pub(crate) fn record_read(&mut self, after: Stamp, batches: Vec<Arc<Batch>>) -> bool {
        if !std::mem::take(&mut self.reading) || after != self.sent {
            return false;
        }
        self.from_journal = batches.into();
        true
    }

    pub(crate) fn record_sent(&mut self, batch: &Batch) {
        self.sent = batch.last;
        while self.from_journal.pop_front_if(|batch| batch.last <= self.sent).is_some() {}
        self.bytes += batch.weight();
        self.in_flight.push_back((batch.last, batch.weight()));
    }

    /// The batch of which fragments were sent, and the rest was not.
    pub(crate) fn in_fragments(&self) -> Option<&Arc<Batch>> {
        self.fragments.as_ref().map(|(batch, _)| batch)
    }

    /// The next fragment of a batch, and whether it is the last one; then the batch is sent.
    pub(crate) fn next_fragment(&mut self, batch: &Arc<Batch>, bytes_max: usize) -> (Fragment, bool) {
        let whole = Whole::of(batch);
        let begun = self.fragments.take().filter(|(begun, _)| begun.last == batch.last).map_or(0, |(_, offset)| offset);
        let known = self.peer_has.filter(|(known, _)| *known == whole).map_or(0, |(_, have)| have);
        let offset = begun.max(known);
        let (fragment, is_last) = Fragment::cut(batch, offset, bytes_max);
        if is_last {
            (self.fragments, self.peer_has) = (None, None);
            self.record_sent(batch);
        } else {
            self.fragments = Some((Arc::clone(batch), offset + fragment.bytes.len()));
        }
        (fragment, is_last)
    }

    /// The peer has so many bytes of a batch. Of several that are not sent the earliest counts, as it is sent first.
    pub(crate) fn peer_has(&mut self, whole: Whole, have: usize) {
        if self.peer_has.is_none_or(|(known, _)| whole.last <= known.last || known.last <= self.sent) {
            self.peer_has = Some((whole, have));
        }
    }

    /// The ring has nothing that the peer could use; wait until it has come on by other means.
    pub(crate) fn record_behind(&mut self) {
        self.behind = true;
    }

    /// The peer has applied everything up to `stamp`, by whatever way it came.
    pub(crate) fn acknowledged(&mut self, stamp: Stamp) {
        while let Some(&(last, bytes)) = self.in_flight.front()
            && last <= stamp
        {
            self.bytes -= bytes;
            self.in_flight.pop_front();
        }
        if stamp > self.sent {
            self.sent = stamp;
            self.behind = false;
        }
        self.fragments.take_if(|(batch, _)| batch.last <= stamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BatchTail;
    use crate::Compression;
    use crdt::{NodeNumber, VersionVector};

    #[test]
    fn acknowledgements_open_the_window_again() {
        let node = NodeNumber::new(4).unwrap();
        let at = |ms| Stamp::at(crdt::STAMP_EPOCH_MS + ms, node);
        let mut window = OriginWindow::after(Stamp::ZERO);
        let mut tail = BatchTail::default();
        for ms in [10, 20, 30] {
            let batch =
                Batch::seal(tail, at(ms), at(ms), VersionVector::new(), 1, &[1, 2, 3], &mut Compression::default());
            tail = batch.tail();
            window.record_sent(&batch);
        }
        assert!(window.is_full(1) && window.in_flight_bytes() > 0);
        window.acknowledged(at(20));
        assert!(window.is_full(1));
        window.acknowledged(at(40));
        assert!(!window.is_full(1) && window.sent() == at(40));
    }

    #[test]
    fn of_two_batches_that_the_peer_has_in_part_the_next_one_goes_on_where_it_ended() {
        let node = NodeNumber::new(4).unwrap();
        let at = |ms| Stamp::at(crdt::STAMP_EPOCH_MS + ms, node);
        let seal = |tail, ms| {
            Arc::new(Batch::seal(
                tail,
                at(ms),
                at(ms),
                VersionVector::new(),
                1,
                &[7; 1000],
                &mut Compression::default(),
            ))
        };
        let first = seal(BatchTail::default(), 10);
        let second = seal(first.tail(), 20);
        let mut window = OriginWindow::after(Stamp::ZERO);
        window.peer_has(Whole::of(&first), 300);
        window.peer_has(Whole::of(&second), 200);
        assert_eq!(window.next_fragment(&first, 100).0.offset, 300);
        // What the peer says later of the same one counts, and of the other one when it is next.
        window.peer_has(Whole::of(&first), 500);
        assert_eq!(window.next_fragment(&first, 100).0.offset, 500);
        window.acknowledged(at(10));
        window.peer_has(Whole::of(&second), 200);
        assert_eq!(window.next_fragment(&second, 100).0.offset, 200);
    }
}

//! Recent batches of every origin in one budget of bytes, for links that fall behind and peers that pull.
//!
//! Not a log: what has left the ring is fetched by a state session. Each origin's batches are one unbroken chain.

use crate::{Batch, limits};
use crdt::{NodeNumber, Stamp, VersionVector};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The ring of all origins.
#[derive(Debug)]
pub(crate) struct Ring {
    origins: BTreeMap<NodeNumber, OriginRing>,
    bytes: usize,
    bytes_max: usize,
    evictions: u64,
}

#[derive(Debug, Default)]
struct OriginRing {
    /// Who has this much can be served: the predecessor of the first batch here.
    floor: Stamp,
    /// The last stamp that is applied here, even if its batch is not in the ring.
    end: Stamp,
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
}

/// What the ring has for somebody who has an origin up to some stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Following<'a> {
    /// This batch is the next one.
    Next(&'a Arc<Batch>),
    /// There is nothing newer.
    UpToDate,
    /// There is something newer, and the ring does not reach back to it.
    Behind,
}

/// What the ring holds of one origin.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct RingFill {
    pub bytes: usize,
    pub batches: usize,
    pub begins_after: Stamp,
}

impl Ring {
    /// An empty ring of a node that has applied `vector`.
    pub(crate) fn new(vector: &VersionVector, bytes_max: usize) -> Self {
        let mut ring = Self { origins: BTreeMap::new(), bytes: 0, bytes_max, evictions: 0 };
        for (origin, end) in vector.iter() {
            ring.origins.insert(origin, OriginRing { floor: end, end, ..OriginRing::default() });
        }
        ring
    }

    /// Adds the batch that was applied last of its origin, or, at start, one from the journal.
    pub(crate) fn push(&mut self, batch: Arc<Batch>) {
        let (weight, origin) = (batch.weight(), batch.origin);
        let ring = self.origins.entry(origin).or_default();
        let chain_end = ring.batches.back().map(|last| last.last);
        if chain_end.is_some_and(|last| batch.last <= last) {
            return;
        }
        if chain_end.is_none_or(|last| batch.previous.last > last) {
            // SUBTLE: whatever lies between is in a state session's hands; a chain with a hole would serve nobody.
            self.bytes -= ring.bytes;
            ring.batches.clear();
            ring.bytes = 0;
            ring.floor = batch.previous.last;
        }
        ring.end = ring.end.max(batch.last);
        if !batch.can_travel() {
            // No peer would take it: for who needs it the ring begins behind it.
            self.evictions += 1 + ring.batches.len() as u64;
            self.bytes -= ring.bytes;
            ring.batches.clear();
            (ring.bytes, ring.floor) = (0, batch.last);
            return;
        }
        ring.bytes += weight;
        ring.batches.push_back(batch);
        self.bytes += weight;
        self.evict(origin);
    }

    /// A state session brought everything up to `vector`, without batches.
    pub(crate) fn raise(&mut self, vector: &VersionVector) {
        for (origin, end) in vector.iter() {
            let ring = self.origins.entry(origin).or_default();
            ring.end = ring.end.max(end);
            if ring.batches.is_empty() {
                ring.floor = ring.end;
            }
        }
    }

    /// What comes after `stamp` in the history of `origin`.
    pub(crate) fn after(&self, origin: NodeNumber, stamp: Stamp) -> Following<'_> {
        let Some(ring) = self.origins.get(&origin) else {
            return Following::UpToDate;
        };
        if stamp >= ring.end {
            return Following::UpToDate;
        }
        if stamp < ring.floor {
            return Following::Behind;
        }
        match ring.batches.get(ring.batches.partition_point(|batch| batch.last <= stamp)) {
            Some(batch) => Following::Next(batch),
            None => Following::Behind,
        }
    }

    /// All batches of `origin` after `stamp` that are here.
    pub(crate) fn all_after(&self, origin: NodeNumber, stamp: Stamp) -> impl Iterator<Item = &Arc<Batch>> {
        let batches = self.origins.get(&origin).map(|ring| &ring.batches);
        batches.into_iter().flat_map(move |batches| {
            let from = batches.partition_point(|batch| batch.last <= stamp);
            batches.range(from..)
        })
    }

    /// The stamp from which on `origin` can be served.
    pub(crate) fn floor(&self, origin: NodeNumber) -> Stamp {
        self.origins.get(&origin).map_or(Stamp::ZERO, |ring| ring.floor)
    }

    pub(crate) fn fill(&self, origin: NodeNumber) -> RingFill {
        self.origins.get(&origin).map_or_else(RingFill::default, |ring| RingFill {
            bytes: ring.bytes,
            batches: ring.batches.len(),
            begins_after: ring.floor,
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Lets go what everybody has, oldest first whatever its origin, as long as more than `kept` bytes are here: `had` is
    /// up to where every member has an origin. Who comes back empty needs more than a ring anyway.
    pub(crate) fn release(&mut self, had: impl Fn(NodeNumber) -> Stamp, kept: usize) {
        if self.bytes <= kept {
            return;
        }
        let had: BTreeMap<NodeNumber, Stamp> = self.origins.keys().map(|&origin| (origin, had(origin))).collect();
        let oldest_of = |ring: &OriginRing, origin| {
            let oldest = ring.batches.front().filter(|oldest| oldest.last <= had[&origin])?;
            Some((oldest.last, origin))
        };
        let mut oldest: BTreeSet<(Stamp, NodeNumber)> =
            self.origins.iter().filter_map(|(&origin, ring)| oldest_of(ring, origin)).collect();
        while self.bytes > kept
            && let Some((_, origin)) = oldest.pop_first()
            && let Some(ring) = self.origins.get_mut(&origin)
            && let Some(batch) = ring.batches.pop_front()
        {
            ring.floor = batch.last;
            ring.bytes -= batch.weight();
            self.bytes -= batch.weight();
            oldest.extend(oldest_of(ring, origin));
        }
    }

    /// Lets the oldest batch of the largest origin go until the budget holds: a busy origin pays for itself. A batch
    /// that crosses links in fragments stays until the next one comes, however large it is: no link has had time to take it.
    fn evict(&mut self, newest: NodeNumber) {
        while self.bytes > self.bytes_max {
            let may_pay = |origin: &NodeNumber, ring: &OriginRing| {
                *origin != newest || ring.batches.len() > 1 || ring.bytes <= limits::FRAGMENT_BYTES
            };
            let payers = self.origins.iter_mut().filter(|(origin, ring)| may_pay(origin, ring));
            let Some((_, ring)) = payers.max_by_key(|(_, ring)| ring.bytes) else { return };
            let Some(oldest) = ring.batches.pop_front() else { return };
            ring.floor = oldest.last;
            ring.bytes -= oldest.weight();
            self.bytes -= oldest.weight();
            self.evictions += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BatchTail;
    use crate::Compression;

    fn at(ms: u64, n: u16) -> Stamp {
        Stamp::at(crdt::STAMP_EPOCH_MS + ms, NodeNumber::new(n).unwrap())
    }

    fn batch(previous: u64, last: u64, n: u16, size: usize) -> Arc<Batch> {
        let previous = if previous == 0 { Stamp::ZERO } else { at(previous, n) };
        let tail = BatchTail { last: previous, checksum: 1 };
        let raw: Vec<u8> = (0..size).map(|i| (i * i * 31 + i) as u8).collect();
        Batch::seal(tail, at(last, n), at(last, n), VersionVector::new(), 1, &raw, &mut Compression::default())
    }

    #[test]
    fn a_batch_that_no_peer_would_take_is_never_offered() {
        let mut ring = Ring::new(&VersionVector::new(), usize::MAX);
        let node = at(0, 1).author();
        ring.push(batch(0, 10, 1, 10));
        let tail = BatchTail { last: at(10, 1), checksum: 1 };
        // It shrinks to some megabytes, and a peer would refuse what it unpacks to.
        let raw = vec![0; crate::limits::BATCH_BYTES_MAX + 1];
        let huge = Batch::seal(tail, at(20, 1), at(20, 1), VersionVector::new(), 1, &raw, &mut Compression::default());
        assert!(Batch::decode(huge.bytes().clone()).is_err());
        assert_eq!(Batch::decode_kept(huge.bytes().clone()).unwrap(), huge);
        ring.push(huge);
        assert_eq!(ring.after(node, at(10, 1)), Following::Behind);
        assert_eq!((ring.after(node, at(20, 1)), ring.bytes()), (Following::UpToDate, 0));
        ring.push(batch(20, 30, 1, 10));
        assert_eq!(next_of(ring.after(node, at(20, 1))), Some(at(30, 1)));
        assert_eq!(ring.after(node, at(10, 1)), Following::Behind);
    }

    fn next_of(following: Following<'_>) -> Option<Stamp> {
        match following {
            Following::Next(batch) => Some(batch.last),
            Following::UpToDate | Following::Behind => None,
        }
    }

    #[test]
    fn a_reader_walks_the_chain_and_is_told_when_it_is_too_late() {
        let mut ring = Ring::new(&VersionVector::new(), 1 << 20);
        let node = at(0, 1).author();
        ring.push(batch(0, 10, 1, 10));
        ring.push(batch(10, 20, 1, 10));
        assert_eq!(next_of(ring.after(node, Stamp::ZERO)), Some(at(10, 1)));
        assert_eq!(next_of(ring.after(node, at(10, 1))), Some(at(20, 1)));
        assert_eq!(ring.after(node, at(20, 1)), Following::UpToDate);
        ring.raise(&[(node, at(30, 1))].into_iter().collect());
        assert_eq!(ring.after(node, at(20, 1)), Following::Behind);
        ring.push(batch(30, 40, 1, 10));
        assert_eq!(ring.after(node, at(10, 1)), Following::Behind);
        assert_eq!(next_of(ring.after(node, at(30, 1))), Some(at(40, 1)));
    }

    #[test]
    fn the_largest_origin_pays_for_the_budget() {
        let mut ring = Ring::new(&VersionVector::new(), 4_000);
        ring.push(batch(0, 5, 2, 100));
        for i in 0..40 {
            ring.push(batch(i * 10, i * 10 + 10, 1, 100));
        }
        assert!(ring.bytes() <= 4_000 && ring.evictions() > 0);
        let (one, two) = (at(0, 1).author(), at(0, 2).author());
        assert_eq!(ring.after(one, Stamp::ZERO), Following::Behind);
        assert_eq!(next_of(ring.after(two, Stamp::ZERO)), Some(at(5, 2)));
    }

    #[test]
    fn a_batch_larger_than_the_budget_stays_until_the_next_one_comes() {
        let mut ring = Ring::new(&VersionVector::new(), 4_000);
        let node = at(0, 1).author();
        ring.push(batch(0, 10, 1, 100));
        let raw: Vec<u8> =
            (0..40_000_u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 24) as u8 ^ (i >> 7) as u8).collect();
        let tail = BatchTail { last: at(10, 1), checksum: 1 };
        ring.push(Batch::seal(tail, at(20, 1), at(20, 1), VersionVector::new(), 1, &raw, &mut Compression::default()));
        assert!(ring.bytes() > 4_000);
        assert_eq!(next_of(ring.after(node, at(10, 1))), Some(at(20, 1)));
        assert_eq!(ring.after(node, Stamp::ZERO), Following::Behind);
        ring.push(batch(0, 30, 2, 100));
        ring.push(batch(20, 40, 1, 100));
        assert_eq!(ring.after(node, at(10, 1)), Following::Behind);
        assert!(ring.bytes() <= 4_000);
    }

    #[test]
    fn what_everybody_has_goes_as_far_as_there_is_much() {
        let mut ring = Ring::new(&VersionVector::new(), 1 << 20);
        for i in 0..40 {
            ring.push(batch(i * 10, i * 10 + 10, 1, 100));
        }
        let (node, bytes) = (at(0, 1).author(), ring.bytes());
        ring.release(|_| Stamp::ZERO, 0);
        assert_eq!(ring.bytes(), bytes, "somebody has nothing yet");
        ring.release(|_| at(200, 1), bytes / 2 + bytes / 4);
        assert!(ring.bytes() <= bytes / 2 + bytes / 4 && ring.bytes() > bytes / 2);
        ring.release(|_| at(200, 1), 0);
        assert_eq!(ring.fill(node).batches, 20);
        assert_eq!(ring.after(node, at(190, 1)), Following::Behind);
        assert_eq!(next_of(ring.after(node, at(200, 1))), Some(at(210, 1)));
        ring.release(|_| at(400, 1), 0);
        assert_eq!((ring.bytes(), ring.after(node, at(400, 1))), (0, Following::UpToDate));
        ring.push(batch(400, 410, 1, 100));
        assert_eq!(next_of(ring.after(node, at(400, 1))), Some(at(410, 1)));
    }

    #[test]
    fn what_everybody_has_goes_in_the_order_in_which_it_was_written() {
        let mut ring = Ring::new(&VersionVector::new(), 1 << 20);
        for i in 0..20 {
            ring.push(batch(i * 10, i * 10 + 10, 1, 100));
            ring.push(batch(i * 10, i * 10 + 10, 2, 100));
        }
        let (one, two) = (at(0, 1).author(), at(0, 2).author());
        ring.release(|origin| at(150, origin.value()), ring.bytes() / 2);
        let left = (ring.fill(one).batches, ring.fill(two).batches);
        assert!(left.0.abs_diff(left.1) <= 1 && left.0 < 12, "{left:?}");
        // One that somebody lacks does not hold up the others.
        ring.release(|origin| if origin == one { at(100, 1) } else { at(150, 2) }, 0);
        assert_eq!((ring.fill(one).batches, ring.fill(two).batches), (left.0, 5));
    }

    #[test]
    fn a_restarted_node_serves_what_its_journal_gave_back() {
        let node = at(0, 1).author();
        let vector: VersionVector = [(node, at(20, 1))].into_iter().collect();
        let mut ring = Ring::new(&vector, 1 << 20);
        assert_eq!(ring.after(node, at(10, 1)), Following::Behind);
        ring.push(batch(10, 20, 1, 10));
        assert_eq!(next_of(ring.after(node, at(10, 1))), Some(at(20, 1)));
        assert_eq!(ring.after(node, at(5, 1)), Following::Behind);
    }
}

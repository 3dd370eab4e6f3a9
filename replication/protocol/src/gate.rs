//! The causal gate: arriving batches are let through once their predecessor and their dependencies were.
//!
//! What must wait does so in a bounded space of its own origin, so a late origin never takes room from another. The gate
//! only decides; applying is the node's business, and it happens in the order in which the gate opens.

use crate::{Batch, NodeIdentity, limits};
use crdt::membership;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All waiting batches.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Last stamp let through, of each origin.
    passed: VersionVector,
    spaces: BTreeMap<NodeNumber, Space>,
    bytes_max: usize,
    /// Origins of which a batch could not be applied: nothing of them passes until a state session has gone over it.
    stuck: BTreeMap<NodeNumber, Stamp>,
}

#[derive(Debug, Default)]
struct Space {
    /// By last stamp.
    waiting: BTreeMap<Stamp, Waiting>,
    bytes: usize,
    /// End of the unbroken chain that begins at what was let through.
    end: Stamp,
}

#[derive(Clone, Debug)]
struct Waiting {
    batch: Arc<Batch>,
    /// Who sent it.
    via: NodeIdentity,
}

/// What became of an arriving batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// It waits, if only for the next call of `open`.
    Waiting,
    /// It was here already.
    Duplicate,
    /// The space of its origin is full: it was dropped and has to be asked for again.
    Full,
    /// Another batch claims its place.
    Fork,
}

/// What the gate needs to know of the world when it opens.
pub(crate) struct Circumstances<'a> {
    /// The latest time of a stamp that some clock explains, this node's or a peer's.
    pub explained: UnixMillis,
    /// Origins that may be ahead of the clock.
    pub released: &'a BTreeSet<NodeNumber>,
    /// Numbers whose history ends: what depends on more need not wait.
    pub sealed: &'a BTreeMap<NodeNumber, Stamp>,
}

impl Gate {
    pub(crate) fn new(passed: VersionVector, bytes_max: usize) -> Self {
        Self { passed, spaces: BTreeMap::new(), bytes_max, stuck: BTreeMap::new() }
    }

    /// What was let through.
    pub(crate) fn passed(&self) -> &VersionVector {
        &self.passed
    }

    /// Up to where `origin` is here without a gap, waiting batches included.
    pub(crate) fn received(&self, origin: NodeNumber) -> Stamp {
        let passed = self.passed.of(origin);
        self.spaces.get(&origin).map_or(passed, |space| space.end.max(passed))
    }

    /// How many batches of `origin` wait, and their bytes.
    pub(crate) fn waiting(&self, origin: NodeNumber) -> (usize, usize) {
        self.spaces.get(&origin).map_or((0, 0), |space| (space.waiting.len(), space.bytes))
    }

    /// Whether batches of an ended number wait, and whether the first of them is the next in line.
    pub(crate) fn what_waits(&self, origin: NodeNumber) -> membership::Waiting {
        let first = self.spaces.get(&origin).and_then(|space| space.waiting.values().next());
        match first {
            None => membership::Waiting::Nothing,
            Some(first) if first.batch.previous.last <= self.passed.of(origin) => membership::Waiting::InLine,
            Some(_) => membership::Waiting::BeyondGap,
        }
    }

    /// Origins with waiting batches.
    pub(crate) fn origins(&self) -> impl Iterator<Item = NodeNumber> {
        self.spaces.keys().copied()
    }

    /// In how many milliseconds the clock explains the next batch that waits with stamps later than `explained`.
    pub(crate) fn next_release(&self, explained: UnixMillis) -> Option<u64> {
        let all = self.spaces.values().flat_map(|space| space.waiting.keys());
        all.map(|last| last.unix_ms()).filter(|&stamped| stamped > explained).min().map(|stamped| stamped - explained)
    }

    /// Whether the stamps of `batch` are not too far ahead: some clock explains them, what has passed is no earlier, or an
    /// operator has let them in. Each of these may become true while it waits.
    pub(crate) fn is_in_time(&self, batch: &Batch, circumstances: &Circumstances<'_>) -> bool {
        let stamped = batch.last.unix_ms();
        stamped <= circumstances.explained
            || circumstances.released.contains(&batch.origin)
            || stamped <= self.passed.latest().unix_ms().saturating_add(limits::CLOCK_CARRY_MS)
    }

    /// Takes an arriving batch in.
    pub(crate) fn admit(&mut self, batch: Arc<Batch>, via: NodeIdentity) -> Admission {
        let passed = self.passed.of(batch.origin);
        if batch.last <= passed {
            return Admission::Duplicate;
        }
        if self.stuck.contains_key(&batch.origin) {
            return Admission::Full;
        }
        let space = self.spaces.entry(batch.origin).or_default();
        if let Some(other) = space.waiting.get(&batch.last) {
            let same = other.batch.checksum == batch.checksum;
            return if same { Admission::Duplicate } else { Admission::Fork };
        }
        // The next batch in line is always admitted: without it nothing that waits could ever pass.
        let next_in_line = batch.previous.last <= passed;
        if space.bytes.saturating_add(batch.weight()) > self.bytes_max && !space.waiting.is_empty() && !next_in_line {
            return Admission::Full;
        }
        space.bytes += batch.weight();
        space.waiting.insert(batch.last, Waiting { batch, via });
        space.extend(passed);
        Admission::Waiting
    }

    /// Takes out the next batch that may pass, and says who sent it. It has passed when [`Gate::pass`] is told so.
    pub(crate) fn next(&mut self, circumstances: &Circumstances<'_>) -> Option<(Arc<Batch>, NodeIdentity)> {
        let origin = *self.spaces.iter().find(|(_, space)| self.may_pass(space, circumstances))?.0;
        let space = self.spaces.get_mut(&origin)?;
        let (_, waiting) = space.waiting.pop_first()?;
        space.bytes -= waiting.batch.weight();
        if space.waiting.is_empty() {
            self.spaces.remove(&origin);
        }
        Some((waiting.batch, waiting.via))
    }

    /// The batch that was taken out last is let through.
    pub(crate) fn pass(&mut self, batch: &Batch) {
        self.passed.raise(batch.origin, batch.last);
    }

    /// The batch that was taken out last does not fit onto what has passed, so nothing that waits behind it does.
    pub(crate) fn reject(&mut self, batch: &Batch) {
        self.spaces.remove(&batch.origin);
    }

    /// A state session brought everything up to `vector`: what it covers waits no more.
    pub(crate) fn raise(&mut self, vector: &VersionVector) {
        self.passed.join(vector);
        let passed = &self.passed;
        self.stuck.retain(|&origin, failed| passed.of(origin) < *failed);
        self.spaces.retain(|&origin, space| {
            space.forget_until(passed.of(origin));
            !space.waiting.is_empty()
        });
    }

    /// A batch of `origin` that ends at `failed` could not be applied, and everything before `applied` was: nothing of the
    /// origin passes any more, and what depends on it waits.
    pub(crate) fn stop(&mut self, origin: NodeNumber, applied: Stamp, failed: Stamp) {
        self.passed.forget(origin);
        self.passed.raise(origin, applied);
        self.spaces.remove(&origin);
        self.stuck.insert(origin, failed);
    }

    /// Forgets what waits of `origin` beyond `seal`; says how many batches that was.
    pub(crate) fn seal(&mut self, origin: NodeNumber, seal: Stamp) -> usize {
        let Some(space) = self.spaces.get_mut(&origin) else { return 0 };
        let before = space.waiting.len();
        space.waiting.retain(|&last, _| last <= seal);
        space.bytes = space.waiting.values().map(|waiting| waiting.batch.weight()).sum();
        let dropped = before - space.waiting.len();
        space.end = Stamp::ZERO;
        space.extend(self.passed.of(origin));
        if space.waiting.is_empty() {
            self.spaces.remove(&origin);
        }
        dropped
    }

    fn may_pass(&self, space: &Space, circumstances: &Circumstances<'_>) -> bool {
        let Some(waiting) = space.waiting.values().next() else { return false };
        let batch = &waiting.batch;
        batch.previous.last <= self.passed.of(batch.origin)
            && self.is_in_time(batch, circumstances)
            && batch.dependencies.iter().all(|(node, stamp)| self.is_met(node, stamp, circumstances))
    }

    fn is_met(&self, node: NodeNumber, stamp: Stamp, circumstances: &Circumstances<'_>) -> bool {
        let passed = self.passed.of(node);
        stamp <= passed || circumstances.sealed.get(&node).is_some_and(|&seal| passed >= seal)
    }
}

impl Space {
    fn extend(&mut self, passed: Stamp) {
        self.end = self.end.max(passed);
        let from = (std::ops::Bound::Excluded(self.end), std::ops::Bound::Unbounded);
        for (&last, waiting) in self.waiting.range(from) {
            if waiting.batch.previous.last > self.end {
                break;
            }
            self.end = last;
        }
    }

    fn forget_until(&mut self, passed: Stamp) {
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() <= passed
        {
            self.bytes -= entry.remove().batch.weight();
        }
        self.extend(passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BatchTail;
    use crate::Compression;

    const VIA: NodeIdentity = NodeIdentity([0; 32]);

    fn at(ms: u64, n: u16) -> Stamp {
        Stamp::at(crdt::STAMP_EPOCH_MS + ms, NodeNumber::new(n).unwrap())
    }

    fn batch(previous: u64, last: u64, n: u16, dependencies: &[Stamp]) -> Arc<Batch> {
        let previous = if previous == 0 { Stamp::ZERO } else { at(previous, n) };
        let dependencies = dependencies.iter().map(|&s| (s.author(), s)).collect();
        Batch::seal(
            BatchTail { last: previous, checksum: 1 },
            at(last, n),
            at(last, n),
            dependencies,
            1,
            &[0; 100],
            &mut Compression::default(),
        )
    }

    /// `explained_ms` counts like the stamps of [`at`].
    fn drain(gate: &mut Gate, explained_ms: u64, sealed: &BTreeMap<NodeNumber, Stamp>) -> Vec<Stamp> {
        let explained = crdt::STAMP_EPOCH_MS + explained_ms;
        let circumstances = Circumstances { explained, released: &BTreeSet::new(), sealed };
        let next = || {
            let (batch, _) = gate.next(&circumstances)?;
            gate.pass(&batch);
            Some(batch.last)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_batch_passes_after_its_predecessor_and_its_dependencies() {
        let mut gate = Gate::new(VersionVector::new(), 1 << 20);
        assert_eq!(gate.admit(batch(10, 20, 1, &[]), VIA), Admission::Waiting);
        assert_eq!(gate.admit(batch(0, 5, 2, &[at(20, 1)]), VIA), Admission::Waiting);
        assert_eq!(drain(&mut gate, 1_000, &BTreeMap::new()), []);
        assert_eq!(gate.received(at(0, 1).author()), Stamp::ZERO);
        assert_eq!(gate.received(at(0, 2).author()), at(5, 2));
        assert_eq!(gate.admit(batch(0, 10, 1, &[]), VIA), Admission::Waiting);
        assert_eq!(gate.received(at(0, 1).author()), at(20, 1));
        assert_eq!(drain(&mut gate, 1_000, &BTreeMap::new()), [at(10, 1), at(20, 1), at(5, 2)]);
        assert_eq!(gate.admit(batch(0, 10, 1, &[]), VIA), Admission::Duplicate);
        assert_eq!(gate.origins().count(), 0);
    }

    #[test]
    fn a_full_space_refuses_all_but_the_next_in_line() {
        let mut gate = Gate::new(VersionVector::new(), 1_500);
        let admitted: Vec<Admission> = (1..10).map(|i| gate.admit(batch(i * 10, i * 10 + 10, 1, &[]), VIA)).collect();
        assert!(admitted.contains(&Admission::Full));
        assert_eq!(gate.admit(batch(5, 9, 2, &[]), VIA), Admission::Waiting);
        assert_eq!(gate.admit(batch(0, 10, 1, &[]), VIA), Admission::Waiting);
        assert!(drain(&mut gate, 1_000, &BTreeMap::new()).len() >= 2);
    }

    #[test]
    fn a_batch_from_the_future_is_held_with_all_that_depends_on_it() {
        let mut gate = Gate::new(VersionVector::new(), 1 << 20);
        gate.admit(batch(0, 5_000, 1, &[]), VIA);
        gate.admit(batch(0, 10, 2, &[at(5_000, 1)]), VIA);
        gate.admit(batch(0, 11, 3, &[]), VIA);
        assert_eq!(drain(&mut gate, 4_999, &BTreeMap::new()), [at(11, 3)]);
        assert_eq!(gate.next_release(crdt::STAMP_EPOCH_MS + 4_999), Some(1));
        assert_eq!(drain(&mut gate, 5_000, &BTreeMap::new()), [at(5_000, 1), at(10, 2)]);
    }

    #[test]
    fn nothing_waits_for_what_lies_beyond_a_seal() {
        let mut gate = Gate::new(VersionVector::new(), 1 << 20);
        gate.admit(batch(0, 10, 1, &[]), VIA);
        gate.admit(batch(0, 50, 2, &[at(30, 1)]), VIA);
        gate.admit(batch(20, 30, 1, &[]), VIA);
        assert_eq!(drain(&mut gate, 1_000, &BTreeMap::new()), [at(10, 1)]);
        assert_eq!(gate.seal(at(0, 1).author(), at(10, 1)), 1);
        let sealed = [(at(0, 1).author(), at(10, 1))].into_iter().collect();
        assert_eq!(drain(&mut gate, 1_000, &sealed), [at(50, 2)]);
    }

    #[test]
    fn a_second_batch_for_one_place_is_a_fork() {
        let mut gate = Gate::new(VersionVector::new(), 1 << 20);
        gate.admit(batch(10, 20, 1, &[]), VIA);
        assert_eq!(gate.admit(batch(10, 20, 1, &[at(1, 3)]), VIA), Admission::Fork);
    }
}

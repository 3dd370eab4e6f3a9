//! The ends of node numbers at work: reporting what is held of them, sealing them, and forgetting what was kept for
//! them. What to do is decided in [`protocol::sealing`].

use super::Peers;
use crdt::membership::{Holding, Seal};
use crdt::{NodeNumber, Stamp, VersionVector};
use keyspace::EndedNumber;
use protocol::sealing::SealStep;
use std::collections::BTreeSet;

impl Peers {
    /// Carries the agreement about ended numbers on, as far as this node can.
    pub(super) fn seal_numbers(&mut self) {
        let Some(number) = self.hub.number().filter(|_| self.has_number) else { return };
        // State that waits for the disk may have come from a life that is over: it belongs to what is held.
        if self.refusals.removed || self.is_merging() {
            return;
        }
        if self.membership.view().has_ended(number) {
            tracing::error!(
                number = number.value(),
                "another life of this node has said that this number has ended: it goes on under another one"
            );
            self.renumber();
            return;
        }
        let known_in_part = || self.node.keyspace.known_in_part();
        let steps = self.hub.seal_steps(&mut self.sealing, self.membership.view(), &known_in_part);
        if !steps.is_empty() {
            self.take_seal_steps(&steps);
        }
    }

    fn take_seal_steps(&mut self, steps: &[SealStep]) {
        let mut changed = false;
        let mut reports: Vec<(NodeNumber, Holding)> = Vec::new();
        for step in steps {
            match *step {
                SealStep::End(number) => changed |= self.membership.end_number(number).unwrap_or(false),
                SealStep::Report(number, holding) => reports.push((number, holding)),
                SealStep::Forget(number) => {
                    tracing::warn!(number = number.value(), "batches of an ended number wait for one that nobody has");
                    self.hub.forget_waiting(number);
                }
                SealStep::Fetch(peer) => {
                    let now = self.now();
                    if self.hub.repair_from(peer, now) {
                        self.sealing.begin_fetching(peer, self.membership.view());
                    }
                }
                SealStep::Seal { number, at, whole } => {
                    self.seal_number(number, at, whole);
                    changed = true;
                }
            }
        }
        if !reports.is_empty()
            && let Some(stamp) = self.membership_stamp()
        {
            let told = self.membership.report_holdings(self.identity, stamp, reports);
            match told {
                Ok(()) => changed = true,
                Err(error) => tracing::warn!(%error, "what is held of ended numbers could not be reported"),
            }
        }
        if changed {
            self.keep_membership();
        }
    }

    /// Everything that anybody holds of an ended number is here, or is given up: it is closed.
    pub(super) fn seal_number(&mut self, number: NodeNumber, at: Stamp, whole: Stamp) {
        let closed = [(number, at)].into_iter().collect();
        self.end_half_merged_slot();
        self.node.keyspace.raise_applied(&closed);
        self.keep_raised(closed);
        let now = self.now();
        self.hub.complete_number(number, at, now);
        match self.membership.seal(number, at, whole) {
            Ok(_) => tracing::info!(number = number.value(), %at, %whole, "a number that ended is sealed"),
            Err(error) => tracing::error!(number = number.value(), %error, "a number could not be sealed"),
        }
        // At once: from here on readers may miss what lies between the two.
        self.note_ended_numbers();
    }

    /// Tells the keyspace which numbers are over, once this node has come so far: nothing is waited for nor kept for them.
    pub(super) fn note_ended_numbers(&mut self) -> BTreeSet<NodeNumber> {
        let mine = self.hub.closed_vector();
        let reached = |(number, seal): &(NodeNumber, Seal)| mine.of(*number) >= seal.at;
        let over: Vec<EndedNumber> = self
            .membership
            .view()
            .all_sealed()
            .filter(reached)
            .map(|(number, Seal { at, whole, .. })| EndedNumber { number, whole, at })
            .collect();
        let numbers = over.iter().map(|ended| ended.number).collect();
        self.node.keyspace.note_ended(over);
        numbers
    }

    /// A vector beyond all stamps.
    pub(super) fn everything(&self) -> VersionVector {
        let numbers = self.membership.view().owners().map(|(number, _)| number);
        numbers.map(|number| (number, Stamp::MAX)).collect()
    }
}

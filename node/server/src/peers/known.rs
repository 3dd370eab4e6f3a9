//! What every member has: writes that patches of strings need not be kept for any longer.

use super::Peers;
use crdt::{NodeNumber, Stamp, VersionVector};
use protocol::Millis;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Vectors that every member has applied, the latest last, with the moments at which that became known.
#[derive(Debug, Default)]
pub(super) struct KnownEverywhere {
    waiting: VecDeque<(Millis, VersionVector)>,
}

/// How long what every member has applied is left alone, in milliseconds: longer than a disk takes to have it, so that a
/// member whose host fails does not come back without it.
const REST_MS: u64 = 10_000;
/// How long one call folds: links wait for it.
const TURN_MAX: Duration = Duration::from_millis(5);
/// Between two vectors that are looked at.
const INTERVAL_MS: u64 = 1_000;

impl Peers {
    /// Tells the keyspace what every member has, and has it give up what it keeps for those who have less.
    pub(super) fn settle_patches(&mut self, over: &BTreeSet<NodeNumber>) {
        if self.node.keyspace.patched_strings() == 0 {
            self.known_everywhere.waiting.clear();
            return;
        }
        let began_ns = self.node.monotonic_ns();
        let is_late = || self.node.since(began_ns) > TURN_MAX;
        self.node.keyspace.fold_patches(&is_late);
        let now = self.now();
        let is_due = |last: Option<&(Millis, VersionVector)>| last.is_none_or(|(at, _)| now.since(*at) >= INTERVAL_MS);
        if !is_due(self.known_everywhere.waiting.back()) {
            return;
        }
        match self.known_everywhere(over) {
            None => {
                // Nobody else is there to have less.
                self.known_everywhere.waiting.clear();
                self.node.keyspace.note_known(self.everything());
            }
            Some(vector) => {
                let waiting = &mut self.known_everywhere.waiting;
                waiting.push_back((now, vector));
                while waiting.front().is_some_and(|(at, _)| now.since(*at) >= REST_MS) {
                    if let Some((_, vector)) = waiting.pop_front() {
                        self.node.keyspace.note_known(vector);
                    }
                }
            }
        }
    }

    /// What every other member is known to have applied, all of whose own writes up to then are here. Nothing if there is no
    /// other member.
    fn known_everywhere(&self, over: &BTreeSet<NodeNumber>) -> Option<VersionVector> {
        let view = self.membership.view();
        // What is left of a former life of somebody may still be on its way, and has seen who knows what.
        let is_open = view.ended().any(|number| !over.contains(&number));
        let mut others = view.active().filter(|member| member.identity != self.identity).peekable();
        others.peek()?;
        let heard = others.map(|member| {
            let number = view.numbers_of(member.identity).last();
            number.filter(|_| !is_open).and_then(|number| self.known_applied.get(number))
        });
        let all: Option<Vec<&VersionVector>> = heard.collect();
        let Some(all) = all else { return Some(VersionVector::new()) };
        let least = |number| all.iter().map(|vector| vector.of(number)).min().unwrap_or(Stamp::ZERO);
        Some(view.owners().map(|(number, _)| (number, least(number))).collect())
    }
}

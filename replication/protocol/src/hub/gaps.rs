//! Gaps: what a peer has and this node lacks is pulled after a grace time, from one peer, and stays subscribed there
//! until the link to the origin itself delivers again. What nobody's ring reaches back to is left to a state session.

use super::Hub;
use crate::frame::ControlFrame;
use crate::link::Peer;
use crate::{Millis, NodeIdentity, limits};
use crdt::{NodeNumber, Stamp};
use std::collections::{BTreeMap, BTreeSet};

/// Something of one origin that is known to exist and is not here.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    /// Since when it made no progress.
    pub since: Millis,
    /// How far the origin was here then.
    received: Stamp,
    /// Peers whose rings do not reach back far enough.
    pub behind: BTreeSet<NodeIdentity>,
    attempts: usize,
}

impl Gap {
    /// When somebody is to be asked, or somebody else. Later each time: a large batch on a slow link is no progress until
    /// it is whole, and asking for it again and again would fill the link with its copies.
    pub(super) fn due_at(&self, grace_ms: u64) -> Millis {
        self.since.after(grace_ms << self.attempts.min(limits::PULL_DOUBLINGS_MAX))
    }
}

impl Hub {
    /// `origin` is known to have more than is here.
    pub(super) fn note_gap(&mut self, origin: NodeNumber, now: Millis) {
        let received = self.gate.received(origin);
        self.gaps.entry(origin).or_insert_with(|| Gap { since: now, received, behind: BTreeSet::new(), attempts: 0 });
    }

    /// Looks at all gaps: closed ones are forgotten, moving ones left alone, standing ones pulled.
    pub(super) fn review_gaps(&mut self, now: Millis) {
        let targets = self.known_targets();
        self.gaps.retain(|origin, _| targets.contains_key(origin));
        for &origin in targets.keys() {
            self.note_gap(origin, now);
        }
        let mut due = Vec::new();
        for (&origin, gap) in &mut self.gaps {
            let received = self.gate.received(origin);
            if received > gap.received {
                *gap = Gap { since: now, received, behind: BTreeSet::new(), attempts: 0 };
            } else if gap.due_at(self.settings.grace_ms) <= now {
                due.push(origin);
            }
        }
        for origin in due {
            self.pull(origin, now);
        }
        self.start_session(now);
    }

    /// A peer's ring does not reach back to what is here.
    pub(super) fn peer_is_behind(&mut self, peer: NodeIdentity, origin: NodeNumber, now: Millis) {
        self.note_gap(origin, now);
        let long_ago = Millis(now.0.saturating_sub(self.settings.grace_ms));
        if let Some(gap) = self.gaps.get_mut(&origin) {
            gap.behind.insert(peer);
            gap.since = long_ago;
            gap.attempts = 0;
        }
        if self.pulling.get(&origin) == Some(&peer) {
            self.pulling.remove(&origin);
        }
        self.review_gaps(now);
    }

    /// Origins of which something is missing that no ring reaches back to: only state can bring it.
    pub(super) fn origins_by_state(&self) -> impl Iterator<Item = NodeNumber> {
        let by_state =
            |origin: NodeNumber, gap: &Gap| !gap.behind.is_empty() && self.pull_candidates(origin, gap).is_empty();
        self.gaps.iter().filter(move |(origin, gap)| by_state(**origin, gap)).map(|(&origin, _)| origin)
    }

    /// Whether any gap can only be closed by state.
    pub(super) fn needs_state(&self) -> bool {
        self.origins_by_state().next().is_some()
    }

    /// How many of these origins a session with a peer of this knowledge would bring further.
    pub(super) fn narrowed_by(&self, peer: &Peer, origins: &[NodeNumber]) -> usize {
        origins.iter().filter(|&&origin| peer.vector.of(origin) > self.gate.received(origin)).count()
    }

    /// Tells a relay that an origin is no longer wanted from it.
    pub(super) fn stop_pulling(&mut self, origin: NodeNumber) {
        if let Some(relay) = self.pulling.remove(&origin) {
            let owner = self.peers.get(&relay).is_some_and(|peer| peer.owns(origin));
            if !owner {
                self.send(relay, &ControlFrame::Unsubscribe { origin });
            }
        }
    }

    /// For each origin of which a ready peer has more than is here, how far that is.
    fn known_targets(&self) -> BTreeMap<NodeNumber, Stamp> {
        let mut targets = BTreeMap::new();
        for (_, peer, _) in self.ready() {
            for (origin, stamp) in peer.vector.iter() {
                let stamp = self.members.sealed.get(&origin).map_or(stamp, |&seal| seal.min(stamp));
                let own = Some(origin) == self.settings.number;
                if !own && stamp > self.gate.received(origin) {
                    let known = targets.entry(origin).or_insert(stamp);
                    *known = stamp.max(*known);
                }
            }
        }
        targets
    }

    /// Asks one peer for what is missing of `origin`, each time another one.
    fn pull(&mut self, origin: NodeNumber, now: Millis) {
        let Some(gap) = self.gaps.get(&origin) else { return };
        let candidates = self.pull_candidates(origin, gap);
        let chosen = candidates.get(gap.attempts % candidates.len().max(1)).copied();
        let after = self.gate.received(origin);
        if let Some(gap) = self.gaps.get_mut(&origin) {
            gap.since = now;
            gap.attempts += 1;
        }
        let Some(chosen) = chosen else { return };
        if self.pulling.get(&origin).is_some_and(|&relay| relay != chosen) {
            self.stop_pulling(origin);
        }
        self.pulling.insert(origin, chosen);
        self.counters.pulls += 1;
        self.send(chosen, &ControlFrame::Pull { origin, after });
        self.tell_fragments(chosen, origin);
    }

    /// Who could be asked: relays first, the origin itself last, for it sends unasked.
    fn pull_candidates(&self, origin: NodeNumber, gap: &Gap) -> Vec<NodeIdentity> {
        let received = self.gate.received(origin);
        let mut candidates: Vec<(bool, NodeIdentity)> = self
            .ready()
            .filter(|(identity, peer, _)| peer.vector.of(origin) > received && !gap.behind.contains(identity))
            .map(|(identity, peer, _)| (peer.owns(origin), identity))
            .collect();
        candidates.sort_unstable();
        candidates.into_iter().map(|(_, identity)| identity).collect()
    }
}

//! Telling the meeting place of clients that wait what has arrived where.

use super::Peers;
use crate::arrivals::Here;
use crdt::{Stamp, VersionVector};
use std::time::Duration;
use tokio::time::Instant;

/// Until it is looked again whether what was written has become part of a closed batch: pipelines end within moments.
const CLOSING_AGAIN: Duration = Duration::from_millis(1);

impl Peers {
    /// Notes who there is, now and then: regions, the own number, closed numbers.
    pub(super) fn note_regions(&self) {
        let view = self.membership.view();
        let own_region = view.member(self.identity).map(|member| member.record.region.as_str());
        let others = view.active().filter(|member| Some(member.record.region.as_str()) != own_region);
        let others = others.map(|member| (member.record.region.as_str(), self.hub.peer_vector(member.identity)));
        let seals = view.all_sealed().map(|(number, seal)| (number, seal.at));
        self.node.arrivals.note_members(others, self.number(), seals);
    }

    /// If a client has begun to wait, what it has written leaves now and not after the interval.
    pub(super) fn hasten_for_clients(&mut self, now: Instant) {
        if self.node.arrivals.take_asked() {
            self.drain_at = Some(now);
        }
    }

    /// Tells what peers have acknowledged, and answers the clients whose wait is over.
    pub(super) fn serve_arrivals(&mut self) {
        while let Some(peer) = self.hub.poll_acknowledged() {
            let view = self.membership.view();
            let own_region = view.member(self.identity).map(|member| member.record.region.as_str());
            let region = view.member(peer).map(|member| member.record.region.as_str());
            if let (Some(region), Some(vector)) = (region.filter(|_| region != own_region), self.hub.peer_vector(peer))
            {
                self.node.arrivals.note_applied(region, vector);
            }
        }
        if self.node.arrivals.count() == 0 {
            return;
        }
        let closed_up_to = if self.number().is_none() { Stamp::MAX } else { self.drain.complete_up_to() };
        let applied = self.hub.closed_vector();
        let is_open = self.node.arrivals.serve(&Here { applied, closed_up_to }, || self.seen_here());
        if is_open {
            let again = Instant::now() + CLOSING_AGAIN;
            self.drain_at = Some(self.drain_at.map_or(again, |at| at.min(again)));
        }
    }

    /// What a client of this node may have seen: what is applied, the last closed batch of its own, which may still wait
    /// for the disk, and what state catch-up has brought before its time.
    fn seen_here(&self) -> VersionVector {
        let mut seen = self.hub.closed_vector().clone();
        let own = self.own_tail().last;
        if own > Stamp::ZERO {
            seen.raise(own.author(), own);
        }
        if self.is_catching_up() {
            seen.join(&self.node.keyspace.known_in_part());
        }
        seen
    }
}

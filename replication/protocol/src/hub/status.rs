//! How it all stands, for people and for metrics. Nothing is decided here.

use super::Hub;
use crate::catch_up::Fed;
use crate::clock_offset::median;
use crate::link::Peer;
use crate::{LinkPhase, LinkReport, Millis, NodeIdentity, NodeReport, OriginReport};
use crdt::{NodeNumber, Stamp, UnixMillis};
use std::collections::BTreeMap;

/// For so long the lag of the last write stands for that of the next, once the peer has everything.
const LAG_FRESH_MS: u64 = 1_000;

impl Hub {
    /// A link as it stands; none for this node and for strangers. Of a member that this process never met nothing is known,
    /// so all that is held of this node's writes counts as not there.
    pub fn link_report(&self, peer: NodeIdentity, now: Millis, wall: UnixMillis) -> Option<LinkReport> {
        let never_met;
        let entry = match self.peers.get(&peer) {
            Some(entry) => entry,
            None if self.is_other_member(peer) => {
                never_met = Peer::new(now);
                &never_met
            }
            None => return None,
        };
        let link = entry.link.as_ref();
        let best = link.and_then(|link| link.clock.best());
        let acknowledged = self.settings.number.map_or(Stamp::ZERO, |number| entry.vector.of(number));
        let (unacknowledged_changes, unacknowledged_bytes) = self.unacknowledged(acknowledged);
        let oldest = self.oldest_unacknowledged(entry, acknowledged);
        let waiting_ms = oldest.map_or(0, |written| wall.saturating_sub(written));
        let own = &self.settings.numbers;
        let wrote_lately =
            self.own_log.back().is_some_and(|&(_, written)| wall.saturating_sub(written) <= LAG_FRESH_MS);
        let applied_lag_ms = match (oldest, wrote_lately) {
            (Some(_), _) => waiting_ms.max(entry.applied_lag_ms),
            (None, true) => entry.applied_lag_ms,
            // Everything is there. What the last write took, an outage perhaps, says nothing about the next one.
            (None, false) => best.map_or(0, |best| best.rtt_ms / 2),
        };
        Some(LinkReport {
            peer,
            phase: link.map_or(LinkPhase::Down, |link| link.phase),
            number: entry.facts.as_ref().and_then(|facts| facts.number),
            boot: entry.facts.as_ref().map(|facts| facts.boot),
            phase_ms: now.since(entry.since),
            silent_ms: entry.heard.map(|heard| now.since(heard)),
            rtt_ms: best.map(|best| best.rtt_ms),
            clock_offset_ms: best.map(|best| best.offset_ms(now, wall)),
            applied_lag_ms,
            applied_lags: entry.applied_lags,
            unacknowledged_changes,
            unacknowledged_bytes,
            in_flight_bytes: link.map_or(0, |link| link.windows.values().map(|w| w.in_flight_bytes()).sum()),
            vector: entry.vector.clone(),
            peer_is_filling: link.is_some_and(|link| link.peer_filling),
            fed_by_peer: self.fed.as_ref().is_some_and(|fed| fed.source == peer),
            feeding_peer: self.feeding.get(&peer).map(|feeding| feeding.next_slot()),
            relayed_to_peer: link.map_or_else(Vec::new, |link| {
                link.windows.keys().copied().filter(|origin| !own.contains(origin)).collect()
            }),
            pulled_from_peer: self.pulling.iter().filter(|(_, from)| **from == peer).map(|(&o, _)| o).collect(),
            batches_sent: entry.traffic.batches_sent,
            batches_received: entry.traffic.batches_received,
            batch_bytes_sent: entry.traffic.batch_bytes_sent,
            batch_bytes_received: entry.traffic.batch_bytes_received,
        })
    }

    /// Whether this is a member beside this node that was not removed.
    pub(super) fn is_other_member(&self, peer: NodeIdentity) -> bool {
        let members = &self.members;
        peer != self.settings.identity && members.numbers.contains_key(&peer) && !members.removed.contains(&peer)
    }

    /// How far the others' clocks are ahead of this one's: the median of all that were measured in the last
    /// [`CLOCK_EVIDENCE_MS`](crate::limits::CLOCK_EVIDENCE_MS), those of members that are away included and those of removed
    /// ones not. None if nothing is known.
    pub fn clock_offset_median_ms(&self, now: Millis, wall: UnixMillis) -> Option<i64> {
        let members = self.peers.iter().filter(|(identity, _)| !self.members.removed.contains(identity));
        median(members.filter_map(|(_, peer)| peer.offset_ms(now, wall)).collect())
    }

    /// The node as a whole.
    pub fn report(&self) -> NodeReport {
        let mut known: BTreeMap<NodeNumber, Stamp> = self.vector.iter().collect();
        let entries = self.peers.values().flat_map(|peer| peer.vector.iter());
        for (origin, stamp) in entries.chain(self.gate.origins().map(|origin| (origin, Stamp::ZERO))) {
            let entry = known.entry(origin).or_insert(stamp);
            *entry = stamp.max(*entry);
        }
        let origins = known.into_iter().map(|(origin, known)| self.origin_report(origin, known)).collect();
        let mut limits = self.counters;
        limits.ring_evictions = self.ring.evictions();
        NodeReport {
            origins,
            ring_bytes: self.ring.bytes(),
            ring_bytes_max: self.settings.ring_bytes,
            applying_bytes: self.applying_bytes,
            state_gathered_bytes: self.fed.as_ref().map_or(0, Fed::gathered_bytes),
            filling: self.is_filling(),
            limits,
        }
    }

    fn origin_report(&self, origin: NodeNumber, known: Stamp) -> OriginReport {
        let fill = self.ring.fill(origin);
        let (in_fragments, bytes_in_fragments) = self.assemblies.of(origin);
        let (waiting_batches, waiting_bytes) = self.gate.waiting(origin);
        let (waiting_batches, waiting_bytes) = (waiting_batches + in_fragments, waiting_bytes + bytes_in_fragments);
        OriginReport {
            origin,
            applied: self.vector.of(origin),
            known,
            ring_bytes: fill.bytes,
            ring_batches: fill.batches,
            ring_begins_after: fill.begins_after,
            waiting_batches,
            waiting_bytes,
        }
    }

    /// When the oldest write was made that is not acknowledged. The log knows what this life has written, the ring also what
    /// was restored to it: that says something of a peer which has told what it has.
    fn oldest_unacknowledged(&self, peer: &Peer, after: Stamp) -> Option<UnixMillis> {
        let has_told = after > Stamp::ZERO || peer.ready().is_some();
        let logged = self.own_log.get(self.own_log.partition_point(|&(last, _)| last <= after));
        let in_ring =
            self.settings.number.filter(|_| has_told).and_then(|number| self.ring.all_after(number, after).next());
        let times = [logged.map(|&(_, written)| written), in_ring.map(|batch| batch.first.unix_ms())];
        times.into_iter().flatten().min()
    }

    fn unacknowledged(&self, after: Stamp) -> (u64, u64) {
        let Some(number) = self.settings.number else { return (0, 0) };
        self.ring.all_after(number, after).fold((0, 0), |(changes, bytes), batch| {
            (changes + u64::from(batch.changes), bytes + batch.bytes().len() as u64)
        })
    }
}

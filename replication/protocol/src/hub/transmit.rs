//! What goes out: pulled lane by lane while the transport has room, so a slow peer costs a place in the ring and no queue.

use super::Hub;
use crate::fragments::HeldFragments;
use crate::frame::{ControlFrame, WireVector};
use crate::link::{Link, Peer};
use crate::ring::Following;
use crate::{Batch, Event, Lane, LinkPhase, Millis, NodeIdentity, limits};
use bytes::Bytes;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
use std::sync::Arc;

impl Hub {
    /// The next frame for this lane; ask only while the transport has room for it.
    pub fn poll_transmit(&mut self, peer: NodeIdentity, lane: Lane, now: Millis, wall: UnixMillis) -> Option<Bytes> {
        match lane {
            Lane::Control => self.next_control(peer, now, wall),
            Lane::Batches => self.next_batch(peer),
            Lane::Messages => self.peers.get_mut(&peer)?.ready_mut()?.messages.pop(),
            Lane::State => self.next_state(peer, now),
        }
    }

    /// Lanes that have something to send at `now`. More may become due by [`Hub::poll_timeout`].
    pub fn with_output(&self, now: Millis) -> Vec<(NodeIdentity, Lane)> {
        let mut lanes = Vec::new();
        for (&peer, entry) in &self.peers {
            let Some(link) = &entry.link else { continue };
            for lane in Lane::ALL {
                let some = match lane {
                    Lane::Control => link.has_control(now, self.settings.ack_ms),
                    Lane::Batches => link.phase == LinkPhase::Ready && self.has_batch(link),
                    Lane::Messages => link.phase == LinkPhase::Ready && !link.messages.is_empty(),
                    Lane::State => link.phase == LinkPhase::Ready && !link.state.is_empty(),
                };
                if some {
                    lanes.push((peer, lane));
                }
            }
        }
        lanes
    }

    /// That the transport has taken some is progress: it has no room where nothing goes on.
    fn next_state(&mut self, peer: NodeIdentity, now: Millis) -> Option<Bytes> {
        let frame = self.peers.get_mut(&peer)?.ready_mut()?.state.pop(self.settings.state_part_bytes)?;
        if let Some(feeding) = self.feeding.get_mut(&peer) {
            feeding.progress = now;
        }
        Some(frame)
    }

    fn next_control(&mut self, peer: NodeIdentity, now: Millis, wall: UnixMillis) -> Option<Bytes> {
        let (hash, filling, number) = (self.members.hash, self.is_filling(), self.settings.number);
        let link = self.peers.get_mut(&peer)?.link.as_mut()?;
        if link.has_greeted() {
            // Signs of life go before anything that may be long; their clock readings are of this moment.
            if std::mem::take(&mut link.heartbeat_due) {
                return Some(link.heartbeat(now, wall, hash, filling, number).encode());
            }
            if link.applied_is_due(now, self.settings.ack_ms) {
                link.applied_due = false;
                link.applied_timer_ran = false;
                link.applied_told_at = now;
                if let Some(rise) = rise(&mut link.applied_told, &self.vector) {
                    return Some(ControlFrame::Applied(rise).encode());
                }
            }
            if std::mem::take(&mut link.settled_due)
                && let Some(rise) = rise(&mut link.settled_told, &self.settled)
            {
                return Some(ControlFrame::Settled(rise).encode());
            }
        }
        link.pop_control()
    }

    /// The oldest batch that this link may be sent, of any origin: what is older is rarely waited for by what is newer.
    fn next_batch(&mut self, peer: NodeIdentity) -> Option<Bytes> {
        self.tell_behind(peer);
        let entry = self.peers.get(&peer)?;
        let link = entry.ready()?;
        let sendable = self.sendable(link);
        let (origin, batch) = sendable.min_by_key(|(origin, batch)| (link.fragmented == Some(*origin), batch.last))?;
        let batch = Arc::clone(batch);
        let entry = self.peers.get_mut(&peer)?;
        let link = entry.ready_mut()?;
        let window = link.windows.get_mut(&origin)?;
        let (frame, is_whole) = if batch.bytes().len() <= self.settings.fragment_bytes {
            window.record_sent(&batch);
            (batch.bytes().clone(), true)
        } else {
            let (fragment, is_last) = window.next_fragment(&batch, self.settings.fragment_bytes);
            (fragment.encode(), is_last)
        };
        self.counters.window_full += u64::from(is_whole && window.is_full(self.settings.window_bytes));
        link.fragmented = Some(origin).filter(|_| !is_whole);
        entry.traffic.batches_sent += u64::from(is_whole);
        entry.traffic.batch_bytes_sent += frame.len() as u64;
        Some(frame)
    }

    /// Tells a peer what is here of batches of an origin that came in fragments.
    pub(super) fn tell_fragments(&mut self, peer: NodeIdentity, origin: NodeNumber) {
        let of_origin = self.assemblies.iter().filter(|(whole, _)| whole.last.author() == origin);
        let held: Vec<HeldFragments> = of_origin.map(|(whole, have)| HeldFragments::new(whole, have)).collect();
        held.into_iter().for_each(|held| self.send(peer, &ControlFrame::Partial(held)));
    }

    /// The next batch of each origin whose window on this link is open.
    fn sendable<'a>(&'a self, link: &'a Link) -> impl Iterator<Item = (NodeNumber, &'a Arc<Batch>)> {
        let open = link.windows.iter().filter(|(_, window)| !window.is_full(self.settings.window_bytes));
        open.filter_map(|(&origin, window)| match self.ring.after(origin, window.sent()) {
            _ if window.in_fragments().is_some() => window.in_fragments().map(|batch| (origin, batch)),
            Following::Next(batch) => Some((origin, batch)),
            Following::Behind => window.next_from_journal().map(|batch| (origin, batch)),
            Following::UpToDate => None,
        })
    }

    fn has_batch(&self, link: &Link) -> bool {
        self.sendable(link).next().is_some() || !self.out_of_reach(link).is_empty()
    }

    /// Origins of which neither the ring nor what was read from the journal has what the peer would need, and the peer was
    /// not told.
    fn out_of_reach(&self, link: &Link) -> Vec<NodeNumber> {
        let windows = link
            .windows
            .iter()
            .filter(|(_, window)| !window.is_behind() && !window.has_journal() && window.in_fragments().is_none());
        let behind = windows.filter(|(origin, window)| self.ring.after(**origin, window.sent()) == Following::Behind);
        behind.map(|(&origin, _)| origin).collect()
    }

    fn tell_behind(&mut self, peer: NodeIdentity) {
        let Some(link) = self.peers.get(&peer).and_then(Peer::ready) else { return };
        for origin in self.out_of_reach(link) {
            let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) else { return };
            let Some(window) = link.windows.get_mut(&origin) else { continue };
            if self.settings.journal {
                window.record_reading();
                let (after, bytes_max) = (window.sent(), limits::JOURNAL_READ_BYTES);
                self.events.push_back(Event::ReadJournal { peer, origin, after, bytes_max });
            } else {
                self.say_behind(peer, origin);
            }
        }
    }

    /// The answer to [`Event::ReadJournal`]: the batches of `origin` that follow `after`; none if the journal does not
    /// reach back so far.
    pub fn journal_read(&mut self, peer: NodeIdentity, origin: NodeNumber, after: Stamp, batches: Vec<Arc<Batch>>) {
        let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) else { return };
        let Some(window) = link.windows.get_mut(&origin) else { return };
        let count = batches.len() as u64;
        if window.record_read(after, batches) {
            let has_next = window.next_from_journal().is_some();
            self.counters.journal_batches += count;
            if !has_next {
                self.say_behind(peer, origin);
            }
        }
    }

    fn say_behind(&mut self, peer: NodeIdentity, origin: NodeNumber) {
        let after = self.ring.floor(origin);
        let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) else { return };
        let Some(window) = link.windows.get_mut(&origin) else { return };
        // A ring with a hole reaches back to its floor, but not on from where the peer is.
        let after = after.max(window.sent().next(0, origin));
        window.record_behind();
        self.counters.behind_sent += 1;
        link.send(&ControlFrame::Behind { origin, after });
    }
}

/// The entries of `now` that are above what was told, and remembers them as told.
fn rise(told: &mut VersionVector, now: &VersionVector) -> Option<WireVector> {
    let risen: VersionVector = now.iter().filter(|&(node, stamp)| stamp > told.of(node)).collect();
    told.join(&risen);
    (!risen.is_empty()).then(|| WireVector::new(&risen))
}

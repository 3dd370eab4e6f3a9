//! What is due when. Timers are data: nothing here waits.

use super::Hub;
use crate::link::Peer;
use crate::{CloseReason, Event, LinkPhase, Millis, NodeIdentity, limits};
use crdt::{Stamp, UnixMillis};

impl Hub {
    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Millis, wall: UnixMillis) {
        self.wall = wall;
        self.forgive_own_pause(now);
        self.close_dead_links(now);
        for link in self.peers.values_mut().filter_map(Peer::ready_mut) {
            // From here on it waits for the transport, and no timer is needed.
            link.applied_timer_ran = link.applied_is_due(now, self.settings.ack_ms);
        }
        if now >= self.heartbeat_at {
            self.heartbeat_at = now.after(self.settings.heartbeat_ms);
            self.beat();
            self.release_ring();
        }
        // What was held for its stamps may have come of age.
        self.open_gate(now);
        if self.gaps.values().any(|gap| gap.due_at(self.settings.grace_ms) <= now) {
            self.review_gaps(now);
        }
        self.check_sessions(now);
        self.ask_for_number(now);
        self.check_filled(now);
    }

    /// When `handle_timeout` is to be called next, or `poll_transmit` has something that it had not before.
    pub fn poll_timeout(&self) -> Option<Millis> {
        let mut next = Vec::new();
        let (mut ready, mut greeting) = (false, false);
        for (&peer, link) in self.peers.iter().filter_map(|(peer, entry)| Some((peer, entry.link.as_ref()?))) {
            match link.phase {
                LinkPhase::Ready => {
                    ready = true;
                    next.push(link.heard.after(self.silence_ms_max(peer)));
                    if link.applied_due && !link.applied_timer_ran {
                        next.push(link.applied_told_at.after(self.settings.ack_ms));
                    }
                }
                LinkPhase::Greeting | LinkPhase::Closing => {
                    greeting |= link.phase == LinkPhase::Greeting;
                    next.push(link.since.after(limits::HANDSHAKE_MS_MAX));
                }
                LinkPhase::Down => {}
            }
        }
        // A node without links writes as well, and what it keeps for others is nobody's.
        if ready || greeting || self.ring.bytes() > self.ring_bytes_left.max(limits::RING_BYTES_KEPT) {
            next.push(self.heartbeat_at);
        }
        if ready {
            next.extend(self.gaps.values().map(|gap| gap.due_at(self.settings.grace_ms)));
            if self.number_wanted {
                next.push(self.number_ask_at);
            }
        }
        let sessions = self.feeding.values().map(|feeding| feeding.progress);
        let fed = self.fed.as_ref().filter(|fed| fed.finished().is_none()).map(|fed| fed.progress);
        next.extend(sessions.chain(fed).map(|progress| progress.after(limits::SESSION_STALL_MS)));
        if self.fed.is_none() && self.needs_state() {
            next.push(self.session_retry_at);
        }
        if let Some(wait_ms) = self.gate.next_release(self.explained()) {
            // The wall clock is another clock: look again at least at the pace of heartbeats.
            next.push(self.heartbeat_at.after(wait_ms.min(self.settings.heartbeat_ms)));
        }
        next.extend(self.filling_until);
        next.into_iter().min()
    }

    /// How long this peer may say nothing. One that packs or merges state may be busy with a single large piece.
    fn silence_ms_max(&self, peer: NodeIdentity) -> u64 {
        let exchanges_state =
            self.feeding.contains_key(&peer) || self.fed.as_ref().is_some_and(|fed| fed.source == peer);
        let usual = self.settings.silence_ms;
        if exchanges_state { usual.max(limits::SESSION_SILENCE_MS) } else { usual }
    }

    /// SUBTLE: whoever was busy for longer than a beat has not listened meanwhile. What was said waits to be taken, and
    /// nobody is to be called silent for that time, nor slow in its greeting.
    fn forgive_own_pause(&mut self, now: Millis) {
        let late_ms = now.since(self.heartbeat_at);
        if late_ms <= self.settings.heartbeat_ms {
            return;
        }
        for link in self.peers.values_mut().filter_map(|peer| peer.link.as_mut()) {
            match link.phase {
                LinkPhase::Ready => link.heard = link.heard.after(late_ms).min(now),
                LinkPhase::Greeting => link.since = link.since.after(late_ms).min(now),
                LinkPhase::Closing | LinkPhase::Down => {}
            }
        }
    }

    fn close_dead_links(&mut self, now: Millis) {
        let mut dead: Vec<(NodeIdentity, CloseReason)> = Vec::new();
        // Its closing was asked for when it was refused.
        let mut refused = Vec::new();
        for (&peer, entry) in &self.peers {
            let Some(link) = &entry.link else { continue };
            let silence_ms = now.since(link.heard);
            let greeting_ms = now.since(link.since);
            match link.phase {
                LinkPhase::Ready if silence_ms >= self.silence_ms_max(peer) => {
                    self.counters.links_silent += 1;
                    dead.push((peer, CloseReason::Silent(silence_ms)));
                }
                LinkPhase::Greeting if greeting_ms >= limits::HANDSHAKE_MS_MAX => {
                    dead.push((peer, CloseReason::HandshakeTimeout(greeting_ms)));
                }
                LinkPhase::Closing if greeting_ms >= limits::HANDSHAKE_MS_MAX => refused.push(peer),
                LinkPhase::Ready | LinkPhase::Greeting | LinkPhase::Closing | LinkPhase::Down => {
                    let bytes = link.control_bytes();
                    if bytes > limits::CONTROL_QUEUE_BYTES_MAX {
                        self.counters.control_queue_full += 1;
                        dead.push((peer, CloseReason::NotReading(bytes)));
                    }
                }
            }
        }
        refused.into_iter().for_each(|peer| self.tear_down(peer, now));
        for (peer, reason) in dead {
            self.close(peer, reason, now);
        }
    }

    /// Lets batches go that every member has: nobody will ask for them. A few stay, and a node without others keeps no
    /// more either, for who is admitted gets state.
    pub(super) fn release_ring(&mut self) {
        let (me, members, peers) = (self.settings.identity, &self.members, &self.peers);
        let others = || members.numbers.keys().filter(|member| **member != me && !members.removed.contains(member));
        let has = |member: &NodeIdentity, origin| peers.get(member).map_or(Stamp::ZERO, |peer| peer.vector.of(origin));
        let had = |origin| others().map(|member| has(member, origin)).min().unwrap_or(Stamp::MAX);
        self.ring.release(had, limits::RING_BYTES_KEPT);
        self.ring_bytes_left = self.ring.bytes();
    }

    /// One heartbeat on every link, and a look at whether the open batch has to be closed for those who collect.
    fn beat(&mut self) {
        let mut ready = false;
        for link in self.peers.values_mut().filter_map(Peer::ready_mut) {
            link.heartbeat_due = true;
            ready = true;
        }
        if ready && self.settling.is_none() && !self.settled.covers_all(&self.vector) {
            self.settling = Some(self.vector.clone());
            self.events.push_back(Event::CloseOpenBatch);
        }
    }
}

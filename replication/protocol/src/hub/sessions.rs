//! State sessions: asking for one, feeding others, and giving up.

use super::Hub;
use crate::catch_up::{Fed, Feeding, FeedingStep};
use crate::frame::{ChunkKind, ControlFrame, StateFrame, WireVector};
use crate::link::Peer;
use crate::{Event, FrameError, Millis, NodeIdentity, SessionId, limits};
use bytes::Bytes;
use crdt::{NodeNumber, VersionVector};

impl Hub {
    /// [`Event::SessionRequested`] was carried out: the session's vector is `closed_vector` of this moment.
    pub fn session_begun(&mut self, peer: NodeIdentity, session: SessionId, now: Millis) {
        let Some(feeding) = self.feeding.get_mut(&peer).filter(|feeding| feeding.session == session) else { return };
        if feeding.begin(now) {
            let begin = StateFrame::Begin { session, vector: self.vector.clone() };
            self.send_state(peer, &begin);
            self.feed(peer);
        }
    }

    /// The answer to [`Event::ReadSlots`]: the slots before `next` are in `payload`; none if that was the last one.
    pub fn slots_read(
        &mut self,
        peer: NodeIdentity,
        session: SessionId,
        next: Option<u16>,
        payload: Bytes,
        now: Millis,
    ) {
        let feeding = self.feeding.get_mut(&peer).filter(|feeding| feeding.session == session);
        if feeding.is_some_and(|feeding| feeding.slots_read(next, now)) {
            self.send_chunk(peer, session, ChunkKind::Slots, payload);
            self.feed(peer);
        }
    }

    /// The answer to [`Event::ReadListing`]: the first `covered` of the slots asked for, at least one, are in `payload`.
    pub fn listing_read(
        &mut self,
        peer: NodeIdentity,
        session: SessionId,
        covered: usize,
        payload: Bytes,
        now: Millis,
    ) {
        let feeding = self.feeding.get_mut(&peer).filter(|feeding| feeding.session == session);
        if feeding.is_some_and(|feeding| feeding.listing_read(covered, now)) {
            self.send_chunk(peer, session, ChunkKind::Listing, payload);
            self.feed(peer);
        }
    }

    /// What was asked for by [`Event::ReadSlots`], [`Event::ReadListing`], [`Event::MergeSlots`] or [`Event::MergeListing`] takes
    /// long, and goes on.
    pub fn state_moves(&mut self, peer: NodeIdentity, session: SessionId, now: Millis) {
        if let Some(fed) = self.fed_by(peer, session) {
            if fed.moved(now) {
                self.send(peer, &ControlFrame::StateProgress { session, by_source: false });
            }
        } else if let Some(feeding) = self.feeding.get_mut(&peer).filter(|feeding| feeding.session == session)
            && feeding.moved(now)
        {
            self.send(peer, &ControlFrame::StateProgress { session, by_source: true });
        }
    }

    /// Something of a session waits for the disk of this node. If the session is over, none is begun before that is through:
    /// what it brings would come behind, and be the same again.
    pub fn state_waits(&mut self, peer: NodeIdentity, session: SessionId, now: Millis) {
        let is_fed = self.fed_by(peer, session).is_some();
        if is_fed || self.feeding.get(&peer).is_some_and(|feeding| feeding.session == session) {
            self.state_moves(peer, session, now);
        } else if self.fed.is_none() {
            self.session_retry_at = self.session_retry_at.max(now.after(limits::SESSION_RETRY_MS));
        }
    }

    /// The other side of a session says that it goes on.
    pub(super) fn state_progressed(&mut self, peer: NodeIdentity, session: SessionId, by_source: bool, now: Millis) {
        if let Some(fed) = self.fed_by(peer, session).filter(|_| by_source) {
            fed.progress = now;
        }
        if let Some(feeding) = self.feeding.get_mut(&peer).filter(|f| !by_source && f.session == session) {
            feeding.progress = now;
        }
    }

    /// The answer to [`Event::MergeSlots`]: slots whose digests still differ, in order.
    pub fn slots_merged(&mut self, peer: NodeIdentity, session: SessionId, differing: Vec<u16>, now: Millis) {
        if self.fed_by(peer, session).is_some_and(|fed| fed.slots_merged(now)) {
            self.send(peer, &ControlFrame::SlotsMerged { session, differing });
        }
    }

    /// The answer to [`Event::MergeListing`].
    pub fn listing_merged(&mut self, peer: NodeIdentity, session: SessionId, now: Millis) {
        if self.fed_by(peer, session).is_some_and(|fed| fed.listing_merged(now)) {
            self.send(peer, &ControlFrame::ListingMerged { session });
        }
    }

    /// [`Event::SessionFinished`] was carried out: the vector is raised and journaled.
    pub fn session_applied(&mut self, peer: NodeIdentity, session: SessionId, now: Millis) {
        let vector = self.fed_by(peer, session).and_then(|fed| fed.finished().cloned());
        let Some(vector) = vector else { return };
        self.fed = None;
        self.counters.sessions_finished += 1;
        self.sessions_failed = 0;
        self.session_failed_with = None;
        self.session_retry_at = now;
        self.vector.join(&vector);
        self.ring.raise(&vector);
        // Whoever said that its ring does not reach back may do so now.
        self.gaps.clear();
        self.vector_moved(now);
        self.review_gaps(now);
    }

    /// This node cannot go on with a session, on either side of it.
    pub fn session_failed(&mut self, peer: NodeIdentity, session: SessionId, now: Millis) {
        if self.fed_by(peer, session).is_some() {
            self.abandon_fed(now);
            self.send(peer, &ControlFrame::StateAbandoned { session, by_source: false });
        } else if self.feeding.get(&peer).is_some_and(|feeding| feeding.session == session) {
            self.abandon_feeding(peer);
            self.send(peer, &ControlFrame::StateAbandoned { session, by_source: true });
        }
    }

    /// Asks `peer` for its state although nothing is missing: a mismatch of digests repairs itself by a session, which
    /// finds by digest the slots that differ. False: a session is under way, or there is no link.
    pub fn repair_from(&mut self, peer: NodeIdentity, now: Millis) -> bool {
        let able = self.fed.is_none() && self.peers.get(&peer).is_some_and(|peer| peer.ready().is_some());
        if able {
            self.begin_session(peer, now);
        }
        able
    }

    /// Asks for state if nothing else helps, and nobody is being asked already.
    pub(super) fn start_session(&mut self, now: Millis) {
        if self.fed.is_some() || now < self.session_retry_at || !self.needs_state() {
            return;
        }
        match self.best_source() {
            Some(source) => self.begin_session(source, now),
            None => self.session_retry_at = now.after(limits::SESSION_RETRY_MS),
        }
    }

    fn begin_session(&mut self, source: NodeIdentity, now: Millis) {
        let session = SessionId(self.next_session);
        self.next_session = self.next_session.wrapping_add(1);
        self.fed = Some(Fed::new(source, session, now));
        self.counters.sessions_begun += 1;
        let since = WireVector::new(&self.vector);
        self.send(source, &ControlFrame::StateRequest { session, since });
    }

    /// The peer that knows most of what only state can bring; one that serves before one that fills, one that did not fail
    /// before one that did.
    fn best_source(&self) -> Option<NodeIdentity> {
        let origins: Vec<NodeNumber> = self.origins_by_state().collect();
        self.ready()
            .map(|(identity, peer, link)| {
                let failed = self.session_failed_with == Some(identity);
                let narrowed = self.narrowed_by(peer, &origins);
                (narrowed, (!link.peer_filling, !failed, narrowed, peer.vector.latest(), identity))
            })
            .filter(|&(narrowed, _)| narrowed > 0)
            .map(|(_, score)| score)
            .max()
            .map(|(.., identity)| identity)
    }

    /// A peer asks for state.
    pub(super) fn state_requested(
        &mut self,
        peer: NodeIdentity,
        session: SessionId,
        since: VersionVector,
        now: Millis,
    ) {
        self.abandon_feeding(peer);
        if self.feeding.len() >= limits::SESSIONS_FED_MAX {
            self.counters.sessions_put_off += 1;
            let retry_ms = limits::SESSION_RETRY_MS * 4 + self.random() % limits::SESSION_RETRY_MS;
            self.send(peer, &ControlFrame::StateRefused { session, retry_ms });
            return;
        }
        self.feeding.insert(peer, Feeding::new(session, since.clone(), now));
        self.events.push_back(Event::SessionRequested { peer, session, since });
    }

    /// The source has no room for us now.
    pub(super) fn state_refused(&mut self, peer: NodeIdentity, session: SessionId, retry_ms: u64, now: Millis) {
        if self.fed_by(peer, session).is_some() {
            self.fed = None;
            self.session_failed_with = Some(peer);
            self.session_retry_at = now.after(retry_ms.min(limits::SESSION_RETRY_MS_MAX));
        }
    }

    /// The other side of a session gave up.
    pub(super) fn state_abandoned(&mut self, peer: NodeIdentity, session: SessionId, by_source: bool, now: Millis) {
        if by_source && self.fed_by(peer, session).is_some() {
            self.abandon_fed(now);
        } else if !by_source && self.feeding.get(&peer).is_some_and(|feeding| feeding.session == session) {
            self.abandon_feeding(peer);
        }
    }

    /// The fed side merged a chunk of slots.
    pub(super) fn slots_merged_there(
        &mut self,
        peer: NodeIdentity,
        session: SessionId,
        differing: Vec<u16>,
        now: Millis,
    ) -> Result<(), FrameError> {
        // An answer to a session that was given up here may still be on its way.
        let Some(feeding) = self.feeding.get_mut(&peer).filter(|f| f.session == session) else { return Ok(()) };
        feeding.slots_merged(differing, now)?;
        self.feed(peer);
        Ok(())
    }

    /// The fed side merged a listing.
    pub(super) fn listing_merged_there(
        &mut self,
        peer: NodeIdentity,
        session: SessionId,
        now: Millis,
    ) -> Result<(), FrameError> {
        let Some(feeding) = self.feeding.get_mut(&peer).filter(|f| f.session == session) else { return Ok(()) };
        feeding.listing_merged(now)?;
        self.feed(peer);
        Ok(())
    }

    /// A frame came on the state lane.
    pub(super) fn receive_state(&mut self, peer: NodeIdentity, frame: &Bytes, now: Millis) -> Result<(), FrameError> {
        match StateFrame::decode(frame)? {
            StateFrame::Begin { session, vector } => {
                let Some(fed) = self.fed_by(peer, session) else { return Ok(()) };
                fed.begin(vector, now)
            }
            StateFrame::Chunk { session, kind, payload } => {
                let Some(fed) = self.fed_by(peer, session) else { return Ok(()) };
                fed.chunk(kind, now)?;
                self.merge_chunk(peer, session, kind, payload);
                Ok(())
            }
            StateFrame::Part { session, part } => {
                let bytes_max = self.settings.state_chunk_bytes_max;
                let Some(fed) = self.fed_by(peer, session) else { return Ok(()) };
                if let Some((kind, payload)) = fed.part(&part, bytes_max, now)? {
                    self.merge_chunk(peer, session, kind, payload);
                }
                self.state_moves(peer, session, now);
                Ok(())
            }
            StateFrame::End { session } => {
                let Some(fed) = self.fed_by(peer, session) else { return Ok(()) };
                let vector = fed.end(now)?;
                self.finish_fed(peer, session, vector, now);
                Ok(())
            }
        }
    }

    fn merge_chunk(&mut self, peer: NodeIdentity, session: SessionId, kind: ChunkKind, payload: Bytes) {
        self.events.push_back(match kind {
            ChunkKind::Slots => Event::MergeSlots { peer, session, payload },
            ChunkKind::Listing => Event::MergeListing { peer, session, payload },
        });
    }

    /// All is merged. Events are carried out in order, so what passes the gate from here on meets the raised vector.
    fn finish_fed(&mut self, peer: NodeIdentity, session: SessionId, vector: VersionVector, now: Millis) {
        self.events.push_back(Event::SessionFinished { peer, session, vector: vector.clone() });
        let passed = self.gate.passed();
        let tails = &mut self.tails;
        vector.iter().filter(|&(origin, stamp)| stamp > passed.of(origin)).for_each(|(origin, _)| {
            tails.remove(&origin);
        });
        self.gate.raise(&vector);
        self.open_gate(now);
    }

    /// Lets the feeding side do what it can do now.
    fn feed(&mut self, peer: NodeIdentity) {
        let Some(feeding) = self.feeding.get_mut(&peer) else { return };
        let (session, bytes_max) = (feeding.session, limits::STATE_CHUNK_BYTES);
        match feeding.step() {
            Some(FeedingStep::ReadSlots { from_slot, since }) => {
                self.events.push_back(Event::ReadSlots { peer, session, from_slot, since, bytes_max });
            }
            Some(FeedingStep::ReadListing { slots }) => {
                self.events.push_back(Event::ReadListing { peer, session, slots, bytes_max });
            }
            Some(FeedingStep::End) => {
                self.feeding.remove(&peer);
                self.send_state(peer, &StateFrame::End { session });
            }
            None => {}
        }
    }

    /// Gives up sessions that stand still, on either side.
    pub(super) fn check_sessions(&mut self, now: Millis) {
        let stalled = |progress: Millis| now.since(progress) >= limits::SESSION_STALL_MS;
        let dead: Vec<(NodeIdentity, SessionId)> =
            self.feeding.iter().filter(|(_, f)| stalled(f.progress)).map(|(&peer, f)| (peer, f.session)).collect();
        let fed = self.fed.as_ref().filter(|fed| stalled(fed.progress) && fed.finished().is_none());
        let fed = fed.map(|fed| (fed.source, fed.session));
        for (peer, session) in dead.into_iter().chain(fed) {
            self.session_failed(peer, session, now);
        }
        self.start_session(now);
    }

    /// The link to `peer` is gone, and with it the sessions. One that has its end is not touched: nothing is missing.
    pub(super) fn abandon_sessions_with(&mut self, peer: NodeIdentity, now: Millis) {
        self.abandon_feeding(peer);
        if self.fed.as_ref().is_some_and(|fed| fed.source == peer && fed.finished().is_none()) {
            self.abandon_fed(now);
        }
    }

    fn abandon_feeding(&mut self, peer: NodeIdentity) {
        if let Some(feeding) = self.feeding.remove(&peer) {
            self.counters.sessions_abandoned += 1;
            self.events.push_back(Event::SessionAbandoned { peer, session: feeding.session, feeding: true });
            if let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) {
                link.state.clear();
            }
        }
    }

    fn abandon_fed(&mut self, now: Millis) {
        let Some(fed) = self.fed.take() else { return };
        let pause = (limits::SESSION_RETRY_MS << self.sessions_failed.min(6)).min(limits::SESSION_RETRY_MS_MAX);
        self.sessions_failed += 1;
        self.session_retry_at = now.after(pause / 2 + self.random() % pause);
        self.session_failed_with = Some(fed.source);
        self.counters.sessions_abandoned += 1;
        self.events.push_back(Event::SessionAbandoned { peer: fed.source, session: fed.session, feeding: false });
    }

    fn fed_by(&mut self, peer: NodeIdentity, session: SessionId) -> Option<&mut Fed> {
        self.fed.as_mut().filter(|fed| fed.source == peer && fed.session == session)
    }

    fn send_state(&mut self, peer: NodeIdentity, frame: &StateFrame) {
        if let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) {
            link.state.push(frame);
        }
    }

    fn send_chunk(&mut self, peer: NodeIdentity, session: SessionId, kind: ChunkKind, payload: Bytes) {
        let part_bytes = self.settings.state_part_bytes;
        if let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) {
            link.state.push_chunk(session, kind, payload, part_bytes);
        }
    }
}

//! Carrying out what the hub wants.

use super::Peers;
use super::keeping::Waiting;
use super::preparing::Readiness;
use crate::persistence::ReadBack;
use crdt::{NodeNumber, Stamp, VersionVector};
use keyspace::StateReader;
use protocol::limits::SCRATCH_BYTES_MAX;
use protocol::{Alarm, Batch, CloseReason, Event, NodeIdentity, REMOVED, RefusalCode, SessionId};
use std::sync::Arc;
use std::time::Duration;
use storage::Record;
use transport::LinkId;

/// How long a refusal may take to the peer.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Why a batch is not applied yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// A key of it is being moved.
    Move,
    /// It is being prepared, or another one is before it.
    Preparation,
}

impl Peers {
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::LinkReady { peer, version, number, boot: _ } => {
                self.refusals.is_copy = false;
                tracing::info!(peer = %self.name_of(peer), version, number = number.map(NodeNumber::value), "joined");
            }
            Event::CloseLink { peer, reason } => self.close_link(peer, &reason),
            Event::Messages { peer, messages } => self.take_messages(peer, &messages),
            Event::Apply(batch) => self.keep_batch(&batch, Waiting::Apply(Arc::clone(&batch))),
            Event::CloseOpenBatch => {
                // SUBTLE: an increment in a pipeline that still runs may not know of a reset that is applied here. The
                // vector must not be called settled before it is in a closed batch too.
                self.when_closed(Waiting::Settled);
            }
            Event::ReadJournal { peer, origin, after, bytes_max } => {
                self.read_back(ReadBack { peer, origin, after, bytes_max });
            }
            Event::SessionRequested { peer, session, since: _ } => {
                self.when_closed(Waiting::SessionBegun { peer, session });
            }
            Event::ReadSlots { peer, session, from_slot, since, bytes_max } => {
                self.do_without_record(Waiting::ReadSlots { peer, session, from_slot, since, bytes_max });
            }
            Event::MergeSlots { peer, session, payload } => {
                let record = Record::Slots(payload.clone());
                self.keep(Some(record), Waiting::MergeSlots { peer, session, payload });
            }
            Event::ReadListing { peer, session, slots, bytes_max } => {
                self.do_without_record(Waiting::ReadListing { peer, session, slots, bytes_max });
            }
            Event::MergeListing { peer, session, payload } => {
                let record = Record::Slots(payload.clone());
                self.keep(Some(record), Waiting::MergeListing { peer, session, payload });
            }
            Event::SessionFinished { peer, session, vector } => {
                let record = Record::Raised(vector.clone());
                self.keep(Some(record), Waiting::SessionFinished { peer, session, vector });
            }
            Event::SessionAbandoned { peer, session, feeding } => {
                self.forget_state(peer, session);
                tracing::info!(peer = %self.name_of(peer), feeding, "a catch-up by state was broken off");
            }
            Event::Membership { peer, record } => self.merge_membership(peer, &record),
            Event::NumberRequested { peer } => self.grant_number(peer),
            Event::NumberGranted { peer, grant } => {
                tracing::info!(peer = %self.name_of(peer), number = grant.number.value(), "a peer gave this node a number");
                self.take_number(grant.number);
            }
            Event::NumberOverrun { peer, number, known } => {
                tracing::error!(
                    peer = %self.name_of(peer), number = number.value(), %known,
                    "a peer holds writes of this node that it does not have itself: it goes on under another number"
                );
                self.renumber();
            }
            Event::PeerVector { peer: _, number, vector } => self.note_applied_there(number, vector),
            Event::Audit { peer, frame } => self.take_audit(peer, &frame),
            Event::Request { peer, id, body } => self.answer(peer, id, &body),
            Event::Response { peer, id, body } => self.take_response(peer, id, Some(&body)),
            Event::RequestFailed { peer, id } => self.take_response(peer, id, None),
            Event::Filled => {
                tracing::info!("the node has what its peers have");
                self.filled = true;
                self.note_no_newcomer();
                self.update_condition();
            }
            Event::Alarm(alarm) => self.raise_alarm(&alarm),
        }
    }

    /// It has been one of them: should all nodes start at once some day, it need not wait for those that never come.
    fn note_no_newcomer(&mut self) {
        if !self.hub_settings.is_newcomer {
            return;
        }
        match self.rows.set_newcomer(false) {
            Ok(()) => self.hub_settings.is_newcomer = false,
            Err(error) => {
                tracing::error!(%error, "that this node has met the others cannot be noted: its next start waits for one")
            }
        }
    }

    pub(super) fn read_slots(
        &mut self,
        (peer, session): (NodeIdentity, SessionId),
        from_slot: u16,
        since: VersionVector,
        bytes_max: usize,
    ) {
        self.note_session(peer, since.clone());
        self.begin_reading((peer, session), StateReader::of_news(from_slot, since, bytes_max), false);
    }

    pub(super) fn read_listing(&mut self, (peer, session): (NodeIdentity, SessionId), slots: &[u16], bytes_max: usize) {
        let since = self.session_since(peer);
        self.begin_reading((peer, session), StateReader::of_listings(slots, since, bytes_max), true);
    }

    pub(super) fn finish_session(&mut self, peer: NodeIdentity, session: SessionId, vector: &VersionVector) {
        tracing::info!(peer = %self.name_of(peer), "caught up by state");
        self.node.keyspace.raise_applied(vector);
        let now = self.now();
        self.hub.session_applied(peer, session, now);
        self.sealing.fetched(peer);
    }

    /// Applies a batch, or does nothing and says what it waits for.
    pub(super) fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), WaitsFor> {
        let applied = self.apply_payload(batch);
        if self.unpacked.len() > SCRATCH_BYTES_MAX {
            self.unpacked = Vec::new();
        }
        match applied {
            Ok(Err(waits)) => return Err(waits),
            Ok(Ok(changes)) => {
                self.node.console.metrics.keyspace.changes_applied.add(changes as u64);
                self.hub.batch_applied(batch.origin, batch.last, self.now());
            }
            // Its checksum was right, so its author wrote what this version cannot read. Nothing of it was applied, and
            // nothing that follows from it may be.
            Err(error) => {
                self.keeping.preparations.forget(batch.last);
                tracing::error!(origin = batch.origin.value(), %error, "a batch cannot be applied: its origin stands still");
                self.node.console.metrics.replication.limits_met.add("unreadable_batch", 1);
                self.hub.batch_failed(batch.origin, batch.last);
            }
        }
        Ok(())
    }

    /// Somebody whose batch this one builds on, and it is not applied.
    pub(super) fn missing_dependency(&self, batch: &Batch) -> Option<NodeNumber> {
        let applied = self.node.keyspace.applied();
        let current = self.number();
        let over = |number| self.membership.view().sealed(number).is_some_and(|seal| applied.of(number) >= seal.at);
        let is_missing = |&(number, stamp): &(NodeNumber, Stamp)| {
            applied.of(number) < stamp && Some(number) != current && !over(number)
        };
        batch.dependencies.iter().find(is_missing).map(|(number, _)| number)
    }

    fn apply_payload(&mut self, batch: &Arc<Batch>) -> Result<Result<usize, WaitsFor>, String> {
        if let Some(number) = self.missing_dependency(batch) {
            return Err(format!("it depends on what node {number} wrote in a batch that could not be applied"));
        }
        if batch.previous.last > self.node.keyspace.applied().of(batch.origin) {
            return Err("the batch before it could not be applied".to_owned());
        }
        let is_known = batch.last <= self.node.keyspace.applied().of(batch.origin);
        let readiness = if is_known { Readiness::AsItIs } else { self.readiness(batch) };
        let (node, now) = (&self.node, self.node.wall_clock());
        let (origin, bounds) = (batch.origin, (batch.previous.last, batch.last));
        let mut pause = |is_waited_for| self.pauses.between_steps(node.monotonic_ns(), is_waited_for);
        let applied = match readiness {
            Readiness::Later => return Ok(Err(WaitsFor::Preparation)),
            Readiness::AsItIs => {
                let raw = batch.open_in(&mut self.unpacked).map_err(|error| error.to_string())?;
                node.keyspace.apply_with_pauses(origin, bounds, raw, now, &mut pause)
            }
            Readiness::Ready(outcome) => {
                let mut prepared = outcome?;
                let applied = node.keyspace.apply_prepared(origin, bounds, &mut prepared, now, &mut pause);
                if let Ok(None) = applied {
                    self.keeping.preparations.put_back(batch.last, prepared);
                }
                applied
            }
        };
        applied.map(|changes| changes.ok_or(WaitsFor::Move)).map_err(|error| error.to_string())
    }

    pub(super) fn give_up_session(&mut self, peer: NodeIdentity, session: protocol::SessionId, error: &str) {
        tracing::error!(peer = %self.name_of(peer), %error, "what a peer sent to catch up by cannot be read");
        self.hub.session_failed(peer, session, self.now());
    }

    fn close_link(&mut self, peer: NodeIdentity, reason: &CloseReason) {
        tracing::warn!(peer = %self.name_of(peer), %reason, "the link is closed");
        if let CloseReason::RefusedByPeer { code: Some(RefusalCode::Removed), .. } = reason {
            self.note_removed();
        }
        if let CloseReason::RefusedByPeer { code: Some(RefusalCode::NumberEnded), .. } = reason {
            self.number_has_ended();
        }
        if let CloseReason::RefusedByPeer { code: Some(RefusalCode::HistoryForked), .. } = reason {
            self.history_has_forked(peer);
        }
        // What the hub still wants to say (why it refuses) goes first.
        let (now, wall) = (self.now(), self.node.wall_clock());
        if let Some(link) = self.forget_link(peer) {
            while let Some(frame) = self.hub.poll_transmit(peer, protocol::Lane::Control, now, wall) {
                if self.transport.send(link, protocol::Lane::Control, frame).is_err() {
                    break;
                }
            }
            match reason {
                CloseReason::Removed => self.transport.close_removed(link, REMOVED),
                CloseReason::Refused(_) => self.close_when_told(link, reason),
                _ => self.transport.close(link, &reason.to_string()),
            }
        }
        match reason {
            CloseReason::SelfPeering | CloseReason::Removed => {
                self.transport.stop_dialing(&peer);
                self.dialed.remove(&peer);
            }
            CloseReason::Refused(_)
            | CloseReason::RefusedByPeer { .. }
            | CloseReason::Silent(_)
            | CloseReason::HandshakeTimeout(_)
            | CloseReason::Goodbye
            | CloseReason::NotReading(_)
            | CloseReason::Frame(_) => {}
        }
    }

    /// Closes a link whose peer is told in a frame why. Whoever is told closes it at once.
    ///
    /// SUBTLE: a connection that is closed loses what was not sent yet, and the peer would not learn what it must do.
    fn close_when_told(&self, link: LinkId, reason: &CloseReason) {
        let (transport, reason) = (Arc::clone(&self.transport), reason.to_string());
        tokio::spawn(async move {
            tokio::time::sleep(REFUSAL_TIME).await;
            transport.close(link, &reason);
        });
    }

    fn raise_alarm(&mut self, alarm: &Alarm) {
        tracing::error!(%alarm, "alarm");
        let name = match alarm {
            Alarm::Fork { .. } => "fork",
            Alarm::ClockAhead { .. } => "clock_ahead",
            Alarm::SecondLiveCopy { .. } => "second_live_copy",
            Alarm::RemovedPeer { .. } => "removed_peer",
            Alarm::NumberTaken { .. } => "number_taken",
        };
        self.node.console.metrics.replication.limits_met.add(name, 1);
    }
}

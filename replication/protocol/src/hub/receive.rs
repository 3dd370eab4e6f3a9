//! Frames that come in: taken apart, judged, and passed to the room they concern.

use super::Hub;
use crate::fragments::HeldFragments;
use crate::frame::{ControlFrame, Heartbeat, WireVector};
use crate::handshake::{Accept, HISTORY_FORKED, Hello, Judge, PeerFacts, Refusal, Refuse};
use crate::link::Peer;
use crate::window::OriginWindow;
use crate::{
    Alarm, CloseReason, Event, FrameError, Lane, LinkPhase, Millis, NodeIdentity, NumberGrant, RefusalCode, RequestId,
    limits,
};
use bytes::Bytes;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};

/// Characters of a peer's sentence that are kept for the log.
const SENTENCE_CHARS_MAX: usize = 300;

impl Hub {
    /// A frame came. On an error the link is forgotten here; close its connection with the error as the reason.
    pub fn handle_frame(
        &mut self,
        peer: NodeIdentity,
        lane: Lane,
        frame: Bytes,
        now: Millis,
        wall: UnixMillis,
    ) -> Result<(), FrameError> {
        self.wall = wall;
        let result = self.receive(peer, lane, frame, now);
        // Its author goes on otherwise, if it learns of it. Who has passed it on cannot help it.
        if let Err(FrameError::Fork { origin, .. }) = &result
            && self.peers.get(&peer).is_some_and(|entry| entry.owns(*origin))
        {
            self.counters.frame_errors += 1;
            let (code, sentence) = (RefusalCode::HistoryForked, HISTORY_FORKED.into());
            self.refuse(peer, Refusal { code, sentence, taken: None }, now);
            return Ok(());
        }
        if result.is_err() {
            self.counters.frame_errors += 1;
            self.tear_down(peer, now);
        }
        result
    }

    fn receive(&mut self, peer: NodeIdentity, lane: Lane, frame: Bytes, now: Millis) -> Result<(), FrameError> {
        // What was on its way when this side closed the link concerns nobody any more.
        let Some(entry) = self.peers.get_mut(&peer) else { return Ok(()) };
        let Some(link) = entry.link.as_mut() else { return Ok(()) };
        if link.phase == LinkPhase::Closing {
            return Ok(());
        }
        link.heard = now;
        entry.heard = Some(now);
        let accepted = link.accepted_them;
        if let (true, Some(facts)) = (accepted, &entry.facts) {
            entry.alive = Some((facts.boot, now));
        }
        match lane {
            Lane::Control => self.receive_control(peer, accepted, ControlFrame::decode(&frame)?, now),
            Lane::Batches if accepted => self.receive_batch(peer, frame, now),
            Lane::State if accepted => self.receive_state(peer, &frame, now),
            Lane::Messages if accepted => self.receive_messages(peer, &frame),
            Lane::Batches | Lane::Messages | Lane::State => Err(FrameError::OutOfTurn("a frame before the greeting")),
        }
    }

    fn receive_control(
        &mut self,
        peer: NodeIdentity,
        accepted: bool,
        frame: ControlFrame,
        now: Millis,
    ) -> Result<(), FrameError> {
        match frame {
            ControlFrame::Hello(hello) if !accepted => self.receive_hello(peer, &hello, now),
            ControlFrame::Refuse(refuse) => {
                let sentence = refuse.sentence.chars().take(SENTENCE_CHARS_MAX).collect();
                let code = RefusalCode::from_number(refuse.code);
                self.close(peer, CloseReason::RefusedByPeer { code, sentence }, now);
            }
            ControlFrame::Accept(accept) if accepted => self.receive_accept(peer, &accept, now)?,
            ControlFrame::Hello(_) => return Err(FrameError::OutOfTurn("a greeting")),
            _ if self.peers.get(&peer).and_then(Peer::ready).is_none() => {
                return Err(FrameError::OutOfTurn("a frame before the greeting"));
            }
            frame => self.receive_when_ready(peer, frame, now)?,
        }
        Ok(())
    }

    fn receive_when_ready(&mut self, peer: NodeIdentity, frame: ControlFrame, now: Millis) -> Result<(), FrameError> {
        match frame {
            ControlFrame::Hello(_) | ControlFrame::Accept(_) | ControlFrame::Refuse(_) => {
                return Err(FrameError::OutOfTurn("a greeting"));
            }
            ControlFrame::Goodbye => {
                self.close(peer, CloseReason::Goodbye, now);
                if let Some(entry) = self.peers.get_mut(&peer) {
                    entry.alive = None;
                }
            }
            ControlFrame::Heartbeat(heartbeat) => self.receive_heartbeat(peer, &heartbeat, now)?,
            ControlFrame::Applied(vector) => self.peer_applied(peer, &vector.open()?, now),
            ControlFrame::Settled(vector) => {
                let vector = vector.open()?;
                self.peer_applied(peer, &vector, now);
                if let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) {
                    link.settled.join(&vector);
                }
                self.check_settled(peer);
            }
            ControlFrame::Pull { origin, after } => {
                if let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) {
                    link.windows.insert(origin, OriginWindow::after(after));
                }
            }
            ControlFrame::Partial(held) => {
                let (whole, have) = held.open()?;
                let link = self.peers.get_mut(&peer).and_then(Peer::ready_mut);
                if let Some(window) = link.and_then(|link| link.windows.get_mut(&whole.last.author())) {
                    window.peer_has(whole, have);
                }
            }
            ControlFrame::Unsubscribe { origin } => {
                let own = self.settings.numbers.contains(&origin);
                if let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut).filter(|_| !own) {
                    link.windows.remove(&origin);
                }
            }
            ControlFrame::Behind { origin, after } => {
                // What was said of a place that this node has left since says nothing of the place where it is.
                if self.gate.received(origin) < after {
                    self.peer_is_behind(peer, origin, now);
                }
            }
            ControlFrame::StateRequest { session, since } => self.state_requested(peer, session, since.open()?, now),
            ControlFrame::StateRefused { session, retry_ms } => self.state_refused(peer, session, retry_ms, now),
            ControlFrame::SlotsMerged { session, differing } => {
                self.slots_merged_there(peer, session, differing, now)?;
            }
            ControlFrame::ListingMerged { session } => self.listing_merged_there(peer, session, now)?,
            ControlFrame::StateAbandoned { session, by_source } => {
                self.state_abandoned(peer, session, by_source, now);
            }
            ControlFrame::StateProgress { session, by_source } => {
                self.state_progressed(peer, session, by_source, now);
            }
            ControlFrame::Membership(record) => {
                self.events.push_back(Event::Membership { peer, record: record.into() });
            }
            ControlFrame::NumberRequest => self.events.push_back(Event::NumberRequested { peer }),
            ControlFrame::NumberGranted { number, first, last } => {
                let known = |value| NodeNumber::new(value).ok_or(FrameError::OutOfRange("a node number"));
                self.number_granted(peer, NumberGrant { number: known(number)?, range: (known(first)?, known(last)?) });
            }
            ControlFrame::Audit(frame) => self.events.push_back(Event::Audit { peer, frame: frame.into() }),
            ControlFrame::Request { id, body } => self.receive_request(peer, id, body)?,
            ControlFrame::Response { id, body } => {
                let link = self.peers.get_mut(&peer).and_then(Peer::ready_mut);
                if link.is_some_and(|link| link.asked.remove(&id)) {
                    self.events.push_back(Event::Response { peer, id, body: body.into() });
                }
            }
        }
        Ok(())
    }

    fn receive_request(&mut self, peer: NodeIdentity, id: RequestId, body: Vec<u8>) -> Result<(), FrameError> {
        let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) else { return Ok(()) };
        if link.to_answer.len() >= limits::REQUESTS_OPEN_MAX {
            self.counters.requests_refused += 1;
            return Err(FrameError::OutOfTurn("one request more than may be open"));
        }
        if link.to_answer.insert(id) {
            self.events.push_back(Event::Request { peer, id, body: body.into() });
        }
        Ok(())
    }

    fn receive_hello(&mut self, peer: NodeIdentity, hello: &Hello, now: Millis) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let recently = |&(_, heard): &(_, Millis)| now.since(heard) < self.settings.silence_ms;
        let judge = Judge {
            me: self.settings.identity,
            cluster: self.settings.cluster,
            peer,
            alive: entry.alive.filter(recently).map(|(boot, _)| boot),
            my_numbers: &self.settings.numbers,
            members: &self.members,
        };
        match judge.judge(hello) {
            Ok(facts) => self.accept(peer, hello, facts, now),
            Err(refusal) => {
                entry.refused_another |= refusal.code == RefusalCode::SecondLiveCopy;
                self.refuse(peer, refusal, now);
            }
        }
    }

    fn accept(&mut self, peer: NodeIdentity, hello: &Hello, facts: PeerFacts, now: Millis) {
        let answer = ControlFrame::Accept(Accept {
            version: facts.version,
            vector: WireVector::new(&self.vector),
            fragments: self.assemblies.iter().map(|(whole, have)| HeldFragments::new(whole, have)).collect(),
            echo_ms: hello.sent_ms,
            held_ms: 0,
            wall_ms: self.wall,
        });
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let Some(link) = entry.link.as_mut() else { return };
        link.accepted_them = true;
        link.peer_filling = hello.filling;
        link.membership_hash = hello.membership_hash;
        link.applied_told = self.vector.clone();
        link.send(&answer);
        let is_same = entry.alive.is_some_and(|(boot, _)| boot == facts.boot);
        let has_copy = std::mem::take(&mut entry.refused_another) && is_same;
        entry.alive = Some((facts.boot, now));
        entry.facts = Some(facts);
        // SUBTLE: not when the other one was refused. One that takes the place of a process that was killed comes as
        // early, and is let in as soon as that has been silent long enough.
        self.events.extend(has_copy.then_some(Event::Alarm(Alarm::SecondLiveCopy { peer })));
    }

    /// Tells the peer why it is not wanted, raises an alarm where somebody has to know, and has the link closed once the peer
    /// is told.
    pub(super) fn refuse(&mut self, peer: NodeIdentity, refusal: Refusal, now: Millis) {
        let alarm = match (refusal.code, refusal.taken) {
            (RefusalCode::Removed, _) => Some(Alarm::RemovedPeer { peer }),
            (RefusalCode::NumberTaken, Some((number, owner))) => Some(Alarm::NumberTaken { peer, number, owner }),
            (
                RefusalCode::Version
                | RefusalCode::SecondLiveCopy
                | RefusalCode::Cluster
                | RefusalCode::Identity
                | RefusalCode::SelfPeering
                | RefusalCode::NumberTaken
                | RefusalCode::NumberEnded
                | RefusalCode::HistoryForked,
                _,
            ) => None,
        };
        self.events.extend(alarm.map(Event::Alarm));
        self.turn_away(peer, refusal, now);
    }

    /// Tells the peer why it is not wanted any more, and has the link closed once that is flushed.
    pub(super) fn turn_away(&mut self, peer: NodeIdentity, refusal: Refusal, now: Millis) {
        let reason = match refusal.code {
            RefusalCode::SelfPeering => CloseReason::SelfPeering,
            RefusalCode::Removed => CloseReason::Removed,
            RefusalCode::Version
            | RefusalCode::Cluster
            | RefusalCode::Identity
            | RefusalCode::SecondLiveCopy
            | RefusalCode::NumberTaken
            | RefusalCode::NumberEnded
            | RefusalCode::HistoryForked => CloseReason::Refused(refusal.sentence.clone()),
        };
        self.abandon_sessions_with(peer, now);
        self.enter(peer, LinkPhase::Closing, now);
        if let Some(link) = self.peers.get_mut(&peer).and_then(|entry| entry.link.as_mut()) {
            link.send(&ControlFrame::Refuse(Refuse { code: refusal.code as u8, sentence: refusal.sentence }));
        }
        self.events.push_back(Event::CloseLink { peer, reason });
    }

    fn receive_accept(&mut self, peer: NodeIdentity, accept: &Accept, now: Millis) -> Result<(), FrameError> {
        let vector = accept.vector.open()?;
        let held = accept.fragments.iter().map(HeldFragments::open).collect::<Result<Vec<_>, _>>()?;
        let wall = self.wall;
        let Some(entry) = self.peers.get_mut(&peer) else { return Ok(()) };
        let Some(link) = entry.link.as_mut().filter(|link| !link.accepted_us) else {
            return Err(FrameError::OutOfTurn("an acceptance"));
        };
        link.accepted_us = true;
        link.heartbeat_due = true;
        link.applied_due = true;
        link.settled_due = true;
        link.vector_at_start = vector.clone();
        link.own_at_start = self.settings.number.map_or(Stamp::ZERO, |number| self.vector.of(number));
        link.heard_echo(accept.echo_ms, accept.held_ms, accept.wall_ms, now);
        let before = self.settings.number.map_or(Stamp::ZERO, |number| entry.vector.of(number));
        // SUBTLE: not joined. A peer that came back with less than it once had must be sent what it lost.
        entry.vector = vector.clone();
        self.acknowledged.insert(peer);
        entry.since = now;
        entry.note_offset(now, wall);
        self.enter(peer, LinkPhase::Ready, now);
        self.offer_own_origins(peer);
        if let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) {
            for (whole, have) in held {
                if let Some(window) = link.windows.get_mut(&whole.last.author()) {
                    window.peer_has(whole, have);
                }
            }
        }
        if let Some(facts) = self.peers.get(&peer).and_then(|entry| entry.facts.clone()) {
            let (version, number, boot) = (facts.version, facts.number, facts.boot);
            self.events.push_back(Event::LinkReady { peer, version, number, boot });
        }
        self.offer_membership(peer, now);
        self.peer_applied(peer, &vector, now);
        // What it got by way of others while there was no link. Of a peer that is met for the first time nobody knows when.
        let known = self.settings.number.map_or(Stamp::ZERO, |number| vector.of(number));
        if Stamp::ZERO < before && before < known {
            self.note_applied_lag(peer, before, known, wall);
        }
        self.ask_for_number(now);
        self.review_gaps(now);
        self.check_filled(now);
        Ok(())
    }

    fn receive_heartbeat(&mut self, peer: NodeIdentity, heartbeat: &Heartbeat, now: Millis) -> Result<(), FrameError> {
        let wall = self.wall;
        let Some(entry) = self.peers.get_mut(&peer) else { return Ok(()) };
        let Some(link) = entry.ready_mut() else { return Ok(()) };
        link.heard_heartbeat(heartbeat, now);
        entry.note_offset(now, wall);
        if let Some(number) = heartbeat.number {
            let number = NodeNumber::new(number).ok_or(FrameError::OutOfRange("a node number"))?;
            self.peer_stamps_with(peer, number, now);
        }
        self.offer_membership(peer, now);
        self.check_filled(now);
        Ok(())
    }

    /// A peer says which number it stamps with; it may have taken another since the greeting.
    fn peer_stamps_with(&mut self, peer: NodeIdentity, number: NodeNumber, now: Millis) {
        if self.peers.get(&peer).and_then(|entry| entry.facts.as_ref()).is_none_or(|f| f.number == Some(number)) {
            return;
        }
        if self.members.ended.contains(&number) {
            self.refuse_ended(peer, now);
        } else if let Some(owner) = self.other_owner(number, peer) {
            let sentence = format!("node number {number} belongs to {owner}: take another one");
            self.refuse(peer, Refusal { code: RefusalCode::NumberTaken, sentence, taken: Some((number, owner)) }, now);
        } else if let Some(facts) = self.peers.get_mut(&peer).and_then(|entry| entry.facts.as_mut()) {
            facts.number = Some(number);
            facts.numbers.insert(number);
        }
    }

    /// A peer has applied everything up to `vector`.
    fn peer_applied(&mut self, peer: NodeIdentity, vector: &VersionVector, now: Millis) {
        let wall = self.wall;
        let number = self.settings.number;
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let before = number.map(|number| entry.vector.of(number));
        if entry.vector.join(vector) {
            self.acknowledged.insert(peer);
        }
        if let Some(link) = entry.link.as_mut() {
            for (origin, stamp) in vector.iter() {
                if let Some(window) = link.windows.get_mut(&origin) {
                    window.acknowledged(stamp);
                }
            }
        }
        if let (Some(number), Some(before)) = (number, before) {
            let known = vector.of(number);
            if known > before {
                self.note_applied_lag(peer, before, known, wall);
            }
            self.own_number_known_to(peer, known);
        }
        for (origin, stamp) in vector.iter() {
            if stamp > self.gate.received(origin) && Some(origin) != self.settings.number {
                self.note_gap(origin, now);
            }
        }
    }

    /// The peer has applied own batches after `before` up to `known`: the oldest write among them waited longest.
    fn note_applied_lag(&mut self, peer: NodeIdentity, before: Stamp, known: Stamp, wall: UnixMillis) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        // Who comes with nothing gets what was written before it came: that says how long it was not there.
        let came_after = entry.link.as_ref().map_or(Stamp::ZERO, |link| {
            let had = self.settings.number.map_or(Stamp::ZERO, |number| link.vector_at_start.of(number));
            if had == Stamp::ZERO { link.own_at_start } else { Stamp::ZERO }
        });
        let first = self.own_log.partition_point(|&(last, _)| last <= before.max(came_after));
        let acknowledged = self.own_log.range(first..).take_while(|&&(last, _)| last <= known);
        let rtt_ms = entry.link.as_ref().and_then(|link| link.clock.best()).map_or(0, |best| best.rtt_ms);
        let lag_ms = |&(_, written): &(Stamp, UnixMillis)| wall.saturating_sub(written).saturating_sub(rtt_ms / 2);
        for (position, lag_ms) in acknowledged.map(lag_ms).enumerate() {
            entry.applied_lags.note(lag_ms);
            if position == 0 {
                entry.applied_lag_ms = lag_ms;
            }
        }
    }

    /// Tells the node what a peer is known to have applied, once everything is here that the peer wrote before.
    pub(super) fn check_settled(&mut self, peer: NodeIdentity) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let Some(facts) = entry.facts.as_ref() else { return };
        let Some(link) = entry.link.as_mut().filter(|link| link.phase == LinkPhase::Ready) else { return };
        let here = |vector: &VersionVector| facts.numbers.iter().all(|&n| vector.of(n) <= self.vector.of(n));
        // At most two rounds: what was awaited, and what came in the meantime.
        for _ in 0..2 {
            link.await_settled();
            let Some(vector) = link.settled_awaited.take_if(|vector| here(vector)) else { return };
            link.settled_done = vector.clone();
            if let Some(number) = facts.number {
                self.events.push_back(Event::PeerVector { peer, number, vector });
            }
        }
    }
}

//! Batches: own ones out, others' in, through the causal gate and into the ring.

use super::Hub;
use crate::fragments::{Fragment, Progress};
use crate::gate::{Admission, Circumstances};
use crate::link::Peer;
use crate::{Alarm, Batch, BatchTail, CloseReason, Event, FrameError, Millis, NodeIdentity, limits};
use bytes::Bytes;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
use std::sync::Arc;

impl Hub {
    /// Puts a batch from the journal into the ring, oldest first, before any link is up. Recovery has applied it.
    pub fn restore(&mut self, batch: Arc<Batch>) {
        if batch.last == self.vector.of(batch.origin) {
            self.tails.insert(batch.origin, batch.tail());
        }
        if batch.last <= self.vector.of(batch.origin) {
            self.ring.push(batch);
        }
    }

    /// What the next own batch must name as its predecessor.
    pub fn own_tail(&self) -> BatchTail {
        let Some(number) = self.settings.number else { return BatchTail::default() };
        let last = self.vector.of(number);
        self.tails.get(&number).copied().filter(|tail| tail.last == last).unwrap_or(BatchTail { last, checksum: 0 })
    }

    /// An own batch was closed and journaled: it goes to the ring and to every link.
    pub fn publish(&mut self, batch: Arc<Batch>, now: Millis) {
        let origin = batch.origin;
        // Going on here would tell every region a history with a hole or a foreign name.
        assert!(self.settings.numbers.contains(&origin), "an own batch carries a number of this node");
        assert!(batch.previous.last == self.vector.of(origin), "an own batch follows the one before it");
        if self.own_log.len() == limits::LAG_SAMPLES_MAX {
            self.own_log.pop_front();
        }
        self.own_log.push_back((batch.last, batch.first.unix_ms()));
        self.tails.insert(origin, batch.tail());
        let step: VersionVector = [(origin, batch.last)].into_iter().collect();
        self.gate.raise(&step);
        self.ring.push(batch);
        self.vector.join(&step);
        self.vector_moved(now);
        self.open_gate(now);
    }

    /// [`Event::Apply`] was carried out up to this batch.
    pub fn batch_applied(&mut self, origin: NodeNumber, last: Stamp, now: Millis) {
        let Some(queue) = self.applying.get_mut(&origin) else { return };
        let mut moved = false;
        while let Some(batch) = queue.pop_front_if(|batch| batch.last <= last) {
            self.applying_bytes -= applying_weight(&batch);
            moved |= self.vector.raise(origin, batch.last);
            self.ring.push(batch);
        }
        if queue.is_empty() {
            self.applying.remove(&origin);
        }
        if moved {
            self.vector_moved(now);
        }
        self.open_gate(now);
    }

    /// [`Event::Apply`] could not be carried out: this version cannot read the batch, or it depends on one that could not
    /// be read. Nothing of its origin is applied any more, until a state session has gone over the place; events for
    /// later batches of it that are out already must be answered the same way.
    pub fn batch_failed(&mut self, origin: NodeNumber, last: Stamp) {
        for batch in self.applying.remove(&origin).into_iter().flatten() {
            self.applying_bytes -= applying_weight(&batch);
        }
        self.gate.stop(origin, self.vector.of(origin), last);
    }

    /// [`Event::CloseOpenBatch`] was carried out: what the open batch held is published.
    pub fn open_batch_closed(&mut self, _now: Millis) {
        let Some(mut settled) = self.settling.take() else { return };
        // Own writes up to here are in closed batches, whatever they knew.
        for &number in &self.settings.numbers {
            settled.raise(number, self.vector.of(number));
        }
        self.settled.join(&settled);
        for link in self.peers.values_mut().filter_map(Peer::ready_mut) {
            link.settled_due = true;
        }
    }

    /// Something was applied: it is to be acknowledged, and may be what somebody waited for.
    pub(super) fn vector_moved(&mut self, now: Millis) {
        let waiting: Vec<NodeIdentity> = self.ready().map(|(identity, _, _)| identity).collect();
        for identity in waiting {
            if let Some(link) = self.peers.get_mut(&identity).and_then(Peer::ready_mut) {
                link.applied_due = true;
            }
            self.check_settled(identity);
        }
        if self.filling_until.is_some() {
            self.check_filled(now);
        }
    }

    /// A batch came on the link of `peer`.
    pub(super) fn receive_batch(&mut self, peer: NodeIdentity, frame: Bytes, now: Millis) -> Result<(), FrameError> {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.traffic.batch_bytes_received += frame.len() as u64;
        }
        let Some(frame) = self.assemble(frame, now)? else { return Ok(()) };
        let batch = Batch::decode(frame)?;
        let origin = batch.origin;
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.traffic.batches_received += 1;
        }
        if self.members.sealed.get(&origin).is_some_and(|&seal| batch.last > seal) {
            self.counters.beyond_seal += 1;
            return Ok(());
        }
        if Some(origin) == self.settings.number && batch.last > self.vector.of(origin) {
            self.own_number_known_to(peer, batch.last);
            return Ok(());
        }
        self.check_chain(peer, &batch)?;
        let place = (batch.previous.last, batch.last);
        self.tell_if_ahead(peer, &batch);
        match self.gate.admit(batch, peer) {
            Admission::Waiting => {}
            Admission::Duplicate => self.counters.duplicates += 1,
            Admission::Full => self.counters.waiting_space_full += 1,
            Admission::Fork => return Err(self.forked(peer, origin, place.0)),
        }
        if self.gate.received(origin) >= place.1 {
            self.direct_link_delivers(peer, origin);
        }
        self.open_gate(now);
        // What is left in the way is a gap; it is pulled unless it closes in time.
        if self.gate.received(origin) < place.1 {
            self.note_gap(origin, now);
        }
        Ok(())
    }

    /// The batch that a frame completes, or is.
    fn assemble(&mut self, frame: Bytes, now: Millis) -> Result<Option<Bytes>, FrameError> {
        if !Fragment::is_one(&frame) {
            return Ok(Some(frame));
        }
        let fragment = Fragment::decode(&frame)?;
        let (origin, last) = (fragment.whole.last.author(), fragment.whole.last);
        let is_sealed = self.members.sealed.get(&origin).is_some_and(|&seal| last > seal);
        if is_sealed || last <= self.gate.received(origin) {
            self.counters.duplicates += 1;
            return Ok(None);
        }
        match self.assemblies.add(&fragment) {
            Progress::Whole(batch) => return Ok(Some(batch)),
            Progress::Known => self.counters.duplicates += 1,
            Progress::Gap => self.note_gap(origin, now),
            // It moves, so nobody else need be asked.
            Progress::More => {
                if let Some(gap) = self.gaps.get_mut(&origin) {
                    gap.since = now;
                }
            }
        }
        Ok(None)
    }

    /// Lets every batch through that may pass.
    pub(super) fn open_gate(&mut self, now: Millis) {
        let (gate, sealed) = (&self.gate, &self.members.sealed);
        self.assemblies.retain(|last| {
            let origin = last.author();
            last > gate.received(origin) && sealed.get(&origin).is_none_or(|&seal| last <= seal)
        });
        let (mut full, explained) = (false, self.explained());
        loop {
            if self.applying_bytes >= limits::APPLYING_BYTES_MAX {
                full = true;
                break;
            }
            let circumstances =
                Circumstances { explained, released: &self.members.drift_released, sealed: &self.members.sealed };
            let Some((batch, via)) = self.gate.next(&circumstances) else { break };
            if self.breaks_chain(&batch) {
                // It waited for its predecessor, and another predecessor came. That one stays what has passed.
                self.gate.reject(&batch);
                let error = self.forked(via, batch.origin, batch.previous.last);
                self.close(via, CloseReason::Frame(error), now);
                continue;
            }
            self.gate.pass(&batch);
            self.tails.insert(batch.origin, batch.tail());
            self.applying_bytes += applying_weight(&batch);
            self.applying.entry(batch.origin).or_default().push_back(batch.clone());
            self.events.push_back(Event::Apply(batch));
        }
        self.counters.applying_full += u64::from(full && self.gate.origins().next().is_some());
    }

    /// The latest time of a stamp that is not too far ahead of the clock: the local one, or that of the peer whose clock is
    /// furthest ahead.
    ///
    /// SUBTLE: it is not enough to look at the sender's clock. A node that has applied a stamp of a clock ahead stamps
    /// ahead itself from then on; for the same reason a stamp that is not later than what has passed harms nobody.
    pub(super) fn explained(&self) -> UnixMillis {
        let offset_ms =
            self.peers.values().filter_map(|peer| peer.clock).map(|clock| clock.offset_ms).max().unwrap_or(0).max(0);
        self.wall.saturating_add_signed(offset_ms).saturating_add(self.settings.max_clock_drift_ms)
    }

    /// Notes that an arriving batch will be held for its stamps, with an alarm if it is the first of its origin.
    fn tell_if_ahead(&mut self, peer: NodeIdentity, batch: &Batch) {
        let circumstances = Circumstances {
            explained: self.explained(),
            released: &self.members.drift_released,
            sealed: &self.members.sealed,
        };
        if self.gate.is_in_time(batch, &circumstances) {
            return;
        }
        self.counters.clock_held += 1;
        let first_of_origin = self.gate.waiting(batch.origin).0 == 0;
        if first_of_origin {
            let ahead_ms = batch.last.unix_ms().saturating_sub(self.wall);
            self.events.push_back(Event::Alarm(Alarm::ClockAhead { origin: batch.origin, ahead_ms, peer }));
        }
    }

    /// Whether the batch fits onto what passed the gate of its origin.
    fn check_chain(&mut self, peer: NodeIdentity, batch: &Batch) -> Result<(), FrameError> {
        if self.breaks_chain(batch) {
            return Err(self.forked(peer, batch.origin, batch.previous.last));
        }
        Ok(())
    }

    /// SUBTLE: a checksum of zero is one that nobody knows, as after a state session.
    fn breaks_chain(&self, batch: &Batch) -> bool {
        let Some(tail) = self.tails.get(&batch.origin) else { return false };
        let other_predecessor = batch.previous.last == tail.last && differ(batch.previous.checksum, tail.checksum);
        let other_batch = batch.last == tail.last && differ(batch.checksum, tail.checksum);
        let overlaps = batch.previous.last < tail.last && batch.last > tail.last && tail.last == self.passed(batch);
        other_predecessor || other_batch || overlaps
    }

    fn passed(&self, batch: &Batch) -> Stamp {
        self.gate.passed().of(batch.origin)
    }

    fn forked(&mut self, peer: NodeIdentity, origin: NodeNumber, at: Stamp) -> FrameError {
        self.counters.forks += 1;
        self.events.push_back(Event::Alarm(Alarm::Fork { origin, at, peer }));
        FrameError::Fork { origin, at }
    }

    /// Once the node that wrote a batch delivers it itself, nobody else need send that origin.
    fn direct_link_delivers(&mut self, peer: NodeIdentity, origin: NodeNumber) {
        let direct = self.peers.get(&peer).is_some_and(|peer| peer.owns(origin));
        if direct && self.pulling.get(&origin).is_some_and(|&relay| relay != peer) {
            self.stop_pulling(origin);
        }
    }
}

/// What a batch counts among those that are being applied. One that is larger than all others may be together counts half
/// as much: it can take seconds, and they go on.
fn applying_weight(batch: &Batch) -> usize {
    batch.weight().min(limits::APPLYING_BYTES_MAX / 2)
}

fn differ(one: u64, other: u64) -> bool {
    one != 0 && other != 0 && one != other
}

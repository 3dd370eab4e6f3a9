//! One peer: what is remembered of it for good, and the state of its connection while there is one.
//!
//! A link only keeps; what happens on it is decided by the hub, which sees all links.

use crate::catch_up::StateQueue;
use crate::clock_offset::{ClockOffset, ClockSample, SeenClock};
use crate::frame::{ControlFrame, Heartbeat};
use crate::handshake::PeerFacts;
use crate::hub::MessageQueue;
use crate::window::OriginWindow;
use crate::{BootNonce, LagCounts, LinkPhase, Millis, RequestId, limits};
use bytes::Bytes;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What is kept of a peer whether its link is up or not.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The connection, if there is one.
    pub link: Option<Link>,
    /// What it is known to have applied.
    pub vector: VersionVector,
    /// What it said of itself last.
    pub facts: Option<PeerFacts>,
    /// The process that may still be alive, and when it was last heard. Forgotten when its connection ends cleanly.
    pub alive: Option<(BootNonce, Millis)>,
    /// Another process with the same identity was refused meanwhile: a copy, if the one that was alive is heard again.
    pub refused_another: bool,
    /// When the link last changed between up and down.
    pub since: Millis,
    /// When anything was last heard.
    pub heard: Option<Millis>,
    /// Its clock as measured last; kept while the link is down, for its stamps still come by others.
    pub clock: Option<SeenClock>,
    /// Write-to-applied of the last acknowledged own batch.
    pub applied_lag_ms: u64,
    /// That of all of them, by ranges.
    pub applied_lags: LagCounts,
    /// Figures over the life of this process.
    pub traffic: Traffic,
}

/// Batches and their bytes, both ways.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Traffic {
    pub batches_sent: u64,
    pub batches_received: u64,
    pub batch_bytes_sent: u64,
    pub batch_bytes_received: u64,
}

/// A connection to a peer.
#[derive(Debug)]
pub(crate) struct Link {
    pub phase: LinkPhase,
    pub since: Millis,
    /// The other side's hello was accepted here.
    pub accepted_them: bool,
    /// Ours was accepted there.
    pub accepted_us: bool,
    pub heard: Millis,
    control: VecDeque<Bytes>,
    control_bytes: usize,
    /// Frames of the greeting that the transport has not taken: nothing may overtake them.
    greeting: usize,
    pub state: StateQueue,
    pub messages: MessageQueue,
    pub heartbeat_due: bool,
    /// The last heartbeat heard: its time there, and ours.
    heartbeat_heard: Option<(u64, Millis)>,
    pub clock: ClockOffset,
    /// What the peer had when it accepted us: a node that is filling is full when it has that.
    pub vector_at_start: VersionVector,
    /// How far this node had written then.
    pub own_at_start: Stamp,
    /// What we told the peer we have applied.
    pub applied_told: VersionVector,
    pub applied_told_at: Millis,
    pub applied_due: bool,
    /// The time to tell has come, and the transport has not taken it.
    pub applied_timer_ran: bool,
    /// What we told the peer is settled.
    pub settled_told: VersionVector,
    pub settled_due: bool,
    /// What the peer told is settled.
    pub settled: VersionVector,
    /// The settled vector whose batches are still awaited here.
    pub settled_awaited: Option<VersionVector>,
    /// The settled vector that the node was told of last.
    pub settled_done: VersionVector,
    /// The origins that we send on this link, and how far.
    pub windows: BTreeMap<NodeNumber, OriginWindow>,
    /// The origin of which a fragment was sent last, with more to come: others go first now.
    pub fragmented: Option<NodeNumber>,
    pub membership_hash: u64,
    membership_sent: Option<(u64, Millis)>,
    pub peer_filling: bool,
    /// Own requests without an answer.
    pub asked: BTreeSet<RequestId>,
    /// The peer's requests without an answer.
    pub to_answer: BTreeSet<RequestId>,
}

impl Peer {
    pub(crate) fn new(now: Millis) -> Self {
        Self {
            link: None,
            vector: VersionVector::new(),
            facts: None,
            alive: None,
            refused_another: false,
            since: now,
            heard: None,
            clock: None,
            applied_lag_ms: 0,
            applied_lags: LagCounts::default(),
            traffic: Traffic::default(),
        }
    }

    /// The link if batches may flow on it.
    pub(crate) fn ready(&self) -> Option<&Link> {
        self.link.as_ref().filter(|link| link.phase == LinkPhase::Ready)
    }

    /// The same, to change it.
    pub(crate) fn ready_mut(&mut self) -> Option<&mut Link> {
        self.link.as_mut().filter(|link| link.phase == LinkPhase::Ready)
    }

    /// Remembers what the link has measured.
    pub(crate) fn note_offset(&mut self, now: Millis, wall: UnixMillis) {
        if let Some(best) = self.link.as_ref().and_then(|link| link.clock.best()) {
            self.clock = Some(SeenClock::new(best, now, wall));
        }
    }

    /// Its clock minus ours, if that is known well enough to judge ours by it.
    pub(crate) fn offset_ms(&self, now: Millis, wall: UnixMillis) -> Option<i64> {
        match self.ready().and_then(|link| link.clock.best()) {
            Some(best) => Some(best.offset_ms(now, wall)),
            None => self.clock.and_then(|clock| clock.offset_now(now, wall)),
        }
    }

    /// Whether the peer stamps, or ever stamped, with this number.
    pub(crate) fn owns(&self, number: NodeNumber) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.numbers.contains(&number))
    }
}

impl Link {
    pub(crate) fn new(now: Millis) -> Self {
        Self {
            phase: LinkPhase::Greeting,
            since: now,
            accepted_them: false,
            accepted_us: false,
            heard: now,
            control: VecDeque::new(),
            control_bytes: 0,
            greeting: 0,
            state: StateQueue::default(),
            messages: MessageQueue::default(),
            heartbeat_due: false,
            heartbeat_heard: None,
            clock: ClockOffset::default(),
            vector_at_start: VersionVector::new(),
            own_at_start: Stamp::ZERO,
            applied_told: VersionVector::new(),
            applied_told_at: now,
            applied_due: false,
            applied_timer_ran: false,
            settled_told: VersionVector::new(),
            settled_due: false,
            settled: VersionVector::new(),
            settled_awaited: None,
            settled_done: VersionVector::new(),
            windows: BTreeMap::new(),
            fragmented: None,
            membership_hash: 0,
            membership_sent: None,
            peer_filling: false,
            asked: BTreeSet::new(),
            to_answer: BTreeSet::new(),
        }
    }

    /// Queues a control frame.
    pub(crate) fn send(&mut self, frame: &ControlFrame) {
        let bytes = frame.encode();
        self.control_bytes += bytes.len();
        self.control.push_back(bytes);
        if self.phase != LinkPhase::Ready {
            self.greeting = self.control.len();
        }
    }

    /// Bytes of control frames that the transport has not taken.
    pub(crate) fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    /// Whether a large frame that can be left out still has room.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        bytes < limits::CONTROL_FRAME_BYTES_MAX - 64
            && self.control_bytes.saturating_add(bytes) <= limits::CONTROL_QUEUE_BYTES_MAX / 2
    }

    pub(crate) fn pop_control(&mut self) -> Option<Bytes> {
        let bytes = self.control.pop_front()?;
        self.control_bytes -= bytes.len();
        self.greeting = self.greeting.saturating_sub(1);
        Some(bytes)
    }

    /// Whether the greeting is on its way, so that frames made at the moment of sending may go first.
    pub(crate) fn has_greeted(&self) -> bool {
        self.phase == LinkPhase::Ready && self.greeting == 0
    }

    /// Whether the control lane has something at `now`.
    pub(crate) fn has_control(&self, now: Millis, ack_ms: u64) -> bool {
        !self.control.is_empty()
            || (self.phase == LinkPhase::Ready
                && (self.heartbeat_due || self.settled_due || self.applied_is_due(now, ack_ms)))
    }

    pub(crate) fn applied_is_due(&self, now: Millis, ack_ms: u64) -> bool {
        self.applied_due && now >= self.applied_told_at.after(ack_ms)
    }

    /// Takes the newest settled vector to wait for, unless an older one is still awaited: under constant load the newest
    /// one is never complete.
    pub(crate) fn await_settled(&mut self) {
        if self.settled_awaited.is_none() && self.settled != self.settled_done {
            self.settled_awaited = Some(self.settled.clone());
        }
    }

    /// A heartbeat of this moment.
    pub(crate) fn heartbeat(
        &self,
        now: Millis,
        wall: UnixMillis,
        membership_hash: u64,
        filling: bool,
        number: Option<NodeNumber>,
    ) -> ControlFrame {
        ControlFrame::Heartbeat(Heartbeat {
            sent_ms: now.0,
            wall_ms: wall,
            echo: self.heartbeat_heard.map(|(sent_ms, heard)| (sent_ms, now.since(heard))),
            membership_hash,
            filling,
            number: number.map(NodeNumber::value),
        })
    }

    /// Takes the clock readings out of a peer's heartbeat.
    pub(crate) fn heard_heartbeat(&mut self, heartbeat: &Heartbeat, now: Millis) {
        self.heartbeat_heard = Some((heartbeat.sent_ms, now));
        self.peer_filling = heartbeat.filling;
        self.membership_hash = heartbeat.membership_hash;
        if let Some((sent_ms, held_ms)) = heartbeat.echo {
            self.heard_echo(sent_ms, held_ms, heartbeat.wall_ms, now);
        }
    }

    /// An answer to what we sent at `sent_ms` of our own clock. An echo of what was never sent tells nothing.
    pub(crate) fn heard_echo(&mut self, sent_ms: u64, held_ms: u64, peer_wall_ms: u64, now: Millis) {
        let Some(rtt_ms) = now.0.checked_sub(sent_ms).and_then(|all| all.checked_sub(held_ms)) else { return };
        self.clock.record(ClockSample::new(rtt_ms, peer_wall_ms, now));
    }

    /// Sends our membership record if the peer reports another one and did not get this one just now.
    pub(crate) fn offer_membership(&mut self, hash: u64, record: &[u8], now: Millis) {
        let sent_lately =
            self.membership_sent.is_some_and(|(h, at)| h == hash && now.since(at) < limits::MEMBERSHIP_RESEND_MS);
        let wanted = self.phase == LinkPhase::Ready && self.membership_hash != hash && !sent_lately;
        if wanted && !record.is_empty() && self.has_room_for(record.len()) {
            self.membership_sent = Some((hash, now));
            self.send(&ControlFrame::Membership(record.to_vec()));
        }
    }
}

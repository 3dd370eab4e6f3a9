//! The hub of a node: the links to all peers and everything that flows through them.
//!
//! It decides and never does: frames and time come in through `handle_*`, answers through the methods named in
//! [`Event`], and what is to be done comes out of `poll_event` and `poll_transmit`. The rooms: `receive` takes frames
//! apart, `delivery` moves batches, `gaps` fills holes by pulling, `sessions` by state, `members` knows who belongs,
//! `messages` carries what was published,
//! `transmit` says what goes out, `timers` what is due, `status` how it all stands.

mod delivery;
mod gaps;
mod members;
mod messages;
mod receive;
mod sessions;
mod status;
mod timers;
mod transmit;

use crate::catch_up::{Fed, Feeding};
use crate::fragments::Assemblies;
use crate::frame::ControlFrame;
use crate::gate::Gate;
use crate::handshake::{CAPABILITY_MESSAGES, Hello, PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST};
use crate::link::{Link, Peer};
use crate::ring::Ring;
use crate::{
    Batch, BatchTail, CloseReason, Event, HubSettings, LimitCounters, LinkPhase, MemberView, Millis, NodeIdentity,
    RequestId, limits,
};
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
use gaps::Gap;
pub(crate) use messages::MessageQueue;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// One per node: the links to all peers and everything that flows through them.
#[derive(Debug)]
pub struct Hub {
    settings: HubSettings,
    members: MemberView,
    peers: BTreeMap<NodeIdentity, Peer>,
    /// What is applied: closed batches only.
    vector: VersionVector,
    gate: Gate,
    ring: Ring,
    /// What the ring held after all that everybody has had been let go: only more than that is worth another look.
    ring_bytes_left: usize,
    /// The last batch of each origin that passed the gate, where it is known.
    tails: BTreeMap<NodeNumber, BatchTail>,
    /// Handed out for application, oldest first.
    applying: BTreeMap<NodeNumber, VecDeque<Arc<Batch>>>,
    applying_bytes: usize,
    /// Own batches: last stamp, and the time of the first write.
    own_log: VecDeque<(Stamp, UnixMillis)>,
    events: VecDeque<Event>,
    gaps: BTreeMap<NodeNumber, Gap>,
    /// Batches of which fragments have come.
    assemblies: Assemblies,
    /// Origins that a peer was asked to send although they are not its own.
    pulling: BTreeMap<NodeNumber, NodeIdentity>,
    fed: Option<Fed>,
    feeding: BTreeMap<NodeIdentity, Feeding>,
    /// Peers that have acknowledged more since it was last asked.
    acknowledged: BTreeSet<NodeIdentity>,
    next_session: u64,
    session_retry_at: Millis,
    sessions_failed: u32,
    session_failed_with: Option<NodeIdentity>,
    /// The vector of the moment at which the open batch was asked to be closed.
    settling: Option<VersionVector>,
    settled: VersionVector,
    heartbeat_at: Millis,
    number_wanted: bool,
    number_ask_at: Millis,
    number_asked: Option<NodeIdentity>,
    /// Until when an empty node waits for somebody with data.
    filling_until: Option<Millis>,
    overrun_told: BTreeSet<NodeNumber>,
    next_request: u64,
    wall: UnixMillis,
    counters: LimitCounters,
    random: u64,
}

impl Hub {
    /// A hub without links.
    pub fn new(mut settings: HubSettings, now: Millis, wall: UnixMillis) -> Self {
        settings.numbers.extend(settings.number);
        let vector = settings.vector.clone();
        // Who needs a number knows less than others do.
        let may_have_others = settings.peers_expected > 0 || settings.number.is_none();
        let filling = (vector.is_empty() || settings.is_unfilled) && may_have_others;
        let mut events = VecDeque::new();
        if !filling {
            events.push_back(Event::Filled);
        }
        Self {
            gate: Gate::new(vector.clone(), settings.waiting_bytes),
            ring: Ring::new(&vector, settings.ring_bytes),
            ring_bytes_left: 0,
            tails: settings.tails.clone(),
            filling_until: filling.then(|| now.after(settings.fill_timeout_ms)),
            number_wanted: settings.number.is_none(),
            heartbeat_at: now.after(settings.heartbeat_ms),
            random: settings.seed,
            // Sessions and requests of different processes must not be taken for each other.
            next_session: settings.boot.0,
            next_request: settings.boot.0,
            vector,
            events,
            settings,
            wall,
            members: MemberView::default(),
            peers: BTreeMap::new(),
            applying: BTreeMap::new(),
            applying_bytes: 0,
            own_log: VecDeque::new(),
            gaps: BTreeMap::new(),
            assemblies: Assemblies::default(),
            pulling: BTreeMap::new(),
            fed: None,
            feeding: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            session_retry_at: now,
            sessions_failed: 0,
            session_failed_with: None,
            settling: None,
            settled: VersionVector::new(),
            number_ask_at: now,
            number_asked: None,
            overrun_told: BTreeSet::new(),
            counters: LimitCounters::default(),
        }
    }

    /// The next thing to do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A peer that has acknowledged more than when it was last named here: its [`Hub::peer_vector`] has risen.
    pub fn poll_acknowledged(&mut self) -> Option<NodeIdentity> {
        self.acknowledged.pop_first()
    }

    /// Whether there is something to do.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The last batch of each origin that passed the gate, where it is known and nothing was applied beyond it.
    pub fn tails(&self) -> BTreeMap<NodeNumber, BatchTail> {
        let known = self.tails.iter().filter(|(origin, tail)| tail.last == self.vector.of(**origin));
        known.map(|(&origin, &tail)| (origin, tail)).collect()
    }

    /// What is applied here, closed batches only: the one vector that may leave this node.
    pub fn closed_vector(&self) -> &VersionVector {
        &self.vector
    }

    /// A connection stands whose other end has proved to be `peer`.
    ///
    /// There is one link to a peer: an older one is replaced, and frames of its connection must not be handed in any
    /// more. A peer that restarted so quickly that its old process still counts as alive is refused until that has been
    /// silent for `silence_ms`; it dials again.
    pub fn link_up(&mut self, peer: NodeIdentity, now: Millis, wall: UnixMillis) {
        self.wall = wall;
        if peer == self.settings.identity {
            self.events.push_back(Event::CloseLink { peer, reason: CloseReason::SelfPeering });
            return;
        }
        self.tear_down(peer, now);
        if self.peers.values().all(|peer| peer.link.is_none()) {
            // Nobody has waited for beats until now: that they did not come was no pause.
            self.heartbeat_at = self.heartbeat_at.max(now.after(self.settings.heartbeat_ms));
        }
        let hello = ControlFrame::Hello(Hello {
            version_oldest: PROTOCOL_VERSION_OLDEST,
            version_newest: PROTOCOL_VERSION,
            cluster: self.settings.cluster,
            identity: self.settings.identity,
            boot: self.settings.boot,
            number: self.settings.number.map(NodeNumber::value),
            numbers: self.settings.numbers.iter().map(|n| n.value()).collect(),
            capabilities: CAPABILITY_MESSAGES,
            membership_hash: self.members.hash,
            filling: self.is_filling(),
            sent_ms: now.0,
            wall_ms: wall,
        });
        let mut link = Link::new(now);
        link.send(&hello);
        let entry = self.peers.entry(peer).or_insert_with(|| Peer::new(now));
        entry.link = Some(link);
        entry.since = now;
    }

    /// The connection is gone.
    pub fn link_down(&mut self, peer: NodeIdentity, now: Millis) {
        self.tear_down(peer, now);
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.alive = None;
        }
        self.review_gaps(now);
        self.check_filled(now);
    }

    /// Sends an audit frame. False: the link is not ready or its queue is full; try again later.
    pub fn send_audit(&mut self, peer: NodeIdentity, frame: Vec<u8>) -> bool {
        self.send_if_room(peer, frame.len(), ControlFrame::Audit(frame))
    }

    /// Asks a peer something; the answer comes as [`Event::Response`] or [`Event::RequestFailed`]. None: the link is not
    /// ready, too much is unanswered, or the question is too long.
    pub fn request(&mut self, peer: NodeIdentity, body: Vec<u8>) -> Option<RequestId> {
        let id = RequestId(self.next_request);
        let open = self.peers.get(&peer)?.ready()?.asked.len();
        if open >= limits::REQUESTS_OPEN_MAX || !self.send_if_room(peer, body.len(), ControlFrame::Request { id, body })
        {
            self.counters.requests_refused += 1;
            return None;
        }
        self.next_request = self.next_request.wrapping_add(1);
        self.peers.get_mut(&peer)?.ready_mut()?.asked.insert(id);
        Some(id)
    }

    /// Answers [`Event::Request`]. False: the link is gone, the request is unknown there, or the answer is too long.
    pub fn respond(&mut self, peer: NodeIdentity, id: RequestId, body: Vec<u8>) -> bool {
        let link = self.peers.get_mut(&peer).and_then(Peer::ready_mut);
        let known = link.is_some_and(|link| link.to_answer.remove(&id));
        known && self.send_if_room(peer, body.len(), ControlFrame::Response { id, body })
    }

    /// Tells every peer that this process ends, so that its next start is not taken for a second copy.
    pub fn say_goodbye(&mut self) {
        for link in self.peers.values_mut().filter_map(Peer::ready_mut) {
            link.send(&ControlFrame::Goodbye);
        }
    }

    /// Peers whose links are ready.
    pub fn ready_peers(&self) -> Vec<NodeIdentity> {
        self.peers.iter().filter(|(_, peer)| peer.ready().is_some()).map(|(&identity, _)| identity).collect()
    }

    /// Every peer that was ever linked, whether its link is up or not.
    pub fn peers(&self) -> Vec<NodeIdentity> {
        self.peers.keys().copied().collect()
    }

    /// What a peer is known to have applied; kept while its link is down.
    pub fn peer_vector(&self, peer: NodeIdentity) -> Option<&VersionVector> {
        self.peers.get(&peer).map(|peer| &peer.vector)
    }

    fn send_if_room(&mut self, peer: NodeIdentity, bytes: usize, frame: ControlFrame) -> bool {
        let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) else { return false };
        let room = link.has_room_for(bytes);
        if room {
            link.send(&frame);
        }
        room
    }

    /// Queues a control frame if the link is ready.
    fn send(&mut self, peer: NodeIdentity, frame: &ControlFrame) {
        if let Some(link) = self.peers.get_mut(&peer).and_then(Peer::ready_mut) {
            link.send(frame);
        }
    }

    /// Ends a link from this side.
    fn close(&mut self, peer: NodeIdentity, reason: CloseReason, now: Millis) {
        self.tear_down(peer, now);
        self.events.push_back(Event::CloseLink { peer, reason });
    }

    /// Forgets a connection and all that hung on it.
    fn tear_down(&mut self, peer: NodeIdentity, now: Millis) {
        // Who was filled by this peer waits from now on.
        self.check_filled(now);
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let Some(link) = entry.link.take() else { return };
        entry.since = now;
        for id in link.asked {
            self.events.push_back(Event::RequestFailed { peer, id });
        }
        self.abandon_sessions_with(peer, now);
        self.pulling.retain(|_, source| *source != peer);
        for gap in self.gaps.values_mut() {
            gap.behind.remove(&peer);
        }
        if self.number_asked == Some(peer) {
            self.number_ask_at = now;
        }
    }

    /// Ready links with their peers.
    fn ready(&self) -> impl Iterator<Item = (NodeIdentity, &Peer, &Link)> {
        self.peers.iter().filter_map(|(&identity, peer)| Some((identity, peer, peer.ready()?)))
    }

    /// Moves a link to another phase.
    fn enter(&mut self, peer: NodeIdentity, phase: LinkPhase, now: Millis) {
        if let Some(link) = self.peers.get_mut(&peer).and_then(|peer| peer.link.as_mut()) {
            link.phase = phase;
            link.since = now;
        }
    }

    /// The next of a row of numbers that look random and repeat with the seed (SplitMix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

//! Nodes face to face over a network made of queues: deterministic, with a clock of its own.
//!
//! The keyspace is a toy that keeps the rules of state catch-up: live dots, early dots and a context per bucket.

// Each test binary uses a part of this; a test that cannot go on may stop.
#![allow(dead_code, clippy::unwrap_used)]

mod members;
mod store;

use bytes::Bytes;
use crdt::{NodeNumber, STAMP_EPOCH_MS, Stamp, UnixMillis};
pub use members::Members;
use protocol::{
    Alarm, Batch, BootNonce, CloseReason, ClusterId, Event, FrameError, Hub, HubSettings, Lane, MemberView, Millis,
    NodeIdentity, NumberGrant, PublishedMessage, SessionId,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
pub use store::{Change, Store};

/// The wall clock at the start of every world.
pub const WALL_START: UnixMillis = STAMP_EPOCH_MS + 200_000_000_000;
/// Milliseconds before a closed connection is dialled again.
const REDIAL_MS: u64 = 60;

pub fn identity(index: usize) -> NodeIdentity {
    NodeIdentity([index as u8 + 1; 32])
}

pub fn number(value: u16) -> NodeNumber {
    NodeNumber::new(value).unwrap()
}

/// One node: a hub and the toy keyspace behind it.
pub struct Node {
    pub hub: Hub,
    pub settings: HubSettings,
    pub store: Store,
    pub open: Vec<Change>,
    pub latest: Stamp,
    pub skew_ms: i64,
    pub alarms: Vec<Alarm>,
    pub closed: Vec<(NodeIdentity, CloseReason)>,
    pub filled: bool,
    pub sessions_finished: usize,
    pub answers: Vec<Bytes>,
    /// Messages of peers, in the order in which they came.
    pub messages: Vec<PublishedMessage>,
    pub overruns: usize,
    pub granted: u16,
    pub settled: BTreeMap<NodeIdentity, crdt::VersionVector>,
    pub membership: u64,
    /// Every batch that was published or applied here.
    pub journal: Vec<Arc<Batch>>,
    /// A membership with contents, where a test is about it.
    pub members: Option<Members>,
    pub alive: bool,
    /// Milliseconds that merging slots takes, and what is being merged; whether the hub is told meanwhile that it goes on.
    pub merge_ms: u64,
    pub tells_progress: bool,
    merging: VecDeque<(u64, NodeIdentity, SessionId, Bytes)>,
    to_close: Vec<NodeIdentity>,
}

struct Frame {
    due: u64,
    lane: Lane,
    bytes: Bytes,
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    frames: VecDeque<Frame>,
    /// When the last frame of each lane arrives: a lane keeps its order.
    last_due: BTreeMap<Lane, u64>,
}

/// A pair of nodes.
#[derive(Default)]
struct Wire {
    connected: bool,
    redial_at: u64,
    close_at: Option<u64>,
    /// Which of the two has asked for that, the one with the smaller index first.
    closed_by: [bool; 2],
    pipes: [Pipe; 2],
}

pub struct World {
    pub nodes: Vec<Node>,
    wires: BTreeMap<(usize, usize), Wire>,
    pub cut: BTreeSet<(usize, usize)>,
    pub now: u64,
    pub latency_ms: u64,
    pub jitter_ms: u64,
    /// Out of 1000 batch frames, how many are lost, doubled, and delayed past later ones.
    pub batches_lost: u64,
    pub batches_doubled: u64,
    pub batches_delayed: u64,
    /// Milliseconds that each KiB on the lane of state takes, one behind the other, and the transport has no room meanwhile.
    pub state_kib_ms: u64,
    pub errors: Vec<FrameError>,
    pub bytes_sent: BTreeMap<Lane, u64>,
    /// Whether what node 1 sends is kept, and what was.
    pub record: bool,
    pub recorded: Vec<(Lane, Vec<u8>)>,
    random: u64,
}

impl World {
    /// Nodes with numbers 1, 2, ... that all know each other.
    pub fn new(count: usize, seed: u64, tune: impl Fn(usize, &mut HubSettings)) -> Self {
        let mut world = Self {
            nodes: Vec::new(),
            wires: BTreeMap::new(),
            cut: BTreeSet::new(),
            now: 1_000,
            latency_ms: 20,
            jitter_ms: 5,
            batches_lost: 0,
            batches_doubled: 0,
            batches_delayed: 0,
            state_kib_ms: 0,
            errors: Vec::new(),
            bytes_sent: BTreeMap::new(),
            record: false,
            recorded: Vec::new(),
            random: seed,
        };
        for index in 0..count {
            let mut settings =
                HubSettings::new(identity(index), ClusterId([7; 16]), BootNonce(seed * 100 + index as u64));
            settings.number = Some(number(index as u16 + 1));
            tune(index, &mut settings);
            world.nodes.push(Node::new(settings, world.now));
            (0..index).for_each(|other| {
                world.wires.insert((other, index), Wire::default());
            });
        }
        world
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below.max(1)
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert((a.min(b), a.max(b)));
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Ends a process: its keyspace is kept as a disk would, the open batch is not.
    pub fn stop(&mut self, index: usize) {
        self.nodes[index].alive = false;
        let pairs: Vec<_> = self.wires.keys().copied().filter(|&(a, b)| a == index || b == index).collect();
        pairs.into_iter().for_each(|pair| self.disconnect(pair));
    }

    /// Starts it again from `store`.
    pub fn start(&mut self, index: usize, store: Store, tune: impl Fn(&mut HubSettings)) {
        let mut settings = self.nodes[index].settings.clone();
        settings.boot = BootNonce(settings.boot.0 + 1_000);
        settings.vector = store.vector.clone();
        tune(&mut settings);
        self.nodes[index] = Node::new(settings, self.now);
        self.nodes[index].latest = store.vector.latest();
        self.nodes[index].store = store;
    }

    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    /// Runs until `done`, at most `ms_max`.
    pub fn run_until(&mut self, ms_max: u64, what: &str, done: impl Fn(&World) -> bool) {
        for _ in 0..ms_max {
            if done(self) {
                return;
            }
            self.step();
        }
        let reports: Vec<_> = self.nodes.iter().map(|node| node.hub.report()).collect();
        if self.nodes.iter().all(|node| node.members.is_some()) {
            println!("{:#?}", self.open_ends());
        }
        panic!("{what} did not come within {ms_max} ms: {reports:#?} {:?}", self.errors);
    }

    /// Runs until all live nodes hold the same and know it.
    pub fn converge(&mut self, ms_max: u64) {
        self.nodes.iter_mut().filter(|node| node.alive).for_each(|node| node.drain(Millis(self.now)));
        self.run_until(ms_max, "convergence", |world| {
            let mut live = world.nodes.iter().filter(|node| node.alive);
            let first = live.next().unwrap();
            live.all(|node| {
                node.store.live() == first.store.live() && node.hub.closed_vector() == first.hub.closed_vector()
            })
        });
    }

    /// The same for two of them.
    pub fn converge_pair(&mut self, a: usize, b: usize, ms_max: u64) {
        self.run_until(ms_max, "convergence", |world| {
            let (a, b) = (&world.nodes[a], &world.nodes[b]);
            a.open.is_empty() && b.open.is_empty() && a.store.live() == b.store.live() && !a.store.live().is_empty()
        });
    }

    pub fn random_write(&mut self, index: usize) {
        let (key, value, kind) = (self.random(40) as u32, self.random(1 << 30), self.random(4));
        let wall = self.wall(index);
        self.nodes[index].write(key, (kind > 0).then_some(value), wall);
    }

    pub fn wall(&self, index: usize) -> UnixMillis {
        (WALL_START + self.now).saturating_add_signed(self.nodes[index].skew_ms)
    }

    pub fn step(&mut self) {
        self.now += 1;
        self.dial();
        self.deliver();
        let over = |wire: &Wire| wire.close_at.is_some_and(|at| at <= self.now);
        let closed: Vec<_> = self.wires.iter().filter(|(_, wire)| over(wire)).map(|(&pair, _)| pair).collect();
        closed.into_iter().for_each(|pair| self.disconnect(pair));
        for index in 0..self.nodes.len() {
            if !self.nodes[index].alive {
                continue;
            }
            let (now, wall) = (Millis(self.now), self.wall(index));
            if self.nodes[index].hub.poll_timeout().is_some_and(|due| due <= now) {
                self.nodes[index].hub.handle_timeout(now, wall);
                let next = self.nodes[index].hub.poll_timeout();
                assert!(next.is_none_or(|due| due > now), "a timer that stays due makes its caller spin");
            }
            if self.now.is_multiple_of(4) {
                self.nodes[index].drain(now);
            }
            if self.now.is_multiple_of(50) {
                self.nodes[index].seal_numbers(now, wall);
            }
            self.nodes[index].go_on_merging(now);
            self.carry_out(index);
            self.transmit(index);
            let closed: Vec<_> = self.nodes[index].to_close.drain(..).collect();
            for peer in closed {
                let pair = (0..self.nodes.len()).map(|other| (index.min(other), index.max(other)));
                let pair = pair.into_iter().find(|&(a, b)| a != b && identity(a + b - index) == peer);
                // Closed once what was sent has arrived, as a connection that flushes before it closes.
                if let Some(wire) = pair.and_then(|pair| self.wires.get_mut(&pair)) {
                    wire.closed_by[usize::from(pair.is_some_and(|(_, larger)| larger == index))] = true;
                    wire.close_at.get_or_insert(self.now + self.latency_ms + self.jitter_ms + 1);
                }
            }
        }
    }

    fn dial(&mut self) {
        let pairs: Vec<_> = self.wires.keys().copied().collect();
        for pair in pairs {
            let (a, b) = pair;
            let alive = self.nodes[a].alive && self.nodes[b].alive;
            let wire = self.wires.get_mut(&pair).unwrap();
            if !wire.connected && alive && !self.cut.contains(&pair) && wire.redial_at <= self.now {
                wire.connected = true;
                for (one, other) in [(a, b), (b, a)] {
                    let wall = self.wall(one);
                    let peer = self.nodes[other].settings.identity;
                    self.nodes[one].hub.link_up(peer, Millis(self.now), wall);
                }
            }
        }
    }

    fn disconnect(&mut self, pair: (usize, usize)) {
        let wire = self.wires.get_mut(&pair).unwrap();
        if !wire.connected {
            return;
        }
        let closed_by = wire.closed_by;
        *wire = Wire { redial_at: self.now + REDIAL_MS, ..Wire::default() };
        for ((one, other), closed) in [pair, (pair.1, pair.0)].into_iter().zip(closed_by) {
            // Who has closed a link knows that.
            if !closed {
                self.nodes[one].hub.link_down(identity(other), Millis(self.now));
            }
        }
    }

    fn deliver(&mut self) {
        let pairs: Vec<_> = self.wires.keys().copied().filter(|pair| !self.cut.contains(pair)).collect();
        for pair in pairs {
            for (side, from, to) in [(0, pair.0, pair.1), (1, pair.1, pair.0)] {
                let pipe = &mut self.wires.get_mut(&pair).unwrap().pipes[side];
                let mut due = Vec::new();
                pipe.frames.retain_mut(|frame| {
                    let now = frame.due <= self.now;
                    if now {
                        due.push((frame.due, frame.lane, std::mem::take(&mut frame.bytes)));
                    }
                    !now
                });
                due.sort_by_key(|&(at, _, _)| at);
                for (_, lane, bytes) in due {
                    let wall = self.wall(to);
                    let peer = identity(from);
                    if let Err(error) = self.nodes[to].hub.handle_frame(peer, lane, bytes, Millis(self.now), wall) {
                        self.errors.push(error);
                        self.disconnect(pair);
                        break;
                    }
                    self.carry_out(to);
                }
            }
        }
    }

    fn transmit(&mut self, index: usize) {
        let (now, wall) = (Millis(self.now), self.wall(index));
        for (peer, lane) in self.nodes[index].hub.with_output(now) {
            let other = (0..self.nodes.len()).find(|&other| identity(other) == peer).unwrap();
            let pair = (index.min(other), index.max(other));
            // About 20 frames a millisecond: the transport pushes back.
            for _ in 0..20 {
                if lane == Lane::State && self.is_state_full(pair, usize::from(index > other)) {
                    break;
                }
                let Some(bytes) = self.nodes[index].hub.poll_transmit(peer, lane, now, wall) else { break };
                *self.bytes_sent.entry(lane).or_default() += bytes.len() as u64;
                if self.record && index == 1 {
                    self.recorded.push((lane, bytes.to_vec()));
                }
                self.send(pair, usize::from(index > other), lane, bytes);
            }
        }
    }

    /// Whether a slow link has as much state on its way as the transport takes.
    fn is_state_full(&self, pair: (usize, usize), side: usize) -> bool {
        let frames = &self.wires[&pair].pipes[side].frames;
        self.state_kib_ms > 0 && frames.iter().filter(|frame| frame.lane == Lane::State).count() >= 2
    }

    fn send(&mut self, pair: (usize, usize), side: usize, lane: Lane, bytes: Bytes) {
        let mut due = self.now + self.latency_ms + self.random(self.jitter_ms + 1);
        if lane == Lane::State {
            let last = self.wires[&pair].pipes[side].last_due.get(&lane).copied().unwrap_or_default();
            due = due.max(last) + bytes.len() as u64 * self.state_kib_ms / 1_024;
        }
        let mut copies = 1;
        let mut keeps_order = true;
        if lane == Lane::Batches {
            copies -= u64::from(self.random(1_000) < self.batches_lost);
            copies += u64::from(self.random(1_000) < self.batches_doubled);
            if self.random(1_000) < self.batches_delayed {
                due += self.random(200);
                keeps_order = false;
            }
        }
        let pipe = &mut self.wires.get_mut(&pair).unwrap().pipes[side];
        if keeps_order {
            let last = pipe.last_due.entry(lane).or_default();
            due = due.max(*last);
            *last = due;
        }
        (0..copies).for_each(|_| pipe.frames.push_back(Frame { due, lane, bytes: bytes.clone() }));
    }

    fn carry_out(&mut self, index: usize) {
        let wall = self.wall(index);
        while let Some(event) = self.nodes[index].hub.poll_event() {
            self.check(index, &event);
            self.nodes[index].carry_out(event, Millis(self.now), wall);
        }
    }

    /// What must hold of events whoever made them.
    fn check(&self, index: usize, event: &Event) {
        let node = &self.nodes[index];
        if let Event::PeerVector { peer, number, vector } = event
            && node.members.is_none()
        {
            let other = self.nodes.iter().find(|node| node.settings.identity == *peer).unwrap();
            assert!(other.store.vector.covers_all(vector), "a peer was said to have what it has not");
            assert!(node.store.vector.of(*number) >= vector.of(*number), "a peer's older writes are not all here");
        }
    }
}

impl Node {
    fn new(settings: HubSettings, now: u64) -> Self {
        Self {
            hub: Hub::new(settings.clone(), Millis(now), WALL_START + now),
            settings,
            store: Store::default(),
            open: Vec::new(),
            latest: Stamp::ZERO,
            skew_ms: 0,
            alarms: Vec::new(),
            closed: Vec::new(),
            filled: false,
            sessions_finished: 0,
            answers: Vec::new(),
            messages: Vec::new(),
            overruns: 0,
            granted: 0,
            settled: BTreeMap::new(),
            membership: 0,
            journal: Vec::new(),
            members: None,
            alive: true,
            merge_ms: 0,
            tells_progress: true,
            merging: VecDeque::new(),
            to_close: Vec::new(),
        }
    }

    /// Whether it has state that is not merged yet.
    pub fn is_merging(&self) -> bool {
        !self.merging.is_empty()
    }

    /// Writes or deletes a key, as a command would.
    pub fn write(&mut self, key: u32, value: Option<u64>, wall: UnixMillis) {
        let number = self.hub.number().expect("the node has a number");
        self.latest = self.latest.max(self.store.vector.latest()).next(wall, number);
        let change = Change { stamp: self.latest, key, value, drops: self.store.observed(key) };
        self.store.write(&change);
        self.open.push(change);
    }

    /// Closes the open batch.
    pub fn drain(&mut self, now: Millis) {
        let (Some(first), Some(last)) = (self.open.first(), self.open.last()) else { return };
        let (first, last) = (first.stamp, last.stamp);
        let dependencies = self.hub.closed_vector().clone();
        let changes = self.open.len() as u32;
        let raw = Change::encode_all(&self.open);
        let batch = Batch::seal(
            self.hub.own_tail(),
            first,
            last,
            dependencies,
            changes,
            &raw,
            &mut protocol::Compression::default(),
        );
        self.open.clear();
        self.store.raise(last.author(), last);
        self.journal.push(batch.clone());
        self.hub.publish(batch, now);
    }

    fn carry_out(&mut self, event: Event, now: Millis, wall: UnixMillis) {
        let _ = wall;
        match event {
            Event::Apply(batch) => {
                let caused =
                    |(cause, stamp): (NodeNumber, Stamp)| stamp <= self.store.vector.of(cause) || self.is_closed(cause);
                assert!(batch.dependencies.iter().all(caused), "an effect before its cause");
                assert!(batch.previous.last <= self.store.vector.of(batch.origin), "a batch before its predecessor");
                Change::decode_all(&batch.open().unwrap()).iter().for_each(|change| self.store.apply(change));
                self.store.raise(batch.origin, batch.last);
                self.journal.push(batch.clone());
                self.hub.batch_applied(batch.origin, batch.last, now);
            }
            Event::CloseOpenBatch => {
                self.drain(now);
                self.hub.open_batch_closed(now);
            }
            Event::ReadJournal { peer, origin, after, .. } => {
                let kept = self.journal.iter().filter(|batch| batch.origin == origin && batch.last > after);
                let batches = kept.take(3).cloned().collect();
                self.hub.journal_read(peer, origin, after, batches);
            }
            Event::SessionRequested { peer, session, .. } => {
                self.drain(now);
                self.hub.session_begun(peer, session, now);
            }
            Event::ReadSlots { peer, session, from_slot, since, .. } => {
                let (next, payload) = self.store.read(from_slot, &since);
                self.hub.slots_read(peer, session, next, payload, now);
            }
            Event::MergeSlots { peer, session, payload } if self.merge_ms > 0 => {
                let before = self.merging.back().map_or(now.0, |(due, ..)| *due);
                self.merging.push_back((before + self.merge_ms, peer, session, payload));
            }
            Event::MergeSlots { peer, session, payload } => {
                let differing = self.store.merge(&payload);
                self.hub.slots_merged(peer, session, differing, now);
            }
            Event::ReadListing { peer, session, slots, .. } => {
                let covered = slots.len().min(2);
                let payload = self.store.list(&slots[..covered]);
                self.hub.listing_read(peer, session, covered, payload, now);
            }
            Event::MergeListing { peer, session, payload } => {
                self.store.merge(&payload);
                self.hub.listing_merged(peer, session, now);
            }
            Event::SessionFinished { peer, session, vector } => {
                self.sessions_finished += 1;
                vector.iter().for_each(|(node, stamp)| self.store.raise(node, stamp));
                self.hub.session_applied(peer, session, now);
                if let Some(members) = &mut self.members {
                    members.sealing.fetched(peer);
                }
            }
            Event::NumberRequested { peer } => {
                self.granted += 1;
                let base = self.settings.number.map_or(0, NodeNumber::value) * 50;
                let number_of = |n| NodeNumber::new(n).unwrap();
                let grant = NumberGrant {
                    number: number_of(base + self.granted),
                    range: (number_of(base + self.granted), number_of(base + self.granted)),
                };
                self.hub.grant_number(peer, grant);
            }
            Event::NumberGranted { grant, .. } => self.hub.set_number(grant.number),
            Event::NumberOverrun { .. } => self.overruns += 1,
            Event::PeerVector { peer, vector, .. } => {
                self.settled.insert(peer, vector);
            }
            Event::Membership { record, .. } if self.members.is_some() => self.merge_members(&record, now),
            Event::Membership { record, .. } => {
                let theirs = u64::from_le_bytes(record[..].try_into().unwrap());
                if theirs > self.membership {
                    self.set_membership(theirs, MemberView::default(), now);
                }
            }
            Event::Request { peer, id, body } => {
                assert!(self.hub.respond(peer, id, [&b"re: "[..], &body].concat()));
            }
            Event::Messages { messages, .. } => self.messages.extend(messages),
            Event::Response { body, .. } => self.answers.push(body),
            Event::Audit { frame, .. } => self.answers.push(frame),
            Event::CloseLink { peer, reason } => {
                self.to_close.push(peer);
                self.closed.push((peer, reason));
            }
            Event::Alarm(alarm) => self.alarms.push(alarm),
            Event::Filled => self.filled = true,
            Event::LinkReady { .. } | Event::SessionAbandoned { .. } | Event::RequestFailed { .. } => {}
        }
    }

    fn go_on_merging(&mut self, now: Millis) {
        while let Some((_, peer, session, payload)) = self.merging.pop_front_if(|(due, ..)| *due <= now.0) {
            let differing = self.store.merge(&payload);
            self.hub.slots_merged(peer, session, differing, now);
        }
        if self.tells_progress {
            self.merging.iter().for_each(|(_, peer, session, _)| self.hub.state_waits(*peer, *session, now));
        }
    }

    /// A membership record whose whole content is its version.
    pub fn set_membership(&mut self, version: u64, view: MemberView, now: Millis) {
        self.membership = version;
        let encoded = version.to_le_bytes().to_vec();
        self.hub.set_membership(MemberView { encoded, hash: version, ..view }, now);
    }
}

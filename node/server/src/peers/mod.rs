//! Peers: the thread that joins this node to the others.
//!
//! It owns the hub (which decides), the transport (which carries), the drain (which closes batches) and the sweep (which
//! removes what is over), and it is the only place where they meet the keyspace. Workers never wait for it: they log
//! their changes and go on. It runs on a thread of its own; in a simulation it is a task like any other.

mod arriving;
mod audit;
mod backup;
mod certificate;
mod control;
mod cut;
mod events;
mod flow;
mod held;
mod keeping;
mod known;
mod membership;
mod messages;
mod names;
mod pace;
mod preparing;
mod reading;
mod sealing;
mod sending;
mod start;
mod state;
mod status;

pub use control::{Control, ControlError, ControlReply};
pub use preparing::Preparation;
pub use start::{PeerSetup, StartError};
pub(crate) use state::merge_kept;

use crate::certificates::CertificateFiles;
use crate::config::Address;
use crate::console::Stop;
use crate::node::Node;
use audit::Audit;
use control::ControlRequest;
use crdt::membership::MemberRecord;
use crdt::{Membership, NodeNumber, Stamp, VersionVector};
use keyspace::{Drain, Writer};
use protocol::sealing::Sealing;
use protocol::{Compression, Hub, HubSettings, Millis, NodeIdentity};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use storage::{CatalogueRows, NumberNeeded};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use transport::{LinkId, Transport, TransportEvent, TransportEvents};

/// Joins a node to the others. Make it with [`Peers::new`], then [`Peers::run`] it.
pub struct Peers {
    node: Arc<Node>,
    identity: NodeIdentity,
    rows: CatalogueRows,
    /// What stands between the hub and the disk.
    keeping: keeping::Keeping,
    /// State that is being read and merged.
    state: state::StateWork,
    /// Keys that are still being read from the disk.
    still_read: Option<reading::StillRead>,
    /// What is on the disk cannot be read: this life does not end in order.
    is_unreadable: bool,
    /// For another hub, should less be there than this one believes, or something else.
    hub_settings: HubSettings,
    /// What the start has found on the disk and not read yet.
    loading: Option<start::Loading>,
    membership: Membership,
    /// The members of which the log tells; none before it was begun.
    members_told: Option<BTreeMap<NodeIdentity, MemberRecord>>,
    hub: Hub,
    transport: Arc<Transport>,
    transport_events: TransportEvents,
    links: BTreeMap<NodeIdentity, Link>,
    drain: Drain,
    /// Whether it pays to compress what is sent and kept.
    compression: Compression,
    /// Where batches of others are unpacked: memory that is taken anew for each is the system's to clear each time.
    unpacked: Vec<u8>,
    sweeper: Writer,
    audit: Audit,
    control: mpsc::Receiver<ControlRequest>,
    /// Questions of operators that wait for peers or for time.
    pending: control::Pending,
    /// Identities that get no link any more; the transport asks.
    barred: Arc<parking_lot::RwLock<BTreeSet<NodeIdentity>>>,
    /// What contributors are known to have applied.
    known_applied: BTreeMap<NodeNumber, VersionVector>,
    /// What every member has applied.
    known_everywhere: known::KnownEverywhere,
    /// The agreement about where ended numbers are closed.
    sealing: Sealing,
    /// Too many counter resets are held, and that was said.
    resets_alarmed: bool,
    /// The slot from which on it is looked next which resets can be forgotten.
    resets_from: u16,
    /// The membership was changed and could not be written down.
    is_unkept: bool,
    /// A fresh number that may be used once the membership that grants it is durable.
    number_to_take: Option<NodeNumber>,
    /// Why others must give this node a number, until the one they gave is in the catalogue.
    number_needed: Option<NumberNeeded>,
    /// What the peers that are fed had when their session began.
    fed_since: BTreeMap<NodeIdentity, VersionVector>,
    wake: Arc<Notify>,
    began: Instant,
    /// When the last batch was closed, and when to look for changes next; never while the next change wakes us.
    drained_at: Instant,
    drain_at: Option<Instant>,
    pace: pace::Pace,
    /// Pauses in which workers come to their keys while much is applied.
    pauses: pace::Pauses,
    /// Who is hidden from this node by its operator, to try out what happens.
    cut: Arc<parking_lot::RwLock<cut::Cut>>,
    dialed: BTreeSet<NodeIdentity>,
    refusals: Refusals,
    has_number: bool,
    filled: bool,
    batches: BatchFigures,
    /// The files of the certificate, and when to look at them next.
    certificates: Option<CertificateFiles>,
    certificates_at: Instant,
    /// Where clients connected when others were told last.
    clients_at: Address,
}

/// A connection to a peer.
#[derive(Clone, Copy, Debug)]
struct Link {
    id: LinkId,
    sent_before: u64,
    received_before: u64,
}

/// Why writes are refused. The reasons come and go independently.
#[derive(Clone, Debug, Default)]
struct Refusals {
    /// This identity was removed.
    removed: bool,
    /// It is about to be.
    draining: bool,
    /// Its peers say that a later life of it has ended its number.
    is_copy: bool,
    /// It may write no more under its number, and has no other one yet.
    no_number: bool,
    /// The clock is so far from the others'.
    drift_ms: Option<i64>,
    /// The disk does not keep what it should: the whole reply.
    disk: Option<String>,
}

impl Refusals {
    /// The error that writes get, if they are refused.
    fn reason(&self) -> Option<String> {
        if self.removed {
            return Some(format!("ERR {}", protocol::REMOVED));
        }
        if self.draining {
            return Some("ERR this node is being removed from the cluster; write elsewhere".to_owned());
        }
        if self.is_copy {
            return Some(format!("ERR {}", protocol::NUMBER_ENDED));
        }
        if self.no_number {
            return Some("ERR this node needs another node number and has none yet; see its log".to_owned());
        }
        let drift = self.drift_ms.map(|ms| {
            format!("ERR this node's clock is {ms} ms away from the other regions'; set it (NTP) and writes are accepted again")
        });
        drift.or_else(|| self.disk.clone())
    }
}

/// What was sent, for the ratio of bytes to writes.
#[derive(Clone, Copy, Debug, Default)]
struct BatchFigures {
    changes_made: u64,
    bytes_out: u64,
    /// To those that are no members any more.
    bytes_out_gone: u64,
}

/// After so long without a batch a change is sent at once; else it waits until `batch-interval-ms` after that batch is over.
const QUIET: Duration = Duration::from_millis(1);
/// Slots that one sweep visits: about 100 us of work, so that batches are not held up.
const SWEEP_SLOTS_MAX: usize = 512;
/// Keys that one sweep removes, and for how long it goes on removing: batches and links wait no longer than that. What
/// is left is swept after `SWEEP_AGAIN`.
const SWEEP_REMOVALS_MAX: u64 = 512;
const SWEEP_TURN_MAX: Duration = Duration::from_micros(500);
/// Between two sweeps of which the first was cut short: a hundred thousand keys a second and more go, and a third of the
/// thread's time is left for everything else.
const SWEEP_AGAIN: Duration = Duration::from_millis(1);
/// Between two looks at the files of the certificate: a renewed one should not need anybody to say so.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(60);
/// Events of the transport that are taken in one turn before what they caused is sent.
const EVENTS_A_TURN_MAX: usize = 256;
/// How long they may take together before the turn goes on, where the last one ends.
const EVENTS_TURN_MAX: Duration = Duration::from_millis(1);
/// How long an orderly stop waits for peers to have what was written here.
pub(crate) const STOP_DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long an orderly stop waits for the workers to end.
const SERVED_LAST_TIME: Duration = Duration::from_secs(2);
/// How much longer than clocks may differ another member waits before it removes what its owner did not.
const GRACE_BEYOND_DRIFT_MS: u64 = 5_000;

impl Peers {
    /// Runs until the node is asked to stop. An orderly stop first waits, for a bounded time, until peers have what was
    /// written here.
    pub async fn run(mut self) {
        self.status_now();
        if !self.load() {
            self.node.console.request_stop(Stop::Now);
            self.transport.shutdown().await;
            return;
        }
        let node = self.node.clone();
        let news = Arc::clone(&self.keeping.news);
        let pubsub = Arc::clone(&node.pubsub);
        let mut stopping = std::pin::pin!(node.console.stopping());
        let stop = loop {
            self.turn();
            if self.pace.next() <= Instant::now() {
                // What was just handed to the transport leaves first: chores may take a millisecond.
                tokio::task::yield_now().await;
                self.do_chores();
            }
            self.pauses.between_steps(node.monotonic_ns(), false);
            let waits_since_ns = node.monotonic_ns();
            let wait = tokio::time::sleep_until(self.next_deadline());
            // Until everything is read, links and operators wait.
            let has_read = self.has_read_all();
            tokio::select! {
                biased;
                stop = &mut stopping => break stop,
                () = self.wake.notified() => self.drain_at = Some(self.drain_time()),
                () = news.notified() => {}
                () = pubsub.outgoing.news.notified() => {}
                event = self.transport_events.recv(), if has_read => match event {
                    Some(event) => self.take_transport_events(event).await,
                    None => break Stop::Now,
                },
                request = self.control.recv(), if has_read => self.take_request(request),
                () = node.console.reloading() => self.look_at_certificates(),
                () = wait => {}
            }
            self.pauses.woken(waits_since_ns, node.monotonic_ns());
        };
        self.stop(stop).await;
    }

    /// Monotonic milliseconds, as the hub counts them.
    fn now(&self) -> Millis {
        Millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// One round: everything that is due is done, everything that has come out is sent.
    fn turn(&mut self) {
        let now = Instant::now();
        self.note_changes(now);
        self.send_messages();
        self.look_at_disk();
        self.look_at_reading();
        self.go_on_with_state();
        self.hasten_for_clients(now);
        if self.drain_at.is_some_and(|at| at <= now) {
            // The next change wakes this thread, once: only then is it known whether a quiet moment was before it. Without a
            // number nothing can be closed: whoever takes one looks then.
            let has_number = self.number().is_some();
            if has_number {
                self.close_batches();
            }
            let comes = has_number && self.node.keyspace.arm();
            self.drain_at = comes.then(|| self.drain_time());
        }
        let (millis, wall) = (self.now(), self.node.wall_clock());
        if self.hub.poll_timeout().is_some_and(|due| due <= millis) {
            self.note_queued_state(millis);
            self.hub.handle_timeout(millis, wall);
        }
        self.pump();
        self.serve_arrivals();
    }

    /// Carries out what the hub wants, and hands its frames to the transport, until neither has anything or this turn is over:
    /// when a gap closes, all that was waiting behind it wants to be applied.
    fn pump(&mut self) {
        let began_ns = self.node.monotonic_ns();
        loop {
            let mut idle = true;
            while let Some(event) = self.hub.poll_event() {
                idle = false;
                self.note_event(&event);
                self.handle(event);
                if self.node.since(began_ns) > EVENTS_TURN_MAX {
                    self.transmit();
                    return;
                }
            }
            if !self.transmit() && idle && !self.hub.has_events() {
                return;
            }
        }
    }

    /// When a change that has just come is to be sent: at once if nothing was sent lately.
    fn drain_time(&self) -> Instant {
        let interval = self.node.config.load().batch_interval;
        // Clients wait for what is written now to be durable: while one flush runs, the next batch gathers.
        let waits = self.node.durability.replies_wait() && self.keeping.has_room();
        if waits || self.drained_at.elapsed() >= QUIET { Instant::now() } else { self.drained_at + interval }
    }

    fn next_deadline(&self) -> Instant {
        let mut next = self.pace.next();
        if let Some(due) = self.hub.poll_timeout() {
            next = next.min(self.began + Duration::from_millis(due.0));
        }
        let own = self
            .drain_at
            .into_iter()
            .chain(self.keeping.due())
            .chain(self.hub.has_events().then(Instant::now))
            .chain(self.state.due())
            .chain(self.still_read.as_ref().and_then(reading::StillRead::due));
        own.fold(next, Instant::min)
    }

    async fn take_transport_events(&mut self, first: TransportEvent) {
        let began_ns = self.node.monotonic_ns();
        self.take_transport_event(first);
        for _ in 1..EVENTS_A_TURN_MAX {
            // What these bring is applied at once; own batches and heartbeats are due meanwhile.
            if self.node.since(began_ns) > EVENTS_TURN_MAX {
                break;
            }
            let next = std::future::poll_fn(|context| {
                std::task::Poll::Ready(match self.transport_events.poll_recv(context) {
                    std::task::Poll::Ready(event) => event,
                    std::task::Poll::Pending => None,
                })
            });
            match next.await {
                Some(event) => self.take_transport_event(event),
                None => break,
            }
        }
    }

    fn take_transport_event(&mut self, event: TransportEvent) {
        let (now, wall) = (self.now(), self.node.wall_clock());
        if matches!(event, TransportEvent::Connected { .. } | TransportEvent::Closed { .. }) {
            self.pace.stir(Instant::now());
        }
        match event {
            TransportEvent::Connected { link, peer, address, dialed_by_us } => {
                tracing::info!(%peer, %address, dialed_by_us, "a link stands");
                self.node.console.metrics.replication.peer(&self.name_of(peer)).links_opened.add(1);
                self.links.insert(peer, Link { id: link, sent_before: 0, received_before: 0 });
                self.hub.link_up(peer, now, wall);
            }
            TransportEvent::Frame { link, lane, bytes } => {
                let Some((&peer, _)) = self.links.iter().find(|(_, known)| known.id == link) else { return };
                if let Err(error) = self.hub.handle_frame(peer, lane, bytes, now, wall) {
                    tracing::warn!(%peer, %error, "a peer sent what makes no sense; its link is closed");
                    self.drop_link(peer, &error.to_string());
                }
            }
            // What can be sent now is found by the next turn.
            TransportEvent::Room { .. } => {}
            TransportEvent::Closed { link, peer, reason, says_removed, is_superseded } => {
                tracing::info!(%peer, %reason, "a link is over");
                if says_removed {
                    self.note_removed();
                }
                if self.links.get(&peer).is_some_and(|known| known.id == link) {
                    self.forget_link(peer);
                    // SUBTLE: whose connection gave way to a fresh one may be alive all the same, and the fresh one a copy's.
                    // The hub tears the old link down when it hears of the new one.
                    if !is_superseded {
                        self.hub.link_down(peer, now);
                    }
                }
            }
            TransportEvent::DialFailed { peer, error, says_removed } => {
                tracing::debug!(%peer, %error, "a peer could not be reached; it is tried again");
                if says_removed {
                    self.note_removed();
                }
            }
            TransportEvent::AcceptFailed { address, error } => {
                tracing::warn!(%address, %error, "a connection of another node was refused");
            }
        }
        self.pump();
    }

    /// Hands the hub's frames to the transport as far as it has room. True if anything went.
    fn transmit(&mut self) -> bool {
        let (now, wall) = (self.now(), self.node.wall_clock());
        let mut any = false;
        for (peer, lane) in self.hub.with_output(now) {
            let Some(link) = self.links.get(&peer).map(|link| link.id) else { continue };
            while self.transport.has_room(link, lane) {
                let Some(frame) = self.hub.poll_transmit(peer, lane, now, wall) else { break };
                any = true;
                if let Err(error) = self.transport.send(link, lane, frame) {
                    tracing::warn!(%peer, %error, "a frame could not be sent; the link is closed");
                    self.drop_link(peer, "a frame could not be sent");
                    break;
                }
            }
        }
        any
    }

    fn drop_link(&mut self, peer: NodeIdentity, reason: &str) {
        if let Some(link) = self.forget_link(peer) {
            self.transport.close(link, reason);
            self.hub.link_down(peer, self.now());
        }
    }

    /// A link is over, whoever has ended it: it is counted, with what went over it. The transport may have to close it.
    fn forget_link(&mut self, peer: NodeIdentity) -> Option<LinkId> {
        self.note_traffic(peer);
        let link = self.links.remove(&peer)?;
        self.node.console.metrics.replication.peer(&self.name_of(peer)).links_lost.add(1);
        Some(link.id)
    }

    /// The number this node stamps with, if it has one.
    fn number(&self) -> Option<NodeNumber> {
        self.hub.number()
    }

    /// A stamp for a change of the membership: later than all in it, also those of clocks that are ahead.
    fn membership_stamp(&self) -> Option<Stamp> {
        let number = self.number()?;
        let clock = self.node.keyspace.clock().max(self.membership.latest_stamp());
        let stamp = clock.next(self.node.wall_clock(), number);
        membership::observe_membership_stamp(&self.node, stamp);
        Some(stamp)
    }

    /// However it stops, what clients were told is on the disk afterwards; only peers may be made to wait for it.
    async fn stop(mut self, stop: Stop) {
        if self.is_unreadable {
            // It has nothing that it could serve or end in order.
            self.transport.shutdown().await;
            return;
        }
        let node = self.node.clone();
        let until = Instant::now() + STOP_DRAIN_TIME;
        // Until then clients may still be told that their writes are done. Where nobody says so (a node without threads
        // of its own, in a simulation) the time is short.
        let _ = tokio::time::timeout(SERVED_LAST_TIME, node.console.served_last()).await;
        if stop == Stop::Orderly {
            tokio::select! {
                () = self.hand_over(until) => {}
                () = node.console.stopping_now() => tracing::info!("the node does not wait for its peers"),
            }
        }
        self.end_store();
        self.transport.shutdown().await;
    }

    /// Waits, but not for ever, until linked peers have what was written here, and says goodbye.
    async fn hand_over(&mut self, until: Instant) {
        let mut is_closed = self.close_logged();
        self.pump();
        while !(is_closed && self.is_published() && self.peers_have_all()) && Instant::now() < until {
            let wait = tokio::time::sleep(Duration::from_millis(5));
            // A node that has not read all its keys tells no peer what it has.
            let has_read = self.has_read_all();
            tokio::select! {
                event = self.transport_events.recv(), if has_read => match event {
                    Some(event) => self.take_transport_events(event).await,
                    None => break,
                },
                () = wait => {}
            }
            is_closed = self.close_logged();
            self.turn();
        }
        self.hub.say_goodbye();
        self.pump();
    }

    /// Brings what was written here to the disk, and ends this life in order, if it was one.
    fn end_store(&mut self) {
        if !self.stop_disk() {
            tracing::error!("not everything could be made durable: the next start takes this one for a crash");
            return;
        }
        if let Err(error) = self.rows.end_cleanly() {
            tracing::error!(%error, "the catalogue could not note that the node ended in order");
        }
    }

    /// Whether every linked peer has applied everything that was written here.
    fn peers_have_all(&self) -> bool {
        let Some(number) = self.number() else { return true };
        let mine = self.hub.closed_vector().of(number);
        let ready = self.hub.ready_peers();
        ready.into_iter().all(|peer| self.hub.peer_vector(peer).is_some_and(|vector| vector.of(number) >= mine))
    }
}

#[cfg(test)]
mod tests;

//! What a hub says about itself: to `status`, INFO and the metrics. Plain figures, no behaviour.

use crate::{BootNonce, NodeIdentity};
use crdt::{NodeNumber, Stamp, VersionVector};

/// How far a link has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkPhase {
    /// No connection.
    Down,
    /// Connected, not yet accepted by both sides.
    Greeting,
    /// Both sides accepted; batches flow.
    Ready,
    /// Refused or failed: waits to be closed.
    Closing,
}

/// The upper ends of the ranges that write-to-applied times are counted by, in milliseconds.
pub const LAG_BOUNDS_MS: [u64; 10] = [5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 30_000];

/// How long own batches took from their first write until a peer had applied them, by ranges.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LagCounts {
    /// Batches in each range of [`LAG_BOUNDS_MS`], those beyond all of them last.
    pub counts: [u64; LAG_BOUNDS_MS.len() + 1],
    /// The sum of their times.
    pub sum_ms: u64,
}

impl LagCounts {
    pub(crate) fn note(&mut self, lag_ms: u64) {
        self.counts[LAG_BOUNDS_MS.partition_point(|&bound| bound < lag_ms)] += 1;
        self.sum_ms = self.sum_ms.saturating_add(lag_ms);
    }
}

/// One link as it stands. Links that are down are reported too, with what was last known.
#[derive(Clone, PartialEq, Debug)]
pub struct LinkReport {
    /// The peer.
    pub peer: NodeIdentity,
    /// How far the link has come.
    pub phase: LinkPhase,
    /// The number the peer stamps with.
    pub number: Option<NodeNumber>,
    /// The peer's process.
    pub boot: Option<BootNonce>,
    /// Milliseconds since the link last went up, ready or down.
    pub phase_ms: u64,
    /// Milliseconds since anything was heard; none if nothing ever was.
    pub silent_ms: Option<u64>,
    /// The fastest round trip of the last samples.
    pub rtt_ms: Option<u64>,
    /// The peer's clock minus this node's, by that sample.
    pub clock_offset_ms: Option<i64>,
    /// Milliseconds from write to applied there: that of the last acknowledged batch of this node, or the age of the
    /// oldest write that is not acknowledged if that is more. Measured as acknowledgement's arrival minus half a round
    /// trip minus the batch's first stamp, all on this node's clock.
    pub applied_lag_ms: u64,
    /// The same of every batch that was acknowledged over the life of this process.
    pub applied_lags: LagCounts,
    /// Own changes that the peer has not reported as applied, as far as the ring reaches.
    pub unacknowledged_changes: u64,
    /// Bytes of the batches that hold them.
    pub unacknowledged_bytes: u64,
    /// Bytes sent on this link and not reported as applied, of every origin.
    pub in_flight_bytes: usize,
    /// What the peer has applied.
    pub vector: VersionVector,
    /// Whether the peer is filling and does not serve yet.
    pub peer_is_filling: bool,
    /// Whether this node is being fed with state by the peer.
    pub fed_by_peer: bool,
    /// Whether this node feeds the peer with state; then the next slot to be read.
    pub feeding_peer: Option<u16>,
    /// Origins whose batches the peer gets from here although they are not this node's.
    pub relayed_to_peer: Vec<NodeNumber>,
    /// Origins that this node pulls from the peer.
    pub pulled_from_peer: Vec<NodeNumber>,
    /// Batches sent and received over the life of this process.
    pub batches_sent: u64,
    /// Batches received, duplicates included.
    pub batches_received: u64,
    /// Bytes of batches sent.
    pub batch_bytes_sent: u64,
    /// Bytes of batches received.
    pub batch_bytes_received: u64,
}

/// One origin as this node holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginReport {
    /// Whose batches.
    pub origin: NodeNumber,
    /// The last stamp applied here.
    pub applied: Stamp,
    /// The last stamp that any peer is known to have.
    pub known: Stamp,
    /// Bytes in the ring.
    pub ring_bytes: usize,
    /// Batches in the ring.
    pub ring_batches: usize,
    /// A peer that has less than this cannot be served from the ring.
    pub ring_begins_after: Stamp,
    /// Batches that wait for a predecessor, a dependency or the clock.
    pub waiting_batches: usize,
    /// Bytes of them.
    pub waiting_bytes: usize,
}

/// The hub as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeReport {
    /// Each origin that is known.
    pub origins: Vec<OriginReport>,
    /// Bytes in the ring, of all origins.
    pub ring_bytes: usize,
    /// What it may hold.
    pub ring_bytes_max: usize,
    /// Bytes handed out for application and not yet applied.
    pub applying_bytes: usize,
    /// Bytes of a chunk of state of which more parts are to come.
    pub state_gathered_bytes: usize,
    /// Whether the node still waits for its first filling.
    pub filling: bool,
    /// How often each limit was met.
    pub limits: LimitCounters,
}

/// How often each limit was met, and other events worth counting.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LimitCounters {
    /// Batches dropped because the waiting space of their origin was full.
    pub waiting_space_full: u64,
    /// Batches that left the ring for newer ones.
    pub ring_evictions: u64,
    /// Times a batch was held on its way out because the window of its link and origin was full.
    pub window_full: u64,
    /// Times a batch had to wait because too much was being applied.
    pub applying_full: u64,
    /// Links closed because control frames piled up.
    pub control_queue_full: u64,
    /// Requests that were not sent or not taken because too many were open.
    pub requests_refused: u64,
    /// State sessions that were put off because this node feeds others.
    pub sessions_put_off: u64,
    /// Batches held because of their stamps.
    pub clock_held: u64,
    /// Batches that came again.
    pub duplicates: u64,
    /// Batches of an ended number that were given up: beyond its seal, or waiting beyond a gap that nobody can fill.
    pub beyond_seal: u64,
    /// Gaps that were pulled.
    pub pulls: u64,
    /// Times a peer was told that the ring does not reach back to it.
    pub behind_sent: u64,
    /// Batches that were read from the journal for peers.
    pub journal_batches: u64,
    /// State sessions begun as the side that is fed.
    pub sessions_begun: u64,
    /// State sessions that ended without their end.
    pub sessions_abandoned: u64,
    /// State sessions that were carried to their end, as the side that is fed.
    pub sessions_finished: u64,
    /// Links closed because nothing was heard.
    pub links_silent: u64,
    /// Frames that made no sense.
    pub frame_errors: u64,
    /// Forked histories found.
    pub forks: u64,
    /// Published messages sent, one for each peer that was sent it.
    pub messages_sent: u64,
    /// Published messages that came from peers.
    pub messages_received: u64,
    /// Published messages that a link had no room for, one for each peer that was not sent it.
    pub messages_dropped: u64,
}

impl LimitCounters {
    /// The counters that say that something was refused, dropped or held, with their names, for metrics. What merely
    /// happens in the course of things (evictions from the ring, pulls, sessions) has figures of its own.
    pub fn named(&self) -> [(&'static str, u64); 11] {
        [
            ("waiting_space_full", self.waiting_space_full),
            ("applying_full", self.applying_full),
            ("control_queue_full", self.control_queue_full),
            ("requests_refused", self.requests_refused),
            ("sessions_put_off", self.sessions_put_off),
            ("clock_held", self.clock_held),
            ("beyond_seal", self.beyond_seal),
            ("links_silent", self.links_silent),
            ("frame_errors", self.frame_errors),
            ("forks", self.forks),
            ("messages_dropped", self.messages_dropped),
        ]
    }
}

//! What a hub is started with, and what it is told about the members.

use crate::{BatchTail, BootNonce, ClusterId, NodeIdentity, limits};
use crdt::{NodeNumber, Stamp, VersionVector};
use std::collections::{BTreeMap, BTreeSet};

/// Who this node is, what it recovered, and the pace of its links.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// This node.
    pub identity: NodeIdentity,
    /// Its cluster; links to another cluster are refused.
    pub cluster: ClusterId,
    /// Drawn at each start: tells a restart, and a second live copy, from the process before.
    pub boot: BootNonce,
    /// The number it stamps with, if it has one. Without one the hub asks the first peer that is ready.
    pub number: Option<NodeNumber>,
    /// Every number this identity ever stamped with. The current one is added by itself.
    pub numbers: BTreeSet<NodeNumber>,
    /// What recovery found applied: closed batches only.
    pub vector: VersionVector,
    /// The last batch of each origin as far as the journal knows it, for the check against forks.
    pub tails: BTreeMap<NodeNumber, BatchTail>,
    /// Whether there is a journal to read from where the ring does not reach.
    pub journal: bool,
    /// Bytes of recent batches of all origins together.
    pub ring_bytes: usize,
    /// Bytes of batches of one origin that may wait.
    pub waiting_bytes: usize,
    /// Bytes of one origin that may be on their way over one link.
    pub window_bytes: usize,
    /// Batches of more bytes cross a link in fragments of so many.
    pub fragment_bytes: usize,
    /// Chunks of state of more bytes cross a link in parts of so many.
    pub state_part_bytes: usize,
    /// A chunk of state that claims to have more bytes is refused.
    pub state_chunk_bytes_max: usize,
    /// How long a gap may last before another peer is asked to fill it.
    pub grace_ms: u64,
    /// The pace of heartbeats.
    pub heartbeat_ms: u64,
    /// A link that was silent for so long is closed.
    pub silence_ms: u64,
    /// At most one acknowledgement a link in this time.
    pub ack_ms: u64,
    /// How far a stamp may be ahead of the local clock, or of the peer's clock that is furthest ahead.
    pub max_clock_drift_ms: u64,
    /// How long an empty node waits for a peer with data before it serves what it has: from its start, and from the moment
    /// at which the last such peer went away.
    pub fill_timeout_ms: u64,
    /// How many peers are configured: an empty node whose peers are all here and all empty need not wait.
    pub peers_expected: usize,
    /// Keys were lost that peers have not brought back yet: the node fills like an empty one, whatever it has.
    pub is_unfilled: bool,
    /// This node was admitted to a cluster that was there before, and never had what the others have: it serves nothing
    /// before it has met one of them.
    pub is_newcomer: bool,
    /// For the random part of pauses.
    pub seed: u64,
}

impl HubSettings {
    /// The defaults of an empty node.
    pub fn new(identity: NodeIdentity, cluster: ClusterId, boot: BootNonce) -> Self {
        Self {
            identity,
            cluster,
            boot,
            number: None,
            numbers: BTreeSet::new(),
            vector: VersionVector::new(),
            tails: BTreeMap::new(),
            journal: false,
            ring_bytes: limits::RING_BYTES,
            waiting_bytes: limits::WAITING_BYTES,
            window_bytes: limits::WINDOW_BYTES,
            fragment_bytes: limits::FRAGMENT_BYTES,
            state_part_bytes: limits::STATE_PART_BYTES,
            state_chunk_bytes_max: limits::STATE_CHUNK_BYTES_MAX,
            grace_ms: 1_000,
            heartbeat_ms: 250,
            silence_ms: 1_500,
            ack_ms: 5,
            max_clock_drift_ms: 60_000,
            fill_timeout_ms: 10_000,
            peers_expected: 0,
            is_unfilled: false,
            is_newcomer: false,
            seed: boot.0,
        }
    }
}

/// The membership as the hub needs it. The record itself is data of the `crdt` crate and opaque here.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MemberView {
    /// Every number that was ever given to a member, removed ones included.
    pub numbers: BTreeMap<NodeIdentity, BTreeSet<NodeNumber>>,
    /// Identities that are never linked with again.
    pub removed: BTreeSet<NodeIdentity>,
    /// Numbers that nobody writes under any more: their nodes go on under others, or were removed. Who claims to stamp
    /// with one is not linked with.
    pub ended: BTreeSet<NodeNumber>,
    /// Those of them that are closed, and where: what lies beyond is lost and waited for no more.
    pub sealed: BTreeMap<NodeNumber, Stamp>,
    /// Origins whose stamps may be ahead of the clock: an operator released them.
    pub drift_released: BTreeSet<NodeNumber>,
    /// The record, as it is sent to a peer that reports another hash.
    pub encoded: Vec<u8>,
    /// Equal exactly when the records are.
    pub hash: u64,
}

//! What the hub wants done. Events are carried out in the order in which they come.

use crate::{
    Batch, BootNonce, FrameError, NodeIdentity, NumberGrant, PublishedMessage, RefusalCode, RequestId, SessionId,
};
use bytes::Bytes;
use crdt::{NodeNumber, Stamp, VersionVector};
use std::sync::Arc;

/// Something for the node to do or to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Both sides have accepted each other.
    LinkReady {
        /// The peer.
        peer: NodeIdentity,
        /// The protocol version both will speak.
        version: u16,
        /// The number the peer stamps with, if it has one yet.
        number: Option<NodeNumber>,
        /// The peer's process.
        boot: BootNonce,
    },
    /// Poll the control lane of this link once more, flush, and close the connection. `link_down` need not be called.
    CloseLink {
        /// The peer.
        peer: NodeIdentity,
        /// Why, for the log and for whether to dial again soon.
        reason: CloseReason,
    },
    /// Journal and apply this batch, then call `batch_applied`. Batches come in causal order and must be applied in it.
    Apply(Arc<Batch>),
    /// Drain the open batch, `publish` it if it holds anything, then call `open_batch_closed`.
    CloseOpenBatch,
    /// The ring does not reach back to where a peer is: read what follows from the journal, and answer with `journal_read`.
    ReadJournal {
        /// The peer.
        peer: NodeIdentity,
        /// Whose batches.
        origin: NodeNumber,
        /// How far the peer is.
        after: Stamp,
        /// About how many bytes to read.
        bytes_max: usize,
    },
    /// A peer asks for state: close and publish the open batch, then call `session_begun`.
    SessionRequested {
        /// Who asks.
        peer: NodeIdentity,
        /// The session, named by the asker.
        session: SessionId,
        /// What the asker has.
        since: VersionVector,
    },
    /// Read slots from `from_slot` on and answer with `slots_read`.
    ReadSlots {
        /// Who is fed.
        peer: NodeIdentity,
        /// The session.
        session: SessionId,
        /// The first slot to read.
        from_slot: u16,
        /// What the peer has: send what this does not cover, and a digest for the rest.
        since: VersionVector,
        /// About how much to send; a single slot may exceed it.
        bytes_max: usize,
    },
    /// Merge what a peer's `ReadSlots` made, then answer with `slots_merged`.
    MergeSlots {
        /// Who feeds.
        peer: NodeIdentity,
        /// The session.
        session: SessionId,
        /// The other side's `slots_read` payload.
        payload: Bytes,
    },
    /// Read the full contents of these slots and answer with `listing_read`.
    ReadListing {
        /// Who is fed.
        peer: NodeIdentity,
        /// The session.
        session: SessionId,
        /// Slots whose digests differed, in order.
        slots: Vec<u16>,
        /// About how much to send; stop after the slot that passes it.
        bytes_max: usize,
    },
    /// Merge what a peer's `ReadListing` made, then answer with `listing_merged`.
    MergeListing {
        /// Who feeds.
        peer: NodeIdentity,
        /// The session.
        session: SessionId,
        /// The other side's `listing_read` payload.
        payload: Bytes,
    },
    /// All is merged: journal and raise the vector to this one, then call `session_applied`.
    SessionFinished {
        /// Who fed.
        peer: NodeIdentity,
        /// The session.
        session: SessionId,
        /// What the source had when the session began.
        vector: VersionVector,
    },
    /// A session ended without its end: forget what was kept for it. What was merged stays, the vector does not rise.
    SessionAbandoned {
        /// The other side.
        peer: NodeIdentity,
        /// The session.
        session: SessionId,
        /// Whether this node was the one that fed.
        feeding: bool,
    },
    /// Clients of a peer have published these messages: hand them to the subscribers of this node, and to nobody else.
    Messages {
        /// The peer.
        peer: NodeIdentity,
        /// In the order in which they were published.
        messages: Vec<PublishedMessage>,
    },
    /// A peer's membership record: merge it, and call `set_membership` if that changed anything.
    Membership {
        /// Whose record.
        peer: NodeIdentity,
        /// The record.
        record: Bytes,
    },
    /// A peer without a number asks for one: burn it in the catalogue, then call `grant_number`.
    NumberRequested {
        /// Who asks.
        peer: NodeIdentity,
    },
    /// A peer gave this node a number: write it to the catalogue, then call `set_number`.
    NumberGranted {
        /// Who gave it.
        peer: NodeIdentity,
        /// What was given.
        grant: NumberGrant,
    },
    /// A peer holds writes under this node's number that this node does not have: what was on disk is older than what
    /// was sent. Take another number before the next write; the missing tail then comes like anybody's.
    NumberOverrun {
        /// Who knows more.
        peer: NodeIdentity,
        /// The number.
        number: NodeNumber,
        /// Its last stamp there.
        known: Stamp,
    },
    /// `peer` has applied all of `vector`, and every batch it wrote before it did is applied here: what waits for that
    /// (`resets`) can be collected.
    PeerVector {
        /// The peer.
        peer: NodeIdentity,
        /// The number it stamps with.
        number: NodeNumber,
        /// What it has applied.
        vector: VersionVector,
    },
    /// A peer's part of the standing proof, for [`crate::AuditFrame::decode`].
    Audit {
        /// The peer.
        peer: NodeIdentity,
        /// The frame.
        frame: Bytes,
    },
    /// A peer's question to this node; answer with `respond`.
    Request {
        /// The peer.
        peer: NodeIdentity,
        /// To be named in the answer.
        id: RequestId,
        /// The question.
        body: Bytes,
    },
    /// The answer to an earlier `request`.
    Response {
        /// The peer.
        peer: NodeIdentity,
        /// The request.
        id: RequestId,
        /// The answer.
        body: Bytes,
    },
    /// The link went down before the answer came.
    RequestFailed {
        /// The peer.
        peer: NodeIdentity,
        /// The request.
        id: RequestId,
    },
    /// The node has what its peers have, or found nobody who has anything: it may serve. Comes once, and at once for a
    /// node that recovered data or has no peers configured.
    Filled,
    /// Something for an operator's eyes.
    Alarm(Alarm),
}

/// Why a link is to be closed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CloseReason {
    /// Both ends are this node. Do not dial this address again.
    #[error("this address leads to the node itself")]
    SelfPeering,
    /// This side refused, and has told the peer why.
    #[error("refused the peer: {0}")]
    Refused(String),
    /// The peer refused, for the reason given.
    #[error("the peer refused: {sentence}")]
    RefusedByPeer {
        /// The reason, if this version knows it.
        code: Option<RefusalCode>,
        /// The peer's words.
        sentence: String,
    },
    /// Nothing was heard for the time allowed.
    #[error("heard nothing for {0} ms")]
    Silent(u64),
    /// The handshake did not finish in time.
    #[error("the handshake did not finish within {0} ms: the peer may still be reading its disk")]
    HandshakeTimeout(u64),
    /// The peer is shutting down.
    #[error("the peer is shutting down")]
    Goodbye,
    /// The peer does not read what is sent to it.
    #[error("the peer let {0} bytes of control frames pile up")]
    NotReading(usize),
    /// The peer was removed from the cluster.
    #[error("the peer was removed from the cluster")]
    Removed,
    /// What the peer sent makes no sense.
    #[error(transparent)]
    Frame(FrameError),
}

/// Something for an operator's eyes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Alarm {
    /// Two batches claim the same place in an origin's history: two processes wrote under one number.
    #[error("the history of node {origin} has forked after {at}: two processes wrote under one number")]
    Fork {
        /// Whose history.
        origin: NodeNumber,
        /// The last stamp before the fork.
        at: Stamp,
        /// Who sent the other branch.
        peer: NodeIdentity,
    },
    /// A batch is held because its stamps are too far ahead.
    #[error("a batch of node {origin} is {ahead_ms} ms ahead of the clock and is held back")]
    ClockAhead {
        /// Whose batch.
        origin: NodeNumber,
        /// How far ahead of the local clock.
        ahead_ms: u64,
        /// Who sent it.
        peer: NodeIdentity,
    },
    /// A second process runs with the same key.
    #[error("a second live process runs with the key of {peer}: it was refused")]
    SecondLiveCopy {
        /// The identity that both have.
        peer: NodeIdentity,
    },
    /// A removed node tried to link.
    #[error("{peer} was removed from the cluster and tried to link: it was refused")]
    RemovedPeer {
        /// The removed identity.
        peer: NodeIdentity,
    },
    /// A peer claims a number that belongs to another identity.
    #[error("{peer} claims node number {number}, which belongs to {owner}: it was refused")]
    NumberTaken {
        /// Who claims it.
        peer: NodeIdentity,
        /// What.
        number: NodeNumber,
        /// Whose it is.
        owner: NodeIdentity,
    },
}

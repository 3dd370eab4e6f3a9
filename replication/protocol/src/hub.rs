//! skeleton
use crate::*;
use bytes::Bytes;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
use std::sync::Arc;

/// One per node: the links to all peers and everything that flows through them.
pub struct Hub {
    vector: VersionVector,
}

#[allow(unused_variables)]
impl Hub {
    /// A hub without links.
    pub fn new(settings: HubSettings, now: Millis, wall: UnixMillis) -> Self {
        Self { vector: settings.vector }
    }
    /// Puts a recovered batch into the ring, oldest first, before any link is up.
    pub fn restore(&mut self, batch: Arc<Batch>) {}
    /// The number to stamp with from now on.
    pub fn set_number(&mut self, number: NodeNumber) {}
    /// Asks a peer for a number, now and again until `set_number` is called.
    pub fn request_number(&mut self, now: Millis) {}
    /// The membership changed.
    pub fn set_membership(&mut self, members: MemberView, now: Millis) {}
    /// A connection stands whose other end has proved to be `peer`.
    pub fn link_up(&mut self, peer: NodeIdentity, now: Millis, wall: UnixMillis) {}
    /// The connection is gone.
    pub fn link_down(&mut self, peer: NodeIdentity, now: Millis) {}
    /// A frame came. On an error, close the link with it.
    pub fn handle_frame(&mut self, peer: NodeIdentity, lane: Lane, frame: Bytes, now: Millis, wall: UnixMillis) -> Result<(), FrameError> {
        Ok(())
    }
    /// Time passed.
    pub fn handle_timeout(&mut self, now: Millis, wall: UnixMillis) {}
    /// When `handle_timeout` is to be called next.
    pub fn poll_timeout(&self) -> Option<Millis> {
        None
    }
    /// An own batch was closed (and is in the journal): it goes to the ring and to every link.
    pub fn publish(&mut self, batch: Arc<Batch>, now: Millis) {}
    /// The tail that the next own batch must name as `previous`.
    pub fn own_tail(&self) -> BatchTail {
        BatchTail::default()
    }
    /// `Event::Apply` was carried out up to this batch.
    pub fn batch_applied(&mut self, origin: NodeNumber, last: Stamp, now: Millis) {}
    /// `Event::CloseOpenBatch` was carried out (what there was is published).
    pub fn open_batch_closed(&mut self, now: Millis) {}
    /// What is applied here, closed batches only: the one vector that may leave this node.
    pub fn closed_vector(&self) -> &VersionVector {
        &self.vector
    }
    /// The next thing to do.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
    /// The next frame for this lane; ask only while the transport has room.
    pub fn poll_transmit(&mut self, peer: NodeIdentity, lane: Lane, now: Millis, wall: UnixMillis) -> Option<Bytes> {
        None
    }
    /// Lanes that have something to send.
    pub fn with_output(&self, now: Millis) -> Vec<(NodeIdentity, Lane)> {
        Vec::new()
    }
    /// `Event::SessionRequested` was carried out: the session's vector is `closed_vector` of this moment.
    pub fn session_begun(&mut self, peer: NodeIdentity, session: SessionId, now: Millis) {}
    /// The answer to `Event::ReadSlots`: the slots before `next` are in `payload`; none: that was the last one.
    pub fn slots_read(&mut self, peer: NodeIdentity, session: SessionId, next: Option<u16>, payload: Bytes, now: Millis) {}
    /// The answer to `Event::MergeSlots`: slots whose digests still differ, in order.
    pub fn slots_merged(&mut self, peer: NodeIdentity, session: SessionId, differing: Vec<u16>, now: Millis) {}
    /// The answer to `Event::ReadListing`: the first `covered` of the slots asked for (at least one) are in `payload`.
    pub fn listing_read(&mut self, peer: NodeIdentity, session: SessionId, covered: usize, payload: Bytes, now: Millis) {}
    /// The answer to `Event::MergeListing`.
    pub fn listing_merged(&mut self, peer: NodeIdentity, session: SessionId, now: Millis) {}
    /// `Event::SessionFinished` was carried out: the vector is raised and journaled.
    pub fn session_applied(&mut self, peer: NodeIdentity, session: SessionId, now: Millis) {}
    /// This node cannot go on with a session (either side).
    pub fn session_failed(&mut self, peer: NodeIdentity, session: SessionId, now: Millis) {}
    /// The answer to `Event::NumberRequested`. False: the link is gone, the number is burnt for nothing.
    pub fn grant_number(&mut self, peer: NodeIdentity, grant: NumberGrant) -> bool {
        false
    }
    /// Sends an audit frame. False: the link is not ready or its queue is full.
    pub fn send_audit(&mut self, peer: NodeIdentity, frame: Vec<u8>) -> bool {
        false
    }
    /// Asks a peer something; the answer comes as `Event::Response` or `Event::RequestFailed`.
    pub fn request(&mut self, peer: NodeIdentity, body: Vec<u8>) -> Option<RequestId> {
        None
    }
    /// Answers `Event::Request`. False: the link is gone.
    pub fn respond(&mut self, peer: NodeIdentity, id: RequestId, body: Vec<u8>) -> bool {
        false
    }
    /// Tells every peer that this process ends, so that its next start is not taken for a second copy.
    pub fn say_goodbye(&mut self, now: Millis) {}
    /// Peers whose links are ready.
    pub fn ready_peers(&self) -> Vec<NodeIdentity> {
        Vec::new()
    }
    /// What a peer is known to have applied; kept while its link is down.
    pub fn peer_vector(&self, peer: NodeIdentity) -> Option<&VersionVector> {
        None
    }
    /// Whether `Event::Filled` is still to come.
    pub fn is_filling(&self) -> bool {
        false
    }
    /// The link as it stands; none for a peer never heard of.
    pub fn link_report(&self, peer: NodeIdentity, now: Millis, wall: UnixMillis) -> Option<LinkReport> {
        None
    }
    /// Every peer ever linked.
    pub fn peers(&self) -> Vec<NodeIdentity> {
        Vec::new()
    }
    /// The node as a whole.
    pub fn report(&self) -> NodeReport {
        unreachable!()
    }
}

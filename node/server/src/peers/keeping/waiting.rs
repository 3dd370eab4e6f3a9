//! What waits for the journal, and what is done then.

use crate::peers::backup::BackupOrder;
use crate::persistence::Walk;
use bytes::Bytes;
use crdt::{Stamp, VersionVector};
use protocol::{Batch, NodeIdentity, RequestId, SessionId};
use std::sync::Arc;

/// Something that waits for the journal.
#[derive(Debug)]
pub(in crate::peers) struct Queued {
    /// Its record, or the next one if it has none: everything before is carried out when this is its turn.
    pub(in crate::peers) first: u64,
    /// It is done when so many records are written.
    pub(in crate::peers) position: u64,
    pub(in crate::peers) then: Waiting,
}

/// What is done once the journal has everything before it.
#[derive(Debug)]
pub(in crate::peers) enum Waiting {
    /// An own batch goes to the ring and to every link.
    Publish(Arc<Batch>),
    /// A received batch is applied.
    Apply(Arc<Batch>),
    /// The open batch was closed.
    Settled,
    /// Everything up to this reading of the clock is in the closed vector.
    Moment(Stamp),
    /// This node accepts no more writes: who removes it is told what was written.
    Drained { peer: NodeIdentity, id: RequestId },
    /// The keyspace was walked over for a checkpoint, and all that can be in its images is in the journal.
    Walked(Box<Walk>),
    /// A state session is fed from here on.
    SessionBegun { peer: NodeIdentity, session: SessionId },
    /// A backup begins: everything that was acknowledged before is in the journal.
    Backup(BackupOrder),
    /// Slots are read out for a state session.
    ReadSlots { peer: NodeIdentity, session: SessionId, from_slot: u16, since: VersionVector, bytes_max: usize },
    /// The same of slots that are listed.
    ReadListing { peer: NodeIdentity, session: SessionId, slots: Vec<u16>, bytes_max: usize },
    /// Slots that were read out are sent: the changes in them are in the journal.
    SlotsRead { peer: NodeIdentity, session: SessionId, next: Option<u16>, bytes: Bytes },
    /// The same of slots that were listed.
    ListingRead { peer: NodeIdentity, session: SessionId, covered: usize, bytes: Bytes },
    /// Slots of a peer are merged.
    MergeSlots { peer: NodeIdentity, session: SessionId, payload: Bytes },
    /// The same of slots that were listed.
    MergeListing { peer: NodeIdentity, session: SessionId, payload: Bytes },
    /// A state session is through.
    SessionFinished { peer: NodeIdentity, session: SessionId, vector: VersionVector },
}

impl Waiting {
    /// Which state session it is a part of, if it is of one.
    pub(in crate::peers) fn session(&self) -> Option<(NodeIdentity, SessionId)> {
        match *self {
            Self::SessionBegun { peer, session }
            | Self::ReadSlots { peer, session, .. }
            | Self::ReadListing { peer, session, .. }
            | Self::SlotsRead { peer, session, .. }
            | Self::ListingRead { peer, session, .. }
            | Self::MergeSlots { peer, session, .. }
            | Self::MergeListing { peer, session, .. }
            | Self::SessionFinished { peer, session, .. } => Some((peer, session)),
            _ => None,
        }
    }

    /// Whether the hub waits for it, or gets it. Another hub knows nothing of that, and must not be told.
    pub(in crate::peers) fn is_for_hub(&self) -> bool {
        match self {
            Self::Moment(_) | Self::Walked(_) | Self::Backup(_) => false,
            Self::Publish(_)
            | Self::Apply(_)
            | Self::Settled
            | Self::Drained { .. }
            | Self::SessionBegun { .. }
            | Self::ReadSlots { .. }
            | Self::ReadListing { .. }
            | Self::SlotsRead { .. }
            | Self::ListingRead { .. }
            | Self::MergeSlots { .. }
            | Self::MergeListing { .. }
            | Self::SessionFinished { .. } => true,
        }
    }

    /// Bytes of state of a peer.
    pub(in crate::peers) fn state_bytes(&self) -> u64 {
        match self {
            Self::MergeSlots { payload, .. } | Self::MergeListing { payload, .. } => payload.len() as u64,
            _ => 0,
        }
    }

    /// Whether it is done only while no key is being moved.
    pub(in crate::peers) fn needs_stillness(&self) -> bool {
        matches!(
            self,
            Self::MergeSlots { .. } | Self::MergeListing { .. } | Self::ReadSlots { .. } | Self::ReadListing { .. }
        )
    }
}

//! Who may link with whom: the first frame each side sends, and the verdict on the other's.
//!
//! The transport has already proved that the peer holds the key of its identity; here it is decided whether that
//! identity, cluster, process and number are welcome.

use crate::fragments::HeldFragments;
use crate::frame::WireVector;
use crate::{MemberView, limits};
use bincode::{Decode, Encode};
use crdt::{NodeIdentity, NodeNumber};
use std::collections::BTreeSet;
use std::fmt;

/// The newest version of the wire that this code speaks. Both sides speak the lower one of the two newest.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest version that this code still speaks.
pub const PROTOCOL_VERSION_OLDEST: u16 = 1;

/// The capability of a node that takes published messages. Who does not say so is sent none.
pub(crate) const CAPABILITY_MESSAGES: u64 = 1;

/// What a removed node is told, and tells its operator.
pub const REMOVED: &str = "this node was removed from the cluster and cannot come back under its old identity; add it \
                           again with `pelago region add`, which makes a new one";

/// What a process is told whose number was ended by a later life of its node.
pub const NUMBER_ENDED: &str = "this node's number has ended: a later life of the node has said so; stop one of the two, \
                                and never run two copies of a data directory";

/// What a node is told that has lost what it wrote under its number, and wrote other things since.
pub(crate) const HISTORY_FORKED: &str = "what this node has written does not follow what others have of its number: it has lost \
                                         something, or two processes wrote under one number";

/// Which cluster a node belongs to. Two clusters never merge by accident.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct ClusterId(pub [u8; 16]);

/// Drawn when a process starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Encode, Decode)]
pub struct BootNonce(pub u64);

/// Why a peer was not accepted. The numbers travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalCode {
    /// No common version of the wire.
    Version = 1,
    /// Another cluster.
    Cluster = 2,
    /// The identity in the frame is not the one that the transport proved.
    Identity = 3,
    /// The peer is this node.
    SelfPeering = 4,
    /// The identity was removed from the cluster.
    Removed = 5,
    /// Another live process has the same identity.
    SecondLiveCopy = 6,
    /// The number belongs to another identity.
    NumberTaken = 7,
    /// The number has ended: a later life of the node has said so.
    NumberEnded = 8,
    /// What the peer wrote under its own number does not follow what others have of it.
    HistoryForked = 9,
}

/// The first frame of each side.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Hello {
    pub version_oldest: u16,
    pub version_newest: u16,
    pub cluster: ClusterId,
    pub identity: NodeIdentity,
    pub boot: BootNonce,
    pub number: Option<u16>,
    pub numbers: Vec<u16>,
    pub capabilities: u64,
    pub membership_hash: u64,
    pub filling: bool,
    pub sent_ms: u64,
    pub wall_ms: u64,
}

/// Both sides go on: what the accepting side has, so that the other starts sending in the right place.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Accept {
    pub version: u16,
    pub vector: WireVector,
    /// What it has of batches that came in fragments.
    pub fragments: Vec<HeldFragments>,
    /// The `sent_ms` of the hello that is accepted, for the round trip.
    pub echo_ms: u64,
    /// Milliseconds between the arrival of that hello and this answer.
    pub held_ms: u64,
    pub wall_ms: u64,
}

/// The other side is not accepted. The sentence is for its log and says what to do.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Refuse {
    pub code: u8,
    pub sentence: String,
}

impl RefusalCode {
    /// The code with this number, if this version knows it.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Version,
            2 => Self::Cluster,
            3 => Self::Identity,
            4 => Self::SelfPeering,
            5 => Self::Removed,
            6 => Self::SecondLiveCopy,
            7 => Self::NumberTaken,
            8 => Self::NumberEnded,
            9 => Self::HistoryForked,
            _ => return None,
        })
    }
}

/// What an accepted peer said of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PeerFacts {
    pub version: u16,
    pub boot: BootNonce,
    pub number: Option<NodeNumber>,
    pub numbers: BTreeSet<NodeNumber>,
    pub takes_messages: bool,
}

/// What a hello is judged against.
pub(crate) struct Judge<'a> {
    pub me: NodeIdentity,
    pub cluster: ClusterId,
    /// Who the transport says the peer is.
    pub peer: NodeIdentity,
    /// The process of the same identity that is known to be alive, if any.
    pub alive: Option<BootNonce>,
    pub my_numbers: &'a BTreeSet<NodeNumber>,
    pub members: &'a MemberView,
}

/// A refusal before it is written down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub code: RefusalCode,
    pub sentence: String,
    /// The number in dispute and whose it is.
    pub taken: Option<(NodeNumber, NodeIdentity)>,
}

impl Judge<'_> {
    /// The verdict on a peer's hello.
    pub(crate) fn judge(&self, hello: &Hello) -> Result<PeerFacts, Refusal> {
        let refuse = |code, sentence: String| Err(Refusal { code, sentence, taken: None });
        if self.peer == self.me || hello.identity == self.me {
            return refuse(
                RefusalCode::SelfPeering,
                "this address leads back to the node itself: take it out of the list of peers".into(),
            );
        }
        if hello.cluster != self.cluster {
            return refuse(
                RefusalCode::Cluster,
                format!(
                    "this node belongs to cluster {} and not to {}: clusters never merge, check the list of peers",
                    self.cluster, hello.cluster
                ),
            );
        }
        if hello.identity != self.peer {
            return refuse(
                RefusalCode::Identity,
                format!("the certificate says {} and the greeting says {}", self.peer, hello.identity),
            );
        }
        if self.members.removed.contains(&self.peer) {
            return refuse(RefusalCode::Removed, REMOVED.into());
        }
        let version = hello.version_newest.min(PROTOCOL_VERSION);
        if version < hello.version_oldest || version < PROTOCOL_VERSION_OLDEST {
            return refuse(
                RefusalCode::Version,
                format!(
                    "this node speaks wire versions {PROTOCOL_VERSION_OLDEST} to {PROTOCOL_VERSION} and the peer {} to \
                     {}: upgrade one release at a time",
                    hello.version_oldest, hello.version_newest
                ),
            );
        }
        if self.alive.is_some_and(|boot| boot != hello.boot) {
            return refuse(
                RefusalCode::SecondLiveCopy,
                "another live process has the same identity: stop one of the two, and never copy a data directory"
                    .into(),
            );
        }
        self.judge_numbers(hello, version)
    }

    fn judge_numbers(&self, hello: &Hello, version: u16) -> Result<PeerFacts, Refusal> {
        let number = hello.number.and_then(NodeNumber::new);
        let mut numbers: BTreeSet<NodeNumber> = hello.numbers.iter().filter_map(|&n| NodeNumber::new(n)).collect();
        numbers.extend(number);
        let owner = |number: &NodeNumber| {
            if self.my_numbers.contains(number) {
                return Some(self.me);
            }
            let owners = self.members.numbers.iter().filter(|(_, theirs)| theirs.contains(number));
            owners.map(|(identity, _)| *identity).find(|identity| *identity != self.peer)
        };
        if number.is_some_and(|number| self.members.ended.contains(&number)) {
            return Err(Refusal { code: RefusalCode::NumberEnded, sentence: NUMBER_ENDED.into(), taken: None });
        }
        match numbers.iter().find_map(|n| owner(n).map(|identity| (*n, identity))) {
            Some((number, identity)) => Err(Refusal {
                code: RefusalCode::NumberTaken,
                sentence: format!("node number {number} belongs to {identity}: start with an empty data directory"),
                taken: Some((number, identity)),
            }),
            None => {
                let takes_messages = hello.capabilities & CAPABILITY_MESSAGES != 0;
                Ok(PeerFacts { version, boot: hello.boot, number, numbers, takes_messages })
            }
        }
    }
}

impl Hello {
    /// Whether the lists are of a size that a node can mean.
    pub(crate) fn is_bounded(&self) -> bool {
        self.numbers.len() <= limits::NUMBERS_OF_ONE_NODE_MAX
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

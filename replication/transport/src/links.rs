//! The table of links: which connection to each peer counts, and the greetings by which that is settled.
//!
//! Decisions are those of `pairing`; here they meet the table. Nothing waits in here.

use crate::event::{LinkId, TransportEvent};
use crate::lane_queue::LaneQueue;
use crate::pairing::{self, Greeted, Hello, Verdict, Welcome};
use crate::{limits, reason};
use protocol::{Lane, NodeIdentity};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, watch};

/// One link, as its tasks and the transport's callers share it.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) peer: NodeIdentity,
    pub(crate) connection: quinn::Connection,
    pub(crate) queues: [LaneQueue; Lane::ALL.len()],
    /// Why this side closed it, when it did.
    pub(crate) closed_because: OnceLock<String>,
}

/// By what a link was settled: the greeting of the other side.
#[derive(Clone, Copy)]
pub(crate) enum Settled {
    /// This node decided, having read this.
    ByUs(Hello),
    /// The peer decided, and said this.
    ByPeer(Welcome),
}

#[derive(Default)]
pub(crate) struct LinkTable {
    links: BTreeMap<LinkId, Arc<Link>>,
    peers: BTreeMap<NodeIdentity, Peer>,
    links_made: u64,
    greetings_made: u64,
    decisions_made: u64,
    /// This life of the node: greetings of former ones are void.
    life: u64,
    closing: bool,
}

struct Peer {
    current: Option<(LinkId, Settled)>,
    greeted: Greeted,
    linked: watch::Sender<bool>,
}

/// A connection that shall become a link.
pub(crate) struct Candidate {
    pub(crate) peer: NodeIdentity,
    pub(crate) address: SocketAddr,
    pub(crate) dialed_by_us: bool,
    pub(crate) connection: quinn::Connection,
}

impl Link {
    pub(crate) fn queue(&self, lane: Lane) -> &LaneQueue {
        &self.queues[lane as usize]
    }

    /// Closes the connection for a reason of this side. The first reason stands.
    pub(crate) fn close(&self, code: reason::CloseCode, because: &str) {
        if self.closed_because.set(because.to_owned()).is_ok() {
            reason::close(&self.connection, code, because);
        }
    }

    /// Why it ended, and whether the peer ended it because this node was removed.
    pub(crate) fn ending(&self, error: &quinn::ConnectionError) -> (String, bool) {
        match self.closed_because.get() {
            Some(because) => (because.clone(), false),
            None => (reason::sentence(error), reason::says_removed(error)),
        }
    }
}

impl LinkTable {
    pub(crate) fn new(life: u64) -> Self {
        Self { life, ..Self::default() }
    }

    pub(crate) fn link(&self, id: LinkId) -> Option<&Arc<Link>> {
        self.links.get(&id)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.links.values().cloned().collect()
    }

    /// From now on nothing becomes a link any more.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Tells whether there is a link to the peer, now and whenever that changes.
    pub(crate) fn watch(&mut self, peer: NodeIdentity) -> watch::Receiver<bool> {
        self.peer(peer).linked.subscribe()
    }

    pub(crate) fn is_linked(&self, peer: &NodeIdentity) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.current.is_some())
    }

    /// The follower's first words on a new connection.
    pub(crate) fn greet(&mut self, peer: NodeIdentity) -> Hello {
        self.greetings_made += 1;
        let (life, number) = (self.life, self.greetings_made);
        self.peer(peer).greeted.greet(life, number)
    }

    /// A connection that was greeted is over.
    pub(crate) fn forget_greeting(&mut self, peer: NodeIdentity, number: u64) {
        self.peer(peer).greeted.forget(number);
        self.tidy(peer);
    }

    /// The arbiter's choice about a connection that said `hello`: a welcome, or nothing.
    pub(crate) fn arbitrate(&mut self, peer: NodeIdentity, hello: Hello) -> Option<Welcome> {
        let current = match self.peer(peer).current {
            Some((_, Settled::ByUs(current))) => Some(current),
            // Which of two decides follows from their identities and does not change.
            Some((_, Settled::ByPeer(_))) | None => None,
        };
        match pairing::arbitrate(current, hello) {
            Verdict::Refuse => None,
            Verdict::Take => {
                self.decisions_made += 1;
                Some(Welcome { life: self.life, decision: self.decisions_made })
            }
        }
    }

    /// Whether the follower goes along with a welcome.
    pub(crate) fn follow(&mut self, peer: NodeIdentity, welcome: Welcome) -> Verdict {
        let current = match self.peer(peer).current {
            Some((_, Settled::ByPeer(current))) => Some(current),
            Some((_, Settled::ByUs(_))) | None => None,
        };
        pairing::follow(current, welcome)
    }

    /// Makes the candidate the link, in place of another if there is one, and reports both.
    pub(crate) fn install(
        &mut self,
        candidate: Candidate,
        settled: Settled,
        events: &mut mpsc::PermitIterator<'_, TransportEvent>,
    ) -> Arc<Link> {
        self.links_made += 1;
        let Candidate { peer, address, dialed_by_us, connection } = candidate;
        let link = Arc::new(Link {
            id: LinkId(self.links_made),
            peer,
            connection,
            queues: Lane::ALL.map(|lane| LaneQueue::new(limits::queue_bytes_max(lane))),
            closed_because: OnceLock::new(),
        });
        let before = self.peer(peer).current.replace((link.id, settled));
        if let Some(before) = before.and_then(|(id, _)| self.links.remove(&id)) {
            before.close(reason::CloseCode::Superseded, "a fresh connection took its place");
            report(
                events,
                TransportEvent::Closed {
                    link: before.id,
                    peer,
                    reason: before.closed_because.get().cloned().unwrap_or_default(),
                    says_removed: false,
                    is_superseded: true,
                },
            );
        }
        self.links.insert(link.id, link.clone());
        self.peer(peer).linked.send_replace(true);
        report(events, TransportEvent::Connected { link: link.id, peer, address, dialed_by_us });
        link
    }

    /// The link is over: reports it, unless another took its place and that was reported then.
    pub(crate) fn remove(
        &mut self,
        link: &Link,
        (reason, says_removed): (String, bool),
        events: &mut mpsc::PermitIterator<'_, TransportEvent>,
    ) {
        if self.links.remove(&link.id).is_none() {
            return;
        }
        let peer = self.peer(link.peer);
        if peer.current.is_some_and(|(current, _)| current == link.id) {
            peer.current = None;
            peer.linked.send_replace(false);
        }
        let closed =
            TransportEvent::Closed { link: link.id, peer: link.peer, reason, says_removed, is_superseded: false };
        report(events, closed);
        self.tidy(link.peer);
    }

    fn peer(&mut self, peer: NodeIdentity) -> &mut Peer {
        self.peers.entry(peer).or_insert_with(|| Peer {
            current: None,
            greeted: Greeted::default(),
            linked: watch::Sender::new(false),
        })
    }

    /// Nothing is kept of peers that are neither linked nor dialed.
    fn tidy(&mut self, identity: NodeIdentity) {
        let idle = |peer: &Peer| peer.current.is_none() && peer.greeted.is_empty() && peer.linked.receiver_count() == 0;
        if self.peers.get(&identity).is_some_and(idle) {
            self.peers.remove(&identity);
        }
    }
}

fn report(events: &mut mpsc::PermitIterator<'_, TransportEvent>, event: TransportEvent) {
    events.next().expect("as many were reserved as can happen here").send(event);
}

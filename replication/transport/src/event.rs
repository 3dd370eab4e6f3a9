//! What the transport tells its consumer, and the bounded way there.
//!
//! Received frames wait in one queue a lane, each bounded in bytes: when the consumer is slow the readers stop, QUIC's
//! windows fill, and the peer's writers stop. The consumer gets link events first, then control before batches before
//! state, with a turn for the lower lanes now and then.

use crate::lane_queue::cost;
use crate::limits::{self, LINK_EVENTS_MAX, RECEIVE_TURNS};
use bytes::Bytes;
use protocol::{Lane, NodeIdentity};
use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{Semaphore, mpsc};

/// Names one link of this transport for as long as it lasts, and no other ever after.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What happened on the network.
#[derive(Debug)]
pub enum TransportEvent {
    /// There is a link to this peer now. The one it may have had before was reported closed.
    Connected {
        /// The new link.
        link: LinkId,
        /// Who is at its other end, proven.
        peer: NodeIdentity,
        /// Where it was reached, or where it came from.
        address: SocketAddr,
        /// Whether this node dialed.
        dialed_by_us: bool,
    },
    /// The peer sent this.
    Frame {
        /// On this link,
        link: LinkId,
        /// on this lane.
        lane: Lane,
        /// As it was given to [`crate::Transport::send`].
        bytes: Bytes,
    },
    /// A lane that had no room has half of its queue free again.
    Room {
        /// Of this link,
        link: LinkId,
        /// this lane.
        lane: Lane,
    },
    /// A link is over. Nothing more of it is reported, what was received and not taken is dropped.
    Closed {
        /// The link.
        link: LinkId,
        /// Who was at its other end.
        peer: NodeIdentity,
        /// Why, in a sentence without full stop.
        reason: String,
        /// The peer says that this node was removed from the cluster.
        says_removed: bool,
        /// A fresh connection with somebody who has the same identity took its place, and is reported next. Nobody has said
        /// that the process at this end of the old one is gone.
        is_superseded: bool,
    },
    /// A dial failed; the next one follows by itself.
    DialFailed {
        /// Who should have been there.
        peer: NodeIdentity,
        /// Why, in a sentence without full stop.
        error: String,
        /// The peer says that this node was removed from the cluster.
        says_removed: bool,
    },
    /// Somebody connected and was refused, or gave up. For the operator's eyes; some may be left out.
    AcceptFailed {
        /// From where.
        address: SocketAddr,
        /// Why, in a sentence without full stop.
        error: String,
    },
}

/// The consumer's end.
pub struct TransportEvents {
    links: mpsc::Receiver<TransportEvent>,
    lanes: [LaneReceiver; Lane::ALL.len()],
    /// Links that were reported connected and not yet closed.
    open: BTreeSet<LinkId>,
    turn: u32,
}

struct LaneReceiver {
    frames: mpsc::UnboundedReceiver<Received>,
    budget: Arc<Semaphore>,
}

/// The transport's end.
#[derive(Clone)]
pub(crate) struct EventSender {
    links: mpsc::Sender<TransportEvent>,
    lanes: [LaneSender; Lane::ALL.len()],
}

#[derive(Clone)]
struct LaneSender {
    frames: mpsc::UnboundedSender<Received>,
    budget: Arc<Semaphore>,
}

struct Received {
    link: LinkId,
    bytes: Bytes,
    permits: u32,
}

/// The consumer is gone: the transport is being taken down.
#[derive(Debug)]
pub(crate) struct ConsumerGone;

/// Both ends of a new way.
pub(crate) fn channel() -> (EventSender, TransportEvents) {
    let (links_in, links_out) = mpsc::channel(LINK_EVENTS_MAX);
    let ways = Lane::ALL.map(|lane| {
        let budget = Arc::new(Semaphore::new(limits::received_bytes_max(lane)));
        let (frames_in, frames_out) = mpsc::unbounded_channel();
        (LaneSender { frames: frames_in, budget: budget.clone() }, LaneReceiver { frames: frames_out, budget })
    });
    let senders = ways.each_ref().map(|(sender, _)| sender.clone());
    let sender = EventSender { links: links_in, lanes: senders };
    let lanes = ways.map(|(_, receiver)| receiver);
    (sender, TransportEvents { links: links_out, lanes, open: BTreeSet::new(), turn: 0 })
}

impl TransportEvents {
    /// The next event; nothing once the transport is gone.
    pub async fn recv(&mut self) -> Option<TransportEvent> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next event, for those who poll.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<TransportEvent>> {
        let over = match self.links.poll_recv(context) {
            Poll::Ready(Some(event)) => {
                self.note(&event);
                return Poll::Ready(Some(event));
            }
            Poll::Ready(None) => true,
            Poll::Pending => false,
        };
        self.turn = self.turn.wrapping_add(1);
        let mut order = Lane::ALL;
        if self.turn.is_multiple_of(RECEIVE_TURNS) {
            order.reverse();
        }
        for lane in order {
            if let Some(event) = self.poll_lane(lane, context) {
                return Poll::Ready(Some(event));
            }
        }
        if over { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Frames of links that are not open any more are dropped here.
    fn poll_lane(&mut self, lane: Lane, context: &mut Context<'_>) -> Option<TransportEvent> {
        let way = &mut self.lanes[lane as usize];
        while let Poll::Ready(Some(received)) = way.frames.poll_recv(context) {
            way.budget.add_permits(received.permits as usize);
            if self.open.contains(&received.link) {
                return Some(TransportEvent::Frame { link: received.link, lane, bytes: received.bytes });
            }
        }
        None
    }

    fn note(&mut self, event: &TransportEvent) {
        match event {
            TransportEvent::Connected { link, .. } => {
                self.open.insert(*link);
            }
            TransportEvent::Closed { link, .. } => {
                self.open.remove(link);
            }
            TransportEvent::Frame { .. }
            | TransportEvent::Room { .. }
            | TransportEvent::DialFailed { .. }
            | TransportEvent::AcceptFailed { .. } => {}
        }
    }
}

impl EventSender {
    /// Waits for room for `count` link events. They are sent from under the table's lock, so that their order is
    /// that of what happened.
    pub(crate) async fn reserve(&self, count: usize) -> Result<mpsc::PermitIterator<'_, TransportEvent>, ConsumerGone> {
        self.links.reserve_many(count).await.map_err(|_| ConsumerGone)
    }

    pub(crate) async fn send(&self, event: TransportEvent) -> Result<(), ConsumerGone> {
        self.links.send(event).await.map_err(|_| ConsumerGone)
    }

    /// Leaves the event out when many wait already: strangers must not hold up what concerns members.
    pub(crate) fn send_or_drop(&self, event: TransportEvent) {
        if self.links.capacity() > LINK_EVENTS_MAX / 2 {
            // A full or closed queue loses it as well, which is what the name says.
            let _ = self.links.try_send(event);
        }
    }

    /// Waits until the consumer can take a frame of this lane.
    pub(crate) async fn deliver(&self, link: LinkId, lane: Lane, bytes: Bytes) -> Result<(), ConsumerGone> {
        let way = &self.lanes[lane as usize];
        // A frame that is longer than the whole budget takes all of it.
        let permits = cost(&bytes).min(limits::received_bytes_max(lane)) as u32;
        let permit = way.budget.acquire_many(permits).await.map_err(|_| ConsumerGone)?;
        way.frames.send(Received { link, bytes, permits }).map_err(|_| ConsumerGone)?;
        permit.forget(); // given back when the consumer takes the frame
        Ok(())
    }
}

impl Drop for TransportEvents {
    /// Readers that wait for room must not wait for ever.
    fn drop(&mut self) {
        self.lanes.iter().for_each(|way| way.budget.close());
    }
}

impl fmt::Debug for TransportEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportEvents").field("open", &self.open).finish_non_exhaustive()
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link{}", self.0)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    fn connected() -> TransportEvent {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        TransportEvent::Connected { link: LINK, peer: NodeIdentity([1; 32]), address, dialed_by_us: true }
    }

    fn ready(events: &mut TransportEvents) -> Option<TransportEvent> {
        match events.poll_recv(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn control_frames_come_first_and_the_lower_lanes_get_their_turn() {
        // Without tokio's budget, which makes a long task pause.
        tokio::task::unconstrained(lanes_take_turns()).await;
    }

    async fn lanes_take_turns() {
        let (sender, mut events) = channel();
        sender.send(connected()).await.unwrap();
        for lane in [Lane::State, Lane::Batches, Lane::Control] {
            for _ in 0..32 {
                sender.deliver(LINK, lane, Bytes::from_static(b"x")).await.unwrap();
            }
        }
        assert!(matches!(ready(&mut events), Some(TransportEvent::Connected { .. })));
        let mut lanes = Vec::new();
        while let Some(TransportEvent::Frame { lane, .. }) = ready(&mut events) {
            lanes.push(lane);
        }
        assert_eq!(lanes.len(), 3 * 32);
        let control = lanes[..32].iter().filter(|lane| **lane == Lane::Control).count();
        let state = lanes[..32].iter().filter(|lane| **lane == Lane::State).count();
        assert_eq!((control, state), (30, 2));
    }

    #[tokio::test]
    async fn a_consumer_that_does_not_take_stops_the_reader_of_that_lane_only() {
        let (sender, mut events) = channel();
        sender.send(connected()).await.unwrap();
        let piece = Bytes::from(vec![0; 1 << 20]);
        let mut taken = 0;
        let mut waiting = Box::pin(async {
            loop {
                sender.deliver(LINK, Lane::State, piece.clone()).await.unwrap();
                taken += 1;
            }
        });
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        drop(waiting);
        assert_eq!(taken, limits::STATE_RECEIVED_BYTES_MAX / cost(&piece));
        sender.deliver(LINK, Lane::Control, Bytes::from_static(b"urgent")).await.unwrap();
        assert!(matches!(ready(&mut events), Some(TransportEvent::Connected { .. })));
        assert!(matches!(ready(&mut events), Some(TransportEvent::Frame { lane: Lane::Control, .. })));
    }

    #[tokio::test]
    async fn nothing_of_a_link_is_reported_after_its_end() {
        let (sender, mut events) = channel();
        sender.send(connected()).await.unwrap();
        sender.deliver(LINK, Lane::Control, Bytes::from_static(b"late")).await.unwrap();
        let closed = TransportEvent::Closed {
            link: LINK,
            peer: NodeIdentity([1; 32]),
            reason: String::new(),
            says_removed: false,
            is_superseded: false,
        };
        sender.send(closed).await.unwrap();
        assert!(matches!(ready(&mut events), Some(TransportEvent::Connected { .. })));
        assert!(matches!(ready(&mut events), Some(TransportEvent::Closed { .. })));
        assert!(ready(&mut events).is_none());
        assert_eq!(sender.lanes[0].budget.available_permits(), limits::CONTROL_RECEIVED_BYTES_MAX);
    }
}

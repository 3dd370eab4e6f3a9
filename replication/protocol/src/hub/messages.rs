//! Published messages: to every connected peer that takes them, once. A link that does not keep up loses them.

use super::Hub;
use crate::link::Peer;
use crate::message::{self, MessageFrame};
use crate::{Event, FrameError, NodeIdentity, limits};
use bytes::Bytes;

impl Hub {
    /// Sends messages to every peer that is connected, takes messages and is chosen. What finds no room is dropped for that
    /// peer; nothing is kept for those who are not connected.
    pub fn send_messages(&mut self, frame: &MessageFrame, is_chosen: &dyn Fn(NodeIdentity) -> bool) {
        for (&peer, entry) in &mut self.peers {
            let takes = entry.facts.as_ref().is_some_and(|facts| facts.takes_messages);
            let Some(link) = entry.ready_mut().filter(|_| takes && is_chosen(peer)) else { continue };
            if link.messages.offer(frame) {
                self.counters.messages_sent += frame.count;
            } else {
                self.counters.messages_dropped += frame.count;
            }
        }
    }

    /// Whether any connected peer takes messages.
    pub fn has_listeners(&self) -> bool {
        let takes = |peer: &Peer| peer.facts.as_ref().is_some_and(|facts| facts.takes_messages);
        self.peers.values().any(|peer| peer.ready().is_some() && takes(peer))
    }

    pub(super) fn receive_messages(&mut self, peer: NodeIdentity, frame: &Bytes) -> Result<(), FrameError> {
        let messages = message::open(frame)?;
        self.counters.messages_received += messages.len() as u64;
        if !messages.is_empty() {
            self.events.push_back(Event::Messages { peer, messages });
        }
        Ok(())
    }
}

/// The frames of messages that wait for the transport of one link.
#[derive(Debug, Default)]
pub(crate) struct MessageQueue {
    frames: std::collections::VecDeque<Bytes>,
    bytes: usize,
}

impl MessageQueue {
    /// Takes a frame if there is room; a single one always has.
    fn offer(&mut self, frame: &MessageFrame) -> bool {
        let bytes = frame.bytes.len();
        if !self.frames.is_empty() && self.bytes.saturating_add(bytes) > limits::MESSAGES_QUEUE_BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        self.frames.push_back(frame.bytes.clone());
        true
    }

    /// The next one.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

//! Published messages on their way from one node to the others: they are no data. Each goes to every connected node once, is
//! kept nowhere, and is not passed on.

use crate::wire::{Reader, write_integer};
use crate::{FrameError, limits};
use bytes::Bytes;

/// The form of the frames that carry messages, their first byte.
const FORMAT: u8 = 1;

/// What a message was published to. The numbers travel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MessageKind {
    /// A channel.
    Channel = 0,
    /// A shard channel.
    Shard = 1,
}

/// A published message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublishedMessage {
    /// What it was published to.
    pub kind: MessageKind,
    /// The name of that.
    pub channel: Bytes,
    /// What was said.
    pub payload: Bytes,
}

/// Messages that are written down one behind the other, to be sent in one frame.
#[derive(Clone, Default, Debug)]
pub struct MessageWriter {
    bytes: Vec<u8>,
    count: u64,
}

/// A frame of messages, the same for every node that gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageFrame {
    /// As it is sent.
    pub(crate) bytes: Bytes,
    /// How many messages are in it.
    pub(crate) count: u64,
}

impl MessageWriter {
    /// Adds a message.
    pub fn put(&mut self, kind: MessageKind, channel: &[u8], payload: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.push(FORMAT);
        }
        self.bytes.push(kind as u8);
        for part in [channel, payload] {
            write_integer(&mut self.bytes, part.len() as u64);
            self.bytes.extend_from_slice(part);
        }
        self.count += 1;
    }

    /// How many bytes the frame has so far.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The frame, if there is any message.
    pub fn frame(self) -> Option<MessageFrame> {
        (self.count > 0).then(|| MessageFrame { bytes: self.bytes.into(), count: self.count })
    }
}

impl MessageFrame {
    /// How many messages are in it.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// The messages of a frame that came.
pub(crate) fn open(frame: &Bytes) -> Result<Vec<PublishedMessage>, FrameError> {
    if frame.len() > limits::MESSAGE_FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { what: "a frame of messages", bytes: frame.len() });
    }
    let mut reader = Reader::new(frame);
    if reader.byte()? != FORMAT {
        return Err(FrameError::Unknown("form of messages"));
    }
    let mut messages = Vec::new();
    while !reader.rest().is_empty() {
        let kind = match reader.byte()? {
            0 => MessageKind::Channel,
            1 => MessageKind::Shard,
            _ => return Err(FrameError::Unknown("kind of message")),
        };
        let mut part = || {
            let length = reader.integer_to(limits::MESSAGE_FRAME_BYTES_MAX as u64, "the length of a message")?;
            let taken = reader.take(length as usize)?;
            Ok::<_, FrameError>(frame.slice_ref(taken))
        };
        let (channel, payload) = (part()?, part()?);
        messages.push(PublishedMessage { kind, channel, payload });
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_every_cut_is_refused_or_shorter() {
        let mut writer = MessageWriter::default();
        assert!(writer.clone().frame().is_none());
        let all =
            [(MessageKind::Channel, "news", "hello"), (MessageKind::Shard, "", ""), (MessageKind::Channel, "x", "y")];
        for (kind, channel, payload) in all {
            writer.put(kind, channel.as_bytes(), payload.as_bytes());
        }
        let frame = writer.frame().unwrap();
        assert_eq!(frame.count(), 3);
        let read = open(&frame.bytes).unwrap();
        let expected = all.map(|(kind, channel, payload)| PublishedMessage {
            kind,
            channel: Bytes::from_static(channel.as_bytes()),
            payload: Bytes::from_static(payload.as_bytes()),
        });
        assert_eq!(read, expected);
        for length in 0..frame.bytes.len() {
            match open(&frame.bytes.slice(..length)) {
                Ok(some) => assert!(some.len() < 3 && some[..] == expected[..some.len()], "{length}"),
                Err(FrameError::Truncated) => {}
                Err(error) => panic!("{length}: {error}"),
            }
        }
    }

    #[test]
    fn other_forms_kinds_and_lengths_are_refused() {
        assert_eq!(open(&Bytes::from_static(&[2, 0, 0, 0])), Err(FrameError::Unknown("form of messages")));
        assert_eq!(open(&Bytes::from_static(&[1, 2, 0, 0])), Err(FrameError::Unknown("kind of message")));
        let far = [1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(open(&Bytes::copy_from_slice(&far)).is_err());
    }
}

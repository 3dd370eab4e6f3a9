//! Frames: the units that travel on a lane, each kind with an explicit number that is never reused.
//!
//! Control frames are a tag and a bincode body under a limit. On the batches lane every frame is an encoded batch as it
//! is, or a fragment of a large one. State frames are a tag, a session and mostly payload.

use crate::fragments::HeldFragments;
use crate::handshake::{Accept, Hello, Refuse};
use crate::limits;
use crate::wire::{Reader, write_vector};
use bincode::{Decode, Encode};
use bytes::Bytes;
use crdt::{NodeNumber, Stamp, VersionVector};

/// The streams of a link. Each keeps its own order; between them there is none, so bulk never delays a heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Handshake, heartbeats, acknowledgements, requests.
    Control,
    /// Batches.
    Batches,
    /// Published messages.
    Messages,
    /// Chunks of a state session.
    State,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Lane; 4] = [Lane::Control, Lane::Batches, Lane::Messages, Lane::State];

    /// The longest frame that may come on this lane; the transport refuses more before it takes memory for it.
    pub const fn frame_bytes_max(self) -> usize {
        match self {
            Lane::Control => limits::CONTROL_FRAME_BYTES_MAX,
            Lane::Batches => limits::BATCH_BYTES_MAX,
            Lane::Messages => limits::MESSAGE_FRAME_BYTES_MAX,
            Lane::State => limits::STATE_FRAME_BYTES_MAX,
        }
    }
}

/// What is wrong with what a peer sent. The link is closed with it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// It ends too early.
    #[error("a frame ends too early")]
    Truncated,
    /// It goes on after its end.
    #[error("a frame has bytes after its end")]
    TrailingBytes,
    /// Something in it is longer than allowed.
    #[error("{what} of {bytes} bytes is longer than allowed")]
    TooLong {
        /// What.
        what: &'static str,
        /// How long.
        bytes: usize,
    },
    /// A number in it cannot be.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
    /// A kind that this version does not know.
    #[error("unknown {0}")]
    Unknown(&'static str),
    /// It was damaged.
    #[error("the checksum does not match")]
    Checksum,
    /// Its changes cannot be unpacked.
    #[error("the changes of a batch cannot be unpacked")]
    Compression,
    /// A control frame cannot be read.
    #[error("a control frame cannot be read: {0}")]
    Control(String),
    /// It came where it has no place.
    #[error("{0} came out of turn")]
    OutOfTurn(&'static str),
    /// The peer's history of an origin is not the one that was applied here.
    #[error("the history of node {origin} has forked after {at}")]
    Fork {
        /// Whose history.
        origin: NodeNumber,
        /// The last stamp before the fork.
        at: Stamp,
    },
}

/// A state session, named by the side that is fed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub struct SessionId(pub u64);

/// A question from one node to another, named by the asker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub struct RequestId(pub u64);

/// A number for a node, and the range from which it takes and hands out further ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NumberGrant {
    /// The number to stamp with.
    pub number: NodeNumber,
    /// First and last number of the range that now belongs to it.
    pub range: (NodeNumber, NodeNumber),
}

/// A version vector as it travels in control frames.
#[derive(Clone, PartialEq, Eq, Default, Debug, Encode, Decode)]
pub(crate) struct WireVector(Vec<u8>);

impl WireVector {
    pub(crate) fn new(vector: &VersionVector) -> Self {
        let mut out = Vec::new();
        let base = vector.latest();
        out.extend_from_slice(&base.bits().to_le_bytes());
        write_vector(&mut out, vector, base);
        Self(out)
    }

    pub(crate) fn open(&self) -> Result<VersionVector, FrameError> {
        let mut reader = Reader::new(&self.0);
        let base = Stamp::from_bits(reader.word()?);
        let vector = reader.vector(base)?;
        reader.finish()?;
        Ok(vector)
    }
}

/// A sign of life. What the peer needs to tell its round trip and the offset of the clocks is in every one.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Heartbeat {
    pub sent_ms: u64,
    pub wall_ms: u64,
    /// The `sent_ms` of the last heartbeat heard and how long ago that was.
    pub echo: Option<(u64, u64)>,
    pub membership_hash: u64,
    pub filling: bool,
    /// The number stamped with, which may have changed since the handshake.
    pub number: Option<u16>,
}

/// Everything that travels on the control lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ControlFrame {
    Hello(Hello),
    Accept(Accept),
    Refuse(Refuse),
    Goodbye,
    Heartbeat(Heartbeat),
    /// Entries that rose since the last frame of this kind: what is applied.
    Applied(WireVector),
    /// The same for what was applied before the sender closed its last batch: everything the sender wrote without
    /// knowing it is in batches up to its own entry.
    Settled(WireVector),
    Pull {
        origin: NodeNumber,
        after: Stamp,
    },
    Unsubscribe {
        origin: NodeNumber,
    },
    /// The sender has so many bytes of a batch that came in fragments: more need not be sent again.
    Partial(HeldFragments),
    /// The sender's ring begins after what the receiver has of `origin`.
    Behind {
        origin: NodeNumber,
        after: Stamp,
    },
    StateRequest {
        session: SessionId,
        since: WireVector,
    },
    StateRefused {
        session: SessionId,
        retry_ms: u64,
    },
    /// One chunk is merged; these of its slots differ.
    SlotsMerged {
        session: SessionId,
        differing: Vec<u16>,
    },
    ListingMerged {
        session: SessionId,
    },
    StateAbandoned {
        session: SessionId,
        /// Whether the side that fed gave up; else the side that was fed.
        by_source: bool,
    },
    /// The session goes on, although nothing of it comes: parts of a chunk have come, a slot is read or merged.
    StateProgress {
        session: SessionId,
        by_source: bool,
    },
    Membership(Vec<u8>),
    NumberRequest,
    NumberGranted {
        number: u16,
        first: u16,
        last: u16,
    },
    Audit(Vec<u8>),
    Request {
        id: RequestId,
        body: Vec<u8>,
    },
    Response {
        id: RequestId,
        body: Vec<u8>,
    },
}

type OriginStamp = (u16, u64);

impl ControlFrame {
    /// Tag and body.
    pub(crate) fn encode(&self) -> Bytes {
        match self {
            Self::Hello(hello) => pack(1, hello),
            Self::Accept(accept) => pack(2, accept),
            Self::Refuse(refuse) => pack(3, refuse),
            Self::Goodbye => pack(4, &()),
            Self::Heartbeat(heartbeat) => pack(5, heartbeat),
            Self::Applied(vector) => pack(6, vector),
            Self::Settled(vector) => pack(7, vector),
            Self::Pull { origin, after } => pack(8, &(origin.value(), after.bits())),
            Self::Unsubscribe { origin } => pack(9, &origin.value()),
            Self::Behind { origin, after } => pack(10, &(origin.value(), after.bits())),
            Self::StateRequest { session, since } => pack(11, &(*session, since.clone())),
            Self::StateRefused { session, retry_ms } => pack(12, &(*session, *retry_ms)),
            Self::SlotsMerged { session, differing } => pack(13, &(*session, steps(differing))),
            Self::ListingMerged { session } => pack(14, session),
            Self::StateAbandoned { session, by_source } => pack(15, &(*session, *by_source)),
            Self::Membership(record) => pack(16, record),
            Self::NumberRequest => pack(17, &()),
            Self::NumberGranted { number, first, last } => pack(18, &(*number, *first, *last)),
            Self::Audit(frame) => pack(19, frame),
            Self::Request { id, body } => pack(20, &(id, body)),
            Self::Response { id, body } => pack(21, &(id, body)),
            Self::Partial(held) => pack(22, held),
            Self::StateProgress { session, by_source } => pack(23, &(*session, *by_source)),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > limits::CONTROL_FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { what: "a control frame", bytes: bytes.len() });
        }
        let (&tag, body) = bytes.split_first().ok_or(FrameError::Truncated)?;
        Ok(match tag {
            1 => {
                let hello: Hello = unpack(body)?;
                if !hello.is_bounded() {
                    return Err(FrameError::OutOfRange("the numbers of a greeting"));
                }
                Self::Hello(hello)
            }
            2 => Self::Accept(unpack(body)?),
            3 => Self::Refuse(unpack(body)?),
            4 => unpack::<()>(body).map(|()| Self::Goodbye)?,
            5 => Self::Heartbeat(unpack(body)?),
            6 => Self::Applied(unpack(body)?),
            7 => Self::Settled(unpack(body)?),
            8 => {
                let (origin, after) = place(unpack(body)?)?;
                Self::Pull { origin, after }
            }
            9 => Self::Unsubscribe { origin: number(unpack(body)?)? },
            10 => {
                let (origin, after) = place(unpack(body)?)?;
                Self::Behind { origin, after }
            }
            11 => {
                let (session, since) = unpack(body)?;
                Self::StateRequest { session, since }
            }
            12 => {
                let (session, retry_ms) = unpack(body)?;
                Self::StateRefused { session, retry_ms }
            }
            13 => {
                let (session, steps): (SessionId, Vec<u16>) = unpack(body)?;
                Self::SlotsMerged { session, differing: slots(&steps)? }
            }
            14 => Self::ListingMerged { session: unpack(body)? },
            15 => {
                let (session, by_source) = unpack(body)?;
                Self::StateAbandoned { session, by_source }
            }
            16 => Self::Membership(unpack(body)?),
            17 => unpack::<()>(body).map(|()| Self::NumberRequest)?,
            18 => {
                let (granted, first, last): (u16, u16, u16) = unpack(body)?;
                let checked = (number(granted)?, number(first)?, number(last)?);
                if checked.1 > checked.2 {
                    return Err(FrameError::OutOfRange("a range of node numbers"));
                }
                Self::NumberGranted { number: granted, first, last }
            }
            19 => Self::Audit(unpack(body)?),
            20 => {
                let (id, body) = unpack(body)?;
                Self::Request { id, body }
            }
            21 => {
                let (id, body) = unpack(body)?;
                Self::Response { id, body }
            }
            22 => Self::Partial(unpack(body)?),
            23 => {
                let (session, by_source) = unpack(body)?;
                Self::StateProgress { session, by_source }
            }
            _ => return Err(FrameError::Unknown("control frame")),
        })
    }
}

/// What a chunk of state holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChunkKind {
    Slots,
    Listing,
}

/// Some of a chunk of state that is too large for one frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StatePart {
    pub kind: ChunkKind,
    /// Bytes of the whole chunk.
    pub whole: usize,
    /// Where the part belongs: parts come in order.
    pub offset: usize,
    pub bytes: Bytes,
}

/// Everything that travels on the state lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum StateFrame {
    Begin { session: SessionId, vector: VersionVector },
    Chunk { session: SessionId, kind: ChunkKind, payload: Bytes },
    End { session: SessionId },
    Part { session: SessionId, part: StatePart },
}

impl StateFrame {
    pub(crate) fn encode(&self) -> Bytes {
        let (tag, session, payload): (u8, &SessionId, &[u8]) = match self {
            Self::Begin { session, vector } => return Self::encode_begin(*session, vector),
            Self::Chunk { session, kind: ChunkKind::Slots, payload } => (2, session, payload),
            Self::Chunk { session, kind: ChunkKind::Listing, payload } => (3, session, payload),
            Self::End { session } => (4, session, &[]),
            Self::Part { session, part } => match part.kind {
                ChunkKind::Slots => (5, session, &part.bytes),
                ChunkKind::Listing => (6, session, &part.bytes),
            },
        };
        let mut out = Vec::with_capacity(25 + payload.len());
        out.push(tag);
        out.extend_from_slice(&session.0.to_le_bytes());
        if let Self::Part { part, .. } = self {
            out.extend_from_slice(&(part.whole as u64).to_le_bytes());
            out.extend_from_slice(&(part.offset as u64).to_le_bytes());
        }
        out.extend_from_slice(payload);
        out.into()
    }

    fn encode_begin(session: SessionId, vector: &VersionVector) -> Bytes {
        let mut out = vec![1];
        out.extend_from_slice(&session.0.to_le_bytes());
        out.extend_from_slice(&WireVector::new(vector).0);
        out.into()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, FrameError> {
        if bytes.len() > limits::STATE_FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { what: "a state frame", bytes: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let tag = reader.byte()?;
        let session = SessionId(reader.word()?);
        let rest = |reader: &Reader<'_>| bytes.slice(bytes.len() - reader.rest().len()..);
        match tag {
            1 => Ok(Self::Begin { session, vector: WireVector(reader.rest().to_vec()).open()? }),
            2 => Ok(Self::Chunk { session, kind: ChunkKind::Slots, payload: rest(&reader) }),
            3 => Ok(Self::Chunk { session, kind: ChunkKind::Listing, payload: rest(&reader) }),
            4 => reader.finish().map(|()| Self::End { session }),
            5 | 6 => {
                let kind = if tag == 5 { ChunkKind::Slots } else { ChunkKind::Listing };
                let words = [reader.word()?, reader.word()?];
                let [whole, offset] = words.map(|word| usize::try_from(word).unwrap_or(usize::MAX));
                let bytes = rest(&reader);
                let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= whole);
                if bytes.is_empty() || !fits {
                    return Err(FrameError::OutOfRange("a part of a chunk of state"));
                }
                Ok(Self::Part { session, part: StatePart { kind, whole, offset, bytes } })
            }
            _ => Err(FrameError::Unknown("state frame")),
        }
    }
}

fn pack<T: Encode>(tag: u8, body: &T) -> Bytes {
    let mut out = vec![tag];
    bincode::encode_into_std_write(body, &mut out, bincode::config::standard())
        .expect("memory takes every byte and our own frames have no other way to fail");
    out.into()
}

/// The limit counts memory, not bytes on the wire: twice the frame is enough for every frame there is, and a claim of
/// more is refused before anything is allocated.
fn unpack<T: Decode<()>>(body: &[u8]) -> Result<T, FrameError> {
    let config = bincode::config::standard().with_limit::<{ 2 * limits::CONTROL_FRAME_BYTES_MAX }>();
    let (value, used) =
        bincode::decode_from_slice(body, config).map_err(|error| FrameError::Control(error.to_string()))?;
    if used == body.len() { Ok(value) } else { Err(FrameError::TrailingBytes) }
}

fn number(value: u16) -> Result<NodeNumber, FrameError> {
    NodeNumber::new(value).ok_or(FrameError::OutOfRange("a node number"))
}

fn place((origin, stamp): OriginStamp) -> Result<(NodeNumber, Stamp), FrameError> {
    let (origin, stamp) = (number(origin)?, Stamp::from_bits(stamp));
    if stamp != Stamp::ZERO && stamp.author() != origin {
        return Err(FrameError::OutOfRange("a stamp of another origin"));
    }
    Ok((origin, stamp))
}

/// Slots in order as distances, which are nearly always one byte.
fn steps(slots: &[u16]) -> Vec<u16> {
    let mut next = 0;
    let step = |&slot: &u16| {
        let distance = slot.saturating_sub(next);
        next = slot.saturating_add(1);
        distance
    };
    slots.iter().map(step).collect()
}

fn slots(steps: &[u16]) -> Result<Vec<u16>, FrameError> {
    let mut next = 0u16;
    let mut slots = Vec::with_capacity(steps.len().min(usize::from(limits::SLOTS)));
    for &step in steps {
        let slot = next.checked_add(step).filter(|&slot| slot < limits::SLOTS);
        let slot = slot.ok_or(FrameError::OutOfRange("a slot"))?;
        slots.push(slot);
        next = slot + 1;
    }
    Ok(slots)
}

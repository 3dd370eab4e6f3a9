//! What two nodes say to each other: frames, handshake, batches in causal order, catch-up and the standing proof.
//!
//! Everything here is sans-I/O (quinn-proto is the model): time is an argument, bytes come in through `handle_*` and go
//! out through `poll_*`, and the keyspace is reached through events and their answers. It opens no socket, reads no
//! clock, starts no thread and knows nothing about what a change means. The wire is described in `FORMAT.md`.

mod batch;
mod catch_up;
mod clock_offset;
mod compression;
mod digest_sync;
mod event;
mod fragments;
mod frame;
mod gate;
mod handshake;
mod hub;
pub mod limits;
mod link;
mod message;
mod report;
mod ring;
pub mod sealing;
mod settings;
mod time;
mod window;
mod wire;

pub use batch::{Batch, BatchTail};
pub use compression::{Compression, CompressionFigures};
pub use crdt::NodeIdentity;
pub use digest_sync::{
    AUDIT_GROUPS, AuditFrame, AuditLevel, AuditOutcome, AuditRange, SLOTS_OF_A_GROUP, SlotState, compare, follow_up,
};
pub use event::{Alarm, CloseReason, Event};
pub use frame::{FrameError, Lane, NumberGrant, RequestId, SessionId};
pub use handshake::{
    BootNonce, ClusterId, NUMBER_ENDED, PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST, REMOVED, RefusalCode,
};
pub use hub::Hub;
pub use message::{MessageFrame, MessageKind, MessageWriter, PublishedMessage};
pub use report::{LAG_BOUNDS_MS, LagCounts, LimitCounters, LinkPhase, LinkReport, NodeReport, OriginReport};
pub use settings::{HubSettings, MemberView};
pub use time::Millis;

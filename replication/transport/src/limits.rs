//! Every bound of this crate, with the reason for its number. How long a frame may be is the protocol's to say
//! ([`Lane::frame_bytes_max`]).

use protocol::Lane;
use std::time::Duration;

/// What may wait to be written on a control lane. A peer that far behind is reported by [`crate::SendError::Full`].
pub const CONTROL_QUEUE_BYTES_MAX: usize = 1 << 20;
/// What may wait on a batch lane beside what QUIC itself holds. The batches live in the ring, this is only the step
/// between two wake-ups of the writer.
pub const BATCHES_QUEUE_BYTES_MAX: usize = 4 << 20;
/// What may wait on a lane of published messages. More of them wait in the hub, which drops what is too much.
pub const MESSAGES_QUEUE_BYTES_MAX: usize = 1 << 20;
/// What may wait on a state lane. State is read when there is room, so that it is as fresh as possible when it goes.
pub const STATE_QUEUE_BYTES_MAX: usize = 2 << 20;

/// Received control frames, of all links together, that wait for the consumer; beyond it QUIC is not read.
pub const CONTROL_RECEIVED_BYTES_MAX: usize = 4 << 20;
/// Received batches that wait for the consumer.
pub const BATCHES_RECEIVED_BYTES_MAX: usize = 16 << 20;
/// Received messages that wait for the consumer.
pub const MESSAGES_RECEIVED_BYTES_MAX: usize = 8 << 20;
/// Received state that waits for the consumer.
pub const STATE_RECEIVED_BYTES_MAX: usize = 8 << 20;
/// What a frame costs in a queue beside its bytes, so that a flood of empty frames is bounded as well.
pub const FRAME_OVERHEAD_BYTES: usize = 64;
/// Link events (connected, closed, room, failures) that wait for the consumer.
pub const LINK_EVENTS_MAX: usize = 256;
/// Out of how many received frames one is taken from the lowest lane that has any: state moves on under a flood of
/// batches, batches under a flood of control frames.
pub const RECEIVE_TURNS: u32 = 16;

/// The longest piece that a writer gathers from small frames into one buffer. Above 4 KiB a write QUIC costs about a
/// nanosecond a byte; 64 KiB is one full segmentation-offload batch.
pub const WRITE_GATHER_BYTES: usize = 64 << 10;
/// Frames up to this size are copied together, longer ones are handed over as they are.
pub const WRITE_COPY_BYTES_MAX: usize = 8 << 10;
/// What is reserved at once for a frame whose header claims any length; the rest grows as bytes really arrive.
pub const FRAME_RESERVE_BYTES_MAX: usize = 64 << 10;
/// What a reader takes from QUIC at once.
pub const READ_CHUNK_BYTES_MAX: usize = 256 << 10;

/// Flow control of one lane: bandwidth times delay of a fast intercontinental path (40 MB/s at 200 ms).
///
/// SUBTLE: the connection's windows are the sum over the lanes. A lane whose frames nobody takes fills its own window
/// and no more, so it can never stand in the way of the others, neither in the receiver nor in the sender's buffer.
pub const LANE_WINDOW_BYTES: u32 = 8 << 20;
/// Lanes of a link, and streams that a peer may open.
pub const LANES: u32 = 4;

/// The largest datagram that is tried on a path, and taken: where frames are larger than the usual 1,500 bytes, as on most
/// networks within a provider, a batch takes a few instead of dozens. Receiving takes 64 of them at once and 32 such
/// pieces: 13 MB of addresses, of which pages are touched as they are used.
///
/// SUBTLE: ten of them leave in one call of the system, which takes less than 64 KiB together.
pub const DATAGRAM_BYTES_MAX: u16 = 6_500;

/// What the system is asked to buffer for the socket: a tenth of a second at 40 MB/s, while the thread is elsewhere.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Handshakes of inbound connections that may be under way; further ones are ignored and come again.
pub const HANDSHAKES_MAX: usize = 64;
/// From this many on, an inbound connection first proves its address.
pub const HANDSHAKES_UNPROVEN_MAX: usize = 16;
/// The longest an inbound handshake may take.
pub const ACCEPT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long one dial may take before the next: short, since a fresh try has clean timers (three round trips of a
/// satellite path still fit).
pub const DIAL_TIME: Duration = Duration::from_secs(3);
/// The assumed round trip of a new connection: its first packet is repeated after three times this.
pub const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(200);
/// The first wait after a failed dial.
pub const DIAL_WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest wait between two dials. An unreachable peer costs two small packets in this time, and a repaired path
/// is noticed within it.
pub const DIAL_WAIT_MAX: Duration = Duration::from_millis(1500);
/// A link that lasted this long was a good one: the next dial starts without a wait.
pub const LINK_PROVEN_AFTER: Duration = Duration::from_secs(5);
/// How long the greater identity of two waits for the smaller one to dial, at start.
pub const STANDBY_FIRST: Duration = Duration::from_millis(500);
/// How long it waits after it had a link.
pub const STANDBY: Duration = Duration::from_secs(3);
/// Silence after which QUIC gives a connection up. Longer than the protocol waits in any case, whose heartbeats decide:
/// a node that is busy with one large value answers nothing meanwhile.
pub const IDLE_TIME: Duration = Duration::from_secs(15);
/// How long a shutdown waits for the peers to hear of it.
pub const SHUTDOWN_TIME_MAX: Duration = Duration::from_millis(500);
/// The longest reason that is sent or accepted when a link closes, in bytes.
pub const REASON_BYTES_MAX: usize = 300;
/// Peers that may be dialed at once. Node numbers end at 1024, and nobody dials more members than there are.
pub const DIALED_PEERS_MAX: usize = 1024;

/// What may wait to be written on a lane.
pub const fn queue_bytes_max(lane: Lane) -> usize {
    match lane {
        Lane::Control => CONTROL_QUEUE_BYTES_MAX,
        Lane::Batches => BATCHES_QUEUE_BYTES_MAX,
        Lane::Messages => MESSAGES_QUEUE_BYTES_MAX,
        Lane::State => STATE_QUEUE_BYTES_MAX,
    }
}

/// What may wait for the consumer after it was received on a lane.
pub const fn received_bytes_max(lane: Lane) -> usize {
    match lane {
        Lane::Control => CONTROL_RECEIVED_BYTES_MAX,
        Lane::Batches => BATCHES_RECEIVED_BYTES_MAX,
        Lane::Messages => MESSAGES_RECEIVED_BYTES_MAX,
        Lane::State => STATE_RECEIVED_BYTES_MAX,
    }
}

/// Packets that a peer may receive before it must acknowledge them. QUIC's default of every second packet makes the
/// sender wake for each of them, which costs more than sending.
pub const PACKETS_UNACKNOWLEDGED_MAX: u32 = 8;
/// How long a peer may hold an acknowledgement back: well below any round trip between regions.
pub const ACKNOWLEDGEMENT_DELAY_MAX: Duration = Duration::from_millis(8);

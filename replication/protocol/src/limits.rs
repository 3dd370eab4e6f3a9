//! The bounds of everything that a peer, an outage or a flood could make grow. [`crate::LimitCounters`] counts each
//! time that one is met.

/// Bytes of a control frame. A membership record of 1023 nodes or an answer to `verify` fits many times.
pub const CONTROL_FRAME_BYTES_MAX: usize = 4 << 20;
/// Bytes of an encoded batch: the largest value a client may write (512 MiB) and room for its neighbours in a group.
pub const BATCH_BYTES_MAX: usize = 576 << 20;
/// Bytes of a fragment in which a larger batch crosses a link. What a cut loses of it is sent again; meanwhile batches of other
/// origins go in between. Builds for tests have large batches that are smaller.
pub const FRAGMENT_BYTES: usize = if cfg!(debug_assertions) { 4 << 10 } else { 1 << 20 };
/// Batches of one origin of which fragments are kept: those that come first. A second one may be begun by another peer.
pub const ASSEMBLIES_OF_ORIGIN_MAX: usize = 2;
/// Bytes of state in one frame on the state lane. What is larger crosses in parts, so that a session stands still only if
/// not even this much comes within its time: 9 KB/s are enough. Builds for tests have parts that are smaller.
pub const STATE_PART_BYTES: usize = if cfg!(debug_assertions) { 8 << 10 } else { 256 << 10 };
/// Bytes of a frame on the state lane: more than a part, so that these may be made larger one day, and more than any vector.
pub const STATE_FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of a chunk of state, packed: one slot is read whole, however large its keys are, and the side that is fed has all of
/// it in memory before it merges it. A record of the journal may have a little more.
pub const STATE_CHUNK_BYTES_MAX: usize = 3 << 30;
/// Entries of a vector on the wire: there are no more node numbers.
pub const VECTOR_ENTRIES_MAX: usize = crdt::NODE_NUMBERS_MAX as usize;
/// Numbers that a node may say it has used: it cannot have used more than there are.
pub const NUMBERS_OF_ONE_NODE_MAX: usize = crdt::NODE_NUMBERS_MAX as usize;
/// How much larger LZ4 can make its input when unpacked. A batch that claims more is refused before memory is taken.
pub const EXPANSION_MAX: usize = 256;
/// Batches from this size of changes on are compressed; smaller ones hardly shrink.
pub const COMPRESS_FROM_BYTES: usize = 128;
/// Raw changes of more bytes are never compressed: positions in a block have 32 bits.
pub const COMPRESS_UP_TO_BYTES: usize = 1 << 31;
/// Bytes out of the middle of a batch that are tried before the whole of it is, if it has at least four times as many:
/// records that are alike lie closer together than that, and what does not get smaller costs a sixteenth of a try.
pub const PROBE_SAMPLE_BYTES: usize = 16 << 10;
/// Compressing pays if it saves one byte in so many. Less is not worth the sixth of a core that it takes.
pub const SAVED_ONE_OF: usize = 8;
/// Bytes that are left as they are after a try that did not pay, doubled with each further one...
pub const UNTRIED_BYTES_MIN: u64 = 64 << 10;
/// ...up to so many: what begins to get smaller is compressed again after this much at most, and as long as nothing does a
/// four hundredth is tried. `pelago_replication_packing_left_untried_total` counts what is left as it is.
pub const UNTRIED_BYTES_MAX: u64 = 4 << 20;
/// Bytes of memory that are kept to compress into, and to unpack into: enough for all but the largest batches, which take
/// their own.
pub const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// Bytes of all rings together: at 5 MB/s of changes a ring of 64 MiB bridges about 13 s; who was away longer gets state.
pub const RING_BYTES: usize = 64 << 20;
/// Bytes of rings that stay although every member has what is in them: more than is on its way at any moment.
pub const RING_BYTES_KEPT: usize = 8 << 20;
/// Bytes that are read back from the journal at one go for one origin on one link; a single batch may exceed it.
pub const JOURNAL_READ_BYTES: usize = 1 << 20;
/// Bytes of batches of one origin that may wait for a predecessor or a dependency. Past it they are dropped and asked
/// for again, so that one late origin costs its own space and nobody else's. One batch is always admitted.
pub const WAITING_BYTES: usize = 16 << 20;
/// Bytes of one origin sent over one link and not yet reported as applied: half the waiting space of the receiver, so a
/// well-behaved sender never makes it drop, and 20 MB/s at 400 ms of round trip are still reached.
pub const WINDOW_BYTES: usize = 8 << 20;
/// Bytes of batches handed out for application and not yet applied. Past it they wait in their origin's space. One batch
/// counts half of it at most: while a large one is applied, which can take seconds, those of other origins go on.
pub const APPLYING_BYTES_MAX: usize = 32 << 20;
/// Bytes of control frames queued for one link. A peer that lets it fill is not reading: the link is closed.
pub const CONTROL_QUEUE_BYTES_MAX: usize = 16 << 20;
/// Own requests that a link may have unanswered, and a peer's that may be unanswered here. Each is an operator's verb.
pub const REQUESTS_OPEN_MAX: usize = 64;

/// Bytes of a frame of published messages: what one turn of a node gathers, which is half as much, and room for the lengths.
pub const MESSAGE_FRAME_BYTES_MAX: usize = 16 << 20;
/// Bytes of published messages that wait for the transport of one link. Beyond it they are dropped: they are no data, and a
/// slow region must cost the others neither memory nor time. About a second of a link of 64 Mbit/s.
pub const MESSAGES_QUEUE_BYTES_MAX: usize = 8 << 20;

/// How often the grace time doubles while a pull brings nothing: from one second to half a minute.
pub const PULL_DOUBLINGS_MAX: usize = 5;

/// Chunks of a state session that may be sent and not yet merged: enough to keep a 200 ms link busy at 4 MiB a chunk.
pub const STATE_CHUNKS_UNMERGED_MAX: usize = 4;
/// Bytes that a chunk of a state session should hold; a single slot may exceed it.
pub const STATE_CHUNK_BYTES: usize = 2 << 20;
/// State sessions that a node feeds at once. Each walks the whole keyspace; others are asked to come back.
pub const SESSIONS_FED_MAX: usize = 2;
/// Slots of the keyspace: the number in Redis Cluster.
pub const SLOTS: u16 = 16_384;
/// Milliseconds without any progress after which a state session is given up. A part that comes is progress, and so is a step
/// of reading or merging, which the other side is told of.
pub const SESSION_STALL_MS: u64 = 30_000;
/// At most one sign of progress to the other side of a session in this time.
pub const SESSION_SIGN_MS: u64 = 2_000;
/// Milliseconds that a peer may be silent while state goes to or from it: packing, unpacking and merging one value of
/// half a gigabyte takes a node that long on a slow machine, and it hears nothing meanwhile. Everything else is in steps.
pub const SESSION_SILENCE_MS: u64 = 12_000;
/// The first pause after a failed state session; it doubles, with a random part, up to the limit below.
pub const SESSION_RETRY_MS: u64 = 250;
/// The longest pause between state sessions.
pub const SESSION_RETRY_MS_MAX: u64 = 10_000;

/// Milliseconds until a link must have finished its handshake.
pub const HANDSHAKE_MS_MAX: u64 = 5_000;
/// Milliseconds after which an unanswered request for a number goes to the next peer.
pub const NUMBER_REQUEST_MS: u64 = 2_000;
/// Milliseconds between two copies of the membership for a peer that still reports another one.
pub const MEMBERSHIP_RESEND_MS: u64 = 3_000;
/// Two exchanges that differ by more than what they can tell and this say that a clock was set in between: clocks are also
/// drawn near each other by half a millisecond a second.
pub const CLOCK_SLEW_MS: u64 = 25;
/// Round-trip samples of which the fastest one tells the clock offset: at four a second, about 16 s.
pub const CLOCK_SAMPLES: usize = 64;
/// Milliseconds for which what was measured of a peer's clock counts in the median after its link has ended. A node whose
/// clock is wrong is not to write as soon as it is cut off; one that is right is not to refuse writes for good because of
/// another that is gone.
pub const CLOCK_EVIDENCE_MS: u64 = 600_000;
/// Milliseconds by which the counter of a stamp may carry its clock beyond what has passed before a batch is judged by
/// the clock again: more than 8 million changes without the clock moving.
pub const CLOCK_CARRY_MS: u64 = 1_000;
/// Own batches of which the time of writing is kept for the lag report of each link. Past it the lag is read from the
/// oldest one kept, which understates it.
pub const LAG_SAMPLES_MAX: usize = 1 << 16;

/// Slots that one audit frame may describe.
pub const AUDIT_SLOTS_MAX: usize = SLOTS as usize;
/// Different vectors in the table of one audit frame. A slot whose vector does not fit is left out and asked for later.
pub const AUDIT_VECTORS_MAX: usize = 256;

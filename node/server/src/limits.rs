//! What a connection may hold, and what operators may ask for at once. Limits that operators set are in `config`.

use std::time::Duration;

/// Bytes of a connection's read buffer at first. A pipeline of sixteen small requests needs two thousand; a read that
/// does not fill the buffer also spares the system call that would only say that there is no more.
pub const READ_BUFFER_BYTES: usize = 32 * 1024;

/// Bytes of replies after which they are written before the next request of the same read is executed, so that a
/// pipeline of large replies costs this much memory and not their sum.
pub const OUTPUT_BYTES_FLUSH: usize = 64 * 1024;

/// The largest buffer that is kept for the next connection that needs one. Larger ones are given back at once.
pub const POOLED_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Buffers a worker keeps for reuse: at most 16 MiB, and enough for the connections that are busy at one moment,
/// because idle ones hold none.
pub const POOLED_BUFFERS_MAX: usize = 128;

/// Bytes a read buffer grows by at once at most, so that an announced length takes memory only as it arrives.
pub const READ_BUFFER_GROWTH_MAX: usize = 16 * 1024 * 1024;

/// Bytes of requests that may be queued in one transaction: it is replicated in one piece, and a batch has a limit.
pub const QUEUED_BYTES_MAX: usize = 256 << 20;

/// Keys one connection may watch. Each costs a look at `EXEC`; Redis has no limit, honest clients watch a few.
pub const WATCHES_MAX: usize = 1 << 16;

/// Bytes that the waiting of all clients together takes: for each key that one waits for three times its bytes, since the
/// client, the queue and the keyspace have their own, and two hundred beside them. With it met, more clients wait for more
/// keys than any queue has workers.
pub const AWAITED_BYTES_MAX: usize = 200 << 20;

/// Characters of a token of what a client may have seen: with an entry for each of the 1024 node numbers there can be.
pub const TOKEN_BYTES_MAX: usize = 14 << 10;

/// Addresses of clients that are remembered as sent here while their region fails. Those beyond stay until they reconnect
/// by themselves.
pub const SENTINEL_VISITORS_MAX: usize = 1 << 14;

/// Bytes that may wait for a client that is shown commands: some seconds of lines as many as may be written.
pub const MONITOR_BYTES_MAX: u64 = 8 << 20;

/// Bytes of one word that are shown; what is longer is cut short.
pub const MONITOR_WORD_BYTES_MAX: usize = 1024;

/// Words of one command that are shown.
pub const MONITOR_WORDS_MAX: usize = 64;

/// Bytes of a client's or library's name.
pub const CLIENT_NAME_BYTES_MAX: usize = 1024;

/// How long a client may take for the handshake of TLS; then its connection is dropped and counted.
pub const TLS_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// Different error codes that are counted one by one; the others count together.
pub const ERROR_CODES_MAX: usize = 128;

/// Seconds of which the latency monitor keeps the worst of an event, as in Redis.
pub const LATENCY_SAMPLES_MAX: usize = 160;

/// Accepted connections that may wait for their worker before the acceptor waits too.
pub const ACCEPTED_WAITING_MAX: usize = 1024;

/// Of commands that take constant time, or whose cost grows with their arguments alone and that have few of them, one in
/// this many is timed: reading the clock twice costs about as much as such a command itself. Commands whose cost grows
/// with what they find are all timed.
pub const TIMED_ONE_OF: u64 = 128;

const _: () = assert!(TIMED_ONE_OF.is_power_of_two(), "it is looked at as a mask");

/// Between two looks at how much memory is used: asking the allocator costs some ten microseconds.
pub const MEMORY_LOOK_INTERVAL: Duration = Duration::from_millis(4);

/// Keys that are evicted before one command: about 10 us, so that a pipeline of hundreds is not held up by what was written
/// before it. Small writes need one or two; after a large one the others and the task beside the workers go on.
pub const EVICTIONS_A_COMMAND_MAX: usize = 4;

/// The same, while more than a 64th of the limit is used beyond it: writes are then slowed down for good reason.
pub const EVICTIONS_FAR_BEYOND_MAX: usize = 16;

/// Keys that the task beside the workers evicts in one turn: less than a millisecond.
pub const EVICTIONS_A_TURN_MAX: usize = 256;

/// Cells of four bytes in the table of `LCS`: 512 MB, which is Redis' limit by default. It lives only as long as the
/// command.
pub const LCS_CELLS_MAX: usize = 1 << 27;

/// Elements, repeats included, that one `SRANDMEMBER` or `HRANDFIELD` with a negative count may answer. Redis has no
/// limit and dies of the reply; sixteen million are more than anybody samples at once.
pub const RANDOM_ELEMENTS_MAX: usize = 1 << 24;

/// Bytes of Lua's memory for the scripts of one worker: what all cached scripts take, and what the one that runs holds at
/// a time. A script that needs more ends with an error.
pub const SCRIPT_MEMORY_BYTES_MAX: usize = 512 << 20;

/// Bytes in use between two scripts from which on what the last one left is collected before the next one runs: Lua does not
/// look for garbage when its memory is short.
pub const SCRIPT_CROWDED_BYTES: usize = SCRIPT_MEMORY_BYTES_MAX / 2;

/// Bytes of words or of a reply that are made values of Lua without looking at each step whether its memory is short, which
/// would cost more than the step. Values of Lua take up to some thirty times as much: 2 MiB beyond the limit above, where nothing is converted so any more.
pub const SCRIPT_UNLIMITED_BYTES_MAX: usize = 64 << 10;

/// Bytes of the stack that Lua runs on, of which only what is used is memory: two hundred nested calls of C, and a
/// thousand levels of a value that is answered or read as JSON.
pub const SCRIPT_STACK_BYTES: usize = 16 << 20;

/// Repetitions and captures in a pattern of `string.find` and its like: each may take some 300 bytes of the stack above.
/// Lua 5.2 has a limit of 200; this is more than any pattern that somebody writes, and a tenth of the stack.
pub const SCRIPT_PATTERN_ITEMS_MAX: usize = 4000;

/// Bytes of the stack that commands run on that run scripts, of which only what is used is memory.
pub const COMMAND_STACK_BYTES: usize = 4 << 20;

/// Bytes of the sources of all scripts that the node knows: more than any honest set of scripts, and a bound for clients
/// that make a new script for every call. The oldest that was only evaluated goes for a new one.
pub const SCRIPT_CACHE_BYTES_MAX: usize = 64 << 20;

/// What a known script takes beside its source, in each worker too: its chunk and its environment.
pub const SCRIPT_OVERHEAD_BYTES: usize = 8 << 10;

/// Requests of one read that are taken apart before the first is executed, so that the memory of their keys is on its
/// way: as many cache misses as a core keeps in flight.
pub const REQUESTS_AHEAD_MAX: usize = 16;

/// Backups that are read at once. Each keeps files that would otherwise go, up to the size of the store in the time that it
/// takes; two are enough for one that runs and one that somebody has just broken off.
pub const BACKUPS_MAX: usize = 2;

/// Bytes of one read of a backup: large enough for a fast link, and small beside what a node has in memory anyway.
pub const BACKUP_CHUNK_BYTES_MAX: usize = 1 << 20;

/// How long a backup lives without a read, unless it is begun with another time.
pub const BACKUP_LEASE: Duration = Duration::from_secs(60);

/// The longest time that it may be begun with.
pub const BACKUP_LEASE_MAX: Duration = Duration::from_secs(3600);

/// How long the beginning of a backup waits for the disk to flush.
pub const BACKUP_FLUSH_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes of messages that wait for one client where `client-output-buffer-limit` sets no hard limit: what a client has not
/// asked for is never kept without end. Eight times what Redis lets wait for a subscriber.
pub const OUTBOX_BYTES_MAX: u64 = 256 << 20;

/// Bytes of messages that wait for all clients together, so that ten thousand subscribers that do not read, each within
/// its own limit, are no end of memory either. Beyond it whoever is behind and gets one more is disconnected.
pub const OUTBOXES_BYTES_MAX: u64 = 1 << 30;

/// Channels and patterns that one client may have subscribed to. Each costs some hundred bytes; Redis has no limit, honest
/// clients subscribe to some thousands.
pub const SUBSCRIPTIONS_MAX: usize = 1 << 20;

/// Prefixes that all clients together have themselves told of. Each change of a key is compared with all of them.
pub const TRACKING_PREFIXES_MAX: usize = 4096;

/// Bytes that these prefixes may take, counted for each client that is told of one: long ones are no way around their number.
pub const TRACKING_PREFIX_BYTES_MAX: usize = 16 << 20;

/// Bytes that the table of what clients have read may take, whatever `tracking-table-max-keys` says: a million keys of
/// ordinary length, each read by some clients, and a bound for long keys and for many clients of one key. Beyond it keys are
/// forgotten.
pub const TRACKING_TABLE_BYTES_MAX: usize = 256 << 20;

/// Keys beyond `tracking-table-max-keys` that one command has forgotten, besides as many as it has read itself: after the
/// setting was lowered no command pays for all. What is left over is the difference of the setting and
/// `pelago_tracking_keys`.
pub const TRACKING_FORGOTTEN_MAX: usize = 64;

/// Bytes of keys that are remembered while a command, transaction or batch runs, so that who is told by prefix hears of each
/// once. Beyond them a key may be told again.
pub const TRACKING_TOLD_BYTES_MAX: usize = 64 << 10;

/// Bytes of a name in `ACL LOG`: of a command, key, channel or user that was refused. The rest is cut off.
pub const ACL_LOG_NAME_BYTES_MAX: usize = 1024;

/// Bytes of published messages that wait for the thread of the peers. It takes them all in less than a millisecond; with this
/// met it is busy, and messages are no data: they are dropped.
pub const OUTGOING_MESSAGES_BYTES_MAX: usize = 8 << 20;

/// How often whether messages cross regions may change while some wait. Beyond that messages are dropped and counted, too.
pub const OUTGOING_STRETCHES_MAX: usize = 64;

/// Bytes of one message, with the name of its channel, that is sent to other nodes: larger ones would hold up the small ones
/// behind them for as long as a slow path takes.
pub const PUBLISHED_BYTES_MAX: usize = 4 << 20;

/// Bytes of changes that a transaction, a script or a function may make and still go on writing: all of it becomes one batch,
/// which the journal and the peers take as a whole. Beyond it commands that write are refused.
pub const GROUP_BYTES_MAX: usize = 2 << 30;

/// Bytes of small messages that are kept in one piece: large enough that their number does not matter, small beside what
/// is written at once.
pub const OUTBOX_PIECE_BYTES: usize = 16 * 1024;

/// Bytes of requests from which on `MIGRATE` sends what it has dumped and waits for the answers: about a millisecond of a
/// worker's time, and on a path of a tenth of a second still ten megabytes a second. One value may be larger.
pub const MIGRATED_AT_ONCE_BYTES: usize = 1 << 20;

/// Keys that it sends before it waits: all their answers fit into the buffers of a socket, so that a target that reads nothing
/// while it cannot write is not waited for in vain.
pub const MIGRATED_AT_ONCE_KEYS: usize = 256;

/// Bytes that all clients' `MIGRATE` together may have dumped and not sent yet, or sent without an answer: the largest value
/// that Redis takes, twice. Beyond it one is refused.
pub const MIGRATING_BYTES_MAX: usize = 1 << 30;

/// The longest time that `MIGRATE` waits for one answer, whatever it is told.
pub const MIGRATE_TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Bytes of one line that a target of `MIGRATE` may answer.
pub const TARGET_REPLY_BYTES_MAX: usize = 64 << 10;

/// Names that a node looks up at once, each on a thread: of `MIGRATE`, and of addresses to listen at. More names wait, each as
/// long as its client says.
pub const RESOLVING_MAX: usize = 4;

/// How long `CONFIG SET bind` waits for the resolver of names: somewhat longer than that tries two servers.
pub const RESOLVING_TIME_MAX: Duration = Duration::from_secs(15);

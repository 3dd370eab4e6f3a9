//! Every metric there is, by what it is about. A new metric is one field here, and the line of code that feeds it.

use super::group::metric_group;
use super::instrument::{Counter, CounterBy, Gauge, GaugeBy, Histogram, Peak, RealCounter, RealGauge};

metric_group! {
    /// Connections of clients and what comes over them. Copied from the tallies of the workers.
    pub struct ClientMetrics as "pelago" {
        /// Connections accepted.
        connections_accepted: Counter,
        /// Connections refused because maxclients were connected.
        connections_refused: Counter,
        /// Connections ended because all together took more memory than maxmemory-clients.
        connections_evicted: Counter,
        /// Connections closed because they were idle for longer than timeout.
        connections_closed_idle: Counter,
        /// Clients connected now.
        connections_open: Gauge,
        /// Bytes that all connections take: requests that are not finished, replies that wait, subscriptions, and themselves.
        connections_bytes: Gauge,
        /// Clients that wait for a key to hold something for them (BLPOP and its like).
        blocked: Gauge,
        /// Commands that were not let wait because clients wait for too many keys already.
        waits_refused: Counter,
        /// MIGRATE commands that were refused because all of them together had too many bytes under way.
        migrations_refused: Counter,
        /// Requests that were not the Redis protocol; each closes its connection.
        protocol_errors: Counter,
        /// Connections closed because more waited for them than client-output-buffer-limit allows.
        connections_closed_output_limit: Counter,
        /// Commands executed, those inside transactions included.
        commands: Counter,
        /// Reads from client sockets that brought bytes.
        socket_reads: Counter,
        /// Writes of replies to client sockets.
        socket_writes: Counter,
        /// Bytes read from clients.
        bytes_read: Counter,
        /// Bytes written to clients.
        bytes_written: Counter,
        /// Most bytes of an unfinished request, of any client connected now.
        request_bytes_waiting_max: Gauge,
        /// Most bytes of replies that wait for a client that does not read, of any client connected now.
        reply_bytes_waiting_max: Gauge,
    }
}

metric_group! {
    /// What clients publish.
    pub struct MessageMetrics as "pelago_pubsub" {
        /// Messages that clients of this node have published.
        published: Counter,
        /// Messages that were handed to subscribers of this node, one for each of them.
        delivered: Counter,
        /// Messages that came from other nodes.
        arrived: Counter,
        /// Messages sent to other nodes, one for each of them.
        sent: Counter,
        /// Messages that were not sent to another node: too large, or without room on the way to it.
        dropped: Counter,
        /// Channels that somebody has subscribed to, shard channels included.
        channels: Gauge,
        /// Patterns that somebody has subscribed to.
        patterns: Gauge,
        /// Bytes that wait for clients which have not asked for them, shared messages counted for each of them.
        waiting_bytes: Gauge,
    }
}

metric_group! {
    /// What clients cache.
    pub struct TrackingMetrics as "pelago_tracking" {
        /// Clients that cache what they read.
        clients: Gauge,
        /// Keys that some of them have read.
        keys: Gauge,
        /// Keys that some of them have read, each counted for each client.
        items: Gauge,
        /// Prefixes of keys that some of them are told of.
        prefixes: Gauge,
        /// Bytes that those keys take, about.
        table_bytes: Gauge,
        /// Bytes that those prefixes take, about, each counted for each client.
        prefix_bytes: Gauge,
        /// Keys that were forgotten because tracking-table-max-keys were remembered, or too many bytes.
        forgotten: Counter,
        /// Prefixes that were refused because there were too many, or too many bytes of them.
        prefixes_refused: Counter,
        /// Invalidations sent.
        sent: Counter,
    }
}

metric_group! {
    /// What the keyspace holds and what happened to it.
    pub struct KeyspaceMetrics as "pelago_keyspace" {
        /// Keys, by database.
        keys: GaugeBy = GaugeBy::new("database"),
        /// Keys with a lifetime, by database.
        keys_with_lifetime: GaugeBy = GaugeBy::new("database"),
        /// Bytes that keys and values take: what the allocator has handed out, less what it had at the start of the
        /// process and what recent and waiting batches take. 0 where the allocator does not tell.
        memory_bytes: Gauge,
        /// Keys that commands which only read looked for and found.
        hits: Counter,
        /// Keys that commands which only read looked for and did not find.
        misses: Counter,
        /// Keys removed because their time was over.
        expired: Counter,
        /// Fields of hashes removed because their time was over, or because only assertions about it were left.
        expired_fields: Counter,
        /// Keys removed because memory was short (maxmemory).
        evicted: Counter,
        /// Changes that clients of this node made.
        changes_made: Counter,
        /// Changes of other nodes that were applied here.
        changes_applied: Counter,
        /// Concurrent writes that gave one key two types, of which one shows.
        type_conflicts: Counter,
        /// Concurrent writes that had to be decided, by kind.
        conflicts: CounterBy = CounterBy::new("kind"),
        /// Resets of counters that are remembered until every contributor is known to have applied them.
        counter_resets_held: Gauge,
        /// Strings with patches that some member may not have yet.
        patched_strings: Gauge,
        /// Writes of whole strings in the place of patches, because a string had too many of them.
        patches_made_whole: Counter,
        /// Removals of writes that have not arrived yet, remembered until they do.
        early_dots: Gauge,
        /// Large collections that were removed and are not freed yet.
        lazyfree_pending_objects: Gauge,
        /// Bytes that these take, about.
        lazyfree_pending_bytes: Gauge,
        /// Large collections that were freed in the background.
        lazyfreed_objects: Counter,
        /// Large collections that were freed by whoever removed them, because too many waited to be freed.
        lazyfree_refused: Counter,
        /// Microseconds for which a slot was held at the longest since the node started, by what held it. Of commands it is the
        /// longest time that somebody waited for one.
        slot_held_longest_us: GaugeBy = GaugeBy::new("by"),
    }
}

metric_group! {
    /// What replication does in this node as a whole.
    pub struct ReplicationTotals as "pelago_replication" {
        /// Batches closed here.
        batches_closed: Counter,
        /// Large batches of others whose preparation beside the thread of the peers has begun.
        batches_prepared: Counter,
        /// Changes in one batch closed here.
        batch_changes: Histogram = Histogram::new(&[1, 4, 16, 64, 256, 1_024, 4_096, 16_384]),
        /// Bytes of one batch closed here, as it is sent.
        batch_bytes: Histogram = Histogram::new(&[128, 512, 2_048, 8_192, 32_768, 131_072, 524_288]),
        /// Bytes of batches closed here and of state sent, before they were packed.
        packed_bytes_before: Counter,
        /// The same bytes as they were sent and kept, compressed or not.
        packed_bytes_after: Counter,
        /// Times that something was compressed, in part or whole, to see whether that pays.
        packing_probes: Counter,
        /// Batches and pieces of state that were left uncompressed because it did not pay lately.
        packing_left_untried: Counter,
        /// Bytes sent to all peers for each change made here, since the node started.
        bytes_out_per_write: RealGauge,
        /// Bytes of recent batches held for peers.
        ring_bytes: Gauge,
        /// The limit of those bytes.
        ring_bytes_max: Gauge,
        /// Recent batches held for peers.
        ring_batches: Gauge,
        /// Memory for a chunk of state that comes in parts, of which more are to come.
        state_gathered_bytes: Gauge,
        /// Batches that wait for those they depend on.
        waiting_batches: Gauge,
        /// Bytes of batches that wait.
        waiting_bytes: Gauge,
        /// Waiting batches dropped for want of space, to be asked for again.
        waiting_dropped: Counter,
        /// Gaps that were asked of another node than their author.
        pulls: Counter,
        /// Catch-ups by state that were begun here.
        sessions: Counter,
        /// Catch-ups by state that were broken off.
        sessions_broken: Counter,
        /// Catch-ups by state that run now.
        sessions_running: Gauge,
        /// Slots compared with peers by digest.
        digests_compared: Counter,
        /// Slots whose digests differed although they should not: anything but 0 is an alarm.
        digest_mismatches: Counter,
        /// When the node's own certificate expires, in seconds since 1970.
        certificate_valid_until_seconds: Gauge,
        /// Limits that were met, by name.
        limits_met: CounterBy = CounterBy::new("limit"),
    }
}

metric_group! {
    /// Scripts and functions.
    pub struct ScriptMetrics as "pelago_scripts" {
        /// Sources that are known by their digests.
        cached: Gauge,
        /// Bytes that they take.
        cached_bytes: Gauge,
        /// Sources that were only evaluated and were forgotten because there were too many.
        evicted: Counter,
        /// `SCRIPT LOAD`s that were refused because the loaded sources leave no room.
        refused: Counter,
        /// Scripts and functions that run now and have run for longer than busy-reply-threshold.
        long: Gauge,
        /// Scripts and functions that were ended by `SCRIPT KILL` and `FUNCTION KILL`.
        killed: Counter,
        /// Libraries of functions, as the worker that looked last has found.
        libraries: Gauge,
        /// Functions in them.
        functions: Gauge,
        /// Of these, functions that nobody can call, because another library has registered one of the same name.
        functions_shadowed: Gauge,
        /// Bytes of their code.
        library_bytes: Gauge,
        /// Bytes that Lua has in all workers, each as of the end of its last run.
        memory_bytes: Gauge,
    }
}

metric_group! {
    /// What is kept on disk, and how the disk fares.
    pub struct StoreMetrics as "pelago_store" {
        /// 1 if keys are kept on disk.
        on: Gauge,
        /// 1 while everything is kept; 0 while the disk is full or fails, until a checkpoint has mended the store.
        sound: Gauge,
        /// Bytes of the journal's files.
        journal_bytes: Gauge,
        /// Bytes of journal that a start would have to replay.
        uncovered_bytes: Gauge,
        /// Bytes that wait to be written.
        queued_bytes: Gauge,
        /// Bytes taken into the journal.
        appended_bytes: Counter,
        /// Records that could not be written and are in no journal.
        records_given_up: Counter,
        /// Defects of Pelago's that the store's threads met. `INFO persistence` says which thread in `store_problem`.
        thread_panics: Counter,
        /// Flushes of the journal.
        flushes: Counter,
        /// Microseconds of the last flush.
        flush_us_last: Gauge,
        /// Microseconds of the longest flush since the node started.
        flush_us_max: Gauge,
        /// Milliseconds for which the disk has worked on one write or flush of the journal that it has not finished.
        stalled_ms: Gauge,
        /// Writes and flushes of the journal that took longer than two seconds.
        stalls: Counter,
        /// Bytes of the last checkpoint's images.
        checkpoint_bytes: Gauge,
        /// Bytes that checkpoints have written.
        checkpoint_bytes_written: Counter,
        /// Checkpoints finished.
        checkpoints: Counter,
        /// 1 if the last checkpoint that ended could not be finished.
        checkpoint_failed: Gauge,
        /// Bytes that the disk lacked for a checkpoint, which was not begun therefore; 0 when one is finished.
        checkpoint_lacks_bytes: Gauge,
        /// When the last checkpoint was finished, in seconds since 1970.
        checkpoint_time_seconds: Gauge,
        /// Milliseconds that it took.
        checkpoint_ms: Gauge,
        /// Damaged files and gaps that the last start found.
        damage_found: Gauge,
        /// Bytes that may still be written to the disk.
        space_bytes: Gauge,
        /// Backups that are read now.
        backups_running: Gauge,
        /// Backups that were begun.
        backups_begun: Counter,
        /// Backups that were refused because as many as may run at once did.
        backups_refused: Counter,
        /// Backups that were ended because nobody read them for their time, or because the disk was full.
        backups_cut_short: Counter,
        /// Bytes that were read for backups.
        backup_bytes_read: Counter,
        /// Bytes of files that are kept only until backups have read them.
        backup_bytes_kept: Gauge,
    }
}

metric_group! {
    /// What is known of one peer and the link to it.
    pub struct PeerMetrics as "pelago_peer" {
        /// Milliseconds from the latest acknowledged write here until the peer had applied it.
        applied_lag_ms: Gauge,
        /// Milliseconds from a write here until the peer had applied it, of each batch made here.
        write_to_applied_ms: Histogram = Histogram::new(&protocol::LAG_BOUNDS_MS),
        /// Changes made here that the peer has not acknowledged.
        unacked_changes: Gauge,
        /// Bytes of batches made here that the peer has not acknowledged.
        unacked_bytes: Gauge,
        /// Milliseconds by which the peer's clock is ahead of this node's.
        clock_offset_ms: Gauge,
        /// 1 while the link is up, 0 while it is down.
        link_up: Gauge,
        /// 1 while this node catches up from the peer.
        catching_up: Gauge,
        /// Milliseconds to the peer and back.
        round_trip_ms: RealGauge,
        /// Bytes received from the peer.
        bytes_in: Counter,
        /// Bytes sent to the peer.
        bytes_out: Counter,
        /// Batches received from the peer.
        batches_in: Counter,
        /// Batches sent to the peer.
        batches_out: Counter,
        /// Times the link came up.
        links_opened: Counter,
        /// Times the link was lost.
        links_lost: Counter,
    }
}

metric_group! {
    /// What the process uses, under the names that other programs use for it too.
    pub struct ProcessMetrics as "process" {
        /// Processor time used, in seconds.
        cpu_seconds: RealCounter,
        /// Memory in RAM.
        resident_memory_bytes: Gauge,
        /// Most memory that was in RAM.
        resident_memory_max_bytes: Gauge,
        /// When the process started, in seconds since 1970.
        start_time_seconds: RealGauge,
        /// Open files and sockets.
        open_fds: Gauge,
        /// Threads.
        threads: Gauge,
    }
}

metric_group! {
    /// What the allocator says; all 0 where it says nothing.
    pub struct AllocatorMetrics as "pelago_allocator" {
        /// Bytes handed out.
        allocated_bytes: Gauge,
        /// Bytes in pages that are in use.
        active_bytes: Gauge,
        /// Bytes in RAM.
        resident_bytes: Gauge,
        /// Most bytes handed out, as far as it was looked at.
        allocated_bytes_max: Peak,
        /// Bytes that were handed out when the first node of the process was made.
        startup_bytes: Gauge,
    }
}

metric_group! {
    /// What the node's own observation does.
    pub struct ConsoleMetrics as "pelago_console" {
        /// HTTP requests answered.
        http_requests: Counter,
        /// HTTP connections refused because too many were open.
        http_connections_refused: Counter,
        /// Log lines that were counted instead of written.
        log_lines_suppressed: Counter,
        /// How often a name that Sentinel-aware clients ask for came to stand for another node.
        sentinel_switches: Counter,
        /// Connections that were ended because the region that their clients came from serves again.
        sentinel_sent_back: Counter,
        /// Requests that were refused because a user may not make them, and passwords that were wrong.
        access_denied: Counter,
        /// Commands that `MONITOR` did not show because there were too many in their second.
        monitor_left_out: Counter,
        /// Connections that ended before the handshake of TLS had.
        tls_handshakes_failed: Counter,
        /// Commands that entered the slow log.
        slow_commands: Counter,
        /// The longest delay of a worker's event loop in microseconds, since the node started.
        event_loop_stall_us_max: Peak,
        /// Delays of a worker's event loop of more than 10 ms.
        event_loop_stalls: Counter,
    }
}

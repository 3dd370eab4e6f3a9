//! What a node counts about itself: declared once (`groups`), counted cheaply (`instrument`), shown to Prometheus
//! (`exposition`) and to `INFO` (`statistics`).
//!
//! Workers count in tallies of their own; everything else counts in shared groups. What is kept elsewhere (the tallies,
//! the keyspace, replication, the allocator) is copied here just before it is shown, by an `on_scrape` function.

pub mod commands;
mod document;
mod exposition;
mod group;
mod groups;
mod instrument;
mod latency;
pub mod process;
mod rates;
mod slow_log;
mod stall;
mod statistics;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use crate::node::Node;
use crate::pubsub::ChannelKind;

pub use commands::CommandTotals;
pub use document::document;
pub use exposition::Exposition;
pub use groups::{
    AllocatorMetrics, ClientMetrics, ConsoleMetrics, KeyspaceMetrics, MessageMetrics, PeerMetrics, ProcessMetrics,
    ReplicationTotals, ScriptMetrics, StoreMetrics, TrackingMetrics,
};
pub use instrument::{Counter, CounterBy, Gauge, GaugeBy, Histogram, Peak, RealCounter, RealGauge};
pub use latency::{Latencies, LatencyCounts};
pub use process::AllocatorFigures;
pub use rates::Rates;
pub use slow_log::{SlowCommand, SlowLog};
pub use stall::watch_event_loop;
pub use statistics::Statistics;

/// Copies figures that are kept elsewhere into the metrics.
type Refresh = Box<dyn Fn(&Metrics) + Send + Sync>;

/// Everything a node counts. Shared by all its threads.
#[derive(Default)]
pub struct Metrics {
    /// Clients.
    pub clients: ClientMetrics,
    /// What clients publish.
    pub messages: MessageMetrics,
    /// What clients cache.
    pub tracking: TrackingMetrics,
    /// Scripts and functions.
    pub scripts: ScriptMetrics,
    /// The keyspace.
    pub keyspace: KeyspaceMetrics,
    /// Replication as a whole, and by peer.
    pub replication: Replication,
    /// The disk.
    pub store: StoreMetrics,
    /// The process.
    pub process: ProcessMetrics,
    /// The allocator.
    pub allocator: AllocatorMetrics,
    /// Observation itself.
    pub console: ConsoleMetrics,
    /// The latest commands that took long.
    pub slow_log: SlowLog,
    identity: OnceLock<Identity>,
    allocator_probe: OnceLock<AllocatorProbe>,
    refreshes: RwLock<Vec<Refresh>>,
    baseline: Mutex<Statistics>,
    samples: Mutex<rates::Samples>,
}

/// What `pelago_info` says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    node: String,
    region: String,
}

/// Replication as a whole (reached as if its fields were here), and by peer.
#[derive(Debug, Default)]
pub struct Replication {
    totals: ReplicationTotals,
    peers: RwLock<BTreeMap<String, Arc<PeerMetrics>>>,
}

impl Replication {
    /// The metrics of a peer; they begin when it is first asked for. Keep the `Arc` rather than asking again.
    pub fn peer(&self, name: &str) -> Arc<PeerMetrics> {
        if let Some(peer) = self.peers.read().get(name) {
            return Arc::clone(peer);
        }
        Arc::clone(self.peers.write().entry(name.to_owned()).or_default())
    }

    /// Ends the metrics of all peers but these: the others are no members any more. Returns what was ended.
    pub fn keep_peers(&self, names: &BTreeSet<String>) -> Vec<Arc<PeerMetrics>> {
        if self.peers.read().keys().all(|name| names.contains(name)) {
            return Vec::new();
        }
        self.peers.write().extract_if(.., |name, _| !names.contains(name)).map(|(_, peer)| peer).collect()
    }

    /// All peers, by name.
    pub fn peers(&self) -> Vec<(String, Arc<PeerMetrics>)> {
        self.peers.read().iter().map(|(name, peer)| (name.clone(), Arc::clone(peer))).collect()
    }
}

impl Deref for Replication {
    type Target = ReplicationTotals;

    fn deref(&self) -> &ReplicationTotals {
        &self.totals
    }
}

/// Asks the allocator.
type AllocatorProbe = Box<dyn Fn() -> AllocatorFigures + Send + Sync>;

impl Metrics {
    /// Says once which node this is.
    pub fn set_identity(&self, node: &str, region: &str) {
        let _ = self.identity.set(Identity { node: node.to_owned(), region: region.to_owned() });
    }

    /// Says once how to ask the allocator, when the node is made and still empty.
    pub fn set_allocator_probe(&self, probe: impl Fn() -> AllocatorFigures + Send + Sync + 'static) {
        let figures = probe();
        if self.allocator_probe.set(Box::new(probe)).is_ok() {
            process::note_allocator(&self.allocator, figures);
            self.allocator.startup_bytes.set(self.allocator.allocated_bytes.value());
        }
    }

    /// Bytes that the allocator has handed out, asked now; nothing if it does not tell.
    pub fn allocated_bytes(&self) -> Option<u64> {
        let figures = (self.allocator_probe.get()?)();
        process::note_allocator(&self.allocator, figures);
        Some(figures.allocated).filter(|&bytes| bytes > 0)
    }

    /// Calls `refresh` before metrics are shown, so that it can copy what is kept elsewhere. It must not block.
    pub fn on_scrape(&self, refresh: impl Fn(&Metrics) + Send + Sync + 'static) {
        self.refreshes.write().push(Box::new(refresh));
    }

    /// Copies what is kept elsewhere.
    pub fn refresh(&self, node: &Node) {
        self.refresh_clients(node);
        self.refresh_messages(node);
        self.refresh_scripts(node);
        self.refresh_keyspace(node);
        self.refresh_store(node);
        process::refresh(&self.process);
        for refresh in self.refreshes.read().iter() {
            refresh(self);
        }
        if let Some(probe) = self.allocator_probe.get() {
            process::note_allocator(&self.allocator, probe());
            let beside = [&self.allocator.startup_bytes, &self.replication.ring_bytes, &self.replication.waiting_bytes];
            let beside: i64 = beside.iter().map(|level| level.value()).sum();
            self.keyspace.memory_bytes.set((self.allocator.allocated_bytes.value() - beside).max(0));
        }
        let sent: u64 = self.replication.peers().iter().map(|(_, peer)| peer.bytes_out.value()).sum();
        let changes = self.keyspace.changes_made.value();
        if changes > 0 {
            self.replication.bytes_out_per_write.set(sent as f64 / changes as f64);
        }
    }

    /// The page for Prometheus.
    pub fn text(&self, node: &Node) -> String {
        self.refresh(node);
        process::count_files(&self.process);
        let mut out = Exposition::new();
        out.header("pelago_info", "Which node this is; always 1.", instrument::Kind::Gauge);
        if let Some(identity) = self.identity.get() {
            let labels = [("version", VERSION), ("node", &identity.node), ("region", &identity.region)];
            out.value("pelago_info", &labels, 1);
        }
        group::expose(&self.clients, &mut out);
        let statistics = Statistics::since_start(self, node);
        commands::expose(&statistics, &mut out);
        out.header(ERRORS, ERRORS_HELP, instrument::Kind::Counter);
        for (code, count) in &statistics.errors {
            out.value(ERRORS, &[("code", code)], count);
        }
        group::expose(&self.messages, &mut out);
        group::expose(&self.tracking, &mut out);
        group::expose(&self.scripts, &mut out);
        group::expose(&self.keyspace, &mut out);
        group::expose(&*self.replication, &mut out);
        let peers = self.replication.peers();
        let peers: Vec<(String, &PeerMetrics)> = peers.iter().map(|(name, peer)| (name.clone(), &**peer)).collect();
        group::expose_labelled("peer", &peers, &mut out);
        group::expose(&self.store, &mut out);
        group::expose(&self.process, &mut out);
        group::expose(&self.allocator, &mut out);
        group::expose(&self.console, &mut out);
        out.finish()
    }

    /// What `INFO` counts: since the last reset.
    pub fn statistics(&self, node: &Node) -> Statistics {
        let mut now = Statistics::since_start(self, node);
        now.subtract(&self.baseline.lock());
        now
    }

    /// What `INFO` counts begins anew. For `CONFIG RESETSTAT`.
    pub fn reset_statistics(&self, node: &Node) {
        *self.baseline.lock() = Statistics::since_start(self, node);
    }

    /// Takes a sample for the rates; call it a few times a second with any clock that rises.
    pub fn sample_rates(&self, node: &Node, now_ms: u64) {
        let workers = node.tallies.totals();
        let mut totals = rates::Totals {
            commands: workers.commands,
            bytes_read: workers.bytes_in,
            bytes_written: workers.bytes_out,
            ..rates::Totals::default()
        };
        for (_, peer) in self.replication.peers() {
            totals.replication_in += peer.bytes_in.value();
            totals.replication_out += peer.bytes_out.value();
        }
        self.samples.lock().note(now_ms, totals);
    }

    /// How much happens now.
    pub fn rates(&self) -> Rates {
        self.samples.lock().rates()
    }

    fn refresh_clients(&self, node: &Node) {
        let (own, clients) = (&self.clients, &node.clients);
        let totals = node.tallies.totals();
        own.connections_accepted.mirror(clients.accepted());
        own.connections_refused.mirror(clients.refused());
        own.connections_evicted.mirror(clients.evicted());
        own.connections_closed_idle.mirror(clients.ended_for_silence());
        own.connections_open.set_count(clients.count() as u64);
        self.console.monitor_left_out.mirror(node.monitors.left_out());
        own.blocked.set_count((node.blocking.count() + node.arrivals.count()) as u64);
        own.waits_refused.mirror(node.blocking.refused());
        own.migrations_refused.mirror(node.migrations.refused());
        own.protocol_errors.mirror(totals.protocol_errors);
        own.connections_closed_output_limit.mirror(totals.output_limit_closed);
        self.keyspace.hits.mirror(totals.hits);
        self.keyspace.misses.mirror(totals.misses);
        own.commands.mirror(totals.commands);
        own.socket_reads.mirror(totals.reads);
        own.socket_writes.mirror(totals.writes);
        own.bytes_read.mirror(totals.bytes_in);
        own.bytes_written.mirror(totals.bytes_out);
        let open = clients.all();
        let waiting = open.iter().map(|presence| presence.look().input.waiting).max();
        own.request_bytes_waiting_max.set_count(waiting.unwrap_or_default());
        own.connections_bytes.set_count(open.iter().map(|presence| presence.memory_bytes()).sum());
        let unread = open.iter().map(|presence| presence.unread_bytes()).max();
        own.reply_bytes_waiting_max.set_count(unread.unwrap_or_default());
    }

    fn refresh_messages(&self, node: &Node) {
        let (own, pubsub) = (&self.messages, &node.pubsub);
        let counts = pubsub.counts();
        own.published.mirror(counts.published);
        own.delivered.mirror(counts.delivered);
        own.arrived.mirror(counts.arrived);
        own.sent.mirror(pubsub.outgoing.sent());
        own.dropped.mirror(pubsub.outgoing.dropped());
        let channels = [ChannelKind::Channel, ChannelKind::Shard].map(|kind| pubsub.channel_count(kind));
        own.channels.set_count(channels.iter().sum::<usize>() as u64);
        own.patterns.set_count(pubsub.pattern_count() as u64);
        own.waiting_bytes.set_count(node.clients.outboxes().waiting_bytes());
        let (own, tracked) = (&self.tracking, node.tracking.figures());
        own.clients.set_count(tracked.clients as u64);
        own.keys.set_count(tracked.keys as u64);
        own.items.set_count(tracked.items as u64);
        own.prefixes.set_count(tracked.prefixes as u64);
        own.table_bytes.set_count(tracked.bytes as u64);
        own.prefix_bytes.set_count(tracked.prefix_bytes as u64);
        own.prefixes_refused.mirror(tracked.prefixes_refused);
        own.forgotten.mirror(tracked.forgotten);
        own.sent.mirror(tracked.sent);
    }

    fn refresh_scripts(&self, node: &Node) {
        let (own, scripts) = (&self.scripts, &node.scripts);
        let (cached, cached_bytes) = scripts.cache.figures();
        own.cached.set_count(cached as u64);
        own.cached_bytes.set_count(cached_bytes as u64);
        own.evicted.mirror(scripts.cache.evicted());
        own.refused.mirror(scripts.cache.refused());
        own.long.set_count(scripts.running.long_count());
        own.killed.mirror(scripts.running.killed());
        let (libraries, functions) = scripts.functions();
        own.libraries.set_count(libraries as u64);
        own.functions.set_count(functions as u64);
        own.functions_shadowed.set_count(scripts.shadowed().len() as u64);
        own.library_bytes.set_count(scripts.library_bytes() as u64);
        own.memory_bytes.set_count(scripts.running.memory() as u64);
    }

    fn refresh_store(&self, node: &Node) {
        let (own, state) = (&self.store, node.durability.state());
        let is_on = node.durability.is_on();
        own.on.set(i64::from(is_on));
        own.sound.set(i64::from(is_on && state.health == storage::Health::Sound));
        own.journal_bytes.set_count(state.journal_bytes);
        own.uncovered_bytes.set_count(state.uncovered_bytes);
        own.queued_bytes.set_count(state.queued_bytes);
        own.appended_bytes.mirror(state.appended_bytes);
        own.records_given_up.mirror(state.given_up);
        own.thread_panics.mirror(state.panics);
        own.flushes.mirror(state.flushes);
        own.flush_us_last.set_count(state.flush_us_last);
        own.flush_us_max.set_count(state.flush_us_max);
        own.stalled_ms.set_count(state.stalled_ms);
        own.stalls.mirror(state.stalls);
        own.checkpoint_bytes.set_count(state.checkpoint_bytes);
        own.checkpoint_bytes_written.mirror(state.checkpoint_bytes_written);
        own.checkpoints.mirror(state.checkpoints);
        own.checkpoint_failed.set(i64::from(state.checkpoint_failed));
        own.checkpoint_lacks_bytes.set_count(state.checkpoint_lacks_bytes);
        own.checkpoint_time_seconds.set_count(state.checkpoint_finished_ms / 1000);
        own.checkpoint_ms.set_count(state.checkpoint_took_ms);
        own.damage_found.set_count(state.problems);
        own.space_bytes.set_count(state.space_bytes);
        let backups = node.backups.figures();
        own.backups_running.set_count(backups.running);
        own.backups_begun.mirror(backups.begun);
        own.backups_refused.mirror(backups.refused);
        own.backups_cut_short.mirror(backups.cut_short);
        own.backup_bytes_read.mirror(backups.bytes_read);
        own.backup_bytes_kept.set_count(backups.kept_bytes);
    }

    fn refresh_keyspace(&self, node: &Node) {
        let (own, keyspace) = (&self.keyspace, &node.keyspace);
        let level = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (database, name) in (0..).zip(DATABASE_NAMES) {
            own.keys.set(name, level(keyspace.len(database)));
            own.keys_with_lifetime.set(name, level(keyspace.keys_with_end(database)));
        }
        own.early_dots.set_count(keyspace.early_dots());
        let garbage = keyspace.garbage();
        own.lazyfree_pending_objects.set_count(garbage.objects);
        own.lazyfree_pending_bytes.set_count(garbage.bytes);
        own.lazyfreed_objects.mirror(garbage.freed);
        own.lazyfree_refused.mirror(garbage.freed_by_removers);
        for (holder, longest_ns) in keyspace.holds().longest_ns() {
            own.slot_held_longest_us.set(holder.name(), level(longest_ns / 1000));
        }
        let conflicts = keyspace.conflicts();
        let kinds = [("value", &conflicts.values), ("lifetime", &conflicts.lives), ("type", &conflicts.kinds)];
        for (kind, count) in kinds {
            own.conflicts.mirror(kind, count.load(Relaxed));
        }
        own.type_conflicts.mirror(conflicts.kinds.load(Relaxed));
        own.counter_resets_held.set_count(keyspace.remembered_resets());
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The databases as the values of a label.
const DATABASE_NAMES: [&str; keyspace::DATABASES as usize] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"];
/// The metric of error replies.
const ERRORS: &str = "pelago_errors_total";
/// Its help.
const ERRORS_HELP: &str = "Error replies, by code.";

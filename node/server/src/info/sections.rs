//! The fields of each section of `INFO`.

use std::fmt::{Display, Write};
use std::ops::Deref;
use std::sync::Arc;

use super::status::{ClusterStatus, MemberState};
use super::{REDIS_VERSION, Section};
use crate::config::Config;
use crate::memory_limit;
use crate::metrics::process::{machine_memory, processor_time, system_name};
use crate::metrics::{Gauge, Metrics, Statistics, VERSION};
use crate::node::Node;
use crate::pubsub::ChannelKind;
use crate::scripting::Shadowed;
use crdt::UnixMillis;

/// What the sections are made of, read once for all of them.
pub struct Scene<'n> {
    pub(super) node: &'n Node,
    pub(super) metrics: &'n Metrics,
    config: Arc<Config>,
    statistics: Statistics,
    cluster: ClusterStatus,
    now: UnixMillis,
}

impl<'n> Scene<'n> {
    /// Reads everything.
    pub fn new(node: &'n Node, now: UnixMillis) -> Self {
        let metrics = &node.console.metrics;
        metrics.refresh(node);
        Self {
            node,
            metrics,
            config: Arc::clone(node.config.load().deref()),
            statistics: metrics.statistics(node),
            cluster: node.console.cluster(),
            now,
        }
    }
}

/// Appends `name:value` lines.
pub(super) struct Lines<'t>(&'t mut String);

impl Lines<'_> {
    pub(super) fn put(&mut self, name: impl Display, value: impl Display) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
        self
    }

    /// Fields that Redis has, with the value they always have here.
    pub(super) fn put_all(&mut self, fields: &[(&str, &str)]) -> &mut Self {
        fields.iter().for_each(|(name, value)| _ = self.put(name, value));
        self
    }

    /// A number of bytes, and the same for people.
    fn bytes(&mut self, name: &str, bytes: u64) -> &mut Self {
        self.put(name, bytes).put(format_args!("{name}_human"), human(bytes))
    }
}

/// Writes the fields of a section.
pub fn write(scene: &Scene<'_>, section: Section, text: &mut String) {
    let lines = &mut Lines(text);
    match section {
        Section::Server => server(scene, lines),
        Section::Clients => clients(scene, lines),
        Section::Memory => memory(scene, lines),
        Section::Persistence => super::persistence::section(scene, lines),
        Section::Stats => stats(scene, lines),
        Section::Replication => replication(scene, lines),
        Section::Cpu => cpu(lines),
        Section::Modules => {}
        Section::CommandStats => command_stats(scene, lines),
        Section::ErrorStats => error_stats(scene, lines),
        Section::LatencyStats => latency_stats(scene, lines),
        Section::Cluster => _ = lines.put("cluster_enabled", 0),
        Section::Keyspace => keyspace(scene, lines),
        Section::Pelago => pelago(scene, lines),
    }
}

fn server(scene: &Scene<'_>, lines: &mut Lines<'_>) {
    let uptime = scene.now.saturating_sub(scene.node.started_at()) / 1000;
    let executable = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    let file = scene.node.config.file().map(|path| path.display().to_string()).unwrap_or_default();
    lines
        .put("redis_version", REDIS_VERSION)
        .put_all(&[("redis_git_sha1", "00000000"), ("redis_git_dirty", "0"), ("redis_build_id", "0")])
        .put("redis_mode", "standalone")
        .put("pelago_version", VERSION)
        .put("os", system_name())
        .put("arch_bits", usize::BITS)
        .put_all(&[("monotonic_clock", "POSIX clock_gettime"), ("multiplexing_api", "epoll")])
        .put("process_id", std::process::id())
        .put("process_supervised", "no")
        .put("run_id", run_id(scene.node))
        .put("tcp_port", scene.config.resp.port())
        .put("server_time_usec", scene.now * 1000)
        .put("uptime_in_seconds", uptime)
        .put("uptime_in_days", uptime / 86_400)
        .put_all(&[("hz", "10"), ("configured_hz", "10")])
        .put("lru_clock", (scene.now / 1000) & 0x00ff_ffff)
        .put("executable", executable)
        .put("config_file", file)
        .put("io_threads_active", 0);
}

/// Forty hexadecimal digits that are other ones after each start.
pub fn run_id(node: &Node) -> String {
    let mut random = crate::client::Random::new(node.seed() ^ node.started_at());
    format!("{:016x}{:016x}{:08x}", random.draw(), random.draw(), random.draw() >> 32)
}

fn clients(scene: &Scene<'_>, lines: &mut Lines<'_>) {
    let clients = &scene.metrics.clients;
    lines
        .put("connected_clients", clients.connections_open.value())
        .put("cluster_connections", 0)
        .put("maxclients", scene.config.maxclients)
        .put("client_recent_max_input_buffer", clients.request_bytes_waiting_max.value())
        .put("client_recent_max_output_buffer", clients.reply_bytes_waiting_max.value())
        .put("blocked_clients", clients.blocked.value())
        .put("tracking_clients", scene.node.tracking.figures().clients)
        .put("clients_in_timeout_table", 0);
}

fn memory(scene: &Scene<'_>, lines: &mut Lines<'_>) {
    let figures = MemoryFigures::new(scene.metrics);
    let (garbage, scripts) = (scene.node.keyspace.garbage(), &scene.metrics.scripts);
    let level = |gauge: &Gauge| u64::try_from(gauge.value()).unwrap_or_default();
    let lua = level(&scripts.memory_bytes);
    let sources = level(&scripts.cached_bytes) + level(&scripts.library_bytes);
    let percent = |part: u64, whole: u64| format!("{:.2}%", ratio(part, whole) * 100.0);
    lines
        .bytes("used_memory", figures.used)
        .bytes("used_memory_rss", figures.resident)
        .bytes("used_memory_peak", figures.peak)
        .put("used_memory_peak_perc", percent(figures.used, figures.peak))
        .put("used_memory_overhead", figures.overhead())
        .put("used_memory_startup", figures.startup)
        .put("used_memory_dataset", figures.dataset)
        .put("used_memory_dataset_perc", percent(figures.dataset, figures.used))
        .put("allocator_allocated", figures.allocated)
        .put("allocator_active", figures.active)
        .put("allocator_resident", figures.allocator_resident)
        .bytes("total_system_memory", machine_memory())
        // Scripts and functions share one machine in each worker.
        .put("used_memory_vm_eval", scripts.memory_bytes.value())
        .bytes("used_memory_lua", lua)
        .put("used_memory_scripts_eval", scripts.cached_bytes.value())
        .put("number_of_cached_scripts", scripts.cached.value())
        .put("number_of_functions", scripts.functions.value())
        .put("number_of_libraries", scripts.libraries.value())
        .put("used_memory_vm_functions", 0)
        .bytes("used_memory_vm_total", lua)
        .put("used_memory_functions", scripts.library_bytes.value())
        .bytes("used_memory_scripts", sources)
        .bytes("maxmemory", scene.config.maxmemory)
        .put("maxmemory_policy", &scene.config.maxmemory_policy)
        .put("allocator_frag_ratio", two_digits(ratio(figures.active, figures.allocated)))
        .put("allocator_frag_bytes", figures.active.saturating_sub(figures.allocated))
        .put("allocator_rss_ratio", two_digits(ratio(figures.allocator_resident, figures.active)))
        .put("allocator_rss_bytes", figures.allocator_resident.saturating_sub(figures.active))
        .put("rss_overhead_ratio", two_digits(ratio(figures.resident, figures.allocator_resident)))
        .put("rss_overhead_bytes", figures.resident.saturating_sub(figures.allocator_resident))
        .put("mem_fragmentation_ratio", two_digits(ratio(figures.resident, figures.used)))
        .put("mem_fragmentation_bytes", figures.resident.saturating_sub(figures.used))
        .put("mem_not_counted_for_evict", memory_limit::not_counted(scene.node))
        .put("mem_clients_slaves", 0)
        .put("mem_clients_normal", scene.metrics.clients.connections_bytes.value())
        .put("mem_replication_backlog", scene.metrics.replication.ring_bytes.value())
        .put("mem_total_replication_buffers", scene.metrics.replication.ring_bytes.value())
        .put("mem_cluster_links", 0)
        .put("mem_aof_buffer", scene.node.durability.state().queued_bytes)
        .put("mem_allocator", if figures.allocated > 0 { "jemalloc" } else { "libc" })
        .put("active_defrag_running", 0)
        .put("lazyfree_pending_objects", garbage.objects)
        .put("lazyfreed_objects", garbage.freed);
}

/// Where the memory goes, in bytes; for `INFO` and `MEMORY STATS`.
#[derive(Debug, Clone, Copy)]
pub struct MemoryFigures {
    /// In use: what the allocator handed out, or what is in RAM if it does not tell.
    pub used: u64,
    /// Most that was in use.
    pub peak: u64,
    /// In RAM.
    pub resident: u64,
    /// Keys and values, as far as the allocator tells.
    pub dataset: u64,
    /// In use when the process had made its first node.
    pub startup: u64,
    /// Handed out by the allocator; 0 if it does not tell.
    pub allocated: u64,
    /// In pages that the allocator uses.
    pub active: u64,
    /// Of the allocator, in RAM.
    pub allocator_resident: u64,
}

impl MemoryFigures {
    /// From metrics that were just refreshed.
    pub fn new(metrics: &Metrics) -> Self {
        let size = |level: i64| u64::try_from(level).unwrap_or_default();
        let resident = size(metrics.process.resident_memory_bytes.value());
        let allocated = size(metrics.allocator.allocated_bytes.value());
        let (used, peak) = if allocated > 0 {
            (allocated, metrics.allocator.allocated_bytes_max.value())
        } else {
            (resident, size(metrics.process.resident_memory_max_bytes.value()))
        };
        Self {
            used,
            peak: peak.max(used),
            resident,
            dataset: size(metrics.keyspace.memory_bytes.value()),
            startup: size(metrics.allocator.startup_bytes.value()),
            allocated,
            active: size(metrics.allocator.active_bytes.value()),
            allocator_resident: size(metrics.allocator.resident_bytes.value()),
        }
    }

    /// What is in use beside keys and values.
    pub fn overhead(&self) -> u64 {
        self.used.saturating_sub(self.dataset)
    }
}

fn stats(scene: &Scene<'_>, lines: &mut Lines<'_>) {
    let Statistics { connections_accepted, connections_refused, workers, expired, expired_fields, evicted, .. } =
        &scene.statistics;
    let rates = scene.metrics.rates();
    let tracked = scene.node.tracking.figures();
    let peers = scene.metrics.replication.peers();
    let replication_in: u64 = peers.iter().map(|(_, peer)| peer.bytes_in.value()).sum();
    let replication_out: u64 = peers.iter().map(|(_, peer)| peer.bytes_out.value()).sum();
    let kilobytes = |bytes: f64| two_digits(bytes / 1024.0);
    lines
        .put("total_connections_received", connections_accepted)
        .put("total_commands_processed", workers.commands)
        .put("instantaneous_ops_per_sec", rates.commands.round() as u64)
        .put("total_net_input_bytes", workers.bytes_in + replication_in)
        .put("total_net_output_bytes", workers.bytes_out + replication_out)
        .put("total_net_repl_input_bytes", replication_in)
        .put("total_net_repl_output_bytes", replication_out)
        .put("instantaneous_input_kbps", kilobytes(rates.bytes_read + rates.replication_in))
        .put("instantaneous_output_kbps", kilobytes(rates.bytes_written + rates.replication_out))
        .put("instantaneous_input_repl_kbps", kilobytes(rates.replication_in))
        .put("instantaneous_output_repl_kbps", kilobytes(rates.replication_out))
        .put("rejected_connections", connections_refused)
        .put_all(&[("sync_full", "0"), ("sync_partial_ok", "0"), ("sync_partial_err", "0")])
        // As Redis calls it from 7.4 on.
        .put("expired_subkeys", expired_fields)
        .put("expired_keys", expired)
        .put_all(&[("expired_stale_perc", "0.00"), ("expired_time_cap_reached_count", "0")])
        .put("expire_cycle_cpu_milliseconds", 0)
        .put("evicted_keys", evicted)
        .put("evicted_clients", scene.node.clients.evicted())
        .put("total_eviction_exceeded_time", 0)
        .put("current_eviction_exceeded_time", 0)
        .put("keyspace_hits", workers.hits)
        .put("keyspace_misses", workers.misses)
        .put("pubsub_channels", scene.node.pubsub.channel_count(ChannelKind::Channel))
        .put("pubsub_patterns", scene.node.pubsub.pattern_count())
        .put("pubsubshard_channels", scene.node.pubsub.channel_count(ChannelKind::Shard))
        .put_all(&[("latest_fork_usec", "0"), ("total_forks", "0"), ("migrate_cached_sockets", "0")])
        .put_all(&[("slave_expires_tracked_keys", "0"), ("active_defrag_hits", "0"), ("active_defrag_misses", "0")])
        .put_all(&[("active_defrag_key_hits", "0"), ("active_defrag_key_misses", "0")])
        .put_all(&[("total_active_defrag_time", "0"), ("current_active_defrag_time", "0")])
        .put("tracking_total_keys", tracked.keys)
        .put("tracking_total_items", tracked.items)
        .put("tracking_total_prefixes", tracked.prefixes)
        .put("unexpected_error_replies", 0)
        .put("total_error_replies", workers.errors)
        .put("dump_payload_sanitizations", 0)
        .put("total_reads_processed", workers.reads)
        .put("total_writes_processed", workers.writes)
        .put_all(&[("io_threaded_reads_processed", "0"), ("io_threaded_writes_processed", "0")])
        .put_all(&[("reply_buffer_shrinks", "0"), ("reply_buffer_expands", "0")]);
}

fn replication(scene: &Scene<'_>, lines: &mut Lines<'_>) {
    let ring = &scene.metrics.replication;
    lines
        .put_all(&[("role", "master"), ("connected_slaves", "0"), ("master_failover_state", "no-failover")])
        .put("master_replid", run_id(scene.node))
        .put("master_replid2", "0".repeat(40))
        .put_all(&[("master_repl_offset", "0"), ("second_repl_offset", "-1"), ("repl_backlog_active", "0")])
        .put("repl_backlog_size", ring.ring_bytes_max.value())
        .put_all(&[("repl_backlog_first_byte_offset", "0"), ("repl_backlog_histlen", "0")]);
}

fn cpu(lines: &mut Lines<'_>) {
    let time = processor_time();
    lines
        .put("used_cpu_sys", format_args!("{:.6}", time.system))
        .put("used_cpu_user", format_args!("{:.6}", time.user))
        .put_all(&[("used_cpu_sys_children", "0.000000"), ("used_cpu_user_children", "0.000000")]);
}

fn command_stats(scene: &Scene<'_>, lines: &mut Lines<'_>) {
    for (name, totals) in scene.statistics.used_commands() {
        lines.put(
            format_args!("cmdstat_{name}"),
            format_args!(
                "calls={},usec={},usec_per_call={:.2},rejected_calls={},failed_calls={}",
                totals.calls,
                totals.micros(),
                totals.micros_each(),
                totals.rejected,
                totals.failed
            ),
        );
    }
}

fn error_stats(scene: &Scene<'_>, lines: &mut Lines<'_>) {
    for (code, count) in &scene.statistics.errors {
        lines.put(format_args!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn latency_stats(scene: &Scene<'_>, lines: &mut Lines<'_>) {
    if !scene.config.latency_tracking {
        return;
    }
    for (name, totals) in scene.statistics.used_commands().filter(|(_, totals)| totals.latencies.count() > 0) {
        let [median, most, nearly_all] = [50.0, 99.0, 99.9].map(|share| totals.latencies.percentile_us(share));
        lines.put(
            format_args!("latency_percentiles_usec_{name}"),
            format_args!("p50={median:.3},p99={most:.3},p99.9={nearly_all:.3}"),
        );
    }
}

fn keyspace(scene: &Scene<'_>, lines: &mut Lines<'_>) {
    let own = &scene.node.keyspace;
    for database in 0..keyspace::DATABASES {
        let keys = own.len(database);
        if keys > 0 {
            let (expires, mean) = (own.keys_with_end(database), own.mean_life_ms(database, scene.now));
            lines.put(format_args!("db{database}"), format_args!("keys={keys},expires={expires},avg_ttl={mean}"));
        }
    }
}

/// Functions that nobody can call of which `INFO` tells; the metric counts all.
const SHADOWED_TOLD_MAX: usize = 32;

fn pelago(scene: &Scene<'_>, lines: &mut Lines<'_>) {
    let (cluster, config) = (&scene.cluster, &scene.config);
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    lines
        .put("pelago_version", VERSION)
        .put("cluster", or(&cluster.cluster, &config.cluster_id))
        .put("node", or(&cluster.node, &config.node))
        .put("region", or(&cluster.region, &config.region))
        .put("number", cluster.number.map(|number| number.to_string()).unwrap_or_default())
        .put("members", cluster.members.iter().filter(|member| member.state != MemberState::Removed).count())
        .put("catching_up_from", cluster.catching_up_from.as_deref().unwrap_or_default())
        .put("filling", cluster.filling.as_deref().unwrap_or_default())
        .put("writes_refused", cluster.writes_refused.as_deref().unwrap_or_default());
    for (position, member) in cluster.members.iter().enumerate() {
        let optional = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
        let lag = member.applied_lag_ms.map(|lag| i64::try_from(lag).unwrap_or(i64::MAX));
        lines.put(
            format_args!("member{position}"),
            format_args!(
                "node={},region={},state={},link={},applied_lag_ms={},unacked_changes={},clock_offset_ms={},advertise={},resp={}",
                member.node,
                member.region,
                member.state.name(),
                member.link.name(),
                optional(lag),
                member.unacked_changes,
                optional(member.clock_offset_ms),
                member.advertise,
                member.resp
            ),
        );
    }
    let vector: Vec<String> = cluster.vector.iter().map(|(node, stamp)| format!("{node}={stamp}")).collect();
    let own = &scene.metrics.keyspace;
    lines.put("vector", vector.join(",")).put("type_conflicts", own.type_conflicts.value());
    for (kind, count) in own.conflicts.values() {
        lines.put(format_args!("conflicts_{kind}"), count);
    }
    for (position, shadowed) in scene.node.scripts.shadowed().iter().take(SHADOWED_TOLD_MAX).enumerate() {
        let Shadowed { function, library, called } = shadowed;
        lines.put(
            format_args!("shadowed_function{position}"),
            format_args!("function={function},library={library},called={called}"),
        );
    }
    let digests = &scene.metrics.replication;
    lines
        .put("changes_made", own.changes_made.value())
        .put("changes_applied", own.changes_applied.value())
        .put("counter_resets_held", own.counter_resets_held.value())
        .put("early_dots", own.early_dots.value())
        .put("output_limit_disconnections", scene.statistics.workers.output_limit_closed)
        .put("waiting_batches", digests.waiting_batches.value())
        .put("digest_mismatches", digests.digest_mismatches.value())
        .put("event_loop_stall_us_max", scene.metrics.console.event_loop_stall_us_max.value());
}

/// Bytes as Redis shows them to people.
pub fn human(bytes: u64) -> String {
    const UNITS: [(u64, char); 5] = [(50, 'P'), (40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    match UNITS.iter().find(|(bits, _)| bytes >= 1 << bits) {
        Some((bits, unit)) => format!("{:.2}{unit}", bytes as f64 / (1_u64 << bits) as f64),
        None => format!("{bytes}B"),
    }
}

/// A part of a whole; 0 of nothing.
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

pub(super) fn two_digits(number: f64) -> String {
    format!("{number:.2}")
}

//! The memory limit: how much is used, and what is done when it is too much.
//!
//! The allocator is asked every few milliseconds at most, and not by every command. Beyond `maxmemory` a worker evicts some
//! keys before each command that may need more memory, and a task beside the workers goes on while nobody writes; with
//! `noeviction`, or where nothing may be evicted, such commands are refused. Replication goes on in any case: what others
//! have written is taken, and what is removed there is relief here too.

use crate::config::Config;
use crate::latency_monitor::Event;
use crate::limits::{EVICTIONS_A_COMMAND_MAX, EVICTIONS_A_TURN_MAX, EVICTIONS_FAR_BEYOND_MAX, MEMORY_LOOK_INTERVAL};
use crate::node::Node;
use crdt::UnixMillis;
use keyspace::{Eviction, EvictionPolicy, EvictionRank, Evictor, Tracking, Writer};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How much memory is used, against the limit.
#[derive(Debug)]
pub struct MemoryLimit {
    /// Whether more is used than may be: the one word that commands look at.
    is_over: AtomicBool,
    /// Bytes that count, as measured, less what was evicted since.
    counted: AtomicU64,
    /// When it was measured, on the monotonic clock, or [`READ_WHILE_FILLING`].
    measured_at_ns: AtomicU64,
    evictor: Mutex<Evictor>,
}

impl MemoryLimit {
    /// Where the evictor's chance begins is `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            is_over: AtomicBool::new(false),
            counted: AtomicU64::new(0),
            measured_at_ns: AtomicU64::new(0),
            evictor: Mutex::new(Evictor::new(seed)),
        }
    }

    /// Whether more memory is used than may be, as was found last.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Measures how much memory is used. What counts is what the allocator has handed out, less buffers that have limits
    /// of their own.
    pub fn measure(&self, node: &Node) {
        let limit = node.config.load().maxmemory;
        // SUBTLE: a reading of a node that fills is old at once. What others have removed goes with the last slots of their
        // state, and clients come right after: keys would go for what is gone already.
        let at = if node.condition.is_loading() { None } else { Some(node.monotonic_ns()) };
        self.measured_at_ns.store(at.unwrap_or(READ_WHILE_FILLING), Ordering::Relaxed);
        let used = if limit == 0 { None } else { node.console.metrics.allocated_bytes() };
        let counted = used.map_or(0, |used| used.saturating_sub(not_counted(node)));
        self.counted.store(counted, Ordering::Relaxed);
        self.judge(node, limit);
    }

    fn measure_if_due(&self, node: &Node) {
        let before = self.measured_at_ns.load(Ordering::Relaxed);
        let since = node.monotonic_ns().saturating_sub(before);
        if before == READ_WHILE_FILLING || u128::from(since) >= MEMORY_LOOK_INTERVAL.as_nanos() {
            self.measure(node);
        }
    }

    /// Says whether too much is used.
    fn judge(&self, node: &Node, limit: u64) {
        let is_over = limit > 0 && self.counted.load(Ordering::Relaxed) > limit;
        if self.is_over() != is_over {
            self.is_over.store(is_over, Ordering::Relaxed);
        }
        // SUBTLE: each time. Whoever found just before that nothing may be evicted may say so after this.
        if !is_over && node.condition.is_out_of_memory() {
            node.condition.set_out_of_memory(false);
        }
    }

    /// Before a command that may need more memory, while too much is used: evicts some keys, or has such commands refused.
    #[cold]
    pub fn relieve(&self, node: &Node, writer: &mut Writer, now: UnixMillis) {
        self.measure_if_due(node);
        let limit = node.config.load().maxmemory;
        let is_far = self.counted.load(Ordering::Relaxed) > limit.saturating_add(limit / 64);
        let keys_max = if is_far { EVICTIONS_FAR_BEYOND_MAX } else { EVICTIONS_A_COMMAND_MAX };
        self.evict(node, writer, now, keys_max);
    }

    /// Evicts keys until the limit is kept, but at most `keys_max`. True if there is more to do.
    fn evict(&self, node: &Node, writer: &mut Writer, now: UnixMillis, keys_max: usize) -> bool {
        if !self.is_over() {
            return false;
        }
        timed(node, Event::EvictionCycle, || self.evict_some(node, writer, now, keys_max))
    }

    fn evict_some(&self, node: &Node, writer: &mut Writer, now: UnixMillis, keys_max: usize) -> bool {
        let config = node.config.load();
        let condition = &node.condition;
        // Whoever paused writes wants that nothing changes.
        if condition.paused_until(now, true).is_some() || condition.is_busy() {
            return false;
        }
        // A node that must not write must not evict either.
        let may_write = !condition.is_loading() && condition.writes_refused().is_none();
        let Some(policy) = policy_of(&config).filter(|_| may_write) else {
            condition.set_out_of_memory(true);
            return false;
        };
        let Some(mut evictor) = self.evictor.try_lock() else { return true };
        for evicted in 0..keys_max {
            match timed(node, Event::EvictionDel, || evictor.evict(writer, now, &policy)) {
                Eviction::Removed { bytes } => {
                    node.console.metrics.keyspace.evicted.add(1);
                    let freed = u64::try_from(bytes).unwrap_or(u64::MAX);
                    let counted = self.counted.load(Ordering::Relaxed).saturating_sub(freed);
                    self.counted.store(counted, Ordering::Relaxed);
                    self.judge(node, config.maxmemory);
                    if !self.is_over() {
                        return false;
                    }
                }
                Eviction::Searching => break,
                Eviction::Nothing => {
                    // The last keys may have been larger than it was reckoned.
                    if evicted > 0 {
                        self.measure(node);
                    }
                    condition.set_out_of_memory(self.is_over());
                    return false;
                }
            }
        }
        condition.set_out_of_memory(false);
        true
    }
}

/// Does something and tells the latency monitor how long it took, if that is on.
fn timed<T>(node: &Node, event: Event, work: impl FnOnce() -> T) -> T {
    if !node.latency.is_on() {
        return work();
    }
    let began_ns = node.monotonic_ns();
    let done = work();
    let took_ns = node.monotonic_ns().saturating_sub(began_ns);
    node.latency.note(event, Duration::from_nanos(took_ns), || node.wall_clock());
    done
}

/// Keeps the node within its memory while nobody writes, and finds out that it is not. Runs for as long as the node does.
pub async fn keep_within_memory(node: Arc<Node>) {
    let mut writer = node.keyspace.writer();
    loop {
        let limit = node.config.load().maxmemory;
        node.memory_limit.measure(&node);
        let has_more = node.memory_limit.evict(&node, &mut writer, node.wall_clock(), EVICTIONS_A_TURN_MAX);
        let counted = node.memory_limit.counted.load(Ordering::Relaxed);
        tokio::time::sleep(until_next_look(limit, counted, has_more)).await;
    }
}

/// When to measure again: before the rest of the memory can have been filled.
fn until_next_look(limit: u64, counted: u64, has_more: bool) -> Duration {
    if limit == 0 {
        return LOOK_RARELY;
    }
    if has_more {
        return Duration::from_millis(1);
    }
    let free = limit.saturating_sub(counted);
    Duration::from_micros(free / (FILLED_A_SECOND_MAX / 1_000_000)).clamp(MEMORY_LOOK_INTERVAL, LOOK_RARELY)
}

/// Instead of the moment of a reading that does not count once the node serves.
const READ_WHILE_FILLING: u64 = u64::MAX;
/// How much clients can write in a second.
const FILLED_A_SECOND_MAX: u64 = 1_000_000_000;
/// Between two looks while there is much room, or no limit.
const LOOK_RARELY: Duration = Duration::from_millis(100);

/// Bytes that are used and do not count against the limit: batches kept for peers, batches that wait for others, what
/// waits for the disk, and changes that no batch contains yet, because the disk is slow. They have limits of their own, and
/// no eviction makes them smaller: it makes them larger, since it is a change as well.
pub fn not_counted(node: &Node) -> u64 {
    let replication = &node.console.metrics.replication;
    let held = replication.ring_bytes.value().saturating_add(replication.waiting_bytes.value());
    let held = u64::try_from(held).unwrap_or_default().saturating_add(node.durability.state().queued_bytes);
    let held = held.saturating_add(node.keyspace.undrained_bytes());
    // What was removed is on its way out: nobody else need go for it.
    held.saturating_add(node.keyspace.garbage().bytes)
}

/// Whether keys note how often they are used.
pub fn tracks_frequency(config: &Config) -> bool {
    config.maxmemory_policy.ends_with("-lfu")
}

/// What keys should note of their use.
pub fn tracking_of(config: &Config) -> Tracking {
    if !tracks_frequency(config) {
        return Tracking::Recency;
    }
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Tracking::Frequency { log_factor: small(config.lfu_log_factor), decay_minutes: small(config.lfu_decay_time) }
}

/// Which keys are evicted, if any.
fn policy_of(config: &Config) -> Option<EvictionPolicy> {
    let (whose, rank) = config.maxmemory_policy.split_once('-')?;
    let rank = match rank {
        "lru" => EvictionRank::Recency,
        "lfu" => EvictionRank::Frequency,
        "random" => EvictionRank::Chance,
        "ttl" => EvictionRank::Deadline,
        _ => return None,
    };
    let samples = usize::try_from(config.maxmemory_samples).unwrap_or(usize::MAX);
    Some(EvictionPolicy { rank, volatile_only: whose == "volatile", samples })
}

#[cfg(test)]
mod tests;

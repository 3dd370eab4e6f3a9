//! Redis' latency monitor: of each kind of work that took long, the worst moment of each second, for `LATENCY`.
//!
//! Nothing is kept, and nothing is timed for its sake, while `latency-monitor-threshold` is 0. How long all commands take
//! is in `metrics::latency`; this is about single moments.

mod graph;

pub use graph::draw;

use crate::limits::LATENCY_SAMPLES_MAX;
use crdt::UnixMillis;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A kind of work that may take long, under Redis' name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command whose cost grows with something.
    Command,
    /// A command that should take constant or logarithmic time.
    FastCommand,
    /// One turn of the removal of what has expired.
    ExpireCycle,
    /// One turn of evictions.
    EvictionCycle,
    /// The eviction of one key.
    EvictionDel,
    /// A write to the journal.
    AofWrite,
    /// A flush that replies wait for.
    AofFsyncAlways,
}

impl Event {
    /// All of them, in the order in which they are told.
    pub const ALL: [Event; 7] = [
        Event::Command,
        Event::FastCommand,
        Event::ExpireCycle,
        Event::EvictionCycle,
        Event::EvictionDel,
        Event::AofWrite,
        Event::AofFsyncAlways,
    ];

    /// Redis' name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::FastCommand => "fast-command",
            Self::ExpireCycle => "expire-cycle",
            Self::EvictionCycle => "eviction-cycle",
            Self::EvictionDel => "eviction-del",
            Self::AofWrite => "aof-write",
            Self::AofFsyncAlways => "aof-fsync-always",
        }
    }

    /// The event with this name.
    pub fn named(name: &[u8]) -> Option<Event> {
        Self::ALL.into_iter().find(|event| event.name().as_bytes() == name)
    }
}

/// The worst of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which second, since 1970.
    pub unix_seconds: u64,
    /// How long it took.
    pub millis: u64,
}

/// What is known of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The latest seconds in which it took long, the oldest first.
    pub samples: VecDeque<Sample>,
    /// The longest since the series began.
    pub worst_millis: u64,
}

impl Series {
    fn note(&mut self, sample: Sample) {
        self.worst_millis = self.worst_millis.max(sample.millis);
        match self.samples.back_mut() {
            Some(last) if last.unix_seconds == sample.unix_seconds => last.millis = last.millis.max(sample.millis),
            Some(_) | None => {
                if self.samples.len() == LATENCY_SAMPLES_MAX {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
        }
    }

    /// What the samples say together.
    pub fn analysis(&self, now_seconds: u64) -> Analysis {
        let count = self.samples.len().max(1) as u64;
        let mean = self.samples.iter().map(|sample| sample.millis).sum::<u64>() / count;
        let deviation = self.samples.iter().map(|sample| sample.millis.abs_diff(mean)).sum::<u64>() / count;
        let since = self.samples.front().map_or(now_seconds, |oldest| oldest.unix_seconds);
        let period = now_seconds.saturating_sub(since).max(1) as f64 / count as f64;
        Analysis { mean_millis: mean, deviation_millis: deviation, period_seconds: period }
    }
}

/// What the samples of an event say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Analysis {
    /// How long it took on average.
    pub mean_millis: u64,
    /// How far the samples are from that on average.
    pub deviation_millis: u64,
    /// Seconds from one to the next.
    pub period_seconds: f64,
}

/// What took long, of every event.
#[derive(Debug, Default)]
pub struct LatencyMonitor {
    /// Milliseconds from which something took long; 0 while nobody wants to know.
    threshold_ms: AtomicU64,
    series: Mutex<[Series; Event::ALL.len()]>,
}

impl LatencyMonitor {
    /// Follows the setting `latency-monitor-threshold`, in milliseconds; 0 is off. What is known stays.
    pub fn set_threshold(&self, threshold_ms: u64) {
        self.threshold_ms.store(threshold_ms, Ordering::Relaxed);
    }

    /// Whether anything is to be timed for it.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.threshold_ms.load(Ordering::Relaxed) > 0
    }

    /// Notes that an event took so long and ended now, if that is long.
    #[inline]
    pub fn note(&self, event: Event, took: Duration, now: impl FnOnce() -> UnixMillis) {
        let threshold = self.threshold_ms.load(Ordering::Relaxed);
        if threshold > 0 && took.as_millis() >= u128::from(threshold) {
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            self.keep(event, Sample { unix_seconds: now() / 1000, millis });
        }
    }

    #[cold]
    fn keep(&self, event: Event, sample: Sample) {
        self.series.lock()[event as usize].note(sample);
    }

    /// What is known of an event; nothing if it never took long.
    pub fn of(&self, event: Event) -> Option<Series> {
        let series = &self.series.lock()[event as usize];
        (!series.samples.is_empty()).then(|| series.clone())
    }

    /// The events that took long, with what is known of them.
    pub fn all(&self) -> Vec<(Event, Series)> {
        Event::ALL.into_iter().filter_map(|event| Some((event, self.of(event)?))).collect()
    }

    /// Forgets what is known of an event. True if there was anything.
    pub fn forget(&self, event: Event) -> bool {
        !std::mem::take(&mut self.series.lock()[event as usize]).samples.is_empty()
    }
}

#[cfg(test)]
mod tests;

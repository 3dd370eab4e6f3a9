//! What a metric can be: counters, gauges, peaks and histograms, written by any thread.
//!
//! Not for what happens once a command: workers count that in their own tally, and it is copied here when it is shown.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

/// What Prometheus calls the type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the node runs; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by ranges.
    Histogram,
}

/// The reading of one metric at one moment.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// A count.
    Count(u64),
    /// A level.
    Level(i64),
    /// A real number.
    Real(f64),
    /// The highest seen.
    Peak(u64),
    /// Numbers by the value of one label.
    By {
        /// The label's name.
        label: &'static str,
        /// A number for each of its values.
        numbers: BTreeMap<&'static str, i64>,
    },
    /// Counts by ranges.
    Ranges {
        /// The upper ends, without the last, infinite one.
        bounds: &'static [u64],
        /// A count for each range, the infinite one last.
        counts: Vec<u64>,
        /// The sum of everything observed.
        sum: u64,
    },
}

/// Something that a metric's field can be.
pub trait Instrument {
    /// What Prometheus is told it is.
    const KIND: Kind;
    /// Its reading now.
    fn sample(&self) -> Sample;
}

/// Counts what any thread adds.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// Copies a count that is kept elsewhere.
    pub fn mirror(&self, total: u64) {
        self.0.store(total, Relaxed);
    }

    /// The count.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Instrument for Counter {
    const KIND: Kind = Kind::Counter;

    fn sample(&self) -> Sample {
        Sample::Count(self.value())
    }
}

/// A level that any thread sets or moves.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets the level.
    pub fn set(&self, level: i64) {
        self.0.store(level, Relaxed);
    }

    /// Sets the level from a size or count; beyond the range it stays at the end of it.
    pub fn set_count(&self, level: u64) {
        self.set(i64::try_from(level).unwrap_or(i64::MAX));
    }

    /// Moves the level.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Relaxed);
    }

    /// The level.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl Instrument for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn sample(&self) -> Sample {
        Sample::Level(self.value())
    }
}

/// A level that is not a whole number.
#[derive(Debug, Default)]
pub struct RealGauge(AtomicU64);

impl RealGauge {
    /// Sets the level.
    pub fn set(&self, level: f64) {
        self.0.store(level.to_bits(), Relaxed);
    }

    /// The level.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

impl Instrument for RealGauge {
    const KIND: Kind = Kind::Gauge;

    fn sample(&self) -> Sample {
        Sample::Real(self.value())
    }
}

/// A count that is not a whole number, kept elsewhere and copied here.
#[derive(Debug, Default)]
pub struct RealCounter(RealGauge);

impl RealCounter {
    /// Copies the count.
    pub fn mirror(&self, total: f64) {
        self.0.set(total);
    }

    /// The count.
    pub fn value(&self) -> f64 {
        self.0.value()
    }
}

impl Instrument for RealCounter {
    const KIND: Kind = Kind::Counter;

    fn sample(&self) -> Sample {
        Sample::Real(self.value())
    }
}

/// The highest of what was observed.
#[derive(Debug, Default)]
pub struct Peak(AtomicU64);

impl Peak {
    /// Notes a value.
    pub fn observe(&self, value: u64) {
        self.0.fetch_max(value, Relaxed);
    }

    /// The highest since the node started or `reset`.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Forgets what was observed.
    pub fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

impl Instrument for Peak {
    const KIND: Kind = Kind::Gauge;

    fn sample(&self) -> Sample {
        Sample::Peak(self.value())
    }
}

/// Counts by the value of one label. The values are names in the code, so there is a bounded number of them.
#[derive(Debug)]
pub struct CounterBy {
    label: &'static str,
    numbers: Mutex<BTreeMap<&'static str, i64>>,
}

impl CounterBy {
    /// No counts yet; `label` is what the values are values of.
    pub fn new(label: &'static str) -> Self {
        Self { label, numbers: Mutex::default() }
    }

    /// So many more of `value`.
    pub fn add(&self, value: &'static str, more: u64) {
        let mut numbers = self.numbers.lock();
        let number = numbers.entry(value).or_default();
        *number = number.saturating_add_unsigned(more);
    }

    /// Copies a count that is kept elsewhere.
    pub fn mirror(&self, value: &'static str, total: u64) {
        self.numbers.lock().insert(value, i64::try_from(total).unwrap_or(i64::MAX));
    }

    /// The counts.
    pub fn values(&self) -> BTreeMap<&'static str, i64> {
        self.numbers.lock().clone()
    }
}

impl Instrument for CounterBy {
    const KIND: Kind = Kind::Counter;

    fn sample(&self) -> Sample {
        Sample::By { label: self.label, numbers: self.values() }
    }
}

/// Levels by the value of one label.
#[derive(Debug)]
pub struct GaugeBy(CounterBy);

impl GaugeBy {
    /// No levels yet; `label` is what the values are values of.
    pub fn new(label: &'static str) -> Self {
        Self(CounterBy::new(label))
    }

    /// Sets the level of `value`.
    pub fn set(&self, value: &'static str, level: i64) {
        self.0.numbers.lock().insert(value, level);
    }

    /// The levels.
    pub fn values(&self) -> BTreeMap<&'static str, i64> {
        self.0.values()
    }
}

impl Instrument for GaugeBy {
    const KIND: Kind = Kind::Gauge;

    fn sample(&self) -> Sample {
        self.0.sample()
    }
}

/// Counts observations by ranges; any thread may observe.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Nothing observed; `bounds` are the upper ends of the ranges, rising.
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Notes a value.
    pub fn observe(&self, value: u64) {
        let range = self.bounds.partition_point(|bound| *bound < value);
        self.counts[range].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Copies counts that are kept elsewhere, by the same ranges.
    pub fn mirror(&self, counts: &[u64], sum: u64) {
        self.counts.iter().zip(counts).for_each(|(own, count)| own.store(*count, Relaxed));
        self.sum.store(sum, Relaxed);
    }

    /// How many values were noted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }
}

impl Instrument for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn sample(&self) -> Sample {
        let counts = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        Sample::Ranges { bounds: self.bounds, counts, sum: self.sum.load(Relaxed) }
    }
}

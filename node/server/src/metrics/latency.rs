//! How long things took: counts in ranges that are 12 % wide, from 125 ns to a minute. Written by one thread.

use std::time::Duration;

use crate::tally::Counter;

/// One thread's counts of durations.
#[derive(Debug)]
pub struct LatencyCounts(Box<[Counter]>);

impl Default for LatencyCounts {
    fn default() -> Self {
        Self((0..RANGES).map(|_| Counter::default()).collect())
    }
}

impl LatencyCounts {
    /// Notes a duration.
    pub fn observe(&self, taken: Duration) {
        self.0[range_of(taken)].add(1);
    }

    /// Adds the counts to `total`.
    pub fn add_to(&self, total: &mut Latencies) {
        total.0.resize(RANGES, 0);
        total.0.iter_mut().zip(&self.0).for_each(|(own, more)| *own += more.value());
    }
}

/// Counts of durations at one moment, of one or several threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    /// How many durations.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds other counts.
    pub fn add(&mut self, more: &Latencies) {
        self.0.resize(self.0.len().max(more.0.len()), 0);
        self.0.iter_mut().zip(&more.0).for_each(|(own, more)| *own += more);
    }

    /// Takes earlier counts away.
    pub fn subtract(&mut self, earlier: &Latencies) {
        self.0.iter_mut().zip(&earlier.0).for_each(|(own, less)| *own = own.saturating_sub(*less));
    }

    /// The duration in microseconds that this share of all did not exceed; 0 of none.
    pub fn percentile_us(&self, share: f64) -> f64 {
        let count = self.count();
        let wanted = ((count as f64 * share / 100.0).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        for (range, number) in self.0.iter().enumerate() {
            below += number;
            if below >= wanted {
                return upper_end(range) as f64 / UNITS_PER_US as f64;
            }
        }
        0.0
    }

    /// Powers of two in microseconds, each with how many durations were at most that long; without the empty ends.
    pub fn by_powers_us(&self) -> Vec<(u64, u64)> {
        let mut powers = Vec::new();
        let mut below = 0;
        let count = self.count();
        for (octave, ranges) in self.0.chunks(RANGES_PER_OCTAVE).enumerate() {
            let here: u64 = ranges.iter().sum();
            below += here;
            if here > 0 {
                powers.push((1 << octave, below));
            }
            if below == count {
                break;
            }
        }
        powers
    }
}

/// The range of a duration. Below one microsecond ranges are 125 ns wide; above, each octave has eight.
fn range_of(taken: Duration) -> usize {
    let units = u64::try_from(taken.as_nanos() / NANOS_PER_UNIT).unwrap_or(u64::MAX);
    if units < RANGES_PER_OCTAVE as u64 {
        return units as usize;
    }
    let octave = u64::BITS - 1 - units.leading_zeros();
    let within = (units >> (octave - OCTAVE_BITS)) as usize & (RANGES_PER_OCTAVE - 1);
    let range = (octave - OCTAVE_BITS + 1) as usize * RANGES_PER_OCTAVE + within;
    range.min(RANGES - 1)
}

/// Where a range ends, in units.
fn upper_end(range: usize) -> u64 {
    if range < RANGES_PER_OCTAVE {
        return range as u64 + 1;
    }
    let octave = range / RANGES_PER_OCTAVE - 1;
    let within = (range % RANGES_PER_OCTAVE) as u64;
    (RANGES_PER_OCTAVE as u64 + within + 1) << octave
}

const OCTAVE_BITS: u32 = 3;
const RANGES_PER_OCTAVE: usize = 1 << OCTAVE_BITS;
const UNITS_PER_US: u64 = 8;
const NANOS_PER_UNIT: u128 = 125;
/// 27 octaves above the first microsecond: 134 seconds.
const RANGES: usize = 28 * RANGES_PER_OCTAVE;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: &[u64]) -> Latencies {
        let counts = LatencyCounts::default();
        micros.iter().for_each(|micros| counts.observe(Duration::from_micros(*micros)));
        let mut total = Latencies::default();
        counts.add_to(&mut total);
        total
    }

    #[test]
    fn a_range_holds_what_lies_below_its_end() {
        let mut before = 0;
        for range in 0..RANGES {
            let end = upper_end(range);
            assert!(end > before);
            let nanos = |units: u64| Duration::from_nanos(units * 125);
            assert_eq!(range_of(nanos(before)), range);
            assert_eq!(range_of(nanos(end - 1)), range);
            before = end;
        }
        assert_eq!(range_of(Duration::MAX), RANGES - 1);
    }

    #[test]
    fn percentiles_are_within_an_eighth() {
        let latencies = of(&(1..=1000).collect::<Vec<_>>());
        for (share, exact) in [(50.0, 500.0), (99.0, 990.0), (99.9, 999.0)] {
            let found = latencies.percentile_us(share);
            assert!((exact..=exact * 1.126).contains(&found), "{share}: {found}");
        }
        assert_eq!(of(&[]).percentile_us(50.0), 0.0);
    }

    #[test]
    fn powers_are_cumulative() {
        assert_eq!(of(&[0, 3, 3, 9]).by_powers_us(), [(1, 1), (4, 3), (16, 4)]);
    }

    #[test]
    fn subtracting_leaves_what_came_later() {
        let earlier = of(&[5, 5]);
        let mut later = of(&[5, 5, 5, 100]);
        later.subtract(&earlier);
        assert_eq!(later.count(), 2);
    }
}

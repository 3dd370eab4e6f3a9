//! How far a peer's clock is from ours, and how far away it is: NTP's idea, the fastest exchange tells most.

use crate::{Millis, limits};
use crdt::UnixMillis;
use std::collections::VecDeque;

/// One exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClockSample {
    pub rtt_ms: u64,
    /// The peer's clock minus our monotonic time: nothing that happens to our own clock changes it.
    ahead_ms: i64,
}

/// The last exchanges of one link.
#[derive(Clone, Default, Debug)]
pub(crate) struct ClockOffset {
    samples: VecDeque<ClockSample>,
}

/// What a peer's clock was when it was measured last, for the time after its link has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SeenClock {
    /// The peer's clock minus ours, then.
    pub offset_ms: i64,
    sample: ClockSample,
    at: Millis,
}

impl SeenClock {
    pub(crate) fn new(sample: ClockSample, now: Millis, wall: UnixMillis) -> Self {
        Self { offset_ms: sample.offset_ms(now, wall), sample, at: now }
    }

    /// The peer's clock minus ours, if both went on since as time does; none if that is too long ago to count.
    pub(crate) fn offset_now(&self, now: Millis, wall: UnixMillis) -> Option<i64> {
        (now.since(self.at) <= limits::CLOCK_EVIDENCE_MS).then(|| self.sample.offset_ms(now, wall))
    }
}

impl ClockSample {
    /// A peer wrote `peer_wall_ms` into what arrives now, `rtt_ms` being the round trip: half of it ago.
    pub(crate) fn new(rtt_ms: u64, peer_wall_ms: u64, now: Millis) -> Self {
        let there_now = peer_wall_ms.saturating_add(rtt_ms / 2);
        Self { rtt_ms, ahead_ms: there_now.wrapping_sub(now.0) as i64 }
    }

    /// The peer's clock minus ours, if the peer's went on since as time does.
    pub(crate) fn offset_ms(&self, now: Millis, wall: UnixMillis) -> i64 {
        self.ahead_ms.wrapping_sub(wall.wrapping_sub(now.0) as i64)
    }

    /// Whether the peer's clock was set between two exchanges: each tells it to half of its round trip.
    fn contradicts(&self, other: &Self) -> bool {
        let uncertain_ms = (self.rtt_ms.saturating_add(other.rtt_ms) / 2).saturating_add(limits::CLOCK_SLEW_MS);
        self.ahead_ms.abs_diff(other.ahead_ms) > uncertain_ms
    }
}

impl ClockOffset {
    /// Takes in the newest exchange. What it contradicts is over: the peer's clock was set since.
    pub(crate) fn record(&mut self, sample: ClockSample) {
        self.samples.retain(|earlier| !sample.contradicts(earlier));
        if self.samples.len() == limits::CLOCK_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The fastest of the last exchanges, of several the latest: what queues and schedulers add to a round trip is mostly
    /// on one side.
    pub(crate) fn best(&self) -> Option<ClockSample> {
        self.samples.iter().rev().copied().min_by_key(|sample| sample.rtt_ms)
    }
}

/// The median of peers' offsets. Of two middle ones the smaller correction counts, so that one peer alone with a
/// wrong clock never makes this node the outlier.
pub(crate) fn median(mut offsets: Vec<i64>) -> Option<i64> {
    offsets.sort_unstable();
    let upper = offsets.get(offsets.len() / 2).copied()?;
    let lower = offsets[(offsets.len() - 1) / 2];
    Some(if lower.unsigned_abs() <= upper.unsigned_abs() { lower } else { upper })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_exchange_tells_the_offset() {
        let mut clock = ClockOffset::default();
        clock.record(ClockSample::new(200, 10_000, Millis(0)));
        clock.record(ClockSample::new(20, 10_010, Millis(10)));
        clock.record(ClockSample::new(400, 9_900, Millis(10)));
        let best = clock.best().unwrap();
        // Our clock is at 5,010 now.
        assert_eq!((best.rtt_ms, best.offset_ms(Millis(10), 5_010)), (20, 5_010));
        // It is set, and nothing else happens.
        assert_eq!(best.offset_ms(Millis(20), 7_205_020), -7_194_990);
    }

    #[test]
    fn an_exchange_says_nothing_any_more_when_a_later_one_contradicts_it() {
        let mut clock = ClockOffset::default();
        (0..10).for_each(|second| clock.record(ClockSample::new(2, 1_000 + second * 1_000, Millis(second * 1_000))));
        // A slow one agrees within what it can tell.
        clock.record(ClockSample::new(600, 10_750, Millis(10_000)));
        assert_eq!(clock.best().unwrap().offset_ms(Millis(10_000), 10_000), 1_001);
        // The peer's clock is set by two hours.
        clock.record(ClockSample::new(50, 7_212_000, Millis(11_000)));
        assert_eq!(clock.best().unwrap().offset_ms(Millis(11_000), 11_000), 7_201_025);
        assert_eq!(clock.samples.len(), 1);
    }

    #[test]
    fn old_exchanges_are_forgotten() {
        let mut clock = ClockOffset::default();
        clock.record(ClockSample::new(1, 0, Millis(0)));
        (0..limits::CLOCK_SAMPLES).for_each(|_| clock.record(ClockSample::new(50, 0, Millis(0))));
        assert_eq!(clock.best().map(|s| s.rtt_ms), Some(50));
    }

    #[test]
    fn the_median_prefers_the_smaller_correction() {
        for (offsets, expected) in
            [(vec![], None), (vec![5], Some(5)), (vec![9_000, 1], Some(1)), (vec![-3, 70, 90_000], Some(70))]
        {
            assert_eq!(median(offsets), expected);
        }
    }
}

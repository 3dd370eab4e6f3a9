//! How far a peer's clock is from ours, and how far away it is: NTP's idea, the fastest exchange tells most.

use crate::{Millis, limits};
use crdt::UnixMillis;
use std::collections::VecDeque;

/// One exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClockSample {
    pub rtt_ms: u64,
    /// The peer's clock minus ours.
    pub offset_ms: i64,
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
    /// Our clock minus our monotonic time, then: if it is another one now, our clock was set since.
    own_ms: i64,
    at: Millis,
}

impl SeenClock {
    pub(crate) fn new(offset_ms: i64, now: Millis, wall: UnixMillis) -> Self {
        Self { offset_ms, own_ms: wall.wrapping_sub(now.0) as i64, at: now }
    }

    /// The peer's clock minus ours, if both went on since as time does; none if that is too long ago to count.
    pub(crate) fn offset_now(&self, now: Millis, wall: UnixMillis) -> Option<i64> {
        let set_by_ms = (wall.wrapping_sub(now.0) as i64).wrapping_sub(self.own_ms);
        (now.since(self.at) <= limits::CLOCK_EVIDENCE_MS).then_some(self.offset_ms.wrapping_sub(set_by_ms))
    }
}

impl ClockSample {
    /// A peer wrote `peer_wall_ms` into what arrived at our `wall_ms`, `rtt_ms` being the round trip: half of it ago.
    pub(crate) fn new(rtt_ms: u64, peer_wall_ms: u64, wall_ms: u64) -> Self {
        let there_now = peer_wall_ms.saturating_add(rtt_ms / 2);
        Self { rtt_ms, offset_ms: there_now.wrapping_sub(wall_ms) as i64 }
    }
}

impl ClockOffset {
    pub(crate) fn record(&mut self, sample: ClockSample) {
        if self.samples.len() == limits::CLOCK_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The fastest of the last exchanges: what queues and schedulers add to a round trip is mostly on one side.
    pub(crate) fn best(&self) -> Option<ClockSample> {
        self.samples.iter().copied().min_by_key(|sample| sample.rtt_ms)
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
        clock.record(ClockSample::new(200, 10_000, 5_000));
        clock.record(ClockSample::new(20, 10_000, 5_010));
        clock.record(ClockSample::new(400, 1, 5_010));
        assert_eq!(clock.best(), Some(ClockSample { rtt_ms: 20, offset_ms: 5_000 }));
    }

    #[test]
    fn old_exchanges_are_forgotten() {
        let mut clock = ClockOffset::default();
        clock.record(ClockSample::new(1, 0, 0));
        (0..limits::CLOCK_SAMPLES).for_each(|_| clock.record(ClockSample::new(50, 1_000, 0)));
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

//! When and how often a key is used, in the 24 bits that every entry has for it.
//!
//! They hold the time of the last use, or, while keys are evicted by frequency, 16 bits of minutes and a counter of 8 bits
//! that grows with the logarithm of the uses and shrinks with time (Redis' scheme, antirez 2016). Entries are not told when
//! the meaning changes: for some time after a change of the policy they say something of no use, as in Redis.

use crdt::UnixMillis;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What entries note of their use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// When they were last used.
    Recency,
    /// How often they are used.
    Frequency {
        /// How slowly the counter grows: it is full after about 100,000 uses with 10, a million with 100.
        log_factor: u32,
        /// Minutes without a use after which the counter loses one; with 0 it never does.
        decay_minutes: u32,
    },
}

/// How uses are noted. Shared by all slots.
#[derive(Debug)]
pub struct Usage {
    by_frequency: AtomicBool,
    log_factor: AtomicU32,
    decay_minutes: AtomicU32,
    /// Where the chance comes from by which counters grow. Threads may overwrite each other's steps: no harm is done.
    chance: AtomicU64,
}

/// The counter of a key that has just come: it should not go before it was used again.
const FREQUENCY_AT_FIRST: u8 = 5;

impl Usage {
    /// Notes the time of the last use. `seed` is where chance begins.
    pub fn new(seed: u64) -> Self {
        Self {
            by_frequency: AtomicBool::new(false),
            log_factor: AtomicU32::new(10),
            decay_minutes: AtomicU32::new(1),
            chance: AtomicU64::new(seed | 1),
        }
    }

    /// Notes the same.
    pub fn alike(&self) -> Self {
        let alike = Self::new(self.chance.load(Ordering::Relaxed));
        alike.by_frequency.store(self.is_by_frequency(), Ordering::Relaxed);
        alike.log_factor.store(self.log_factor.load(Ordering::Relaxed), Ordering::Relaxed);
        alike.decay_minutes.store(self.decay_minutes.load(Ordering::Relaxed), Ordering::Relaxed);
        alike
    }

    /// Changes what is noted.
    pub fn track(&self, tracking: Tracking) {
        if let Tracking::Frequency { log_factor, decay_minutes } = tracking {
            self.log_factor.store(log_factor, Ordering::Relaxed);
            self.decay_minutes.store(decay_minutes, Ordering::Relaxed);
        }
        self.by_frequency.store(matches!(tracking, Tracking::Frequency { .. }), Ordering::Relaxed);
    }

    /// Whether entries note how often they are used.
    #[inline]
    pub fn is_by_frequency(&self) -> bool {
        self.by_frequency.load(Ordering::Relaxed)
    }

    /// What a key notes that comes now.
    #[inline]
    pub fn at_first(&self, now: UnixMillis) -> u32 {
        if self.is_by_frequency() { minutes(now) << 8 | u32::from(FREQUENCY_AT_FIRST) } else { access_clock(now) }
    }

    /// What a key notes that is used now.
    #[inline]
    pub fn after(&self, noted: u32, now: UnixMillis) -> u32 {
        if self.is_by_frequency() { self.counted(noted, now) } else { access_clock(now) }
    }

    #[cold]
    fn counted(&self, noted: u32, now: UnixMillis) -> u32 {
        let frequency = self.frequency(noted, now);
        let above = u64::from(frequency.saturating_sub(FREQUENCY_AT_FIRST));
        // It grows once in so many uses.
        let once_in = above * u64::from(self.log_factor.load(Ordering::Relaxed)) + 1;
        let grows = frequency < u8::MAX && (self.draw() >> 32) * once_in < 1 << 32;
        minutes(now) << 8 | u32::from(frequency + u8::from(grows))
    }

    /// How often a key was used, as its counter says now.
    pub fn frequency(&self, noted: u32, now: UnixMillis) -> u8 {
        let idle = minutes(now).wrapping_sub(noted >> 8) & 0xffff;
        let lost = idle.checked_div(self.decay_minutes.load(Ordering::Relaxed)).unwrap_or(0);
        (noted as u8).saturating_sub(u8::try_from(lost).unwrap_or(u8::MAX))
    }

    /// For how many units of 1.024 s a key has not been used.
    pub fn idle_units(noted: u32, now: UnixMillis) -> u32 {
        access_clock(now).wrapping_sub(noted) & 0xff_ffff
    }

    fn draw(&self) -> u64 {
        let word = next_random(self.chance.load(Ordering::Relaxed));
        self.chance.store(word, Ordering::Relaxed);
        word
    }
}

/// The word after this one (xorshift, Marsaglia 2003), which must not be 0.
pub(crate) fn next_random(mut word: u64) -> u64 {
    word ^= word << 13;
    word ^= word >> 7;
    word ^ word << 17
}

/// 24 bits of 1.024 s, which go round in 198 days.
#[inline]
fn access_clock(now: UnixMillis) -> u32 {
    (now >> 10) as u32 & 0xff_ffff
}

/// 16 bits of minutes, which go round in 45 days.
fn minutes(now: UnixMillis) -> u32 {
    (now / 60_000) as u32 & 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = 1_700_000_000_000;

    fn after_uses(log_factor: u32, uses: usize) -> u8 {
        let usage = Usage::new(7);
        usage.track(Tracking::Frequency { log_factor, decay_minutes: 1 });
        let noted = (0..uses).fold(usage.at_first(NOW), |noted, _| usage.after(noted, NOW));
        usage.frequency(noted, NOW)
    }

    /// Redis' own table in redis.conf: 10 after 100 uses, 18 after 1000, 142 after 100,000 with a factor of 10.
    #[test]
    fn the_counter_grows_as_in_redis() {
        for (log_factor, uses, low, high) in
            [(10, 100, 7, 13), (10, 1_000, 14, 24), (10, 100_000, 130, 155), (0, 300, 255, 255), (1, 100, 14, 25)]
        {
            let frequency = after_uses(log_factor, uses);
            assert!((low..=high).contains(&frequency), "{log_factor} {uses}: {frequency}");
        }
    }

    #[test]
    fn the_counter_loses_one_each_decay_time() {
        let usage = Usage::new(7);
        usage.track(Tracking::Frequency { log_factor: 10, decay_minutes: 2 });
        let noted = minutes(NOW) << 8 | 100;
        for (minutes, left) in [(0, 100), (1, 100), (2, 99), (20, 90), (300, 0)] {
            assert_eq!(usage.frequency(noted, NOW + minutes * 60_000), left);
        }
        usage.track(Tracking::Frequency { log_factor: 10, decay_minutes: 0 });
        assert_eq!(usage.frequency(noted, NOW + 300 * 60_000), 100);
    }
}

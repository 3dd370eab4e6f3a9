//! How long to wait before the next try: doubling, bounded, and spread so that nodes do not dial in step.
//!
//! Pure: chance is an argument.

use std::time::Duration;

/// The waits between tries.
#[derive(Clone, Debug)]
pub struct Backoff {
    smallest: Duration,
    greatest: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits that start at `smallest` and double up to `greatest`.
    pub const fn new(smallest: Duration, greatest: Duration) -> Self {
        Self { smallest, greatest, next: smallest }
    }

    /// The next wait: between half of the present step and all of it, as `chance` decides.
    pub fn wait(&mut self, chance: u64) -> Duration {
        let step = self.next;
        self.next = self.next.saturating_mul(2).min(self.greatest);
        let half_us = (step.as_micros() / 2) as u64;
        Duration::from_micros(half_us + chance % (half_us + 1))
    }

    /// Starts again from the smallest wait.
    pub fn reset(&mut self) {
        self.next = self.smallest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_greatest_and_start_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1500));
        for (chance, most) in [(0, 100), (u64::MAX, 200), (7, 400), (123_456_789, 800), (50_000, 1500), (1, 1500)] {
            let wait = backoff.wait(chance);
            assert!(wait >= ms(most) / 2 && wait <= ms(most), "{wait:?} of {most}");
        }
        backoff.reset();
        assert!(backoff.wait(3) <= ms(100));
    }
}

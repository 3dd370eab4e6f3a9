//! How long commands took, all of them: a mean hides what a client notices.

use std::time::Duration;

/// The times of many commands.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    micros: Vec<u32>,
    is_sorted: bool,
}

impl Latencies {
    /// Adds one.
    pub fn note(&mut self, took: Duration) {
        self.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        self.is_sorted = false;
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        self.micros.extend_from_slice(&other.micros);
        self.is_sorted = false;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.micros.len()
    }

    /// What `share` of them did not exceed, in milliseconds. 1.0 is the longest. Not a number without any.
    pub fn within_ms(&mut self, share: f64) -> f64 {
        if !self.is_sorted {
            self.micros.sort_unstable();
            self.is_sorted = true;
        }
        let last = self.micros.len().saturating_sub(1);
        let index = (last as f64 * share).ceil() as usize;
        self.micros.get(index.min(last)).map_or(f64::NAN, |micros| f64::from(*micros) / 1e3)
    }

    /// The longest, in milliseconds.
    pub fn longest_ms(&mut self) -> f64 {
        self.within_ms(1.0)
    }
}

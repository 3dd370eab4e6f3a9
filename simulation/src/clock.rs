//! The clocks of simulated hosts: one true time, and for each host how far its wall clock is off.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The true time, in milliseconds since the simulation began.
#[derive(Clone, Debug, Default)]
pub struct TrueTime(Arc<AtomicU64>);

/// One host's wall clock.
#[derive(Clone, Debug)]
pub struct HostClock {
    time: TrueTime,
    epoch_ms: u64,
    off_ms: Arc<AtomicI64>,
}

impl TrueTime {
    /// Moves on.
    pub fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    /// Milliseconds since the simulation began.
    pub fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl HostClock {
    /// A clock that is right; `epoch_ms` is the Unix time at which the simulation began.
    pub fn new(time: TrueTime, epoch_ms: u64) -> Self {
        Self { time, epoch_ms, off_ms: Arc::default() }
    }

    /// What it says, in Unix milliseconds.
    pub fn unix_ms(&self) -> u64 {
        (self.epoch_ms + self.time.ms()).saturating_add_signed(self.off_ms.load(Ordering::Relaxed))
    }

    /// The true time, in milliseconds since the simulation began.
    pub fn true_ms(&self) -> u64 {
        self.time.ms()
    }

    /// How far it is ahead, in milliseconds.
    pub fn off_ms(&self) -> i64 {
        self.off_ms.load(Ordering::Relaxed)
    }

    /// Sets it ahead of the true time, or behind it.
    pub fn set_off_ms(&self, off_ms: i64) {
        self.off_ms.store(off_ms, Ordering::Relaxed);
    }
}

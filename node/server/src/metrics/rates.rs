//! How much happens now: what `INFO` calls instantaneous. Somebody samples the counts a few times a second.

use std::collections::VecDeque;

/// The counts that have a rate.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Commands executed.
    pub commands: u64,
    /// Bytes read from clients.
    pub bytes_read: u64,
    /// Bytes written to clients.
    pub bytes_written: u64,
    /// Bytes received from peers.
    pub replication_in: u64,
    /// Bytes sent to peers.
    pub replication_out: u64,
}

/// What happened in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Commands executed.
    pub commands: f64,
    /// Bytes read from clients.
    pub bytes_read: f64,
    /// Bytes written to clients.
    pub bytes_written: f64,
    /// Bytes received from peers.
    pub replication_in: f64,
    /// Bytes sent to peers.
    pub replication_out: f64,
}

/// The latest samples.
#[derive(Debug, Default)]
pub struct Samples(VecDeque<(u64, Totals)>);

impl Samples {
    /// Notes the counts at a time; the clock may be any that rises.
    pub fn note(&mut self, now_ms: u64, totals: Totals) {
        if self.0.back().is_some_and(|(at, _)| *at >= now_ms) {
            return;
        }
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now_ms, totals));
    }

    /// The average over the samples held; 0 with fewer than two.
    pub fn rates(&self) -> Rates {
        let (Some((from, first)), Some((to, last))) = (self.0.front(), self.0.back()) else {
            return Rates::default();
        };
        let seconds = (to - from) as f64 / 1000.0;
        let each = |earlier: u64, later: u64| {
            if seconds > 0.0 { later.saturating_sub(earlier) as f64 / seconds } else { 0.0 }
        };
        Rates {
            commands: each(first.commands, last.commands),
            bytes_read: each(first.bytes_read, last.bytes_read),
            bytes_written: each(first.bytes_written, last.bytes_written),
            replication_in: each(first.replication_in, last.replication_in),
            replication_out: each(first.replication_out, last.replication_out),
        }
    }
}

/// Five a second make the same 1.6 s that Redis averages over.
const SAMPLES_MAX: usize = 8;

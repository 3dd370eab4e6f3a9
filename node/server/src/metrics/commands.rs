//! How often each command was called and how it went, from the tallies of all workers. Subcommands are named as in
//! `config|get`.

use super::exposition::Exposition;
use super::instrument::Kind;
use super::latency::Latencies;
use super::statistics::Statistics;
use crate::tally::CommandCounts;

/// The counts of one command at one moment, of all workers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommandTotals {
    /// Calls that were executed, failed ones included.
    pub calls: u64,
    /// Calls that were executed and answered with an error.
    pub failed: u64,
    /// Calls that were refused before they were executed.
    pub rejected: u64,
    /// Calls that were timed.
    pub timed: u64,
    /// How long those took together.
    pub timed_nanos: u64,
    /// How long each took.
    pub latencies: Latencies,
}

impl CommandTotals {
    /// What the tallies say.
    pub fn new(counts: CommandCounts, latencies: Latencies) -> Self {
        let CommandCounts { calls, rejected, failed, timed, timed_ns } = counts;
        Self { calls, failed, rejected, timed, timed_nanos: timed_ns, latencies }
    }

    /// Takes earlier counts away.
    pub fn subtract(&mut self, earlier: &Self) {
        self.calls = self.calls.saturating_sub(earlier.calls);
        self.failed = self.failed.saturating_sub(earlier.failed);
        self.rejected = self.rejected.saturating_sub(earlier.rejected);
        self.timed = self.timed.saturating_sub(earlier.timed);
        self.timed_nanos = self.timed_nanos.saturating_sub(earlier.timed_nanos);
        self.latencies.subtract(&earlier.latencies);
    }

    /// Microseconds that one call takes on average; 0 when none was timed.
    pub fn micros_each(&self) -> f64 {
        if self.timed == 0 { 0.0 } else { self.timed_nanos as f64 / self.timed as f64 / 1000.0 }
    }

    /// Microseconds that all calls took, scaled up from those that were timed.
    pub fn micros(&self) -> u64 {
        (self.micros_each() * self.calls as f64) as u64
    }

    /// Whether nobody tried to call it.
    pub fn is_unused(&self) -> bool {
        self.calls == 0 && self.rejected == 0
    }
}

/// A metric of commands: name, help, kind, and what it reads.
type CommandMetric = (&'static str, &'static str, Kind, fn(&CommandTotals) -> u64);

/// The metrics that every command has.
pub const COMMAND_METRICS: &[CommandMetric] = &[
    (
        "pelago_command_calls_total",
        "Calls that were executed, failed ones included, by command.",
        Kind::Counter,
        |totals| totals.calls,
    ),
    (
        "pelago_command_failed_total",
        "Calls that were executed and answered with an error, by command.",
        Kind::Counter,
        |totals| totals.failed,
    ),
    (
        "pelago_command_rejected_total",
        "Calls that were refused before they were executed, by command.",
        Kind::Counter,
        |totals| totals.rejected,
    ),
];

/// The name of the summary of durations.
pub const DURATION: &str = "pelago_command_duration_seconds";
/// Its help.
pub const DURATION_HELP: &str = "How long calls took, by command; from the calls that were timed.";

/// Writes the metrics of all commands that were tried.
pub fn expose(statistics: &Statistics, out: &mut Exposition) {
    for (name, help, kind, read) in COMMAND_METRICS {
        out.header(name, help, *kind);
        for (command, totals) in statistics.used_commands() {
            out.value(name, &[("command", command)], read(totals));
        }
    }
    out.header_of_type(DURATION, DURATION_HELP, "summary");
    for (command, totals) in statistics.used_commands().filter(|(_, totals)| totals.timed > 0) {
        for (quantile, share) in [("0.5", 50.0), ("0.99", 99.0), ("0.999", 99.9)] {
            let seconds = totals.latencies.percentile_us(share) / 1e6;
            out.value(DURATION, &[("command", command), ("quantile", quantile)], seconds);
        }
        out.value(&format!("{DURATION}_sum"), &[("command", command)], totals.timed_nanos as f64 / 1e9);
        out.value(&format!("{DURATION}_count"), &[("command", command)], totals.timed);
    }
}

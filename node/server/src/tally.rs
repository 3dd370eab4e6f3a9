//! What workers count: each in memory of its own, so that counting costs them nothing of each other.
//!
//! Only counts. What they are called for operators is decided in `metrics` and `info`, which add them up.

use crate::command::Flags;
use crate::command::table::table;
use crate::limits::{ERROR_CODES_MAX, TIMED_ONE_OF};
use crate::metrics::{Latencies, LatencyCounts};
use keyspace::Lookups;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A count that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the thread that owns the tally may call it: it is a load and a store, not one step.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The count.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counts. Aligned so that no two workers write to one cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct Tally {
    /// Commands executed, those inside transactions included.
    pub commands: Counter,
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// Reads that brought bytes.
    pub reads: Counter,
    /// Writes of replies.
    pub writes: Counter,
    /// Requests that broke the protocol.
    pub protocol_errors: Counter,
    /// Connections closed because more waited for them than `client-output-buffer-limit` allows.
    pub output_limit_closed: Counter,
    /// Keys that commands which only read looked for and found.
    pub hits: Counter,
    /// Keys that such commands looked for and did not find.
    pub misses: Counter,
    /// Which calls of a command are timed: those whose number, less one, has none of these bits.
    untimed: AtomicU64,
    by_command: Box<[CommandCounters]>,
    errors: Mutex<BTreeMap<String, u64>>,
}

/// What is counted of one command (or subcommand), by its ordinal.
#[derive(Debug, Default)]
struct CommandCounters {
    calls: Counter,
    rejected: Counter,
    failed: Counter,
    timed: Counter,
    timed_ns: Counter,
    latencies: OnceLock<LatencyCounts>,
}

/// The counts of one command, of all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandCounts {
    /// Calls that were executed.
    pub calls: u64,
    /// Calls that were refused before execution.
    pub rejected: u64,
    /// Calls whose execution answered an error.
    pub failed: u64,
    /// Calls that were timed: one in some.
    pub timed: u64,
    /// How long those took together, in nanoseconds.
    pub timed_ns: u64,
}

/// The counts of all workers together, without those of single commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Commands executed.
    pub commands: u64,
    /// Bytes read from clients.
    pub bytes_in: u64,
    /// Bytes written to clients.
    pub bytes_out: u64,
    /// Reads that brought bytes.
    pub reads: u64,
    /// Writes of replies.
    pub writes: u64,
    /// Requests that broke the protocol.
    pub protocol_errors: u64,
    /// Connections closed because too much waited for them.
    pub output_limit_closed: u64,
    /// Keys that reads found.
    pub hits: u64,
    /// Keys that reads did not find.
    pub misses: u64,
    /// Error replies.
    pub errors: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            commands: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            reads: Counter::default(),
            writes: Counter::default(),
            protocol_errors: Counter::default(),
            output_limit_closed: Counter::default(),
            hits: Counter::default(),
            misses: Counter::default(),
            untimed: AtomicU64::new(ONE_OF_SOME),
            by_command: (0..table().len()).map(|_| CommandCounters::default()).collect(),
            errors: Mutex::default(),
        }
    }
}

impl Tally {
    /// Counts a call that is about to be executed. True if this one is to be timed, whatever its command.
    #[inline]
    pub fn call(&self, ordinal: usize) -> bool {
        self.commands.add(1);
        let Some(counters) = self.by_command.get(ordinal) else { return false };
        counters.calls.add(1);
        counters.calls.value().wrapping_sub(1) & self.untimed.load(Ordering::Relaxed) == 0
    }

    /// Counts the keys that a command looked for. As in Redis, those of commands that write do not count: they look
    /// for their own sake.
    #[inline]
    pub fn looked(&self, flags: Flags, lookups: Lookups) {
        if flags.contains(Flags::READONLY) {
            self.hits.add(u64::from(lookups.hits));
            self.misses.add(u64::from(lookups.misses));
        }
    }

    /// Counts the time of a call.
    pub fn time(&self, ordinal: usize, nanoseconds: u64) {
        if let Some(counters) = self.by_command.get(ordinal) {
            counters.timed.add(1);
            counters.timed_ns.add(nanoseconds);
            counters.latencies.get_or_init(LatencyCounts::default).observe(Duration::from_nanos(nanoseconds));
        }
    }

    /// Counts an error reply of a command that was executed.
    pub fn failed(&self, ordinal: usize, error: &str) {
        if let Some(counters) = self.by_command.get(ordinal) {
            counters.failed.add(1);
        }
        self.error(error);
    }

    /// Counts a refusal; of a command, if it is known.
    pub fn rejected(&self, ordinal: Option<usize>, error: &str) {
        if let Some(counters) = ordinal.and_then(|ordinal| self.by_command.get(ordinal)) {
            counters.rejected.add(1);
        }
        self.error(error);
    }

    /// Counts an error reply by its code, the first word.
    fn error(&self, error: &str) {
        let code = error.split_once(' ').map_or(error, |(code, _)| code);
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_CODES_MAX {
            errors.insert(code.to_owned(), 1);
        } else {
            *errors.entry("OTHER".to_owned()).or_default() += 1;
        }
    }
}

/// Of each command one call in some is timed.
const ONE_OF_SOME: u64 = TIMED_ONE_OF - 1;
const ALL: u64 = 0;

/// The tallies of all workers.
#[derive(Debug, Default)]
pub struct Tallies {
    workers: Mutex<Vec<Arc<Tally>>>,
    times_all: AtomicBool,
}

impl Tallies {
    /// A tally for one more worker.
    pub fn add(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let mut workers = self.workers.lock();
        tally.untimed.store(self.untimed(), Ordering::Relaxed);
        workers.push(Arc::clone(&tally));
        tally
    }

    /// Whether every call is to be timed from now on, and not one in some of those that are fast.
    pub fn time_all(&self, all: bool) {
        let workers = self.workers.lock();
        self.times_all.store(all, Ordering::Relaxed);
        workers.iter().for_each(|tally| tally.untimed.store(self.untimed(), Ordering::Relaxed));
    }

    fn untimed(&self) -> u64 {
        if self.times_all.load(Ordering::Relaxed) { ALL } else { ONE_OF_SOME }
    }

    /// What all workers counted together.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for tally in self.workers.lock().iter() {
            totals.commands += tally.commands.value();
            totals.bytes_in += tally.bytes_in.value();
            totals.bytes_out += tally.bytes_out.value();
            totals.reads += tally.reads.value();
            totals.writes += tally.writes.value();
            totals.protocol_errors += tally.protocol_errors.value();
            totals.output_limit_closed += tally.output_limit_closed.value();
            totals.hits += tally.hits.value();
            totals.misses += tally.misses.value();
            totals.errors += tally.errors.lock().values().sum::<u64>();
        }
        totals
    }

    /// What all workers counted of the command with this ordinal.
    pub fn command(&self, ordinal: usize) -> CommandCounts {
        let mut counts = CommandCounts::default();
        for tally in self.workers.lock().iter() {
            let Some(counters) = tally.by_command.get(ordinal) else { continue };
            counts.calls += counters.calls.value();
            counts.rejected += counters.rejected.value();
            counts.failed += counters.failed.value();
            counts.timed += counters.timed.value();
            counts.timed_ns += counters.timed_ns.value();
        }
        counts
    }

    /// How long the timed calls of the command with this ordinal took.
    pub fn latencies(&self, ordinal: usize) -> Latencies {
        let mut total = Latencies::default();
        for tally in self.workers.lock().iter() {
            let counters = tally.by_command.get(ordinal);
            if let Some(latencies) = counters.and_then(|counters| counters.latencies.get()) {
                latencies.add_to(&mut total);
            }
        }
        total
    }

    /// Error replies by their code.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for tally in self.workers.lock().iter() {
            for (code, count) in tally.errors.lock().iter() {
                *all.entry(code.clone()).or_default() += count;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_added_up() {
        let tallies = Tallies::default();
        let (one, other) = (tallies.add(), tallies.add());
        one.call(0);
        other.call(0);
        other.failed(0, "WRONGTYPE Operation");
        other.rejected(Some(0), "WRONGTYPE Operation");
        one.time(0, 3000);
        let counts = tallies.command(0);
        assert_eq!(counts, CommandCounts { calls: 2, rejected: 1, failed: 1, timed: 1, timed_ns: 3000 });
        assert_eq!(tallies.latencies(0).count(), 1);
        assert_eq!(tallies.errors().get("WRONGTYPE"), Some(&2));
        assert_eq!(tallies.totals().commands, 2);
    }

    #[test]
    fn one_call_in_some_is_timed() {
        let tally = Tally::default();
        let timed = (0..TIMED_ONE_OF * 3).filter(|_| tally.call(0)).count();
        assert_eq!(timed, 3);
    }

    #[test]
    fn every_call_is_timed_while_somebody_wants_it_by_workers_that_come_later_too() {
        let tallies = Tallies::default();
        let early = tallies.add();
        tallies.time_all(true);
        let late = tallies.add();
        let timed = |tally: &Tally| (0..TIMED_ONE_OF).filter(|_| tally.call(0)).count() as u64;
        assert_eq!((timed(&early), timed(&late)), (TIMED_ONE_OF, TIMED_ONE_OF));
        tallies.time_all(false);
        assert_eq!((timed(&early), timed(&late)), (1, 1));
    }

    #[test]
    fn made_up_error_codes_do_not_fill_the_memory() {
        let tallies = Tallies::default();
        let tally = tallies.add();
        for code in 0..10_000 {
            tally.rejected(None, &format!("CODE{code} text"));
        }
        assert_eq!(tallies.errors().len(), ERROR_CODES_MAX + 1);
        assert_eq!(tallies.totals().errors, 10_000);
    }
}

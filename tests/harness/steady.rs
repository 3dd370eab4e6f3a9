//! A client that sends its commands at fixed times, whether or not the one before was answered in time: a server that stops
//! is noticed by every command that was due meanwhile, as it is by users. That the client itself was woken late is told
//! apart: a server cannot help it.

use crate::client::Client;
use crate::cores::precede;
use crate::latencies::Latencies;
use crate::reply::Reply;
use crate::taken::{Span, Taken};
use crate::wait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What was seen in one phase of a trial.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// From when a command was due, or the client was woken for it, until its answer.
    pub latencies: Latencies,
    /// How much later than it wanted the client was woken.
    pub woken: Latencies,
    /// When a command was waited for, of those that took long.
    pub long: Vec<Span>,
    /// Answers that were not as they had to be, the first few.
    pub wrong: Vec<String>,
    /// How many of them there were.
    pub wrong_count: u64,
}

/// The client, on a thread of its own with one connection.
#[derive(Debug)]
pub struct Steady {
    stop: Arc<AtomicBool>,
    phase: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Seen>>,
}

/// Makes a command of its number, and says what is wrong with an answer.
pub trait Script: Send + 'static {
    /// The command.
    fn command(&mut self, number: u64) -> Vec<String>;
    /// What is wrong with its answer, if anything is. By default errors are.
    fn judge(&self, command: &[String], reply: &Reply) -> Option<String> {
        reply.is_error().then(|| format!("{}: {reply}", command.join(" ")))
    }
}

const WRONG_KEPT_MAX: usize = 5;
/// A command that took longer is kept with its time.
const LONG_MIN: Duration = Duration::from_millis(1);

impl Steady {
    /// Starts in phase 0 of so many; a command every `interval`.
    pub fn start(address: &str, interval: Duration, phases: usize, script: impl Script) -> Self {
        Self::begin(address, interval, phases, script, || ())
    }

    /// As `start`, but before everything else on its core if this process may: what else there is on the core of the load is
    /// no wait of a client then.
    pub fn start_first(address: &str, interval: Duration, phases: usize, script: impl Script) -> Self {
        Self::begin(address, interval, phases, script, || drop(precede()))
    }

    fn begin(
        address: &str,
        interval: Duration,
        phases: usize,
        script: impl Script,
        settle: impl FnOnce() + Send + 'static,
    ) -> Self {
        let (stop, phase) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = Client::connect(address).expect("the server takes connections");
        let control = (Arc::clone(&stop), Arc::clone(&phase));
        let thread = std::thread::spawn(move || {
            settle();
            drive(client, interval, phases, script, &control.0, &control.1)
        });
        Self { stop, phase, thread }
    }

    /// Commands that are due from now on belong to this phase.
    pub fn enter(&self, phase: usize) {
        self.phase.store(phase, Ordering::SeqCst);
    }

    /// Ends it; what it saw in each phase.
    pub fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the steady client keeps its connection")
    }
}

fn drive(
    mut client: Client,
    interval: Duration,
    phases: usize,
    mut script: impl Script,
    stop: &AtomicBool,
    phase: &AtomicUsize,
) -> Vec<Seen> {
    let mut seen = vec![Seen::default(); phases];
    let mut due = Instant::now();
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        due += interval;
        let spare = due.saturating_duration_since(Instant::now());
        let mut woken = Duration::ZERO;
        if !spare.is_zero() {
            wait::pause(spare);
            woken = due.elapsed();
            // The times that come are counted from here, or all commands that it now is late with would seem slow.
            due += woken;
        }
        let entered = phase.load(Ordering::SeqCst);
        let command = script.command(number);
        number += 1;
        let reply = client.call(&command);
        let seen = &mut seen[entered];
        let answered = Instant::now();
        let took = answered.saturating_duration_since(due);
        seen.latencies.note(took);
        if took > LONG_MIN {
            seen.long.push((due, answered));
        }
        seen.woken.note(woken);
        if let Some(wrong) = script.judge(&command, &reply) {
            seen.wrong_count += 1;
            if seen.wrong.len() < WRONG_KEPT_MAX {
                seen.wrong.push(wrong);
            }
        }
    }
    seen
}

impl Seen {
    /// The longest wait, in milliseconds, each without what was taken of the cores during it.
    pub fn longest_without_ms(&mut self, taken: &Taken) -> f64 {
        let without =
            |&(due, answered): &Span| answered.saturating_duration_since(due).saturating_sub(taken.of((due, answered)));
        let longest = self.long.iter().map(without).max().unwrap_or_default();
        // What is not kept was no longer than that, and nothing was taken from it that counts.
        let short = self.latencies.longest_ms().min(LONG_MIN.as_secs_f64() * 1e3);
        (longest.as_secs_f64() * 1e3).max(short)
    }

    /// Sentences about wrong answers, none without.
    pub fn faults(&self, whose: &str) -> Vec<String> {
        match self.wrong_count {
            0 => Vec::new(),
            count => vec![format!("{count} wrong answers to the client of {whose}: {:?}", self.wrong)],
        }
    }
}

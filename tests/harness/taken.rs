//! Time in which a core was not there for the servers on it, which can answer nobody meanwhile and are not to blame.
//!
//! Either it ran nothing that was ready: on a virtual machine its host does something else then, on any machine an interrupt
//! or the system itself may. It is noticed as cyclictest does (of Linux' real-time tests): a thread that goes before
//! everything else on its core asks to be woken again and again, and looks how late it is. Or other programs had it
//! ([`crate::switches`]).

use crate::cores::{precede, take_core};
use crate::switches::{Switches, Threads};
use crate::wait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks: what is shorter is not noticed, and of the rest up to so much is not counted.
const LOOK_INTERVAL: Duration = Duration::from_micros(500);
/// Being woken takes a little everywhere.
const LATE_MIN: Duration = Duration::from_micros(200);

/// Looks at some cores until it is stopped.
#[derive(Debug)]
pub struct Watch {
    cores: Vec<String>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<Span>, String>>>,
    /// None if what other programs had is not asked for.
    switches: Option<Result<Switches, String>>,
}

/// From when until when.
pub type Span = (Instant, Instant);

/// When cores were taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// In order, and apart from each other.
    spans: Vec<Span>,
}

/// What a watch saw.
#[derive(Debug)]
pub struct Watched {
    /// For servers on each of the cores. A client that goes before everything else on its core waits for any core that runs
    /// nothing, and a server for what other programs had of its own.
    pub taken: Vec<Taken>,
    /// What could not be looked at.
    pub missing: Vec<String>,
}

impl Watch {
    /// Begins with one thread for each of these cores, as `taskset` names one.
    pub fn start(cores: &[&str]) -> Self {
        let switches = match cores.is_empty() {
            true => Err("there is more than one core each".to_owned()),
            false => Switches::start(cores),
        };
        Self::begin(cores, Some(switches))
    }

    /// The same, but only what nobody had: where servers and clients share cores, each waits for the others too.
    pub fn start_idle(cores: &[&str]) -> Self {
        Self::begin(cores, None)
    }

    fn begin(cores: &[&str], switches: Option<Result<Switches, String>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |core: &&str| {
            let (core, stop) = ((*core).to_owned(), Arc::clone(&stop));
            std::thread::spawn(move || watch(&core, &stop))
        };
        let threads = cores.iter().map(thread).collect();
        Self { cores: cores.iter().map(|&core| core.to_owned()).collect(), stop, threads, switches }
    }

    /// What was taken of the cores from the servers among these threads.
    pub fn stop(self, threads: &Threads) -> Watched {
        self.stop.store(true, Ordering::SeqCst);
        let (mut idle, mut missing) = (Vec::new(), Vec::new());
        for thread in self.threads {
            match thread.join().unwrap_or_else(|_| Err("the watch of a core ended".to_owned())) {
                Ok(spans) => idle.extend(spans),
                Err(error) => missing.push(error),
            }
        }
        let cores: Vec<&str> = self.cores.iter().map(String::as_str).collect();
        let nothing = || vec![Vec::new(); cores.len()];
        let foreign = self
            .switches
            .map_or_else(|| Ok(nothing()), |switches| switches.and_then(|switches| switches.stop(&cores, threads)));
        let foreign = foreign.unwrap_or_else(|error| {
            missing.push(error);
            nothing()
        });
        let of_core = |foreign: Vec<Span>| Taken::new(idle.iter().copied().chain(foreign).collect());
        Watched { taken: foreign.into_iter().map(of_core).collect(), missing }
    }
}

fn watch(core: &str, stop: &AtomicBool) -> Result<Vec<Span>, String> {
    take_core(core)?;
    precede()?;
    let mut spans = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let due = Instant::now() + LOOK_INTERVAL;
        wait::pause(LOOK_INTERVAL);
        let woken = Instant::now();
        if woken.saturating_duration_since(due) > LATE_MIN {
            spans.push((due, woken));
        }
    }
    Ok(spans)
}

impl Taken {
    /// Of spans in any order that may overlap, as those of two cores do.
    pub fn new(mut spans: Vec<Span>) -> Self {
        spans.sort_unstable();
        let mut apart: Vec<Span> = Vec::new();
        for (from, until) in spans {
            match apart.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(until),
                _ => apart.push((from, until)),
            }
        }
        Self { spans: apart }
    }

    /// Of any of several cores.
    pub fn of_any(cores: &[Self]) -> Self {
        Self::new(cores.iter().flat_map(|taken| taken.spans.iter().copied()).collect())
    }

    /// How much of this span was taken.
    pub fn of(&self, (from, until): Span) -> Duration {
        let first = self.spans.partition_point(|span| span.1 <= from);
        let overlapping = self.spans[first..].iter().take_while(|span| span.0 < until);
        overlapping.map(|span| span.1.min(until).saturating_duration_since(span.0.max(from))).sum()
    }
}

//! Time in which a core ran nothing that was ready on it: on a virtual machine its host does something else then, on any
//! machine an interrupt or the system itself may. No server can answer meanwhile, and none is to blame for it.
//!
//! It is noticed as cyclictest does (of Linux' real-time tests): a thread that goes before everything else on its core asks
//! to be woken again and again, and looks how late it is.

use crate::cores::{precede, take_core};
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
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<Span>, String>>>,
}

/// From when until when.
pub type Span = (Instant, Instant);

/// When the cores were taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// In order, and apart from each other.
    spans: Vec<Span>,
}

impl Watch {
    /// Begins with one thread for each of these cores, as `taskset` names one.
    pub fn start(cores: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |core: &&str| {
            let (core, stop) = ((*core).to_owned(), Arc::clone(&stop));
            std::thread::spawn(move || watch(&core, &stop))
        };
        let threads = cores.iter().map(thread).collect();
        Self { stop, threads }
    }

    /// What was seen. An error if this process may not go before others.
    pub fn stop(self) -> Result<Taken, String> {
        self.stop.store(true, Ordering::SeqCst);
        let mut spans = Vec::new();
        for thread in self.threads {
            spans.extend(thread.join().map_err(|_| "the watch of a core ended")??);
        }
        Ok(Taken::new(spans))
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

    /// How much of this span was taken.
    pub fn of(&self, (from, until): Span) -> Duration {
        let first = self.spans.partition_point(|span| span.1 <= from);
        let overlapping = self.spans[first..].iter().take_while(|span| span.0 < until);
        overlapping.map(|span| span.1.min(until).saturating_duration_since(span.0.max(from))).sum()
    }
}

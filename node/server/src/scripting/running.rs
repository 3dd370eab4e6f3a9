//! The scripts that run, as others see them: what `FUNCTION STATS` shows, and how `SCRIPT KILL` ends one.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// All workers' scripts.
#[derive(Debug, Default)]
pub struct Running {
    workers: Mutex<Vec<Weak<Run>>>,
    /// How many have run for longer than they should. Changed with the workers locked.
    long: AtomicU64,
    killed: AtomicU64,
}

/// What a worker runs.
#[derive(Debug, Default)]
pub struct Run {
    /// It has run for longer than it should.
    is_long: AtomicBool,
    /// It was asked to end.
    is_killed: AtomicBool,
    /// It has executed a command that may write.
    has_written: AtomicBool,
    /// What it is called, once it has run for long.
    about: Mutex<About>,
    /// Bytes that the worker's machine had after its last run.
    memory: AtomicUsize,
}

/// What is shown of a script that has run for long.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The name of the function, or the digest of the script.
    pub name: String,
    /// The words of the command.
    pub words: Vec<Vec<u8>>,
    /// Whether it is a function's.
    pub is_function: bool,
    /// When it began, by the clock for statistics.
    pub began_ns: u64,
}

impl Running {
    /// A worker's.
    pub fn enter(&self) -> Arc<Run> {
        let run = Arc::new(Run::default());
        let mut workers = self.workers.lock();
        workers.retain(|known| known.strong_count() > 0);
        workers.push(Arc::downgrade(&run));
        run
    }

    /// The scripts that have run for longer than they should.
    pub fn long(&self) -> Vec<Arc<Run>> {
        if self.long.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        self.workers.lock().iter().filter_map(Weak::upgrade).filter(|run| run.is_long()).collect()
    }

    /// How many scripts have run for longer than they should and have not ended.
    pub fn long_count(&self) -> u64 {
        self.long.load(Ordering::Relaxed)
    }

    /// Bytes that the machines of all workers had after their last runs.
    pub fn memory(&self) -> usize {
        self.workers.lock().iter().filter_map(Weak::upgrade).map(|run| run.memory.load(Ordering::Relaxed)).sum()
    }

    /// How many were ended by somebody.
    pub fn killed(&self) -> u64 {
        self.killed.load(Ordering::Relaxed)
    }

    /// A script has run for longer than it should. `say` is told that the node is busy.
    pub fn note_long(&self, run: &Run, about: About, say: impl FnOnce(bool)) {
        // SUBTLE: held while it is said, so that what is said last is true.
        let _workers = self.workers.lock();
        *run.about.lock() = about;
        run.is_long.store(true, Ordering::Relaxed);
        self.long.fetch_add(1, Ordering::Relaxed);
        say(true);
    }

    /// It has ended. `say` is told whether the node is busy still.
    pub fn note_end(&self, run: &Run, say: impl FnOnce(bool)) {
        let _workers = self.workers.lock();
        run.is_long.store(false, Ordering::Relaxed);
        say(self.long.fetch_sub(1, Ordering::Relaxed) > 1);
    }

    /// Ends the scripts of this kind that run for long. The error is a whole reply.
    pub fn kill(&self, functions: bool) -> Result<(), &'static str> {
        let all = self.long();
        if all.is_empty() {
            return Err("NOTBUSY No scripts in execution right now.");
        }
        let harmless: Vec<_> = all.iter().filter(|run| !run.has_written()).collect();
        // Whatever is to be killed: so Redis answers too.
        if harmless.is_empty() {
            return Err("UNKILLABLE Sorry the script already executed write commands against the dataset. You can \
                        either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE \
                        command.");
        }
        let of_kind: Vec<_> = harmless.into_iter().filter(|run| run.about().is_function == functions).collect();
        if of_kind.is_empty() {
            return Err(match functions {
                true => "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                false => "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
            });
        }
        for run in of_kind {
            run.kill();
            self.killed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Ends all scripts that run for long, whatever they have done: the node stops.
    pub fn end_all(&self) {
        self.long().iter().for_each(|run| run.kill());
    }

    /// What is answered to others while scripts run for long.
    pub fn refusal(&self) -> &'static str {
        match self.long().first().is_some_and(|run| run.about().is_function) {
            true => "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
            false => "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        }
    }
}

impl Run {
    /// A script begins.
    pub fn begin(&self) {
        self.is_killed.store(false, Ordering::Relaxed);
        self.has_written.store(false, Ordering::Relaxed);
    }

    /// Whether it has run for longer than it should.
    pub fn is_long(&self) -> bool {
        self.is_long.load(Ordering::Relaxed)
    }

    /// Whether it was asked to end.
    pub fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::Relaxed)
    }

    /// Asks it to end.
    pub fn kill(&self) {
        self.is_killed.store(true, Ordering::Relaxed);
    }

    /// Whether it has executed a command that may write.
    pub fn has_written(&self) -> bool {
        self.has_written.load(Ordering::Relaxed)
    }

    /// Notes a command that may write.
    pub fn note_write(&self) {
        self.has_written.store(true, Ordering::Relaxed);
    }

    /// Notes the bytes that the worker's machine has.
    pub fn note_memory(&self, bytes: usize) {
        self.memory.store(bytes, Ordering::Relaxed);
    }

    /// What it is called.
    pub fn about(&self) -> About {
        self.about.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::yield_now;

    /// How often another thread is let go on to do what it must not do.
    const TURNS: usize = 10_000;

    #[test]
    fn the_node_is_busy_as_long_as_any_script_runs_for_long() {
        let running = Running::default();
        let (one, other) = (running.enter(), running.enter());
        let is_busy = AtomicBool::new(false);
        let say = |busy| is_busy.store(busy, Ordering::SeqCst);
        running.note_long(&one, About::default(), say);
        // One ends while another one is found to run for long.
        std::thread::scope(|scope| {
            running.note_end(&one, |busy| {
                scope.spawn(|| running.note_long(&other, About::default(), say));
                (0..TURNS).for_each(|_| yield_now());
                say(busy);
            });
        });
        assert!(is_busy.load(Ordering::SeqCst));
        running.note_end(&other, say);
        assert!(!is_busy.load(Ordering::SeqCst));
    }
}

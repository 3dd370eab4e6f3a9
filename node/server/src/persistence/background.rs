//! What takes its time: walking, committing checkpoints, reading the journal back. On a thread of its own, or in place
//! and in small steps where there are no threads. A defect in one task fails that task, and the thread goes on.

use super::walk::Walk;
use crdt::{NodeNumber, Stamp, VersionVector};
use keyspace::Keyspace;
use protocol::NodeIdentity;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};
use storage::{Fs, JournalReader, Manifest, StoreError, StoreOwner, discard_unfinished};

/// A wish for batches out of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadBack {
    /// Who needs them.
    pub peer: NodeIdentity,
    /// Whose batches.
    pub origin: NodeNumber,
    /// Where to go on.
    pub after: Stamp,
    /// About how many bytes.
    pub bytes_max: usize,
}

/// Something to do.
pub(crate) enum Task {
    Walk(Box<Walk>),
    Commit {
        walk: Box<Walk>,
        end: VersionVector,
        notes: Vec<u8>,
        keys: u64,
        now_ms: u64,
    },
    /// Gives up the running walk, and removes what a checkpoint has left that comes to nothing.
    Discard {
        fs: Arc<dyn Fs>,
        owner: StoreOwner,
        before: Option<Manifest>,
    },
    Read(ReadBack),
}

/// What came of it.
pub(crate) enum Done {
    /// The walk of this run.
    Walked(u64, Result<Box<Walk>, StoreError>),
    Committed(Result<Manifest, StoreError>),
    Discarded(Result<(), StoreError>),
    Read(ReadBack, Result<Vec<Vec<u8>>, StoreError>),
}

/// Who does it.
pub(crate) struct Background {
    runner: Runner,
    /// Groups that the running walk has done.
    groups: Arc<AtomicU64>,
    /// Tasks that met a defect of the program's.
    panics: Arc<AtomicU64>,
}

enum Runner {
    Thread { tasks: Sender<Task>, done: Receiver<Done> },
    InPlace { hands: Hands, tasks: VecDeque<Task>, walk: Option<Box<Walk>> },
}

/// What the work needs.
struct Hands {
    keyspace: Arc<Keyspace>,
    reader: JournalReader,
    panics: Arc<AtomicU64>,
}

/// The name of the thread.
pub(super) const THREAD: &str = "checkpoint";
/// Groups that are walked over in place before something else has its turn.
const GROUPS_A_TURN: u64 = 24;
/// The thread walks for so long without a pause, and pauses for so long.
///
/// SUBTLE: a thread that never pauses is interrupted by the system when its time is up, and until then a worker on the same
/// core that has just been sent something waits for some milliseconds. A thread that sleeps by itself, with nothing locked,
/// is not in its way. The walk takes twice its time by this and no more.
const WALK_TURN_MAX: Duration = Duration::from_micros(250);
const WALK_PAUSE: Duration = Duration::from_micros(250);

impl Background {
    pub(crate) fn on_thread(
        keyspace: Arc<Keyspace>,
        reader: JournalReader,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<Self> {
        let (tasks, taken) = channel();
        let (results, done) = channel();
        let (groups, panics): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let (counted, hands) = (Arc::clone(&groups), Hands { keyspace, reader, panics: Arc::clone(&panics) });
        std::thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || run(&hands, &taken, &results, &*wake, &counted))?;
        Ok(Self { runner: Runner::Thread { tasks, done }, groups, panics })
    }

    pub(crate) fn in_place(keyspace: Arc<Keyspace>, reader: JournalReader) -> Self {
        let panics: Arc<AtomicU64> = Arc::default();
        let hands = Hands { keyspace, reader, panics: Arc::clone(&panics) };
        let runner = Runner::InPlace { hands, tasks: VecDeque::new(), walk: None };
        Self { runner, groups: Arc::default(), panics }
    }

    /// Groups that the running walk has done.
    pub(crate) fn groups(&self) -> u64 {
        self.groups.load(Ordering::Relaxed)
    }

    /// Tasks that met a defect of the program's.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Hands a task in.
    pub(crate) fn start(&mut self, task: Task) {
        match &mut self.runner {
            // The thread ends when this handle goes.
            Runner::Thread { tasks, .. } => drop(tasks.send(task)),
            Runner::InPlace { tasks, .. } => tasks.push_back(task),
        }
    }

    /// Whether there is work that only `poll` gets done.
    pub(crate) fn is_busy_in_place(&self) -> bool {
        match &self.runner {
            Runner::Thread { .. } => false,
            Runner::InPlace { tasks, walk, .. } => !tasks.is_empty() || walk.is_some(),
        }
    }

    /// Something that is done, if anything is. In place this is where it gets done.
    pub(crate) fn poll(&mut self) -> Option<Done> {
        match &mut self.runner {
            Runner::Thread { done, .. } => done.try_recv().ok(),
            Runner::InPlace { hands, tasks, walk } => {
                if let Some(task) = tasks.pop_front() {
                    match task {
                        Task::Walk(begun) => *walk = Some(begun),
                        Task::Discard { .. } => {
                            *walk = None;
                            return Some(hands.finish(task));
                        }
                        Task::Commit { .. } | Task::Read(_) => return Some(hands.finish(task)),
                    }
                }
                let mut running = walk.take()?;
                let until = running.groups() + GROUPS_A_TURN;
                while running.groups() < until {
                    match hands.step(&mut running) {
                        Ok(true) => {}
                        Ok(false) => return Some(Done::Walked(running.run, Ok(running))),
                        Err(error) => return Some(Done::Walked(running.run, Err(error))),
                    }
                }
                self.groups.store(running.groups(), Ordering::Relaxed);
                *walk = Some(running);
                None
            }
        }
    }
}

impl Hands {
    /// Does a task that takes one step.
    fn finish(&self, task: Task) -> Done {
        match task {
            Task::Commit { walk, end, notes, keys, now_ms } => {
                Done::Committed(self.guard(|| walk.commit(end, notes, keys, now_ms)))
            }
            Task::Read(wish) => {
                let batches = self.guard(|| self.reader.batches_after(wish.origin, wish.after, wish.bytes_max));
                Done::Read(wish, batches)
            }
            Task::Discard { fs, owner, before } => {
                Done::Discarded(self.guard(|| discard_unfinished(&*fs, owner, before.as_ref())))
            }
            Task::Walk(walk) => Done::Walked(walk.run, Ok(walk)),
        }
    }

    fn step(&self, walk: &mut Walk) -> Result<bool, StoreError> {
        self.guard(|| walk.step(&self.keyspace))
    }

    /// Does something in which a panic is a failure: nobody would come to know of a thread that ended by it, and peers and
    /// clients would wait for it for ever. What it worked on is thrown away.
    fn guard<T>(&self, task: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(task)).unwrap_or_else(|_| {
            self.panics.fetch_add(1, Ordering::Relaxed);
            Err(StoreError::Panicked(THREAD))
        })
    }
}

/// The thread. What is read back for a peer goes before the next block of a walk.
fn run(hands: &Hands, tasks: &Receiver<Task>, done: &Sender<Done>, wake: &dyn Fn(), groups: &AtomicU64) {
    let mut walk: Option<Box<Walk>> = None;
    let mut worked = Duration::ZERO;
    loop {
        let task = match &walk {
            None => match tasks.recv() {
                Ok(task) => Some(task),
                Err(_) => return,
            },
            Some(_) => match tasks.try_recv() {
                Ok(task) => Some(task),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            },
        };
        let finished = match (task, walk.take()) {
            (Some(Task::Walk(begun)), _) => {
                walk = Some(begun);
                None
            }
            (Some(task @ Task::Discard { .. }), running) => {
                drop(running);
                Some(hands.finish(task))
            }
            (Some(task), running) => {
                walk = running;
                Some(hands.finish(task))
            }
            (None, Some(mut running)) => {
                let began = Instant::now();
                let stepped = hands.step(&mut running);
                worked += began.elapsed();
                match stepped {
                    Ok(true) => {
                        groups.store(running.groups(), Ordering::Relaxed);
                        walk = Some(running);
                        if worked >= WALK_TURN_MAX {
                            worked = Duration::ZERO;
                            std::thread::sleep(WALK_PAUSE);
                        }
                        None
                    }
                    Ok(false) => Some(Done::Walked(running.run, Ok(running))),
                    Err(error) => Some(Done::Walked(running.run, Err(error))),
                }
            }
            (None, None) => None,
        };
        if let Some(finished) = finished {
            if done.send(finished).is_err() {
                return;
            }
            wake();
        }
    }
}

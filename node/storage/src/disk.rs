//! The disk's side of a running store: takes records in order, writes them, flushes by policy, and says how it stands.
//!
//! [`DiskWorker`] has the rules and neither thread nor clock. [`Disk`] is what the node holds: it either has threads that
//! run the worker, or, in a simulation, runs it in place. A failing disk makes nobody wait: records that cannot be
//! written are given up, after the store was marked as unsound, and the node is told through [`Health`]. Only while that
//! mark cannot be made either does everything wait that would be sent: a restart would take the store for whole.

mod progress;

pub use progress::{Health, Progress};

use crate::fs::{Fs, StoreError};
use crate::journal::{Journal, JournalSettings, SyncJob, SyncOutcome};
use crate::limits::{JOURNAL_QUEUE_BYTES_MAX, RETRY_MS};
use crate::record::Record;
use crate::segment::Life;
use crate::store::{mark_sound, mark_unsound};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// When records are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushPolicy {
    /// At once; whoever wrote waits for it.
    Always,
    /// Every second.
    EverySecond,
    /// When the system likes.
    Never,
}

/// What the disk is told.
#[derive(Debug)]
pub enum Command {
    /// Keep this record.
    Append(Record),
    /// Make everything so far durable now.
    Flush,
    /// A checkpoint covers every record before this one.
    Cover(u64),
    /// When to flush from now on.
    Policy(FlushPolicy),
    /// How files are kept from now on.
    Settings(JournalSettings),
    /// A flush is over.
    Synced(SyncOutcome, Duration),
    /// Write what is there, flush it and end.
    Stop,
}

/// The rules of the disk's side.
#[derive(Debug)]
pub struct DiskWorker {
    fs: Arc<dyn Fs>,
    life: Life,
    journal: Journal,
    policy: FlushPolicy,
    progress: Arc<Progress>,
    flush_wanted: bool,
    synced_at_ms: u64,
    retried_at_ms: u64,
    is_marked: bool,
    /// Bytes of records that were taken in since anything was last said to be written.
    untold_bytes: u64,
    stopping: bool,
}

impl DiskWorker {
    /// A worker for this journal.
    pub fn new(fs: Arc<dyn Fs>, life: Life, journal: Journal, policy: FlushPolicy) -> Self {
        let progress = Arc::new(Progress::default());
        let mut worker = Self {
            fs,
            life,
            journal,
            policy,
            progress,
            flush_wanted: false,
            synced_at_ms: 0,
            retried_at_ms: 0,
            is_marked: true,
            untold_bytes: 0,
            stopping: false,
        };
        worker.publish();
        worker
    }

    /// How far it is.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The store could not be begun properly.
    pub fn note_fault(&mut self, fault: &StoreError, now_ms: u64) {
        self.failed(fault, now_ms);
    }

    /// Takes a command.
    pub fn take(&mut self, command: Command, now_ms: u64) {
        self.progress.writing_since_ms.store(now_ms, Ordering::Relaxed);
        self.carry_out(command, now_ms);
        self.progress.writing_since_ms.store(0, Ordering::Relaxed);
    }

    fn carry_out(&mut self, command: Command, now_ms: u64) {
        match command {
            Command::Append(record) => {
                let weight = record.weight();
                let appended = self.journal.append(&record, now_ms);
                self.progress.appended_bytes.fetch_add(weight, Ordering::Relaxed);
                self.untold_bytes += weight;
                if let Err(error) = appended {
                    self.failed(&error, now_ms);
                    // The record itself was not looked at: only what waited before it is given up.
                    if self.journal.append(&record, now_ms).is_err() {
                        tracing::debug!("a record was given up with those before it");
                    }
                }
            }
            Command::Flush => self.flush_wanted = true,
            Command::Cover(position) => {
                self.journal.cover(position);
                self.mend(now_ms);
                self.tidy(now_ms);
            }
            Command::Policy(policy) => self.policy = policy,
            Command::Settings(settings) => self.journal.set_settings(settings),
            Command::Synced(outcome, took) => self.synced(outcome, took, now_ms),
            Command::Stop => {
                self.stopping = true;
                self.flush_wanted = true;
            }
        }
    }

    /// Does what is due. The flush that is returned must be carried out, by whoever may wait, and given back as
    /// [`Command::Synced`].
    pub fn work(&mut self, now_ms: u64) -> Option<SyncJob> {
        self.progress.writing_since_ms.store(now_ms, Ordering::Relaxed);
        let began = Instant::now();
        if let Err(error) = self.journal.write(now_ms) {
            self.failed(&error, now_ms);
        }
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.progress.write_us_peak.fetch_max(us, Ordering::Relaxed);
        if self.journal.has_hole() {
            self.retry(now_ms);
        }
        let due = match self.policy {
            _ if self.flush_wanted => true,
            FlushPolicy::Always => true,
            FlushPolicy::EverySecond => now_ms.abs_diff(self.synced_at_ms) >= FLUSH_MS,
            FlushPolicy::Never => false,
        };
        let job = if due && self.journal.wants_sync() { self.journal.begin_sync() } else { None };
        if job.is_some() {
            self.synced_at_ms = now_ms;
            self.flush_wanted = false;
            self.progress.flushing_since_ms.store(now_ms, Ordering::Relaxed);
        }
        self.progress.writing_since_ms.store(0, Ordering::Relaxed);
        self.publish();
        job
    }

    /// When there is something to do without a new command.
    pub fn due_in_ms(&self, now_ms: u64) -> Option<u64> {
        let flush = (self.journal.wants_sync() && self.policy == FlushPolicy::EverySecond)
            .then(|| FLUSH_MS.saturating_sub(now_ms.abs_diff(self.synced_at_ms)));
        let retry = self.journal.has_hole().then(|| RETRY_MS.saturating_sub(now_ms.abs_diff(self.retried_at_ms)));
        flush.into_iter().chain(retry).min()
    }

    /// Whether it was asked to end and has nothing left to do.
    pub fn is_done(&self) -> bool {
        self.stopping && !self.journal.is_syncing() && !self.journal.wants_sync()
    }

    fn synced(&mut self, outcome: SyncOutcome, took: Duration, now_ms: u64) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.progress.flushing_since_ms.store(0, Ordering::Relaxed);
        self.progress.syncs.fetch_add(1, Ordering::Relaxed);
        self.progress.sync_us_last.store(us, Ordering::Relaxed);
        self.progress.sync_us_max.fetch_max(us, Ordering::Relaxed);
        self.progress.sync_us_peak.fetch_max(us, Ordering::Relaxed);
        if let Err(error) = self.journal.end_sync(outcome, now_ms) {
            self.failed(&error, now_ms);
        }
        self.tidy(now_ms);
    }

    fn retry(&mut self, now_ms: u64) {
        if now_ms.abs_diff(self.retried_at_ms) < RETRY_MS {
            return;
        }
        self.retried_at_ms = now_ms;
        if !self.is_marked && mark_unsound(&*self.fs).is_ok() {
            self.is_marked = true;
            if let Health::Dead(sentence) = self.progress.health() {
                self.progress.set_health(Health::Failing(sentence));
            }
        }
        match self.journal.reopen(now_ms) {
            Ok(open) => {
                self.progress.can_heal.store(open && self.is_marked, Ordering::Relaxed);
                self.mend(now_ms);
            }
            Err(error) => self.failed(&error, now_ms),
        }
    }

    /// Calls the store whole again, if a checkpoint covers everything that was lost. What fails is tried again.
    fn mend(&mut self, now_ms: u64) {
        if !self.journal.is_mendable() {
            return;
        }
        match mark_sound(&*self.fs, self.life, self.journal.last_segment()) {
            Ok(()) => {
                tracing::info!("a checkpoint has mended the store: everything is kept on disk again");
                self.journal.mended();
                self.is_marked = true;
                self.progress.can_heal.store(false, Ordering::Relaxed);
                self.progress.set_health(Health::Sound);
            }
            Err(error) => {
                // The mark may be there or not.
                self.is_marked = false;
                self.failed(&error, now_ms);
            }
        }
    }

    fn tidy(&mut self, now_ms: u64) {
        if let Err(error) = self.journal.tidy(now_ms, false) {
            tracing::warn!(%error, "a part of the journal that is no longer needed could not be removed");
        }
    }

    /// Something could not be written or made durable. From here on what is sent may be missing after a restart, so the
    /// store is marked before anything of it is sent.
    fn failed(&mut self, error: &StoreError, now_ms: u64) {
        // Nothing was tried, and what was given up is known to be missing already.
        if matches!(error, StoreError::Paused) && self.progress.health() != Health::Sound {
            return;
        }
        self.progress.failures.fetch_add(1, Ordering::Relaxed);
        if matches!(error, StoreError::Panicked(_)) {
            self.progress.panics.fetch_add(1, Ordering::Relaxed);
        }
        self.progress.can_heal.store(false, Ordering::Relaxed);
        self.retried_at_ms = now_ms;
        if error.is_full()
            && let Err(error) = self.journal.tidy(now_ms, true)
        {
            tracing::debug!(%error, "a full disk could not be relieved");
        }
        let was_sound = self.progress.health() == Health::Sound;
        if was_sound {
            self.is_marked = false;
        }
        if !self.is_marked {
            match mark_unsound(&*self.fs) {
                Ok(()) => self.is_marked = true,
                Err(error) => tracing::debug!(%error, "the store could not be marked"),
            }
        }
        let sentence = error.to_string();
        let health = match (self.is_marked, error.is_full()) {
            (false, _) => Health::Dead(sentence),
            (true, true) => Health::Full(sentence),
            (true, false) => Health::Failing(sentence),
        };
        if was_sound {
            tracing::error!(%error, state = health.name(), "the disk does not keep what is written: the node goes on in memory");
        }
        self.progress.set_health(health);
    }

    fn publish(&mut self) {
        let progress = &self.progress;
        let durable = self.journal.durable();
        // SUBTLE: what lies in a hole counts as written, and so is sent, only once the store says that it may be missing.
        // Until then it waits, and fills the queue like what waits for a slow disk.
        let mut moved = false;
        if self.is_marked {
            moved = progress.written.swap(self.journal.written(), Ordering::AcqRel) != self.journal.written();
            progress.queued_bytes.fetch_sub(std::mem::take(&mut self.untold_bytes), Ordering::Relaxed);
        }
        let before = std::mem::replace(&mut *progress.durable.lock().unwrap_or_else(PoisonError::into_inner), durable);
        progress.given_up.store(self.journal.given_up(), Ordering::Relaxed);
        progress.journal_bytes.store(self.journal.bytes(), Ordering::Relaxed);
        if moved || before != durable {
            progress.tell();
        }
    }
}

/// What a node holds of its disk.
pub struct Disk {
    /// Gone only at the end.
    runner: Option<Runner>,
    progress: Arc<Progress>,
    position: u64,
}

enum Runner {
    Threads { commands: Sender<Command>, threads: Vec<JoinHandle<()>> },
    InPlace(Box<InPlace>),
}

/// A worker without threads.
struct InPlace {
    worker: DiskWorker,
    flushing: Option<(u64, SyncJob)>,
    flush_ms: Box<dyn Fn() -> u64 + Send>,
    now_ms: u64,
}

impl Disk {
    /// Runs the worker on threads of its own: one writes, one flushes. `wall_clock` gives Unix milliseconds.
    pub fn on_threads(worker: DiskWorker, wall_clock: Arc<dyn Fn() -> u64 + Send + Sync>) -> std::io::Result<Self> {
        let progress = Arc::clone(worker.progress());
        let position = worker.journal.next();
        let (commands, taken) = channel();
        let (jobs, flushes) = channel::<SyncJob>();
        let back = commands.clone();
        let flusher = std::thread::Builder::new().name("flush".to_owned()).spawn(move || {
            for job in flushes {
                let began = Instant::now();
                let outcome = job.run();
                if back.send(Command::Synced(outcome, began.elapsed())).is_err() {
                    break;
                }
            }
        })?;
        let (told, fs) = (Arc::clone(&progress), Arc::clone(&worker.fs));
        let writer = std::thread::Builder::new().name(JOURNAL_THREAD.to_owned()).spawn(move || {
            let end = catch_unwind(AssertUnwindSafe(|| run(worker, &taken, jobs, &*wall_clock)));
            if !matches!(end, Ok(Ok(()))) {
                told.lose(&*fs, &taken);
            }
        })?;
        let runner = Some(Runner::Threads { commands, threads: vec![writer, flusher] });
        Ok(Self { runner, progress, position })
    }

    /// Runs the worker in place, whenever [`Disk::poll`] is called. `flush_ms` says how long a flush takes.
    pub fn in_place(worker: DiskWorker, flush_ms: impl Fn() -> u64 + Send + 'static) -> Self {
        let progress = Arc::clone(worker.progress());
        let position = worker.journal.next();
        let in_place = InPlace { worker, flushing: None, flush_ms: Box::new(flush_ms), now_ms: 0 };
        Self { runner: Some(Runner::InPlace(Box::new(in_place))), progress, position }
    }

    /// How far it is.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The number of the next record.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether another record may be handed in now.
    pub fn has_room(&self) -> bool {
        self.progress.queued_bytes() < JOURNAL_QUEUE_BYTES_MAX
    }

    /// Hands a record in. Returns the number of the record after it: once that many are written, this one is.
    pub fn append(&mut self, record: Record) -> u64 {
        self.position += 1;
        if self.progress.is_lost() {
            self.progress.given_up.fetch_add(1, Ordering::Relaxed);
        } else {
            self.progress.queued_bytes.fetch_add(record.weight(), Ordering::Relaxed);
            self.command(Command::Append(record));
        }
        self.position
    }

    /// Tells the disk something.
    pub fn command(&mut self, command: Command) {
        match &mut self.runner {
            // If the thread is gone without having been told to, `Progress` says so.
            Some(Runner::Threads { commands, .. }) => drop(commands.send(command)),
            Some(Runner::InPlace(place)) => place.worker.take(command, place.now_ms),
            None => {}
        }
    }

    /// In place: does what is due. Returns in how many milliseconds there is more to do.
    pub fn poll(&mut self, now_ms: u64) -> Option<u64> {
        let Some(Runner::InPlace(place)) = &mut self.runner else { return None };
        place.now_ms = now_ms;
        loop {
            if let Some((_, job)) = place.flushing.take_if(|(due, _)| *due <= now_ms) {
                place.worker.take(Command::Synced(job.run(), Duration::ZERO), now_ms);
            }
            match place.worker.work(now_ms) {
                Some(job) => place.flushing = Some((now_ms + (place.flush_ms)(), job)),
                None => break,
            }
        }
        let flush = place.flushing.as_ref().map(|(due, _)| due.saturating_sub(now_ms));
        place.worker.due_in_ms(now_ms).into_iter().chain(flush).min()
    }

    /// Writes and flushes everything, and ends. Takes as long as the disk takes.
    pub fn stop(mut self, now_ms: u64) -> Arc<Progress> {
        self.command(Command::Stop);
        match self.runner.take() {
            None => {}
            Some(Runner::Threads { commands, threads }) => join(commands, threads),
            Some(Runner::InPlace(place)) => {
                let InPlace { mut worker, flushing, .. } = *place;
                let mut job = flushing.map(|(_, job)| job).or_else(|| worker.work(now_ms));
                while let Some(running) = job.take() {
                    worker.take(Command::Synced(running.run(), Duration::ZERO), now_ms);
                    job = worker.work(now_ms);
                }
            }
        }
        Arc::clone(&self.progress)
    }
}

impl Drop for Disk {
    /// Threads write what they were given and end, so that nobody else writes into the directory later. In place the
    /// process just dies.
    fn drop(&mut self) {
        if let Some(Runner::Threads { commands, threads }) = self.runner.take() {
            // It ends by this, or has ended.
            let _ = commands.send(Command::Stop);
            join(commands, threads);
        }
    }
}

fn join(commands: Sender<Command>, threads: Vec<JoinHandle<()>>) {
    drop(commands);
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the disk had panicked");
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("position", &self.position)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// The thread that writes.
///
/// SUBTLE: whichever way it ends, `jobs` ends with it, and so does the thread that flushes, which could hand in commands.
fn run(
    mut worker: DiskWorker,
    commands: &Receiver<Command>,
    jobs: Sender<SyncJob>,
    wall_clock: &dyn Fn() -> u64,
) -> Result<(), FlusherGone> {
    loop {
        let due = worker.due_in_ms(wall_clock()).map_or(IDLE, Duration::from_millis);
        let first = match commands.recv_timeout(due) {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                worker.stopping = true;
                None
            }
        };
        // Any of them may write, and take long: each has its own beginning.
        first.into_iter().for_each(|command| worker.take(command, wall_clock()));
        while let Ok(command) = commands.try_recv() {
            worker.take(command, wall_clock());
        }
        if let Some(job) = worker.work(wall_clock()) {
            jobs.send(job).map_err(|_| FlusherGone)?;
        }
        if worker.is_done() {
            return Ok(());
        }
    }
}

/// The thread that flushes has ended.
struct FlusherGone;

/// Waits so long with nothing to write to. Whether the node has ended meanwhile.
fn is_ended_within(commands: &Receiver<Command>, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    loop {
        match commands.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// The name of the thread that writes.
const JOURNAL_THREAD: &str = "journal";

/// Between two flushes of the policy `everysec`.
const FLUSH_MS: u64 = 1_000;
/// How long the thread sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;

//! What a node does with its disk: it keeps every batch before it is sent or applied, takes checkpoints, and reads both
//! again at its next start.
//!
//! The files are the `storage` crate's, the keys the `keyspace` crate's; here they meet. `peers` owns a [`Persistence`]
//! and decides with it when something may be sent.

mod background;
pub mod backup;
mod checkpoints;
mod reading;
mod recovery;
mod room;
mod verify;
mod walk;

pub use verify::{BackupFacts, CheckError, StoreReport, check_store};

pub(crate) use background::{Done, ReadBack, Task};
pub(crate) use checkpoints::{CheckpointState, Hindrance};
pub(crate) use reading::{Loaded, Reading};
pub(crate) use recovery::{Recovery, encode_tails, scan};
pub(crate) use walk::{Walk, group_of};

use crate::config::Config;
use crate::durability::Durability;
use background::Background;
use checkpoints::Checkpoints;
use keyspace::Keyspace;
use std::sync::Arc;
use storage::limits::STALL_MS_MAX;
use storage::{
    Command, Disk, DiskWorker, FlushPolicy, Fs, Health, JournalReader, JournalSettings, Progress, Record, Store,
    StoreError,
};

/// Where a node keeps what it has, and who does the work.
#[derive(Clone)]
pub struct StoreSetup {
    /// The directory.
    pub fs: Arc<dyn Fs>,
    /// Threads that load images at the start; none to do everything in place, as in a simulation.
    pub threads: Option<usize>,
    /// Milliseconds that a flush takes, if everything is done in place.
    pub flush_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// The directory of a node's store, in the node's directory.
pub const STORE_DIRECTORY: &str = "store";

impl StoreSetup {
    /// On the real disk.
    pub fn on_disk(fs: Arc<dyn Fs>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { fs, threads: Some(threads), flush_ms: Arc::new(|| 0) }
    }
}

impl std::fmt::Debug for StoreSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSetup").field("fs", &self.fs).field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// A running store.
pub(crate) struct Persistence {
    pub disk: Disk,
    pub background: Background,
    pub checkpoints: Checkpoints,
    /// Reads the journal back for peers.
    pub reader: JournalReader,
    fs: Arc<dyn Fs>,
    /// Defects in the background that were met before the last checkpoint was finished.
    panics_before: u64,
}

impl Persistence {
    /// Begins to keep what the node does.
    pub(crate) fn begin(
        store: Store,
        setup: &StoreSetup,
        config: &Config,
        keyspace: &Arc<Keyspace>,
        wall_clock: Arc<dyn Fn() -> u64 + Send + Sync>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self, std::io::Error> {
        let Store { fs, owner, journal, reader, manifest, life, fault } = store;
        let checkpoints = Checkpoints::new(manifest, owner, wall_clock());
        let mut worker = DiskWorker::new(Arc::clone(&fs), life, journal, flush_policy(config));
        if let Some(fault) = &fault {
            worker.note_fault(fault, wall_clock());
        }
        worker.progress().observe(Arc::clone(&wake));
        let reading = reader.clone();
        let (disk, background) = match setup.threads {
            Some(_) => {
                (Disk::on_threads(worker, wall_clock)?, Background::on_thread(Arc::clone(keyspace), reading, wake)?)
            }
            None => {
                let flush_ms = Arc::clone(&setup.flush_ms);
                let disk = Disk::in_place(worker, move || flush_ms());
                (disk, Background::in_place(Arc::clone(keyspace), reading))
            }
        };
        Ok(Self { disk, background, checkpoints, reader, fs, panics_before: 0 })
    }

    /// How far the disk is.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        self.disk.progress()
    }

    /// Hands a record to the disk; returns the number of the record after it.
    pub(crate) fn keep(&mut self, record: Record) -> u64 {
        self.disk.append(record)
    }

    /// The directory.
    pub(crate) fn fs(&self) -> Arc<dyn Fs> {
        Arc::clone(&self.fs)
    }

    /// A checkpoint is finished: the thread that takes them works.
    pub(crate) fn note_sound_checkpoint(&mut self) {
        self.panics_before = self.background.panics();
    }

    /// How the disk is, and those who take checkpoints.
    fn health(&self) -> Health {
        match self.progress().health() {
            Health::Sound if self.background.panics() > self.panics_before => {
                Health::Failing(StoreError::Panicked(background::THREAD).to_string())
            }
            health => health,
        }
    }

    /// Follows the settings.
    pub(crate) fn set_config(&mut self, config: &Config) {
        self.disk.command(Command::Policy(flush_policy(config)));
        self.disk.command(Command::Settings(journal_settings(config)));
    }

    /// Writes down how the disk fares.
    pub(crate) fn describe(&mut self, durability: &Durability, changes_made: u64, now_ms: u64) {
        use std::sync::atomic::Ordering::Relaxed;
        let space = self.fs.space().unwrap_or_default();
        self.checkpoints.note_space(space);
        let progress = self.progress();
        let stalled_ms = progress.stalled_ms(now_ms);
        durability.change_state(|state| {
            state.health = self.health();
            state.panics = progress.panics.load(Relaxed) + self.background.panics();
            state.journal_bytes = progress.journal_bytes.load(Relaxed);
            state.queued_bytes = progress.queued_bytes();
            state.appended_bytes = progress.appended_bytes.load(Relaxed);
            state.given_up = progress.given_up.load(Relaxed);
            state.flushes = progress.syncs.load(Relaxed);
            state.flush_us_last = progress.sync_us_last.load(Relaxed);
            state.flush_us_max = progress.sync_us_max.load(Relaxed);
            state.space_bytes = space;
            state.is_flushing = progress.is_flushing();
            let (was_stalled, is_stalled) = (state.stalled_ms >= STALL_MS_MAX, stalled_ms >= STALL_MS_MAX);
            if is_stalled && !was_stalled {
                state.stalls += 1;
                tracing::warn!(
                    stalled_ms,
                    "the disk does not finish a write or flush: what is written now is not durable"
                );
            }
            if was_stalled && !is_stalled {
                tracing::info!(for_ms = state.stalled_ms, "the disk goes on");
            }
            state.stalled_ms = stalled_ms;
            self.checkpoints.describe(state, changes_made);
            state.checkpoint_groups = self.background.groups();
            state.uncovered_bytes = self.checkpoints.uncovered_bytes(state.appended_bytes);
        });
    }
}

/// Whether replies wait until their changes are durable.
pub(crate) fn replies_wait(config: &Config) -> bool {
    is_on(config) && config.appendfsync == "always"
}

/// Whether anything is kept on disk.
pub fn is_on(config: &Config) -> bool {
    config.persistence == "on"
}

pub(crate) fn flush_policy(config: &Config) -> FlushPolicy {
    match config.appendfsync.as_str() {
        "always" => FlushPolicy::Always,
        "no" => FlushPolicy::Never,
        _ => FlushPolicy::EverySecond,
    }
}

pub(crate) fn journal_settings(config: &Config) -> JournalSettings {
    JournalSettings {
        retain_bytes: config.journal_retain_bytes,
        retain_ms: u64::try_from(config.journal_retain.as_millis()).unwrap_or(u64::MAX),
        ..JournalSettings::default()
    }
}

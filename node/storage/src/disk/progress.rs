//! How far the disk is and how it fares: written by its threads, read by any.

use super::{Command, JOURNAL_THREAD, is_ended_within};
use crate::fs::{Fs, StoreError};
use crate::journal::Durable;
use crate::limits::RETRY_MS;
use crate::store::mark_unsound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How the disk is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Health {
    /// Everything is kept.
    #[default]
    Sound,
    /// There is no space. The node serves from memory; a checkpoint mends the store once there is space again.
    Full(String),
    /// Writing or flushing fails. The same holds.
    Failing(String),
    /// It fails so badly that the store could not even be marked: a restart may take it for whole. Writes are refused.
    Dead(String),
}

impl Health {
    /// A word for `INFO` and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sound => "ok",
            Self::Full(_) => "full",
            Self::Failing(_) => "failing",
            Self::Dead(_) => "dead",
        }
    }

    /// The sentence, if something is wrong.
    pub fn sentence(&self) -> Option<&str> {
        match self {
            Self::Sound => None,
            Self::Full(sentence) | Self::Failing(sentence) | Self::Dead(sentence) => Some(sentence),
        }
    }
}

/// How far the disk is; read by any thread.
#[derive(Default)]
pub struct Progress {
    pub(super) written: AtomicU64,
    pub(super) durable: Mutex<Durable>,
    /// The thread that writes is gone.
    is_lost: AtomicBool,
    pub(super) queued_bytes: AtomicU64,
    /// Since when a write or flush is under way, in the worker's milliseconds; 0 for none.
    pub(super) writing_since_ms: AtomicU64,
    pub(super) flushing_since_ms: AtomicU64,
    health: Mutex<Health>,
    pub(super) can_heal: AtomicBool,
    /// Bytes of all segments.
    pub journal_bytes: AtomicU64,
    /// Bytes of records taken in since the start.
    pub appended_bytes: AtomicU64,
    /// Flushes that were carried out.
    pub syncs: AtomicU64,
    /// Microseconds of the longest flush.
    pub sync_us_max: AtomicU64,
    /// Microseconds of the last flush.
    pub sync_us_last: AtomicU64,
    /// Microseconds of the longest flush since somebody took this number.
    pub sync_us_peak: AtomicU64,
    /// Microseconds of the longest write since somebody took this number.
    pub write_us_peak: AtomicU64,
    /// Writes and flushes that failed.
    pub failures: AtomicU64,
    /// Records that were given up.
    pub given_up: AtomicU64,
    /// Threads of the disk that met a defect of the program's.
    pub panics: AtomicU64,
    observer: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    /// Counts changes, for those who wait for one.
    changes: Mutex<u64>,
    changed: Condvar,
}

impl Progress {
    /// Records before this one are in files, or were given up and the store is marked.
    pub fn written(&self) -> u64 {
        if self.is_lost() { u64::MAX } else { self.written.load(Ordering::Acquire) }
    }

    /// Whether the thread that writes is gone: everything is given up from here on.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// Records that are certainly on the disk.
    pub fn durable(&self) -> Durable {
        if self.is_lost() {
            return Durable { from: u64::MAX, to: u64::MAX };
        }
        *self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long the disk has worked on one write or flush that it has not finished, by the worker's clock.
    pub fn stalled_ms(&self, now_ms: u64) -> u64 {
        let since = [&self.writing_since_ms, &self.flushing_since_ms].map(|since| since.load(Ordering::Relaxed));
        let longest = since.into_iter().filter(|&since| since > 0).min();
        longest.map_or(0, |since| now_ms.saturating_sub(since))
    }

    /// Whether a flush is under way.
    pub fn is_flushing(&self) -> bool {
        self.flushing_since_ms.load(Ordering::Relaxed) > 0
    }

    /// Bytes of records that wait to be written, or to be given up.
    pub fn queued_bytes(&self) -> u64 {
        if self.is_lost() { 0 } else { self.queued_bytes.load(Ordering::Relaxed) }
    }

    /// How the disk is.
    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a checkpoint is all that is missing for the store to be whole again.
    pub fn can_heal(&self) -> bool {
        self.can_heal.load(Ordering::Relaxed)
    }

    /// Calls `observe` whenever anything of this has changed.
    pub fn observe(&self, observe: Arc<dyn Fn() + Send + Sync>) {
        *self.observer.lock().unwrap_or_else(PoisonError::into_inner) = Some(observe);
    }

    /// Waits until `look` finds something, which is asked whenever anything of this has changed. Nothing if it has not by
    /// `until`.
    pub fn wait<T>(&self, until: Instant, look: impl Fn(&Self) -> Option<T>) -> Option<T> {
        loop {
            let before = *self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = look(self) {
                return Some(found);
            }
            let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            while *changes == before {
                let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
                changes = self.changed.wait_timeout(changes, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    pub(super) fn set_health(&self, health: Health) {
        let before =
            std::mem::replace(&mut *self.health.lock().unwrap_or_else(PoisonError::into_inner), health.clone());
        if before != health {
            self.tell();
        }
    }

    /// The thread that writes has ended and was not told to. The node goes on in memory, as with a disk that fails, until
    /// it is restarted. This waits until the store is marked, and ends without if the node does.
    pub(super) fn lose(&self, fs: &dyn Fs, commands: &Receiver<Command>) {
        let error = StoreError::Panicked(JOURNAL_THREAD);
        let sentence = format!("{error}; restart the node");
        self.panics.fetch_add(1, Ordering::Relaxed);
        self.can_heal.store(false, Ordering::Relaxed);
        // Nobody is left who would say that it has ended.
        [&self.writing_since_ms, &self.flushing_since_ms].iter().for_each(|since| since.store(0, Ordering::Relaxed));
        tracing::error!(%error, "the thread that writes the journal has ended: the node goes on in memory until it is restarted");
        // SUBTLE: marked before anything counts as written, and so is sent, that is in no file.
        while let Err(error) = mark_unsound(fs) {
            tracing::debug!(%error, "the store could not be marked");
            self.set_health(Health::Dead(sentence.clone()));
            if is_ended_within(commands, Duration::from_millis(RETRY_MS)) {
                return;
            }
        }
        self.set_health(Health::Failing(sentence));
        self.is_lost.store(true, Ordering::Release);
        self.tell();
    }

    pub(super) fn tell(&self) {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
        let observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(observe) = observer {
            observe();
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("written", &self.written())
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}

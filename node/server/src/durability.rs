//! What commands and connections know of the disk: whether replies wait for it, how far it is, how it fares.
//!
//! A plain meeting place: the thread of the peers writes it, workers read it. Looking at it costs a worker one load.

use crdt::{Stamp, UnixMillis};
use parking_lot::Mutex;
use resp::Reply;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use storage::Health;
use tokio::sync::Notify;

/// The disk, as commands know it.
#[derive(Default)]
pub struct Durability {
    is_on: AtomicBool,
    replies_wait: AtomicBool,
    is_broken: AtomicBool,
    /// Own changes up to this stamp are on the disk.
    durable: AtomicU64,
    moved: Notify,
    save_wanted: AtomicBool,
    /// Checkpoints that have ended, and whether the last one failed.
    ended: Mutex<(u64, bool)>,
    state: Mutex<DiskState>,
    wake: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

/// How the disk fares, for `INFO` and metrics.
#[derive(Debug, Clone, Default)]
pub struct DiskState {
    /// How it is.
    pub health: Health,
    /// Bytes of the journal's files.
    pub journal_bytes: u64,
    /// Of these, written since the last checkpoint began.
    pub uncovered_bytes: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: u64,
    /// Bytes taken in since the start.
    pub appended_bytes: u64,
    /// Records that could not be written.
    pub given_up: u64,
    /// Threads of the store that met a defect of the program's.
    pub panics: u64,
    /// Flushes so far.
    pub flushes: u64,
    /// Microseconds of the last flush.
    pub flush_us_last: u64,
    /// Microseconds of the longest flush.
    pub flush_us_max: u64,
    /// Bytes of the last checkpoint's images.
    pub checkpoint_bytes: u64,
    /// Bytes that checkpoints have written since the start.
    pub checkpoint_bytes_written: u64,
    /// Checkpoints finished since the start.
    pub checkpoints: u64,
    /// Whether the last one that ended could not be finished.
    pub checkpoint_failed: bool,
    /// How many in a row could not.
    pub checkpoint_failures: u64,
    /// Bytes that the disk lacked for the last one, which was not begun; 0 if that is not why.
    pub checkpoint_lacks_bytes: u64,
    /// When the last one was finished, in Unix milliseconds; 0 for never.
    pub checkpoint_finished_ms: UnixMillis,
    /// How long it took.
    pub checkpoint_took_ms: u64,
    /// Since when one runs.
    pub checkpoint_since_ms: Option<UnixMillis>,
    /// Groups of slots that the running one has done.
    pub checkpoint_groups: u64,
    /// Changes made here since the last one began.
    pub changes_since_checkpoint: u64,
    /// What is being read at the start.
    pub loading: Option<LoadingState>,
    /// Keys that the start has read.
    pub keys_loaded: u64,
    /// Damage that the last start has found.
    pub problems: u64,
    /// Bytes that may still be written to the disk.
    pub space_bytes: u64,
    /// Whether a flush is under way.
    pub is_flushing: bool,
    /// For how long the disk has worked on one write or flush that it has not finished.
    pub stalled_ms: u64,
    /// Writes and flushes that took longer than they may.
    pub stalls: u64,
}

/// How far the start is with reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadingState {
    /// When it began, in Unix milliseconds.
    pub since_ms: UnixMillis,
    /// Bytes to be read.
    pub bytes: u64,
    /// Bytes read.
    pub bytes_done: u64,
}

/// What a client waits for before its last command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That a checkpoint ends after so many others.
    Checkpoint {
        /// How many had ended before.
        before: u64,
    },
}

impl Wish {
    /// Answers who wished it.
    pub fn answer(self, is_granted: bool, reply: &mut Reply) {
        match (self, is_granted) {
            (Self::Checkpoint { .. }, true) => reply.ok(),
            (Self::Checkpoint { .. }, false) => {
                reply.error("ERR the checkpoint could not be written; the log and INFO persistence say why");
            }
        }
    }
}

/// Writes cannot be made durable. The client hangs in the air: what it wrote is in memory and nowhere else for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk fails: what was written is in memory, and is not durable")]
pub struct NotDurable;

impl std::fmt::Debug for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Durability")
            .field("is_on", &self.is_on())
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}

impl Durability {
    /// Whether anything is kept on disk.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether replies wait until their changes are durable.
    #[inline]
    pub fn replies_wait(&self) -> bool {
        self.replies_wait.load(Ordering::Relaxed)
    }

    /// Says what is kept, and whether replies wait for it.
    pub fn set_policy(&self, is_on: bool, replies_wait: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
        self.replies_wait.store(is_on && replies_wait, Ordering::Relaxed);
        self.moved.notify_waiters();
    }

    /// Own changes up to this stamp are durable.
    pub fn note_durable(&self, up_to: Stamp) {
        if self.durable.fetch_max(up_to.bits(), Ordering::AcqRel) < up_to.bits() {
            self.moved.notify_waiters();
        }
    }

    /// Says whether what is written now can become durable.
    pub fn set_broken(&self, is_broken: bool) {
        if self.is_broken.swap(is_broken, Ordering::AcqRel) != is_broken {
            self.moved.notify_waiters();
        }
    }

    /// Up to where own changes are durable.
    pub fn durable(&self) -> Stamp {
        Stamp::from_bits(self.durable.load(Ordering::Acquire))
    }

    /// Waits until own changes up to `stamp` are durable.
    pub async fn reaches(&self, stamp: Stamp) -> Result<(), NotDurable> {
        loop {
            let mut moved = pin!(self.moved.notified());
            // From here on no move is missed.
            moved.as_mut().enable();
            if self.durable() >= stamp {
                return Ok(());
            }
            if self.is_broken.load(Ordering::Acquire) || !self.is_on() {
                return Err(NotDurable);
            }
            moved.await;
        }
    }

    /// Waits until a wish is granted, or cannot be.
    pub async fn grant(&self, wish: Wish) -> bool {
        match wish {
            Wish::Checkpoint { before } => self.checkpoint_ends(before).await,
        }
    }

    /// Checkpoints that have ended, well or not.
    pub fn checkpoints_ended(&self) -> u64 {
        self.ended.lock().0
    }

    /// Waits until more than so many checkpoints have ended. False if the last one has failed.
    pub async fn checkpoint_ends(&self, before: u64) -> bool {
        loop {
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            let (ended, failed) = *self.ended.lock();
            if ended > before {
                return !failed;
            }
            moved.await;
        }
    }

    /// How the disk fares.
    pub fn state(&self) -> DiskState {
        self.state.lock().clone()
    }

    /// Changes what is known of how it fares.
    pub fn change_state(&self, change: impl FnOnce(&mut DiskState)) {
        change(&mut self.state.lock());
    }

    /// Notes that a start has read so many bytes.
    pub fn note_loaded(&self, bytes: u64) {
        self.change_state(|state| state.loading.iter_mut().for_each(|loading| loading.bytes_done += bytes));
    }

    /// Tells those who wait for a checkpoint that one has ended.
    pub fn note_checkpoint(&self, failed: bool) {
        {
            let mut ended = self.ended.lock();
            *ended = (ended.0 + 1, failed);
        }
        self.moved.notify_waiters();
    }

    /// Says how to wake the thread that carries wishes out.
    pub fn on_wish(&self, wake: impl Fn() + Send + Sync + 'static) {
        *self.wake.lock() = Some(Box::new(wake));
    }

    /// Wishes a checkpoint. False if one runs already.
    pub fn wish_checkpoint(&self) -> bool {
        if self.state.lock().checkpoint_since_ms.is_some() || self.save_wanted.swap(true, Ordering::AcqRel) {
            return false;
        }
        if let Some(wake) = &*self.wake.lock() {
            wake();
        }
        true
    }

    /// Wishes a checkpoint that begins after this, even if one runs.
    pub fn wish_next_checkpoint(&self) {
        if !self.save_wanted.swap(true, Ordering::AcqRel)
            && let Some(wake) = &*self.wake.lock()
        {
            wake();
        }
    }

    /// Takes the wish for a checkpoint.
    pub fn take_wish(&self) -> bool {
        self.save_wanted.swap(false, Ordering::AcqRel)
    }

    /// Whether a checkpoint is wished and has not begun.
    pub fn is_wished(&self) -> bool {
        self.save_wanted.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_stamp_is_woken_when_it_is_durable_or_never_will_be() {
        let disk = std::sync::Arc::new(Durability::default());
        disk.set_policy(true, true);
        disk.note_durable(Stamp::from_bits(5));
        assert_eq!(disk.reaches(Stamp::from_bits(5)).await, Ok(()));
        let later = disk.clone();
        let waiting = tokio::spawn(async move { later.reaches(Stamp::from_bits(6)).await });
        tokio::task::yield_now().await;
        disk.note_durable(Stamp::from_bits(9));
        assert_eq!(waiting.await.unwrap(), Ok(()));
        let later = disk.clone();
        let waiting = tokio::spawn(async move { later.reaches(Stamp::from_bits(10)).await });
        tokio::task::yield_now().await;
        disk.set_broken(true);
        assert_eq!(waiting.await.unwrap(), Err(NotDurable));
    }

    #[test]
    fn a_wish_for_a_checkpoint_is_granted_once() {
        let disk = Durability::default();
        assert!(disk.wish_checkpoint() && !disk.wish_checkpoint());
        assert!(disk.take_wish() && !disk.take_wish());
        disk.change_state(|state| state.checkpoint_since_ms = Some(1));
        assert!(!disk.wish_checkpoint());
    }
}

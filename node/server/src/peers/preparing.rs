//! Large batches are made ready before they are applied: unpacked, read, and what their large changes put built beside the
//! keyspace. A collection of millions of elements takes seconds, in which the thread of the peers has links, own batches and
//! the disk to serve; so it is done beside it. Meanwhile the batch is put aside, and with it what builds on it.
//!
//! One batch is prepared at a time. What cannot be prepared is applied as it came.

use super::Peers;
use crdt::Stamp;
use keyspace::{Keyspace, Prepared};
use protocol::Batch;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Batches of so many bytes before compression are prepared: they hold a large change or a large transaction, since others
/// are closed before. Builds for tests prepare smaller ones.
const PREPARED_BYTES_MIN: usize = if cfg!(debug_assertions) { 4 << 10 } else { 1 << 20 };

/// The thread works for so long without a pause, and pauses for so long: whoever shares the core is not kept waiting.
const WORK_MAX: Duration = Duration::from_micros(250);
const STEP_PAUSE: Duration = Duration::from_micros(100);

/// Where large batches are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// On a thread of its own for each.
    Beside,
    /// Where they are applied, those of so many bytes and more, and they are ready after this time: for simulations, which
    /// have one thread.
    After {
        /// Until it is ready.
        time: Duration,
        /// What is large: bytes of a batch before compression.
        bytes_min: usize,
    },
}

impl Preparation {
    /// Batches of so many bytes before compression are prepared.
    fn bytes_min(self) -> usize {
        match self {
            Self::Beside => PREPARED_BYTES_MIN,
            Self::After { bytes_min, .. } => bytes_min,
        }
    }
}

/// Ready to be applied, or why it never will be.
type Outcome = Result<Prepared, String>;

/// A batch that is being prepared.
struct Preparing {
    /// The last stamp of the batch.
    last: Stamp,
    comes: Receiver<Outcome>,
    not_before: Instant,
    /// What came.
    came: Option<Came>,
    /// It was ready before, and waits for the end of a move.
    is_put_back: bool,
}

/// What came of preparing a batch.
enum Came {
    Ready(Outcome),
    /// Nothing: the thread is not there, or failed.
    Nothing,
}

/// What is prepared of what is put aside.
pub(super) struct Preparations {
    place: Preparation,
    preparing: Option<Preparing>,
}

/// How far a batch is.
pub(super) enum Readiness {
    /// It is put aside until it is prepared.
    Later,
    /// It was prepared, if it can be read.
    Ready(Outcome),
    /// It is applied as it came.
    AsItIs,
}

impl Preparations {
    pub(super) fn new(place: Preparation) -> Self {
        Self { place, preparing: None }
    }

    /// Whether what is being prepared is ready; nothing if nothing is, or if it waits for something else.
    pub(super) fn is_ready(&mut self) -> Option<bool> {
        let preparing = self.preparing.as_mut().filter(|preparing| !preparing.is_put_back)?;
        Some(preparing.has_come())
    }

    /// It is prepared, and could not be applied yet: a key of it is being moved.
    pub(super) fn put_back(&mut self, last: Stamp, prepared: Prepared) {
        let (_, comes) = channel();
        let came = Some(Came::Ready(Ok(prepared)));
        self.preparing = Some(Preparing { last, comes, not_before: Instant::now(), came, is_put_back: true });
    }

    /// The batch will not be applied.
    pub(super) fn forget(&mut self, last: Stamp) {
        self.preparing.take_if(|preparing| preparing.last == last);
    }

    /// None of what is being prepared will be applied.
    pub(super) fn forget_all(&mut self) {
        self.preparing = None;
    }

    /// What is being prepared is ready.
    #[cfg(test)]
    pub(super) fn hasten(&mut self) {
        if let Some(preparing) = &mut self.preparing {
            preparing.not_before = Instant::now();
        }
    }

    /// What came of a batch, if it was being prepared. It is not any more if something came.
    fn take(&mut self, last: Stamp) -> Option<Option<Came>> {
        let preparing = self.preparing.as_mut().filter(|preparing| preparing.last == last)?;
        if !preparing.has_come() {
            return Some(None);
        }
        self.preparing.take().map(|preparing| preparing.came)
    }
}

impl Preparing {
    fn has_come(&mut self) -> bool {
        if self.came.is_none() {
            self.came = match self.comes.try_recv() {
                Ok(outcome) => Some(Came::Ready(outcome)),
                Err(TryRecvError::Disconnected) => Some(Came::Nothing),
                Err(TryRecvError::Empty) => None,
            };
        }
        self.came.is_some() && self.not_before <= Instant::now()
    }
}

impl Peers {
    /// How far a batch is that is to be applied now. Preparing it begins if it has to be prepared and nothing else is.
    pub(super) fn readiness(&mut self, batch: &Arc<Batch>) -> Readiness {
        if batch.raw_len < self.keeping.preparations.place.bytes_min() {
            return Readiness::AsItIs;
        }
        let preparations = &mut self.keeping.preparations;
        match preparations.take(batch.last) {
            Some(None) => Readiness::Later,
            Some(Some(Came::Ready(outcome))) => Readiness::Ready(outcome),
            Some(Some(Came::Nothing)) => Readiness::AsItIs,
            None if preparations.preparing.is_some() => Readiness::Later,
            None => self.begin_preparing(batch),
        }
    }

    fn begin_preparing(&mut self, batch: &Arc<Batch>) -> Readiness {
        let (sends, comes) = channel();
        let mut not_before = Instant::now();
        match self.keeping.preparations.place {
            Preparation::After { time, .. } => {
                not_before += time;
                // The other end is here.
                let _ = sends.send(prepare(&self.node.keyspace, batch, &mut || ()));
            }
            Preparation::Beside => {
                let (keyspace, batch, wake) =
                    (Arc::downgrade(&self.node.keyspace), Arc::clone(batch), self.keeping.wake());
                let body = move || {
                    prepare_beside(&keyspace, &batch, sends);
                    wake();
                };
                if let Err(error) = std::thread::Builder::new().name("prepare".to_owned()).spawn(body) {
                    tracing::warn!(%error, "there is no thread for a large batch: links wait until it is applied");
                    return Readiness::AsItIs;
                }
            }
        }
        self.node.console.metrics.replication.batches_prepared.increment();
        self.keeping.preparations.preparing =
            Some(Preparing { last: batch.last, comes, not_before, came: None, is_put_back: false });
        Readiness::Later
    }
}

fn prepare(keyspace: &Keyspace, batch: &Batch, pause: &mut dyn FnMut()) -> Outcome {
    let raw = batch.open().map_err(|error| error.to_string())?;
    keyspace.prepare(batch.origin, batch.previous.last, raw, pause).map_err(|error| error.to_string())
}

fn prepare_beside(keyspace: &Weak<Keyspace>, batch: &Batch, sends: Sender<Outcome>) {
    let Some(keyspace) = keyspace.upgrade() else { return };
    let mut rested = std::time::Instant::now();
    let mut pause = || {
        if rested.elapsed() >= WORK_MAX {
            std::thread::park_timeout(STEP_PAUSE);
            rested = std::time::Instant::now();
        }
    };
    match catch_unwind(AssertUnwindSafe(|| prepare(&keyspace, batch, &mut pause))) {
        // Nobody waits for it if the node has stopped.
        Ok(outcome) => drop(sends.send(outcome)),
        Err(_) => tracing::error!("a large batch could not be prepared: a defect; it is applied as it came"),
    }
}

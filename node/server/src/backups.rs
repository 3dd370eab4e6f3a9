//! Backups: cuts of the node's store that operators read over the Redis port while the node serves.
//!
//! A thread of its own does everything that touches the disk, one request after the other, so that neither clients nor
//! replication wait for it. A backup has a lease that every read renews: files are kept for it ([`storage::Pins`]), and
//! whoever stops reading must not fill the disk. What is copied and where to is the reader's business (`pelago backup`).

mod table;

use crate::limits::{BACKUP_CHUNK_BYTES_MAX, BACKUP_FLUSH_TIME_MAX};
use crate::peers::ControlReply;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use storage::{Cut, CutError, Health, Pin, Pins, Progress, StoreOwner};
use table::{Ended, Table};
use tokio::sync::oneshot;
use transport::Random;
use xxhash_rust::xxh3::xxh3_64;

/// The answer to a read: bytes, nothing if the asker has these bytes already, or one plain sentence.
pub type ChunkReply = Result<Option<Vec<u8>>, String>;

/// The backups of a node.
#[derive(Default)]
pub struct Backups {
    shared: Arc<Shared>,
    jobs: Mutex<Option<Sender<Job>>>,
}

/// What is counted of backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupFigures {
    /// Those that are read now.
    pub running: u64,
    /// Those that were begun.
    pub begun: u64,
    /// Those that were refused because as many as may run did.
    pub refused: u64,
    /// Those that ended because nobody read them any more, or the disk was full.
    pub cut_short: u64,
    /// Bytes that were read for them.
    pub bytes_read: u64,
    /// Bytes of files that are kept for them alone.
    pub kept_bytes: u64,
}

/// The beginning of a backup: where its cut is to be.
pub(crate) struct Beginning {
    /// Every record before this one is in the cut. It may reach further.
    pub position: u64,
    /// How far the disk is; a flush is under way.
    pub progress: Arc<Progress>,
    /// How long the backup lives without a read.
    pub lease: Duration,
    /// What is told of the cut, as a JSON object; the token and the files are added.
    pub facts: Value,
}

/// What is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkWish {
    pub token: String,
    pub name: String,
    pub offset: u64,
    pub bytes_max: usize,
    /// The checksum of what the asker has already.
    pub unless: Option<u64>,
}

enum Job {
    Begin(Beginning, oneshot::Sender<ControlReply>),
    Read(ChunkWish, oneshot::Sender<ChunkReply>),
    End(String, oneshot::Sender<ControlReply>),
}

#[derive(Default)]
struct Shared {
    store: Mutex<Option<(Pins, StoreOwner)>>,
    table: Mutex<Table<Arc<Open>>>,
    begun: AtomicU64,
    refused: AtomicU64,
    cut_short: AtomicU64,
    bytes_read: AtomicU64,
}

/// A backup that is read.
struct Open {
    cut: Cut,
    progress: Arc<Progress>,
    _pin: Pin,
}

const GONE: &str = "there is no such backup: it has ended, nobody read it for its time, or the disk was full; begin again, what was copied is not copied twice";
const NO_THREAD: &str = "the system gives the node no thread for backups";

impl Backups {
    /// Says where the store is.
    pub(crate) fn set_store(&self, pins: Pins, owner: StoreOwner) {
        *self.shared.store.lock() = Some((pins, owner));
    }

    /// Begins a backup, as soon as the disk is so far. The answer is JSON.
    pub(crate) fn begin(&self, beginning: Beginning, answer: oneshot::Sender<ControlReply>) {
        self.hand_in(Job::Begin(beginning, answer));
    }

    /// Reads a piece of a file.
    pub(crate) fn read(&self, wish: ChunkWish) -> oneshot::Receiver<ChunkReply> {
        let (answer, answered) = oneshot::channel();
        self.hand_in(Job::Read(wish, answer));
        answered
    }

    /// Ends a backup: its files may go.
    pub(crate) fn end(&self, token: String) -> oneshot::Receiver<ControlReply> {
        let (answer, answered) = oneshot::channel();
        self.hand_in(Job::End(token, answer));
        answered
    }

    /// What is counted.
    pub fn figures(&self) -> BackupFigures {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let shared = &self.shared;
        let pins = shared.store.lock().as_ref().map(|(pins, _)| pins.clone());
        BackupFigures {
            running: shared.table.lock().len() as u64,
            begun: of(&shared.begun),
            refused: of(&shared.refused),
            cut_short: of(&shared.cut_short),
            bytes_read: of(&shared.bytes_read),
            kept_bytes: pins.map_or(0, |pins| pins.put_off_bytes()),
        }
    }

    fn hand_in(&self, job: Job) {
        let mut jobs = self.jobs.lock();
        let job = match jobs.take() {
            None => job,
            Some(sender) => match sender.send(job) {
                Ok(()) => {
                    *jobs = Some(sender);
                    return;
                }
                // The thread has met a defect: another one takes its place, and what was open is over.
                Err(back) => {
                    self.shared.table.lock().clear();
                    back.0
                }
            },
        };
        let (sender, receiver) = channel();
        let shared = Arc::clone(&self.shared);
        let started = std::thread::Builder::new().name("backup".to_owned()).spawn(move || serve(&shared, &receiver));
        match started {
            Ok(_) => {
                // It has just begun to take them.
                let _ = sender.send(job);
                *jobs = Some(sender);
            }
            Err(_) => job.refuse(NO_THREAD),
        }
    }
}

impl Job {
    /// Who asked may have gone.
    fn refuse(self, sentence: &str) {
        match self {
            Self::Begin(_, answer) | Self::End(_, answer) => drop(answer.send(Err(sentence.to_owned()))),
            Self::Read(_, answer) => drop(answer.send(Err(sentence.to_owned()))),
        }
    }
}

/// The thread: it ends with the node.
fn serve(shared: &Shared, jobs: &Receiver<Job>) {
    loop {
        let is_idle = shared.table.lock().len() == 0;
        let job = if is_idle {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(LOOK_INTERVAL)
        };
        shared.end_overdue(Instant::now());
        match job {
            Ok(Job::Begin(beginning, answer)) => drop(answer.send(shared.begin(beginning))),
            Ok(Job::Read(wish, answer)) => drop(answer.send(shared.read(&wish))),
            Ok(Job::End(token, answer)) => drop(answer.send(shared.end(&token))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Shared {
    fn begin(&self, beginning: Beginning) -> ControlReply {
        let Beginning { position, progress, lease, mut facts } = beginning;
        let store = self.store.lock().clone();
        let Some((pins, owner)) = store else { return Err("this node keeps nothing on disk".to_owned()) };
        if self.table.lock().is_full() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err("as many backups as may run at once run already; try again when one of them is done".to_owned());
        }
        wait_until_durable(&progress, position, Instant::now() + BACKUP_FLUSH_TIME_MAX)?;
        let (position, cut, pin) = pin_cut(&pins, owner, position, &progress).map_err(|error| error.to_string())?;
        let files: Vec<Value> = cut.files().map(|(name, bytes)| json!({ "name": name, "bytes": bytes })).collect();
        tracing::info!(files = files.len(), bytes = cut.bytes(), position, "a backup begins");
        let token = format!("{:016x}", Random::system().word());
        facts["position"] = position.into();
        facts["files"] = files.into();
        facts["token"] = token.clone().into();
        facts["checkpoint"] = cut.checkpoint.into();
        facts["lease_ms"] = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).into();
        facts["chunk_bytes_max"] = BACKUP_CHUNK_BYTES_MAX.into();
        self.begun.fetch_add(1, Ordering::Relaxed);
        let open = Arc::new(Open { cut, progress, _pin: pin });
        self.table.lock().begin(token, open, lease, Instant::now());
        Ok(facts.to_string())
    }

    fn read(&self, wish: &ChunkWish) -> ChunkReply {
        let open = self.table.lock().renew(&wish.token, Instant::now()).ok_or_else(|| GONE.to_owned())?;
        let store = self.store.lock().clone();
        let Some((pins, _)) = store else { return Err(GONE.to_owned()) };
        let bytes_max = wish.bytes_max.min(BACKUP_CHUNK_BYTES_MAX);
        let bytes = open.cut.read(&pins, &wish.name, wish.offset, bytes_max).map_err(|error| error.to_string())?;
        self.bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok((wish.unless != Some(xxh3_64(&bytes))).then_some(bytes))
    }

    fn end(&self, token: &str) -> ControlReply {
        // SUBTLE: files are removed when the last handle goes, and not under the lock.
        let ended = self.table.lock().end(token);
        ended.map(|_| json!({ "ended": true }).to_string()).ok_or_else(|| GONE.to_owned())
    }

    /// Ends backups that nobody reads any more, and all of them if the disk is full: what is kept for them may be what is
    /// missing.
    fn end_overdue(&self, now: Instant) {
        let mut table = self.table.lock();
        let is_full = table.any(|open| matches!(open.progress.health(), Health::Full(_)));
        let ended = if is_full { table.clear() } else { table.end_overdue(now) };
        drop(table);
        for Ended { token, .. } in &ended {
            let why = if is_full { "the disk is full" } else { "nobody has read it for its time" };
            tracing::warn!(token, why, "a backup was ended: its files are kept no longer");
        }
        self.cut_short.fetch_add(ended.len() as u64, Ordering::Relaxed);
    }
}

/// Chooses the cut at `position` or behind it, and pins it. Returns its position too.
fn pin_cut(pins: &Pins, owner: StoreOwner, position: u64, progress: &Progress) -> Result<(u64, Cut, Pin), CutError> {
    let choose = |fs: &dyn storage::Fs| {
        // SUBTLE: a checkpoint that was committed since the order has in its images what was written after it, and all of
        // that was durable before. None is committed here: its manifest could not be put in its place.
        let position = position.max(progress.durable().to);
        let chosen = Cut::choose(fs, owner, position)?;
        let pinned = chosen.pinned();
        Ok::<_, CutError>(((position, chosen), pinned))
    };
    let ((position, chosen), all) = pins.pin(choose)?;
    // Whoever removes a file does not wait while the journal is read.
    let cut = chosen.measure(pins)?;
    let ((), pin) = pins.pin(|_| Ok::<_, CutError>(((), cut.pinned())))?;
    drop(all);
    Ok((position, cut, pin))
}

/// Waits for the flush that is under way. A disk that does not keep everything has no cut to give.
fn wait_until_durable(progress: &Progress, position: u64, until: Instant) -> Result<(), String> {
    let outcome = progress.wait(until, |progress| {
        let durable = progress.durable();
        let health = progress.health();
        if let Some(sentence) = health.sentence() {
            return Some(Err(format!(
                "the node's disk does not keep everything now ({sentence}), so there is nothing whole to copy"
            )));
        }
        (durable.to >= position).then_some(Ok(()))
    });
    outcome.unwrap_or_else(|| Err("the disk did not flush in time; try again when it is less busy".to_owned()))
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backups").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

/// Between two looks at leases and at the disk.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;

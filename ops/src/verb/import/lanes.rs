//! Several connections to the target, each with a thread: pipelines of hundreds of requests go out on whichever is free.
//!
//! Keys of a file come once each, so their order does not matter; what does is that memory stays bounded and that it is
//! known up to which key everything has arrived.

use super::refusals::Refusals;
use crate::failure::{Failure, Result};
use crate::wire::Wire;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Requests that are sent together.
#[derive(Debug, Default)]
pub struct Batch {
    /// The database they are for.
    pub database: u32,
    /// The requests.
    pub requests: Vec<u8>,
    /// How many replies answer them.
    pub replies: u64,
    /// The last key of the source that is in it, or was skipped before it; they count from 1.
    pub last_key: u64,
}

/// The connections.
pub struct Lanes {
    sender: Option<SyncSender<(u64, Batch)>>,
    spare: Receiver<Vec<u8>>,
    threads: Vec<JoinHandle<Result<()>>>,
    shared: Arc<Shared>,
    sent: u64,
}

/// What the connections tell.
#[derive(Debug, Default)]
pub struct Shared {
    settled: Mutex<Settled>,
    /// What the target did not take.
    pub refusals: Mutex<Refusals>,
}

/// Batches that have arrived, as far as all before them have as well.
#[derive(Debug, Default)]
struct Settled {
    batches: u64,
    last_key: u64,
    /// Those that came before their turn.
    early: BTreeMap<u64, u64>,
}

impl Settled {
    fn note(&mut self, number: u64, last_key: u64) {
        self.early.insert(number, last_key);
        while let Some(last_key) = self.early.remove(&self.batches) {
            self.batches += 1;
            self.last_key = last_key;
        }
    }
}

impl Shared {
    /// The last key up to which everything has arrived.
    pub fn settled(&self) -> u64 {
        lock(&self.settled).last_key
    }
}

impl Lanes {
    /// Starts a thread for each connection.
    pub fn start(wires: Vec<Wire>) -> Result<Self> {
        let (sender, receiver) = sync_channel::<(u64, Batch)>(wires.len() * BATCHES_WAITING);
        let (give_back, spare) = sync_channel(wires.len() * (BATCHES_WAITING + 2));
        let receiver = Arc::new(Mutex::new(receiver));
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for wire in wires {
            let (receiver, give_back, shared) = (Arc::clone(&receiver), give_back.clone(), Arc::clone(&shared));
            let body = move || carry(wire, &receiver, &give_back, &shared);
            let thread = std::thread::Builder::new().name("lane".to_owned()).spawn(body);
            threads.push(thread.map_err(|error| Failure::System { doing: "start a thread", error })?);
        }
        Ok(Self { sender: Some(sender), spare, threads, shared, sent: 0 })
    }

    /// Sends a batch as soon as there is room, and gives back the memory of an earlier one.
    pub fn send(&mut self, batch: Batch) -> Result<Vec<u8>> {
        if self.is_broken() {
            return Err(self.end().err().unwrap_or_else(lost));
        }
        let number = self.sent;
        self.sent += 1;
        let sent = self.sender.as_ref().map(|sender| sender.send((number, batch)));
        if !matches!(sent, Some(Ok(()))) {
            // Every connection has ended: one of them says why.
            return Err(self.end().err().unwrap_or_else(lost));
        }
        match self.spare.try_recv() {
            Ok(spare) => Ok(spare),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(Vec::new()),
        }
    }

    /// What the connections tell.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Whether a connection has failed.
    pub fn is_broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits until everything has arrived.
    pub fn end(&mut self) -> Result<()> {
        self.sender = None;
        let mut outcome = Ok(());
        for thread in self.threads.drain(..) {
            let ended = thread.join().unwrap_or_else(|_| Err(lost()));
            outcome = outcome.and(ended);
        }
        outcome
    }
}

/// What one connection does: requests out, replies in, until there are no more. The first failure is the end of the
/// import: what this batch had is missing, and nothing after it settles.
fn carry(
    mut wire: Wire,
    receiver: &Mutex<Receiver<(u64, Batch)>>,
    give_back: &SyncSender<Vec<u8>>,
    shared: &Shared,
) -> Result<()> {
    let mut database = 0;
    loop {
        let Ok((number, mut batch)) = lock(receiver).recv() else { return Ok(()) };
        exchange(&mut wire, &mut database, &batch, shared)?;
        lock(&shared.settled).note(number, batch.last_key);
        batch.requests.clear();
        // If nobody wants it, it goes.
        let _ = give_back.try_send(batch.requests);
    }
}

fn exchange(wire: &mut Wire, database: &mut u32, batch: &Batch, shared: &Shared) -> Result<()> {
    if *database != batch.database {
        select(wire, batch.database)?;
        *database = batch.database;
    }
    wire.send(&batch.requests)?;
    let mut fatal = None;
    wire.pass(batch.replies, |text| {
        if Refusals::is_fatal(text) {
            fatal.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
        }
        lock(&shared.refusals).note(text);
    })?;
    match fatal {
        Some(text) => Err(Failure::refused(wire.address(), &text)),
        None => Ok(()),
    }
}

/// Goes to another database.
pub fn select(wire: &mut Wire, database: u32) -> Result<()> {
    wire.call(&[b"SELECT", database.to_string().as_bytes()]).map(drop)
}

fn lost() -> Failure {
    Failure::System { doing: "import", error: std::io::Error::other("a connection's thread had failed") }
}

/// Locks, whoever failed while they held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Batches that may wait for each connection.
const BATCHES_WAITING: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_arrived_without_a_gap_is_settled() {
        let mut settled = Settled::default();
        for (number, last_key, expected) in [(1, 20, 0), (0, 10, 20), (3, 40, 20), (2, 30, 40)] {
            settled.note(number, last_key);
            assert_eq!(settled.last_key, expected);
        }
        assert!(settled.early.is_empty());
    }
}

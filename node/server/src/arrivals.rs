//! What has arrived where: which regions have what was written here, and what of other nodes' writes is here.
//!
//! A meeting place. The thread of the peers tells it what members acknowledge and what this node has; clients ask, and
//! those that wait for either (`WAIT`, `PELAGO AWAIT`) or for a token of what they may have seen (`PELAGO TOKEN`) stand
//! here until that thread answers them. Nothing here decides what is sent or when.

mod token;

pub use token::{Token, TokenError};

use crdt::{NodeNumber, Stamp, VersionVector};
use parking_lot::Mutex;
use protocol::ClusterId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;

/// What has arrived where, and who waits for more.
#[derive(Default)]
pub struct Arrivals {
    known: Mutex<Known>,
    /// Somebody has begun to wait since the thread of the peers looked.
    is_asked: AtomicBool,
    waiting: AtomicUsize,
    thread: OnceLock<PeersThread>,
}

/// The thread of the peers, as those who wait need it.
struct PeersThread {
    cluster: ClusterId,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Known {
    /// What of each other region any of its nodes has applied.
    regions: BTreeMap<String, VersionVector>,
    /// The number that this node writes under.
    own: Option<NodeNumber>,
    /// Where numbers are closed that nobody writes under any more: nothing later of them is anywhere.
    seals: BTreeMap<NodeNumber, Stamp>,
    /// By client: it waits for one thing at a time.
    waits: BTreeMap<u64, Wait>,
}

struct Wait {
    wanted: Wanted,
    answer: oneshot::Sender<Outcome>,
}

/// What a client waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// So many other regions have what it wrote up to a stamp.
    Regions {
        /// Its last write.
        written: Stamp,
        /// How many regions.
        count: usize,
    },
    /// All that a token names is here.
    Here(VersionVector),
    /// What was written here up to a stamp is closed, so that a token can name it.
    Closed(Stamp),
    /// Something that is not known here; only `CLIENT UNBLOCK` ends the wait from here.
    Elsewhere,
}

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there.
    Arrived,
    /// What the client may have seen.
    Seen(VersionVector),
    /// `CLIENT UNBLOCK`.
    Unblocked {
        /// With `ERROR`.
        with_error: bool,
    },
}

/// What this node has, as the thread of the peers tells it.
#[derive(Debug)]
pub struct Here<'h> {
    /// What is applied, the own closed batches included.
    pub applied: &'h VersionVector,
    /// Up to where the own writes are in closed batches; the greatest stamp if nothing can be written.
    pub closed_up_to: Stamp,
}

/// No thread of the peers runs: nobody would answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node runs without peers")]
pub struct NoPeers;

impl Arrivals {
    /// The thread of the peers begins: the cluster it serves, and how to wake it. Only the first call counts.
    pub fn begin(&self, cluster: ClusterId, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.thread.set(PeersThread { cluster, wake: Box::new(wake) });
    }

    /// The cluster of the node, whose name stands in tokens.
    pub fn cluster(&self) -> Result<ClusterId, NoPeers> {
        self.thread.get().map(|thread| thread.cluster).ok_or(NoPeers)
    }

    /// How many clients wait.
    pub fn count(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many other regions have what was written here up to `written`, as far as they have said so.
    pub fn regions_with(&self, written: Stamp) -> usize {
        self.known.lock().regions_with(written)
    }

    /// Whether all that `wanted` names is here, where `applied` is applied.
    pub fn is_here(&self, wanted: &VersionVector, applied: &VersionVector) -> bool {
        self.known.lock().is_here(wanted, applied)
    }

    /// A client begins to wait. It ends with the answer, or when what is returned is dropped.
    pub fn enter(&self, client: u64, wanted: Wanted) -> Entered<'_> {
        let (answer, answered) = oneshot::channel();
        let is_for_peers = wanted != Wanted::Elsewhere;
        self.known.lock().waits.insert(client, Wait { wanted, answer });
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if is_for_peers {
            // SUBTLE: after it is entered: whoever takes the mark finds the wait.
            self.is_asked.store(true, Ordering::Release);
            if let Some(thread) = self.thread.get() {
                (thread.wake)();
            }
        }
        Entered { arrivals: self, client, answered }
    }

    /// Ends the wait of a client. False if it does not wait.
    pub fn unblock(&self, client: u64, with_error: bool) -> bool {
        let wait = self.known.lock().waits.remove(&client);
        wait.is_some_and(|wait| wait.answer.send(Outcome::Unblocked { with_error }).is_ok())
    }

    /// Whether somebody has begun to wait since the last call.
    pub(crate) fn take_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed) && self.is_asked.swap(false, Ordering::AcqRel)
    }

    /// Notes who there is: the other regions with what their nodes have applied, the own number, and closed numbers.
    pub(crate) fn note_members<'m>(
        &self,
        others: impl Iterator<Item = (&'m str, Option<&'m VersionVector>)>,
        own: Option<NodeNumber>,
        seals: impl Iterator<Item = (NodeNumber, Stamp)>,
    ) {
        let mut regions: BTreeMap<String, VersionVector> = BTreeMap::new();
        for (region, applied) in others {
            let Some(applied) = applied else { continue };
            match regions.get_mut(region) {
                Some(known) => drop(known.join(applied)),
                None => drop(regions.insert(region.to_owned(), applied.clone())),
            }
        }
        let mut known = self.known.lock();
        (known.regions, known.own, known.seals) = (regions, own, seals.collect());
    }

    /// A node of another region has applied this.
    pub(crate) fn note_applied(&self, region: &str, applied: &VersionVector) {
        let mut known = self.known.lock();
        match known.regions.get_mut(region) {
            Some(vector) => drop(vector.join(applied)),
            None => drop(known.regions.insert(region.to_owned(), applied.clone())),
        }
    }

    /// Answers everybody whose wait is over. `seen` is what a client may have seen, for tokens. True if somebody waits for
    /// what is not closed yet.
    pub(crate) fn serve(&self, here: &Here<'_>, seen: impl FnOnce() -> VersionVector) -> bool {
        if self.count() == 0 {
            return false;
        }
        let mut known = self.known.lock();
        let over: Vec<u64> = known
            .waits
            .iter()
            .filter(|(_, wait)| known.is_over(&wait.wanted, here))
            .map(|(client, _)| *client)
            .collect();
        let mut seen = Some(seen);
        let mut token = None;
        for client in over {
            let Some(Wait { wanted, answer }) = known.waits.remove(&client) else { continue };
            let outcome = match wanted {
                Wanted::Closed(_) => Outcome::Seen(
                    token.get_or_insert_with(|| seen.take().map(|seen| seen()).unwrap_or_default()).clone(),
                ),
                Wanted::Regions { .. } | Wanted::Here(_) | Wanted::Elsewhere => Outcome::Arrived,
            };
            // Whoever asked may have gone.
            let _ = answer.send(outcome);
        }
        known.waits.values().any(|wait| matches!(wait.wanted, Wanted::Closed(_)))
    }
}

impl Known {
    fn regions_with(&self, written: Stamp) -> usize {
        self.regions.values().filter(|applied| written == Stamp::ZERO || applied.covers(written)).count()
    }

    fn is_here(&self, wanted: &VersionVector, applied: &VersionVector) -> bool {
        wanted.iter().all(|(number, stamp)| {
            // What is later than the seal of a number is nowhere, and is not waited for.
            let stamp = self.seals.get(&number).map_or(stamp, |seal| stamp.min(*seal));
            self.own == Some(number) || applied.of(number) >= stamp
        })
    }

    fn is_over(&self, wanted: &Wanted, here: &Here<'_>) -> bool {
        match wanted {
            Wanted::Regions { written, count } => self.regions_with(*written) >= *count,
            Wanted::Here(vector) => self.is_here(vector, here.applied),
            Wanted::Closed(up_to) => here.closed_up_to >= *up_to,
            Wanted::Elsewhere => false,
        }
    }
}

/// A client that waits. It leaves when this is dropped.
#[derive(Debug)]
pub struct Entered<'a> {
    arrivals: &'a Arrivals,
    client: u64,
    answered: oneshot::Receiver<Outcome>,
}

impl Entered<'_> {
    /// How the wait ended, once it has.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        // The sender goes with an answer, or stays among those who wait.
        let answered = std::pin::Pin::new(&mut self.answered);
        answered.poll(context).map(|outcome| outcome.unwrap_or(Outcome::Unblocked { with_error: false }))
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.arrivals.known.lock().waits.remove(&self.client);
        self.arrivals.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").field("waiting", &self.count()).finish_non_exhaustive()
    }
}

/// What a command leaves for its connection to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// What.
    pub goal: Goal,
    /// For how long; nothing is for ever.
    pub timeout: Option<Duration>,
}

/// What a client waits for, as its command says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// `WAIT`: so many other regions have what it has written.
    Regions(usize),
    /// `PELAGO AWAIT`: what a token names is here.
    Token(VersionVector),
    /// `PELAGO TOKEN`: everything it may have seen is in closed batches.
    Seen,
    /// `WAITAOF`: what it has written is durable here.
    Durable {
        /// Whether it is waited for at all.
        is_awaited: bool,
    },
}

#[cfg(test)]
mod tests;

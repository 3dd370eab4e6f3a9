//! Simulated replicas and what passes between them: closed batches in causal order, some of them twice, and transfers of
//! state bucket by bucket while everybody goes on writing. Shared by the property tests of several crates; what a
//! replica is and what its batches hold is the crate's own.
#![allow(dead_code, reason = "each test binary that includes this file uses a part of it")]

use crate::random::Random;
use crdt::{NodeNumber, Stamp, VersionVector};
use std::collections::BTreeMap;

/// One replica under test.
pub trait Replica {
    /// What one replica tells all others at once.
    type Batch;
    /// The state of one bucket as another replica gets it.
    type Bucket;

    /// Closes what was written since the last time: the batch and the stamp of its last change.
    fn close(&mut self) -> Option<(Stamp, Self::Batch)>;
    /// Applies another replica's batch, whose changes follow `previous` and end with `last`. May come again later.
    fn apply(&mut self, origin: NodeNumber, previous: Stamp, last: Stamp, batch: &Self::Batch);
    /// What has been applied of other replicas.
    fn applied(&self) -> VersionVector;
    /// Reads what a bucket has that `since` does not cover, with its context.
    fn read(&mut self, bucket: usize, since: &VersionVector) -> Self::Bucket;
    /// Lists a bucket in full, for a replica that found it different.
    fn list(&mut self, bucket: usize, since: &VersionVector) -> Self::Bucket;
    /// Joins a bucket of another replica. False if it has to be listed.
    fn merge(&mut self, bucket: usize, state: &Self::Bucket) -> bool;
    /// Ends a transfer of state: everything up to `vector` has been seen.
    fn raise(&mut self, vector: &VersionVector);
    /// A peer has applied everything up to `vector`, and all its own batches up to its own entry are here.
    fn peer_applied(&mut self, peer: NodeNumber, vector: &VersionVector);
}

/// One thing that happens between replicas. Indices are taken modulo the number of replicas, and a pair of equal ones is
/// no step, so that any part of a script is a script.
#[derive(Clone, Copy, Debug)]
pub enum Traffic {
    /// The open batch is closed.
    Close { at: usize },
    /// At most so many batches of `origin` that are ready are applied, whoever brings them.
    Deliver { origin: usize, to: usize, batches: usize },
    /// The last batches of `origin` that were applied come again.
    Again { origin: usize, to: usize, batches: usize },
    /// `to` begins to take over the state of `source`, unless it does so from somebody already.
    Transfer { source: usize, to: usize },
    /// One bucket of the transfer, or the full listing of one that differed, or the end. With `at_once` a bucket that
    /// differs is listed in the same step.
    Bucket { to: usize, at_once: bool },
    /// `from` tells what it has applied.
    Heartbeat { from: usize, to: usize },
}

/// What a step brought to a replica, for whoever keeps the history.
pub enum Arrival {
    /// The events of a batch.
    Events { to: usize, events: Vec<usize> },
    /// All that the source has seen in a bucket, if `settled`; until then things that it removed may still be here.
    Bucket { source: usize, to: usize, bucket: usize, settled: bool },
}

struct Closed<B> {
    previous: Stamp,
    last: Stamp,
    dependencies: VersionVector,
    batch: B,
    events: Vec<usize>,
}

struct Transfer {
    source: usize,
    /// What the replica had when it began: the source sends what lies beyond.
    since: VersionVector,
    /// What it has at the end.
    vector: VersionVector,
    buckets: Vec<usize>,
    differing: Vec<usize>,
}

/// Replicas with their closed batches and running transfers.
pub struct Cluster<R: Replica> {
    pub replicas: Vec<R>,
    buckets: usize,
    closed: Vec<Vec<Closed<R::Batch>>>,
    open: Vec<Vec<usize>>,
    transfers: BTreeMap<usize, Transfer>,
    arrivals: Vec<Arrival>,
}

/// The number of the replica with this index.
pub fn number(index: usize) -> NodeNumber {
    // Not in the order of the indices, so that nothing depends on that; the extremes are among them.
    const NUMBERS: [u16; 5] = [7, 0, 1023, 512, 3];
    NodeNumber::new(NUMBERS[index]).unwrap()
}

impl Traffic {
    /// A step by chance. Deliveries are the most frequent.
    pub fn random(random: &mut Random, replicas: usize, transfers: bool) -> Self {
        let (one, other) = random.pair(replicas);
        let batches = random.between(1, 3);
        let weights = if transfers { [30, 45, 4, 4, 20, 6] } else { [30, 45, 4, 0, 0, 6] };
        match random.weighted(&weights) {
            0 => Traffic::Close { at: one },
            1 => Traffic::Deliver { origin: one, to: other, batches },
            2 => Traffic::Again { origin: one, to: other, batches },
            3 => Traffic::Transfer { source: one, to: other },
            4 => Traffic::Bucket { to: one, at_once: random.chance(60) },
            _ => Traffic::Heartbeat { from: one, to: other },
        }
    }
}

impl<R: Replica> Cluster<R> {
    /// Replicas that have nothing to tell each other yet; state is transferred in so many buckets.
    pub fn new(replicas: Vec<R>, buckets: usize) -> Self {
        let closed = replicas.iter().map(|_| Vec::new()).collect();
        let open = vec![Vec::new(); replicas.len()];
        Self { replicas, buckets, closed, open, transfers: BTreeMap::new(), arrivals: Vec::new() }
    }

    /// An event was written at a replica; it travels with the next batch that is closed there.
    pub fn wrote(&mut self, at: usize, event: usize) {
        self.open[at].push(event);
    }

    /// Takes one step, and says what arrived where.
    pub fn step(&mut self, traffic: Traffic) -> Vec<Arrival> {
        match traffic {
            Traffic::Close { at } => self.close(at),
            Traffic::Deliver { origin, to, batches } => self.deliver(origin, to, batches),
            Traffic::Again { origin, to, batches } => self.deliver_again(origin, to, batches),
            Traffic::Transfer { source, to } => self.begin_transfer(source, to),
            Traffic::Bucket { to, at_once } => self.transfer_bucket(to, at_once),
            Traffic::Heartbeat { from, to } => self.heartbeat(from, to),
        }
        std::mem::take(&mut self.arrivals)
    }

    /// Whether a replica is taking over the state of another one.
    pub fn is_receiving(&self, at: usize) -> bool {
        self.transfers.contains_key(&at)
    }

    /// Ends all transfers, closes and delivers everything.
    pub fn settle(&mut self) -> Vec<Arrival> {
        let count = self.replicas.len();
        while let Some(&to) = self.transfers.keys().next() {
            self.transfer_bucket(to, true);
        }
        (0..count).for_each(|at| self.close(at));
        for _ in 0..2 * count {
            for (origin, to) in pairs(count) {
                self.deliver(origin, to, usize::MAX);
            }
        }
        for _ in 0..2 {
            pairs(count).for_each(|(from, to)| self.heartbeat(from, to));
        }
        std::mem::take(&mut self.arrivals)
    }

    /// The vector that may leave a replica: it names closed batches only.
    pub fn closed_vector(&self, at: usize) -> VersionVector {
        let mut vector = self.replicas[at].applied();
        vector.forget(number(at));
        vector.raise(number(at), self.last_closed(at));
        vector
    }

    /// Says where the replicas have not seen all batches although everything was delivered.
    pub fn stuck(&self) -> Option<String> {
        let vectors: Vec<_> = (0..self.replicas.len()).map(|at| self.closed_vector(at)).collect();
        vectors.iter().any(|vector| *vector != vectors[0]).then(|| format!("stuck: {vectors:?}"))
    }

    fn last_closed(&self, at: usize) -> Stamp {
        self.closed[at].last().map_or(Stamp::ZERO, |closed| closed.last)
    }

    fn close(&mut self, at: usize) {
        let mut dependencies = self.replicas[at].applied();
        dependencies.forget(number(at));
        let previous = self.last_closed(at);
        match self.replicas[at].close() {
            Some((last, batch)) => {
                assert!(last > previous, "a batch ends at {last:?}, after one that ended at {previous:?}");
                let events = std::mem::take(&mut self.open[at]);
                self.closed[at].push(Closed { previous, last, dependencies, batch, events });
            }
            None => assert!(self.open[at].is_empty(), "writes were lost on the way to a batch"),
        }
    }

    fn deliver(&mut self, origin: usize, to: usize, batches: usize) {
        if origin == to {
            return;
        }
        let author = number(origin);
        let receiver = &mut self.replicas[to];
        let mut left = batches;
        for closed in &self.closed[origin] {
            let applied = receiver.applied();
            if left == 0 {
                return;
            }
            if closed.last <= applied.of(author) {
                continue;
            }
            let mut seen = applied.clone();
            seen.raise(number(to), Stamp::MAX);
            if closed.previous > applied.of(author) || !seen.covers_all(&closed.dependencies) {
                return;
            }
            receiver.apply(author, closed.previous, closed.last, &closed.batch);
            receiver.peer_applied(author, &closed.dependencies);
            self.arrivals.push(Arrival::Events { to, events: closed.events.clone() });
            left -= 1;
        }
    }

    fn deliver_again(&mut self, origin: usize, to: usize, batches: usize) {
        if origin == to {
            return;
        }
        let author = number(origin);
        let receiver = &mut self.replicas[to];
        let applied = receiver.applied().of(author);
        let known = self.closed[origin].partition_point(|closed| closed.last <= applied);
        for closed in &self.closed[origin][known.saturating_sub(batches)..known] {
            receiver.apply(author, closed.previous, closed.last, &closed.batch);
        }
    }

    fn begin_transfer(&mut self, source: usize, to: usize) {
        if source == to || self.transfers.contains_key(&to) {
            return;
        }
        self.close(source);
        let transfer = Transfer {
            source,
            since: self.closed_vector(to),
            vector: self.closed_vector(source),
            buckets: (0..self.buckets).collect(),
            differing: Vec::new(),
        };
        self.transfers.insert(to, transfer);
    }

    fn transfer_bucket(&mut self, to: usize, at_once: bool) {
        let Some(transfer) = self.transfers.get_mut(&to) else { return };
        let source = transfer.source;
        let (bucket, settled) = if let Some(bucket) = transfer.buckets.pop() {
            let state = self.replicas[source].read(bucket, &transfer.since);
            let settled = self.replicas[to].merge(bucket, &state);
            if !settled && !at_once {
                transfer.differing.push(bucket);
            }
            (bucket, settled || at_once && self.list_bucket(to, bucket))
        } else if let Some(bucket) = transfer.differing.pop() {
            (bucket, self.list_bucket(to, bucket))
        } else {
            self.replicas[to].raise(&transfer.vector);
            self.transfers.remove(&to);
            return;
        };
        self.arrivals.push(Arrival::Bucket { source, to, bucket, settled });
    }

    fn list_bucket(&mut self, to: usize, bucket: usize) -> bool {
        let Transfer { source, since, .. } = &self.transfers[&to];
        let state = self.replicas[*source].list(bucket, since);
        assert!(self.replicas[to].merge(bucket, &state), "what is listed in full settles");
        true
    }

    fn heartbeat(&mut self, from: usize, to: usize) {
        // SUBTLE: the open batch may hold increments that were made before what the vector names was applied. They have to
        // be on their way first, else the receiver forgets resets that they still need.
        self.close(from);
        let vector = self.closed_vector(from);
        if from != to && self.replicas[to].applied().of(number(from)) >= self.last_closed(from) {
            self.replicas[to].peer_applied(number(from), &vector);
        }
    }
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |one| (0..count).map(move |other| (one, other))).filter(|(one, other)| one != other)
}

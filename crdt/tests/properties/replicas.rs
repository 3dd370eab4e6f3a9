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

    /// All replicas have applied this, and what is still to come of others has seen it.
    fn known_everywhere(&mut self, _: &VersionVector) {}

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
    /// The node that writes under `number` has applied everything up to `vector`, and all batches of that number up to its
    /// own entry are here.
    fn peer_applied(&mut self, number: NodeNumber, vector: &VersionVector);
    /// Writes under `number` from now on, in batches that follow `last`.
    fn take_number(&mut self, number: NodeNumber, last: Stamp);
}

/// One thing that happens between replicas. An origin is one life of a replica: the first ones are numbered like the
/// replicas. Origins are taken modulo the number of lives, and a step that makes no sense is none, so that any part of a
/// script is a script.
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

/// A replica under one number. A restart that lost something begins a new one.
struct Life<B> {
    owner: usize,
    number: NodeNumber,
    closed: Vec<Closed<B>>,
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

/// Replicas with their closed batches, journals and running transfers.
pub struct Cluster<R: Replica> {
    pub replicas: Vec<R>,
    buckets: usize,
    lives: Vec<Life<R::Batch>>,
    /// The life of each replica that goes on.
    current: Vec<usize>,
    /// The batches that each replica has made or applied, in that order: the life and the index in it.
    journals: Vec<Vec<(usize, usize)>>,
    open: Vec<Vec<usize>>,
    transfers: BTreeMap<usize, Transfer>,
    arrivals: Vec<Arrival>,
    /// What a replica was told that another one has applied, by the receiver and the life that told.
    told: BTreeMap<(usize, usize), VersionVector>,
    /// Whether replicas learn what all of them have.
    pub tells_known: bool,
}

/// Numbers in the order in which they are given out. Not in the order of the indices, so that nothing depends on that;
/// the extremes are among them.
const NUMBERS: [u16; 12] = [7, 0, 1023, 512, 3, 1, 1000, 8, 31, 2, 600, 601];

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
    /// Replicas that have nothing to tell each other yet; they are given their numbers. State is transferred in so many
    /// buckets.
    pub fn new(replicas: Vec<R>, buckets: usize) -> Self {
        let count = replicas.len();
        let mut cluster = Self {
            replicas,
            buckets,
            lives: Vec::new(),
            current: vec![0; count],
            journals: vec![Vec::new(); count],
            open: vec![Vec::new(); count],
            transfers: BTreeMap::new(),
            arrivals: Vec::new(),
            told: BTreeMap::new(),
            tells_known: true,
        };
        (0..count).for_each(|owner| cluster.begin_life(owner));
        cluster
    }

    /// Whether the replica writes, or ever wrote, under this number.
    pub fn owns(&self, at: usize, number: NodeNumber) -> bool {
        self.lives.iter().any(|life| life.owner == at && life.number == number)
    }

    /// Whether there is a number left for another life.
    pub fn has_numbers(&self) -> bool {
        self.lives.len() < NUMBERS.len()
    }

    /// Stops a replica and lets `empty` go on in its place from its journal, of which the last `lost` entries are lost.
    /// What is open is closed before, if `clean`, else it is lost too. Without a loss it keeps its number; else peers may
    /// know more of it than it does itself, so that it takes a new one. Returns the events that it still knows.
    pub fn restart(&mut self, at: usize, lost: usize, clean: bool, empty: R) -> Vec<usize> {
        self.transfers.retain(|&to, transfer| to != at && transfer.source != at);
        if clean {
            self.close(at);
        }
        self.open[at].clear();
        let kept = self.journals[at].len().saturating_sub(lost);
        self.journals[at].truncate(kept);
        self.replicas[at] = empty;
        let mut events = Vec::new();
        for &(life, index) in &self.journals[at] {
            let Life { number, closed, .. } = &self.lives[life];
            let Closed { previous, last, batch, .. } = &closed[index];
            self.replicas[at].apply(*number, *previous, *last, batch);
            events.extend(&closed[index].events);
        }
        if lost == 0 {
            let (number, last) = (self.number_of(at), self.last_closed(at));
            self.replicas[at].take_number(number, last);
            // It remembered resets for itself while it did not know who it was.
            let vector = self.closed_vector(at);
            self.replicas[at].peer_applied(number, &vector);
        } else {
            self.forget_what_nobody_has(self.current[at]);
            self.begin_life(at);
        }
        events
    }

    /// Lets a replica go on under another number, without a restart. What it wrote under the old one is closed before, and
    /// counts as applied like everybody else's from then on.
    pub fn renumber(&mut self, at: usize) {
        self.close(at);
        let vector = self.closed_vector(at);
        self.replicas[at].raise(&vector);
        self.begin_life(at);
    }

    fn begin_life(&mut self, owner: usize) {
        let number = NodeNumber::new(NUMBERS[self.lives.len()]).unwrap();
        self.current[owner] = self.lives.len();
        self.lives.push(Life { owner, number, closed: Vec::new() });
        self.replicas[owner].take_number(number, Stamp::ZERO);
    }

    /// Batches that were lost with their author before anybody had them are gone.
    fn forget_what_nobody_has(&mut self, life: usize) {
        let known = self.journals.iter().flatten().filter(|&&(of, _)| of == life).map(|&(_, index)| index + 1).max();
        self.lives[life].closed.truncate(known.unwrap_or(0));
    }

    fn number_of(&self, at: usize) -> NodeNumber {
        self.lives[self.current[at]].number
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
        for _ in 0..2 * self.lives.len() {
            for (origin, to) in (0..self.lives.len()).flat_map(|origin| (0..count).map(move |to| (origin, to))) {
                self.deliver(origin, to, usize::MAX);
            }
        }
        for _ in 0..2 {
            pairs(count).for_each(|(from, to)| self.heartbeat(from, to));
        }
        self.forget_former_lives();
        std::mem::take(&mut self.arrivals)
    }

    /// The vector that may leave a replica: it names closed batches only.
    pub fn closed_vector(&self, at: usize) -> VersionVector {
        let mut vector = self.replicas[at].applied();
        vector.forget(self.number_of(at));
        vector.raise(self.number_of(at), self.last_closed(at));
        vector
    }

    /// Says where the replicas have not seen all batches although everything was delivered.
    pub fn stuck(&self) -> Option<String> {
        let vectors: Vec<_> = (0..self.replicas.len()).map(|at| self.closed_vector(at)).collect();
        vectors.iter().any(|vector| *vector != vectors[0]).then(|| format!("stuck: {vectors:?}"))
    }

    fn last_closed(&self, at: usize) -> Stamp {
        self.lives[self.current[at]].closed.last().map_or(Stamp::ZERO, |closed| closed.last)
    }

    fn close(&mut self, at: usize) {
        let mut dependencies = self.replicas[at].applied();
        dependencies.forget(self.number_of(at));
        let previous = self.last_closed(at);
        match self.replicas[at].close() {
            Some((last, batch)) => {
                assert!(last > previous, "a batch ends at {last:?}, after one that ended at {previous:?}");
                let events = std::mem::take(&mut self.open[at]);
                let life = self.current[at];
                self.journals[at].push((life, self.lives[life].closed.len()));
                self.lives[life].closed.push(Closed { previous, last, dependencies, batch, events });
            }
            None => assert!(self.open[at].is_empty(), "writes were lost on the way to a batch"),
        }
    }

    fn deliver(&mut self, origin: usize, to: usize, batches: usize) {
        let origin = origin % self.lives.len();
        if self.current[to] == origin {
            return;
        }
        let own = self.number_of(to);
        let Life { number: author, closed, .. } = &self.lives[origin];
        let receiver = &mut self.replicas[to];
        let mut left = batches;
        for (index, closed) in closed.iter().enumerate() {
            let applied = receiver.applied();
            if left == 0 {
                return;
            }
            if closed.last <= applied.of(*author) {
                continue;
            }
            let mut seen = applied.clone();
            seen.raise(own, Stamp::MAX);
            if closed.previous > applied.of(*author) || !seen.covers_all(&closed.dependencies) {
                return;
            }
            receiver.apply(*author, closed.previous, closed.last, &closed.batch);
            receiver.peer_applied(*author, &closed.dependencies);
            self.journals[to].push((origin, index));
            self.arrivals.push(Arrival::Events { to, events: closed.events.clone() });
            left -= 1;
        }
    }

    fn deliver_again(&mut self, origin: usize, to: usize, batches: usize) {
        let origin = origin % self.lives.len();
        if self.current[to] == origin {
            return;
        }
        let Life { number: author, closed, .. } = &self.lives[origin];
        let receiver = &mut self.replicas[to];
        let applied = receiver.applied().of(*author);
        let known = closed.partition_point(|closed| closed.last <= applied);
        for closed in &closed[known.saturating_sub(batches)..known] {
            receiver.apply(*author, closed.previous, closed.last, &closed.batch);
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
        let author = self.number_of(from);
        if from != to && self.replicas[to].applied().of(author) >= self.last_closed(from) {
            self.replicas[to].peer_applied(author, &vector);
            self.told.insert((to, self.current[from]), vector);
            self.tell_known(to);
        }
    }

    /// Lets a replica know what all have, as far as it was told. What is left of a former life may have seen who knows what.
    fn tell_known(&mut self, to: usize) {
        if !self.tells_known || self.has_former_lives() {
            return;
        }
        let others = (0..self.replicas.len()).filter(|&other| other != to);
        let told: Option<Vec<_>> = others.map(|other| self.told.get(&(to, self.current[other]))).collect();
        let Some(told) = told else { return };
        let least = |number| told.iter().map(|vector| vector.of(number)).min().unwrap_or(Stamp::MAX);
        let known = self.lives.iter().map(|life| (life.number, least(life.number))).collect();
        self.replicas[to].known_everywhere(&known);
    }

    /// Whether a replica has written under another number before.
    pub fn has_former_lives(&self) -> bool {
        self.lives.len() > self.replicas.len()
    }

    /// Everybody has everything: nothing of a former life can still come that has not seen all this. Before that nobody
    /// knows, since any replica may hold a batch of it that others lack.
    fn forget_former_lives(&mut self) {
        if self.stuck().is_some() {
            return;
        }
        let vector = self.closed_vector(0);
        for life in &self.lives {
            if self.current[life.owner] != life_index(&self.lives, life.number) {
                self.replicas.iter_mut().for_each(|replica| replica.peer_applied(life.number, &vector));
            }
        }
        if self.tells_known {
            self.replicas.iter_mut().for_each(|replica| replica.known_everywhere(&vector));
        }
    }
}

fn life_index<B>(lives: &[Life<B>], number: NodeNumber) -> usize {
    lives.iter().position(|life| life.number == number).unwrap()
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |one| (0..count).map(move |other| (one, other))).filter(|(one, other)| one != other)
}

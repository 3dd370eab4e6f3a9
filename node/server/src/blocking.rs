//! Clients that wait until a key holds something for them: `BLPOP` and its like, for every type.
//!
//! **How a command uses it.** It first tries to take what it wants. If there is nothing, it calls [`wait`] with the keys,
//! the kind of value that it waits for, and what is to be done when one of them holds such a value: a function that is
//! given the store with that key (and `also`, the target of a move) locked, takes what it can and writes the whole reply.
//! Inside a transaction `wait` answers at once that there is nothing. Everything else (time, `CLIENT UNBLOCK`, the end of
//! the connection) is done here and in `connection`.
//!
//! **Who is served, and when.** A key that is waited for tells of each of its changes, whoever makes it: a command, the end
//! of a transaction, a batch from another region. Before the next command runs on the thread that made the change, the
//! waiting clients are served in the order in which they began to wait; for changes that no command made, the thread of the
//! first of them is woken for that. The thread that serves takes the value for the client and hands over the reply, so none
//! is taken for a client that has gone. Nothing is served while writes are paused or refused.
//!
//! **A key that somebody else holds** is waited for only for a moment, since others stand behind whoever serves; so is one
//! that a script has written and holds until its end. It is *put off* then, also one that is being moved: the thread of the
//! first who waits for it looks again every few milliseconds, and nobody else does until the key changes again.
//!
//! While nobody waits, a command looks at one word.

use crate::command::{Call, CommandError};
use crate::limits::AWAITED_BYTES_MAX;
use crate::node::Node;
use crdt::{ExactFloat, Stamp, UnixMillis};
use keyspace::{Access, Database, KeyObserver, Keyspace, Kind, Writer};
use parking_lot::Mutex;
use resp::{Reply, Version};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

/// Takes what a client waits for from a key that holds a value of its kind, and writes the whole reply. False if there is
/// nothing for it after all. A refusal is the client's reply.
pub type Serve =
    dyn Fn(&mut Access<'_>, Database, &[u8], &mut Reply) -> Result<bool, CommandError> + Send + Sync + 'static;

/// What a client waits for.
pub struct Wanted<'k> {
    /// The keys; one of them is enough.
    pub keys: &'k [&'k [u8]],
    /// Another key that serving needs: the target of a move.
    pub also: Option<&'k [u8]>,
    /// The kind of value.
    pub kind: Kind,
    /// For how long; nothing is for ever.
    pub timeout: Option<Duration>,
    /// Whether the reply inside a transaction, where there is nothing, is an array's and not a single value's.
    pub answers_array: bool,
    /// What is done when a key holds such a value.
    pub serve: Box<Serve>,
}

/// Everybody who waits.
#[derive(Debug, Default)]
pub struct Blocking {
    room: Arc<Room>,
}

/// What the keyspace tells of changes.
#[derive(Debug, Default)]
struct Room {
    /// Whether keys have changed and nobody has looked yet who waits for them.
    is_ready: AtomicBool,
    waiting: AtomicUsize,
    refused: AtomicU64,
    inner: Mutex<Inner>,
    /// Held by the one thread that serves, so that the order is kept, and by whoever leaves the queues, so that nobody moves
    /// up in one that is being walked. No slot is locked by whoever waits for it, and whoever holds it waits for none for
    /// long.
    serving: Mutex<()>,
}

type Key = (u8, Box<[u8]>);

#[derive(Debug, Default)]
struct Inner {
    /// Who waits for a key.
    queues: HashMap<Key, Queue>,
    by_client: HashMap<u64, Arc<Waiter>>,
    /// Keys that have changed, the first one first; each is there once.
    ready: VecDeque<Key>,
    /// Keys that have changed and could not be looked at. Each has somebody who waits for it, and the thread of one of them
    /// looks again.
    put_off: BTreeSet<Key>,
    /// What all who wait take together, see [`Waiter::bytes`].
    bytes: usize,
    /// Keys that may tell of their changes though nobody waits for them: when the last one left, somebody held their slots.
    /// No more than those that were waited for when they were locked.
    left: HashSet<Key>,
}

/// Who waits for one key, in the order in which they began.
#[derive(Debug, Default)]
struct Queue {
    waiters: VecDeque<Arc<Waiter>>,
    change: Change,
}

/// Whether a key has changed that is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Change {
    /// It has not since it was looked at.
    #[default]
    Seen,
    /// It is among those that are ready. Then the queue is kept, also if nobody is left in it.
    Ready,
    /// It is among those that are put off.
    PutOff,
}

/// A client that waits.
pub struct Waiter {
    client: u64,
    database: Database,
    keys: Vec<Box<[u8]>>,
    also: Option<Box<[u8]>>,
    kind: Kind,
    version: Version,
    serve: Box<Serve>,
    /// What it is told when the key is gone, or holds another type. Else it waits on.
    if_gone: Option<CommandError>,
    /// What ended it, once. Whoever locks both locks slots before this: inside a transaction somebody may end the waiting
    /// with slots locked.
    outcome: Mutex<Option<Outcome>>,
    /// It is to look whether there is something to do.
    is_called: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// How waiting ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this reply, after a change with this stamp or an earlier one.
    Served {
        /// The bytes.
        reply: Vec<u8>,
        /// The last stamp of whoever served it.
        stamp: Stamp,
    },
    /// There was nothing for as long as it would wait, or somebody ended it as if.
    Nothing,
    /// `CLIENT UNBLOCK ERROR`.
    Unblocked,
}

/// What a connection that waits keeps.
#[derive(Debug)]
pub struct Waiting {
    /// Itself, as others see it.
    pub waiter: Arc<Waiter>,
    /// For how long; nothing is for ever.
    pub timeout: Option<Duration>,
}

impl Waiting {
    /// Writes the reply.
    pub fn answer(&self, outcome: &Outcome, reply: &mut Reply) {
        match outcome {
            Outcome::Served { reply: bytes, .. } => reply.append(bytes),
            // As Redis answers for all of them, also for those that answer a single value.
            Outcome::Nothing => reply.null_array(),
            Outcome::Unblocked => reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        }
    }
}

/// Lets the client of a call wait. Inside a transaction it is answered that there is nothing.
pub fn wait(call: &mut Call<'_, '_>, wanted: Wanted<'_>) -> Result<(), CommandError> {
    enter(call, wanted, None)
}

/// The same, as long as each of the keys holds such a value. A client that waits for one that does not any more is refused
/// with `if_gone`.
pub fn wait_while_there(
    call: &mut Call<'_, '_>,
    wanted: Wanted<'_>,
    if_gone: CommandError,
) -> Result<(), CommandError> {
    enter(call, wanted, Some(if_gone))
}

fn enter(call: &mut Call<'_, '_>, wanted: Wanted<'_>, if_gone: Option<CommandError>) -> Result<(), CommandError> {
    if call.client.is_in_exec {
        if wanted.answers_array {
            call.reply.null_array()
        } else {
            call.reply.null()
        }
        return Ok(());
    }
    let database = call.db();
    let mut keys: Vec<Box<[u8]>> = wanted.keys.iter().map(|key| Box::from(*key)).collect();
    keys.sort_unstable();
    keys.dedup();
    let waiter = Arc::new(Waiter {
        client: call.client.id(),
        database,
        keys,
        also: wanted.also.map(Box::from),
        kind: wanted.kind,
        version: call.reply.version(),
        serve: wanted.serve,
        if_gone,
        outcome: Mutex::default(),
        is_called: AtomicBool::new(false),
        waker: Mutex::default(),
    });
    // SUBTLE: with the keys' slots locked: whoever changes one of them after this finds the client waiting.
    call.node.blocking.enter(&waiter, call.store)?;
    call.client.waiting = Some(Waiting { waiter, timeout: wanted.timeout });
    Ok(())
}

impl Blocking {
    /// How many clients wait.
    pub fn count(&self) -> usize {
        self.room.waiting.load(Ordering::Relaxed)
    }

    /// How many commands were refused because too many keys are waited for.
    pub fn refused(&self) -> u64 {
        self.room.refused.load(Ordering::Relaxed)
    }

    /// Whether keys have changed that somebody waits for, and nobody has served them yet.
    #[inline]
    pub fn is_ready(&self) -> bool {
        // With `Room::changed`: who was called for a change finds it.
        self.room.is_ready.load(Ordering::Acquire)
    }

    fn enter(&self, waiter: &Arc<Waiter>, store: &mut Access<'_>) -> Result<(), CommandError> {
        let mut inner = self.room.inner.lock();
        if inner.bytes.saturating_add(waiter.bytes()) > AWAITED_BYTES_MAX {
            self.room.refused.fetch_add(1, Ordering::Relaxed);
            return Err(CommandError::Plain("ERR too many keys are waited for"));
        }
        inner.bytes += waiter.bytes();
        for key in &waiter.keys {
            let queue = inner.queues.entry((waiter.database.0, key.clone())).or_default();
            queue.waiters.push_back(Arc::clone(waiter));
        }
        inner.by_client.insert(waiter.client, Arc::clone(waiter));
        drop(inner);
        self.room.waiting.fetch_add(1, Ordering::Relaxed);
        let observer: Arc<dyn KeyObserver> = Arc::clone(&self.room) as _;
        waiter.keys.iter().for_each(|key| store.await_key(waiter.database, key, &observer));
        Ok(())
    }

    /// Takes out a client that has ended waiting. Call it once for each, with no slot locked.
    pub fn leave(&self, node: &Node, waiter: &Waiter) {
        {
            let _turn = self.room.serving.lock();
            let mut inner = self.room.inner.lock();
            inner.by_client.remove(&waiter.client);
            inner.bytes -= waiter.bytes();
            for key in &waiter.keys {
                inner.take_from(waiter.database, key, waiter);
            }
        }
        self.room.waiting.fetch_sub(1, Ordering::Relaxed);
        // Also of some that were held when others left.
        let left = self.room.inner.lock().take_left(LEFT_LOOKED_AT);
        let own = waiter.keys.iter().map(|key| (waiter.database.0, key.clone()));
        self.stop_awaiting(&node.keyspace, own.chain(left));
        // It may have been called to serve others.
        self.call_next();
    }

    /// A script that ran for very long has ended: keys tell no more of their changes whose last client left meanwhile. Call
    /// it with no slot locked.
    pub fn tidy(&self, keyspace: &Keyspace) {
        let left = std::mem::take(&mut self.room.inner.lock().left);
        self.stop_awaiting(keyspace, left.into_iter());
    }

    /// Has keys tell of their changes no more if nobody waits for them, and notes those whose slots cannot be locked now.
    fn stop_awaiting(&self, keyspace: &Keyspace, keys: impl Iterator<Item = Key>) {
        let mut patience = SLOT_PATIENCE;
        let is_left = |name: &Key| {
            let is_over = || self.room.inner.lock().first(name).is_none();
            let is_left = !keyspace.stop_awaiting(Database(name.0), &name.1, patience, is_over);
            if is_left {
                patience = Duration::ZERO;
            }
            is_left
        };
        let left: Vec<Key> = keys.filter(is_left).collect();
        if !left.is_empty() {
            self.room.inner.lock().left.extend(left);
        }
    }

    /// Ends the waiting of a client, as if its time were over or with an error. False if it does not wait.
    pub fn unblock(&self, client: u64, with_error: bool) -> bool {
        let waiter = self.room.inner.lock().by_client.get(&client).cloned();
        let outcome = if with_error { Outcome::Unblocked } else { Outcome::Nothing };
        waiter.is_some_and(|waiter| waiter.end(outcome))
    }

    /// Serves whoever waits for keys that have changed: what the thread does that may have changed them. If that must not be
    /// now, or somebody else holds a key, those do it later who wait.
    pub fn serve(&self, node: &Node, writer: &mut Writer, now: UnixMillis) {
        let _turn = self.room.serving.lock();
        let round = self.serve_ready(node, writer, now, SLOT_PATIENCE);
        if let Some(first) = round.put_off.and_then(|key| self.room.inner.lock().first(&key).cloned()) {
            first.call();
        }
    }

    /// Serves whoever waits for keys that have changed, also those that were put off: what the thread of somebody does who
    /// waits. If something is left, says when to do it again at the latest.
    pub fn serve_again(&self, node: &Node, writer: &mut Writer, now: UnixMillis) -> Option<UnixMillis> {
        let _turn = self.room.serving.lock();
        // What somebody held for long, he may hold still.
        let is_again = self.room.inner.lock().take_back(&self.room.is_ready);
        let patience = if is_again { Duration::ZERO } else { SLOT_PATIENCE };
        let round = self.serve_ready(node, writer, now, patience);
        round.refused_until.or_else(|| round.put_off.map(|_| now + PUT_OFF_LOOK_MS))
    }

    /// With the turn to serve.
    fn serve_ready(&self, node: &Node, writer: &mut Writer, now: UnixMillis, mut patience: Duration) -> Round {
        let mut round = Round::default();
        while self.is_ready() {
            round.refused_until = refused_until(node, now);
            if round.refused_until.is_some() {
                break;
            }
            let key = self.room.inner.lock().next_ready(&self.room.is_ready);
            let Some(key) = key else { continue };
            if !self.serve_key(writer, now, &key, patience) {
                self.room.inner.lock().put_off(&key);
                round.put_off = Some(key);
                patience = Duration::ZERO;
            }
        }
        round
    }

    /// False if it has to be done later, because a key is being moved or held by somebody else.
    fn serve_key(&self, writer: &mut Writer, now: UnixMillis, name: &Key, patience: Duration) -> bool {
        let (database, key) = (Database(name.0), &*name.1);
        let mut place = 0;
        loop {
            let waiter = self.room.inner.lock().queues.get(name).and_then(|queue| queue.waiters.get(place).cloned());
            let Some(waiter) = waiter else { return true };
            match waiter.try_serve(writer, now, key, patience) {
                Tried::Served => {
                    // Its own thread takes it out of the other queues.
                    self.room.inner.lock().take_from(database, key, &waiter);
                }
                Tried::Nothing => place += 1,
                Tried::Later => return false,
                // Only those are looked at still who want to know it.
                Tried::KeyIsGone => match self.room.inner.lock().next_to_tell(name, place + 1) {
                    Some(next) => place = next,
                    None => return true,
                },
            }
        }
    }

    /// Calls the first who waits for a key that has changed.
    fn call_next(&self) {
        let first = {
            let inner = self.room.inner.lock();
            inner.ready.iter().chain(&inner.put_off).find_map(|key| inner.first(key).cloned())
        };
        if let Some(first) = first {
            first.call();
        }
    }
}

/// What waiting for a key takes beside the bytes of the key.
const AWAITED_KEY_BYTES: usize = 200;

/// How long somebody who holds a key is waited for, once in a round: longer than commands hold one, and so short that it
/// does not matter to those who stand behind whoever serves.
const SLOT_PATIENCE: Duration = Duration::from_millis(1);

/// At how many keys it is looked, when somebody leaves, that others could not have tell of their changes no more.
const LEFT_LOOKED_AT: usize = 64;

/// Milliseconds after which it is looked again whether a key is still being moved or held by somebody else.
const PUT_OFF_LOOK_MS: u64 = 5;

/// Milliseconds after which it is looked again whether writes are still refused.
const REFUSED_LOOK_MS: u64 = 100;

/// What came of serving.
#[derive(Default)]
struct Round {
    /// Nothing more may be served before this.
    refused_until: Option<UnixMillis>,
    /// One of the keys that were put off.
    put_off: Option<Key>,
}

/// Until when nobody may be served, if so.
fn refused_until(node: &Node, now: UnixMillis) -> Option<UnixMillis> {
    let is_refused = || node.condition.writes_refused().is_some() || node.condition.is_busy();
    node.condition.paused_until(now, true).or_else(|| is_refused().then_some(now + REFUSED_LOOK_MS))
}

impl KeyObserver for Room {
    fn changed(&self, database: u8, key: &[u8]) {
        let mut locked = self.inner.lock();
        let inner = &mut *locked;
        let name: Key = (database, key.into());
        let Some(queue) = inner.queues.get_mut(&name) else { return };
        let Some(first) = queue.waiters.front().cloned() else { return };
        let known = std::mem::replace(&mut queue.change, Change::Ready);
        if known == Change::PutOff {
            inner.put_off.remove(&name);
        }
        if known != Change::Ready {
            inner.ready.push_back(name);
        }
        // SUBTLE: the call comes last: whoever is called looks at this word first, and nobody calls again.
        self.is_ready.store(true, Ordering::Release);
        drop(locked);
        first.call();
    }
}

impl Inner {
    fn next_ready(&mut self, is_ready: &AtomicBool) -> Option<Key> {
        let next = self.ready.pop_front();
        if let Some(name) = &next {
            if let Some(queue) = self.queues.get_mut(name) {
                queue.change = Change::Seen;
            }
            self.tidy(name);
        }
        if self.ready.is_empty() {
            is_ready.store(false, Ordering::Relaxed);
        }
        next
    }

    /// Notes a key that could not be looked at, if somebody still waits for it and it has not changed again.
    fn put_off(&mut self, name: &Key) {
        if let Some(queue) = self.queues.get_mut(name).filter(|queue| queue.change == Change::Seen) {
            queue.change = Change::PutOff;
            self.put_off.insert(name.clone());
        }
    }

    /// Makes ready what was put off. False if nothing was.
    fn take_back(&mut self, is_ready: &AtomicBool) -> bool {
        let keys = std::mem::take(&mut self.put_off);
        for name in &keys {
            if let Some(queue) = self.queues.get_mut(name) {
                queue.change = Change::Ready;
            }
        }
        let is_any = !keys.is_empty();
        self.ready.extend(keys);
        if is_any {
            is_ready.store(true, Ordering::Release);
        }
        is_any
    }

    /// Some of the keys that may tell of their changes though nobody waits for them.
    fn take_left(&mut self, most: usize) -> Vec<Key> {
        let some: Vec<Key> = self.left.iter().take(most).cloned().collect();
        some.iter().for_each(|name| _ = self.left.remove(name));
        some
    }

    /// Takes a client out of the queue of a key, if it is there.
    fn take_from(&mut self, database: Database, key: &[u8], waiter: &Waiter) {
        let name: Key = (database.0, key.into());
        let Some(queue) = self.queues.get_mut(&name) else { return };
        if let Some(at) = queue.waiters.iter().position(|other| std::ptr::eq(&**other, waiter)) {
            queue.waiters.remove(at);
        }
        self.tidy(&name);
    }

    /// Who has waited longest for a key.
    fn first(&self, name: &Key) -> Option<&Arc<Waiter>> {
        self.queues.get(name).and_then(|queue| queue.waiters.front())
    }

    /// The first client from this place on in the queue of a key that is told when the key is gone.
    fn next_to_tell(&self, name: &Key, from: usize) -> Option<usize> {
        let waiters = &self.queues.get(name)?.waiters;
        (from..waiters.len()).find(|place| waiters[*place].if_gone.is_some())
    }

    /// Drops the queue of a key if it says nothing any more.
    fn tidy(&mut self, name: &Key) {
        let is_over = |queue: &Queue| queue.waiters.is_empty() && queue.change != Change::Ready;
        if self.queues.get(name).is_some_and(is_over) {
            self.queues.remove(name);
            self.put_off.remove(name);
        }
    }
}

/// What came of trying to serve a client.
enum Tried {
    Served,
    /// It waits for another kind, or has just ended waiting.
    Nothing,
    KeyIsGone,
    /// The key, or the target of a move, is being moved itself, or held by somebody else.
    Later,
}

impl Waiter {
    /// What ended it, if anything has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome.lock().clone()
    }

    /// Ends it, unless something else has. True if this did.
    pub fn end(&self, outcome: Outcome) -> bool {
        let mut ended = self.outcome.lock();
        if ended.is_some() {
            return false;
        }
        *ended = Some(outcome);
        drop(ended);
        self.call();
        true
    }

    /// Whether it was called since it was asked; the next call wakes `waker`.
    pub fn is_called(&self, waker: &Waker) -> bool {
        *self.waker.lock() = Some(waker.clone());
        self.is_called.swap(false, Ordering::AcqRel)
    }

    fn call(&self) {
        self.is_called.store(true, Ordering::Release);
        if let Some(waker) = self.waker.lock().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// About how many bytes its waiting takes: of each key the waiter, the queue and the keyspace have their own.
    pub(crate) fn bytes(&self) -> usize {
        let keys: usize = self.keys.iter().map(|key| key.len() * 3 + AWAITED_KEY_BYTES).sum();
        keys + self.also.as_ref().map_or(0, |key| key.len())
    }

    fn try_serve(&self, writer: &mut Writer, now: UnixMillis, key: &[u8], patience: Duration) -> Tried {
        let mut keys = vec![key];
        keys.extend(self.also.as_deref());
        let keyspace = Arc::clone(writer.keyspace());
        let Some(mut access) = writer.access_within(now, &keys, patience) else { return Tried::Later };
        if keyspace.meets_frozen(&keys, true) {
            return Tried::Later;
        }
        // Held while the value is taken: nothing ends the waiting in between.
        let mut outcome = self.outcome.lock();
        if outcome.is_some() {
            return Tried::Nothing;
        }
        let mut reply = Reply::new(self.version);
        access.begin_command();
        let served = match (access.kind(self.database, key), &self.if_gone) {
            (Some(kind), _) if kind == self.kind => (self.serve)(&mut access, self.database, key, &mut reply),
            (_, Some(if_gone)) => Err(if_gone.clone()),
            (None, None) => return Tried::KeyIsGone,
            (Some(_), None) => return Tried::Nothing,
        };
        match served {
            Ok(true) => {}
            Ok(false) => return Tried::Nothing,
            Err(refusal) => {
                reply.truncate(0);
                reply.error(&refusal.to_string());
            }
        }
        drop(access);
        *outcome = Some(Outcome::Served { reply: reply.bytes().to_vec(), stamp: writer.last_stamp() });
        drop(outcome);
        self.call();
        Tried::Served
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("client", &self.client).field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// How long a command waits, from its argument in seconds: nothing is for ever.
pub fn timeout(argument: &[u8]) -> Result<Option<Duration>, CommandError> {
    let text = std::str::from_utf8(argument).ok().filter(|text| !text.starts_with(char::is_whitespace));
    let hexadecimal = |text: &str| ExactFloat::parse_hexadecimal(text.as_bytes()).map(ExactFloat::to_f64);
    let seconds = text.and_then(|text| text.parse::<f64>().ok().or_else(|| hexadecimal(text)));
    let seconds = seconds.filter(|seconds| !seconds.is_nan());
    let seconds = seconds.ok_or(CommandError::Plain("ERR timeout is not a float or out of range"))?;
    let ms = (seconds * 1000.0).ceil();
    // What does not fit 64 bits is negative to Redis too.
    if ms < 0.0 || ms >= i64::MAX as f64 {
        return Err(CommandError::Plain("ERR timeout is negative"));
    }
    let ms = ms as u64;
    Ok((ms > 0).then_some(Duration::from_millis(ms)))
}

#[cfg(test)]
mod tests;

//! What is seen of all nodes from outside: every command that was executed, with its answer, its stamps and what its
//! node had seen; every key that a sweep removed; the end of every life. It feeds the oracle and asks it.

use crate::broken::Broken;
use crate::deliveries::{Deliveries, Ran};
use crate::invariants::memory_limit;
use crate::oracle::{self, Ahead, Execution, History, Key};
use crate::reply::Value;
use crate::trace::Trace;
use crdt::{NodeNumber, Stamp, VersionVector};
use keyspace::{EndedNumber, Keyspace, slot_of};
use server::node::Node;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

/// The observer, shared by everything on the simulation's one thread.
pub type Shared = Rc<RefCell<Observer>>;

/// A life of a node: from a start of its process to its end.
pub struct Life {
    /// The node's name.
    pub name: String,
    /// The node, while it lives.
    pub node: Option<Arc<Node>>,
    /// Whether it has begun to serve.
    pub has_served: bool,
    /// It has read what its disk had.
    has_returned: bool,
    numbers: BTreeSet<NodeNumber>,
    seen: VersionVector,
    removals: Removals,
    /// The stamp of the last removal that was taken in.
    removed_last: Stamp,
}

/// What sweeps and evictions removed since the observer last looked.
type Removals = Arc<Mutex<Vec<Swept>>>;

struct Swept {
    key: Key,
    /// The fields that were removed; none if the key was.
    fields: Vec<String>,
    stamp: Stamp,
    /// If memory was short: what the keys that stayed take, in bytes.
    left: Option<u64>,
    now: u64,
    applied: Arc<VersionVector>,
    ahead: Ahead,
    /// The node has some of what the key's slot held, and nobody can tell what.
    is_in_part: bool,
}

/// A command that is about to be executed.
#[derive(Debug)]
pub struct Window {
    /// Which life executes it.
    pub life: usize,
    /// In this database.
    pub database: u8,
    clock: Stamp,
    now: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commands executed, those inside transactions included.
    pub commands: u64,
    /// Commands refused because their node could not serve.
    pub refused: u64,
    /// Transactions and scripts.
    pub transactions: u64,
    /// Reads in another region than that of the write whose token was awaited.
    pub moves: u64,
    /// Answers that were compared.
    pub judged: u64,
    /// Answers that could not be, because their node compared state.
    pub not_judged: u64,
    /// Keys removed by sweeps.
    pub swept: u64,
    /// Keys removed because memory was short.
    pub evicted: u64,
    /// The least that the keys which stayed took after an eviction, in percent of the memory that a node may take.
    pub left_least: u64,
}

/// See the module.
pub struct Observer {
    /// All writes.
    pub history: History,
    /// All lives.
    pub lives: Vec<Life>,
    /// What was found wrong first.
    pub broken: Option<Broken>,
    /// What was counted.
    pub tally: Tally,
    /// For each number: its writes, and what its node had seen when it made them.
    written: BTreeMap<NodeNumber, Vec<(Stamp, Arc<VersionVector>)>>,
    /// Stamps of transactions that wrote more than once: first and last.
    transactions: BTreeMap<NodeNumber, Vec<(Stamp, Stamp)>>,
    /// Writes of ended lives that somebody must still have: up to this one.
    pub must_survive: BTreeMap<NodeNumber, Stamp>,
    /// Writes of ended lives that were durable on a disk that is still there: up to this one, with the node's name.
    pub kept: BTreeMap<NodeNumber, (Stamp, String)>,
    /// Ends of lives that may go on from a journal: what they had written last.
    resting: BTreeMap<NodeNumber, Stamp>,
    /// Numbers that were sealed.
    sealed: BTreeMap<NodeNumber, EndedNumber>,
    /// What consumer groups delivered and acknowledged.
    pub deliveries: Deliveries,
    trace: Trace,
}

impl Observer {
    /// An observer of nothing yet.
    pub fn new(seed: u64) -> Self {
        Self {
            history: History::default(),
            lives: Vec::new(),
            broken: None,
            tally: Tally { left_least: 100, ..Tally::default() },
            written: BTreeMap::new(),
            transactions: BTreeMap::new(),
            must_survive: BTreeMap::new(),
            kept: BTreeMap::new(),
            resting: BTreeMap::new(),
            sealed: BTreeMap::new(),
            deliveries: Deliveries::default(),
            trace: Trace::new(seed),
        }
    }

    /// A node has started. Returns the number of its life.
    pub fn begin_life(&mut self, name: &str, node: Arc<Node>) -> usize {
        let removals = Removals::default();
        let (weak, queue) = (Arc::downgrade(&node), removals.clone());
        node.keyspace.on_removal(move |removal| {
            let Some(node) = weak.upgrade() else { return };
            let keyspace = &node.keyspace;
            let key = Key::new(removal.database, &String::from_utf8_lossy(removal.key));
            let (applied, ahead) = (keyspace.applied(), keyspace.ahead_of(slot_of(removal.key)).map(Arc::new));
            let is_in_part = keyspace.is_in_part(slot_of(removal.key));
            let fields = removal.fields.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect();
            let (stamp, now) = (removal.stamp, removal.now);
            let left = removal.is_eviction.then(|| memory_limit::taken(&node));
            let swept = Swept { key, fields, stamp, left, now, applied, ahead, is_in_part };
            queue.lock().unwrap_or_else(PoisonError::into_inner).push(swept);
        });
        let name = name.to_owned();
        self.trace.note(&format!("{name} starts"));
        let (numbers, seen) = (BTreeSet::new(), VersionVector::new());
        self.lives.push(Life {
            name,
            node: Some(node),
            has_served: false,
            has_returned: false,
            numbers,
            seen,
            removals,
            removed_last: Stamp::ZERO,
        });
        self.lives.len() - 1
    }

    /// A life has ended: what it alone had is lost, what others have must stay.
    pub fn end_life(&mut self, life: usize) {
        self.take_removals();
        let Some(node) = self.lives[life].node.take() else { return };
        let own = node.keyspace.number();
        let name = self.lives[life].name.clone();
        self.trace.note(&format!("{name} ends"));
        let last_of_own = self.last_written(own);
        if last_of_own > Stamp::ZERO {
            self.must_survive.insert(own, last_of_own);
            self.resting.insert(own, last_of_own);
            let durable = node.durability.durable().min(last_of_own);
            if durable > Stamp::ZERO && durable.author() == own {
                self.kept.insert(own, (durable, name.clone()));
            }
        }
        let others: Vec<Arc<VersionVector>> =
            self.lives.iter().filter_map(|life| life.node.as_ref()).map(|node| node.keyspace.applied()).collect();
        for (&number, stamp) in &mut self.must_survive {
            let held = others.iter().map(|vector| vector.of(number)).max().unwrap_or(Stamp::ZERO);
            *stamp = held.min(*stamp);
        }
    }

    /// The last write of a number.
    pub fn last_written(&self, number: NodeNumber) -> Stamp {
        self.written.get(&number).and_then(|writes| writes.last()).map_or(Stamp::ZERO, |(stamp, _)| *stamp)
    }

    /// The last write of a number that a vector covers.
    pub fn last_written_up_to(&self, number: NodeNumber, up_to: Stamp) -> Stamp {
        let Some(writes) = self.written.get(&number) else { return Stamp::ZERO };
        let count = writes.partition_point(|(stamp, _)| *stamp <= up_to);
        count.checked_sub(1).map_or(Stamp::ZERO, |at| writes[at].0)
    }

    /// Every number that ever wrote.
    pub fn numbers(&self) -> Vec<NodeNumber> {
        self.written.keys().copied().collect()
    }

    /// Notes something else that happened.
    pub fn note(&mut self, what: &str) {
        self.trace.note(what);
    }

    /// The hash of everything noted.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Notes what is wrong; only the first counts.
    pub fn report(&mut self, broken: Broken) {
        self.broken.get_or_insert(broken);
    }

    /// A command is about to be executed.
    pub fn begin(&mut self, life: usize, database: u8) -> Option<Window> {
        self.take_removals();
        let node = self.lives[life].node.as_ref()?;
        Some(Window { life, database, clock: node.keyspace.clock(), now: node.wall_clock() })
    }

    /// It was executed and answered: `commands` are the command, or those of a transaction with the answer of each.
    pub fn finish(&mut self, window: &Window, commands: &[Vec<String>], answers: &[Value], is_transaction: bool) {
        let clock = self.clock_before(window);
        let Some(node) = self.lives[window.life].node.clone() else { return };
        let keyspace = &node.keyspace;
        let (applied, me) = (keyspace.applied(), keyspace.number());
        // A node that finds while it serves what it has read that its disk has lost something begins its vector anew. Until
        // it is filled it answers only what reads no key, such as a wait that was under way.
        let fills = node.condition.is_loading() && !node.readiness.is_partial();
        if !fills {
            self.check_vector(window.life, &applied, me);
        }
        let views = Views::new(keyspace, &applied, commands, &self.history);
        let sees = |key: &Key, stamp: Stamp| views.sees(key, stamp);
        let named = named(commands, window.database, &self.history);
        let ahead = |key: &Key| views.ahead.get(&slot_of(key.name.as_bytes())).cloned();
        let mut execution = Execution::new(&mut self.history, &sees, window.now, me, clock);
        if views.any_ahead() {
            execution = execution.unsettled(&ahead);
        }
        let (mut wrong, mut uncertain, mut all_known) = (None, false, true);
        for (args, actual) in commands.iter().zip(answers) {
            execution.begin_command();
            execution.uncertain = false;
            let Some(expected) = oracle::execute(&mut execution, window.database, args, actual) else {
                all_known = false;
                continue;
            };
            self.tally.commands += 1;
            let name = args.first().map_or("", String::as_str);
            let (expected, actual) = (oracle::in_order(name, expected), oracle::in_order(name, actual.clone()));
            if expected != actual && !execution.uncertain && wrong.is_none() {
                wrong = Some(format!("{args:?} answers {actual:?}, not {expected:?}"));
            }
            self.tally.judged += u64::from(!execution.uncertain);
            self.tally.not_judged += u64::from(execution.uncertain);
            uncertain |= execution.uncertain;
        }
        let after = keyspace.clock();
        let mut undue = None;
        for (args, answer) in commands.iter().zip(answers) {
            let (life, database) = (window.life, window.database);
            let found = self.deliveries.note(&Ran { life, database, args, answer, stamp: after, sees: &sees });
            undue = undue.or(found);
        }
        if wrong.is_none() && execution.clock != after && all_known {
            wrong = Some(format!("{commands:?} leaves the clock at {after:?}, not {:?}", execution.clock));
        }
        let mut each = commands.iter().zip(answers);
        let tells_nothing = after != clock && each.any(|(args, answer)| tells_nothing(args, answer));
        let not_judged = uncertain || views.is_in_part || views.any_ahead() && (wrong.is_some() || tells_nothing);
        if not_judged {
            // While state is compared, newer keys stand beside older ones: no answer is wrong then.
            let name = &self.lives[window.life].name;
            tracing::debug!(name, ?wrong, ahead = ?views.ahead, ?applied, "not judged");
            (wrong, uncertain) = (None, true);
            // What the oracle wrote and the node did not never happened.
            if after != clock || !execution.written().is_empty() {
                execution.give_up(&named, after);
            }
        }
        let mut stamps = std::mem::take(&mut execution.stamps);
        if uncertain && execution.clock != after {
            stamps = if after == clock { Vec::new() } else { vec![after] };
        }
        self.note_stamps(me, &stamps, &applied, is_transaction);
        let name = &self.lives[window.life].name;
        let database = window.database;
        let ahead = &views.ahead;
        tracing::trace!(name, now = window.now, database, ?commands, ?answers, ?stamps, ?applied, ?ahead, "executed");
        self.trace.note(&format!("{name} {} {commands:?} {answers:?} {after:?}", window.now));
        if let Some(wrong) = wrong {
            for key in &named {
                let seen = |stamp: Stamp| stamp.author() == me || views.sees(key, stamp);
                tracing::debug!(?key, standing = ?self.history.standing(key, &seen), "what the history says");
            }
            let detail = format!("at {name} (number {me}, clock {}): {wrong}", window.now);
            self.report(Broken::new("answers", detail));
        }
        if let Some(undue) = undue {
            let name = self.lives[window.life].name.clone();
            self.report(Broken::new("groups", format!("at {name} (number {me}, clock {}): {undue}", window.now)));
        }
    }

    /// A command was refused without being executed.
    pub fn refused(&mut self, window: &Window, args: &[String], answer: &Value) {
        self.tally.refused += 1;
        let clock = self.clock_before(window);
        let Some(node) = self.lives[window.life].node.as_ref() else { return };
        if node.keyspace.clock() != clock {
            let name = &self.lives[window.life].name;
            let detail = format!("at {name}: {args:?} was refused with {answer:?} and took a stamp");
            self.report(Broken::new("answers", detail));
        } else if let Err(broken) = memory_limit::judge_refusal(&self.lives[window.life].name, node, args, answer) {
            self.report(broken);
        }
    }

    /// What the clock was when the command itself began: keys may have been evicted for it.
    fn clock_before(&mut self, window: &Window) -> Stamp {
        self.take_removals();
        window.clock.max(self.lives[window.life].removed_last)
    }

    fn note_stamps(&mut self, me: NodeNumber, stamps: &[Stamp], applied: &Arc<VersionVector>, is_transaction: bool) {
        let written = self.written.entry(me).or_default();
        if let (Some(&(last, _)), Some(&first)) = (written.last(), stamps.first())
            && first <= last
        {
            let detail = format!("number {me} stamps {first:?} after {last:?}");
            self.broken.get_or_insert(Broken::new("stamps", detail));
        }
        written.extend(stamps.iter().map(|&stamp| (stamp, applied.clone())));
        if let (true, [first, .., last]) = (is_transaction, stamps) {
            self.transactions.entry(me).or_default().push((*first, *last));
        }
        self.tally.transactions += u64::from(is_transaction);
    }

    /// A disk is lost, or what it has cannot be relied on.
    pub fn lose_disk(&mut self, name: &str) {
        self.kept.retain(|_, (_, owner)| owner != name);
    }

    /// A life that goes on under the number of an earlier one has what its journal had of it, which is at least what was
    /// durable and what anybody else has; the rest never happened.
    pub fn take_returns(&mut self) {
        for life in 0..self.lives.len() {
            let known = &mut self.lives[life];
            let Some(node) = known.node.clone().filter(|node| !known.has_returned && !node.condition.is_loading())
            else {
                continue;
            };
            known.has_returned = true;
            let (number, name) = (node.keyspace.number(), known.name.clone());
            let Some(last) = self.resting.remove(&number) else { continue };
            let has = node.keyspace.applied().of(number);
            let durable = self.kept.remove(&number).map_or(Stamp::ZERO, |(durable, _)| durable);
            let elsewhere = self.must_survive.get(&number).copied().unwrap_or(Stamp::ZERO);
            let must = self.last_written_up_to(number, durable.max(elsewhere));
            self.trace.note(&format!("{name} goes on after {has:?} of {last:?}"));
            if has < must {
                let detail = format!("{name} goes on as number {number} after {has:?}, without {must:?}");
                self.report(Broken::new("nothing-lost", detail));
            }
            self.history.void(number, has, last);
            self.deliveries.void(number, has, last);
            let gone = |stamp: Stamp| stamp > has && stamp <= last;
            self.written.entry(number).or_default().retain(|(stamp, _)| !gone(*stamp));
            self.transactions.entry(number).or_default().retain(|(_, end)| !gone(*end));
        }
    }

    /// Notes which numbers were sealed. Of a tail that nobody knows as a whole everybody has the same part, whatever that
    /// is; and what others wrote on top of writes that are lost stands without them. Keys that such writes concern can no
    /// longer be told.
    pub fn take_seals(&mut self) {
        self.take_returns();
        let live = self.lives.iter().filter_map(|life| life.node.as_ref());
        let found: Vec<EndedNumber> = live
            .flat_map(|node| node.keyspace.ended())
            .filter(|ended| self.sealed.get(&ended.number).is_none_or(|known| known.whole > ended.whole))
            .collect();
        for ended in found {
            let number = ended.number;
            let others = self.written.iter().filter(|(other, _)| **other != number).flat_map(|(_, writes)| writes);
            let observed = others.map(|(_, causes)| causes.of(number)).max().unwrap_or(Stamp::ZERO);
            let at = ended.at.max(observed);
            self.history.set_untold(number, ended.whole, at);
            self.deliveries.set_untold(number, ended.whole, at);
            self.sealed.insert(number, ended);
        }
    }

    /// How many numbers were sealed with a tail that nobody knows as a whole.
    pub fn partial_seals(&self) -> usize {
        self.sealed.values().filter(|ended| ended.whole < ended.at).count()
    }

    /// Takes in what sweeps removed. Called before anything else is looked at, so that the order is right.
    pub fn take_removals(&mut self) {
        self.take_seals();
        for life in 0..self.lives.len() {
            let removals = self.lives[life].removals.clone();
            let swept = std::mem::take(&mut *removals.lock().unwrap_or_else(PoisonError::into_inner));
            for removal in swept {
                self.take_removal(life, &removal);
            }
        }
    }

    fn take_removal(&mut self, life: usize, removal: &Swept) {
        let me = removal.stamp.author();
        let vector = removal.ahead.as_ref();
        let sees =
            |_: &Key, stamp: Stamp| removal.applied.covers(stamp) || vector.is_some_and(|vector| vector.covers(stamp));
        let ahead = |_: &Key| removal.ahead.clone();
        let mut execution = Execution::new(&mut self.history, &sees, removal.now, me, removal.stamp);
        if vector.is_some() {
            execution = execution.unsettled(&ahead);
        }
        let uncertain = vector.is_some() || execution.cannot_tell(&removal.key);
        let rightly = if removal.fields.is_empty() {
            execution.removed_by_sweep(&removal.key, removal.stamp)
        } else {
            execution.fields_removed_by_sweep(&removal.key, &removal.fields, removal.stamp)
        };
        if removal.is_in_part {
            execution.give_up(std::slice::from_ref(&removal.key), removal.stamp);
        }
        self.tally.swept += u64::from(removal.left.is_none());
        self.tally.evicted += u64::from(removal.left.is_some());
        self.lives[life].removed_last = removal.stamp;
        self.note_stamps(me, &[removal.stamp], &removal.applied, false);
        let name = &self.lives[life].name;
        let (now, key, stamp, left) = (removal.now, &removal.key, removal.stamp, removal.left);
        tracing::trace!(name, now, ?key, ?stamp, ?left, applied = ?removal.applied, "swept");
        self.trace.note(&format!("{name} removes {:?} {:?}", removal.key, removal.stamp));
        let node = self.lives[life].node.as_ref();
        if let (Some(left), Some(node)) = (removal.left, node) {
            let (limit, name) = (node.config.load().maxmemory, name.clone());
            self.tally.left_least = self.tally.left_least.min(left * 100 / limit.max(1));
            if let Err(broken) = memory_limit::judge_eviction(&name, left, limit) {
                self.report(broken);
            }
        } else if !rightly && !uncertain {
            let Swept { key, fields, now, .. } = removal;
            let name = &self.lives[life].name;
            let detail = format!("{name} removed {key:?} {fields:?} at {now} although its life was not over");
            self.report(Broken::new("expiry", detail));
        }
    }

    /// What a node has seen never shrinks, holds every cause of what it holds, and ends inside no transaction.
    fn check_vector(&mut self, life: usize, applied: &VersionVector, me: NodeNumber) {
        let known = &mut self.lives[life];
        let mut wrong = None;
        // Of a number that it has just left, its vector may say no more than others have, until that number is sealed: so it
        // is when its disk had lost something. What it wrote under it is in its slots, which are judged by what they say.
        let mine_before = if known.numbers.contains(&me) { BTreeSet::new() } else { known.numbers.clone() };
        let covers = |(number, stamp)| mine_before.contains(&number) || applied.of(number) >= stamp;
        if !known.seen.iter().all(covers) {
            wrong = Some(format!("its vector went back from {:?} to {applied:?}", known.seen));
        }
        known.numbers.insert(me);
        known.seen = applied.clone();
        let numbers = known.numbers.clone();
        for (number, up_to) in applied.iter().filter(|(number, _)| *number != me) {
            let Some(writes) = self.written.get(&number) else { continue };
            let up_to = self.sealed.get(&number).map_or(up_to, |ended| ended.whole.min(up_to));
            let count = writes.partition_point(|(stamp, _)| *stamp <= up_to);
            let Some((stamp, causes)) = count.checked_sub(1).map(|at| &writes[at]) else { continue };
            // What an ended life took with it is missing rightly.
            let held = |(cause, seen): (NodeNumber, Stamp)| {
                let held = self.must_survive.get(&cause).map_or(seen, |&must| must.min(seen));
                (cause, self.last_written_up_to(cause, held))
            };
            let foreign = causes.iter().filter(|(cause, _)| !numbers.contains(cause));
            if let Some((_, last)) = foreign.map(held).find(|&(cause, last)| last > applied.of(cause)) {
                wrong = Some(format!("it has {stamp:?} and not {last:?}, which its writer had seen"));
            }
            let transactions = self.transactions.get(&number).map_or(&[][..], Vec::as_slice);
            let before = transactions.partition_point(|(first, _)| *first <= up_to);
            if let Some((first, last)) = before.checked_sub(1).map(|at| transactions[at])
                && up_to < last
            {
                wrong =
                    Some(format!("its vector ends at {up_to:?}, inside the transaction from {first:?} to {last:?}"));
            }
        }
        if let Some(wrong) = wrong {
            let name = self.lives[life].name.clone();
            self.report(Broken::new("order", format!("at {name}: {wrong}")));
        }
    }
}

/// Whether an answer does not tell what its command wrote: one like `OK`, and that of a command that puts what it finds in
/// one key into another.
fn tells_nothing(args: &[String], answer: &Value) -> bool {
    let name = args.first().map_or(String::new(), |name| name.to_ascii_lowercase());
    let puts = matches!(name.as_str(), "copy" | "move" | "renamenx" | "bitop") || name.ends_with("store");
    matches!(answer, Value::Simple(_)) || puts && !matches!(answer, Value::Error(_))
}

/// Every known key that commands name.
fn named(commands: &[Vec<String>], database: u8, history: &History) -> Vec<Key> {
    let crosses = |args: &[String]| args.iter().any(|arg| matches!(arg.as_str(), "DB" | "MOVE"));
    let named = |key: &&Key| {
        commands
            .iter()
            .any(|args| (key.database == database || crosses(args)) && args.iter().skip(1).any(|arg| *arg == key.name))
    };
    history.keys().filter(named).cloned().collect()
}

/// What a node has seen of each key that a command may touch.
struct Views {
    applied: Arc<VersionVector>,
    ahead: BTreeMap<u16, Arc<VersionVector>>,
    /// Some of a slot's state is here and some missing, and nobody can tell which.
    is_in_part: bool,
}

impl Views {
    fn new(keyspace: &Keyspace, applied: &Arc<VersionVector>, commands: &[Vec<String>], history: &History) -> Self {
        let mut ahead = BTreeMap::new();
        let whole =
            |args: &Vec<String>| args.first().is_some_and(|name| name.to_ascii_lowercase().starts_with("flush"));
        let mut slots: BTreeSet<u16> =
            commands.iter().flat_map(|args| args.iter().skip(1)).map(|arg| slot_of(arg.as_bytes())).collect();
        if commands.iter().any(whole) {
            slots.extend(history.keys().map(|key| slot_of(key.name.as_bytes())));
        }
        let is_in_part = slots.iter().any(|&slot| keyspace.is_in_part(slot));
        for slot in slots {
            if let Some(vector) = keyspace.ahead_of(slot) {
                ahead.insert(slot, Arc::new(vector));
            }
        }
        Self { applied: applied.clone(), ahead, is_in_part }
    }

    /// Whether any slot that is looked at is ahead of the node's vector.
    fn any_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    fn sees(&self, key: &Key, stamp: Stamp) -> bool {
        self.applied.covers(stamp)
            || self.ahead.get(&slot_of(key.name.as_bytes())).is_some_and(|vector| vector.covers(stamp))
    }
}

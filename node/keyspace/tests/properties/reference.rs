//! The specification is checked too: where its meaning and that of a published type coincide, it has to agree with the
//! `crdts` crate on the same histories. An add-wins set is an `Orswot`, a string that is only set is an `LWWReg` marked
//! with the stamp, a counter that is never reset is a `PNCounter`.

use crate::generator::KEYS;
use crate::history::{Delta, History, Key, NewLife, Write};
use crate::random::{Random, for_seeds};
use crate::spec::{self, Content};
use crdt::{NodeNumber, STAMP_EPOCH_MS, Stamp};
use crdts::{CmRDT, CvRDT, LWWReg, Orswot, PNCounter};
use std::collections::BTreeSet;

const KEY: Key = KEYS[0];
const REPLICAS: usize = 3;
const NOW: u64 = STAMP_EPOCH_MS + (1 << 37);
const MEMBERS: [&str; 3] = ["f", "g", "h"];
const VALUES: [&str; 4] = ["a", "b", "c", "d"];

/// One replica of the reference: each of the three types, and the operations it has made and not yet sent.
#[derive(Clone, Default)]
struct Reference {
    set: Orswot<&'static str, usize>,
    register: LWWReg<String, Stamp>,
    counter: PNCounter<usize>,
    made: Vec<Made>,
}

/// What a write is for the reference, with the event that it is for the specification.
#[derive(Clone)]
struct Made {
    event: usize,
    operation: Operation,
}

#[derive(Clone)]
enum Operation {
    Set(crdts::orswot::Op<&'static str, usize>),
    Register(LWWReg<String, Stamp>),
    Counter(crdts::pncounter::Op<usize>),
}

/// Which of the types the key is in this history.
#[derive(Clone, Copy)]
enum Subject {
    Set,
    Register,
    Counter,
}

impl Reference {
    /// Makes a random write, here and as the specification sees it.
    fn write(&mut self, subject: Subject, at: usize, random: &mut Random) -> (Write, Operation) {
        match subject {
            Subject::Set => {
                let member = MEMBERS[random.below(MEMBERS.len())];
                if random.chance(60) {
                    let context = self.set.read_ctx().derive_add_ctx(at);
                    (Write::AddMember { key: KEY, member }, Operation::Set(self.set.add(member, context)))
                } else {
                    let context = self.set.contains(&member).derive_rm_ctx();
                    (Write::RemoveMember { key: KEY, member }, Operation::Set(self.set.rm(member, context)))
                }
            }
            Subject::Register => {
                let value = VALUES[random.below(VALUES.len())];
                let write = Write::PutString { key: KEY, value, life: NewLife::Never };
                // The stamp is filled in by whoever takes it.
                (write, Operation::Register(LWWReg { val: value.into(), marker: Stamp::ZERO }))
            }
            Subject::Counter => {
                let amount = random.between(1, 9) as i64;
                let delta = if random.chance(50) { amount } else { -amount };
                let operation = if delta > 0 {
                    self.counter.inc_many(at, amount as u64)
                } else {
                    self.counter.dec_many(at, amount as u64)
                };
                (Write::AddToString { key: KEY, delta: Delta::Integer(delta) }, Operation::Counter(operation))
            }
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Set(operation) => self.set.apply(operation),
            Operation::Register(operation) => self.register.apply(operation),
            Operation::Counter(operation) => self.counter.apply(operation),
        }
    }

    fn shown(&self, subject: Subject, is_new: bool) -> Option<Content> {
        match subject {
            Subject::Set => {
                let members: BTreeSet<String> = self.set.read().val.into_iter().map(String::from).collect();
                (!members.is_empty()).then_some(Content::Set(members))
            }
            Subject::Register => {
                (self.register.marker != Stamp::ZERO).then(|| Content::String(self.register.val.clone()))
            }
            Subject::Counter => (!is_new).then(|| Content::String(self.counter.read().to_string())),
        }
    }
}

/// Replicas of both, with what each has received of the others' operations.
struct Pair {
    subject: Subject,
    references: Vec<Reference>,
    received: [[usize; REPLICAS]; REPLICAS],
    history: History,
    clock: u64,
}

impl Pair {
    fn new(subject: Subject) -> Self {
        let references = vec![Reference::default(); REPLICAS];
        Self {
            subject,
            references,
            received: [[0; REPLICAS]; REPLICAS],
            history: History::new(REPLICAS, &[KEY]),
            clock: 0,
        }
    }

    fn write(&mut self, at: usize, random: &mut Random) {
        let (write, operation) = self.references[at].write(self.subject, at, random);
        self.clock += random.between(1, 3) as u64;
        let stamp = Stamp::at(NOW + self.clock, NodeNumber::new(at as u16).unwrap());
        let operation = match operation {
            Operation::Register(register) => Operation::Register(LWWReg { marker: stamp, ..register }),
            Operation::Set(_) | Operation::Counter(_) => operation,
        };
        // A removal of a member that is not there is no event.
        if let (Some(event), _) = self.history.write(at, &write, stamp, NOW) {
            self.references[at].apply(operation.clone());
            self.references[at].made.push(Made { event, operation });
        }
    }

    /// Everything of `origin`, with what it depends on: what `origin` had received goes first.
    fn deliver(&mut self, origin: usize, to: usize) {
        for third in (0..REPLICAS).filter(|&third| third != origin && third != to) {
            let known = self.received[origin][third];
            self.deliver_up_to(third, to, known);
        }
        self.deliver_up_to(origin, to, self.references[origin].made.len());
    }

    fn deliver_up_to(&mut self, origin: usize, to: usize, count: usize) {
        let from = self.received[to][origin];
        for made in self.references[origin].made.get(from..count).unwrap_or_default().to_vec() {
            self.references[to].apply(made.operation);
            self.history.deliver(to, made.event);
            self.received[to][origin] += 1;
        }
    }

    fn check(&self, at: usize) {
        let standing = self.history.standing(at, KEY);
        let specified = spec::shown(&standing, NOW).map(|shown| shown.content);
        assert_eq!(specified, self.references[at].shown(self.subject, standing.is_empty()), "at {at}");
    }
}

fn check(name: &str, subject: Subject) {
    for_seeds(name, 300, |seed| {
        let mut random = Random::new(seed);
        let mut pair = Pair::new(subject);
        for _ in 0..random.between(5, 60) {
            let (one, other) = random.pair(REPLICAS);
            if random.chance(60) {
                pair.write(one, &mut random);
                pair.check(one);
            } else {
                pair.deliver(one, other);
                pair.check(other);
            }
        }
        // The reference merges its states, the specification the histories.
        let whole = pair.references.clone().into_iter().reduce(|mut all, one| {
            all.set.merge(one.set);
            all.register.merge(one.register);
            all.counter.merge(one.counter);
            all
        });
        (0..REPLICAS).for_each(|origin| pair.deliver(origin, (origin + 1) % REPLICAS));
        (0..REPLICAS * REPLICAS).for_each(|step| {
            let (origin, to) = (step / REPLICAS, step % REPLICAS);
            if origin != to {
                pair.deliver(origin, to);
            }
        });
        for at in 0..REPLICAS {
            pair.check(at);
            let is_new = pair.history.standing(at, KEY).is_empty();
            let merged = whole.as_ref().and_then(|whole| whole.shown(subject, is_new));
            assert_eq!(pair.references[at].shown(subject, is_new), merged);
        }
    });
}

#[test]
fn the_specified_set_is_the_reference_set() {
    check("the_specified_set", Subject::Set);
}

#[test]
fn the_specified_string_is_the_reference_register() {
    check("the_specified_string", Subject::Register);
}

#[test]
fn the_specified_counter_is_the_reference_counter() {
    check("the_specified_counter", Subject::Counter);
}

//! All writes that were ever executed, key by key, and what a node that has seen some of them has to show.
//!
//! A write leaves *atoms* (a value, an increment, a member, a lifetime) and removes atoms that its node had observed.
//! Both are worked out once, when it happens, from what stood at its node; from then on what a node shows is a pure
//! function of the set of writes it has seen.

use super::decimal::Decimal;
use super::lists::Spot;
use super::streams::{Head, Id};
use crdt::{NodeNumber, Stamp, VersionVector};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A database and a key in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// The database.
    pub database: u8,
    /// The name.
    pub name: String,
}

/// How long a key lives; the longest comes last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Life {
    /// Until this moment, in Unix milliseconds.
    Until(u64),
    /// For ever.
    Never,
}

/// The part of a key that an atom belongs to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// The string.
    String,
    /// A field of the hash.
    Field(String),
    /// A member of the set.
    Member(String),
    /// A member of the sorted set.
    Scored(String),
    /// An element of the list.
    Element(Arc<Spot>),
    /// An entry of the stream.
    Entry(Id),
    /// What is said of the stream as a whole.
    Head,
    /// How long a field of the hash stays.
    FieldLife(String),
    /// How long it lives.
    Lifetime,
}

/// What an atom says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// A value in place of what was there.
    Value(String),
    /// An addition to a number.
    Increment(Decimal),
    /// A part of a string.
    Patch(Patch),
    /// Being a member.
    Member,
    /// An entry: which of its author's it is, and its fields.
    Entry(u64, String),
    /// What is said of a stream as a whole.
    Head(Head),
    /// How long the key lives.
    Life(Life),
}

/// A write of a part of a string.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Patch {
    /// This text at the end.
    Append(String),
    /// This text from here on.
    Range(usize, String),
    /// These bits.
    Bits(Bits),
    /// What these elements raise in a sketch.
    Sketch(BTreeSet<String>),
}

/// Bits of a string, none of them the highest of a byte: the string stays text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bits {
    /// The first bit; bit 0 is the highest of the first byte.
    pub offset: usize,
    /// How many bits.
    pub count: usize,
    /// What they are, the highest first.
    pub value: u64,
}

impl Bits {
    /// The bits of a text that are there.
    pub fn of(&self, text: &str) -> u64 {
        let bit = |at: usize| text.as_bytes().get(at / 8).is_some_and(|byte| byte & Self::mask(at) != 0);
        (self.offset..self.offset + self.count).fold(0, |bits, at| bits << 1 | u64::from(bit(at)))
    }

    const fn mask(at: usize) -> u8 {
        128 >> (at % 8)
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.resize(bytes.len().max((self.offset + self.count).div_ceil(8)), 0);
        for (number, at) in (self.offset..self.offset + self.count).enumerate() {
            let is_on = self.value >> (self.count - 1 - number) & 1 == 1;
            let byte = &mut bytes[at / 8];
            *byte = *byte & !Self::mask(at) | if is_on { Self::mask(at) } else { 0 };
        }
    }
}

/// How a sketch of these elements is written here: the magic word of sketches and the elements.
pub fn sketch_text(elements: &BTreeSet<String>) -> String {
    let elements: Vec<&str> = std::iter::once("HYLL").chain(elements.iter().map(String::as_str)).collect();
    elements.join(" ")
}

impl Patch {
    /// A text after the patch.
    pub fn after(&self, text: String) -> String {
        match self {
            Patch::Append(more) => text + more,
            Patch::Bits(bits) => {
                let mut bytes = text.into_bytes();
                bits.write(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            }
            // A text that is no sketch hides what is added.
            Patch::Sketch(_) if !text.is_empty() && !text.starts_with("HYLL") => text,
            Patch::Sketch(new) => {
                let known = text.split(' ').skip(1).map(str::to_owned);
                sketch_text(&known.chain(new.iter().cloned()).collect())
            }
            Patch::Range(offset, part) => {
                let mut bytes = text.into_bytes();
                bytes.resize(bytes.len().max(offset + part.len()), 0);
                bytes[*offset..offset + part.len()].copy_from_slice(part.as_bytes());
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }
}

/// Something that stands until a write that observed it removes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Atom {
    /// The stamp of its command.
    pub stamp: Stamp,
    /// Its place among the atoms of its key: of one command's atoms the later ones count.
    pub index: usize,
    /// Where it is.
    pub place: Place,
    /// What it says.
    pub payload: Payload,
}

/// The effect of one write on one key.
#[derive(Clone, Debug)]
struct Effect {
    stamp: Stamp,
    adds: std::ops::Range<usize>,
    removed: Vec<usize>,
    /// What its node had seen of the key beyond its vector, while it compared state.
    ahead: Ahead,
}

/// What a node has seen of a key beyond its vector; nothing unless it compares state.
pub type Ahead = Option<Arc<VersionVector>>;

/// One key's part of the history.
#[derive(Clone, Debug, Default)]
struct KeyHistory {
    atoms: Vec<Atom>,
    effects: Vec<Effect>,
    uncertain: bool,
    /// The last write after which it could be told again: for those who have seen it.
    told_by: Option<Stamp>,
}

/// All writes so far.
#[derive(Clone, Debug, Default)]
pub struct History {
    keys: BTreeMap<Key, KeyHistory>,
    writes: u64,
}

impl Key {
    /// This key of this database.
    pub fn new(database: u8, name: &str) -> Self {
        Self { database, name: name.to_owned() }
    }
}

impl History {
    /// How many writes there were.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Every key that was ever written.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.keys()
    }

    /// What stands of a key where the writes are seen that `sees` says.
    pub fn standing(&self, key: &Key, sees: &dyn Fn(Stamp) -> bool) -> Vec<&Atom> {
        let Some(history) = self.keys.get(key) else { return Vec::new() };
        let mut stands = vec![false; history.atoms.len()];
        for effect in history.effects.iter().filter(|effect| sees(effect.stamp)) {
            stands[effect.adds.clone()].fill(true);
        }
        for effect in history.effects.iter().filter(|effect| sees(effect.stamp)) {
            effect.removed.iter().for_each(|&atom| stands[atom] = false);
        }
        history.atoms.iter().filter(|atom| stands[atom.index]).collect()
    }

    /// Takes a write in: it adds these atoms, and removes those that stand at its node and that `removes` names.
    pub fn write(
        &mut self,
        key: &Key,
        stamp: Stamp,
        sees: &dyn Fn(Stamp) -> bool,
        removes: &dyn Fn(&Atom) -> bool,
        adds: Vec<(Place, Payload)>,
        ahead: Ahead,
    ) {
        let removed =
            self.standing(key, sees).into_iter().filter(|atom| removes(atom)).map(|atom| atom.index).collect();
        let history = self.keys.entry(key.clone()).or_default();
        let first = history.atoms.len();
        let atoms = adds.into_iter().enumerate();
        history.atoms.extend(atoms.map(|(at, (place, payload))| Atom { stamp, index: first + at, place, payload }));
        history.effects.push(Effect { stamp, adds: first..history.atoms.len(), removed, ahead });
        self.writes += 1;
    }

    /// Whether a node has seen every write of a key there ever was, those that cannot be told too.
    pub fn is_all_seen(&self, key: &Key, sees: &dyn Fn(Stamp) -> bool) -> bool {
        self.keys.get(key).is_none_or(|history| history.effects.iter().all(|effect| sees(effect.stamp)))
    }

    /// Whether what a key holds can no longer be told of a node that has seen these writes.
    ///
    /// SUBTLE: a node that compares state writes on top of what it has seen beyond its vector, and its batches do not say
    /// so. Who has such a write and lacks what it follows from has newer beside older, like the writer itself.
    pub fn cannot_tell(&self, key: &Key, sees: &dyn Fn(Stamp) -> bool) -> bool {
        let Some(history) = self.keys.get(key) else { return false };
        let seen = history.effects.iter().filter(|effect| sees(effect.stamp));
        let mut vectors = seen.filter_map(|effect| effect.ahead.as_ref());
        let lacks = |ahead: &Arc<VersionVector>| {
            history.effects.iter().any(|effect| ahead.covers(effect.stamp) && !sees(effect.stamp))
        };
        history.uncertain || history.told_by.is_some_and(|stamp| !sees(stamp)) || vectors.any(lacks)
    }

    /// A write of the whole key by a node that had seen everything removes everything: what the key holds can be told
    /// again.
    pub fn remove_everything(&mut self, key: &Key, stamp: Stamp) {
        let history = self.keys.entry(key.clone()).or_default();
        (history.uncertain, history.told_by) = (false, Some(stamp));
        let (first, removed) = (history.atoms.len(), (0..history.atoms.len()).collect());
        history.effects.push(Effect { stamp, adds: first..first, removed, ahead: None });
    }

    /// What this key holds can no longer be told: a write with this stamp, or before it, met it while its node compared
    /// state.
    pub fn set_uncertain(&mut self, key: &Key, stamp: Stamp) {
        let history = self.keys.entry(key.clone()).or_default();
        history.uncertain = true;
        let first = history.atoms.len();
        history.effects.push(Effect { stamp, adds: first..first, removed: Vec::new(), ahead: None });
    }

    /// Of the writes under a number after `whole` and up to `at` nobody knows which are left: the keys that they wrote to
    /// can no longer be told.
    pub fn set_untold(&mut self, number: NodeNumber, whole: Stamp, at: Stamp) {
        let untold = |effect: &Effect| effect.stamp.author() == number && effect.stamp > whole && effect.stamp <= at;
        for history in self.keys.values_mut() {
            history.uncertain |= history.effects.iter().any(untold);
        }
    }

    /// The writes under a number after `kept` and up to `last` are gone with the process that made them: they never
    /// happened.
    pub fn void(&mut self, number: NodeNumber, kept: Stamp, last: Stamp) {
        let gone = |stamp: Stamp| stamp.author() == number && stamp > kept && stamp <= last;
        for history in self.keys.values_mut() {
            history.effects.retain(|effect| !gone(effect.stamp));
            history.uncertain |= history.told_by.take_if(|stamp| gone(*stamp)).is_some();
        }
    }

    /// Whether what a key holds can no longer be told.
    pub fn is_uncertain(&self, key: &Key) -> bool {
        self.keys.get(key).is_some_and(|history| history.uncertain)
    }

    /// Whether that is so for any key of a database, or of all.
    pub fn any_uncertain(&self, database: Option<u8>) -> bool {
        let of = |key: &Key| database.is_none_or(|database| database == key.database);
        self.keys.iter().any(|(key, history)| of(key) && history.uncertain)
    }

    /// How many keys can no longer be told.
    pub fn uncertain_keys(&self) -> usize {
        self.keys.values().filter(|history| history.uncertain).count()
    }

    /// Makes another history of it, in which nothing was ever removed: to prove that the judgement can fail.
    pub fn forget_removals(&mut self) {
        let effects = self.keys.values_mut().flat_map(|history| &mut history.effects);
        effects.for_each(|effect| effect.removed.clear());
    }

    /// Makes another history of it, in which one increment of each key did not happen: to prove that the judgement can
    /// fail.
    pub fn forget_an_increment(&mut self) {
        for history in self.keys.values_mut() {
            let removed: Vec<usize> =
                history.effects.iter().flat_map(|effect| effect.removed.iter().copied()).collect();
            let stands = |atom: &&mut Atom| !removed.contains(&atom.index);
            let mut increments = history.atoms.iter_mut().filter(|atom| matches!(atom.payload, Payload::Increment(_)));
            if let Some(atom) = increments.find(stands) {
                atom.payload = Payload::Increment(Decimal(0));
            }
        }
    }
}

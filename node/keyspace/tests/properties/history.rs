//! What was done: commands, the writes they consist of, and the history that a specification is a function of.
//!
//! A write leaves *atoms* (a value, an increment, a member, a lifetime) and removes atoms that its replica had
//! observed. Both are worked out once, when it happens, from the atoms visible there; from then on what a replica shows
//! depends only on the set of writes it has seen.

use crate::spec;
use crate::spec_list::Spot;
use crate::spec_stream::{Head, Id, Kept, Wanted};
use crdt::Stamp;
use std::collections::BTreeMap;

/// A database and a key in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Key(pub u8, pub &'static str);

/// How long a key lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Life {
    Until(u64),
    // The longest: greater than any other.
    Never,
}

/// What a write of a whole string does with the lifetime; times are relative to the clock of the replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewLife {
    Keep,
    Never,
    For(u64),
}

/// What is added to a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delta {
    Integer(i64),
    /// Decimal text.
    Float(&'static str),
}

/// A write of a part of a string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patch {
    /// This text at the end.
    Append(&'static str),
    /// This text from here on.
    Range(usize, &'static str),
}

/// One call of the keyspace that may write. A command is a list of them under one stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    PutString {
        key: Key,
        value: &'static str,
        life: NewLife,
    },
    AddToString {
        key: Key,
        delta: Delta,
    },
    /// Writes a part of a string.
    PatchString {
        key: Key,
        patch: Patch,
    },
    Delete {
        key: Key,
    },
    SetLife {
        key: Key,
        life: NewLife,
    },
    PutField {
        key: Key,
        field: &'static str,
        value: &'static str,
    },
    AddToField {
        key: Key,
        field: &'static str,
        delta: Delta,
    },
    RemoveField {
        key: Key,
        field: &'static str,
    },
    AddMember {
        key: Key,
        member: &'static str,
    },
    RemoveMember {
        key: Key,
        member: &'static str,
    },
    /// Sets the score of a member of a sorted set, in the shortest decimal text.
    PutScore {
        key: Key,
        member: &'static str,
        score: &'static str,
    },
    AddToScore {
        key: Key,
        member: &'static str,
        delta: Delta,
    },
    RemoveScored {
        key: Key,
        member: &'static str,
    },
    /// Puts elements at an end of a list, one after the other.
    Push {
        key: Key,
        is_head: bool,
        values: &'static [&'static str],
    },
    Pop {
        key: Key,
        is_head: bool,
        count: usize,
    },
    /// Moves an element from an end to the other.
    Rotate {
        key: Key,
        is_head: bool,
    },
    SetElement {
        key: Key,
        index: usize,
        value: &'static str,
    },
    /// Puts an element before the one with this number.
    InsertElement {
        key: Key,
        index: usize,
        value: &'static str,
    },
    RemoveElements {
        key: Key,
        start: usize,
        end: usize,
    },
    /// Sets a field and how long it stays.
    PutFieldFor {
        key: Key,
        field: &'static str,
        value: &'static str,
        life: NewLife,
    },
    SetFieldLife {
        key: Key,
        field: &'static str,
        life: NewLife,
    },
    /// Adds an entry to a stream.
    Append {
        key: Key,
        wanted: Wanted,
        value: &'static str,
    },
    DeleteEntries {
        key: Key,
        ids: [Id; 2],
    },
    TrimStream {
        key: Key,
        kept: Kept,
    },
    /// Says how a stream goes on.
    SetStreamIds {
        key: Key,
        last: Id,
        added: Option<u64>,
    },
    Copy {
        source: Key,
        target: Key,
    },
    Clear {
        database: Option<u8>,
    },
    /// The replica found the key's life to be over and removed it.
    Expired {
        key: Key,
    },
    /// The replica found the life of a field to be over and removed it.
    ExpiredField {
        key: Key,
        field: &'static str,
    },
}

impl Write {
    /// The keys that it has to lock, none if it looks at a whole database.
    pub fn keys(&self) -> Vec<Key> {
        match *self {
            Write::PutString { key, .. }
            | Write::AddToString { key, .. }
            | Write::PatchString { key, .. }
            | Write::Delete { key }
            | Write::SetLife { key, .. }
            | Write::PutField { key, .. }
            | Write::AddToField { key, .. }
            | Write::RemoveField { key, .. }
            | Write::AddMember { key, .. }
            | Write::RemoveMember { key, .. }
            | Write::Push { key, .. }
            | Write::Pop { key, .. }
            | Write::Rotate { key, .. }
            | Write::SetElement { key, .. }
            | Write::InsertElement { key, .. }
            | Write::RemoveElements { key, .. }
            | Write::Append { key, .. }
            | Write::DeleteEntries { key, .. }
            | Write::TrimStream { key, .. }
            | Write::SetStreamIds { key, .. }
            | Write::PutScore { key, .. }
            | Write::AddToScore { key, .. }
            | Write::RemoveScored { key, .. }
            | Write::PutFieldFor { key, .. }
            | Write::SetFieldLife { key, .. }
            | Write::ExpiredField { key, .. }
            | Write::Expired { key } => vec![key],
            Write::Copy { source, target } => vec![source, target],
            Write::Clear { .. } => vec![],
        }
    }
}

/// What a write answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Done,
    Flag(bool),
    Count(usize),
    Id(Id),
    WrongKind,
    /// A command would have refused: what is there is no number.
    NotANumber,
}

/// The part of a key that an atom belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    String,
    Field(&'static str),
    Member(&'static str),
    Element(&'static Spot),
    /// An entry of a stream.
    Entry(Id),
    /// What is said of a stream as a whole.
    Head,
    Scored(&'static str),
    /// How long a field stays.
    FieldLife(&'static str),
    /// How long the key lives.
    Lifetime,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    Value(String),
    Increment(Delta),
    Patch(Patch),
    Member,
    /// Which of its author's entries it is, and what it holds.
    Entry(u64, String),
    Head(Head),
    Life(Life),
}

/// Something that stands until a write that observed it removes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Atom {
    pub event: usize,
    pub stamp: Stamp,
    pub place: Place,
    pub payload: Payload,
}

/// A set of events or atoms by index. Histories are short: [`Set::SIZE`] is enough.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Set([u64; 8]);

impl Set {
    pub const SIZE: usize = 512;

    pub fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    pub fn join(&mut self, other: &Set) {
        self.0.iter_mut().zip(other.0).for_each(|(own, others)| *own |= others);
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let words = self.0;
        let (mut index, mut word) = (0, words[0]);
        std::iter::from_fn(move || {
            while word == 0 {
                index += 1;
                word = *words.get(index)?;
            }
            let bit = word.trailing_zeros() as usize;
            word &= word - 1;
            Some(index * 64 + bit)
        })
    }

    /// What is here and not in `other`.
    pub fn without(&self, other: &Set) -> Set {
        let mut rest = *self;
        rest.0.iter_mut().zip(other.0).for_each(|(own, others)| *own &= !others);
        rest
    }
}

/// The effect of one write on one key.
#[derive(Clone, Default)]
struct Effect {
    atoms: Vec<usize>,
    removed: Set,
}

/// All writes so far and what each replica has seen of them, key by key (a state transfer brings some keys before
/// others).
#[derive(Clone)]
pub struct History {
    keys: Vec<Key>,
    atoms: Vec<Atom>,
    effects: Vec<BTreeMap<Key, Effect>>,
    seen: Vec<BTreeMap<Key, Set>>,
    /// What each replica has seen in its place, not ahead of it by a transfer of state.
    applied: Vec<Set>,
}

impl History {
    pub fn new(replicas: usize, keys: &[Key]) -> Self {
        let nothing: BTreeMap<_, _> = keys.iter().map(|&key| (key, Set::default())).collect();
        Self {
            keys: keys.to_vec(),
            atoms: Vec::new(),
            effects: Vec::new(),
            seen: vec![nothing; replicas],
            applied: vec![Set::default(); replicas],
        }
    }

    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether no more writes fit.
    pub fn is_full(&self) -> bool {
        self.effects.len() + 64 > Set::SIZE || self.atoms.len() + 64 > Set::SIZE
    }

    /// What stands of `key` as `replica` sees it, readable or not.
    pub fn standing(&self, replica: usize, key: Key) -> Vec<&Atom> {
        let (mut there, mut gone) = (Set::default(), Set::default());
        for event in self.seen[replica][&key].iter() {
            if let Some(effect) = self.effects[event].get(&key) {
                effect.atoms.iter().for_each(|&atom| there.insert(atom));
                gone.join(&effect.removed);
            }
        }
        there.without(&gone).iter().map(|atom| &self.atoms[atom]).collect()
    }

    /// Takes a write at a replica into the history. Returns the event and what the write has to answer; a write
    /// without an effect is no event.
    pub fn write(&mut self, replica: usize, write: &Write, stamp: Stamp, now: u64) -> (Option<usize>, Answer) {
        let before = |key: Key| self.standing(replica, key);
        let (answer, changes) = spec::effect(&before, &self.keys, write, stamp, now);
        if changes.is_empty() {
            return (None, answer);
        }
        let event = self.effects.len();
        let mut effects = BTreeMap::new();
        for change in changes {
            let mut removed = Set::default();
            self.observed(replica, change.key)
                .filter(|&atom| change.removes(&self.atoms[atom]))
                .for_each(|atom| removed.insert(atom));
            let first = self.atoms.len();
            self.atoms.extend(change.adds.into_iter().map(|(place, payload)| Atom { event, stamp, place, payload }));
            effects.insert(change.key, Effect { atoms: (first..self.atoms.len()).collect(), removed });
            if let Some(seen) = self.seen[replica].get_mut(&change.key) {
                seen.insert(event);
            }
        }
        self.effects.push(effects);
        self.applied[replica].insert(event);
        (Some(event), answer)
    }

    /// `replica` has applied a write of another one.
    pub fn deliver(&mut self, replica: usize, event: usize) {
        self.applied[replica].insert(event);
        for key in self.effects[event].keys() {
            if let Some(seen) = self.seen[replica].get_mut(key) {
                seen.insert(event);
            }
        }
    }

    /// Whether `replica` knows writes that have not been applied in their place yet.
    pub fn is_ahead(&self, replica: usize) -> bool {
        let applied = &self.applied[replica];
        self.seen[replica].values().any(|seen| seen.without(applied) != Set::default())
    }

    /// `replica` has lost its memory.
    pub fn forget(&mut self, replica: usize) {
        self.applied[replica] = Set::default();
        self.seen[replica].values_mut().for_each(|seen| *seen = Set::default());
    }

    /// `replica` has taken over the state of `key` from another one.
    pub fn transfer(&mut self, source: usize, replica: usize, key: Key) {
        let of_source = self.seen[source][&key];
        if let Some(seen) = self.seen[replica].get_mut(&key) {
            seen.join(&of_source);
        }
    }

    fn observed(&self, replica: usize, key: Key) -> impl Iterator<Item = usize> + '_ {
        let effects = self.seen[replica][&key].iter().filter_map(move |event| self.effects[event].get(&key));
        effects.flat_map(|effect| effect.atoms.iter().copied())
    }
}

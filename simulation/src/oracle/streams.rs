//! Streams as the contract has them: every id once, with the entry of the latest stamp, and what removals have left said of
//! the stream as a whole.

use super::execution::{Change, Execution, Scope};
use super::history::{Atom, Key, Payload, Place};
use super::shown::{Content, Kind};
use crdt::{NodeNumber, Stamp};
use std::collections::BTreeMap;

/// An id: milliseconds and sequence number.
pub type Id = (u64, u64);

/// Of each node, how many entries it has added.
pub type Added = BTreeMap<NodeNumber, u64>;

/// What a removal leaves said of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// No entry had a greater id.
    last: Id,
    /// The greatest id that was deleted.
    deleted: Id,
    /// What clients said that the count of added entries differs by.
    offset: i64,
    added: Added,
}

/// What a reader finds in a stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StreamContent {
    /// The fields of the entries by their ids, as one text.
    pub entries: BTreeMap<Id, String>,
    /// The greatest id ever.
    pub last: Id,
    /// The greatest id that was deleted.
    pub deleted: Id,
    /// How many entries were ever added.
    pub added: u64,
}

/// What stands of a stream.
#[derive(Clone, Debug, Default)]
struct State {
    /// Of each id what was written there and not removed: stamp, ordinal, fields.
    entries: BTreeMap<Id, Vec<(Stamp, u64, String)>>,
    head: Head,
}

/// Which id a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Any.
    Next,
    /// Any with these milliseconds.
    NextIn(u64),
    /// This one.
    This(Id),
}

/// What is to stay of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// So many entries.
    Most(usize),
    /// Entries with this id or a greater one.
    From(Id),
}

/// The key holds another type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoStream;

/// Bits of a generated sequence number that say whose it is.
const NODE_BITS: u32 = 10;
/// Bits of a stamp below its milliseconds.
const BELOW_MS_BITS: u32 = 23;

impl State {
    fn of(standing: &[&Atom]) -> Self {
        let (mut state, mut latest) = (Self::default(), Stamp::ZERO);
        for atom in standing {
            if let (Place::Entry(id), Payload::Entry(ordinal, fields)) = (&atom.place, &atom.payload) {
                state.entries.entry(*id).or_default().push((atom.stamp, *ordinal, fields.clone()));
            }
            if let Payload::Head(head) = &atom.payload {
                state.head.last = state.head.last.max(head.last);
                state.head.deleted = state.head.deleted.max(head.deleted);
                raise(&mut state.head.added, &head.added);
                if atom.stamp >= latest {
                    (state.head.offset, latest) = (head.offset, atom.stamp);
                }
            }
        }
        state.entries.values_mut().for_each(|siblings| siblings.sort());
        state
    }

    fn last(&self) -> Id {
        self.entries.keys().next_back().map_or(self.head.last, |last| *last.max(&self.head.last))
    }

    fn added(&self) -> Added {
        let mut added = self.head.added.clone();
        for (stamp, ordinal, _) in self.entries.values().flatten() {
            raise(&mut added, &[(stamp.author(), *ordinal)].into_iter().collect());
        }
        added
    }

    fn content(&self) -> StreamContent {
        let latest = |siblings: &Vec<(Stamp, u64, String)>| siblings.last().map(|(_, _, fields)| fields.clone());
        StreamContent {
            entries: self.entries.iter().filter_map(|(id, siblings)| Some((*id, latest(siblings)?))).collect(),
            last: self.last(),
            deleted: self.head.deleted,
            added: self.added().values().sum::<u64>().wrapping_add_signed(self.head.offset),
        }
    }

    /// A head that forgets nothing.
    fn whole_head(&self) -> Head {
        Head { last: self.last(), added: self.added(), ..self.head.clone() }
    }
}

fn raise(added: &mut Added, by: &Added) {
    for (node, ordinal) in by {
        let known = added.entry(*node).or_default();
        *known = (*known).max(*ordinal);
    }
}

/// What a reader finds.
pub fn content(standing: &[&Atom]) -> StreamContent {
    State::of(standing).content()
}

/// The atoms of a copy: all entries are its author's.
pub fn copied(content: StreamContent) -> Vec<(Place, Payload)> {
    let offset = content.added.wrapping_sub(content.entries.len() as u64) as i64;
    let head = Head { last: content.last, deleted: content.deleted, offset, added: Added::new() };
    let entries = content.entries.into_iter().zip(1..);
    let entries = entries.map(|((id, fields), ordinal)| (Place::Entry(id), Payload::Entry(ordinal, fields)));
    entries.chain([(Place::Head, Payload::Head(head))]).collect()
}

/// The id that a command generates.
fn generated(last: Id, wanted: Wanted, stamp: Stamp) -> Option<Id> {
    let node = u64::from(stamp.author().value());
    let behind = |sequence: u64| {
        let same = sequence >> NODE_BITS << NODE_BITS | node;
        if same > sequence { Some(same) } else { same.checked_add(1 << NODE_BITS) }
    };
    match wanted {
        Wanted::This(id) => (id > last).then_some(id),
        Wanted::NextIn(ms) if ms < last.0 => None,
        Wanted::NextIn(ms) if ms == last.0 => Some((ms, behind(last.1)?)),
        Wanted::NextIn(ms) => Some((ms, node)),
        Wanted::Next => {
            let own = (stamp.unix_ms(), stamp.bits() & ((1 << BELOW_MS_BITS) - 1));
            let other = || behind(last.1).map_or((last.0 + 1, node), |sequence| (last.0, sequence));
            Some(if own > last { own } else { other() })
        }
    }
}

impl Execution<'_> {
    /// The stream that a reader finds, if there is one.
    pub fn stream(&mut self, key: &Key) -> Result<Option<StreamContent>, NoStream> {
        match self.shown(key).map(|shown| shown.content) {
            None => Ok(None),
            Some(Content::Stream(content)) => Ok(Some(content)),
            Some(
                Content::String(_) | Content::Hash(_) | Content::Set(_) | Content::SortedSet(_) | Content::List(_),
            ) => Err(NoStream),
        }
    }

    fn state(&mut self, key: &Key) -> State {
        match self.stream(key) {
            Ok(Some(_)) => State::of(&self.standing(key)),
            Ok(None) | Err(NoStream) => State::default(),
        }
    }

    /// Adds an entry and says its id; nothing if it may not have the one that was asked for. The caller has checked the
    /// type.
    pub fn append(&mut self, key: &Key, wanted: Wanted, fields: &str) -> Option<Id> {
        let state = self.state(key);
        let stamp = self.next_stamp();
        let id = generated(state.last(), wanted, stamp)?;
        let ordinal = 1 + state.added().get(&stamp.author()).copied().unwrap_or(0);
        let mut change = self.element_write(key, Kind::Stream);
        change.adds.push((Place::Entry(id), Payload::Entry(ordinal, fields.to_owned())));
        self.apply(key, change);
        Some(id)
    }

    /// Removes entries from the front and says how many.
    pub fn trim(&mut self, key: &Key, kept: Kept) -> usize {
        let state = self.state(key);
        let excess = match kept {
            Kept::Most(most) => state.entries.len().saturating_sub(most),
            Kept::From(id) => state.entries.range(..id).count(),
        };
        let removed: Vec<Id> = state.entries.keys().copied().take(excess).collect();
        let added = state.added();
        let tells_last = |id: &Id| {
            let siblings = &state.entries[id];
            let latest = |(stamp, ordinal, _): &(Stamp, u64, String)| added.get(&stamp.author()) == Some(ordinal);
            siblings.len() > 1 || siblings.iter().any(latest) || *id == state.last()
        };
        if removed.iter().any(tells_last) {
            self.put_head(key, state.whole_head());
        }
        self.remove_ids(key, &removed);
        excess
    }

    /// Removes entries by their ids and says how many.
    pub fn delete_entries(&mut self, key: &Key, ids: &[Id]) -> usize {
        let state = self.state(key);
        let mut found: Vec<Id> = ids.iter().copied().filter(|id| state.entries.contains_key(id)).collect();
        found.sort_unstable();
        found.dedup();
        if let Some(&greatest) = found.last() {
            let mut head = state.whole_head();
            head.deleted = head.deleted.max(greatest);
            self.put_head(key, head);
            self.remove_ids(key, &found);
        }
        found.len()
    }

    /// Says how a stream that is there goes on.
    pub fn set_last(&mut self, key: &Key, last: Id, added: Option<u64>) {
        let mut head = self.state(key).whole_head();
        head.last = last;
        if let Some(added) = added {
            head.offset = added.wrapping_sub(head.added.values().sum()) as i64;
        }
        self.put_head(key, head);
    }

    fn put_head(&mut self, key: &Key, head: Head) {
        let mut change = self.element_write(key, Kind::Stream);
        change.scopes.push(Scope::Place(Place::Head));
        change.adds.push((Place::Head, Payload::Head(head)));
        self.apply(key, change);
    }

    fn remove_ids(&mut self, key: &Key, ids: &[Id]) {
        if ids.is_empty() {
            return;
        }
        let mut change: Change = self.element_write(key, Kind::Stream);
        change.scopes.extend(ids.iter().map(|id| Scope::Place(Place::Entry(*id))));
        self.apply(key, change);
    }
}

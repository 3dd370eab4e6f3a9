//! The specification of streams: every id once, with the entry of the latest stamp, and what removals have left said of the
//! stream as a whole.

use crate::history::{Answer, Atom, Key, Payload, Place};
use crate::spec::{Change, Content, Kind, element_write, shown};
use crdt::{NodeNumber, Stamp};
use std::collections::BTreeMap;

/// An id: milliseconds and sequence number.
pub type Id = (u64, u64);

/// Of each node, how many entries it has added.
type Added = BTreeMap<NodeNumber, u64>;

/// What a removal leaves said of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Head {
    last: Id,
    deleted: Id,
    offset: i64,
    added: Added,
}

/// What a reader finds in a stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StreamContent {
    pub entries: BTreeMap<Id, String>,
    pub last: Id,
    pub deleted: Id,
    pub added: u64,
}

/// Which id an entry is to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    Next,
    NextIn(u64),
    This(Id),
}

/// What is to stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    Most(usize),
    From(Id),
}

/// What stands: of each id what was written there, the latest last.
#[derive(Default)]
struct State {
    entries: BTreeMap<Id, Vec<(Stamp, u64, String)>>,
    head: Head,
}

impl State {
    fn of(standing: &[&Atom]) -> Self {
        let (mut state, mut latest) = (Self::default(), Stamp::ZERO);
        for atom in standing {
            if let (Place::Entry(id), Payload::Entry(ordinal, text)) = (atom.place, &atom.payload) {
                state.entries.entry(id).or_default().push((atom.stamp, *ordinal, text.clone()));
            }
            if let Payload::Head(head) = &atom.payload {
                state.head.last = state.head.last.max(head.last);
                state.head.deleted = state.head.deleted.max(head.deleted);
                head.added.iter().for_each(|(node, ordinal)| raise(&mut state.head.added, *node, *ordinal));
                if atom.stamp >= latest {
                    (state.head.offset, latest) = (head.offset, atom.stamp);
                }
            }
        }
        state.entries.values_mut().for_each(|siblings| siblings.sort());
        state
    }

    /// Of a stream that readers find; of another nothing.
    fn readable(before: &[&Atom], now: u64) -> Result<Option<Self>, Answer> {
        match shown(before, now).map(|shown| shown.content) {
            None => Ok(None),
            Some(Content::Stream(_)) => Ok(Some(Self::of(before))),
            Some(_) => Err(Answer::WrongKind),
        }
    }

    fn last(&self) -> Id {
        self.entries.keys().next_back().map_or(self.head.last, |last| *last.max(&self.head.last))
    }

    fn added(&self) -> Added {
        let mut added = self.head.added.clone();
        let siblings = self.entries.values().flatten();
        siblings.for_each(|(stamp, ordinal, _)| raise(&mut added, stamp.author(), *ordinal));
        added
    }

    fn whole_head(&self) -> Head {
        Head { last: self.last(), added: self.added(), ..self.head.clone() }
    }
}

fn raise(added: &mut Added, node: NodeNumber, ordinal: u64) {
    let known = added.entry(node).or_default();
    *known = (*known).max(ordinal);
}

/// What a reader finds.
pub fn content(standing: &[&Atom]) -> StreamContent {
    let state = State::of(standing);
    let latest = |siblings: &Vec<(Stamp, u64, String)>| siblings.last().map(|(_, _, text)| text.clone());
    StreamContent {
        entries: state.entries.iter().filter_map(|(id, siblings)| Some((*id, latest(siblings)?))).collect(),
        last: state.last(),
        deleted: state.head.deleted,
        added: state.added().values().sum::<u64>().wrapping_add_signed(state.head.offset),
    }
}

/// The atoms of a copy: all entries are its author's.
pub fn copied(content: StreamContent) -> Vec<(Place, Payload)> {
    let offset = content.added.wrapping_sub(content.entries.len() as u64) as i64;
    let head = Head { last: content.last, deleted: content.deleted, offset, added: Added::new() };
    let entries = content.entries.into_iter().zip(1..);
    let entries = entries.map(|((id, text), ordinal)| (Place::Entry(id), Payload::Entry(ordinal, text)));
    entries.chain([(Place::Head, Payload::Head(head))]).collect()
}

fn id_of(last: Id, wanted: Wanted, stamp: Stamp) -> Option<Id> {
    let node = u64::from(stamp.author().value());
    let behind = |sequence: u64| {
        let same = sequence / 1024 * 1024 + node;
        if same > sequence { Some(same) } else { same.checked_add(1024) }
    };
    match wanted {
        Wanted::This(id) => (id > last).then_some(id),
        Wanted::NextIn(ms) if ms < last.0 => None,
        Wanted::NextIn(ms) if ms == last.0 => Some((ms, behind(last.1)?)),
        Wanted::NextIn(ms) => Some((ms, node)),
        Wanted::Next => {
            let own = (stamp.unix_ms(), stamp.bits() % (1 << 23));
            let other = || behind(last.1).map_or((last.0 + 1, node), |sequence| (last.0, sequence));
            Some(if own > last { own } else { other() })
        }
    }
}

pub fn append(before: &[&Atom], key: Key, wanted: Wanted, text: &str, stamp: Stamp, now: u64) -> (Answer, Vec<Change>) {
    let state = match State::readable(before, now) {
        Ok(state) => state.unwrap_or_default(),
        Err(answer) => return (answer, vec![]),
    };
    let Some(id) = id_of(state.last(), wanted, stamp) else { return (Answer::Flag(false), vec![]) };
    let ordinal = 1 + state.added().get(&stamp.author()).copied().unwrap_or(0);
    let mut change = element_write(before, key, Kind::Stream, now);
    change.adds.push((Place::Entry(id), Payload::Entry(ordinal, text.to_owned())));
    (Answer::Id(id), vec![change])
}

fn remove(before: &[&Atom], key: Key, ids: &[Id], head: Option<Head>, now: u64) -> (Answer, Vec<Change>) {
    if ids.is_empty() {
        return (Answer::Count(0), vec![]);
    }
    let mut change = element_write(before, key, Kind::Stream, now);
    ids.iter().for_each(|&id| change.removes_at(Place::Entry(id)));
    if let Some(head) = head {
        change.removes_at(Place::Head);
        change.adds.push((Place::Head, Payload::Head(head)));
    }
    (Answer::Count(ids.len()), vec![change])
}

pub fn delete(before: &[&Atom], key: Key, ids: &[Id], now: u64) -> (Answer, Vec<Change>) {
    let state = match State::readable(before, now) {
        Ok(state) => state.unwrap_or_default(),
        Err(answer) => return (answer, vec![]),
    };
    let mut found: Vec<Id> = ids.iter().copied().filter(|id| state.entries.contains_key(id)).collect();
    found.sort_unstable();
    found.dedup();
    let mut head = state.whole_head();
    head.deleted = head.deleted.max(found.last().copied().unwrap_or_default());
    remove(before, key, &found, Some(head), now)
}

pub fn trim(before: &[&Atom], key: Key, kept: Kept, now: u64) -> (Answer, Vec<Change>) {
    let state = match State::readable(before, now) {
        Ok(state) => state.unwrap_or_default(),
        Err(answer) => return (answer, vec![]),
    };
    let excess = match kept {
        Kept::Most(most) => state.entries.len().saturating_sub(most),
        Kept::From(id) => state.entries.range(..id).count(),
    };
    let removed: Vec<Id> = state.entries.keys().copied().take(excess).collect();
    // What only this entry tells has to be said by the head from now on.
    let added = state.added();
    let tells_last = |id: &Id| {
        let siblings = &state.entries[id];
        let is_latest = |(stamp, ordinal, _): &(Stamp, u64, String)| added.get(&stamp.author()) == Some(ordinal);
        siblings.len() > 1 || siblings.iter().any(is_latest) || *id == state.last()
    };
    let head = removed.iter().any(tells_last).then(|| state.whole_head());
    remove(before, key, &removed, head, now)
}

pub fn set_ids(before: &[&Atom], key: Key, last: Id, added: Option<u64>, now: u64) -> (Answer, Vec<Change>) {
    let state = match State::readable(before, now) {
        Ok(Some(state)) => state,
        Ok(None) => return (Answer::Flag(false), vec![]),
        Err(answer) => return (answer, vec![]),
    };
    if state.entries.keys().next_back().is_some_and(|top| *top > last) {
        return (Answer::Flag(false), vec![]);
    }
    let mut head = state.whole_head();
    head.last = last;
    if let Some(added) = added {
        head.offset = added.wrapping_sub(head.added.values().sum()) as i64;
    }
    let mut change = element_write(before, key, Kind::Stream, now);
    change.removes_at(Place::Head);
    change.adds.push((Place::Head, Payload::Head(head)));
    (Answer::Flag(true), vec![change])
}

//! What a reader finds where some atoms stand: the contract's reading half, a pure function.
//!
//! *An unobserved write is never lost to a removal; where two writes cannot both stand, the later stamp stands.*

use super::decimal::Decimal;
use super::fields;
use super::history::{Atom, Life, Payload, Place};
use super::streams::StreamContent;
use crdt::Stamp;
use std::collections::{BTreeMap, BTreeSet};

/// The types of keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A string.
    String,
    /// A hash.
    Hash,
    /// A set.
    Set,
    /// A sorted set.
    SortedSet,
    /// A list.
    List,
    /// A stream.
    Stream,
}

/// What a reader finds under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A string.
    String(String),
    /// The fields of a hash.
    Hash(BTreeMap<String, String>),
    /// The members of a set.
    Set(BTreeSet<String>),
    /// The members of a sorted set with their scores, in the shortest decimal text.
    SortedSet(BTreeMap<String, String>),
    /// The elements of a list, the first one first.
    List(Vec<String>),
    /// A stream.
    Stream(StreamContent),
}

/// A key that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// What it holds.
    pub content: Content,
    /// How long it lives.
    pub life: Life,
    /// The ends of fields of a hash, in Unix milliseconds.
    pub ends: BTreeMap<String, u64>,
}

/// The type that a place belongs to; none for the lifetime.
pub fn kind_of(place: &Place) -> Option<Kind> {
    match place {
        Place::String => Some(Kind::String),
        Place::Field(_) | Place::FieldLife(_) => Some(Kind::Hash),
        Place::Member(_) => Some(Kind::Set),
        Place::Scored(_) => Some(Kind::SortedSet),
        Place::Element(_) => Some(Kind::List),
        Place::Entry(_) | Place::Head => Some(Kind::Stream),
        Place::Lifetime => None,
    }
}

/// What a reader finds at `now`.
pub fn shown(standing: &[&Atom], now: u64) -> Option<Shown> {
    // What is over counts as little as assertions do.
    let found = || standing.iter().filter(|atom| !fields::is_hidden(standing, atom, now));
    let content = found().filter(|atom| !matches!(atom.place, Place::Lifetime | Place::FieldLife(_)));
    // Of several types the one that holds the latest standing stamp is shown.
    let latest = content.max_by_key(|atom| (atom.stamp, atom.index))?;
    let life = life(standing);
    if is_over(life, now) {
        return None;
    }
    let places: BTreeSet<&Place> = found().map(|atom| &atom.place).collect();
    let content = match kind_of(&latest.place)? {
        Kind::String => Content::String(value(standing, &Place::String)?),
        Kind::Hash => Content::Hash(places.into_iter().filter_map(|place| field(standing, place)).collect()),
        Kind::Set => Content::Set(places.into_iter().filter_map(member).collect()),
        Kind::List => Content::List(super::lists::texts(standing)),
        Kind::Stream => Content::Stream(super::streams::content(standing)),
        Kind::SortedSet => Content::SortedSet(places.into_iter().filter_map(|place| scored(standing, place)).collect()),
    };
    let ends = match &content {
        Content::Hash(held) => fields::ends(standing, held.keys()),
        Content::String(_) | Content::Set(_) | Content::SortedSet(_) | Content::List(_) | Content::Stream(_) => {
            BTreeMap::new()
        }
    };
    Some(Shown { content, life, ends })
}

/// How long a key lives: the longest life of all assertions that stand; none is no end at all.
pub fn life(standing: &[&Atom]) -> Life {
    longest(standing, |place| *place == Place::Lifetime)
}

/// The longest life that is asserted at these places.
pub(super) fn longest(standing: &[&Atom], is_it: impl Fn(&Place) -> bool) -> Life {
    let asserted = standing.iter().filter(|atom| is_it(&atom.place)).filter_map(|atom| match atom.payload {
        Payload::Life(life) => Some(life),
        Payload::Value(_)
        | Payload::Increment(_)
        | Payload::Patch(_)
        | Payload::Member
        | Payload::Entry(..)
        | Payload::Head(_) => None,
    });
    asserted.max().unwrap_or(Life::Never)
}

/// Whether a life has ended.
pub fn is_over(life: Life, now: u64) -> bool {
    match life {
        Life::Until(deadline) => deadline <= now,
        Life::Never => false,
    }
}

fn field(standing: &[&Atom], place: &Place) -> Option<(String, String)> {
    let Place::Field(name) = place else { return None };
    Some((name.clone(), value(standing, place)?))
}

fn scored(standing: &[&Atom], place: &Place) -> Option<(String, String)> {
    let Place::Scored(name) = place else { return None };
    Some((name.clone(), value(standing, place)?))
}

fn member(place: &Place) -> Option<String> {
    let Place::Member(name) = place else { return None };
    Some(name.clone())
}

/// The value at a place: the latest value that stands, plus every increment that stands if that value is a number.
pub(super) fn value(standing: &[&Atom], place: &Place) -> Option<String> {
    let here = || standing.iter().filter(|atom| atom.place == *place);
    let values = here().filter_map(|atom| match &atom.payload {
        Payload::Value(text) => Some((atom.stamp, atom.index, text)),
        Payload::Increment(_)
        | Payload::Patch(_)
        | Payload::Member
        | Payload::Entry(..)
        | Payload::Head(_)
        | Payload::Life(_) => None,
    });
    let latest = values.max();
    let increments: Vec<Decimal> = here()
        .filter_map(|atom| match atom.payload {
            Payload::Increment(delta) => Some(delta),
            Payload::Value(_)
            | Payload::Patch(_)
            | Payload::Member
            | Payload::Entry(..)
            | Payload::Head(_)
            | Payload::Life(_) => None,
        })
        .collect();
    let base = match patched(here().copied(), latest) {
        None if increments.is_empty() => return None,
        None => Decimal(0),
        Some(text) => match Decimal::parse(&text) {
            Some(base) if !increments.is_empty() => base,
            // Text stands as it is, and so does a number that nothing was added to.
            Some(_) | None => return Some(text),
        },
    };
    Some(Decimal(base.0 + increments.iter().map(|increment| increment.0).sum::<i128>()).redis_text())
}

/// What the latest value and the patches later than it make, one after the other.
fn patched<'a>(here: impl Iterator<Item = &'a Atom>, latest: Option<(Stamp, usize, &String)>) -> Option<String> {
    let is_later = |atom: &&Atom| latest.is_none_or(|(stamp, index, _)| (stamp, index) < (atom.stamp, atom.index));
    let mut patches: Vec<&Atom> = here.filter(is_later).collect();
    patches.sort_by_key(|atom| (atom.stamp, atom.index));
    patches.into_iter().fold(latest.map(|(_, _, text)| text.clone()), |text, atom| match &atom.payload {
        Payload::Patch(patch) => Some(patch.after(text.unwrap_or_default())),
        Payload::Value(_)
        | Payload::Increment(_)
        | Payload::Member
        | Payload::Entry(..)
        | Payload::Head(_)
        | Payload::Life(_) => text,
    })
}

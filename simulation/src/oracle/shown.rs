//! What a reader finds where some atoms stand: the contract's reading half, a pure function.
//!
//! *An unobserved write is never lost to a removal; where two writes cannot both stand, the later stamp stands.*

use super::decimal::Decimal;
use super::history::{Atom, Life, Payload, Place};
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
}

/// A key that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// What it holds.
    pub content: Content,
    /// How long it lives.
    pub life: Life,
}

/// The type that a place belongs to; none for the lifetime.
pub fn kind_of(place: &Place) -> Option<Kind> {
    match place {
        Place::String => Some(Kind::String),
        Place::Field(_) => Some(Kind::Hash),
        Place::Member(_) => Some(Kind::Set),
        Place::Scored(_) => Some(Kind::SortedSet),
        Place::Element(_) => Some(Kind::List),
        Place::Lifetime => None,
    }
}

/// What a reader finds at `now`.
pub fn shown(standing: &[&Atom], now: u64) -> Option<Shown> {
    let content = standing.iter().filter(|atom| kind_of(&atom.place).is_some());
    // Of several types the one that holds the latest standing stamp is shown.
    let latest = content.max_by_key(|atom| (atom.stamp, atom.index))?;
    let life = life(standing);
    if is_over(life, now) {
        return None;
    }
    let places: BTreeSet<&Place> = standing.iter().map(|atom| &atom.place).collect();
    let content = match kind_of(&latest.place)? {
        Kind::String => Content::String(value(standing, &Place::String)?),
        Kind::Hash => Content::Hash(places.into_iter().filter_map(|place| field(standing, place)).collect()),
        Kind::Set => Content::Set(places.into_iter().filter_map(member).collect()),
        Kind::List => Content::List(super::lists::texts(standing)),
        Kind::SortedSet => Content::SortedSet(places.into_iter().filter_map(|place| scored(standing, place)).collect()),
    };
    Some(Shown { content, life })
}

/// How long a key lives: the longest life of all assertions that stand; none is no end at all.
pub fn life(standing: &[&Atom]) -> Life {
    let asserted = standing.iter().filter_map(|atom| match atom.payload {
        Payload::Life(life) => Some(life),
        Payload::Value(_) | Payload::Increment(_) | Payload::Member => None,
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
    match place {
        Place::Field(name) => Some((name.clone(), value(standing, place)?)),
        Place::String | Place::Member(_) | Place::Scored(_) | Place::Element(_) | Place::Lifetime => None,
    }
}

fn scored(standing: &[&Atom], place: &Place) -> Option<(String, String)> {
    match place {
        Place::Scored(name) => Some((name.clone(), value(standing, place)?)),
        Place::String | Place::Field(_) | Place::Member(_) | Place::Element(_) | Place::Lifetime => None,
    }
}

fn member(place: &Place) -> Option<String> {
    match place {
        Place::Member(name) => Some(name.clone()),
        Place::String | Place::Field(_) | Place::Scored(_) | Place::Element(_) | Place::Lifetime => None,
    }
}

/// The value at a place: the latest value that stands, plus every increment that stands if that value is a number.
pub(super) fn value(standing: &[&Atom], place: &Place) -> Option<String> {
    let here = || standing.iter().filter(|atom| atom.place == *place);
    let values = here().filter_map(|atom| match &atom.payload {
        Payload::Value(text) => Some((atom.stamp, atom.index, text)),
        Payload::Increment(_) | Payload::Member | Payload::Life(_) => None,
    });
    let latest = values.max();
    let increments: Vec<Decimal> = here()
        .filter_map(|atom| match atom.payload {
            Payload::Increment(delta) => Some(delta),
            Payload::Value(_) | Payload::Member | Payload::Life(_) => None,
        })
        .collect();
    let base = match latest {
        None if increments.is_empty() => return None,
        None => Decimal(0),
        Some((_, _, text)) => match Decimal::parse(text) {
            Some(base) if !increments.is_empty() => base,
            // Text stands as it is, and so does a number that nothing was added to.
            Some(_) | None => return Some(text.clone()),
        },
    };
    Some(Decimal(base.0 + increments.iter().map(|increment| increment.0).sum::<i128>()).redis_text())
}

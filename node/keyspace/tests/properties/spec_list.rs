//! The specification of lists: where an element stands follows from where it was put, not from how that is written down.
//!
//! Every element that ever was is put beside another one (or an edge of the list), on one side of it. The list is what
//! stands of all of them in this order: what is in front of an element, the later the nearer to it; the element; what is
//! behind it, the later the nearer to it. At the edges the same holds of the beginning and the end.

use crate::history::{Answer, Atom, Key, Payload, Place};
use crate::spec::{Change, Content, element_write, shown};
use crate::spec_value;
use crdt::Stamp;
use std::collections::BTreeSet;
use std::ops::Range;

/// On which side of another element an element was put.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    InFront,
    Behind,
}

/// Where an element was put. `index` is its number among those of one command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Spot {
    beside: Option<&'static Spot>,
    side: Side,
    stamp: Stamp,
    index: usize,
}

impl Spot {
    // Tests are short: what they remember may stay.
    fn kept(self) -> &'static Self {
        Box::leak(Box::new(self))
    }

    fn at_edge(is_head: bool, stamp: Stamp, index: usize) -> &'static Self {
        let side = if is_head { Side::Behind } else { Side::InFront };
        Self { beside: None, side, stamp, index }.kept()
    }

    fn depth(spot: Option<&Self>) -> usize {
        spot.map_or(0, |spot| 1 + Self::depth(spot.beside))
    }
}

/// All spots in their order, with those that they were put beside.
fn in_order(spots: impl Iterator<Item = &'static Spot>) -> Vec<&'static Spot> {
    let mut all = BTreeSet::new();
    for spot in spots {
        let mut next = Some(spot);
        while let Some(spot) = next {
            all.insert(spot);
            next = spot.beside;
        }
    }
    let mut order = Vec::new();
    append_side(&all, None, Side::Behind, &mut order);
    append_side(&all, None, Side::InFront, &mut order);
    order
}

fn append_side(
    all: &BTreeSet<&'static Spot>,
    beside: Option<&'static Spot>,
    side: Side,
    order: &mut Vec<&'static Spot>,
) {
    let mut here: Vec<&'static Spot> =
        all.iter().copied().filter(|spot| spot.beside == beside && spot.side == side).collect();
    here.sort_by_key(|spot| (spot.stamp, spot.index));
    if side == Side::Behind {
        here.reverse();
    }
    for spot in here {
        append_side(all, Some(spot), Side::InFront, order);
        order.push(spot);
        append_side(all, Some(spot), Side::Behind, order);
    }
}

/// The elements that stand, in order.
fn elements(standing: &[&Atom]) -> Vec<(Place, String)> {
    let spots = standing.iter().filter_map(|atom| match atom.place {
        Place::Element(spot) => Some(spot),
        Place::String | Place::Field(_) | Place::Member(_) | Place::Scored(_) => None,
        Place::Entry(_) | Place::Head | Place::FieldLife(_) | Place::Lifetime => None,
    });
    let places = in_order(spots).into_iter().map(Place::Element);
    places.filter_map(|place| Some((place, spec_value::value(standing, place)?))).collect()
}

/// The texts that stand, in order.
pub fn texts(standing: &[&Atom]) -> Vec<String> {
    elements(standing).into_iter().map(|(_, text)| text).collect()
}

/// What a reader finds, if that is a list.
fn list(before: &[&Atom], now: u64) -> Result<Vec<(Place, String)>, Answer> {
    match shown(before, now).map(|shown| shown.content) {
        None => Ok(Vec::new()),
        Some(Content::List(_)) => Ok(elements(before)),
        Some(Content::String(_) | Content::Hash(_) | Content::Set(_) | Content::SortedSet(_) | Content::Stream(_)) => {
            Err(Answer::WrongKind)
        }
    }
}

fn spot_of(place: Option<&(Place, String)>) -> Option<&'static Spot> {
    match place {
        Some((Place::Element(spot), _)) => Some(spot),
        Some(_) | None => None,
    }
}

/// Elements of a copy of a list.
pub fn copied(texts: Vec<String>, stamp: Stamp) -> Vec<(Place, Payload)> {
    let spot = |index| Place::Element(Spot::at_edge(false, stamp, index));
    texts.into_iter().enumerate().map(|(index, text)| (spot(index), Payload::Value(text))).collect()
}

pub fn push(
    before: &[&Atom],
    key: Key,
    is_head: bool,
    values: &[&str],
    stamp: Stamp,
    now: u64,
) -> (Answer, Vec<Change>) {
    let elements = match list(before, now) {
        Ok(elements) => elements,
        Err(answer) => return (answer, vec![]),
    };
    let mut change = element_write(before, key, crate::spec::Kind::List, now);
    for (index, &value) in values.iter().enumerate() {
        let place = Place::Element(Spot::at_edge(is_head, stamp, index));
        change.adds.push((place, Payload::Value(value.into())));
    }
    (Answer::Count(elements.len() + values.len()), vec![change])
}

pub fn set(before: &[&Atom], key: Key, index: usize, value: &str, now: u64) -> (Answer, Vec<Change>) {
    let elements = match list(before, now) {
        Ok(elements) => elements,
        Err(answer) => return (answer, vec![]),
    };
    let Some(&(place, _)) = elements.get(index) else { return (Answer::Flag(false), vec![]) };
    let mut change = element_write(before, key, crate::spec::Kind::List, now);
    change.removes_at(place);
    change.adds.push((place, Payload::Value(value.into())));
    (Answer::Flag(true), vec![change])
}

pub fn insert(before: &[&Atom], key: Key, index: usize, value: &str, stamp: Stamp, now: u64) -> (Answer, Vec<Change>) {
    let elements = match list(before, now) {
        Ok(elements) if !elements.is_empty() => elements,
        Ok(_) => return (Answer::Flag(false), vec![]),
        Err(answer) => return (answer, vec![]),
    };
    let index = index.min(elements.len());
    let ahead = spot_of(index.checked_sub(1).and_then(|ahead| elements.get(ahead)));
    let behind = spot_of(elements.get(index));
    // Beside the one that was put beside fewer others.
    let is_end = behind.is_none();
    let (beside, side) = if !is_end && Spot::depth(ahead) <= Spot::depth(behind) {
        (ahead, Side::Behind)
    } else {
        (behind, Side::InFront)
    };
    let spot = Spot { beside, side, stamp, index: 0 }.kept();
    let mut change = element_write(before, key, crate::spec::Kind::List, now);
    change.adds.push((Place::Element(spot), Payload::Value(value.into())));
    (Answer::Count(elements.len() + 1), vec![change])
}

pub fn remove(before: &[&Atom], key: Key, range: Range<usize>, now: u64) -> (Answer, Vec<Change>) {
    let elements = match list(before, now) {
        Ok(elements) => elements,
        Err(answer) => return (answer, vec![]),
    };
    let range = range.start.min(elements.len())..range.end.min(elements.len());
    let count = range.len();
    let changes = match count {
        0 => vec![],
        // The last one removes the key.
        _ if count == elements.len() => vec![Change::of_all(key)],
        _ => {
            let mut change = element_write(before, key, crate::spec::Kind::List, now);
            elements[range].iter().for_each(|&(place, _)| change.removes_at(place));
            vec![change]
        }
    };
    (Answer::Count(count), changes)
}

/// An element moves from an end to the other.
pub fn rotate(before: &[&Atom], key: Key, is_head: bool, stamp: Stamp, now: u64) -> (Answer, Vec<Change>) {
    let mut elements = match list(before, now) {
        Ok(elements) if !elements.is_empty() => elements,
        Ok(_) => return (Answer::Flag(false), vec![]),
        Err(answer) => return (answer, vec![]),
    };
    let (place, text) = elements.swap_remove(if is_head { 0 } else { elements.len() - 1 });
    let mut change = element_write(before, key, crate::spec::Kind::List, now);
    change.removes_at(place);
    change.adds.push((Place::Element(Spot::at_edge(!is_head, stamp, 0)), Payload::Value(text)));
    (Answer::Flag(true), vec![change])
}

/// The same, by how many from which end.
pub fn pop(before: &[&Atom], key: Key, is_head: bool, count: usize, now: u64) -> (Answer, Vec<Change>) {
    let length = list(before, now).map_or(0, |elements| elements.len());
    let count = count.min(length);
    remove(before, key, if is_head { 0..count } else { length - count..length }, now)
}

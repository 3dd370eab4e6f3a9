//! Lists as the contract has them: an element stands where it was put, beside another one or an edge of the list.
//!
//! What is in front of an element comes before it, the later the nearer; what is behind it after it, the later the nearer.
//! The edges are alike: the newest push at the beginning is the first element, at the end the last.

use super::execution::{Change, Execution, Scope};
use super::history::{Atom, Key, Payload, Place};
use super::shown::{Content, Kind, value};
use crdt::Stamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// On which side of another element an element was put.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// Before it.
    InFront,
    /// After it.
    Behind,
}

/// Where an element was put.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Spot {
    /// The element beside which it was put; none is an edge.
    beside: Option<Arc<Spot>>,
    side: Side,
    /// The command that put it there, and its number among that command's.
    stamp: Stamp,
    index: usize,
}

/// The key holds another type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoList;

impl Spot {
    fn at_edge(is_head: bool, stamp: Stamp, index: usize) -> Arc<Self> {
        let side = if is_head { Side::Behind } else { Side::InFront };
        Arc::new(Self { beside: None, side, stamp, index })
    }

    fn depth(spot: Option<&Arc<Self>>) -> usize {
        spot.map_or(0, |spot| 1 + Self::depth(spot.beside.as_ref()))
    }
}

/// The elements that stand, in order.
fn elements(standing: &[&Atom]) -> Vec<(Arc<Spot>, String)> {
    let mut all: BTreeSet<Arc<Spot>> = BTreeSet::new();
    for atom in standing {
        let mut next = match &atom.place {
            Place::Element(spot) => Some(Arc::clone(spot)),
            Place::String
            | Place::Field(_)
            | Place::Member(_)
            | Place::Scored(_)
            | Place::Entry(_)
            | Place::Head
            | Place::FieldLife(_)
            | Place::Lifetime => None,
        };
        while let Some(spot) = next {
            next = spot.beside.clone();
            all.insert(spot);
        }
    }
    let mut order = Vec::new();
    append_side(&all, None, Side::Behind, &mut order);
    append_side(&all, None, Side::InFront, &mut order);
    let text = |spot: Arc<Spot>| Some((Arc::clone(&spot), value(standing, &Place::Element(spot))?));
    order.into_iter().filter_map(text).collect()
}

fn append_side(all: &BTreeSet<Arc<Spot>>, beside: Option<&Arc<Spot>>, side: Side, order: &mut Vec<Arc<Spot>>) {
    let is_here = |spot: &&Arc<Spot>| spot.beside.as_ref() == beside && spot.side == side;
    let mut here: Vec<&Arc<Spot>> = all.iter().filter(is_here).collect();
    here.sort_by_key(|spot| (spot.stamp, spot.index));
    if side == Side::Behind {
        here.reverse();
    }
    for spot in here {
        append_side(all, Some(spot), Side::InFront, order);
        order.push(Arc::clone(spot));
        append_side(all, Some(spot), Side::Behind, order);
    }
}

/// The texts that stand, in order.
pub fn texts(standing: &[&Atom]) -> Vec<String> {
    elements(standing).into_iter().map(|(_, text)| text).collect()
}

/// The elements of a copy.
pub fn copied(texts: Vec<String>, stamp: Stamp) -> Vec<(Place, Payload)> {
    let place = |index| Place::Element(Spot::at_edge(false, stamp, index));
    texts.into_iter().enumerate().map(|(index, text)| (place(index), Payload::Value(text))).collect()
}

impl Execution<'_> {
    /// The list that a reader finds, empty if there is none.
    pub fn list(&mut self, key: &Key) -> Result<Vec<String>, NoList> {
        match self.shown(key).map(|shown| shown.content) {
            None => Ok(Vec::new()),
            Some(Content::List(texts)) => Ok(texts),
            Some(
                Content::String(_) | Content::Hash(_) | Content::Set(_) | Content::SortedSet(_) | Content::Stream(_),
            ) => Err(NoList),
        }
    }

    /// Puts elements at an end. The caller has checked the type.
    pub fn push(&mut self, key: &Key, is_head: bool, values: &[String]) {
        let stamp = self.stamp();
        let mut change = self.element_write(key, Kind::List);
        for (index, value) in values.iter().enumerate() {
            change.adds.push((Place::Element(Spot::at_edge(is_head, stamp, index)), Payload::Value(value.clone())));
        }
        self.apply(key, change);
    }

    /// Moves the element at an end to the other one: the list is there all the time.
    pub fn rotate(&mut self, key: &Key, from_head: bool) {
        let mut elements = elements(&self.standing(key));
        let (spot, text) = elements.remove(if from_head { 0 } else { elements.len() - 1 });
        let stamp = self.stamp();
        let mut change = self.element_write(key, Kind::List);
        change.scopes.push(Scope::Place(Place::Element(spot)));
        change.adds.push((Place::Element(Spot::at_edge(!from_head, stamp, 0)), Payload::Value(text)));
        self.apply(key, change);
    }

    /// Sets the element number `index`, which is there.
    pub fn set_element(&mut self, key: &Key, index: usize, text: &str) {
        let (spot, _) = elements(&self.standing(key)).remove(index);
        let mut change = self.element_write(key, Kind::List);
        change.scopes.push(Scope::Place(Place::Element(Arc::clone(&spot))));
        change.adds.push((Place::Element(spot), Payload::Value(text.to_owned())));
        self.apply(key, change);
    }

    /// Puts an element before the one with this number, of a list that is there.
    pub fn insert_element(&mut self, key: &Key, index: usize, text: &str) {
        let elements = elements(&self.standing(key));
        let spot = |index: Option<usize>| index.and_then(|index| elements.get(index)).map(|(spot, _)| Arc::clone(spot));
        let (ahead, behind) = (spot(index.checked_sub(1)), spot(Some(index)));
        // Beside the one that was put beside fewer others.
        let is_behind = behind.is_some() && Spot::depth(ahead.as_ref()) <= Spot::depth(behind.as_ref());
        let (beside, side) = if is_behind { (ahead, Side::Behind) } else { (behind, Side::InFront) };
        let stamp = self.stamp();
        let mut change = self.element_write(key, Kind::List);
        let spot = Arc::new(Spot { beside, side, stamp, index: 0 });
        change.adds.push((Place::Element(spot), Payload::Value(text.to_owned())));
        self.apply(key, change);
    }

    /// Removes the elements with these numbers, and the key with the last one.
    pub fn remove_numbers(&mut self, key: &Key, numbers: &[usize]) {
        if numbers.is_empty() {
            return;
        }
        let elements = elements(&self.standing(key));
        if numbers.len() == elements.len() {
            return self.apply(key, Change { scopes: vec![Scope::All], adds: Vec::new() });
        }
        let mut change = self.element_write(key, Kind::List);
        let places = numbers.iter().map(|&number| Scope::Place(Place::Element(Arc::clone(&elements[number].0))));
        change.scopes.extend(places);
        self.apply(key, change);
    }
}

//! Changes that have come from another node: read and checked, with where each belongs, and the slots that a group needs.

use crate::keyspace::Place;
use crate::shared::Shared;
use crate::slot::DATABASES_HELD;
use crdt::{Change, Changes, DecodeError, ElementWrite, Kind, NodeNumber, Operation, Operations, PlainChange, Stamp};

/// A change that has come.
#[derive(Clone, Debug)]
pub(crate) struct Arrival<'a> {
    /// The change.
    pub(crate) change: Change<'a>,
    /// Where its key is looked for.
    pub(crate) place: Place,
    /// What kind of change it is.
    pub(crate) form: Form<'a>,
}

/// What a change that has come is, as far as it matters for how it is applied.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form<'a> {
    /// What nearly all are.
    Plain(PlainChange<'a>),
    /// One element of a list or stream.
    Element(ElementWrite<'a>),
    /// It removes a whole database: all slots have to do with it.
    ClearsDatabase,
    /// Any other operations, which have been looked at; and the field or member that the first of them writes.
    Operations(Option<&'a [u8]>),
}

/// Bytes of a payload for one change, about: so many places are made at once.
const CHANGE_BYTES: usize = 32;
/// Places that are made at once, at most: a payload of millions of bytes may be one change.
const PLACES_AT_ONCE_MAX: usize = 4096;

impl<'a> Arrival<'a> {
    /// The changes of a payload. All of it is checked: an error says that nothing of it may be applied. `previous` and `last`
    /// are the bounds of its batch. What a change of this number puts may have been built already: then it was checked.
    pub(crate) fn of_batch(
        shared: &Shared,
        origin: NodeNumber,
        (previous, last): (Stamp, Stamp),
        payload: &'a [u8],
        is_built: impl Fn(usize) -> bool,
    ) -> Result<Vec<Self>, DecodeError> {
        let mut arrivals = Vec::with_capacity((payload.len() / CHANGE_BYTES + 1).min(PLACES_AT_ONCE_MAX));
        for (number, change) in Changes::new(payload, origin, previous).enumerate() {
            let change = change?;
            if change.stamp > last {
                return Err(DecodeError::Invalid("a change beyond the end of its batch"));
            }
            arrivals.push(if is_built(number) {
                let place = Place::of(shared, change.database, change.key);
                Self { change, place, form: Form::Operations(None) }
            } else {
                Self::of(shared, change)?
            });
        }
        Ok(arrivals)
    }

    #[inline]
    fn of(shared: &Shared, change: Change<'a>) -> Result<Self, DecodeError> {
        debug_assert!(change.database < DATABASES_HELD, "the format has no others");
        let form = match change.plain() {
            Some(plain) => Form::Plain(plain),
            None => match ElementWrite::of(&change) {
                Some(write) => Form::Element(write),
                None => Form::of_operations(&change)?,
            },
        };
        let place = Place::of(shared, change.database, change.key);
        Ok(Self { change, place, form })
    }

    /// Whether it removes a whole database.
    pub(crate) fn clears_database(&self) -> bool {
        matches!(self.form, Form::ClearsDatabase)
    }
}

impl<'a> Form<'a> {
    fn of_operations(change: &Change<'a>) -> Result<Self, DecodeError> {
        let (mut clears, mut first) = (false, None);
        for (number, operation) in Operations::of(change).enumerate() {
            let operation = operation?;
            clears |= matches!(operation, Operation::ClearDatabase { .. });
            if number == 0 {
                first = element_of(&operation);
            }
        }
        Ok(if clears && change.key.is_empty() { Form::ClearsDatabase } else { Form::Operations(first) })
    }
}

/// The field or member that an operation writes.
fn element_of<'a>(operation: &Operation<'a>) -> Option<&'a [u8]> {
    match operation {
        Operation::Put { kind, name, .. }
        | Operation::Remove { kind, name, .. }
        | Operation::Add { kind, name, .. } => {
            matches!(kind, Kind::Hash | Kind::Set | Kind::SortedSet).then_some(*name)
        }
        _ => None,
    }
}

/// The slots that a group of changes needs, and which of them is whose. Kept from one group to the next.
#[derive(Debug, Default)]
pub(crate) struct NeededSlots {
    /// The slots, each once.
    pub(crate) numbers: Vec<u16>,
    /// For each change the place of its slot among them.
    pub(crate) of_changes: Vec<u16>,
    /// A hash table of places among them, plus one; at most half full.
    seen: Vec<u16>,
}

impl NeededSlots {
    /// Looks which slots these changes need.
    pub(crate) fn find(&mut self, group: &[Arrival<'_>]) {
        self.numbers.clear();
        self.of_changes.clear();
        self.seen.clear();
        let places = (group.len().min(usize::from(crate::hash::SLOTS)) * 2).next_power_of_two();
        self.seen.resize(places, 0);
        for arrival in group {
            let number = arrival.place.slot;
            let mut at = usize::from(number) & (places - 1);
            let place = loop {
                match self.seen[at] {
                    0 => {
                        self.numbers.push(number);
                        // There are fewer slots than numbers of 16 bits.
                        self.seen[at] = self.numbers.len() as u16;
                        break self.numbers.len() as u16 - 1;
                    }
                    known if self.numbers[usize::from(known) - 1] == number => break known - 1,
                    _ => at = (at + 1) & (places - 1),
                }
            };
            self.of_changes.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::SLOTS;

    #[test]
    fn each_slot_is_needed_once_and_each_change_finds_its_own() {
        let shared = Shared::new(1);
        for (changes, slots) in [(1, 1), (2, 1), (300, 7), (300, SLOTS), (40_000, SLOTS)] {
            let group: Vec<Arrival<'_>> = (0..changes as u32)
                .map(|number| {
                    let change = Change { stamp: Stamp::ZERO, tied: true, database: 0, key: b"k", operations: &[] };
                    let mut arrival = Arrival::of(&shared, change).unwrap();
                    arrival.place.slot = (number.wrapping_mul(2_654_435_761) >> 13) as u16 % slots;
                    arrival
                })
                .collect();
            let mut needed = NeededSlots::default();
            needed.find(&group[..group.len() / 2]);
            needed.find(&group);
            let mut distinct: Vec<u16> = group.iter().map(|arrival| arrival.place.slot).collect();
            let found: Vec<u16> = needed.of_changes.iter().map(|&at| needed.numbers[usize::from(at)]).collect();
            assert_eq!(found, distinct);
            distinct.sort_unstable();
            distinct.dedup();
            needed.numbers.sort_unstable();
            assert_eq!(needed.numbers, distinct);
        }
    }
}

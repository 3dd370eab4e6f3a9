//! What a key takes in memory: the blocks that it is in, each as large as the allocator hands it out.
//!
//! Of a large collection some elements are looked at, and the others are taken for as large. Not the limit of all memory:
//! that asks the allocator.

use crate::access::{Access, Database};
use crate::body::{KeyBody, KeyEntry};
use crate::elements::{ElementEntry, ElementMap, WideElement};
use crate::entry::View;
use crate::sequence::Sequence;
use crate::stream::Stream;
use crdt::Element;

/// A cell of a slot's table with its tag, and its share of cells that are empty.
const CELL_BYTES: usize = 10;

/// Elements of a large collection that are looked at when it goes.
const ELEMENTS_SAMPLED: usize = 64;

/// What jemalloc takes for so many bytes: its classes are 16 bytes apart up to 128, and four in each doubling beyond.
pub(crate) fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(bytes.next_power_of_two() / 8),
    }
}

impl Access<'_> {
    /// The memory that a key takes, in bytes. Of a collection at most `samples` elements are looked at.
    pub fn memory_of(&mut self, database: Database, key: &[u8], samples: usize) -> Option<usize> {
        let entry = self.visible(database, key)?;
        Some(CELL_BYTES + of_entry(entry, samples))
    }
}

/// The memory that goes with a key: all of it, and of a large collection about so much.
pub(crate) fn of_removed(entry: &KeyEntry) -> usize {
    let is_large = matches!(entry.view(), View::Wide(body) if body.summary.is_some());
    CELL_BYTES + of_entry(entry, if is_large { ELEMENTS_SAMPLED } else { usize::MAX })
}

fn of_entry(entry: &KeyEntry, samples: usize) -> usize {
    let own = allocated(entry.heap_bytes());
    match entry.view() {
        View::Packed(_) | View::Counter(_) | View::Bundle(_) => own,
        View::Wide(body) => own + of_body(body, samples),
    }
}

fn of_body(body: &KeyBody, samples: usize) -> usize {
    let string = body.string.as_ref().map_or(0, |element| allocated(size_of::<Element>()) + of_element(element));
    let maps = [&body.hash, &body.set, &body.sorted_set].into_iter().flatten();
    let maps: usize = maps.map(|map| allocated(size_of::<ElementMap>()) + of_map(map, samples)).sum();
    let list = body.list.as_ref();
    let list = list.map_or(0, |list| allocated(size_of::<Sequence>()) + list.memory(samples, allocated));
    let stream = body.stream.as_ref();
    let stream = stream.map_or(0, |stream| allocated(size_of::<Stream>()) + stream.heap_bytes());
    allocated(body.key.len()) + string + maps + list + stream
}

fn of_map(map: &ElementMap, samples: usize) -> usize {
    let looked_at = samples.min(map.len());
    let some: usize = map.iter().take(looked_at).map(of_member).sum();
    allocated(map.place_bytes()) + some * map.len() / looked_at.max(1)
}

fn of_member(member: &ElementEntry) -> usize {
    let own = allocated(member.heap_bytes());
    match member.view() {
        View::Packed(_) | View::Counter(_) | View::Bundle(_) => own,
        View::Wide(WideElement { name, element }) => own + allocated(name.len()) + of_element(element),
    }
}

/// What an element has besides its own box.
fn of_element(element: &Element) -> usize {
    let values: usize = element.siblings.iter().map(|(_, value)| allocated(value.len())).sum();
    values + element.patch_bytes() + element.text_room()
}

#[cfg(test)]
mod tests {
    use super::allocated;
    use crate::{Database, Keyspace, NewLifetime};
    use crdt::{Lifetime, NodeNumber};

    #[test]
    fn sizes_are_those_of_the_allocator() {
        let pairs = [(0, 0), (1, 8), (8, 8), (9, 16), (62, 64), (128, 128), (129, 160), (257, 320), (4097, 5120)];
        for (bytes, taken) in pairs {
            assert_eq!(allocated(bytes), taken, "{bytes}");
        }
    }

    #[test]
    fn what_some_elements_take_says_what_all_take() {
        let keyspace = Keyspace::new(1);
        keyspace.set_number(NodeNumber::new(1).unwrap());
        let mut writer = keyspace.writer();
        let (database, now) = (Database(0), crdt::STAMP_EPOCH_MS + 1);
        let mut access = writer.access(now, &[b"large", b"text"]);
        access.begin_command();
        for number in 0..10_000 {
            access.add_member(database, b"large", format!("member {number:05}").as_bytes()).unwrap();
        }
        access.begin_command();
        access.put_string(database, b"text", &[b'x'; 32], NewLifetime::Set(Lifetime::Never));
        let [some, all] = [5, usize::MAX].map(|samples| access.memory_of(database, b"large", samples).unwrap());
        assert_eq!(some, all);
        // Each member in a block of its own, and a cell of the table.
        assert!((10_000 * (32 + 9)..10_000 * (32 + 24)).contains(&all), "{all}");
        assert_eq!(access.memory_of(database, b"text", 5), Some(10 + 64));
        assert_eq!(access.memory_of(Database(1), b"text", 5), None);
    }
}

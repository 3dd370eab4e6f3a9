//! One stream: its entries, and the other elements that it has.
//!
//! Entries that one write has put lie in chunks. Those that several regions put under one id, which are few, are kept
//! beside, and so are the head and what belongs to groups. What the head says is kept decoded as well, since every append
//! needs it.

mod chunk;
mod counting;
mod cut;
mod delivery;
mod entries;
mod folding;
mod groups;
mod pending;
mod regional;
mod regional_image;

use crate::sequence::Piece;
use crate::streams::{Trim, TrimBy};
pub use chunk::{Item, Text};
pub use counting::StreamCounts;
use crdt::{Element, NodeNumber, Ordinals, Stamp, StreamEntry, StreamHead, StreamId, StreamName};
pub use delivery::Delivery;
pub use entries::At;
use entries::Entries;
pub use folding::{Folded, left_over};
pub use groups::{Claim, GroupMut, OverRange};
pub use pending::{Consumer, ConsumerNumber, Pending, PendingList};
pub use regional::Regional;
pub use regional_image::KeptDeliveries;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The elements of one stream.
#[derive(Debug, Default)]
pub struct Stream {
    entries: Entries,
    /// Entries with siblings.
    #[expect(clippy::box_collection, reason = "nearly no stream has any, and each would have three words for them")]
    wide: Option<Box<BTreeMap<StreamId, Element>>>,
    /// All that is not an entry, by name.
    others: BTreeMap<Box<[u8]>, Element>,
    /// What the head's siblings say together.
    head: StreamHead,
    /// How many entries each node has added, as far as the head and the entries tell.
    added: Ordinals,
    /// What told of some of them has gone, so that they must be counted again.
    is_added_stale: bool,
    /// What this region keeps of the stream for itself.
    pub regional: Regional,
}

impl Stream {
    /// Whether nothing is there. A stream without entries is there as long as it has another element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.others.is_empty()
    }

    /// Whether readers find a stream here: entries, or what says that it is there without any. Acknowledgements alone make
    /// none.
    pub fn is_visible(&self) -> bool {
        let is_visible = |name: &[u8]| !matches!(StreamName::of(name), Some(StreamName::Acknowledged { .. }));
        // Names begin with what they are, and acknowledgements come last.
        self.entries.len() > 0 || self.others.keys().next().is_some_and(|name| is_visible(name))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entries.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// What is known of the stream beside its entries.
    pub fn head(&self) -> &StreamHead {
        &self.head
    }

    /// The greatest id that an entry ever had, as far as is known here.
    pub fn last_id(&self) -> StreamId {
        self.entries.last_id().map_or(self.head.last_id, |last| last.max(self.head.last_id))
    }

    /// How many entries each node has added.
    pub fn added(&self) -> Cow<'_, Ordinals> {
        if self.is_added_stale { Cow::Owned(self.told()) } else { Cow::Borrowed(&self.added) }
    }

    /// How many entries a node has added.
    pub fn added_by(&mut self, node: NodeNumber) -> u64 {
        if self.is_added_stale {
            (self.added, self.is_added_stale) = (self.told(), false);
        }
        self.added.of(node)
    }

    /// How many entries each node has added, read out of the head and all entries.
    fn told(&self) -> Ordinals {
        let mut told = self.head.added.clone();
        for item in self.entries.items() {
            match self.wide_of(&item) {
                Some(element) => ordinals_of(element).for_each(|(node, ordinal)| told.raise(node, ordinal)),
                None => told.raise(item.dot.author(), item.ordinal),
            }
        }
        told
    }

    /// An entry goes: if nothing else tells of as many of its author, they are counted again when they are needed.
    fn forget(&mut self, author: NodeNumber, ordinal: u64) {
        self.is_added_stale |= self.added.of(author) == ordinal && self.head.added.of(author) < ordinal;
    }

    /// The names of its groups, in their order.
    pub fn groups(&self) -> impl Iterator<Item = &[u8]> {
        self.others.keys().filter_map(|name| match StreamName::of(name) {
            Some(StreamName::Group(group)) => Some(group),
            Some(StreamName::Entry(_) | StreamName::Head | StreamName::Acknowledged { .. }) | None => None,
        })
    }

    /// The element with this name, unless it is an entry.
    pub fn other(&self, name: &[u8]) -> Option<&Element> {
        self.others.get(name)
    }

    /// The siblings of an entry that one write alone did not put.
    pub fn wide_of(&self, item: &Item<'_>) -> Option<&Element> {
        self.wide.as_ref().filter(|_| item.is_wide())?.get(&item.id)
    }

    /// The entry as readers see it: of siblings the latest.
    pub fn shown<'s>(&'s self, item: Item<'s>) -> Item<'s> {
        let winner = self.wide_of(&item).and_then(Element::winner);
        winner.and_then(|(dot, value)| Some(Item::new(item.id, *dot, StreamEntry::of(value)?))).unwrap_or(item)
    }

    /// Gives `each` the name and what is in it of every element.
    pub fn each_element(&self, mut each: impl FnMut(&[u8], &Element)) {
        let mut value = Vec::new();
        for item in self.entries.items() {
            match self.wide_of(&item) {
                Some(element) => each(&item.id.name(), element),
                None => each(&item.id.name(), &Element::written(item.dot, item.value_into(&mut value).into())),
            }
        }
        self.each_other(each);
    }

    /// The same of those that are no entries.
    pub fn each_other(&self, mut each: impl FnMut(&[u8], &Element)) {
        self.others.iter().for_each(|(name, element)| each(name, element));
    }

    /// The same of the entries from an id on, until `each` has had enough, which it says by `false`. Returns where to go on.
    pub fn each_entry_from(&self, id: StreamId, mut each: impl FnMut(&[u8], &Element) -> bool) -> Option<StreamId> {
        let mut value = Vec::new();
        for item in self.entries.items_from(id) {
            let wants_more = match self.wide_of(&item) {
                Some(element) => each(&item.id.name(), element),
                None => each(&item.id.name(), &Element::written(item.dot, item.value_into(&mut value).into())),
            };
            if !wants_more {
                return item.id.next();
            }
        }
        None
    }

    /// Gives `each` the names of all elements.
    pub fn each_name(&self, mut each: impl FnMut(&[u8])) {
        self.entries.items().for_each(|item| each(&item.id.name()));
        self.others.keys().for_each(|name| each(name));
    }

    /// Gives `each` the name and the live dots of every element. None has contributions to a counter.
    pub fn each_dot(&self, mut each: impl FnMut(&[u8], Stamp)) {
        for item in self.entries.items() {
            match self.wide_of(&item) {
                Some(element) => element.siblings.iter().for_each(|(dot, _)| each(&item.id.name(), *dot)),
                None => each(&item.id.name(), item.dot),
            }
        }
        for (name, element) in &self.others {
            element.siblings.iter().for_each(|(dot, _)| each(name, *dot));
        }
    }

    /// The latest live stamp.
    pub fn latest(&self) -> Stamp {
        let mut latest = Stamp::ZERO;
        self.each_dot(|_, dot| latest = latest.max(dot));
        latest
    }

    /// Where the entry with this id is, or else where it belongs.
    pub fn find(&self, id: StreamId) -> Result<At, At> {
        self.entries.find(id)
    }

    /// Puts an entry where it belongs.
    pub fn insert(&mut self, at: At, item: &Item<'_>) {
        self.entries.insert(at, item);
        self.added.raise(item.dot.author(), item.ordinal);
        self.regional.entry_appeared(item.id, item.dot);
    }

    /// Puts an entry in the place of the one that is there, which one write has put, with the same id.
    pub fn replace(&mut self, at: At, item: &Item<'_>) {
        if let Some((author, ordinal)) = self.entries.item(at).map(|old| (old.dot.author(), old.ordinal)) {
            self.forget(author, ordinal);
        }
        self.entries.replace(at, item);
        self.added.raise(item.dot.author(), item.ordinal);
        self.regional.entry_appeared(item.id, item.dot);
    }

    /// Removes an entry that one write has put.
    pub fn remove(&mut self, at: At, id: StreamId) {
        if let Some((author, ordinal)) = self.entries.item(at).map(|old| (old.dot.author(), old.ordinal)) {
            self.forget(author, ordinal);
        }
        self.entries.remove(at);
        self.regional.entry_removed(id);
    }

    /// Removes so many entries from the front, each after `each` has seen it. No entry has siblings.
    pub fn remove_front(&mut self, count: usize, mut each: impl FnMut(&Item<'_>)) {
        let Self { entries, regional, added, head, is_added_stale, .. } = self;
        entries.remove_front(count, |item| {
            each(item);
            regional.entry_removed(item.id);
            let author = item.dot.author();
            *is_added_stale |= added.of(author) == item.ordinal && head.added.of(author) < item.ordinal;
        });
    }

    /// How many entries are too many.
    pub fn excess(&self, trim: Trim) -> usize {
        let limit = trim.limit.unwrap_or(usize::MAX);
        if !trim.is_approximate {
            let excess = match trim.by {
                TrimBy::Length(most) => self.len().saturating_sub(usize::try_from(most).unwrap_or(usize::MAX)),
                TrimBy::Id(least) => self.entries.count_before(least),
            };
            return excess.min(limit);
        }
        let mut excess = 0;
        for (chunk, length) in self.entries.chunk_lengths().enumerate() {
            let goes = match trim.by {
                TrimBy::Length(most) => (self.len() - excess - length) as u64 >= most,
                TrimBy::Id(least) => self.entries.last_of(chunk).is_some_and(|last| last < least),
            };
            if !goes || excess + length > limit {
                break;
            }
            excess += length;
        }
        excess
    }

    /// Whether there are entries that one write alone did not put.
    pub fn has_wide(&self) -> bool {
        self.wide.is_some()
    }

    /// Lets `work` change the element with this name, there or not, and keeps what is left in its smallest form.
    pub fn change(&mut self, name: &[u8], work: impl FnOnce(&mut Element)) {
        let Some(StreamName::Entry(id)) = StreamName::of(name) else { return self.change_other(name, work) };
        let found = self.entries.find(id);
        let mut element = match found {
            Ok(at) => self.take_element(at),
            Err(_) => Element::default(),
        };
        ordinals_of(&element).for_each(|(author, ordinal)| self.forget(author, ordinal));
        let shown = element.winner().map(|(dot, _)| *dot);
        work(&mut element);
        self.store(found, id, element, shown);
    }

    fn change_other(&mut self, name: &[u8], work: impl FnOnce(&mut Element)) {
        match self.others.get_mut(name) {
            Some(element) => {
                work(element);
                if element.is_empty() {
                    self.others.remove(name);
                }
            }
            None => {
                let mut element = Element::default();
                work(&mut element);
                if !element.is_empty() {
                    self.others.insert(name.into(), element);
                }
            }
        }
        if StreamName::of(name) == Some(StreamName::Head) {
            self.read_head();
        } else {
            self.regional.element_changed(name, &self.others);
        }
    }

    fn read_head(&mut self) {
        let siblings = self.others.get(&*StreamName::Head.name()).map(|head| &head.siblings[..]).unwrap_or_default();
        let before =
            std::mem::replace(&mut self.head, StreamHead::joined(siblings.iter().map(|(dot, value)| (*dot, &**value))));
        let mut both = self.head.added.clone();
        both.join(&before.added);
        self.is_added_stale |= both != self.head.added;
        self.added.join(&self.head.added);
        self.regional.head_changed(self.head.last_id < before.last_id, self.last_id());
    }

    /// The entry at a place as the algebra sees it; its siblings are taken out.
    fn take_element(&mut self, at: At) -> Element {
        let Some(item) = self.entries.item(at) else { return Element::default() };
        if item.is_wide() {
            let id = item.id;
            let Some(wide) = &mut self.wide else { return Element::default() };
            let element = wide.remove(&id).unwrap_or_default();
            if wide.is_empty() {
                self.wide = None;
            }
            return element;
        }
        let mut value = Vec::new();
        Element::written(item.dot, item.value_into(&mut value).into())
    }

    /// Puts an element where it belongs. Readers have seen what `shown` put there.
    fn store(&mut self, found: Result<At, At>, id: StreamId, element: Element, shown: Option<Stamp>) {
        ordinals_of(&element).for_each(|(author, ordinal)| self.added.raise(author, ordinal));
        let plain = match (&element.siblings[..], &element.contributions[..]) {
            ([(dot, value)], []) => StreamEntry::of(value).map(|entry| Item::new(id, *dot, entry)),
            _ => None,
        };
        let item = plain.unwrap_or_else(|| Item::wide(id));
        match found {
            Ok(at) if element.is_empty() => return self.remove(at, id),
            Err(_) if element.is_empty() => return,
            Ok(at) => self.entries.replace(at, &item),
            Err(at) => self.entries.insert(at, &item),
        }
        if let Some((dot, _)) = element.winner().filter(|(dot, _)| Some(*dot) != shown) {
            self.regional.entry_appeared(id, *dot);
        }
        if item.is_wide() {
            self.wide.get_or_insert_default().insert(id, element);
        }
    }

    /// Keeps only the elements for which `keep` says so; it may change those that are not plain entries.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], Piece<'_>) -> bool) {
        let old = std::mem::take(&mut self.entries);
        let mut wide = self.wide.take();
        let mut value = Vec::new();
        self.is_added_stale = true;
        for item in old.items() {
            let behind = Err(At::END);
            match wide.as_mut().filter(|_| item.is_wide()).and_then(|wide| wide.remove(&item.id)) {
                Some(mut element) => {
                    let shown = element.winner().map(|(dot, _)| *dot);
                    if keep(&item.id.name(), Piece::Wide(&mut element)) {
                        self.store(behind, item.id, element, shown);
                        continue;
                    }
                }
                None => {
                    if keep(&item.id.name(), Piece::Plain(item.dot, item.value_into(&mut value))) {
                        self.entries.insert(At::END, &item);
                        continue;
                    }
                }
            }
            self.regional.entry_removed(item.id);
        }
        self.others.retain(|name, element| keep(name, Piece::Wide(element)));
        self.regional.elements_retained(&self.others);
        self.read_head();
    }

    /// Parts that [`Stream::take_apart`] counts.
    pub fn parts(&self) -> usize {
        self.entries.chunk_lengths().len()
    }

    /// Frees everything, and calls `freed` after about each so many entries with how many parts went.
    pub fn take_apart(self, count: usize, freed: &mut dyn FnMut(usize)) {
        self.entries.take_apart(count, freed);
    }

    /// Bytes on the heap, without the allocator's rounding.
    pub fn heap_bytes(&self) -> usize {
        let values = |element: &Element| element.siblings.iter().map(|(_, value)| value.len()).sum::<usize>();
        let wide = self.wide.iter().flat_map(|wide| wide.values());
        let wide = wide.map(|element| size_of::<(StreamId, Element)>() + values(element));
        let others = self.others.iter();
        let others = others.map(|(name, element)| name.len() + size_of::<(Box<[u8]>, Element)>() + values(element));
        let known = self.added.heap_bytes() + self.regional.heap_bytes();
        self.entries.heap_bytes() + wide.sum::<usize>() + others.sum::<usize>() + known
    }
}

/// The authors of an entry's siblings, and which of their entries each is.
fn ordinals_of(element: &Element) -> impl Iterator<Item = (NodeNumber, u64)> {
    let ordinal = |value: &[u8]| StreamEntry::of(value).map_or(0, |entry| entry.ordinal);
    element.siblings.iter().map(move |(dot, value)| (dot.author(), ordinal(value)))
}

#[cfg(test)]
mod tests;

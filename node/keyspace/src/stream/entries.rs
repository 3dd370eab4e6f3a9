//! The entries of one stream in the order of their ids: chunks of neighbours.
//!
//! Chunks are found by halving, and entries in a chunk one by one. An entry behind all others is written at the end of the
//! last chunk, of which is kept what the next one is written against. An entry that comes late has its chunk written anew.

use super::chunk::{CHUNK_ENTRIES_MAX, Chunk, Cursor, Item, Trace};
use crdt::StreamId;
use std::collections::VecDeque;

/// The entries of one stream.
#[derive(Debug, Default)]
pub struct Entries {
    chunks: VecDeque<Chunk>,
    len: usize,
    /// The id of the last entry; of no meaning if there is none.
    last: StreamId,
    /// What the next entry of the last chunk is written against; nothing if that must be read out of the chunk.
    trace: Option<Box<Trace>>,
}

/// Where an entry is, or where one would be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    chunk: usize,
    index: usize,
}

impl At {
    /// Behind all entries.
    pub const END: Self = Self { chunk: usize::MAX, index: usize::MAX };
}

impl Entries {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The id of the first entry.
    pub fn first_id(&self) -> Option<StreamId> {
        self.chunks.front().map(Chunk::first)
    }

    /// The id of the last entry.
    pub fn last_id(&self) -> Option<StreamId> {
        (self.len > 0).then_some(self.last)
    }

    /// How many entries each chunk has, from the first on.
    pub fn chunk_lengths(&self) -> impl ExactSizeIterator<Item = usize> {
        self.chunks.iter().map(Chunk::len)
    }

    /// The last id of a chunk.
    pub fn last_of(&self, chunk: usize) -> Option<StreamId> {
        self.items_of(chunk).last().map(|item| item.id)
    }

    /// The chunk in which an id is, or would be put.
    fn chunk_of(&self, id: StreamId) -> usize {
        self.chunks.partition_point(|chunk| chunk.first() <= id).saturating_sub(1)
    }

    /// Where the entry with this id is, or else where it belongs.
    pub fn find(&self, id: StreamId) -> Result<At, At> {
        if self.last_id().is_none_or(|last| last < id) {
            return Err(At::END);
        }
        let chunk = self.chunk_of(id);
        for (index, item) in self.items_of(chunk).enumerate() {
            match item.id.cmp(&id) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(At { chunk, index }),
                std::cmp::Ordering::Greater => return Err(At { chunk, index }),
            }
        }
        Err(At { chunk, index: self.chunks.get(chunk).map_or(0, Chunk::len) })
    }

    /// The entry at a place.
    pub fn item(&self, at: At) -> Option<Item<'_>> {
        self.items_of(at.chunk).nth(at.index)
    }

    pub(super) fn items_of(&self, chunk: usize) -> std::iter::Flatten<std::option::IntoIter<Cursor<'_>>> {
        self.chunks.get(chunk).map(Chunk::items).into_iter().flatten()
    }

    /// All entries.
    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        self.chunks.iter().flat_map(Chunk::items)
    }

    /// The entries from this id on.
    pub fn items_from(&self, id: StreamId) -> impl Iterator<Item = Item<'_>> + use<'_> {
        // Clients that wait look behind the end again and again.
        let is_behind = self.last_id().is_none_or(|last| last < id);
        let chunk = if is_behind { self.chunks.len() } else { self.chunk_of(id) };
        let chunks = self.chunks.range(chunk..);
        chunks.flat_map(Chunk::items).skip_while(move |item| item.id < id)
    }

    /// The entries up to this id, the last one first.
    pub fn items_back_from(&self, id: StreamId) -> impl Iterator<Item = Item<'_>> + use<'_> {
        let behind = self.chunks.partition_point(|chunk| chunk.first() <= id);
        self.chunks.range(..behind).rev().flat_map(move |chunk| {
            let items: Vec<Item<'_>> = chunk.items().take_while(|item| item.id <= id).collect();
            items.into_iter().rev()
        })
    }

    /// How many entries have a smaller id.
    pub fn count_before(&self, id: StreamId) -> usize {
        let chunk = self.chunk_of(id);
        let before: usize = self.chunks.iter().take(chunk).map(Chunk::len).sum();
        before + self.items_of(chunk).take_while(|item| item.id < id).count()
    }

    /// Frees everything, and calls `freed` after about each so many entries with how many chunks went.
    pub fn take_apart(mut self, count: usize, freed: &mut dyn FnMut(usize)) {
        while !self.chunks.is_empty() {
            let some = (count / CHUNK_ENTRIES_MAX).clamp(1, self.chunks.len());
            self.chunks.drain(..some);
            freed(some);
        }
    }

    /// Puts an entry where it belongs.
    pub fn insert(&mut self, at: At, item: &Item<'_>) {
        self.len += 1;
        if at == At::END {
            self.push(item);
        } else {
            self.rewrite(at, 0, Some(item));
        }
    }

    /// Adds an entry behind the last one.
    fn push(&mut self, item: &Item<'_>) {
        self.last = item.id;
        if self.chunks.back().is_none_or(|last| !last.has_room(item)) {
            if let Some(full) = self.chunks.back_mut() {
                full.close();
            }
            if self.chunks.capacity() == self.chunks.len() {
                self.chunks.reserve_exact(1 + self.chunks.len() / 8);
            }
            self.chunks.push_back(Chunk::default());
            self.trace = None;
        }
        let Some(chunk) = self.chunks.back_mut() else { return };
        let trace = self.trace.get_or_insert_with(|| Box::new(chunk.trace_at_end()));
        chunk.push(trace, item);
    }

    /// Puts an entry in the place of the one that is there, with the same id.
    pub fn replace(&mut self, at: At, item: &Item<'_>) {
        self.rewrite(at, 1, Some(item));
    }

    /// Removes an entry.
    pub fn remove(&mut self, at: At) {
        self.len -= 1;
        if at.index == 0 && self.chunks.get(at.chunk).is_some_and(|chunk| chunk.len() > 1) {
            self.chunks[at.chunk].hide(1, |_| ());
        } else {
            self.rewrite(at, 1, None);
        }
    }

    /// Writes a chunk anew, without `removed` entries from a place on, and with another one there.
    fn rewrite(&mut self, at: At, removed: usize, item: Option<&Item<'_>>) {
        let Some(place) = self.chunks.get_mut(at.chunk) else { return };
        let old = std::mem::take(place);
        let before = old.items().take(at.index);
        let behind = old.items().skip(at.index + removed);
        *place = Chunk::of(before.chain(item.copied()).chain(behind));
        if place.is_oversized() {
            let half = place.len() / 2;
            let rest = Chunk::of(place.items().skip(half));
            *place = Chunk::of(place.items().take(half));
            self.chunks.insert(at.chunk + 1, rest);
        } else if place.len() == 0 {
            self.chunks.remove(at.chunk);
        }
        self.tail_changed();
    }

    /// Removes so many entries from the front, each after `each` has seen it.
    pub fn remove_front(&mut self, count: usize, mut each: impl FnMut(&Item<'_>)) {
        let mut left = count.min(self.len);
        self.len -= left;
        while left > 0 {
            let Some(chunk) = self.chunks.front_mut() else { break };
            if chunk.len() > left {
                chunk.hide(left, &mut each);
                break;
            }
            left -= chunk.len();
            chunk.items().for_each(|item| each(&item));
            self.chunks.pop_front();
        }
        if self.chunks.capacity() > 4 * self.chunks.len() + 4 {
            self.chunks.shrink_to(2 * self.chunks.len());
        }
        if self.len == 0 {
            self.trace = None;
        }
    }

    /// Takes so many entries off the front.
    pub fn cut_front(&mut self, count: usize) -> Self {
        let (mut left, mut whole) = (count.min(self.len), 0);
        while let Some(chunk) = self.chunks.get(whole).filter(|chunk| chunk.len() <= left) {
            left -= chunk.len();
            whole += 1;
        }
        let rest = self.chunks.split_off(whole);
        let mut cut = Self { chunks: std::mem::replace(&mut self.chunks, rest), ..Self::default() };
        cut.len = count.min(self.len);
        self.len -= cut.len;
        if let Some(chunk) = self.chunks.front_mut().filter(|_| left > 0) {
            let split = Chunk::of(chunk.items().take(left));
            chunk.hide(left, |_| ());
            cut.chunks.push_back(split);
        }
        self.chunks.shrink_to_fit();
        if self.len == 0 {
            self.trace = None;
        }
        cut
    }

    /// The last chunk may be another one, or have another end.
    fn tail_changed(&mut self) {
        self.trace = None;
        let last = self.chunks.back().and_then(|chunk| chunk.items().last());
        self.last = last.map_or(StreamId::ZERO, |item| item.id);
    }

    /// Bytes on the heap, without the allocator's rounding.
    pub fn heap_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Chunk::heap_bytes).sum();
        let trace = self.trace.as_ref().map_or(0, |trace| size_of::<Trace>() + trace.heap_bytes());
        chunks + self.chunks.capacity() * size_of::<Chunk>() + trace
    }
}

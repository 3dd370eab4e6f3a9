//! The elements of one list, in the order of their positions: chunks of neighbours.
//!
//! Each chunk knows how many elements it has, so an index is found by counting chunks, and a position by halving: chunks
//! are in order, and in a chunk elements are looked at one by one. Elements that regions have written concurrently, which
//! are few, are kept beside.

mod chunk;
mod cut;
mod ends;
mod run;

use chunk::{Chunk, Mark};
pub use chunk::{Item, Place, Value};
use crdt::{Element, Position, Side, Stamp, Step};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// The elements of one list.
#[derive(Debug, Default)]
pub struct Sequence {
    chunks: VecDeque<Chunk>,
    len: usize,
    rare: Option<Box<Rare>>,
}

/// What few lists have.
#[derive(Debug, Default)]
struct Rare {
    /// Elements with siblings or contributions, by the names of their positions.
    wide: BTreeMap<Box<[u8]>, Element>,
    /// Where the last elements of the last chunk begin, the first of them first: to find out takes a walk from the chunk's
    /// front. Forgotten when anything else changes there.
    marks: Vec<Mark>,
}

/// From so many chunks on the outermost ones get all their memory at once, which is little of what the list has.
const LONG_CHUNKS_MIN: usize = 8;

/// Elements whose beginnings are remembered when the last one is taken: a walk for each of so many.
const MARKS_MAX: usize = 16;

/// Where an element is, or where one would be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    chunk: usize,
    index: usize,
}

/// An element while it may be removed.
pub enum Piece<'a> {
    /// One write has set it: its dot and its text.
    Plain(Stamp, &'a [u8]),
    /// It has siblings or contributions, which may be changed.
    Wide(&'a mut Element),
}

impl Sequence {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the element number `index` is, or where one would be put behind the last.
    pub fn at(&self, index: usize) -> At {
        if index > self.len / 2 {
            let mut behind = self.len - index.min(self.len);
            for (chunk, found) in self.chunks.iter().enumerate().rev() {
                if behind <= found.len() {
                    return At { chunk, index: found.len() - behind };
                }
                behind -= found.len();
            }
        }
        let mut before = index;
        for (chunk, found) in self.chunks.iter().enumerate() {
            if before < found.len() {
                return At { chunk, index: before };
            }
            before -= found.len();
        }
        At { chunk: self.chunks.len().saturating_sub(1), index: self.chunks.back().map_or(0, Chunk::len) }
    }

    /// The elements from number `start` on.
    pub fn items_from(&self, start: usize) -> impl Iterator<Item = Item<'_>> + use<'_> {
        let At { chunk, index } = self.at(start.min(self.len));
        let chunks = self.chunks.iter().skip(chunk).enumerate();
        chunks.flat_map(move |(number, chunk)| chunk.items().skip(if number == 0 { index } else { 0 }))
    }

    /// The elements behind a position, whether one is there or not; all, if none is given.
    pub fn items_behind(&self, position: Option<&Position>) -> impl Iterator<Item = Item<'_>> {
        let At { chunk, index } = match position.map(|position| self.find(position)) {
            None => At { chunk: 0, index: 0 },
            Some(Ok(at)) => At { chunk: at.chunk, index: at.index + 1 },
            Some(Err(at)) => at,
        };
        let chunks = self.chunks.range(chunk.min(self.chunks.len())..).enumerate();
        chunks.flat_map(move |(number, chunk)| chunk.items().skip(if number == 0 { index } else { 0 }))
    }

    /// All elements.
    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        self.chunks.iter().flat_map(Chunk::items)
    }

    /// All elements from the last to the first.
    pub fn items_back(&self) -> impl Iterator<Item = Item<'_>> {
        self.chunks.iter().rev().flat_map(|chunk| {
            let items: Vec<Item<'_>> = chunk.items().collect();
            items.into_iter().rev()
        })
    }

    /// The element at a place.
    pub fn item(&self, at: At) -> Option<Item<'_>> {
        self.chunks.get(at.chunk)?.items().nth(at.index)
    }

    /// What a reader sees of an element.
    pub fn text<'a>(&'a self, item: &Item<'a>) -> Cow<'a, [u8]> {
        item.text().or_else(|| self.wide_of(item)?.value()).unwrap_or_default()
    }

    /// The siblings and contributions of an element that one write alone did not set.
    pub fn wide_of(&self, item: &Item<'_>) -> Option<&Element> {
        match (item.value, item.place) {
            (Value::Wide, Place::Named(name)) => self.rare.as_ref()?.wide.get(name),
            (Value::Wide, Place::Edge(_)) | (Value::Integer(_) | Value::Text(_), _) => None,
        }
    }

    /// The element as the algebra sees it.
    pub fn widened(&self, item: &Item<'_>) -> Element {
        match self.wide_of(item) {
            Some(element) => element.clone(),
            None => Element::written(item.dot, item.text().unwrap_or_default().into_owned().into()),
        }
    }

    /// The latest live stamp of an element.
    pub fn latest_of(&self, item: &Item<'_>) -> Stamp {
        self.wide_of(item).map_or(item.dot, Element::latest)
    }

    /// The first step of the position of the element at this end.
    pub fn step_at(&self, side: Side) -> Option<Step> {
        match side {
            Side::Behind => self.chunks.front().map(Chunk::first_step),
            Side::InFront => self.chunks.back().map(Chunk::last_step),
        }
    }

    /// Where the element with this position is, or else where it belongs.
    pub fn find(&self, position: &Position) -> Result<At, At> {
        if self.belongs_last(position) {
            return Err(self.at(self.len));
        }
        // What is pushed and popped is at the ends: only if it is at neither, chunks between are looked at.
        if let Some(first) = self.chunks.front().and_then(Chunk::first) {
            match position.cmp(&first.position()) {
                Ordering::Less => return Err(At { chunk: 0, index: 0 }),
                Ordering::Equal => return Ok(At { chunk: 0, index: 0 }),
                Ordering::Greater => {}
            }
        }
        let is_before = |chunk: &Chunk| chunk.first().is_some_and(|item| item.position() <= *position);
        let chunk = match self.chunks.back() {
            Some(last) if is_before(last) => self.chunks.len() - 1,
            Some(_) | None => self.chunks.partition_point(is_before).saturating_sub(1),
        };
        let Some(found) = self.chunks.get(chunk) else { return Err(At { chunk: 0, index: 0 }) };
        let (mut cursor, mut index) = (found.items(), 0);
        while let Some(item) = cursor.next() {
            match item.position().cmp(position) {
                Ordering::Less => index += 1 + cursor.pass_run_before(position),
                Ordering::Equal => return Ok(At { chunk, index }),
                Ordering::Greater => return Err(At { chunk, index }),
            }
        }
        Err(At { chunk, index: found.len() })
    }

    /// Whether a position is behind all others because its first step is: what a push makes.
    fn belongs_last(&self, position: &Position) -> bool {
        let (step, Some(last)) = (position.steps()[0], self.step_at(Side::InFront)) else { return false };
        let is_later = (step.stamp, step.index) > (last.stamp, last.index);
        step.side == Side::InFront && (last.side == Side::Behind || is_later)
    }

    /// Puts an element where it belongs.
    pub fn insert(&mut self, at: At, item: &Item<'_>) {
        let At { mut chunk, mut index } = at;
        self.forget_marks(chunk + 1);
        self.len += 1;
        let bytes = item.bytes_max();
        let room = |sequence: &Self, chunk: usize| sequence.chunks.get(chunk).is_some_and(|c| c.has_room(bytes));
        if room(self, chunk) {
            return self.chunks[chunk].splice(index, 0, &[*item]);
        }
        let full = self.chunks.get(chunk).map_or(0, Chunk::len);
        if index > 0 && index < full {
            let rest = self.chunks[chunk].split_off(full / 2);
            let kept = self.chunks[chunk].len();
            self.chunks.insert(chunk + 1, rest);
            if index > kept {
                (chunk, index) = (chunk + 1, index - kept);
            }
            if room(self, chunk) {
                return self.chunks[chunk].splice(index, 0, &[*item]);
            }
            // Few elements of many bytes: the place is between two chunks after all, or becomes so.
            let rest = self.chunks[chunk].split_off(index);
            if rest.len() > 0 {
                self.chunks.insert(chunk + 1, rest);
            }
        } else if index == 0 && chunk > 0 && room(self, chunk - 1) {
            let end = self.chunks[chunk - 1].len();
            return self.chunks[chunk - 1].splice(end, 0, &[*item]);
        } else if index == full && room(self, chunk + 1) {
            return self.chunks[chunk + 1].splice(0, 0, &[*item]);
        }
        let place = if index == 0 { chunk } else { chunk + 1 };
        for neighbour in [place.checked_sub(1), Some(place)].into_iter().flatten() {
            if let Some(neighbour) = self.chunks.get_mut(neighbour) {
                neighbour.close();
            }
        }
        let mut new = Chunk::default();
        let is_outermost = place == 0 || place >= self.chunks.len();
        if is_outermost && self.chunks.len() >= LONG_CHUNKS_MIN && bytes <= chunk::CHUNK_BYTES_MAX / 4 {
            new.take_room(place == 0);
        }
        if place == 0 && !self.chunks.is_empty() {
            new.put_first(item);
        } else {
            new.put_last(item);
        }
        if self.chunks.capacity() == self.chunks.len() {
            self.chunks.reserve_exact(1 + self.chunks.len() / 4);
        }
        self.chunks.insert(place.min(self.chunks.len()), new);
    }

    /// Puts an element in the place of the one that is there, at the same position.
    pub fn replace(&mut self, at: At, item: &Item<'_>) {
        self.forget_wide(at);
        self.forget_marks(at.chunk);
        let Some(chunk) = self.chunks.get_mut(at.chunk) else { return };
        chunk.splice(at.index, 1, &[*item]);
        if chunk.is_oversized() {
            let rest = chunk.split_off(chunk.len() / 2);
            self.chunks.insert(at.chunk + 1, rest);
        }
    }

    /// Removes an element.
    pub fn remove(&mut self, at: At) {
        self.forget_wide(at);
        self.forget_marks(at.chunk + 1);
        let Some(chunk) = self.chunks.get_mut(at.chunk) else { return };
        chunk.splice(at.index, 1, &[]);
        self.len -= 1;
        self.tidy(at.chunk, at.index > 0);
    }

    /// After elements were taken out of a chunk: without any it goes, with few it may be joined with the next one.
    fn tidy(&mut self, chunk: usize, may_join: bool) {
        if self.chunks.get(chunk).is_some_and(|chunk| chunk.len() == 0) {
            self.chunks.remove(chunk);
            if self.chunks.len() + 1 == LONG_CHUNKS_MIN {
                self.forget_marks(self.chunks.len());
                self.chunks.front_mut().into_iter().for_each(Chunk::give_back);
                self.chunks.back_mut().into_iter().for_each(Chunk::give_back);
            }
        } else if may_join {
            self.join(chunk);
        }
        // Not at each: a list that is emptied from an end would be moved again and again.
        if self.chunks.capacity() > 4 * self.chunks.len() {
            self.chunks.shrink_to(2 * self.chunks.len());
        }
    }

    /// Joins a chunk of which little is left with the one behind it, if that is small as well.
    fn join(&mut self, chunk: usize) {
        let small =
            |chunk: &Chunk| chunk.len() < chunk::CHUNK_ITEMS_MAX / 4 && chunk.heap_bytes() < chunk::CHUNK_BYTES_MAX / 4;
        if self.chunks.get(chunk).is_some_and(small)
            && self.chunks.get(chunk + 1).is_some_and(small)
            && let Some(rest) = self.chunks.remove(chunk + 1)
        {
            self.chunks[chunk].append(&rest);
        }
    }

    /// Removes the elements in these ranges of numbers, which are in order, do not overlap and lie within the list, and gives
    /// each element to `each` before it goes. Chunks are walked once, from the end on: what is before stays where it is.
    pub fn remove_ranges(&mut self, mut ranges: &[Range<usize>], mut each: impl FnMut(&Item<'_>)) {
        self.forget_marks(self.chunks.len());
        let (mut chunk, mut start) = (self.chunks.len(), self.len);
        while let [before @ .., last] = ranges {
            if last.is_empty() {
                ranges = before;
                continue;
            }
            if last.start < start / 2 {
                // The front is nearer.
                let at = self.at(last.start);
                (chunk, start) = (at.chunk, last.start - at.index);
            }
            while start > last.start {
                chunk -= 1;
                start -= self.chunks[chunk].len();
            }
            let here = ranges.partition_point(|range| range.start < start);
            let (before, here) = ranges.split_at(here);
            self.remove_in(chunk, start, here, &mut each);
            self.tidy(chunk, here[0].start > start);
            ranges = before;
        }
    }

    /// Removes the elements in ranges that begin in the chunk whose first element has the number `start`. The last one may
    /// go on behind it.
    fn remove_in(&mut self, chunk: usize, start: usize, ranges: &[Range<usize>], each: &mut impl FnMut(&Item<'_>)) {
        self.len -= ranges.iter().map(Range::len).sum::<usize>();
        let end = start + self.chunks[chunk].len();
        let inside = |range: &Range<usize>| range.start - start..range.end.min(end) - start;
        match ranges {
            [range] => self.chunks[chunk].take_out(inside(range).start, inside(range).len(), &mut *each),
            _ => self.chunks[chunk].take_out_all(ranges.iter().map(inside), &mut *each),
        }
        let mut left = ranges.last().map_or(0, |last| last.end.saturating_sub(end));
        let mut behind = chunk + 1;
        while left > 0 {
            let found = &mut self.chunks[behind];
            let count = left.min(found.len());
            left -= count;
            if count < found.len() {
                found.take_out(0, count, &mut *each);
            } else {
                found.items().for_each(|item| each(&item));
                behind += 1;
            }
        }
        self.chunks.drain(chunk + 1..behind);
    }

    /// Gives `each` the elements in these ranges of numbers, which are in order and do not overlap.
    pub fn for_each_in(&self, ranges: &[Range<usize>], mut each: impl FnMut(Item<'_>)) {
        let (mut items, mut next) = (self.items_from(0), 0);
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            if range.start - next > self.chunks.len() {
                // Counting chunks takes less than passing over elements.
                (items, next) = (self.items_from(range.start), range.start);
            }
            items.by_ref().skip(range.start - next).take(range.len()).for_each(&mut each);
            next = range.end;
        }
    }

    /// Whether there are elements that one write alone did not set.
    pub fn has_wide(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.wide.is_empty())
    }

    /// The chunks up to this one are about to change.
    #[inline]
    fn forget_marks(&mut self, chunk: usize) {
        if let Some(rare) = &mut self.rare
            && chunk + 1 >= self.chunks.len()
        {
            rare.marks = Vec::new();
            self.tidy_rare();
        }
    }

    fn tidy_rare(&mut self) {
        self.rare.take_if(|rare| rare.wide.is_empty() && rare.marks.is_empty());
    }

    fn forget_wide(&mut self, at: At) {
        if !self.has_wide() {
            return;
        }
        let name = match self.item(at) {
            Some(Item { value: Value::Wide, place: Place::Named(name), .. }) => name.to_vec(),
            Some(_) | None => return,
        };
        self.take_wide(&name);
    }

    fn take_wide(&mut self, name: &[u8]) -> Option<Element> {
        let element = self.rare.as_mut()?.wide.remove(name);
        self.tidy_rare();
        element
    }

    /// Lets `work` change the element with this name, there or not, and keeps what is left in its smallest form.
    pub fn change(&mut self, name: &[u8], work: impl FnOnce(&mut Element)) {
        let Some(position) = Position::of_name(name) else { return };
        let found = self.find(&position);
        let mut element = match found {
            Ok(at) => self.item(at).map(|item| self.widened(&item)).unwrap_or_default(),
            Err(_) => Element::default(),
        };
        work(&mut element);
        self.store(found, &position, name, element);
    }

    fn store(&mut self, found: Result<At, At>, position: &Position, name: &[u8], element: Element) {
        let plain = match (&element.siblings[..], &element.contributions[..]) {
            ([(dot, value)], []) => Some(Item::new(position, name, *dot, value)),
            _ => None,
        };
        match (found, plain) {
            (Ok(at), _) if element.is_empty() => self.remove(at),
            (Err(_), _) if element.is_empty() => {}
            (Ok(at), Some(item)) => self.replace(at, &item),
            (Err(at), Some(item)) => self.insert(at, &item),
            (Ok(at), None) => {
                self.replace(at, &Item::wide(name));
                self.rare.get_or_insert_default().wide.insert(name.into(), element);
            }
            (Err(at), None) => {
                self.insert(at, &Item::wide(name));
                self.rare.get_or_insert_default().wide.insert(name.into(), element);
            }
        }
    }

    /// Keeps only the elements for which `keep` says so; it may change those that are not plain.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], Piece<'_>) -> bool) {
        let mut old = std::mem::take(self);
        let mut wide = old.rare.take().map(|rare| rare.wide);
        let mut name = Vec::new();
        for item in old.chunks.iter().flat_map(Chunk::items) {
            item.name_into(&mut name);
            if let Some(text) = item.text() {
                if keep(&name, Piece::Plain(item.dot, &text)) {
                    self.insert(self.at(self.len), &item);
                }
            } else if let Some(mut element) = wide.as_mut().and_then(|wide| wide.remove(&*name))
                && keep(&name, Piece::Wide(&mut element))
                && let Some(position) = Position::of_name(&name)
            {
                self.store(Err(self.at(self.len)), &position, &name, element);
            }
        }
        if let Some(last) = self.chunks.back_mut() {
            last.close();
        }
    }

    /// Bytes of what few lists have, without its elements.
    fn rare_bytes(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| size_of::<Rare>() + rare.marks.capacity() * size_of::<Mark>())
    }

    /// Bytes on the heap as `allocated` says of each block, reckoned from so many of the chunks.
    pub fn memory(&self, samples: usize, allocated: impl Fn(usize) -> usize) -> usize {
        let looked_at = samples.min(self.chunks.len());
        let some: usize = self.chunks.iter().take(looked_at).map(|chunk| allocated(chunk.heap_bytes())).sum();
        allocated(self.chunks.capacity() * size_of::<Chunk>())
            + self.rare_bytes()
            + some * self.chunks.len() / looked_at.max(1)
    }

    /// Parts that [`Sequence::take_apart`] counts.
    pub fn parts(&self) -> usize {
        self.chunks.len()
    }

    /// Frees everything, and calls `freed` after about each so many elements with how many parts went.
    pub fn take_apart(mut self, count: usize, freed: &mut dyn FnMut(usize)) {
        while !self.chunks.is_empty() {
            let some = (count / chunk::CHUNK_ITEMS_MAX).clamp(1, self.chunks.len());
            self.chunks.drain(..some);
            freed(some);
        }
    }

    /// Bytes on the heap, without the allocator's rounding.
    pub fn heap_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Chunk::heap_bytes).sum();
        let values = |element: &Element| element.siblings.iter().map(|(_, value)| value.len()).sum::<usize>();
        let wide = self
            .rare
            .iter()
            .flat_map(|rare| rare.wide.iter())
            .map(|(name, element)| name.len() + size_of::<Element>() + values(element));
        chunks + self.chunks.capacity() * size_of::<Chunk>() + self.rare_bytes() + wide.sum::<usize>()
    }
}

#[cfg(test)]
mod tests;

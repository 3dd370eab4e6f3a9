//! What is put at the ends of a chunk and taken from there, which is nearly all that happens to lists, and the memory that a
//! chunk has for it.
//!
//! What is put before the first element goes into room that is kept there, so that nothing else has to move: only where the
//! old first element stands is said anew, now as the difference from the new one.

use super::written::{Written, encode, encode_head};
use super::{CHUNK_BYTES_MAX, Chunk, GROWTH_BYTES_MIN, Item, Mark, RUN_ITEMS_MAX, Trace, Value};

impl Mark {
    /// Whether it is this far behind the beginning of the bytes.
    pub fn is_from(&self, place: usize) -> bool {
        self.at >= place
    }
}

impl Trace {
    /// What an element behind this one is written against; the first of a chunk is written against its own.
    #[inline]
    pub(super) fn of(item: &Item<'_>) -> Self {
        let integer = if let Value::Integer(integer) = item.value { integer } else { 0 };
        Self { step: item.first_step(), integer }
    }
}

impl Chunk {
    /// Puts an element behind the last one.
    pub fn put_last(&mut self, item: &Item<'_>) {
        self.put_behind(item);
        self.note_pushed(1, false);
    }

    /// The same, and does not look for runs.
    pub(super) fn put_behind(&mut self, item: &Item<'_>) {
        self.grow(item.bytes_max());
        if self.count == 0 {
            (self.base, self.end) = (Trace::of(item), Trace::of(item));
        }
        self.end = encode(&mut self.bytes, self.end, item);
        self.count += 1;
    }

    /// Puts an element before the first one. Says from where on nothing of those behind it has moved, if that can be said.
    pub fn put_first(&mut self, item: &Item<'_>) -> Option<usize> {
        let base = Trace::of(item);
        let mut heads = Written::new();
        encode_head(&mut heads, base, item);
        let own = heads.len();
        let (mut to, end) = self.items().follow(&mut heads, base);
        let text = if let Value::Text(text) = item.value { text } else { &[] };
        let bytes = heads.len() + text.len();
        let has_gap = bytes <= to;
        if !has_gap {
            to += self.make_gap(bytes - to);
        }
        let at = to - bytes;
        self.bytes[at..at + own].copy_from_slice(&heads[..own]);
        self.bytes[at + own..at + own + text.len()].copy_from_slice(text);
        self.bytes[at + own + text.len()..to].copy_from_slice(&heads[own..]);
        (self.start, self.base, self.end) = (at as u32, base, end.unwrap_or(self.end));
        self.count += 1;
        let stays = !self.note_pushed(1, true) && has_gap;
        stays.then_some(to)
    }

    /// Where up to so many of the last elements begin, the first of them first, as far as they are in no run. The last one
    /// is taken out of its run for that.
    pub fn last_marks(&mut self, elements: usize) -> Vec<Mark> {
        let Some(last) = self.len().checked_sub(1) else { return Vec::new() };
        self.open(self.front(), last);
        let mut cursor = self.items();
        cursor.pass(self.len().saturating_sub(elements));
        let mut marks = Vec::with_capacity(elements.min(self.len()));
        loop {
            let mark = Mark { at: cursor.at, trace: cursor.trace };
            let was_in_run = cursor.run.is_some();
            if cursor.next().is_none() {
                return marks;
            }
            if was_in_run || cursor.run.is_some() {
                marks.clear();
            } else {
                marks.push(mark);
            }
        }
    }

    /// The element that begins here.
    pub fn item_at(&self, mark: Mark) -> Option<Item<'_>> {
        self.items_from(mark).next()
    }

    /// Takes out the last element, which begins here.
    pub fn drop_last(&mut self, mark: Mark) {
        self.bytes.truncate(mark.at);
        self.end = mark.trace;
        self.count -= 1;
        // SUBTLE: what is before stays where it is, since there may be marks of it.
        let length = self.bytes.len();
        if self.has_too_much(length) {
            self.bytes.shrink_to(length + GROWTH_BYTES_MIN);
        }
    }

    /// Counts what was put at an end, and makes runs when there may be one more. Says whether it looked for some.
    pub(super) fn note_pushed(&mut self, items: usize, at_front: bool) -> bool {
        self.pushed = self.pushed.saturating_add(items as u16);
        let looks = usize::from(self.pushed) >= RUN_ITEMS_MAX;
        if looks {
            self.pushed = 0;
            self.pack(RUN_ITEMS_MAX, at_front);
        }
        looks
    }

    /// Puts bytes in the place of the first ones, up to `to`.
    pub(super) fn replace_front(&mut self, mut to: usize, written: &[u8]) {
        if written.len() > to {
            to += self.make_gap(written.len() - to);
        }
        let at = to - written.len();
        self.bytes[at..to].copy_from_slice(written);
        self.start = at as u32;
    }

    /// Makes room for so many bytes more before the first element, and all that there is. Says by how much all elements have
    /// moved.
    fn make_gap(&mut self, bytes: usize) -> usize {
        self.reserve(bytes);
        let (start, old) = (self.start as usize, self.bytes.len());
        let moved = self.bytes.capacity() - old;
        self.bytes.resize(old + moved, 0);
        self.bytes.copy_within(start..old, start + moved);
        self.start += moved as u32;
        moved
    }

    /// Takes all the memory at once that a chunk is to have at most. It has no elements yet.
    pub fn take_room(&mut self, at_front: bool) {
        self.bytes.reserve_exact(CHUNK_BYTES_MAX);
        if at_front {
            self.bytes.resize(CHUNK_BYTES_MAX, 0);
            self.start = CHUNK_BYTES_MAX as u32;
        }
    }

    /// Bytes that elements take.
    pub(super) fn used(&self) -> usize {
        self.bytes.len() - self.start as usize
    }

    /// Moves the elements to where the memory begins.
    fn close_gap(&mut self) {
        self.bytes.drain(..self.start as usize);
        self.start = 0;
    }

    /// Gives back memory that is not needed while nothing is added.
    pub fn close(&mut self) {
        self.close_gap();
        self.pack(super::RUN_ITEMS_MIN, false);
        self.bytes.shrink_to_fit();
    }

    /// Gives back memory of what was taken out.
    pub fn give_back(&mut self) {
        if self.has_too_much(self.used()) {
            self.close_gap();
            self.bytes.shrink_to(self.bytes.len() + GROWTH_BYTES_MIN);
        }
    }

    fn has_too_much(&self, used: usize) -> bool {
        self.bytes.capacity() > used + used / 4 + 2 * GROWTH_BYTES_MIN
    }

    /// Makes room for so many bytes more behind the last element: that before the first one, if there is much.
    pub(super) fn grow(&mut self, bytes: usize) {
        if self.bytes.capacity() - self.bytes.len() >= bytes {
            return;
        }
        if self.start as usize >= bytes.max(self.used() / 4) {
            self.close_gap();
        } else {
            self.reserve(bytes);
        }
    }

    /// Makes room for so many bytes more, and for little beside them: a list is mostly chunks that do not grow.
    fn reserve(&mut self, bytes: usize) {
        let length = self.bytes.len();
        if self.bytes.capacity() - length < bytes {
            let wanted = handed_out(length + bytes.max(length / 8).max(GROWTH_BYTES_MIN));
            let most = if length + bytes <= CHUNK_BYTES_MAX { CHUNK_BYTES_MAX } else { usize::MAX };
            self.bytes.reserve_exact(wanted.min(most) - length);
        }
    }
}

/// How many bytes an allocator hands out where so many are asked for: sizes between two powers of two are quarters.
/// Whoever grows asks for all of them, and then not again for the next few bytes.
fn handed_out(bytes: usize) -> usize {
    bytes.next_multiple_of(16.max(bytes.next_power_of_two() / 8))
}

//! What is put at the ends of a list and taken from there: without a look at any other element.

use super::{At, MARKS_MAX, Rare, Sequence};
use crate::sequence::chunk::{Item, Mark, Place};
use crdt::{Side, Step};

impl Sequence {
    /// Puts an element outside of all others on its side, if it belongs there. False, and nothing done, if it does not, or if
    /// the list has no other.
    pub fn put_outermost(&mut self, item: &Item<'_>) -> bool {
        let Place::Edge(step) = item.place else { return false };
        let Some(outer) = self.step_at(step.side) else { return false };
        if outer.side == step.side && (step.stamp, step.index) <= (outer.stamp, outer.index) {
            return false;
        }
        let last = self.chunks.len() - 1;
        let chunk = if step.side == Side::Behind { 0 } else { last };
        if !self.chunks[chunk].has_room(item.bytes_max()) {
            self.insert(
                At { chunk, index: if step.side == Side::Behind { 0 } else { self.chunks[chunk].len() } },
                item,
            );
            return true;
        }
        self.len += 1;
        if step.side == Side::InFront {
            self.forget_marks(last);
            self.chunks[last].put_last(item);
            return true;
        }
        let stays_from = self.chunks[0].put_first(item);
        if last == 0
            && let Some(Rare { marks, .. }) = self.rare.as_deref()
            && !stays_from.is_some_and(|place| marks.first().is_none_or(|mark| mark.is_from(place)))
        {
            self.forget_marks(0);
        }
        true
    }

    /// Removes the element that is this one step from an edge if it is the first or the last one, others are left, and `agrees`
    /// says so. False, and nothing done, if that is not so.
    pub fn take_outermost(&mut self, step: Step, agrees: impl FnOnce(&Item<'_>) -> bool) -> bool {
        if self.len < 2 {
            return false;
        }
        let agrees = |item: Option<Item<'_>>| item.is_some_and(|item| item.place == Place::Edge(step) && agrees(&item));
        if self.step_at(Side::InFront) == Some(step) {
            let Some(mark) = self.last_mark() else { return false };
            let is_taken = agrees(self.chunks.back().and_then(|chunk| chunk.item_at(mark)));
            if is_taken {
                self.drop_last(mark);
            }
            return is_taken;
        }
        let is_taken =
            self.step_at(Side::Behind) == Some(step) && agrees(self.chunks.front().and_then(|chunk| chunk.first()));
        if is_taken {
            self.remove(At { chunk: 0, index: 0 });
        }
        is_taken
    }

    /// Removes the last element, after `each` has seen it, and remembers where those before it begin: for lists that are
    /// emptied from there. What is trimmed now and then does not need the memory for that.
    pub fn take_last(&mut self, mut each: impl FnMut(&Item<'_>)) {
        if self.has_wide() && self.len > 0 {
            self.forget_wide(self.at(self.len - 1));
        }
        let Some(mark) = self.last_mark() else { return };
        if let Some(item) = self.chunks.back().and_then(|chunk| chunk.item_at(mark)) {
            each(&item);
        }
        self.drop_last(mark);
    }

    /// Where the last element begins.
    fn last_mark(&mut self) -> Option<Mark> {
        let known = self.rare.as_ref().and_then(|rare| rare.marks.last());
        if known.is_some() {
            return known.copied();
        }
        let marks = self.chunks.back_mut()?.last_marks(MARKS_MAX);
        let last = *marks.last()?;
        self.rare.get_or_insert_default().marks = marks;
        Some(last)
    }

    /// Removes the last element, which begins here.
    fn drop_last(&mut self, mark: Mark) {
        let Some(chunk) = self.chunks.back_mut() else { return };
        chunk.drop_last(mark);
        let left = chunk.len();
        self.len -= 1;
        if let Some(rare) = &mut self.rare {
            rare.marks.pop();
        }
        if left == 0 {
            self.forget_marks(self.chunks.len());
            self.tidy(self.chunks.len() - 1, false);
        } else if self.rare.as_ref().is_some_and(|rare| rare.marks.is_empty()) {
            self.tidy_rare();
        }
    }
}

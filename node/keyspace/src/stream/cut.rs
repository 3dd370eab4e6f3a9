//! Taking the front of a stream off, in whole chunks.

use super::{Entries, Stream};
use crdt::{NodeNumber, Stamp, StreamId};

impl Entries {
    /// How many entries have this id or a smaller one.
    pub fn count_up_to(&self, id: StreamId) -> usize {
        if self.last_id().is_none_or(|last| last <= id) {
            return self.len();
        }
        id.next().map_or(self.len(), |next| self.count_before(next))
    }

    /// The id and the dot of the entry number `index`, which has no siblings.
    pub fn dot_of_number(&self, index: usize) -> Option<(StreamId, Stamp)> {
        let mut before = 0;
        for (chunk, length) in self.chunk_lengths().enumerate() {
            if index < before + length {
                return self.items_of(chunk).nth(index - before).map(|item| (item.id, item.dot));
            }
            before += length;
        }
        None
    }
}

impl Stream {
    /// Takes so many entries off the front, of which `last` is the last one's id or a greater one that no other entry has
    /// reached. No entry has siblings.
    pub fn cut(&mut self, last: StreamId, count: usize) -> Self {
        let entries = self.entries.cut_front(count);
        let is_told = |node: NodeNumber| self.added.of(node) <= self.head.added.of(node);
        self.is_added_stale |= !self.added.nodes().all(is_told);
        self.regional.entries_removed_up_to(last);
        Self { entries, ..Self::default() }
    }
}

//! Taking one end of a list off, in whole chunks.

use super::{At, Sequence};
use crdt::{Position, Reach};

impl Sequence {
    /// How many elements stand up to a position, or from there on.
    pub fn count_to(&self, reach: Reach, bound: &Position) -> usize {
        let (at, is_there) = match self.find(bound) {
            Ok(at) => (at, true),
            Err(at) => (at, false),
        };
        let before = self.number_of(at);
        match reach {
            Reach::UpTo => before + usize::from(is_there),
            Reach::From => self.len - before,
        }
    }

    /// The number of the element at a place.
    fn number_of(&self, at: At) -> usize {
        let before: usize = self.chunks.iter().take(at.chunk).map(super::Chunk::len).sum();
        before + at.index
    }

    /// Takes so many elements off, from the first one up or from the last one back. No element was set by more than one
    /// write.
    pub fn cut(&mut self, reach: Reach, count: usize) -> Self {
        let count = count.min(self.len);
        let from = match reach {
            Reach::UpTo => count,
            Reach::From => self.len - count,
        };
        self.forget_marks(self.chunks.len());
        let At { chunk, index } = self.at(from);
        let mut split = chunk;
        if self.chunks.get(chunk).is_some_and(|chunk| index > 0 && index < chunk.len()) {
            let rest = self.chunks[chunk].split_off(index);
            self.chunks.insert(chunk + 1, rest);
            split += 1;
        } else if index > 0 {
            split += 1;
        }
        let chunks = self.chunks.split_off(split.min(self.chunks.len()));
        let mut cut = Self { chunks, len: self.len - from, ..Self::default() };
        self.len = from;
        if reach == Reach::UpTo {
            std::mem::swap(&mut self.chunks, &mut cut.chunks);
            std::mem::swap(&mut self.len, &mut cut.len);
        }
        self.chunks.shrink_to_fit();
        cut
    }
}

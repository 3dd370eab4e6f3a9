//! How long an element stays: what was asserted about a field of a hash.
//!
//! It is what a key's life is, one level down. Whatever puts a field asserts by the very dot of the content that the
//! field has no end: that costs nothing. An assertion of its own (`HEXPIRE`, `HPERSIST`) drops what it observed: from
//! then on the content is *silent*. The longest assertion wins; a field of which nothing is asserted has no end.

use crate::{Lifetime, Stamp};
use smallvec::SmallVec;

/// What is asserted about an element's life besides what its content asserts. Nearly all elements have nothing of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ElementLife {
    /// Assertions of their own; any order.
    pub assertions: SmallVec<[(Stamp, Lifetime); 1]>,
    /// Siblings that assert nothing any more: their dots in order. (Contributions know it themselves.)
    pub silent: SmallVec<[Stamp; 1]>,
}

impl ElementLife {
    /// Whether nothing differs from what the content asserts.
    pub fn is_plain(&self) -> bool {
        self.assertions.is_empty() && self.silent.is_empty()
    }

    /// The assertion that counts of those that are not the content's: the longest, of equals the latest.
    pub fn winner(&self) -> Option<(Stamp, Lifetime)> {
        self.assertions.iter().copied().max_by_key(|&(stamp, lifetime)| (lifetime, stamp))
    }

    /// Whether this sibling asserts nothing.
    pub fn is_silent(&self, content: Stamp) -> bool {
        self.silent.binary_search(&content).is_ok()
    }

    /// From now on this sibling asserts nothing.
    pub fn silence(&mut self, content: Stamp) {
        if let Err(place) = self.silent.binary_search(&content) {
            self.silent.insert(place, content);
        }
    }

    /// What a write says by its own dot: that there is no end. It takes back what an earlier step of the same command
    /// has said.
    pub fn assert_by_content(&mut self, content: Stamp) {
        self.assertions.retain(|&mut (dot, _)| dot != content);
        self.silent.retain(|&mut dot| dot != content);
    }

    /// Makes an assertion; one with the same dot gives way.
    pub fn assert(&mut self, stamp: Stamp, lifetime: Lifetime) {
        self.assertions.retain(|&mut (dot, _)| dot != stamp);
        self.assertions.push((stamp, lifetime));
    }
}

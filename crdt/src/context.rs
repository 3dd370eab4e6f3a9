//! Causal context: what a replica has seen, as a version vector.
//!
//! A vector maps node numbers to the last stamp applied of that node; everything of that node up to the stamp has been
//! applied. Dots that were seen out of order (the *early set*) are kept beside a vector by whoever needs them.

use crate::{NodeNumber, Stamp};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// For each node the last stamp applied; a node that is missing stands at [`Stamp::ZERO`]. Sorted by node number.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub struct VersionVector(Vec<(NodeNumber, Stamp)>);

impl VersionVector {
    /// The vector of a replica that has seen nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The last stamp of `node` that is covered.
    pub fn of(&self, node: NodeNumber) -> Stamp {
        match self.position(node) {
            Ok(index) => self.0[index].1,
            Err(_) => Stamp::ZERO,
        }
    }

    /// Whether the change with this stamp has been seen.
    pub fn covers(&self, stamp: Stamp) -> bool {
        stamp <= self.of(stamp.author())
    }

    /// Whether everything that `other` covers is covered here too.
    pub fn covers_all(&self, other: &VersionVector) -> bool {
        other.0.iter().all(|&(node, stamp)| stamp <= self.of(node))
    }

    /// Raises the entry of `node` to `stamp`; never lowers it. True if it moved.
    pub fn raise(&mut self, node: NodeNumber, stamp: Stamp) -> bool {
        match self.position(node) {
            Ok(index) if self.0[index].1 < stamp => self.0[index].1 = stamp,
            Ok(_) => return false,
            Err(_) if stamp == Stamp::ZERO => return false,
            Err(index) => self.0.insert(index, (node, stamp)),
        }
        true
    }

    /// Raises every entry to that of `other`: the least upper bound. True if anything moved.
    pub fn join(&mut self, other: &VersionVector) -> bool {
        other.0.iter().fold(false, |moved, &(node, stamp)| self.raise(node, stamp) | moved)
    }

    /// Forgets a node, as when its entry is sealed after a removal.
    pub fn forget(&mut self, node: NodeNumber) {
        self.0.retain(|&(n, _)| n != node);
    }

    /// All entries in order of node number; none of them is zero.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (NodeNumber, Stamp)> + '_ {
        self.0.iter().copied()
    }

    /// How many nodes have an entry.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing has been seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The greatest stamp of any node.
    pub fn latest(&self) -> Stamp {
        self.0.iter().map(|&(_, stamp)| stamp).max().unwrap_or(Stamp::ZERO)
    }

    fn position(&self, node: NodeNumber) -> Result<usize, usize> {
        self.0.binary_search_by_key(&node, |&(n, _)| n)
    }
}

impl FromIterator<(NodeNumber, Stamp)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (NodeNumber, Stamp)>>(entries: I) -> Self {
        let mut vector = Self::new();
        for (node, stamp) in entries {
            vector.raise(node, stamp);
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(ms: u64, node: u16) -> Stamp {
        Stamp::at(crate::STAMP_EPOCH_MS + ms, NodeNumber::new(node).unwrap())
    }

    fn vector(stamps: &[Stamp]) -> VersionVector {
        stamps.iter().map(|&s| (s.author(), s)).collect()
    }

    #[test]
    fn a_vector_covers_each_node_up_to_its_entry() {
        let seen = vector(&[stamp(5, 1), stamp(9, 2)]);
        assert!(seen.covers(stamp(5, 1)) && !seen.covers(stamp(6, 1)));
        assert!(seen.covers(stamp(1, 2)) && !seen.covers(stamp(1, 3)));
    }

    #[test]
    fn the_join_is_the_least_upper_bound() {
        let mut a = vector(&[stamp(5, 1), stamp(9, 2)]);
        let b = vector(&[stamp(7, 1), stamp(3, 2), stamp(1, 3)]);
        assert!(!a.covers_all(&b) && !b.covers_all(&a));
        assert!(a.join(&b));
        assert_eq!(a, vector(&[stamp(7, 1), stamp(9, 2), stamp(1, 3)]));
        assert!(a.covers_all(&b) && !a.join(&b));
    }
}

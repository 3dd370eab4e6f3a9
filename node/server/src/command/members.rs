//! Byte strings copied out of the keyspace: one buffer for all of them, because commands that need the elements of
//! several keys at once, or must know how many there are before they answer, would else allocate for each.

use resp::Reply;
use std::collections::HashSet;
use std::hash::RandomState;

/// A list of byte strings in one allocation, in the order they were pushed.
#[derive(Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    /// An empty list.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds one at the end.
    pub(super) fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All of them in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    /// Keeps those that `keep` wants.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let (mut kept_bytes, mut kept, mut start) = (0, 0, 0);
        for index in 0..self.ends.len() {
            let end = self.ends[index];
            if keep(&self.bytes[start..end]) {
                self.bytes.copy_within(start..end, kept_bytes);
                kept_bytes += end - start;
                self.ends[kept] = kept_bytes;
                kept += 1;
            }
            start = end;
        }
        self.bytes.truncate(kept_bytes);
        self.ends.truncate(kept);
    }

    /// Leaves each name once.
    pub(super) fn without_repeats(self) -> Self {
        let mut seen = HashSet::with_capacity_and_hasher(self.len(), RandomState::new());
        let mut unique = Self::new();
        for name in self.iter() {
            if seen.insert(name) {
                unique.push(name);
            }
        }
        unique
    }

    /// Writes all of them as bulk strings; the caller has written the header.
    pub(super) fn write_to(&self, reply: &mut Reply) {
        for name in self.iter() {
            reply.bulk(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Names {
        let mut names = Names::new();
        of.iter().for_each(|name| names.push(name.as_bytes()));
        names
    }

    fn texts(names: &Names) -> Vec<String> {
        names.iter().map(|name| String::from_utf8(name.to_vec()).unwrap()).collect()
    }

    #[test]
    fn what_is_kept_stays_whole_and_in_order() {
        let mut list = names(&["one", "", "three", "four"]);
        list.retain(|name| name != b"one" && name != b"four");
        assert_eq!(texts(&list), ["", "three"]);
        list.push(b"five");
        assert_eq!(texts(&list), ["", "three", "five"]);
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn repeats_go_and_the_first_stays() {
        assert_eq!(texts(&names(&["b", "a", "b", "", "a", ""]).without_repeats()), ["b", "a", ""]);
    }
}

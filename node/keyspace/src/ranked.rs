//! A table of elements that knows an order of them: members of a large sorted set by their scores, fields of a hash that
//! have an end by that.
//!
//! The table owns the elements, the order names them by their cells. Whatever changes an element goes through here, so
//! that the order follows whoever changes it: a client, another region, a state session, a reset. Elements that have no
//! place in the order cost it nothing.

use crate::buckets::Buckets;
use crate::elements::{ElementEntry, WideElement, end_of, name_of, score_of, table_of};
use crate::hash::KeyHasher;
use crate::ordered::{Item, Order};
use crdt::Score;

/// What an element is ordered by; nothing if it has no place in the order.
pub type RankOf = fn(&ElementEntry) -> Option<Score>;

/// The order of a sorted set.
pub fn by_score(entry: &ElementEntry) -> Option<Score> {
    Some(score_of(entry))
}

/// The order in which the elements of a hash end; those that have no end are not in it.
pub fn by_end(entry: &ElementEntry) -> Option<Score> {
    Score::new(end_of(entry)? as f64)
}

/// A table of elements that knows the order of some of them.
#[derive(Debug)]
pub struct RankedTable {
    table: Buckets<WideElement>,
    order: Order,
    rank_of: RankOf,
}

impl RankedTable {
    /// A table of these members.
    pub fn of(hasher: &KeyHasher, rank_of: RankOf, members: impl Iterator<Item = ElementEntry>) -> Self {
        let mut ranked = Self::unsorted(rank_of, table_of(hasher, members));
        ranked.sort();
        ranked
    }

    /// A table of elements of which none has a place in the order yet. If some have, they must be told by
    /// [`RankedTable::enter`] or [`RankedTable::sort`].
    pub fn unsorted(rank_of: RankOf, table: Buckets<WideElement>) -> Self {
        Self { table, order: Order::new(), rank_of }
    }

    /// The table without the order.
    pub fn into_table(self) -> Buckets<WideElement> {
        self.table
    }

    /// The members by name.
    pub fn table(&self) -> &Buckets<WideElement> {
        &self.table
    }

    /// The members by score; [`RankedTable::member`] tells the one of an item.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// The member in a cell that the order names.
    pub fn member(&self, cell: u32) -> &ElementEntry {
        self.table.cell(cell as usize).expect("the order names cells that hold members")
    }

    /// Where a member is in the order.
    pub fn rank(&self, hasher: &KeyHasher, name: &[u8]) -> Option<usize> {
        let cell = self.cell_of(hasher, name)?;
        let item = Item::new(score_of(self.member(cell)), cell);
        Some(self.order.rank(item, &|cell| name_of(self.member(cell))))
    }

    /// Adds a member whose name is not there yet.
    pub fn insert_new(&mut self, hasher: &KeyHasher, member: ElementEntry) {
        let hash_of = |entry: &ElementEntry| hasher.hash(name_of(entry));
        let (rank, hash, cells) = ((self.rank_of)(&member), hash_of(&member), self.table.cells());
        let mut moved = Vec::new();
        let cell = self.table.insert_moving(hash, member, hash_of, note_moves(cells, &mut moved));
        self.renumber(&moved);
        self.link(rank, cell as u32);
    }

    /// Lets `work` change a member, though not its name. Nothing if it is not there.
    pub fn change<T>(
        &mut self,
        hasher: &KeyHasher,
        name: &[u8],
        work: impl FnOnce(&mut ElementEntry) -> T,
    ) -> Option<T> {
        let cell = self.cell_of(hasher, name)?;
        let member = self.table.cell_mut(cell as usize)?;
        let before = (self.rank_of)(member);
        let result = work(member);
        let after = (self.rank_of)(member);
        if before != after {
            self.unlink(before, cell);
            self.link(after, cell);
        }
        Some(result)
    }

    /// Gives a member the place in the order that it has not got yet.
    pub fn enter(&mut self, hasher: &KeyHasher, name: &[u8]) {
        if let Some(cell) = self.cell_of(hasher, name) {
            self.link((self.rank_of)(self.member(cell)), cell);
        }
    }

    /// Takes out a member.
    pub fn remove(&mut self, hasher: &KeyHasher, name: &[u8]) -> Option<ElementEntry> {
        let cell = self.cell_of(hasher, name)?;
        self.unlink((self.rank_of)(self.member(cell)), cell);
        let hash_of = |entry: &ElementEntry| hasher.hash(name_of(entry));
        let removed = self.table.remove(hasher.hash(name), |entry| name_of(entry) == name);
        let (cells, mut moved) = (self.table.cells(), Vec::new());
        self.table.shrink_moving(hash_of, note_moves(cells, &mut moved));
        self.renumber(&moved);
        removed
    }

    /// Keeps only the members for which `keep` says so; it may change them, but not their names.
    pub fn retain(&mut self, hasher: &KeyHasher, keep: impl FnMut(&mut ElementEntry) -> bool) {
        self.table.retain(keep, |entry| hasher.hash(name_of(entry)));
        self.sort();
    }

    /// Bytes on the heap besides the members themselves.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.table.heap_bytes() + self.order.heap_bytes()
    }

    /// Frees everything, and calls `freed` after each so many members with how many parts of the table went.
    pub fn take_apart(self, count: usize, freed: &mut dyn FnMut(usize)) {
        self.order.take_apart(&mut || freed(0));
        self.table.take_apart(count, freed);
    }

    fn cell_of(&self, hasher: &KeyHasher, name: &[u8]) -> Option<u32> {
        self.table.find_cell(hasher.hash(name), |entry| name_of(entry) == name).map(|cell| cell as u32)
    }

    fn link(&mut self, rank: Option<Score>, cell: u32) {
        let table = &self.table;
        if let Some(rank) = rank {
            self.order.insert(Item::new(rank, cell), &|cell| name_in(table, cell));
        }
    }

    fn unlink(&mut self, rank: Option<Score>, cell: u32) {
        let table = &self.table;
        if let Some(rank) = rank {
            self.order.remove(Item::new(rank, cell), &|cell| name_in(table, cell));
        }
    }

    fn renumber(&mut self, moved: &[u32]) {
        if !moved.is_empty() {
            self.order.renumber(moved);
        }
    }

    /// Makes the order anew: a walk over all members.
    pub fn sort(&mut self) {
        let (table, rank_of) = (&self.table, self.rank_of);
        let cells = (0..table.cells()).filter_map(|at| Some(Item::new(rank_of(table.cell(at)?)?, at as u32)));
        self.order = Order::of(cells.collect(), &|cell| name_in(table, cell));
    }
}

fn name_in(table: &Buckets<WideElement>, cell: u32) -> &[u8] {
    table.cell(cell as usize).map(name_of).unwrap_or_default()
}

/// Notes where what was in each of so many cells has gone; nothing is noted while nothing moves.
fn note_moves(cells: usize, moved: &mut Vec<u32>) -> impl FnMut(usize, usize) {
    move |from, to| {
        moved.resize(cells, 0);
        moved[from] = to as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, PackedLife};
    use crdt::Stamp;
    use std::collections::BTreeMap;

    fn member(name: u64, score: f64) -> ElementEntry {
        let score = Score::new(score).unwrap().to_bytes();
        Entry::packed(Stamp::from_bits(1), PackedLife::Own, 0, name.to_string().as_bytes(), &score)
    }

    fn check(ranked: &RankedTable, hasher: &KeyHasher, model: &BTreeMap<String, u64>) {
        let mut expected: Vec<(u64, &str)> = model.iter().map(|(name, &score)| (score, &**name)).collect();
        expected.sort_unstable();
        let found: Vec<(u64, &str)> = ranked
            .order()
            .range(0..usize::MAX, false)
            .map(|item| (item.score().to_f64() as u64, std::str::from_utf8(name_of(ranked.member(item.cell))).unwrap()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(ranked.table().len(), expected.len());
        for (rank, (_, name)) in expected.iter().enumerate().step_by(37) {
            assert_eq!(ranked.rank(hasher, name.as_bytes()), Some(rank));
        }
    }

    #[test]
    fn the_order_follows_whatever_happens_to_members() {
        let hasher = KeyHasher::fixed();
        let mut ranked = RankedTable::of(&hasher, by_score, (0..30).map(|name| member(name, 1.0)));
        let mut model: BTreeMap<String, u64> = (0..30).map(|name: u64| (name.to_string(), 1)).collect();
        let mut word = 7u64;
        for round in 0..6_000u64 {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (name, score) = ((word >> 33) % 900, (word >> 50) % 20);
            let text = name.to_string();
            let removes = (round / 1_000) % 2 == 1;
            if removes && word >> 20 & 3 != 0 {
                assert_eq!(ranked.remove(&hasher, text.as_bytes()).is_some(), model.remove(&text).is_some());
            } else {
                let changed = ranked.change(&hasher, text.as_bytes(), |entry| *entry = member(name, score as f64));
                if changed.is_none() {
                    ranked.insert_new(&hasher, member(name, score as f64));
                }
                assert_eq!(changed.is_some(), model.insert(text, score).is_some());
            }
            if round % 199 == 0 {
                check(&ranked, &hasher, &model);
            }
        }
        ranked.retain(&hasher, |entry| {
            *entry = member(std::str::from_utf8(name_of(entry)).unwrap().parse().unwrap(), 5.0);
            !name_of(entry).ends_with(b"3")
        });
        model.retain(|name, _| !name.ends_with('3'));
        model.values_mut().for_each(|score| *score = 5);
        check(&ranked, &hasher, &model);
    }
}

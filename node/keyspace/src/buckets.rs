//! The table of one slot's keys, or of the elements of one large collection: buckets of one cache line each, with
//! seven cells and their tags.
//!
//! A lookup touches one line of the table and then the entry itself, where a table that keeps tags and cells apart
//! touches two; on a keyspace larger than the caches that is a third of a command's time. Keys that find their bucket
//! full go to the next one, and the buckets they passed count them (as F14 does, Bronson and Shi 2019), so that a
//! lookup stops as soon as nobody went further. Tables grow by half or a third: a bucket need not be one of a power of
//! two, since hashes are scaled to their number (Lemire 2019).
//!
//! A table moves all its entries at once when it grows. A slot's table is small, so that is not felt; that of a
//! collection of millions of elements, or of a slot with millions of keys of one `{tag}`, holds up the write that makes
//! it grow, and whoever waits for the slot, for some 50 ns an entry.

use crate::entry::{Entry, fetch_line};
use smallvec::SmallVec;

/// Cells of a bucket.
const CELLS: usize = 7;
/// The byte behind the tags: how many keys went past this bucket; stays at its greatest value once it is there.
const PASSED: usize = CELLS;
const PASSED_STUCK: u8 = u8::MAX;
/// A table grows when more than seven eighths of its cells are taken.
const FULL_EIGHTHS: usize = 7;
/// The high bit tells a tag from an empty cell.
const TAKEN: u8 = 0x80;
/// How many tags there are.
pub const TAGS: u8 = TAKEN;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// A cache line: tags, then cells.
#[derive(Debug)]
#[repr(align(64))]
struct Bucket<W> {
    tags: [u8; CELLS + 1],
    cells: [Option<Entry<W>>; CELLS],
}

/// A hash table of entries. It stores no hashes but a few bits; callers give them.
#[derive(Debug)]
pub struct Buckets<W> {
    buckets: Box<[Bucket<W>]>,
    len: u32,
}

/// Makes an odd number of which all bits matter out of the size of a table.
const ORDER_FACTOR: u32 = 0x9e37_79b1;

/// Random cells that are tried before the next ones are.
const RANDOM_TRIES: usize = 32;

/// Entries that are moved together when a table changes its size.
const MOVED_AT_ONCE: usize = 16;

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
struct Place {
    bucket: usize,
    cell: usize,
}

impl<W> Buckets<W> {
    /// A table without memory.
    pub fn new() -> Self {
        Self { buckets: Box::default(), len: 0 }
    }

    /// How many cells there are, taken or not.
    pub fn cells(&self) -> usize {
        self.buckets.len() * CELLS
    }

    /// What is in a cell.
    pub fn cell(&self, at: usize) -> Option<&Entry<W>> {
        self.buckets.get(at / CELLS)?.cells[at % CELLS].as_ref()
    }

    /// Bytes of the table, without what its entries point at.
    pub fn heap_bytes(&self) -> usize {
        std::mem::size_of_val(&*self.buckets)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry with this hash for which `is_it` says so.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl FnMut(&Entry<W>) -> bool) -> Option<&Entry<W>> {
        let place = self.place(hash, is_it)?;
        self.buckets[place.bucket].cells[place.cell].as_ref()
    }

    /// The entry with this hash for which `is_it` says so, to be changed.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&Entry<W>) -> bool) -> Option<&mut Entry<W>> {
        let place = self.place(hash, is_it)?;
        self.buckets[place.bucket].cells[place.cell].as_mut()
    }

    /// Asks for the line of the table that a lookup of this hash reads first, without waiting for it.
    #[inline]
    pub fn fetch_bucket(&self, hash: u64) {
        if let Some(bucket) = self.buckets.get(self.home(hash)) {
            fetch_line(bucket);
        }
    }

    /// Asks for the entries that a lookup of this hash compares first, without waiting for them.
    #[inline]
    pub fn fetch_entry(&self, hash: u64) {
        let Some(bucket) = self.buckets.get(self.home(hash)) else { return };
        let mut matches = bucket.matching(tag_of(hash));
        while matches != 0 {
            let cell = (matches.trailing_zeros() / 8) as usize;
            bucket.cells[cell].iter().for_each(Entry::fetch);
            matches &= matches - 1;
        }
    }

    /// Adds an entry that is not there yet. `hash_of` is asked for all entries when the table grows.
    pub fn insert_new(&mut self, hash: u64, entry: Entry<W>, hash_of: impl Fn(&Entry<W>) -> u64) {
        self.make_room(hash_of, |_, _| {});
        self.put(hash, entry);
    }

    /// The same, for somebody who remembers cells: `moved` is told of each entry that leaves its cell for another, which
    /// all do when the table grows. Returns the cell of the new entry.
    pub fn insert_moving(
        &mut self,
        hash: u64,
        entry: Entry<W>,
        hash_of: impl Fn(&Entry<W>) -> u64,
        moved: impl FnMut(usize, usize),
    ) -> usize {
        self.make_room(hash_of, moved);
        self.put(hash, entry)
    }

    /// Grows to the size that it would have with so many entries.
    pub fn make_room_for(&mut self, entries: usize, hash_of: impl Fn(&Entry<W>) -> u64) {
        let mut buckets = self.buckets.len();
        while entries * 8 > buckets * CELLS * FULL_EIGHTHS {
            buckets = grown(buckets);
        }
        if buckets > self.buckets.len() {
            self.resize(buckets, hash_of, |_, _| {});
        }
    }

    fn make_room(&mut self, hash_of: impl Fn(&Entry<W>) -> u64, moved: impl FnMut(usize, usize)) {
        if (self.len() + 1) * 8 > self.buckets.len() * CELLS * FULL_EIGHTHS {
            self.resize(grown(self.buckets.len()), hash_of, moved);
        }
    }

    /// The cell of the entry with this hash for which `is_it` says so.
    pub fn find_cell(&self, hash: u64, is_it: impl FnMut(&Entry<W>) -> bool) -> Option<usize> {
        self.place(hash, is_it).map(|place| place.bucket * CELLS + place.cell)
    }

    /// What is in a cell, to be changed.
    pub fn cell_mut(&mut self, at: usize) -> Option<&mut Entry<W>> {
        self.buckets.get_mut(at / CELLS)?.cells[at % CELLS].as_mut()
    }

    /// Takes out the entry with this hash for which `is_it` says so.
    pub fn remove(&mut self, hash: u64, is_it: impl FnMut(&Entry<W>) -> bool) -> Option<Entry<W>> {
        let place = self.place(hash, is_it)?;
        self.take(hash, place)
    }

    /// Keeps only the entries for which `keep` says so; it may change them, but not their names.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut Entry<W>) -> bool, hash_of: impl Fn(&Entry<W>) -> u64) {
        for bucket in 0..self.buckets.len() {
            for cell in 0..CELLS {
                let Some(entry) = &mut self.buckets[bucket].cells[cell] else { continue };
                if !keep(entry) {
                    let hash = hash_of(entry);
                    self.take(hash, Place { bucket, cell });
                }
            }
        }
    }

    /// Parts that [`Buckets::take_apart`] counts.
    pub fn parts(&self) -> usize {
        self.buckets.len()
    }

    /// Frees everything, and calls `freed` after about each so many entries with how many parts went.
    pub fn take_apart(mut self, count: usize, freed: &mut dyn FnMut(usize)) {
        for some in self.buckets.chunks_mut((count / CELLS).max(1)) {
            some.iter_mut().flat_map(|bucket| &mut bucket.cells).for_each(|cell| *cell = None);
            freed(some.len());
        }
    }

    /// Empties a cell.
    fn take(&mut self, hash: u64, place: Place) -> Option<Entry<W>> {
        let bucket = &mut self.buckets[place.bucket];
        bucket.tags[place.cell] = 0;
        let entry = bucket.cells[place.cell].take();
        self.len -= 1;
        let mut passed = self.home(hash);
        while passed != place.bucket {
            let count = &mut self.buckets[passed].tags[PASSED];
            if *count != PASSED_STUCK {
                *count -= 1;
            }
            passed = self.next(passed);
        }
        entry
    }

    /// Gives memory back when most entries are gone.
    pub fn shrink(&mut self, hash_of: impl Fn(&Entry<W>) -> u64) {
        self.shrink_moving(hash_of, |_, _| {});
    }

    /// The same, for somebody who remembers cells, as [`Buckets::insert_moving`].
    pub fn shrink_moving(&mut self, hash_of: impl Fn(&Entry<W>) -> u64, moved: impl FnMut(usize, usize)) {
        if self.is_empty() {
            *self = Self::new();
        } else if self.buckets.len() > 1 && self.len() * 8 < self.buckets.len() * CELLS {
            let least = self.buckets.len() / 4 + 1;
            let mut buckets = 1;
            while buckets < least {
                buckets = grown(buckets);
            }
            self.resize(buckets, hash_of, moved);
        }
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<W>> {
        self.buckets.iter().flat_map(|bucket| bucket.cells.iter().flatten())
    }

    /// The entries whose tags are among these of [`TAGS`], wherever they are. A tag is of the hash alone: an entry has the
    /// same one in a table of any size.
    pub fn tagged(&self, tags: std::ops::Range<u8>) -> impl Iterator<Item = &Entry<W>> {
        let is_meant = move |tag: u8| tag & TAKEN != 0 && tags.contains(&(tag & !TAKEN));
        self.buckets.iter().flat_map(move |bucket| {
            let is_meant = is_meant.clone();
            let cells = bucket.tags.iter().zip(&bucket.cells);
            cells.filter(move |(tag, _)| is_meant(**tag)).filter_map(|(_, cell)| cell.as_ref())
        })
    }

    /// Some entry, chosen by a random word: tries cells from random places, walks on from the last.
    pub fn random(&self, random: u64) -> Option<&Entry<W>> {
        if self.is_empty() {
            return None;
        }
        let cells = self.cells();
        let mut word = random;
        for _ in 0..RANDOM_TRIES {
            if let Some(entry) = self.cell((word % cells as u64) as usize) {
                return Some(entry);
            }
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 1;
        }
        let start = (word % cells as u64) as usize;
        (0..cells).find_map(|step| self.cell((start + step) % cells))
    }

    /// The bucket in which a key is looked for first.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        // SUBTLE: tables of different sizes have different orders. If they had one, whoever copies one table into another
        // that grows meanwhile would fill its buckets from the first on, and each would be looked for behind all others.
        let order = (self.buckets.len() as u32).wrapping_mul(ORDER_FACTOR) | 1;
        let scattered = (hash as u32).wrapping_mul(order);
        ((u64::from(scattered) * self.buckets.len() as u64) >> 32) as usize
    }

    /// The bucket after this one.
    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    #[inline]
    fn place(&self, hash: u64, mut is_it: impl FnMut(&Entry<W>) -> bool) -> Option<Place> {
        let tag = tag_of(hash);
        let mut index = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = self.buckets.get(index)?;
            let mut matches = bucket.matching(tag);
            while matches != 0 {
                let cell = (matches.trailing_zeros() / 8) as usize;
                if bucket.cells[cell].as_ref().is_some_and(&mut is_it) {
                    return Some(Place { bucket: index, cell });
                }
                matches &= matches - 1;
            }
            if bucket.tags[PASSED] == 0 {
                return None;
            }
            index = self.next(index);
        }
        None
    }

    /// Puts an entry into the first free cell from its home on, and says which. There is one: the table is never full.
    fn put(&mut self, hash: u64, entry: Entry<W>) -> usize {
        let mut index = self.home(hash);
        loop {
            let bucket = &mut self.buckets[index];
            if let Some(cell) = bucket.free() {
                bucket.tags[cell] = tag_of(hash);
                bucket.cells[cell] = Some(entry);
                self.len += 1;
                return index * CELLS + cell;
            }
            bucket.tags[PASSED] = bucket.tags[PASSED].saturating_add(1);
            index = self.next(index);
        }
    }

    fn resize(&mut self, buckets: usize, hash_of: impl Fn(&Entry<W>) -> u64, mut moved: impl FnMut(usize, usize)) {
        let fresh = (0..buckets).map(|_| Bucket::empty()).collect();
        let old = std::mem::replace(&mut self.buckets, fresh);
        self.len = 0;
        let cells = old.into_iter().flat_map(|bucket| bucket.cells).enumerate();
        let mut entries = cells.filter_map(|(at, cell)| Some((at, 0, cell?)));
        // The hash of an entry is that of its name, which is wherever the entry is, and its new bucket is anywhere. Of
        // several entries at a time memory is asked for the one and then for the other, and not waited for.
        let mut some: SmallVec<[(usize, u64, Entry<W>); MOVED_AT_ONCE]> = SmallVec::new();
        loop {
            some.extend(entries.by_ref().take(MOVED_AT_ONCE).inspect(|(_, _, entry)| entry.fetch()));
            if some.is_empty() {
                return;
            }
            for (_, hash, entry) in &mut some {
                *hash = hash_of(entry);
                self.fetch_bucket(*hash);
            }
            for (at, hash, entry) in some.drain(..) {
                moved(at, self.put(hash, entry));
            }
        }
    }
}

impl<W> Bucket<W> {
    fn empty() -> Self {
        Self { tags: [0; CELLS + 1], cells: [const { None }; CELLS] }
    }

    /// The cells with this tag (and, rarely, one above such a cell): the high bit of each one's byte.
    #[inline]
    fn matching(&self, tag: u8) -> u64 {
        let different = u64::from_le_bytes(self.tags) ^ (LOW_BITS * u64::from(tag));
        // A zero byte borrows into its high bit; the byte of the count is masked out.
        different.wrapping_sub(LOW_BITS) & !different & HIGH_BITS & (u64::MAX >> 8)
    }

    fn free(&self) -> Option<usize> {
        let empty = !u64::from_le_bytes(self.tags) & HIGH_BITS & (u64::MAX >> 8);
        (empty != 0).then(|| (empty.trailing_zeros() / 8) as usize)
    }
}

impl<W> Default for Buckets<W> {
    fn default() -> Self {
        Self::new()
    }
}

/// The next size of a table: 1, 2, 3, 4, 6, 8, 12, 16, 24... These are sizes that the allocator has; of a size between
/// them the rest would be lost.
const fn grown(buckets: usize) -> usize {
    match buckets {
        0 | 1 => buckets + 1,
        _ => buckets + (1 << buckets.ilog2()) / 2,
    }
}

/// The bits of a hash that cells remember: not those that choose the bucket.
#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash >> 56) as u8 | TAKEN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{KeyBody, KeyEntry, key_of};
    use crate::entry::PackedLife;
    use crdt::Stamp;
    use std::collections::BTreeSet;

    type KeyTable = Buckets<KeyBody>;

    fn entry(key: u64) -> KeyEntry {
        KeyEntry::packed(Stamp::from_bits(1), PackedLife::Own, 0, &key.to_le_bytes(), b"")
    }

    fn number(entry: &KeyEntry) -> u64 {
        u64::from_le_bytes(key_of(entry).try_into().unwrap())
    }

    /// Few different hashes, so that buckets overflow and tags collide.
    fn poor_hash(key: u64) -> u64 {
        (key % 13).wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0xf000_0000_f000_0000
    }

    fn good_hash(key: u64) -> u64 {
        key.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }

    fn check(hash: fn(u64) -> u64) {
        let mut table = Buckets::new();
        let mut model = BTreeSet::new();
        let mut word = 7u64;
        for round in 0..20_000u64 {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (word >> 33) % 300;
            let grows = (round / 4000) % 2 == 0;
            if model.contains(&key) && (!grows || word & 1 == 0) {
                let removed = table.remove(hash(key), |e| number(e) == key);
                assert_eq!(removed.map(|e| number(&e)), Some(key));
                model.remove(&key);
                table.shrink(|e| hash(number(e)));
            } else if !model.contains(&key) && grows {
                table.insert_new(hash(key), entry(key), |e| hash(number(e)));
                model.insert(key);
            }
            assert_eq!(table.len(), model.len());
            assert_eq!(table.find(hash(key), |e| number(e) == key).is_some(), model.contains(&key));
        }
        assert_eq!(table.iter().map(number).collect::<BTreeSet<_>>(), model);
        table.retain(|e| number(e).is_multiple_of(3), |e| hash(number(e)));
        model.retain(|key| key % 3 == 0);
        assert_eq!(table.iter().map(number).collect::<BTreeSet<_>>(), model);
        for key in 0..300 {
            assert_eq!(table.find(hash(key), |e| number(e) == key).is_some(), model.contains(&key));
        }
        assert_eq!(table.random(word).is_some(), !model.is_empty());
    }

    #[test]
    fn it_holds_what_a_set_holds() {
        check(good_hash);
    }

    #[test]
    fn keys_that_collide_are_kept_apart() {
        check(poor_hash);
    }

    /// How many buckets all entries together have passed, as far as it is known.
    fn passed(table: &KeyTable) -> u64 {
        table.buckets.iter().map(|bucket| u64::from(bucket.tags[PASSED])).sum()
    }

    #[test]
    fn a_table_that_is_filled_in_the_order_of_another_is_no_worse() {
        let mut first = Buckets::new();
        (0..100_000).for_each(|key| {
            first.insert_new(good_hash(key), entry(key), |e| good_hash(number(e)));
        });
        let mut second = Buckets::new();
        let mut passed_max = 0;
        for (count, key) in first.iter().map(number).enumerate() {
            second.insert_new(good_hash(key), entry(key), |e| good_hash(number(e)));
            if count % 1_000 == 0 {
                passed_max = passed_max.max(passed(&second) * 1_000 / (count as u64 + 1));
            }
        }
        assert_eq!(second.len(), 100_000);
        // Of a thousand entries; with a table full to seven eighths it is about two hundred.
        assert!(passed_max < 1_000, "{passed_max}");
    }

    #[test]
    fn tables_grow_and_shrink_to_sizes_of_one_series() {
        let series: BTreeSet<usize> = std::iter::successors(Some(0), |&size| Some(grown(size))).take(40).collect();
        let mut table = Buckets::new();
        for key in 0..3_000 {
            table.insert_new(good_hash(key), entry(key), |e| good_hash(number(e)));
            assert!(series.contains(&table.buckets.len()), "{}", table.buckets.len());
        }
        for key in 0..3_000 {
            assert!(table.remove(good_hash(key), |e| number(e) == key).is_some());
            table.shrink(|e| good_hash(number(e)));
            assert!(series.contains(&table.buckets.len()), "{}", table.buckets.len());
        }
        assert_eq!(table.heap_bytes(), 0);
    }

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!((size_of::<Bucket<KeyBody>>(), align_of::<Bucket<KeyBody>>()), (64, 64));
    }
}

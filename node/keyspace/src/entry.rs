//! Entries: a table's cell is one thin pointer to a key, or to an element of a hash or set.
//!
//! Nearly every entry is *packed*: name, value, stamp and lifetime in one allocation, with nothing but the pointer in
//! the table. A counter that one node alone has moved is packed too, its value being the sum and its birth. An entry that
//! concurrent writes, counters or collections have made larger is *wide*: a box of `W`. The pointer's lowest bit tells
//! them apart.
//!
//! This is the one room of the server with `unsafe` code. What it relies on is said at each place; the tests below run
//! it through random sequences (they also run under valgrind and Miri).
#![allow(unsafe_code, reason = "thin tagged pointers need it; this file is the only place")]

use crdt::{Contribution, Lifetime, Number, Stamp};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A thin owning pointer: a packed entry, or a box of `W`.
pub struct Entry<W> {
    /// Points at a packed block (lowest bit 0), or is `Box::<W>::into_raw` plus one.
    pointer: NonNull<u8>,
    owns: PhantomData<Box<W>>,
}

// SAFETY: an entry owns what it points at exclusively, like a `Box<W>` or a `Box<[u8]>`.
unsafe impl<W: Send> Send for Entry<W> {}

/// What a packed entry asserts about the life of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedLife {
    /// The content's own dot asserts that the key never expires: costs nothing.
    Own,
    /// No assertion is left; the key never expires.
    Unasserted,
    /// One assertion with a dot of its own.
    Asserted(Stamp, Lifetime),
}

/// A packed entry, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// The dot of the content.
    pub stamp: Stamp,
    /// The assertion about the life.
    pub life: PackedLife,
    /// When or how often it is used: 24 bits, see [`crate::usage`].
    pub access: u32,
    /// The key's or element's name.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// A packed counter, taken apart: one node's contribution, of which nothing has been reset, and no text.
#[derive(Clone, Copy, Debug)]
pub struct PackedCounter<'a> {
    /// The first increment of the contribution's life.
    pub birth: Stamp,
    /// The last increment.
    pub stamp: Stamp,
    /// The sum.
    pub cumulative: i64,
    /// The assertion about the life; the key's own is that of the first increment.
    pub life: PackedLife,
    /// When it was last used.
    pub access: u32,
    /// The key's or element's name.
    pub name: &'a [u8],
}

impl PackedCounter<'_> {
    /// The contribution.
    pub fn contribution(&self) -> Contribution {
        Contribution::born(self.birth, self.stamp, Number::integer(i128::from(self.cumulative)))
    }

    /// The assertion about the life.
    pub fn assertion(&self) -> Option<(Stamp, Lifetime)> {
        self.life.assertion(self.birth)
    }
}

/// An entry, looked at.
pub enum View<'a, W> {
    /// Everything in one block.
    Packed(Packed<'a>),
    /// A counter in one block.
    Counter(PackedCounter<'a>),
    /// A box.
    Wide(&'a W),
}

/// The parts of a packed block that come before name and value: stamp (8), access and flags (4).
const HEAD_BYTES: usize = 12;
/// Stamp and deadline of an assertion with a dot of its own.
const LIFE_BYTES: usize = 16;
const FLAG_ASSERTED: u32 = 1;
const FLAG_UNASSERTED: u32 = 2;
const FLAG_COUNTER: u32 = 4;
/// The value of a packed counter: birth and sum.
const COUNTER_BYTES: usize = 16;
const ALIGN: usize = 8;

/// Where the pieces of a packed block lie.
#[derive(Clone, Copy)]
struct Shape {
    life: usize,
    name: usize,
    value: usize,
    total: usize,
}

impl<W> Entry<W> {
    /// A packed entry.
    pub fn packed(stamp: Stamp, life: PackedLife, access: u32, name: &[u8], value: &[u8]) -> Self {
        let head = head_bytes(name.len(), value.len());
        let life_bytes = if matches!(life, PackedLife::Asserted(..)) { LIFE_BYTES } else { 0 };
        let total = head + life_bytes + name.len() + value.len();
        let layout = layout_of(total);
        // SAFETY: `total` is at least HEAD_BYTES, so the layout is not empty.
        let block = unsafe { alloc(layout) };
        let Some(pointer) = NonNull::new(block) else { handle_alloc_error(layout) };
        // SAFETY: the block was just allocated with `total` bytes and nobody else knows it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(block, total) };
        fill(bytes, stamp, life, access, name, value);
        Self { pointer, owns: PhantomData }
    }

    /// A packed counter.
    pub fn counter(counter: &PackedCounter<'_>) -> Self {
        let value = counter_value(counter.birth, counter.cumulative);
        let mut entry = Self::packed(counter.stamp, counter.life, counter.access, counter.name, &value);
        entry.head_mut()[8] |= FLAG_COUNTER as u8;
        entry
    }

    /// Moves a packed counter on, in place.
    pub fn move_counter(&mut self, stamp: Stamp, cumulative: i64, access: u32) {
        let shape = self.block_and_shape().1;
        debug_assert!(self.head_mut()[8] & FLAG_COUNTER as u8 != 0, "only a counter is moved on");
        // SAFETY: the block has `shape.total` bytes, is owned by this entry, and `self` is borrowed mutably.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), shape.total) };
        bytes[..8].copy_from_slice(&stamp.bits().to_le_bytes());
        bytes[shape.value + 8..].copy_from_slice(&cumulative.to_le_bytes());
        self.set_access(access);
    }

    /// A wide entry.
    pub fn wide(body: Box<W>) -> Self {
        const { assert!(std::mem::align_of::<W>() > 1, "the lowest bit of the pointer is the tag") };
        let raw = Box::into_raw(body).cast::<u8>();
        // SAFETY: the box's address is even and not null, so plus one is not null either and within its allocation.
        let pointer = unsafe { NonNull::new_unchecked(raw.add(1)) };
        Self { pointer, owns: PhantomData }
    }

    /// A look at the entry.
    #[inline]
    pub fn view(&self) -> View<'_, W> {
        if self.is_wide() {
            // SAFETY: a tagged pointer is a live box plus one, which this entry owns; the borrow is that of `self`.
            View::Wide(unsafe { &*self.wide_pointer() })
        } else {
            let (block, shape) = self.block_and_shape();
            let packed = unpack(block, shape);
            if self.flags() & FLAG_COUNTER as u8 == 0 {
                View::Packed(packed)
            } else {
                View::Counter(counter_of(packed))
            }
        }
    }

    /// The box, to be changed.
    #[inline]
    pub fn wide_mut(&mut self) -> Option<&mut W> {
        if self.is_wide() {
            // SAFETY: as in `view`, and `self` is borrowed mutably.
            Some(unsafe { &mut *self.wide_pointer() })
        } else {
            None
        }
    }

    /// Gives a packed entry another stamp, life and value under the same name; in place when the size stays. A wide
    /// entry becomes packed only by [`Entry::packed`].
    #[inline]
    pub fn rewrite(&mut self, stamp: Stamp, life: PackedLife, access: u32, value: &[u8]) {
        debug_assert!(!self.is_wide(), "a wide entry is rewritten through its box");
        let shape = self.block_and_shape().1;
        let old_life = shape.name - shape.life;
        let new_life = if matches!(life, PackedLife::Asserted(..)) { LIFE_BYTES } else { 0 };
        if shape.total - shape.value == value.len() && old_life == new_life {
            // SAFETY: the block has `shape.total` bytes, is owned by this entry, and `self` is borrowed mutably.
            let bytes = unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), shape.total) };
            put_head(bytes, stamp, life, access);
            put_life(&mut bytes[shape.life..shape.name], life);
            bytes[shape.value..].copy_from_slice(value);
        } else {
            let replacement = {
                let name = self.packed_name().unwrap_or_default();
                Self::packed(stamp, life, access, name, value)
            };
            *self = replacement;
        }
    }

    /// Notes the use of a packed entry.
    #[inline]
    fn set_access(&mut self, access: u32) {
        self.note_use(|_| access);
    }

    /// Changes what a packed entry notes of its use.
    #[inline]
    pub fn note_use(&mut self, after: impl FnOnce(u32) -> u32) {
        if !self.is_wide() {
            let head = self.head_mut();
            let noted = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
            head[8..12].copy_from_slice(&(after(noted >> 8) << 8 | noted & 0xff).to_le_bytes());
        }
    }

    /// Bytes on the heap, without the allocator's rounding; a wide entry's own box only.
    pub fn heap_bytes(&self) -> usize {
        if self.is_wide() { std::mem::size_of::<W>() } else { self.block_and_shape().1.total }
    }

    /// The flags of a packed block.
    #[inline]
    fn flags(&self) -> u8 {
        debug_assert!(!self.is_wide());
        // SAFETY: every packed block has at least HEAD_BYTES bytes, and callers have looked that this is one.
        unsafe { *self.pointer.as_ptr().add(8) }
    }

    /// The head of a packed block.
    #[inline]
    fn head_mut(&mut self) -> &mut [u8] {
        debug_assert!(!self.is_wide());
        // SAFETY: every packed block has at least HEAD_BYTES bytes; `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), HEAD_BYTES) }
    }

    #[inline]
    fn is_wide(&self) -> bool {
        self.pointer.as_ptr().addr() & 1 == 1
    }

    fn wide_pointer(&self) -> *mut W {
        self.pointer.as_ptr().wrapping_sub(1).cast::<W>()
    }

    /// The packed block from its start to its end.
    #[inline]
    fn block(&self) -> &[u8] {
        self.block_and_shape().0
    }

    /// The packed block, and where its pieces lie: its lengths are read once.
    #[inline]
    fn block_and_shape(&self) -> (&[u8], Shape) {
        debug_assert!(!self.is_wide());
        let start = self.pointer.as_ptr();
        // SAFETY: a packed block begins with its head, two lengths of at most 10 bytes each, then what they say. The
        // lengths are read byte by byte, each up to its own end.
        unsafe {
            let (name, used) = read_length(start.add(HEAD_BYTES));
            let (value, used_too) = read_length(start.add(HEAD_BYTES + used));
            let life = HEAD_BYTES + used + used_too;
            let name_at = life + if u32::from(*start.add(8)) & FLAG_ASSERTED != 0 { LIFE_BYTES } else { 0 };
            let shape = Shape { life, name: name_at, value: name_at + name, total: name_at + name + value };
            (std::slice::from_raw_parts(start, shape.total), shape)
        }
    }

    /// The name of a packed entry.
    #[inline]
    pub fn packed_name(&self) -> Option<&[u8]> {
        if self.is_wide() {
            return None;
        }
        let (block, shape) = self.block_and_shape();
        Some(&block[shape.name..shape.value])
    }

    /// Asks for the memory of the entry, without waiting for it: its first two cache lines hold head, name and value
    /// of a small one, or what a lookup in a wide one reads first.
    #[inline]
    pub fn fetch(&self) {
        let start = self.pointer.as_ptr().cast_const();
        fetch_line(start);
        fetch_line(start.wrapping_add(LINE_BYTES));
    }
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Asks for the cache line of `place`, without waiting for it. An address that nothing lies at does no harm.
#[inline]
pub fn fetch_line<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching is a hint; it reads nothing that the program sees and never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast::<i8>());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

impl<W> Drop for Entry<W> {
    fn drop(&mut self) {
        if self.is_wide() {
            // SAFETY: the entry owns the box, and is being dropped.
            drop(unsafe { Box::from_raw(self.wide_pointer()) });
        } else {
            let layout = layout_of(self.block().len());
            // SAFETY: the block was allocated with this very layout, computed from the same lengths.
            unsafe { dealloc(self.pointer.as_ptr(), layout) };
        }
    }
}

impl<W> std::fmt::Debug for Entry<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.view() {
            View::Packed(packed) => packed.fmt(f),
            View::Counter(counter) => counter.fmt(f),
            View::Wide(_) => f.write_str("Wide"),
        }
    }
}

fn layout_of(total: usize) -> Layout {
    Layout::from_size_align(total, ALIGN).expect("names and values are bounded by the protocol's limits")
}

const fn length_bytes(length: usize) -> usize {
    let bits = usize::BITS - (length | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

const fn head_bytes(name: usize, value: usize) -> usize {
    HEAD_BYTES + length_bytes(name) + length_bytes(value)
}

/// Reads a LEB128 length.
///
/// # Safety
/// `start` must point at a length that [`fill`] wrote.
#[inline]
unsafe fn read_length(start: *const u8) -> (usize, usize) {
    // SAFETY: the caller promises a length, which has at least one byte.
    let first = unsafe { *start };
    if first & 0x80 == 0 {
        return (usize::from(first), 1);
    }
    let mut length = 0;
    let mut used = 0;
    loop {
        // SAFETY: the caller promises a length, and a length ends with a byte below 0x80.
        let byte = unsafe { *start.add(used) };
        length |= ((byte & 0x7f) as usize) << (7 * used);
        used += 1;
        if byte & 0x80 == 0 {
            return (length, used);
        }
    }
}

fn put_length(bytes: &mut [u8], mut length: usize) -> usize {
    let mut used = 0;
    while length >= 0x80 {
        bytes[used] = length as u8 | 0x80;
        length >>= 7;
        used += 1;
    }
    bytes[used] = length as u8;
    used + 1
}

fn flags_of(life: PackedLife) -> u32 {
    match life {
        PackedLife::Own => 0,
        PackedLife::Unasserted => FLAG_UNASSERTED,
        PackedLife::Asserted(..) => FLAG_ASSERTED,
    }
}

fn put_head(bytes: &mut [u8], stamp: Stamp, life: PackedLife, access: u32) {
    bytes[..8].copy_from_slice(&stamp.bits().to_le_bytes());
    bytes[8..12].copy_from_slice(&(access << 8 | flags_of(life)).to_le_bytes());
}

fn put_life(bytes: &mut [u8], life: PackedLife) {
    if let PackedLife::Asserted(stamp, lifetime) = life {
        bytes[..8].copy_from_slice(&stamp.bits().to_le_bytes());
        bytes[8..16].copy_from_slice(&lifetime.to_word().to_le_bytes());
    }
}

fn fill(bytes: &mut [u8], stamp: Stamp, life: PackedLife, access: u32, name: &[u8], value: &[u8]) {
    put_head(bytes, stamp, life, access);
    let mut at = HEAD_BYTES;
    at += put_length(&mut bytes[at..], name.len());
    at += put_length(&mut bytes[at..], value.len());
    if matches!(life, PackedLife::Asserted(..)) {
        put_life(&mut bytes[at..at + LIFE_BYTES], life);
        at += LIFE_BYTES;
    }
    bytes[at..at + name.len()].copy_from_slice(name);
    bytes[at + name.len()..].copy_from_slice(value);
}

#[inline]
fn word_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[inline]
fn unpack(bytes: &[u8], shape: Shape) -> Packed<'_> {
    let stamp = Stamp::from_bits(word_at(bytes, 0));
    let access_and_flags = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    let life = if access_and_flags & FLAG_ASSERTED != 0 {
        let lifetime = Lifetime::from_word(word_at(bytes, shape.life + 8));
        PackedLife::Asserted(Stamp::from_bits(word_at(bytes, shape.life)), lifetime)
    } else if access_and_flags & FLAG_UNASSERTED != 0 {
        PackedLife::Unasserted
    } else {
        PackedLife::Own
    };
    Packed {
        stamp,
        life,
        access: access_and_flags >> 8,
        name: &bytes[shape.name..shape.value],
        value: &bytes[shape.value..],
    }
}

fn counter_value(birth: Stamp, cumulative: i64) -> [u8; COUNTER_BYTES] {
    let mut value = [0; COUNTER_BYTES];
    value[..8].copy_from_slice(&birth.bits().to_le_bytes());
    value[8..].copy_from_slice(&cumulative.to_le_bytes());
    value
}

fn counter_of(packed: Packed<'_>) -> PackedCounter<'_> {
    let Packed { stamp, life, access, name, value } = packed;
    let (birth, cumulative) = (Stamp::from_bits(word_at(value, 0)), word_at(value, 8) as i64);
    PackedCounter { birth, stamp, cumulative, life, access, name }
}

impl PackedLife {
    /// The assertion as a pair, given the dot of the content.
    pub fn assertion(self, content: Stamp) -> Option<(Stamp, Lifetime)> {
        match self {
            PackedLife::Own => Some((content, Lifetime::Never)),
            PackedLife::Unasserted => None,
            PackedLife::Asserted(stamp, lifetime) => Some((stamp, lifetime)),
        }
    }

    /// The packed form of an assertion, given the dot of the content.
    pub fn from_assertion(assertion: Option<(Stamp, Lifetime)>, content: Stamp) -> Self {
        match assertion {
            None => PackedLife::Unasserted,
            Some((stamp, Lifetime::Never)) if stamp == content => PackedLife::Own,
            Some((stamp, lifetime)) => PackedLife::Asserted(stamp, lifetime),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Boxed = Vec<u64>;

    fn check(entry: &Entry<Boxed>, stamp: u64, life: PackedLife, name: &[u8], value: &[u8]) {
        let View::Packed(packed) = entry.view() else { panic!("a packed entry") };
        assert_eq!((packed.stamp.bits(), packed.life), (stamp, life));
        assert_eq!((packed.name, packed.value), (name, value));
        assert_eq!(packed.access, 0xab_cdef);
    }

    #[test]
    fn packed_entries_hold_names_and_values_of_every_length() {
        let lives =
            [PackedLife::Own, PackedLife::Unasserted, PackedLife::Asserted(Stamp::from_bits(9), Lifetime::Until(77))];
        for name_length in [0, 1, 16, 127, 128, 20_000] {
            for value_length in [0, 1, 32, 127, 128, 300_000] {
                for life in lives {
                    let name = vec![b'n'; name_length];
                    let value = vec![b'v'; value_length];
                    let mut entry = Entry::packed(Stamp::from_bits(5), life, 0xab_cdef, &name, &value);
                    check(&entry, 5, life, &name, &value);
                    for (stamp, next, value) in
                        [(6, life, vec![b'w'; value_length]), (7, lives[2], vec![b'x'; value_length + 3])]
                    {
                        entry.rewrite(Stamp::from_bits(stamp), next, 0xab_cdef, &value);
                        check(&entry, stamp, next, &name, &value);
                    }
                }
            }
        }
    }

    #[test]
    fn packed_counters_move_on_in_place() {
        for life in [PackedLife::Own, PackedLife::Asserted(Stamp::from_bits(9), Lifetime::Until(77))] {
            let (birth, stamp) = (Stamp::from_bits(3), Stamp::from_bits(5));
            let counter = PackedCounter { birth, stamp, cumulative: -7, life, access: 1, name: b"hits" };
            let mut entry: Entry<Boxed> = Entry::counter(&counter);
            entry.move_counter(Stamp::from_bits(8), i64::MIN, 2);
            let View::Counter(moved) = entry.view() else { panic!("a counter") };
            assert_eq!((moved.birth, moved.stamp, moved.cumulative), (birth, Stamp::from_bits(8), i64::MIN));
            assert_eq!((moved.life, moved.access, moved.name), (life, 2, &b"hits"[..]));
            assert_eq!(moved.assertion(), life.assertion(birth));
        }
    }

    /// What an entry should hold.
    #[derive(Clone, Debug)]
    enum Model {
        Packed(u64, PackedLife, u32, Vec<u8>, Vec<u8>),
        Counter(u64, u64, i64, PackedLife, u32, Vec<u8>),
        Wide(Boxed),
    }

    fn check_model(entry: &Entry<Boxed>, model: &Model) {
        match (entry.view(), model) {
            (View::Packed(packed), Model::Packed(stamp, life, access, name, value)) => {
                assert_eq!((packed.stamp.bits(), packed.life, packed.access), (*stamp, *life, *access));
                assert_eq!((packed.name, packed.value), (&name[..], &value[..]));
                assert_eq!(entry.packed_name(), Some(&name[..]));
            }
            (View::Counter(counter), Model::Counter(birth, stamp, sum, life, access, name)) => {
                assert_eq!((counter.birth.bits(), counter.stamp.bits(), counter.cumulative), (*birth, *stamp, *sum));
                assert_eq!((counter.life, counter.access, counter.name), (*life, *access, &name[..]));
                assert_eq!(entry.packed_name(), Some(&name[..]));
            }
            (View::Wide(body), Model::Wide(expected)) => assert_eq!(body, expected),
            (_, model) => panic!("{entry:?} should be {model:?}"),
        }
    }

    /// Random words (splitmix64).
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, most: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((word ^ (word >> 31)) % most as u64) as usize
        }

        /// Lengths around the places where they take another byte.
        fn bytes(&mut self) -> Vec<u8> {
            let length = [0, 1, 5, 16, 127, 128, 129, 16_383, 16_384][self.below(9)];
            vec![self.below(256) as u8; length]
        }

        fn life(&mut self) -> PackedLife {
            match self.below(3) {
                0 => PackedLife::Own,
                1 => PackedLife::Unasserted,
                _ => PackedLife::Asserted(
                    Stamp::from_bits(self.below(1 << 40) as u64),
                    Lifetime::from_word(self.below(3) as u64),
                ),
            }
        }

        fn new_entry(&mut self) -> (Entry<Boxed>, Model) {
            let (stamp, life, access) = (self.below(1 << 60) as u64, self.life(), self.below(1 << 24) as u32);
            let name = self.bytes();
            match self.below(3) {
                0 => {
                    let value = self.bytes();
                    let entry = Entry::packed(Stamp::from_bits(stamp), life, access, &name, &value);
                    (entry, Model::Packed(stamp, life, access, name, value))
                }
                1 => {
                    let (birth, cumulative) = (self.below(1 << 60) as u64, self.below(usize::MAX) as i64);
                    let (born, moved) = (Stamp::from_bits(birth), Stamp::from_bits(stamp));
                    let counter = PackedCounter { birth: born, stamp: moved, cumulative, life, access, name: &name };
                    (Entry::counter(&counter), Model::Counter(birth, stamp, cumulative, life, access, name))
                }
                _ => {
                    let body = vec![stamp; self.below(4)];
                    (Entry::wide(Box::new(body.clone())), Model::Wide(body))
                }
            }
        }

        /// Changes an entry in one of the ways that its form allows.
        fn change(&mut self, entry: &mut Entry<Boxed>, model: &mut Model) {
            let (new_stamp, new_access) = (self.below(1 << 60) as u64, self.below(1 << 24) as u32);
            match model {
                Model::Packed(stamp, life, access, _, value) => {
                    if self.below(4) == 0 {
                        entry.note_use(|noted| noted ^ new_access);
                        *access ^= new_access;
                        return;
                    }
                    *value = if self.below(2) == 0 { vec![new_access as u8; value.len()] } else { self.bytes() };
                    (*stamp, *life, *access) = (new_stamp, self.life(), new_access);
                    entry.rewrite(Stamp::from_bits(new_stamp), *life, new_access, value);
                }
                Model::Counter(_, stamp, sum, _, access, _) => {
                    (*stamp, *sum, *access) = (new_stamp, self.below(usize::MAX) as i64, new_access);
                    entry.move_counter(Stamp::from_bits(new_stamp), *sum, new_access);
                }
                Model::Wide(body) => {
                    body.push(new_stamp);
                    entry.wide_mut().unwrap().push(new_stamp);
                    entry.note_use(|_| unreachable!("a wide entry notes its use in its box"));
                }
            }
        }
    }

    #[test]
    fn random_sequences_leave_what_a_plain_model_says() {
        let mut chance = Chance(1);
        let mut all: Vec<(Entry<Boxed>, Model)> = Vec::new();
        for _ in 0..if cfg!(miri) { 300 } else { 20_000 } {
            let count = all.len();
            match chance.below(8) {
                0 | 1 if count < 20 => all.push(chance.new_entry()),
                2 if count > 0 => drop(all.swap_remove(chance.below(count))),
                3 if count > 0 => all[chance.below(count)] = chance.new_entry(),
                _ if count > 0 => {
                    let (entry, model) = &mut all[chance.below(count)];
                    chance.change(entry, model);
                }
                _ => {}
            }
            all.iter().for_each(|(entry, model)| check_model(entry, model));
        }
    }

    #[test]
    fn wide_entries_hold_their_box() {
        let mut entry: Entry<Boxed> = Entry::wide(Box::new(vec![1, 2, 3]));
        entry.wide_mut().unwrap().push(4);
        let View::Wide(body) = entry.view() else { panic!("a wide entry") };
        assert_eq!(body, &[1, 2, 3, 4]);
    }

    #[test]
    fn a_16_byte_key_with_a_32_byte_value_takes_62_bytes() {
        let entry: Entry<Boxed> = Entry::packed(Stamp::ZERO, PackedLife::Own, 0, &[b'k'; 16], &[b'v'; 32]);
        assert_eq!(entry.heap_bytes(), 62);
        assert_eq!(std::mem::size_of::<Entry<Boxed>>(), 8);
    }
}

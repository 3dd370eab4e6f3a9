//! Entries: a table's cell is one thin pointer to a key, or to an element of a hash or set.
//!
//! Nearly every entry is *packed*: name, value, stamp and lifetime in one allocation, with nothing but the pointer in
//! the table. A counter that one node alone has moved is packed too, its value being the sum and its birth, and so is a
//! small collection, its value being a bundle of elements ([`crate::bundle`]). An entry that concurrent writes, counters or
//! many elements have made larger is *wide*: a box of `W`. The pointer's lowest bit tells them apart.
//!
//! This is the one room of the server with `unsafe` code. What it relies on is said at each place; the tests below run
//! it through random sequences (they also run under valgrind and Miri).
#![allow(unsafe_code, reason = "thin tagged pointers need it; this file is the only place")]

use crdt::{Contribution, Kind, Lifetime, Number, Stamp};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::marker::PhantomData;
use std::ops::Range;
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

/// A packed counter that is moved on in place: the pieces of its block that change.
pub struct CounterMut<'a> {
    head: &'a mut [u8; HEAD_BYTES],
    value: &'a mut [u8; COUNTER_BYTES],
}

impl CounterMut<'_> {
    /// The last increment.
    #[inline]
    pub fn stamp(&self) -> Stamp {
        Stamp::from_bits(word_at(self.head, 0))
    }

    /// The first increment of the contribution's life.
    #[inline]
    pub fn birth(&self) -> Stamp {
        Stamp::from_bits(word_at(self.value, 0))
    }

    /// The sum.
    #[inline]
    pub fn cumulative(&self) -> i64 {
        word_at(self.value, 8) as i64
    }

    /// Whether no other dot than its birth asserts anything about the life.
    #[inline]
    pub fn is_endless(&self) -> bool {
        u32::from(self.head[8]) & FLAG_ASSERTED == 0
    }

    /// The sum after another increment, and what is noted of its use.
    #[inline]
    pub fn move_on(self, stamp: Stamp, cumulative: i64, access: impl FnOnce(u32) -> u32) {
        self.head[..8].copy_from_slice(&stamp.bits().to_le_bytes());
        self.value[8..].copy_from_slice(&cumulative.to_le_bytes());
        let noted = u32::from_le_bytes([self.head[8], self.head[9], self.head[10], self.head[11]]);
        self.head[8..].copy_from_slice(&(access(noted >> 8) << 8 | noted & 0xff).to_le_bytes());
    }
}

/// A packed collection, taken apart: few elements that each one write or one node's counter made, and their key.
#[derive(Clone, Copy, Debug)]
pub struct PackedBundle<'a> {
    /// What it is: a hash, a set or a sorted set.
    pub kind: Kind,
    /// What the stamps of the elements are written against, and the dot of the key's own assertion.
    pub stamp: Stamp,
    /// The assertion about the life.
    pub life: PackedLife,
    /// When it was last used.
    pub access: u32,
    /// The key.
    pub name: &'a [u8],
    /// The elements, as [`crate::bundle`] writes them.
    pub elements: &'a [u8],
}

impl PackedBundle<'_> {
    /// The assertion about the life.
    pub fn assertion(&self) -> Option<(Stamp, Lifetime)> {
        self.life.assertion(self.stamp)
    }
}

/// An entry, looked at.
pub enum View<'a, W> {
    /// Everything in one block.
    Packed(Packed<'a>),
    /// A counter in one block.
    Counter(PackedCounter<'a>),
    /// A small collection in one block: keys only.
    Bundle(PackedBundle<'a>),
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
/// What a packed collection is: two bits, without any for what is none.
const KIND_SHIFT: u32 = 3;
const KIND_MASK: u8 = 3 << KIND_SHIFT;
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

    /// A packed collection; nothing if no collection of this kind is ever packed.
    pub fn bundle_of(bundle: &PackedBundle<'_>) -> Option<Self> {
        let number = match bundle.kind {
            Kind::Hash => 1,
            Kind::Set => 2,
            Kind::SortedSet => 3,
            Kind::String | Kind::List | Kind::Stream => return None,
        };
        let PackedBundle { stamp, life, access, name, elements, .. } = *bundle;
        let mut entry = Self::packed(stamp, life, access, name, elements);
        entry.head_mut()[8] |= number << KIND_SHIFT;
        Some(entry)
    }

    /// The packed collection that it is, if it is one.
    #[inline]
    pub fn bundle(&self) -> Option<PackedBundle<'_>> {
        if self.is_wide() || self.flags() & KIND_MASK == 0 {
            return None;
        }
        let (block, shape) = self.block_and_shape();
        bundle_of(self.flags(), unpack(block, shape))
    }

    /// The packed counter that it is, if it is one, to be moved on.
    #[inline]
    pub fn counter_mut(&mut self) -> Option<CounterMut<'_>> {
        if self.is_wide() || self.flags() & FLAG_COUNTER as u8 == 0 {
            return None;
        }
        let shape = self.block_and_shape().1;
        // SAFETY: the block has `shape.total` bytes, is owned by this entry, and `self` is borrowed mutably.
        let block = unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), shape.total) };
        let (head, value) = block.split_at_mut(shape.value);
        Some(CounterMut { head: head.first_chunk_mut()?, value: value.first_chunk_mut()? })
    }

    /// A wide entry.
    pub fn wide(body: Box<W>) -> Self {
        const { assert!(std::mem::align_of::<W>() > 1, "the lowest bit of the pointer is the tag") };
        let raw = Box::into_raw(body).cast::<u8>();
        // SAFETY: the box's address is even and not null, so plus one is not null either and within its allocation.
        let pointer = unsafe { NonNull::new_unchecked(raw.add(1)) };
        Self { pointer, owns: PhantomData }
    }

    /// The text in one block that it is, if it is that.
    #[inline]
    pub fn text(&self) -> Option<Packed<'_>> {
        if self.is_wide() || self.flags() & (FLAG_COUNTER as u8 | KIND_MASK) != 0 {
            return None;
        }
        let (block, shape) = self.block_and_shape();
        Some(unpack(block, shape))
    }

    /// How long it stays, as far as its block asserts anything; nothing of a wide one.
    #[inline]
    pub fn packed_lifetime(&self) -> Option<Lifetime> {
        if self.is_wide() {
            return None;
        }
        if u32::from(self.flags()) & FLAG_ASSERTED == 0 {
            return Some(Lifetime::Never);
        }
        let (block, shape) = self.block_and_shape();
        Some(Lifetime::from_word(word_at(block, shape.life + 8)))
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
            let flags = self.flags();
            if flags & (FLAG_COUNTER as u8 | KIND_MASK) == 0 {
                View::Packed(packed)
            } else {
                bundle_of(flags, packed).map_or_else(|| View::Counter(counter_of(packed)), View::Bundle)
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

    /// Puts other bytes in place of some of a packed entry's value.
    pub fn splice(&mut self, range: Range<usize>, with: &[u8]) {
        debug_assert!(!self.is_wide(), "a wide entry is changed through its box");
        let shape = self.block_and_shape().1;
        let old = shape.total - shape.value;
        assert!(range.start <= range.end && range.end <= old, "bytes of the value are replaced");
        let new = old - range.len() + with.len();
        if length_bytes(old) != length_bytes(new) {
            let replacement = {
                let (block, shape) = self.block_and_shape();
                let packed = unpack(block, shape);
                let value = [&packed.value[..range.start], with, &packed.value[range.end..]].concat();
                let mut replacement = Self::packed(packed.stamp, packed.life, packed.access, packed.name, &value);
                replacement.head_mut()[8] = self.flags();
                replacement
            };
            *self = replacement;
            return;
        }
        let (start, tail) = (shape.value + range.start, shape.value + range.end..shape.total);
        let total = shape.total - old + new;
        if new > old {
            self.resize(shape.total, total);
        }
        // SAFETY: the block has as many bytes as the larger of the two totals, is owned by this entry, and `self` is
        // borrowed mutably. What `resize` has added is written before anything reads it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), shape.total.max(total)) };
        bytes.copy_within(tail, start + with.len());
        bytes[start..start + with.len()].copy_from_slice(with);
        let lengths = shape.life - length_bytes(old);
        put_length(&mut bytes[lengths..], new);
        if new < old {
            self.resize(shape.total, total);
        }
    }

    /// The bytes of a packed entry's value, which stay as many.
    pub fn value_mut(&mut self) -> &mut [u8] {
        let shape = self.block_and_shape().1;
        // SAFETY: the block has `shape.total` bytes, is owned by this entry, and `self` is borrowed mutably.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), shape.total) };
        &mut bytes[shape.value..]
    }

    /// Gives a packed entry another assertion about its life; what the others say stays.
    pub fn set_life(&mut self, life: PackedLife) {
        let shape = self.block_and_shape().1;
        let old = shape.name - shape.life;
        let new = if matches!(life, PackedLife::Asserted(..)) { LIFE_BYTES } else { 0 };
        let flags = self.flags() & !((FLAG_ASSERTED | FLAG_UNASSERTED) as u8) | flags_of(life) as u8;
        if old == new {
            // SAFETY: the block has `shape.total` bytes, is owned by this entry, and `self` is borrowed mutably.
            let bytes = unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), shape.total) };
            put_life(&mut bytes[shape.life..shape.name], life);
            bytes[8] = flags;
            return;
        }
        let mut replacement = {
            let (block, shape) = self.block_and_shape();
            let packed = unpack(block, shape);
            Self::packed(packed.stamp, life, packed.access, packed.name, packed.value)
        };
        replacement.head_mut()[8] = flags;
        *self = replacement;
    }

    /// Gives a packed block another size. Its first bytes, as many as the smaller of the two, stay.
    fn resize(&mut self, old: usize, new: usize) {
        debug_assert!(old >= HEAD_BYTES && new >= HEAD_BYTES);
        let layout = layout_of(new);
        // SAFETY: the block was allocated with the layout of `old` bytes, as callers have read from it; `new` is not zero,
        // and that it does not overflow was checked when its layout was made.
        let block = unsafe { realloc(self.pointer.as_ptr(), layout_of(old), new) };
        let Some(pointer) = NonNull::new(block) else { handle_alloc_error(layout) };
        self.pointer = pointer;
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
            View::Bundle(bundle) => bundle.fmt(f),
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

/// The collection in a packed block with these flags, if it is one.
#[inline]
fn bundle_of(flags: u8, packed: Packed<'_>) -> Option<PackedBundle<'_>> {
    let kind = match (flags & KIND_MASK) >> KIND_SHIFT {
        0 => return None,
        1 => Kind::Hash,
        2 => Kind::Set,
        _ => Kind::SortedSet,
    };
    let Packed { stamp, life, access, name, value } = packed;
    Some(PackedBundle { kind, stamp, life, access, name, elements: value })
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
mod tests;

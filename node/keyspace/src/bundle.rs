//! The elements of a small hash, set or sorted set in one piece of memory, one after the other: the value of a packed key.
//!
//! The first byte says how many there are. An element is a byte that says how it is written, the length of its name, that
//! of its value if it has one, its stamp, name and value. A stamp is written as its distance from the bundle's own: nearly
//! always the same author wrote both, within a time of which few bytes tell. Elements keep the order in which they came, as
//! in Redis' listpacks. What does not fit (siblings, several contributions, fields with ends) makes a key wide.
//!
//! Nothing here comes from outside: a bundle that cannot be read is a fault of this file.

use crate::body::KeyEntry;
use crate::collection::ElementView;
use crate::entry::{Packed, PackedBundle, PackedCounter, PackedLife};
use crate::words::{AUTHOR_MASK, COUNT_BITS, COUNT_MASK, clock, fold, stamped, unfold, varint};
use crdt::Stamp;
use smallvec::SmallVec;
use std::ops::Range;

/// The elements of a small collection.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    /// What stamps are written against.
    base: Stamp,
    /// How many there are, then the elements.
    bytes: &'a [u8],
}

/// An element, and which bytes of the bundle it takes.
pub struct Place<'a> {
    /// What it is.
    pub element: ElementView<'a>,
    /// Its bytes.
    pub range: Range<usize>,
}

/// What an element of a bundle holds.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// What one write has set.
    Written(&'a [u8]),
    /// A counter that one node alone has moved.
    Counter {
        /// The first increment.
        birth: Stamp,
        /// The sum.
        cumulative: i64,
    },
}

/// One element's bytes.
pub type ElementBytes = SmallVec<[u8; 128]>;

/// Elements of a bundle. They are looked at one by one, so that with more a table is faster.
pub const BUNDLE_ELEMENTS_MAX: usize = 24;
/// Bytes of a bundle: a write moves those behind its element.
pub const BUNDLE_BYTES_MAX: usize = 2048;

/// How many bytes the distance of the stamp takes.
const DISTANCE_BYTES: u8 = 0b0000_0111;
/// The distance counts milliseconds, and the stamp is the first of its millisecond.
const IN_MILLISECONDS: u8 = 0b0000_1000;
/// The stamp's author is not the bundle's and is written behind the distance.
const OTHER_AUTHOR: u8 = 0b0001_0000;
const AUTHOR_BYTES: usize = 2;
/// Above these bits: what the element holds.
const FORM_SHIFT: u32 = 5;
const FORM_EMPTY: u8 = 0;
const FORM_VALUE: u8 = 1;
const FORM_COUNTER: u8 = 2;

/// Where the pieces of an element lie.
struct Shape {
    head: u8,
    stamp: usize,
    name: usize,
    value: usize,
    end: usize,
}

impl<'a> Bundle<'a> {
    /// The bundle in the value of a packed key.
    pub fn of(packed: &PackedBundle<'a>) -> Self {
        Self { base: packed.stamp, bytes: packed.elements }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        usize::from(self.bytes[0])
    }

    /// The element called `name`.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<Place<'a>> {
        let mut at = 1;
        while at < self.bytes.len() {
            let shape = self.shape(at);
            if self.bytes[shape.name..shape.value] == *name {
                return Some(Place { element: self.element(&shape), range: at..shape.end });
            }
            at = shape.end;
        }
        None
    }

    /// All elements.
    pub fn iter(self) -> impl Iterator<Item = ElementView<'a>> {
        let mut at = 1;
        std::iter::from_fn(move || {
            (at < self.bytes.len()).then(|| {
                let shape = self.shape(at);
                at = shape.end;
                self.element(&shape)
            })
        })
    }

    /// Whether an element of so many bytes may take the place of one of `replaced`; of none, if there is none.
    pub fn has_room(&self, bytes: usize, replaced: usize) -> bool {
        self.bytes.len() + bytes - replaced <= BUNDLE_BYTES_MAX && (replaced > 0 || self.len() < BUNDLE_ELEMENTS_MAX)
    }

    #[inline]
    fn shape(&self, at: usize) -> Shape {
        let head = self.bytes[at];
        let (name_length, mut stamp) = length(self.bytes, at + 1);
        let mut value_length = 0;
        if head >> FORM_SHIFT != FORM_EMPTY {
            (value_length, stamp) = length(self.bytes, stamp);
        }
        let author = if head & OTHER_AUTHOR == 0 { 0 } else { AUTHOR_BYTES };
        let name = stamp + usize::from(head & DISTANCE_BYTES) + author;
        let value = name + name_length;
        Shape { head, stamp, name, value, end: value + value_length }
    }

    #[inline]
    fn element(&self, shape: &Shape) -> ElementView<'a> {
        let (name, value) = (&self.bytes[shape.name..shape.value], &self.bytes[shape.value..shape.end]);
        let stamp = self.stamp(shape);
        let (life, access) = (PackedLife::Own, 0);
        if shape.head >> FORM_SHIFT != FORM_COUNTER {
            return ElementView::Written(Packed { stamp, life, access, name, value });
        }
        let (age, at) = varint(value, 0);
        let (sum, _) = varint(value, at);
        let birth = stamped(clock(stamp) - age, stamp.bits() & AUTHOR_MASK);
        ElementView::Counter(PackedCounter { birth, stamp, cumulative: unfold(sum), life, access, name })
    }

    #[inline]
    fn stamp(&self, shape: &Shape) -> Stamp {
        let length = usize::from(shape.head & DISTANCE_BYTES);
        let mut distance = [0; 8];
        distance[..length].copy_from_slice(&self.bytes[shape.stamp..shape.stamp + length]);
        let distance = unfold(u64::from_le_bytes(distance)) as u64;
        let base = clock(self.base);
        let clock = if shape.head & IN_MILLISECONDS == 0 {
            base.wrapping_add(distance)
        } else {
            (base >> COUNT_BITS).wrapping_add(distance) << COUNT_BITS
        };
        if shape.head & OTHER_AUTHOR == 0 {
            return stamped(clock, self.base.bits() & AUTHOR_MASK);
        }
        let at = shape.stamp + length;
        let author = u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
        stamped(clock, u64::from(author))
    }
}

/// Appends an element to `out`, its stamp written against `base`.
pub fn encode(out: &mut ElementBytes, base: Stamp, stamp: Stamp, name: &[u8], content: Content<'_>) {
    let mut counter: SmallVec<[u8; 20]> = SmallVec::new();
    let (form, value) = match content {
        Content::Written([]) => (FORM_EMPTY, &[][..]),
        Content::Written(value) => (FORM_VALUE, value),
        Content::Counter { birth, cumulative } => {
            put_word(clock(stamp).wrapping_sub(clock(birth)), |byte| counter.push(byte));
            put_word(fold(cumulative), |byte| counter.push(byte));
            (FORM_COUNTER, &counter[..])
        }
    };
    let (now, before) = (clock(stamp), clock(base));
    let mut flags = 0;
    let mut distance = fold(now.wrapping_sub(before) as i64);
    if now & COUNT_MASK == 0 {
        let milliseconds = fold((now >> COUNT_BITS).wrapping_sub(before >> COUNT_BITS) as i64);
        if bytes_of(milliseconds) < bytes_of(distance) {
            (flags, distance) = (IN_MILLISECONDS, milliseconds);
        }
    }
    let author = stamp.author();
    flags |= if author == base.author() { 0 } else { OTHER_AUTHOR };
    let length = bytes_of(distance);
    out.push(form << FORM_SHIFT | flags | length as u8);
    put_word(name.len() as u64, |byte| out.push(byte));
    if form != FORM_EMPTY {
        put_word(value.len() as u64, |byte| out.push(byte));
    }
    out.extend_from_slice(&distance.to_le_bytes()[..length]);
    if flags & OTHER_AUTHOR != 0 {
        out.extend_from_slice(&author.value().to_le_bytes());
    }
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// The elements of a small collection in one piece, their stamps written against `base`; nothing if they do not fit.
pub fn bundled<'e>(base: Stamp, elements: impl Iterator<Item = ElementView<'e>>) -> Option<ElementBytes> {
    let mut bytes = ElementBytes::new();
    bytes.push(0);
    for element in elements {
        let (stamp, name, content) = content_of(&element)?;
        encode(&mut bytes, base, stamp, name, content);
        bytes[0] += 1;
        if bytes.len() > BUNDLE_BYTES_MAX || usize::from(bytes[0]) > BUNDLE_ELEMENTS_MAX {
            return None;
        }
    }
    Some(bytes)
}

/// What a bundle keeps of an element; nothing if that is not all there is to it.
fn content_of<'e>(element: &ElementView<'e>) -> Option<(Stamp, &'e [u8], Content<'e>)> {
    match element {
        ElementView::Written(Packed { stamp, life: PackedLife::Own, name, value, .. }) => {
            Some((*stamp, name, Content::Written(value)))
        }
        ElementView::Counter(PackedCounter { birth, stamp, cumulative, life: PackedLife::Own, name, .. }) => {
            // A contribution that others told of may say anything.
            let sane = birth.author() == stamp.author() && birth <= stamp;
            sane.then_some((*stamp, name, Content::Counter { birth: *birth, cumulative: *cumulative }))
        }
        ElementView::Written(_) | ElementView::Counter(_) | ElementView::Wide(_) => None,
    }
}

/// Puts an element into a bundle: in the place of the one that is there, or behind all others. False if there is no room,
/// and then nothing was done.
pub fn put(
    entry: &mut KeyEntry,
    replaced: Option<Range<usize>>,
    stamp: Stamp,
    name: &[u8],
    content: Content<'_>,
) -> bool {
    let Some(packed) = entry.bundle() else { return false };
    let bundle = Bundle::of(&packed);
    let room = if let Content::Written(value) = content { name.len() + value.len() } else { name.len() };
    if room > BUNDLE_BYTES_MAX {
        return false;
    }
    let mut bytes = ElementBytes::new();
    encode(&mut bytes, packed.stamp, stamp, name, content);
    if !bundle.has_room(bytes.len(), replaced.as_ref().map_or(0, Range::len)) {
        return false;
    }
    let (end, is_new) = (bundle.bytes.len(), replaced.is_none());
    entry.splice(replaced.unwrap_or(end..end), &bytes);
    if is_new {
        entry.value_mut()[0] += 1;
    }
    true
}

/// Takes an element out of a bundle, in which another one stays.
pub fn take_out(entry: &mut KeyEntry, place: Range<usize>) {
    entry.splice(place, &[]);
    entry.value_mut()[0] -= 1;
}

/// How many bytes a number takes without the zeros above it.
const fn bytes_of(word: u64) -> usize {
    8 - (word.leading_zeros() / 8) as usize
}

/// Reads a length (LEB128), and says what is behind it.
#[inline]
fn length(bytes: &[u8], at: usize) -> (usize, usize) {
    let first = bytes[at];
    if first & 0x80 == 0 {
        return (usize::from(first), at + 1);
    }
    let (length, behind) = varint(bytes, at);
    (length as usize, behind)
}

fn put_word(mut word: u64, mut push: impl FnMut(u8)) {
    while word >= 0x80 {
        push(word as u8 | 0x80);
        word >>= 7;
    }
    push(word as u8);
}

#[cfg(test)]
mod tests;

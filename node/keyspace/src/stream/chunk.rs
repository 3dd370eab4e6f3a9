//! Some neighbours of a stream in one piece of memory, each written as its difference from those before.
//!
//! An entry is a byte that says how, its id with its dot, its ordinal, its field names and its values. A generated id is the
//! dot, so both are the distance of two stamps, or nothing at all. Ordinals follow each other for each author and are written
//! where one does not. Field names are those of an earlier entry of the chunk, nearly always. What is taken out at the front
//! is hidden until the chunk goes as a whole, as most streams lose their entries there.

use crdt::encoding::{put_slice, put_varint};
use crdt::{NodeNumber, Reader, Stamp, StreamEntry, StreamId, parse_integer};
use smallvec::SmallVec;

/// An entry of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its id.
    pub id: StreamId,
    /// Its dot; of no meaning if the value is elsewhere.
    pub dot: Stamp,
    /// Which of its author's entries it is; of no meaning if the value is elsewhere.
    pub ordinal: u64,
    /// What it holds.
    pub body: Body<'a>,
}

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// As it came.
    Pairs(StreamEntry<'a>),
    /// As it lies in a chunk.
    Coded {
        /// How many fields there are, and their names.
        names: &'a [u8],
        /// Their values, in the same order.
        values: &'a [u8],
    },
    /// Siblings, which are kept elsewhere.
    Wide,
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// The text of an integer.
    Integer(i64),
    /// Any other text.
    Bytes(&'a [u8]),
}

/// Neighbours of a stream. Never empty for longer than a change takes.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    /// Entries in the bytes.
    count: u16,
    /// Those of them at the front that are gone.
    hidden: u16,
    /// The first id that is not hidden.
    first: StreamId,
}

/// What the next entry of a chunk is written against.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    id: StreamId,
    dot: Stamp,
    /// Where the names lie that entries can refer to, in the order in which they were written.
    templates: SmallVec<[(u32, u32); 1]>,
    /// The last ordinals of the authors of entries.
    ordinals: SmallVec<[(NodeNumber, u64); 1]>,
}

/// Reads the entries of a chunk from its front.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    trace: Trace,
}

/// Entries of a chunk: as many as Redis puts into one piece, since `XTRIM ~` removes whole ones.
pub const CHUNK_ENTRIES_MAX: usize = 100;
/// Bytes of a chunk, unless one entry has more.
pub const CHUNK_BYTES_MAX: usize = 4096;

/// Bytes by which a chunk grows at least.
const GROWTH_BYTES_MIN: usize = 64;

/// Bits of the first byte: which names.
const NAMES_MASK: u8 = 0x07;
/// The names are written here.
const NAMES_HERE: u8 = 7;
const FORM_SHIFT: u8 = 3;
const FORM_MASK: u8 = 3;
/// The ordinal is written.
const HAS_ORDINAL: u8 = 0x20;
/// The value is elsewhere: the id follows, and nothing else.
const IS_WIDE: u8 = 0x40;

/// The id is the dot, which is the next one of the same author.
const FORM_NEXT: u8 = 0;
/// The id is the dot, which is a later one of the same author.
const FORM_NEAR: u8 = 1;
/// The id is the dot.
const FORM_FAR: u8 = 2;
/// Any id, any dot.
const FORM_GIVEN: u8 = 3;

/// A value's first byte: below it, how many bytes an integer has.
const CODE_TEXT: u8 = 9;
/// A text with its length before it; down to `CODE_TEXT` the code says the length.
const CODE_LONG_TEXT: u8 = 255;

impl<'a> Item<'a> {
    /// An entry that one write has put.
    pub fn new(id: StreamId, dot: Stamp, entry: StreamEntry<'a>) -> Self {
        Self { id, dot, ordinal: entry.ordinal, body: Body::Pairs(entry) }
    }

    /// An entry whose values are elsewhere.
    pub fn wide(id: StreamId) -> Self {
        Self { id, dot: Stamp::ZERO, ordinal: 0, body: Body::Wide }
    }

    /// Whether its values are elsewhere.
    pub fn is_wide(&self) -> bool {
        matches!(self.body, Body::Wide)
    }

    /// Gives `each` fields and values in turn.
    pub fn each_pair(&self, mut each: impl FnMut(&[u8], &[u8])) {
        let mut digits = itoa::Buffer::new();
        self.body.each_pair(|name, text| each(name, text.bytes(&mut digits)));
    }

    /// Writes its value, in place of what is in `out`.
    pub fn value_into<'o>(&self, out: &'o mut Vec<u8>) -> &'o [u8] {
        let mut digits = itoa::Buffer::new();
        out.clear();
        put_varint(out, self.ordinal);
        self.body.each_pair(|name, text| {
            put_slice(out, name);
            put_slice(out, text.bytes(&mut digits));
        });
        out
    }

    /// About how many bytes it takes in a chunk, at most.
    fn bytes_max(&self) -> usize {
        const AROUND: usize = 64;
        match self.body {
            Body::Pairs(entry) => {
                AROUND + entry.pairs().map(|(name, value)| name.len() + value.len() + 10).sum::<usize>()
            }
            Body::Coded { names, values } => AROUND + names.len() + values.len(),
            Body::Wide => AROUND,
        }
    }
}

impl<'a> Text<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        parse_integer(bytes).map_or(Self::Bytes(bytes), Self::Integer)
    }

    /// The text, which an integer has in `digits`.
    pub fn bytes<'b>(&self, digits: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Integer(integer) => digits.format(*integer).as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Integer(integer) => {
                let word = ((integer << 1) ^ (integer >> 63)) as u64;
                let bytes = 8 - word.leading_zeros() as usize / 8;
                out.push(bytes as u8);
                out.extend_from_slice(&word.to_le_bytes()[..bytes]);
            }
            Self::Bytes(bytes) => {
                if bytes.len() < usize::from(CODE_LONG_TEXT - CODE_TEXT) {
                    out.push(CODE_TEXT + bytes.len() as u8);
                } else {
                    out.push(CODE_LONG_TEXT);
                    put_varint(out, bytes.len() as u64);
                }
                out.extend_from_slice(bytes);
            }
        }
    }
}

impl<'a> Body<'a> {
    /// How many fields there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Pairs(entry) => entry.pairs().count(),
            Self::Coded { names, .. } => names_of(names).0,
            Self::Wide => 0,
        }
    }

    /// Gives `each` fields and values in turn.
    pub fn each_pair(&self, mut each: impl FnMut(&'a [u8], Text<'a>)) {
        match *self {
            Self::Pairs(entry) => entry.pairs().for_each(|(name, value)| each(name, Text::Bytes(value))),
            Self::Coded { names, values } => {
                let (_, names) = names_of(names);
                let mut values = Bytes { bytes: values, at: 0 };
                names.for_each(|name| each(name, values.text()));
            }
            Self::Wide => {}
        }
    }

    /// Whether the names are those of this template.
    fn has_names(&self, template: &[u8]) -> bool {
        match *self {
            Self::Pairs(entry) => names_of(template).1.eq(entry.pairs().map(|(name, _)| name)),
            Self::Coded { names, .. } => names == template,
            Self::Wide => false,
        }
    }

    fn write_names(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Pairs(entry) => {
                put_varint(out, entry.pairs().count() as u64);
                entry.pairs().for_each(|(name, _)| put_slice(out, name));
            }
            Self::Coded { names, .. } => out.extend_from_slice(names),
            Self::Wide => {}
        }
    }

    fn write_values(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Pairs(entry) => entry.pairs().for_each(|(_, value)| Text::of(value).encode(out)),
            Self::Coded { values, .. } => out.extend_from_slice(values),
            Self::Wide => {}
        }
    }
}

/// The names of a template, and how many there are.
fn names_of(template: &[u8]) -> (usize, impl Iterator<Item = &[u8]>) {
    let mut reader = Reader::new(template);
    let count = reader.varint("names").unwrap_or_default() as usize;
    (count, std::iter::from_fn(move || reader.slice("a name").ok()))
}

impl Trace {
    fn ordinal_of(&self, author: NodeNumber) -> Option<u64> {
        self.ordinals.iter().find(|(node, _)| *node == author).map(|(_, ordinal)| *ordinal)
    }

    fn note_ordinal(&mut self, author: NodeNumber, ordinal: u64) {
        match self.ordinals.iter_mut().find(|(node, _)| *node == author) {
            Some((_, last)) => *last = ordinal,
            None => self.ordinals.push((author, ordinal)),
        }
    }

    fn note_names(&mut self, start: usize, end: usize) {
        if self.templates.len() < usize::from(NAMES_HERE) {
            self.templates.push((start as u32, end as u32));
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let templates = if self.templates.spilled() { self.templates.capacity() * size_of::<(u32, u32)>() } else { 0 };
        let spilled = self.ordinals.spilled();
        templates + if spilled { self.ordinals.capacity() * size_of::<(NodeNumber, u64)>() } else { 0 }
    }
}

impl Chunk {
    /// The entries of `items`, which are in order.
    pub fn of<'i>(items: impl Iterator<Item = Item<'i>>) -> Self {
        let (mut chunk, mut trace) = (Self::default(), Trace::default());
        items.for_each(|item| chunk.push(&mut trace, &item));
        chunk.close();
        chunk
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        usize::from(self.count - self.hidden)
    }

    /// The first id.
    pub fn first(&self) -> StreamId {
        self.first
    }

    /// Whether one more entry may come.
    pub fn has_room(&self, item: &Item<'_>) -> bool {
        let is_within = |bytes: usize| self.bytes.len() + bytes <= CHUNK_BYTES_MAX;
        // What is taken for sure is looked at closely only where it matters.
        usize::from(self.count) < CHUNK_ENTRIES_MAX && (self.count == 0 || is_within(item.bytes_max()))
    }

    /// The entries from the first on.
    pub fn items(&self) -> Cursor<'_> {
        let mut cursor = Cursor { bytes: &self.bytes, at: 0, trace: Trace::default() };
        cursor.by_ref().take(usize::from(self.hidden)).for_each(drop);
        cursor
    }

    /// What an entry behind the last one is written against.
    pub fn trace_at_end(&self) -> Trace {
        let mut cursor = self.items();
        cursor.by_ref().for_each(drop);
        cursor.trace
    }

    /// Adds an entry behind the last one, of which `trace` tells.
    pub fn push(&mut self, trace: &mut Trace, item: &Item<'_>) {
        let bytes = item.bytes_max();
        if self.bytes.capacity() - self.bytes.len() < bytes {
            self.bytes.reserve_exact(bytes.max(self.bytes.len() / 4).max(GROWTH_BYTES_MIN));
        }
        if self.count == self.hidden {
            self.first = item.id;
        }
        encode(&mut self.bytes, trace, item);
        self.count += 1;
    }

    /// Hides so many more entries at the front, each after `each` has seen it; there are more than those.
    pub fn hide(&mut self, count: usize, mut each: impl FnMut(&Item<'_>)) {
        let mut cursor = self.items();
        cursor.by_ref().take(count).for_each(|item| each(&item));
        let first = cursor.next().map_or(StreamId::ZERO, |item| item.id);
        self.hidden += count as u16;
        self.first = first;
    }

    /// Gives back memory that is not needed while nothing is added.
    pub fn close(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Bytes on the heap, without the allocator's rounding.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether it has come to hold more than it should.
    pub fn is_oversized(&self) -> bool {
        self.len() > 1 && (self.len() > CHUNK_ENTRIES_MAX || self.bytes.len() > 2 * CHUNK_BYTES_MAX)
    }
}

/// Appends an entry that stands behind those of this trace.
fn encode(out: &mut Vec<u8>, trace: &mut Trace, item: &Item<'_>) {
    let start = out.len();
    if item.is_wide() {
        out.push(IS_WIDE);
        encode_id(out, trace.id, item.id);
        trace.id = item.id;
        return;
    }
    out.push(0);
    let author = item.dot.author();
    let distance = clock(item.dot).checked_sub(clock(trace.dot)).filter(|_| author == trace.dot.author());
    let form = match distance {
        _ if item.id != StreamId::of_stamp(item.dot) => FORM_GIVEN,
        Some(1) => FORM_NEXT,
        Some(distance) => {
            put_varint(out, distance);
            FORM_NEAR
        }
        None => FORM_FAR,
    };
    if form == FORM_FAR || form == FORM_GIVEN {
        crdt::encoding::put_stamp(out, trace.dot, item.dot);
    }
    if form == FORM_GIVEN {
        encode_id(out, trace.id, item.id);
    }
    let follows = trace.ordinal_of(author).is_some_and(|last| last.checked_add(1) == Some(item.ordinal));
    if !follows {
        put_varint(out, item.ordinal);
    }
    let template = trace.templates.iter().position(|&(from, to)| item.body.has_names(&out[from as usize..to as usize]));
    if template.is_none() {
        let from = out.len();
        item.body.write_names(out);
        trace.note_names(from, out.len());
    }
    item.body.write_values(out);
    let names = template.map_or(NAMES_HERE, |template| template as u8);
    out[start] = names | form << FORM_SHIFT | if follows { 0 } else { HAS_ORDINAL };
    (trace.id, trace.dot) = (item.id, item.dot);
    trace.note_ordinal(author, item.ordinal);
}

fn encode_id(out: &mut Vec<u8>, before: StreamId, id: StreamId) {
    put_varint(out, id.ms.wrapping_sub(before.ms));
    put_varint(out, if id.ms == before.ms { id.sequence.wrapping_sub(before.sequence) } else { id.sequence });
}

fn clock(stamp: Stamp) -> u64 {
    stamp.bits() >> 10
}

fn stamped(clock: u64, author: NodeNumber) -> Stamp {
    Stamp::from_bits(clock << 10 | u64::from(author.value()))
}

impl<'a> Iterator for Cursor<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let head = *self.bytes.get(self.at)?;
        let mut bytes = Bytes { bytes: self.bytes, at: self.at + 1 };
        if head & IS_WIDE != 0 {
            let id = bytes.id(self.trace.id);
            (self.at, self.trace.id) = (bytes.at, id);
            return Some(Item::wide(id));
        }
        let before = self.trace.dot;
        let form = head >> FORM_SHIFT & FORM_MASK;
        let dot = match form {
            FORM_NEXT => stamped(clock(before) + 1, before.author()),
            FORM_NEAR => stamped(clock(before) + bytes.varint(), before.author()),
            _ => bytes.stamp(before),
        };
        let id = if form == FORM_GIVEN { bytes.id(self.trace.id) } else { StreamId::of_stamp(dot) };
        let author = dot.author();
        let ordinal = match head & HAS_ORDINAL {
            0 => self.trace.ordinal_of(author).unwrap_or_default() + 1,
            _ => bytes.varint(),
        };
        let template = head & NAMES_MASK;
        let (from, to) = if template == NAMES_HERE {
            let from = bytes.at;
            let count = bytes.varint();
            for _ in 0..count {
                bytes.slice();
            }
            self.trace.note_names(from, bytes.at);
            (from, bytes.at)
        } else {
            let (from, to) = self.trace.templates[usize::from(template)];
            (from as usize, to as usize)
        };
        let names = &self.bytes[from..to];
        let start = bytes.at;
        for _ in 0..names_of(names).0 {
            bytes.text();
        }
        let values = &self.bytes[start..bytes.at];
        self.at = bytes.at;
        (self.trace.id, self.trace.dot) = (id, dot);
        self.trace.note_ordinal(author, ordinal);
        Some(Item { id, dot, ordinal, body: Body::Coded { names, values } })
    }
}

/// Reads what was written here.
struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        taken
    }

    fn varint(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.bytes[self.at];
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
            shift += 7;
        }
    }

    fn slice(&mut self) -> &'a [u8] {
        let length = self.varint() as usize;
        self.take(length)
    }

    fn id(&mut self, before: StreamId) -> StreamId {
        let ms = before.ms.wrapping_add(self.varint());
        let sequence = self.varint();
        let base = if ms == before.ms { before.sequence } else { 0 };
        StreamId { ms, sequence: base.wrapping_add(sequence) }
    }

    fn stamp(&mut self, base: Stamp) -> Stamp {
        let mut reader = Reader::new(&self.bytes[self.at..]);
        let before = reader.rest().len();
        let stamp = reader.stamp(base, "a stamp").expect("a chunk's bytes were written here");
        self.at += before - reader.rest().len();
        stamp
    }

    fn text(&mut self) -> Text<'a> {
        match self.take(1)[0] {
            code @ 0..CODE_TEXT => {
                let mut word = [0; 8];
                word[..usize::from(code)].copy_from_slice(self.take(usize::from(code)));
                let word = u64::from_le_bytes(word);
                Text::Integer((word >> 1) as i64 ^ -((word & 1) as i64))
            }
            CODE_LONG_TEXT => Text::Bytes(self.slice()),
            code => Text::Bytes(self.take(usize::from(code - CODE_TEXT))),
        }
    }
}

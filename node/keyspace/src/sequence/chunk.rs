//! Some neighbours of a list in one piece of memory, each written as its difference from the one before.
//!
//! An element is a byte that says how, where it stands, and its value. Where it stands is nearly always one step from an
//! edge of the list, made by the write that is its dot: then the difference of two stamps says everything, or nothing at
//! all if both were put by one command. A value that is an integer as Redis prints it is kept as the difference from the
//! one before, in as many bytes as it needs. Neighbours that were pushed one after the other become runs
//! ([`super::run`]), which take less.

mod ends;
mod written;

use super::run::{self, RUN_ITEMS_MAX, RUN_ITEMS_MIN, Run};
use crate::words::{self, AUTHOR_MASK, clock, stamped, unfold};
use crdt::{Position, Side, Stamp, Step, parse_integer};
use std::borrow::Cow;
use std::ops::Range;
use written::{Out, Written, encode, encode_head};

/// An element of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Where it stands.
    pub place: Place<'a>,
    /// The dot of its value; of no meaning if the value is elsewhere.
    pub dot: Stamp,
    /// What it holds.
    pub value: Value<'a>,
}

/// Where an element stands. Each position has one form for a given dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// One step from an edge, made by the command that is the dot.
    Edge(Step),
    /// Anywhere: the name of the position.
    Named(&'a [u8]),
}

/// What an element holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// The text of an integer.
    Integer(i64),
    /// Any other text.
    Text(&'a [u8]),
    /// Siblings or contributions, which are kept elsewhere.
    Wide,
}

/// Neighbours of a list. Never empty for longer than a change takes.
#[derive(Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    /// Where the elements begin in the bytes: what is before is room for those that will be put there.
    start: u32,
    count: u16,
    /// Elements put at its ends since it was last looked through for runs.
    pushed: u16,
    /// What the first element is written against: its own step and integer.
    base: Trace,
    /// What an element behind the last one is written against.
    end: Trace,
}

/// What the next element is written against: the first step and the integer of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The step.
    pub step: Step,
    /// The integer; 0 if it is none.
    pub integer: i64,
}

/// Where an element begins in a chunk's bytes, and what it is written against. It is not inside a run.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    at: usize,
    trace: Trace,
}

/// Reads the elements of a chunk from its front.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    trace: Trace,
    /// What is left of a run; then `at` is behind it.
    run: Option<Run<'a>>,
}

/// Elements of a chunk. More make searches in it longer, fewer cost more for what each chunk has of its own.
pub const CHUNK_ITEMS_MAX: usize = 512;
/// Bytes of a chunk, unless one element has more: what is put at its front moves all of them. A full chunk is as large as
/// what allocators hand out.
pub const CHUNK_BYTES_MAX: usize = 2048;

/// Bytes by which a chunk grows at least.
const GROWTH_BYTES_MIN: usize = 32;

/// The same command's next element.
const FORM_NEXT: u8 = 0;
/// A later (at the beginning of the list: earlier) command of the same author, which put nothing else here.
const FORM_NEAR: u8 = 1;
/// Any one step.
const FORM_FAR: u8 = 2;
/// Any position and any dot.
const FORM_NAMED: u8 = 3;
/// Begins a run: no element begins so, since one whose value is elsewhere is always named.
const RUN_HEAD: u8 = FORM_NEXT << 6 | CODE_WIDE;
/// That, and how many elements follow.
const RUN_HEAD_BYTES: usize = 2;
/// Below it, bytes of an integer's difference.
const CODE_WIDE: u8 = 9;
const CODE_TEXT: u8 = 10;
/// A text with its length before it; down to `CODE_TEXT` the code says the length.
const CODE_LONG_TEXT: u8 = 63;

const START: Trace = Trace { step: Step { side: Side::InFront, stamp: Stamp::ZERO, index: 0 }, integer: 0 };

impl<'a> Item<'a> {
    /// An element that one write has set.
    pub fn new(position: &Position, name: &'a [u8], dot: Stamp, value: &'a [u8]) -> Self {
        let value = parse_integer(value).map_or(Value::Text(value), Value::Integer);
        Self { place: Place::of(position, name, dot), dot, value }
    }

    /// An element that one write has put one step from an edge.
    #[inline]
    pub fn at_edge(step: Step, value: &'a [u8]) -> Self {
        let value = parse_integer(value).map_or(Value::Text(value), Value::Integer);
        Self { place: Place::Edge(step), dot: step.stamp, value }
    }

    /// An element whose value is elsewhere.
    pub fn wide(name: &'a [u8]) -> Self {
        Self { place: Place::Named(name), dot: Stamp::ZERO, value: Value::Wide }
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        match self.place {
            Place::Edge(step) => Position::at_edge(step.side, step.stamp, step.index),
            Place::Named(name) => position_of(name),
        }
    }

    /// The name of its position, in place of what is in `out`.
    pub fn name_into<'o>(&self, out: &'o mut Vec<u8>) -> &'o [u8] {
        out.clear();
        match self.place {
            Place::Edge(_) => self.position().write_name(out),
            Place::Named(name) => out.extend_from_slice(name),
        }
        out
    }

    /// The text that it holds; nothing if that is elsewhere.
    pub fn text(&self) -> Option<Cow<'a, [u8]>> {
        match self.value {
            Value::Integer(integer) => Some(Cow::Owned(integer.to_string().into_bytes())),
            Value::Text(text) => Some(Cow::Borrowed(text)),
            Value::Wide => None,
        }
    }

    /// About how many bytes it takes in a chunk, at most.
    pub fn bytes_max(&self) -> usize {
        let place = match self.place {
            Place::Edge(_) => 20,
            Place::Named(name) => name.len() + 16,
        };
        place + if let Value::Text(text) = self.value { text.len() + 6 } else { 9 }
    }

    /// The first step of its position.
    #[inline]
    pub fn first_step(&self) -> Step {
        match self.place {
            Place::Edge(step) => step,
            Place::Named(name) => position_of(name).steps()[0],
        }
    }
}

impl<'a> Place<'a> {
    fn of(position: &Position, name: &'a [u8], dot: Stamp) -> Self {
        match position.steps() {
            [step] if step.stamp == dot => Self::Edge(*step),
            _ => Self::Named(name),
        }
    }
}

fn position_of(name: &[u8]) -> Position {
    Position::of_name(name).expect("the names of a list's elements are positions")
}

impl Default for Chunk {
    fn default() -> Self {
        Self { bytes: Vec::new(), start: 0, count: 0, pushed: 0, base: START, end: START }
    }
}

impl Chunk {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether one more element may come, of so many bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.count == 0 || (self.len() < CHUNK_ITEMS_MAX && self.used() + bytes <= CHUNK_BYTES_MAX)
    }

    /// The elements from the first on.
    pub fn items(&self) -> Cursor<'_> {
        self.items_from(self.front())
    }

    fn front(&self) -> Mark {
        Mark { at: self.start as usize, trace: self.base }
    }

    fn items_from(&self, Mark { at, trace }: Mark) -> Cursor<'_> {
        Cursor { bytes: &self.bytes, at, trace, run: None }
    }

    /// The first element.
    pub fn first(&self) -> Option<Item<'_>> {
        self.items().next()
    }

    /// The first step of the first element's position.
    pub fn first_step(&self) -> Step {
        self.base.step
    }

    /// The first step of the last element's position.
    pub fn last_step(&self) -> Step {
        self.end.step
    }

    /// Puts elements in place of `removed` ones from number `at` on.
    pub fn splice(&mut self, at: usize, removed: usize, items: &[Item<'_>]) {
        if at == self.len() {
            items.iter().for_each(|item| self.put_behind(item));
            self.note_pushed(items.len(), false);
            return;
        }
        let first = self.open(self.front(), at);
        let behind = self.open(first, removed);
        let (mut written, cursor) = (Written::new(), self.items_from(behind));
        let base = (at == 0).then(|| items.first().map_or_else(|| cursor.trace_of_next(), Trace::of));
        let trace = items.iter().fold(base.unwrap_or(first.trace), |trace, item| encode(&mut written, trace, item));
        let (to, end) = cursor.follow(&mut written, trace);
        self.end = end.unwrap_or(self.end);
        self.put_written(base, first.at, to, &written);
        self.count = self.count + items.len() as u16 - removed as u16;
        self.give_back();
        if at == 0 && removed == 0 {
            self.note_pushed(items.len(), true);
        }
    }

    /// Takes out `count` elements from number `at` on, each after `each` has seen it.
    pub fn take_out(&mut self, at: usize, count: usize, mut each: impl FnMut(&Item<'_>)) {
        let first = self.open(self.front(), at);
        let behind = self.open(first, count);
        self.items_from(first).take(count).for_each(|item| each(&item));
        let (mut written, cursor) = (Written::new(), self.items_from(behind));
        let base = (at == 0).then(|| cursor.trace_of_next());
        let (to, end) = cursor.follow(&mut written, base.unwrap_or(first.trace));
        self.end = end.unwrap_or(self.end);
        self.put_written(base, first.at, to, &written);
        self.count -= count as u16;
        self.give_back();
    }

    /// Puts bytes in the place of others; at the front of all, against which the first element is written then.
    fn put_written(&mut self, base: Option<Trace>, from: usize, to: usize, written: &[u8]) {
        match base {
            Some(base) => {
                self.base = base;
                self.replace_front(to, written);
            }
            None => self.replace(from, to, written),
        }
    }

    /// Says where the element begins that comes so many behind a mark. If that is inside a run, its elements are taken out
    /// of it.
    fn open(&mut self, start: Mark, elements: usize) -> Mark {
        let (mut cursor, mut passed) = (self.items_from(start), 0);
        while passed < elements {
            let (from, before) = (cursor.at, cursor.trace);
            let Some(first) = cursor.next() else { break };
            let left = cursor.run.as_ref().map_or(0, Run::left);
            passed += 1;
            if passed + left <= elements {
                cursor.pass(left);
                passed += left;
                continue;
            }
            let mut written = Vec::with_capacity(2 * (cursor.at - from));
            let mut trace = encode(&mut written, before, &first);
            let mut mark = Mark { at: from + written.len(), trace };
            for item in cursor.by_ref().take(left) {
                trace = encode(&mut written, trace, &item);
                passed += 1;
                if passed == elements {
                    mark = Mark { at: from + written.len(), trace };
                }
            }
            let to = cursor.at;
            self.replace(from, to, &written);
            return mark;
        }
        Mark { at: cursor.at, trace: cursor.trace }
    }

    /// Makes runs of at least so many neighbours; those before the first run only, if `at_front`.
    fn pack(&mut self, items_min: usize, at_front: bool) {
        let mut cursor = self.items();
        let (mut stretch, mut found) = (Stretch::default(), Vec::new());
        loop {
            let at = cursor.at;
            let is_run = cursor.bytes.get(at) == Some(&RUN_HEAD);
            let item = if is_run && at_front { None } else { cursor.next() };
            match item {
                Some(item) if !is_run && stretch.takes(&item) => stretch.push(cursor.trace, cursor.at),
                _ => {
                    found.extend(stretch.end(cursor.bytes, items_min));
                    match item {
                        None => break,
                        Some(_) if is_run => cursor.pass(cursor.run.as_ref().map_or(0, Run::left)),
                        Some(item) if run::may_begin(&item) => stretch.begin(at, cursor.trace, cursor.at),
                        Some(_) => {}
                    }
                }
            }
        }
        for (range, written) in found.into_iter().rev() {
            self.replace(range.start, range.end, &written);
        }
    }

    /// Takes out the elements in ranges of numbers, which are in order, each after `each` has seen it.
    pub fn take_out_all(&mut self, ranges: impl Iterator<Item = Range<usize>>, mut each: impl FnMut(&Item<'_>)) {
        let (mut ranges, mut kept) = (ranges.peekable(), Self::default());
        kept.bytes.reserve(self.used());
        for (number, item) in self.items().enumerate() {
            while ranges.next_if(|range| range.end <= number).is_some() {}
            if ranges.peek().is_some_and(|range| range.start <= number) {
                each(&item);
            } else {
                kept.put_behind(&item);
            }
        }
        kept.close();
        *self = kept;
    }

    fn replace(&mut self, from: usize, to: usize, written: &[u8]) {
        let old = self.bytes.len();
        let grows = written.len().saturating_sub(to - from);
        self.bytes.reserve_exact(grows);
        self.bytes.resize(old + grows, 0);
        self.bytes.copy_within(to..old, from + written.len());
        self.bytes[from..from + written.len()].copy_from_slice(written);
        self.bytes.truncate(old + written.len() - (to - from));
    }

    /// Takes the elements from number `at` on into a chunk of their own.
    pub fn split_off(&mut self, at: usize) -> Self {
        let mut rest = Self::default();
        rest.bytes.reserve(self.used());
        self.items().skip(at).for_each(|item| rest.put_behind(&item));
        self.splice(at, self.len() - at, &[]);
        rest.close();
        rest
    }

    /// Adds the elements of another chunk at the end.
    pub fn append(&mut self, other: &Self) {
        other.items().for_each(|item| self.put_behind(&item));
        self.pack(RUN_ITEMS_MIN, false);
    }

    /// Whether it has come to hold far more bytes than it should.
    pub fn is_oversized(&self) -> bool {
        self.count > 1 && self.used() > 2 * CHUNK_BYTES_MAX
    }

    /// Bytes on the heap, without the allocator's rounding.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Neighbours that may become a run.
#[derive(Default)]
struct Stretch {
    range: Range<usize>,
    /// Behind the first.
    others: usize,
    traces: Vec<Trace>,
}

impl Stretch {
    fn begin(&mut self, at: usize, trace: Trace, behind: usize) {
        (self.range, self.others) = (at..behind, behind);
        self.traces.push(trace);
    }

    fn takes(&self, item: &Item<'_>) -> bool {
        self.traces.len() < RUN_ITEMS_MAX && self.traces.last().is_some_and(|last| run::may_follow(last, item))
    }

    fn push(&mut self, trace: Trace, behind: usize) {
        self.range.end = behind;
        self.traces.push(trace);
    }

    /// The run, and what it takes the place of, if it has enough elements and takes less.
    fn end(&mut self, bytes: &[u8], items_min: usize) -> Option<(Range<usize>, Vec<u8>)> {
        let traces = std::mem::take(&mut self.traces);
        let (first, others) = traces.split_first().filter(|_| traces.len() >= items_min)?;
        let mut written = Vec::with_capacity(self.range.len());
        written.extend_from_slice(&[RUN_HEAD, traces.len() as u8]);
        written.extend_from_slice(&bytes[self.range.start..self.others]);
        run::encode(&mut written, *first, others);
        (written.len() < self.range.len()).then(|| (self.range.clone(), written))
    }
}

impl<'a> Iterator for Cursor<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        let Some(run) = &mut self.run else { return self.next_element() };
        self.trace = run.next(&self.trace);
        if run.left() == 0 {
            self.run = None;
        }
        let Trace { step, integer } = self.trace;
        Some(Item { place: Place::Edge(step), dot: step.stamp, value: Value::Integer(integer) })
    }

    fn nth(&mut self, number: usize) -> Option<Item<'a>> {
        self.pass(number);
        self.next()
    }
}

impl<'a> Cursor<'a> {
    /// Passes over so many elements; over runs as wholes.
    pub fn pass(&mut self, mut items: usize) {
        while items > 0 {
            match self.run.take() {
                Some(run) if run.left() <= items => {
                    items -= run.left();
                    self.trace = run.last();
                }
                run => {
                    self.run = run;
                    items -= 1;
                    if self.next().is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Passes over what is left of the run that was begun, if all of it is before this position, and says how many elements
    /// that were.
    pub fn pass_run_before(&mut self, position: &Position) -> usize {
        let Some(run) = &self.run else { return 0 };
        let Step { side, stamp, index } = run.last().step;
        if Position::at_edge(side, stamp, index) >= *position {
            return 0;
        }
        let left = run.left();
        self.pass(left);
        left
    }

    /// What the element that comes next is written against if it is to be the first one.
    fn trace_of_next(&self) -> Trace {
        self.clone().next().map_or(START, |item| Trace::of(&item))
    }

    /// Writes the element that comes next against another one than it was written against, and says where those begin that
    /// are not touched by that. Without one, the trace is that of the last element.
    fn follow(mut self, written: &mut impl Out, trace: Trace) -> (usize, Option<Trace>) {
        match self.bytes.get(self.at) {
            None => return (self.at, Some(trace)),
            // Only the first element of a run depends on what is before it.
            Some(&RUN_HEAD) => {
                written.bytes(&self.bytes[self.at..self.at + RUN_HEAD_BYTES]);
                self.at += RUN_HEAD_BYTES;
            }
            Some(_) => {}
        }
        match self.element() {
            // A text itself stays where it is.
            Some(item @ Item { value: Value::Text(text), .. }) => {
                encode_head(written, trace, &item);
                (self.at - text.len(), None)
            }
            item => {
                if let Some(item) = &item {
                    encode(written, trace, item);
                }
                (self.at, None)
            }
        }
    }

    /// The next element, which is not inside a run, though perhaps the first of one.
    fn next_element(&mut self) -> Option<Item<'a>> {
        let mut items = 0;
        if *self.bytes.get(self.at)? == RUN_HEAD {
            items = usize::from(self.bytes[self.at + 1]);
            self.at += RUN_HEAD_BYTES;
        }
        let item = self.element();
        if items > 1 {
            let (run, behind) = Run::read(self.bytes, self.at, self.trace, items);
            (self.run, self.at) = (Some(run), behind);
        }
        item
    }

    /// The element that is written here.
    fn element(&mut self) -> Option<Item<'a>> {
        let head = *self.bytes.get(self.at)?;
        self.at += 1;
        let (place, dot) = self.place(head >> 6);
        let value = self.value(head & 63);
        let item = Item { place, dot, value };
        let integer = if let Value::Integer(integer) = value { integer } else { 0 };
        self.trace = Trace { step: item.first_step(), integer };
        Some(item)
    }

    fn place(&mut self, form: u8) -> (Place<'a>, Stamp) {
        let Step { side, stamp, index } = self.trace.step;
        let step = match form {
            FORM_NEXT => Step { side, stamp, index: next_index(side, index).unwrap_or_default() },
            FORM_NEAR => {
                let distance = self.varint();
                let clock = match side {
                    Side::InFront => clock(stamp) + distance,
                    Side::Behind => clock(stamp) - distance,
                };
                Step { side, stamp: stamped(clock, stamp.bits() & AUTHOR_MASK), index: 0 }
            }
            FORM_FAR => {
                let head = self.varint();
                let side = if head & 1 == 0 { Side::Behind } else { Side::InFront };
                let clock = clock(stamp).wrapping_add(unfold(self.varint()) as u64);
                let index = if head & 2 == 0 { 0 } else { self.varint() as u32 };
                Step { side, stamp: stamped(clock, head >> 2), index }
            }
            _ => {
                let length = self.varint() as usize;
                let name = self.bytes(length);
                let dot = Stamp::from_bits(self.word(8));
                return (Place::Named(name), dot);
            }
        };
        (Place::Edge(step), step.stamp)
    }

    fn value(&mut self, code: u8) -> Value<'a> {
        match code {
            0..CODE_WIDE => {
                let difference = unfold(self.word(usize::from(code)));
                Value::Integer(self.trace.integer.wrapping_add(difference))
            }
            CODE_WIDE => Value::Wide,
            CODE_LONG_TEXT => {
                let length = self.varint() as usize;
                Value::Text(self.bytes(length))
            }
            _ => Value::Text(self.bytes(usize::from(code - CODE_TEXT))),
        }
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        taken
    }

    fn word(&mut self, length: usize) -> u64 {
        let mut word = [0; 8];
        word[..length].copy_from_slice(self.bytes(length));
        u64::from_le_bytes(word)
    }

    fn varint(&mut self) -> u64 {
        let (value, behind) = words::varint(self.bytes, self.at);
        self.at = behind;
        value
    }
}

/// The index of the same command's element behind this one.
pub fn next_index(side: Side, index: u32) -> Option<u32> {
    match side {
        Side::InFront => index.checked_add(1),
        Side::Behind => index.checked_sub(1),
    }
}

//! Runs: neighbours in a chunk that are written as columns of bits, because all are integers that were pushed.
//!
//! Most of what a stamp differs by from the one before is the same for neighbours, and so is most of an integer. In a run
//! the least of these differences stands once, and each element has what it goes beyond it, in as many bits as the largest
//! needs: the milliseconds between two stamps, the count within the millisecond, and the integer itself or its difference,
//! whichever takes less. Where the run leads is said as well, so that a walk can pass it over as a whole.
//!
//! A run is a byte that begins no element, the number of its elements, the first of them as any other element, then the
//! rest. Nothing in a run is changed: an element beside which something changes is taken out of it first.

use super::chunk::{Item, Place, Trace, Value, next_index};
use crate::words::{AUTHOR_MASK, COUNT_BITS, COUNT_MASK, clock, fold, stamped, unfold, varint};
use crdt::{Side, Step};

/// Elements from which on a run takes less than what it replaces.
pub const RUN_ITEMS_MIN: usize = 8;
/// Elements of a run. More would take hardly less, and a change in one writes all of them again.
pub const RUN_ITEMS_MAX: usize = 64;

/// Beside the width of the counts: integers are differences.
const IS_DELTA: u8 = 0x10;
/// The last element is not the first of its command.
const HAS_INDEX: u8 = 0x20;
const WIDTH_MASK: u8 = 0x0f;

/// What is left of a run that is being read, behind its first element.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    bytes: &'a [u8],
    /// Elements that are still to come.
    left: usize,
    /// Where the bits of the next one begin.
    bit: usize,
    columns: Columns,
    /// The last element.
    last: Trace,
}

/// How the elements of a run are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    ms_bits: u32,
    ms_min: u64,
    count_bits: u32,
    count_min: u64,
    value_bits: u32,
    value_min: u64,
    is_delta: bool,
}

impl Columns {
    const fn bits(&self) -> usize {
        (self.ms_bits + self.count_bits + self.value_bits) as usize
    }
}

/// An element of a run, as its columns see it.
#[derive(Clone, Copy)]
struct Row {
    ms: u64,
    count: u64,
    integer: i64,
    delta: u64,
}

/// Whether an element behind this one may follow it in a run.
pub fn may_follow(before: &Trace, item: &Item<'_>) -> bool {
    let (Place::Edge(step), Value::Integer(_)) = (item.place, item.value) else { return false };
    let last = before.step;
    let same = step.side == last.side && step.stamp.author() == last.stamp.author();
    let forward = match step.side {
        Side::InFront => step.stamp >= last.stamp,
        Side::Behind => step.stamp <= last.stamp,
    };
    let index = if step.stamp == last.stamp { next_index(last.side, last.index) } else { Some(0) };
    same && forward && index == Some(step.index)
}

/// Whether an element may be the first of a run.
pub fn may_begin(item: &Item<'_>) -> bool {
    matches!((item.place, item.value), (Place::Edge(_), Value::Integer(_)))
}

/// Appends what stands behind the first element of a run, of which this is the trace: the others.
pub fn encode(out: &mut Vec<u8>, first: Trace, others: &[Trace]) {
    let mut before = first;
    let row = |trace: &Trace| {
        let (now, then) = (clock(trace.step.stamp) >> COUNT_BITS, clock(before.step.stamp) >> COUNT_BITS);
        let delta = trace.integer.wrapping_sub(before.integer) as u64;
        before = *trace;
        Row { ms: now.abs_diff(then), count: clock(trace.step.stamp) & COUNT_MASK, integer: trace.integer, delta }
    };
    let rows: Vec<Row> = others.iter().map(row).collect();
    let last = others.last().copied().unwrap_or(first);
    let columns = columns_of(&rows);
    let delta = if columns.is_delta { IS_DELTA } else { 0 };
    let index = if last.step.index == 0 { 0 } else { HAS_INDEX };
    out.extend_from_slice(&[columns.ms_bits as u8, columns.count_bits as u8 | delta | index, columns.value_bits as u8]);
    let put = crdt::encoding::put_varint;
    put(out, columns.ms_min);
    put(out, columns.count_min);
    put(out, fold(columns.value_min as i64));
    put(out, rows.iter().map(|row| row.ms).sum());
    put(out, last_count(&last));
    put(out, fold(last.integer.wrapping_sub(first.integer)));
    if index != 0 {
        put(out, u64::from(last.step.index));
    }
    let (mut held, mut held_bits) = (0_u128, 0);
    for row in &rows {
        let value = if columns.is_delta { row.delta } else { row.integer as u64 };
        let cells = [
            (row.ms - columns.ms_min, columns.ms_bits),
            (row.count - columns.count_min, columns.count_bits),
            (value.wrapping_sub(columns.value_min), columns.value_bits),
        ];
        for (cell, bits) in cells {
            held |= u128::from(cell) << held_bits;
            held_bits += bits;
            while held_bits >= 8 {
                out.push(held as u8);
                held >>= 8;
                held_bits -= 8;
            }
        }
    }
    if held_bits > 0 {
        out.push(held as u8);
    }
}

fn last_count(last: &Trace) -> u64 {
    clock(last.step.stamp) & COUNT_MASK
}

fn columns_of(rows: &[Row]) -> Columns {
    let span = |of: fn(&Row) -> u64| {
        let least = rows.iter().map(of).min().unwrap_or(0);
        (least, width(rows.iter().map(of).max().unwrap_or(0) - least))
    };
    // Integers are compared as such; the distance between any two fits a word.
    let signed = |of: fn(&Row) -> i64| {
        let least = rows.iter().map(of).min().unwrap_or(0);
        let most = rows.iter().map(of).max().unwrap_or(0);
        (least as u64, width(most.wrapping_sub(least) as u64))
    };
    let ((ms_min, ms_bits), (count_min, count_bits)) = (span(|row| row.ms), span(|row| row.count));
    let (plain, delta) = (signed(|row| row.integer), signed(|row| row.delta as i64));
    let is_delta = delta.1 < plain.1;
    let (value_min, value_bits) = if is_delta { delta } else { plain };
    Columns { ms_bits, ms_min, count_bits, count_min, value_bits, value_min, is_delta }
}

const fn width(word: u64) -> u32 {
    u64::BITS - word.leading_zeros()
}

impl<'a> Run<'a> {
    /// What stands at `at` behind the first element, of which this is the trace, of so many. Returns what is behind it all.
    pub fn read(bytes: &'a [u8], mut at: usize, first: Trace, items: usize) -> (Self, usize) {
        let mut next = || {
            let (word, behind) = varint(bytes, at);
            at = behind;
            word
        };
        let (ms_bits, flags, value_bits) = (next() as u32, next() as u8, next() as u32);
        let columns = Columns {
            ms_bits,
            count_bits: u32::from(flags & WIDTH_MASK),
            value_bits,
            is_delta: flags & IS_DELTA != 0,
            ms_min: next(),
            count_min: next(),
            value_min: unfold(next()) as u64,
        };
        let (distance, count, far) = (next(), next(), unfold(next()));
        let index = if flags & HAS_INDEX == 0 { 0 } else { next() as u32 };
        let step = moved(&first.step, distance, count, index);
        let last = Trace { step, integer: first.integer.wrapping_add(far) };
        let left = items - 1;
        let behind = at + (left * columns.bits()).div_ceil(8);
        (Self { bytes, left, bit: at * 8, columns, last }, behind)
    }

    /// Elements that are still to come.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The last element.
    pub fn last(&self) -> Trace {
        self.last
    }

    /// The element behind the one of this trace; there is one.
    #[inline]
    pub fn next(&mut self, before: &Trace) -> Trace {
        let Columns { ms_bits, ms_min, count_bits, count_min, value_bits, value_min, is_delta } = self.columns;
        let ms = ms_min + self.bits(ms_bits);
        let count = count_min + self.bits(count_bits);
        let value = value_min.wrapping_add(self.bits(value_bits));
        self.left -= 1;
        let mut step = moved(&before.step, ms, count, 0);
        if step.stamp == before.step.stamp {
            step.index = next_index(step.side, before.step.index).unwrap_or_default();
        }
        let integer = if is_delta { before.integer.wrapping_add(value as i64) } else { value as i64 };
        Trace { step, integer }
    }

    /// The next so many bits.
    #[inline]
    fn bits(&mut self, bits: u32) -> u64 {
        if bits == 0 {
            return 0;
        }
        let (at, shift) = (self.bit / 8, self.bit % 8);
        self.bit += bits as usize;
        let word = match self.bytes.get(at..at + 9) {
            Some(nine) => {
                let mut low = [0; 8];
                low.copy_from_slice(&nine[..8]);
                u128::from(u64::from_le_bytes(low)) | u128::from(nine[8]) << 64
            }
            None => self.bytes[at..].iter().rev().fold(0, |word, byte| word << 8 | u128::from(*byte)),
        };
        (word >> shift) as u64 & (u64::MAX >> (u64::BITS - bits))
    }
}

/// The step so many milliseconds further from the edge than this one, of the same author.
#[inline]
fn moved(before: &Step, ms: u64, count: u64, index: u32) -> Step {
    let now = clock(before.stamp) >> COUNT_BITS;
    let now = match before.side {
        Side::InFront => now + ms,
        Side::Behind => now - ms,
    };
    Step { side: before.side, stamp: stamped(now << COUNT_BITS | count, before.stamp.bits() & AUTHOR_MASK), index }
}

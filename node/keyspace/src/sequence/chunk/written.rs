//! How an element is written behind the one before.

use super::{CODE_LONG_TEXT, CODE_TEXT, CODE_WIDE, FORM_FAR, FORM_NAMED, FORM_NEAR, FORM_NEXT};
use super::{Item, Place, Trace, Value, next_index};
use crate::words::{AUTHOR_MASK, clock, fold};
use crdt::{Side, Step};
use smallvec::SmallVec;

/// What few elements are written to before it is known where they will be: nearly always on the stack.
pub(super) type Written = SmallVec<[u8; 96]>;

/// Where elements are written.
pub(super) trait Out {
    /// Appends a byte.
    fn byte(&mut self, byte: u8);

    /// Appends some.
    fn bytes(&mut self, bytes: &[u8]);

    /// Appends a number as [`crdt::encoding::put_varint`] does.
    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }
}

impl Out for Vec<u8> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Out for Written {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Appends an element that stands behind one of this trace, and says what comes behind it is written against.
#[inline]
pub(super) fn encode(out: &mut impl Out, trace: Trace, item: &Item<'_>) -> Trace {
    let integer = encode_head(out, trace, item);
    if let Value::Text(text) = item.value {
        out.bytes(text);
    }
    Trace { step: item.first_step(), integer }
}

/// Appends all of an element but its text, and says which integer the next one is written against.
pub(super) fn encode_head(out: &mut impl Out, trace: Trace, item: &Item<'_>) -> i64 {
    let (code, integer, difference) = match item.value {
        Value::Integer(integer) => {
            let difference = fold(integer.wrapping_sub(trace.integer));
            ((8 - difference.leading_zeros() / 8) as u8, integer, difference)
        }
        Value::Text(text) if text.len() < usize::from(CODE_LONG_TEXT - CODE_TEXT) => {
            (CODE_TEXT + text.len() as u8, 0, 0)
        }
        Value::Text(_) => (CODE_LONG_TEXT, 0, 0),
        Value::Wide => (CODE_WIDE, 0, 0),
    };
    encode_place(out, trace.step, item, code);
    match item.value {
        Value::Integer(_) => out.bytes(&difference.to_le_bytes()[..usize::from(code)]),
        Value::Text(text) if code == CODE_LONG_TEXT => out.varint(text.len() as u64),
        Value::Text(_) | Value::Wide => {}
    }
    integer
}

fn encode_place(out: &mut impl Out, before: Step, item: &Item<'_>, code: u8) {
    let step = match item.place {
        Place::Edge(step) => step,
        Place::Named(name) => {
            out.byte(FORM_NAMED << 6 | code);
            out.varint(name.len() as u64);
            out.bytes(name);
            out.bytes(&item.dot.bits().to_le_bytes());
            return;
        }
    };
    if step.side == before.side && step.stamp == before.stamp && next_index(step.side, before.index) == Some(step.index)
    {
        out.byte(FORM_NEXT << 6 | code);
        return;
    }
    let distance = match step.side {
        Side::InFront => clock(step.stamp).checked_sub(clock(before.stamp)),
        Side::Behind => clock(before.stamp).checked_sub(clock(step.stamp)),
    };
    match distance {
        Some(distance)
            if step.side == before.side && step.stamp.author() == before.stamp.author() && step.index == 0 =>
        {
            out.byte(FORM_NEAR << 6 | code);
            out.varint(distance);
        }
        Some(_) | None => {
            out.byte(FORM_FAR << 6 | code);
            let head = (step.stamp.bits() & AUTHOR_MASK) << 2 | u64::from(step.index != 0) << 1 | step.side as u64;
            out.varint(head);
            let distance = clock(step.stamp).wrapping_sub(clock(before.stamp)) as i64;
            out.varint(fold(distance));
            if step.index != 0 {
                out.varint(u64::from(step.index));
            }
        }
    }
}

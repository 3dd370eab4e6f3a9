//! `BITFIELD`: integers of 1 to 64 bits anywhere in a string.

use super::{OFFSET_OUT_OF_RANGE, bit_offset};
use crate::command::number;
use crate::command::string::string_bytes_max;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crdt::change::NAME_BYTES_MAX;
use crdt::patch::Piece;
use keyspace::EventClass;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "bitfield",
        arity: -2,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ONE,
        handler: bitfield,
        since: "3.2.0",
        summary: "Perform arbitrary bitfield integer operations on strings",
        group: Group::Bitmap,
        complexity: "O(1) for each subcommand specified",
        merge: Merge::Writes(
            "BITFIELD ‖ BITFIELD, SETBIT, SETRANGE: both; of one bit the later stamp. An INCRBY writes the number it answers. DEL ‖ BITFIELD: the bits written stand, over zeros",
        ),
        subcommands: &[],
    },
    Command {
        name: "bitfield_ro",
        arity: -2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: bitfield_ro,
        since: "6.0.0",
        summary: "Perform arbitrary read-only bitfield integer operations on strings",
        group: Group::Bitmap,
        complexity: "O(1) for each subcommand specified",
        merge: Merge::Reads,
        subcommands: &[],
    },
];

/// Bytes that a field may lie in.
const FIELD_BYTES_MAX: usize = 9;

/// What happens when a number leaves its bits.
#[derive(Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64),
    Increment(i64),
}

/// An integer of some bits inside a string.
#[derive(Clone, Copy)]
struct Field {
    is_signed: bool,
    bits: u32,
    offset: u64,
}

#[derive(Clone, Copy)]
struct Step {
    field: Field,
    action: Action,
    overflow: Overflow,
}

impl Field {
    fn parse(kind: &[u8], offset: &[u8], bytes_max: u64) -> Result<Self, CommandError> {
        const REFUSAL: CommandError = CommandError::Plain(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        let (is_signed, digits) = match kind {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return Err(REFUSAL),
        };
        let bits_max = if is_signed { 64 } else { 63 };
        let bits = number::parse_integer(digits).filter(|bits| (1..=bits_max).contains(bits)).ok_or(REFUSAL)? as u32;
        Ok(Self { is_signed, bits, offset: bit_offset(offset, Some(bits), bytes_max)? })
    }

    /// Itself, if a string can hold it: where its first bit may be, its last may not.
    fn written(self) -> Result<Self, CommandError> {
        if self.end() > NAME_BYTES_MAX { Err(OFFSET_OUT_OF_RANGE) } else { Ok(self) }
    }

    /// The bytes a string needs to hold it.
    fn end(&self) -> usize {
        ((self.offset + u64::from(self.bits) - 1) >> 3) as usize + 1
    }

    fn smallest(&self) -> i128 {
        if self.is_signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    fn largest(&self) -> i128 {
        if self.is_signed { (1 << (self.bits - 1)) - 1 } else { (1 << self.bits) - 1 }
    }

    /// The number that these bits spell; bits beyond the end are zero.
    fn wrap(&self, bits: i128) -> i128 {
        let bits = bits & ((1 << self.bits) - 1);
        if bits > self.largest() { bits - (1 << self.bits) } else { bits }
    }

    fn read(&self, bytes: &[u8]) -> i128 {
        let first = (self.offset >> 3) as usize;
        let spread =
            (first..self.end()).fold(0u128, |spread, at| spread << 8 | u128::from(bytes.get(at).copied().unwrap_or(0)));
        let after = self.end() as u64 * 8 - self.offset - u64::from(self.bits);
        self.wrap((spread >> after) as i128)
    }

    /// Writes `value` into bytes that reach to [`Field::end`].
    fn write(&self, bytes: &mut [u8], value: i128) {
        for index in 0..self.bits {
            let at = self.offset + u64::from(index);
            let mask = 0x80u8 >> (at & 7);
            let byte = &mut bytes[(at >> 3) as usize];
            let is_set = value >> (self.bits - 1 - index) & 1 == 1;
            *byte = if is_set { *byte | mask } else { *byte & !mask };
        }
    }

    /// The value as it fits, or nothing if it does not and must not be bent.
    fn fit(&self, value: i128, overflow: Overflow) -> Option<i128> {
        if (self.smallest()..=self.largest()).contains(&value) {
            return Some(value);
        }
        match overflow {
            Overflow::Wrap => Some(self.wrap(value)),
            Overflow::Saturate => Some(value.clamp(self.smallest(), self.largest())),
            Overflow::Fail => None,
        }
    }
}

impl Step {
    fn parse_all(args: &[&[u8]], bytes_max: u64) -> Result<Vec<Step>, CommandError> {
        let mut steps = Vec::new();
        let mut overflow = Overflow::Wrap;
        let mut rest = args;
        while let [word, after @ ..] = rest {
            let action = |amount: fn(i64) -> Action| match after {
                [kind, offset, value, after @ ..] => {
                    Ok((Field::parse(kind, offset, bytes_max)?.written()?, amount(number::integer(value)?), after))
                }
                _ => Err(CommandError::Syntax),
            };
            let (field, action, after) = if word.eq_ignore_ascii_case(b"get") {
                let [kind, offset, after @ ..] = after else { return Err(CommandError::Syntax) };
                (Field::parse(kind, offset, bytes_max)?, Action::Get, after)
            } else if word.eq_ignore_ascii_case(b"set") {
                action(Action::Set)?
            } else if word.eq_ignore_ascii_case(b"incrby") {
                action(Action::Increment)?
            } else if word.eq_ignore_ascii_case(b"overflow") {
                let [name, after @ ..] = after else { return Err(CommandError::Syntax) };
                overflow = Overflow::parse(name)?;
                rest = after;
                continue;
            } else {
                return Err(CommandError::Syntax);
            };
            steps.push(Step { field, action, overflow });
            rest = after;
        }
        Ok(steps)
    }

    fn writes(&self) -> bool {
        match self.action {
            Action::Get => false,
            Action::Set(_) | Action::Increment(_) => true,
        }
    }

    /// Does the step and gives what it answers.
    fn run(&self, bytes: &mut [u8]) -> Option<i64> {
        let old = self.field.read(bytes);
        let answer = match self.action {
            Action::Get => Some(old),
            Action::Set(value) => {
                // An unsigned field sees the 64 bits of the argument without a sign, as in Redis.
                let value = if self.field.is_signed { i128::from(value) } else { i128::from(value as u64) };
                self.field.fit(value, self.overflow).map(|new| {
                    self.field.write(bytes, new);
                    old
                })
            }
            Action::Increment(amount) => self.field.fit(old + i128::from(amount), self.overflow).inspect(|&new| {
                self.field.write(bytes, new);
            }),
        };
        answer.map(|answer| answer as i64)
    }
}

impl Overflow {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        const NAMES: [(&[u8], Overflow); 3] =
            [(b"wrap", Overflow::Wrap), (b"sat", Overflow::Saturate), (b"fail", Overflow::Fail)];
        let found = NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        found.map(|&(_, overflow)| overflow).ok_or(CommandError::Plain("ERR Invalid OVERFLOW type specified"))
    }
}

fn bitfield(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    run(call, args[1], &Step::parse_all(&args[2..], string_bytes_max(call))?)
}

fn bitfield_ro(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let steps = Step::parse_all(&args[2..], string_bytes_max(call))?;
    if steps.iter().any(Step::writes) {
        return Err(CommandError::Plain("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    run(call, args[1], &steps)
}

fn run(call: &mut Call<'_, '_>, key: &[u8], steps: &[Step]) -> Result<(), CommandError> {
    let db = call.db();
    let value = call.store.string(db, key)?.unwrap_or_default();
    let length = steps.iter().filter(|step| step.writes()).map(|step| step.field.end()).max();
    let Some(length) = length else {
        call.reply.array(steps.len());
        steps.iter().for_each(|step| call.reply.integer(step.field.read(&value) as i64));
        return Ok(());
    };
    let reach = if length > value.len() { Some(length) } else { None };
    let mut bits = Overlay { base: &value, changed: BTreeMap::new(), patch: Vec::new(), is_other: reach.is_some() };
    call.reply.array(steps.len());
    for step in steps {
        match bits.run(step) {
            Some(answer) => call.reply.integer(answer),
            None => call.reply.null(),
        }
    }
    let (mut patch, is_other) = (bits.patch, bits.is_other);
    drop(value);
    if let Some(length) = reach {
        // Also where a step fails, as in Redis.
        Piece::Reach(length as u64).encode(&mut patch);
    }
    if !patch.is_empty() {
        call.store.patch_string(db, key, &patch);
        if is_other {
            call.store.note(EventClass::STRING, "setbit", db, key);
        }
    }
    Ok(())
}

/// A string with what the steps before have written.
struct Overlay<'a> {
    base: &'a [u8],
    changed: BTreeMap<usize, u8>,
    /// The same as pieces of a patch.
    patch: Vec<u8>,
    /// The string is longer than it was, or some step has found another value than it has left.
    is_other: bool,
}

impl Overlay<'_> {
    /// Does a step and gives what it answers.
    fn run(&mut self, step: &Step) -> Option<i64> {
        let Field { offset, bits, .. } = step.field;
        let first = (offset >> 3) as usize;
        let byte = |at: usize| self.changed.get(&at).or(self.base.get(at)).copied().unwrap_or(0);
        let mut bytes: SmallVec<[u8; FIELD_BYTES_MAX]> = (first..step.field.end()).map(byte).collect();
        let near = Step { field: Field { offset: offset & 7, ..step.field }, ..*step };
        let before = near.field.read(&bytes);
        let answer = near.run(&mut bytes)?;
        if step.writes() {
            let after = near.field.read(&bytes);
            self.is_other |= after != before;
            let value = after as u64 & (u64::MAX >> (64 - bits));
            Piece::Bits { offset, count: bits as u8, value }.encode(&mut self.patch);
            self.changed.extend((first..).zip(bytes));
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_from_any_offset() {
        for (bits, is_signed) in [(1, false), (1, true), (5, false), (8, true), (63, false), (64, true)] {
            for offset in 0..24 {
                let field = Field { is_signed, bits, offset };
                for value in [field.smallest(), field.smallest() + 1, -1, 0, 1, field.largest() - 1, field.largest()] {
                    if field.fit(value, Overflow::Fail).is_none() {
                        continue;
                    }
                    let mut bytes = vec![0xaa; field.end() + 1];
                    field.write(&mut bytes, value);
                    assert_eq!(field.read(&bytes), value, "{bits} bits at {offset}");
                    let before =
                        (0..offset).all(|at| bytes[at as usize / 8] << (at % 8) & 0x80 == [0x80, 0][at as usize % 2]);
                    assert!(before, "bits before {offset} changed");
                    assert_eq!(bytes.last(), Some(&0xaa));
                }
            }
        }
    }

    #[test]
    fn reading_past_the_end_gives_zeros() {
        let field = Field { is_signed: false, bits: 16, offset: 4 };
        assert_eq!(field.read(&[0xff]), 0xf000);
        assert_eq!(field.read(&[]), 0);
    }

    #[test]
    fn overflow_wraps_saturates_or_fails() {
        let field = Field { is_signed: true, bits: 8, offset: 0 };
        assert_eq!(field.fit(128, Overflow::Wrap), Some(-128));
        assert_eq!(field.fit(-129, Overflow::Wrap), Some(127));
        assert_eq!(field.fit(1000, Overflow::Saturate), Some(127));
        assert_eq!(field.fit(128, Overflow::Fail), None);
        let field = Field { is_signed: false, bits: 8, offset: 0 };
        assert_eq!(field.fit(-1, Overflow::Wrap), Some(255));
        assert_eq!(field.fit(-1, Overflow::Saturate), Some(0));
    }
}

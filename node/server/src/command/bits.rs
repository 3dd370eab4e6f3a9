//! Strings as arrays of bits. Bit 0 is the most significant one of the first byte.
//!
//! Integers of any width inside a string are in `field`.

pub mod field;

use super::number;
use super::string::string_bytes_max;
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crdt::patch::Piece;
use keyspace::{EventClass, Lifetime, NewLifetime};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "setbit",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ONE,
        handler: setbit,
        since: "2.2.0",
        summary: "Set or clear the bit at an offset of a string",
        group: Group::Bitmap,
        complexity: "O(1)",
        merge: Merge::Writes(
            "SETBIT ‖ SETBIT, BITFIELD, SETRANGE: both; of one bit the later stamp. SETBIT ‖ SET: the later stamp, or the bit over the SET if it is the later. DEL ‖ SETBIT: the bit stands, over zeros",
        ),
        subcommands: &[],
    },
    Command {
        name: "getbit",
        arity: 3,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: getbit,
        since: "2.2.0",
        summary: "Return the bit at an offset of a string",
        group: Group::Bitmap,
        complexity: "O(1)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "bitcount",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: bitcount,
        since: "2.6.0",
        summary: "Count set bits in a string",
        group: Group::Bitmap,
        complexity: "O(N)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "bitpos",
        arity: -3,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: bitpos,
        since: "2.8.7",
        summary: "Find first bit set or clear in a string",
        group: Group::Bitmap,
        complexity: "O(N)",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "bitop",
        arity: -4,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::Range { first: 2, last: -1, step: 1 },
        handler: bitop,
        since: "2.6.0",
        summary: "Perform bitwise operations between strings",
        group: Group::Bitmap,
        complexity: "O(N)",
        merge: Merge::Writes(
            "The target is written as a whole, from the sources as its region had observed them: BITOP ‖ BITOP or SET: the later stamp stands",
        ),
        subcommands: &[],
    },
];

/// The one bit of `byte` that `offset` names; bit 0 is the most significant, as in Redis.
const fn mask(offset: u64) -> u8 {
    0x80 >> (offset & 7)
}

/// A bit offset inside the largest string there may be. `#n` counts in units of `unit` bits.
fn bit_offset(text: &[u8], unit: Option<u32>, bytes_max: u64) -> Result<u64, CommandError> {
    let (digits, unit) = match (text, unit) {
        ([b'#', digits @ ..], Some(unit)) => (digits, i64::from(unit)),
        (digits, Some(_) | None) => (digits, 1),
    };
    number::parse_integer(digits)
        .and_then(|offset| offset.checked_mul(unit))
        .and_then(|offset| u64::try_from(offset).ok())
        .filter(|offset| offset >> 3 < bytes_max)
        .ok_or(OFFSET_OUT_OF_RANGE)
}

const OFFSET_OUT_OF_RANGE: CommandError = CommandError::Plain("ERR bit offset is not an integer or out of range");

fn setbit(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let offset = bit_offset(args[2], None, string_bytes_max(call))?;
    let on = match number::parse_integer(args[3]) {
        Some(0) => false,
        Some(1) => true,
        Some(_) | None => return Err(CommandError::Plain("ERR bit is not an integer or out of range")),
    };
    let byte = call.store.string(db, key)?.and_then(|value| value.get((offset >> 3) as usize).copied());
    let was = byte.unwrap_or(0) & mask(offset) != 0;
    let mut patch = Vec::with_capacity(16);
    Piece::Bits { offset, count: 1, value: u64::from(on) }.encode(&mut patch);
    call.store.patch_string(db, key, &patch);
    // Also where only zeros were added.
    if byte.is_none() || was != on {
        call.store.note(EventClass::STRING, "setbit", db, key);
    }
    call.reply.integer(i64::from(was));
    Ok(())
}

fn getbit(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let offset = bit_offset(args[2], None, string_bytes_max(call))?;
    let value = call.store.string(db, args[1])?.unwrap_or_default();
    let is_set = value.get((offset >> 3) as usize).is_some_and(|byte| byte & mask(offset) != 0);
    call.reply.integer(i64::from(is_set));
    Ok(())
}

/// `start`, `end` and `BYTE | BIT` of `BITCOUNT` and `BITPOS`: the range in bits, both ends in it.
struct BitRange {
    start: i64,
    end: i64,
    counts_bits: bool,
}

impl BitRange {
    fn parse(start: &[u8], end: Option<&[u8]>, unit: Option<&[u8]>) -> Result<Self, CommandError> {
        let start = number::integer(start)?;
        let counts_bits = match unit {
            None => false,
            Some(word) if word.eq_ignore_ascii_case(b"bit") => true,
            Some(word) if word.eq_ignore_ascii_case(b"byte") => false,
            Some(_) => return Err(CommandError::Syntax),
        };
        let end = end.map_or(Ok(-1), number::integer)?;
        Ok(Self { start, end, counts_bits })
    }

    fn within(&self, bytes: usize) -> Option<(u64, u64)> {
        let bytes = bytes as u64;
        if self.counts_bits {
            number::range(self.start, self.end, bytes * 8)
        } else {
            number::range(self.start, self.end, bytes).map(|(first, last)| (first * 8, last * 8 + 7))
        }
    }
}

fn bitcount(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    // SUBTLE: an absent key is answered before the range is read, as in Redis.
    let Some(value) = call.store.string(db, args[1])? else {
        call.reply.integer(0);
        return Ok(());
    };
    let range = match args[2..] {
        [] => BitRange { start: 0, end: -1, counts_bits: false },
        [start, end] => BitRange::parse(start, Some(end), None)?,
        [start, end, unit] => {
            let range = BitRange::parse(start, Some(end), None)?;
            // SUBTLE: where nothing can be the unit is not read, as in Redis.
            if number::is_reversed(range.start, range.end) {
                range
            } else {
                BitRange::parse(start, Some(end), Some(unit))?
            }
        }
        _ => return Err(CommandError::Syntax),
    };
    let range = Some(range).filter(|range| !number::is_reversed(range.start, range.end));
    let count =
        range.and_then(|range| range.within(value.len())).map_or(0, |(first, last)| count_ones(&value, first, last));
    call.reply.integer(count as i64);
    Ok(())
}

/// The bits that are set from `first` to `last`, both in the string.
fn count_ones(bytes: &[u8], first: u64, last: u64) -> u64 {
    let (start, end) = ((first >> 3) as usize, (last >> 3) as usize);
    let head = 0xff_u8 >> (first & 7);
    let tail = 0xff_u8 << (7 - (last & 7));
    if start == end {
        return u64::from((bytes[start] & head & tail).count_ones());
    }
    let edges = (bytes[start] & head).count_ones() + (bytes[end] & tail).count_ones();
    let (words, rest) = bytes[start + 1..end].as_chunks::<8>();
    let inside: u64 = words.iter().map(|&word| u64::from(u64::from_ne_bytes(word).count_ones())).sum();
    let rest: u64 = rest.iter().map(|byte| u64::from(byte.count_ones())).sum();
    u64::from(edges) + inside + rest
}

fn bitpos(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let wanted = match number::integer(args[2])? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::Plain("ERR The bit argument must be 1 or 0.")),
    };
    let Some(value) = call.store.string(db, args[1])? else {
        // An absent key is endless zeros.
        call.reply.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let range = match args[3..] {
        [] => BitRange { start: 0, end: -1, counts_bits: false },
        [start] => BitRange::parse(start, None, None)?,
        [start, end] => BitRange::parse(start, Some(end), None)?,
        [start, end, unit] => BitRange::parse(start, Some(end), Some(unit))?,
        _ => return Err(CommandError::Syntax),
    };
    let is_open = args.len() < 5;
    let position = match range.within(value.len()) {
        None => -1,
        Some((first, last)) => match first_bit(&value, wanted, first, last) {
            Some(position) => position as i64,
            // Without an end the string counts as followed by endless zeros.
            None if is_open && !wanted => value.len() as i64 * 8,
            None => -1,
        },
    };
    call.reply.integer(position);
    Ok(())
}

/// The first bit that is `wanted` from `first` to `last`, both in the string.
fn first_bit(bytes: &[u8], wanted: bool, first: u64, last: u64) -> Option<u64> {
    let invert = if wanted { 0 } else { 0xff };
    let (start, end) = ((first >> 3) as usize, (last >> 3) as usize);
    let head = (bytes[start] ^ invert) & (0xff >> (first & 7));
    let (at, byte) = if head != 0 {
        (start, head)
    } else {
        let at = start + 1 + bytes.get(start + 1..=end)?.iter().position(|&byte| byte ^ invert != 0)?;
        (at, bytes[at] ^ invert)
    };
    Some(at as u64 * 8 + u64::from(byte.leading_zeros())).filter(|&position| position <= last)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        const NAMES: [(&[u8], Operation); 4] =
            [(b"and", Operation::And), (b"or", Operation::Or), (b"xor", Operation::Xor), (b"not", Operation::Not)];
        let found = NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        found.map(|&(_, operation)| operation).ok_or(CommandError::Syntax)
    }

    /// `result` after one more source; the shorter of the two counts as followed by zeros.
    fn apply(self, result: &mut Vec<u8>, source: &[u8]) {
        if result.len() < source.len() {
            result.resize(source.len(), 0);
        }
        let (shared, beyond) = result.split_at_mut(source.len());
        let pairs = shared.iter_mut().zip(source);
        match self {
            Operation::And => {
                pairs.for_each(|(into, from)| *into &= from);
                beyond.fill(0);
            }
            Operation::Or => pairs.for_each(|(into, from)| *into |= from),
            Operation::Xor => pairs.for_each(|(into, from)| *into ^= from),
            Operation::Not => pairs.for_each(|(into, from)| *into = !from),
        }
    }
}

fn bitop(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let (operation, target, sources) = (Operation::parse(args[1])?, args[2], &args[3..]);
    if operation == Operation::Not && sources.len() != 1 {
        return Err(CommandError::Plain("ERR BITOP NOT must be called with a single source key."));
    }
    let mut result = call.store.string(db, sources[0])?.unwrap_or_default().into_owned();
    if operation == Operation::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    for source in &sources[1..] {
        let source = call.store.string(db, source)?.unwrap_or_default();
        operation.apply(&mut result, &source);
    }
    if result.is_empty() {
        if call.store.delete(db, target) {
            call.store.note(EventClass::GENERIC, "del", db, target);
        }
    } else {
        call.store.put_string(db, target, &result, NewLifetime::Set(Lifetime::Never));
        call.store.note(EventClass::STRING, "set", db, target);
    }
    call.reply.integer(result.len() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_and_found_as_one_by_one() {
        let bytes: Vec<u8> =
            (0..40u32).map(|index| (index * 37 % 251) as u8 & if index % 3 == 0 { 0 } else { 0xff }).collect();
        let is_set = |at: u64| bytes[(at >> 3) as usize] & mask(at) != 0;
        for first in 0..320 {
            for last in (first..320).step_by(7) {
                let count = (first..=last).filter(|&at| is_set(at)).count() as u64;
                assert_eq!(count_ones(&bytes, first, last), count, "{first}..={last}");
                for wanted in [false, true] {
                    let position = (first..=last).find(|&at| is_set(at) == wanted);
                    assert_eq!(first_bit(&bytes, wanted, first, last), position, "{wanted} in {first}..={last}");
                }
            }
        }
    }

    #[test]
    fn offsets_stay_inside_the_largest_string() {
        const BYTES_MAX: u64 = 1 << 29;
        assert_eq!(bit_offset(b"4294967295", None, BYTES_MAX).ok(), Some(4_294_967_295));
        assert_eq!(bit_offset(b"#3", Some(8), BYTES_MAX).ok(), Some(24));
        for text in ["4294967296", "-1", "x", "", "#1"] {
            assert!(bit_offset(text.as_bytes(), None, BYTES_MAX).is_err(), "{text}");
        }
        assert!(bit_offset(b"#9223372036854775807", Some(63), BYTES_MAX).is_err());
    }
}

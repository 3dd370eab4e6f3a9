//! Numbers in arguments and values: read exactly as Redis reads them, refused in its words.
//!
//! What numbers mean to a command (an offset, an expiry, a count) is decided by the command.

use super::CommandError;
use crdt::ExactFloat;

pub(super) use crdt::parse_integer;

/// An argument that must be a 64-bit integer.
pub(super) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_integer(text).ok_or(CommandError::NotAnInteger)
}

/// An argument or value that must be a finite number.
pub(super) fn float(text: &[u8]) -> Result<ExactFloat, CommandError> {
    ExactFloat::parse(text).ok_or(CommandError::NotAFloat)
}

/// A double as C's `strtod` reads it, hexadecimal ones too: nothing for what is no number, overflows, or underflows to zero.
/// Infinities may be spelled out.
pub(crate) fn double(text: &[u8]) -> Option<f64> {
    resp::parse_double(text).or_else(|| ExactFloat::parse_hexadecimal(text).map(ExactFloat::to_f64))
}

/// Whether the text names an infinity, which Redis parses as a number and then refuses in other words.
pub(super) fn is_infinite(text: &[u8]) -> bool {
    let name = match text {
        [b'+' | b'-', name @ ..] | name => name,
    };
    name.eq_ignore_ascii_case(b"inf") || name.eq_ignore_ascii_case(b"infinity")
}

/// How many of something: a count that must not be negative, refused in the words of `refusal`.
pub(super) fn count(text: &[u8], refusal: &'static str) -> Result<usize, CommandError> {
    parse_integer(text).and_then(|number| usize::try_from(number).ok()).ok_or(CommandError::Plain(refusal))
}

/// The inclusive range of positions in `length` things that `start` and `end` name, both counted from the end when
/// negative and both moved inside; nothing when the range is empty.
pub(super) fn range(start: i64, end: i64, length: u64) -> Option<(u64, u64)> {
    let length = i128::from(length);
    let from_end = |position: i64| {
        let position = i128::from(position);
        (if position < 0 { position + length } else { position }).max(0)
    };
    let (start, end) = (from_end(start), from_end(end).min(length - 1));
    if length == 0 || start > end { None } else { Some((start as u64, end as u64)) }
}

/// Whether both positions count from the end and the wrong way round. `GETRANGE` and `BITCOUNT` find nothing there even
/// if [`range`] would move both to the beginning; `BITPOS` looks at what is left, as in Redis.
pub(super) fn is_reversed(start: i64, end: i64) -> bool {
    start < 0 && end < 0 && start > end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_from_both_ends() {
        for (start, end, length, expected) in [
            (0, -1, 5, Some((0, 4))),
            (-3, -1, 5, Some((2, 4))),
            (-100, 100, 5, Some((0, 4))),
            (-1, -3, 5, None),
            (-8, -9, 5, Some((0, 0))),
            (3, 1, 5, None),
            (5, 9, 5, None),
            (0, 0, 0, None),
            (0, -100, 5, Some((0, 0))),
            (i64::MIN, i64::MAX, 1, Some((0, 0))),
        ] {
            assert_eq!(range(start, end, length), expected, "{start}..={end} of {length}");
        }
    }

    #[test]
    fn infinities_have_a_sign_and_two_names() {
        for text in ["inf", "+inf", "-INF", "Infinity", "-infinity"] {
            assert!(is_infinite(text.as_bytes()), "{text}");
        }
        for text in ["", "nan", "1", "--inf", "infin"] {
            assert!(!is_infinite(text.as_bytes()), "{text}");
        }
    }
}

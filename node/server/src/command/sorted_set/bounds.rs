//! The ends of ranges: of scores as `ZRANGEBYSCORE` takes them, of names as `ZRANGEBYLEX` does.

use crate::command::CommandError;
use crdt::ExactFloat;
use keyspace::InOrder;
use std::ops::Range;

/// A range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ScoreRange {
    lower: ScoreEnd,
    upper: ScoreEnd,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct ScoreEnd {
    score: f64,
    excluded: bool,
}

impl ScoreRange {
    /// Reads both ends.
    pub(super) fn parse(lower: &[u8], upper: &[u8]) -> Result<Self, CommandError> {
        let end = |text: &[u8]| score_end(text).ok_or(CommandError::Plain("ERR min or max is not a float"));
        Ok(Self { lower: end(lower)?, upper: end(upper)? })
    }

    /// The ranks of the members in the range.
    pub(super) fn ranks(&self, members: &InOrder<'_>) -> Range<usize> {
        let Self { lower, upper } = *self;
        let start = members.below_score(|score| score < lower.score || lower.excluded && score == lower.score);
        let end = members.below_score(|score| score < upper.score || !upper.excluded && score == upper.score);
        start..end.max(start)
    }
}

/// An end as C's `strtod` reads it: leading spaces and nothing at all are accepted, beyond the range is infinite.
fn score_end(text: &[u8]) -> Option<ScoreEnd> {
    let (excluded, text) = match text {
        [b'(', text @ ..] => (true, text),
        text => (false, text),
    };
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let digits = str::from_utf8(&text[text.iter().take_while(|byte| is_space(byte)).count()..]).ok()?;
    let hexadecimal = |digits: &str| ExactFloat::parse_hexadecimal(digits.as_bytes()).map(ExactFloat::to_f64);
    let decimal = |digits: &str| digits.parse::<f64>().ok().filter(|score| !score.is_nan());
    let read = |digits| decimal(digits).or_else(|| hexadecimal(digits));
    let score = if text.is_empty() { 0.0 } else { read(digits)? };
    Some(ScoreEnd { score, excluded })
}

/// A range of names among members of one score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct NameRange<'a> {
    lower: NameEnd<'a>,
    upper: NameEnd<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum NameEnd<'a> {
    /// Before all names.
    First,
    Name {
        name: &'a [u8],
        excluded: bool,
    },
    /// Behind all names.
    Last,
}

impl<'a> NameRange<'a> {
    /// Reads both ends.
    pub(super) fn parse(lower: &'a [u8], upper: &'a [u8]) -> Result<Self, CommandError> {
        let end = |text| name_end(text).ok_or(CommandError::Plain("ERR min or max not valid string range item"));
        Ok(Self { lower: end(lower)?, upper: end(upper)? })
    }

    /// The ranks of the members in the range; if they have several scores, of some of them.
    pub(super) fn ranks(&self, members: &InOrder<'_>, reversed: bool) -> Range<usize> {
        let begins = |name: &[u8]| match self.lower {
            NameEnd::First => true,
            NameEnd::Name { name: lower, excluded } => name > lower || !excluded && name == lower,
            NameEnd::Last => false,
        };
        let ends = |name: &[u8]| match self.upper {
            NameEnd::First => true,
            NameEnd::Name { name: upper, excluded } => name > upper || excluded && name == upper,
            NameEnd::Last => false,
        };
        if self.is_empty() { 0..0 } else { members.names_between(begins, ends, reversed) }
    }

    fn is_empty(&self) -> bool {
        match (self.lower, self.upper) {
            (NameEnd::Last, _) | (_, NameEnd::First) => true,
            (NameEnd::First, _) | (_, NameEnd::Last) => false,
            (NameEnd::Name { name: lower, excluded }, NameEnd::Name { name: upper, excluded: upper_excluded }) => {
                lower > upper || lower == upper && (excluded || upper_excluded)
            }
        }
    }
}

fn name_end(text: &[u8]) -> Option<NameEnd<'_>> {
    match text {
        b"-" => Some(NameEnd::First),
        b"+" => Some(NameEnd::Last),
        [b'[', name @ ..] => Some(NameEnd::Name { name, excluded: false }),
        [b'(', name @ ..] => Some(NameEnd::Name { name, excluded: true }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_scores_are_read_as_strtod_reads_them() {
        for (text, expected) in [
            ("1", Some((1.0, false))),
            ("(1.5", Some((1.5, true))),
            ("-inf", Some((f64::NEG_INFINITY, false))),
            ("(+inf", Some((f64::INFINITY, true))),
            ("", Some((0.0, false))),
            ("(", Some((0.0, true))),
            ("  2", Some((2.0, false))),
            ("1e400", Some((f64::INFINITY, false))),
            ("(0x1.8p1", Some((3.0, true))),
            ("0x", None),
            ("2 ", None),
            ("((1", None),
            ("nan", None),
            ("x", None),
            (" ", None),
        ] {
            assert_eq!(score_end(text.as_bytes()).map(|end| (end.score, end.excluded)), expected, "{text:?}");
        }
    }

    #[test]
    fn ends_of_names_say_whether_they_belong() {
        assert_eq!(name_end(b"-"), Some(NameEnd::First));
        assert_eq!(name_end(b"+"), Some(NameEnd::Last));
        assert_eq!(name_end(b"["), Some(NameEnd::Name { name: b"", excluded: false }));
        assert_eq!(name_end(b"(-"), Some(NameEnd::Name { name: b"-", excluded: true }));
        for text in ["", "a", "-a", "+1"] {
            assert_eq!(name_end(text.as_bytes()), None, "{text:?}");
        }
    }
}

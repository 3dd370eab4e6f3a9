//! Ids of streams in arguments, read exactly as Redis reads them.

use crate::command::CommandError;
use crate::command::number::parse_integer;
use crdt::StreamId;
use keyspace::IdRequest;

/// Redis' buffer for an id, the zero at its end included.
const BUFFER_BYTES: usize = 128;

const INVALID: CommandError = CommandError::Plain("ERR Invalid stream ID specified as stream command argument");

/// An id in which `-` is the smallest and `+` the greatest. Without a sequence number it has `missing`.
pub(crate) fn parse(text: &[u8], missing: u64) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::ZERO),
        b"+" => Ok(StreamId::MAX),
        _ => parse_strict(text, missing),
    }
}

/// An id. Without a sequence number it has `missing`.
pub(crate) fn parse_strict(text: &[u8], missing: u64) -> Result<StreamId, CommandError> {
    let (ms, sequence) = parts(text)?;
    let sequence = sequence.map_or(Some(missing), unsigned).ok_or(INVALID)?;
    Ok(StreamId::new(ms, sequence))
}

/// The id of a new entry, other than `*`: the sequence number may be left to be generated.
pub(crate) fn parse_new(text: &[u8]) -> Result<IdRequest, CommandError> {
    let (ms, sequence) = parts(text)?;
    match sequence {
        Some(b"*") => Ok(IdRequest::GeneratedIn(ms)),
        Some(text) => Ok(IdRequest::Given(StreamId::new(ms, unsigned(text).ok_or(INVALID)?))),
        None => Ok(IdRequest::Given(StreamId::new(ms, 0))),
    }
}

/// The first id of an interval.
pub(crate) fn parse_start(text: &[u8]) -> Result<StreamId, CommandError> {
    match exclusive(text) {
        None => parse(text, 0),
        Some(text) => {
            let id = parse_strict(text, 0)?;
            id.next().ok_or(CommandError::Plain("ERR invalid start ID for the interval"))
        }
    }
}

/// The last id of an interval.
pub(crate) fn parse_end(text: &[u8]) -> Result<StreamId, CommandError> {
    match exclusive(text) {
        None => parse(text, u64::MAX),
        Some(text) => {
            let id = parse_strict(text, u64::MAX)?;
            id.previous().ok_or(CommandError::Plain("ERR invalid end ID for the interval"))
        }
    }
}

fn exclusive(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"(").filter(|rest| !rest.is_empty())
}

fn parts(text: &[u8]) -> Result<(u64, Option<&[u8]>), CommandError> {
    if text.len() >= BUFFER_BYTES {
        return Err(INVALID);
    }
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut parts = text.splitn(2, |byte| *byte == b'-');
    let ms = unsigned(parts.next().unwrap_or_default()).ok_or(INVALID)?;
    Ok((ms, parts.next()))
}

/// As `strtoull` reads it, other than that a plain negative number is refused: white space and a sign may stand before the
/// digits.
fn unsigned(text: &[u8]) -> Option<u64> {
    if let Some(integer) = parse_integer(text) {
        return u64::try_from(integer).ok();
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_space(byte))?;
    let (is_negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
    Some(if is_negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        let id = StreamId::new;
        for (text, expected) in [
            ("5", Some(id(5, 7))),
            ("5-3", Some(id(5, 3))),
            ("18446744073709551615-18446744073709551615", Some(StreamId::MAX)),
            ("18446744073709551616", None),
            ("-", None),
            ("+", None),
            ("", None),
            ("5-", None),
            ("-5", None),
            ("5--1", None),
            ("5-*", None),
            ("x", None),
            ("5-x", None),
            ("007-01", Some(id(7, 1))),
            (" 7", Some(id(7, 7))),
            ("+7", Some(id(7, 7))),
        ] {
            assert_eq!(parse_strict(text.as_bytes(), 7).ok(), expected, "{text}");
        }
        assert_eq!(parse(b"-", 0), Ok(StreamId::ZERO));
        assert_eq!(parse(b"+", 0), Ok(StreamId::MAX));
        assert_eq!(parse_new(b"5-*"), Ok(IdRequest::GeneratedIn(5)));
        assert_eq!(parse_new(b"5"), Ok(IdRequest::Given(id(5, 0))));
    }

    #[test]
    fn intervals_may_exclude_their_ends() {
        let id = StreamId::new;
        assert_eq!(parse_start(b"(5-3"), Ok(id(5, 4)));
        assert_eq!(parse_end(b"(5"), Ok(id(5, u64::MAX - 1)));
        assert_eq!(parse_end(b"5"), Ok(id(5, u64::MAX)));
        assert_eq!(parse_end(b"(0-0"), Err(CommandError::Plain("ERR invalid end ID for the interval")));
        assert!(parse_start(b"(+").is_err() && parse_start(b"(").is_err());
        let last = b"(18446744073709551615-18446744073709551615";
        assert_eq!(parse_start(last), Err(CommandError::Plain("ERR invalid start ID for the interval")));
    }
}

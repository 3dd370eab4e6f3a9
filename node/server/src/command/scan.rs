//! What `SCAN`, `HSCAN` and `SSCAN` share: the cursor, MATCH, COUNT and TYPE.
//!
//! Where a cursor points is the keyspace's business; here it is a word that comes and goes.

use super::CommandError;
use super::glob;
use super::members::Names;
use super::number;
use resp::Reply;

/// The options of a scan.
pub(super) struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    /// How many elements to look at, roughly.
    pub(super) count: usize,
    /// The name of the type that is asked for; only `SCAN` has it.
    pub(super) kind: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    /// Reads the options after the cursor.
    pub(super) fn parse(args: &[&'a [u8]], takes_kind: bool) -> Result<Self, CommandError> {
        let mut options = Self { pattern: None, count: COUNT_DEFAULT, kind: None };
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            let &value = rest.next().ok_or(CommandError::Syntax)?;
            if word.eq_ignore_ascii_case(b"count") {
                let count = usize::try_from(number::integer(value)?).unwrap_or(0);
                options.count = Some(count).filter(|&count| count > 0).ok_or(CommandError::Syntax)?;
            } else if word.eq_ignore_ascii_case(b"match") {
                options.pattern = Some(value).filter(|pattern| !glob::matches_everything(pattern));
            } else if takes_kind && word.eq_ignore_ascii_case(b"type") {
                options.kind = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// Whether MATCH lets `name` through.
    pub(super) fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

/// A cursor as `strtoul` reads it: digits, with a sign if need be; nothing at all is zero.
pub(super) fn cursor(text: &[u8]) -> Result<u64, CommandError> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let cursor = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let cursor = cursor.and_then(|digits| if text.is_empty() { Some(0) } else { digits.parse::<u64>().ok() });
    let cursor = cursor.ok_or(CommandError::Plain("ERR invalid cursor"))?;
    Ok(if is_negative { cursor.wrapping_neg() } else { cursor })
}

/// Answers a step of a scan: the next cursor and what was found.
pub(super) fn answer(reply: &mut Reply, next: u64, found: &Names) {
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(found.len());
    found.write_to(reply);
}

/// Elements to look at when COUNT is not given, as in Redis.
const COUNT_DEFAULT: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_unsigned_words() {
        assert_eq!(cursor(b"0").ok(), Some(0));
        assert_eq!(cursor(b"18446744073709551615").ok(), Some(u64::MAX));
        assert_eq!(cursor(b"").ok(), Some(0));
        assert_eq!(cursor(b"-1").ok(), Some(u64::MAX));
        for text in ["x", "1x", " 1", "18446744073709551616", "-", "--1"] {
            assert!(cursor(text.as_bytes()).is_err(), "{text}");
        }
    }
}

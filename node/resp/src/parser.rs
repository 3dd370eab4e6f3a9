//! Requests out of a growing buffer of bytes.
//!
//! The parser keeps its place in an unfinished request, so a request that arrives in many pieces is looked at once and
//! not once for each piece. Arguments are borrowed from the buffer: a pipeline of small requests allocates nothing.

use crate::inline;
use crate::limits::{ARGUMENTS_MAX, INLINE_BYTES_MAX, UNAUTHENTICATED_ARGUMENTS_MAX, UNAUTHENTICATED_BULK_BYTES_MAX};
use crate::number::parse_integer;
use smallvec::SmallVec;
use thiserror::Error;

/// What the peer broke. It gets `ERR` and this text, and the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The count after `*` is not a number in range.
    #[error("Protocol error: invalid multibulk length")]
    InvalidCount,
    /// More arguments than a client may send before it has authenticated.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedCount,
    /// The line with the count does not end.
    #[error("Protocol error: too big mbulk count string")]
    CountLineTooLong,
    /// Something else than a string where an argument should be.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// The length after `$` is not a number in range.
    #[error("Protocol error: invalid bulk length")]
    InvalidLength,
    /// A longer argument than a client may send before it has authenticated.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedLength,
    /// The line with the length does not end.
    #[error("Protocol error: too big bulk count string")]
    LengthLineTooLong,
    /// An inline request does not end.
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// A quote of an inline request is not closed.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

/// What the server allows this client at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest argument, in bytes (`proto-max-bulk-len`).
    pub bulk_bytes_max: i64,
    /// Whether the client has authenticated, or need not.
    pub authenticated: bool,
}

/// How far a look at the buffer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A whole request of this many bytes; its arguments can be asked for until the next call.
    Request(usize),
    /// More bytes are needed, at least this many.
    Incomplete(usize),
}

/// Finds requests in a buffer. One to a connection.
#[derive(Debug, Default)]
pub struct Parser {
    /// Where the arguments of the request lie, from its first byte (or in `unquoted`).
    arguments: SmallVec<[Span; 8]>,
    /// How many bytes of the request are understood.
    position: usize,
    /// What comes next.
    state: State,
    /// The words of an inline request without their quotes.
    unquoted: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// At the first byte of a request.
    #[default]
    Start,
    /// Inside an inline request without its end so far.
    Inline,
    /// Before the length of one of the `missing` arguments.
    Length { missing: i64 },
    /// Inside the bytes of the first of the `missing` arguments.
    Body { missing: i64, length: usize },
    /// A whole request was handed out.
    Complete { inline: bool },
}

/// More spans than this are given back when a request is done, so that one large request does not stay in memory.
const SPANS_KEPT_MAX: usize = 1024;
/// More text of an inline request than this is given back.
const UNQUOTED_KEPT_MAX: usize = 1024;

impl Parser {
    /// A parser at the start of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for a whole request at the start of `input`. The caller passes the same bytes again, with more behind
    /// them, until there is one; then `input` starts after that request.
    #[inline]
    pub fn next(&mut self, input: &[u8], limits: Limits) -> Result<Progress, ProtocolError> {
        if let State::Complete { .. } = self.state {
            self.restart();
        }
        loop {
            match self.state {
                State::Start | State::Complete { .. } => match input.first() {
                    None => return Ok(Progress::Incomplete(1)),
                    Some(b'*') => match self.count(input, limits)? {
                        Some(missing) if missing <= 0 => return Ok(self.complete(false)),
                        Some(missing) => self.state = State::Length { missing },
                        None => return Ok(Progress::Incomplete(1)),
                    },
                    Some(_) => self.state = State::Inline,
                },
                State::Inline => return self.inline(input),
                State::Length { missing } => match self.length(input, limits)? {
                    Some(length) => self.state = State::Body { missing, length },
                    None => return Ok(Progress::Incomplete(1)),
                },
                State::Body { missing, length } => {
                    let after = self.position + length + 2;
                    if input.len() < after {
                        return Ok(Progress::Incomplete(after - input.len()));
                    }
                    self.arguments.push(Span { start: self.position, end: self.position + length });
                    // SUBTLE: the two bytes after an argument are not looked at, as in Redis.
                    self.position = after;
                    if missing == 1 {
                        return Ok(self.complete(false));
                    }
                    self.state = State::Length { missing: missing - 1 };
                }
            }
        }
    }

    /// A whole request at the start of `input` of few and short words, as nearly all are: hands each to `take` and returns
    /// the request's length in bytes. Nothing if it is another one or not all there, which [`Self::next`] says; `take` may
    /// have been called by then.
    #[inline]
    pub fn simple<'i>(&self, input: &'i [u8], limits: Limits, mut take: impl FnMut(&'i [u8])) -> Option<usize> {
        if !self.is_between_requests() || input.first() != Some(&b'*') {
            return None;
        }
        let (count, mut at) = short_number(input, 1)?;
        if !(1..=SIMPLE_WORDS_MAX).contains(&count) || limits.bulk_bytes_max < SIMPLE_WORD_BYTES_MAX {
            return None;
        }
        for _ in 0..count {
            if input.get(at) != Some(&b'$') {
                return None;
            }
            let (length, start) = short_number(input, at + 1)?;
            let end = start + length;
            if end + 2 > input.len() {
                return None;
            }
            take(&input[start..end]);
            at = end + 2;
        }
        Some(at)
    }

    /// The arguments of the request that was just found, if it was no inline request: they borrow from the input alone,
    /// so that more requests can be looked for while they are kept.
    pub fn borrowed_arguments<'p, 'i>(
        &'p self,
        input: &'i [u8],
    ) -> Option<impl ExactSizeIterator<Item = &'i [u8]> + use<'p, 'i>> {
        match self.state {
            State::Complete { inline: true } => None,
            State::Complete { inline: false }
            | State::Start
            | State::Inline
            | State::Length { .. }
            | State::Body { .. } => {
                Some(self.arguments.iter().map(move |span| input.get(span.start..span.end).unwrap_or_default()))
            }
        }
    }

    /// The arguments of the request just found; none for an empty one. `input` is what was given to [`Self::next`].
    #[inline]
    pub fn arguments<'i>(&'i self, input: &'i [u8]) -> impl ExactSizeIterator<Item = &'i [u8]> {
        let text = match self.state {
            State::Complete { inline: true } => self.unquoted.as_slice(),
            State::Complete { inline: false } | State::Start | State::Inline => input,
            State::Length { .. } | State::Body { .. } => input,
        };
        self.arguments.iter().map(move |span| text.get(span.start..span.end).unwrap_or_default())
    }

    /// Whether the parser stands between two requests.
    pub fn is_between_requests(&self) -> bool {
        match self.state {
            State::Start | State::Complete { .. } => true,
            State::Inline | State::Length { .. } | State::Body { .. } => false,
        }
    }

    /// Bytes the parser itself holds for an unfinished request.
    pub fn memory(&self) -> usize {
        let spans = if self.arguments.spilled() { self.arguments.capacity() * size_of::<Span>() } else { 0 };
        spans + self.unquoted.capacity()
    }

    fn restart(&mut self) {
        self.arguments.clear();
        if self.arguments.capacity() > SPANS_KEPT_MAX {
            self.arguments.shrink_to_fit();
        }
        self.unquoted.clear();
        if self.unquoted.capacity() > UNQUOTED_KEPT_MAX {
            self.unquoted = Vec::new();
        }
        self.position = 0;
        self.state = State::Start;
    }

    fn complete(&mut self, inline: bool) -> Progress {
        self.state = State::Complete { inline };
        Progress::Request(self.position)
    }

    /// The count of arguments, if its line is there.
    #[inline]
    fn count(&mut self, input: &[u8], limits: Limits) -> Result<Option<i64>, ProtocolError> {
        let Some(line) = line_at(input, 1, ProtocolError::CountLineTooLong)? else { return Ok(None) };
        let count = small_number(line)
            .or_else(|| parse_integer(line))
            .filter(|count| *count <= ARGUMENTS_MAX)
            .ok_or(ProtocolError::InvalidCount)?;
        if count > UNAUTHENTICATED_ARGUMENTS_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedCount);
        }
        self.position = 1 + line.len() + 2;
        Ok(Some(count))
    }

    /// The length of the next argument, if its line is there.
    #[inline]
    fn length(&mut self, input: &[u8], limits: Limits) -> Result<Option<usize>, ProtocolError> {
        // Redis waits for the whole line before it looks at the first byte; so a wrong byte is refused only then.
        let Some(line) = line_at(input, self.position, ProtocolError::LengthLineTooLong)? else { return Ok(None) };
        let digits = match line {
            [b'$', digits @ ..] => digits,
            [other, ..] => return Err(ProtocolError::ExpectedBulk(*other)),
            [] => return Err(ProtocolError::ExpectedBulk(b'\r')),
        };
        let length = small_number(digits)
            .or_else(|| parse_integer(digits))
            .filter(|length| (0..=limits.bulk_bytes_max).contains(length))
            .ok_or(ProtocolError::InvalidLength)?;
        if length > UNAUTHENTICATED_BULK_BYTES_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedLength);
        }
        self.position += line.len() + 2;
        usize::try_from(length).map(Some).map_err(|_| ProtocolError::InvalidLength)
    }

    #[cold]
    fn inline(&mut self, input: &[u8]) -> Result<Progress, ProtocolError> {
        let visible = &input[..input.len().min(INLINE_BYTES_MAX + 1)];
        let unseen = visible.get(self.position..).unwrap_or_default();
        let Some(end) = unseen.iter().position(|byte| *byte == b'\n') else {
            self.position = visible.len();
            if input.len() > INLINE_BYTES_MAX {
                return Err(ProtocolError::InlineTooLong);
            }
            return Ok(Progress::Incomplete(1));
        };
        let end = self.position + end;
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        let (arguments, mut start) = (&mut self.arguments, 0);
        let balanced = inline::split(line, &mut self.unquoted, |end| {
            arguments.push(Span { start, end });
            start = end;
        });
        if !balanced {
            return Err(ProtocolError::UnbalancedQuotes);
        }
        self.position = end + 1;
        Ok(self.complete(true))
    }
}

/// The line that starts at `start`, without its end, if its end is there. Only the carriage return is looked for; the
/// byte after it must have arrived but may be anything, as in Redis.
#[inline]
fn line_at(input: &[u8], start: usize, too_long: ProtocolError) -> Result<Option<&[u8]>, ProtocolError> {
    let rest = input.get(start..).unwrap_or_default();
    let visible = &rest[..rest.len().min(INLINE_BYTES_MAX)];
    match visible.iter().position(|byte| *byte == b'\r') {
        Some(end) if end + 1 < rest.len() => Ok(Some(&rest[..end])),
        Some(_) => Ok(None),
        None if rest.len() > INLINE_BYTES_MAX => Err(too_long),
        None => Ok(None),
    }
}

/// How many words [`Parser::simple`] takes: fewer than may come from who has not authenticated.
const SIMPLE_WORDS_MAX: usize = 9;
/// Bytes above all words that [`Parser::simple`] takes, four digits' worth.
const SIMPLE_WORD_BYTES_MAX: i64 = 10_000;
const _: () = assert!((SIMPLE_WORDS_MAX as i64) <= UNAUTHENTICATED_ARGUMENTS_MAX);
const _: () = assert!(SIMPLE_WORD_BYTES_MAX <= UNAUTHENTICATED_BULK_BYTES_MAX);

/// A line of one to four digits at `at`, and where the next one begins. The byte after the carriage return may be
/// anything, as in Redis.
#[inline]
fn short_number(input: &[u8], at: usize) -> Option<(usize, usize)> {
    let digit = |byte: u8| usize::from(byte - b'0');
    // Shorter only in a request that ends with an empty word.
    match *input.get(at..)?.first_chunk::<6>()? {
        [a @ b'0'..=b'9', b'\r', ..] => Some((digit(a), at + 3)),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', ..] => Some((digit(a) * 10 + digit(b), at + 4)),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', ..] => {
            Some((digit(a) * 100 + digit(b) * 10 + digit(c), at + 5))
        }
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', d @ b'0'..=b'9', b'\r', _] => {
            Some((digit(a) * 1000 + digit(b) * 100 + digit(c) * 10 + digit(d), at + 6))
        }
        _ => None,
    }
}

/// The numbers nearly all requests are made of, without the general reader.
#[inline]
fn small_number(digits: &[u8]) -> Option<i64> {
    match digits {
        [ones @ b'0'..=b'9'] => Some(i64::from(ones - b'0')),
        [tens @ b'1'..=b'9', ones @ b'0'..=b'9'] => Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0')),
        _ => None,
    }
}

#[cfg(test)]
#[path = "parser/tests.rs"]
mod tests;

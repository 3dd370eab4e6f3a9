//! Replies of a node, as a client reads them: the Redis protocol's version 2, from any reader.
//!
//! Only for the command line. Replies come from a node that the operator chose, still every length is bounded.

use std::io::{self, BufRead, ErrorKind, Read};

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A status or a text.
    Text(Vec<u8>),
    /// An error with its code.
    Error(String),
    /// A number.
    Integer(i64),
    /// Nothing.
    Null,
    /// Several replies.
    List(Vec<Reply>),
}

impl Reply {
    /// Reads one reply. `InvalidData` means that it is none.
    pub fn read(source: &mut impl BufRead) -> io::Result<Self> {
        Self::read_within(source, DEPTH_MAX)
    }

    fn read_within(source: &mut impl BufRead, depth: usize) -> io::Result<Self> {
        let line = read_line(source)?;
        let Some((kind, rest)) = line.split_first() else { return Err(not_a_reply()) };
        Ok(match kind {
            b'+' => Self::Text(rest.to_vec()),
            b'-' => Self::Error(String::from_utf8_lossy(rest).into_owned()),
            b':' => Self::Integer(number(rest)?),
            b'$' => match length(rest, TEXT_BYTES_MAX)? {
                None => Self::Null,
                Some(bytes) => Self::Text(read_text(source, bytes)?),
            },
            b'*' => match length(rest, LIST_LENGTH_MAX)? {
                None => Self::Null,
                Some(_) if depth == 0 => return Err(not_a_reply()),
                Some(count) => {
                    // Not reserved: the length is only a claim so far.
                    let mut list = Vec::new();
                    for _ in 0..count {
                        list.push(Self::read_within(source, depth - 1)?);
                    }
                    Self::List(list)
                }
            },
            _ => return Err(not_a_reply()),
        })
    }

    /// The text of a reply that is one.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            Self::Error(_) | Self::Integer(_) | Self::Null | Self::List(_) => None,
        }
    }
}

/// Appends a request. It allocates nothing but the room for it.
pub fn write_request(out: &mut Vec<u8>, words: &[&[u8]]) {
    header(out, b'*', words.len());
    for word in words {
        header(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(END);
    }
}

fn header(out: &mut Vec<u8>, kind: u8, count: usize) {
    out.push(kind);
    resp::write_integer(out, count as i64);
    out.extend_from_slice(END);
}

fn read_line(source: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        let available = match source.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(available.len(), |end| end + 1);
        line.extend_from_slice(&available[..taken]);
        source.consume(taken);
        if line.len() > LINE_BYTES_MAX {
            return Err(not_a_reply());
        }
        if end.is_some() {
            return line.strip_suffix(b"\r\n").map(<[u8]>::to_vec).ok_or_else(not_a_reply);
        }
    }
}

fn read_text(source: &mut impl BufRead, bytes: usize) -> io::Result<Vec<u8>> {
    // Not reserved either, and the two bytes that end a text come with it.
    let wanted = bytes + END.len();
    let mut text = Vec::new();
    source.take(wanted as u64).read_to_end(&mut text)?;
    if text.len() < wanted {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if !text.ends_with(END) {
        return Err(not_a_reply());
    }
    text.truncate(bytes);
    Ok(text)
}

fn number(digits: &[u8]) -> io::Result<i64> {
    resp::parse_integer(digits).ok_or_else(not_a_reply)
}

/// A length, or nothing for -1.
fn length(digits: &[u8], most: usize) -> io::Result<Option<usize>> {
    match number(digits)? {
        -1 => Ok(None),
        length => usize::try_from(length).ok().filter(|length| *length <= most).map(Some).ok_or_else(not_a_reply),
    }
}

fn not_a_reply() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "not a reply of the Redis protocol")
}

/// What ends every line and every text.
const END: &[u8] = b"\r\n";
/// The longest status or error: ours end at some hundred bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The longest text: a status of a thousand members has less than a megabyte.
const TEXT_BYTES_MAX: usize = 512 << 20;
const LIST_LENGTH_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> io::Result<Reply> {
        Reply::read(&mut bytes)
    }

    #[test]
    fn every_kind_of_reply_is_read() {
        let text = |text: &str| Reply::Text(text.as_bytes().to_vec());
        let cases: [(&[u8], Reply); 7] = [
            (b"+OK\r\n", text("OK")),
            (b"-ERR no\r\n", Reply::Error("ERR no".to_owned())),
            (b":-7\r\n", Reply::Integer(-7)),
            (b"$4\r\na\r\nb\r\n", text("a\r\nb")),
            (b"$-1\r\n", Reply::Null),
            (b"*-1\r\n", Reply::Null),
            (b"*2\r\n$1\r\nx\r\n*1\r\n:1\r\n", Reply::List(vec![text("x"), Reply::List(vec![Reply::Integer(1)])])),
        ];
        for (bytes, reply) in cases {
            assert_eq!(read(bytes).unwrap(), reply);
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error_and_never_a_panic() {
        let hostile: [&[u8]; 9] = [
            b"",
            b"\r\n",
            b"HTTP/1.1 400\r\n",
            b":x\r\n",
            b"$5\r\nab\r\n",
            b"$2\r\nabcd",
            b"$-2\r\n",
            b"+OK\n",
            b"*9\r\n",
        ];
        for bytes in hostile {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
        assert!(read(&b"*1\r\n".repeat(100)).is_err());
    }
}

//! Replies as a client reads them, RESP2 and RESP3.

use std::fmt;
use std::io::{self, BufRead, Error, ErrorKind, Read};

/// A reply, with everything told apart that the protocol tells apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// `+`
    Simple(String),
    /// `-`
    Error(String),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` and `_`: the byte it began with.
    Null(char),
    /// `*`
    Array(Vec<Reply>),
    /// `%`, names and values in turn
    Map(Vec<Reply>),
    /// `~`
    Set(Vec<Reply>),
    /// `>`
    Push(Vec<Reply>),
    /// `,`
    Double(String),
    /// `#`
    Boolean(bool),
    /// `(`
    BigNumber(String),
    /// `=`, with its three letters
    Verbatim(Vec<u8>),
}

impl Reply {
    /// Reads one.
    pub fn read(stream: &mut impl BufRead) -> io::Result<Self> {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\r\n") {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        line.truncate(line.len() - 2);
        let (&kind, rest) = line.split_first().ok_or_else(|| wrong("an empty line"))?;
        let text = String::from_utf8_lossy(rest).into_owned();
        let number = || text.parse::<i64>().map_err(|_| wrong(&format!("{}{text}", char::from(kind))));
        Ok(match kind {
            b'+' => Self::Simple(text),
            b'-' => Self::Error(text),
            b':' => Self::Integer(number()?),
            b'_' => Self::Null('_'),
            b',' => Self::Double(text),
            b'(' => Self::BigNumber(text),
            b'#' => Self::Boolean(text == "t"),
            b'$' | b'*' if number()? < 0 => Self::Null(char::from(kind)),
            b'$' => Self::Bulk(bytes(stream, number()?)?),
            b'=' => Self::Verbatim(bytes(stream, number()?)?),
            b'*' => Self::Array(several(stream, number()?)?),
            b'~' => Self::Set(several(stream, number()?)?),
            b'>' => Self::Push(several(stream, number()?)?),
            b'%' => Self::Map(several(stream, number()? * 2)?),
            _ => return Err(wrong(&String::from_utf8_lossy(&line))),
        })
    }

    /// The text of a status, a bulk or a verbatim text.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Simple(text) => Some(text.clone()),
            Self::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Verbatim(bytes) => Some(String::from_utf8_lossy(bytes.get(4..)?).into_owned()),
            Self::Error(_) | Self::Integer(_) | Self::Null(_) | Self::Array(_) | Self::Map(_) | Self::Set(_) => None,
            Self::Push(_) | Self::Double(_) | Self::Boolean(_) | Self::BigNumber(_) => None,
        }
    }

    /// The number of an integer reply.
    pub fn integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    /// What is in an aggregate; nothing for others.
    pub fn elements(&self) -> &[Reply] {
        match self {
            Self::Array(elements) | Self::Map(elements) | Self::Set(elements) | Self::Push(elements) => elements,
            Self::Simple(_) | Self::Error(_) | Self::Integer(_) | Self::Bulk(_) | Self::Null(_) => &[],
            Self::Double(_) | Self::Boolean(_) | Self::BigNumber(_) | Self::Verbatim(_) => &[],
        }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not a reply: {what}"))
}

fn bytes(stream: &mut impl Read, length: i64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(|_| wrong("a negative length"))?;
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn several(stream: &mut impl BufRead, count: i64) -> io::Result<Vec<Reply>> {
    (0..count).map(|_| Reply::read(stream)).collect()
}

/// As `redis-cli` would show it on one line, so that tables of expectations can be read.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, open: &str, elements: &[Reply], close: &str| {
            let elements: Vec<String> = elements.iter().map(Reply::to_string).collect();
            write!(f, "{open}{}{close}", elements.join(" "))
        };
        match self {
            Self::Simple(text) | Self::Double(text) | Self::BigNumber(text) => f.write_str(text),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bulk(bytes) | Self::Verbatim(bytes) => match bytes.is_empty() {
                true => f.write_str("\"\""),
                false => write!(f, "{}", bytes.escape_ascii()),
            },
            Self::Null(_) => f.write_str("nil"),
            Self::Boolean(truth) => write!(f, "{truth}"),
            Self::Array(elements) => list(f, "[", elements, "]"),
            Self::Map(elements) => list(f, "%[", elements, "]"),
            Self::Set(elements) => list(f, "~[", elements, "]"),
            Self::Push(elements) => list(f, ">[", elements, "]"),
        }
    }
}

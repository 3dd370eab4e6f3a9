//! Replies as a client reads them (RESP2), and requests as one writes them.

use std::fmt;

/// One reply.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A status.
    Simple(String),
    /// A refusal.
    Error(String),
    /// A whole number.
    Integer(i64),
    /// A byte string.
    Bulk(String),
    /// Nothing.
    Null,
    /// Several.
    Array(Vec<Value>),
}

impl Value {
    /// `OK`.
    pub fn ok() -> Self {
        Self::Simple("OK".to_owned())
    }

    /// A byte string, or nothing.
    pub fn bulk(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Bulk)
    }

    /// A byte string as text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Bulk(text) => Some(text),
            Self::Simple(_) | Self::Error(_) | Self::Integer(_) | Self::Null | Self::Array(_) => None,
        }
    }

    /// The elements, if it is several.
    pub fn elements(&self) -> &[Value] {
        match self {
            Self::Array(elements) => elements,
            Self::Simple(_) | Self::Error(_) | Self::Integer(_) | Self::Bulk(_) | Self::Null => &[],
        }
    }

    /// The reply at the start of `bytes` and how long it is; nothing while it is not complete.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let line = String::from_utf8_lossy(bytes.get(1..end)?).into_owned();
        let after = end + 2;
        match bytes.first()? {
            b'+' => Some((Self::Simple(line), after)),
            b'-' => Some((Self::Error(line), after)),
            b':' => Some((Self::Integer(line.parse().ok()?), after)),
            b'$' => match usize::try_from(line.parse::<i64>().ok()?) {
                Err(_) => Some((Self::Null, after)),
                Ok(length) => {
                    let body = bytes.get(after..after + length + 2)?;
                    Some((Self::Bulk(String::from_utf8_lossy(&body[..length]).into_owned()), after + length + 2))
                }
            },
            b'*' => match usize::try_from(line.parse::<i64>().ok()?) {
                Err(_) => Some((Self::Null, after)),
                Ok(count) => {
                    let mut at = after;
                    let mut values = Vec::new();
                    for _ in 0..count {
                        let (value, length) = Self::parse(bytes.get(at..)?)?;
                        values.push(value);
                        at += length;
                    }
                    Some((Self::Array(values), at))
                }
            },
            _ => None,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(text) => f.write_str(text),
            Self::Error(text) => write!(f, "(error) {text}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Bulk(text) => write!(f, "{text:?}"),
            Self::Null => f.write_str("(nil)"),
            Self::Array(values) => f.debug_list().entries(values).finish(),
        }
    }
}

/// A request as it travels.
pub fn request(args: &[String]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n{arg}\r\n", arg.len()).as_bytes());
    }
    bytes
}

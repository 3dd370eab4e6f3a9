//! Replies as a client reads them, with the types of RESP3.

use std::fmt;
use std::io::{self, BufRead};

/// One reply.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    /// As it was written.
    Double(String),
    Boolean(bool),
    /// With the three letters of its format and a colon before it.
    Verbatim(Vec<u8>),
    Null,
    NullArray,
    Array(Vec<Answer>),
    Set(Vec<Answer>),
    /// Keys and values in turn.
    Map(Vec<Answer>),
}

impl Answer {
    /// Reads one reply.
    pub fn read(input: &mut impl BufRead) -> io::Result<Answer> {
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line).into_owned();
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("not a reply: {text:?}"));
        let text = text.strip_suffix("\r\n").ok_or_else(invalid)?;
        let (kind, rest) = text.split_at_checked(1).ok_or_else(invalid)?;
        let length = || rest.parse::<i64>().map_err(|_| invalid());
        Ok(match kind {
            "+" => Answer::Simple(rest.to_owned()),
            "-" => Answer::Error(rest.to_owned()),
            ":" => Answer::Integer(length()?),
            "_" => Answer::Null,
            "," => Answer::Double(rest.to_owned()),
            // A number of any size.
            "(" => Answer::Simple(format!("({rest}")),
            "#" => Answer::Boolean(rest == "t"),
            "$" if length()? < 0 => Answer::Null,
            "*" if length()? < 0 => Answer::NullArray,
            "$" => Answer::Bulk(Self::read_bytes(input, length()?)?),
            "=" => Answer::Verbatim(Self::read_bytes(input, length()?)?),
            "*" => Answer::Array(Self::read_many(input, length()?)?),
            // What is told without being asked is compared by what it holds.
            ">" => Answer::Array(Self::read_many(input, length()?)?),
            "~" => Answer::Set(Self::read_many(input, length()?)?),
            "%" => Answer::Map(Self::read_many(input, length()? * 2)?),
            _ => return Err(invalid()),
        })
    }

    fn read_bytes(input: &mut impl BufRead, length: i64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize + 2];
        input.read_exact(&mut bytes)?;
        bytes.truncate(bytes.len() - 2);
        Ok(bytes)
    }

    fn read_many(input: &mut impl BufRead, count: i64) -> io::Result<Vec<Answer>> {
        (0..count).map(|_| Self::read(input)).collect()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |f: &mut fmt::Formatter<'_>, open: &str, answers: &[Answer]| {
            let texts: Vec<String> = answers.iter().map(Answer::to_string).collect();
            write!(f, "{open}{}]", texts.join(" "))
        };
        match self {
            Answer::Simple(text) => write!(f, "+{text}"),
            Answer::Error(text) => write!(f, "-{text}"),
            Answer::Integer(value) => write!(f, ":{value}"),
            Answer::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Answer::Double(text) => write!(f, ",{text}"),
            Answer::Boolean(value) => write!(f, "#{}", if *value { "t" } else { "f" }),
            Answer::Verbatim(bytes) => write!(f, "text\"{}\"", bytes.escape_ascii()),
            Answer::Null => f.write_str("nil"),
            Answer::NullArray => f.write_str("nil-array"),
            Answer::Array(answers) => many(f, "[", answers),
            Answer::Set(answers) => many(f, "set[", answers),
            Answer::Map(answers) => many(f, "map[", answers),
        }
    }
}

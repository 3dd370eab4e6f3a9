//! The keys of a server page by page, each with its payload and its deadline: `SCAN`, then `DUMP` and `PTTL` in one
//! pipeline.

use super::lanes::select;
use super::loader::now;
use crate::failure::{Failure, Result};
use crate::reply::write_request;
use crate::wire::{Answer, Wire};
use rdb::Texts;

/// Goes through the keys of one database.
pub struct Pages {
    cursor: Option<Vec<u8>>,
    pattern: Option<&'static [u8]>,
    keys: Texts,
    requests: Vec<u8>,
}

/// What a server said of one key.
#[derive(Debug)]
pub enum Told<'w> {
    /// Its payload.
    Payload(&'w [u8]),
    /// It is not there (any more).
    Gone,
    /// The server does not dump it, in its words.
    Refused(&'w [u8]),
}

impl Pages {
    /// Goes to a database and begins.
    pub fn new(wire: &mut Wire, database: u32) -> Result<Self> {
        select(wire, database)?;
        Ok(Self { cursor: Some(b"0".to_vec()), pattern: None, keys: Texts::new(), requests: Vec::new() })
    }

    /// As [`Pages::new`], only those whose names are like this.
    pub fn matching(wire: &mut Wire, database: u32, pattern: &'static [u8]) -> Result<Self> {
        Ok(Self { pattern: Some(pattern), ..Self::new(wire, database)? })
    }

    /// The next page; nothing at the end. A page may be empty.
    pub fn next(&mut self, wire: &mut Wire) -> Result<Option<&Texts>> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        self.requests.clear();
        match self.pattern {
            None => write_request(&mut self.requests, &[b"SCAN", &cursor, b"COUNT", PAGE_KEYS]),
            Some(pattern) => {
                write_request(&mut self.requests, &[b"SCAN", &cursor, b"COUNT", PAGE_KEYS, b"MATCH", pattern]);
            }
        }
        wire.send(&self.requests)?;
        self.keys.clear();
        header(wire, Some(2))?;
        let next = match wire.next()? {
            Answer::Text(cursor) => (cursor != b"0").then(|| cursor.to_vec()),
            _ => return Err(not_understood(wire)),
        };
        for _ in 0..header(wire, None)? {
            match wire.next()? {
                Answer::Text(key) => self.keys.push(key),
                _ => return Err(not_understood(wire)),
            }
        }
        self.cursor = next;
        Ok(Some(&self.keys))
    }
}

/// Asks a server for these keys, which are in the database it is in. `each` gets the index of the key, what it holds, and
/// its deadline in Unix milliseconds.
pub fn ask<'k>(
    wire: &mut Wire,
    keys: impl ExactSizeIterator<Item = &'k [u8]>,
    knows_deadlines: bool,
    mut each: impl FnMut(usize, Told<'_>, Option<u64>) -> Result<()>,
) -> Result<()> {
    let (count, mut requests) = (keys.len(), Vec::new());
    // The deadline first: its answer is a number, which can be kept while the payload is looked at where it lies.
    let time: &[u8] = if knows_deadlines { b"PEXPIRETIME" } else { b"PTTL" };
    for key in keys {
        write_request(&mut requests, &[time, key]);
        write_request(&mut requests, &[b"DUMP", key]);
    }
    wire.send(&requests)?;
    for index in 0..count {
        let time = match wire.next()? {
            Answer::Integer(time) => u64::try_from(time).ok(),
            _ => return Err(not_understood(wire)),
        };
        let deadline = if knows_deadlines { time } else { time.map(|time| now() + time) };
        match wire.next()? {
            Answer::Text(payload) => each(index, Told::Payload(payload), deadline)?,
            Answer::Null => each(index, Told::Gone, None)?,
            Answer::Error(text) => each(index, Told::Refused(text), deadline)?,
            Answer::Status(_) | Answer::Integer(_) | Answer::List(_) => return Err(not_understood(wire)),
        }
    }
    Ok(())
}

/// Whether a server tells deadlines as such, as Redis does from 7.0 on.
pub fn knows_deadlines(wire: &mut Wire) -> Result<bool> {
    use crate::reply::Reply;
    Ok(matches!(wire.try_call(&[b"PEXPIRETIME", b""])?, Reply::Integer(_)))
}

fn header(wire: &mut Wire, expected: Option<usize>) -> Result<usize> {
    let refusal = match wire.next()? {
        Answer::List(count) if expected.is_none_or(|expected| expected == count) => return Ok(count),
        Answer::Error(text) => String::from_utf8_lossy(text).into_owned(),
        Answer::List(_) | Answer::Status(_) | Answer::Integer(_) | Answer::Text(_) | Answer::Null => {
            return Err(not_understood(wire));
        }
    };
    Err(Failure::Refused { address: wire.address().to_owned(), text: refusal })
}

fn not_understood(wire: &Wire) -> Failure {
    Failure::Protocol { address: wire.address().to_owned() }
}

/// Keys of a page, roughly.
const PAGE_KEYS: &[u8] = b"512";

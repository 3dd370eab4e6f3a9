//! The keys of a server page by page, each with its payload and its deadline: `SCAN`, then `DUMP` and `PTTL` in one
//! pipeline.

use super::lanes::select;
use super::loader::{now, unreadable, value_of};
use crate::failure::{Failure, Result};
use crate::wire::{Answer, Wire};
use rdb::payload::Payload;
use rdb::{Entry, Kind, Object, Texts};
use resp::write_request;
use std::collections::BTreeSet;

/// Goes through the keys of one database.
pub struct Pages {
    /// The database, and the key that was told last.
    entry: Entry,
    cursor: Option<Vec<u8>>,
    filter: Option<[&'static [u8]; 2]>,
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
        let (entry, cursor) = (Entry { database, ..Entry::default() }, Some(b"0".to_vec()));
        Ok(Self { entry, cursor, filter: None, keys: Texts::new(), requests: Vec::new() })
    }

    /// As [`Pages::new`], only those whose names are like this.
    pub fn matching(wire: &mut Wire, database: u32, pattern: &'static [u8]) -> Result<Self> {
        Ok(Self { filter: Some([b"MATCH", pattern]), ..Self::new(wire, database)? })
    }

    /// As [`Pages::new`], only those of this type.
    pub fn of_kind(wire: &mut Wire, database: u32, kind: &'static [u8]) -> Result<Self> {
        Ok(Self { filter: Some([b"TYPE", kind]), ..Self::new(wire, database)? })
    }

    /// The next page; nothing at the end. A page may be empty.
    pub fn next(&mut self, wire: &mut Wire) -> Result<Option<&Texts>> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        self.requests.clear();
        match self.filter {
            None => write_request(&mut self.requests, &[b"SCAN", &cursor, b"COUNT", PAGE_KEYS]),
            Some([option, value]) => {
                write_request(&mut self.requests, &[b"SCAN", &cursor, b"COUNT", PAGE_KEYS, option, value]);
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

    /// The next page with values: `each` gets those of its keys that are (still) there with their kind, and without the value
    /// if the kind is none of `held`. How many keys the page has; nothing at the end. A value that the server does not dump, or that is not understood, is a failure.
    pub fn each_entry(
        &mut self,
        wire: &mut Wire,
        knows_deadlines: bool,
        held: &BTreeSet<Kind>,
        mut each: impl FnMut(&Entry, Kind) -> Result<()>,
    ) -> Result<Option<usize>> {
        let mut entry = std::mem::take(&mut self.entry);
        let address = wire.address().to_owned();
        let Some(page) = self.next(wire)? else { return Ok(None) };
        ask(wire, page.iter(), knows_deadlines, |index, told, deadline| {
            entry.key.clear();
            entry.key.extend_from_slice(page.get(index).unwrap_or_default());
            entry.deadline = deadline;
            let kind = match told {
                Told::Gone => return Ok(()),
                Told::Refused(text) => {
                    return Err(Failure::refused(&address, &String::from_utf8_lossy(text)));
                }
                Told::Payload(payload) => {
                    let what = || format!("the value of {}", entry.key.escape_ascii());
                    let kind = Payload::verify(payload).and_then(Payload::kind);
                    let kind = kind.map_err(|error| unreadable(&what(), 0, error))?;
                    let object = if held.contains(&kind) { value_of(payload) } else { Ok(Object::default()) };
                    entry.object = object.map_err(|error| unreadable(&what(), 0, error))?;
                    kind
                }
            };
            each(&entry, kind)
        })?;
        let keys = page.len();
        self.entry = entry;
        Ok(Some(keys))
    }
}

/// Asks a server for these keys, which are in the database it is in, [`KEYS_AT_ONCE`] at a time. `each` gets the index of
/// the key, what it holds, and its deadline in Unix milliseconds.
pub fn ask<'k>(
    wire: &mut Wire,
    mut keys: impl ExactSizeIterator<Item = &'k [u8]>,
    knows_deadlines: bool,
    mut each: impl FnMut(usize, Told<'_>, Option<u64>) -> Result<()>,
) -> Result<()> {
    let (mut requests, mut asked) = (Vec::new(), 0);
    // The deadline first: its answer is a number, which can be kept while the payload is looked at where it lies.
    let time: &[u8] = if knows_deadlines { b"PEXPIRETIME" } else { b"PTTL" };
    while keys.len() > 0 {
        requests.clear();
        let begin = asked;
        for key in keys.by_ref().take(KEYS_AT_ONCE) {
            write_request(&mut requests, &[time, key]);
            write_request(&mut requests, &[b"DUMP", key]);
            asked += 1;
        }
        wire.send(&requests)?;
        hear(wire, begin..asked, knows_deadlines, &mut each)?;
    }
    Ok(())
}

/// The answers for these keys.
fn hear(
    wire: &mut Wire,
    asked: std::ops::Range<usize>,
    knows_deadlines: bool,
    each: &mut impl FnMut(usize, Told<'_>, Option<u64>) -> Result<()>,
) -> Result<()> {
    for index in asked {
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

/// The deadlines of these keys of the database that a server is in, in Unix milliseconds.
pub fn deadlines<'k>(wire: &mut Wire, keys: impl Iterator<Item = &'k [u8]>) -> Result<Vec<Option<u64>>> {
    let (mut requests, mut asked) = (Vec::new(), 0);
    for key in keys {
        write_request(&mut requests, &[b"PEXPIRETIME", key]);
        asked += 1;
    }
    wire.send(&requests)?;
    let mut deadlines = Vec::with_capacity(asked);
    for _ in 0..asked {
        deadlines.push(match wire.next()? {
            Answer::Integer(deadline) => u64::try_from(deadline).ok(),
            _ => return Err(not_understood(wire)),
        });
    }
    Ok(deadlines)
}

/// Whether a server tells deadlines as such, as Redis does from 7.0 on.
pub fn knows_deadlines(wire: &mut Wire) -> Result<bool> {
    use crate::reply::Reply;
    Ok(matches!(wire.try_call(&[b"PEXPIRETIME", b""])?, Reply::Integer(_)))
}

fn header(wire: &mut Wire, expected: Option<usize>) -> Result<usize> {
    let text = match wire.next()? {
        Answer::List(count) if expected.is_none_or(|expected| expected == count) => return Ok(count),
        Answer::Error(text) => String::from_utf8_lossy(text).into_owned(),
        Answer::List(_) | Answer::Status(_) | Answer::Integer(_) | Answer::Text(_) | Answer::Null => {
            return Err(not_understood(wire));
        }
    };
    Err(Failure::refused(wire.address(), &text))
}

fn not_understood(wire: &Wire) -> Failure {
    Failure::Protocol { address: wire.address().to_owned() }
}

/// Keys of a page, roughly.
const PAGE_KEYS: &[u8] = b"512";
/// Keys whose values a server is asked for at once: it holds all its answers until they are taken, however large.
pub const KEYS_AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_server_is_asked_for_few_values_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let (mut received, mut most) = (Vec::new(), 0);
            loop {
                let mut more = [0; 1 << 16];
                match stream.read(&mut more).unwrap() {
                    0 => return most,
                    count => received.extend_from_slice(&more[..count]),
                }
                let asked = received.windows(4).filter(|word| word == b"DUMP").count();
                most = most.max(asked);
                if received.ends_with(b"z\r\n") {
                    stream.write_all(&b":-1\r\n$-1\r\n".repeat(asked)).unwrap();
                    received.clear();
                }
            }
        });
        let mut wire = Wire::connect(&address, None, None).unwrap();
        let keys: Texts = std::iter::repeat_n(&b"z"[..], 512).collect();
        let mut indices = Vec::new();
        let mut each = |index, _: Told<'_>, _: Option<u64>| {
            indices.push(index);
            Ok(())
        };
        ask(&mut wire, keys.iter(), true, &mut each).unwrap();
        drop(wire);
        assert_eq!(indices, (0..512).collect::<Vec<_>>());
        assert!(serving.join().unwrap() <= KEYS_AT_ONCE);
    }
}

//! A replica's half of Redis' replication: the handshake, what comes with a full copy, and acknowledgements.

use super::address::Source;
use super::lanes::lock;
use crate::failure::{Failure, Result};
use resp::write_request;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A place in the source's stream of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which stream.
    pub history: String,
    /// Bytes of it that were taken.
    pub offset: u64,
    /// The database it is in there.
    pub database: u32,
    /// The node that notes it; empty if it is none of Pelago.
    pub writer: String,
}

impl Place {
    /// As it is noted at the target.
    pub fn text(&self) -> String {
        format!("{} {} {} {}", self.history, self.offset, self.database, self.writer).trim_end().to_owned()
    }

    /// From a note.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (history, offset, database) = (words.next()?, words.next()?, words.next()?);
        let is_history = history.len() == 40 && history.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (offset, database) = (offset.parse().ok()?, database.parse().ok()?);
        let writer = words.next().unwrap_or_default().to_owned();
        let place = Self { history: history.to_owned(), offset, database, writer };
        is_history.then_some(place)
    }
}

/// How a full copy ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// After so many bytes.
    Length(u64),
    /// With these forty bytes.
    Mark(Vec<u8>),
}

/// What the source offers.
pub enum Start {
    /// A full copy, and its stream from this place on.
    Full(Link, Ending),
    /// Its stream from the place that was asked for.
    Continued(Link),
    /// Nothing: it does not let us be a replica, in its words.
    Refused(String),
}

/// A link on which the source sends.
pub struct Link {
    /// Where it sends.
    pub stream: TcpStream,
    /// What was received and not looked at.
    pub received: Vec<u8>,
    /// Where its stream is.
    pub place: Place,
}

/// Asks the source to send everything, or what follows a place. Places are noted by `writer` from here on.
pub fn begin(source: &Source, after: Option<&Place>, writer: &str) -> Result<Start> {
    let mut wire = source.connect()?;
    for words in [&[&b"PING"[..]][..], &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]] {
        let mut request = Vec::new();
        write_request(&mut request, words);
        wire.send(&request)?;
        let answer = wire.line()?;
        // Old servers know fewer options, which does no harm; who does not know the word will refuse the next as well.
        if answer.starts_with(b"-NOAUTH") {
            return Err(Failure::Password { address: source.address.clone() });
        }
    }
    let (history, offset) = match after {
        Some(place) => (place.history.clone(), (place.offset + 1).to_string()),
        None => ("?".to_owned(), "-1".to_owned()),
    };
    let mut request = Vec::new();
    write_request(&mut request, &[b"PSYNC", history.as_bytes(), offset.as_bytes()]);
    wire.send(&request)?;
    let answer = filled_line(|| wire.line())?;
    let mut words = answer.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("+FULLRESYNC"), Some(history), Some(offset)) => {
            let offset = offset.parse().map_err(|_| Failure::Protocol { address: source.address.clone() })?;
            let place = Place { history: history.to_owned(), offset, database: 0, writer: writer.to_owned() };
            let header = filled_line(|| wire.line())?;
            let ending = ending(&header).ok_or_else(|| Failure::Refused {
                address: source.address.clone(),
                text: format!("{header:?} instead of a full copy"),
            })?;
            let (stream, received) = wire.into_parts()?;
            Ok(Start::Full(Link { stream, received, place }, ending))
        }
        (Some("+CONTINUE"), history, _) => {
            let before = after.ok_or_else(|| Failure::Protocol { address: source.address.clone() })?;
            let history = history.map_or_else(|| before.history.clone(), str::to_owned);
            let (stream, received) = wire.into_parts()?;
            Ok(Start::Continued(Link {
                stream,
                received,
                place: Place { history, writer: writer.to_owned(), ..before.clone() },
            }))
        }
        _ if answer.starts_with("-LOADING") || answer.starts_with("-NOMASTERLINK") => {
            Err(Failure::Refused { address: source.address.clone(), text: answer })
        }
        _ => Ok(Start::Refused(answer.trim_start_matches('-').to_owned())),
    }
}

/// The next line with something in it: while the source prepares, it sends empty ones.
fn filled_line(mut line: impl FnMut() -> Result<Vec<u8>>) -> Result<String> {
    loop {
        let line = line()?;
        if !line.is_empty() {
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

fn ending(header: &str) -> Option<Ending> {
    let text = header.strip_prefix('$')?;
    match text.strip_prefix("EOF:") {
        Some(mark) => (mark.len() == 40).then(|| Ending::Mark(mark.as_bytes().to_vec())),
        None => text.parse().ok().map(Ending::Length),
    }
}

/// Tells the source once a second that we are there and how far we came, whatever else is done meanwhile.
pub struct Keeper {
    stream: Arc<Mutex<TcpStream>>,
    offset: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Keeper {
    /// Begins. Until a place is told there is a full copy under way.
    pub fn start(link: &Link) -> Result<Self> {
        let failed = |error| Failure::System { doing: "use the connection twice", error };
        let keeper = Self {
            stream: Arc::new(Mutex::new(link.stream.try_clone().map_err(failed)?)),
            offset: Arc::new(AtomicU64::new(COPYING)),
            is_over: Arc::new(AtomicBool::new(false)),
        };
        let (stream, offset, is_over) =
            (Arc::clone(&keeper.stream), Arc::clone(&keeper.offset), Arc::clone(&keeper.is_over));
        let body = move || {
            while !is_over.load(Ordering::Relaxed) {
                tell(&stream, offset.load(Ordering::Relaxed));
                std::thread::park_timeout(TELL_INTERVAL);
            }
        };
        std::thread::Builder::new().name("keeper".to_owned()).spawn(body).map_err(failed)?;
        Ok(keeper)
    }

    /// What was applied so far.
    pub fn applied(&self, offset: u64) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// Tells it now.
    pub fn tell_now(&self) {
        tell(&self.stream, self.offset.load(Ordering::Relaxed));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// A link that is broken is noticed by whoever reads from it.
fn tell(stream: &Mutex<TcpStream>, offset: u64) {
    let mut request = Vec::new();
    if offset == COPYING {
        // An empty line, as Redis' own replicas send while they load.
        request.push(b'\n');
    } else {
        write_request(&mut request, &[b"REPLCONF", b"ACK", offset.to_string().as_bytes()]);
    }
    let _ = lock(stream).write_all(&request);
}

/// Stands for the time before there is a place.
const COPYING: u64 = u64::MAX;
const TELL_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_noted_and_found_again() {
        for writer in ["", "eu-west-1"] {
            let (history, writer) = ("0123456789abcdef0123456789abcdef01234567".to_owned(), writer.to_owned());
            let place = Place { history, offset: 42, database: 3, writer };
            assert_eq!(Place::parse(&place.text()), Some(place));
        }
        for text in
            ["", "x 1 0", "0123456789abcdef0123456789abcdef01234567 x 0", "0123456789abcdef0123456789abcdef01234567 1"]
        {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_full_copy_ends_by_length_or_by_mark() {
        assert_eq!(ending("$120"), Some(Ending::Length(120)));
        let mark = "a".repeat(40);
        assert_eq!(ending(&format!("$EOF:{mark}")), Some(Ending::Mark(mark.into_bytes())));
        for header in ["120", "$", "$-1", "$EOF:short", "-ERR no"] {
            assert_eq!(ending(header), None, "{header}");
        }
    }
}

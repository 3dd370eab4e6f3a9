//! A connection to a node, or to a Redis: requests go out alone or in pipelines, answers are looked at where they lie in the
//! buffer. Whoever answers was chosen by the operator; still every length is bounded, and memory grows by what arrives.
//!
//! For single questions in words of text there is `client`.

use crate::encryption::{Encryption, Stream};
use crate::failure::{Failure, Result};
use crate::reply::{END, Reply};
use resp::write_request;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// One answer, or the header of several.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<'w> {
    /// A status.
    Status(&'w [u8]),
    /// An error with its code.
    Error(&'w [u8]),
    /// A number.
    Integer(i64),
    /// A string of any bytes.
    Text(&'w [u8]),
    /// Nothing.
    Null,
    /// So many answers follow.
    List(usize),
}

/// Where an answer lies in the buffer.
enum Found {
    Line(u8, usize, usize),
    Integer(i64),
    Text(usize, usize),
    Null,
    List(usize),
}

/// The connection.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    address: String,
    received: Vec<u8>,
    taken: usize,
    filled: usize,
}

impl Wire {
    /// Connects, and says who is asking if there is a user or a password.
    pub fn connect(address: &str, user: Option<&str>, password: Option<&str>) -> Result<Self> {
        Self::connect_over(address, user, password, None)
    }

    /// The same, over TLS if `encryption` says how.
    pub fn connect_over(
        address: &str,
        user: Option<&str>,
        password: Option<&str>,
        encryption: Option<&Encryption>,
    ) -> Result<Self> {
        let stream = match encryption {
            None => Stream::Plain(open(address)?),
            Some(encryption) => encryption.begin(open(address)?, address)?,
        };
        let mut wire = Self { stream, address: address.to_owned(), received: Vec::new(), taken: 0, filled: 0 };
        wire.wait_at_most(ANSWER_TIME)?;
        // Who takes nothing for so long never answers either.
        wire.stream.socket().set_write_timeout(Some(ANSWER_TIME)).map_err(|error| wire.broken(error))?;
        let [user, password] = [user, password].map(|text| text.filter(|text| !text.is_empty()));
        // Who is named is meant, also without a password: there are users that have none.
        if user.is_some() || password.is_some() {
            let password = password.unwrap_or_default();
            let words: Vec<&[u8]> =
                [Some("AUTH"), user, Some(password)].into_iter().flatten().map(str::as_bytes).collect();
            wire.call(&words)?;
        }
        Ok(wire)
    }

    /// How long an answer may take from now on.
    pub fn wait_at_most(&self, time: Duration) -> Result<()> {
        self.stream.socket().set_read_timeout(Some(time)).map_err(|error| self.broken(error))
    }

    /// Sends requests.
    pub fn send(&mut self, requests: &[u8]) -> Result<()> {
        self.stream.write_all(requests).map_err(|error| self.broken(error))
    }

    /// One command and its whole answer. An error reply is a failure.
    pub fn call(&mut self, words: &[&[u8]]) -> Result<Reply> {
        match self.try_call(words)? {
            Reply::Error(text) => Err(Failure::refused(&self.address, &text)),
            reply => Ok(reply),
        }
    }

    /// One command and its whole answer, whatever it is.
    pub fn try_call(&mut self, words: &[&[u8]]) -> Result<Reply> {
        let mut request = Vec::new();
        write_request(&mut request, words);
        self.send(&request)?;
        self.reply()
    }

    /// The next answer as a whole.
    fn reply(&mut self) -> Result<Reply> {
        let mut elements = REPLY_ELEMENTS_MAX;
        self.reply_within(DEPTH_MAX, &mut elements)
    }

    /// The next answer as a whole, with all that follows a list's header.
    fn reply_within(&mut self, depth: usize, elements: &mut usize) -> Result<Reply> {
        let count = match self.next()? {
            Answer::Status(text) | Answer::Text(text) => return Ok(Reply::Text(text.to_vec())),
            Answer::Error(text) => return Ok(Reply::Error(String::from_utf8_lossy(text).into_owned())),
            Answer::Integer(value) => return Ok(Reply::Integer(value)),
            Answer::Null => return Ok(Reply::Null),
            Answer::List(count) => count,
        };
        let depth = depth.checked_sub(1).ok_or_else(|| self.not_understood())?;
        *elements = elements.checked_sub(count).ok_or_else(|| self.not_understood())?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(self.reply_within(depth, elements)?);
        }
        Ok(Reply::List(list))
    }

    /// Passes over `count` whole answers and shows the errors among them, also those within lists.
    pub fn pass(&mut self, count: u64, mut each_error: impl FnMut(&[u8])) -> Result<()> {
        let mut left = count;
        while left > 0 {
            left -= 1;
            match self.next()? {
                Answer::Error(text) => each_error(text),
                Answer::List(count) => left = left.saturating_add(count as u64),
                Answer::Status(_) | Answer::Integer(_) | Answer::Text(_) | Answer::Null => {}
            }
        }
        Ok(())
    }

    /// The next answer, or the header of a list, whose answers come next.
    pub fn next(&mut self) -> Result<Answer<'_>> {
        let found = loop {
            match find(&self.received[self.taken..self.filled]) {
                Err(NotAnAnswer) => return Err(self.not_understood()),
                Ok(Ok((found, length))) => {
                    let start = self.taken;
                    self.taken += length;
                    break match found {
                        Found::Line(kind, from, to) => Found::Line(kind, start + from, start + to),
                        Found::Text(from, to) => Found::Text(start + from, start + to),
                        other @ (Found::Integer(_) | Found::Null | Found::List(_)) => other,
                    };
                }
                Ok(Err(missing)) => self.fill(missing).map_err(|error| self.broken(error))?,
            }
        };
        Ok(match found {
            Found::Line(b'-', from, to) => Answer::Error(&self.received[from..to]),
            Found::Line(_, from, to) => Answer::Status(&self.received[from..to]),
            Found::Text(from, to) => Answer::Text(&self.received[from..to]),
            Found::Integer(value) => Answer::Integer(value),
            Found::Null => Answer::Null,
            Found::List(count) => Answer::List(count),
        })
    }

    /// The next line without its end, whatever it is.
    pub fn line(&mut self) -> Result<Vec<u8>> {
        loop {
            let rest = &self.received[self.taken..self.filled];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]).to_vec();
                self.taken += end + 1;
                return Ok(line);
            }
            if rest.len() > LINE_BYTES_MAX {
                return Err(self.not_understood());
            }
            self.fill(1).map_err(|error| self.broken(error))?;
        }
    }

    /// The socket, and what was received and not looked at.
    pub fn into_parts(self) -> Result<(TcpStream, Vec<u8>)> {
        match self.stream {
            Stream::Plain(socket) => Ok((socket, self.received[self.taken..self.filled].to_vec())),
            Stream::Encrypted(_) => {
                Err(Failure::Arguments("a stream of commands is followed without TLS only".to_owned()))
            }
        }
    }

    /// Where it leads.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits for more, at least one byte; `missing` are expected.
    fn fill(&mut self, missing: usize) -> io::Result<()> {
        if self.taken > 0 {
            self.received.copy_within(self.taken..self.filled, 0);
            (self.taken, self.filled) = (0, self.filled - self.taken);
        }
        // SUBTLE: an announced length is only a claim; memory grows by what arrives.
        let room = self.filled + missing.clamp(READ_BYTES, ROOM_BYTES_MAX);
        if self.received.len() < room {
            self.received.resize(room, 0);
        }
        loop {
            match self.stream.read(&mut self.received[self.filled..]) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the other side closed it")),
                Ok(count) => {
                    self.filled += count;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(io::Error::new(ErrorKind::TimedOut, "no answer in time"));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn broken(&self, error: io::Error) -> Failure {
        Failure::Broken { address: self.address.clone(), error }
    }

    fn not_understood(&self) -> Failure {
        Failure::Protocol { address: self.address.clone() }
    }
}

struct NotAnAnswer;

/// Looks for one answer at the start: what and how long it is, or how many bytes are missing at least.
fn find(bytes: &[u8]) -> std::result::Result<std::result::Result<(Found, usize), usize>, NotAnAnswer> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() > LINE_BYTES_MAX { Err(NotAnAnswer) } else { Ok(Err(1)) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(NotAnAnswer)?;
    let (&kind, text) = line.split_first().ok_or(NotAnAnswer)?;
    let (after, number) = (end + 1, || resp::parse_integer(text).ok_or(NotAnAnswer));
    let count = |most: usize| usize::try_from(number()?).ok().filter(|count| *count <= most).ok_or(NotAnAnswer);
    Ok(Ok(match kind {
        b'+' | b'-' => (Found::Line(kind, 1, line.len()), after),
        b':' => (Found::Integer(number()?), after),
        b'$' | b'*' if text == b"-1" => (Found::Null, after),
        b'*' => (Found::List(count(LIST_LENGTH_MAX)?), after),
        b'$' => {
            let length = count(TEXT_BYTES_MAX)?;
            let whole = after + length + END.len();
            match bytes.get(after + length..whole) {
                None => return Ok(Err(whole - bytes.len())),
                Some(end) if end != END => return Err(NotAnAnswer),
                Some(_) => (Found::Text(after, after + length), whole),
            }
        }
        _ => return Err(NotAnAnswer),
    }))
}

/// Opens a connection to any of the address' addresses.
fn open(address: &str) -> Result<TcpStream> {
    let failed = |error| Failure::Connect { address: address.to_owned(), error };
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&candidate, CONNECT_TIME) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(failed)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// A server that is alive answers within this, however busy and however much it was asked at once.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// A host that does not even refuse is not there.
const CONNECT_TIME: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 64 * 1024;
/// Bytes made room for at once.
const ROOM_BYTES_MAX: usize = 16 << 20;
/// The longest status or error: ours end at some hundred bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The longest text: the payload of a collection has several times the bytes of the longest string, which is 512 MiB.
const TEXT_BYTES_MAX: usize = 2 << 30;
/// The longest list whose answers are looked at one by one: those of a transaction that is followed.
const LIST_LENGTH_MAX: usize = 1 << 24;
/// Elements of an answer that is taken as a whole: a status of a thousand members, or all commands of a Redis, has far
/// fewer.
const REPLY_ELEMENTS_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A wire whose other side sends this, byte by byte, and hangs up.
    fn receiving(bytes: &'static [u8]) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let sending = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.set_nodelay(true).unwrap();
            bytes.chunks(1).for_each(|byte| stream.write_all(byte).unwrap());
        });
        let wire = Wire::connect(&address, None, None).unwrap();
        sending.join().unwrap();
        wire
    }

    #[test]
    fn answers_are_found_whatever_the_pieces_they_arrive_in() {
        let mut wire = receiving(b"+OK\r\n:-5\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n-ERR x\r\n*1\r\n-ERR y\r\n*-1\r\nrest");
        assert_eq!(wire.next().unwrap(), Answer::Status(b"OK"));
        assert_eq!(wire.next().unwrap(), Answer::Integer(-5));
        assert_eq!(wire.next().unwrap(), Answer::Text(b"a\r\n"));
        assert_eq!(wire.next().unwrap(), Answer::Null);
        let mut errors = Vec::new();
        wire.pass(1, |error| errors.push(error.to_vec())).unwrap();
        assert_eq!(errors, [b"ERR x", b"ERR y"]);
        assert_eq!(wire.next().unwrap(), Answer::Null);
        assert_eq!(wire.received[wire.taken..wire.filled].len(), 4);
        assert!(matches!(wire.next(), Err(Failure::Broken { .. })));
    }

    /// What is sent before anything is asked, to a server that agrees.
    fn introduction(user: Option<&str>, password: Option<&str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let listening = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut sent = vec![0_u8; 1024];
            let length = stream.read(&mut sent).unwrap();
            sent.truncate(length);
            if length > 0 {
                stream.write_all(b"+OK\r\n").unwrap();
                stream.read_to_end(&mut sent).unwrap();
            }
            String::from_utf8(sent).unwrap()
        });
        drop(Wire::connect(&address, user, password).unwrap());
        listening.join().unwrap()
    }

    #[test]
    fn who_is_named_is_asked_for_with_or_without_a_password() {
        for (user, password, sent) in [
            (None, None, ""),
            (Some(""), Some(""), ""),
            (None, Some("p"), "*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n"),
            (Some("u"), Some("p"), "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n"),
            (Some("u"), Some(""), "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$0\r\n\r\n"),
            (Some("u"), None, "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$0\r\n\r\n"),
        ] {
            assert_eq!(introduction(user, password), sent, "{user:?} {password:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        let hostile: [&[u8]; 12] = [
            b"HTTP/1.1 400\r\n",
            b"\r\n",
            b"$x\r\n",
            b"*-2\r\n",
            b"$-5\r\n",
            b":\r\n",
            b":x\r\n",
            b"+no end\n",
            b"$2\r\nabcd",
            b"$2147483649\r\n",
            b"$9223372036854775807\r\n",
            b"*16777217\r\n",
        ];
        for bytes in hostile {
            assert!(matches!(receiving(bytes).next(), Err(Failure::Protocol { .. })), "{bytes:?}");
        }
    }

    #[test]
    fn answers_are_taken_as_a_whole_up_to_a_size_and_a_depth() {
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
            assert_eq!(receiving(bytes).reply().unwrap(), reply);
        }
        let deep: &[u8] = b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n";
        for bytes in [deep, b"*1048577\r\n"] {
            assert!(matches!(receiving(bytes).reply(), Err(Failure::Protocol { .. })), "{bytes:?}");
        }
        for bytes in [&b""[..], b"$5\r\nab\r\n", b"*9\r\n"] {
            assert!(matches!(receiving(bytes).reply(), Err(Failure::Broken { .. })), "{bytes:?}");
        }
    }
}

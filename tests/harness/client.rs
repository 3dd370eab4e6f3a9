//! A small client: one connection, commands as words, one at a time or in a pipeline.

use crate::reply::Reply;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    request: Vec<u8>,
}

/// A server that is silent for so long has failed the test.
const SILENCE_MAX: Duration = Duration::from_secs(60);

impl Client {
    /// Connects.
    pub fn connect(address: &str) -> io::Result<Self> {
        let address = address.to_socket_addrs()?.next().expect("an address");
        let stream = TcpStream::connect_timeout(&address, SILENCE_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream), request: Vec::new() })
    }

    /// One command; whatever the server answers.
    pub fn try_call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Reply> {
        self.queue(words);
        self.send()?;
        self.receive()
    }

    /// One command. Panics if the connection breaks.
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Reply {
        self.try_call(words).unwrap_or_else(|error| panic!("no answer to {}: {error}", shown(words)))
    }

    /// One command, whose words are separated by blanks.
    pub fn line(&mut self, line: &str) -> Reply {
        self.call(&line.split(' ').collect::<Vec<_>>())
    }

    /// One command that must succeed.
    pub fn must(&mut self, line: &str) -> Reply {
        let reply = self.line(line);
        assert!(!reply.is_error(), "{line} was answered with {reply}");
        reply
    }

    /// One command whose answer is JSON.
    pub fn json(&mut self, line: &str) -> Result<Value, String> {
        let reply = self.line(line);
        let text = reply.text().ok_or_else(|| reply.to_string())?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// Puts a command into the pipeline.
    pub fn queue<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        self.request.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            let word = word.as_ref();
            self.request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.request.extend_from_slice(word);
            self.request.extend_from_slice(b"\r\n");
        }
    }

    /// Sends the pipeline.
    pub fn send(&mut self) -> io::Result<()> {
        let sent = self.stream.get_mut().write_all(&self.request);
        self.request.clear();
        sent
    }

    /// Whether something has come, or comes within this time. Silence is no error here.
    pub fn hears_within(&mut self, time: Duration) -> io::Result<bool> {
        if !self.stream.buffer().is_empty() {
            return Ok(true);
        }
        self.stream.get_mut().set_read_timeout(Some(time))?;
        let heard = match self.stream.fill_buf() {
            // The end of the connection is to be heard too.
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error),
        };
        self.stream.get_mut().set_read_timeout(Some(SILENCE_MAX))?;
        heard
    }

    /// The address that the server knows it by.
    pub fn address(&self) -> io::Result<String> {
        Ok(self.stream.get_ref().local_addr()?.to_string())
    }

    /// The next reply.
    pub fn receive(&mut self) -> io::Result<Reply> {
        Reply::read(&mut self.stream)
    }
}

/// A command as it can be typed into `redis-cli`.
pub fn shown<W: AsRef<[u8]>>(words: &[W]) -> String {
    let word = |word: &W| {
        let text = word.as_ref().escape_ascii().to_string();
        if text.is_empty() || text.contains(' ') || text.contains('\\') { format!("\"{text}\"") } else { text }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

//! A connection to a node: one command, one answer. Not for load; `bench` has connections of its own.

use crate::failure::{Failure, Result};
use crate::reply::{Reply, write_request};
use serde_json::Value;
use std::io::{BufReader, ErrorKind, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A connection to a node.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    address: String,
}

impl Client {
    /// Connects, and gives the password if there is one.
    pub fn connect(address: &str, password: Option<&str>) -> Result<Self> {
        let stream = open(address)?;
        let mut client = Self { stream: BufReader::new(stream), address: address.to_owned() };
        client.wait_at_most(ANSWER_TIME)?;
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            client.call(&["AUTH", password])?;
        }
        Ok(client)
    }

    /// How long an answer may take from now on.
    pub fn wait_at_most(&mut self, time: Duration) -> Result<()> {
        let set = self.stream.get_ref().set_read_timeout(Some(time));
        set.map_err(|error| Failure::Broken { address: self.address.clone(), error })
    }

    /// One command. An error reply is a failure.
    pub fn call(&mut self, words: &[&str]) -> Result<Reply> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut request = Vec::new();
        write_request(&mut request, &words);
        let sent = self.stream.get_mut().write_all(&request);
        match sent.and_then(|()| Reply::read(&mut self.stream)) {
            Ok(Reply::Error(text)) => Err(self.refused(text)),
            Ok(reply) => Ok(reply),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err(Failure::Protocol { address: self.address.clone() })
            }
            Err(error) => Err(Failure::Broken { address: self.address.clone(), error: plain(error) }),
        }
    }

    /// One command whose answer is JSON.
    pub fn json(&mut self, words: &[&str]) -> Result<Value> {
        let reply = self.call(words)?;
        let value = reply.text().and_then(|text| serde_json::from_str(&text).ok());
        value.ok_or_else(|| Failure::Answer { address: self.address.clone(), question: words.join(" ") })
    }

    fn refused(&self, text: String) -> Failure {
        let address = self.address.clone();
        if text.starts_with("NOAUTH") {
            return Failure::Password { address };
        }
        // The code of an ordinary error says nothing to people.
        Failure::Refused { address, text: text.strip_prefix("ERR ").map(str::to_owned).unwrap_or(text) }
    }
}

/// Opens a connection to any of the address' addresses.
pub fn open(address: &str) -> Result<TcpStream> {
    let failed = |error| Failure::Connect { address: address.to_owned(), error };
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
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

/// A timeout of a socket is called "resource temporarily unavailable", which helps nobody.
fn plain(error: std::io::Error) -> std::io::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => std::io::Error::new(ErrorKind::TimedOut, "no answer in time"),
        ErrorKind::UnexpectedEof => std::io::Error::new(ErrorKind::UnexpectedEof, "the node closed it"),
        _ => error,
    }
}

/// A node that is alive answers within this, however busy.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// A host that does not even refuse is not there.
const CONNECT_TIME: Duration = Duration::from_secs(5);

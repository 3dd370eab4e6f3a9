//! What connections cost a node that are open and ask for nothing.

use crate::node::Node;
use crate::processor;
use crate::wait;
use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What the node used.
#[derive(Debug)]
pub struct Outcome {
    /// How many connections were open.
    pub clients: u64,
    /// Bytes in RAM before the first.
    pub before: u64,
    /// Bytes in RAM with all of them.
    pub after: u64,
}

/// Opens `clients` connections, each of which asks once so that the node has served it, and lets them rest.
pub fn run(node: &Node, clients: u64, rest: Duration) -> Result<Outcome, String> {
    // The first of them pay for buffers that all share.
    let warm: Vec<TcpStream> = (0..WARM).map(|_| open(&node.resp)).collect::<Result<_, _>>()?;
    wait::pause(rest);
    let before = processor::resident_bytes(node.process_id())?;
    let open: Vec<TcpStream> = (0..clients).map(|_| open(&node.resp)).collect::<Result<_, _>>()?;
    wait::pause(rest);
    let after = processor::resident_bytes(node.process_id())?;
    drop((warm, open));
    Ok(Outcome { clients, before, after })
}

fn open(address: &str) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| format!("a connection could not be opened (ulimit -n?): {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.write_all(b"PING\r\n").map_err(failed)?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).map_err(failed)?;
    if &answer == b"+PONG\r\n" { Ok(stream) } else { Err(format!("it answered {answer:?}")) }
}

impl Outcome {
    /// Bytes of each connection.
    pub fn bytes_each(&self) -> u64 {
        self.after.saturating_sub(self.before) / self.clients.max(1)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} idle connections: {} bytes in RAM before, {} with them, {} each",
            self.clients,
            self.before,
            self.after,
            self.bytes_each()
        )
    }
}

const WARM: usize = 32;

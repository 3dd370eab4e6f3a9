//! As many writes as a server takes, over several connections with several commands on their way on each.
//!
//! One thread: it sends on one connection while the server works for the others. Requests are made before they are sent and
//! answers are compared byte by byte, so that the load costs little beside the server.

use crate::random::Random;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Connections.
    pub clients: usize,
    /// Commands on their way on each.
    pub depth: usize,
    /// Keys that are written.
    pub keys: usize,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Chooses keys.
    pub seed: u64,
}

/// The connections.
#[derive(Debug)]
pub struct Pipelines {
    streams: Vec<TcpStream>,
    requests: Vec<Vec<u8>>,
    random: Random,
    plan: Plan,
    expected: Vec<u8>,
    received: Vec<u8>,
}

const ANSWER: &[u8] = b"+OK\r\n";
/// A server that is silent for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Requests made in advance, each with a pipeline of keys of its own.
const REQUESTS: usize = 4_096;

impl Pipelines {
    /// Connects, and makes what will be sent.
    pub fn connect(address: &str, plan: Plan) -> Result<Self, String> {
        let connect = || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SILENCE_MAX))?;
            Ok(stream)
        };
        let streams: Vec<TcpStream> =
            (0..plan.clients).map(|_| connect()).collect::<Result<_, std::io::Error>>().map_err(|e| e.to_string())?;
        let mut random = Random::new(plan.seed);
        let requests = (0..REQUESTS).map(|_| request(&plan, &mut random)).collect();
        let expected = ANSWER.repeat(plan.depth);
        Ok(Self { streams, requests, random, plan, received: vec![0; expected.len()], expected })
    }

    /// Writes for a time; how many writes were answered, and how long that took.
    pub fn run(&mut self, time: Duration) -> Result<(u64, Duration), String> {
        let begin = Instant::now();
        let mut answered = 0;
        (0..self.streams.len()).try_for_each(|at| self.send(at))?;
        while begin.elapsed() < time {
            for at in 0..self.streams.len() {
                self.receive(at)?;
                answered += self.plan.depth as u64;
                self.send(at)?;
            }
        }
        (0..self.streams.len()).try_for_each(|at| self.receive(at))?;
        answered += (self.plan.depth * self.streams.len()) as u64;
        Ok((answered, begin.elapsed()))
    }

    fn send(&mut self, at: usize) -> Result<(), String> {
        let request = self.random.below(self.requests.len());
        self.streams[at].write_all(&self.requests[request]).map_err(|error| format!("a pipeline: {error}"))
    }

    fn receive(&mut self, at: usize) -> Result<(), String> {
        self.streams[at].read_exact(&mut self.received).map_err(|error| format!("a pipeline: {error}"))?;
        if self.received == self.expected {
            return Ok(());
        }
        Err(format!("writes were answered with {}", self.received.escape_ascii()))
    }
}

fn request(plan: &Plan, random: &mut Random) -> Vec<u8> {
    let mut request = Vec::new();
    for _ in 0..plan.depth {
        let key = format!("key:{:010}", random.below(plan.keys));
        let mut value = String::new();
        while value.len() < plan.value_bytes {
            value.push_str(&format!("{:016x}", random.word()));
        }
        value.truncate(plan.value_bytes);
        let (key_bytes, value_bytes) = (key.len(), value.len());
        let command = format!("*3\r\n$3\r\nSET\r\n${key_bytes}\r\n{key}\r\n${value_bytes}\r\n{value}\r\n");
        request.extend_from_slice(command.as_bytes());
    }
    request
}

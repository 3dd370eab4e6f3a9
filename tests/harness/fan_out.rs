//! One who publishes and many who have subscribed: how many messages a second reach all of them.
//!
//! One thread does it all and never sleeps, so that the server is what is measured: it looks at one socket after the other
//! and takes what is there.

use crate::client::Client;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct FanOut {
    /// Who has subscribed.
    pub subscribers: usize,
    /// `PUBLISH` requests of one write.
    pub pipeline: usize,
    /// Bytes of a message.
    pub payload_bytes: usize,
    /// For how long.
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct FanOutFigure {
    /// Messages published and received by everybody, a second.
    pub messages_a_second: f64,
    /// The same for each subscriber.
    pub deliveries_a_second: f64,
}

/// A server that is silent for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(20);

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server takes connections");
    stream.set_nodelay(true).expect("a socket has options");
    stream
}

/// Reads what is there. False if nothing was.
fn take(stream: &mut TcpStream, buffer: &mut [u8], taken: &mut usize) -> bool {
    match stream.read(buffer) {
        Ok(0) => panic!("the server closed a connection"),
        Ok(count) => {
            *taken += count;
            true
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("a connection broke: {error}"),
    }
}

impl FanOut {
    /// Measures a server.
    pub fn run(self, address: &str) -> FanOutFigure {
        let channel = "news";
        let payload = "x".repeat(self.payload_bytes);
        let message =
            format!("*3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n", channel.len(), payload.len());
        let request =
            format!("*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n", channel.len(), payload.len());
        let reply = format!(":{}\r\n", self.subscribers);
        let mut subscribers: Vec<(TcpStream, usize)> =
            (0..self.subscribers).map(|_| (subscribed(address, channel), 0)).collect();
        let mut publisher = connect(address);
        publisher.set_nonblocking(true).expect("a socket has options");
        let requests = request.repeat(self.pipeline);
        let mut buffer = vec![0; 256 * 1024];
        let (begin, mut heard) = (Instant::now(), Instant::now());
        let (mut sent, mut answered_bytes) = (0, 0);
        loop {
            let is_over = begin.elapsed() >= self.time;
            // At most two pipelines are on their way, so that nobody falls behind without end.
            let slowest = subscribers.iter().map(|(_, bytes)| bytes / message.len()).min().unwrap_or(sent);
            let is_answered = answered_bytes == sent * reply.len();
            if !is_over && is_answered && sent - slowest <= 2 * self.pipeline {
                write_all(&mut publisher, requests.as_bytes());
                sent += self.pipeline;
            }
            let mut any = take(&mut publisher, &mut buffer, &mut answered_bytes);
            for (stream, bytes) in &mut subscribers {
                any |= take(stream, &mut buffer, bytes);
            }
            if any {
                heard = Instant::now();
            }
            assert!(heard.elapsed() < SILENCE_MAX, "the server is silent");
            if is_over && is_answered && subscribers.iter().all(|(_, bytes)| *bytes == sent * message.len()) {
                break;
            }
        }
        let messages_a_second = sent as f64 / begin.elapsed().as_secs_f64();
        FanOutFigure { messages_a_second, deliveries_a_second: messages_a_second * self.subscribers as f64 }
    }
}

fn write_all(stream: &mut TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => panic!("a connection broke: {error}"),
        }
    }
}

fn subscribed(address: &str, channel: &str) -> TcpStream {
    let mut stream = connect(address);
    let request = format!("*2\r\n$9\r\nSUBSCRIBE\r\n${}\r\n{channel}\r\n", channel.len());
    stream.write_all(request.as_bytes()).expect("the server takes requests");
    let mut confirmation = vec![0; format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len()).len()];
    stream.read_exact(&mut confirmation).expect("the server confirms");
    stream.set_nonblocking(true).expect("a socket has options");
    stream
}

/// Whether the server answers at all.
pub fn answers(address: &str) -> bool {
    Client::connect(address).is_ok_and(|mut client| !client.line("PING").is_error())
}

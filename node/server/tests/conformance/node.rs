//! This server without sockets: what is called is dispatched at once.

use super::Server;
use super::reply::Answer;
use super::script::Audience;
use keyspace::Keyspace;
use resp::{Reply, Version};
use server::blocking;
use server::client::ClientState;
use server::config::{Config, Settings};
use server::dispatch::{Outcome, dispatch};
use server::node::{Node, Seams};
use server::worker::Worker;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A node with one client. Its clock is counted by hand: every call takes some milliseconds.
pub struct Pelago {
    worker: Rc<Worker>,
    client: ClientState,
    reply: Reply,
    now: u64,
}

/// 2026-09-21T13:46:40Z.
const STARTED_AT: u64 = 1_790_000_000_000;
const MS_PER_CALL: u64 = 3;

impl Pelago {
    /// A node that has just started.
    pub fn new() -> Self {
        Self::on(Keyspace::new(1))
    }

    /// A node over this keyspace.
    pub fn on(keyspace: Arc<Keyspace>) -> Self {
        let seams = Seams { wall_clock: Arc::new(|| STARTED_AT), monotonic_ns: Arc::new(|| 0), seed: 1 };
        let node = Arc::new(Node::new(keyspace, Arc::new(Settings::new(in_memory())), seams));
        let worker = Worker::new(Arc::clone(&node));
        let address = SocketAddr::from(([127, 0, 0, 1], 50_000));
        let presence = node.clients.enter(address, address, STARTED_AT, u64::MAX).unwrap();
        let client = ClientState::new(presence, Arc::clone(&worker.tally), 1, &node.acl);
        Self { worker, client, reply: Reply::new(Version::Resp2), now: STARTED_AT }
    }

    /// Lets it be at least this late.
    pub fn wait_until(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// What time it is there.
    pub fn now(&self) -> u64 {
        self.now
    }

    fn call_words(&mut self, words: &[&[u8]]) -> Answer {
        self.now += MS_PER_CALL;
        self.reply.truncate(0);
        let outcome = dispatch(&self.worker, &mut self.client, &mut self.reply, self.now, words);
        assert_eq!(outcome, Outcome::Done);
        if let Some(waiting) = self.client.waiting.take() {
            // There is nobody else who could serve it: its time is over at once.
            waiting.waiter.end(blocking::Outcome::Nothing);
            self.worker.node.blocking.leave(&self.worker.node, &waiting.waiter);
            waiting.answer(&blocking::Outcome::Nothing, &mut self.reply);
        }
        let mut bytes = self.reply.bytes();
        let answer = Answer::read(&mut bytes).unwrap();
        assert!(bytes.is_empty(), "{} bytes after the answer {answer}", bytes.len());
        answer
    }
}

impl Server for Pelago {
    const AUDIENCE: Audience = Audience::Pelago;

    fn begin(&mut self, version: Version) {
        let version: &[u8] = if version == Version::Resp3 { b"3" } else { b"2" };
        let requests: [&[&[u8]]; 3] = [&[b"HELLO", version], &[b"SELECT", b"0"], &[b"FLUSHALL"]];
        for request in requests {
            let answer = self.call_words(request);
            assert!(!matches!(answer, Answer::Error(_)), "{answer}");
        }
    }

    fn call(&mut self, args: &[Vec<u8>]) -> Answer {
        let words: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        self.call_words(&words)
    }
}

/// A configuration of a node that keeps its keys in memory only.
fn in_memory() -> Config {
    Config { persistence: "off".to_owned(), ..Config::default() }
}

//! What tests of several modules share.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::client::ClientState;
use crate::config::{Config, Settings};
use crate::dispatch::{Outcome, dispatch, go_on};
use crate::node::{Node, Seams};
use crate::worker::Worker;
use keyspace::Keyspace;
use resp::{Reply, Version};

/// When a test's node started: 2023-11-14T22:13:20Z.
pub const STARTED_AT: u64 = 1_700_000_000_000;

/// A node whose clocks are counted by hand (they never move) and whose chance is always the same.
pub fn node() -> Node {
    node_with_steps(1_000)
}

/// The same where everything that is timed takes so many nanoseconds, or some times as many.
pub fn node_with_steps(step_ns: u64) -> Node {
    let monotonic = AtomicU64::new(0);
    let seams = Seams {
        wall_clock: Arc::new(|| STARTED_AT),
        monotonic_ns: Arc::new(move || monotonic.fetch_add(step_ns, Ordering::Relaxed)),
        seed: 1,
    };
    Node::new(Keyspace::new(1), Arc::new(Settings::new(Config::default())), seams)
}

/// A client of a node, without a socket: what it sends is dispatched at once.
pub struct Caller {
    worker: Rc<Worker>,
    client: ClientState,
    reply: Reply,
}

impl Caller {
    /// A client that speaks the older protocol.
    pub fn new(node: &Arc<Node>) -> Self {
        Self::enter(node, true)
    }

    /// The same, and it has not said who it is.
    pub fn stranger(node: &Arc<Node>) -> Self {
        Self::enter(node, false)
    }

    /// Another client of the same worker.
    pub fn beside(other: &Self) -> Self {
        Self::enter_at(Rc::clone(&other.worker), true)
    }

    fn enter(node: &Arc<Node>, authenticated: bool) -> Self {
        Self::enter_at(Worker::new(Arc::clone(node)), authenticated)
    }

    fn enter_at(worker: Rc<Worker>, authenticated: bool) -> Self {
        let node = &worker.node;
        let address = SocketAddr::from(([127, 0, 0, 1], 50_000));
        let presence = node.clients.enter(address, address, STARTED_AT, u64::MAX).expect("there is room for a client");
        let mut client = ClientState::new(presence, Arc::clone(&worker.tally), 1, &node.acl);
        client.authenticated = authenticated;
        Self { worker, client, reply: Reply::new(Version::Resp2) }
    }

    /// The reply's bytes to these arguments.
    pub fn call_bytes(&mut self, arguments: &[&[u8]]) -> Vec<u8> {
        self.reply.truncate(0);
        let outcome = dispatch(&self.worker, &mut self.client, &mut self.reply, STARTED_AT, arguments);
        assert_eq!(outcome, Outcome::Done);
        self.reply.bytes().to_vec()
    }

    /// Whether what is asked with these arguments has to wait.
    pub fn waits(&mut self, arguments: &[&[u8]]) -> bool {
        self.reply.truncate(0);
        let outcome = dispatch(&self.worker, &mut self.client, &mut self.reply, STARTED_AT, arguments);
        matches!(outcome, Outcome::Paused(_))
    }

    /// Whether what is asked with these arguments is put aside, because it runs a script for long.
    pub fn is_put_aside(&mut self, arguments: &[&[u8]]) -> bool {
        self.reply.truncate(0);
        dispatch(&self.worker, &mut self.client, &mut self.reply, STARTED_AT, arguments) == Outcome::Aside
    }

    /// The reply's bytes to what was put aside.
    pub fn go_on(&mut self) -> Vec<u8> {
        while go_on(&self.worker, &mut self.client, &mut self.reply) == Outcome::Aside {}
        self.reply.bytes().to_vec()
    }

    /// The reply to a line, whose words are apart by single spaces and of which `''` is the empty one.
    pub fn call(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(|word| if word == "''" { b"" } else { word.as_bytes() }).collect();
        String::from_utf8_lossy(&self.call_bytes(&words)).into_owned()
    }

    /// What it was sent without asking, since it was asked last.
    pub fn mail(&mut self) -> String {
        self.reply.truncate(0);
        self.client.presence.collect_all_mail(&mut self.reply);
        String::from_utf8_lossy(self.reply.bytes()).into_owned()
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.client.id()
    }

    /// Whether the node wants to hang up.
    pub fn is_closing(&self) -> bool {
        self.client.closing
    }
}

//! A user who moves between regions: writes in one, takes a token there, awaits it in another, reads there what it wrote, and
//! writes again.
//!
//! Only this user writes its key, and it writes only where it has read what it wrote before: so whoever has seen a write of
//! this *chain* has seen the ones before it, and no clock decides between two of them. When a write may be lost, because its
//! node has ended since or nobody knows whether it was made, the next one begins another chain.

use crate::broken::Broken;
use crate::client::{Connection, Script};
use crate::host::Host;
use crate::observer::Shared;
use crate::random::Random;
use crate::reply::Value;
use crate::workload::{MOVED, request};
use crdt::NodeNumber;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::sleep;

/// The invariant's name.
pub const INVARIANT: &str = "tokens";
/// Milliseconds that a token is awaited: less than a client waits for an answer.
const AWAIT_MS: u64 = 1_000;
/// The pause between two moves, at most.
const PAUSE_MS_MAX: u64 = 300;

/// The user.
pub struct Mover {
    hosts: Vec<Rc<Host>>,
    observer: Shared,
    script: Script,
    random: Random,
    /// What it wrote last: it counts.
    number: u64,
    /// The first number of the chain.
    begins: u64,
    last: Option<Written>,
}

/// A write that the user can name in other regions.
#[derive(Clone)]
struct Written {
    /// Which of the hosts it was made at, in which life of its node, and under which number.
    at: usize,
    life: usize,
    author: NodeNumber,
    token: String,
}

impl Mover {
    /// A user who may be at these hosts, and tells the observer what is wrong.
    pub fn new(hosts: Vec<Rc<Host>>, observer: Shared, script: Script, random: Random) -> Self {
        Self { hosts, observer, script, random, number: 0, begins: 1, last: None }
    }

    /// Moves until it shall stop.
    pub async fn run(mut self) {
        while self.script.goes_on.get() {
            let to = self.random.below(self.hosts.len());
            // Why a move fails does not matter: the next one goes on from the last write.
            let _ = self.go(to).await;
            sleep(Duration::from_millis(self.random.between(0, PAUSE_MS_MAX))).await;
        }
        self.script.running.set(self.script.running.get() - 1);
    }

    async fn go(&mut self, to: usize) -> io::Result<()> {
        let mut connection = Connection::open(&self.hosts[to].name).await?;
        if let Some(written) = self.last.clone() {
            let is_there = !self.script.awaits.get() || {
                let order = request(&["PELAGO", "AWAIT", &written.token, &AWAIT_MS.to_string()]);
                connection.call(&[order]).await?[0] == Value::Integer(1)
            };
            let found = connection.call(&[request(&["GET", MOVED])]).await?.swap_remove(0);
            if !self.may_be_told(to, &written) {
                self.last = None;
            } else if is_there {
                self.judge(to, &written, &found);
            } else {
                return Ok(());
            }
        }
        self.write(to, connection).await
    }

    /// Whether the write is certainly not lost: the life that made it goes on, and nobody has closed its number.
    fn may_be_told(&self, to: usize, written: &Written) -> bool {
        let observer = self.observer.borrow();
        let reader = self.hosts[to].life.get().and_then(|life| observer.lives[life].node.clone());
        let is_closed = |ended: &keyspace::EndedNumber| ended.number == written.author;
        self.hosts[written.at].life.get() == Some(written.life)
            && reader.is_some_and(|reader| !reader.keyspace.ended().iter().any(is_closed))
    }

    /// The token has come true here. A key that is gone was flushed or evicted.
    fn judge(&self, to: usize, written: &Written, found: &Value) {
        let mut observer = self.observer.borrow_mut();
        observer.tally.moves += u64::from(to != written.at);
        let found = found.text().and_then(|text| text.parse::<u64>().ok());
        if let Some(older) = found.filter(|found| (self.begins..self.number).contains(found)) {
            let (reader, writer) = (&self.hosts[to].name, &self.hosts[written.at].name);
            let number = self.number;
            let detail = format!("{reader} shows {older} to who wrote {number} at {writer} and has awaited its token");
            observer.report(Broken::new(INVARIANT, detail));
        }
    }

    async fn write(&mut self, at: usize, mut connection: Connection) -> io::Result<()> {
        let node = |life: usize| self.observer.borrow().lives[life].node.clone();
        let Some((life, node)) = self.hosts[at].life.get().and_then(|life| Some((life, node(life)?))) else {
            return Ok(());
        };
        let before = self.last.take();
        self.number += 1;
        if before.is_none() {
            self.begins = self.number;
        }
        let requests = [request(&["SET", MOVED, &self.number.to_string()]), request(&["PELAGO", "TOKEN"])];
        let answers = connection.call(&requests).await?;
        if matches!(answers[0], Value::Error(_)) {
            self.number -= 1;
            self.last = before;
        } else if let Some(token) = answers[1].text() {
            let (token, author) = (token.to_owned(), node.keyspace.number());
            self.last = Some(Written { at, life, author, token });
        }
        Ok(())
    }
}

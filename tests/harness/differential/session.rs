//! The two servers side by side: every call goes to both, and what chance did to the one is done to the other.

use super::normal::{name_of, normal, normal_transaction, sorted};
use super::pools;
use super::told::Common;
use crate::client::Client;
use crate::reply::Reply;

/// Connections to a node and to Redis.
pub struct Session<'a> {
    open_node: &'a dyn Fn() -> Client,
    open_redis: &'a dyn Fn() -> Client,
    node: Client,
    redis: Client,
    common: Common,
    /// Calls that the servers have queued.
    queued: Option<Vec<Vec<Vec<u8>>>>,
    /// What was set before the sequence changed it.
    settings: Option<Answers<Settings>>,
}

/// Names and values in turn.
type Settings = Vec<Vec<u8>>;

/// What both answered.
pub struct Answers<T = Reply> {
    /// The node.
    pub node: T,
    /// Redis.
    pub redis: T,
}

impl Answers {
    /// Both as text, if they differ. Of two lists only what differs.
    pub fn difference(&self) -> Option<Answers<String>> {
        if self.node == self.redis {
            return None;
        }
        let (Reply::Array(node), Reply::Array(redis)) = (&self.node, &self.redis) else {
            return Some(Answers { node: told_apart(&self.node), redis: told_apart(&self.redis) });
        };
        if node.len() != redis.len() {
            return Some(Answers { node: told_apart(&self.node), redis: told_apart(&self.redis) });
        }
        let (mut here, mut there) = ("array".to_owned(), "array".to_owned());
        for (at, (node, redis)) in node.iter().zip(redis).enumerate().filter(|(_, (node, redis))| node != redis) {
            here.push_str(&format!(" {at}: {}", told_apart(node)));
            there.push_str(&format!(" {at}: {}", told_apart(redis)));
        }
        Some(Answers { node: here, redis: there })
    }
}

/// As text in which answers of different kinds are never alike.
pub fn told_apart(reply: &Reply) -> String {
    format!("{} {}", kind(reply), reply).trim_start().to_owned()
}

/// Errors begin with their minus, so that their text tells them apart.
fn kind(reply: &Reply) -> &'static str {
    match reply {
        Reply::Error(_) => "",
        Reply::Simple(_) => "status",
        Reply::Integer(_) => "integer",
        Reply::Bulk(_) => "bulk",
        Reply::Null('$') => "nil-bulk",
        Reply::Null('*') => "nil-array",
        Reply::Null(_) => "null",
        Reply::Array(_) => "array",
        Reply::Map(_) => "map",
        Reply::Set(_) => "set",
        Reply::Push(_) => "push",
        Reply::Double(_) => "double",
        Reply::Boolean(_) => "boolean",
        Reply::BigNumber(_) => "big-number",
        Reply::Verbatim(_) => "verbatim",
    }
}

impl<'a> Session<'a> {
    /// Connects to both.
    pub fn new(open_node: &'a dyn Fn() -> Client, open_redis: &'a dyn Fn() -> Client) -> Self {
        let (mut node, mut redis) = (open_node(), open_redis());
        let common = Common::of(&mut node, &mut redis);
        Self { open_node, open_redis, node, redis, common, queued: None, settings: None }
    }

    /// Empties both, on new connections in this version of the protocol.
    pub fn begin(&mut self, version: u8) {
        (self.node, self.redis) = ((self.open_node)(), (self.open_redis)());
        self.queued = None;
        if let Some(settings) = self.settings.take() {
            set_again(&mut self.node, settings.node);
            set_again(&mut self.redis, settings.redis);
        }
        for client in [&mut self.node, &mut self.redis] {
            clear(client);
            client.must(&format!("HELLO {version}"));
        }
    }

    /// One call to both.
    pub fn call(&mut self, call: &[Vec<u8>]) -> Answers {
        let name = name_of(call);
        if name == "CONFIG" && self.settings.is_none() {
            self.settings = Some(Answers { node: settings(&mut self.node), redis: settings(&mut self.redis) });
        }
        let raw = Answers { node: answer(&mut self.node, call), redis: answer(&mut self.redis, call) };
        if let Some(queued) = &mut self.queued {
            let is_over = matches!(name.as_str(), "EXEC" | "DISCARD" | "RESET") && !raw.redis.is_error();
            if raw.redis == Reply::Simple("QUEUED".to_owned()) {
                queued.push(call.to_vec());
            }
            if is_over || (name == "EXEC" && raw.redis.is_error()) {
                let queued = self.queued.take().unwrap_or_default();
                return raw.map(|reply| normal_transaction(&queued, reply, &self.common));
            }
            return raw;
        }
        if name == "MULTI" && !raw.redis.is_error() {
            self.queued = Some(Vec::new());
        }
        match name.as_str() {
            "SPOP" => self.pop_the_same(call, &raw),
            "SCAN" | "SSCAN" | "HSCAN" | "ZSCAN" => return self.scan_to_the_end(call, raw),
            _ => {}
        }
        raw.map(|reply| normal(call, reply, &self.common))
    }

    /// What the node popped and Redis did not is put back, and the other way round.
    fn pop_the_same(&mut self, call: &[Vec<u8>], raw: &Answers) {
        let popped = |reply: &Reply| match reply {
            Reply::Bulk(member) => vec![member.clone()],
            reply => reply
                .elements()
                .iter()
                .filter_map(|e| if let Reply::Bulk(m) = e { Some(m.clone()) } else { None })
                .collect(),
        };
        let (by_node, by_redis) = (popped(&raw.node), popped(&raw.redis));
        if by_node.len() != by_redis.len() {
            return;
        }
        for member in by_node.iter().filter(|member| !by_redis.contains(member)) {
            self.node.call(&[b"SADD", call[1].as_slice(), member]);
        }
        for member in by_redis.iter().filter(|member| !by_node.contains(member)) {
            self.node.call(&[b"SREM", call[1].as_slice(), member]);
        }
    }

    /// Both may return as much at a time as they like; what they return together is compared.
    fn scan_to_the_end(&mut self, call: &[Vec<u8>], raw: Answers) -> Answers {
        let scan = if name_of(call) == "SCAN" { 1 } else { 2 };
        let group = if matches!(name_of(call).as_str(), "HSCAN" | "ZSCAN") { 2 } else { 1 };
        let from_the_beginning = call.get(scan).is_some_and(|cursor| cursor == b"0");
        if !from_the_beginning || raw.node.elements().len() != 2 || raw.redis.elements().len() != 2 {
            // Where another cursor leads is each server's own business.
            return raw.map(|reply| if reply.elements().len() == 2 { Reply::Integer(2) } else { reply });
        }
        let rest = |client: &mut Client, first: Reply| {
            let mut found = Vec::new();
            let mut page = first;
            for _ in 0..SCAN_PAGES_MAX {
                let [cursor, elements] = page.elements() else { return page };
                found.extend(elements.elements().to_vec());
                let Reply::Bulk(cursor) = cursor else { return page };
                if cursor == b"0" {
                    break;
                }
                let mut next = call.to_vec();
                next[scan].clone_from(cursor);
                page = client.call(&next);
            }
            let Reply::Array(mut found) = sorted(Reply::Array(found), group) else { return page };
            if group == 1 {
                found.dedup();
            }
            Reply::Array(found)
        };
        Answers { node: rest(&mut self.node, raw.node), redis: rest(&mut self.redis, raw.redis) }
    }
}

/// What is answered. That a connection was closed is an answer too.
fn answer(client: &mut Client, call: &[Vec<u8>]) -> Reply {
    client.try_call(call).unwrap_or_else(|error| Reply::Error(format!("no answer: {error}")))
}

/// The settings that calls may change, as they are. Nothing where they may not be asked for.
fn settings(client: &mut Client) -> Settings {
    let words: Vec<&str> = ["CONFIG", "GET"].into_iter().chain(pools::SETTINGS.iter().copied()).collect();
    let bytes = |part: &Reply| if let Reply::Bulk(bytes) = part { Some(bytes.clone()) } else { None };
    client.call(&words).elements().iter().filter_map(bytes).collect()
}

fn set_again(client: &mut Client, settings: Settings) {
    for pair in settings.chunks_exact(2) {
        // Some go by two names, and cannot be set together.
        let answer = client.call(&[b"CONFIG".as_slice(), b"SET", &pair[0], &pair[1]]);
        assert!(!answer.is_error(), "{} could not be set again: {answer}", String::from_utf8_lossy(&pair[0]));
    }
}

/// Removes everything that sequences leave behind: keys, scripts, users, and what the server has noted.
pub fn clear(client: &mut Client) {
    for line in [
        "FLUSHALL",
        "SCRIPT FLUSH SYNC",
        "FUNCTION FLUSH SYNC",
        "ACL DELUSER ann bob",
        "ACL LOG RESET",
        "CONFIG RESETSTAT",
        "LATENCY RESET",
        "SLOWLOG RESET",
    ] {
        client.must(line);
    }
}

impl Answers {
    fn map(self, mut each: impl FnMut(Reply) -> Reply) -> Self {
        Self { node: each(self.node), redis: each(self.redis) }
    }
}

const SCAN_PAGES_MAX: usize = 10_000;

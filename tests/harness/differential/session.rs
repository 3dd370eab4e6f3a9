//! The two servers side by side: every call goes to both, and what chance did to the one is done to the other.

use super::normal::{name_of, normal, normal_transaction, sorted};
use crate::client::Client;
use crate::reply::Reply;

/// Connections to a node and to Redis.
pub struct Session<'a> {
    open_node: &'a dyn Fn() -> Client,
    open_redis: &'a dyn Fn() -> Client,
    node: Client,
    redis: Client,
    /// Calls that the servers have queued.
    queued: Option<Vec<Vec<Vec<u8>>>>,
}

/// What both answered.
pub struct Answers<T = Reply> {
    /// The node.
    pub node: T,
    /// Redis.
    pub redis: T,
}

impl Answers {
    /// Both as text, if they differ.
    pub fn difference(&self) -> Option<Answers<String>> {
        let told_apart = |reply: &Reply| format!("{} {}", kind(reply), reply).trim_start().to_owned();
        (self.node != self.redis).then(|| Answers { node: told_apart(&self.node), redis: told_apart(&self.redis) })
    }
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
        Self { open_node, open_redis, node: open_node(), redis: open_redis(), queued: None }
    }

    /// Empties both, on new connections in this version of the protocol.
    pub fn begin(&mut self, version: u8) {
        (self.node, self.redis) = ((self.open_node)(), (self.open_redis)());
        self.queued = None;
        for client in [&mut self.node, &mut self.redis] {
            client.must(&format!("HELLO {version}"));
            client.must("FLUSHALL");
        }
    }

    /// One call to both.
    pub fn call(&mut self, call: &[Vec<u8>]) -> Answers {
        let name = name_of(call);
        let raw = Answers { node: self.node.call(call), redis: self.redis.call(call) };
        if let Some(queued) = &mut self.queued {
            let is_over = matches!(name.as_str(), "EXEC" | "DISCARD" | "RESET") && !raw.redis.is_error();
            if raw.redis == Reply::Simple("QUEUED".to_owned()) {
                queued.push(call.to_vec());
            }
            if is_over || (name == "EXEC" && raw.redis.is_error()) {
                let queued = self.queued.take().unwrap_or_default();
                return raw.map(|reply| normal_transaction(&queued, reply));
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
        raw.map(|reply| normal(call, reply))
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

impl Answers {
    fn map(self, mut each: impl FnMut(Reply) -> Reply) -> Self {
        Self { node: each(self.node), redis: each(self.redis) }
    }
}

const SCAN_PAGES_MAX: usize = 10_000;

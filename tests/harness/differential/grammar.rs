//! What commands take, as Redis tells it (`COMMAND DOCS`).

use crate::client::Client;
use crate::reply::Reply;
use std::collections::{BTreeMap, BTreeSet};

/// The commands that both servers have, and what they take.
#[derive(Clone, Debug)]
pub struct Grammar {
    /// By name; subcommands as `object|encoding`.
    pub commands: BTreeMap<String, Syntax>,
    /// Commands that only Redis has.
    pub missing: BTreeSet<String>,
    /// Scripts, and by what they are known.
    pub scripts: Vec<(Vec<u8>, Vec<u8>)>,
    /// A library as Redis dumps it.
    pub libraries: Vec<u8>,
}

/// What one command takes.
#[derive(Clone, Debug)]
pub struct Syntax {
    /// Its family as Redis groups it.
    pub group: String,
    /// After its name.
    pub arguments: Vec<Argument>,
}

/// An argument.
#[derive(Clone, Debug, Default)]
pub struct Argument {
    /// As in the documentation.
    pub name: String,
    /// `key`, `string`, `integer`, `block`, `oneof`...
    pub kind: String,
    /// A word that goes before it, or is it.
    pub token: Option<String>,
    /// May be left out.
    pub is_optional: bool,
    /// May be repeated.
    pub is_multiple: bool,
    /// The token is repeated too.
    pub repeats_token: bool,
    /// Of a block or a choice.
    pub parts: Vec<Argument>,
}

/// Commands that are not called: they end or move the server, write its files, or never stop answering. Other tests are about
/// those that Pelago has. `CLIENT HELP` names later subcommands.
#[rustfmt::skip]
const NEVER: &[&str] = &[
    "shutdown", "debug", "replicaof", "slaveof", "psync", "sync", "replconf", "monitor", "restore-asking", "asking", "readonly",
    "readwrite", "save", "bgsave", "bgrewriteaof", "lastsave", "acl|save", "acl|load", "config|rewrite", "module|load",
    "module|loadex", "module|unload", "lolwut", "wait", "waitaof", "info", "memory|malloc-stats", "memory|doctor",
    "latency|doctor", "command", "command|count", "command|docs", "command|info", "client|help",
];
/// Commands that concern several clients, or after which a client hears something unasked: they are called in talks.
#[rustfmt::skip]
pub const FOR_TALKS: &[&str] = &[
    "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe", "client|reply", "client|kill",
    "client|pause", "client|unpause", "client|unblock", "client|tracking", "client|caching", "client|getredir",
    "client|trackinginfo", "client|id", "client|info", "client|list", "client|no-evict", "quit", "bzpopmin", "bzpopmax",
    "bzmpop", "blpop", "brpop", "blmove", "brpoplpush", "blmpop",
];
/// Scripts that are known by their digests: what Redis calls them is asked.
const SCRIPTS: &[&str] = &[
    "return 1",
    "return {KEYS, ARGV}",
    "return redis.call('incr', KEYS[1])",
    "return redis.call('nosuch')",
    "#!lua flags=no-writes\nreturn redis.call('set', 's1', 'x')",
    "return redis.pcall('lpush', KEYS[1], ARGV[1])",
];
/// A library that `FUNCTION RESTORE` is given.
const LIBRARY: &str = "#!lua name=lib3\nredis.register_function('fixed', function(keys, args) return #keys end)";

impl Grammar {
    /// Asks both servers. Redis must be empty.
    pub fn read(redis: &mut Client, node: &mut Client) -> Self {
        let known: BTreeSet<String> = names(&node.must("COMMAND LIST"));
        let docs = redis.must("COMMAND DOCS");
        let mut commands = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for pair in docs.elements().chunks_exact(2) {
            let name = pair[0].text().unwrap_or_default();
            let fields = fields(&pair[1]);
            let group = fields.get("group").and_then(|group| group.text()).unwrap_or_default();
            for (name, fields) in with_subcommands(&name, &fields) {
                if NEVER.contains(&name.as_str()) {
                    continue;
                }
                if known.contains(&name) {
                    let arguments = fields.get("arguments").map(|list| arguments(list)).unwrap_or_default();
                    commands.insert(name, Syntax { group: group.clone(), arguments });
                } else {
                    missing.insert(name);
                }
            }
        }
        let digest = |script: &&str| match redis.call(&["SCRIPT", "LOAD", script]) {
            Reply::Bulk(digest) => (script.as_bytes().to_vec(), digest),
            other => panic!("{script}: {other}"),
        };
        let scripts = SCRIPTS.iter().map(digest).collect();
        redis.call(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
        let Reply::Bulk(libraries) = redis.must("FUNCTION DUMP") else { panic!("a payload was expected") };
        Self { commands, missing, scripts, libraries }
    }
}

fn names(list: &Reply) -> BTreeSet<String> {
    list.elements().iter().filter_map(Reply::text).collect()
}

/// The command itself, or the subcommands of a container.
fn with_subcommands<'a>(
    name: &str,
    of_command: &BTreeMap<String, &'a Reply>,
) -> Vec<(String, BTreeMap<String, &'a Reply>)> {
    match of_command.get("subcommands") {
        None => vec![(name.to_owned(), of_command.clone())],
        Some(subcommands) => subcommands
            .elements()
            .chunks_exact(2)
            .map(|pair| (pair[0].text().unwrap_or_default(), fields(&pair[1])))
            .collect(),
    }
}

fn fields(map: &Reply) -> BTreeMap<String, &Reply> {
    map.elements().chunks_exact(2).map(|pair| (pair[0].text().unwrap_or_default(), &pair[1])).collect()
}

fn arguments(list: &Reply) -> Vec<Argument> {
    list.elements().iter().map(argument).collect()
}

fn argument(map: &Reply) -> Argument {
    let fields = fields(map);
    let text = |name: &str| fields.get(name).and_then(|value| value.text());
    let flags = fields.get("flags").map(|flags| names(flags)).unwrap_or_default();
    Argument {
        name: text("name").unwrap_or_default(),
        kind: text("type").unwrap_or_default(),
        token: text("token"),
        is_optional: flags.contains("optional"),
        is_multiple: flags.contains("multiple"),
        repeats_token: flags.contains("multiple_token"),
        parts: fields.get("arguments").map(|list| arguments(list)).unwrap_or_default(),
    }
}

//! What commands take, as Redis tells it (`COMMAND DOCS`).

use crate::client::Client;
use crate::reply::Reply;
use std::collections::{BTreeMap, BTreeSet};

/// The commands that both servers have, and what they take.
#[derive(Clone, Debug)]
pub struct Grammar {
    /// By name; subcommands as `object|encoding`.
    pub commands: BTreeMap<String, Syntax>,
    /// Commands of the families that only Redis has.
    pub missing: BTreeSet<String>,
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

/// The families that are compared.
pub const GROUPS: &[&str] = &[
    "string",
    "bitmap",
    "generic",
    "hash",
    "set",
    "sorted-set",
    "geo",
    "list",
    "stream",
    "hyperloglog",
    "transactions",
];
/// Commands beyond the families whose answers depend on nothing but what was called before.
const OTHERS: &[&str] = &["ping", "echo", "select", "dbsize", "flushdb", "flushall", "reset", "swapdb", "time"];
/// Commands of the families that wait for other clients or nodes, of which there are none here.
const WAITING: &[&str] =
    &["bzpopmin", "bzpopmax", "bzmpop", "blpop", "brpop", "blmove", "brpoplpush", "blmpop", "wait", "waitaof"];
const OTHER_SUBCOMMANDS: &[&str] = &["client|getname", "client|setname", "command|getkeys"];

impl Grammar {
    /// Asks both servers.
    pub fn read(redis: &mut Client, node: &mut Client) -> Self {
        let known: BTreeSet<String> = names(&node.must("COMMAND LIST"));
        let docs = redis.must("COMMAND DOCS");
        let mut commands = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for pair in docs.elements().chunks_exact(2) {
            let name = pair[0].text().unwrap_or_default();
            let fields = fields(&pair[1]);
            let group = fields.get("group").and_then(|group| group.text()).unwrap_or_default();
            let is_family = GROUPS.contains(&group.as_str());
            for (name, fields) in with_subcommands(&name, &fields) {
                let is_meant =
                    is_family || OTHERS.contains(&name.as_str()) || OTHER_SUBCOMMANDS.contains(&name.as_str());
                if !is_meant || WAITING.contains(&name.as_str()) {
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
        Self { commands, missing }
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

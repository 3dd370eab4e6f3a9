//! Answers in which a server tells about itself, without what is its own: times, addresses, numbers of clients, and what only
//! one of the two has.

use super::normal::{name_of, sorted};
use crate::client::Client;
use crate::reply::Reply;
use std::collections::BTreeSet;

/// What both servers have: names of commands, categories and settings.
#[derive(Clone, Debug)]
pub struct Common {
    names: BTreeSet<String>,
}

impl Common {
    /// Asks both.
    pub fn of(node: &mut Client, redis: &mut Client) -> Self {
        let names = |client: &mut Client| {
            let mut names: BTreeSet<String> =
                client.must("COMMAND LIST").elements().iter().filter_map(Reply::text).collect();
            names.extend(client.must("ACL CAT").elements().iter().filter_map(Reply::text));
            let settings = client.must("CONFIG GET *");
            names.extend(settings.elements().iter().step_by(2).filter_map(Reply::text));
            names
        };
        let (node, redis) = (names(node), names(redis));
        Self { names: node.intersection(&redis).cloned().collect() }
    }

    fn has(&self, name: &Reply) -> bool {
        name.text().is_some_and(|name| self.names.contains(&name))
    }

    /// The answer to a call, ready to be compared.
    pub fn told(&self, call: &[Vec<u8>], answer: Reply) -> Reply {
        let subcommand = call.get(1).map(|word| String::from_utf8_lossy(word).to_ascii_uppercase());
        match (name_of(call).as_str(), subcommand.as_deref().unwrap_or_default(), answer) {
            ("ACL", "GENPASS", Reply::Bulk(password)) => Reply::Integer(password.len() as i64),
            ("ACL", "LOG", Reply::Array(entries)) => Reply::Array(entries.into_iter().map(log_entry).collect()),
            ("ACL", "LIST" | "GETUSER", answer) => rules_in_order(answer),
            ("PUBSUB", "CHANNELS" | "SHARDCHANNELS", answer) => sorted(answer, 1),
            ("ACL", "CAT", Reply::Array(names)) | ("COMMAND", "LIST", Reply::Array(names)) => {
                sorted(Reply::Array(names.into_iter().filter(|name| self.has(name)).collect()), 1)
            }
            ("CONFIG", "GET", answer) => pairs(answer, |name| self.has(name)),
            ("HELLO", _, answer) if !answer.is_error() => {
                pairs(answer, |name| !matches!(name.text().as_deref(), Some("id" | "version")))
            }
            ("FUNCTION", "LIST", answer) => in_any_order(answer),
            ("FUNCTION", "DUMP", Reply::Bulk(_)) => Reply::Simple("a payload".to_owned()),
            ("MEMORY", "USAGE", Reply::Integer(_)) => Reply::Integer(0),
            ("MEMORY", "STATS", answer) => names_of(answer),
            // Which commands are timed is each server's own business, and so is which of them take long.
            ("LATENCY", "HISTOGRAM", Reply::Array(_) | Reply::Map(_)) => Reply::Simple("histograms".to_owned()),
            ("SLOWLOG", "GET", Reply::Array(_)) => Reply::Simple("entries".to_owned()),
            ("SLOWLOG", "LEN", Reply::Integer(_)) => Reply::Integer(0),
            (_, _, answer) => answer,
        }
    }
}

/// The same kind of aggregate with other elements.
fn with(like: &Reply, elements: Vec<Reply>) -> Reply {
    match like {
        Reply::Map(_) => Reply::Map(elements),
        Reply::Set(_) => Reply::Set(elements),
        Reply::Push(_) => Reply::Push(elements),
        _ => Reply::Array(elements),
    }
}

/// Names and values in the order of the names, without those that are not wanted.
fn pairs(answer: Reply, is_wanted: impl Fn(&Reply) -> bool) -> Reply {
    if answer.is_error() {
        return answer;
    }
    let wanted = answer.elements().chunks(2).filter(|pair| is_wanted(&pair[0])).flatten().cloned().collect();
    sorted(with(&answer, wanted), 2)
}

fn names_of(answer: Reply) -> Reply {
    if answer.is_error() {
        return answer;
    }
    let names =
        answer.elements().iter().step_by(2).filter(|name| name.text().is_none_or(|name| !name.starts_with("db.")));
    sorted(Reply::Array(names.cloned().collect()), 1)
}

/// Without when it was, and by whom as the server knows clients.
fn log_entry(entry: Reply) -> Reply {
    const COMPARED: &[&str] = &["count", "reason", "context", "object", "username"];
    pairs(entry, |name| name.text().is_some_and(|name| COMPARED.contains(&name.as_str())))
}

/// Rules about single commands in the order of their names: Redis keeps them in an order of its own.
fn rules_in_order(answer: Reply) -> Reply {
    match answer {
        Reply::Bulk(text) if text.windows(2).any(|two| matches!(two, b" +" | b" -")) => {
            let text = String::from_utf8_lossy(&text).into_owned();
            let mut words: Vec<&str> = text.split(' ').collect();
            words.sort();
            Reply::Bulk(words.join(" ").into_bytes())
        }
        Reply::Array(elements) => Reply::Array(elements.into_iter().map(rules_in_order).collect()),
        Reply::Map(elements) => Reply::Map(elements.into_iter().map(rules_in_order).collect()),
        Reply::Set(elements) => sorted(Reply::Set(elements), 1),
        answer => answer,
    }
}

/// All lists of lists in a fixed order.
fn in_any_order(answer: Reply) -> Reply {
    match answer {
        Reply::Map(elements) => Reply::Map(elements.into_iter().map(in_any_order).collect()),
        Reply::Array(elements) => {
            let is_list = elements.iter().all(|element| !element.elements().is_empty());
            let elements: Vec<Reply> = elements.into_iter().map(in_any_order).collect();
            if is_list { sorted(Reply::Array(elements), 1) } else { Reply::Array(elements) }
        }
        Reply::Set(elements) => sorted(Reply::Set(elements), 1),
        answer => answer,
    }
}

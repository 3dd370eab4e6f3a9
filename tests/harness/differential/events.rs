//! Events of keys (`notify-keyspace-events`), side by side: the same random calls, and what subscribers hear of them.

use super::generator::Generator;
use super::normal::name_of;
use super::session::Session;
use super::{CALLS, Difference, Grammar, Report};
use crate::client::{Client, shown};
use crate::random::Random;
use crate::reply::Reply;

/// What chance decides, and what Redis itself does at some time.
const NOT_COMPARED: &[&str] = &["SPOP", "RANDOMKEY", "SCAN", "SSCAN", "HSCAN", "ZSCAN", "RESET", "SWAPDB"];

/// Runs the sequence of every seed, as [`super::run`], and compares the events of each call.
pub fn run_events(
    grammar: &Grammar,
    seeds: impl IntoIterator<Item = u64>,
    node: &dyn Fn() -> Client,
    redis: &dyn Fn() -> Client,
) -> Report {
    let mut report = Report::default();
    let mut session = Session::new(node, redis);
    let mut listeners = [Listener::new(node()), Listener::new(redis())];
    for seed in seeds {
        sequence(grammar, seed, &mut session, &mut listeners, &mut report);
        report.sequences += 1;
    }
    report
}

fn sequence(
    grammar: &Grammar,
    seed: u64,
    session: &mut Session<'_>,
    listeners: &mut [Listener; 2],
    report: &mut Report,
) {
    let mut generator = Generator::new(grammar, Random::new(seed));
    session.begin(2);
    listeners.iter_mut().for_each(|listener| drop(listener.heard()));
    let mut history = Vec::new();
    for _ in 0..CALLS {
        let call = generator.call();
        if name_of(&call) == "CONFIG" {
            // It could turn the events off.
            continue;
        }
        history.push(shown(&call));
        let answers = session.call(&call);
        let [node, redis] = listeners.each_mut().map(Listener::heard);
        if answers.difference().is_some() {
            // What follows from different data says nothing.
            return;
        }
        if NOT_COMPARED.contains(&name_of(&call).as_str()) {
            continue;
        }
        report.calls += 1;
        *report.by_command.entry(name_of(&call)).or_default() += redis.len() as u64;
        if node != redis {
            let names = |events: &[String]| {
                let names: Vec<&str> = events.iter().filter_map(|event| event.split(' ').next()).collect();
                names.join(" ")
            };
            let kind = format!("{}: redis [{}] / node [{}]", name_of(&call), names(&redis), names(&node));
            let recent = history[history.len().saturating_sub(6)..].join("\n      ");
            let example =
                format!("seed {seed}\n      {recent}\n    redis: {}\n    node:  {}", redis.join(", "), node.join(", "));
            report.differences.entry(kind).or_insert(Difference { count: 0, example }).count += 1;
            return;
        }
    }
}

/// A client that hears of all events.
struct Listener {
    client: Client,
    asked: u64,
}

impl Listener {
    fn new(mut client: Client) -> Self {
        // Not `m`: which of the keys that a command misses are told is told by Redis in ways of its own.
        client.must("CONFIG SET notify-keyspace-events EAn");
        client.must("PSUBSCRIBE __keyevent@*__:*");
        Self { client, asked: 0 }
    }

    /// What it has heard since it was asked last.
    fn heard(&mut self) -> Vec<String> {
        self.asked += 1;
        let word = format!("asked-{}", self.asked);
        self.client.queue(&["PING", &word]);
        self.client.send().expect("the server takes requests");
        let mut heard = Vec::new();
        loop {
            let message = self.client.receive().expect("the server answers");
            let words: Vec<String> = message.elements().iter().filter_map(Reply::text).collect();
            match words.as_slice() {
                [kind, _, channel, key] if kind == "pmessage" => {
                    let channel = channel.trim_start_matches("__keyevent@");
                    let (database, event) = channel.split_once("__:").expect("a channel of events");
                    // When a life ends each server finds out at its own time.
                    if event != "expired" {
                        heard.push(format!("{event} {database}/{}", key.escape_debug()));
                    }
                }
                [pong, said] if pong == "pong" && *said == word => return heard,
                other => panic!("{other:?}"),
            }
        }
    }
}

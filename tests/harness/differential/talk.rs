//! Random talks of three clients, side by side with a node and with Redis: what each of them is told, turn by turn.

use super::normal::name_of;
use super::parties::{Parties, Told};
use super::session::told_apart;
use super::told::Common;
use super::topics::Talker;
use super::{Difference, Grammar, Report, class, cut};
use crate::client::{Client, shown};
use crate::reply::Reply;

/// Turns of one talk.
const TURNS: usize = 60;
/// Turns that are shown with a difference.
const HISTORY_SHOWN: usize = 24;

/// Runs the talk of every seed, as [`super::run`].
pub fn run_talks(
    grammar: &Grammar,
    seeds: impl IntoIterator<Item = u64>,
    node: &dyn Fn() -> Client,
    redis: &dyn Fn() -> Client,
) -> Report {
    let mut report = Report::default();
    let common = Common::of(&mut node(), &mut redis());
    for seed in seeds {
        talk(grammar, seed, [node, redis], &common, &mut report);
        report.sequences += 1;
    }
    report
}

fn talk(grammar: &Grammar, seed: u64, servers: [&dyn Fn() -> Client; 2], common: &Common, report: &mut Report) {
    let mut talker = Talker::new(grammar, seed);
    let versions = talker.versions();
    let [mut node, mut redis] = servers.map(|server| Parties::new(server, &versions, common));
    let mut history = Vec::new();
    for _ in 0..TURNS {
        let turn = talker.turn(&redis);
        let requests: Vec<String> = turn.requests.iter().map(|request| shown(request)).collect();
        history.push(format!("{}: {}", turn.who, requests.join("; ")));
        let by_redis = redis.take(&turn, None);
        let by_node = node.take(&turn, Some(&redis.waiting()));
        report.calls += turn.requests.len() as u64;
        let name = name_of(&turn.requests[0]);
        *report.by_command.entry(name.clone()).or_default() += turn.requests.len() as u64;
        let different =
            (0..versions.len()).find(|&who| by_redis[who] != by_node[who] || redis.waits(who) != node.waits(who));
        if let Some(who) = different {
            let told = |told: &Told, waits: bool| {
                let state = if waits { "waits " } else { "" };
                let texts = |replies: &[Reply]| replies.iter().map(told_apart).collect::<Vec<_>>().join(" ");
                format!("{state}{} | {} | {}", texts(&told.answers), texts(&told.messages), told.forgotten.join(" "))
            };
            let (there, here) = (told(&by_redis[who], redis.waits(who)), told(&by_node[who], node.waits(who)));
            let kind = format!("{} {name}: redis {} / node {}", talker.topic.name, class(&there), class(&here));
            let recent = history[history.len().saturating_sub(HISTORY_SHOWN)..].join("\n      ");
            let example = format!(
                "versions {versions:?}, talk {seed}, client {who}\n      {recent}\n    redis: {}\n    node:  {}",
                cut(&there),
                cut(&here)
            );
            report.differences.entry(kind).or_insert(Difference { count: 0, example }).count += 1;
            return;
        }
    }
}

//! What concurrent commands in two regions converge to, as data: every row of the command table that writes has a
//! scenario here for what its `merge` says.

use crate::conformance::Server;
use crate::conformance::expected::Expected;
use crate::conformance::node::Pelago;
use crate::conformance::reply::Answer;
use crate::conformance::script::{arguments, parse_step};
use crdt::NodeNumber;
use keyspace::{Drain, Keyspace, OpenBatch};
use resp::Version;
use server::command::{Command, FAMILIES, Group, Merge};
use std::collections::HashSet;
use std::sync::Arc;

const SCRIPT: &str = include_str!("merge.txt");

/// One region: a node, and what drains its changes for the other.
struct Region {
    name: &'static str,
    number: NodeNumber,
    keyspace: Arc<Keyspace>,
    node: Pelago,
    drain: Drain,
}

impl Region {
    fn new(name: &'static str, number: u16) -> Self {
        let number = NodeNumber::new(number).unwrap();
        let keyspace = Keyspace::new(u64::from(number.value()));
        keyspace.set_number(number);
        let mut node = Pelago::on(Arc::clone(&keyspace));
        node.call(&[b"HELLO".to_vec(), b"3".to_vec()]);
        Self { name, number, node, keyspace, drain: Drain::default() }
    }

    fn receive(&self, origin: NodeNumber, batches: &[OpenBatch]) {
        for batch in batches {
            let OpenBatch { previous, last, payload, .. } = batch;
            self.keyspace.apply(origin, *previous, *last, payload, self.node.now()).unwrap();
        }
    }
}

/// Two regions with one clock.
struct World {
    east: Region,
    west: Region,
    is_exchanged: bool,
}

impl World {
    fn new() -> Self {
        Self { east: Region::new("east", 1), west: Region::new("west", 2), is_exchanged: true }
    }

    fn region(&mut self, name: &str) -> &mut Region {
        if name == self.east.name { &mut self.east } else { &mut self.west }
    }

    fn call(&mut self, name: &str, args: &[Vec<u8>]) -> Answer {
        let now = self.east.node.now().max(self.west.node.now());
        let node = &mut self.region(name).node;
        node.wait_until(now);
        node.call(args)
    }

    fn exchange(&mut self) {
        let from_east = self.east.drain.take(&self.east.keyspace);
        let from_west = self.west.drain.take(&self.west.keyspace);
        self.east.receive(self.west.number, &from_west);
        self.west.receive(self.east.number, &from_east);
        self.is_exchanged = true;
    }

    /// One line of the script, and what is wrong with the answers.
    fn step(&mut self, number: usize, line: &str) -> Vec<String> {
        if line == "====" {
            self.exchange();
            return Vec::new();
        }
        let (regions, args, expected): (&[&str], _, _) = match line.split_once("> ") {
            Some(("both", call)) => {
                if !self.is_exchanged {
                    self.exchange();
                }
                let step = parse_step(number, call).unwrap_or_else(|| panic!("merge.txt:{number}: {line}"));
                (&["east", "west"], step.args.clone(), Some(step.expected(Version::Resp3).clone()))
            }
            Some((region, call)) => {
                self.is_exchanged = false;
                let region: &[&str] = if region == "east" { &["east"] } else { &["west"] };
                match parse_step(number, call) {
                    Some(step) => (region, step.args.clone(), Some(step.expected(Version::Resp3).clone())),
                    None => (region, arguments(call).unwrap(), None),
                }
            }
            None => panic!("merge.txt:{number}: cannot be read: {line}"),
        };
        let mut wrong = Vec::new();
        for region in regions {
            let answer = self.call(region, &args);
            let fits = match &expected {
                Some(expected) => expected.fits(&answer, Version::Resp3),
                None => !matches!(answer, Answer::Error(_)),
            };
            if !fits {
                let expected = expected.as_ref().map_or("anything but an error".to_owned(), Expected::to_string);
                wrong.push(format!(
                    "merge.txt:{number}: {line}\n    expected {expected}\n    {region} answered {answer}"
                ));
            }
        }
        wrong
    }
}

#[test]
fn concurrent_commands_converge_to_what_the_table_says() {
    let mut wrong = Vec::new();
    let mut world = World::new();
    for (index, line) in SCRIPT.lines().enumerate() {
        if line.starts_with("## ") {
            world = World::new();
        } else if !line.is_empty() && !line.starts_with('#') {
            wrong.extend(world.step(index + 1, line));
        }
    }
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_command_that_writes_keys_has_a_scenario() {
    let calls = SCRIPT.lines().filter_map(|line| line.strip_prefix("east> ").or_else(|| line.strip_prefix("west> ")));
    let called: HashSet<String> =
        calls.filter_map(|call| call.split(' ').next()).map(str::to_ascii_lowercase).collect();
    for command in FAMILIES.iter().flat_map(|rows| rows.iter()).filter(|command| writes_keys(command)) {
        assert!(called.contains(command.name), "merge.txt has no scenario for {}", command.name);
    }
}

/// `SWAPDB` counts as a write, but is always refused. `MIGRATE` needs another server: processes of their own have it.
fn writes_keys(command: &Command) -> bool {
    let holds_keys = match command.group {
        Group::Generic
        | Group::String
        | Group::Bitmap
        | Group::Hash
        | Group::List
        | Group::Set
        | Group::SortedSet
        | Group::Geo
        | Group::HyperLogLog
        | Group::Stream
        | Group::Server => true,
        Group::Connection
        | Group::Cluster
        | Group::Transactions
        | Group::PubSub
        | Group::Pelago
        | Group::Sentinel
        | Group::Scripting => false,
    };
    holds_keys && matches!(command.merge, Merge::Writes(_)) && !["swapdb", "migrate"].contains(&command.name)
}

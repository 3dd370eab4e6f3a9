//! What every command answers, as data: one script a family, written from what Redis 7.0.15 answers.
//!
//! Each script runs in RESP2 and in RESP3 against this server's dispatcher, and against a real `redis-server` where
//! one is installed, so that a script cannot say something that Redis does not. A new command is a scenario more.

mod access;
mod differential;
pub mod expected;
mod introspection;
mod known;
pub mod node;
pub mod redis;
pub mod reply;
pub mod script;
mod scripting;
mod sketches;

use expected::Expected;
use reply::Answer;
use resp::Version;
use script::{Audience, Scenario};

/// The scripts, by the family they are about.
pub const SCRIPTS: &[(&str, &str)] = &[
    ("string", include_str!("scripts/string.txt")),
    ("bits", include_str!("scripts/bits.txt")),
    ("hyperloglog", include_str!("scripts/hyperloglog.txt")),
    ("generic", include_str!("scripts/generic.txt")),
    ("sort", include_str!("scripts/sort.txt")),
    ("dump", include_str!("scripts/dump.txt")),
    ("hash", include_str!("scripts/hash.txt")),
    ("fields", include_str!("scripts/fields.txt")),
    ("set", include_str!("scripts/set.txt")),
    ("list", include_str!("scripts/list.txt")),
    ("sorted_set", include_str!("scripts/sorted_set.txt")),
    ("geo", include_str!("scripts/geo.txt")),
    ("stream", include_str!("scripts/stream.txt")),
    ("groups", include_str!("scripts/groups.txt")),
    ("admin", include_str!("scripts/admin.txt")),
    ("acl", include_str!("scripts/acl.txt")),
    ("instance", include_str!("scripts/instance.txt")),
];

/// Something that answers commands. Each scenario meets a connection that has just been opened, in an empty database 0.
pub trait Server {
    /// Whom scenarios must be meant for.
    const AUDIENCE: Audience;

    /// Empties all databases and goes on with this version.
    fn begin(&mut self, version: Version);

    /// What it answers.
    fn call(&mut self, args: &[Vec<u8>]) -> Answer;
}

/// Runs every scenario of every script and lists everything that was answered otherwise.
fn check<S: Server>(server: &mut S) {
    let mut differences = Vec::new();
    let mut calls = 0;
    for (family, text) in SCRIPTS {
        for scenario in script::parse(family, text).iter().filter(|scenario| scenario.is_for(S::AUDIENCE)) {
            for version in [Version::Resp2, Version::Resp3] {
                calls += scenario.steps.len();
                run(server, family, scenario, version, &mut differences);
            }
        }
    }
    assert!(calls > 1000, "the scripts are there");
    assert!(differences.is_empty(), "{} of {calls} answers differ:\n{}", differences.len(), differences.join("\n"));
}

fn run<S: Server>(server: &mut S, family: &str, scenario: &Scenario, version: Version, differences: &mut Vec<String>) {
    server.begin(version);
    for step in &scenario.steps {
        let answer = server.call(&step.args);
        let expected: &Expected = step.expected(version);
        if !expected.fits(&answer, version) {
            differences.push(format!(
                "{family}.txt:{} ({version:?}, \"{}\"): {}\n    expected {expected}\n    answered {answer}",
                step.line, scenario.title, step.text
            ));
        }
    }
}

#[test]
fn every_command_answers_as_its_script_says() {
    check(&mut node::Pelago::new());
}

#[test]
fn the_scripts_say_what_redis_answers() {
    match redis::Redis::start() {
        Some(mut redis) => check(&mut redis),
        None => eprintln!("SKIPPED: no redis-server 7.0 is installed, so the scripts are not compared with Redis"),
    }
}

#[test]
fn every_command_of_the_families_has_a_line_in_a_script() {
    use server::command::{Command, bits, generic, geo, hash, hyperloglog, list, set, sorted_set, string};
    const FAMILIES: &[&[Command]] = &[
        string::COMMANDS,
        string::counter::COMMANDS,
        string::lcs::COMMANDS,
        bits::COMMANDS,
        bits::field::COMMANDS,
        hyperloglog::COMMANDS,
        generic::COMMANDS,
        generic::expiry::COMMANDS,
        generic::object::COMMANDS,
        hash::COMMANDS,
        hash::expiry::COMMANDS,
        set::COMMANDS,
        set::algebra::COMMANDS,
        list::COMMANDS,
        list::moving::COMMANDS,
        sorted_set::COMMANDS,
        sorted_set::range::COMMANDS,
        sorted_set::algebra::COMMANDS,
        sorted_set::waiting::COMMANDS,
        geo::COMMANDS,
        geo::search::COMMANDS,
    ];
    let mut named = std::collections::HashSet::new();
    for (family, text) in SCRIPTS {
        for step in script::parse(family, text).iter().flat_map(|scenario| &scenario.steps) {
            named.insert(step.args[0].to_ascii_lowercase());
        }
    }
    for command in FAMILIES.iter().flat_map(|rows| rows.iter()) {
        assert!(named.contains(command.name.as_bytes()), "no script calls {}", command.name);
    }
}

//! The house's rules that a program can check: who may name whom, how long files are, what must not be left behind.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which crate may use which, as `docs/architecture.md` says. Development dependencies are free.
const MAY_USE: &[(&str, &[&str])] = &[
    ("crdt", &[]),
    ("resp", &[]),
    ("rdb", &[]),
    ("protocol", &["crdt"]),
    ("transport", &["protocol"]),
    ("keyspace", &["crdt"]),
    ("storage", &["crdt"]),
    ("server", &["crdt", "resp", "rdb", "protocol", "transport", "keyspace", "storage"]),
    ("simulation", &["crdt", "resp", "protocol", "transport", "keyspace", "storage", "server"]),
    ("ops", &["server", "resp", "rdb", "transport"]),
    ("tests", &["crdt", "resp", "server"]),
];
/// Lines past which a source file must be split; most stay near 300.
const FILE_LINES_MAX: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is the parent").to_owned()
}

fn sources() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .expect("git is there");
    let listed = String::from_utf8(listed.stdout).expect("paths are text");
    listed.lines().map(|line| root().join(line)).filter(|path| path.exists()).collect()
}

#[test]
fn crates_use_only_what_the_house_allows() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo is there");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    assert_eq!(names, allowed.keys().copied().collect(), "a crate has come or gone: say what it may use");
    for package in packages {
        let name = package["name"].as_str().expect("packages have names");
        for dependency in package["dependencies"].as_array().expect("a list") {
            let used = dependency["name"].as_str().expect("dependencies have names");
            if names.contains(used) && dependency["kind"].is_null() {
                assert!(allowed[name].contains(&used), "{name} must not use {used}");
            }
        }
    }
}

#[test]
fn no_file_is_longer_than_a_room() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter_map(|path| {
            let lines = std::fs::read_to_string(&path).expect("sources are text").lines().count();
            (lines > FILE_LINES_MAX).then(|| format!("{} has {lines} lines", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "split by phases that have a name:\n{}", long.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in sources().into_iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(&path).expect("sources are text");
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        assert!(first.starts_with("//!"), "{} must open with what it is for", path.display());
    }
}

#[test]
fn nothing_unfinished_is_left_behind() {
    // Written in two pieces, so that this file does not find itself.
    let marks: Vec<String> = [("TO", "DO"), ("FIX", "ME"), ("#[ig", "nore"), ("#[should_", "panic")]
        .iter()
        .map(|(a, b)| format!("{a}{b}"))
        .collect();
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("sources are text");
        for (number, line) in text.lines().enumerate() {
            for mark in &marks {
                assert!(!line.contains(mark.as_str()), "{}:{} has {mark}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn unsafe_code_lives_in_one_room() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("sources are text");
        let has = text
            .lines()
            .any(|line| line.contains(&["unsafe", " {"].concat()) || line.contains(&["unsafe", " impl"].concat()));
        let room = path.ends_with("node/keyspace/src/entry.rs");
        assert!(!has || room, "{} has unsafe code; only the packed entries may", path.display());
    }
}

//! The house's rules that a program can check: who may name whom, how long files are, what must not be left behind.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which crate uses which, as `docs/architecture.md` says: no more, and no less, so that a door that nobody goes through any
/// more is closed. Dependencies of build scripts count; of development dependencies only those in [`MAY_TEST_WITH`] lead to
/// other rooms.
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
    ("tests", &[]),
];
/// What the tests of a crate use beside what it uses itself.
const MAY_TEST_WITH: &[(&str, &[&str])] = &[];
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
    let for_tests: BTreeMap<&str, &[&str]> = MAY_TEST_WITH.iter().copied().collect();
    assert_eq!(names, allowed.keys().copied().collect(), "a crate has come or gone: say what it may use");
    for package in packages {
        let name = package["name"].as_str().expect("packages have names");
        let (mut uses, mut tests_with) = (BTreeSet::new(), BTreeSet::new());
        for dependency in package["dependencies"].as_array().expect("a list") {
            let used = dependency["name"].as_str().expect("dependencies have names");
            if names.contains(used) {
                let is_for_tests = dependency["kind"] == "dev";
                if is_for_tests {
                    tests_with.insert(used)
                } else {
                    uses.insert(used)
                };
            }
        }
        assert_eq!(uses, allowed[name].iter().copied().collect(), "{name} uses other crates than it is to use");
        let more: BTreeSet<&str> = for_tests.get(name).into_iter().copied().flatten().copied().collect();
        assert!(tests_with.iter().all(|used| more.contains(used) || uses.contains(used)), "{name}: {tests_with:?}");
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

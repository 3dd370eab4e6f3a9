//! What `pelago init` makes is there after a power cut: the system is watched while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::binary;

/// What is not durable yet, as told by the calls of a process.
#[derive(Default)]
struct Durability {
    /// Files whose contents a power cut may take.
    contents: BTreeSet<PathBuf>,
    /// Names that it may take, or take back.
    names: BTreeSet<PathBuf>,
}

impl Durability {
    /// Follows one call that has succeeded.
    fn follow(&mut self, call: &str, arguments: &str) {
        let named = quoted(arguments);
        match call {
            "openat" if arguments.contains("O_CREAT") => {
                let Some(path) = named.first() else { return };
                self.contents.insert(path.clone());
                self.names.insert(path.clone());
            }
            "mkdir" => self.names.extend(named),
            "rename" => {
                let [old, new] = named.as_slice() else { panic!("two names: {arguments}") };
                if self.contents.remove(old) {
                    self.contents.insert(new.clone());
                }
                self.names.remove(old);
                self.names.insert(new.clone());
            }
            "fsync" | "fdatasync" => {
                let place = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).expect("a place").0;
                let place = Path::new(place);
                self.contents.remove(place);
                self.names.retain(|name| name.parent() != Some(place));
            }
            _ => {}
        }
    }
}

fn quoted(arguments: &str) -> Vec<PathBuf> {
    arguments.split('"').skip(1).step_by(2).map(PathBuf::from).collect()
}

/// The calls of all threads in their order, from what `strace` has left.
fn calls(directory: &Path) -> Vec<String> {
    let mut calls = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("what strace has left") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("text");
        for (place, line) in text.lines().enumerate() {
            let (time, call) = line.split_once(' ').expect("a time and a call");
            calls.insert((time.to_owned(), call.to_owned(), place), call.to_owned());
        }
    }
    calls.into_values().collect()
}

#[test]
fn what_init_has_made_is_durable_when_it_ends() {
    if !Command::new("strace").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!(
            "\n!!! SKIPPED: no strace is installed: whether what `pelago init` makes survives a power cut is NOT tried\n"
        );
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let (traces, cluster) = (home.path().join("traces"), home.path().join("all/of/it"));
    fs::create_dir(&traces).expect("a directory");
    let program = binary::command();
    let mut strace = Command::new("strace");
    strace.args(["-ff", "-ttt", "-y", "-e", "trace=openat,fsync,fdatasync,rename,mkdir", "-o"]);
    strace.arg(traces.join("calls")).arg(program.get_program()).args(program.get_args());
    strace.args(["init", "--region", "eu", "--resp", "127.0.0.1:6379", "--peer", "127.0.0.1:7379", "--dir"]);
    let output = strace.arg(&cluster).output().expect("strace runs");
    let calls = calls(&traces);
    if calls.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        eprintln!("\n!!! SKIPPED: strace may not watch processes here, so a power cut is NOT tried: {said}\n");
        return;
    }
    assert!(output.status.success() && cluster.join("eu-1/pelago.toml").exists(), "{output:?}");
    let mut durability = Durability::default();
    for line in &calls {
        let Some((call, rest)) = line.split_once('(') else { continue };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else { continue };
        let is_here = arguments.contains(home.path().to_str().expect("a name in UTF-8"));
        if is_here && !result.starts_with('-') {
            durability.follow(call, arguments);
        }
    }
    // sled's place for large rows holds none: it is made anew where it is missing.
    durability.names.retain(|name| !name.ends_with("data/blobs"));
    let at_risk: Vec<_> = durability.contents.iter().chain(&durability.names).collect();
    assert!(at_risk.is_empty(), "a power cut may take {at_risk:?}");
}

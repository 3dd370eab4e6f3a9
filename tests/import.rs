//! Moving in and out: data of a real Redis imported from files and from the running server, and exported again.

pub mod contents;
mod files;
mod live;
mod lives;

use contents::Contents;
use serde_json::Value;
use std::process::Output;
use tests::client::Client;
use tests::node::{run, text};

/// Runs `pelago` with `--json`; its last line, and whether its status was 0.
fn report(words: &[&str]) -> (Value, bool) {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    last_line(&words, &run(&words))
}

fn last_line(words: &[&str], output: &Output) -> (Value, bool) {
    let said = text(&output.stdout);
    let row = said.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    let row = row.unwrap_or_else(|| panic!("pelago {words:?} said {said:?} and {:?}", text(&output.stderr)));
    if !output.status.success() {
        println!("pelago {words:?}: {}", text(&output.stderr));
    }
    (row, output.status.success())
}

/// A file that Redis has saved, of what it holds now.
fn saved(redis: &mut Client) -> String {
    redis.must("SAVE");
    let directory = redis.must("CONFIG GET dir");
    format!("{}/dump.rdb", directory.elements()[1].text().expect("a directory has a name"))
}

/// Asserts that both hold the same, but for what imports note and for what `skipped` holds.
fn assert_same(one: &mut Client, other: &mut Client, skipped: &[&str]) {
    let (mut one, mut other) = (Contents::of(one), Contents::of(other));
    for contents in [&mut one, &mut other] {
        contents.forget(|key| key.starts_with("pelago:import:") || skipped.contains(&key));
    }
    let differences = one.differences(&other);
    assert!(
        differences.is_empty(),
        "{} differences: {:#?}",
        differences.len(),
        &differences[..differences.len().min(10)]
    );
}

//! The program under test: built once a run, with the profile and in the directory of the tests themselves.

use crate::cores::program_on;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Names the program to test instead of building it.
const GIVEN_VARIABLE: &str = "PELAGO_TESTS_BINARY";

/// Where `pelago` is.
fn pelago() -> &'static Path {
    static BINARY: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| match std::env::var_os(GIVEN_VARIABLE) {
        Some(given) => Ok(PathBuf::from(given)),
        None => build(),
    });
    BINARY.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

/// A call of `pelago`. Variables that begin with PELAGO_ are settings to it, so it gets none from here.
pub fn command() -> Command {
    command_on(None)
}

/// The same on these cores, or wherever the system likes.
pub fn command_on(cores: Option<&str>) -> Command {
    let mut command = program_on(cores, pelago());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PELAGO_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is the parent")
}

/// Lets cargo build it: nothing happens if it is there and fresh.
fn build() -> Result<PathBuf, String> {
    let this = std::env::current_exe().expect("the system knows what runs");
    // target/debug/deps/acceptance-... for a test, target/debug/outage for a program.
    let here = this.parent().expect("it is in a directory");
    let profile_directory = if here.ends_with("deps") { here.parent().expect("deps is in a profile") } else { here };
    let target = profile_directory.parent().expect("a profile is in the target directory");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "ops", "--bin", "pelago", "--target-dir"]).arg(target).current_dir(root());
    match profile_directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => drop(command.args(["--profile", profile])),
    }
    // What cargo tells a test about its own package would make build scripts of others believe that something changed.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_CRATE_NAME" {
            command.env_remove(&name);
        }
    }
    let status = command.status().expect("cargo is there");
    if !status.success() {
        return Err("there is nothing to test: `cargo build -p ops --bin pelago` failed".to_owned());
    }
    Ok(profile_directory.join(format!("pelago{}", std::env::consts::EXE_SUFFIX)))
}

//! Client libraries, queues, rate limiters, locks and caches as their users run them: programs in `libraries/`, each of
//! which ends with an error if anything is not as it is with Redis. They run in one region of two, and what they wrote
//! is the same in the other one afterwards.

mod redis_rs;

use std::path::{Path, PathBuf};
use std::process::Command;
use tests::cluster::Cluster;
use tests::node::text;

/// Set where the absence of the libraries must not go unnoticed.
const NEEDED_VARIABLE: &str = "PELAGO_TESTS_NEED_LIBRARIES";

/// Where `libraries/install` puts them.
fn installed() -> PathBuf {
    std::env::var_os("PELAGO_TESTS_LIBRARIES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/libraries"),
        |directory| Path::new(&directory).to_owned(),
    )
}

/// The command that runs a script of the libraries, if these are installed. Says so loudly if they are not.
pub(crate) fn interpreter(script: &str) -> Option<Command> {
    let installed = installed();
    let (marker, command) = if script.ends_with(".py") {
        let python = installed.join("python/bin/python");
        (python.clone(), Command::new(python))
    } else {
        let modules = installed.join("node/node_modules");
        let mut command = Command::new("node");
        command.env("NODE_PATH", &modules);
        (modules, command)
    };
    if marker.exists() {
        return Some(command);
    }
    let message = format!("{} is not there (tests/libraries/install puts it there)", marker.display());
    assert!(std::env::var_os(NEEDED_VARIABLE).is_none(), "{message}, and {script} was to be run");
    eprintln!("\n!!! SKIPPED: {message}: {script} is NOT run\n");
    None
}

/// Runs a script in one region of two and waits until both hold the same.
fn run(script: &str) {
    let Some(mut command) = interpreter(script) else { return };
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("libraries").join(script);
    command.arg(path).arg(&cluster.nodes[0].resp);
    // A module that is compiled is kept beside its source otherwise.
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("the interpreter starts");
    assert!(
        output.status.success(),
        "{script} ended with {}:\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    cluster.await_equal();
}

#[test]
fn redis_py_finds_everything_as_in_redis() {
    run("python/redis_py.py");
}

#[test]
fn redis_py_with_asyncio_finds_everything_as_in_redis() {
    run("python/redis_py_asyncio.py");
}

#[test]
fn what_redis_py_keeps_in_its_own_cache_is_never_stale() {
    run("python/client_side_caching.py");
}

#[test]
fn rq_works_its_jobs_off() {
    run("python/rq_queue.py");
}

#[test]
fn celery_works_its_tasks_off() {
    run("python/celery_tasks.py");
}

#[test]
fn limits_counts_with_all_its_strategies() {
    run("python/limits_rates.py");
}

#[test]
fn a_redlock_holds_in_one_region() {
    run("python/redlock.py");
}

#[test]
fn flask_caching_keeps_and_forgets() {
    run("python/flask_caching_store.py");
}

#[test]
fn a_job_of_a_reliable_queue_survives_its_worker() {
    run("python/reliable_queue.py");
}

#[test]
fn ioredis_finds_everything_as_in_redis() {
    run("node/ioredis.js");
}

#[test]
fn node_redis_finds_everything_as_in_redis() {
    run("node/node_redis.js");
}

#[test]
fn bullmq_works_its_jobs_off() {
    run("node/bullmq.js");
}

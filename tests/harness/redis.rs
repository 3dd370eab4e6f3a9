//! The reference: a real `redis-server`, where one is installed.

use crate::client::Client;
use crate::cores::program_on;
use crate::place::{free_stream_address, own_host};
use crate::wait;
use std::process::{Child, Command, Stdio};

/// Set where the absence of Redis must not go unnoticed.
const NEEDED_VARIABLE: &str = "PELAGO_TESTS_NEED_REDIS";
/// What the documentation and the replies are held against.
const VERSION: &str = "7.0.";

/// A running `redis-server`. It ends with this value.
#[derive(Debug)]
pub struct Redis {
    process: Child,
    /// Where it listens.
    pub address: String,
    directory: tempfile::TempDir,
    options: Vec<String>,
    cores: Option<String>,
}

impl Redis {
    /// Starts one without data that keeps nothing on disk. Without Redis 7.0 on this machine it says so loudly and returns
    /// nothing, or panics if `PELAGO_TESTS_NEED_REDIS` is set.
    pub fn start(for_what: &str) -> Option<Self> {
        Self::start_on(None, for_what, &["--appendonly", "no"])
    }

    /// As [`Redis::start`], on these cores and with these options.
    pub fn start_on(cores: Option<&str>, for_what: &str, options: &[&str]) -> Option<Self> {
        let version = Command::new("redis-server").arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        if !version.as_ref().is_ok_and(|text| text.contains(&format!("v={VERSION}"))) {
            let found = version.unwrap_or_else(|error| error.to_string());
            let message = format!("no redis-server {VERSION}x is installed ({}): {for_what}", found.trim());
            assert!(std::env::var_os(NEEDED_VARIABLE).is_none(), "{message} was to be compared with it");
            eprintln!("\n!!! SKIPPED: {message} is NOT compared with Redis\n");
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let address = free_stream_address(own_host());
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let cores = cores.map(str::to_owned);
        let process = run(&address, &directory, &options, cores.as_deref());
        let redis = Self { process, address, directory, options, cores };
        wait::until("redis-server answers", || {
            Client::connect(&redis.address).map(|_| ()).map_err(|error| error.to_string())
        });
        Some(redis)
    }

    /// A connection.
    pub fn client(&self) -> Client {
        Client::connect(&self.address).expect("redis-server takes connections")
    }

    /// The id of its process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The options of another one that follows this one.
    pub fn as_replica(&self) -> [&str; 5] {
        let (host, port) = self.address.rsplit_once(':').expect("an address has a port");
        ["--repl-diskless-load", "on-empty-db", "--replicaof", host, port]
    }

    /// Waits until it has all that the one has which it follows.
    pub fn await_master(&self) {
        let mut client = self.client();
        wait::until("the replica has everything", || match client.must("INFO replication").to_string() {
            text if text.contains("master_link_status:up") => Ok(()),
            text => Err(text),
        });
    }

    /// Ends it without saving anything.
    pub fn stop(&mut self) {
        // It answers by closing the connection.
        let _ = self.client().try_call(&["SHUTDOWN", "NOSAVE"]);
        self.process.wait().expect("the process is ours");
    }

    /// Starts it again with what it had saved, and returns at once.
    pub fn spawn(&mut self) {
        self.process = run(&self.address, &self.directory, &self.options, self.cores.as_deref());
    }
}

fn run(address: &str, directory: &tempfile::TempDir, options: &[String], cores: Option<&str>) -> Child {
    let (host, port) = address.rsplit_once(':').expect("an address has a port");
    program_on(cores, "redis-server")
        .args(["--bind", host, "--port", port, "--save", "", "--dir"])
        .arg(directory.path())
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server starts")
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

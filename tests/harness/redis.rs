//! The reference: a real `redis-server`, where one is installed.

use crate::client::Client;
use crate::place::{free_stream_address, own_host};
use crate::wait;
use std::process::{Child, Command, Stdio};

/// Set where the absence of Redis must not go unnoticed.
const NEEDED_VARIABLE: &str = "PELAGO_TESTS_NEED_REDIS";
/// What the documentation and the replies are held against.
const VERSION: &str = "7.0.";

/// A running `redis-server` without data. It ends with this value.
#[derive(Debug)]
pub struct Redis {
    process: Child,
    /// Where it listens.
    pub address: String,
    _directory: tempfile::TempDir,
}

impl Redis {
    /// Starts one. Without Redis 7.0 on this machine it says so loudly and returns nothing, or panics if
    /// `PELAGO_TESTS_NEED_REDIS` is set.
    pub fn start(for_what: &str) -> Option<Self> {
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
        let (host, port) = address.rsplit_once(':').expect("an address has a port");
        let process = Command::new("redis-server")
            .args(["--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir"])
            .arg(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        let redis = Self { process, address, _directory: directory };
        wait::until("redis-server answers", || {
            Client::connect(&redis.address).map(|_| ()).map_err(|error| error.to_string())
        });
        Some(redis)
    }

    /// A connection.
    pub fn client(&self) -> Client {
        Client::connect(&self.address).expect("redis-server takes connections")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

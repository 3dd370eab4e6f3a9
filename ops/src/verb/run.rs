//! What `serve` and `dev` have in common: settings from everywhere, the log, and the line that says where a node is.

use crate::allocator;
use crate::failure::{Failure, Result};
use crate::target::{PASSWORD_VARIABLE, USER_VARIABLE};
use serde_json::{Value, json};
use server::config::{Config, Sources};
use server::launch::{Addresses, LaunchOptions, Running};
use server::logging::Logging;
use std::path::Path;

/// The settings of a file, the environment and `--set`. `defaults` go before what
/// the file says.
pub fn sources(file: &Path, defaults: &[(&str, &str)], assignments: &[String]) -> Result<Sources> {
    let mut sources = Sources::new();
    sources.read_file(file)?;
    for (name, value) in defaults {
        sources.argument(name, value, "this verb")?;
    }
    sources.environment(variables(), OTHER_USES)?;
    sources.arguments(assignments.iter().cloned())?;
    Ok(sources)
}

/// The variables of the environment. Those that are not text cannot be meant for us.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Variables that are named like settings and are something else.
pub const OTHER_USES: &[&str] = &[PASSWORD_VARIABLE, USER_VARIABLE];

/// Installs the log and says what nodes of this process are given.
pub fn options(config: &Config) -> Result<LaunchOptions> {
    let logging = Logging::install(config)
        .map_err(|error| Failure::System { doing: "write a log", error: std::io::Error::other(error) })?;
    Ok(LaunchOptions { logging: Some(logging), allocator: Some(allocator::figures) })
}

/// The line for scripts: `ready` says whether the node answers commands; one that fills is not ready yet.
pub fn ready_line(running: &Running, ready: bool) -> Value {
    let config = running.node().config.load();
    let Addresses { resp, tls, peer, http } = running.addresses();
    json!({ "ready": ready, "node": config.node, "region": config.region, "resp": resp, "tls": tls, "peer": peer, "http": http })
}

/// Keys of all databases.
pub fn keys(running: &Running) -> u64 {
    (0..keyspace_databases()).map(|database| running.node().keyspace.len(database)).sum()
}

fn keyspace_databases() -> u8 {
    // The setting has one possible value, which fits.
    u8::try_from(Config::default().databases).unwrap_or(u8::MAX)
}

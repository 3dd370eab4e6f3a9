//! `pelago serve`: runs a node until a signal or `SHUTDOWN` ends it.

use super::run;
use crate::failure::{Failure, Result};
use crate::terminal;
use clap::Args;
use indicatif::ProgressBar;
use server::launch::{Running, ServiceManager, launch, stop_on_signals};
use server::setup::CONFIGURATION_FILE;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A node to run.
#[derive(Debug, Args)]
pub struct Serve {
    /// The node's directory, as `init` or `region add` made it
    #[arg(long, required_unless_present = "config")]
    dir: Option<PathBuf>,
    /// Another file of settings than DIR/pelago.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a setting for this run; goes before file and environment
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Print a line of JSON when the node listens, and again when it serves if it fills first
    #[arg(long)]
    json: bool,
}

impl Serve {
    /// Runs it.
    pub fn run(self) -> Result<()> {
        let file = match (&self.config, &self.dir) {
            (Some(file), _) => file.clone(),
            (None, Some(directory)) => configuration_in(directory)?,
            (None, None) => return Err(Failure::Arguments("give the node's directory with --dir".to_owned())),
        };
        let mut sources = run::sources(&file, &[], &self.set)?;
        if let (Some(directory), Some(_)) = (&self.dir, &self.config) {
            sources.argument("dir", &directory.display().to_string(), "--dir")?;
        }
        let options = run::options(&sources.clone().finish()?.load())?;
        let running = launch(sources, &options)?;
        stop_on_signals(vec![Arc::clone(running.node())])
            .map_err(|error| Failure::System { doing: "listen for signals", error })?;
        let told = |error| Failure::System { doing: "reach the service manager that NOTIFY_SOCKET names", error };
        if let Some(manager) = ServiceManager::find(|name| std::env::var_os(name)).map_err(told)? {
            manager.follow(Arc::clone(running.node())).map_err(told)?;
        }
        self.tell(&running);
        running.wait()?;
        Ok(())
    }

    /// Says where the node is, and follows it while it fills.
    fn tell(&self, running: &Running) {
        let loading = || running.node().condition.is_loading();
        let addresses = running.addresses();
        let config = running.node().config.load();
        tracing::info!(
            node = %config.node, region = %config.region, resp = %addresses.resp, peer = %addresses.peer,
            http = %addresses.http.map(|http| http.to_string()).unwrap_or_default(),
            "the node listens"
        );
        let filled_first = loading();
        if self.json && filled_first {
            terminal::offer(run::ready_line(running, false).to_string());
        }
        let bar = (filled_first && std::io::stderr().is_terminal()).then(ProgressBar::new_spinner);
        while loading() && !running.has_stopped() && running.node().console.stop_requested().is_none() {
            if let Some(bar) = &bar {
                let reason = running.node().console.cluster().filling.unwrap_or_default();
                bar.set_message(format!("{reason}: {} keys", terminal::grouped(run::keys(running))));
                bar.tick();
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        if running.has_stopped() || loading() {
            return;
        }
        tracing::info!(node = %config.node, keys = run::keys(running), "the node serves");
        if self.json {
            terminal::offer(run::ready_line(running, true).to_string());
        }
    }
}

/// The settings in a node's directory. What is given instead is mostly the directory around it, or a name that is mistyped.
fn configuration_in(directory: &Path) -> Result<PathBuf> {
    let file = directory.join(CONFIGURATION_FILE);
    if file.exists() {
        return Ok(file);
    }
    let shown = directory.display();
    let wanted = "as `pelago init` or `pelago region add` made it";
    if !directory.is_dir() {
        return Err(Failure::Arguments(format!("there is no directory {shown}; give that of a node, {wanted}")));
    }
    let failed = |error| Failure::File { doing: "look into", path: directory.to_owned(), error };
    let mut nodes: Vec<PathBuf> = std::fs::read_dir(directory)
        .map_err(failed)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join(CONFIGURATION_FILE).exists())
        .take(NODES_NAMED_MAX)
        .collect();
    nodes.sort();
    if nodes.is_empty() {
        return Err(Failure::Arguments(format!(
            "{shown} is no node's directory, since there is no {CONFIGURATION_FILE} in it; give that of a node, {wanted}"
        )));
    }
    let nodes: Vec<String> = nodes.iter().map(|node| format!("--dir {}", node.display())).collect();
    Err(Failure::Arguments(format!(
        "{shown} is the directory of a cluster; give that of a node in it: {}",
        nodes.join(" or ")
    )))
}

/// A sentence with more names than these is not read.
const NODES_NAMED_MAX: usize = 8;
/// Short enough for a start to feel immediate.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_another_directory_than_a_node_s_is_told_which_to_give() {
        let home = tempfile::tempdir().unwrap();
        let said = |path: &Path| configuration_in(path).unwrap_err().to_string();
        let missing = home.path().join("us-east-1");
        assert!(
            said(&missing).starts_with(&format!("there is no directory {};", missing.display())),
            "{}",
            said(&missing)
        );
        assert!(said(home.path()).contains("there is no pelago.toml in it"), "{}", said(home.path()));
        for node in ["us-east-1", "eu-west-1"] {
            std::fs::create_dir(home.path().join(node)).unwrap();
            std::fs::write(home.path().join(node).join(CONFIGURATION_FILE), "").unwrap();
        }
        let shown = home.path().display();
        assert_eq!(
            said(home.path()),
            format!(
                "{shown} is the directory of a cluster; give that of a node in it: --dir {shown}/eu-west-1 or --dir {shown}/us-east-1"
            )
        );
        assert_eq!(configuration_in(&missing).unwrap(), missing.join(CONFIGURATION_FILE));
    }
}

//! `pelago serve`: runs a node until a signal or `SHUTDOWN` ends it.

use super::run;
use crate::failure::{Failure, Result};
use crate::terminal;
use clap::Args;
use indicatif::ProgressBar;
use server::launch::{Running, ServiceManager, launch, stop_on_signals};
use server::setup::CONFIGURATION_FILE;
use std::io::IsTerminal;
use std::path::PathBuf;
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
            (None, Some(directory)) => directory.join(CONFIGURATION_FILE),
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

/// Short enough for a start to feel immediate.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

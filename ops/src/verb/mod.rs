//! The verbs of `pelago`, one file each.

mod backup;
mod bench;
mod cert;
mod check;
mod config;
mod dev;
mod export;
mod import;
mod init;
mod lag;
mod region;
mod restore;
mod run;
mod serve;
mod status;
mod verify;
mod watch;

use crate::failure::{Failure, Result};
use clap::{Args, Subcommand};
use server::config::Address;
use server::setup::NodePlan;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

/// What `pelago` can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run all regions of a cluster on this machine, to try things out
    Dev(dev::Dev),
    /// Make the authority and the first node of a new cluster
    Init(init::Init),
    /// Run a node
    Serve(serve::Serve),
    /// Add, remove and list regions and nodes
    Region(region::Region),
    /// Show the cluster as one node knows it
    Status(status::Status),
    /// Show how far behind its writes every other node is
    Lag(lag::Lag),
    /// Compare the data of all regions; exit status 1 if they differ
    Verify(verify::Verify),
    /// Read and change the settings of a running node
    Config(config::Config),
    /// Issue, renew and show certificates
    Cert(cert::Cert),
    /// Verify what a stopped node keeps in its directory, or a backup; exit status 1 if anything is damaged
    Check(check::Check),
    /// Bring data of Redis or Valkey in, from a file or a running server
    Import(import::Import),
    /// Write all keys of a node into a file that Redis can load
    Export(export::Export),
    /// Copy a node's store while it serves, as it is at one moment; again into the same directory, what has changed
    Backup(backup::Backup),
    /// Write the keys of a backup into a new cluster, or as new writes into one that has keys
    Restore(restore::Restore),
    /// Drive a node or a cluster with load, and measure
    Bench(bench::Bench),
}

impl Verb {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Dev(verb) => verb.run(),
            Self::Init(verb) => done(verb.run()),
            Self::Serve(verb) => done(verb.run()),
            Self::Region(verb) => verb.run(),
            Self::Status(verb) => done(verb.run()),
            Self::Lag(verb) => done(verb.run()),
            Self::Verify(verb) => verb.run(),
            Self::Config(verb) => done(verb.run()),
            Self::Cert(verb) => verb.run(),
            Self::Check(verb) => verb.run(),
            Self::Import(verb) => verb.run(),
            Self::Export(verb) => done(verb.run()),
            Self::Backup(verb) => done(verb.run()),
            Self::Restore(verb) => verb.run(),
            Self::Bench(verb) => done(verb.run()),
        }
    }
}

fn done(outcome: Result<()>) -> Result<ExitCode> {
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Where a new node listens and what it is called: shared by `init` and `region add`.
#[derive(Clone, Debug, Args)]
pub struct NewNode {
    /// Where its clients connect
    #[arg(long, value_name = "HOST:PORT")]
    pub resp: Address,
    /// Where other nodes connect (QUIC, so a UDP port)
    #[arg(long, value_name = "HOST:PORT")]
    pub peer: Address,
    /// The QUIC address other nodes are told, behind NAT or a relay; by default that of --peer
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<Address>,
    /// Where /livez, /readyz and /metrics are served; by default nowhere
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<Address>,
    /// Its name, unique in the cluster; by default the region's with -1
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub node: Option<String>,
}

impl NewNode {
    /// Refuses what the node could not be reached at, or not listen at, before anything is made for it.
    pub fn check(&self) -> Result<()> {
        let named = [
            ("--resp", Some(&self.resp)),
            ("--peer", Some(&self.peer)),
            ("--advertise", self.advertise.as_ref()),
            ("--http", self.http.as_ref()),
        ];
        for (name, address) in named {
            if let Some(address) = address.filter(|address| address.port() == 0) {
                return Err(Failure::Arguments(format!(
                    "{name} {address}: with port 0 nobody would know where the node is after a restart; give the port"
                )));
            }
        }
        // What is for other nodes is UDP, and in nobody's way.
        if let Some(http) = self.http.as_ref().filter(|http| are_one_place(http, &self.resp)) {
            return Err(Failure::Arguments(format!(
                "--resp {} and --http {http} are one place, but each needs an address of its own; give another port",
                self.resp
            )));
        }
        Ok(())
    }

    /// The plan of a node in this region.
    pub fn plan(self, region: String) -> NodePlan {
        let Self { resp, peer, advertise, http, node } = self;
        NodePlan { region, node, resp, peer, advertise, http }
    }
}

/// Whether of two that listen at these addresses the second could not. An address of all interfaces has those of each.
fn are_one_place(one: &Address, other: &Address) -> bool {
    let is_all = |address: &Address| address.host().parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    one.port() == other.port() && (one.host() == other.host() || is_all(one) || is_all(other))
}

/// A name of a region or node, as the settings want it.
pub fn name(text: &str) -> std::result::Result<String, String> {
    let mut sources = server::config::Sources::new();
    match sources.argument("node", text, "the name") {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        Ok(_) => Err("a name is not empty".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A time in seconds and parts of them, at most a day: nobody waits for longer.
pub fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let number = number.ok_or("a time is a number of seconds, 0 or more")?;
    Ok(Duration::from_secs_f64(number.min(SECONDS_MAX)))
}

/// Whether the operator agrees, asked on the terminal. Without a terminal nobody can agree.
pub fn is_agreed(question: &str) -> Result<bool> {
    use std::io::{IsTerminal, Write};
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Arguments(
            "nothing was done; repeat it with --yes to do what the preview says".to_owned(),
        ));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
    read.map_err(|error| Failure::System { doing: "ask on the terminal", error })?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

const SECONDS_MAX: f64 = 86_400.0;

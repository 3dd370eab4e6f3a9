//! `pelago dev`: all regions of a cluster in one process, each with threads of its own, and cutting them off from each
//! other while it runs.

mod board;
mod cluster;
mod cut;
mod home;

use super::name;
use crate::failure::Result;
use crate::target::Password;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// A cluster on this machine.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Dev {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Cut a region of the running cluster off from the others, or from one; it goes on serving its clients
    Cut(Cutting),
    /// Let a region that was cut off meet the others again, or one of them
    Heal(Cutting),
}

/// Which cluster to run.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// The regions
    #[arg(long, value_delimiter = ',', default_value = "us-east,eu-west,ap-south", value_parser = name)]
    pub regions: Vec<String>,
    /// RESP port of the first region, the others follow; QUIC is 1000 higher, HTTP 2000. 0 takes any free ports
    #[arg(long, default_value_t = RESP_PORT)]
    pub resp_port: u16,
    /// Keep certificates, settings and keys here for the next time; by default a directory that is removed at the end
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Milliseconds that everything takes from one region to another
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub wan_delay_ms: u64,
    /// Set a setting of all nodes, but for where they listen and who they are
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Print a line of JSON for each node when it serves
    #[arg(long)]
    pub json: bool,
}

/// A region of a running cluster.
#[derive(Debug, Args)]
pub(crate) struct Cutting {
    /// The region, or one node of it
    pub region: String,
    /// Only the links between the two: what they write reaches each other through the rest
    pub other: Option<String>,
    /// The --resp-port of the running cluster
    #[arg(long, default_value_t = RESP_PORT)]
    pub resp_port: u16,
    #[command(flatten)]
    pub secret: Password,
}

impl Dev {
    /// Runs the cluster, or tells the running one.
    pub fn run(self) -> Result<ExitCode> {
        let done = match self.action {
            None => cluster::run(&self.cluster),
            Some(Action::Cut(cutting)) => cut::order(&cutting, "CUT"),
            Some(Action::Heal(cutting)) => cut::order(&cutting, "HEAL"),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

/// Where Redis' clients look first.
const RESP_PORT: u16 = 6379;

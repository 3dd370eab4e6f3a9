//! `pelago region`: who belongs to the cluster.

mod add;
mod decide;
mod remove;

use super::watch::Watch;
use crate::failure::Result;
use crate::target::Target;
use crate::terminal::{Table, plain};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::process::ExitCode;

/// What to do about a region.
#[derive(Debug, Args)]
pub struct Region {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Admit a new node and make its directory; `pelago serve` there joins and fills
    Add(add::Add),
    /// Remove a region or node for good, once every other region has its writes
    Remove(remove::Remove),
    /// List the members
    List(List),
    /// Accept what a node wrote while its clock was too far ahead
    ReleaseDrift(decide::ReleaseDrift),
    /// Give up what a removed node wrote and nobody has
    Seal(decide::Seal),
}

impl Region {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        let done = match self.action {
            Action::Add(verb) => verb.run(),
            Action::Remove(verb) => verb.run(),
            Action::List(verb) => verb.run(),
            Action::ReleaseDrift(verb) => verb.run(),
            Action::Seal(verb) => verb.run(),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

/// The members to list.
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    watch: Watch,
}

impl List {
    fn run(self) -> Result<()> {
        self.watch.show(&self.target, &["PELAGO", "REGION", "LIST"], text)
    }
}

fn text(answer: &Value) -> String {
    let mut table = Table::new(&["REGION", "NODE", "STATE", "LINK", "CLIENTS", "NODES", "HTTP"]);
    for member in members(answer) {
        let columns = ["region", "node", "state", "link", "resp", "advertise", "http"];
        table.row(columns.iter().map(|column| plain(&member[*column])).collect());
    }
    table.text()
}

/// The members in an answer, by region and name.
pub fn members(answer: &Value) -> Vec<&Value> {
    let mut members: Vec<&Value> = answer["members"].as_array().map_or(&[][..], Vec::as_slice).iter().collect();
    members.sort_by_key(|member| (member["region"].as_str(), member["node"].as_str()));
    members
}

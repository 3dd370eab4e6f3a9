//! `pelago init`: a new cluster's authority and first node.

use super::{NewNode, name};
use crate::failure::Result;
use crate::terminal;
use clap::Args;
use serde_json::json;
use server::launch::wall_clock;
use server::setup::found_cluster;
use std::path::PathBuf;

/// The first node of a new cluster.
#[derive(Debug, Args)]
pub struct Init {
    /// The region of the first node, such as us-east
    #[arg(long, value_parser = name)]
    region: String,
    #[command(flatten)]
    node: NewNode,
    /// Where to put the authority (ca) and the node's directory
    #[arg(long)]
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Init {
    /// Makes the directories.
    pub fn run(self) -> Result<()> {
        let plan = self.node.plan(self.region);
        let made = found_cluster(&self.dir, std::slice::from_ref(&plan), wall_clock())?;
        let node = self.dir.join(plan.name());
        if self.json {
            let told = json!({
                "cluster": transport::server_name(made.cluster).split('.').next(),
                "authority": made.authority,
                "node": plan.name(),
                "dir": node,
            });
            terminal::line(told.to_string());
            return Ok(());
        }
        terminal::line(format!(
            "The cluster's authority is in {}: keep its key safe, it lets nodes in.",
            made.authority.display()
        ));
        terminal::line(format!("Start the node:  pelago serve --dir {}", node.display()));
        terminal::line(format!(
            "Add a region:    pelago region add REGION --resp ADDR --peer ADDR --via {} --ca {} --out DIR",
            plan.resp,
            made.authority.display()
        ));
        Ok(())
    }
}

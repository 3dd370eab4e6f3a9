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
        self.node.check()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        init: Init,
    }

    #[test]
    fn addresses_at_which_nobody_could_be_reached_are_refused_before_anything_is_made() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("cluster");
        let cases = [
            ("--resp h:0 --peer h:2", "--resp h:0: with port 0"),
            ("--resp h:1 --peer h:0", "--peer h:0: with port 0"),
            ("--resp h:1 --peer h:2 --advertise h:0", "--advertise h:0: with port 0"),
            ("--resp h:1 --peer h:2 --http h:0", "--http h:0: with port 0"),
            ("--resp h:1 --peer h:2 --http h:1", "--resp h:1 and --http h:1 are one place"),
            ("--resp 0.0.0.0:1 --peer h:2 --http 127.0.0.1:1", "are one place"),
            ("--resp h:1 --peer h:2 --http [::]:1", "are one place"),
        ];
        let shown = dir.display().to_string();
        for (addresses, reason) in cases {
            let words = ["init", "--region", "us-east", "--dir", &shown].into_iter().chain(addresses.split(' '));
            let said = Line::parse_from(words).init.run().unwrap_err().to_string();
            assert!(said.contains(reason), "{addresses}: {said}");
            assert!(!dir.exists(), "{addresses}");
        }
        // Clients come over TCP and other nodes over UDP: one number is enough for both.
        let words = ["init", "--region", "us-east", "--dir", &shown, "--resp", "h:1", "--peer", "h:1", "--http", "h:2"];
        Line::parse_from(words).init.run().unwrap();
    }
}

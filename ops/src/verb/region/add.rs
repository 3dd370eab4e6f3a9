//! `pelago region add`: admits a node at a live member and makes its directory.

use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::target::Password;
use crate::terminal;
use crate::verb::{NewNode, name};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use server::launch::wall_clock;
use server::setup::{PreparedMember, prepare_member};
use std::path::PathBuf;
use std::time::Duration;

/// A node to admit.
#[derive(Debug, Args)]
pub struct Add {
    /// The region it serves; several nodes may share one
    #[arg(value_parser = name)]
    region: String,
    #[command(flatten)]
    node: NewNode,
    /// RESP address of a live member, which admits it
    #[arg(long, value_name = "HOST:PORT")]
    via: String,
    #[command(flatten)]
    secret: Password,
    /// The authority's directory, as `pelago init` made it
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Where to put the node's directory
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Wait until the node was started and has all data
    #[arg(long)]
    wait: bool,
    /// Print JSON; with --wait a second line when the node serves
    #[arg(long)]
    json: bool,
}

impl Add {
    /// Admits it.
    pub fn run(self) -> Result<()> {
        self.node.check()?;
        let plan = self.node.clone().plan(self.region.clone());
        // First of all: nothing is made when nobody is there.
        let mut client = self.secret.connect(&self.via)?;
        // Nor when what answers is no node: from the question on, nobody could say what had become of it.
        client.json(&["PELAGO", "REGION", "LIST"])?;
        let prepared = prepare_member(&self.ca, &self.out, &plan, wall_clock())?;
        let answer = self.admit(&mut client, prepared)?;
        if self.json {
            let told =
                json!({ "node": plan.name(), "region": self.region, "number": answer["number"], "dir": self.out });
            terminal::line(told.to_string());
        } else {
            terminal::line(format!("{} is admitted.", plan.name()));
            terminal::line(format!("Take {} to its machine and start it:  pelago serve --dir {0}", self.out.display()));
        }
        if self.wait {
            follow(&mut client, &plan.name(), &self.secret)?;
            terminal::line(serving(&plan.name(), self.json));
        }
        Ok(())
    }

    /// Asks the member, and completes the directory with what it answers.
    fn admit(&self, client: &mut Client, prepared: PreparedMember) -> Result<Value> {
        let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (identity, cluster) = (hexadecimal(&prepared.identity.0), hexadecimal(&prepared.cluster.0));
        let record = &prepared.record;
        let request = json!({
            "identity": identity, "cluster": cluster, "name": record.name, "region": record.region,
            "advertise": record.advertise, "resp": record.resp, "http": record.http,
        });
        let answer = match client.json(&["PELAGO", "REGION", "ADD", &request.to_string()]) {
            Ok(answer) => answer,
            Err(failure) if failure.is_uncertain() => {
                prepared.keep();
                return Err(Failure::Arguments(format!(
                    "{failure}; it is not known whether the node was admitted: look at `pelago region list`, remove it there \
                     with `pelago region remove --force` if it was, delete {} and try again",
                    self.out.display()
                )));
            }
            Err(failure) => return Err(failure),
        };
        let membership = answer["membership"].as_str().and_then(from_hexadecimal);
        let Some(membership) = membership else {
            prepared.keep();
            return Err(Failure::Answer { address: self.via.clone(), question: "PELAGO REGION ADD".to_owned() });
        };
        prepared.admitted(&membership)?;
        Ok(answer)
    }
}

/// Shows how the node comes up and fills, until it takes part.
fn follow(client: &mut Client, node: &str, secret: &Password) -> Result<()> {
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {human_pos} of {human_len} keys");
    let bar = ProgressBar::new(1).with_message(format!("{node} is waited for"));
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    loop {
        let status = client.json(&["PELAGO", "STATUS"])?;
        let is_it = |member: &&Value| member["node"] == node && member["state"] != "removed";
        let Some(member) = super::members(&status).into_iter().find(is_it) else {
            return Err(Failure::Arguments(format!("{node} was removed while it was waited for")));
        };
        bar.set_length(status["keys"].as_u64().unwrap_or(0).max(1));
        let own = member["resp"].as_str().and_then(|address| keys_at(address, secret));
        match (member["state"].as_str(), own) {
            (Some("active"), _) => {
                bar.finish_and_clear();
                return Ok(());
            }
            (Some("joining"), own) => {
                bar.set_message(format!("{node} fills"));
                bar.set_position(own.unwrap_or(0));
            }
            (_, own) => {
                bar.set_message(format!("{node} is waited for"));
                bar.set_position(own.unwrap_or(0));
            }
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// What is said when it takes part.
fn serving(node: &str, json: bool) -> String {
    if json { json!({ "node": node, "serves": true }).to_string() } else { format!("{node} has all data and serves.") }
}

/// The keys of the new node; nothing as long as it does not answer.
fn keys_at(address: &str, secret: &Password) -> Option<u64> {
    secret.connect(address).ok()?.json(&["PELAGO", "STATUS"]).ok()?["keys"].as_u64()
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

const LOOK_INTERVAL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_in_json_that_a_node_serves() {
        assert_eq!(serving("eu-1", true), r#"{"node":"eu-1","serves":true}"#);
        assert_eq!(serving("eu-1", false), "eu-1 has all data and serves.");
    }

    #[test]
    fn hexadecimal_is_read_or_refused() {
        assert_eq!(from_hexadecimal("00fFa7"), Some(vec![0, 255, 167]));
        assert_eq!(from_hexadecimal("0"), None);
        assert_eq!(from_hexadecimal("0g"), None);
    }
}

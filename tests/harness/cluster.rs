//! A cluster of real processes on this machine, made with the commands that an operator would use.

use crate::client::Client;
use crate::node::{Node, run, text};
use crate::place::{free_datagram_address, free_stream_address, own_host};
use crate::wait;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Several nodes. They end with this value, and their directories go.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, in the order in which they were made.
    pub nodes: Vec<Node>,
    directory: TempDir,
    settings: Vec<String>,
    /// The cores of the nodes in the order in which they are planned; the last is that of all others too.
    cores: Vec<String>,
    /// Nodes that were ever planned: a region that comes again gets another directory.
    planned: usize,
}

/// What every node of these tests is started with.
const SETTINGS: &[&str] = &["development=yes", "workers=1"];
/// How long one comparison may take; more follow if it was in vain.
const VERIFY: &str = "PELAGO VERIFY 2000";

impl Cluster {
    /// Starts a node for each region, and waits until all of them are connected and equal.
    pub fn start(regions: &[&str]) -> Self {
        Self::start_with(regions, &[])
    }

    /// As [`Cluster::start`], with more settings.
    pub fn start_with(regions: &[&str], settings: &[&str]) -> Self {
        Self::start_on(&[], regions, settings)
    }

    /// As [`Cluster::start_with`], the first node on the first of these cores and so on, all others on the last of them.
    pub fn start_on(cores: &[&str], regions: &[&str], settings: &[&str]) -> Self {
        let cores = cores.iter().map(|&cores| cores.to_owned()).collect();
        let directory = tempfile::Builder::new().prefix("pelago-tests-").tempdir().expect("a temporary directory");
        let settings = SETTINGS.iter().chain(settings).map(|&setting| setting.to_owned()).collect();
        let mut cluster = Self { nodes: Vec::new(), directory, settings, cores, planned: 0 };
        let (first, others) = regions.split_first().expect("a cluster has a region");
        cluster.found(first);
        for region in others {
            cluster.admit(region).unwrap_or_else(|error| panic!("{region} could not be added: {error}"));
        }
        cluster.nodes[1..].iter_mut().for_each(Node::spawn);
        cluster.nodes[1..].iter_mut().for_each(Node::wait_ready);
        cluster.await_equal();
        cluster
    }

    /// `pelago init` and `pelago serve`.
    fn found(&mut self, region: &str) {
        let mut node = self.plan(region);
        node.directory = self.directory.path().join(&node.name);
        let directory = self.directory.path().display().to_string();
        let output = run(&[
            "init", "--region", region, "--resp", &node.resp, "--peer", &node.peer, "--http", &node.http, "--dir",
            &directory,
        ]);
        assert!(output.status.success(), "pelago init: {}", text(&output.stderr));
        node.start();
        self.nodes.push(node);
    }

    /// `pelago region add` at the first node; the new node does not run yet.
    pub fn admit(&mut self, region: &str) -> Result<(), String> {
        let node = self.plan(region);
        let ca = self.authority().display().to_string();
        let output = self.nodes[0].pelago(&[
            "region",
            "add",
            region,
            "--resp",
            &node.resp,
            "--peer",
            &node.peer,
            "--http",
            &node.http,
            "--ca",
            &ca,
            "--out",
            &node.directory.display().to_string(),
        ]);
        if !output.status.success() {
            return Err(text(&output.stderr));
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Adds a region, starts its node, and waits until it serves.
    pub fn add(&mut self, region: &str) {
        self.admit(region).unwrap_or_else(|error| panic!("{region} could not be added: {error}"));
        self.nodes.last_mut().expect("it was just added").start();
    }

    /// Where the authority is.
    pub fn authority(&self) -> std::path::PathBuf {
        self.directory.path().join("ca")
    }

    /// The directory of everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn plan(&mut self, region: &str) -> Node {
        let host = own_host();
        let addresses = [free_stream_address(host), free_datagram_address(host), free_stream_address(host)];
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let directory = self.directory.path().join(format!("{region}-{}", self.planned));
        let cores = self.cores.get(self.planned).or(self.cores.last()).cloned();
        self.planned += 1;
        let mut node = Node::new(region, directory, addresses, &settings);
        node.cores = cores;
        node
    }

    /// A connection to each node.
    pub fn clients(&self) -> Vec<Client> {
        self.nodes.iter().map(Node::client).collect()
    }

    /// Cuts a node off.
    pub fn cut(&self, node: usize) {
        self.nodes[node].client().must("PELAGO CUT");
    }

    /// Lets a node meet the others again.
    pub fn heal(&self, node: usize) {
        self.nodes[node].client().must("PELAGO HEAL");
    }

    /// Cuts the link between two nodes.
    pub fn cut_link(&self, one: usize, other: usize) {
        self.tell_both("CUT", one, other);
    }

    /// Lets two nodes have a link again.
    pub fn heal_link(&self, one: usize, other: usize) {
        self.tell_both("HEAL", one, other);
    }

    fn tell_both(&self, order: &str, one: usize, other: usize) {
        for (node, peer) in [(one, other), (other, one)] {
            self.nodes[node].client().must(&format!("PELAGO {order} {}", self.nodes[peer].name));
        }
    }

    /// Cuts all nodes off from each other, and waits until each knows it.
    pub fn cut_all(&self) {
        (0..self.nodes.len()).for_each(|node| self.cut(node));
        wait::until("all links are down", || {
            for node in &self.nodes {
                let list = node.client().json("PELAGO LAG")?;
                let peers = list["peers"].as_array().cloned().unwrap_or_default();
                if let Some(peer) = peers.iter().find(|peer| peer["link"] != "down") {
                    return Err(format!("{} still has a link: {peer}", node.name));
                }
            }
            Ok(())
        });
    }

    /// Ends all cuts, and waits until all nodes are equal.
    pub fn heal_all(&self) {
        (0..self.nodes.len()).for_each(|node| self.heal(node));
        self.await_equal();
    }

    /// Waits until every node that runs finds all others equal to itself, and says how long that took.
    pub fn await_equal(&self) -> Duration {
        let begin = Instant::now();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            wait::until(&format!("all are equal to {}", node.name), || {
                let verdict = node.client().json(VERIFY)?;
                if verdict["equal"] == true { Ok(()) } else { Err(shortened(&verdict)) }
            });
        }
        begin.elapsed()
    }
}

/// A verdict without long lists of slots.
fn shortened(verdict: &Value) -> String {
    let text = verdict.to_string();
    text.chars().take(VERDICT_LETTERS_SHOWN).collect()
}

const VERDICT_LETTERS_SHOWN: usize = 600;

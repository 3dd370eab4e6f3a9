//! Making the directories of a cluster on this machine, and running its nodes until they stop.

use super::Cluster;
use super::board::Board;
use super::home::TemporaryHome;
use crate::failure::{Failure, Result};
use crate::terminal;
use crate::verb::run;
use server::config::{Address, Origin, Sources, setting};
use server::launch::{Running, Sockets, launch_on, stop_on_signals, wall_clock};
use server::setup::{CONFIGURATION_FILE, NodePlan, found_cluster};
use std::collections::BTreeSet;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A node that is about to be started.
struct Prepared {
    directory: PathBuf,
    sockets: Sockets,
}

/// Runs the cluster until Ctrl-C.
pub fn run(cluster: &Cluster) -> Result<()> {
    check_settings(cluster)?;
    check_environment(run::variables())?;
    let temporary = if cluster.dir.is_none() { Some(TemporaryHome::make(&std::env::temp_dir())?) } else { None };
    let directory = match (&cluster.dir, &temporary) {
        (Some(directory), _) => directory.as_path(),
        (None, Some(temporary)) => temporary.path(),
        (None, None) => Path::new("."),
    };
    let nodes =
        if directory.join("ca").exists() { found_before(cluster, directory)? } else { found(cluster, directory)? };
    let first =
        nodes.first().ok_or_else(|| Failure::Arguments("a cluster needs a region: --regions a,b,c".to_owned()))?;
    let options = run::options(&sources(cluster, &first.directory, nodes.len())?.finish()?.load())?;
    let mut running = Vec::with_capacity(nodes.len());
    let count = nodes.len();
    for Prepared { directory, sockets } in nodes {
        running.push(launch_on(sockets, sources(cluster, &directory, count)?, &options)?);
    }
    stop_on_signals(running.iter().map(|node| Arc::clone(node.node())).collect())
        .map_err(|error| Failure::System { doing: "listen for signals", error })?;
    follow(cluster, &running, directory);
    let mut outcome = Ok(());
    for node in running {
        outcome = outcome.and(node.wait());
    }
    Ok(outcome?)
}

/// Refuses settings that each node has a value of its own for: one for all would not be used, or could not be right.
fn check_settings(cluster: &Cluster) -> Result<()> {
    for assignment in &cluster.set {
        let name = assignment.split('=').next().unwrap_or_default().trim();
        let own = setting(name).and_then(|setting| OWN_SETTINGS.iter().find(|(own, _)| *own == setting.name()));
        if let Some((name, instead)) = own {
            return Err(Failure::Arguments(format!(
                "--set {assignment}: each node of dev has a {name} of its own; {instead}"
            )));
        }
    }
    Ok(())
}

/// The same for the environment, which would go before what is written down for each node.
fn check_environment(variables: impl Iterator<Item = (String, String)>) -> Result<()> {
    for (variable, value) in variables {
        let mut given = Sources::new();
        given.environment([(variable.clone(), value)], run::OTHER_USES)?;
        let own = OWN_SETTINGS.iter().find(|(own, _)| given.origin(own) == Some(Origin::Environment));
        if let Some((name, instead)) = own {
            return Err(Failure::Arguments(format!(
                "{variable} is set: each node of dev has a {name} of its own; unset it, and {instead}"
            )));
        }
    }
    Ok(())
}

/// Settings that nodes are given one by one, and what is used instead.
const OWN_SETTINGS: &[(&str, &str)] = &[
    ("region", "choose regions with --regions"),
    ("node", "choose regions with --regions"),
    ("cluster-id", "the cluster is founded with one"),
    ("resp", "choose ports with --resp-port"),
    ("tls-port", "run nodes with `pelago serve` for that"),
    ("peer", "choose ports with --resp-port"),
    ("advertise", "choose ports with --resp-port"),
    ("http", "choose ports with --resp-port"),
    ("dir", "choose a directory with --dir, outside --set"),
];

/// The settings of one node. What is only for trying things out can still be set otherwise.
fn sources(cluster: &Cluster, directory: &Path, nodes: usize) -> Result<Sources> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = (cores / nodes.max(1)).max(1).to_string();
    let delay = cluster.wan_delay_ms.to_string();
    let defaults = [
        ("development", "yes"),
        ("loglevel", "warning"),
        // A cut makes links fail, as it should.
        ("log-levels", "server::peers=error,transport=error"),
        ("workers", &workers),
        ("wan-delay-ms", &delay),
    ];
    run::sources(&directory.join(CONFIGURATION_FILE), &defaults, &cluster.set)
}

/// Founds the cluster. Sockets come first, so that the addresses that nodes are told are the real ones.
fn found(cluster: &Cluster, directory: &Path) -> Result<Vec<Prepared>> {
    let mut plans = Vec::new();
    let mut bound = Vec::new();
    for (index, region) in cluster.regions.iter().enumerate() {
        let mut wanted = Sources::new();
        for (name, above) in [("resp", 0), ("peer", 1000), ("http", 2000)] {
            let address = Address::new("127.0.0.1", port(cluster.resp_port, above, index)?);
            wanted.argument(name, &address.to_string(), "--resp-port")?;
        }
        let sockets = Sockets::bind(&wanted.finish()?.load())?;
        let real = sockets.addresses().map_err(|error| Failure::System { doing: "look at a socket", error })?;
        let address = |real: std::net::SocketAddr| Address::new(real.ip().to_string(), real.port());
        plans.push(NodePlan {
            region: region.clone(),
            node: None,
            resp: address(real.resp),
            peer: address(real.peer),
            advertise: None,
            http: real.http.map(address),
        });
        bound.push(sockets);
    }
    let made = found_cluster(directory, &plans, wall_clock())?;
    Ok(made.nodes.into_iter().zip(bound).map(|(directory, sockets)| Prepared { directory, sockets }).collect())
}

fn port(first: u16, above: u16, index: usize) -> Result<u16> {
    if first == 0 {
        return Ok(0);
    }
    let port = u16::try_from(index).ok().and_then(|index| first.checked_add(above)?.checked_add(index));
    port.ok_or_else(|| Failure::Arguments("the ports end at 65535; choose a smaller --resp-port".to_owned()))
}

/// The nodes that an earlier run left in the directory, in the order of their ports.
fn found_before(cluster: &Cluster, directory: &Path) -> Result<Vec<Prepared>> {
    let failed = |error| Failure::File { doing: "look into", path: directory.to_owned(), error };
    let mut nodes = Vec::new();
    let mut regions = BTreeSet::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let directory = entry.map_err(failed)?.path();
        let file = directory.join(CONFIGURATION_FILE);
        if file.exists() {
            let settings = run::sources(&file, &[], &[])?.finish()?;
            let config = settings.load();
            regions.insert(config.region.clone());
            nodes.push((config.resp.port(), directory, Sockets::bind(&config)?));
        }
    }
    nodes.sort_by_key(|(port, ..)| *port);
    let asked: BTreeSet<String> = cluster.regions.iter().cloned().collect();
    let other_port = cluster.resp_port != 0 && nodes.first().is_some_and(|(port, ..)| *port != cluster.resp_port);
    if asked != regions || other_port {
        let kept: Vec<String> = regions.into_iter().collect();
        return Err(Failure::Arguments(format!(
            "{} holds a cluster of {} from port {} on; run it with --regions {} --resp-port {2}, or choose another --dir",
            directory.display(),
            kept.join(" and "),
            nodes.first().map_or(0, |(port, ..)| *port),
            kept.join(",")
        )));
    }
    Ok(nodes.into_iter().map(|(_, directory, sockets)| Prepared { directory, sockets }).collect())
}

/// Tells where everything is, and how it is until all nodes have stopped.
fn follow(cluster: &Cluster, nodes: &[Running], directory: &Path) {
    let stopping = || nodes.iter().all(|node| node.node().console.stop_requested().is_some() || node.has_stopped());
    while nodes.iter().any(|node| node.node().condition.is_loading()) && !stopping() {
        std::thread::sleep(START_LOOK_INTERVAL);
    }
    if cluster.json {
        nodes.iter().for_each(|node| terminal::offer(run::ready_line(node, true).to_string()));
    } else {
        greet(cluster, nodes, directory);
    }
    let board = (!cluster.json && std::io::stderr().is_terminal()).then(|| Board::new(nodes.len()));
    while !nodes.iter().all(Running::has_stopped) {
        if let Some(board) = &board {
            board.show(nodes);
        }
        std::thread::sleep(BOARD_INTERVAL);
    }
    if let Some(board) = board {
        board.show(nodes);
        board.finish();
    }
}

fn greet(cluster: &Cluster, nodes: &[Running], directory: &Path) {
    let first = nodes.first().map_or(0, |node| node.addresses().resp.port());
    for node in nodes {
        let http = node.addresses().http.map(|http| format!("   http://{http}/metrics")).unwrap_or_default();
        let region = &node.node().config.load().region;
        terminal::offer(format!("{region:<12} redis-cli -p {}{http}", node.addresses().resp.port()));
    }
    let port = if first == 6379 { String::new() } else { format!(" --resp-port {first}") };
    let region = cluster.regions.last().map_or("REGION", String::as_str);
    terminal::offer(format!(
        "cut a region off: pelago dev cut {region}{port}    and back: pelago dev heal {region}{port}"
    ));
    let kept = if cluster.dir.is_some() { "kept in" } else { "in, and removed from," };
    terminal::offer(format!("certificates and settings are {kept} {}. Ctrl-C stops everything.", directory.display()));
}

const START_LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// As often as a person can read numbers, and soon enough after Ctrl-C.
const BOARD_INTERVAL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        cluster: Cluster,
    }

    #[test]
    fn what_each_node_has_of_its_own_is_not_set_for_all() {
        for assignment in
            ["resp=127.0.0.1:1", "peer=h:1", "http=", "dir=x", "DIR = x", "region=a", "node=b", "cluster-id=0"]
        {
            let line = Line::parse_from(["dev", "--set", "maxmemory=1gb", "--set", assignment]);
            let said = run(&line.cluster).unwrap_err().to_string();
            assert!(said.starts_with(&format!("--set {assignment}: each node of dev has a ")), "{said}");
        }
        let line = Line::parse_from(["dev", "--set", "workers=2", "--set", "loglevel=debug"]);
        check_settings(&line.cluster).unwrap();
    }

    #[test]
    fn what_each_node_has_of_its_own_is_not_taken_from_the_environment() {
        let check = |name: &str, value: &str| check_environment([(name.to_owned(), value.to_owned())].into_iter());
        for (name, value) in [
            ("PELAGO_RESP", "127.0.0.1:1"),
            ("PELAGO_PEER", "h:1"),
            ("PELAGO_HTTP", ""),
            ("PELAGO_DIR", "x"),
            ("PELAGO_TLS_PORT", "6380"),
            ("PELAGO_REGION", "a"),
        ] {
            let said = check(name, value).unwrap_err().to_string();
            assert!(said.starts_with(&format!("{name} is set: each node of dev has a ")), "{said}");
        }
        // Others are for all nodes, for other verbs, or not for us.
        for (name, value) in [
            ("PELAGO_MAXMEMORY", "1gb"),
            ("PELAGO_PASSWORD", "secret"),
            ("PELAGO_PEER_PORT_7379_TCP", "tcp://10.0.0.1:7379"),
            ("RESP", "127.0.0.1:1"),
        ] {
            check(name, value).unwrap();
        }
    }
}

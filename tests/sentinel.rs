//! Sentinel-aware clients: each node tells them where to go, and they come back when their region serves again.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use tests::client::Client;
use tests::cluster::Cluster;
use tests::node::text;
use tests::reply::Reply;
use tests::wait;

/// Where a node sends the clients that ask for a name.
fn place(client: &mut Client, name: &str) -> String {
    let reply = client.line(&format!("SENTINEL get-master-addr-by-name {name}"));
    let words: Vec<String> = reply.elements().iter().filter_map(Reply::text).collect();
    words.join(":")
}

#[test]
fn a_node_sends_clients_of_a_failed_region_elsewhere_says_so_and_brings_them_back() {
    let mut cluster = Cluster::start(&["us-east", "eu-west", "ap-south"]);
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.resp.clone()).collect();
    wait::until("west knows where the regions are", || {
        let mut west = cluster.nodes[1].client();
        let places = ["mymaster", "us-east", "eu-west", "ap-south"].map(|name| place(&mut west, name));
        let expected = [1, 0, 1, 2].map(|node| addresses[node].clone());
        if places == expected { Ok(()) } else { Err(format!("{places:?}")) }
    });
    let mut west = cluster.nodes[1].client();
    assert_eq!(place(&mut west, "nowhere"), "");
    let mut listener = cluster.nodes[1].client();
    listener.must("SUBSCRIBE +switch-master");
    cluster.nodes[0].kill();
    let away = listener.receive().expect("an event comes");
    let dashed = |address: &str| address.replace(':', " ");
    let line = |from: usize, to: usize| format!("us-east {} {}", dashed(&addresses[from]), dashed(&addresses[to]));
    assert_eq!(away.elements()[2].text(), Some(line(0, 1)));
    assert_eq!(place(&mut west, "us-east"), addresses[1]);
    let mut visitor = cluster.nodes[1].client();
    visitor.must("SET k v");
    assert_eq!(west.line("SENTINEL ckquorum us-east").text().as_deref().map(|text| &text[..2]), Some("OK"));
    cluster.nodes[0].start();
    let back = listener.receive().expect("an event comes");
    assert_eq!(back.elements()[2].text(), Some(line(1, 0)));
    assert_eq!(place(&mut west, "us-east"), addresses[0]);
    // It came after its host had asked while the region failed: it is ended, so that its client asks again.
    wait::until("the visitor is sent back", || match visitor.try_call(&["PING"]) {
        Err(_) => Ok(()),
        Ok(_) => Err("it is served".to_owned()),
    });
    west.must("PING");
    let metrics = cluster.nodes[1].metrics();
    assert!(metrics.sum("pelago_console_sentinel_sent_back_total", "") >= 1.0);
}

/// A script that writes through Sentinel and says on its output which node it writes to, whenever that changes.
struct Writer {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Writer {
    fn start(script: &str, cluster: &Cluster) -> Option<Self> {
        let mut command = crate::libraries::interpreter(script)?;
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("libraries").join(script);
        command.arg(path).args(cluster.nodes.iter().map(|node| &node.resp));
        command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the interpreter starts");
        let said = BufReader::new(process.stdout.take().expect("its output is ours"));
        Some(Self { process, said })
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("its output can be read");
        assert!(!line.is_empty(), "the script ended");
        line.trim().to_owned()
    }

    fn expect_at(&mut self, address: &str) {
        let expected = format!("at {address}");
        loop {
            let line = self.line();
            if line == expected {
                return;
            }
            println!("{line}, not yet {expected}");
        }
    }

    /// Lets it end. What it has been told was written.
    fn stop(mut self) -> i64 {
        drop(self.process.stdin.take());
        let line = loop {
            let line = self.line();
            if let Some(count) = line.strip_prefix("written ") {
                break count.to_owned();
            }
        };
        let output = self.process.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", text(&output.stderr));
        line.parse().expect("a count")
    }
}

/// Kills the node that a client writes to, and starts it again.
fn check(script: &str) {
    // What was answered is on the disk: a node that is killed has lost nothing of it.
    let mut cluster = Cluster::start_with(&["us-east", "eu-west"], &["appendfsync=always"]);
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.resp.clone()).collect();
    let Some(mut writer) = Writer::start(script, &cluster) else { return };
    writer.expect_at(&addresses[0]);
    cluster.nodes[0].kill();
    writer.expect_at(&addresses[1]);
    cluster.nodes[0].start();
    writer.expect_at(&addresses[0]);
    let written = writer.stop();
    cluster.await_equal();
    let found = cluster.nodes[1].client().must("GET written").text().and_then(|text| text.parse::<i64>().ok());
    assert!(written > 0 && found >= Some(written), "{found:?} of {written} are there");
}

#[test]
fn redis_py_goes_to_another_region_and_comes_back() {
    check("python/sentinel.py");
}

#[test]
fn ioredis_goes_to_another_region_and_comes_back() {
    check("node/sentinel.js");
}

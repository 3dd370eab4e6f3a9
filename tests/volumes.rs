//! Volumes that go away, come back and fill up under a node.

use std::path::Path;
use tests::node::{Node, run, text};
use tests::place::{free_datagram_address, free_stream_address, own_host};
use tests::volume::Volume;

/// The only node of a cluster, on a volume of its own; it does not run yet.
fn on_volume(home: &Path, bytes: u64, for_what: &str) -> Option<(Node, Volume)> {
    let directory = home.join("us-east-1");
    let volume = Volume::mount(&directory, bytes, for_what)?;
    let host = own_host();
    let addresses = [free_stream_address(host), free_datagram_address(host), free_stream_address(host)];
    let settings = ["development=yes", "workers=1", "persistence=on", "appendfsync=everysec"];
    let node = Node::new("us-east", directory, addresses, &settings);
    let home = home.display().to_string();
    let places = ["--resp", &node.resp, "--peer", &node.peer, "--http", &node.http, "--dir", &home];
    let output = run(&[["init", "--region", "us-east"].as_slice(), &places].concat());
    assert!(output.status.success(), "pelago init: {}", text(&output.stderr));
    Some((node, volume))
}

/// What the process had not made durable may be gone: others may have more of its number than the node.
#[test]
fn a_node_whose_volume_was_mounted_anew_after_a_crash_goes_on_under_another_number() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((mut node, volume)) = on_volume(home.path(), 64 << 20, "a volume that is mounted anew") else { return };
    node.start();
    let number = node.number();
    node.client().must("SET k v");
    node.kill();
    node.start();
    assert_eq!(node.number(), number, "a process that is killed has lost nothing");
    node.stop();
    volume.remount();
    node.start();
    assert_eq!(node.number(), number, "one that has ended in order left nothing to be lost");
    node.kill();
    volume.remount();
    node.start();
    assert_ne!(node.number(), number);
    assert!(node.log_text().contains("the volume was mounted anew"), "{}", node.log_tail());
    node.stop();
}

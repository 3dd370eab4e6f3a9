//! Volumes that go away, come back and fill up under a node.

use std::path::Path;
use tests::load::fill;
use tests::node::{Node, run, text};
use tests::place::{free_datagram_address, free_stream_address, own_host};
use tests::reply::Reply;
use tests::volume::Volume;
use tests::wait;

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

/// Waits until the node says this of its disk, and does something before each look.
fn await_health(node: &Node, expected: &str, mut between: impl FnMut()) {
    let line = format!("store_health:{expected}\r\n");
    wait::until(&format!("the disk is {expected}"), || {
        between();
        let Reply::Bulk(info) = node.client().must("INFO persistence") else { panic!("INFO answers with text") };
        let info = text(&info);
        if info.contains(&line) { Ok(()) } else { Err(info) }
    });
}

#[test]
fn a_node_is_restarted_on_a_full_disk_and_serves_and_keeps_its_catalogue() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((mut node, volume)) = on_volume(home.path(), 96 << 20, "a start on a full disk") else { return };
    node.start();
    node.client().must("SET kept v");
    node.client().must("SAVE");
    node.kill();
    let mut filling = volume.fill();
    for round in 0..4 {
        node.start();
        assert_eq!(node.client().must("GET kept"), Reply::Bulk(b"v".to_vec()), "round {round}");
        let mut seed = 0;
        await_health(&node, "full", || {
            seed += 1;
            fill(&mut node.client(), 2_000, seed);
        });
        match round % 2 {
            0 => node.kill(),
            _ => drop(node.stop()),
        }
        filling = volume.fill();
    }
    node.start();
    std::fs::remove_file(filling).expect("it is there");
    node.client().must("SET found v");
    node.client().must("BGSAVE");
    await_health(&node, "ok", || ());
    wait::until("there is a reserve again", || {
        let bytes = std::fs::metadata(node.directory.join("reserve")).map_or(0, |facts| facts.len());
        if bytes >= 8 << 20 { Ok(()) } else { Err(format!("{bytes} bytes")) }
    });
    node.kill();
    node.start();
    assert_eq!(node.client().must("GET found"), Reply::Bulk(b"v".to_vec()));
    let names =
        std::fs::read_dir(&node.directory).expect("it is there").map(|entry| entry.expect("an entry").file_name());
    let damaged: Vec<_> = names.filter(|name| name.to_string_lossy().contains("damaged")).collect();
    assert!(damaged.is_empty(), "{damaged:?}");
    assert!(node.log_text().contains("the catalogue is written in the space that is reserved for it"));
    node.stop();
}

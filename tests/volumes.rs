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

/// A node that has lost what it wrote last cannot know it while it is alone. What it writes then forks its history.
#[test]
fn a_node_whose_old_volume_was_put_back_and_that_wrote_alone_is_reconciled_with_the_others() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((mut node, volume)) = on_volume(home.path(), 64 << 20, "an old volume that is put back") else { return };
    node.start();
    let host = own_host();
    let addresses = [free_stream_address(host), free_datagram_address(host), free_stream_address(host)];
    let settings: Vec<&str> = node.settings.iter().map(String::as_str).collect();
    let mut other = Node::new("eu-west", home.path().join("eu-west-1"), addresses, &settings);
    let (ca, out) = (home.path().join("ca").display().to_string(), other.directory.display().to_string());
    let places = ["--resp", &other.resp, "--peer", &other.peer, "--http", &other.http, "--ca", &ca, "--out", &out];
    let output = node.pelago(&[["region", "add", "eu-west"].as_slice(), &places].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    other.start();
    let has = |node: &Node, key: &str, value: &str| {
        wait::until(&format!("{} has {key}", node.name), || match node.client().call(&["GET", key]) {
            Reply::Bulk(found) if found == value.as_bytes() => Ok(()),
            found => Err(format!("{found:?}")),
        });
    };
    for key in ["both", "gone"] {
        node.client().must(&format!("SET {key} before"));
        has(&other, key, "before");
    }
    let number = node.number();
    node.stop();
    volume.swap_with_copy();
    node.start();
    for key in ["lost", "both"] {
        node.client().must(&format!("SET {key} tail"));
        has(&other, key, "tail");
    }
    node.stop();
    other.stop();
    volume.swap_with_copy();
    node.start();
    assert_eq!(node.number(), number, "it cannot know");
    node.client().must("SET alone written");
    node.client().must("SET both again");
    other.start();
    for round in 0..2 {
        for (key, value) in [("lost", "tail"), ("alone", "written"), ("both", "again")] {
            has(&node, key, value);
            has(&other, key, value);
        }
        assert_ne!(node.number(), number);
        node.client().must(&format!("SET later{round} v"));
        has(&other, &format!("later{round}"), "v");
        wait::until("both are equal", || match node.client().must("PELAGO VERIFY 2000") {
            Reply::Bulk(told) if text(&told).contains("\"equal\":true") => Ok(()),
            told => Err(format!("{told:?}")),
        });
        node.kill();
        node.start();
    }
    assert_eq!(node.log_text().matches("which it has lost: it goes on under another number").count(), 1);
    node.stop();
}

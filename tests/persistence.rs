//! What is on disk: nodes that are killed, stopped, damaged, filled up, and what they have when they come back.

use std::fs;
use std::path::{Path, PathBuf};
use tests::cluster::Cluster;
use tests::load::fill;
use tests::node::{Node, run, text};
use tests::reply::Reply;
use tests::wait;

const KEYS: usize = 6000;

fn keys_of(node: &Node) -> i64 {
    let mut client = node.client();
    let sizes = (0..3).map(|database| {
        client.must(&format!("SELECT {database}"));
        client.must("DBSIZE").integer().expect("a number")
    });
    sizes.sum()
}

fn number_of(node: &Node) -> u64 {
    node.pelago_json(&["status"])["number"].as_u64().expect("a node has a number")
}

fn digest_of(node: &Node) -> String {
    node.pelago_json(&["status"])["digest"].to_string()
}

fn field(node: &Node, name: &str) -> String {
    let Reply::Bulk(info) = node.client().must("INFO persistence") else { panic!("INFO answers with text") };
    let info = text(&info);
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("INFO has no {name}: {info}"))
}

fn store(node: &Node) -> PathBuf {
    node.directory.join("store")
}

/// The files of a store whose names begin so.
fn files(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the store is there").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .collect();
    files.sort();
    files
}

#[test]
fn what_was_answered_under_always_is_there_after_every_kill() {
    let mut cluster = Cluster::start_with(&["us-east"], &["persistence=on", "appendfsync=always"]);
    let number = number_of(&cluster.nodes[0]);
    for round in 1..=4 {
        let node = &mut cluster.nodes[0];
        let mut client = node.client();
        fill(&mut client, KEYS / 4, round);
        for count in 0..100 {
            assert_eq!(client.must("INCR counted").integer(), Some((round as i64 - 1) * 100 + count + 1));
        }
        let digest = digest_of(node);
        node.kill();
        node.start();
        assert_eq!((digest_of(node), number_of(node)), (digest, number), "round {round}");
        if round == 2 {
            node.client().must("SAVE");
        }
    }
    let node = &cluster.nodes[0];
    assert_eq!(node.client().must("GET counted"), Reply::Bulk(b"400".to_vec()));
    assert_eq!((field(node, "aof_enabled"), field(node, "store_damage_found")), ("1".to_owned(), "0".to_owned()));
}

#[test]
fn a_killed_node_has_everything_that_another_region_has_of_it_and_goes_on_under_its_number() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west"], &["persistence=on"]);
    let number = number_of(&cluster.nodes[0]);
    for round in 1..=3 {
        fill(&mut cluster.nodes[0].client(), KEYS / 3, round);
        fill(&mut cluster.nodes[1].client(), KEYS / 6, round + 10);
        cluster.nodes[0].kill();
        cluster.nodes[0].start();
        assert_eq!(number_of(&cluster.nodes[0]), number, "round {round}: {}", cluster.nodes[0].log_tail());
        cluster.nodes[0].client().must("INCR counted");
        cluster.await_equal();
    }
    assert_eq!(cluster.nodes[1].client().must("GET counted"), Reply::Bulk(b"3".to_vec()));
}

#[test]
fn all_regions_stop_and_start_with_everything_and_without_comparing_state() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west"], &["persistence=on"]);
    fill(&mut cluster.nodes[0].client(), KEYS, 1);
    cluster.await_equal();
    let (keys, digest) = (keys_of(&cluster.nodes[0]), digest_of(&cluster.nodes[0]));
    let numbers: Vec<u64> = cluster.nodes.iter().map(number_of).collect();
    cluster.nodes.iter_mut().for_each(|node| assert!(node.stop().success()));
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.nodes.iter_mut().for_each(Node::wait_ready);
    for (node, number) in cluster.nodes.iter().zip(numbers) {
        assert_eq!((keys_of(node), digest_of(node), number_of(node)), (keys, digest.clone(), number));
        assert!(!node.log_text().contains("caught up by state"), "{}", node.log_tail());
    }
    cluster.await_equal();
}

#[test]
fn a_node_that_was_away_catches_up_from_the_journal() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west"], &["persistence=on", "ring-bytes=1mb"]);
    cluster.nodes[1].kill();
    let value = "x".repeat(2_000);
    let mut client = cluster.nodes[0].client();
    for key in 0..4_000u32 {
        // Hard to compress, so that the ring is too small for it.
        let value: String = value
            .chars()
            .enumerate()
            .map(|(at, _)| char::from(b'a' + (key.wrapping_mul(at as u32 * 7 + 1) >> 5) as u8 % 26))
            .collect();
        client.must(&format!("SET away:{key} {value}"));
    }
    cluster.nodes[1].start();
    cluster.await_equal();
    assert_eq!(keys_of(&cluster.nodes[1]), 4_000);
    assert!(!cluster.nodes[1].log_text().contains("caught up by state"), "{}", cluster.nodes[1].log_tail());
}

#[test]
fn checkpoints_are_told_and_a_start_from_one_is_exact() {
    let mut cluster = Cluster::start_with(&["us-east"], &["persistence=on", "auto-aof-rewrite-min-size=64kb"]);
    let node = &mut cluster.nodes[0];
    fill(&mut node.client(), KEYS, 1);
    wait::until("a checkpoint is taken by itself", || match field(node, "rdb_saves").as_str() {
        "0" => Err("none".to_owned()),
        _ => Ok(()),
    });
    let before = node.client().must("LASTSAVE").integer().expect("a number");
    node.client().must("SET late 1");
    assert_eq!(node.client().must("SAVE"), Reply::Simple("OK".to_owned()));
    assert!(node.client().must("LASTSAVE").integer().expect("a number") >= before);
    assert_eq!(field(node, "rdb_last_bgsave_status"), "ok");
    let mut client = node.client();
    client.must("SET later 1");
    assert_eq!(client.must("WAITAOF 1 0 0").to_string(), "[1 0]");
    let digest = digest_of(node);
    node.kill();
    node.start();
    assert_eq!(digest_of(node), digest);
    assert!(node.stop().success());
    let output = run(&["check", &node.directory.display().to_string(), "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report["images"].as_u64() > Some(10) && report["damage"] == serde_json::json!([]), "{report}");
    // A start would miss the journal's last file, and so does this.
    let last = files(&store(node), "journal-").pop().expect("there is a journal");
    fs::remove_file(&last).expect("the journal's last file");
    let output = run(&["check", &node.directory.display().to_string()]);
    let name = last.file_name().expect("a name").to_string_lossy().into_owned();
    let (told, missing) = (text(&output.stdout), format!("the journal's last file, {name}, is missing"));
    assert!(!output.status.success() && told.contains(&missing), "{told}");
}

#[test]
fn what_is_pending_is_there_as_at_the_last_checkpoint_and_nothing_acknowledged_comes_again() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west"], &["persistence=on", "appendfsync=always"]);
    let mut client = cluster.nodes[0].client();
    for line in ["XADD s 1-1 f a", "XADD s 2-1 f b", "XADD s 3-1 f c", "XADD s 4-1 f d", "XGROUP CREATE s g 0"] {
        client.must(line);
    }
    client.must("XREADGROUP GROUP g ann COUNT 2 STREAMS s >");
    client.must("SAVE");
    client.must("XREADGROUP GROUP g bob COUNT 1 STREAMS s >");
    client.must("XACK s g 1-1");
    cluster.await_equal();
    let node = &mut cluster.nodes[0];
    node.kill();
    node.start();
    let mut client = node.client();
    assert_eq!(client.must("XPENDING s g").to_string(), "[1 2-1 2-1 [[ann 1]]]");
    // What was delivered after the checkpoint is delivered again.
    let again = client.must("XREADGROUP GROUP g bob COUNT 1 STREAMS s >").to_string();
    assert_eq!(again, "[[s [[3-1 [f c]]]]]");
    // Nothing but that has changed since the last checkpoint.
    client.must("SAVE");
    node.kill();
    node.start();
    let mut client = node.client();
    assert_eq!(client.must("XPENDING s g").to_string(), "[2 2-1 3-1 [[ann 1] [bob 1]]]");
    let rest = client.must("XREADGROUP GROUP g bob STREAMS s >").to_string();
    assert_eq!(rest, "[[s [[4-1 [f d]]]]]");
    // Another region delivers what nobody has acknowledged.
    let elsewhere = cluster.nodes[1].client().must("XREADGROUP GROUP g eve STREAMS s >").to_string();
    assert_eq!(elsewhere, "[[s [[2-1 [f b]] [3-1 [f c]] [4-1 [f d]]]]]");
}

#[test]
fn damage_is_named_and_moved_aside_and_other_regions_make_it_good() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west"], &["persistence=on"]);
    fill(&mut cluster.nodes[0].client(), KEYS, 1);
    cluster.await_equal();
    let digest = digest_of(&cluster.nodes[1]);
    cluster.nodes[0].client().must("SAVE");
    assert!(cluster.nodes[0].stop().success());
    let image = files(&store(&cluster.nodes[0]), "image-").pop().expect("there are images");
    let mut bytes = fs::read(&image).expect("an image");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&image, bytes).expect("an image");
    let name = image.file_name().expect("a name").to_string_lossy().into_owned();
    let checked = run(&["check", &cluster.nodes[0].directory.display().to_string()]);
    assert!(!checked.status.success() && text(&checked.stdout).contains(&name), "{}", text(&checked.stdout));
    cluster.nodes[0].start();
    cluster.await_equal();
    assert_eq!(digest_of(&cluster.nodes[0]), digest);
    assert!(cluster.nodes[0].log_text().contains(&format!("the image {name} cannot be used")));
    assert!(image.with_file_name(format!("{name}.damaged")).exists());
    assert_ne!(field(&cluster.nodes[0], "store_damage_found"), "0");
    // It is mended by itself: the next start finds nothing wrong.
    wait::until("a checkpoint mends the store", || match field(&cluster.nodes[0], "rdb_saves").as_str() {
        "0" => Err("none".to_owned()),
        _ => Ok(()),
    });
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    assert_eq!(
        (digest_of(&cluster.nodes[0]), field(&cluster.nodes[0], "store_damage_found")),
        (digest, "0".to_owned())
    );
}

#[test]
fn a_lost_catalogue_loses_no_keys_and_a_lost_store_comes_back_from_the_others() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west"], &["persistence=on"]);
    fill(&mut cluster.nodes[0].client(), KEYS, 1);
    cluster.await_equal();
    let digest = digest_of(&cluster.nodes[1]);
    assert!(cluster.nodes[0].stop().success());
    cluster.nodes[0].remove_catalogue();
    let checked = run(&["check", &cluster.nodes[0].directory.display().to_string()]);
    let told = text(&checked.stdout);
    assert!(!checked.status.success() && told.contains("the catalogue is missing"), "{told}");
    cluster.nodes[0].start();
    cluster.await_equal();
    assert_eq!(digest_of(&cluster.nodes[0]), digest);
    assert!(!cluster.nodes[0].log_text().contains("caught up by state"), "{}", cluster.nodes[0].log_tail());
    let number = number_of(&cluster.nodes[0]);
    assert!(cluster.nodes[0].stop().success());
    fs::remove_dir_all(store(&cluster.nodes[0])).expect("the store is there");
    cluster.nodes[0].start();
    cluster.await_equal();
    assert_eq!(digest_of(&cluster.nodes[0]), digest);
    assert_ne!(number_of(&cluster.nodes[0]), number, "what it wrote under that number may be missing");
}

/// Nobody can be reached, and the others could not help: they have lost their catalogues.
#[test]
fn an_isolated_node_whose_host_has_lost_power_serves_what_it_has_and_takes_writes() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west", "ap-south"], &["persistence=on"]);
    fill(&mut cluster.nodes[0].client(), KEYS, 1);
    cluster.nodes[1].client().must("INCRBY hits 5");
    cluster.await_equal();
    let (keys, number) = (keys_of(&cluster.nodes[0]), number_of(&cluster.nodes[0]));
    cluster.nodes.iter_mut().for_each(Node::kill);
    // As after a power cut: the end of the journal is torn, and nothing says that all that was sent is in it.
    let directory = store(&cluster.nodes[0]);
    fs::remove_file(directory.join("sound")).expect("the store was sound");
    let last = files(&directory, "journal-").pop().expect("there is a journal");
    let bytes = fs::metadata(&last).expect("it is there").len();
    fs::OpenOptions::new().write(true).open(&last).and_then(|file| file.set_len(bytes - 3)).expect("it is cut");
    cluster.nodes[1..].iter().for_each(Node::remove_catalogue);
    cluster.nodes[0].start();
    assert_ne!(number_of(&cluster.nodes[0]), number, "others may have more of what it wrote under that number");
    let kept = keys_of(&cluster.nodes[0]);
    assert!(kept <= keys && kept > keys / 2, "{kept} of {keys}: what was torn is one batch");
    let mut client = cluster.nodes[0].client();
    client.must("INCRBY hits 2");
    client.must("SET alone yes");
    cluster.nodes[1..].iter_mut().for_each(Node::start);
    cluster.await_equal();
    for node in &cluster.nodes {
        assert_eq!(node.client().must("GET alone").to_string(), "yes");
        assert_eq!(node.client().must("GET hits").to_string(), "7");
        assert_eq!(keys_of(node), keys + 1);
    }
}

#[test]
fn an_isolated_node_that_has_lost_its_catalogue_goes_on_as_it_was() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west"], &["persistence=on"]);
    fill(&mut cluster.nodes[0].client(), KEYS, 1);
    cluster.await_equal();
    let (digest, number) = (digest_of(&cluster.nodes[0]), number_of(&cluster.nodes[0]));
    cluster.nodes.iter_mut().for_each(Node::kill);
    cluster.nodes.iter().for_each(Node::remove_catalogue_alone);
    let checked = run(&["check", &cluster.nodes[0].directory.display().to_string()]);
    assert!(checked.status.success() && text(&checked.stdout).contains("the next start takes its copy"), "{checked:?}");
    cluster.nodes[0].start();
    assert_eq!((digest_of(&cluster.nodes[0]), number_of(&cluster.nodes[0])), (digest, number));
    assert!(cluster.nodes[0].log_text().contains("came back from its copy"), "{}", cluster.nodes[0].log_tail());
    cluster.nodes[0].client().must("SET alone yes");
    cluster.nodes[1].start();
    cluster.await_equal();
    assert_eq!(cluster.nodes[1].client().must("GET alone").to_string(), "yes");
}

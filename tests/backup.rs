//! Backups of running nodes: one moment of everything, copied once, verified, and written into another cluster.

use crate::import::contents::Contents;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tests::binary;
use tests::client::Client;
use tests::cluster::Cluster;
use tests::load::fill;
use tests::node::{Node, run, text};
use tests::reply::Reply;
use tests::wait;

const KEYS: usize = 3000;
const KEPT: &[&str] = &["persistence=on"];

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn backup(node: &Node, directory: &Path) -> Value {
    node.pelago_json(&["backup", "--out", &shown(directory)])
}

/// Runs `pelago` with `--json`; what it printed, what it complained of, and whether its status was 0.
fn report(words: &[&str]) -> (Value, String, bool) {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    let output = run(&words);
    let row = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (row, text(&output.stderr), output.status.success())
}

fn check(directory: &Path) -> (Value, String, bool) {
    report(&["check", &shown(directory)])
}

fn restore(directory: &Path, node: &Node, more: &[&str]) -> (Value, String, bool) {
    let directory = shown(directory);
    let words: Vec<&str> =
        ["restore", &directory, "--via", &node.resp].into_iter().chain(more.iter().copied()).collect();
    report(&words)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).map(|entries| entries.map(|entry| entry.expect("an entry").path()).collect());
    let mut files: Vec<PathBuf> = entries.unwrap_or_default();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().expect("a file has a name").to_string_lossy().into_owned()
}

fn integer(client: &mut Client, key: &str) -> i64 {
    client.must(&format!("GET {key}")).text().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Writes pairs that belong together, and counts, until it is told to stop. `acknowledged` is what it was told last.
fn write_pairs(address: &str, stop: &AtomicBool, acknowledged: &AtomicI64) {
    let mut client = Client::connect(address).expect("the node takes connections");
    for round in 1_i64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        client.queue(&["MULTI"]);
        client.queue(&["SET".to_owned(), "one".to_owned(), round.to_string()]);
        client.queue(&["SET".to_owned(), "other".to_owned(), round.to_string()]);
        client.queue(&["EXEC"]);
        client.queue(&["INCR", "counted"]);
        client.send().expect("the node takes it");
        let last = (0..5).map(|_| client.receive().expect("an answer")).last().and_then(|reply| reply.integer());
        acknowledged.store(last.expect("a number"), Ordering::SeqCst);
    }
}

#[test]
fn a_backup_under_load_is_one_moment_that_has_everything_acknowledged_before() {
    let settings = ["persistence=on", "auto-aof-rewrite-min-size=64kb", "journal-retain-bytes=64kb"];
    let cluster = Cluster::start_with(&["us-east"], &settings);
    let (node, home) = (&cluster.nodes[0], tempfile::tempdir().expect("a directory"));
    let directory = home.path().join("backup");
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let writer = {
        let (address, stop, acknowledged) = (node.resp.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
        std::thread::spawn(move || write_pairs(&address, &stop, &acknowledged))
    };
    fill(&mut node.client(), KEYS, 1);
    let mut target = Cluster::start(&["elsewhere"]);
    for round in 1..=3 {
        wait::until("something is written", || match acknowledged.load(Ordering::SeqCst) {
            0 => Err("nothing".to_owned()),
            _ => Ok(()),
        });
        let before = acknowledged.load(Ordering::SeqCst);
        backup(node, &directory);
        // One more may have been on its way.
        let after = acknowledged.load(Ordering::SeqCst) + 1;
        let (_, complaint, is_sound) = check(&directory);
        assert!(is_sound, "round {round}: {complaint}");
        let flag: &[&str] = if round == 1 { &[] } else { &["--as-new-writes"] };
        let (restored, complaint, is_whole) = restore(&directory, &target.nodes[0], flag);
        assert!(is_whole, "round {round}: {restored} {complaint}");
        let mut client = target.nodes[0].client();
        let (one, other, counted) =
            (integer(&mut client, "one"), integer(&mut client, "other"), integer(&mut client, "counted"));
        assert_eq!(one, other, "round {round}: what was written together");
        assert!((before..=after).contains(&counted), "round {round}: {counted} of {before} to {after}");
        assert!((one - counted).abs() <= 1, "round {round}: {one} and {counted}");
        fill(&mut node.client(), KEYS, round + 1);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("the writer does not panic");
    target.nodes[0].kill();
}

#[test]
fn what_has_not_changed_is_not_copied_again() {
    let cluster = Cluster::start_with(&["us-east"], KEPT);
    let (node, home) = (&cluster.nodes[0], tempfile::tempdir().expect("a directory"));
    fill(&mut node.client(), KEYS, 1);
    node.client().must("SAVE");
    fill(&mut node.client(), 100, 2);
    let first = backup(node, home.path());
    assert_eq!(
        (&first["bytes_copied"], &first["bytes_reused"], &first["cut"]),
        (&first["bytes"], &0.into(), &1.into())
    );
    let again = backup(node, home.path());
    assert_eq!((&again["bytes_copied"], &again["bytes_reused"]), (&0.into(), &first["bytes"]), "{again}");
    // A segment that has grown is gone on with.
    node.client().must("SET more 1");
    let grown = backup(node, home.path());
    let copied = grown["bytes_copied"].as_u64().expect("a number");
    assert!(copied > 0 && copied < 1000 && grown["cut"] == 3, "{grown}");
    assert_eq!(grown["bytes"].as_u64(), first["bytes"].as_u64().map(|bytes| bytes + copied));
    // After a checkpoint, images of groups that changed are new, others are not; what no cut has any more is gone.
    node.client().must("SAVE");
    let after = backup(node, home.path());
    assert!(after["bytes_reused"].as_u64() > Some(0) && after["bytes_copied"].as_u64() > Some(0), "{after}");
    let stored = files(&home.path().join("files")).len() as u64;
    assert_eq!(Some(stored), after["files"].as_u64());
    assert!(check(home.path()).2);
}

#[test]
fn an_interrupted_backup_leaves_the_one_before_and_is_gone_on_with() {
    let cluster = Cluster::start_with(&["us-east"], KEPT);
    let (node, home) = (&cluster.nodes[0], tempfile::tempdir().expect("a directory"));
    let (directory, other) = (home.path().join("one"), home.path().join("other"));
    fill(&mut node.client(), KEYS, 1);
    node.client().must("SAVE");
    fill(&mut node.client(), 50, 2);
    backup(node, &directory);
    let (before, _, _) = check(&directory);
    fill(&mut node.client(), KEYS, 3);
    node.client().must("SAVE");
    fill(&mut node.client(), 50, 4);
    let whole = backup(node, &other);
    // What a run that was killed leaves: some files whole, one in part, one that has grown, one with rubbish behind it.
    let mut left = 0;
    for (index, file) in files(&other.join("files")).iter().enumerate().filter(|(index, _)| index % 2 == 0) {
        let place = directory.join("files").join(name(file));
        if place.exists() {
            continue;
        }
        let mut bytes = fs::read(file).expect("a file");
        match index % 6 {
            0 => left += bytes.len() as u64,
            2 => bytes.truncate(bytes.len() / 2),
            _ => bytes.extend_from_slice(b"rubbish that was never synced"),
        }
        fs::write(place, bytes).expect("a file");
    }
    let (now, complaint, is_sound) = check(&directory);
    assert!(is_sound && now == before, "the one before stands: {complaint}");
    // One that is really killed, wherever that is.
    let mut killed = binary::command();
    killed.args(["backup", "--out"]).arg(&directory).args(["--via", &node.resp]);
    let mut killed = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    killed.kill().expect("it is ours");
    killed.wait().expect("it is ours");
    assert!(check(&directory).2);
    let done = backup(node, &directory);
    assert!(left > 0 && done["bytes_reused"].as_u64() >= Some(left), "{done}, of which {left} were there");
    assert_eq!(done["bytes"], whole["bytes"]);
    let (now, complaint, is_sound) = check(&directory);
    assert!(is_sound, "{complaint}");
    assert_eq!(now["keys"].as_u64(), check(&other).0["keys"].as_u64());
}

#[test]
fn what_is_restored_into_a_new_cluster_is_what_there_was() {
    let cluster = Cluster::start_with(&["us-east", "eu-west"], KEPT);
    let home = tempfile::tempdir().expect("a directory");
    fill(&mut cluster.nodes[0].client(), KEYS, 1);
    let mut source = cluster.nodes[1].client();
    source.must("SADD counted 1 2 3");
    source.must("INCRBY visits 7");
    source.must("SELECT 15");
    source.call(&[b"HSET".as_slice(), b"\r\n\0 any", b"\xff", b"\0"]);
    source.must("HINCRBY h f 5");
    source.must("SELECT 0");
    cluster.nodes[0].client().must("INCRBY visits 5");
    let library = "#!lua name=own\nredis.register_function('answer', function() return 42 end)";
    assert!(!source.call(&["FUNCTION", "LOAD", library]).is_error());
    cluster.await_equal();
    cluster.nodes[0].client().must("SAVE");
    cluster.nodes[0].client().must("DEL key:0 key:1");
    cluster.nodes[0].client().must("SET ends-soon 1 PX 4000");
    backup(&cluster.nodes[0], home.path());
    let (exported, _, is_exported) =
        report(&["export", &shown(&home.path().join("dump.rdb")), "--from-backup", &shown(home.path())]);
    wait::until("a key ends", || match cluster.nodes[0].client().must("EXISTS ends-soon").integer() {
        Some(0) => Ok(()),
        _ => Err("it is there".to_owned()),
    });
    let target = Cluster::start(&["ap-south", "sa-east"]);
    let (compared, _, is_equal) = restore(home.path(), &target.nodes[0], &["--dry-run"]);
    assert!(!is_equal && compared["needs_as_new_writes"] == false, "{compared}");
    assert_eq!(target.nodes[0].client().must("DBSIZE").integer(), Some(0), "a dry run writes nothing");
    let (restored, complaint, is_whole) = restore(home.path(), &target.nodes[0], &[]);
    assert!(is_whole, "{restored} {complaint}");
    assert_eq!(restored["restored"]["skipped"]["expired"], 1, "{restored}");
    target.await_equal();
    let now = Contents::of(&mut cluster.nodes[0].client());
    assert_eq!(restored["restored"]["written"].as_u64(), Some(now.len() as u64), "{restored}");
    for node in &target.nodes {
        let differences = now.differences(&Contents::of(&mut node.client()));
        assert!(differences.is_empty(), "{:#?}", &differences[..differences.len().min(10)]);
    }
    assert_eq!(target.nodes[1].client().must("FCALL answer 0").integer(), Some(42), "{restored}");
    assert!(restore(home.path(), &target.nodes[1], &["--dry-run"]).2);
    // The same as a file that Redis loads.
    assert!(is_exported && exported["libraries"] == 1, "{exported}");
    assert!(is_exported && exported["keys"].as_u64() == Some(now.len() as u64 + 1), "{exported}");
    let file = shown(&home.path().join("dump.rdb"));
    assert!(report(&["import", &file, "--dry-run", "--via", &target.nodes[0].resp]).2);
    // Into a cluster that has keys only if that is meant.
    let mut client = target.nodes[0].client();
    client.must("SET key:2 changed");
    client.must("SET own 1");
    let (_, complaint, is_whole) = restore(home.path(), &target.nodes[0], &[]);
    assert!(!is_whole && complaint.contains("--as-new-writes") && complaint.contains("removal"), "{complaint}");
    assert_eq!(client.must("GET key:2").text().as_deref(), Some("changed"));
    assert!(restore(home.path(), &target.nodes[0], &["--as-new-writes"]).2);
    assert_eq!(client.must("GET own"), Reply::Bulk(b"1".to_vec()));
    client.must("DEL own");
    let differences = now.differences(&Contents::of(&mut client));
    assert!(differences.is_empty(), "{:#?}", &differences[..differences.len().min(10)]);
}

#[test]
fn no_flipped_byte_of_a_backup_is_believed() {
    let cluster = Cluster::start_with(&["us-east"], KEPT);
    let (node, home) = (&cluster.nodes[0], tempfile::tempdir().expect("a directory"));
    fill(&mut node.client(), KEYS, 1);
    node.client().must("SAVE");
    fill(&mut node.client(), 100, 2);
    backup(node, home.path());
    let all = files(&home.path().join("files"));
    let first = |prefix: &str| all.iter().find(|file| name(file).starts_with(prefix)).expect("it is there").clone();
    let target = Cluster::start(&["elsewhere"]);
    for file in [first("image-"), first("journal-"), first("checkpoint"), home.path().join("backup.json")] {
        let whole = fs::read(&file).expect("a file");
        for at in [whole.len() / 2, whole.len() - 10] {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            fs::write(&file, altered).expect("a file");
            let (found, complaint, is_sound) = check(home.path());
            let told = format!("{found} {complaint}");
            assert!(!is_sound && told.contains(&name(&file)), "{}: {told}", file.display());
            let (_, complaint, is_whole) = restore(home.path(), &target.nodes[0], &[]);
            assert!(!is_whole && complaint.contains("damaged"), "{}: {complaint}", file.display());
        }
        fs::write(&file, &whole[..whole.len() - 1]).expect("a file");
        assert!(!check(home.path()).2 && !restore(home.path(), &target.nodes[0], &[]).2, "{} cut", file.display());
        fs::write(&file, whole).expect("a file");
    }
    assert!(check(home.path()).2);
    assert_eq!(target.nodes[0].keys(), 0);
    // What has rotten here is copied again by the next one.
    let image = first("image-");
    let mut bytes = fs::read(&image).expect("a file");
    bytes[20] ^= 1;
    fs::write(&image, bytes).expect("a file");
    let next = backup(node, home.path());
    assert!(check(home.path()).2 && next["bytes_copied"].as_u64() > Some(0), "{next}");
    assert!(restore(home.path(), &target.nodes[0], &[]).2);
    assert_eq!(target.nodes[0].keys(), node.keys());
}

fn begin(client: &mut Client, words: &str) -> (String, Vec<(String, u64)>) {
    let told = client.json(&format!("PELAGO BACKUP BEGIN{words}")).expect("a backup begins");
    let rows = told["files"].as_array().expect("files");
    let file = |row: &Value| (row["name"].as_str().unwrap_or_default().to_owned(), row["bytes"].as_u64().unwrap_or(0));
    (told["token"].as_str().expect("a token").to_owned(), rows.iter().map(file).collect())
}

#[test]
fn nothing_beyond_the_cut_is_read_and_a_backup_that_nobody_reads_ends() {
    let cluster = Cluster::start_with(&["us-east"], KEPT);
    let node = &cluster.nodes[0];
    fill(&mut node.client(), KEYS, 1);
    node.client().must("SAVE");
    let mut client = node.client();
    let (token, listed) = begin(&mut client, "");
    let images: Vec<&str> =
        listed.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("image-")).collect();
    assert!(images.len() > 10, "{listed:?}");
    let mut read = |rest: &str| client.line(&format!("PELAGO BACKUP READ {token} {rest}"));
    for name in ["sound", "../pelago.toml", "../data/conf", "/etc/passwd", ".", "checkpoint.copy", "store/checkpoint"] {
        assert!(read(&format!("{name} 0 100")).is_error(), "{name}");
    }
    let (image, bytes) = listed.iter().find(|(name, _)| name == images[0]).expect("it is listed");
    for rest in [format!("{image} {bytes} 1"), format!("{image} 0 0"), format!("{image} -1 5"), format!("{image} 0")] {
        assert!(read(&rest).is_error(), "{rest}");
    }
    let Reply::Bulk(all) = read(&format!("{image} 0 {}", u64::MAX >> 1)) else { panic!("no bytes") };
    assert_eq!(all.len() as u64, (*bytes).min(1 << 20));
    // As many as may run at once, and no more.
    let (second, _) = begin(&mut node.client(), "");
    let refused = node.client().line("PELAGO BACKUP BEGIN");
    assert!(refused.is_error() && refused.to_string().contains("as many backups"), "{refused}");
    node.client().must(&format!("PELAGO BACKUP END {second}"));
    let (second, _) = begin(&mut node.client(), " LEASE 100");
    wait::until("the one that nobody reads ends", || match node.metrics().sum("pelago_store_backups_running", "") {
        1.0 => Ok(()),
        running => Err(format!("{running} run")),
    });
    let gone = node.client().line(&format!("PELAGO BACKUP READ {second} {image} 0 1"));
    assert!(gone.is_error() && gone.to_string().contains("no such backup"), "{gone}");
    let metrics = node.metrics();
    let counted = ["backups_begun_total", "backups_refused_total", "backups_cut_short_total"]
        .map(|name| metrics.sum(&format!("pelago_store_{name}"), "") as u64);
    assert_eq!(counted, [3, 1, 1]);
    // Checkpoints take nothing away from the first one; its end does.
    let store = node.directory.join("store");
    for round in 2..4 {
        fill(&mut node.client(), KEYS, round);
        node.client().must("SAVE");
    }
    assert!(images.iter().all(|image| store.join(image).exists()));
    assert!(node.metrics().sum("pelago_store_backup_bytes_kept", "") > 0.0);
    assert_eq!(read(&format!("{image} 0 {bytes}")), Reply::Bulk(all));
    assert!(!client.line(&format!("PELAGO BACKUP END {token}")).is_error());
    assert!(!images.iter().any(|image| store.join(image).exists()));
    assert!(client.line(&format!("PELAGO BACKUP READ {token} {image} 0 1")).is_error());
}

#[test]
fn what_cannot_be_backed_up_is_refused_in_words() {
    let mut cluster = Cluster::start_with(&["us-east"], KEPT);
    let home = tempfile::tempdir().expect("a directory");
    let refused = |node: &Node, directory: &Path| {
        let (_, complaint, is_done) = report(&["backup", "--out", &shown(directory), "--via", &node.resp]);
        assert!(!is_done);
        complaint
    };
    // A node's own directory is nothing to write a backup to.
    let complaint = refused(&cluster.nodes[0], &cluster.nodes[0].directory);
    assert!(complaint.contains("something else"), "{complaint}");
    backup(&cluster.nodes[0], home.path());
    let other = Cluster::start_with(&["eu-west"], KEPT);
    let complaint = refused(&other.nodes[0], home.path());
    assert!(complaint.contains("another node, us-east-1"), "{complaint}");
    assert!(check(home.path()).2);
    cluster.nodes[0].stop();
    cluster.nodes[0].settings.push("persistence=off".to_owned());
    cluster.nodes[0].start();
    let complaint = refused(&cluster.nodes[0], home.path());
    assert!(complaint.contains("pelago export"), "{complaint}");
}

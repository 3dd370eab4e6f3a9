//! Regions that come, go, die and return; what operators see and are told meanwhile.

use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::client::Client;
use tests::cluster::Cluster;
use tests::http;
use tests::load::fill;
use tests::node::{Node, run, text};
use tests::place::{free_datagram_address, free_stream_address, own_host};
use tests::reply::Reply;
use tests::wait;

const KEYS: usize = 6000;

#[test]
fn a_region_that_is_added_to_a_running_cluster_fills_and_is_equal() {
    let mut cluster = Cluster::start(&["us-east", "eu-west"]);
    fill(&mut cluster.nodes[0].client(), KEYS, 1);
    fill(&mut cluster.nodes[1].client(), KEYS / 2, 2);
    cluster.add("ap-south");
    // It serves, so it has what was there when it came.
    assert_eq!(cluster.nodes[2].keys(), KEYS as i64);
    cluster.await_equal();
    let verify = cluster.nodes[2].pelago(&["verify"]);
    assert!(verify.status.success(), "{}", text(&verify.stdout));
    // What it writes arrives, and it can admit others itself.
    cluster.nodes[2].client().must("SET from ap-south");
    wait::until("the newcomer's write is everywhere", || match cluster.nodes[0].client().line("GET from") {
        Reply::Bulk(value) if value == b"ap-south" => Ok(()),
        other => Err(other.to_string()),
    });
}

#[test]
fn a_region_that_is_removed_in_order_loses_nothing_and_cannot_come_back() {
    let mut cluster = Cluster::start(&["us-east", "eu-west", "ap-south"]);
    fill(&mut cluster.nodes[2].client(), KEYS, 3);
    let output = cluster.nodes[0].pelago(&["region", "remove", "ap-south", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["removed"], serde_json::json!(["ap-south-1"]), "{answer}");
    assert_eq!(answer["unconfirmed"], serde_json::json!([]), "{answer}");
    assert_eq!(cluster.nodes[0].keys(), KEYS as i64);
    assert_eq!(cluster.nodes[1].keys(), KEYS as i64);
    // Its clients are told, and that its data is not the cluster's any more is not hidden.
    let refused = cluster.nodes[2].client().line("SET k v").to_string();
    assert!(refused.starts_with("-ERR this node ") && refused.contains("removed from the cluster"), "{refused}");
    let listed = cluster.nodes[0].pelago_json(&["region", "list"]);
    let states: Vec<_> = listed["members"].as_array().unwrap().iter().map(|member| &member["state"]).collect();
    assert_eq!(states.iter().filter(|state| **state == "active").count(), 2, "{listed}");
    assert_eq!(states.iter().filter(|state| **state == "removed").count(), 1, "{listed}");
    // Everybody's log tells of it, it is known by its name, nobody is alarmed, and the numbers that it was given are not lost.
    let is_it = |member: &&serde_json::Value| member["state"] == "removed";
    let gone = listed["members"].as_array().unwrap().iter().find(is_it).unwrap();
    assert_eq!((&gone["node"], &gone["region"]), (&"ap-south-1".into(), &"ap-south".into()), "{listed}");
    for node in &cluster.nodes[..2] {
        wait::until("the log tells of the removal", || {
            let said = node.log_text();
            if said.contains("a node was removed from the cluster for good") { Ok(()) } else { Err(said) }
        });
        let said = node.log_text();
        assert!(!said.contains("ERROR"), "an orderly removal is an alarm: {said}");
        wait::until("its numbers are the others'", || {
            let status = node.pelago_json(&["status"]);
            if status["numbers_used_percent"] == 0.0 { Ok(()) } else { Err(status.to_string()) }
        });
    }
    let told = cluster.nodes[2].pelago(&["status"]);
    assert!(
        text(&told.stdout).contains("Writes are refused here: ERR this node was removed"),
        "{}",
        text(&told.stdout)
    );
    // The others go on, and stay equal.
    cluster.nodes[0].client().must("SET after removal");
    let removed = cluster.nodes.pop().expect("there are three");
    cluster.await_equal();
    refuse_to_come_back(removed);
}

/// Starting a removed node again ends with a sentence that says what to do.
fn refuse_to_come_back(mut removed: Node) {
    wait::until("the node that was removed is told so", || {
        let said = removed.log_text();
        if said.contains("this node was removed from the cluster") { Ok(()) } else { Err(said) }
    });
    if removed.is_running() {
        removed.stop();
    }
    removed.spawn();
    let status = removed.wait_ended();
    assert!(!status.success(), "a removed node came back");
    let said = removed.log_tail();
    assert!(said.contains("was removed from the cluster") && said.contains("pelago region add"), "{said}");
}

#[test]
fn a_region_takes_writes_again_when_who_removes_it_is_gone() {
    let mut cluster = Cluster::start(&["us-east", "eu-west", "ap-south"]);
    // A member that is away keeps the removal waiting.
    cluster.nodes[1].kill();
    let mut client = cluster.nodes[2].client();
    std::thread::scope(|scope| {
        let via = cluster.nodes[0].resp.clone();
        scope.spawn(move || run(&["region", "remove", "ap-south", "--via", &via]));
        wait::until("it takes no more writes", || {
            let answer = client.line("SET k v").to_string();
            if answer.contains("is being removed") { Ok(()) } else { Err(answer) }
        });
        cluster.nodes[0].kill();
    });
    wait::until("it takes writes again", || {
        let answer = client.line("SET k v").to_string();
        if answer.contains("OK") { Ok(()) } else { Err(answer) }
    });
}

#[test]
fn a_region_that_was_removed_by_force_while_it_was_dead_does_not_come_back() {
    let mut cluster = Cluster::start(&["us-east", "eu-west", "ap-south"]);
    cluster.nodes[2].kill();
    wait::until("the loss is noticed", || {
        let status = cluster.nodes[0].pelago_json(&["status"]);
        let lost =
            status["members"].as_array().unwrap().iter().any(|m| m["region"] == "ap-south" && m["link"] == "down");
        if lost { Ok(()) } else { Err(status.to_string()) }
    });
    let refused = cluster.nodes[0].pelago(&["region", "remove", "ap-south"]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("--force"), "{}", text(&refused.stderr));
    let forced = cluster.nodes[0].pelago(&["region", "remove", "ap-south", "--force", "--json"]);
    assert!(forced.status.success(), "{}", text(&forced.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&forced.stdout).expect("JSON");
    assert_eq!(answer["removed"], serde_json::json!(["ap-south-1"]), "{answer}");
    assert!(!answer["unconfirmed"].as_array().unwrap().is_empty(), "{answer}");
    // It comes back and knows nothing of its removal.
    let mut removed = cluster.nodes.pop().expect("there are three");
    removed.spawn();
    wait::until("it refuses writes", || {
        let mut client = Client::connect(&removed.resp).map_err(|error| error.to_string())?;
        let answer = client.line("SET k v").to_string();
        if answer.contains("was removed from") || answer.starts_with("-LOADING") { Ok(()) } else { Err(answer) }
    });
    refuse_to_come_back(removed);
    cluster.nodes[1].client().must("SET after removal");
    cluster.await_equal();
    // The region can be added again, under a new identity.
    cluster.add("ap-south");
    cluster.await_equal();
    assert_eq!(cluster.nodes[2].client().must("GET after").to_string(), "removal");
}

#[test]
fn a_killed_node_without_a_store_comes_back_under_a_fresh_number_and_fills() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west", "ap-south"], &["persistence=off"]);
    fill(&mut cluster.nodes[1].client(), KEYS, 4);
    cluster.nodes[1].client().must("INCRBY hits 5");
    cluster.await_equal();
    let before = cluster.nodes[1].number();
    cluster.nodes[1].kill();
    cluster.nodes[0].client().must("INCRBY hits 2");
    cluster.nodes[0].client().must("DEL key:0");
    cluster.nodes[1].start();
    assert_ne!(cluster.nodes[1].number(), before, "an empty node must not go on under the number of its data");
    // Serving means having filled.
    assert_eq!(cluster.nodes[1].client().must("GET hits").to_string(), "7");
    assert_eq!(cluster.nodes[1].keys(), KEYS as i64);
    cluster.nodes[1].client().must("INCRBY hits 1");
    cluster.await_equal();
    for mut client in cluster.clients() {
        assert_eq!(client.must("GET hits").to_string(), "8");
        assert_eq!(client.must("EXISTS key:0").to_string(), "0", "a deleted key is back");
    }
}

#[test]
fn nodes_that_are_all_killed_at_once_serve_and_converge_again() {
    let mut cluster = Cluster::start(&["us-east", "eu-west", "ap-south"]);
    fill(&mut cluster.nodes[0].client(), 100, 5);
    cluster.await_equal();
    cluster.nodes.iter_mut().for_each(Node::kill);
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.nodes.iter_mut().for_each(Node::wait_ready);
    cluster.clients().iter_mut().for_each(|client| drop(client.must("INCR starts")));
    cluster.await_equal();
    for mut client in cluster.clients() {
        assert_eq!(client.must("GET starts").to_string(), "3");
    }
}

#[test]
fn a_node_that_starts_alone_serves_after_its_patience() {
    let mut cluster = Cluster::start_with(&["us-east", "eu-west"], &["fill-timeout=300ms"]);
    assert!(cluster.nodes.iter_mut().all(|node| node.stop().success()));
    cluster.nodes[0].start();
    cluster.nodes[0].client().must("SET alone yes");
    cluster.nodes[1].start();
    cluster.await_equal();
    assert_eq!(cluster.nodes[1].client().must("GET alone").to_string(), "yes");
}

#[test]
fn verify_says_with_its_exit_status_whether_all_regions_are_equal() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let equal = cluster.nodes[0].pelago(&["verify", "--json"]);
    assert_eq!(equal.status.code(), Some(0));
    let verdict: serde_json::Value = serde_json::from_slice(&equal.stdout).expect("JSON");
    assert_eq!(verdict["equal"], true);
    assert_eq!(verdict["slots_compared"], 16384);
    cluster.cut_all();
    cluster.nodes[0].client().must("SET k v");
    let unequal = cluster.nodes[0].pelago(&["verify", "--json", "--timeout", "0.3"]);
    assert_eq!(unequal.status.code(), Some(3), "a region that cannot be compared with is neither equal nor different");
    let verdict: serde_json::Value = serde_json::from_slice(&unequal.stdout).expect("JSON");
    assert_eq!(verdict["equal"], false);
    assert!(verdict["peers"][0]["error"].is_string(), "{verdict}");
    cluster.heal_all();
    assert_eq!(cluster.nodes[1].pelago(&["verify"]).status.code(), Some(0));
}

#[test]
fn the_answers_for_programs_have_their_shape() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    cluster.nodes[0].client().must("SET k v");
    cluster.await_equal();
    let status = cluster.nodes[0].pelago_json(&["status"]);
    for name in ["node", "region", "version", "digest", "cluster"] {
        assert!(status[name].is_string(), "{name} in {status}");
    }
    assert_eq!(status["keys"], 1);
    assert!(status["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{status}");
    assert!(status["catching_up_from"].is_null(), "{status}");
    let vector = status["vector"].as_object().expect("a vector");
    assert!(vector.values().all(serde_json::Value::is_string), "stamps exceed what JSON's numbers hold: {status}");
    for list in [&status, &cluster.nodes[1].pelago_json(&["region", "list"])] {
        let members = list["members"].as_array().expect("members");
        assert_eq!(members.len(), 2, "{list}");
        for member in members {
            for name in ["node", "region", "state", "advertise", "resp", "link", "identity", "http"] {
                assert!(member[name].is_string(), "{name} in {member}");
            }
            assert_eq!(member["state"], "active", "{list}");
            assert_eq!(member["link"], "up", "{list}");
            assert!(member["unacked_changes"].is_u64(), "{member}");
        }
    }
    let lag = cluster.nodes[0].pelago_json(&["lag"]);
    let peer = &lag["peers"][0];
    assert_eq!((peer["node"].as_str(), peer["link"].as_str()), (Some("eu-west-1"), Some("up")), "{lag}");
    assert_eq!(peer["unacked_changes"], 0, "{lag}");
    for name in ["applied_lag_ms", "rtt_ms", "clock_offset_ms"] {
        assert!(peer[name].is_number(), "{name} in {lag}");
    }
    // For people there is a table without braces.
    for verb in [&["status"][..], &["lag"], &["region", "list"]] {
        let output = cluster.nodes[0].pelago(verb);
        assert!(output.status.success() && text(&output.stdout).contains("eu-west"), "{}", text(&output.stdout));
        assert!(!text(&output.stdout).contains('{'), "{}", text(&output.stdout));
    }
}

#[test]
fn what_cannot_work_is_refused_with_a_sentence_that_says_what_to_do() {
    let cluster = Cluster::start(&["us-east"]);
    let node = &cluster.nodes[0];
    let out = cluster.directory().join("new").display().to_string();
    let ca = cluster.authority().display().to_string();
    let nobody = tests::place::free_stream_address(tests::place::own_host());
    let add = |via: &str, ca: &str| {
        run(&[
            "region",
            "add",
            "eu-west",
            "--resp",
            "127.0.0.1:1",
            "--peer",
            "127.0.0.1:2",
            "--via",
            via,
            "--ca",
            ca,
            "--out",
            &out,
        ])
    };
    let cases = [
        (add(&nobody, &ca), "no node answers at"),
        (add(&node.http, &ca), "does not speak the Redis protocol"),
        (add(&node.resp, "/nowhere/ca"), "/nowhere/ca"),
        (run(&["status", "--via", &nobody]), "is it running"),
        (run(&["verify", "--via", &nobody]), "is it running"),
        (node.pelago(&["region", "remove", "nowhere"]), "there is no region or node called nowhere"),
        (node.pelago(&["region", "remove", "us-east"]), "cannot remove itself"),
        (
            run(&[
                "init",
                "--region",
                "x",
                "--resp",
                "127.0.0.1:1",
                "--peer",
                "127.0.0.1:2",
                "--dir",
                &cluster.directory().display().to_string(),
            ]),
            "exists already",
        ),
        (run(&["serve", "--dir", &out]), "new"),
        (run(&["serve", "--dir", &node.directory.display().to_string(), "--set", "maxmemroy=1"]), "maxmemory"),
        (run(&["serve", "--dir", &node.directory.display().to_string()]), "cannot listen"),
    ];
    for (output, part) in cases {
        let said = text(&output.stderr);
        assert!(!output.status.success(), "it did not fail, but was to say {part:?}");
        assert!(said.contains(part), "{said:?} does not say {part:?}");
        assert_eq!(said.trim().lines().count(), 1, "an error is one sentence: {said}");
    }
    assert!(!std::path::Path::new(&out).exists(), "a failed attempt leaves nothing behind");
}

#[test]
fn settings_and_probes_say_how_the_node_is() {
    let mut cluster = Cluster::start(&["us-east", "eu-west"]);
    let node = &cluster.nodes[0];
    assert_eq!(http::get(&node.http, "/livez").unwrap().status, 200);
    assert_eq!(http::get(&node.http, "/readyz").unwrap().status, 200);
    assert_eq!(http::get(&node.http, "/readyz?max_lag_ms=10000").unwrap().status, 200);
    assert_eq!(http::get(&node.http, "/nowhere").unwrap().status, 404);
    node.client().must("SET k v");
    let metrics = node.metrics();
    assert!(metrics.sum("pelago_keyspace_keys", "database=\"0\"") >= 1.0, "{metrics:?}");
    assert!(metrics.try_sum("pelago_peer_link_up", "").is_ok(), "{metrics:?}");
    // Settings change without a restart, by the tool and by clients.
    let set = node.pelago(&["config", "set", "slowlog-max-len", "77"]);
    assert!(set.status.success(), "{}", text(&set.stderr));
    assert_eq!(node.client().must("CONFIG GET slowlog-max-len").to_string(), "[slowlog-max-len 77]");
    node.client().must("CONFIG SET slowlog-max-len 78");
    assert!(text(&node.pelago(&["config", "get", "slowlog-max-len"]).stdout).contains("78"));
    let refused = node.pelago(&["config", "set", "slowlog-max-length", "77"]);
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("slowlog-max-len"),
        "{}",
        text(&refused.stderr)
    );
    assert!(node.client().line("CONFIG SET appendonly no").is_error(), "what is not offered is refused");
    // Far away is behind, for those who ask with a bound.
    node.client().must("CONFIG SET wan-delay-ms 300");
    wait::within(Duration::from_secs(20), "readiness with a bound on lag fails", || {
        node.client().must("INCR n");
        let page = http::get(&node.http, "/readyz?max_lag_ms=50")?;
        if page.status == 503 { Ok(()) } else { Err(format!("{page:?}")) }
    });
    node.client().must("CONFIG SET wan-delay-ms 0");
    cluster.await_equal();
    // A region that is cut off serves, and a region that is lost takes no other out of service.
    cluster.cut_all();
    for node in &cluster.nodes {
        node.client().must("SET k w");
        for path in ["/livez", "/readyz", "/readyz?max_lag_ms=50"] {
            wait::until("a region that was cut off says that it is well", || {
                let page = http::get(&node.http, path)?;
                if page.status == 200 { Ok(()) } else { Err(format!("{path} of {}: {page:?}", node.name)) }
            });
        }
    }
    cluster.heal_all();
    assert!(cluster.nodes[0].stop().success(), "a node that is asked to stop ends well");
}

/// Somebody starts a copy of a machine, or of its disk, while the original runs.
#[test]
fn a_copy_of_a_node_that_runs_is_kept_out_and_takes_nothing_from_it() {
    let cluster = Cluster::start_with(&["us-east", "eu-west"], &["persistence=off"]);
    cluster.nodes[1].client().must("SET k v");
    cluster.await_equal();
    let (number, directory) = (cluster.nodes[1].number(), cluster.directory().join("copy"));
    copy(&cluster.nodes[1].directory, &directory);
    let host = own_host();
    let addresses = [free_stream_address(host), free_datagram_address(host), free_stream_address(host)];
    let moved: Vec<String> =
        ["resp", "peer", "http"].iter().zip(&addresses).map(|(what, address)| format!("{what}={address}")).collect();
    let mut settings: Vec<&str> = cluster.nodes[1].settings.iter().map(String::as_str).collect();
    settings.extend(moved.iter().map(String::as_str));
    let mut copy = Node::new("eu-west", directory, addresses.clone(), &settings);
    copy.spawn();
    wait::until("the copy was kept out", || {
        let told = cluster.nodes[0].log_text();
        if told.contains("a second live process runs with the key of") { Ok(()) } else { Err(told) }
    });
    // It goes on trying, and the one that it is a copy of goes on serving.
    for value in 0..20 {
        cluster.nodes[1].client().must(&format!("SET k {value}"));
        wait::until("what the original writes arrives", || match cluster.nodes[0].client().must("GET k").to_string() {
            shown if shown == value.to_string() => Ok(()),
            shown => Err(shown),
        });
    }
    assert_eq!(cluster.nodes[1].number(), number);
    assert!(copy.client().line("SET k copied").is_error(), "a copy takes writes");
    copy.kill();
    cluster.await_equal();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("a directory of a node") {
        let entry = entry.expect("its entries can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type can be read").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("its files can be copied");
        }
    }
}

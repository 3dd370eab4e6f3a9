//! What `COMMAND DOCS` tells is what Redis tells: since when commands are there, how they are called, what replaces them.

use std::collections::BTreeMap;
use tests::client::Client;
use tests::cluster::Cluster;
use tests::redis::Redis;
use tests::reply::Reply;

/// Fields that are the same. Summaries, complexity and history are in words of our own, and true of this server.
const COMPARED: &[&str] = &["since", "group", "doc_flags", "deprecated_since", "arguments"];
/// `docs/differences.md` says why Redis has these alone.
const NOT_OFFERED: &[&str] = &["psync", "replconf", "restore-asking", "sync"];

type Fields = BTreeMap<String, Reply>;

/// The fields of all commands and subcommands, by their full names.
fn told(client: &mut Client) -> BTreeMap<String, Fields> {
    let mut all = BTreeMap::new();
    collect(&client.must("COMMAND DOCS"), &mut all);
    all
}

fn collect(docs: &Reply, all: &mut BTreeMap<String, Fields>) {
    for pair in docs.elements().chunks(2) {
        let fields = pair[1].elements().chunks(2);
        let mut fields: Fields =
            fields.map(|pair| (pair[0].text().expect("a field has a name"), pair[1].clone())).collect();
        if let Some(subcommands) = fields.remove("subcommands") {
            collect(&subcommands, all);
        }
        all.insert(pair[0].text().expect("a command has a name"), fields);
    }
}

#[test]
fn commands_are_described_as_redis_describes_them_in_both_versions_of_the_protocol() {
    let Some(redis) = Redis::start("what is told of commands") else { return };
    let cluster = Cluster::start(&["only"]);
    let (mut node, mut redis) = (cluster.nodes[0].client(), redis.client());
    for version in ["2", "3"] {
        for client in [&mut node, &mut redis] {
            client.must(&format!("HELLO {version}"));
        }
        let (ours, theirs) = (told(&mut node), told(&mut redis));
        let missing: Vec<&str> = theirs.keys().filter(|name| !ours.contains_key(*name)).map(String::as_str).collect();
        assert_eq!(missing, NOT_OFFERED);
        for (name, ours) in ours.iter().filter(|(name, _)| theirs.contains_key(*name)) {
            for field in COMPARED {
                assert_eq!(ours.get(*field), theirs[name].get(*field), "{name}: {field}");
            }
        }
        for (name, fields) in &ours {
            assert!(["summary", "complexity", "merge"].iter().all(|field| fields.contains_key(*field)), "{name}");
        }
        let asked = "COMMAND DOCS config|GET nosuch ZRANGE";
        let names = |reply: Reply| reply.elements().iter().step_by(2).filter_map(Reply::text).collect::<Vec<_>>();
        assert_eq!(names(node.must(asked)), ["config|get", "zrange"]);
        assert_eq!(names(redis.must(asked)), ["config|get", "zrange"]);
    }
}

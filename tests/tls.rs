//! TLS as clients know it, in processes of their own: `redis-cli` and redis-py, with certificates of both sides.

use crate::libraries::interpreter;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tests::client::Client;
use tests::cluster::Cluster;
use tests::node::text;
use tests::place::{free_stream_address, own_host};
use tests::redis::Redis;
use tests::reply::Reply;
use tests::wait;

/// A certificate that is its own authority, and its key, as files.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    fn new(directory: &Path, name: &str, host: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([host.to_owned(), name.to_owned()]).expect("a certificate");
        let (certificate, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        std::fs::write(&certificate, made.cert.pem()).expect("the directory takes files");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("the directory takes files");
        Self { certificate, key }
    }
}

/// A node that is reached over TLS alone, and who may reach it.
struct Guarded {
    cluster: Cluster,
    address: String,
    server: Identity,
    client: Identity,
    _directory: tempfile::TempDir,
}

fn guarded() -> Guarded {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // The node listens at the host of its plain port, which is another one for every cluster.
    let mut cluster = Cluster::start(&["only"]);
    let host = cluster.nodes[0].resp.rsplit_once(':').expect("an address has a port").0.to_owned();
    let (server, client) =
        (Identity::new(directory.path(), "server", &host), Identity::new(directory.path(), "client", &host));
    let address = free_stream_address(host.parse().unwrap_or_else(|_| own_host()));
    let port = address.rsplit_once(':').expect("an address has a port").1;
    let shown = |path: &Path| path.display().to_string();
    cluster.nodes[0].settings.extend([
        format!("tls-port={port}"),
        format!("tls-cert-file={}", shown(&server.certificate)),
        format!("tls-key-file={}", shown(&server.key)),
        format!("tls-ca-cert-file={}", shown(&client.certificate)),
    ]);
    assert!(cluster.nodes[0].stop().success(), "the node ends in order");
    cluster.nodes[0].start();
    Guarded { cluster, address, server, client, _directory: directory }
}

impl Guarded {
    /// What `redis-cli` says that believes this authority, with or without a certificate of its own.
    fn redis_cli(&self, authority: &Identity, own: Option<&Identity>, words: &[&str]) -> Output {
        let (host, port) = self.address.rsplit_once(':').expect("an address has a port");
        let mut command = Command::new("redis-cli");
        command.args(["-h", host, "-p", port, "--tls", "--cacert"]).arg(&authority.certificate);
        if let Some(own) = own {
            command.arg("--cert").arg(&own.certificate).arg("--key").arg(&own.key);
        }
        command.args(words).output().expect("redis-cli starts")
    }
}

#[test]
fn redis_cli_is_served_over_tls_if_both_sides_are_who_they_say() {
    // It comes with the server, and is not there without it.
    if Redis::start("what redis-cli does over TLS").is_none() {
        return;
    }
    let guarded = guarded();
    let said = |output: &Output| text(&output.stdout).trim().to_owned();
    let served = guarded.redis_cli(&guarded.server, Some(&guarded.client), &["SET", "k", "v"]);
    assert_eq!(said(&served), "OK", "{}", text(&served.stderr));
    let served = guarded.redis_cli(&guarded.server, Some(&guarded.client), &["-3", "HGETALL", "none"]);
    assert!(served.status.success(), "{}", text(&served.stderr));
    for (authority, own, what) in [
        (&guarded.server, None, "a client without a certificate"),
        (&guarded.server, Some(&guarded.server), "a client whose certificate nobody believes"),
        (&guarded.client, Some(&guarded.client), "a client that believes another authority"),
    ] {
        let refused = guarded.redis_cli(authority, own, &["GET", "k"]);
        assert_ne!(said(&refused), "v", "{what} was answered");
    }
}

#[test]
fn a_port_becomes_one_for_tls_and_two_ports_change_places() {
    if Redis::start("what redis-cli does over TLS").is_none() {
        return;
    }
    let mut guarded = guarded();
    let plain = guarded.cluster.nodes[0].resp.clone();
    let port = |address: &str| address.rsplit_once(':').expect("an address has a port").1.to_owned();
    let (first, second) = (port(&plain), port(&guarded.address));
    let over_tls = |guarded: &Guarded| {
        let served = guarded.redis_cli(&guarded.server, Some(&guarded.client), &["PING"]);
        text(&served.stdout).trim().to_owned() + &text(&served.stderr)
    };
    let mut early = guarded.cluster.nodes[0].client();
    early.must("PING");
    early.must(&format!("CONFIG SET port 0 tls-port {first}"));
    let second_address = std::mem::replace(&mut guarded.address, plain.clone());
    assert_eq!(over_tls(&guarded), "PONG");
    // Who was there goes on as it came.
    early.must("PING");
    early.must(&format!("CONFIG SET port {first} tls-port {second}"));
    Client::connect(&plain).expect("the node takes connections").must("PING");
    early.must(&format!("CONFIG SET tls-port {first} port {second}"));
    assert_eq!(over_tls(&guarded), "PONG");
    Client::connect(&second_address).expect("the node takes connections").must("PING");
    let refused = early.line(&format!("CONFIG SET port {first}"));
    assert!(refused.to_string().contains("Unable to listen on this port"), "{refused}");
}

#[test]
fn who_asks_a_sentinel_is_told_the_port_that_is_open() {
    let guarded = guarded();
    let plain = guarded.cluster.nodes[0].resp.clone();
    let port = |address: &str| address.rsplit_once(':').expect("an address has a port").1.to_owned();
    let mut early = guarded.cluster.nodes[0].client();
    let mut told = |change: Option<&str>, expected: &str| {
        change.iter().for_each(|change| _ = early.must(change));
        wait::until("the open port is told", || {
            let reply = early.line("SENTINEL get-master-addr-by-name only");
            let told = reply.elements().get(1).and_then(Reply::text);
            if told.as_deref() == Some(expected) { Ok(()) } else { Err(format!("{told:?} instead of {expected}")) }
        });
    };
    told(None, &port(&plain));
    told(Some("CONFIG SET port 0"), &port(&guarded.address));
    told(Some(&format!("CONFIG SET port {}", port(&plain))), &port(&plain));
}

#[test]
fn redis_py_is_served_over_tls_if_both_sides_are_who_they_say() {
    let script = "python/tls.py";
    let Some(mut command) = interpreter(script) else { return };
    let guarded = guarded();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("libraries").join(script);
    let Guarded { address, server, client, .. } = &guarded;
    command.arg(path).arg(address).args([&server.certificate, &client.certificate, &client.key, &client.certificate]);
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("the interpreter starts");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

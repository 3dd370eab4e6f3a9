//! Nodes on threads and real sockets of this machine.

use super::*;
use crate::console::Stop;
use crate::setup::{CONFIGURATION_FILE, NodePlan, found_cluster};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

fn plan(region: &str) -> NodePlan {
    let anywhere = crate::config::Address::new("127.0.0.1", 0);
    NodePlan {
        region: region.to_owned(),
        node: None,
        resp: anywhere.clone(),
        peer: anywhere.clone(),
        advertise: None,
        http: Some(anywhere),
    }
}

fn sources(directory: &Path) -> Sources {
    let mut sources = Sources::new();
    sources.read_file(&directory.join(CONFIGURATION_FILE)).unwrap();
    sources.argument("workers", "1", "the test").unwrap();
    sources
}

fn ask(address: SocketAddr, request: &str, answer_ends: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&answer).ends_with(answer_ends) && stream.read(&mut byte).unwrap() > 0 {
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_founded_node_serves_clients_and_probes_and_stops_when_a_client_says_so() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    for life in 1..=2 {
        let running = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap();
        let addresses = running.addresses();
        assert_ne!(addresses.resp.port(), 0);
        assert_eq!(running.node().config.load().resp.port(), addresses.resp.port());
        assert_eq!(ask(addresses.resp, "PING\r\n", "\r\n"), "+PONG\r\n");
        assert!(ask(addresses.http.unwrap(), "GET /livez HTTP/1.0\r\n\r\n", "alive\n").ends_with("alive\n"));
        assert_eq!(ask(addresses.resp, "SHUTDOWN\r\n", "never"), "", "life {life}");
        running.wait().unwrap();
    }
}

#[test]
fn what_does_not_fit_together_is_refused_in_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east"), plan("eu-west")], wall_clock()).unwrap();
    let refused = |changed: &[(&str, &str)]| {
        let mut sources = sources(&made.nodes[0]);
        for (name, value) in changed {
            sources.argument(name, value, "the test").unwrap();
        }
        launch(sources, &LaunchOptions::default()).unwrap_err().to_string()
    };
    assert!(refused(&[("region", "")]).contains("region is not set"));
    assert!(refused(&[("cluster-id", "abc")]).contains("32 hexadecimal digits"));
    assert!(refused(&[("cluster-id", &"0".repeat(32))]).contains("is not of the cluster 000"));
    assert!(refused(&[("node", "eu-west-1")]).contains("the certificate is that of node us-east-1"));
    assert!(refused(&[("key", "nowhere.key")]).contains("nowhere.key"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(refused(&[("resp", &address)]).contains("cannot listen for clients on 127.0.0.1"));
}

#[test]
fn a_directory_serves_one_process_at_a_time_and_is_free_again_afterwards() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    let first = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap();
    let second = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap_err();
    assert!(matches!(second, LaunchError::Catalogue(CatalogueError::InUse(_))), "{second}");
    first.node().console.request_stop(Stop::Orderly);
    first.wait().unwrap();
    let third = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap();
    third.node().console.request_stop(Stop::Now);
    third.wait().unwrap();
}

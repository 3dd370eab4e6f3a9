use super::*;
use crate::testing::{Caller, node};
use crate::worker::Workers;
use std::io::{Read, Write};
use std::net::TcpStream;

/// A node that serves at a port of its own.
struct Scene {
    node: Arc<crate::node::Node>,
    workers: Option<Workers>,
    caller: Caller,
}

impl Scene {
    fn new() -> Self {
        let node = Arc::new(node());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        node.config.set(&[("resp", &listener.local_addr().unwrap().to_string())]).unwrap();
        let listeners = Listeners { plain: Some(Arc::new(listener)), tls: None };
        let workers = Some(Workers::start(Arc::clone(&node), listeners, 1).unwrap());
        Self { caller: Caller::new(&node), node, workers }
    }

    fn port(&self) -> u16 {
        self.node.config.load().resp.port()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.workers.take().into_iter().for_each(Workers::stop);
    }
}

fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).unwrap()
}

#[track_caller]
fn ping(stream: &mut TcpStream) {
    stream.write_all(b"PING\r\n").unwrap();
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+PONG\r\n");
}

/// Waits until nobody listens there: the thread that accepts closes the door a moment after the reply.
fn is_closed(address: &str) -> bool {
    (0..100_000).any(|_| {
        std::thread::yield_now();
        TcpStream::connect(address).is_err()
    })
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn clients_come_to_the_new_port_at_once_and_those_who_are_there_stay() {
    let mut scene = Scene::new();
    let old = format!("127.0.0.1:{}", scene.port());
    let mut early = connect(&old);
    ping(&mut early);
    let port = free_port();
    assert_eq!(scene.caller.call(&format!("CONFIG SET port {port}")), "+OK\r\n");
    let shown = scene.caller.call("CONFIG GET port");
    assert!(shown.contains(&port.to_string()), "{shown}");
    ping(&mut connect(&format!("127.0.0.1:{port}")));
    ping(&mut early);
    assert!(is_closed(&old));
}

#[test]
fn a_port_that_is_taken_changes_nothing() {
    let mut scene = Scene::new();
    let old = scene.port();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().port();
    assert_eq!(
        scene.caller.call(&format!("CONFIG SET timeout 9 port {taken}")),
        "-ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs.\r\n"
    );
    assert!(scene.caller.call("CONFIG GET timeout").ends_with("$1\r\n0\r\n"));
    assert_eq!(scene.port(), old);
    ping(&mut connect(&format!("127.0.0.1:{old}")));
}

/// The first and last change bind what the socket before is in the way of.
#[test]
fn the_host_changes_also_to_one_that_has_the_old_one_in_it() {
    let mut scene = Scene::new();
    let port = scene.port();
    for (host, serves, refuses) in
        [("0.0.0.0", &["127.0.0.1", "127.0.0.9"][..], None), ("127.0.0.9", &["127.0.0.9"], Some("127.0.0.1"))]
    {
        assert_eq!(scene.caller.call(&format!("CONFIG SET bind {host}")), "+OK\r\n");
        serves.iter().for_each(|host| ping(&mut connect(&format!("{host}:{port}"))));
        assert!(refuses.is_none_or(|host| is_closed(&format!("{host}:{port}"))));
        // Nobody comes to listen beside it without having asked to.
        let address: SocketAddr = format!("127.0.0.9:{port}").parse().unwrap();
        assert!(listen_at(address, 1, false).is_err());
    }
    assert_eq!(
        scene.caller.call("CONFIG SET bind 192.0.2.1"),
        "-ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses.\r\n"
    );
    ping(&mut connect(&format!("127.0.0.9:{port}")));
}

#[test]
fn the_last_door_stays_open() {
    let mut scene = Scene::new();
    assert_eq!(
        scene.caller.call("CONFIG SET port 0"),
        "-ERR CONFIG SET failed - resp-plain is no and tls-port is 0, so that no client could connect\r\n"
    );
    assert_eq!(
        scene.caller.call(&format!("CONFIG SET tls-port {}", free_port())),
        "-ERR CONFIG SET failed (possibly related to argument 'tls-port') - Unable to update TLS configuration. Check server \
         logs.\r\n"
    );
    assert!(scene.caller.call("CONFIG GET tls-port").ends_with("$1\r\n0\r\n"));
    ping(&mut connect(&format!("127.0.0.1:{}", scene.port())));
}

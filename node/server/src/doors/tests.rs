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

/// A socket as those are that nodes listen with.
fn listening() -> Arc<TcpListener> {
    Arc::new(listen_at("127.0.0.1:0".parse().unwrap(), 16, false).unwrap())
}

/// Connects, and waits until that waits to be accepted.
async fn come(listener: &TcpListener) -> TcpStream {
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // The runtime tells of streams alone whether there is something; of a socket that listens, that is somebody.
    let socket = TcpStream::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap()));
    tokio::net::TcpStream::from_std(socket).unwrap().readable().await.unwrap();
    stream
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

#[test]
fn who_has_gone_again_takes_nobody_else_along() {
    let mut coming = [
        Ok(1),
        Err(io::ErrorKind::ConnectionAborted),
        Ok(2),
        Err(io::ErrorKind::ConnectionReset),
        Ok(3),
        Err(io::ErrorKind::WouldBlock),
        Ok(4),
    ]
    .into_iter();
    let came = until_nobody_is_left(|| coming.next().unwrap().map_err(io::Error::from));
    assert_eq!(came, [1, 2, 3]);
    // A process that has no descriptor left asks no longer than it has to.
    assert_eq!(until_nobody_is_left(|| Err::<(), _>(io::Error::other("none left"))), []);
}

#[tokio::test(flavor = "current_thread")]
async fn a_door_becomes_one_for_others_and_who_had_come_is_let_in_as_it_came() {
    let (doors, listener) = (Doors::default(), listening());
    doors.open(Listeners { plain: Some(Arc::clone(&listener)), tls: None });
    let early = come(&listener).await;
    doors.open(Listeners { plain: None, tls: Some(Arc::clone(&listener)) });
    let came = doors.take_early();
    assert_eq!((came.len(), came[0].is_tls, came[0].address), (1, false, early.local_addr().unwrap()));
    let late = come(&listener).await;
    assert!(doors.take_early().is_empty());
    // And back, also if nobody has looked yet.
    doors.open(Listeners { plain: Some(Arc::clone(&listener)), tls: None });
    let came = doors.take_early();
    assert_eq!((came.len(), came[0].is_tls, came[0].address), (1, true, late.local_addr().unwrap()));
    // One that closes is left to who accepts.
    let _last = come(&listener).await;
    doors.open(Listeners::default());
    assert!(doors.take_early().is_empty());
    assert_eq!(all_who_came(&listener, false).len(), 1);
}

#[test]
fn one_port_goes_from_one_door_to_the_other_and_two_change_places() {
    let node = node();
    let (plain, tls) = (listening(), listening());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let [first, second] = [port(&plain), port(&tls)].map(|port| port.to_string());
    let settings = |changes: &[(&str, &str)]| node.config.preview(changes).unwrap();
    let both = settings(&[("bind", "127.0.0.1"), ("port", &first), ("tls-port", &second)]);
    let alone = settings(&[("bind", "127.0.0.1"), ("port", &first), ("tls-port", "0")]);
    let moved = settings(&[("bind", "127.0.0.1"), ("port", "0"), ("tls-port", &first)]);
    let swapped = settings(&[("bind", "127.0.0.1"), ("port", &second), ("tls-port", &first)]);
    let twice = settings(&[("bind", "127.0.0.1"), ("port", &first), ("tls-port", &first)]);
    let one = |listeners: Option<Arc<TcpListener>>| listeners.map(|listener| port(&listener).to_string());
    let seen = |listeners: Option<Listeners>| listeners.map(|now| (one(now.plain), one(now.tls)));

    node.doors.open(Listeners { plain: Some(Arc::clone(&plain)), tls: None });
    let prepared = node.doors.prepare(&alone, &moved, None).unwrap();
    assert_eq!(seen(prepared), Some((None, Some(first.clone()))));
    let refused = node.doors.prepare(&alone, &twice, None).unwrap_err();
    assert!(refused.is_tls && refused.error.kind() == io::ErrorKind::AddrInUse, "{refused}");

    node.doors.open(Listeners { plain: Some(plain), tls: Some(tls) });
    let prepared = node.doors.prepare(&both, &swapped, None).unwrap();
    assert_eq!(seen(prepared), Some((Some(second), Some(first))));
}

#[test]
fn a_name_is_looked_up_while_the_worker_serves_others() {
    let mut scene = Scene::new();
    let port = scene.port();
    let [mut client, mut others] = [(), ()].map(|()| connect(&format!("127.0.0.1:{port}")));
    [&mut client, &mut others].into_iter().for_each(ping);
    assert_eq!(scene.caller.call("CONFIG SET bind 127.0.0.9"), "+OK\r\n");
    // The handler only says what is to be done.
    assert_eq!(scene.caller.call("CONFIG SET bind no.such.name.invalid"), "");
    scene.caller.call("MULTI");
    scene.caller.call("CONFIG SET bind localhost");
    let refused = scene.caller.call("EXEC");
    assert!(refused.contains("A name is not looked up inside a transaction"), "{refused}");
    client.write_all(b"CONFIG SET bind no.such.name.invalid\r\n").unwrap();
    let expected =
        b"-ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses.\r\n";
    let mut reply = vec![0; expected.len()];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(String::from_utf8_lossy(&reply), String::from_utf8_lossy(expected));
    assert_eq!(scene.node.config.load().resp.host(), "127.0.0.9");
    client.write_all(b"CONFIG SET bind localhost\r\nPING\r\n").unwrap();
    let mut reply = [0; 12];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+OK\r\n+PONG\r\n");
    assert_eq!(scene.node.config.load().resp.host(), "localhost");
    ping(&mut connect(&format!("localhost:{port}")));
    ping(&mut others);
}

//! Worker threads over real sockets.

use super::*;
use crate::testing::node;
use std::io::{Read, Write};
use std::net::TcpStream as Socket;

fn ask(socket: &mut Socket, request: &str, reply: &str) {
    socket.write_all(request.as_bytes()).unwrap();
    let mut bytes = vec![0; reply.len()];
    socket.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), reply);
}

fn start(count: usize) -> (Workers, SocketAddr, Arc<Node>) {
    let node = Arc::new(node());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listeners = Listeners { plain: Some(Arc::new(listener)), tls: None };
    (Workers::start(Arc::clone(&node), listeners, count).unwrap(), address, node)
}

#[test]
fn connections_are_dealt_to_all_workers_and_share_the_keys() {
    let (workers, address, node) = start(2);
    let mut sockets: Vec<Socket> = (0..4).map(|_| Socket::connect(address).unwrap()).collect();
    ask(&mut sockets[0], "SET k 0\r\n", "+OK\r\n");
    for (index, socket) in sockets.iter_mut().enumerate() {
        ask(socket, "INCR k\r\n", &format!(":{}\r\n", index + 1));
    }
    assert_eq!(node.clients.count(), 4);
    assert_eq!(node.tallies.totals().commands, 5);
    workers.stop();
    assert_eq!(node.clients.count(), 0);
    for mut socket in sockets {
        assert!(matches!(socket.read(&mut [0; 1]), Ok(0) | Err(_)), "the connection is closed");
    }
}

#[test]
fn concurrent_clients_lose_nothing() {
    let (workers, address, node) = start(2);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut socket = Socket::connect(address).unwrap();
                for _ in 0..20 {
                    socket.write_all(&b"INCR k\r\nMULTI\r\nINCR k\r\nINCR k\r\nEXEC\r\n".repeat(10)).unwrap();
                }
                ask_last(&mut socket);
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let mut socket = Socket::connect(address).unwrap();
    ask(&mut socket, "GET k\r\n", "$4\r\n2400\r\n");
    assert_eq!(node.clients.accepted(), 5);
    workers.stop();
}

/// Reads everything until the answer to a last request.
fn ask_last(socket: &mut Socket) {
    socket.write_all(b"ECHO the-end\r\n").unwrap();
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while !all.ends_with(b"$7\r\nthe-end\r\n") {
        let count = socket.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "closed early");
        all.extend_from_slice(&buffer[..count]);
    }
}

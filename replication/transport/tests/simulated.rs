//! The transport inside turmoil's hosts, over its network: unmodified QUIC, and the same run for the same seed.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use bytes::Bytes;
use common::*;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use transport::*;

const PORT: u16 = 7379;

type Readable = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// turmoil's UDP as quinn wants it.
struct Simulated {
    socket: Arc<turmoil::net::UdpSocket>,
    readable: Mutex<Option<Readable>>,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Simulated")
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Simulated {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // As on a real network, a host that is not there is no error of the sender.
        let _ = self.socket.try_send_to(transmit.contents, transmit.destination);
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut readable = self.readable.lock().unwrap();
        loop {
            let mut count = 0;
            while count < buffers.len().min(metas.len()) {
                let Ok((len, addr)) = self.socket.try_recv_from(&mut buffers[count]) else { break };
                metas[count] = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
                count += 1;
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            let socket = self.socket.clone();
            let waiting = readable.get_or_insert_with(|| Box::pin(async move { socket.readable().await }));
            match waiting.as_mut().poll(context) {
                Poll::Ready(_) => *readable = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

async fn node(credentials: NodeCredentials, seed: u8) -> Node {
    let socket = turmoil::net::UdpSocket::bind(("0.0.0.0", PORT)).await.unwrap();
    let mut settings = settings(&credentials);
    settings.bind = Bind::Abstract(Arc::new(Simulated { socket: Arc::new(socket), readable: Mutex::default() }));
    let wall_clock = Arc::new(|| turmoil::since_epoch().unwrap().as_millis() as u64);
    settings.seams = Seams::seeded([seed; 32], wall_clock);
    // Nobody above listens for heartbeats here: QUIC alone finds a dead link.
    settings.idle_timeout = Duration::from_secs(5);
    settings.resolve = Arc::new(|name| {
        Box::pin(async move {
            let (host, port) = name.rsplit_once(':').unwrap();
            Ok(vec![SocketAddr::new(turmoil::lookup(host), port.parse().unwrap())])
        })
    });
    Node::start(settings)
}

/// What happened, and when.
type Trace = Arc<Mutex<Vec<String>>>;

async fn host(
    name: &'static str,
    own: NodeCredentials,
    peers: Vec<(NodeIdentity, &'static str)>,
    seed: u8,
    trace: Trace,
) {
    let mut node = node(own, seed).await;
    for (peer, host) in peers {
        node.transport.dial(peer, format!("{host}:{PORT}"));
    }
    let mut heartbeat = tokio::time::interval(Duration::from_millis(250));
    let mut links = std::collections::BTreeSet::new();
    loop {
        let event = tokio::select! {
            biased;
            event = node.events.recv() => event.unwrap(),
            _ = heartbeat.tick() => {
                for link in &links {
                    let _ = node.transport.send(*link, Lane::Control, Bytes::from_static(b"alive"));
                    let _ = node.transport.send(*link, Lane::Batches, Bytes::from(vec![1; 3000]));
                }
                continue;
            }
        };
        match &event {
            TransportEvent::Connected { link, .. } => drop(links.insert(*link)),
            TransportEvent::Closed { link, .. } => drop(links.remove(link)),
            _ => {}
        }
        let at = turmoil::elapsed().as_millis();
        let text = match event {
            TransportEvent::Frame { link, lane, bytes } => format!("{link:?} {lane:?} {}", bytes.len()),
            other => format!("{other:?}"),
        };
        trace.lock().unwrap().push(format!("{at} {name} {text}"));
    }
}

/// Runs two nodes that know each other through a partition and a crash.
fn run(seed: u64, disturbed: bool) -> Vec<String> {
    let trace = Trace::default();
    let [a, b] = two();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(std::time::UNIX_EPOCH + Duration::from_secs(NOW as u64))
        .udp_capacity(4096)
        .min_message_latency(Duration::from_millis(20))
        .max_message_latency(Duration::from_millis(20))
        .simulation_duration(Duration::from_secs(60))
        .build();
    for (name, own, peer, peer_name) in [("a", &a, identity(&b), "b"), ("b", &b, identity(&a), "a")] {
        let (own, trace) = (own.clone(), trace.clone());
        let lives = Arc::new(std::sync::atomic::AtomicU8::new(0));
        sim.host(name, move || {
            let life = lives.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let seed = (seed as u8).wrapping_mul(31) ^ name.as_bytes()[0] ^ (life << 4);
            let running = host(name, own.clone(), vec![(peer, peer_name)], seed, trace.clone());
            async move {
                running.await;
                Ok(())
            }
        });
    }
    let step_to = |sim: &mut turmoil::Sim<'_>, seconds: u64| {
        while sim.elapsed() < Duration::from_secs(seconds) {
            sim.step().unwrap();
        }
    };
    step_to(&mut sim, 5);
    if disturbed {
        sim.partition("a", "b");
        step_to(&mut sim, 15);
        sim.repair("a", "b");
        step_to(&mut sim, 20);
        sim.crash("b");
        step_to(&mut sim, 22);
        sim.bounce("b");
    }
    step_to(&mut sim, 30);
    trace.lock().unwrap().clone()
}

fn count(trace: &[String], what: &str) -> usize {
    trace.iter().filter(|line| line.contains(what)).count()
}

#[test]
fn two_nodes_that_know_each_other_have_one_undisturbed_link() {
    let trace = run(1, false);
    assert_eq!((count(&trace, "Connected"), count(&trace, "Closed"), count(&trace, "Failed")), (2, 0, 0), "{trace:#?}");
    assert!(count(&trace, "a link1 Control 5") > 100 && count(&trace, "b link1 Batches 3000") > 100);
}

#[test]
fn links_come_back_after_a_partition_and_a_crash() {
    for seed in 1..=5 {
        let trace = run(seed, true);
        let last = |name: &str| {
            let frames =
                trace.iter().rev().find(|line| line.contains(&format!(" {name} link")) && line.contains("Control"));
            frames.unwrap().split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        assert!(last("a") > 29_000 && last("b") > 29_000, "seed {seed}: {:#?}", &trace[trace.len() - 20..]);
        let links =
            |name: &str| count(&trace, &format!(" {name} Connected")) - count(&trace, &format!(" {name} Closed"));
        assert_eq!(links("a"), 1, "seed {seed}");
        // The repaired path is used within the longest wait between two dials.
        let repaired = trace.iter().find(|line| line.contains("Connected") && at(line) > 15_000).unwrap();
        assert!(at(repaired) < 19_000, "seed {seed}: {repaired}");
    }
}

fn at(line: &str) -> u64 {
    line.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (first, again, other) = (run(7, true), run(7, true), run(8, true));
    let differs = first.iter().zip(&again).find(|(one, two)| one != two);
    assert_eq!(differs, None);
    assert_eq!(first.len(), again.len());
    assert_ne!(first, other);
}

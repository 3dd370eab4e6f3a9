//! How old a region's view of another is: each node is told the time again and again, and all others are asked for it.

use crate::cluster::Cluster;
use crate::wait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two writes of the time at each node.
const WRITE_INTERVAL: Duration = Duration::from_millis(20);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The oldest time of one node that clients of another were shown.
#[derive(Clone, Debug)]
pub struct OldestView {
    /// Where it was written.
    pub writer: String,
    /// Where it was read.
    pub reader: String,
    /// How old it was then: at least the time between two writes.
    pub age: Duration,
}

/// Clients that write the time at each node and read it at all others.
#[derive(Debug)]
pub struct Probes {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    writer: String,
    reader: String,
    oldest_us: Arc<AtomicU64>,
}

impl Probes {
    /// Starts them, and waits until everybody has seen a time of everybody.
    pub fn start(cluster: &Cluster) -> Self {
        let begin = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let mut probes = Self { stop: Arc::clone(&stop), threads: Vec::new(), pairs: Vec::new() };
        for writer in &cluster.nodes {
            let (mut client, key, stop) = (writer.client(), key(&writer.name), Arc::clone(&stop));
            probes.threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    client.must(&format!("SET {key} {}", begin.elapsed().as_micros()));
                    wait::pause(WRITE_INTERVAL);
                }
            }));
        }
        for (writer, reader) in pairs(cluster) {
            let oldest_us = Arc::new(AtomicU64::new(0));
            let (mut client, key) = (cluster.nodes[reader].client(), key(&cluster.nodes[writer].name));
            wait::until("everybody has seen everybody's time", || {
                client.line(&format!("GET {key}")).text().map(drop).ok_or_else(|| "there is none".to_owned())
            });
            let (stop, oldest) = (Arc::clone(&stop), Arc::clone(&oldest_us));
            probes.threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let shown = client.line(&format!("GET {key}")).text().and_then(|text| text.parse::<u64>().ok());
                    let now = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
                    oldest.fetch_max(now - shown.expect("a time that was there stays"), Ordering::Relaxed);
                    wait::pause(LOOK_INTERVAL);
                }
            }));
            let [writer, reader] = [writer, reader].map(|node| cluster.nodes[node].name.clone());
            probes.pairs.push(Pair { writer, reader, oldest_us });
        }
        probes
    }

    /// The oldest views since the last call, or the start.
    pub fn take(&self) -> Vec<OldestView> {
        let of = |pair: &Pair| OldestView {
            writer: pair.writer.clone(),
            reader: pair.reader.clone(),
            age: Duration::from_micros(pair.oldest_us.swap(0, Ordering::Relaxed)),
        };
        self.pairs.iter().map(of).collect()
    }

    /// Ends them.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a probe sees no error"));
    }
}

fn key(node: &str) -> String {
    format!("time:{node}")
}

fn pairs(cluster: &Cluster) -> impl Iterator<Item = (usize, usize)> {
    let count = cluster.nodes.len();
    (0..count).flat_map(move |writer| (0..count).filter(move |&reader| reader != writer).map(move |r| (writer, r)))
}

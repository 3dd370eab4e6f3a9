//! Nodes for tests: an authority, certificates with a known order of identities, and waiting for events.

#![allow(clippy::unwrap_used)] // a failed step is a failed test
#![allow(dead_code)] // every test program uses its own part

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use transport::*;

pub const CLUSTER: ClusterId = ClusterId([7; 16]);
pub const OTHER_CLUSTER: ClusterId = ClusterId([8; 16]);
/// The wall clock of all tests: certificates are judged by it.
pub const NOW: i64 = 1_800_000_000;
/// No test waits longer; it fails instead.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn authority(cluster: ClusterId, seed: u8) -> Authority {
    Authority::create(cluster, Validity::of_authority(NOW), Some([seed; 32])).unwrap()
}

pub fn credentials(authority: &Authority, seed: u8) -> NodeCredentials {
    let request =
        CertificateRequest { name: format!("node-{seed}"), validity: Validity::of_node(NOW), seed: Some([seed; 32]) };
    authority.issue(&request).unwrap()
}

pub fn identity(credentials: &NodeCredentials) -> NodeIdentity {
    credentials.facts().unwrap().identity
}

/// Credentials of two nodes, the smaller identity first.
pub fn two() -> [NodeCredentials; 2] {
    let authority = authority(CLUSTER, 1);
    let mut two = [credentials(&authority, 10), credentials(&authority, 11)];
    two.sort_by_key(identity);
    two
}

pub fn clock(unix_seconds: i64) -> WallClock {
    Arc::new(move || unix_seconds as u64 * 1000)
}

pub fn settings(credentials: &NodeCredentials) -> TransportSettings {
    let bind = Bind::Address(SocketAddr::from(([127, 0, 0, 1], 0)));
    let cluster = credentials.facts().unwrap().clusters[0];
    let mut settings = TransportSettings::new(bind, credentials.clone(), cluster);
    settings.seams.wall_clock = clock(NOW);
    settings
}

pub struct Node {
    pub transport: Transport,
    pub events: TransportEvents,
    pub identity: NodeIdentity,
    pub address: String,
}

impl Node {
    pub fn start(settings: TransportSettings) -> Self {
        let identity = identity(&settings.credentials);
        let (transport, events) = Transport::start(settings).unwrap();
        let address = transport.local_addr().unwrap().to_string();
        Self { transport, events, identity, address }
    }

    pub fn of(credentials: &NodeCredentials) -> Self {
        Self::start(settings(credentials))
    }

    pub fn dial(&self, other: &Node) {
        self.transport.dial(other.identity, other.address.clone());
    }

    /// The next event that `pick` wants; others are passed over.
    pub async fn wait<T>(&mut self, mut pick: impl FnMut(TransportEvent) -> Option<T>) -> T {
        let picked = async {
            loop {
                let event = self.events.recv().await.expect("the transport lives");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, picked).await.expect("the event comes in time")
    }

    pub async fn connected(&mut self) -> LinkId {
        self.wait(|event| match event {
            TransportEvent::Connected { link, .. } => Some(link),
            _ => None,
        })
        .await
    }

    pub async fn closed(&mut self) -> String {
        self.wait(|event| match event {
            TransportEvent::Closed { reason, .. } => Some(reason),
            _ => None,
        })
        .await
    }

    pub async fn frame(&mut self) -> (LinkId, Lane, Vec<u8>) {
        self.wait(|event| match event {
            TransportEvent::Frame { link, lane, bytes } => Some((link, lane, bytes.to_vec())),
            _ => None,
        })
        .await
    }

    pub async fn dial_failed(&mut self) -> String {
        self.wait(|event| match event {
            TransportEvent::DialFailed { error, .. } => Some(error),
            TransportEvent::Connected { .. } => panic!("there must be no link"),
            _ => None,
        })
        .await
    }

    pub async fn accept_failed(&mut self) -> String {
        self.wait(|event| match event {
            TransportEvent::AcceptFailed { error, .. } => Some(error),
            TransportEvent::Connected { .. } => panic!("there must be no link"),
            _ => None,
        })
        .await
    }
}

/// Two linked nodes, the smaller identity first.
pub async fn linked() -> ((Node, LinkId), (Node, LinkId)) {
    let [a, b] = two();
    let (mut a, mut b) = (Node::of(&a), Node::of(&b));
    a.dial(&b);
    let links = (a.connected().await, b.connected().await);
    ((a, links.0), (b, links.1))
}

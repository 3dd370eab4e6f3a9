//! What a transport is started with.

use crate::{Delay, NodeCredentials, Seams, limits};
use protocol::{ClusterId, NodeIdentity};
use quinn::AsyncUdpSocket;
use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

/// Where datagrams go out and come in.
pub enum Bind {
    /// A UDP socket of this address; port 0 asks the system for one.
    Address(SocketAddr),
    /// This socket.
    Socket(std::net::UdpSocket),
    /// Something that behaves as a UDP socket: the simulator's network.
    Abstract(Arc<dyn AsyncUdpSocket>),
}

/// Says whether a node with this identity may have a link.
pub type Admission = Arc<dyn Fn(&NodeIdentity) -> Result<(), NotAdmitted> + Send + Sync>;

/// Why a node gets no link: a sentence that the peer is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// It was removed for ever. It is told so by a code as well, so that it can act on it.
    #[error("{0}")]
    Removed(String),
    /// Something else.
    #[error("{0}")]
    Refused(String),
}
/// The pending answer of a [`Resolve`].
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
/// Finds the addresses of a `host:port`. Called at every dial, so that a moved peer is found.
pub type Resolve = Arc<dyn Fn(String) -> Resolving + Send + Sync>;

/// What a transport is started with.
pub struct TransportSettings {
    /// Where datagrams go out and come in.
    pub bind: Bind,
    /// Certificate chain, key and the authorities that peers' certificates must come from.
    pub credentials: NodeCredentials,
    /// The cluster. Peers of another one are refused.
    pub cluster: ClusterId,
    /// Who may have a link. Asked once a connection, before it counts.
    pub admission: Admission,
    /// How addresses are found.
    pub resolve: Resolve,
    /// Silence after which QUIC gives a connection up.
    pub idle_timeout: Duration,
    /// How often a quiet connection says that it is there.
    pub keep_alive: Duration,
    /// How long one dial may take.
    pub dial_time: Duration,
    /// Delays what is sent, to try things out. Nothing in production.
    pub delay: Option<Delay>,
    /// Chance and time.
    pub seams: Seams,
}

impl TransportSettings {
    /// Ordinary settings: everybody with a certificate of the cluster is admitted, the system resolves names.
    pub fn new(bind: Bind, credentials: NodeCredentials, cluster: ClusterId) -> Self {
        Self {
            bind,
            credentials,
            cluster,
            admission: Arc::new(|_| Ok(())),
            resolve: Arc::new(|address| Box::pin(resolve_by_system(address))),
            idle_timeout: limits::IDLE_TIME,
            keep_alive: Duration::from_secs(1),
            dial_time: limits::DIAL_TIME,
            delay: None,
            seams: Seams::default(),
        }
    }
}

impl fmt::Debug for TransportSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportSettings").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

async fn resolve_by_system(address: String) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host(address).await?.collect())
}

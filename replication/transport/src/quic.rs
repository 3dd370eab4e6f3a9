//! The transport itself: its endpoint, the links it has, the peers it dials, and what its consumer may ask of it.

use crate::delay::DelayedSocket;
use crate::event::{self, EventSender, LinkId, TransportEvent, TransportEvents};
use crate::identity::{CertificateFacts, IdentityError, server_name};
use crate::lane_queue::Refused;
use crate::links::LinkTable;
use crate::reason::{CloseCode, LinkError};
use crate::settings::{Admission, Bind, Resolve, TransportSettings};
use crate::tls::{self, ConnectionSettings, TlsError};
use crate::{NodeCredentials, Random, dialer, limits, link};
use bytes::Bytes;
use protocol::{ClusterId, Lane, NodeIdentity};
use quinn::{Endpoint, Incoming, Runtime, TokioRuntime};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// A node's end of all its links.
pub struct Transport {
    shared: Arc<Shared>,
    dialed: Mutex<BTreeMap<NodeIdentity, Dialed>>,
    connections: ConnectionSettings,
}

/// Why there is no transport. The operator acts on it.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The socket.
    #[error("cannot bind the peer socket to {address}: {error}")]
    Bind {
        /// The address that was asked for.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// The node's own certificate.
    #[error("the node's own certificate: {0}")]
    Certificate(#[from] IdentityError),
    /// The node's own certificate is of another cluster.
    #[error("the node's certificate is not of cluster {0}")]
    OtherCluster(ClusterId),
    /// A renewed certificate with another key.
    #[error("the new certificate has another key; a node keeps its key, or it is another node")]
    OtherIdentity,
    /// Certificates, keys, timeouts.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not inside a runtime.
    #[error("a transport is started inside a tokio runtime")]
    NoRuntime,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The lane's queue is full; [`TransportEvent::Room`] will follow.
    #[error("the lane is full")]
    Full,
    /// The link is over.
    #[error("the link is closed")]
    Closed,
    /// Longer than the lane allows.
    #[error("the frame is longer than its lane allows")]
    TooLong,
}

/// What a link has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStats {
    /// Bytes of UDP sent.
    pub sent_bytes: u64,
    /// Bytes of UDP received.
    pub received_bytes: u64,
    /// Datagrams sent.
    pub sent_packets: u64,
    /// Datagrams received.
    pub received_packets: u64,
    /// Packets that the network lost.
    pub lost_packets: u64,
    /// The round trip, as QUIC estimates it.
    pub round_trip: Duration,
    /// What QUIC allows to be under way.
    pub congestion_window_bytes: u64,
    /// Bytes waiting in the lanes' queues, in the order of [`Lane::ALL`].
    pub queued_bytes: [usize; Lane::ALL.len()],
}

struct Dialed {
    address: watch::Sender<String>,
    task: AbortHandle,
}

/// What tasks and callers share.
pub(crate) struct Shared {
    pub(crate) identity: NodeIdentity,
    pub(crate) cluster: ClusterId,
    pub(crate) admission: Admission,
    pub(crate) events: EventSender,
    pub(crate) dial_time: Duration,
    pub(crate) jitter: Random,
    endpoint: Endpoint,
    client: Mutex<quinn::ClientConfig>,
    ids: Random,
    resolve: Resolve,
    table: Mutex<LinkTable>,
    runtime: Handle,
    handshakes: AtomicUsize,
    handshakes_refused: AtomicU64,
    frames_refused: AtomicU64,
}

impl Transport {
    /// Binds the socket and begins to accept. Must be called inside the runtime that shall run the links.
    pub fn start(settings: TransportSettings) -> Result<(Self, TransportEvents), TransportError> {
        let runtime = Handle::try_current().map_err(|_| TransportError::NoRuntime)?;
        let facts = own_facts(&settings.credentials, settings.cluster)?;
        let ids = settings.seams.random("connection ids");
        let discovers_mtu = match &settings.bind {
            Bind::Address(_) | Bind::Socket(_) => true,
            Bind::Abstract(socket) => !socket.may_fragment(),
        };
        let connections = ConnectionSettings::new(&settings, discovers_mtu)?;
        let configs = connections.configs(&settings.credentials, &ids)?;
        let endpoint_config = tls::endpoint_config(&settings.seams, &settings.credentials, &ids);
        let mut socket = bind(settings.bind)?;
        if let Some(delay) = settings.delay {
            socket = DelayedSocket::start(socket, delay, &runtime);
        }
        let endpoint =
            Endpoint::new_with_abstract_socket(endpoint_config, Some(configs.server), socket, Arc::new(TokioRuntime))
                .map_err(|error| TransportError::Bind { address: "the given socket".to_owned(), error })?;
        let (events, receiver) = event::channel();
        let shared = Arc::new(Shared {
            identity: facts.identity,
            cluster: settings.cluster,
            admission: settings.admission,
            events,
            dial_time: settings.dial_time,
            jitter: settings.seams.random("jitter"),
            endpoint,
            client: Mutex::new(configs.client),
            ids,
            resolve: settings.resolve,
            table: Mutex::new(LinkTable::new(settings.seams.random("life").word())),
            runtime,
            handshakes: AtomicUsize::new(0),
            handshakes_refused: AtomicU64::new(0),
            frames_refused: AtomicU64::new(0),
        });
        shared.spawn(accept(shared.clone()));
        Ok((Self { shared, dialed: Mutex::default(), connections }, receiver))
    }

    /// Keeps a link to this peer: dials until there is one, and again whenever it is lost, until
    /// [`stop_dialing`](Self::stop_dialing). `address` is `host:port`, looked up at every try; calling again changes
    /// it. Nobody else is accepted at that address.
    pub fn dial(&self, peer: NodeIdentity, address: String) {
        let mut dialed = lock(&self.dialed);
        if let Some(known) = dialed.get(&peer) {
            known.address.send_if_modified(|current| {
                let changed = *current != address;
                *current = address;
                changed
            });
            return;
        }
        if dialed.len() >= limits::DIALED_PEERS_MAX {
            tracing::error!(%peer, "more peers than there are node numbers shall be dialed; this one is not");
            return;
        }
        let (sender, receiver) = watch::channel(address);
        let linked = self.shared.table().watch(peer);
        let dialing = dialer::keep_dialed(self.shared.clone(), peer, receiver, linked);
        let task = self.shared.runtime.spawn(dialing).abort_handle();
        dialed.insert(peer, Dialed { address: sender, task });
    }

    /// Dials this peer no more. A link that there is stays.
    pub fn stop_dialing(&self, peer: &NodeIdentity) {
        if let Some(dialed) = lock(&self.dialed).remove(peer) {
            dialed.task.abort();
        }
    }

    /// Closes a link. The peer is told why; [`TransportEvent::Closed`] follows.
    pub fn close(&self, link: LinkId, reason: &str) {
        let found = self.shared.table().link(link).cloned();
        if let Some(link) = found {
            link.close(CloseCode::Asked, reason);
        }
    }

    /// Closes a link to a node that was removed from the cluster. It is told so by a code.
    pub fn close_removed(&self, link: LinkId, reason: &str) {
        let found = self.shared.table().link(link).cloned();
        if let Some(link) = found {
            link.close(CloseCode::Removed, reason);
        }
    }

    /// Queues a frame. It is dropped if the link ends before it is sent.
    pub fn send(&self, link: LinkId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        if frame.len() > lane.frame_bytes_max() {
            return Err(SendError::TooLong);
        }
        let found = self.shared.table().link(link).cloned().ok_or(SendError::Closed)?;
        found.queue(lane).push(frame).map_err(|refused| match refused {
            Refused::Full => SendError::Full,
            Refused::Closed => SendError::Closed,
        })
    }

    /// Whether a frame would be taken. After a "no", [`TransportEvent::Room`] tells when to ask again.
    pub fn has_room(&self, link: LinkId, lane: Lane) -> bool {
        let found = self.shared.table().link(link).cloned();
        found.is_some_and(|link| link.queue(lane).has_room())
    }

    /// What a link has done so far; nothing when it is over.
    pub fn stats(&self, link: LinkId) -> Option<LinkStats> {
        let link = self.shared.table().link(link).cloned()?;
        let stats = link.connection.stats();
        Some(LinkStats {
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            sent_packets: stats.udp_tx.datagrams,
            received_packets: stats.udp_rx.datagrams,
            lost_packets: stats.path.lost_packets,
            round_trip: stats.path.rtt,
            congestion_window_bytes: stats.path.cwnd,
            queued_bytes: Lane::ALL.map(|lane| link.queue(lane).bytes()),
        })
    }

    /// Who this node is, by its certificate.
    pub fn identity(&self) -> NodeIdentity {
        self.shared.identity
    }

    /// Where the socket is bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.endpoint.local_addr()
    }

    /// Inbound connections that were turned away because too many handshakes were under way.
    pub fn handshakes_refused(&self) -> u64 {
        self.shared.handshakes_refused.load(Ordering::Relaxed)
    }

    /// Frames that closed their link because they were too long.
    pub fn frames_refused(&self) -> u64 {
        self.shared.frames_refused.load(Ordering::Relaxed)
    }

    /// Uses a renewed certificate, or other trusted authorities, from the next connection on; links stay.
    pub fn renew(&self, credentials: &NodeCredentials) -> Result<(), TransportError> {
        if own_facts(credentials, self.shared.cluster)?.identity != self.shared.identity {
            return Err(TransportError::OtherIdentity);
        }
        let configs = self.connections.configs(credentials, &self.shared.ids)?;
        *lock(&self.shared.client) = configs.client;
        self.shared.endpoint.set_server_config(Some(configs.server));
        Ok(())
    }

    /// Closes every link, tells the peers, and waits shortly until they know.
    pub async fn shutdown(&self) {
        self.stop("the node is shutting down");
        // Peers that cannot be reached find out by themselves.
        let _ = timeout(limits::SHUTDOWN_TIME_MAX, self.shared.endpoint.wait_idle()).await;
    }

    fn stop(&self, because: &str) {
        let links = {
            let mut table = self.shared.table();
            table.close();
            table.all()
        };
        std::mem::take(&mut *lock(&self.dialed)).into_values().for_each(|dialed| dialed.task.abort());
        links.iter().for_each(|link| link.close(CloseCode::Leaving, because));
        self.shared.endpoint.close(CloseCode::Leaving.number(), because.as_bytes());
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.stop("the node is gone");
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("identity", &self.shared.identity).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn table(&self) -> MutexGuard<'_, LinkTable> {
        lock(&self.table)
    }

    /// Runs a task on the transport's runtime. It ends with its connection.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(task));
    }

    pub(crate) fn frames_refused(&self) {
        self.frames_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The address to dial at this try: each of those that a name has in turn.
    pub(crate) async fn resolve(&self, address: &str, tries: usize) -> Result<SocketAddr, LinkError> {
        if let Ok(literal) = address.parse() {
            return Ok(literal);
        }
        let found = (self.resolve)(address.to_owned())
            .await
            .map_err(|error| LinkError::Resolve { address: address.to_owned(), error: error.to_string() })?;
        let only_v4 = self.endpoint.local_addr().is_ok_and(|local| local.is_ipv4());
        let reachable: Vec<_> = found.into_iter().filter(|found| !only_v4 || found.is_ipv4()).collect();
        match reachable.len() {
            0 => Err(LinkError::NoAddress(address.to_owned())),
            count => Ok(reachable[tries % count]),
        }
    }

    pub(crate) fn connect(&self, target: SocketAddr) -> Result<quinn::Connecting, quinn::ConnectError> {
        let client = lock(&self.client).clone();
        self.endpoint.connect_with(client, target, &server_name(self.cluster))
    }
}

/// Takes inbound connections until the endpoint is closed.
async fn accept(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let under_way = shared.handshakes.load(Ordering::Relaxed);
        if under_way >= limits::HANDSHAKES_MAX {
            shared.handshakes_refused.fetch_add(1, Ordering::Relaxed);
            incoming.ignore();
            continue;
        }
        if under_way >= limits::HANDSHAKES_UNPROVEN_MAX && !incoming.remote_address_validated() && incoming.may_retry()
        {
            // A retry that cannot be sent is like one that was lost: the peer asks again.
            let _ = incoming.retry();
            continue;
        }
        shared.handshakes.fetch_add(1, Ordering::Relaxed);
        shared.spawn(accept_one(shared.clone(), incoming));
    }
}

async fn accept_one(shared: Arc<Shared>, incoming: Incoming) {
    let address = plain(incoming.remote_address());
    let attempt = async { link::establish(&shared, incoming.accept()?.await?, None).await };
    let outcome = timeout(limits::ACCEPT_TIME_MAX, attempt).await;
    shared.handshakes.fetch_sub(1, Ordering::Relaxed);
    match outcome.unwrap_or_else(|_| Err(LinkError::Silent(address.to_string()))) {
        Ok(_) => {}
        Err(error) if error.is_superseded() => {}
        Err(error) => shared.events.send_or_drop(TransportEvent::AcceptFailed { address, error: error.to_string() }),
    }
}

/// An IPv4 address as such, also when it came over an IPv6 socket.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn own_facts(credentials: &NodeCredentials, cluster: ClusterId) -> Result<CertificateFacts, TransportError> {
    let facts = credentials.facts()?;
    if facts.clusters.contains(&cluster) { Ok(facts) } else { Err(TransportError::OtherCluster(cluster)) }
}

fn bind(bind: Bind) -> Result<Arc<dyn quinn::AsyncUdpSocket>, TransportError> {
    let (socket, address) = match bind {
        Bind::Abstract(socket) => return Ok(socket),
        Bind::Socket(socket) => (Ok(socket), "the given socket".to_owned()),
        Bind::Address(address) => (bind_address(address), address.to_string()),
    };
    socket
        .and_then(|socket| TokioRuntime.wrap_udp_socket(socket))
        .map_err(|error| TransportError::Bind { address, error })
}

fn bind_address(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The system gives less than that where its limits say so; then bursts are lost and sent again.
    let _ = socket.set_recv_buffer_size(limits::SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(limits::SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

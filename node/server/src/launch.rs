//! From settings to a running node: sockets, catalogue, threads, and the order in which they end.
//!
//! Threads of a node: one that accepts clients and some that serve them (`worker`), one for replication (`peers`), one
//! for HTTP and sampling (`console`), and one that waits for the wish to stop. A process may run several nodes. The
//! simulator does without all this and spawns the same parts on its one thread.

mod service_manager;
mod sockets;
#[cfg(test)]
mod tests;
mod threads;

pub use service_manager::ServiceManager;
pub(crate) use sockets::listen_at;
pub use sockets::{Addresses, Sockets};

use crate::acl::{self, FileError, USERS_FILE};
use crate::certificates::CertificateFiles;
use crate::config::{Config, ConfigError, Settings, Sources};
use crate::doors::Listeners;
use crate::logging::Logging;
use crate::metrics::AllocatorFigures;
use crate::node::{Node, Seams};
use crate::peers::{PeerSetup, Preparation, StartError};
use crate::persistence::{self, STORE_DIRECTORY, StoreSetup};
use crate::setup::{CATALOGUE_DIRECTORY, MEMBERSHIP_FILE, RESERVE_FILE, own_record};
use crate::tls::TlsError;
use crdt::UnixMillis;
use keyspace::Keyspace;
use protocol::ClusterId;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use storage::{
    Catalogue, CatalogueError, CatalogueRows, Fs, MirroredCatalogue, Reserve, ReservedCatalogue, SledCatalogue, StdFs,
};
use transport::{Bind, CertificateFacts, CredentialsError, IdentityError, NodeCredentials, Random, TransportSettings};

/// What a process gives each of its nodes.
#[derive(Clone, Debug, Default)]
pub struct LaunchOptions {
    /// The process's log, which follows the node's settings.
    pub logging: Option<Logging>,
    /// How to ask the allocator.
    pub allocator: Option<fn() -> AllocatorFigures>,
}

/// A node that runs.
pub struct Running {
    node: Arc<Node>,
    addresses: Addresses,
    thread: JoinHandle<Result<(), StopError>>,
}

/// Why a node does not start. The operator acts on it; each is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The settings.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// No region was set.
    #[error(
        "the node's region is not set; make its directory with `pelago init` or `pelago region add`, or set region"
    )]
    NoRegion,
    /// A socket.
    #[error("cannot listen for {whom} on {address}: {error}; choose another address, or stop what listens there")]
    Listen {
        /// Who would connect there.
        whom: &'static str,
        /// Where.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// The certificate's files.
    #[error("{0}; `pelago init`, `pelago region add` and `pelago cert` make certificates")]
    Credentials(#[from] CredentialsError),
    /// What the certificate says.
    #[error("{0}")]
    Certificate(#[from] IdentityError),
    /// Not a cluster's id.
    #[error("the setting cluster-id is not right: {0}")]
    ClusterId(IdentityError),
    /// The certificate is of another cluster.
    #[error(
        "the node's certificate is not of the cluster {0}; the certificate and the setting cluster-id must come from one cluster"
    )]
    OtherCluster(String),
    /// The certificate is of another node.
    #[error(
        "the certificate is that of node {certificate}, but the setting node is {setting}; one of them is in the wrong directory"
    )]
    OtherNode {
        /// Whom the certificate names.
        certificate: String,
        /// Whom the settings name.
        setting: String,
    },
    /// The certificate's time is over.
    #[error("the node's certificate has expired, so no other node would accept it; renew it with `pelago cert renew`")]
    Expired,
    /// The catalogue.
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    /// Joining the others.
    #[error("{0}")]
    Peers(#[from] StartError),
    /// A file.
    #[error("cannot read {}: {error}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The users.
    #[error("the users cannot be read: {0}")]
    Users(String),
    /// TLS for clients.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// A thread or a runtime.
    #[error("the system gives the node no thread: {0}")]
    Thread(#[from] io::Error),
    /// A thread died before it had started.
    #[error("a thread of the node ended before it had started; the log says why")]
    ThreadEnded,
}

/// How a node ended that was not asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// A thread that others rely on had panicked. Going on without it would spread a wrong state.
    #[error("the node stopped because its thread for {0} had failed; the log says why")]
    ThreadFailed(&'static str),
}

/// Starts a node with its own sockets.
pub fn launch(sources: Sources, options: &LaunchOptions) -> Result<Running, LaunchError> {
    let sockets = Sockets::bind(&sources.clone().finish()?.load())?;
    launch_on(sockets, sources, options)
}

/// Starts a node on sockets that are bound already.
pub fn launch_on(sockets: Sockets, mut sources: Sources, options: &LaunchOptions) -> Result<Running, LaunchError> {
    let addresses = sockets.addresses()?;
    // Port 0 is a wish; INFO, metrics and other nodes are told what came of it.
    sockets.write_ports(&addresses, &mut sources)?;
    let settings = sources.finish()?;
    let setup = PeersOnThread::prepare(&settings.load())?;
    let node = make_node(settings, options);
    begin_users(&node)?;
    node.tls.begin(&node.config.load(), node.wall_clock())?;
    let replication = threads::start_replication(Arc::clone(&node), setup.finish(sockets.peer, &node))?;
    let plain = Some(sockets.resp).filter(|_| node.config.load().resp_plain);
    let clients = Listeners { plain: plain.map(Arc::new), tls: sockets.tls.map(Arc::new) };
    let threads = threads::Threads::start(Arc::clone(&node), replication, clients, sockets.http)?;
    let thread = std::thread::Builder::new().name("node".to_owned()).spawn(move || threads.run())?;
    Ok(Running { node, addresses, thread })
}

impl Running {
    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Whether it has stopped.
    pub fn has_stopped(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until somebody asks the node to stop (a signal, `SHUTDOWN`, `request_stop`) and it has done so.
    pub fn wait(self) -> Result<(), StopError> {
        self.thread.join().unwrap_or(Err(StopError::ThreadFailed("stopping")))
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

pub use threads::stop_on_signals;

/// The wall clock of this machine in milliseconds since the Unix epoch.
pub fn wall_clock() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The same in microseconds.
fn wall_clock_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn make_node(settings: Settings, options: &LaunchOptions) -> Arc<Node> {
    let random = Random::system();
    let began = Instant::now();
    let seams = Seams {
        wall_clock: Arc::new(wall_clock),
        monotonic_ns: Arc::new(move || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)),
        seed: random.word(),
    };
    let node = Node::new(Keyspace::new(random.word()), Arc::new(settings), seams);
    let node = Arc::new(node.with_microseconds(wall_clock_us));
    let config = node.config.load();
    let metrics = &node.console.metrics;
    metrics.set_identity(&config.node, &config.region);
    metrics.process.start_time_seconds.set(node.started_at() as f64 / 1000.0);
    if let Some(probe) = options.allocator {
        metrics.set_allocator_probe(probe);
    }
    if let Some(logging) = options.logging.clone() {
        let suppressed = logging.clone();
        metrics.on_scrape(move |metrics| metrics.console.log_lines_suppressed.mirror(suppressed.suppressed()));
        node.config.on_change(move |_, after| logging.apply(after));
    }
    drop(config);
    node
}

/// Reads the users from where they are kept: the operator's file, the settings, or the node's own file.
fn begin_users(node: &Arc<Node>) -> Result<(), LaunchError> {
    let config = node.config.load();
    let (acl, all_channels) = (&node.acl, config.acl_pubsub_default == "allchannels");
    let refused = |error: FileError| LaunchError::Users(error.to_string());
    if !config.aclfile.as_os_str().is_empty() {
        return acl.begin_with_file(&config.path(&config.aclfile), all_channels).map_err(refused);
    }
    if config.user.is_empty() {
        return acl.begin_with_own_file(&config.path(USERS_FILE.as_ref()), all_channels).map_err(refused);
    }
    let lines = config.user.lines().filter(|line| !line.trim().is_empty());
    let lines = lines.map(|line| if line.starts_with("user ") { line.to_owned() } else { format!("user {line}") });
    let text = lines.collect::<Vec<_>>().join("\n");
    let users = acl::file::parse("the setting user", text.as_bytes(), all_channels).map_err(LaunchError::Users)?;
    let settings = Arc::clone(&node.config);
    acl.begin_with_settings(users, move |lines| {
        let lines: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        settings.note_users(lines.join("\n"));
    });
    Ok(())
}

/// What the thread for replication needs, as far as it can be had before there is a node.
struct PeersOnThread {
    cluster: ClusterId,
    credentials: NodeCredentials,
    certificates: CertificateFiles,
    rows: CatalogueRows,
    bootstrap: Option<Vec<u8>>,
    store: Option<StoreSetup>,
}

impl PeersOnThread {
    fn prepare(config: &Config) -> Result<Self, LaunchError> {
        if config.region.is_empty() {
            return Err(LaunchError::NoRegion);
        }
        let path = |path| config.path(path);
        let certificates = CertificateFiles::new(path(&config.certificate), path(&config.key), path(&config.authority));
        let credentials = certificates.read()?;
        let cluster = check_certificate(config, &credentials.facts()?)?;
        let membership = config.path(MEMBERSHIP_FILE.as_ref());
        let bootstrap = match std::fs::read(&membership) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(LaunchError::File { path: membership, error }),
        };
        let reserve = Reserve::at(&config.path(RESERVE_FILE.as_ref()));
        let (sled, _) = reserve.lend(|| SledCatalogue::open(&config.path(CATALOGUE_DIRECTORY.as_ref())))?;
        let (path, is_on) = (config.path(STORE_DIRECTORY.as_ref()), persistence::is_on(config));
        let mut catalogue: Arc<dyn Catalogue> = Arc::new(sled);
        let mut store = None;
        // Also where nothing is kept now and was before: a copy of the catalogue must not say what is not so any more.
        if is_on || path.is_dir() {
            let fs = StdFs::open(&path).map_err(|error| LaunchError::File { path, error })?;
            let fs: Arc<dyn Fs> = Arc::new(fs);
            catalogue = Arc::new(reserve.lend(|| MirroredCatalogue::open(catalogue, Arc::clone(&fs)))?.0);
            store = is_on.then(|| StoreSetup::on_disk(fs));
        }
        let rows = CatalogueRows::new(Arc::new(ReservedCatalogue::new(catalogue, reserve)));
        rows.catalogue().keep_room();
        Ok(Self { cluster, credentials, certificates, rows, bootstrap, store })
    }

    fn finish(self, socket: std::net::UdpSocket, node: &Arc<Node>) -> PeerSetup {
        let config = node.config.load();
        let mut transport = TransportSettings::new(Bind::Socket(socket), self.credentials, self.cluster);
        if config.development {
            let node = Arc::clone(node);
            transport.delay = Some(Arc::new(move || node.config.load().wan_delay));
        }
        let record = own_record(&config);
        PeerSetup {
            cluster: self.cluster,
            record,
            boot: Random::system().word(),
            host_boot: host_boot(),
            rows: self.rows,
            bootstrap: self.bootstrap,
            certificates: Some(self.certificates),
            store: self.store,
            preparation: Preparation::Beside,
            transport,
        }
    }
}

/// The certificate, the settings and the clock must agree. The cluster is returned.
fn check_certificate(config: &Config, facts: &CertificateFacts) -> Result<ClusterId, LaunchError> {
    let cluster = match (config.cluster_id.as_str(), facts.clusters.as_slice()) {
        ("", [only]) => *only,
        ("", _) => return Err(LaunchError::OtherCluster("(none is set)".to_owned())),
        (written, of_certificate) => {
            let cluster = transport::parse_cluster(written).map_err(LaunchError::ClusterId)?;
            if !of_certificate.contains(&cluster) {
                return Err(LaunchError::OtherCluster(written.to_owned()));
            }
            cluster
        }
    };
    if facts.name != config.node {
        return Err(LaunchError::OtherNode { certificate: facts.name.clone(), setting: config.node.clone() });
    }
    let now = i64::try_from(wall_clock() / 1000).unwrap_or(i64::MAX);
    if facts.valid_until < now {
        return Err(LaunchError::Expired);
    }
    let days_left = (facts.valid_until - now) / SECONDS_A_DAY;
    if days_left < EXPIRY_WARNING_DAYS {
        tracing::warn!(days_left, "the node's certificate expires soon; renew it with `pelago cert renew`");
    }
    Ok(cluster)
}

/// Which boot of the host this is. A host that does not tell counts every start as a boot, which is safe.
fn host_boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_else(|_| format!("unknown-{:016x}", Random::system().word()))
}

const SECONDS_A_DAY: i64 = 86_400;
/// Long enough before the end for somebody to notice.
const EXPIRY_WARNING_DAYS: i64 = 30;

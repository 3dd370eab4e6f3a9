//! A simulated host: one life after the other of the real node, on simulated sockets and with a catalogue that outlives
//! a crash as far as a disk would.

use crate::client::RESP_PORT;
use crate::clock::HostClock;
use crate::network::{Adapter, Weather};
use crate::observer::Shared;
use crate::random::Random;
use crate::tap::{Tap, at_once};
use crdt::Membership;
use crdt::membership::MemberRecord;
use keyspace::{Database, Writer};
use protocol::{ClusterId, NodeIdentity};
use server::config::{Config, Settings};
use server::connection::serve_connection;
use server::memory_limit::{keep_within_memory, not_counted};
use server::metrics::AllocatorFigures;
use server::node::{Node, Seams};
use server::peers::{PeerSetup, Peers, Preparation};
use server::persistence::{StoreSetup, is_on};
use server::worker::Worker;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use storage::{Catalogue, CatalogueRows, MemoryCatalogue, MirroredCatalogue, SimulatedFs};
use tokio::task::spawn_local;
use transport::{Authority, Bind, CertificateRequest, NodeCredentials, TransportSettings, Validity, WallClock};
use turmoil::net::TcpListener;

/// Batches that are large here are prepared for so long: what comes meanwhile is put aside or goes on.
const PREPARATION: Preparation = Preparation::After { time: Duration::from_millis(20), bytes_min: 256 };

/// The port of every node for other nodes.
pub const PEER_PORT: u16 = 7379;
/// The cluster of every simulation.
pub const CLUSTER: ClusterId = ClusterId([0x5e; 16]);

/// What a host has that outlives the processes on it.
pub struct Host {
    /// Its name, which is the node's name too.
    pub name: String,
    /// The region it stands in.
    pub region: String,
    /// Its disk: the catalogue, and the files of the store.
    pub catalogue: MemoryCatalogue,
    /// The other part of it.
    pub files: SimulatedFs,
    /// Its clock.
    pub clock: HostClock,
    /// Who the node is.
    pub identity: NodeIdentity,
    /// The membership it was admitted with, to find its peers by.
    pub bootstrap: RefCell<Option<Vec<u8>>>,
    /// The life that runs, if one does.
    pub life: Cell<Option<usize>>,
    /// The process has ended in order.
    pub has_stopped: Cell<bool>,
    /// Why the node did not start, if it did not.
    pub start_error: RefCell<Option<String>>,
    /// Which boot of the host it is.
    pub boot: Cell<u64>,
    credentials: NodeCredentials,
    config: Config,
    weather: Weather,
    observer: Shared,
    random: RefCell<Random>,
}

/// What all hosts of a simulation share.
pub struct Surroundings {
    /// The seed.
    pub seed: u64,
    /// The network.
    pub weather: Weather,
    /// The observer.
    pub observer: Shared,
    /// The settings of all nodes; name and region are filled in.
    pub config: Config,
    /// Who signs certificates.
    pub authority: Authority,
    /// When certificates begin to be good, in Unix seconds.
    pub began_unix_seconds: i64,
}

impl Host {
    /// A host that has not started anything yet.
    pub fn new(name: &str, region: &str, clock: HostClock, around: &Surroundings) -> Result<Rc<Self>, String> {
        let mut random = Random::new(around.seed, name);
        let request = CertificateRequest {
            name: name.to_owned(),
            validity: Validity::days(around.began_unix_seconds, 3650),
            seed: Some(random.bytes()),
        };
        let issued = around.authority.issue(&request).map_err(|error| error.to_string())?;
        let identity = issued.facts().map_err(|error| error.to_string())?.identity;
        let mut config = around.config.clone();
        config.region = region.to_owned();
        config.node = name.to_owned();
        let files = SimulatedFs::new(Random::new(around.seed, &format!("disk of {name}")).word());
        Ok(Rc::new(Self {
            name: name.to_owned(),
            region: region.to_owned(),
            catalogue: MemoryCatalogue::on(&files),
            files,
            clock,
            identity,
            bootstrap: RefCell::default(),
            life: Cell::new(None),
            has_stopped: Cell::new(false),
            start_error: RefCell::default(),
            boot: Cell::new(1),
            credentials: issued,
            config,
            weather: around.weather.clone(),
            observer: around.observer.clone(),
            random: RefCell::new(random),
        }))
    }

    /// What other nodes know of it.
    pub fn record(&self) -> MemberRecord {
        MemberRecord {
            name: self.name.clone(),
            region: self.region.clone(),
            advertise: format!("{}:{PEER_PORT}", self.name),
            resp: format!("{}:{RESP_PORT}", self.name),
            http: String::new(),
        }
    }

    /// Writes the membership that a founded or admitted node begins with to its disk.
    pub fn prepare(&self, membership: &Membership) -> Result<(), String> {
        let encoded = membership.encode();
        let rows = CatalogueRows::new(Arc::new(self.catalogue.clone()));
        rows.set_membership(&encoded).map_err(|error| error.to_string())?;
        *self.bootstrap.borrow_mut() = Some(encoded);
        Ok(())
    }

    /// One life of the node. It is ended by a crash of the host, or stops in order and then waits for that.
    pub async fn live(self: Rc<Self>) -> turmoil::Result {
        self.has_stopped.set(false);
        let served = self.serve().await;
        // Without its disk nobody starts, and nobody expects it to.
        if let Err(error) = served
            && !self.files.is_off()
        {
            *self.start_error.borrow_mut() = Some(error);
        }
        self.has_stopped.set(true);
        std::future::pending::<()>().await;
        Ok(())
    }

    async fn serve(self: &Rc<Self>) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let (seed, boot) = (self.draw(), self.draw());
        let node = self.node(seed);
        let address = turmoil::lookup(self.name.as_str());
        let adapter = Adapter::bind(address, PEER_PORT, self.weather.clone()).await.map_err(text)?;
        let setup = PeerSetup {
            cluster: CLUSTER,
            record: self.record(),
            boot,
            host_boot: format!("{}-{}", self.name, self.boot.get()),
            rows: CatalogueRows::new(self.mirrored().map_err(|error| error.to_string())?),
            bootstrap: self.bootstrap.borrow().clone(),
            store: self.store(),
            certificates: None,
            preparation: PREPARATION,
            transport: self.transport(Bind::Abstract(adapter)),
        };
        let listener = TcpListener::bind(("0.0.0.0", RESP_PORT)).await.map_err(text)?;
        let peers = Peers::new(Arc::clone(&node), setup).map_err(|error| error.to_string())?;
        let life = self.observer.borrow_mut().begin_life(&self.name, Arc::clone(&node));
        self.life.set(Some(life));
        let limited = Arc::clone(&node);
        let worker = Worker::new(node);
        let observer = self.observer.clone();
        let accepting = spawn_local(async move {
            while let Ok((stream, address)) = listener.accept().await {
                let local = stream.local_addr().unwrap_or(address);
                let tap = Tap::new(stream, observer.clone(), life);
                let asks = tap.asks();
                spawn_local(at_once(serve_connection(Rc::clone(&worker), tap, address, local), asks));
            }
        });
        let keeping = (self.config.maxmemory > 0).then(|| spawn_local(keep_within_memory(limited)));
        peers.run().await;
        accepting.abort();
        keeping.into_iter().for_each(|task| task.abort());
        Ok(())
    }

    /// The catalogue, with its copy beside the keys if there is such a place.
    fn mirrored(&self) -> storage::Result<Arc<dyn Catalogue>> {
        let catalogue: Arc<dyn Catalogue> = Arc::new(self.catalogue.clone());
        match is_on(&self.config) {
            true => Ok(Arc::new(MirroredCatalogue::open(catalogue, Arc::new(self.files.clone()))?.0)),
            false => Ok(catalogue),
        }
    }

    /// Where the node keeps its keys, if its settings say so.
    fn store(&self) -> Option<StoreSetup> {
        let (fs, delays) = (self.files.clone(), self.files.clone());
        let flush_ms = Arc::new(move || delays.faults().sync_ms);
        is_on(&self.config).then(|| StoreSetup { fs: Arc::new(fs), threads: None, flush_ms })
    }

    fn draw(&self) -> u64 {
        self.random.borrow_mut().word()
    }

    fn node(&self, seed: u64) -> Arc<Node> {
        let (wall, monotonic) = (self.clock.clone(), self.clock.clone());
        let seams = Seams {
            wall_clock: Arc::new(move || wall.unix_ms()),
            monotonic_ns: Arc::new(move || monotonic.true_ms() * 1_000_000),
            seed,
        };
        let keyspace = keyspace::Keyspace::new(seed);
        let node = Arc::new(Node::new(keyspace, Arc::new(Settings::new(self.config.clone())), seams));
        if self.config.maxmemory > 0 {
            // What the one allocator of the whole simulation knows says nothing of one node.
            let measured = Mutex::new(node.keyspace.writer());
            let (wall, known) = (self.clock.clone(), Arc::downgrade(&node));
            node.console.metrics.set_allocator_probe(move || {
                let keys = memory_of(&mut measured.lock().unwrap_or_else(PoisonError::into_inner), wall.unix_ms());
                let beside = known.upgrade().map_or(0, |node| not_counted(&node));
                AllocatorFigures { allocated: keys + beside, ..AllocatorFigures::default() }
            });
        }
        node
    }

    fn transport(&self, bind: Bind) -> TransportSettings {
        let mut settings = TransportSettings::new(bind, self.credentials.clone(), CLUSTER);
        let clock = self.clock.clone();
        let wall_clock: WallClock = Arc::new(move || clock.unix_ms());
        settings.seams = transport::Seams::seeded(self.random.borrow_mut().bytes(), wall_clock);
        settings.resolve = Arc::new(|address| Box::pin(async move { resolve(&address) }));
        settings
    }
}

/// The bytes that the keys of clients take on a node.
pub fn memory_of(writer: &mut Writer, now: u64) -> u64 {
    let mut bytes = 0;
    for name in crate::workload::all_keys() {
        for database in 0..2 {
            let mut access = writer.access(now, &[name.as_bytes()]);
            bytes += access.memory_of(Database(database), name.as_bytes(), usize::MAX).unwrap_or_default() as u64;
        }
    }
    bytes
}

fn resolve(address: &str) -> io::Result<Vec<std::net::SocketAddr>> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("{address} is no host and port"));
    let (host, port) = address.rsplit_once(':').ok_or_else(unknown)?;
    let port: u16 = port.parse().map_err(|_| unknown())?;
    Ok(vec![(turmoil::lookup(host), port).into()])
}

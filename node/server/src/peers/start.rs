//! Starting: what the directory and the membership say about this node, and which number it may stamp with.

use super::audit::Audit;
use super::control;
use super::cut::{CUT_OFF, Cut};
use super::pace::Pace;
use super::{BatchFigures, CERTIFICATES_INTERVAL, Peers};
use crate::certificates::CertificateFiles;
use crate::node::Node;
use crdt::membership::MemberRecord;
use crdt::{Membership, NodeNumber};
use keyspace::Drain;
use protocol::{BootNonce, ClusterId, Hub, HubSettings, Millis, NodeIdentity};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use storage::CatalogueRows;
use tokio::sync::Notify;
use tokio::time::Instant;
use transport::{NotAdmitted, Transport, TransportError, TransportSettings};

/// What a node needs to join the others.
pub struct PeerSetup {
    /// The cluster.
    pub cluster: ClusterId,
    /// What other nodes are to know of this one.
    pub record: MemberRecord,
    /// Drawn at random for each start of the process.
    pub boot: u64,
    /// The boot of the host, as the system names it.
    pub host_boot: String,
    /// The catalogue.
    pub rows: CatalogueRows,
    /// An encoded membership from the time of the admission. It tells where others are, and nothing else: numbers in it
    /// may have been used since.
    pub bootstrap: Option<Vec<u8>>,
    /// The files that the certificate came from: a renewed one is used without a restart. None in a simulation.
    pub certificates: Option<CertificateFiles>,
    /// How frames are carried. Its `admission` is replaced.
    pub transport: TransportSettings,
}

/// Why a node does not start. The operator acts on it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The catalogue.
    #[error("the catalogue cannot be used: {0}")]
    Catalogue(#[from] storage::CatalogueError),
    /// The network.
    #[error("the links to other nodes cannot be opened: {0}")]
    Transport(#[from] TransportError),
    /// The membership.
    #[error("the membership cannot be used: {0}")]
    Membership(#[from] crdt::membership::MembershipError),
    /// The certificate.
    #[error("the node's certificate cannot be used: {0}")]
    Identity(#[from] transport::IdentityError),
    /// This identity was removed.
    #[error("{}", protocol::REMOVED)]
    Removed,
    /// Nobody knows this identity.
    #[error(
        "no member of the cluster has admitted this node, so there is nobody it could join; run `pelago region add` at a live node and serve the directory that it makes"
    )]
    NotAdmitted,
    /// The directory belongs to another node.
    #[error(
        "the catalogue belongs to another node ({0}); give this node the directory that `pelago init` or `pelago region add` made for it"
    )]
    OtherNode(NodeIdentity),
}

/// What the catalogue has to say.
struct Recovered {
    membership: Membership,
    number: Option<NodeNumber>,
}

impl Peers {
    /// Prepares everything and binds the socket. Must be called inside the runtime that will run it.
    pub fn new(node: Arc<Node>, setup: PeerSetup) -> Result<Self, StartError> {
        let facts = setup.transport.credentials.facts()?;
        let identity = NodeIdentity(facts.identity.0);
        let wall = node.wall_clock();
        let recovered = recover(&setup, identity, wall)?;
        let cut: Arc<parking_lot::RwLock<Cut>> = Arc::default();
        let removed: Arc<parking_lot::RwLock<BTreeSet<NodeIdentity>>> = Arc::default();
        let mut settings = setup.transport;
        let (hidden, barred) = (cut.clone(), removed.clone());
        settings.admission = Arc::new(move |peer| admit(peer, &hidden, &barred));
        let (transport, transport_events) = Transport::start(settings)?;
        let hub = Hub::new(
            hub_settings(&node, &setup.record, setup.boot, setup.cluster, identity, &recovered),
            Millis(0),
            wall,
        );
        if let Some(number) = recovered.number {
            node.keyspace.set_number(number);
        }
        node.keyspace.observe(recovered.membership.latest_stamp());
        node.condition.set_loading(true);
        let wake = Arc::new(Notify::new());
        let waker = wake.clone();
        node.keyspace.on_change(move || waker.notify_one());
        let control = node.control.open();
        let began = Instant::now();
        let mut peers = Self {
            sweeper: node.keyspace.writer(),
            identity,
            rows: setup.rows,
            membership: recovered.membership,
            hub,
            transport: Arc::new(transport),
            transport_events,
            links: BTreeMap::new(),
            drain: Drain::default(),
            audit: Audit::default(),
            control,
            pending: control::Pending::default(),
            barred: removed,
            known_applied: BTreeMap::new(),
            sealing: protocol::sealing::Sealing::default(),
            is_unkept: false,
            number_to_take: None,
            fed_since: BTreeMap::new(),
            wake,
            began,
            drained_at: began,
            drain_at: Some(began),
            pace: Pace::new(began),
            cut,
            dialed: BTreeSet::new(),
            refusals: super::Refusals::default(),
            has_number: recovered.number.is_some(),
            filled: false,
            batches: BatchFigures::default(),
            certificates: setup.certificates,
            certificates_at: began + CERTIFICATES_INTERVAL,
            node,
        };
        peers.note_certificate(&facts);
        peers.refresh_own_record(setup.record)?;
        peers.membership_changed();
        Ok(peers)
    }

    /// Where the socket for other nodes is bound.
    pub fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        self.transport.local_addr()
    }

    /// Who this node is.
    pub fn identity(&self) -> NodeIdentity {
        self.identity
    }

    /// Addresses may have changed since the admission: the record follows the configuration.
    fn refresh_own_record(&mut self, record: MemberRecord) -> Result<(), StartError> {
        let known = self.membership.view().member(crdt::NodeIdentity(self.identity.0));
        let differs = known.is_some_and(|member| member.record != record);
        if let (true, Some(stamp)) = (differs, self.membership_stamp()) {
            self.membership.update(crdt::NodeIdentity(self.identity.0), record, stamp)?;
            self.rows.set_membership(&self.membership.encode())?;
        }
        Ok(())
    }
}

fn admit(
    peer: &NodeIdentity,
    cut: &parking_lot::RwLock<Cut>,
    removed: &parking_lot::RwLock<BTreeSet<NodeIdentity>>,
) -> Result<(), NotAdmitted> {
    if cut.read().hides(peer) {
        return Err(NotAdmitted::Refused(CUT_OFF.to_owned()));
    }
    if removed.read().contains(peer) {
        return Err(NotAdmitted::Removed(protocol::REMOVED.to_owned()));
    }
    Ok(())
}

fn hub_settings(
    node: &Node,
    record: &MemberRecord,
    boot: u64,
    cluster: ClusterId,
    identity: NodeIdentity,
    recovered: &Recovered,
) -> HubSettings {
    let config = node.config.load();
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let me = crdt::NodeIdentity(identity.0);
    let others = recovered.membership.view().active().filter(|member| member.identity != me).count();
    tracing::debug!(node = %record.name, others, "the links are set up");
    let mut settings = HubSettings::new(identity, cluster, BootNonce(boot));
    settings.number = recovered.number;
    settings.numbers = recovered.membership.view().numbers_of(me).iter().copied().collect();
    settings.ring_bytes = usize::try_from(config.ring_bytes).unwrap_or(usize::MAX);
    settings.grace_ms = millis(config.grace);
    settings.heartbeat_ms = millis(config.heartbeat);
    settings.silence_ms = millis(config.link_silence);
    settings.max_clock_drift_ms = millis(config.max_clock_drift);
    settings.fill_timeout_ms = millis(config.fill_timeout);
    settings.peers_expected = others;
    settings.seed = node.seed() ^ boot;
    settings
}

/// Reads the catalogue and settles on a number.
///
/// The data of this node's earlier lives is not on its disk, so it must not go on under their number: peers may hold a
/// tail of it that others lack, and an empty node cannot vouch for what it once wrote. The first start uses the number
/// of the admission; each later one burns a fresh number of the node's own range, without asking anybody, so that a
/// node that starts alone can write; a node without a catalogue asks a peer.
fn recover(setup: &PeerSetup, identity: NodeIdentity, wall: u64) -> Result<Recovered, StartError> {
    let me = crdt::NodeIdentity(identity.0);
    let cluster = setup.cluster;
    match setup.rows.node()? {
        Some(facts) if facts.identity != identity.0 => return Err(StartError::OtherNode(NodeIdentity(facts.identity))),
        Some(_) => {}
        None => setup.rows.set_node(&storage::NodeFacts {
            identity: identity.0,
            cluster: cluster.0,
            name: setup.record.name.clone(),
            region: setup.record.region.clone(),
        })?,
    }
    let kept = setup.rows.membership()?;
    let mut membership = match &kept {
        Some(encoded) => Membership::decode(encoded)?,
        None => Membership::new(),
    };
    if let Some(bootstrap) = &setup.bootstrap {
        membership.merge(&Membership::decode(bootstrap)?);
    }
    if membership.is_removed(me) {
        return Err(StartError::Removed);
    }
    if !membership.is_active(me) {
        return Err(StartError::NotAdmitted);
    }
    let start = setup.rows.begin(&setup.host_boot, setup.boot)?;
    if kept.is_none() {
        tracing::warn!("there is no catalogue in this directory: a peer must give this node a number");
        setup.rows.set_membership(&membership.encode())?;
        return Ok(Recovered { membership, number: None });
    }
    let last = membership.view().numbers_of(me).last().copied();
    let number = match (start.before.is_none(), last) {
        (true, Some(number)) if !membership.view().has_ended(number) => Some(number),
        (_, None) => None,
        (_, Some(last)) => {
            let stamp = membership.latest_stamp().next(wall, last);
            match membership.grant_number(me, me, stamp) {
                Ok(number) => {
                    setup.rows.set_membership(&membership.encode())?;
                    Some(number)
                }
                Err(error) => {
                    tracing::warn!(%error, "a peer must give this node a number");
                    None
                }
            }
        }
    };
    Ok(Recovered { membership, number })
}

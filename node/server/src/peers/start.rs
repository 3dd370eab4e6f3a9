//! Starting: what the directory and the membership say about this node, and which number it may stamp with.

use super::audit::Audit;
use super::control;
use super::cut::{CUT_OFF, Cut};
use super::membership::observe_membership_stamp;
use super::pace::{Pace, Pauses};
use super::preparing::Preparation;
use super::reading::StillRead;
use super::{BatchFigures, CERTIFICATES_INTERVAL, Peers};
use crate::certificates::CertificateFiles;
use crate::doors::told_address;
use crate::node::Node;
use crate::persistence::{Loaded, Persistence, Reading, Recovery, StoreSetup, scan};
use crdt::membership::MemberRecord;
use crdt::{Membership, NodeNumber, VersionVector};
use keyspace::Drain;
use protocol::{BootNonce, ClusterId, Hub, HubSettings, Millis, NodeIdentity};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use storage::{CatalogueRows, FoundStore, Life, NumberNeeded, Pins, StoreError, StoreOwner};
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
    /// Where keys are kept, if they are.
    pub store: Option<StoreSetup>,
    /// Where large batches are prepared.
    pub preparation: Preparation,
    /// How frames are carried. Its `admission` is replaced.
    pub transport: TransportSettings,
}

/// Why a node does not start. The operator acts on it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The catalogue.
    #[error("the catalogue cannot be used: {0}")]
    Catalogue(#[from] storage::CatalogueError),
    /// The store.
    #[error("the node's store cannot be used: {0}")]
    Store(#[from] storage::StoreError),
    /// A thread for the disk.
    #[error("the system gives the node no thread for its disk: {0}")]
    Thread(#[from] std::io::Error),
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
    start: storage::Start,
    /// Why the node may not give itself a number, if so.
    number_needed: Option<NumberNeeded>,
    /// It never had what the others have.
    is_newcomer: bool,
}

/// What is left to be done of a start: reading the store, and settling on a number.
pub(super) struct Loading {
    found: FoundStore,
    life: Life,
    start: storage::Start,
    number_needed: Option<NumberNeeded>,
    setup: StoreSetup,
    record: MemberRecord,
}

impl Peers {
    /// Prepares everything and binds the socket. Must be called inside the runtime that will run it.
    pub fn new(node: Arc<Node>, setup: PeerSetup) -> Result<Self, StartError> {
        let facts = setup.transport.credentials.facts()?;
        let identity = facts.identity;
        let wall = node.wall_clock();
        let owner = StoreOwner { cluster: setup.cluster.0, identity: identity.0 };
        // Before anything is written: what is removed may be all that fills the disk. Whose the store is, or what is wrong
        // with it, is told below.
        if let Some(store) = &setup.store
            && let Err(error) = storage::remove_leftovers(&*store.fs, owner)
        {
            tracing::debug!(%error, "what an earlier life has left unfinished could not be removed");
        }
        let recovered = recover(&setup, identity, wall)?;
        let life = Life { generation: recovered.start.boot.generation, nonce: recovered.start.boot.nonce };
        let found = match &setup.store {
            Some(store) => {
                // Whoever removes a file of the store goes by way of this, so that backups keep what they read.
                let pins = Pins::over(Arc::clone(&store.fs));
                node.backups.set_store(pins.clone(), owner);
                let store = StoreSetup { fs: Arc::new(pins), ..store.clone() };
                Some((FoundStore::open(Arc::clone(&store.fs), owner)?, store))
            }
            None => None,
        };
        let cut: Arc<parking_lot::RwLock<Cut>> = Arc::default();
        let removed: Arc<parking_lot::RwLock<BTreeSet<NodeIdentity>>> = Arc::default();
        let mut settings = setup.transport;
        let (hidden, barred) = (cut.clone(), removed.clone());
        settings.admission = Arc::new(move |peer| admit(peer, &hidden, &barred));
        settings.idle_timeout = idle_time(settings.idle_timeout, node.config.load().link_silence);
        let (transport, transport_events) = Transport::start(settings)?;
        let hub_settings = hub_settings(&node, &setup.record, setup.boot, setup.cluster, identity, &recovered);
        let hub = Hub::new(hub_settings.clone(), Millis(0), wall);
        let (start, number_needed) = (recovered.start, recovered.number_needed);
        let record = setup.record.clone();
        let loading = found.map(|(found, setup)| Loading { found, life, start, number_needed, setup, record });
        if let Some(number) = recovered.number {
            node.keyspace.set_number(number);
        }
        observe_membership_stamp(&node, recovered.membership.latest_stamp());
        node.condition.set_loading(true);
        let wake = Arc::new(Notify::new());
        let waker = wake.clone();
        node.keyspace.on_change(move || waker.notify_one());
        let waker = wake.clone();
        node.arrivals.begin(setup.cluster, move || waker.notify_one());
        let control = node.control.open();
        let began = Instant::now();
        let mut peers = Self {
            sweeper: node.keyspace.writer(),
            identity,
            rows: setup.rows,
            keeping: super::keeping::Keeping::new(setup.preparation),
            state: super::state::StateWork::default(),
            still_read: None,
            hub_settings,
            is_unreadable: false,
            loading,
            membership: recovered.membership,
            members_told: None,
            hub,
            transport: Arc::new(transport),
            transport_events,
            links: BTreeMap::new(),
            drain: Drain::default(),
            compression: protocol::Compression::default(),
            unpacked: Vec::new(),
            audit: Audit::default(),
            control,
            pending: control::Pending::default(),
            barred: removed,
            known_applied: BTreeMap::new(),
            known_everywhere: Default::default(),
            sealing: protocol::sealing::Sealing::default(),
            resets_alarmed: false,
            resets_from: 0,
            is_unkept: false,
            number_to_take: None,
            number_needed,
            fed_since: BTreeMap::new(),
            wake,
            began,
            drained_at: began,
            drain_at: Some(began),
            pace: Pace::new(began),
            pauses: Pauses::default(),
            cut,
            dialed: BTreeSet::new(),
            refusals: super::Refusals::default(),
            has_number: recovered.number.is_some(),
            filled: false,
            batches: BatchFigures::default(),
            certificates: setup.certificates,
            certificates_at: began + CERTIFICATES_INTERVAL,
            clients_at: told_address(&node.config.load()),
            node,
        };
        peers.note_certificate(&facts);
        peers.refresh_own_record(setup.record)?;
        peers.membership_changed();
        Ok(peers)
    }

    /// Reads the store, settles on a number, and begins to keep what the node does. Nothing to do without a store. False
    /// if the node cannot go on; the log says why.
    ///
    /// A node goes on under its number if everything that any peer may have of it is here: its process ended in order, or
    /// crashed while the store was sound and the host stayed up. Otherwise the missing tail must still spread from where it
    /// is, so the node takes a fresh number, without asking anybody.
    pub(super) fn load(&mut self) -> bool {
        let Some(loading) = self.loading.take() else { return true };
        match self.load_store(loading) {
            Ok(()) => true,
            Err(StartError::Store(StoreError::Stopped)) => {
                tracing::info!("the node was asked to stop before it had read what is on its disk");
                false
            }
            Err(error) => {
                tracing::error!(%error, "the node cannot start with its store");
                false
            }
        }
    }

    fn load_store(&mut self, loading: Loading) -> Result<(), StartError> {
        let Loading { found, life, start, mut number_needed, setup, record } = loading;
        let mut settings = self.hub_settings.clone();
        let wall = self.node.wall_clock();
        let node = Arc::clone(&self.node);
        let config = node.config.load();
        let has_checkpoint = found.manifest().is_some();
        // SUBTLE: without its catalogue a node does not know of the lives that its store tells of, so any store looks like
        // a copy; that the catalogue was lost weighs more, as nothing tells which numbers were used.
        if number_needed != Some(NumberNeeded::CatalogueLost) && is_copy(&found, &start) {
            tracing::warn!("{COPIED}");
            // Before anything is written that a later start would take for the original.
            self.rows.set_number_needed(Some(NumberNeeded::Copied))?;
            number_needed = Some(NumberNeeded::Copied);
            self.number_needed = number_needed;
        }
        // Whoever is told to stop does not read on: that can take minutes, and who waits for it may kill the process.
        let goes_on = || {
            node.console.beat();
            if node.console.stop_requested().is_some() { Err(StoreError::Stopped) } else { Ok(()) }
        };
        let was_sound = found.is_empty() && start.before.is_none() || may_be_whole(&found, &start);
        let with = Recovery {
            keyspace: &node.keyspace,
            durability: &node.durability,
            config: &config,
            threads: setup.threads,
            now: wall,
            beat: &goes_on,
        };
        let mut scanned = scan(found, life, &with)?;
        for problem in &scanned.problems {
            match problem.is_damage() {
                true => tracing::error!(%problem, "the store is damaged"),
                false => tracing::warn!(%problem, "the store was left unfinished"),
            }
        }
        let note = |bytes| {
            node.durability.note_loaded(bytes);
            goes_on()
        };
        // Of a damaged store everything is read before anybody is served: what is missing decides how the node goes on.
        let is_forked = self.rows.is_forked()?;
        let (loader, mut loaded) = match scanned.is_whole && !is_forked {
            true => (Some(scanned.loader), Loaded::default()),
            false => (None, scanned.loader.load_all(wall, &note)?),
        };
        // It was found while an earlier life ran, and not all came back from the others since.
        loaded.has_refused |= is_forked;
        if loaded.has_less() {
            loaded.forget_applied(&node.keyspace);
            (scanned.vector, scanned.tails) = (VersionVector::new(), BTreeMap::new());
            scanned.recent.clear();
            self.rows.set_unfilled(true)?;
        }
        settings.is_unfilled = self.rows.is_unfilled()?;
        let is_unfilled = settings.is_unfilled;
        let me = self.identity;
        let keeps = was_sound && scanned.is_whole && !loaded.has_less();
        let number = match number_needed {
            None => self.settle_number(keeps, wall)?,
            Some(_) => None,
        };
        tracing::info!(number = number.map(NodeNumber::value), keeps, "the node goes on where its store ends");
        settings.number = number;
        settings.numbers = self.membership.view().numbers_of(me).iter().copied().collect();
        settings.vector = scanned.vector;
        settings.tails = scanned.tails;
        settings.journal = true;
        let now = self.now();
        self.hub = Hub::new(settings.clone(), now, wall);
        self.hub_settings = settings;
        // Before anything is kept of what fills it: a start that finds that must not take it for all there is.
        if self.hub.is_filling() && !is_unfilled {
            self.rows.set_unfilled(true)?;
        }
        let is_unfilled = is_unfilled || self.hub.is_filling();
        // SUBTLE: not before the number that the node goes on under, or that it may not give itself one, is durable. This
        // word takes the place of what the life before has left, and by that the next start would keep the number.
        scanned.store.mark_sound();
        scanned.recent.into_iter().for_each(|batch| self.hub.restore(batch));
        number.into_iter().for_each(|number| self.go_on_as(number));
        self.has_number = number.is_some();
        let damage = scanned.problems.iter().filter(|problem| problem.is_damage()).count() as u64;
        node.durability.change_state(|state| state.problems = damage);
        let clock = Arc::clone(&node);
        let wall_clock: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(move || clock.wall_clock());
        let wake = self.keeping.wake();
        let mut store = Persistence::begin(scanned.store, &setup, &config, &node.keyspace, wall_clock, wake)?;
        let unchanged_since = (!loaded.has_less() && has_checkpoint).then_some(scanned.unchanged);
        store.checkpoints.note_start(scanned.replayed_bytes, unchanged_since);
        if !scanned.is_whole || loaded.has_less() {
            store.reader.forget_earlier_lives();
        }
        self.begin_keeping(store, damage > 0 || is_unfilled);
        match loader {
            Some(mut loader) => {
                number.into_iter().for_each(|number| loader.set_number(number, self.everything()));
                // Without a number, or with nothing in a cluster that has data, nobody is served by what is read.
                let serves = number.is_some() && !self.hub.is_filling();
                let reading = Reading::begin(loader, &node, serves, self.keeping.wake())?;
                self.still_read = Some(StillRead::new(reading));
                self.update_condition();
            }
            None => self.note_loaded(&loaded),
        }
        self.refresh_own_record(record)?;
        self.membership_changed();
        Ok(())
    }

    /// Settles on a number, as [`settle`] does.
    pub(super) fn settle_number(&mut self, kept: bool, wall: u64) -> Result<Option<NodeNumber>, StartError> {
        let number = settle(&mut self.membership, self.identity, &self.rows, kept, wall)?;
        if number.is_none() {
            self.number_needed = self.rows.number_needed()?;
        }
        Ok(number)
    }

    /// Writes under this number from here on, after what the store has of it.
    fn go_on_as(&mut self, number: NodeNumber) {
        self.node.keyspace.set_number(number);
        // While the journal was read, the node's own history was anybody's. It knows its own resets.
        let everything = self.everything();
        self.node.keyspace.collect_resets(0, &|contributor| (contributor == number).then_some(&everything), &|| false);
        self.drain = Drain::after(self.hub.closed_vector().of(number));
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
        let known = self.membership.view().member(self.identity);
        let differs = known.is_some_and(|member| member.record != record);
        if let (true, Some(stamp)) = (differs, self.membership_stamp()) {
            self.membership.update(self.identity, record, stamp)?;
            self.rows.set_membership(&self.membership.encode())?;
        }
        Ok(())
    }
}

/// Whether everything that the life before has sent is in the store, as far as the store can tell.
///
/// SUBTLE: a disk that died with its volume can no longer be told that the store is not sound. What the system had not
/// written by then is gone when the volume is mounted again, although the host has stayed up.
fn may_be_whole(found: &FoundStore, start: &storage::Start) -> bool {
    let Some(before) = &start.before else { return false };
    let life = Life { generation: before.generation, nonce: before.nonce };
    let lost_volume = !before.ended_cleanly && found.witness().is_none_or(|witness| witness.is_remounted);
    if lost_volume && !start.host_crashed {
        let what = match found.witness() {
            Some(_) => "the volume was mounted anew since the process before wrote to it",
            None => "the store does not say on which volume the process before wrote to it",
        };
        tracing::warn!("{what}: what that had not made durable may be gone");
    }
    found.sound_life() == Some(life) && !start.host_crashed && !lost_volume
}

/// Whether the directory is a copy of what this node left, which others may have more of than it says itself, and which
/// numbers were used since it does not know. A store alone that was put back is older than its catalogue; a catalogue
/// alone, older than its store.
fn is_copy(found: &FoundStore, start: &storage::Start) -> bool {
    let known = start.before.as_ref().map_or(0, |boot| boot.generation);
    found.witness().is_some_and(|witness| !witness.is_original || witness.life.generation > known)
}

const COPIED: &str = "this directory is a copy of the one in which the node last ran, perhaps an old one that was put \
                      back: numbers that the node has used since are unknown here, so another member must give it one \
                      before it serves; what is missing comes from the others";

/// For how long QUIC waits for a peer: longer than the hub, whose `silence` decides.
fn idle_time(usual: Duration, silence: Duration) -> Duration {
    usual.max(silence + IDLE_BEYOND_SILENCE)
}

/// Long enough that the hub has noticed first.
const IDLE_BEYOND_SILENCE: Duration = Duration::from_secs(5);

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
    let me = identity;
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
    settings.is_newcomer = recovered.is_newcomer;
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
    let me = identity;
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
    let is_newcomer = setup.rows.is_newcomer()?;
    let mut number_needed = setup.rows.number_needed()?;
    if kept.is_none() {
        tracing::warn!("there is no catalogue in this directory: a peer must give this node a number");
        number_needed = Some(NumberNeeded::CatalogueLost);
        setup.rows.set_number_needed(number_needed)?;
        setup.rows.set_membership(&membership.encode())?;
    }
    // Where there is a store, what is in it decides.
    if number_needed.is_some() || setup.store.is_some() {
        return Ok(Recovered { membership, number: None, start, number_needed, is_newcomer });
    }
    let number = settle(&mut membership, me, &setup.rows, start.before.is_none(), wall)?;
    if number.is_none() {
        number_needed = setup.rows.number_needed()?;
    }
    Ok(Recovered { membership, number, start, number_needed, is_newcomer })
}

/// The number that a node writes under from now on: the one it has, if it may be `kept`, or a fresh one of its own range.
/// If there is none it is noted that others must give it one: no later start goes on under the one it had.
fn settle(
    membership: &mut Membership,
    me: crdt::NodeIdentity,
    rows: &CatalogueRows,
    kept: bool,
    wall: u64,
) -> Result<Option<NodeNumber>, StartError> {
    match membership.view().numbers_of(me).last().copied() {
        Some(number) if kept && !membership.view().has_ended(number) => Ok(Some(number)),
        None => note_none_left(rows).map(|()| None),
        Some(last) => {
            let stamp = membership.latest_stamp().next(wall, last);
            match membership.grant_number(me, me, stamp) {
                Ok(number) => {
                    rows.set_membership(&membership.encode())?;
                    Ok(Some(number))
                }
                Err(error) => {
                    tracing::warn!(%error, "a peer must give this node a number");
                    note_none_left(rows).map(|()| None)
                }
            }
        }
    }
}

/// Others must give this node a number. Another reason for that stands.
fn note_none_left(rows: &CatalogueRows) -> Result<(), StartError> {
    if rows.number_needed()?.is_none() {
        rows.set_number_needed(Some(NumberNeeded::NoneLeft))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! A node's thread for its peers, without running it: what it does at turns that networks and clients seldom take.

use super::*;
use crate::config::{Config, Settings};
use crate::node::Seams;
use crate::persistence::StoreSetup;
use crate::testing::STARTED_AT;
use crdt::membership::MemberRecord;
use keyspace::{Database, Lifetime, NewLifetime};
use protocol::ClusterId;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{FileFacts, FileId, Fs, FsFile, MemoryCatalogue, SimulatedFs};
use transport::{Authority, Bind, CertificateRequest, TransportSettings, Validity};

/// How long the disk may take at most.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A disk on which nothing is appended while somebody holds its gate.
#[derive(Clone, Debug)]
pub(super) struct SlowDisk {
    pub(super) files: SimulatedFs,
    pub(super) gate: Arc<parking_lot::Mutex<()>>,
    /// Making a file whose name begins so meets a defect.
    pub(super) defect: Arc<parking_lot::Mutex<Option<&'static str>>>,
}

impl SlowDisk {
    pub(super) fn new(seed: u64) -> Self {
        Self { files: SimulatedFs::new(seed), gate: Arc::default(), defect: Arc::default() }
    }
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn FsFile>,
    gate: Arc<parking_lot::Mutex<()>>,
}

impl Fs for SlowDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn FsFile>> {
        let defect = *self.defect.lock();
        assert!(!defect.is_some_and(|prefix| name.starts_with(prefix)), "a defect at {name}");
        Ok(Arc::new(SlowFile { file: self.files.create(name)?, gate: Arc::clone(&self.gate) }))
    }

    fn list(&self) -> io::Result<Vec<FileFacts>> {
        self.files.list()
    }

    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.files.read(name, offset, bytes_max)
    }

    fn rename(&self, old: &str, new: &str) -> io::Result<()> {
        self.files.rename(old, new)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.files.sync_directory()
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        self.files.sync_file(name)
    }

    fn space(&self) -> io::Result<u64> {
        self.files.space()
    }

    fn file_id(&self, name: &str) -> io::Result<FileId> {
        self.files.file_id(name)
    }
}

impl FsFile for SlowFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let _open = self.gate.lock();
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

const CLUSTER: ClusterId = ClusterId([7; 16]);

/// A node that has founded its cluster, on a disk if there is one, and a way to write to it.
pub(super) fn founded(disk: Option<&SlowDisk>) -> (Peers, Writer) {
    let (mut peers, writer) = begun(disk, &Arc::new(MemoryCatalogue::new()), 1);
    until(&mut peers, |peers| peers.has_read_all());
    peers.turn();
    assert!(peers.node.condition.writes_refused().is_none());
    (peers, writer)
}

/// What is known of a node that is admitted and never met.
fn record_of_another() -> MemberRecord {
    MemberRecord {
        name: "b".into(),
        region: "s".into(),
        advertise: "127.0.0.1:3".into(),
        resp: "127.0.0.1:4".into(),
        http: String::new(),
    }
}

/// A life of that node, with this catalogue, which the first one makes; what is on its disk may still be read.
pub(super) fn begun(disk: Option<&SlowDisk>, catalogue: &Arc<MemoryCatalogue>, boot: u64) -> (Peers, Writer) {
    let mut peers = prepared(disk, catalogue, boot, "boot").unwrap();
    assert!(peers.load());
    let writer = peers.node.keyspace.writer();
    (peers, writer)
}

/// The same on some boot of the host, which has not looked at what is on its disk.
pub(super) fn prepared(
    disk: Option<&SlowDisk>,
    catalogue: &Arc<MemoryCatalogue>,
    boot: u64,
    host_boot: &str,
) -> Result<Peers, StartError> {
    let rows = CatalogueRows::new(Arc::<MemoryCatalogue>::clone(catalogue));
    let began = i64::try_from(STARTED_AT / 1_000).unwrap();
    let authority = Authority::create(CLUSTER, Validity::of_authority(began), Some([1; 32])).unwrap();
    let request = CertificateRequest { name: "a".into(), validity: Validity::days(began, 10), seed: Some([2; 32]) };
    let credentials = authority.issue(&request).unwrap();
    let identity = credentials.facts().unwrap().identity;
    let record = MemberRecord {
        name: "a".into(),
        region: "r".into(),
        advertise: "127.0.0.1:1".into(),
        resp: "127.0.0.1:2".into(),
        http: String::new(),
    };
    let first = NodeNumber::new(0).unwrap();
    let membership = Membership::found(identity, record.clone(), Stamp::at(STARTED_AT, first)).unwrap();
    if boot == 1 {
        rows.set_membership(&membership.encode()).unwrap();
    }
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let store = disk.map(|disk| StoreSetup { fs: Arc::new(disk.clone()), threads: Some(1), flush_ms: Arc::new(|| 0) });
    let setup = PeerSetup {
        cluster: CLUSTER,
        record,
        boot,
        host_boot: host_boot.into(),
        rows,
        bootstrap: Some(membership.encode()),
        certificates: None,
        store,
        preparation: Preparation::Beside,
        transport: TransportSettings::new(Bind::Socket(socket), credentials, CLUSTER),
    };
    // Each look at a clock finds it a little later.
    let (wall, monotonic) = (AtomicU64::new(STARTED_AT), AtomicU64::new(0));
    let seams = Seams {
        wall_clock: Arc::new(move || wall.fetch_add(10, Ordering::Relaxed)),
        monotonic_ns: Arc::new(move || monotonic.fetch_add(1_000, Ordering::Relaxed)),
        seed: 1,
    };
    let node = Arc::new(Node::new(keyspace::Keyspace::new(1), Arc::new(Settings::new(Config::default())), seams));
    Peers::new(node, setup)
}

/// Writes as a command would that was admitted before.
pub(super) fn write(writer: &mut Writer, key: &[u8], value: &[u8]) -> Stamp {
    let mut access = writer.access(STARTED_AT, &[key]);
    access.begin_command();
    access.put_string(Database(0), key, value, NewLifetime::Set(Lifetime::Never));
    drop(access);
    writer.keyspace().clock()
}

/// Bytes that no batch makes smaller.
pub(super) fn noise(bytes: usize) -> Vec<u8> {
    let mut word: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word
    };
    (0..bytes / 8).flat_map(|_| next().to_le_bytes()).collect()
}

/// Takes turns until something is so.
pub(super) fn until(peers: &mut Peers, is_so: impl Fn(&mut Peers) -> bool) {
    let began = std::time::Instant::now();
    while !is_so(peers) {
        assert!(began.elapsed() < PATIENCE, "it never comes");
        peers.turn();
        std::thread::yield_now();
    }
}

/// Runs `test` where sockets can be opened.
pub(super) fn in_a_runtime(test: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { test() });
}

#[test]
fn a_number_is_changed_when_the_disk_has_taken_what_was_written_under_the_one_before() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(1);
        let (mut peers, mut writer) = founded(Some(&disk));
        let present = peers.number().unwrap();
        let closed = disk.gate.lock();
        // The first fills the disk's queue, so that the second stays where it is.
        write(&mut writer, b"large", &noise(33 << 20));
        peers.close_batches();
        assert!(!peers.keeping.has_room());
        let last = write(&mut writer, b"k", b"v");
        peers.renumber();
        assert!(peers.node.condition.writes_refused().is_some());
        assert_eq!(peers.number(), Some(present));
        drop(closed);
        let began = std::time::Instant::now();
        while peers.number() == Some(present) {
            assert!(began.elapsed() < PATIENCE, "the number is not changed");
            peers.look_at_disk();
            peers.housekeeping();
        }
        let next = peers.number().unwrap();
        assert_ne!(next, present);
        assert_eq!((peers.hub.closed_vector().of(present), peers.node.keyspace.applied().of(present)), (last, last));
        let later = write(&mut writer, b"k", b"w");
        assert_eq!(later.author(), next);
        assert!(peers.close_logged());
        while !peers.is_published() {
            assert!(began.elapsed() < PATIENCE, "the last batch is not published");
            peers.look_at_disk();
        }
        assert_eq!(peers.hub.closed_vector().of(next), later);
        assert!(peers.stop_disk());
    });
}

#[test]
fn a_node_whose_number_has_ended_waits_for_another_one_without_looking_for_changes_all_the_time() {
    in_a_runtime(|| {
        let (mut peers, mut writer) = founded(None);
        let present = peers.number().unwrap();
        peers.number_has_ended();
        assert_eq!(peers.number(), None);
        // A command that was admitted before.
        write(&mut writer, b"k", b"v");
        peers.drain_at = Some(Instant::now());
        peers.turn();
        assert_eq!(peers.drain_at, None);
        let next = NodeNumber::new(present.value() + 1).unwrap();
        peers.take_number(next);
        let last = write(&mut writer, b"k", b"w");
        peers.turn();
        assert!(peers.close_everything());
        assert_eq!(peers.hub.closed_vector().of(next), last);
        assert_eq!(peers.hub.closed_vector().of(present), Stamp::ZERO);
    });
}

#[test]
fn a_change_leaves_at_once_after_a_quiet_moment_and_else_when_the_interval_is_over() {
    in_a_runtime(|| {
        let (mut peers, mut writer) = founded(None);
        let me = peers.number().unwrap();
        let interval = peers.node.config.load().batch_interval;
        // What the thread does when somebody wakes it.
        let woken = |peers: &mut Peers| {
            let mut notified = std::pin::pin!(Arc::clone(&peers.wake).notified_owned());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(notified.as_mut().poll(&mut context).is_ready(), "nobody says that something was written");
            peers.drain_at = Some(peers.drain_time());
            peers.turn();
        };
        peers.drain_at = Some(Instant::now());
        peers.turn();
        peers.drained_at = Instant::now() - QUIET;
        let first = write(&mut writer, b"k", b"v");
        woken(&mut peers);
        assert_eq!(peers.hub.closed_vector().of(me), first);
        // Right after a batch, however slow this machine is.
        peers.drained_at = Instant::now() + interval;
        let second = write(&mut writer, b"k", b"w");
        woken(&mut peers);
        assert_eq!((peers.hub.closed_vector().of(me), peers.drain_at), (first, Some(peers.drained_at + interval)));
        peers.drain_at = Some(Instant::now());
        peers.turn();
        assert_eq!(peers.hub.closed_vector().of(me), second);
        // A quiet moment later, though the interval is not over.
        peers.drained_at = Instant::now() - QUIET;
        let third = write(&mut writer, b"k", b"x");
        woken(&mut peers);
        assert_eq!(peers.hub.closed_vector().of(me), third);
    });
}

/// It asked one peer, whose answer did not come, and then another one.
#[test]
fn a_node_that_was_given_two_numbers_needs_none_when_it_has_either() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let (me, number, stamp) = (peers.identity, peers.number().unwrap(), peers.membership_stamp().unwrap());
        assert_ne!(peers.membership.grant_number(me, me, stamp), Ok(number));
        let why = storage::NumberNeeded::NoneLeft;
        peers.rows.set_number_needed(Some(why)).unwrap();
        peers.number_needed = Some(why);
        // While it may not go on under its number it has none.
        peers.refusals.no_number = true;
        peers.keep_what_is_not_kept();
        assert_eq!(peers.rows.number_needed().unwrap(), Some(why));
        peers.refusals.no_number = false;
        peers.keep_what_is_not_kept();
        assert_eq!((peers.number_needed, peers.rows.number_needed().unwrap()), (None, None));
    });
}

#[test]
fn writes_are_refused_before_it_is_asked_whether_anything_was_written() {
    in_a_runtime(|| {
        let (mut peers, mut writer) = founded(None);
        let present = peers.number();
        let last = write(&mut writer, b"k", b"v");
        // Its copy lives elsewhere: what was written here stays here.
        peers.number_has_ended();
        assert_eq!((peers.number(), peers.hub.closed_vector().of(last.author())), (present, last));
        assert!(peers.node.condition.writes_refused().is_some());
    });
}

#[test]
fn a_member_that_was_never_met_has_a_link_that_is_down_and_one_that_was_removed_has_no_metrics() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let record = record_of_another();
        let (me, other, stamp) = (peers.identity, NodeIdentity([9; 32]), peers.membership_stamp().unwrap());
        peers.membership.admit(me, other, record, stamp).unwrap();
        let shown = |peers: &mut Peers| {
            peers.update_metrics();
            let metrics = peers.node.console.metrics.replication.peers();
            metrics.into_iter().map(|(name, peer)| (name, peer.link_up.value())).collect::<Vec<_>>()
        };
        assert_eq!(shown(&mut peers), [("b".to_owned(), 0)]);
        peers.node.console.metrics.replication.peer("b").bytes_out.add(700);
        peers.membership.remove(other).unwrap();
        assert_eq!(shown(&mut peers), []);
        assert_eq!(peers.batches.bytes_out, 700);
    });
}

#[test]
fn an_operators_seal_leaves_out_who_cannot_be_reached_and_is_reached_here() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let stamp = peers.membership_stamp().unwrap();
        let gone = NodeIdentity([9; 32]);
        let record = record_of_another();
        // Another member that cannot be reached holds more than this node.
        let away = NodeIdentity([8; 32]);
        let me = peers.identity;
        let number = peers.membership.admit(me, gone, record.clone(), stamp).unwrap().number;
        let stamp = peers.membership_stamp().unwrap();
        let other = MemberRecord { name: "c".into(), ..record };
        peers.membership.admit(me, away, other, stamp).unwrap();
        peers.membership.remove(gone).unwrap();
        let stamp = peers.membership_stamp().unwrap();
        let reach = Stamp::at(STARTED_AT + 5, number);
        let holding = crdt::membership::Holding { applied: reach, reach, waiting: crdt::membership::Waiting::Nothing };
        peers.membership.report_holdings(away, stamp, [(number, holding)]).unwrap();
        let answer = peers.seal(&gone.to_string(), false).unwrap().to_string();
        assert!(answer.contains("\"c\""), "{answer}");
        let seal = peers.membership.view().sealed(number).unwrap();
        assert!(seal.at < reach && peers.hub.closed_vector().of(number) >= seal.at);
    });
}

#[test]
fn others_are_told_where_clients_connect_when_that_is_changed() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let told = |peers: &Peers| peers.membership.view().member(peers.identity).unwrap().record.resp.clone();
        // A start has told what the admission says.
        peers.housekeeping();
        assert_eq!(told(&peers), "127.0.0.1:2");
        peers.node.config.set(&[("port", "7000")]).unwrap();
        peers.housekeeping();
        assert_eq!(told(&peers), "127.0.0.1:7000");
        let kept = crdt::Membership::decode(&peers.rows.membership().unwrap().unwrap()).unwrap();
        assert_eq!(kept.view().member(peers.identity).unwrap().record.resp, "127.0.0.1:7000");
        // While the door without TLS is closed it is the other one where clients connect.
        for (settings, expected) in [
            (&[("tls-port", "7001")][..], "127.0.0.1:7000"),
            (&[("port", "0")], "127.0.0.1:7001"),
            (&[("tls-port", "7002")], "127.0.0.1:7002"),
            (&[("port", "7003")], "127.0.0.1:7003"),
            (&[("resp-plain", "no")], "127.0.0.1:7002"),
            (&[("resp-plain", "yes"), ("tls-port", "0")], "127.0.0.1:7003"),
        ] {
            peers.node.config.set(settings).unwrap();
            peers.housekeeping();
            assert_eq!(told(&peers), expected, "{settings:?}");
        }
    });
}

/// Milliseconds by which a clock is off.
const A_DAY_MS: u64 = 86_400_000;

#[test]
fn a_change_of_the_membership_from_a_clock_far_ahead_moves_no_clock_of_data() {
    in_a_runtime(|| {
        let (mut peers, mut writer) = founded(None);
        let (me, number) = (peers.identity, peers.number().unwrap());
        let mut record = peers.membership.view().member(me).unwrap().record.clone();
        let mut theirs = peers.membership.clone();
        // One that is within what clocks may differ is seen by the clock, as ever.
        record.resp = "127.0.0.1:5".into();
        let ordinary = Stamp::at(STARTED_AT + 30_000, number);
        theirs.update(me, record.clone(), ordinary).unwrap();
        peers.merge_membership(NodeIdentity([9; 32]), &theirs.encode());
        assert_eq!(peers.node.keyspace.clock(), ordinary);
        record.resp = "127.0.0.1:6".into();
        let ahead = Stamp::at(STARTED_AT + A_DAY_MS, number);
        theirs.update(me, record, ahead).unwrap();
        peers.merge_membership(NodeIdentity([9; 32]), &theirs.encode());
        assert_eq!(peers.membership.latest_stamp(), ahead);
        // What is changed here next comes after it all the same.
        assert!(peers.membership_stamp().unwrap() > ahead);
        let written = write(&mut writer, b"k", b"v");
        assert!(written > ordinary && written.unix_ms() < STARTED_AT + 60_000, "{}", written.unix_ms());
    });
}

#[test]
fn a_start_with_a_membership_from_a_clock_far_ahead_moves_no_clock_of_data() {
    in_a_runtime(|| {
        let catalogue = Arc::new(MemoryCatalogue::new());
        let (mut peers, _) = begun(None, &catalogue, 1);
        let (me, number) = (peers.identity, peers.number().unwrap());
        let record = peers.membership.view().member(me).unwrap().record.clone();
        let ahead = Stamp::at(STARTED_AT + A_DAY_MS, number);
        peers.membership.update(me, record, ahead).unwrap();
        assert!(peers.keep_membership());
        drop(peers);
        let (peers, mut writer) = begun(None, &catalogue, 2);
        assert!(peers.number() != Some(number) && peers.membership.latest_stamp() > ahead);
        let written = write(&mut writer, b"k", b"v");
        assert!(written.unix_ms() < STARTED_AT + 60_000, "{}", written.unix_ms());
    });
}

#[test]
fn writes_are_accepted_once_nobody_is_left_who_says_that_the_clock_is_wrong() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        peers.refusals.drift_ms = Some(90_000);
        peers.update_condition();
        assert!(peers.node.condition.writes_refused().is_some());
        // No peer is known any more.
        peers.housekeeping();
        assert_eq!(peers.node.condition.writes_refused(), None);
    });
}

#[test]
fn what_the_hub_wants_is_carried_out_in_turns() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let (me, now, wall) = (peers.identity, peers.now(), peers.node.wall_clock());
        // Each of them is refused, and its closing is wanted.
        const WANTED: usize = 3_000;
        (0..WANTED).for_each(|_| peers.hub.link_up(me, now, wall));
        let mut turns = 0;
        while peers.hub.has_events() {
            assert!(peers.next_deadline() <= Instant::now(), "it goes on at once");
            peers.turn();
            turns += 1;
        }
        // A clock of which each look takes a microsecond, and turns of a millisecond.
        assert!((3..=6).contains(&turns), "{turns}");
    });
}

//! What waits for a move of a key, and what goes on meanwhile.

use super::*;
use crate::peers::preparing::{Preparation, Preparations};
use crate::peers::tests::{SlowDisk, founded, in_a_runtime, until, write};
use crate::testing::STARTED_AT;
use crdt::{NodeNumber, Stamp, VersionVector};
use keyspace::{Database, Drain, Keyspace, Permission, Relocated, Relocation, Writer};
use protocol::{BatchTail, Compression, NodeIdentity, SessionId};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use tokio::time::Instant;

const SOURCE: &[u8] = b"large";
const TARGET: &[u8] = b"moved";
/// A collection that is moved in steps, in builds for tests.
const MEMBERS: u32 = 500;
const PEER: NodeIdentity = NodeIdentity([9; 32]);

/// Another node, and what it sends.
struct Origin {
    keyspace: Arc<Keyspace>,
    writer: Writer,
    drain: Drain,
    tail: BatchTail,
}

impl Origin {
    fn new(number: u16) -> Self {
        let keyspace = Keyspace::new(number.into());
        keyspace.set_number(NodeNumber::new(number).unwrap());
        Self { writer: keyspace.writer(), keyspace, drain: Drain::default(), tail: BatchTail::default() }
    }

    /// A batch in which it writes a key, after what is in this vector.
    fn batch(&mut self, key: &[u8], dependencies: VersionVector) -> Arc<Batch> {
        write(&mut self.writer, key, b"v");
        self.sealed(dependencies)
    }

    /// A batch in which it makes a set by one command.
    fn large_batch(&mut self, key: &[u8], dependencies: VersionVector) -> Arc<Batch> {
        let mut access = self.writer.access(STARTED_AT, &[key]);
        access.begin_command();
        for member in 0..4 * MEMBERS {
            access.add_member(Database(0), key, &member.to_le_bytes()).unwrap();
        }
        drop(access);
        self.sealed(dependencies)
    }

    fn sealed(&mut self, dependencies: VersionVector) -> Arc<Batch> {
        let open = self.drain.take(&self.keyspace).pop().unwrap();
        let (first, last, changes) = (open.first, open.last, open.changes);
        let raw = &open.payload;
        let batch = Batch::seal(self.tail, first, last, dependencies, changes, raw, &mut Compression::default());
        self.tail = batch.tail();
        batch
    }
}

/// A move that has frozen its keys and goes on when it is told to.
fn moving(node: &Arc<crate::node::Node>) -> (Sender<()>, JoinHandle<Relocated>) {
    let mut writer = node.keyspace.writer();
    for member in 0..MEMBERS {
        let mut access = writer.access(STARTED_AT, &[SOURCE]);
        access.begin_command();
        access.add_member(Database(0), SOURCE, &member.to_le_bytes()).unwrap();
    }
    let ((go_on, told), (begun, has_begun)) = (channel::<()>(), channel());
    let keyspace = node.keyspace.clone();
    let thread = std::thread::spawn(move || {
        let wish = Relocation {
            from: Database(0),
            source: SOURCE,
            to: Database(0),
            target: TARGET,
            keeps_source: false,
            replaces: true,
        };
        let mut pause = || {
            let _ = begun.send(());
            // Until the other end is dropped.
            let _ = told.recv();
        };
        keyspace.writer().relocate(&wish, &|| STARTED_AT, &|| Permission::Now, &mut pause)
    });
    has_begun.recv().unwrap();
    assert!(node.keyspace.has_frozen());
    (go_on, thread)
}

/// A node on a disk of its own with a move under way, and another region.
fn beside_a_move(seed: u64) -> (SlowDisk, Peers, Origin, (Sender<()>, JoinHandle<Relocated>)) {
    let disk = SlowDisk::new(seed);
    let (peers, _) = founded(Some(&disk));
    let moves = moving(&peers.node);
    (disk, peers, Origin::new(5), moves)
}

fn receive(peers: &mut Peers, batch: &Arc<Batch>) {
    peers.keep_batch(batch, Waiting::Apply(Arc::clone(batch)));
    // It is in the journal, if there is one.
    let is_seen = |peers: &Peers| {
        let is_held = |queued: &Queued| matches!(&queued.then, Waiting::Apply(held) if held.last == batch.last);
        applied(peers, batch.origin) >= batch.last || peers.keeping.held.iter().any(is_held)
    };
    until(peers, |peers| is_seen(peers));
}

fn applied(peers: &Peers, origin: NodeNumber) -> Stamp {
    peers.node.keyspace.applied().of(origin)
}

#[test]
fn what_comes_upon_a_key_that_is_moved_is_put_aside_with_what_builds_on_it_and_all_else_goes_on() {
    in_a_runtime(|| {
        for disk in [None, Some(SlowDisk::new(1))] {
            let (mut peers, mut writer) = founded(disk.as_ref());
            let [mut one, mut two, mut three] = [5, 6, 7].map(Origin::new);
            let (go_on, thread) = moving(&peers.node);
            let waits = one.batch(SOURCE, VersionVector::new());
            let behind = one.batch(b"behind", VersionVector::new());
            let builds = two.batch(b"builds", [(waits.origin, waits.last)].into_iter().collect());
            let other = three.batch(b"other", VersionVector::new());
            for batch in [&waits, &behind, &builds, &other] {
                receive(&mut peers, batch);
            }
            assert_eq!([5, 6].map(|number| applied(&peers, NodeNumber::new(number).unwrap())), [Stamp::ZERO; 2]);
            assert_eq!(applied(&peers, other.origin), other.last);
            assert_eq!(peers.keeping.held.iter().count(), 3);
            assert!(peers.keeping.due().is_some(), "it is looked whether the move is over");
            // What is written here leaves.
            let last = write(&mut writer, b"own", b"v");
            assert!(peers.close_logged() && !thread.is_finished());
            until(&mut peers, |peers| peers.hub.closed_vector().of(last.author()) == last);
            assert_eq!(peers.keeping.held.iter().count(), 3);
            drop(go_on);
            assert!(matches!(thread.join().unwrap(), Relocated::Done(_)));
            until(&mut peers, |peers| peers.keeping.held.is_empty());
            for batch in [&behind, &builds] {
                assert_eq!(applied(&peers, batch.origin), batch.last);
            }
            assert!(peers.stop_disk());
        }
    });
}

#[test]
fn state_is_neither_read_nor_merged_while_a_key_is_moved() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let (go_on, thread) = moving(&peers.node);
        let (peer, session) = (PEER, SessionId(1));
        let (pieces, _) = Origin::new(5).keyspace.read_slots(0, &VersionVector::new(), 1 << 20);
        let pack = |piece: &Vec<u8>| Compression::default().block_with_size(piece);
        let payload = crate::peers::state::joined(pieces.iter().map(pack).collect());
        peers.do_without_record(Waiting::ReadSlots {
            peer,
            session,
            from_slot: 0,
            since: VersionVector::new(),
            bytes_max: 1 << 20,
        });
        peers.do_without_record(Waiting::ReadListing { peer, session, slots: vec![1], bytes_max: 1 << 20 });
        peers.do_without_record(Waiting::MergeSlots { peer, session, payload });
        let finished = VersionVector::from_iter([(NodeNumber::new(5).unwrap(), Stamp::from_bits(1 << 30 | 5))]);
        peers.do_without_record(Waiting::SessionFinished { peer, session, vector: finished });
        peers.turn();
        assert!(peers.keeping.held.iter().count() == 4 && peers.is_merging());
        drop(go_on);
        assert!(matches!(thread.join().unwrap(), Relocated::Done(_)));
        until(&mut peers, |peers| peers.keeping.held.is_empty() && !peers.is_merging());
    });
}

#[test]
fn a_checkpoint_that_begins_meanwhile_builds_on_nothing_that_was_put_aside() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(2);
        let (mut peers, _) = founded(Some(&disk));
        let (mut one, mut three) = (Origin::new(5), Origin::new(7));
        let (go_on, thread) = moving(&peers.node);
        let begins = peers.keeping.store.as_ref().unwrap().disk.position();
        let (waits, other) = (one.batch(SOURCE, VersionVector::new()), three.batch(b"other", VersionVector::new()));
        receive(&mut peers, &waits);
        receive(&mut peers, &other);
        let position = peers.keeping.store.as_ref().unwrap().disk.position();
        assert!(position > begins);
        assert_eq!(peers.carried_out(position), begins);
        drop(go_on);
        thread.join().unwrap();
        until(&mut peers, |peers| peers.keeping.held.is_empty());
        assert_eq!(peers.carried_out(position), position);
        assert!(peers.stop_disk());
    });
}

#[test]
fn what_was_written_while_others_are_taken_up_again_is_not_done_before_them() {
    in_a_runtime(|| {
        let (disk, mut peers, mut one, (go_on, thread)) = beside_a_move(2);
        let reads = |node: u64| Waiting::ReadSlots {
            peer: PEER,
            session: SessionId(node),
            from_slot: 0,
            since: VersionVector::new(),
            bytes_max: 1 << 20,
        };
        peers.do_without_record(reads(1));
        let waits = one.batch(SOURCE, VersionVector::new());
        receive(&mut peers, &waits);
        assert!(peers.node.keyspace.is_stillness_wanted());
        let behind = one.batch(b"behind", VersionVector::new());
        let not_written_yet = disk.gate.lock();
        peers.keep_batch(&behind, Waiting::Apply(Arc::clone(&behind)));
        assert_eq!(peers.keeping.held.iter().count(), 2);
        drop(not_written_yet);
        drop(go_on);
        thread.join().unwrap();
        // It is written when the read keeps what it has read.
        while peers.keeping.store.as_ref().unwrap().progress().written()
            < peers.keeping.store.as_ref().unwrap().disk.position()
        {
            peers.keeping.store.as_mut().unwrap().disk.poll(0);
            std::thread::yield_now();
        }
        peers.take_up_held();
        until(&mut peers, |peers| peers.keeping.held.is_empty() && applied(peers, behind.origin) == behind.last);
        assert!(!peers.node.keyspace.is_stillness_wanted());
        assert!(peers.stop_disk());
    });
}

#[test]
fn a_checkpoint_builds_on_nothing_that_was_put_aside_behind_what_has_no_record() {
    in_a_runtime(|| {
        let (disk, mut peers, mut one, (go_on, thread)) = beside_a_move(3);
        let begins = peers.keeping.store.as_ref().unwrap().disk.position();
        let not_written_yet = disk.gate.lock();
        let waits = one.batch(SOURCE, VersionVector::new());
        peers.keep_batch(&waits, Waiting::Apply(Arc::clone(&waits)));
        peers.do_without_record(Waiting::ReadListing {
            peer: PEER,
            session: SessionId(1),
            slots: vec![1],
            bytes_max: 1 << 20,
        });
        drop(not_written_yet);
        until(&mut peers, |peers| peers.keeping.held.iter().count() == 2);
        let position = peers.keeping.store.as_ref().unwrap().disk.position();
        assert_eq!(peers.carried_out(position), begins);
        drop(go_on);
        thread.join().unwrap();
        until(&mut peers, |peers| peers.keeping.held.is_empty());
        assert!(peers.stop_disk());
    });
}

fn members(peers: &Peers, key: &[u8]) -> usize {
    let mut writer = peers.node.keyspace.writer();
    let mut access = writer.access(STARTED_AT, &[key]);
    access.set(Database(0), key).unwrap().map_or(0, |members| members.len())
}

/// What is large is ready when the test says so.
fn by_hand() -> Preparations {
    Preparations::new(Preparation::After { time: Duration::from_secs(3600), bytes_min: 4 << 10 })
}

#[test]
fn while_a_large_batch_is_prepared_what_builds_on_it_waits_and_all_else_goes_on() {
    in_a_runtime(|| {
        for disk in [None, Some(SlowDisk::new(4))] {
            let (mut peers, mut writer) = founded(disk.as_ref());
            peers.keeping.preparations = by_hand();
            let [mut one, mut two, mut three] = [5, 6, 7].map(Origin::new);
            let large = one.large_batch(b"set", VersionVector::new());
            let behind = one.batch(b"behind", VersionVector::new());
            let builds = two.batch(b"builds", [(large.origin, large.last)].into_iter().collect());
            let other = three.batch(b"other", VersionVector::new());
            let second = three.large_batch(b"second", VersionVector::new());
            for batch in [&large, &behind, &builds, &other, &second] {
                receive(&mut peers, batch);
            }
            assert_eq!([5, 6].map(|number| applied(&peers, NodeNumber::new(number).unwrap())), [Stamp::ZERO; 2]);
            assert_eq!(applied(&peers, other.origin), other.last);
            assert_eq!((peers.keeping.held.iter().count(), members(&peers, b"set")), (4, 0));
            let last = write(&mut writer, b"own", b"v");
            assert!(peers.close_logged());
            until(&mut peers, |peers| peers.hub.closed_vector().of(last.author()) == last);
            // One comes after the other.
            peers.keeping.preparations.hasten();
            until(&mut peers, |peers| applied(peers, builds.origin) == builds.last);
            assert_eq!(applied(&peers, behind.origin), behind.last);
            assert_eq!(members(&peers, b"set"), 4 * MEMBERS as usize);
            assert_eq!((peers.keeping.held.iter().count(), members(&peers, b"second")), (1, 0));
            peers.keeping.preparations.hasten();
            until(&mut peers, |peers| peers.keeping.held.is_empty());
            assert_eq!(members(&peers, b"second"), 4 * MEMBERS as usize);
            assert!(peers.stop_disk());
        }
    });
}

#[test]
fn a_large_batch_that_was_prepared_waits_for_a_move_that_has_begun_meanwhile_and_is_not_prepared_again() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        peers.keeping.preparations = by_hand();
        let mut one = Origin::new(5);
        let large = one.large_batch(TARGET, VersionVector::new());
        receive(&mut peers, &large);
        let (go_on, thread) = moving(&peers.node);
        peers.keeping.preparations.hasten();
        peers.turn();
        assert_eq!((applied(&peers, large.origin), peers.keeping.held.iter().count()), (Stamp::ZERO, 1));
        drop(go_on);
        assert!(matches!(thread.join().unwrap(), Relocated::Done(_)));
        until(&mut peers, |peers| peers.keeping.held.is_empty());
        assert_eq!(applied(&peers, large.origin), large.last);
        assert_eq!(peers.node.console.metrics.replication.batches_prepared.value(), 1);
    });
}

#[test]
fn a_large_batch_is_prepared_by_a_thread_of_its_own_and_one_that_cannot_be_applied_is_forgotten() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let [mut one, mut two] = [5, 6].map(Origin::new);
        let large = one.large_batch(b"set", VersionVector::new());
        receive(&mut peers, &large);
        until(&mut peers, |peers| applied(peers, large.origin) == large.last);
        assert_eq!(members(&peers, b"set"), 4 * MEMBERS as usize);
        // It names what was never written: nobody waits for it for ever.
        let never = [(NodeNumber::new(9).unwrap(), Stamp::from_bits(1 << 30 | 9))].into_iter().collect();
        let lost = two.large_batch(b"lost", never);
        peers.keep_batch(&lost, Waiting::Apply(Arc::clone(&lost)));
        let next = one.large_batch(b"next", VersionVector::new());
        receive(&mut peers, &next);
        until(&mut peers, |peers| applied(peers, next.origin) == next.last);
    });
}

#[test]
fn what_is_prepared_waits_for_no_other_move_and_what_waits_for_a_move_for_no_other_batch() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        peers.keeping.preparations = by_hand();
        let [mut one, mut two, mut three] = [5, 6, 7].map(Origin::new);
        let (go_on, thread) = moving(&peers.node);
        let ready = one.large_batch(b"set", VersionVector::new());
        receive(&mut peers, &ready);
        peers.keeping.preparations.hasten();
        until(&mut peers, |peers| applied(peers, ready.origin) == ready.last);
        assert!(!thread.is_finished());
        let waits = two.batch(SOURCE, VersionVector::new());
        let large = three.large_batch(b"other", VersionVector::new());
        for batch in [&large, &waits] {
            receive(&mut peers, batch);
        }
        assert_eq!(peers.keeping.held.iter().count(), 2);
        drop(go_on);
        assert!(matches!(thread.join().unwrap(), Relocated::Done(_)));
        until(&mut peers, |peers| applied(peers, waits.origin) == waits.last);
        assert_eq!((applied(&peers, large.origin), peers.keeping.held.iter().count()), (Stamp::ZERO, 1));
        peers.keeping.preparations.hasten();
        until(&mut peers, |peers| peers.keeping.held.is_empty());
    });
}

#[test]
fn what_was_put_aside_is_taken_up_in_turns_and_each_once_in_a_round() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let (mut origin, mut other) = (Origin::new(700), Origin::new(701));
        let [first, second, third, fourth] = [1, 2, 3, 4].map(|key: u8| origin.batch(&[key], VersionVector::new()));
        // The large one has to be prepared, and the third comes before its predecessor.
        let large = other.large_batch(b"large", VersionVector::new());
        let queue = [large, Arc::clone(&first), third, Arc::clone(&second), fourth];
        for (at, batch) in (0..).zip(queue) {
            peers.put_aside(Queued { first: at, position: 0, then: Waiting::Apply(batch) });
        }
        let mut turns = 0;
        loop {
            turns += 1;
            peers.take_up_held_while(|_| false);
            if !peers.keeping.held.is_behind() {
                break;
            }
            assert!(peers.keeping.due().is_some_and(|due| due <= Instant::now()));
        }
        assert_eq!(turns, 5);
        // What had to be put aside again is in its order, and what could be done is done.
        let left: Vec<u64> = peers.keeping.held.iter().map(|queued| queued.first).collect();
        let applied = peers.node.keyspace.applied().of(first.origin);
        assert_eq!((left, applied), (vec![0, 2, 4], second.last));
    });
}

/// A node begins anew with less than its hub believed. What waits builds on what it does not have any more, and is sent again.
#[test]
fn what_was_put_aside_is_forgotten_with_the_hub_that_wanted_it() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(1);
        let (mut peers, _) = founded(Some(&disk));
        let never = Preparation::After { time: Duration::from_secs(3_600), bytes_min: 1 << 10 };
        peers.keeping.preparations = Preparations::new(never);
        let mut one = Origin::new(5);
        let first = one.batch(b"k", VersionVector::new());
        receive(&mut peers, &first);
        let large = one.large_batch(b"set", VersionVector::new());
        receive(&mut peers, &large);
        assert_eq!((applied(&peers, first.origin), peers.keeping.held.iter().count()), (first.last, 1));
        assert_eq!(peers.keeping.preparations.is_ready(), Some(false));
        peers.history_has_forked(PEER);
        until(&mut peers, |peers| peers.has_read_all());
        assert_eq!((applied(&peers, first.origin), peers.keeping.held.iter().count()), (Stamp::ZERO, 0));
        assert_eq!(peers.keeping.preparations.is_ready(), None);
        peers.keeping.preparations = Preparations::new(Preparation::Beside);
        receive(&mut peers, &first);
        receive(&mut peers, &large);
        until(&mut peers, |peers| applied(peers, large.origin) == large.last);
        let failed = peers.node.console.metrics.replication.limits_met.values();
        assert!(failed.iter().all(|(name, _)| *name != "unreadable_batch"), "{failed:?}");
        assert!(peers.stop_disk());
    });
}

//! State that is read and merged in steps, and what goes on meanwhile.

use super::*;
use crate::peers::tests::{SlowDisk, founded, in_a_runtime, until, write};
use crate::testing::STARTED_AT;
use crdt::{NodeNumber, Stamp, VersionVector};
use keyspace::{Database, Drain, Keyspace, Writer, slot_of};
use protocol::{Batch, BatchTail, Compression};
use std::sync::Arc;

const LARGE: &[u8] = b"large";
const PEER: NodeIdentity = NodeIdentity([9; 32]);
const SESSION: SessionId = SessionId(1);
/// More than is read or merged in one turn.
const MEMBERS: u32 = 20_000;

fn add_members(writer: &mut Writer, members: std::ops::Range<u32>) {
    for member in members {
        let mut access = writer.access(STARTED_AT, &[LARGE]);
        access.begin_command();
        access.add_member(Database(0), LARGE, &member.to_le_bytes()).unwrap();
    }
}

fn node(number: u16) -> Arc<Keyspace> {
    let keyspace = Keyspace::new(number.into());
    keyspace.set_number(NodeNumber::new(number).unwrap());
    keyspace
}

/// The large collection of another node, as it comes.
fn state_of(keyspace: &Keyspace) -> Bytes {
    let (pieces, _) = keyspace.list_slots(&[slot_of(LARGE)], &VersionVector::new(), usize::MAX);
    assert!(pieces.len() > 2);
    joined(pieces.iter().map(|piece| Compression::default().block_with_size(piece)).collect())
}

/// What `writer` has written, as a batch.
fn batch(keyspace: &Arc<Keyspace>) -> Arc<Batch> {
    let open = Drain::default().take(keyspace).pop().unwrap();
    let (dependencies, tail) = (VersionVector::new(), BatchTail::default());
    let raw = &open.payload;
    Batch::seal(tail, open.first, open.last, dependencies, open.changes, raw, &mut Compression::default())
}

fn applied(peers: &Peers, batch: &Batch) -> bool {
    peers.node.keyspace.applied().of(batch.origin) == batch.last
}

#[test]
fn while_a_large_slot_is_merged_everything_else_goes_on() {
    in_a_runtime(|| {
        for disk in [None, Some(SlowDisk::new(1))] {
            let (mut peers, mut writer) = founded(disk.as_ref());
            let [source, meets, passes] = [5, 6, 7].map(node);
            add_members(&mut source.writer(), 0..MEMBERS);
            add_members(&mut meets.writer(), 0..3);
            write(&mut passes.writer(), b"elsewhere", b"v");
            let (meets, passes, payload) = (batch(&meets), batch(&passes), state_of(&source));
            let begins = peers.keeping.store.as_ref().map_or(0, |store| store.disk.position());
            let record = storage::Record::Slots(payload.clone());
            peers.keep(Some(record), Waiting::MergeSlots { peer: PEER, session: SESSION, payload });
            until(&mut peers, |peers| peers.state.holds_slot());
            assert!(peers.is_merging() && peers.next_deadline() <= Instant::now(), "it goes on by itself");
            // The slot is nobody else's, all others are as ever.
            assert!(peers.node.keyspace.meets_frozen(&[LARGE], false));
            for batch in [&meets, &passes] {
                peers.keep_batch(batch, Waiting::Apply(Arc::clone(batch)));
            }
            let last = write(&mut writer, b"own", b"v");
            let mut turns = 0;
            while !(applied(&peers, &passes) && peers.hub.closed_vector().of(last.author()) == last) {
                assert!(peers.close_logged() && turns < 100_000);
                // Without the steps: what comes by the journal, and what is written here.
                peers.look_at_disk();
                turns += 1;
                std::thread::yield_now();
            }
            assert!(peers.state.holds_slot() && !applied(&peers, &meets));
            if let Some(store) = &peers.keeping.store {
                assert_eq!(peers.carried_out(store.disk.position()), begins, "a checkpoint builds on what was before");
            }
            let mut turns = 0;
            while peers.is_merging() {
                peers.turn();
                turns += 1;
            }
            assert!(turns > 2, "one turn does not take all of it: {turns}");
            assert!(!peers.node.keyspace.meets_frozen(&[LARGE], true));
            until(&mut peers, |peers| applied(peers, &meets) && peers.keeping.held.is_empty());
            let mut access = writer.access(STARTED_AT, &[LARGE]);
            assert_eq!(access.set(Database(0), LARGE).unwrap().unwrap().len(), MEMBERS as usize);
            drop(access);
            assert!(peers.stop_disk());
        }
    });
}

#[test]
fn what_was_kept_of_a_session_is_merged_at_the_next_start() {
    let source = node(5);
    add_members(&mut source.writer(), 0..500);
    let payload = state_of(&source);
    let target = Keyspace::new(1);
    merge_kept(&target, &payload, STARTED_AT).unwrap();
    assert_eq!(target.digest_of(slot_of(LARGE)).digest, source.digest_of(slot_of(LARGE)).digest);
    for cut in [0, 1, 5, 9, payload.len() / 2, payload.len() - 1] {
        let target = Keyspace::new(1);
        assert!(merge_kept(&target, &payload[..cut], STARTED_AT).is_err());
        assert_eq!(target.digest_of(slot_of(LARGE)).digest, 0);
    }
    let claims = [&[0xff; 4][..], &[9, 0, 0, 0], &[0xff; 4], &[0; 5]].concat();
    assert!(merge_kept(&target, &claims, STARTED_AT).is_err());
    let many = [&[0xff; 4][..], &[0; 4].repeat(PIECES_MAX + 1)].concat();
    assert!(merge_kept(&target, &many, STARTED_AT).is_err());
    // As it was before there were pieces.
    let (target, small) = (Keyspace::new(1), node(6));
    write(&mut small.writer(), b"small", b"v");
    let (pieces, _) = small.list_slots(&[slot_of(b"small")], &VersionVector::new(), usize::MAX);
    merge_kept(&target, &Compression::default().block_with_size(&pieces[0]), STARTED_AT).unwrap();
    assert_eq!(target.digest_of(slot_of(b"small")).digest, small.digest_of(slot_of(b"small")).digest);
}

#[test]
fn a_chunk_that_makes_no_sense_changes_nothing_and_ends_its_session() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let source = node(5);
        add_members(&mut source.writer(), 0..500);
        let payload = state_of(&source);
        for cut in [payload.len() - 1, payload.len() / 2] {
            peers.begin_merging((PEER, SESSION), 0, payload.slice(..cut), false);
            until(&mut peers, |peers| !peers.is_merging());
            assert_eq!(peers.node.keyspace.digest_of(slot_of(LARGE)).digest, 0);
            assert!(!peers.node.keyspace.has_frozen());
        }
    });
}

#[test]
fn a_large_slot_is_read_in_turns_whatever_is_written_to_it_and_is_let_go_with_its_session() {
    in_a_runtime(|| {
        let (mut peers, mut writer) = founded(None);
        add_members(&mut writer, 0..MEMBERS);
        let slots = vec![slot_of(LARGE)];
        let read = || Waiting::ReadListing { peer: PEER, session: SESSION, slots: slots.clone(), bytes_max: 1 << 20 };
        peers.do_without_record(read());
        peers.turn();
        assert!(!peers.state.holds_slot() && peers.state.due().is_some(), "it is read without being frozen");
        add_members(&mut writer, MEMBERS..MEMBERS + 1);
        until(&mut peers, |peers| peers.state.holds_slot());
        assert!(peers.node.keyspace.meets_frozen(&[LARGE], true) && !peers.node.keyspace.meets_frozen(&[LARGE], false));
        // Whoever feeds two reads for them one behind the other.
        peers.do_without_record(read());
        assert_eq!(peers.keeping.held.iter().count(), 1);
        peers.forget_state(PEER, SessionId(2));
        assert!(peers.state.holds_slot());
        peers.forget_state(PEER, SESSION);
        assert!(!peers.node.keyspace.has_frozen() && peers.state.jobs.is_empty());
        until(&mut peers, |peers| peers.keeping.held.is_empty() && peers.state.due().is_none());
        assert!(!peers.node.keyspace.has_frozen());
    });
}

#[test]
fn what_changes_what_counts_as_seen_waits_for_the_end_of_a_slot() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let source = node(5);
        add_members(&mut source.writer(), 0..MEMBERS);
        let digest = source.digest_of(slot_of(LARGE)).digest;
        peers.begin_merging((PEER, SESSION), 0, state_of(&source), false);
        until(&mut peers, |peers| peers.state.holds_slot());
        // All that comes of it would count as seen and removed here.
        peers.seal_number(
            NodeNumber::new(5).unwrap(),
            Stamp::at(STARTED_AT + 1_000, NodeNumber::new(5).unwrap()),
            source.clock(),
        );
        assert!(!peers.state.holds_slot() && !peers.node.keyspace.has_frozen());
        assert_eq!(peers.node.keyspace.digest_of(slot_of(LARGE)).digest, digest);
    });
}

#[test]
fn a_chunk_that_waits_for_the_disk_is_no_write_that_is_too_much_for_it() {
    in_a_runtime(|| {
        let disk = SlowDisk::new(1);
        let (mut peers, _) = founded(Some(&disk));
        let closed = disk.gate.lock();
        let payload = Bytes::from(vec![0; 300 << 20]);
        let record = storage::Record::Slots(payload.clone());
        peers.keep(Some(record), Waiting::MergeSlots { peer: PEER, session: SESSION, payload });
        peers.judge_disk();
        assert!(!peers.keeping.has_room() && peers.node.condition.writes_refused().is_none());
        drop(closed);
    });
}

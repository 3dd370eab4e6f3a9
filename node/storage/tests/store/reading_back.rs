//! The journal as the middle tier of catch-up: batches of one origin after a stamp, across segments and lives.

use crate::model::{SmallNode, origin, record, stamp};
use crdt::Stamp;
use storage::{FlushPolicy, Fs, Record, SimulatedFs};

fn batches(of: u16, from: u64, to: u64) -> Vec<Vec<u8>> {
    let records = (from..to).map(record);
    let bytes = records.filter_map(|record| match record {
        Record::Batch { last, bytes, .. } if last.author() == origin(of) => Some(bytes.to_vec()),
        _ => None,
    });
    bytes.collect()
}

#[test]
fn batches_after_a_stamp_come_back_in_one_unbroken_chain() {
    let fs = SimulatedFs::new(3);
    let mut written = 0;
    for life in 0..3 {
        let (mut node, back) = SmallNode::start(&fs, life, FlushPolicy::Never).unwrap();
        assert_eq!(back.next, written);
        for _ in 0..40 {
            written = node.write() + 1;
            if written % 3 == 0 {
                node.pass(1);
            }
        }
        node.pass(1);
        for of in [0, 1] {
            for from in [0, 1, 17, 39, written - 1] {
                let after = if from == 0 { Stamp::ZERO } else { stamp(from, of) };
                let found = node.reader.batches_after(origin(of), after, usize::MAX).unwrap();
                assert_eq!(found, batches(of, from, written), "life {life}, origin {of} after {from}");
                let some = node.reader.batches_after(origin(of), after, 200).unwrap();
                assert!(some.len() <= found.len() && found.starts_with(&some));
                assert!(found.is_empty() || !some.is_empty());
            }
        }
        assert!(node.reader.batches_after(origin(9), Stamp::ZERO, 1_000).unwrap().is_empty());
        fs.end_process();
    }
}

#[test]
fn what_the_journal_no_longer_reaches_back_to_is_not_guessed() {
    let fs = SimulatedFs::new(4);
    let (mut node, _) = SmallNode::start(&fs, 1, FlushPolicy::Always).unwrap();
    for _ in 0..300 {
        node.write();
        node.pass(1);
    }
    assert!(node.checkpoint(&mut crate::model::Chance(1)).unwrap());
    node.write();
    node.pass(1);
    assert!(node.reader.batches_after(origin(0), Stamp::ZERO, 1_000).unwrap().is_empty());
    let late = node.reader.batches_after(origin(0), stamp(299, 0), usize::MAX).unwrap();
    assert!(!late.is_empty());
}

#[test]
fn what_earlier_lives_wrote_is_not_read_back_once_the_node_has_found_that_it_lacks_some_of_it() {
    let fs = SimulatedFs::new(5);
    let write = |node: &mut SmallNode| {
        for _ in 0..20 {
            node.write();
        }
        node.pass(1);
    };
    let reads =
        |node: &SmallNode, after: u64| node.reader.batches_after(origin(0), stamp(after, 0), usize::MAX).unwrap();
    let (mut node, _) = SmallNode::start(&fs, 1, FlushPolicy::Always).unwrap();
    write(&mut node);
    fs.end_process();
    let (mut node, _) = SmallNode::start(&fs, 2, FlushPolicy::Always).unwrap();
    assert_eq!(reads(&node, 4), batches(0, 4, 20));
    node.reader.forget_earlier_lives();
    assert!(reads(&node, 4).is_empty());
    write(&mut node);
    assert!(reads(&node, 4).is_empty());
    assert_eq!(reads(&node, 19), batches(0, 20, 40));
    // A later life, whose checkpoint covers all of it, does not read it back either.
    assert!(node.checkpoint(&mut crate::model::Chance(1)).unwrap());
    fs.end_process();
    let (node, _) = SmallNode::start(&fs, 3, FlushPolicy::Always).unwrap();
    assert_eq!(node.reader.from(), 20);
}

#[test]
fn what_the_disk_could_not_read_for_a_while_is_read_back_afterwards() {
    let fs = SimulatedFs::new(6);
    let (mut node, _) = SmallNode::start(&fs, 1, FlushPolicy::Always).unwrap();
    for _ in 0..40 {
        node.write();
    }
    node.pass(1);
    fs.end_process();
    let segment = fs.list().unwrap().into_iter().find(|file| file.name.starts_with("journal-")).unwrap();
    assert!(fs.lose_sector(&segment.name, segment.bytes / 2));
    let (node, _) = SmallNode::start(&fs, 2, FlushPolicy::Always).unwrap();
    let reads = || node.reader.batches_after(origin(0), stamp(35, 0), usize::MAX).unwrap();
    assert!(reads().is_empty());
    // No byte is lost any more.
    assert!(!fs.lose_sector(&segment.name, u64::MAX));
    assert_eq!(reads(), batches(0, 35, 40));
}

//! What patches cost: on the wire, in memory, in time.

use super::PATCHES_BYTES_MIN;
use crate::{Database, Drain, Keyspace, Lifetime, NewLifetime, Writer};
use crdt::patch::{Piece, Raises};
use crdt::{NodeNumber, Stamp};
use std::sync::Arc;

const DB: Database = Database(0);
const NOW: u64 = crdt::STAMP_EPOCH_MS + 1_000_000;

struct Node {
    keyspace: Arc<Keyspace>,
    writer: Writer,
    drain: Drain,
}

impl Node {
    fn new() -> Self {
        let keyspace = Keyspace::new(1);
        keyspace.set_number(NodeNumber::new(1).unwrap());
        Self { writer: keyspace.writer(), keyspace, drain: Drain::default() }
    }

    fn put(&mut self, value: &[u8]) {
        let mut access = self.writer.access(NOW, &[b"k"]);
        access.begin_command();
        access.put_string(DB, b"k", value, NewLifetime::Set(Lifetime::Never));
    }

    fn patch(&mut self, piece: &Piece<'_>) {
        let mut patch = Vec::new();
        piece.encode(&mut patch);
        let mut access = self.writer.access(NOW, &[b"k"]);
        access.begin_command();
        access.patch_string(DB, b"k", &patch);
    }

    fn text(&mut self) -> Vec<u8> {
        let mut access = self.writer.access(NOW, &[b"k"]);
        access.string(DB, b"k").unwrap().unwrap().into_owned()
    }

    fn memory(&mut self) -> usize {
        self.writer.access(NOW, &[b"k"]).memory_of(DB, b"k", usize::MAX).unwrap()
    }

    /// Bytes of all batches since the last call.
    fn sent(&mut self) -> usize {
        self.drain.take(&self.keyspace).iter().map(|batch| batch.payload.len()).sum()
    }

    fn know_everything(&self) {
        self.keyspace.note_known([(NodeNumber::new(1).unwrap(), Stamp::MAX)].into_iter().collect());
        self.keyspace.fold_patches(&|| false);
    }
}

fn bit(offset: u64) -> Piece<'static> {
    Piece::Bits { offset, count: 1, value: 1 }
}

#[test]
fn a_patch_is_sent_as_what_it_changes() {
    let mut node = Node::new();
    node.put(&vec![0; 1 << 20]);
    assert!(node.sent() > 1 << 20);
    for offset in [0, 7_000_000] {
        node.patch(&bit(offset));
        assert!(node.sent() < 40);
    }
    assert_eq!(node.text().len(), 1 << 20);
    let mut node = Node::new();
    for index in 0..10_000 {
        let mut raises = Vec::new();
        Raises::push(&mut raises, index, 1 + (index % 20) as u8);
        node.patch(&Piece::Raise(Raises::of(&raises).unwrap()));
    }
    assert!(crdt::sketch::form(&node.text()) == Some(crdt::sketch::Form::Dense));
    // With the whole sketches that stand for hundreds of patches.
    let sent = node.sent();
    assert!(sent < 10_000 * 40, "{sent}");
}

#[test]
fn patches_take_bounded_memory_and_nothing_once_everybody_has_them() {
    let mut node = Node::new();
    let mut most = 0;
    for round in 0..20_000u64 {
        node.patch(&bit(round % 256));
        most = most.max(node.memory());
    }
    assert!(node.keyspace.patches_made_whole() > 0);
    assert!(most < 2 * PATCHES_BYTES_MIN, "{most}");
    assert_eq!(node.text(), [0xff; 32]);
    assert_eq!(node.keyspace.patched_strings(), 1);
    node.know_everything();
    assert_eq!(node.keyspace.patched_strings(), 0);
    let left = node.memory();
    assert!(left < 512, "{left}");
    // What everybody has at once is never made whole.
    let made_whole = node.keyspace.patches_made_whole();
    (0..20_000u64).for_each(|round| node.patch(&bit(256 + round % 256)));
    assert_eq!(node.keyspace.patches_made_whole(), made_whole);
    assert_eq!(node.text(), [0xff; 64]);
    node.put(b"short");
    assert!(node.memory() < 128);
    assert_eq!(node.text(), b"short");
}

#[test]
fn a_bit_far_away_costs_neither_a_copy_nor_a_message_of_its_string() {
    let mut node = Node::new();
    node.patch(&bit((1 << 32) - 1));
    node.patch(&bit((1 << 32) - 9));
    assert!(node.sent() < 120);
    let mut access = node.writer.access(NOW, &[b"k"]);
    access.begin_command();
    let text = access.string(DB, b"k").unwrap().unwrap();
    assert_eq!((text.len(), &text[text.len() - 2..]), (1 << 29, &[1, 1][..]));
    drop(text);
    assert!(access.delete(DB, b"k"));
    drop(access);
    assert_eq!(node.keyspace.len(0), 0);
    assert_eq!(node.keyspace.digest_of(crate::slot_of(b"k")).digest, 0);
}

#[test]
fn a_slot_with_many_patched_strings_is_let_go_in_between() {
    let mut node = Node::new();
    let keys: Vec<String> = (0..10).map(|number| format!("{{one}}{number}")).collect();
    for key in &keys {
        let mut patch = Vec::new();
        Piece::Append(b"x").encode(&mut patch);
        let mut access = node.writer.access(NOW, &[key.as_bytes()]);
        access.begin_command();
        access.patch_string(DB, key.as_bytes(), &patch);
    }
    node.keyspace.fold_patches(&|| true);
    assert_eq!(node.keyspace.patched_strings(), 10, "nobody is known to have them");
    node.keyspace.note_known([(NodeNumber::new(1).unwrap(), Stamp::MAX)].into_iter().collect());
    for left in (0..10).rev() {
        node.keyspace.fold_patches(&|| true);
        assert_eq!(node.keyspace.patched_strings(), left);
    }
}

//! A node of a pair, for tests of what one does and the other hears of it.

use crate::{Access, Database, Drain, End, IdRequest, Keyspace, OpenBatch, Writer, slot_of};
use crdt::{Kind, NodeNumber, Score};
use std::ops::Range;
use std::sync::Arc;

pub(crate) const DB: Database = Database(3);
pub(crate) const NOW: u64 = crdt::STAMP_EPOCH_MS + 1_000_000;

/// One of two nodes, with everything it has to tell.
pub(crate) struct Side {
    pub(crate) keyspace: Arc<Keyspace>,
    pub(crate) writer: Writer,
    pub(crate) drain: Drain,
    pub(crate) number: NodeNumber,
}

impl Side {
    pub(crate) fn new(number: u16) -> Self {
        let (keyspace, number) = (Keyspace::new(number.into()), NodeNumber::new(number).unwrap());
        keyspace.set_number(number);
        Self { writer: keyspace.writer(), keyspace, drain: Drain::default(), number }
    }

    /// A command on these keys.
    pub(crate) fn command<T>(&mut self, keys: &[&[u8]], work: impl FnOnce(&mut Access<'_>) -> T) -> T {
        let mut access = self.writer.access(NOW, keys);
        access.begin_command();
        work(&mut access)
    }

    /// Elements of these numbers, each put by a command of its own.
    pub(crate) fn add(&mut self, kind: Kind, key: &[u8], numbers: Range<usize>) {
        self.add_named(kind, key, numbers.map(|number| format!("element {number}").into_bytes()));
    }

    /// Elements of these names, each put by a command of its own.
    pub(crate) fn add_named(&mut self, kind: Kind, key: &[u8], names: impl Iterator<Item = Vec<u8>>) {
        for (number, name) in names.enumerate() {
            self.command(&[key], |access| match kind {
                Kind::Hash => access.put_field(DB, key, &name, b"v").map(drop),
                Kind::Set => access.add_member(DB, key, &name).map(drop),
                Kind::SortedSet => access.put_score(DB, key, &name, Score::new((number % 7) as f64).unwrap()).map(drop),
                Kind::List => access.push(DB, key, End::Tail, [&*name]).map(drop),
                Kind::Stream => {
                    access.append_entry(DB, key, IdRequest::Generated, &[b"f", &name]).map(|id| _ = id.unwrap())
                }
                Kind::String => unreachable!("it has no elements"),
            })
            .unwrap();
        }
    }

    /// What it has written since it was asked last.
    pub(crate) fn batches(&mut self) -> Vec<OpenBatch> {
        self.drain.take(&self.keyspace)
    }

    pub(crate) fn hear(&self, from: &Self, batches: &[OpenBatch]) {
        for batch in batches {
            self.keyspace.apply(from.number, batch.previous, batch.last, &batch.payload, NOW).unwrap();
        }
    }

    /// Lets `other` hear what it has written since it was asked last.
    pub(crate) fn tell(&mut self, other: &Self) -> Vec<OpenBatch> {
        let batches = self.batches();
        other.hear(self, &batches);
        batches
    }

    /// The digest of a key's slot.
    pub(crate) fn digest(&self, key: &[u8]) -> u64 {
        self.keyspace.digest_of(slot_of(key)).digest
    }
}

//! What runs do against the rules, applied to one operation after the other.

use super::run_of;
use crate::arrival::Arrival;
use crate::usage::next_random;
use crate::{Access, Database, Drain, End, IdRequest, Keyspace, Lifetime, OpenBatch, Writer, slot_of};
use crdt::{Changes, NodeNumber, UnixMillis};
use std::sync::Arc;

const DB: Database = Database(0);
const NOW: UnixMillis = crdt::STAMP_EPOCH_MS + 1_000;
const LIST: &[u8] = b"{k}list";
const STREAM: &[u8] = b"{k}stream";

struct Node {
    keyspace: Arc<Keyspace>,
    writer: Writer,
    drain: Drain,
    number: NodeNumber,
}

impl Node {
    fn new(number: u16) -> Self {
        let (keyspace, number) = (Keyspace::new(u64::from(number)), NodeNumber::new(number).unwrap());
        keyspace.set_number(number);
        Self { writer: keyspace.writer(), keyspace, drain: Drain::default(), number }
    }

    fn write(&mut self, now: UnixMillis, work: impl FnOnce(&mut Access<'_>)) {
        let mut access = self.writer.access(now, &[LIST, STREAM]);
        access.begin_command();
        work(&mut access);
    }

    fn hear(&self, origin: NodeNumber, batch: &OpenBatch, now: UnixMillis) {
        self.keyspace.apply(origin, batch.previous, batch.last, &batch.payload, now).unwrap();
    }

    /// Applies a batch by the rules alone.
    fn obey(&self, origin: NodeNumber, batch: &OpenBatch) {
        for change in Changes::new(&batch.payload, origin, batch.previous).map(Result::unwrap) {
            let mut slot = self.keyspace.slot(slot_of(change.key));
            slot.apply(&self.keyspace.shared, &change).unwrap();
        }
        self.keyspace.raise_applied(&[(origin, batch.last)].into_iter().collect());
    }

    fn state(&mut self, now: UnixMillis) -> (u64, Vec<Vec<u8>>, Vec<String>) {
        let mut access = self.writer.access(now, &[LIST, STREAM]);
        let list = access.texts_of(DB, LIST);
        let stream = access.stream(DB, STREAM).unwrap();
        let ids = stream.iter().flat_map(|stream| stream.range(crdt::StreamId::ZERO, crdt::StreamId::MAX));
        let entries = ids.map(|item| format!("{item:?}")).collect();
        drop(access);
        let digest = self.keyspace.slot(slot_of(LIST)).memory.digest;
        (digest, list, entries)
    }
}

/// Some command on the list or the stream, nearly always one that runs are made of.
fn step(access: &mut Access<'_>, now: UnixMillis, word: u64) {
    let (which, value) = (word >> 40, (word >> 20 & 0xff).to_string());
    let text = if word & 1 == 0 { value.into_bytes() } else { vec![b'x'; word as usize >> 8 & 0x7f] };
    let end = if word & 2 == 0 { End::Head } else { End::Tail };
    match which % 64 {
        0..24 => {
            let _ = access.push(DB, LIST, end, [&*text]);
        }
        24..42 => {
            let _ = access.pop(DB, LIST, end, 1, &mut |_| ());
        }
        42..56 => {
            let _ = access.append_entry(DB, STREAM, IdRequest::Generated, &[b"f", &text]);
        }
        56 => {
            let _ = access.push(DB, LIST, end, [&*text, b"2", b"3"]);
        }
        57 => {
            let _ = access.set_element(DB, LIST, which as usize >> 8 & 7, &text);
        }
        58 => {
            let _ = access.set_element(DB, LIST, 0, &text);
        }
        59 => {
            let _ = access.insert_element(DB, LIST, which as usize >> 8 & 7, &text);
        }
        60 => {
            let first = access.stream(DB, STREAM).unwrap().and_then(|stream| Some(stream.first()?.id));
            {
                let _ = access.remove_entries(DB, STREAM, &first.into_iter().collect::<Vec<_>>());
            };
        }
        61 if which >> 8 & 3 == 0 => {
            access.delete(DB, if word & 2 == 0 { LIST } else { STREAM });
        }
        62 if which >> 8 & 3 == 0 => {
            let life = if word & 4 == 0 { Lifetime::Never } else { Lifetime::Until(now + 3) };
            access.set_lifetime(DB, LIST, life);
        }
        _ => {
            let _ = access.pop(DB, LIST, end, 2, &mut |_| ());
        }
    }
}

#[test]
fn runs_say_what_the_rules_say() {
    for seed in 0..20 {
        let [mut in_runs, mut by_rules] = [3, 4].map(Node::new);
        let mut writers = [1, 2].map(Node::new);
        let mut unheard: [Vec<OpenBatch>; 2] = Default::default();
        let (mut word, mut now) = (next_random(seed + 1), NOW);
        let mut draw = || {
            word = next_random(word);
            word.wrapping_mul(0x2545_f491_4f6c_dd1d)
        };
        for _ in 0..60 {
            now += draw() % 3;
            let by = draw() as usize % 2;
            for _ in 0..1 + draw() % 40 {
                let word = draw();
                writers[by].write(now, |access| step(access, now, word));
            }
            let origin = writers[by].number;
            let keyspace = Arc::clone(&writers[by].keyspace);
            for batch in writers[by].drain.take(&keyspace) {
                in_runs.hear(origin, &batch, now);
                by_rules.obey(origin, &batch);
                unheard[1 - by].push(batch);
            }
            assert_eq!(in_runs.state(now), by_rules.state(now), "{seed}");
            if draw() % 3 == 0 {
                for by in [0, 1] {
                    let origin = writers[1 - by].number;
                    unheard[by].drain(..).for_each(|batch| writers[by].hear(origin, &batch, now));
                }
                let expected = in_runs.state(now);
                assert_eq!(writers[0].state(now), expected, "{seed}");
            }
        }
    }
}

#[test]
fn pushes_pops_and_entries_of_one_key_are_runs() {
    let mut writer = Node::new(1);
    writer.write(NOW, |access| {
        let _ = access.push(DB, LIST, End::Tail, [&b"first"[..], b"second"]);
    });
    writer.write(NOW, |access| {
        let _ = access.append_entry(DB, STREAM, IdRequest::Generated, &[b"f", b"v"]);
    });
    let keyspace = Arc::clone(&writer.keyspace);
    writer.drain.take(&keyspace);
    for _ in 0..50 {
        writer.write(NOW, |access| {
            let _ = access.push(DB, LIST, End::Head, [&b"text"[..]]);
        });
        writer.write(NOW, |access| {
            let _ = access.pop(DB, LIST, End::Tail, 1, &mut |_| ());
        });
    }
    for _ in 0..10 {
        writer.write(NOW, |access| {
            let _ = access.append_entry(DB, STREAM, IdRequest::Generated, &[b"f", b"v"]);
        });
    }
    for batch in writer.drain.take(&keyspace) {
        let bounds = (batch.previous, batch.last);
        let arrivals = Arrival::of_batch(&keyspace.shared, writer.number, bounds, &batch.payload, |_| false).unwrap();
        assert_eq!((run_of(&arrivals).len(), run_of(&arrivals[100..]).len()), (100, 10));
    }
}

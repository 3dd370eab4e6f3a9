//! A node writes images of its slots while everything goes on, crashes, and comes back from them and its journal: exactly
//! as it was, however the image was torn between batches.

use crate::generator::{Profile, Step, script};
use crate::random::{Random, check_script, for_seeds};
use crate::replicas::Replica;
use crate::system::{System, slots};
use crdt::{NodeNumber, STAMP_EPOCH_MS, Stamp, VersionVector};
use keyspace::OpenBatch;

const NOW: u64 = STAMP_EPOCH_MS + (1 << 37);

/// A replica with a journal, and the replica that it follows.
struct Kept {
    replicas: [System; 2],
    journal: Vec<(NodeNumber, Stamp, Stamp, OpenBatch)>,
    images: Vec<Vec<u8>>,
    /// Where in the journal the walk began, and what was applied then.
    began: (usize, VersionVector),
    next_slot: usize,
}

impl Kept {
    fn new() -> Self {
        let mut replicas = [System::new(0, NOW), System::new(1, NOW)];
        for (index, replica) in replicas.iter_mut().enumerate() {
            replica.take_number(NodeNumber::new(index as u16 + 1).unwrap(), Stamp::ZERO);
        }
        Self { replicas, journal: Vec::new(), images: Vec::new(), began: (0, VersionVector::new()), next_slot: 0 }
    }

    /// Closes what was written at `at`; the first replica keeps it, and the other one has it soon.
    fn pass(&mut self, at: usize) {
        let Some((last, batch)) = self.replicas[at].close() else { return };
        let previous = batch.previous;
        if at == 1 {
            self.replicas[0].apply(last.author(), previous, last, &batch);
        } else {
            self.replicas[1].apply(last.author(), previous, last, &batch);
        }
        self.journal.push((last.author(), previous, last, batch));
    }

    /// Reads the image of the next slot; the walk begins before the first one.
    fn walk(&mut self) {
        if self.next_slot == slots().len() {
            return;
        }
        if self.next_slot == 0 {
            self.pass(0);
            self.began = (self.journal.len(), self.vector());
        }
        let (block, done) = self.replicas[0].keyspace.read_image(&slots()[self.next_slot..=self.next_slot], usize::MAX);
        assert_eq!(done, 1);
        self.images.push(block);
        self.next_slot += 1;
    }

    /// What is applied in closed batches, own ones too.
    fn vector(&self) -> VersionVector {
        self.journal.iter().map(|(origin, _, last, _)| (*origin, *last)).collect()
    }

    /// The node as it comes back.
    fn recovered(&self) -> System {
        let mut back = System::new(7, self.replicas[0].now);
        for block in self.images.iter().filter(|block| !block.is_empty()) {
            back.keyspace.load_image(block, back.now).unwrap();
        }
        back.keyspace.raise_applied(&self.began.1);
        for (origin, previous, last, batch) in &self.journal[self.began.0..] {
            back.apply(*origin, *previous, *last, batch);
        }
        back
    }
}

impl Kept {
    /// The same, read part by part beside the keyspace. Parts are of several slots, and each takes the whole journal.
    fn recovered_in_parts(&self) -> System {
        let back = System::new(7, self.replicas[0].now);
        back.keyspace.raise_applied(&self.vector());
        let unchanged = back.keyspace.clock();
        let parts = [0, 1].map(|odd| slots().iter().copied().filter(|slot| slot % 2 == odd).collect::<Vec<u16>>());
        for slots_of_part in parts {
            let part = back.keyspace.part(&slots_of_part);
            for block in self.images.iter().filter(|block| !block.is_empty()) {
                part.load_image(block, back.now).unwrap();
            }
            let as_read = part.clock();
            part.raise_applied(&self.began.1);
            for (origin, previous, last, batch) in &self.journal[self.began.0..] {
                part.apply(*origin, *previous, *last, &batch.payload, back.now).unwrap();
            }
            part.prune();
            back.keyspace.adopt(&part, as_read, unchanged);
        }
        back
    }
}

fn play(script: &[Step]) -> Option<String> {
    let mut kept = Kept::new();
    for (index, step) in script.iter().enumerate() {
        match step {
            Step::Commands { at, writer, commands } => drop(kept.replicas[*at].run(*writer, commands)),
            Step::Tick { at, ms } => kept.replicas[*at].now += ms,
            Step::Sweep { at, .. } => {
                kept.replicas[*at].now += 1000;
                kept.replicas[*at].sweep(None, 20_000);
            }
            Step::Restart { .. } | Step::Renumber { .. } => {}
            Step::Traffic(_) => kept.pass(index % 2),
        }
        if index % 5 == 4 {
            kept.walk();
        }
    }
    while kept.next_slot < slots().len() {
        kept.walk();
    }
    // A checkpoint counts when the journal has everything that may be in an image.
    kept.pass(0);
    let (back, in_parts) = (kept.recovered(), kept.recovered_in_parts());
    back.keyspace.prune();
    differs(&kept, &back).or_else(|| differs(&kept, &in_parts).map(|text| format!("in parts: {text}")))
}

fn differs(kept: &Kept, back: &System) -> Option<String> {
    let (one, two) = (kept.replicas[0].digests(), back.digests());
    if one != two {
        return Some(format!("the digests were {one:x?} and are {two:x?}"));
    }
    if back.len(0) != kept.replicas[0].len(0) {
        return Some(format!("there were {} keys and are {}", kept.replicas[0].len(0), back.len(0)));
    }
    let ends = |system: &System| (0..16).map(|database| system.keyspace.keys_with_end(database)).collect::<Vec<u64>>();
    if ends(back) != ends(&kept.replicas[0]) {
        return Some(format!("there were {:?} keys with an end and are {:?}", ends(&kept.replicas[0]), ends(back)));
    }
    let (early, ahead) = back.keyspace.early();
    ((early, ahead) != (0, 0)).then(|| format!("{early} early dots and {ahead} slots ahead are left"))
}

fn check(name: &str, seeds: u64, profile: &Profile) {
    for_seeds(name, seeds, |seed| {
        let mut random = Random::new(seed);
        let profile = Profile { replicas: 2, transfers: false, restarts: 0, renumberings: 0, ..*profile };
        let steps = random.between(5, 150);
        let steps = script(&mut random, &profile, steps);
        check_script(steps, play);
    });
}

#[test]
fn images_and_journal_bring_back_exactly_what_was_there() {
    check("images_and_journal", 60, &Profile::ALL);
}

#[test]
fn counters_come_back_exactly() {
    check("counters_come_back", 40, &Profile::COUNTERS);
}

#[test]
fn hashes_come_back_exactly() {
    check("hashes_come_back", 40, &Profile { deletes: 8, ..Profile::HASHES });
}

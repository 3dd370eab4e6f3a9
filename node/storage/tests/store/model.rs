//! A node as small as it can be, which knows what it has written and what it was promised.
//!
//! Its state is, for each group, the numbers of the records that concern it; an image is that list. Whatever a disk does,
//! what comes back must be a prefix of what was written, must contain what was promised to be durable, and must be told
//! from what it is not.

use bytes::Bytes;
use crdt::{NodeNumber, Stamp, VersionVector};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use storage::{
    CheckpointStart, CheckpointWriter, Command, Disk, DiskWorker, FlushPolicy, FoundStore, Fs, ImageForm,
    JournalReader, JournalSettings, Life, Manifest, Problem, Record, RecordView, SimulatedFs, StoreError, StoreOwner,
};

pub const OWNER: StoreOwner = StoreOwner { cluster: [1; 16], identity: [2; 32] };
pub const SETTINGS: JournalSettings = JournalSettings { segment_bytes: 700, retain_bytes: 2_000, retain_ms: 1 << 40 };
const GROUPS: u16 = 5;

/// Chance that repeats with its seed.
pub struct Chance(pub u64);

/// Of this seed everything is nothing.
pub const NEVER: u64 = u64::MAX;

impl Chance {
    pub fn below(&mut self, end: u64) -> u64 {
        if self.0 == NEVER {
            return 0;
        }
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }
}

pub fn origin(value: u16) -> NodeNumber {
    NodeNumber::new(value).unwrap()
}

pub fn stamp(number: u64, of: u16) -> Stamp {
    Stamp::from_bits(number << 10 | u64::from(of))
}

/// The payload of a record: it can be told from that of every other one.
pub fn payload(number: u64) -> Vec<u8> {
    let mut chance = Chance(number ^ 0x5eed);
    let mut bytes = number.to_le_bytes().to_vec();
    let length = chance.below(120);
    bytes.extend((0..length).map(|_| chance.below(256) as u8));
    bytes
}

/// The record of this number: batches of two origins, now and then something else.
pub fn record(number: u64) -> Record {
    let of = (number % 2) as u16;
    match number % 9 {
        7 => Record::Slots(payload(number).into()),
        8 => Record::Raised([(origin(3), stamp(number + 1, 3))].into_iter().collect()),
        _ => {
            let last = stamp(number + 1, of);
            let before = (0..number).rev().find(|n| n % 9 < 7 && n % 2 == number % 2);
            let previous = before.map_or(Stamp::ZERO, |n| stamp(n + 1, of));
            Record::Batch { previous, last, bytes: Bytes::from(payload(number)) }
        }
    }
}

/// What was read must be what was written under that number.
pub fn assert_same(number: u64, view: &RecordView<'_>) {
    let same = match (record(number), view) {
        (Record::Batch { previous, last, bytes }, RecordView::Batch { previous: p, last: l, bytes: b }) => {
            previous == *p && last == *l && bytes == *b
        }
        (Record::Slots(bytes), RecordView::Slots(b)) => bytes == *b,
        (Record::Raised(vector), RecordView::Raised(v)) => vector == *v,
        _ => false,
    };
    assert!(same, "record {number} came back as {view:?}");
}

pub fn group_of(number: u64) -> u16 {
    (number % u64::from(GROUPS)) as u16
}

/// One life of the small node.
pub struct SmallNode {
    fs: Arc<dyn Fs>,
    pub disk: Disk,
    pub reader: JournalReader,
    pub manifest: Option<Manifest>,
    pub state: BTreeMap<u16, BTreeSet<u64>>,
    pub now_ms: u64,
    changed: BTreeSet<u16>,
}

/// What came back.
#[derive(Debug)]
pub struct Back {
    pub state: BTreeMap<u16, BTreeSet<u64>>,
    pub next: u64,
    pub problems: Vec<Problem>,
    pub sound: Option<Life>,
}

impl Back {
    /// Every number in it.
    pub fn all(&self) -> BTreeSet<u64> {
        self.state.values().flatten().copied().collect()
    }
}

/// Opens the store and reads everything that is there.
pub fn recover(fs: &SimulatedFs) -> Result<(FoundStore, Back), StoreError> {
    recover_on(Arc::new(fs.clone()))
}

fn recover_on(fs: Arc<dyn Fs>) -> Result<(FoundStore, Back), StoreError> {
    let mut found = FoundStore::open(fs, OWNER)?;
    let mut state: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
    for (group, facts) in found.images() {
        let problem = found.read_image(group, facts, &mut |block| {
            let numbers = block.chunks(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()));
            state.entry(group).or_default().extend(numbers);
        })?;
        problem.into_iter().for_each(|problem| found.note(problem));
    }
    let replayed = found.replay(&mut |number, view| {
        assert_same(number, &view);
        state.entry(group_of(number)).or_default().insert(number);
        Ok(())
    })?;
    let back = Back { state, next: replayed.next, problems: found.problems().to_vec(), sound: found.sound_life() };
    Ok((found, back))
}

impl SmallNode {
    /// Starts a life: recovers, and begins to write.
    pub fn start(fs: &SimulatedFs, nonce: u64, policy: FlushPolicy) -> Result<(Self, Back), StoreError> {
        Self::start_on(Arc::new(fs.clone()), nonce, policy)
    }

    /// The same, in any directory.
    pub fn start_on(fs: Arc<dyn Fs>, nonce: u64, policy: FlushPolicy) -> Result<(Self, Back), StoreError> {
        Self::start_with(fs, nonce, policy, || 0)
    }

    /// The same, where flushes take some milliseconds.
    pub fn start_with(
        fs: Arc<dyn Fs>,
        nonce: u64,
        policy: FlushPolicy,
        flush_ms: fn() -> u64,
    ) -> Result<(Self, Back), StoreError> {
        let (found, back) = recover_on(Arc::clone(&fs))?;
        let mut store = found.begin(Life { generation: nonce, nonce }, SETTINGS, back.next)?;
        store.mark_sound();
        let mut worker = DiskWorker::new(Arc::clone(&store.fs), store.life, store.journal, policy);
        if let Some(fault) = &store.fault {
            worker.note_fault(fault, 1_000);
        }
        let node = Self {
            fs,
            disk: Disk::in_place(worker, flush_ms),
            reader: store.reader,
            manifest: store.manifest,
            state: back.state.clone(),
            now_ms: 1_000,
            changed: (0..GROUPS).collect(),
        };
        Ok((node, back))
    }

    /// Writes the next record, and tells its number.
    pub fn write(&mut self) -> u64 {
        let number = self.disk.position();
        self.disk.append(record(number));
        self.state.entry(group_of(number)).or_default().insert(number);
        self.changed.insert(group_of(number));
        number
    }

    /// Time goes on.
    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.disk.poll(self.now_ms);
    }

    /// Takes a checkpoint, with writes going on in the meantime. False if it does not count.
    pub fn checkpoint(&mut self, chance: &mut Chance) -> Result<bool, StoreError> {
        self.disk.poll(self.now_ms);
        let start = CheckpointStart { position: self.disk.position(), vector: VersionVector::new() };
        let changed = std::mem::take(&mut self.changed);
        let fs = Arc::clone(&self.fs);
        let mut writer = CheckpointWriter::begin(fs, OWNER, self.manifest.as_ref(), start.clone())
            .read_back_from(self.reader.from());
        let taken = self.walk(&mut writer, &changed, chance);
        if taken.is_err() {
            self.changed.extend(changed);
            return taken.map(|()| false);
        }
        let end = self.disk.position();
        self.disk.command(Command::Flush);
        self.disk.poll(self.now_ms);
        let durable = self.disk.progress().durable();
        if durable.from > start.position || durable.to < end {
            self.changed.extend(changed);
            return Ok(false);
        }
        let manifest = match writer.commit(VersionVector::new(), Vec::new(), 0, self.now_ms) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.changed.extend(changed);
                return Err(error);
            }
        };
        self.disk.command(Command::Cover(manifest.position));
        self.manifest = Some(manifest);
        self.disk.poll(self.now_ms);
        Ok(true)
    }

    fn walk(
        &mut self,
        writer: &mut CheckpointWriter,
        changed: &BTreeSet<u16>,
        chance: &mut Chance,
    ) -> Result<(), StoreError> {
        for group in 0..GROUPS {
            for _ in 0..chance.below(3) {
                self.write();
                self.disk.poll(self.now_ms);
            }
            if !changed.contains(&group) {
                writer.keep(group);
                continue;
            }
            let mut image = writer.image(group, ImageForm::Plain)?;
            let numbers: Vec<u64> = self.state.get(&group).into_iter().flatten().copied().collect();
            for part in numbers.chunks(3) {
                image.write(&part.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())?;
            }
            writer.finish(image)?;
        }
        Ok(())
    }
}

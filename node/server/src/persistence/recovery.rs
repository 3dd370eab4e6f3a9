//! Reading back what a node had: images by several threads, then the journal in its order.
//!
//! What comes out is a cut: everything up to a vector, and nothing that the vector does not say, except where slots know
//! of themselves that they have seen more. Where something is missing, the vector says less, and peers bring the rest.

use super::journal_settings;
use super::walk::group_of;
use crate::config::Config;
use crate::durability::{Durability, LoadingState};
use bytes::Bytes;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
use keyspace::Keyspace;
use parking_lot::Mutex;
use protocol::{Batch, BatchTail};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use storage::{FoundStore, ImageFacts, ImageFault, Life, Manifest, Problem, RecordView, Store, StoreError};

/// What a start has read.
pub(crate) struct Recovered {
    /// What is applied.
    pub vector: VersionVector,
    /// The last batch of each origin, where it is known.
    pub tails: BTreeMap<NodeNumber, BatchTail>,
    /// The latest batches, for the ring.
    pub recent: VecDeque<Arc<Batch>>,
    /// Nothing that was kept is missing.
    pub is_whole: bool,
    /// What is not as it was left.
    pub problems: Vec<Problem>,
    /// Bytes of journal that were replayed.
    pub replayed_bytes: u64,
    /// Since when the keyspace differs from its images; nothing if they cannot be relied on.
    pub unchanged_since: Option<Stamp>,
    /// To go on with.
    pub store: Store,
}

/// What recovery works with.
pub(crate) struct Recovery<'a> {
    pub keyspace: &'a Keyspace,
    pub durability: &'a Durability,
    pub config: &'a Config,
    /// Threads that load images; none to use this one alone.
    pub threads: Option<usize>,
    pub now: UnixMillis,
    /// Called now and then, so that nobody takes the node for dead.
    pub beat: &'a (dyn Fn() + Sync),
}

/// Reads a store into an empty keyspace that has no number yet, and begins to write.
pub(crate) fn recover(mut found: FoundStore, life: Life, with: &Recovery<'_>) -> Result<Recovered, StoreError> {
    let images = found.images();
    let bytes = images.iter().map(|(_, facts)| facts.bytes).sum();
    with.durability.change_state(|state| {
        state.loading = Some(LoadingState { since_ms: with.now, bytes, bytes_done: 0 });
    });
    let (lost, loaded_bytes) = load_images(&found, &images, with)?;
    let images_lost = !lost.is_empty() || found.problems().contains(&Problem::Manifest);
    let lost_groups: BTreeSet<u16> = lost.iter().map(|(group, _)| *group).collect();
    lost.into_iter().for_each(|(_, problem)| found.note(problem));
    let manifest = found.manifest().cloned();
    let unchanged_since = (!images_lost && manifest.is_some()).then(|| with.keyspace.clock());
    let mut replay = Replay::new(with, manifest.as_ref());
    let replayed = found.replay(&mut |sequence, record| replay.take(sequence, record))?;
    if images_lost {
        // SUBTLE: the journal is replayed all the same: it may hold what this node wrote and nobody else has. That stays in
        // the slots that are whole, which know how far they have seen, and others get it when the number is sealed.
        with.keyspace.forget_applied(&|slot| lost_groups.contains(&group_of(slot)));
        replay.vector = VersionVector::new();
        replay.tails.clear();
        replay.recent.clear();
    }
    with.keyspace.prune();
    tracing::info!(
        images = images.len(),
        image_bytes = loaded_bytes,
        records = replay.records,
        skipped = replay.skipped,
        "the store was read"
    );
    let problems = found.problems().to_vec();
    let is_whole = replay.skipped == 0 && !images_lost && !problems.iter().any(Problem::is_damage);
    let Replay { vector, tails, recent, bytes: replayed_bytes, .. } = replay;
    let store = found.begin(life, journal_settings(with.config), replayed.next)?;
    with.durability.change_state(|state| state.loading = None);
    Ok(Recovered { vector, tails, recent, is_whole, problems, replayed_bytes, unchanged_since, store })
}

/// Loads the images, by several threads if there are any. Says what could not be loaded, and how many bytes were.
fn load_images(
    found: &FoundStore,
    images: &[(u16, ImageFacts)],
    with: &Recovery<'_>,
) -> Result<(Vec<(u16, Problem)>, u64), StoreError> {
    let (next, loaded) = (AtomicUsize::new(0), AtomicU64::new(0));
    let outcome: Mutex<Result<Vec<(u16, Problem)>, StoreError>> = Mutex::new(Ok(Vec::new()));
    let work = || {
        while let Some(&(group, facts)) = images.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = load_image(found, group, facts, with);
            loaded.fetch_add(facts.bytes, Ordering::Relaxed);
            with.durability.change_state(|state| {
                state.loading.iter_mut().for_each(|loading| loading.bytes_done += facts.bytes);
            });
            (with.beat)();
            let mut outcome = outcome.lock();
            match (result, &mut *outcome) {
                (Ok(None), _) | (_, Err(_)) => {}
                (Ok(Some(problem)), Ok(problems)) => problems.push((group, problem)),
                (Err(error), _) => *outcome = Err(error),
            }
        }
    };
    match with.threads {
        None | Some(0 | 1) => work(),
        Some(threads) => std::thread::scope(|scope| {
            (0..threads).for_each(|_| drop(scope.spawn(work)));
        }),
    }
    Ok((outcome.into_inner()?, loaded.into_inner()))
}

fn load_image(
    found: &FoundStore,
    group: u16,
    facts: ImageFacts,
    with: &Recovery<'_>,
) -> Result<Option<Problem>, StoreError> {
    let mut unreadable = false;
    let problem = found.read_image(group, facts, &mut |block| {
        unreadable |= with.keyspace.load_image(block, with.now).is_err();
    })?;
    // Its checksums were right, so another version wrote it, or a defect.
    let contents =
        || Problem::Image { name: storage::image_name(facts.checkpoint, group), fault: ImageFault::Contents };
    Ok(problem.or_else(|| unreadable.then(contents)))
}

/// The journal, as it is replayed.
struct Replay<'a> {
    with: &'a Recovery<'a>,
    vector: VersionVector,
    tails: BTreeMap<NodeNumber, BatchTail>,
    recent: VecDeque<Arc<Batch>>,
    recent_bytes: usize,
    recent_bytes_max: usize,
    /// The record that should come next.
    expected: u64,
    /// Records are missing before here: what builds on them is not believed.
    has_hole: bool,
    stuck: BTreeSet<NodeNumber>,
    records: u64,
    skipped: u64,
    bytes: u64,
}

impl<'a> Replay<'a> {
    fn new(with: &'a Recovery<'a>, manifest: Option<&Manifest>) -> Self {
        let vector = manifest.map(|manifest| manifest.vector.clone()).unwrap_or_default();
        with.keyspace.raise_applied(&vector);
        Self {
            with,
            tails: manifest.map(|manifest| decode_tails(&manifest.notes)).unwrap_or_default(),
            vector,
            recent: VecDeque::new(),
            recent_bytes: 0,
            recent_bytes_max: usize::try_from(with.config.ring_bytes).unwrap_or(usize::MAX),
            expected: manifest.map_or(0, |manifest| manifest.position),
            has_hole: false,
            stuck: BTreeSet::new(),
            records: 0,
            skipped: 0,
            bytes: 0,
        }
    }

    fn take(&mut self, sequence: u64, record: RecordView<'_>) {
        self.has_hole |= sequence != self.expected;
        self.expected = sequence + 1;
        self.records += 1;
        if self.records.is_multiple_of(BEAT_RECORDS) {
            (self.with.beat)();
        }
        let done = match record {
            RecordView::Batch { bytes, .. } => {
                self.bytes += bytes.len() as u64;
                self.batch(bytes)
            }
            RecordView::Slots(bytes) => {
                self.bytes += bytes.len() as u64;
                self.slots(bytes)
            }
            // With a piece of its session missing, it would promise what is not here.
            RecordView::Raised(_) if self.has_hole => Err("a part of its state session is missing".to_owned()),
            RecordView::Raised(vector) => {
                self.with.keyspace.raise_applied(&vector);
                vector.iter().filter(|&(origin, stamp)| stamp > self.vector.of(origin)).for_each(|(origin, _)| {
                    self.tails.remove(&origin);
                });
                self.vector.join(&vector);
                Ok(())
            }
        };
        if let Err(error) = done {
            self.skipped += 1;
            tracing::warn!(record = sequence, error, "a record of the journal could not be replayed");
        }
    }

    fn batch(&mut self, bytes: &[u8]) -> Result<(), String> {
        let batch = Batch::decode(Bytes::copy_from_slice(bytes)).map_err(|error| error.to_string())?;
        let origin = batch.origin;
        if batch.last <= self.vector.of(origin) {
            return Ok(());
        }
        if self.stuck.contains(&origin) || batch.previous.last > self.vector.of(origin) {
            self.stuck.insert(origin);
            return Err(format!("what node {origin} wrote before it is missing"));
        }
        let depends = |(node, stamp): (NodeNumber, Stamp)| node != origin && stamp > self.vector.of(node);
        if self.has_hole && batch.dependencies.iter().any(depends) {
            self.stuck.insert(origin);
            return Err(format!("node {origin} had seen what is missing here"));
        }
        let raw = batch.open().map_err(|error| error.to_string())?;
        let applied = self.with.keyspace.apply(origin, batch.previous.last, batch.last, &raw, self.with.now);
        if let Err(error) = applied {
            self.stuck.insert(origin);
            return Err(error.to_string());
        }
        self.vector.raise(origin, batch.last);
        self.tails.insert(origin, batch.tail());
        self.recent_bytes += bytes.len();
        self.recent.push_back(batch);
        while self.recent_bytes > self.recent_bytes_max {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.bytes().len();
        }
        Ok(())
    }

    fn slots(&mut self, payload: &[u8]) -> Result<(), String> {
        let raw = crate::peers::unpacked(payload)?;
        self.with.keyspace.merge_slots(&raw, self.with.now).map(drop).map_err(|error| error.to_string())
    }
}

/// Records between two signs of life.
const BEAT_RECORDS: u64 = 4_096;

/// The tails of all origins, for a manifest's notes.
pub(crate) fn encode_tails(tails: &BTreeMap<NodeNumber, BatchTail>) -> Vec<u8> {
    let words = tails.values().flat_map(|tail| [tail.last.bits(), tail.checksum]);
    words.flat_map(u64::to_le_bytes).collect()
}

fn decode_tails(notes: &[u8]) -> BTreeMap<NodeNumber, BatchTail> {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let pairs = notes.chunks_exact(16).map(|pair| (Stamp::from_bits(word(&pair[..8])), word(&pair[8..])));
    pairs.map(|(last, checksum)| (last.author(), BatchTail { last, checksum })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_come_back_from_notes() {
        let node = NodeNumber::new(7).unwrap();
        let tail = BatchTail { last: Stamp::at(crdt::STAMP_EPOCH_MS + 5, node), checksum: u64::MAX - 3 };
        let tails: BTreeMap<_, _> = [(node, tail)].into_iter().collect();
        assert_eq!(decode_tails(&encode_tails(&tails)), tails);
        assert!(decode_tails(&[1, 2, 3]).is_empty());
    }
}

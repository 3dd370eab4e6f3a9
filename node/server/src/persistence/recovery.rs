//! Reading back what a node had: first the journal, for what it says of the whole; then images, some groups of slots at a
//! time, each with its part of the journal.
//!
//! What comes out is a cut: everything up to a vector, and nothing that the vector does not say, except where slots know
//! of themselves that they have seen more. Where something is missing, the vector says less, and peers bring the rest.

use super::journal_settings;
use super::reading::Loader;
use crate::config::Config;
use crate::durability::{Durability, LoadingState};
use bytes::Bytes;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
use keyspace::Keyspace;
use protocol::{Batch, BatchTail};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use storage::{FoundStore, Life, Manifest, Problem, RecordView, Store, StoreError};

/// What a start knows of its store before it has read any key.
pub(crate) struct Scanned {
    /// What is applied once everything is loaded.
    pub vector: VersionVector,
    /// The last batch of each origin, where it is known.
    pub tails: BTreeMap<NodeNumber, BatchTail>,
    /// The latest batches, for the ring.
    pub recent: VecDeque<Arc<Batch>>,
    /// Nothing that was kept is missing, as far as that can be told without the images.
    pub is_whole: bool,
    /// What is not as it was left.
    pub problems: Vec<Problem>,
    /// Bytes of journal that are replayed.
    pub replayed_bytes: u64,
    /// Groups whose images are as the keyspace is have not changed after that.
    pub unchanged: Stamp,
    /// What loads the keys.
    pub loader: Loader,
    /// To go on with.
    pub store: Store,
}

/// What recovery works with.
pub(crate) struct Recovery<'a> {
    pub keyspace: &'a Arc<Keyspace>,
    pub durability: &'a Durability,
    pub config: &'a Config,
    /// Threads that load images; none to use this one alone.
    pub threads: Option<usize>,
    pub now: UnixMillis,
    /// Called at the beginning, and now and then, so that nobody takes the node for dead. Its error ends the start.
    pub beat: &'a (dyn Fn() -> Result<(), StoreError> + Sync),
}

/// Looks through a store for an empty keyspace that has no number yet, and begins to write. The keys are still to be
/// loaded; the keyspace's vector says already what it will be then.
pub(crate) fn scan(mut found: FoundStore, life: Life, with: &Recovery<'_>) -> Result<Scanned, StoreError> {
    let images = found.images();
    let manifest = found.manifest().cloned();
    let mut replay = Replay::new(manifest.as_ref(), None, with.now);
    replay.recent_bytes_max = usize::try_from(with.config.ring_bytes).unwrap_or(usize::MAX);
    (with.beat)()?;
    let replayed = found.replay(&mut |sequence, record| {
        replay.take(sequence, record);
        if replay.records.is_multiple_of(BEAT_RECORDS) { (with.beat)() } else { Ok(()) }
    })?;
    let Replay { vector, tails, recent, records, skipped, bytes: replayed_bytes, .. } = replay;
    tracing::info!(images = images.len(), records, skipped, bytes = replayed_bytes, "the journal was looked through");
    let problems = found.problems().to_vec();
    let is_whole = skipped == 0 && !problems.iter().any(Problem::is_damage);
    with.keyspace.raise_applied(&vector);
    let unchanged = with.keyspace.clock();
    let bytes = replayed_bytes + images.iter().map(|(_, facts)| facts.bytes).sum::<u64>();
    with.durability.change_state(|state| {
        state.loading = Some(LoadingState { since_ms: with.now, bytes, bytes_done: replayed_bytes });
    });
    let loader = Loader::new(super::reading::Source {
        contents: found.contents(replayed.clone()),
        images: images.into_iter().collect(),
        manifest,
        keyspace: Arc::clone(with.keyspace),
        threads: with.threads,
        journal_bytes: replayed_bytes,
        has_lost_manifest: problems.contains(&Problem::Manifest),
        unchanged,
    });
    let store = found.begin(life, journal_settings(with.config), replayed.next)?;
    Ok(Scanned { vector, tails, recent, is_whole, problems, replayed_bytes, unchanged, loader, store })
}

/// The journal, as it is replayed.
pub(super) struct Replay<'a> {
    /// What it is applied to; nothing if it is only looked through.
    target: Option<&'a Keyspace>,
    now: UnixMillis,
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
    /// Records that were believed, and that the target could not take.
    pub(super) refused: u64,
    bytes: u64,
}

impl<'a> Replay<'a> {
    /// From a checkpoint on, whose images the target has already.
    pub(super) fn new(manifest: Option<&Manifest>, target: Option<&'a Keyspace>, now: UnixMillis) -> Self {
        let vector = manifest.map(|manifest| manifest.vector.clone()).unwrap_or_default();
        target.into_iter().for_each(|target| target.raise_applied(&vector));
        Self {
            target,
            now,
            tails: manifest.map(|manifest| decode_tails(&manifest.notes)).unwrap_or_default(),
            vector,
            recent: VecDeque::new(),
            recent_bytes: 0,
            recent_bytes_max: 0,
            expected: manifest.map_or(0, |manifest| manifest.position),
            has_hole: false,
            stuck: BTreeSet::new(),
            records: 0,
            skipped: 0,
            refused: 0,
            bytes: 0,
        }
    }

    /// Takes the next record. What is believed of it depends on the records alone, so that every part of the keyspace
    /// comes to the same end.
    pub(super) fn take(&mut self, sequence: u64, record: RecordView<'_>) {
        self.has_hole |= sequence != self.expected;
        self.expected = sequence + 1;
        self.records += 1;
        let done = match record {
            RecordView::Batch { bytes, .. } => {
                self.bytes += bytes.len() as u64;
                self.batch(bytes)
            }
            RecordView::Slots(bytes) => {
                self.bytes += bytes.len() as u64;
                self.slots(bytes);
                Ok(())
            }
            // With a piece of its session missing, it would promise what is not here.
            RecordView::Raised(_) if self.has_hole => Err("a part of its state session is missing".to_owned()),
            RecordView::Raised(vector) => {
                self.target.into_iter().for_each(|target| target.raise_applied(&vector));
                vector.iter().filter(|&(origin, stamp)| stamp > self.vector.of(origin)).for_each(|(origin, _)| {
                    self.tails.remove(&origin);
                });
                self.vector.join(&vector);
                Ok(())
            }
        };
        if let Err(error) = done {
            self.skipped += 1;
            if self.target.is_none() {
                tracing::warn!(record = sequence, error, "a record of the journal could not be replayed");
            }
        }
    }

    fn batch(&mut self, bytes: &[u8]) -> Result<(), String> {
        let batch = Batch::decode_kept(Bytes::copy_from_slice(bytes)).map_err(|error| error.to_string())?;
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
        if let Some(target) = self.target {
            let applied = batch.open().map_err(|error| error.to_string()).and_then(|raw| {
                let applied = target.apply(origin, batch.previous.last, batch.last, &raw, self.now);
                applied.map_err(|error| error.to_string())
            });
            self.note(applied.map(drop));
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

    fn slots(&mut self, payload: &[u8]) {
        let Some(target) = self.target else { return };
        let merged = crate::peers::merge_kept(target, payload, self.now);
        self.note(merged.map_err(|error| error.to_string()));
    }

    /// What has the right checksum and cannot be read was written by another version, or by a defect.
    fn note(&mut self, applied: Result<(), String>) {
        if let Err(error) = applied {
            self.refused += 1;
            tracing::error!(record = self.expected - 1, error, "a record of the journal makes no sense");
        }
    }
}

/// Records between two signs of life.
pub(super) const BEAT_RECORDS: u64 = 4_096;

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

//! Loading keys while the node serves those that are there already: round by round, some groups of slots with their images
//! and with what the journal has of them.
//!
//! Each round reads the journal anew, which costs no memory. So many groups make a round that reading the journal takes
//! no longer than reading their images, and what clients have asked for comes first. The first rounds, and those in which
//! something was asked for, are small nevertheless: behind a large journal nobody would be served before everything is
//! there.

use super::group_of;
use super::recovery::{BEAT_RECORDS, Replay};
use super::walk::slots_of;
use crate::node::Node;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
use keyspace::Keyspace;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use storage::limits::GROUPS;
use storage::{Contents, ImageFacts, ImageFault, Manifest, Problem, StoreError, image_name};

/// The fewest groups of a round: the first keys are there after so many.
const ROUND_GROUPS_MIN: usize = 8;
/// Rounds that may be small although reading the journal takes longer than reading their images. Each puts the end off by
/// one reading of it: a second or two where it has grown to some gigabytes.
const SMALL_ROUNDS_MAX: usize = 8;
/// The groups of a round where everything is done in place, in small steps.
const ROUND_GROUPS_IN_PLACE: usize = 32;

/// Hears of bytes that were read, and now and then of none. Its error ends the reading.
type Note<'a> = dyn Fn(u64) -> Result<(), StoreError> + Sync + 'a;

/// What is to be loaded.
pub(crate) struct Source {
    pub contents: Contents,
    pub images: BTreeMap<u16, ImageFacts>,
    pub manifest: Option<Manifest>,
    /// Where to.
    pub keyspace: Arc<Keyspace>,
    /// Threads that load images; none to use this one alone.
    pub threads: Option<usize>,
    /// Bytes of the journal behind the checkpoint.
    pub journal_bytes: u64,
    /// Nobody knows any more which images there were.
    pub has_lost_manifest: bool,
    /// What groups are told that are as their images: they have not changed after that.
    pub unchanged: Stamp,
}

/// Loads keys, round by round.
pub(crate) struct Loader {
    source: Source,
    /// The node's number, and a vector that covers everything: resets of its own counters need not be remembered.
    number: Option<(NodeNumber, VersionVector)>,
    left: BTreeSet<u16>,
    /// Those of them that were asked for.
    wanted: BTreeSet<u16>,
    /// Rounds that were smaller than the journal is worth.
    small_rounds: usize,
    loaded: Loaded,
}

/// What loading came to.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Images that could not be used, by their groups. What their slots hold is what the journal had.
    pub lost: BTreeMap<u16, Problem>,
    /// Nobody knows any more which images there were.
    pub has_lost_manifest: bool,
    /// Something of the journal could not be applied, or not be read again: nothing can be said of any slot.
    pub has_refused: bool,
}

impl Loaded {
    /// Whether the keyspace has less than the journal's vector says.
    pub(crate) fn has_less(&self) -> bool {
        self.has_lost_manifest || self.has_refused || !self.lost.is_empty()
    }

    /// The vector begins anew: slots that are whole know of themselves what they have seen, and peers bring the rest.
    ///
    /// SUBTLE: what was replayed stays. It may be what this node wrote and nobody else has, and others get it when the
    /// number is sealed.
    pub(crate) fn forget_applied(&self, keyspace: &Keyspace) {
        keyspace.forget_applied(&|slot| self.has_refused || self.lost.contains_key(&group_of(slot)));
    }
}

impl Loader {
    pub(crate) fn new(source: Source) -> Self {
        let loaded = Loaded { has_lost_manifest: source.has_lost_manifest, ..Loaded::default() };
        Self { source, number: None, left: (0..GROUPS).collect(), wanted: BTreeSet::new(), small_rounds: 0, loaded }
    }

    /// The number that the node goes on under. `everything` covers whatever any node may have written.
    pub(crate) fn set_number(&mut self, number: NodeNumber, everything: VersionVector) {
        self.number = Some((number, everything));
    }

    /// Loads everything there is, before anybody is served.
    pub(crate) fn load_all(mut self, now: UnixMillis, note: &Note<'_>) -> Result<Loaded, StoreError> {
        let all = std::mem::take(&mut self.left).into_iter().collect::<Vec<u16>>();
        self.load(&all, now, note)?;
        Ok(self.loaded)
    }

    /// Loads some groups and says which, those that are `wanted`, or were before, first; none when everything is there.
    fn round(&mut self, wanted: &BTreeSet<u16>, now: UnixMillis, note: &Note<'_>) -> Result<Vec<u16>, StoreError> {
        self.wanted.extend(wanted.intersection(&self.left));
        let (asked, others): (Vec<u16>, Vec<u16>) = self.left.iter().partition(|group| self.wanted.contains(group));
        let size = self.round_size(!asked.is_empty());
        let groups: Vec<u16> = asked.into_iter().chain(others).take(size).collect();
        self.load(&groups, now, note)?;
        self.left.retain(|group| !groups.contains(group));
        self.wanted.retain(|group| !groups.contains(group));
        Ok(groups)
    }

    /// The groups of the next round, if some were asked for and if none was.
    fn round_size(&mut self, is_asked: bool) -> usize {
        if self.source.threads.is_none() {
            return ROUND_GROUPS_IN_PLACE;
        }
        let images: u64 = self.source.images.values().map(|facts| facts.bytes).sum();
        let of_one = images / u64::from(GROUPS);
        let as_long = self.source.journal_bytes.checked_div(of_one).unwrap_or(u64::from(GROUPS));
        let worth = usize::try_from(as_long).unwrap_or(usize::MAX).clamp(ROUND_GROUPS_MIN, usize::from(GROUPS));
        let is_urgent = is_asked || self.left.len() == usize::from(GROUPS);
        if !is_urgent || ROUND_GROUPS_MIN >= worth || self.small_rounds >= SMALL_ROUNDS_MAX {
            return worth;
        }
        self.small_rounds += 1;
        ROUND_GROUPS_MIN
    }

    /// Loads these groups beside the keyspace, then takes them in.
    fn load(&mut self, groups: &[u16], now: UnixMillis, note: &Note<'_>) -> Result<(), StoreError> {
        let slots: Vec<u16> = groups.iter().flat_map(|&group| slots_of(group)).collect();
        let part = self.source.keyspace.part(&slots);
        for (group, problem) in self.load_images(&part, groups, now, note)? {
            self.loaded.lost.insert(group, problem);
        }
        let as_read = part.clock();
        let mut replay = Replay::new(self.source.manifest.as_ref(), Some(&part), now);
        let mut records = 0_u64;
        let is_all = self.source.contents.replay(&mut |sequence, record| {
            replay.take(sequence, record);
            records += 1;
            if records.is_multiple_of(BEAT_RECORDS) { note(0) } else { Ok(()) }
        })?;
        if !is_all {
            tracing::error!("the disk has lost records of the journal since they were looked through");
        }
        self.loaded.has_refused |= replay.refused > 0 || !is_all;
        part.prune();
        // While the journal was read, the node's own history was anybody's. It knows its own resets.
        if let Some((number, everything)) = &self.number {
            part.collect_resets(0, &|contributor| (contributor == *number).then_some(everything), &|| false);
        }
        self.source.keyspace.adopt(&part, as_read, self.source.unchanged);
        Ok(())
    }

    /// Loads the images of some groups, by several threads if there are any. Says which could not be used, and why.
    fn load_images(
        &self,
        part: &Keyspace,
        groups: &[u16],
        now: UnixMillis,
        note: &Note<'_>,
    ) -> Result<Vec<(u16, Problem)>, StoreError> {
        let source = &self.source;
        let images: Vec<(u16, ImageFacts)> =
            groups.iter().filter_map(|group| source.images.get(group).map(|&facts| (*group, facts))).collect();
        let next = AtomicUsize::new(0);
        let outcome: Mutex<Result<Vec<(u16, Problem)>, StoreError>> = Mutex::new(Ok(Vec::new()));
        let work = || {
            while let Some(&(group, facts)) = images.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result =
                    load_image(source, part, group, facts, now).and_then(|problem| note(facts.bytes).map(|()| problem));
                let mut outcome = outcome.lock();
                match (result, &mut *outcome) {
                    (Ok(None), _) | (_, Err(_)) => {}
                    (Ok(Some(problem)), Ok(problems)) => problems.push((group, problem)),
                    (Err(error), _) => *outcome = Err(error),
                }
            }
        };
        match source.threads {
            None | Some(0 | 1) => work(),
            Some(threads) => std::thread::scope(|scope| {
                (0..threads.min(images.len())).for_each(|_| drop(scope.spawn(work)));
            }),
        }
        outcome.into_inner()
    }
}

fn load_image(
    source: &Source,
    part: &Keyspace,
    group: u16,
    facts: ImageFacts,
    now: UnixMillis,
) -> Result<Option<Problem>, StoreError> {
    let mut unreadable = false;
    let problem = source.contents.read_image(group, facts, &mut |block| {
        unreadable |= part.load_image(block, now).is_err();
    })?;
    // Its checksums were right, so another version wrote it, or a defect.
    let contents = || Problem::Image { name: image_name(facts.checkpoint, group), fault: ImageFault::Contents };
    let problem = problem.or_else(|| unreadable.then(contents));
    if problem.is_some()
        && let Err(error) = source.contents.set_aside(group, facts)
    {
        tracing::debug!(%error, "there is nothing to move aside");
    }
    Ok(problem)
}

/// A loader at work: on a thread of its own, or in place and in small steps where there are no threads.
pub(crate) struct Reading {
    runner: Runner,
    node: Arc<Node>,
    has_stopped: Arc<AtomicBool>,
}

enum Runner {
    Thread(Receiver<Result<Loaded, StoreError>>),
    InPlace(Box<Loader>),
}

/// Why keys could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadingError {
    /// The disk.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A defect.
    #[error("the thread that loads keys has failed")]
    Ended,
}

impl Reading {
    /// Begins to load; if the node `serves` what is there, from here on. `wake` is called when the end has come.
    pub(crate) fn begin(
        mut loader: Loader,
        node: &Arc<Node>,
        serves: bool,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<Self> {
        let has_stopped = Arc::new(AtomicBool::new(false));
        if serves {
            node.readiness.begin();
        }
        let runner = if loader.source.threads.is_none() {
            Runner::InPlace(Box::new(loader))
        } else {
            let (send, receive) = channel();
            let (node, is_over) = (Arc::clone(node), Arc::clone(&has_stopped));
            std::thread::Builder::new().name("load".to_owned()).spawn(move || {
                let mut outcome = Ok(true);
                while matches!(outcome, Ok(true)) && !is_over.load(Ordering::Relaxed) {
                    outcome = loader.step(&node);
                }
                drop(send.send(outcome.map(|_| loader.loaded)));
                wake();
            })?;
            Runner::Thread(receive)
        };
        Ok(Self { runner, node: Arc::clone(node), has_stopped })
    }

    /// Whether there is work that only [`Reading::poll`] gets done.
    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self.runner, Runner::InPlace(_))
    }

    /// What loading came to, when it is over. In place this is where it gets done.
    pub(crate) fn poll(&mut self) -> Option<Result<Loaded, ReadingError>> {
        match &mut self.runner {
            Runner::Thread(done) => match done.try_recv() {
                Ok(outcome) => Some(outcome.map_err(ReadingError::from)),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Err(ReadingError::Ended)),
            },
            Runner::InPlace(loader) => match loader.step(&self.node) {
                Ok(true) => None,
                Ok(false) => Some(Ok(std::mem::take(&mut loader.loaded))),
                Err(error) => Some(Err(error.into())),
            },
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.has_stopped.store(true, Ordering::Relaxed);
    }
}

impl Loader {
    /// One round, whose keys are served from then on. False if there was nothing left.
    fn step(&mut self, node: &Node) -> Result<bool, StoreError> {
        let read = AtomicU64::new(0);
        let note = |bytes| {
            read.fetch_add(bytes, Ordering::Relaxed);
            node.durability.note_loaded(bytes);
            Ok(())
        };
        let groups = self.round(&node.readiness.take_wanted(), node.wall_clock(), &note)?;
        // What is lost is not known to be absent: it comes from peers.
        let is_there = |group: &&u16| !self.loaded.has_refused && !self.loaded.lost.contains_key(group);
        groups.iter().filter(is_there).for_each(|&group| node.readiness.note_read(group));
        node.condition.let_look();
        tracing::debug!(groups = groups.len(), bytes = read.into_inner(), left = self.left.len(), "keys were loaded");
        Ok(!self.left.is_empty())
    }
}

#[cfg(test)]
mod tests;

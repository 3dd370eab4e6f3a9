//! When checkpoints are taken, and in which state the running one is. Decides only; `peers` does.

use crate::config::Config;
use crate::durability::DiskState;
use crdt::{Stamp, UnixMillis, VersionVector};
use storage::{Durable, Manifest, StoreError, StoreOwner};

use super::walk::Walk;

/// The checkpoints of a life.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    pub owner: StoreOwner,
    pub last: Option<Manifest>,
    pub state: CheckpointState,
    /// Groups that have not changed since then need no new image; none if that is not known.
    pub unchanged_since: Option<Stamp>,
    /// What was merged by state leaves traces that no group shows: the next checkpoint writes everything.
    pub merged: bool,
    /// Counts those that have begun.
    run: u64,
    /// Bytes that the journal had taken in when the last checkpoint began.
    appended_before: u64,
    /// Changes that had been made then.
    changes_before: u64,
    /// Bytes of journal that the start replayed.
    replayed_bytes: u64,
    began_ms: UnixMillis,
    began_appended: u64,
    began_changes: u64,
    /// The first record that the running one does not contain.
    began_position: u64,
    /// Bytes that the disk had for it.
    began_space: u64,
    /// Bytes that the disk has, and with which one is tried again at once that ran out of them.
    space: u64,
    enough_space: Option<u64>,
    /// Bytes that the disk lacked for the last one, which was not begun.
    lacks_bytes: u64,
    /// When one last could not be finished; the clock may be set back after it.
    failed_ms: UnixMillis,
    failures: u32,
    took_ms: u64,
    written_bytes: u64,
    finished: u64,
    has_failed: bool,
    finished_ms: UnixMillis,
}

/// How far the running checkpoint is.
#[derive(Debug, Default)]
pub(crate) enum CheckpointState {
    /// There is none.
    #[default]
    Idle,
    /// The keyspace is being walked over.
    Walking,
    /// It waits until the journal is durable so far.
    Flushing { walk: Box<Walk>, position: u64, end: VersionVector },
    /// The manifest is being written.
    Committing { clock: Stamp, bytes: u64 },
}

/// Why a checkpoint comes to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// It would take so many bytes where there are only so many, so it was not begun.
    NoRoom { bytes: u64, space: u64 },
    /// The disk was full on its way.
    Full,
    /// Something that more space does not mend.
    Other,
}

impl From<&StoreError> for Hindrance {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::NoRoom { bytes, space } => Self::NoRoom { bytes: *bytes, space: *space },
            error if error.is_full() => Self::Full,
            _ => Self::Other,
        }
    }
}

/// The first pause after a failed checkpoint; it doubles.
const RETRY_MS: u64 = 5_000;
const RETRY_DOUBLINGS_MAX: u32 = 6;
/// A checkpoint that ran out of space on its way is tried again without a pause when there is so much more of it than the
/// one before began with: an operator has made room, or at least it gets further.
const SPACE_GROWN_BYTES_MIN: u64 = 64 << 20;
/// For so many times as long as the last checkpoint took the next one rests, so that they take a small part of a core and
/// of the disk however much is written.
const REST_FACTOR: u64 = 10;
/// But not when the journal has grown to so many times the size at which it is due, since a start has to read it...
const GROWN_FACTOR_MAX: u128 = 3;
/// ...and to at least so much, which a start reads in a moment: a small store that is written to as fast as it goes would
/// otherwise make its few hundred files anew every second.
const GROWN_BYTES_MIN: u128 = 512 << 20;

impl Checkpoints {
    pub(crate) fn new(last: Option<Manifest>, owner: StoreOwner, now_ms: UnixMillis) -> Self {
        let finished_ms = last.as_ref().map_or(0, |last| last.finished_ms);
        Self {
            owner,
            last,
            state: CheckpointState::Idle,
            unchanged_since: None,
            merged: false,
            run: 0,
            appended_before: 0,
            changes_before: 0,
            replayed_bytes: 0,
            began_ms: now_ms,
            began_appended: 0,
            began_changes: 0,
            began_position: 0,
            began_space: 0,
            space: 0,
            enough_space: None,
            lacks_bytes: 0,
            failed_ms: 0,
            failures: 0,
            took_ms: 0,
            written_bytes: 0,
            finished: 0,
            has_failed: false,
            finished_ms,
        }
    }

    /// Says what the start has found: how much it replayed, and since when images are as the keyspace is.
    pub(crate) fn note_start(&mut self, replayed_bytes: u64, unchanged_since: Option<Stamp>) {
        self.replayed_bytes = replayed_bytes;
        self.unchanged_since = unchanged_since;
    }

    /// Bytes that a start would have to replay.
    pub(crate) fn uncovered_bytes(&self, appended: u64) -> u64 {
        self.replayed_bytes + appended.saturating_sub(self.appended_before)
    }

    /// Whether a checkpoint is to begin now.
    pub(crate) fn is_due(&self, config: &Config, appended: u64, wished: bool, heals: bool, now_ms: UnixMillis) -> bool {
        if !matches!(self.state, CheckpointState::Idle) {
            return false;
        }
        if wished {
            return true;
        }
        let has_more_space = self.enough_space.is_some_and(|enough| self.space >= enough);
        if self.failures > 0 && now_ms.abs_diff(self.failed_ms) < self.pause_ms() && !has_more_space {
            return false;
        }
        let base = self.last.as_ref().map_or(0, Manifest::bytes);
        let share = config.auto_aof_rewrite_percentage;
        let grown = u128::from(base) * u128::from(share) / 100;
        let uncovered = self.uncovered_bytes(appended);
        let enough = grown.max(u128::from(config.auto_aof_rewrite_min_size));
        let has_rested = now_ms.abs_diff(self.finished_ms) >= self.took_ms.saturating_mul(REST_FACTOR);
        let due_at = if has_rested { enough } else { (enough * GROWN_FACTOR_MAX).max(GROWN_BYTES_MIN) };
        heals || (share > 0 && u128::from(uncovered) >= due_at)
    }

    /// How long none is tried after so many that failed.
    fn pause_ms(&self) -> u64 {
        RETRY_MS << self.failures.saturating_sub(1).min(RETRY_DOUBLINGS_MAX)
    }

    /// The disk has so much space.
    pub(crate) fn note_space(&mut self, bytes: u64) {
        self.space = bytes;
    }

    /// A checkpoint has begun at this record. Returns which run it is: what belongs to another one came too late.
    pub(crate) fn begun(&mut self, position: u64, appended: u64, changes: u64, now_ms: UnixMillis) -> u64 {
        self.run += 1;
        self.state = CheckpointState::Walking;
        (self.began_position, self.began_space) = (position, self.space);
        (self.began_ms, self.began_appended, self.began_changes) = (now_ms, appended, changes);
        self.run
    }

    /// Whether this run is walking over the keyspace.
    pub(crate) fn is_walking(&self, run: u64) -> bool {
        self.run == run && matches!(self.state, CheckpointState::Walking)
    }

    /// The running checkpoint cannot be finished.
    pub(crate) fn failed(&mut self, why: Hindrance, now_ms: UnixMillis) {
        self.state = CheckpointState::Idle;
        (self.enough_space, self.lacks_bytes) = match why {
            Hindrance::NoRoom { bytes, space } => (Some(bytes), bytes.saturating_sub(space)),
            Hindrance::Full => (Some(self.began_space.saturating_add(SPACE_GROWN_BYTES_MIN)), 0),
            Hindrance::Other => (None, 0),
        };
        self.has_failed = true;
        self.failed_ms = now_ms;
        self.failures += 1;
    }

    /// The running checkpoint counts. Returns the place from which the journal is needed.
    pub(crate) fn committed(&mut self, manifest: Manifest, clock: Stamp, bytes: u64, now_ms: UnixMillis) -> u64 {
        let position = manifest.position;
        self.state = CheckpointState::Idle;
        self.unchanged_since = Some(clock);
        (self.appended_before, self.changes_before, self.replayed_bytes) = (self.began_appended, self.began_changes, 0);
        (self.failures, self.has_failed) = (0, false);
        (self.enough_space, self.lacks_bytes) = (None, 0);
        self.took_ms = now_ms.saturating_sub(self.began_ms);
        self.finished_ms = now_ms;
        self.written_bytes += bytes;
        self.finished += 1;
        self.last = Some(manifest);
        position
    }

    /// Whether the running checkpoint may be made to count: the journal is durable from its beginning to its end.
    pub(crate) fn take_durable(&mut self, durable: Durable) -> Option<(Box<Walk>, VersionVector)> {
        let CheckpointState::Flushing { walk, position, .. } = &self.state else { return None };
        if durable.to < *position || durable.from > walk.position() {
            return None;
        }
        let committing = CheckpointState::Committing { clock: walk.clock, bytes: walk.bytes() };
        match std::mem::replace(&mut self.state, committing) {
            CheckpointState::Flushing { walk, end, .. } => Some((walk, end)),
            CheckpointState::Idle | CheckpointState::Walking | CheckpointState::Committing { .. } => None,
        }
    }

    /// Whether the running checkpoint can never count: what it builds on was lost on the way, perhaps because its own
    /// images have filled the disk.
    pub(crate) fn is_doomed(&self, durable: Durable) -> bool {
        match &self.state {
            CheckpointState::Walking | CheckpointState::Flushing { .. } => durable.from > self.began_position,
            CheckpointState::Idle | CheckpointState::Committing { .. } => false,
        }
    }

    pub(crate) fn describe(&self, state: &mut DiskState, changes_made: u64) {
        state.checkpoint_bytes = self.last.as_ref().map_or(0, Manifest::bytes);
        state.checkpoint_bytes_written = self.written_bytes;
        state.checkpoints = self.finished;
        state.checkpoint_failed = self.has_failed;
        state.checkpoint_failures = u64::from(self.failures);
        state.checkpoint_lacks_bytes = self.lacks_bytes;
        state.checkpoint_finished_ms = self.finished_ms;
        state.checkpoint_took_ms = self.took_ms;
        let runs = !matches!(self.state, CheckpointState::Idle);
        state.checkpoint_since_ms = runs.then_some(self.began_ms);
        state.changes_since_checkpoint = changes_made.saturating_sub(self.changes_before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: StoreOwner = StoreOwner { cluster: [1; 16], identity: [2; 32] };

    #[test]
    fn a_checkpoint_that_ran_out_of_space_is_tried_again_when_there_is_more_or_after_a_pause() {
        let config = Config::default();
        let due = |checkpoints: &Checkpoints, at| checkpoints.is_due(&config, 0, false, true, at);
        let mut checkpoints = Checkpoints::new(None, OWNER, 0);
        checkpoints.note_space(1 << 30);
        checkpoints.begun(0, 0, 0, 10);
        checkpoints.note_space(0);
        checkpoints.failed(Hindrance::Full, 10);
        // What it had written itself is no reason to do it again.
        checkpoints.note_space(1 << 30);
        assert!(!due(&checkpoints, 11) && due(&checkpoints, 10 + RETRY_MS));
        let mut late = Checkpoints::new(None, OWNER, 0);
        late.begun(0, 0, 0, 1_000_000);
        late.failed(Hindrance::Other, 1_000_000);
        assert!(due(&late, 1_000), "the clock was set back meanwhile");
        checkpoints.note_space((1 << 30) + SPACE_GROWN_BYTES_MIN);
        assert!(due(&checkpoints, 11));
        checkpoints.begun(0, 0, 0, 11);
        checkpoints.failed(Hindrance::Other, 11);
        checkpoints.note_space(1 << 40);
        assert!(!due(&checkpoints, 12), "it was not for want of space");
    }

    #[test]
    fn a_checkpoint_for_which_there_is_no_room_is_tried_again_when_there_is_or_after_a_pause() {
        let config = Config::default();
        let due = |checkpoints: &Checkpoints, at| checkpoints.is_due(&config, 0, false, true, at);
        let lacks = |checkpoints: &Checkpoints| {
            let mut state = DiskState::default();
            checkpoints.describe(&mut state, 0);
            (state.checkpoint_lacks_bytes, state.checkpoint_failed)
        };
        let mut checkpoints = Checkpoints::new(None, OWNER, 0);
        checkpoints.note_space(1_000);
        checkpoints.begun(0, 0, 0, 10);
        checkpoints.failed(Hindrance::NoRoom { bytes: 1_500, space: 1_000 }, 10);
        assert_eq!(lacks(&checkpoints), (500, true));
        checkpoints.note_space(1_499);
        assert!(!due(&checkpoints, 11) && due(&checkpoints, 10 + RETRY_MS), "there may be less to write by then");
        checkpoints.note_space(1_500);
        assert!(due(&checkpoints, 11));
        checkpoints.begun(0, 0, 0, 11);
        assert_eq!(lacks(&checkpoints).0, 500, "until it is known to be otherwise");
        checkpoints.failed(Hindrance::Other, 12);
        assert_eq!(lacks(&checkpoints), (0, true));
    }

    #[test]
    fn a_walk_that_has_filled_the_disk_for_the_journal_is_given_up_on_its_way() {
        let mut checkpoints = Checkpoints::new(None, OWNER, 0);
        checkpoints.begun(5, 0, 0, 0);
        assert!(
            !checkpoints.is_doomed(Durable { from: 5, to: 9 }) && checkpoints.is_doomed(Durable { from: 6, to: 9 })
        );
    }

    #[test]
    fn a_walk_belongs_to_one_run() {
        let mut checkpoints = Checkpoints::new(None, OWNER, 0);
        let first = checkpoints.begun(5, 0, 0, 0);
        assert!(checkpoints.is_walking(first));
        checkpoints.failed(Hindrance::Other, 1);
        assert!(!checkpoints.is_walking(first));
        let second = checkpoints.begun(6, 0, 0, 2);
        assert!(checkpoints.is_walking(second) && !checkpoints.is_walking(first));
    }

    #[test]
    fn checkpoints_rest_in_proportion_to_what_they_take_unless_the_journal_grows_too_far() {
        let config = Config { auto_aof_rewrite_min_size: 1_000 << 20, ..Config::default() };
        let mut checkpoints = Checkpoints::new(None, OWNER, 0);
        let due_for =
            |config, checkpoints: &Checkpoints, mib: u64, at| checkpoints.is_due(config, mib << 20, false, false, at);
        let due = |checkpoints: &Checkpoints, mib, at| due_for(&config, checkpoints, mib, at);
        assert!(!due(&checkpoints, 999, 0) && due(&checkpoints, 1_000, 0));
        checkpoints.begun(0, 1_000 << 20, 0, 10_000);
        let manifest = Manifest {
            read_back_from: 0,
            number: 1,
            position: 1,
            vector: VersionVector::new(),
            end: VersionVector::new(),
            notes: Vec::new(),
            finished_ms: 10_400,
            keys: 0,
            images: std::collections::BTreeMap::new(),
        };
        checkpoints.committed(manifest, Stamp::ZERO, 0, 10_400);
        // It took 400 ms: the next one comes 4 s later, or when three times as much is there.
        assert!(!due(&checkpoints, 2_000, 14_399) && due(&checkpoints, 2_000, 14_400));
        assert!(!due(&checkpoints, 3_999, 10_500) && due(&checkpoints, 4_000, 10_500));
        assert!(checkpoints.is_due(&config, 1_000 << 20, true, false, 10_500), "who wishes for one gets one");
        // A small store does not take one after the other either: so much is read in a moment.
        let small = Config { auto_aof_rewrite_min_size: 64 << 20, ..Config::default() };
        assert!(!due_for(&small, &checkpoints, 1_511, 10_500) && due_for(&small, &checkpoints, 1_512, 10_500));
        assert!(due_for(&small, &checkpoints, 1_064, 14_400));
    }
}

//! The standing proof at work: comparing digests with peers all the time, and `verify`, which compares everything now.

use super::Peers;
use super::keeping::Waiting;
use crdt::{Stamp, VersionVector};
use protocol::{AuditFrame, AuditOutcome, AuditRange, NodeIdentity, SlotState, compare, follow_up};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;

/// What is kept for comparisons.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Moments of this node: its clock, and the closed vector that held everything done by then. Oldest first.
    moments: VecDeque<(Stamp, VersionVector)>,
    last_closed: Stamp,
    /// A moment is remembered when what was done by then is published.
    awaits_moment: bool,
    roots_sent: BTreeMap<NodeIdentity, Instant>,
    rotation: u64,
    /// Slots that were found differing, and when: a second look confirms before an alarm.
    suspects: BTreeMap<(NodeIdentity, u16), Instant>,
    repaired_at: Option<Instant>,
    root: Option<KnownRoot>,
}

/// The description of the whole keyspace, and what it was when that was made.
#[derive(Debug)]
struct KnownRoot {
    clock: Stamp,
    applied: Arc<VersionVector>,
    closed: VersionVector,
    frame: AuditFrame,
}

/// Moments kept: at one each housekeeping round, the last 50 s exactly, and the oldest for slots that rest longer.
const MOMENTS_MAX: usize = 256;
/// Between two roots sent to one peer.
const ROOT_INTERVAL_MS: u128 = 1_000;
/// Between two repairs.
const REPAIR_INTERVAL: std::time::Duration = std::time::Duration::from_secs(30);

impl Audit {
    pub(super) fn note_closed(&mut self, last: Stamp) {
        self.last_closed = self.last_closed.max(last);
    }

    /// State was merged: that may change slots without a later stamp.
    pub(super) fn forget_root(&mut self) {
        self.root = None;
    }

    /// Since which vector a slot that last changed at `changed` has been as it is.
    fn since(&self, changed: Stamp) -> Option<&VersionVector> {
        let at = self.moments.partition_point(|(clock, _)| *clock < changed);
        self.moments.get(at).map(|(_, vector)| vector)
    }
}

impl Peers {
    /// Remembers the present moment: everything that was done up to the clock's reading is in the closed vector. False
    /// if that is not so yet, because a pipeline still runs or the disk is slow; then it is remembered when it is.
    pub(super) fn note_moment(&mut self) -> bool {
        if !self.audit.awaits_moment {
            self.audit.awaits_moment = true;
            self.when_closed(Waiting::Moment(self.node.keyspace.clock()));
        }
        !self.audit.awaits_moment
    }

    /// Everything that was done up to this reading of the clock is in the closed vector.
    pub(super) fn take_moment(&mut self, clock: Stamp) {
        self.audit.awaits_moment = false;
        let vector = self.hub.closed_vector().clone();
        let audit = &mut self.audit;
        // While nothing changes, one moment is enough: the last one is moved up.
        if let Some((last, known)) = audit.moments.back_mut()
            && *known == vector
        {
            *last = clock.max(*last);
            return;
        }
        audit.moments.push_back((clock, vector));
        if audit.moments.len() > MOMENTS_MAX {
            audit.moments.pop_front();
        }
    }

    /// Describes a range of slots as they are now.
    pub(super) fn describe(&mut self, range: AuditRange, answer: bool) -> AuditFrame {
        if range == AuditRange::ROOT {
            let mut frame = self.describe_root();
            frame.answer = answer;
            return frame;
        }
        self.note_moment();
        self.describe_slots(range, answer)
    }

    /// Describes everything. While nothing changes, what was found before is told again: looking at every slot is what
    /// a node in which nothing happens would do most.
    fn describe_root(&mut self) -> AuditFrame {
        // SUBTLE: a write takes its stamp with its slot locked, so one that is later than this reading is found by the
        // clock the next time, and an earlier one is waited for at its slot. What comes of others is applied by this
        // thread, and raises the vector.
        let clock = self.node.keyspace.clock();
        let applied = self.node.keyspace.applied();
        let is_whole = self.note_moment();
        let closed = self.hub.closed_vector();
        if let Some(known) = &self.audit.root
            && known.clock == clock
            && Arc::ptr_eq(&known.applied, &applied)
            && known.closed == *closed
        {
            return known.frame.clone();
        }
        let closed = closed.clone();
        let frame = self.describe_slots(AuditRange::ROOT, false);
        // What cannot be compared may soon be, without anything changing.
        let keep = is_whole && compare(&frame, &frame).is_ok_and(|outcome| !outcome.equal.is_empty());
        self.audit.root = keep.then(|| KnownRoot { clock, applied, closed, frame: frame.clone() });
        frame
    }

    fn describe_slots(&self, range: AuditRange, answer: bool) -> AuditFrame {
        let keyspace = &self.node.keyspace;
        let audit = &self.audit;
        AuditFrame::describe(range, answer, self.hub.closed_vector().clone(), |slot| {
            let found = keyspace.digest_of(slot);
            let since = if found.settled { audit.since(found.changed) } else { None };
            SlotState { digest: found.digest, since }
        })
    }

    /// Sends roots to peers that have not had one for a while.
    pub(super) fn send_roots(&mut self) {
        let due: Vec<NodeIdentity> = self
            .hub
            .ready_peers()
            .into_iter()
            .filter(|peer| {
                let sent = self.audit.roots_sent.get(peer);
                sent.is_none_or(|sent| sent.elapsed().as_millis() >= ROOT_INTERVAL_MS)
            })
            .collect();
        for peer in due {
            // One side of each pair asks, the other answers.
            self.audit.roots_sent.insert(peer, Instant::now());
            if self.identity < peer {
                let frame = self.describe(AuditRange::ROOT, false).encode();
                self.hub.send_audit(peer, frame);
            }
        }
    }

    pub(super) fn take_audit(&mut self, peer: NodeIdentity, frame: &[u8]) {
        let theirs = match AuditFrame::decode(frame) {
            Ok(theirs) => theirs,
            Err(error) => {
                tracing::warn!(peer = %self.name_of(peer), %error, "a peer's digests cannot be read");
                return;
            }
        };
        let mine = self.describe(theirs.range, true);
        let Ok(outcome) = compare(&mine, &theirs) else { return };
        self.note_outcome(peer, &theirs, &outcome);
        self.audit.rotation = self.audit.rotation.wrapping_add(1);
        if let Some((range, answer)) = follow_up(&theirs, &outcome, self.audit.rotation) {
            let frame = self.describe(range, answer).encode();
            self.hub.send_audit(peer, frame);
        }
    }

    /// Counts what was compared; slots that differ twice are an alarm, and are repaired.
    fn note_outcome(&mut self, peer: NodeIdentity, theirs: &AuditFrame, outcome: &AuditOutcome) {
        let compared = outcome.equal.len() + outcome.differing.len();
        self.node.console.metrics.replication.digests_compared.add(compared as u64);
        if theirs.range.level() != protocol::AuditLevel::Slots {
            return;
        }
        for slot in &outcome.equal {
            self.audit.suspects.remove(&(peer, *slot));
        }
        for &slot in &outcome.differing {
            if self.audit.suspects.insert((peer, slot), Instant::now()).is_none() {
                continue;
            }
            tracing::error!(peer = %self.name_of(peer), slot, "alarm: a slot differs although both have seen the same");
            self.node.console.metrics.replication.digest_mismatches.add(1);
            // A repair walks the whole keyspace: at most one a while.
            let repaired = self.audit.repaired_at.replace(Instant::now());
            if repaired.is_some_and(|at| at.elapsed() < REPAIR_INTERVAL) {
                self.audit.repaired_at = repaired;
                continue;
            }
            let now = self.now();
            if self.hub.repair_from(peer, now) {
                tracing::warn!(peer = %self.name_of(peer), "the slots are compared and repaired by state");
            }
        }
    }
}

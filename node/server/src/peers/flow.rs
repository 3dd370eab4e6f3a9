//! What flows by itself: closing batches, sweeping what is over.

use super::keeping::Waiting;
use super::{GRACE_BEYOND_DRIFT_MS, Peers, SWEEP_REMOVALS_MAX, SWEEP_SLOTS_MAX, SWEEP_TURN_MAX};
use crate::latency_monitor::Event;
use crdt::{NodeNumber, Stamp, UnixMillis, VersionVector};
use keyspace::{SweepPolicy, Swept};
use protocol::{Batch, NodeIdentity};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;

/// How often the end of running pipelines is looked for before the thread goes on: some milliseconds.
const PIPELINE_TRIES_MAX: u32 = 10_000;

impl Peers {
    /// Closes what workers have written into batches, and gives them to the hub. While the disk is slow, what was written
    /// waits where it is.
    pub(super) fn close_batches(&mut self) {
        if self.keeping.has_room() {
            self.close_batches_up_to(Stamp::MAX);
        } else {
            self.drained_at = Instant::now();
        }
    }

    /// Closes and publishes everything that was written until now. False if something of it is not published yet.
    #[cfg(test)]
    pub(super) fn close_everything(&mut self) -> bool {
        self.close_logged() & self.is_published()
    }

    /// Closes everything that was written until now, pipelines that still run included: they end within moments. False
    /// if something of it is still open, because one did not end or the disk has no room; [`Peers::when_closed`] waits for
    /// that. What is closed may have to wait for the disk.
    #[must_use]
    pub(super) fn close_logged(&mut self) -> bool {
        self.keeping.has_room() && self.close_all_logged()
    }

    /// The same, whether the disk has room or not: for what comes seldom and has no later.
    #[must_use]
    pub(super) fn close_all_logged(&mut self) -> bool {
        let clock = self.node.keyspace.clock();
        let mut tries = 0;
        while !self.node.keyspace.is_logged_up_to(clock) && tries < PIPELINE_TRIES_MAX {
            std::thread::yield_now();
            tries += 1;
        }
        self.close_what_ended() >= clock
    }

    /// Closes what pipelines that have ended wrote, and says up to where everything is closed.
    pub(super) fn close_what_ended(&mut self) -> Stamp {
        self.close_batches_up_to(Stamp::MAX);
        // Nobody writes without a number.
        if self.number().is_none() { Stamp::MAX } else { self.drain.complete_up_to() }
    }

    /// Closes what was written, without what is later than `limit`, whether the disk has room or not. False if nothing was
    /// written.
    pub(super) fn close_batches_up_to(&mut self, limit: Stamp) -> bool {
        let Some(number) = self.number() else { return false };
        let open = self.drain.take_up_to(&self.node.keyspace, limit);
        if open.is_empty() {
            return false;
        }
        self.drained_at = Instant::now();
        for batch in open {
            debug_assert_eq!(batch.last.author(), number, "what is logged was stamped under the current number");
            let dependencies = (*self.node.keyspace.applied()).clone();
            let tail = self.own_tail();
            let sealed = Batch::seal(
                tail,
                batch.first,
                batch.last,
                dependencies,
                batch.changes,
                &batch.payload,
                &mut self.compression,
            );
            let metrics = &self.node.console.metrics;
            metrics.keyspace.changes_made.add(u64::from(batch.made));
            metrics.replication.batches_closed.add(1);
            metrics.replication.batch_changes.observe(u64::from(batch.changes));
            metrics.replication.batch_bytes.observe(sealed.bytes().len() as u64);
            self.batches.changes_made += u64::from(batch.made);
            self.keep_batch(&sealed, Waiting::Publish(Arc::clone(&sealed)));
        }
        true
    }

    /// Removes what is over and this node's to remove, as much as one turn may.
    pub(super) fn sweep(&mut self) -> Swept {
        // A node that must not write removes nothing either.
        if !self.has_number || self.refusals.reason().is_some() {
            return Swept { next: UnixMillis::MAX, ..Swept::default() };
        }
        let now = self.node.wall_clock();
        let began_ns = self.node.monotonic_ns();
        let me = self.identity;
        let mine: BTreeSet<NodeNumber> = self.membership.view().numbers_of(me).iter().copied().collect();
        let drift = u64::try_from(self.node.config.load().max_clock_drift.as_millis()).unwrap_or(u64::MAX);
        let live = self.live_members();
        let own = self.identity;
        let swept = self.node.keyspace.sweep(
            &mut self.sweeper,
            now,
            &SweepPolicy {
                is_mine: &|number| mine.contains(&number),
                steps_in: &|key| live.iter().min_by_key(|member| rank(member, key)).is_none_or(|first| *first == own),
                grace_ms: drift.saturating_add(GRACE_BEYOND_DRIFT_MS),
                slots_max: SWEEP_SLOTS_MAX,
                removals_max: SWEEP_REMOVALS_MAX,
                is_late: &|| self.node.since(began_ns) > SWEEP_TURN_MAX,
            },
        );
        let took = self.node.since(began_ns);
        self.node.latency.note(Event::ExpireCycle, took, || self.node.wall_clock());
        self.node.console.metrics.keyspace.expired.add(swept.expired);
        self.node.console.metrics.keyspace.expired_fields.add(swept.fields);
        swept
    }

    /// This node and those whose links are ready.
    fn live_members(&self) -> Vec<NodeIdentity> {
        let mut live = self.hub.ready_peers();
        live.push(self.identity);
        live
    }

    /// A contributor has applied `vector`, and all that it wrote before is here: resets it knows need not be remembered.
    pub(super) fn note_applied_there(&mut self, number: NodeNumber, vector: VersionVector) {
        self.known_applied.insert(number, vector);
    }

    /// A slot is too large to be sent. The link stays, and the peer asks again some time: until then something of it may
    /// have been removed.
    pub(super) fn give_up_feeding(&mut self, peer: NodeIdentity, session: protocol::SessionId) {
        tracing::error!(
            peer = %self.name_of(peer), bytes_max = protocol::limits::STATE_CHUNK_BYTES_MAX,
            "the keys of one slot are too large together to be sent: a peer that needs them stays behind; remove some"
        );
        self.node.console.metrics.replication.limits_met.add("slot_too_large", 1);
        self.hub.session_failed(peer, session, self.now());
    }

    /// The vector that a peer which is fed had at the beginning of its session.
    pub(super) fn session_since(&self, peer: NodeIdentity) -> VersionVector {
        self.fed_since.get(&peer).cloned().unwrap_or_default()
    }

    pub(super) fn note_session(&mut self, peer: NodeIdentity, since: VersionVector) {
        self.fed_since.insert(peer, since);
    }
}

/// The order in which members step in for a key: by a hash of both (rendezvous hashing), so that each key has its own.
fn rank(member: &NodeIdentity, key: &[u8]) -> u64 {
    let mut bytes = Vec::with_capacity(32 + key.len());
    bytes.extend_from_slice(&member.0);
    bytes.extend_from_slice(key);
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

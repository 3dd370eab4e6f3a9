//! Serving while the disk is still read: keys that are there are read and written, what is written is kept, and links wait
//! until everything is there.

use super::Peers;
use super::keeping::IN_PLACE_INTERVAL;
use crate::console::Stop;
use crate::persistence::{Loaded, Reading};
use crdt::{NodeNumber, Stamp, VersionVector};
use protocol::{Hub, NodeIdentity};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Keys that are being read, or turned out to be lost.
pub(super) struct StillRead {
    state: State,
    due: Option<Instant>,
}

enum State {
    Reading(Reading),
    /// Less was read than the vector says: what was written since is on its way to the journal.
    Less(Loaded),
}

/// Until what is on its way is looked at again: the disk may take it at any moment.
const LESS_INTERVAL: Duration = Duration::from_millis(10);

impl StillRead {
    pub(super) fn new(reading: Reading) -> Self {
        let due = reading.is_in_place().then(Instant::now);
        Self { state: State::Reading(reading), due }
    }

    /// When it goes on, if it does not tell by itself.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl Peers {
    /// Whether everything that the disk has is in memory.
    pub(super) fn has_read_all(&self) -> bool {
        self.still_read.is_none()
    }

    /// Goes on with reading, if it is done here, and takes note of its end.
    pub(super) fn look_at_reading(&mut self) {
        let now = Instant::now();
        let Some(still) = &mut self.still_read else { return };
        if still.due.is_some_and(|due| due > now) {
            return;
        }
        let outcome = match &mut still.state {
            State::Reading(reading) => {
                still.due = still.due.map(|_| now + IN_PLACE_INTERVAL);
                reading.poll()
            }
            State::Less(_) => {
                still.due = Some(now + LESS_INTERVAL);
                return self.begin_anew();
            }
        };
        match outcome {
            None => {}
            Some(Ok(loaded)) => self.finish_reading(loaded),
            Some(Err(error)) => {
                (self.still_read, self.is_unreadable) = (None, true);
                // What has been read is served no longer.
                self.node.readiness.end();
                tracing::error!(%error, "the node cannot go on: its keys cannot be read from the disk");
                self.node.console.request_stop(Stop::Now);
            }
        }
    }

    fn finish_reading(&mut self, loaded: Loaded) {
        self.note_loaded(&loaded);
        self.node.readiness.end();
        match &mut self.still_read {
            Some(still) if loaded.has_less() => {
                // From here on nobody is served. Commands that run now end before the next look.
                still.state = State::Less(loaded);
                still.due = Some(Instant::now() + LESS_INTERVAL);
                self.filled = false;
                self.note_incomplete();
            }
            _ => self.still_read = None,
        }
        self.end_reading();
    }

    fn end_reading(&mut self) {
        self.update_condition();
        self.node.condition.let_look();
        self.status_now();
    }

    /// Says what was loaded, and what could not be.
    pub(super) fn note_loaded(&self, loaded: &Loaded) {
        for problem in loaded.lost.values() {
            tracing::error!(%problem, "the store is damaged");
        }
        let keys: u64 = (0..keyspace::DATABASES).map(|database| self.node.keyspace.len(database)).sum();
        tracing::info!(keys, lost_images = loaded.lost.len(), "the keys were read");
        self.node.durability.change_state(|state| {
            state.loading = None;
            state.keys_loaded = keys;
            state.problems += loaded.lost.len() as u64;
        });
    }

    /// Some images turned out to be damaged: the node has less than its vector said. It goes on as a node that starts with
    /// such a store does: under a fresh number, with a vector that begins anew, and peers bring what is missing. What was
    /// written meanwhile is in its slots and its journal, like what it wrote in its life before. Nothing is done while
    /// the disk has not taken that.
    fn begin_anew(&mut self) {
        if !self.close_logged() || !self.is_published() {
            return;
        }
        // Before anything is written under the fresh number: a start that finds it must not take that for all there is.
        if let Err(error) = self.rows.set_unfilled(true) {
            tracing::error!(%error, "that keys are missing cannot be noted; it is tried again");
            return;
        }
        let (me, wall) = (self.identity, self.node.wall_clock());
        let number = match self.settle_number(false, wall) {
            Ok(number) => number,
            Err(error) => {
                tracing::error!(%error, "no fresh number can be noted; it is tried again");
                return;
            }
        };
        let Some(StillRead { state: State::Less(loaded), .. }) = self.still_read.take() else {
            return;
        };
        let mut settings = self.hub_settings.clone();
        self.end_half_merged_slot();
        self.leave_number(number);
        loaded.forget_applied(&self.node.keyspace);
        settings.number = number;
        settings.numbers = self.membership.view().numbers_of(me).iter().copied().collect();
        settings.vector = VersionVector::new();
        settings.tails = BTreeMap::new();
        settings.is_unfilled = true;
        let now = self.now();
        self.hub = Hub::new(settings, now, wall);
        // The one before knew these links. They are made again.
        for (_, link) in std::mem::take(&mut self.links) {
            self.transport.close(link.id, "this node begins anew");
        }
        if let Some(store) = &self.keeping.store {
            store.reader.forget_before(store.disk.position());
        }
        self.drain = keyspace::Drain::after(Stamp::ZERO);
        self.drain_at = Some(Instant::now());
        self.has_number = number.is_some();
        tracing::info!(number = number.map(NodeNumber::value), "the node fills what its disk has lost");
        self.membership_changed();
        self.end_reading();
    }

    /// Peers have more under this node's number than it has, and it has written under it since: a volume lost what was written
    /// last, or an old one was put back, before the node met anybody. It goes on as one whose disk has lost something. What
    /// it wrote stays, and goes to the others as state when the number is sealed.
    pub(super) fn history_has_forked(&mut self, peer: NodeIdentity) {
        if !self.has_read_all() || !self.keeping.is_on() {
            return;
        }
        tracing::error!(
            peer = %self.name_of(peer), number = self.number().map(NodeNumber::value),
            "a peer has other writes of this node than it has itself, which it has lost: it goes on under another number, gets \
             what it lacks, and passes on what it wrote since"
        );
        // The journal says that everything is here. A start that comes before it has been written anew must not believe that.
        if let Err(error) = self.rows.set_forked(true) {
            tracing::error!(%error, "that it has forked cannot be noted; the next peer that says so is another try");
            return;
        }
        let loaded = Loaded { has_refused: true, ..Loaded::default() };
        let due = Some(Instant::now() + LESS_INTERVAL);
        self.still_read = Some(StillRead { state: State::Less(loaded), due });
        self.filled = false;
        self.note_incomplete();
        self.end_reading();
    }

    /// From here on the node stamps with `next`, if there is one, and all that it wrote before counts as seen here.
    fn leave_number(&mut self, next: Option<NodeNumber>) {
        if let Some(next) = next {
            let last = self.node.keyspace.change_number(next);
            while !self.node.keyspace.is_logged_up_to(last) {
                std::thread::yield_now();
            }
            // Whoever was about to write when the end of reading came.
            self.close_batches_up_to(last);
        }
        self.node.keyspace.raise_applied(self.hub.closed_vector());
        let end = self.forget_for_hub();
        if end > Stamp::ZERO {
            self.node.keyspace.raise_applied(&[(end.author(), end)].into_iter().collect());
        }
    }
}

#[cfg(test)]
mod tests;

//! Serving while the disk is still read: keys that are there are read and written, what is written is kept, and links wait
//! until everything is there.

use super::Peers;
use super::keeping::{IN_PLACE_INTERVAL, Waiting};
use crate::console::Stop;
use crate::persistence::{Loaded, Reading};
use crdt::{Stamp, VersionVector};
use protocol::{Hub, HubSettings};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Keys that are being read.
pub(super) struct StillRead {
    reading: Reading,
    /// For another hub, should less be there than this one believes.
    hub: HubSettings,
    due: Option<Instant>,
}

/// Less was read than the vector says.
#[derive(Debug)]
pub(super) struct ReadLess {
    loaded: Loaded,
    hub: HubSettings,
}

impl StillRead {
    pub(super) fn new(reading: Reading, hub: HubSettings) -> Self {
        let due = reading.is_in_place().then(Instant::now);
        Self { reading, hub, due }
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
        still.due = still.due.map(|_| now + IN_PLACE_INTERVAL);
        let Some(outcome) = still.reading.poll() else { return };
        let Some(StillRead { hub, .. }) = self.still_read.take() else { return };
        match outcome {
            Ok(loaded) => self.finish_reading(loaded, hub),
            Err(error) => {
                // What has been read is served no longer.
                self.node.readiness.end();
                tracing::error!(%error, "the node cannot go on: its keys cannot be read from the disk");
                self.node.console.request_stop(Stop::Now);
            }
        }
    }

    fn finish_reading(&mut self, loaded: Loaded, hub: HubSettings) {
        self.note_loaded(&loaded);
        self.node.readiness.end();
        if loaded.has_less() {
            self.go_on_with_less(ReadLess { loaded, hub });
        }
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
    /// written meanwhile is in its slots and its journal, like what it wrote in its life before.
    fn go_on_with_less(&mut self, less: ReadLess) {
        self.filled = false;
        self.update_condition();
        self.note_incomplete();
        self.renumber();
        self.when_closed(Waiting::ReadLess(Box::new(less)));
    }

    /// Everything that was written under the old number is in the journal.
    pub(super) fn begin_anew(&mut self, less: ReadLess) {
        let ReadLess { loaded, hub: mut settings } = less;
        loaded.forget_applied(&self.node.keyspace);
        settings.number = self.number();
        settings.numbers = self.membership.view().numbers_of(self.identity).iter().copied().collect();
        settings.vector = VersionVector::new();
        settings.tails = BTreeMap::new();
        let (now, wall) = (self.now(), self.node.wall_clock());
        self.hub = Hub::new(settings, now, wall);
        self.drain = keyspace::Drain::after(Stamp::ZERO);
        self.membership_changed();
    }
}

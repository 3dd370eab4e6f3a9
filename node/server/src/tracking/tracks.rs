//! What one client tracks.

use super::{Tracking, TrackingMode};
use keyspace::Keyspace;
use std::sync::Arc;

/// That a client tracks, and how. It ends when it is dropped, however the connection ended.
pub struct Tracks {
    room: Arc<Tracking>,
    keyspace: Arc<Keyspace>,
    client: u64,
    /// How it is told.
    pub mode: TrackingMode,
    /// Who is told in its place.
    pub redirect: Option<u64>,
    /// The prefixes of the keys that it is told of.
    pub prefixes: Vec<Box<[u8]>>,
    /// `CLIENT CACHING` was said before the command that comes next.
    pub is_caching: bool,
    holds_slots: bool,
}

impl Tracks {
    /// Begins. The room knows the client already.
    pub fn new(room: Arc<Tracking>, keyspace: Arc<Keyspace>, client: u64) -> Self {
        let (mode, prefixes) = (TrackingMode::empty(), Vec::new());
        Self { room, keyspace, client, mode, redirect: None, prefixes, is_caching: false, holds_slots: false }
    }

    /// Whether what it reads now is remembered.
    pub fn remembers(&self) -> bool {
        let mode = self.mode;
        !mode.contains(TrackingMode::BROADCAST)
            && (!mode.contains(TrackingMode::OPT_IN) || self.is_caching)
            && (!mode.contains(TrackingMode::OPT_OUT) || !self.is_caching)
    }

    /// Ends it on a thread that has slots locked.
    pub fn end_locked(mut self) {
        self.holds_slots = true;
    }

    /// The room.
    pub fn room(&self) -> &Tracking {
        &self.room
    }
}

impl Drop for Tracks {
    fn drop(&mut self) {
        self.room.leave(self.client, &self.prefixes, &self.keyspace, self.holds_slots);
    }
}

impl std::fmt::Debug for Tracks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracks").field("mode", &self.mode).field("redirect", &self.redirect).finish_non_exhaustive()
    }
}

//! What one client has subscribed to.

use super::{ChannelKind, Name, PubSub};
use crate::clients::Presence;
use crate::outbox::Subscribed;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The subscriptions of one client. They end when it is dropped, however its connection ended.
#[derive(Debug)]
pub struct Subscriptions {
    room: Arc<PubSub>,
    presence: Arc<Presence>,
    channels: BTreeSet<Name>,
    patterns: BTreeSet<Name>,
    shard_channels: BTreeSet<Name>,
    /// What they take, here and where they are looked for.
    bytes: u64,
}

impl Subscriptions {
    /// None yet.
    pub fn new(room: Arc<PubSub>, presence: Arc<Presence>) -> Self {
        let (channels, patterns, shard_channels) = Default::default();
        Self { room, presence, channels, patterns, shard_channels, bytes: 0 }
    }

    /// Subscribes. False if it has subscribed to that already.
    pub fn enter(&mut self, kind: ChannelKind, name: &[u8]) -> bool {
        if self.of(kind).contains(name) {
            return false;
        }
        // SUBTLE: before the room knows it: what is posted from then on is limited as a subscriber's.
        let name = Name::from(name);
        self.of_mut(kind).insert(Arc::clone(&name));
        self.bytes += bytes_of(&name);
        self.tell();
        let known = self.room.enter(kind, &name, &self.presence);
        self.of_mut(kind).replace(known);
        true
    }

    /// Ends a subscription. False if there was none.
    pub fn leave(&mut self, kind: ChannelKind, name: &[u8]) -> bool {
        if !self.of_mut(kind).remove(name) {
            return false;
        }
        self.room.leave(kind, name, self.presence.id);
        self.bytes -= bytes_of(name);
        self.tell();
        true
    }

    /// The names of one kind, in order.
    pub fn names(&self, kind: ChannelKind) -> Vec<Name> {
        self.of(kind).iter().cloned().collect()
    }

    /// How many there are of each kind.
    pub fn count(&self) -> Subscribed {
        let count = |names: &BTreeSet<Name>| u32::try_from(names.len()).unwrap_or(u32::MAX);
        Subscribed {
            channels: count(&self.channels),
            patterns: count(&self.patterns),
            shard_channels: count(&self.shard_channels),
        }
    }

    fn tell(&self) {
        self.presence.outbox().set_subscribed(self.count(), self.bytes);
    }

    fn of(&self, kind: ChannelKind) -> &BTreeSet<Name> {
        match kind {
            ChannelKind::Channel => &self.channels,
            ChannelKind::Pattern => &self.patterns,
            ChannelKind::Shard => &self.shard_channels,
        }
    }

    fn of_mut(&mut self, kind: ChannelKind) -> &mut BTreeSet<Name> {
        match kind {
            ChannelKind::Channel => &mut self.channels,
            ChannelKind::Pattern => &mut self.patterns,
            ChannelKind::Shard => &mut self.shard_channels,
        }
    }
}

/// What a subscription takes.
fn bytes_of(name: &[u8]) -> u64 {
    name.len() as u64 + SUBSCRIPTION_BYTES
}

/// What a subscription takes besides its name: its places in the trees of the client and of the room.
const SUBSCRIPTION_BYTES: u64 = 160;

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for kind in [ChannelKind::Channel, ChannelKind::Pattern, ChannelKind::Shard] {
            for name in std::mem::take(self.of_mut(kind)) {
                self.room.leave(kind, &name, self.presence.id);
            }
        }
        self.bytes = 0;
        self.tell();
    }
}

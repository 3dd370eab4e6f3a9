//! Events of keys as messages: `__keyspace@0__:key` says what has happened to a key, `__keyevent@0__:event` to which key
//! something has happened.
//!
//! They go to the subscribers of this node alone: every other node tells of what arrives there itself, if it is asked to
//! (`R` in `notify-keyspace-events`).

use crate::config::Settings;
use crate::pubsub::{ChannelKind, PubSub};
use crdt::UnixMillis;
use keyspace::{EventClass, EventSink, Keyspace};
use std::fmt;
use std::sync::Arc;

/// Publishes what the keyspace tells of.
pub struct Notifications {
    pubsub: Arc<PubSub>,
    config: Arc<Settings>,
    wall_clock: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
}

impl Notifications {
    /// From now on what `notify-keyspace-events` asks for is published.
    pub fn begin(
        keyspace: &Arc<Keyspace>,
        config: &Arc<Settings>,
        pubsub: &Arc<PubSub>,
        wall_clock: &Arc<dyn Fn() -> UnixMillis + Send + Sync>,
    ) {
        let (pubsub, wall_clock) = (Arc::clone(pubsub), Arc::clone(wall_clock));
        keyspace.on_event(Arc::new(Self { pubsub, config: Arc::clone(config), wall_clock }));
        keyspace.want_events(config.load().notify_keyspace_events.wanted());
        let told = Arc::clone(keyspace);
        config.on_change(move |_, after| told.want_events(after.notify_keyspace_events.wanted()));
    }
}

impl EventSink for Notifications {
    fn tell(&self, _class: EventClass, name: &str, database: u8, key: &[u8]) {
        let (events, limits) = {
            let config = self.config.load();
            (config.notify_keyspace_events, config.client_output_buffer_limit)
        };
        let now = (self.wall_clock)();
        if events.to_key {
            let mut channel = format!("__keyspace@{database}__:").into_bytes();
            channel.extend_from_slice(key);
            self.pubsub.deliver(ChannelKind::Channel, &channel, name.as_bytes(), &limits, now);
        }
        if events.to_event {
            let channel = format!("__keyevent@{database}__:{name}").into_bytes();
            self.pubsub.deliver(ChannelKind::Channel, &channel, key, &limits, now);
        }
    }
}

impl fmt::Debug for Notifications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifications").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

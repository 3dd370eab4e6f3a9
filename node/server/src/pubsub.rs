//! Channels and patterns: who has subscribed to what, and handing a message to all of them.
//!
//! Not how a message reaches a client: that is its `outbox`. Not how it reaches other regions: what is published here is
//! put into [`Outgoing`], from which the thread of the peers takes it; what comes from there is handed to
//! [`PubSub::deliver`] and goes no further.
//!
//! All subscribers of a channel receive its messages in one order: whoever publishes holds the stripe that the channel
//! lies in. Between channels there is no order.

mod outgoing;
mod subscriptions;

pub use outgoing::{Outgoing, Reach};
pub use subscriptions::Subscriptions;

use crate::clients::Presence;
use crate::command::glob;
use crate::config::OutputLimits;
use crate::outbox::Message;
use crdt::UnixMillis;
use parking_lot::{Mutex, RwLock};
use resp::Reply;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChannelKind {
    /// A channel.
    Channel,
    /// A pattern of channels.
    Pattern,
    /// A channel of the kind that clusters keep in one shard; here it is a name space of its own.
    Shard,
}

impl ChannelKind {
    /// The first word of the answer to a subscription.
    pub const fn subscribed(self) -> &'static str {
        match self {
            Self::Channel => "subscribe",
            Self::Pattern => "psubscribe",
            Self::Shard => "ssubscribe",
        }
    }

    /// The first word of the answer to the end of one.
    pub const fn unsubscribed(self) -> &'static str {
        match self {
            Self::Channel => "unsubscribe",
            Self::Pattern => "punsubscribe",
            Self::Shard => "sunsubscribe",
        }
    }
}

/// A name that several own: the subscribers and the room.
pub type Name = Arc<[u8]>;

/// By number of the client.
type Subscribers = BTreeMap<u64, Arc<Presence>>;

/// Who has subscribed to what.
#[derive(Debug)]
pub struct PubSub {
    /// Channels by a hash of their name.
    stripes: Box<[Mutex<Stripe>]>,
    patterns: RwLock<BTreeMap<Name, Subscribers>>,
    /// So many patterns: most nodes have none, and nobody looks then.
    pattern_count: AtomicUsize,
    /// What goes to the other nodes.
    pub outgoing: Outgoing,
    published: AtomicU64,
    delivered: AtomicU64,
    arrived: AtomicU64,
}

#[derive(Debug, Default)]
struct Stripe {
    channels: HashMap<Name, Subscribers>,
    shard_channels: HashMap<Name, Subscribers>,
}

impl Stripe {
    fn of(&mut self, kind: ChannelKind) -> &mut HashMap<Name, Subscribers> {
        if kind == ChannelKind::Shard { &mut self.shard_channels } else { &mut self.channels }
    }
}

/// What was counted of messages since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Published by clients of this node.
    pub published: u64,
    /// Handed to subscribers of this node, one for each of them.
    pub delivered: u64,
    /// Received from other nodes.
    pub arrived: u64,
}

/// How many parts the channels are kept in, each with a lock of its own.
const STRIPES: usize = 64;

impl Default for PubSub {
    fn default() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            patterns: RwLock::default(),
            pattern_count: AtomicUsize::new(0),
            outgoing: Outgoing::default(),
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
        }
    }
}

impl PubSub {
    /// Hands a message that a client of this node has published to all who have subscribed here, and sends it to the
    /// other nodes that it reaches. Says how many here receive it.
    pub fn publish(
        &self,
        kind: ChannelKind,
        channel: &[u8],
        payload: &[u8],
        reach: Reach,
        limits: &OutputLimits,
        now: UnixMillis,
    ) -> usize {
        self.published.fetch_add(1, Ordering::Relaxed);
        let mut stripe = self.stripe(channel).lock();
        // With the stripe held: the others see the messages of a channel in the order in which they are seen here.
        self.outgoing.put(kind, channel, payload, reach);
        self.hand_out(&mut stripe, kind, channel, payload, limits, now)
    }

    /// Hands a message to all who have subscribed here. Says how many they are.
    pub fn deliver(
        &self,
        kind: ChannelKind,
        channel: &[u8],
        payload: &[u8],
        limits: &OutputLimits,
        now: UnixMillis,
    ) -> usize {
        let mut stripe = self.stripe(channel).lock();
        self.hand_out(&mut stripe, kind, channel, payload, limits, now)
    }

    /// The same, of a message that another node has sent.
    pub fn take(&self, kind: ChannelKind, channel: &[u8], payload: &[u8], limits: &OutputLimits, now: UnixMillis) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        self.deliver(kind, channel, payload, limits, now);
    }

    fn hand_out(
        &self,
        stripe: &mut Stripe,
        kind: ChannelKind,
        channel: &[u8],
        payload: &[u8],
        limits: &OutputLimits,
        now: UnixMillis,
    ) -> usize {
        let mut receivers = 0;
        if let Some(subscribers) = stripe.of(kind).get(channel) {
            let word: &[u8] = if kind == ChannelKind::Shard { b"smessage" } else { b"message" };
            let write = |reply: &mut Reply| write_message(reply, &[word, channel, payload]);
            receivers += post_to(subscribers, &mut Message::new(&write), limits, now);
        }
        if kind == ChannelKind::Channel && self.pattern_count.load(Ordering::Relaxed) > 0 {
            for (pattern, subscribers) in &*self.patterns.read() {
                if glob::matches(pattern, channel) {
                    let write = |reply: &mut Reply| write_message(reply, &[b"pmessage", pattern, channel, payload]);
                    receivers += post_to(subscribers, &mut Message::new(&write), limits, now);
                }
            }
        }
        if receivers > 0 {
            self.delivered.fetch_add(receivers as u64, Ordering::Relaxed);
        }
        receivers
    }

    fn stripe(&self, channel: &[u8]) -> &Mutex<Stripe> {
        &self.stripes[xxhash_rust::xxh3::xxh3_64(channel) as usize % STRIPES]
    }

    /// Enters a subscription. The name is the room's if it knows it already.
    fn enter(&self, kind: ChannelKind, name: &[u8], presence: &Arc<Presence>) -> Name {
        if kind == ChannelKind::Pattern {
            let mut patterns = self.patterns.write();
            let known = patterns.get_key_value(name).map_or_else(|| Name::from(name), |(known, _)| Arc::clone(known));
            patterns.entry(Arc::clone(&known)).or_default().insert(presence.id, Arc::clone(presence));
            self.pattern_count.store(patterns.len(), Ordering::Relaxed);
            return known;
        }
        let mut stripe = self.stripe(name).lock();
        let channels = stripe.of(kind);
        let known = channels.get_key_value(name).map_or_else(|| Name::from(name), |(known, _)| Arc::clone(known));
        channels.entry(Arc::clone(&known)).or_default().insert(presence.id, Arc::clone(presence));
        known
    }

    /// Ends a subscription.
    fn leave(&self, kind: ChannelKind, name: &[u8], client: u64) {
        if kind == ChannelKind::Pattern {
            let mut patterns = self.patterns.write();
            if let Some(subscribers) = patterns.get_mut(name) {
                subscribers.remove(&client);
                if subscribers.is_empty() {
                    patterns.remove(name);
                }
            }
            self.pattern_count.store(patterns.len(), Ordering::Relaxed);
            return;
        }
        let mut stripe = self.stripe(name).lock();
        let channels = stripe.of(kind);
        if let Some(subscribers) = channels.get_mut(name) {
            subscribers.remove(&client);
            if subscribers.is_empty() {
                channels.remove(name);
            }
        }
    }

    /// The channels that somebody has subscribed to, in order; `pattern` may choose among them.
    pub fn channels(&self, kind: ChannelKind, pattern: Option<&[u8]>) -> Vec<Name> {
        let is_meant = |name: &Name| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        let mut names: Vec<Name> = Vec::new();
        for stripe in &self.stripes {
            names.extend(stripe.lock().of(kind).keys().filter(|name| is_meant(name)).cloned());
        }
        names.sort_unstable();
        names
    }

    /// How many channels somebody has subscribed to.
    pub fn channel_count(&self, kind: ChannelKind) -> usize {
        self.stripes.iter().map(|stripe| stripe.lock().of(kind).len()).sum()
    }

    /// How many have subscribed to a channel itself.
    pub fn subscribers(&self, kind: ChannelKind, channel: &[u8]) -> usize {
        self.stripe(channel).lock().of(kind).get(channel).map_or(0, BTreeMap::len)
    }

    /// Ends the connections of those who have subscribed to something that they may not, as `may` says.
    pub fn end_forbidden(&self, may: impl Fn(&Presence, ChannelKind, &[u8]) -> bool) {
        let end = |kind: ChannelKind, name: &Name, subscribers: &Subscribers| {
            subscribers.values().filter(|presence| !may(presence, kind, name)).for_each(|presence| presence.end());
        };
        for stripe in &self.stripes {
            let mut stripe = stripe.lock();
            for kind in [ChannelKind::Channel, ChannelKind::Shard] {
                stripe.of(kind).iter().for_each(|(name, subscribers)| end(kind, name, subscribers));
            }
        }
        self.patterns.read().iter().for_each(|(name, subscribers)| end(ChannelKind::Pattern, name, subscribers));
    }

    /// How many different patterns somebody has subscribed to.
    pub fn pattern_count(&self) -> usize {
        self.pattern_count.load(Ordering::Relaxed)
    }

    /// What was counted since the node started.
    pub fn counts(&self) -> MessageCounts {
        MessageCounts {
            published: self.published.load(Ordering::Relaxed),
            delivered: self.delivered.load(Ordering::Relaxed),
            arrived: self.arrived.load(Ordering::Relaxed),
        }
    }
}

fn post_to(subscribers: &Subscribers, message: &mut Message<'_>, limits: &OutputLimits, now: UnixMillis) -> usize {
    for presence in subscribers.values() {
        presence.post(message, limits, now);
    }
    subscribers.len()
}

fn write_message(reply: &mut Reply, words: &[&[u8]]) {
    reply.push(words.len());
    words.iter().for_each(|word| reply.bulk(word));
}

#[cfg(test)]
mod tests;

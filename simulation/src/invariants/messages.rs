//! What is published: heard at most once, in the order of its publisher, and never invented; and heard by everybody who is
//! connected.

use super::{Invariant, Looked};
use crate::broken::Broken;
use crate::world::World;
use resp::{Reply, Version};
use server::clients::Presence;
use server::node::Node;
use server::pubsub::{ChannelKind, Reach, Subscriptions};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};

/// While faults strike.
pub const INVARIANT: Invariant = Invariant {
    name: "messages",
    summary: "a subscriber hears a message at most once, those of one publisher in their order, those of its own node at \
              once, and none that nobody has published",
    looked_at: Looked::AllTheTime(look),
};

/// Afterwards.
pub const DELIVERY: Invariant = Invariant {
    name: "messages-delivered",
    summary: "when all regions are connected a message reaches the subscribers of every one",
    looked_at: Looked::AtTheEnd(judge),
};

const CHANNEL: &[u8] = b"news";
/// Between two messages, while faults strike.
const GAP_MS: u64 = 50;
/// A message has crossed every link within this time.
const DELIVERED_MS_MAX: u64 = 3_000;

/// Who listens on each host, and what was published.
#[derive(Debug, Default)]
pub struct Messages {
    listeners: BTreeMap<usize, Listener>,
    /// Messages of each life of a node: they are numbered from 1.
    published: BTreeMap<usize, u64>,
    /// Messages that were heard in other regions than they were published in.
    pub crossed: u64,
}

/// A subscriber of one life of a node.
#[derive(Debug)]
struct Listener {
    node: Weak<Node>,
    presence: Arc<Presence>,
    _subscriptions: Subscriptions,
    heard: Heard,
}

/// The last message that was heard of each life of a publisher.
#[derive(Debug, Default)]
struct Heard(BTreeMap<usize, u64>);

/// Which message, of which life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    life: usize,
    number: u64,
}

impl Message {
    fn payload(self) -> String {
        format!("{}.{}", self.life, self.number)
    }

    fn read(payload: &str) -> Option<Self> {
        let (life, number) = payload.split_once('.')?;
        Some(Self { life: life.parse().ok()?, number: number.parse().ok()? })
    }
}

impl Heard {
    /// Takes in what came. Says what is wrong with it.
    fn take(&mut self, payload: &str, published: &BTreeMap<usize, u64>) -> Result<Message, String> {
        let message = Message::read(payload);
        let is_real =
            |message: &Message| (1..=published.get(&message.life).copied().unwrap_or(0)).contains(&message.number);
        let message = message.filter(is_real).ok_or_else(|| format!("hears {payload}, which nobody published"))?;
        let last = self.0.insert(message.life, message.number).unwrap_or(0);
        if message.number <= last {
            return Err(format!("hears {payload} after message {last} of the same publisher"));
        }
        Ok(message)
    }

    fn has(&self, message: Message) -> bool {
        self.0.get(&message.life).is_some_and(|last| *last >= message.number)
    }
}

impl Listener {
    fn new(node: &Arc<Node>) -> Option<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let presence = node.clients.enter(address, address, node.wall_clock(), u64::MAX).ok()?;
        let mut subscriptions = Subscriptions::new(Arc::clone(&node.pubsub), Arc::clone(&presence));
        subscriptions.enter(ChannelKind::Channel, CHANNEL);
        Some(Self { node: Arc::downgrade(node), presence, _subscriptions: subscriptions, heard: Heard::default() })
    }

    /// What has come since it was asked last.
    fn take(&self) -> Vec<String> {
        let mut reply = Reply::new(Version::Resp2);
        self.presence.collect_all_mail(&mut reply);
        let text = String::from_utf8_lossy(reply.bytes()).into_owned();
        let lines: Vec<&str> = text.split_terminator("\r\n").filter(|line| !line.starts_with(['*', '$'])).collect();
        lines
            .chunks(3)
            .map(|message| message.last().map_or_else(String::new, |payload| (*payload).to_owned()))
            .collect()
    }
}

impl Messages {
    /// Lets somebody listen on every node that runs and has nobody yet.
    fn attend(&mut self, world: &World) {
        for index in world.live() {
            let Some(node) = world.node(index) else { continue };
            let known = self.listeners.get(&index).and_then(|listener| listener.node.upgrade());
            if known.is_none_or(|known| !Arc::ptr_eq(&known, &node))
                && let Some(listener) = Listener::new(&node)
            {
                self.listeners.insert(index, listener);
            }
        }
    }

    fn publish(&mut self, world: &World, index: usize) -> Option<Message> {
        let (node, life) = (world.node(index)?, world.hosts[index].life.get()?);
        let number = self.published.entry(life).or_default();
        *number += 1;
        let message = Message { life, number: *number };
        let limits = node.config.load().client_output_buffer_limit;
        let payload = message.payload();
        node.pubsub.publish(
            ChannelKind::Channel,
            CHANNEL,
            payload.as_bytes(),
            Reach::Everywhere,
            &limits,
            node.wall_clock(),
        );
        Some(message)
    }

    /// Hears what has come.
    fn hear(&mut self, world: &World) -> Result<(), Broken> {
        for (index, listener) in &mut self.listeners {
            for payload in listener.take() {
                let heard = listener.heard.take(&payload, &self.published);
                let name = &world.hosts[*index].name;
                let message = heard.map_err(|wrong| Broken::new(INVARIANT.name, format!("{name} {wrong}")))?;
                self.crossed += u64::from(world.hosts[*index].life.get() != Some(message.life));
            }
        }
        Ok(())
    }

    fn has_heard(&self, index: usize, message: Message) -> bool {
        self.listeners.get(&index).is_some_and(|listener| listener.heard.has(message))
    }

    fn look(&mut self, world: &World) -> Result<(), Broken> {
        self.attend(world);
        let (now, live) = (world.time.ms(), world.live());
        let turn = now.is_multiple_of(GAP_MS).then_some((now / GAP_MS) as usize % live.len().max(1));
        let own = turn.and_then(|turn| live.get(turn)).and_then(|&index| Some((index, self.publish(world, index)?)));
        self.hear(world)?;
        match own {
            Some((index, message)) if !self.has_heard(index, message) => {
                let name = &world.hosts[index].name;
                Err(Broken::new(INVARIANT.name, format!("{name} does not hear its own {}", message.payload())))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn look(world: &mut World) -> Result<(), Broken> {
    let mut messages = std::mem::take(&mut world.messages);
    let result = messages.look(world);
    world.messages = messages;
    result
}

fn judge(world: &mut World) -> Result<(), Broken> {
    let mut messages = std::mem::take(&mut world.messages);
    messages.attend(world);
    let members = world.members();
    let published: Vec<Message> = members.iter().filter_map(|&index| messages.publish(world, index)).collect();
    world.run_for(DELIVERED_MS_MAX)?;
    messages.hear(world)?;
    let pairs = members.iter().flat_map(|&index| published.iter().map(move |message| (index, *message)));
    let missed = pairs.into_iter().find(|(index, message)| !messages.has_heard(*index, *message));
    world.messages = messages;
    match missed {
        Some((index, message)) => {
            let (name, payload) = (&world.hosts[index].name, message.payload());
            Err(Broken::new(DELIVERY.name, format!("{name} does not hear {payload}, though all are connected")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_twice_out_of_order_or_was_never_published_is_found() {
        let published = [(0, 3), (4, 1)].into_iter().collect();
        for (heard, is_right) in [
            (&["0.1", "4.1", "0.3"][..], true),
            (&["0.1", "0.1"], false),
            (&["0.2", "4.1", "0.1"], false),
            (&["0.4"], false),
            (&["1.1"], false),
            (&["0.0"], false),
            (&["news"], false),
        ] {
            let mut listener = Heard::default();
            let result = heard.iter().try_for_each(|payload| listener.take(payload, &published).map(drop));
            assert_eq!(result.is_ok(), is_right, "{heard:?}: {result:?}");
        }
    }
}

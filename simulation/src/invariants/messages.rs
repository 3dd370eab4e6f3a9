//! What is published: heard at most once and never invented, and heard by everybody who is connected.

use super::{Invariant, Looked};
use crate::broken::Broken;
use crate::world::World;
use resp::{Reply, Version};
use server::clients::Presence;
use server::node::Node;
use server::pubsub::{ChannelKind, Subscriptions};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};

/// While faults strike.
pub const INVARIANT: Invariant = Invariant {
    name: "messages",
    summary: "a subscriber hears of a message at most once, of those of its own node at once, and of none that nobody has published",
    looked_at: Looked::AllTheTime(look),
};

/// Afterwards.
pub const DELIVERY: Invariant = Invariant {
    name: "messages-delivered",
    summary: "when all regions are connected a message reaches the subscribers of every one",
    looked_at: Looked::AtTheEnd(judge),
};

/// Who listens on each host, and what was published.
#[derive(Debug, Default)]
pub struct Messages {
    listeners: BTreeMap<usize, Listener>,
    published: BTreeSet<String>,
    count: u64,
}

/// A subscriber of one life of a node.
#[derive(Debug)]
struct Listener {
    node: Weak<Node>,
    presence: Arc<Presence>,
    _subscriptions: Subscriptions,
    heard: BTreeSet<String>,
}

const CHANNEL: &[u8] = b"news";
/// A message has crossed every link within this time.
const DELIVERED_MS_MAX: u64 = 3_000;

impl Listener {
    fn new(node: &Arc<Node>) -> Option<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let presence = node.clients.enter(address, address, node.wall_clock(), u64::MAX).ok()?;
        let mut subscriptions = Subscriptions::new(Arc::clone(&node.pubsub), Arc::clone(&presence));
        subscriptions.enter(ChannelKind::Channel, CHANNEL);
        Some(Self { node: Arc::downgrade(node), presence, _subscriptions: subscriptions, heard: BTreeSet::new() })
    }

    /// What has come since it was asked last.
    fn take(&self) -> Vec<String> {
        let mut reply = Reply::new(Version::Resp2);
        self.presence.collect_all_mail(&mut reply);
        let text = String::from_utf8_lossy(reply.bytes()).into_owned();
        let lines: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with(['*', '$'])).collect();
        lines.chunks_exact(3).map(|message| message[2].to_owned()).collect()
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

    fn publish(&mut self, world: &World, index: usize) -> Option<String> {
        let node = world.node(index)?;
        self.count += 1;
        let payload = format!("{index}.{}", self.count);
        let limits = node.config.load().client_output_buffer_limit;
        node.pubsub.publish(ChannelKind::Channel, CHANNEL, payload.as_bytes(), &limits, node.wall_clock());
        self.published.insert(payload.clone());
        Some(payload)
    }

    /// Hears what has come.
    fn hear(&mut self, world: &World) -> Result<(), Broken> {
        for (index, listener) in &mut self.listeners {
            let name = &world.hosts[*index].name;
            for payload in listener.take() {
                if !self.published.contains(&payload) {
                    return Err(Broken::new(INVARIANT.name, format!("{name} hears {payload}, which nobody published")));
                }
                if !listener.heard.insert(payload.clone()) {
                    return Err(Broken::new(INVARIANT.name, format!("{name} hears {payload} twice")));
                }
            }
        }
        Ok(())
    }

    fn missing(&self, index: usize, payloads: &[String]) -> Option<String> {
        let heard = &self.listeners.get(&index)?.heard;
        payloads.iter().find(|payload| !heard.contains(*payload)).cloned()
    }
}

fn look(world: &mut World) -> Result<(), Broken> {
    let mut messages = std::mem::take(&mut world.messages);
    messages.attend(world);
    let live = world.live();
    let place = world.time.ms() as usize / 10;
    let result = (|| {
        let Some(&index) = live.get(place % live.len().max(1)) else { return Ok(()) };
        let published = messages.publish(world, index);
        messages.hear(world)?;
        match published.and_then(|payload| messages.missing(index, &[payload])) {
            Some(payload) => {
                let name = &world.hosts[index].name;
                Err(Broken::new(INVARIANT.name, format!("{name} does not hear its own {payload}")))
            }
            None => Ok(()),
        }
    })();
    world.messages = messages;
    result
}

fn judge(world: &mut World) -> Result<(), Broken> {
    let mut messages = std::mem::take(&mut world.messages);
    messages.attend(world);
    let members: Vec<usize> = world.members();
    let payloads: Vec<String> = members.iter().filter_map(|&index| messages.publish(world, index)).collect();
    world.run_for(DELIVERED_MS_MAX)?;
    messages.hear(world)?;
    let missed = members.iter().find_map(|&index| messages.missing(index, &payloads).map(|payload| (index, payload)));
    world.messages = messages;
    match missed {
        Some((index, payload)) => {
            let name = &world.hosts[index].name;
            Err(Broken::new(DELIVERY.name, format!("{name} does not hear {payload}, though all are connected")))
        }
        None => Ok(()),
    }
}

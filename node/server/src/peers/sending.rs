//! Where Sentinel-aware clients are sent: told by what this node knows of the others, and announced when it changes.

use super::Peers;
use crate::info::ClusterStatus;
use crate::pubsub::ChannelKind;
use crate::sentinel::{Switch, View};

impl Peers {
    /// Takes in how the cluster is now.
    pub(super) fn note_places(&self, status: &ClusterStatus) {
        let node = &self.node;
        let config = node.config.load();
        let now = node.wall_clock();
        let own_is_healthy = !node.condition.is_loading() && node.condition.writes_refused().is_none();
        let preference = config.sentinel_preference.split([',', ' ']).filter(|region| !region.is_empty()).collect();
        let view = View { status, own_is_healthy, master_name: &config.sentinel_master_name, preference, now };
        let switches = node.sentinel.observe(&view);
        for switch in &switches {
            let Switch { name, from, to, leaves: _ } = switch;
            tracing::warn!(
                name, from = %format_args!("{}:{}", from.host, from.port), to = %format_args!("{}:{}", to.host, to.port),
                "Sentinel-aware clients are sent to another node"
            );
            node.console.metrics.console.sentinel_switches.increment();
            let line = format!("{name} {} {} {} {}", from.host, from.port, to.host, to.port);
            let limits = &config.client_output_buffer_limit;
            node.pubsub.deliver(ChannelKind::Channel, b"+switch-master", line.as_bytes(), limits, now);
        }
        if switches.iter().any(|switch| switch.leaves) && config.sentinel_bring_back {
            self.send_back();
        }
    }

    /// Ends, between two requests, the connections of clients that were sent here while their region failed: they ask again
    /// where to go.
    fn send_back(&self) {
        let node = &self.node;
        let visitors = node.sentinel.take_visitors();
        let mut sent = 0;
        for presence in node.clients.all() {
            let is_visitor = visitors.get(&presence.address.ip()).is_some_and(|since| presence.connected_at >= *since);
            if is_visitor && presence.subscribed().all() == 0 {
                presence.retire();
                sent += 1;
            }
        }
        node.console.metrics.console.sentinel_sent_back.add(sent);
        tracing::info!(
            connections = sent,
            "a region serves again: connections of clients that came while it failed are ended"
        );
    }
}

//! Published messages between the nodes: what clients publish here goes to the others, what comes from them to the
//! subscribers here.

use super::Peers;
use crate::pubsub::{ChannelKind, Reach};
use protocol::{MessageKind, NodeIdentity, PublishedMessage};

impl Peers {
    /// Sends what clients have published here to every node that is connected; to those of the own region alone what was
    /// published while messages did not cross regions.
    pub(super) fn send_messages(&mut self) {
        let outgoing = &self.node.pubsub.outgoing;
        outgoing.open(self.hub.has_listeners());
        let membership = &self.membership;
        let own = self.identity;
        let view = membership.view();
        let region_of = |node: NodeIdentity| view.member(node).map(|member| member.record.region.as_str());
        for (reach, messages) in outgoing.take() {
            let Some(frame) = messages.frame() else { continue };
            self.hub.send_messages(&frame, &|peer| reach == Reach::Everywhere || region_of(peer) == region_of(own));
        }
    }

    /// Hands what clients of a peer have published to the subscribers of this node.
    pub(super) fn take_messages(&mut self, peer: NodeIdentity, messages: &[PublishedMessage]) {
        let (crosses, limits) = {
            let config = self.node.config.load();
            (config.pubsub_regions, config.client_output_buffer_limit)
        };
        let view = self.membership.view();
        let region_of = |node: NodeIdentity| view.member(node).map(|member| member.record.region.as_str());
        if !crosses && region_of(peer) != region_of(self.identity) {
            return;
        }
        let now = self.node.wall_clock();
        for PublishedMessage { kind, channel, payload } in messages {
            let kind = match kind {
                MessageKind::Channel => ChannelKind::Channel,
                MessageKind::Shard => ChannelKind::Shard,
            };
            self.node.pubsub.take(kind, channel, payload, &limits, now);
        }
    }
}

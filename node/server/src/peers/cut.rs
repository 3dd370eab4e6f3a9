//! Cutting this node off from others by its operator's order, to try out what happens. Only with the setting
//! `development`: it is no way to keep a node out.

use super::Peers;
use protocol::NodeIdentity;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// From whom this node is cut off. Nodes that are cut off from each other neither dial nor accept each other.
#[derive(Debug, Default)]
pub(super) struct Cut {
    everybody: bool,
    peers: BTreeSet<NodeIdentity>,
}

/// What the other side of a link is told.
pub(super) const CUT_OFF: &str = "this node was cut off by its operator";

impl Cut {
    /// Whether there is to be no link to this peer.
    pub(super) fn hides(&self, peer: &NodeIdentity) -> bool {
        self.everybody || self.peers.contains(peer)
    }
}

impl Peers {
    /// Cuts this node off from the regions or nodes with these names; from everybody if there is no name.
    pub(super) fn cut(&mut self, names: &[&[u8]]) -> Result<Value, String> {
        let peers = self.meant_by(names)?;
        {
            let mut cut = self.cut.write();
            cut.everybody |= names.is_empty();
            cut.peers.extend(peers);
        }
        let (dialed, linked) = {
            let cut = self.cut.read();
            let hidden = |peer: &&NodeIdentity| cut.hides(peer);
            let dialed: Vec<NodeIdentity> = self.dialed.iter().filter(hidden).copied().collect();
            let linked: Vec<NodeIdentity> = self.links.keys().filter(hidden).copied().collect();
            (dialed, linked)
        };
        for peer in dialed {
            self.transport.stop_dialing(&peer);
            self.dialed.remove(&peer);
        }
        linked.into_iter().for_each(|peer| self.drop_link(peer, CUT_OFF));
        Ok(self.cut_json())
    }

    /// Ends the cut from the regions or nodes with these names; all cuts if there is no name.
    pub(super) fn heal(&mut self, names: &[&[u8]]) -> Result<Value, String> {
        let peers = self.meant_by(names)?;
        {
            let mut cut = self.cut.write();
            if names.is_empty() {
                *cut = Cut::default();
            } else if cut.everybody {
                return Err("this node is cut off from everybody; HEAL without a name ends that".to_owned());
            }
            cut.peers.retain(|peer| !peers.contains(peer));
        }
        // It dials everybody that is not cut off.
        self.membership_changed();
        Ok(self.cut_json())
    }

    /// The peers with these names.
    fn meant_by(&self, names: &[&[u8]]) -> Result<BTreeSet<NodeIdentity>, String> {
        if !self.node.config.load().development {
            return Err("CUT and HEAL are for trials; start the node with development = yes to allow them".to_owned());
        }
        let mut meant = BTreeSet::new();
        for name in names {
            let name = String::from_utf8_lossy(name);
            let members = self.members_called(&name)?.into_iter().map(|member| member.identity);
            let others: Vec<NodeIdentity> = members.filter(|peer| *peer != self.identity).collect();
            if others.is_empty() {
                return Err(format!("{name} is this node; name another one"));
            }
            meant.extend(others);
        }
        Ok(meant)
    }

    fn cut_json(&self) -> Value {
        let cut = self.cut.read();
        let from: Vec<String> = cut.peers.iter().map(|&peer| self.name_of(peer)).collect();
        json!({ "cut": cut.everybody || !cut.peers.is_empty(), "everybody": cut.everybody, "from": from })
    }
}

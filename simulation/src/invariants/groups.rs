//! What consumer groups deliver: nothing that is known to be acknowledged, and in the end everything else.

use super::{Invariant, Looked};
use crate::broken::Broken;
use crate::oracle::Key;
use crate::world::World;
use crdt::{Stamp, StreamId};
use keyspace::Database;
use server::node::Node;
use std::collections::BTreeSet;

/// The invariant.
pub const INVARIANT: Invariant = Invariant {
    name: "groups",
    summary: "in a round of a group no entry of which its node knows that it was acknowledged anywhere is delivered, claimed, \
              pending or acknowledged again, none is delivered twice in a life, and none passed over, however late and with \
              whatever id it arrives",
    looked_at: Looked::AtTheEnd(look),
};

fn look(world: &mut World) -> Result<(), Broken> {
    let observer = world.observer.borrow();
    for index in world.live() {
        let Some(node) = world.node(index) else { continue };
        for key in observer.deliveries.keys() {
            let (me, applied) = (node.keyspace.number(), node.keyspace.applied());
            let sees = |stamp: Stamp| stamp.author() == me || applied.covers(stamp);
            let is_met = |id: &StreamId| observer.deliveries.is_acknowledged(&key, &id.to_string(), &sees);
            let passed_over = open(&node, &key).into_iter().find(|id| !is_met(id));
            if let Some(id) = passed_over {
                let name = &world.hosts[index].name;
                return Err(Broken::new(INVARIANT.name, format!("{name} passed over {id} of {key:?}")));
            }
        }
    }
    Ok(())
}

/// Entries behind the start of the group that the node neither delivers nor has pending for a consumer.
fn open(node: &Node, key: &Key) -> Vec<StreamId> {
    let (database, name) = (Database(key.database), key.name.as_bytes());
    let mut writer = node.keyspace.writer();
    let mut access = writer.access(node.wall_clock(), &[name]);
    let Ok(Some(stream)) = access.stream(database, name) else { return Vec::new() };
    let all: Vec<StreamId> = stream.range(StreamId::ZERO, StreamId::MAX).map(|item| item.id).collect();
    let found = access.with_group(database, name, b"g", |group| {
        let before: BTreeSet<StreamId> = group.ids_before_start().into_iter().collect();
        let new: BTreeSet<StreamId> = group.new_ids().into_iter().collect();
        let pending = &group.delivery().pending;
        let is_met = |id: &StreamId| before.contains(id) || new.contains(id) || pending.find(*id).is_some();
        all.iter().copied().filter(|id| !is_met(id)).collect()
    });
    found.ok().flatten().unwrap_or_default()
}

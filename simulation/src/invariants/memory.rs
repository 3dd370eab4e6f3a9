//! When everything is exchanged, nothing is kept that only an outage needs.

use super::{Invariant, Looked};
use crate::broken::Broken;
use crate::world::World;

/// The invariant.
pub const INVARIANT: Invariant = Invariant {
    name: "memory",
    summary: "at rest no node remembers resets, early dots or waiting batches, and its standing comparison has found \
              no difference",
    looked_at: Looked::AtTheEnd(look),
};

fn look(world: &mut World) -> Result<(), Broken> {
    // As long as keys expire, their removals are on their way.
    if !world.is_at_rest {
        return Ok(());
    }
    for index in world.live() {
        let Some(node) = world.node(index) else { continue };
        let (dots, slots) = node.keyspace.early();
        let replication = &node.console.metrics.replication;
        let left = [
            ("counter resets", node.keyspace.remembered_resets()),
            ("early dots", dots),
            ("slots ahead of the vector", slots),
            ("waiting batches", replication.waiting_batches.value() as u64),
            ("found differences", replication.digest_mismatches.value()),
        ];
        if let Some((what, count)) = left.iter().find(|(_, count)| *count > 0) {
            let name = &world.hosts[index].name;
            return Err(Broken::new(INVARIANT.name, format!("{name} is left with {count} {what}")));
        }
    }
    Ok(())
}

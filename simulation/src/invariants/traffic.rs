//! Nothing is sent more often than needed.

use super::{Invariant, Looked};
use crate::broken::Broken;
use crate::world::World;

/// The invariant.
pub const INVARIANT: Invariant = Invariant {
    name: "traffic",
    summary: "without faults every batch goes to every other node once, and nobody relays",
    looked_at: Looked::AtTheEnd(look),
};

fn look(world: &mut World) -> Result<(), Broken> {
    if !world.scenario.faults.is_empty() {
        return Ok(());
    }
    let live = world.live();
    for &index in &live {
        let Some(node) = world.node(index) else { continue };
        let replication = &node.console.metrics.replication;
        let closed = replication.batches_closed.value();
        let sent: u64 = replication.peers().iter().map(|(_, peer)| peer.batches_out.value()).sum();
        let allowed = closed * (live.len() as u64 - 1);
        if sent > allowed {
            let name = &world.hosts[index].name;
            let detail = format!("{name} closed {closed} batches and sent {sent}, more than {allowed}");
            return Err(Broken::new(INVARIANT.name, detail));
        }
    }
    Ok(())
}

//! When faults have ended, all regions come to hold the same, in bounded time.

use super::{Invariant, Looked};
use crate::broken::Broken;
use crate::world::World;
use crdt::{NodeNumber, Stamp};
use keyspace::SLOTS;
use server::node::Node;
use std::sync::Arc;

/// The invariant.
pub const INVARIANT: Invariant = Invariant {
    name: "convergence",
    summary: "within two minutes after the faults all nodes have seen the same writes and the digests of all slots are \
              equal, without anybody's help",
    looked_at: Looked::WhileWaiting,
};

const PATIENCE_MS: u64 = 120_000;

/// Waits until all nodes hold the same.
pub fn wait(world: &mut World) -> Result<(), Broken> {
    let converged = world.run_until(PATIENCE_MS, |world| difference(world).is_none())?;
    match difference(world) {
        Some(difference) if !converged => Err(Broken::new(INVARIANT.name, difference)),
        Some(_) | None => Ok(()),
    }
}

/// In what nodes differ, or are not done.
fn difference(world: &World) -> Option<String> {
    let nodes: Vec<(usize, Arc<Node>)> =
        world.live().into_iter().filter_map(|index| Some((index, world.node(index)?))).collect();
    let name = |index: usize| world.hosts[index].name.as_str();
    if nodes.len() < world.members().len() || !world.orders.is_empty() {
        return Some("a node is not up".to_owned());
    }
    if let Some((index, _)) = nodes.iter().find(|(_, node)| node.condition.is_loading()) {
        return Some(format!("{} is still filling", name(*index)));
    }
    world.observer.borrow_mut().take_returns();
    let observer = world.observer.borrow();
    let seen = |node: &Node, number: NodeNumber| match number == node.keyspace.number() {
        true => observer.last_written(number),
        false => observer.last_written_up_to(number, node.keyspace.applied().of(number)),
    };
    for number in observer.numbers() {
        let of_each: Vec<(usize, Stamp)> = nodes.iter().map(|(index, node)| (*index, seen(node, number))).collect();
        let most = of_each.iter().max_by_key(|(_, stamp)| *stamp)?;
        if let Some(less) = of_each.iter().find(|(_, stamp)| *stamp < most.1) {
            let (has, lacks) = (name(most.0), name(less.0));
            return Some(format!("{has} has writes of number {number} up to {:?}, {lacks} up to {:?}", most.1, less.1));
        }
    }
    let (first, others) = nodes.split_first()?;
    for (index, node) in others {
        for slot in 0..SLOTS {
            let (one, other) = (first.1.keyspace.digest_of(slot), node.keyspace.digest_of(slot));
            if one.digest != other.digest || !one.settled || !other.settled {
                let (one_name, other_name) = (name(first.0), name(*index));
                let ahead = [first.1.keyspace.ahead_of(slot), node.keyspace.ahead_of(slot)];
                let seen = [first.1.keyspace.applied(), node.keyspace.applied()];
                return Some(format!(
                    "slot {slot} is {one:?} at {one_name} and {other:?} at {other_name}; ahead of {seen:?} by {ahead:?}"
                ));
            }
        }
    }
    None
}

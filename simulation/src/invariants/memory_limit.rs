//! What a node does when its memory is short, also while it is cut off or gets much from others: it is within its limit
//! soon, it evicts no more than that takes, and it goes on taking writes where it may evict.

use super::{Invariant, Looked};
use crate::broken::Broken;
use crate::reply::Value;
use crate::world::World;
use server::memory_limit::not_counted;
use server::node::Node;

/// The invariant.
pub const INVARIANT: Invariant = Invariant {
    name: "memory-limit",
    summary: "a node that may evict any key is within its memory limit again within a second, refuses nothing for want of \
              memory, and evicts no more than that takes, also while it is cut off",
    looked_at: Looked::AllTheTime(look),
};

const PATIENCE_MS: u64 = 1_000;
/// Of the limit the least that stays, in percent. Keys are evicted one by one, and the largest of these clients takes about
/// two thirds of the smallest limit.
const LEFT_PERCENT_MIN: u64 = 20;

/// The bytes of a node that count against its limit.
pub fn taken(node: &Node) -> u64 {
    node.console.metrics.allocated_bytes().unwrap_or_default().saturating_sub(not_counted(node))
}

/// Whether a node may evict any key now.
fn may_evict(node: &Node) -> bool {
    let any_key = node.config.load().maxmemory_policy.starts_with("allkeys-");
    any_key && !node.condition.is_loading() && node.condition.writes_refused().is_none()
}

/// A key was evicted, and those that stayed take so many bytes.
pub fn judge_eviction(name: &str, left: u64, limit: u64) -> Result<(), Broken> {
    if left * 100 >= limit * LEFT_PERCENT_MIN {
        return Ok(());
    }
    Err(Broken::new(INVARIANT.name, format!("{name} evicted keys until {left} bytes of {limit} were left")))
}

/// A command was refused.
pub fn judge_refusal(name: &str, node: &Node, args: &[String], answer: &Value) -> Result<(), Broken> {
    let is_wrong = may_evict(node) && matches!(answer, Value::Error(text) if text.starts_with("OOM "));
    if !is_wrong {
        return Ok(());
    }
    Err(Broken::new(INVARIANT.name, format!("{name} refused {args:?} for want of memory and may evict any key")))
}

fn look(world: &mut World) -> Result<(), Broken> {
    if !world.limits_memory() {
        return Ok(());
    }
    let now = world.time.ms();
    for index in world.members() {
        let over = world.node(index).filter(|node| may_evict(node) && taken(node) > node.config.load().maxmemory);
        let since = over.map(|_| world.over_since.get(&index).copied().unwrap_or(now));
        match since {
            Some(since) if now - since > PATIENCE_MS => {
                let name = &world.hosts[index].name;
                return Err(Broken::new(INVARIANT.name, format!("{name} has taken too much memory since {since} ms")));
            }
            Some(since) => drop(world.over_since.insert(index, since)),
            None => drop(world.over_since.remove(&index)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_evicts_nearly_everything_is_found() {
        assert!(judge_eviction("one", 300, 1_200).is_ok());
        assert!(judge_eviction("one", 0, 1_200).is_err());
    }
}

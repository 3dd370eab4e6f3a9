//! Regions that come and go while everybody writes.

use super::{Ending, Fault, nothing_to_end};
use crate::broken::Broken;
use crate::random::Random;
use crate::world::World;

/// One more.
pub const REGION_ADD: Fault = Fault {
    name: "region-add",
    summary: "an operator adds a region, which fills from the others",
    lasts_ms: (0, 0),
    strike: |world, random| {
        let live = world.live();
        let quiet = world.orders.is_empty() && !live.is_empty();
        if !quiet {
            return Ok(None);
        }
        let via = *random.pick(&live);
        Ok(world.add_region(via)?.then(nothing_to_end))
    },
};

/// One less, in order.
pub const REGION_REMOVE: Fault = Fault {
    name: "region-remove",
    summary: "an operator removes a region once everybody has its writes",
    lasts_ms: (0, 0),
    strike: |world, random| remove(world, random, false),
};

/// One less, at once.
pub const REGION_REMOVE_FORCED: Fault = Fault {
    name: "region-remove-forced",
    summary: "an operator removes a region that has crashed and will not come back",
    lasts_ms: (0, 0),
    strike: |world, random| remove(world, random, true),
};

fn remove(world: &mut World, random: &mut Random, force: bool) -> Result<Option<Ending>, Broken> {
    let live = world.live();
    // Two regions must be left, or nothing is replicated any more.
    if live.len() < 3 || !world.orders.is_empty() {
        return Ok(None);
    }
    let gone = *random.pick(&live);
    let others: Vec<usize> = live.into_iter().filter(|&other| other != gone).collect();
    if force {
        world.crash(gone, true);
        world.removed.push(gone);
    }
    world.remove_region(gone, *random.pick(&others), force);
    Ok(Some(nothing_to_end()))
}

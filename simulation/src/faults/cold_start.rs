//! Every node ends at once: nobody has more than its disk, which is nothing without persistence, and all must serve
//! again.

use super::Fault;

/// The fault.
pub const COLD_START: Fault = Fault {
    name: "cold-start",
    summary: "all nodes lose power at once and start with what is on their disks; all serve again",
    lasts_ms: (50, 2000),
    strike: |world, _random| {
        let members = world.members();
        members.iter().for_each(|&index| world.crash(index, true));
        Ok(Some(Box::new(move |world| {
            let still: Vec<usize> = members.into_iter().filter(|index| !world.removed.contains(index)).collect();
            still.into_iter().for_each(|index| world.restart(index));
        })))
    },
};

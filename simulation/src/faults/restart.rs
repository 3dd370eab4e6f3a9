//! A node is stopped in order and started again.

use super::Fault;

/// The fault.
pub const CLEAN_RESTART: Fault = Fault {
    name: "clean-restart",
    summary: "a node is stopped in order and started again",
    lasts_ms: (6500, 8000),
    strike: |world, random| {
        let live = world.live();
        if live.len() < 2 {
            return Ok(None);
        }
        let chosen = *random.pick(&live);
        world.stop_in_order(chosen);
        Ok(Some(Box::new(move |world| {
            // By now the process has ended; what is left is for the host to start it anew.
            if !world.removed.contains(&chosen) {
                world.crash(chosen, false);
                world.restart(chosen);
            }
        })))
    },
};

//! The way between two regions becomes longer, or shorter, for a time.

use super::Fault;

/// The fault.
pub const LATENCY: Fault = Fault {
    name: "latency",
    summary: "the way between two regions takes 1 to 300 ms for a time",
    lasts_ms: (500, 6000),
    strike: |world, random| {
        let live = world.live();
        if live.len() < 2 {
            return Ok(None);
        }
        let one = random.below(live.len());
        let other = live[(one + 1 + random.below(live.len() - 1)) % live.len()];
        let one = live[one];
        world.set_latency(one, other, random.between(1, 300));
        Ok(Some(Box::new(move |world| world.set_latency(one, other, world.usual_latency_ms(one, other)))))
    },
};

//! Wall clocks that are off, or jump, within what the nodes tolerate; and far beyond it.

use super::Fault;

/// Off for a time.
pub const SKEW: Fault = Fault {
    name: "clock-skew",
    summary: "one region's clock is off by up to 2 s either way for a time",
    lasts_ms: (500, 8000),
    strike: |world, random| {
        let index = *random.pick(&world.members());
        let off_ms = random.between(0, 4000) as i64 - 2000;
        world.hosts[index].clock.set_off_ms(off_ms);
        Ok(Some(Box::new(move |world| world.hosts[index].clock.set_off_ms(0))))
    },
};

/// A jump beyond the limit.
pub const STEP: Fault = Fault {
    name: "clock-step",
    summary: "one region's clock jumps by 10 to 60 s either way, beyond the limit, and is set right after a while",
    lasts_ms: (1000, 6000),
    strike: |world, random| {
        let index = *random.pick(&world.members());
        let off_ms = random.between(10_000, 60_000) as i64;
        world.hosts[index].clock.set_off_ms(if random.percent(50) { off_ms } else { -off_ms });
        Ok(Some(Box::new(move |world| world.hosts[index].clock.set_off_ms(0))))
    },
};

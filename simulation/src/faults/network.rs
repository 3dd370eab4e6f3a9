//! Bursts of bad weather: datagrams are lost, come twice, or overtake each other.

use super::{Ending, Fault};
use crate::broken::Broken;
use crate::network::Conditions;
use crate::world::World;

/// Loss.
pub const LOSS: Fault = Fault {
    name: "loss",
    summary: "1 to 30 % of all datagrams are lost",
    lasts_ms: (500, 5000),
    strike: |world, random| {
        let lost = random.between(10_000, 300_000) as u32;
        everywhere(world, Conditions { lost, ..Conditions::default() })
    },
};

/// Duplication.
pub const DUPLICATION: Fault = Fault {
    name: "duplication",
    summary: "1 to 30 % of all datagrams come twice",
    lasts_ms: (500, 5000),
    strike: |world, random| {
        let doubled = random.between(10_000, 300_000) as u32;
        everywhere(world, Conditions { doubled, ..Conditions::default() })
    },
};

/// Reordering.
pub const REORDERING: Fault = Fault {
    name: "reordering",
    summary: "1 to 30 % of all datagrams are held back for up to 80 ms while others pass",
    lasts_ms: (500, 5000),
    strike: |world, random| {
        let delayed = random.between(10_000, 300_000) as u32;
        let delay_ms_max = random.between(2, 80);
        everywhere(world, Conditions { delayed, delay_ms_max, ..Conditions::default() })
    },
};

fn everywhere(world: &mut World, conditions: Conditions) -> Result<Option<Ending>, Broken> {
    world.weather.set_everywhere(conditions);
    Ok(Some(Box::new(|world| world.weather.set_everywhere(Conditions::default()))))
}

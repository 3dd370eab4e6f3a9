//! One region cut off from all others, both ways or one.

use super::{Ending, Fault};
use crate::broken::Broken;
use crate::random::Random;
use crate::world::World;

/// Both ways.
pub const PARTITION: Fault = Fault {
    name: "partition",
    summary: "one region is cut off from all others",
    lasts_ms: (300, 6000),
    strike: |world, random| cut_off(world, random, true),
};

/// One way.
pub const ONE_WAY: Fault = Fault {
    name: "one-way-partition",
    summary: "one region hears the others and is not heard, or the other way round",
    lasts_ms: (300, 5000),
    strike: |world, random| cut_off(world, random, false),
};

fn cut_off(world: &mut World, random: &mut Random, both_ways: bool) -> Result<Option<Ending>, Broken> {
    let members = world.members();
    let alone = *random.pick(&members);
    let is_heard = random.percent(50);
    let paths: Vec<(usize, usize)> = members
        .into_iter()
        .filter(|&other| other != alone)
        .flat_map(|other| [(alone, other, both_ways || !is_heard), (other, alone, both_ways || is_heard)])
        .filter(|&(_, _, cut)| cut)
        .map(|(source, target, _)| (source, target))
        .collect();
    paths.iter().for_each(|&(source, target)| world.set_cut(source, target, true));
    Ok(Some(Box::new(move |world| {
        paths.iter().for_each(|&(source, target)| world.set_cut(source, target, false));
    })))
}

//! A node ends without warning: its memory is gone; its disk stays as it was, forgets what was not flushed, or is lost.

use super::disk::damage;
use super::{Ending, Fault};
use crate::broken::Broken;
use crate::random::Random;
use crate::world::World;

/// The process.
pub const PROCESS_CRASH: Fault = Fault {
    name: "process-crash",
    summary: "a process dies; its disk is as it left it",
    lasts_ms: (20, 4000),
    strike: |world, random| crash(world, random, false, false),
};

/// The host.
pub const HOST_CRASH: Fault = Fault {
    name: "host-crash",
    summary: "a host loses power; its disk forgets what was not flushed",
    lasts_ms: (200, 6000),
    strike: |world, random| crash(world, random, true, false),
};

/// The host and its disk.
pub const LOST_DISK: Fault = Fault {
    name: "lost-disk",
    summary: "a host loses power and its disk; the node comes back with its certificate alone",
    lasts_ms: (200, 6000),
    strike: |world, random| crash(world, random, true, true),
};

/// The host, and then the process in the middle of its start.
pub const INTERRUPTED_START: Fault = Fault {
    name: "interrupted-start",
    summary: "a host loses power, at times its disk is damaged as well, and the process that starts on it then dies at any step \
              that it takes on its disk",
    lasts_ms: (5, 300),
    strike: |world, random| {
        let live = world.live();
        if live.len() < 2 {
            return Ok(None);
        }
        let victim = *random.pick(&live);
        world.crash(victim, true);
        // A start that finds damage writes down what it makes of it, and moves files aside.
        for _ in 0..random.below(4) {
            damage(world, random, victim);
        }
        let files = world.hosts[victim].files.clone();
        files.fail_power_at(files.operations() + random.between(1, 60));
        world.restart(victim);
        Ok(Some(Box::new(move |world| {
            if !world.removed.contains(&victim) {
                world.crash(victim, false);
                world.restart(victim);
            }
        })))
    },
};

fn crash(world: &mut World, random: &mut Random, whole_host: bool, disk_too: bool) -> Result<Option<Ending>, Broken> {
    let live = world.live();
    // One region at least keeps the data, or all of it is lost rightly and nothing is left to judge.
    if live.len() < 2 {
        return Ok(None);
    }
    let victim = *random.pick(&live);
    world.crash(victim, whole_host);
    if disk_too {
        let host = world.hosts[victim].clone();
        host.catalogue.lose_everything();
        host.files.lose_everything();
        world.observer.borrow_mut().lose_disk(&host.name);
    }
    Ok(Some(Box::new(move |world| {
        if !world.removed.contains(&victim) {
            world.restart(victim);
        }
    })))
}

//! Disks that fill up, fail, are slow or rot. Without persistence they are not used, and nothing comes of it.

use super::{Ending, Fault};
use crate::broken::Broken;
use crate::random::Random;
use crate::world::World;
use storage::{DiskFaults, Fs};

/// No space.
pub const FULL_DISK: Fault = Fault {
    name: "full-disk",
    summary: "a disk takes a little more and is full",
    lasts_ms: (300, 5000),
    strike: |world, random| {
        let room = random.between(0, 3_000);
        strike(world, random, move |used| DiskFaults { capacity_bytes: used + room, ..DiskFaults::default() })
    },
};

/// Flushes that fail.
pub const FAILING_FLUSHES: Fault = Fault {
    name: "failing-flushes",
    summary: "a disk takes writes and cannot make them durable",
    lasts_ms: (300, 4000),
    strike: |world, random| strike(world, random, |_| DiskFaults { syncs_fail: true, ..DiskFaults::default() }),
};

/// Writes that fail.
pub const FAILING_WRITES: Fault = Fault {
    name: "failing-writes",
    summary: "a disk takes nothing any more",
    lasts_ms: (300, 4000),
    strike: |world, random| strike(world, random, |_| DiskFaults { writes_fail: true, ..DiskFaults::default() }),
};

/// Flushes that take long.
pub const SLOW_DISK: Fault = Fault {
    name: "slow-disk",
    summary: "a disk takes up to seconds for every flush",
    lasts_ms: (500, 5000),
    strike: |world, random| {
        let sync_ms = random.between(50, 3_000);
        strike(world, random, move |_| DiskFaults { sync_ms, ..DiskFaults::default() })
    },
};

/// A host that goes down, and a file that is not what it was when it comes back.
pub const ROT: Fault = Fault {
    name: "rot",
    summary: "a process dies, and until it comes back a bit of one of its files flips, a sector cannot be read any more, or a file or \
              its catalogue is lost",
    lasts_ms: (50, 3000),
    strike: rot,
};

fn strike(
    world: &mut World,
    random: &mut Random,
    faults: impl FnOnce(u64) -> DiskFaults,
) -> Result<Option<Ending>, Broken> {
    let live = world.live();
    if live.is_empty() {
        return Ok(None);
    }
    let victim = *random.pick(&live);
    let files = world.hosts[victim].files.list().unwrap_or_default();
    world.hosts[victim].files.set_faults(faults(files.iter().map(|file| file.bytes).sum()));
    Ok(Some(Box::new(move |world| world.hosts[victim].files.set_faults(DiskFaults::default()))))
}

fn rot(world: &mut World, random: &mut Random) -> Result<Option<Ending>, Broken> {
    let live = world.live();
    // One region at least keeps the data.
    if live.len() < 2 {
        return Ok(None);
    }
    let victim = *random.pick(&live);
    world.crash(victim, false);
    damage(world, random, victim);
    Ok(Some(Box::new(move |world| {
        if !world.removed.contains(&victim) {
            world.restart(victim);
        }
    })))
}

/// Damages what is on the disk of a host whose process does not run: a file, or the catalogue, of which there is a copy among
/// the files.
pub(super) fn damage(world: &mut World, random: &mut Random, victim: usize) {
    let host = world.hosts[victim].clone();
    let files = host.files.list().unwrap_or_default();
    if files.is_empty() {
        return;
    }
    let file = random.pick(&files);
    if random.percent(10) {
        host.catalogue.lose_everything();
    } else if random.percent(25) {
        // It is in the list.
        let _ = host.files.remove(&file.name);
    } else if random.percent(33) {
        host.files.lose_sector(&file.name, random.word() % file.bytes.max(1));
    } else {
        host.files.flip(&file.name, random.word() % (file.bytes * 8).max(1));
    }
    world.observer.borrow_mut().lose_disk(&host.name);
}

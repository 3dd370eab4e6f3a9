//! A copy of a node's directory, put back after the node has gone on.

use super::Fault;

/// The fault.
pub const OLD_BACKUP: Fault = Fault {
    name: "old-backup",
    summary: "a node's directory is copied; some time later its process ends, and the copy is put back and started, on a host \
              that stayed up: at times without its catalogue, or under the one of now",
    lasts_ms: (200, 5000),
    strike: |world, random| {
        let live = world.live();
        // One region at least keeps the data.
        if live.len() < 2 {
            return Ok(None);
        }
        let victim = *random.pick(&live);
        let host = world.hosts[victim].clone();
        let backup = (host.catalogue.backup(), host.files.backup());
        let of_catalogue = random.below(4);
        Ok(Some(Box::new(move |world| {
            if world.removed.contains(&victim) {
                return;
            }
            world.crash(victim, false);
            let host = world.hosts[victim].clone();
            match of_catalogue {
                0 => host.catalogue.lose_everything(),
                1 => {}
                _ => host.catalogue.restore(&backup.0),
            }
            host.files.restore(&backup.1);
            world.observer.borrow_mut().lose_disk(&host.name);
            world.restart(victim);
        })))
    },
};
